"""Dose enhancement from a concentration: closed forms of ct.md F19 and the ratios of its section 4.6."""

from __future__ import annotations

import math

import pytest

from imgtheranostics.ct import dose_enhancement, dose_rule
from imgtheranostics.errors import ImplausibleValue


@pytest.mark.parametrize(("material", "ratio", "expected"), [("HfO2", 81, 1.80), ("Au", 127, 2.26)])
def test_a_hundredth_of_the_mass(material, ratio, expected):
    """10 mg in 10 + 990 mg: the mass fraction is 0.01."""
    found = dose_rule(material, ratio=ratio, tissue_density_g_ml=0.99).at(10)
    assert found.mass_fraction == pytest.approx(0.01)
    assert found.value == pytest.approx(expected)
    assert found.value == pytest.approx(dose_enhancement(material, 0.01, ratio=ratio).value)


def test_tissue_makes_room_for_a_material_of_known_density():
    """1 mL of 9.7 g/mL at 97 mg/mL: 0.01 mL are particles, 0.99 mL tissue."""
    known = dose_rule("nbtxr3", 60)
    assert known.at(97).mass_fraction == pytest.approx(0.097 / (0.097 + 0.99))
    given = dose_rule("HfO2", 60, density_g_ml=9.7)
    assert given.at(97).mass_fraction == known.at(97).mass_fraction
    without = dose_rule("nbtxr3", 60, displacement=False)
    assert without.at(97).mass_fraction == pytest.approx(0.097 / 1.097)
    assert dose_rule("HfO2", 60).at(97).mass_fraction == without.at(97).mass_fraction
    assert without.decision()["tissue_density_g_ml"] == 1.0


@pytest.mark.parametrize("material", ["HfO2", "nbtxr3"])
def test_standard_error_is_the_slope_of_the_value(material):
    """Finite differences of the value in concentration and ratio."""
    rule = dose_rule(material, ratio=81, ratio_error=3)
    found = rule.at(20, 0.3, 0.4)
    per_mg_ml = (rule.at(20.01).value - rule.at(19.99).value) / 0.02
    assert found.noise_error == pytest.approx(0.3 * per_mg_ml, rel=1e-6)
    assert found.slope_error == pytest.approx(0.4 * per_mg_ml, rel=1e-6)
    more = dose_rule(material, ratio=84).at(20).value
    assert found.ratio_error == pytest.approx(more - found.value)
    parts = (found.noise_error, found.slope_error, found.ratio_error)
    assert found.standard_error == pytest.approx(math.hypot(*parts))


def test_noise_may_take_it_below_one_and_nothing_is_made_of_nothing():
    rule = dose_rule("HfO2", 60)
    assert rule.at(-1).value < 1
    assert rule.at(0).value == 1
    lacking = rule.at(math.nan, 1, 1)
    assert math.isnan(lacking.value)
    assert math.isnan(lacking.standard_error)


@pytest.mark.parametrize("amount", [9701, -600, math.inf])
def test_what_leaves_no_room_for_tissue_is_refused(amount):
    with pytest.raises(ImplausibleValue, match="no room"):
        dose_rule("nbtxr3", 60).at(amount)


def test_energies_beyond_the_model_need_a_ratio():
    with pytest.raises(ImplausibleValue, match="photon energy"):
        dose_rule("HfO2", 801)
    assert dose_rule("HfO2", 6000, ratio=1.2).decision()["photon_kev"] == 6000
    with pytest.raises(ValueError, match="energy_kev"):
        dose_rule("HfO2")
    with pytest.raises(ImplausibleValue, match="density"):
        dose_rule("HfO2", 60, tissue_density_g_ml=0)
