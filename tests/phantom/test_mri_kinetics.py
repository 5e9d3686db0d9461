"""Inputs, perfusion and heating of the MR phantoms against quadrature, solvers and published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad, solve_ivp

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.phantom import mri_kinetics as kinetics


def test_parker_has_the_values_of_the_sheet():
    """mri.md section 6: 6.0732 mmol/L at 0.1726 min, 0.8872 at 1 min, 0.4522 at 5 min."""
    found = kinetics.blood_mmol_l("parker", np.array([0.1726, 1.0, 5.0]) * 60)
    assert_allclose(found, [6.0732, 0.8872, 0.4522], rtol=2e-4)


def test_rodent_input_peaks_at_seven_seconds():
    """McGrath model B: 5.21 mmol/L at 7 s after arrival; nothing before it."""
    found = kinetics.blood_mmol_l("mcgrath_rodent", [0.0, 34.9, 38.5, 42.0, 102.0], arrival_s=35.0)
    late = 3.4 * math.exp(-0.045 * 60) + 1.81 * math.exp(-0.0015 * 60)
    assert_allclose(found, [0.0, 0.0, 2.605, 5.21, late], atol=1e-9)


def test_unknown_input_is_refused_and_lists_the_known():
    with pytest.raises(UnsupportedInput, match="not known") as caught:
        kinetics.blood_mmol_l("sorcery", [0.0])
    assert "parker" in caught.value.needed


@pytest.mark.parametrize(("ktrans", "ve", "vp"), [(0.1, 0.25, 0.06), (0.05, 0.1, 0.0), (0.0, 1.0, 0.55)])
def test_extended_tofts_is_the_convolution_by_quadrature(ktrans, ve, vp):
    def plasma(time_s):
        return kinetics.blood_mmol_l("mcgrath_rodent", time_s, arrival_s=12.3) / 0.55

    times = np.array([0.0, 10.0, 17.0, 60.0, 300.0])
    found = kinetics.extended_tofts(times, plasma, ktrans_per_min=ktrans, ve=ve, vp=vp)
    for t, value in zip(times, found, strict=True):
        area = quad(
            lambda u, t=t: float(plasma(np.array(u))) * math.exp(-ktrans / 60 / ve * (t - u)),
            0.0,
            t,
            points=sorted({min(12.3, t), min(19.3, t)}),
            limit=400,
        )[0]
        assert value == pytest.approx(
            vp * float(plasma(np.array(t))) + ktrans / 60 * area, rel=2e-5, abs=1e-7
        )


def test_heating_starts_as_the_sheet_says():
    """250 W/g and 1 mg/mL: 3.6 Cel/min at first."""
    rate = kinetics.heating_rate_cel_per_s(250, 1)
    assert rate * 60 == pytest.approx(3.6, rel=0.01)


@pytest.mark.parametrize("loss", [0.0, 0.27 / 60])
def test_warming_solves_the_bioheat_equation(loss):
    rate, times = 0.0598, np.array([0.0, 30.0, 300.0, 1200.0])
    solved = solve_ivp(
        lambda _, rise: rate - loss * rise, (0, 1200), [0.0], t_eval=times, rtol=1e-10, atol=1e-10
    )
    assert_allclose(kinetics.warming_cel(times, rate, loss), solved.y[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("celsius", "minutes"), [(43.0, 10.0), (44.0, 20.0), (42.0, 2.5), (38.0, 0.0)])
def test_equivalent_minutes_of_a_constant_temperature(celsius, minutes):
    assert kinetics.cem43_min(lambda t: np.full_like(t, celsius), 600.0) == pytest.approx(minutes)
