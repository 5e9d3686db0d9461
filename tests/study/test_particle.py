"""What a particle carries, and concentrations of it from those of what it carries."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from imgtheranostics.errors import MissingMetadata, UnitMismatch
from imgtheranostics.study.particle import Particle, mg_per_ml_factor

CORE_SHELL = Particle(
    carries={"Fe": "50 %", "Au": "50 %", "Gd": "1 umol/mg", "ICG": "0.04 umol/mg"},
    mass="2.4e-15 g",
    molar_mass="5400 g/mol",
)


@pytest.mark.parametrize(
    ("of", "unit", "factor"),
    [
        ("particle", "mg/mL", 1.0),
        ("particle", "ug/mL", 1e-3),
        ("Fe", "mg/mL", 2.0),
        # 55.845 g/mol of iron: 1 mmol/L is 0.055845 mg/mL of it
        ("Fe", "mmol/L", 0.11169),
        # 196.967 g/mol of gold
        ("Au", "umol/L", 2 * 196.967e-6),
        ("Gd", "mmol/L", 1.0),
        # 157.25 g/mol of gadolinium: 1 umol weighs 0.15725 mg
        ("Gd", "mg/mL", 1 / 0.15725),
        ("ICG", "nmol/L", 1e-6 / 0.04),
        ("particle", "mmol/L", 5.4),
        ("particle", "{particles}/mL", 2.4e-12),
    ],
)
def test_one_concentration_of_the_particle(of: str, unit: str, factor: float) -> None:
    assert mg_per_ml_factor(CORE_SHELL, of, unit) == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize(
    ("of", "unit", "said"),
    [
        ("I", "mg/mL", "how much I a milligram"),
        ("ICG", "mg/mL", "the molar mass of ICG"),
        ("Bq", "Bq/mL", "no concentration"),
    ],
)
def test_what_is_not_known_is_refused(of: str, unit: str, said: str) -> None:
    with pytest.raises((MissingMetadata, UnitMismatch), match=said):
        mg_per_ml_factor(CORE_SHELL, of, unit)


@pytest.mark.parametrize(("unit", "key"), [("mmol/L", "molar_mass"), ("{particles}/mL", "mass")])
def test_masses_of_the_particle_that_are_not_stated_are_named(unit: str, key: str) -> None:
    with pytest.raises(MissingMetadata) as caught:
        mg_per_ml_factor(Particle(), "particle", unit)
    assert caught.value.where == f"particle.{key}"


@pytest.mark.parametrize("share", ["0.5", "120 %", "0 %", "-1 umol/mg", "3 mL"])
def test_shares_without_unit_or_beyond_the_whole_are_refused(share: str) -> None:
    with pytest.raises(ValidationError):
        Particle(carries={"Fe": share})
