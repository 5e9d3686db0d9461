"""Convolution with an exponential against quadrature, closed forms and finite differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import fixed_quad, quad

from imgtheranostics.kernels import convolution

RATES = st.floats(0, 5) | st.just(0.0) | st.floats(1e-12, 1e-3)


def by_quadrature(time, values, rate, at, power):
    """Integral of (s - u)^power c(u) exp(-rate (s - u)), one straight piece at a time."""
    knots = [t for t in time if time[0] <= t < at] + [at]
    total = 0.0
    for low, high in pairwise(knots):
        total += fixed_quad(
            lambda u: (at - u) ** power * np.interp(u, time, values) * np.exp(-rate * (at - u)),
            low,
            high,
            n=40,
        )[0]
    return total


def irregular(seed, n=8):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.uniform(0.05, 4, n)), rng.normal(size=n)


@given(st.floats(0, 800) | st.floats(0, 1e-3) | st.sampled_from([0.0, np.nextafter(1, 0), 1.0]))
def test_moments_equal_quadrature(x):
    found = convolution.exponential_moments(x)
    assert found[0] == pytest.approx(np.exp(-x), rel=1e-15)
    for power in range(3):
        expected = quad(
            lambda v, power=power: v**power * np.exp(-x * v),
            0,
            1,
            points=[min(1, 5 / (x + 1))],
            epsabs=0,
            epsrel=1e-12,
            limit=200,
        )[0]
        assert found[1 + power] == pytest.approx(expected, rel=1e-11)


def test_moments_are_continuous_where_the_series_ends():
    below, above = (convolution.exponential_moments(x) for x in (np.nextafter(1, 0), 1.0))
    assert below == pytest.approx(above, rel=4e-15)


@given(st.integers(0, 2**32 - 1), RATES)
def test_convolution_on_irregular_times_equals_quadrature(seed, rate):
    time, values = irregular(seed)
    integral, moment = np.empty((2, time.size))
    convolution.convolve(time, values, rate, integral, moment)
    for i in (1, 4, 7):
        assert integral[i] == pytest.approx(by_quadrature(time, values, rate, time[i], 0), abs=1e-10)
        assert moment[i] == pytest.approx(by_quadrature(time, values, rate, time[i], 1), abs=1e-9)


@given(st.integers(0, 2**32 - 1), RATES, st.floats(-6, 12))
def test_shifted_convolution_equals_quadrature(seed, rate, delay):
    time, values = irregular(seed)
    shifted, slope, integral, moment = np.empty((4, time.size))
    convolution.convolve_shifted(time, time, values, rate, delay, shifted, slope, integral, moment)
    # np.interp holds the last value, as the kernel does, and the first one, where the kernel has zero.
    expected = np.where(time - delay < time[0], 0, np.interp(time - delay, time, values))
    np.testing.assert_allclose(shifted, expected, atol=1e-10)
    for i in (0, 3, 7):
        place = time[i] - delay
        area = by_quadrature(time, values, rate, place, 0) if place > time[0] else 0
        assert integral[i] == pytest.approx(area, abs=1e-9)
        first = by_quadrature(time, values, rate, place, 1) if place > time[0] else 0
        assert moment[i] == pytest.approx(first, abs=1e-8)


@given(st.integers(0, 2**32 - 1), RATES)
def test_no_delay_is_the_convolution_at_the_samples(seed, rate):
    time, values = irregular(seed, 40)
    integral, moment = np.empty((2, time.size))
    convolution.convolve(time, values, rate, integral, moment)
    shifted, slope, again, moment_again = np.empty((4, time.size))
    convolution.convolve_shifted(time, time, values, rate, 0.0, shifted, slope, again, moment_again)
    assert np.array_equal(shifted, values)
    # Sums of 40 terms of either sign: rounding goes by the largest of them.
    for one, other in ((again, integral), (moment_again, moment)):
        np.testing.assert_allclose(one, other, atol=1e-14 * 40 * np.abs(other).max())


@given(st.integers(0, 2**32 - 1), RATES)
def test_wanted_times_need_not_be_those_of_the_curve(seed, rate):
    time, values = irregular(seed)
    wanted = np.sort(np.random.default_rng(seed + 1).uniform(time[0] - 3, time[-1] + 5, 6))
    shifted, slope, integral, moment = np.empty((4, 6))
    convolution.convolve_shifted(wanted, time, values, rate, 0.0, shifted, slope, integral, moment)
    for i, place in enumerate(wanted):
        area = by_quadrature(time, values, rate, place, 0) if place > time[0] else 0
        assert integral[i] == pytest.approx(area, abs=1e-9)


def test_step_input_gives_the_closed_form_at_any_sampling():
    """A constant curve: I = (1 - exp(-rate t))/rate, also with steps of 40 time constants."""
    time = np.array([0, 0.1, 0.3, 1, 5, 45, 3600])
    integral, moment = np.empty((2, time.size))
    convolution.convolve(time, np.ones(time.size), 1.0, integral, moment)
    np.testing.assert_allclose(integral, 1 - np.exp(-time), rtol=1e-14)
    np.testing.assert_allclose(moment[1:], (1 - (1 + time) * np.exp(-time))[1:], rtol=1e-12)


def test_rate_zero_is_the_trapezoidal_integral(rng):
    time, values = np.cumsum(rng.uniform(0.5, 2, 50)), rng.normal(size=50)
    integral, moment = np.empty((2, 50))
    convolution.convolve(time, values, 0.0, integral, moment)
    expected = np.concatenate([[0], np.cumsum(np.diff(time) * (values[1:] + values[:-1]) / 2)])
    np.testing.assert_allclose(integral, expected, atol=1e-12)


def test_rounding_of_equal_steps_does_not_matter():
    """0.1 s steps as cumulated, as multiplied and as rounded to float32 seconds agree to that rounding."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=400)
    results = []
    for time in (np.arange(400) * 0.1, np.cumsum(np.full(400, 0.1)) - 0.1):
        integral, moment = np.empty((2, 400))
        convolution.convolve(time, values, 0.3, integral, moment)
        results.append(integral)
    np.testing.assert_allclose(results[0], results[1], atol=1e-11)
