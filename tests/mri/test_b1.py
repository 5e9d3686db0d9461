"""Transmit-field maps from two flip angles and from two repetition times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.b1 import actual_flip_angle, double_angle
from imgtheranostics.volume import Flag


def by_sines(nominal_deg, b1, s0=100.0):
    actual = np.radians(nominal_deg * np.asarray(b1))
    return s0 * np.stack([np.sin(actual), np.sin(2 * actual)], axis=-1)


def steady_state(nominal_deg, b1, times, t1):
    """Signals of the two alternating repetition times, exact (Yarnykh 2007, equations 1 and 2)."""
    actual = np.radians(nominal_deg * np.asarray(b1))
    e1, e2 = np.exp(-np.asarray(times) / t1)
    c = np.cos(actual)
    below = 1 - e1 * e2 * c * c
    first = (1 - e2 + (1 - e1) * e2 * c) / below
    second = (1 - e1 + (1 - e2) * e1 * c) / below
    return np.stack([first * np.sin(actual), second * np.sin(actual)], axis=-1)


@given(b1=st.floats(0.05, 1.45), s0=st.floats(1e-3, 1e6))
def test_double_angle_is_exact(b1, s0):
    fit = double_angle(by_sines(60, b1, s0), 60)
    assert fit.parameters["relative_b1"] == pytest.approx(b1, rel=1e-6)
    assert fit.flags == 0
    assert fit.units == {"relative_b1": "1"}


def test_both_angles_may_be_given():
    assert double_angle(by_sines(45, 0.9), [45, 90]).parameters["relative_b1"] == pytest.approx(0.9)
    for angles in ([45, 80], [90, 45], [30, 60, 120]):
        with pytest.raises(ValueError, match="its double"):
            double_angle(np.ones(2), angles)


def test_ratios_that_no_angle_has_are_flagged():
    signal = np.array(
        [[1.0, 2.01], [1.0, -2.01], [0.0, 1.0], [-1.0, 0.5], [np.nan, 1.0], [1.0, np.inf], [1.0, 1.0]]
    )
    fit = double_angle(signal, 60, noise_sd=0.01)
    out, bad = Flag.OUTSIDE_RANGE, Flag.INVALID_INPUT
    assert_array_equal(fit.flags, [out, out, bad, bad, bad, bad, 0])
    assert np.isnan(fit.parameters["relative_b1"][:6]).all()
    assert np.isnan(fit.standard_errors["relative_b1"][:6]).all()
    assert fit.parameters["relative_b1"][6] == pytest.approx(1.0)


@given(b1=st.floats(0.5, 1.3))
def test_actual_flip_angle_is_good_to_its_approximation(b1):
    """TR 20 and 100 ms at T1 1 s; Yarnykh states about 1 % for such."""
    signal = steady_state(60, b1, (0.02, 0.1), 1.0)
    fit = actual_flip_angle(signal, 60, (0.02, 0.1))
    assert fit.parameters["relative_b1"] == pytest.approx(b1, rel=0.01)


def test_actual_flip_angle_is_exact_for_long_t1():
    b1 = np.linspace(0.4, 1.4, 11)
    fit = actual_flip_angle(steady_state(55, b1, (0.02, 0.1), 1e4), 55, (0.02, 0.1))
    assert_allclose(fit.parameters["relative_b1"], b1, rtol=1e-5)


@pytest.mark.parametrize("method", ["double", "afi"])
def test_standard_errors_are_the_scatter(method):
    rng = np.random.default_rng(1)
    b1 = np.array([0.7, 0.9, 1.2])
    exact = by_sines(60, b1) if method == "double" else 100 * steady_state(60, b1, (0.02, 0.1), 1e3) / 1e-5
    noise = 0.002 * exact[:, 0].max()
    signal = exact + noise * rng.standard_normal((2000, 3, 2))
    if method == "double":
        fit = double_angle(signal, 60, noise_sd=noise)
    else:
        fit = actual_flip_angle(signal, 60, (0.02, 0.1), noise_sd=noise)
    found = fit.parameters["relative_b1"]
    assert_allclose(fit.standard_errors["relative_b1"].mean(axis=0), found.std(axis=0), rtol=0.1)


def test_without_noise_level_there_is_no_error():
    fit = double_angle(by_sines(60, [0.8, 1.0]), 60)
    assert np.isnan(fit.standard_errors["relative_b1"]).all()
    with pytest.raises(ValueError, match="negative"):
        double_angle(np.ones(2), 60, noise_sd=-1.0)


def test_type_shape_and_mask():
    b1 = np.linspace(0.7, 1.2, 12, dtype=np.float32).reshape(3, 4)
    mask = b1 > 0.9
    fit = double_angle(by_sines(60, b1).astype(np.float32), 60, mask=mask)
    assert fit.parameters["relative_b1"].dtype == np.float32
    assert_allclose(fit.parameters["relative_b1"][mask], b1[mask], rtol=1e-5)
    assert np.isnan(fit.parameters["relative_b1"][~mask]).all()
    assert_array_equal(fit.flags[~mask], Flag.MASKED_OUT)
    with pytest.raises(ValueError, match="last axis must have 2"):
        double_angle(np.ones(3), 60)


def test_repetition_times_must_differ_in_order():
    for times in ([0.1, 0.02], [0.02, 0.02], [0.02]):
        with pytest.raises(ValueError, match="two times"):
            actual_flip_angle(np.ones(2), 60, times)


def test_radians_and_milliseconds_are_refused():
    with pytest.raises(ImplausibleValue, match="radians"):
        double_angle(np.ones(2), 1.0)
    with pytest.raises(ImplausibleValue, match="radians"):
        actual_flip_angle(np.ones(2), 1.0, [0.02, 0.1])
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        actual_flip_angle(np.ones(2), 60, [25.0, 125.0])
