"""A straight line through calibration points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imgtheranostics.mapping.weighted_line import fit_weighted_line

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=12, unique=True)


@given(NUMBERS, st.integers(0, 2**32 - 1))
def test_the_line_is_that_of_numpy(x, seed):
    """numpy.polyfit with weights; covariance unscaled, where the points scatter less than their errors."""
    rng = np.random.default_rng(seed)
    at = np.array(x)
    assume(np.ptp(at) > 1)
    error = rng.uniform(0.5, 3, at.size)
    value = 4 - 2.5 * at + 0.3 * error * rng.standard_normal(at.size)
    found = fit_weighted_line(at, value, standard_error=error)
    assume(found.reduced_chi2 <= 1)
    (slope, intercept), covariance = np.polyfit(at, value, 1, w=1 / error, cov="unscaled")
    np.testing.assert_allclose([found.slope, found.intercept], [slope, intercept], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.covariance, covariance[::-1, ::-1], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.residuals, value - intercept - slope * at, atol=1e-6)


def test_errors_from_scatter_are_those_of_numpy_over_the_shortfall():
    """4 points leave 2 degrees of freedom, c4 = 0.8862."""
    x, y = np.array([0.0, 1, 2, 4]), np.array([0.1, 0.9, 2.2, 3.9])
    covariance = np.polyfit(x, y, 1, cov=True)[1]
    found = fit_weighted_line(x, y)
    assert found.slope_error == pytest.approx(np.sqrt(covariance[0, 0]) / 0.886227)
    assert found.intercept_error == pytest.approx(np.sqrt(covariance[1, 1]) / 0.886227)
    assert np.isnan(found.reduced_chi2)


def test_two_points_without_errors_have_none():
    found = fit_weighted_line([0, 2], [1, 5])
    assert (found.intercept, found.slope) == pytest.approx((1, 2))
    assert np.isnan(found.slope_error)


def test_points_far_from_zero_and_of_large_scale_keep_their_digits():
    x = 1e6 + np.array([0.0, 1, 2, 3])
    found = fit_weighted_line(x, 2 + 3 * (x - 1e6), standard_error=0.1)
    assert found.slope == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "error", "match"),
    [
        ([1, 2], [1, 2, 3], None, "same length"),
        ([[1, 2]], [[1, 2]], None, "same length"),
        ([1, np.inf], [1, 2], None, "finite"),
        ([1, 1], [1, 2], None, "different x"),
        ([], [], None, "different x"),
        ([1, 2], [1, 2], -1, "positive"),
        ([1, 2], [1, 2], [1, 2, 3], "one number or 2"),
    ],
)
def test_what_makes_no_line_is_an_error_of_use(x, y, error, match):
    with pytest.raises(ValueError, match=match):
        fit_weighted_line(x, y, standard_error=error)
