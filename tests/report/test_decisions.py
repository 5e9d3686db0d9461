"""Decisions in words."""

from __future__ import annotations

from imgtheranostics.report.decisions import decision_list


def by_title(decisions):
    return {item.title: item for item in decision_list(decisions)}


def test_the_clock_names_its_rule_and_how_far_the_others_are():
    clock = by_title(
        {
            "clock": {
                "rule": "earliest_time",
                "explanation": "the earlier of the two counts",
                "candidates_s": {"series_time": 1830.0, "acquisition_time": 0.0, "back_computed": -12.0},
                "spread_percent": 2.4,
            }
        }
    )["Reference time"]
    assert clock.text == (
        "The earlier of the two counts. Of the clocks in the file, acquisition time agrees with it, "
        "series time lies 30.5 min later and back computed lies 12 s earlier."
    )
    assert ("Rule", "earliest time") in clock.facts
    assert ("Largest unexplained difference in activity", "2.4 %") in clock.facts


def test_numbers_get_the_unit_that_their_name_carries():
    facts = dict(
        by_title(
            {
                "dose_history": {
                    "net_bq_at_injection": 6.92e6,
                    "residual_bq": 1500.0,
                    "delay_s": 3600.0,
                    "short_s": -12.0,
                    "weight_kg": 0.0213,
                    "difference_percent": 5.0,
                    "relative_uncertainty_of_each_activity": 0.05,
                    "missing": None,
                    "confirmed": True,
                }
            }
        )["Dose history"].facts
    )
    assert facts == {
        "Net at injection": "6.92 MBq",
        "Residual": "1.5 kBq",
        "Delay": "60 min (3600 s)",
        "Short": "−12 s",
        "Weight": "0.0213 kg",
        "Difference": "5 %",
        "Relative uncertainty of each activity": "5 %",
        "Confirmed": "yes",
    }


def test_decay_half_life_dose_and_body_are_sentences():
    """Two half-lives of 18F leave a quarter."""
    found = by_title(
        {
            "body_measure": {"kind": "bw", "value": 71000.0, "unit": "g", "explanation": "body weight 71 kg"},
            "administered_activity": {
                "net_bq_at_injection": 388777472.0,
                "relative_uncertainty": 0.05,
                "residual_bq_at_injection": 0.0,
            },
            "half_life": {"seconds": 6586.2, "source": "header", "nuclide": "F-18"},
            "decay": {
                "convention": "START",
                "injection_to_reference_s": 13172.4,
                "dose_left_at_reference": 0.25,
            },
        }
    )
    assert list(found) == ["Decay correction", "Half-life", "Administered activity", "Body measure"]
    assert found["Decay correction"].text == (
        "The activity refers to the start of the scan, 3.659 h after the injection, "
        "when 25 % of the dose was left."
    )
    assert found["Half-life"].text == "F-18: 109.8 min (6586.2 s), from the header."
    assert found["Half-life"].facts == ()
    assert found["Administered activity"].text == (
        "388.78 MBq reached the body at injection, with a relative standard uncertainty of 5 %."
    )
    assert found["Administered activity"].facts == (("Residual at injection", "0 Bq"),)
    assert found["Body measure"].text == "Body weight 71 kg."
    assert ("Value", "71\u202f000 g") in found["Body measure"].facts


def test_decisions_of_several_scans_are_told_apart():
    scan = {"clock": {"explanation": "one"}, "scaling": {"explanation": "voxels are Bq/mL"}}
    found = by_title(
        {"scans": [scan, {"clock": {"explanation": "two"}}], "ct": {"clock": {"explanation": "three"}}}
    )
    assert found["Reference time (scan 1)"].text == "One."
    assert found["Reference time (scan 2)"].text == "Two."
    assert found["Reference time (Ct)"].text == "Three."


def test_what_all_scans_share_is_said_once():
    scaling = {"explanation": "voxels are Bq/mL"}
    found = by_title({"scans": [{"clock": {"explanation": str(n)}, "scaling": scaling} for n in range(3)]})
    assert list(found) == [
        "Reference time (scan 1)",
        "Reference time (scan 2)",
        "Reference time (scan 3)",
        "Scale of the voxels (all 3)",
    ]


def test_rounding_residue_is_not_a_percentage():
    assert by_title({"clock": {"spread_percent": 1.6e-14}})["Reference time"].facts[0][1] == "below 0.001 %"
    assert by_title({"clock": {"spread_percent": 0.0}})["Reference time"].facts[0][1] == "0 %"


def test_decisions_per_quantity_carry_its_name_and_bare_values_are_sentences():
    found = by_title(
        {"id_per_g": {"scaling": "voxels are Bq/mL"}, "suv_bw": {"body_measure": {"weight_kg": 70}}}
    )
    assert found["Scale of the voxels (Uptake)"].text == "Voxels are Bq/mL."
    assert found["Body measure (SUV (body weight))"].facts == (("Weight", "70 kg"),)


def test_nested_mappings_and_lists_are_flattened():
    facts = dict(
        by_title({"density": {"source": {"kind": "given", "values_g_ml": [1.0, 1.04]}}})[
            "Tissue density"
        ].facts
    )
    assert facts == {"Source: kind": "given", "Source: values": "1 g/mL, 1.04 g/mL"}


def test_no_decisions_and_strange_ones_do_no_harm():
    assert decision_list({}) == []
    assert by_title({"clock": {"candidates_s": {}, "explanation": ""}})["Reference time"].text == ""
    assert by_title({"x": None})["X"].text == ""
