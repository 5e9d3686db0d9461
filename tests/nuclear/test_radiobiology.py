"""BED, EQD2 and the protraction factor against closed forms, integration and textbook fractions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import dblquad

from imgtheranostics.errors import UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.radiobiology import bed, bed_map, eqd2, g_factor, tissue
from imgtheranostics.volume import Estimate, Volume

HOUR = 3600.0


def test_thirty_fractions_of_two_gray():
    """Textbook: 60 Gy in 2 Gy has BED 72 Gy at 10 Gy and 100 Gy at 3 Gy, and an EQD2 of 60 Gy."""
    assert float(bed(60.0, 10.0, g=1 / 30)) == pytest.approx(72.0)
    assert float(bed(60.0, 3.0, g=1 / 30)) == pytest.approx(100.0)
    assert float(eqd2(bed(60.0, 3.0, g=1 / 30), 3.0)) == pytest.approx(60.0)


def test_one_exponential_is_the_ratio_of_half_lives():
    """pet.md 3.7: G = T_rep/(T_rep + T_eff)."""
    assert float(g_factor(50 * HOUR, 2.8 * HOUR)) == pytest.approx(2.8 / 52.8)
    found = bed(23.0, 2.6, effective_half_life_s=50 * HOUR, repair_half_life_s=2.8 * HOUR)
    assert float(found) == pytest.approx(23 * (1 + 2.8 / 52.8 * 23 / 2.6))
    assert float(g_factor(50 * HOUR, math.inf)) == 1.0
    assert float(g_factor(50 * HOUR, 0.0)) == 0.0


def test_several_exponentials_by_integration():
    """Lea and Catcheside's double integral by SciPy for 0.8 exp(-t/20) + 0.2 exp(-t/90), repair 2.8 h."""
    a, rates = np.array([0.8, 0.2]), np.array([1 / 20, 1 / 90])
    repair = math.log(2) / 2.8

    def rate(t):
        return float((a * np.exp(-rates * t)).sum())

    double = dblquad(
        lambda s, t: rate(t) * rate(s) * math.exp(-repair * (t - s)),
        0,
        1200,
        lambda t: max(0, t - 80),
        lambda t: t,
    )[0]
    expected = 2 * double / float((a / rates).sum()) ** 2
    found = g_factor(math.log(2) / rates * HOUR, 2.8 * HOUR, amplitudes=a)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    alone = g_factor(np.array([[50.0, 50.0]]) * HOUR, 2.8 * HOUR, amplitudes=[0.3, 0.7])
    assert alone.tolist() == pytest.approx([2.8 / 52.8])


def test_arrays_and_unknown_doses():
    found = bed([0.0, 10.0, np.nan], 10.0, g=0.5)
    assert found[:2].tolist() == [0.0, 15.0]
    assert np.isnan(found[2])


def test_maps_carry_their_errors():
    """Against the numerical derivative; what all voxels share grows by at most the steepest voxel's."""
    gy = Volume(np.full((2, 2, 2), 12.0, np.float32), np.eye(4), "absorbed_dose", "Gy")
    dose = Estimate(
        gy, gy.replace(data=np.full((2, 2, 2), 0.6, np.float32)),
        gy.replace(data=np.zeros((2, 2, 2), np.uint16), quantity="flags", unit="1"), 0.05,
    )  # fmt: skip
    for as_eqd2 in (False, True):
        found = bed_map(dose, 3.0, g=0.2, as_eqd2=as_eqd2)
        scale = 1 / (1 + 2 / 3) if as_eqd2 else 1.0
        value = float(bed(12.0, 3.0, g=0.2)) * scale
        slope = (float(bed(12.01, 3.0, g=0.2)) - float(bed(11.99, 3.0, g=0.2))) / 0.02 * scale
        np.testing.assert_allclose(found.value.data, value, rtol=1e-6)
        np.testing.assert_allclose(found.standard_error.data, 0.6 * slope, rtol=1e-6)
        assert found.calibration_relative == pytest.approx(0.05 * slope * 12 / value, rel=1e-6)
        assert found.decisions["radiobiology"] == {"alpha_beta_gy": 3.0, "g": 0.2}
    with pytest.raises(UnitMismatch, match="absorbed dose"):
        bed_map(found, 3.0, g=0.2)


def test_defaults_of_tissues_have_a_source():
    """pet.md 4.2: kidney 2.6 Gy and 2.8 h."""
    kidney = tissue("kidney")
    assert (kidney.alpha_beta_gy, kidney.repair_half_life_s) == (2.6, 2.8 * HOUR)
    assert kidney.source
    with pytest.raises(UnsupportedInput, match="radiosensitivity"):
        tissue("hair")


@pytest.mark.parametrize(
    "call",
    [
        lambda: bed(-1.0, 10.0, g=1.0),
        lambda: bed(1.0, 0.0, g=1.0),
        lambda: bed(1.0, 10.0, g=1.5),
        lambda: bed(1.0, 10.0),
        lambda: bed(1.0, 10.0, effective_half_life_s=1.0),
        lambda: bed(1.0, 10.0, g=1.0, effective_half_life_s=1.0, repair_half_life_s=1.0),
        lambda: eqd2(-1.0, 10.0),
        lambda: eqd2(1.0, math.nan),
        lambda: g_factor(0.0, 1.0),
        lambda: g_factor(1.0, -1.0),
        lambda: g_factor([1.0, 2.0], 1.0, amplitudes=[0.0, 0.0]),
    ],
)
def test_impossible_numbers_are_refused(call):
    with pytest.raises(ValueError, match=r"must|negative|give"):
        call()
