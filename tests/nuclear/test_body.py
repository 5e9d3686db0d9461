"""Body measures against the worked examples of the PET reference sheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.body import (
    KINDS,
    body_measure,
    body_surface_area,
    ideal_body_weight,
    lean_body_mass_james,
    lean_body_mass_janmahasatian,
)


def test_worked_example_of_a_man():
    assert lean_body_mass_james(80, 1.80, "M") == pytest.approx(62.7160, abs=5e-5)
    assert lean_body_mass_james(80, 1.80, "M", coefficient=120) == pytest.approx(64.2963, abs=5e-5)
    assert lean_body_mass_janmahasatian(80, 1.80, "M") == pytest.approx(61.7314, abs=5e-5)
    assert ideal_body_weight(1.80, "M") == pytest.approx(77.68, abs=5e-3)
    assert body_surface_area(80, 1.80) == pytest.approx(1.99642, abs=5e-6)


def test_worked_example_of_a_woman():
    assert lean_body_mass_james(60, 1.65, "F") == pytest.approx(44.6298, abs=5e-5)
    assert lean_body_mass_james(60, 1.65, "F", coefficient=120) == pytest.approx(44.6298, abs=5e-5)
    # the sheet prints 39.2869; the formula gives 39.28685
    assert lean_body_mass_janmahasatian(60, 1.65, "F") == pytest.approx(39.2869, abs=1e-4)
    assert ideal_body_weight(1.65, "F") == pytest.approx(57.33, abs=5e-3)
    assert body_surface_area(60, 1.65) == pytest.approx(1.65866, abs=5e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("bw", "bsa")])
def test_sex_other_takes_the_mean_of_both_formulas(kind):
    values = {sex: body_measure(kind, weight_kg=70, height_m=1.75, sex=sex).value for sex in "MFO"}
    assert values["O"] == pytest.approx((values["M"] + values["F"]) / 2, rel=1e-12)
    assert "mean of" in body_measure(kind, weight_kg=70, height_m=1.75, sex="O").explanation


def test_ideal_weight_of_the_reference_object():
    # IBSI digital reference object: 175 cm, sex O: mean of 72.38 and 66.43 kg
    assert body_measure("ibw", weight_kg=70, height_m=1.75, sex="O").value == pytest.approx(69405, abs=0.01)


def test_units_are_grams_and_square_centimetres():
    assert body_measure("bw", weight_kg=0.02).value == 20.0
    area = body_measure("bsa", weight_kg=80, height_m=1.80)
    assert area.unit == "cm2"
    assert area.value == pytest.approx(19964.2, abs=0.05)


def test_lean_mass_that_turns_negative_is_refused():
    # 1.07 W - 148 (W/H)^2 < 0 above W = 1.07 H^2 / 148: 187 kg at 160 cm
    with pytest.raises(ImplausibleValue, match="does not hold"):
        body_measure("lbm_james128", weight_kg=190, height_m=1.60, sex="F")
    assert body_measure("lbm_janmahasatian", weight_kg=190, height_m=1.60, sex="F").value > 0


def test_ideal_weight_of_a_very_short_person_is_refused():
    with pytest.raises(ImplausibleValue):
        body_measure("ibw", weight_kg=30, height_m=1.0, sex="F")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [None, 0.0, -3.0, float("nan")])
def test_no_weight_no_suv(kind, weight):
    with pytest.raises(MissingMetadata, match="PatientWeight") as caught:
        body_measure(kind, weight_kg=weight, height_m=1.7, sex="M")
    assert "%ID/g" in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bw"])
def test_height_is_needed_for_all_but_body_weight(kind):
    with pytest.raises(MissingMetadata, match="PatientSize"):
        body_measure(kind, weight_kg=70, height_m=None, sex="M")


@pytest.mark.parametrize("sex", [None, "", "X"])
def test_sex_is_needed_for_masses_and_not_for_surface(sex):
    with pytest.raises(MissingMetadata, match="PatientSex"):
        body_measure("lbm_janmahasatian", weight_kg=70, height_m=1.7, sex=sex)
    assert body_measure("bsa", weight_kg=70, height_m=1.7, sex=sex).value > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bw"])
def test_formulas_of_adults_are_refused_for_mice(kind):
    with pytest.raises(ImplausibleValue, match="adults"):
        body_measure(kind, weight_kg=0.02, height_m=0.09, sex="M")


def test_unknown_kind_and_coefficient():
    with pytest.raises(ValueError, match="kind"):
        body_measure("lean", weight_kg=70)
    with pytest.raises(ValueError, match="coefficient"):
        lean_body_mass_james(70, 1.7, "M", coefficient=100)
    with pytest.raises(ValueError, match="sex"):
        ideal_body_weight(1.7, "X")


@given(st.floats(45, 100), st.floats(1.5, 2.0), st.sampled_from("MFO"))
def test_lean_mass_is_positive_and_below_weight_for_common_bodies(weight, height, sex):
    for kind in ("lbm_janmahasatian", "lbm_james120", "lbm_james128"):
        try:
            measure = body_measure(kind, weight_kg=weight, height_m=height, sex=sex)
        except ImplausibleValue:
            continue
        assert 0 < measure.value <= 1000 * weight
