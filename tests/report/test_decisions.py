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
        "The earlier of the two counts. Of the clocks in the file, series time is 30.5 min later, "
        "acquisition time agrees and back computed is 12 s earlier."
    )
    assert ("Rule", "earliest time") in clock.facts
    assert ("Largest unexplained difference in activity", "2.4 %") in clock.facts


def test_plain_numbers_get_the_unit_that_their_name_ends_in():
    facts = dict(
        by_title(
            {
                "administered_activity": {
                    "net_bq": 6.92e6,
                    "residual_bq": 1500.0,
                    "delay_s": 3600.0,
                    "weight_kg": 0.0213,
                    "relative_percent": 5.0,
                    "missing": None,
                    "confirmed": True,
                }
            }
        )["Administered activity"].facts
    )
    assert facts == {
        "Net": "6.92 MBq",
        "Residual": "1.5 kBq",
        "Delay": "60 min (3600 s)",
        "Weight": "0.0213 kg",
        "Relative": "5 %",
        "Confirmed": "yes",
    }


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
