"""The inversion of the spoiled gradient echo against its equation, and its two entries against each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.mri.dce_concentration import signal_to_concentration
from imgtheranostics.mri.spgr_concentration import from_spgr
from imgtheranostics.mri.spgr_inversion import rate_after


def spgr(rate, angle, repetition_s):
    """F1 of mri.md without T2* decay."""
    decay = np.exp(-repetition_s * rate)
    return np.sin(angle) * (1 - decay) / (1 - decay * np.cos(angle))


@given(st.floats(0.2, 5), st.floats(0.0, 50), st.floats(2, 80), st.floats(0.002, 0.05))
def test_rate_of_a_signal_by_the_equation_is_found(before, rise, angle_deg, repetition_s):
    angle = np.radians(angle_deg)
    ratio = np.array([[spgr(before + rise, angle, repetition_s) / spgr(before, angle, repetition_s)]])
    decay, rate = rate_after(ratio, np.array([before]), np.array([np.cos(angle)]), repetition_s)
    np.testing.assert_allclose(rate[0, 0], before + rise, rtol=1e-6)
    np.testing.assert_allclose(decay[0, 0], np.exp(-repetition_s * (before + rise)), rtol=1e-6)


def test_signals_that_no_rate_gives_are_not_a_number():
    """Full saturation is the most that there is: M0 sin a; nothing and less is below every rate."""
    angle, repetition_s = np.radians(15), 0.005
    most = np.sin(angle) / spgr(0.7, angle, repetition_s)
    ratio = np.array([[0.999 * most], [1.001 * most], [0.0], [-0.1], [np.nan]])
    _, rate = rate_after(ratio, np.array([0.7]), np.array([np.cos(angle)]), repetition_s)
    assert np.isfinite(rate[:, 0]).tolist() == [True, False, False, False, False]


def test_both_entries_give_the_same_concentration(rng):
    signal = rng.uniform(0.5, 3, (5, 40))
    shared = {"flip_angle_deg": 15.0, "repetition_time_s": 0.005, "baseline": (0, 8)}
    t1 = rng.uniform(0.5, 2, 5)
    values = signal_to_concentration(signal, t1_s=t1, relaxivity=4.5, **shared)
    with_errors = from_spgr(signal, 4.5, t1_s=t1, **shared)
    # The mean of the baseline is summed in another order: its rounding, times dC/d ln S of 0.1 to 3 mmol/L.
    np.testing.assert_allclose(values, with_errors.parameters["concentration_mm"], rtol=0, atol=1e-13)
