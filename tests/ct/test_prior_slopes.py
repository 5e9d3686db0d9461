"""Slopes before a calibration: which beams they are for, what they assume, and how sure they are."""

from __future__ import annotations

import pickle

import pytest

from imgtheranostics.ct.materials import Slope, hu_per_mg_ml, prior_slope
from imgtheranostics.errors import (
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)


def codes(slope):
    return [caution.code for caution in slope.warnings]


def test_a_prior_of_the_model_says_what_it_is():
    slope = prior_slope("iodine", 120, filtration_mm_al=7, water_cm=32)
    assert slope.hu_per_mg_ml == hu_per_mg_ml("I", 120, water_cm=32)
    assert (slope.material, slope.kvp, slope.filter, slope.water_cm) == ("I", 120.0, "7 mm Al", 32.0)
    assert slope.source == "prior: spectrum model"
    assert slope.prior
    assert not slope.warnings


def test_a_prior_is_5_percent_sure():
    """ct.md 4.2: the two tables differ by up to 4.4 %; 5 % is the proposed default."""
    assert prior_slope("I", 120).relative_error == pytest.approx(0.05)
    assert prior_slope("I", 120, relative_error=0.1).relative_error == pytest.approx(0.1)


def test_what_a_prior_assumes_is_told():
    assumed = prior_slope("I", 120)
    assert codes(assumed) == ["assumed-beam"]
    assert "7 mm Al and 20 cm of water" in assumed.warnings[0].message
    told = prior_slope("I", 120, filtration_mm_al=9).warnings[0].message
    assert "20 cm of water" in told
    assert "Al" not in told


@pytest.mark.parametrize("options", [{}, {"water_cm": 3}, {"filtration_mm_al": 0.5}])
def test_no_clinical_beam_is_assumed_for_a_micro_ct(options):
    """ct.md 4.2: gold has 57 to 69 HU per mg/mL in micro-CT at 50 to 65 kVp; 7 mm Al and 20 cm make it 34."""
    with pytest.raises(MissingMetadata, match="micro-CT") as caught:
        prior_slope("Au", 65, **options)
    assert caught.value.needed == "filtration_mm_al and water_cm"
    stated = prior_slope("Au", 65, filtration_mm_al=1, water_cm=2.5)
    assert stated.hu_per_mg_ml == pytest.approx(57, rel=0.05)
    assert not stated.warnings


@pytest.mark.parametrize(
    ("table", "material", "kvp", "options", "expected"),
    [
        ("A", "I", 80, {}, 43.8),
        ("A", "I", 140, {"tin_mm": 0.4}, 14.9),
        ("A", "Hf", 120, {"water_cm": 32}, 31.7),
        ("A", "Bi", 40, {"water_cm": 3, "filtration_mm_al": 0.5}, 90.2),
        ("B", "hafnium oxide", 120, {}, 26.6),
        ("B", "I", 65, {"water_cm": 2.5}, 54.5),
        ("B", "Au", 80, {"water_cm": 2.5}, 47.0),
        ("B", "Au", 80, {"water_cm": 20}, 25.6),
    ],
)
def test_a_table_answers_for_its_beams(table, material, kvp, options, expected):
    """Cells of ct.md 4.2."""
    slope = prior_slope(material, kvp, model=table, **options)
    assert slope.hu_per_mg_ml == expected
    assert slope.standard_error == pytest.approx(0.05 * expected)
    assert slope.source == f"prior: table {table}"
    assert slope.prior


def test_the_oracle_of_two_materials_with_the_slopes_of_set_a():
    """ct.md section 6: 5 mg/mL I and 3 mg/mL HfO2 give 299.1 and 193.1 HU at 80 and 140 kVp."""
    for kvp, expected in ((80, 299.1), (140, 193.1)):
        iodine, oxide = (prior_slope(m, kvp, model="A").hu_per_mg_ml for m in ("I", "HfO2"))
        assert 5 * iodine + 3 * oxide == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("kvp", "options"),
    [
        (110, {}),
        (120, {"water_cm": 25}),
        (120, {"filtration_mm_al": 3}),
        (120, {"tin_mm": 0.4}),
        (140, {"tin_mm": 0.6}),
        (70, {}),
    ],
)
def test_a_table_is_not_stretched_to_other_beams(kvp, options):
    with pytest.raises(UnsupportedInput, match="does not hold this beam") as caught:
        prior_slope("I", kvp, model="A", **options)
    assert "120 kVp, 32 cm water" in caught.value.needed
    assert "0.4 mm Sn" in caught.value.needed
    assert "spectrum" in caught.value.next_step


def test_a_table_that_does_not_record_its_filter_says_so():
    assert codes(prior_slope("I", 120, water_cm=20, model="B")) == ["filter-not-recorded"]
    assert codes(prior_slope("I", 120, model="A")) == ["assumed-beam"]


def test_a_material_that_no_table_holds_is_refused_there_and_modelled_else():
    with pytest.raises(UnsupportedInput, match="table B does not hold the material") as caught:
        prior_slope("Ta2O5", 120, model="B")
    assert "HfO2" in caught.value.needed
    assert prior_slope("Ta2O5", 120).hu_per_mg_ml > 20


def test_displacement_counts_where_a_density_is_known():
    """F4 with 9.7 g/mL of nbtxr3: -0.103 HU per mg/mL."""
    particle = prior_slope("nbtxr3", 120, model="B")
    assert particle.displacement == pytest.approx(1 / 9.7)
    assert particle.hu_per_mg_ml == pytest.approx(26.6 - 1 / 9.7)
    assert prior_slope("nbtxr3", 120, model="B", displacement=False).hu_per_mg_ml == 26.6
    assert prior_slope("HfO2", 120, model="B").displacement == 0
    assert prior_slope("Au", 120, model="A", density_g_ml=19.3).displacement == pytest.approx(
        0.0518, abs=1e-4
    )
    with pytest.raises(MissingMetadata, match="density"):
        prior_slope("HfO2", 120, displacement=True)


def test_unknown_choices_are_errors_of_use():
    with pytest.raises(ValueError, match="'spectrum', 'A' and 'B'"):
        prior_slope("I", 120, model="C")
    with pytest.raises(ValueError, match="fraction"):
        prior_slope("I", 120, relative_error=5)


@pytest.mark.parametrize(
    ("material", "usual"), [("HfO3", "HfO2"), ("FeO", "Fe3O4 or Fe2O3"), ("GdO3", "Gd2O3")]
)
def test_a_formula_beside_the_usual_one_of_its_elements_is_told(material, usual):
    (told,) = (note for note in prior_slope(material, 120).warnings if note.code == "unusual-formula")
    assert told.message.endswith(f"usual of these elements is {usual}")


@pytest.mark.parametrize("material", ["HfO2", "Hf1O2", "nbtxr3", "I", "CsI", "magnetite", "Fe2O3"])
def test_usual_formulas_and_those_without_a_relative_are_not_told(material):
    assert "unusual-formula" not in [note.code for note in prior_slope(material, 120).warnings]


@pytest.mark.parametrize("model", ["spectrum", "A"])
def test_a_beam_that_no_scanner_has_is_refused(model):
    with pytest.raises((ImplausibleValue, UnsupportedInput)):
        prior_slope("I", 0.12, model=model)


def test_a_slope_belongs_to_its_tube_voltage():
    slope = prior_slope("I", 80, model="A")
    slope.require_kvp(80.2)
    slope.require_kvp(None)
    with pytest.raises(UnitMismatch, match="another tube voltage") as caught:
        slope.require_kvp(140, where="KVP (0018,0060)")
    assert caught.value.found == "images at 140 kVp, slope of I at 80 kVp (prior: table A)"
    assert caught.value.where == "KVP (0018,0060)"


def test_a_slope_records_itself_and_travels():
    slope = prior_slope("nbtxr3", 120, model="B")
    decision = slope.decision()
    assert decision["prior"] is True
    assert decision["source"] == "prior: table B"
    assert decision["displacement_hu_per_mg_ml"] == pytest.approx(0.1031, abs=1e-4)
    assert pickle.loads(pickle.dumps(slope)) == slope  # noqa: S301 - our own bytes


@pytest.mark.parametrize("values", [(0.0, 1.0), (float("nan"), 1.0), (20.0, -1.0), (20.0, float("inf"))])
def test_a_slope_is_a_number_with_an_error(values):
    with pytest.raises(ValueError, match="slope"):
        Slope(*values, "I")


def test_a_measured_slope_is_no_prior():
    assert not Slope(26.6, 0.5, "HfO2").prior
