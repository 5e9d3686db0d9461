"""Exponential tails: a general optimiser, any unit of time, curves that do not decay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from imgtheranostics.mapping.exponential_tail import fit_decays
from imgtheranostics.volume import Flag


def decay(shift, amplitude, rate):
    return amplitude * np.exp(-rate * shift)


def test_tails_agree_with_a_general_optimiser(rng):
    """scipy.optimize.curve_fit, which has the same standard errors but for the correction of few freedoms."""
    times = np.sort(rng.uniform(0.0, 50.0, 12))
    samples = 4.0 * np.exp(-0.07 * times) + rng.normal(0.0, 0.2, (5, 12))
    found = fit_decays(np.ascontiguousarray(samples.T), times)
    for n, one in enumerate(samples):
        best, covariance = optimize.curve_fit(
            lambda t, a, k: a * np.exp(-k * (t - times[0])), times, one, (4.0, 0.1)
        )
        assert (found.amplitude[n], found.rate[n]) == pytest.approx(best, rel=1e-5)
        errors = np.sqrt(np.diag(covariance)) / 0.9753
        assert (found.amplitude_error[n], found.rate_error[n]) == pytest.approx(errors, rel=1e-3)
        moved = fit_decays((one + 1e-5)[:, np.newaxis], times)
        assert (moved.rate[0] - found.rate[n]) / 1e-5 == pytest.approx(found.rate_by_level[n], rel=0.3)


@given(span=st.floats(1e-3, 1e7), share=st.floats(0.05, 8.0), scale=st.floats(1e-6, 1e6))
def test_any_unit_of_time_and_scale_will_do(span, share, scale):
    """Decay by 5 % up to 8 time constants over all samples."""
    times = 3.0 * span + span * np.linspace(0.0, 1.0, 9)
    found = fit_decays((scale * decay(times - times[0], 2.0, share / span))[:, np.newaxis], times)
    assert found.flags[0] == 0
    assert found.rate[0] * span == pytest.approx(share, rel=1e-6)
    assert found.amplitude[0] == pytest.approx(2.0 * scale, rel=1e-6)


def test_curves_that_do_not_decay_are_flagged():
    times = np.arange(10.0)
    rising, level, negative = 1.0 + 0.1 * times, np.ones(10), -np.exp(-0.3 * times)
    missing = np.where(times == 4.0, np.nan, np.exp(-0.3 * times))
    found = fit_decays(np.stack([rising, level, negative, missing], axis=1), times)
    expected = [Flag.OUTSIDE_RANGE, Flag.OUTSIDE_RANGE, Flag.NEGATIVE_AMPLITUDE, Flag.INVALID_INPUT]
    assert found.flags.tolist() == [flag.value for flag in expected]
    assert np.isnan(found.rate).all()
