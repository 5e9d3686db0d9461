"""Line shapes of bound protons against the integral over orientations by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from imgtheranostics.kernels import mt_line

LARMOR = 802.546
"""rad/s in one ppm at 3 T."""


def orientation_average(detuning: float, t2_s: float) -> float:
    """F19 of cest.md as it stands there."""

    def integrand(u: float) -> float:
        size = abs(3.0 * u * u - 1.0)
        return np.sqrt(2.0 / np.pi) * t2_s / size * np.exp(-2.0 * (detuning * t2_s / size) ** 2)

    magic = 1.0 / np.sqrt(3.0)
    below = quad(integrand, 0.0, magic - 1e-9, limit=2000, epsrel=1e-11, points=[0.3, 0.5, 0.56, 0.576])[0]
    above = quad(integrand, magic + 1e-9, 1.0, limit=2000, epsrel=1e-11, points=[0.579, 0.6, 0.7, 0.85])[0]
    return float(np.pi * (below + above))


@pytest.mark.parametrize("t2_s", [9e-6, 12e-6, 4e-5])
@pytest.mark.parametrize("ppm", [1.0, -2.4, 12.0, 100.0])
def test_super_lorentzian_is_the_average_over_orientations(t2_s: float, ppm: float) -> None:
    expected = orientation_average(ppm * LARMOR, t2_s)
    found = mt_line.saturation_rate(mt_line.SUPER_LORENTZIAN, ppm * LARMOR, LARMOR, t2_s)
    assert found == pytest.approx(expected, rel=1e-9)


def test_far_wing_of_the_super_lorentzian_vanishes() -> None:
    assert mt_line.saturation_rate(mt_line.SUPER_LORENTZIAN, 5e6, LARMOR, 1e-5) == 0.0


def test_pole_is_cut_by_the_polynomial_that_meets_value_and_slope_at_1_ppm() -> None:
    def line(ppm: float) -> float:
        return mt_line.saturation_rate(mt_line.SUPER_LORENTZIAN, ppm * LARMOR, LARMOR, 1e-5)

    small = 1e-4
    inside = (line(1.0) - line(1.0 - small)) / small
    outside = (orientation_average((1 + small) * LARMOR, 1e-5) - orientation_average(LARMOR, 1e-5)) / small
    assert inside == pytest.approx(outside, rel=1e-3)
    assert line(0.0) > line(0.5) > line(1.0) > 0.0
    assert line(-0.5) == line(0.5)


def test_lorentzian_line_is_the_published_one() -> None:
    t2_s, detuning = 4e-5, 3.0 * LARMOR
    found = mt_line.saturation_rate(mt_line.LORENTZIAN, detuning, LARMOR, t2_s)
    assert found == pytest.approx(t2_s / (1.0 + (detuning * t2_s) ** 2), rel=1e-14)
    assert mt_line.saturation_rate(mt_line.NONE, detuning, LARMOR, t2_s) == 0.0
