"""Limits of detection against their definition, and their intervals against repeated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import linregress

from imgtheranostics.errors import IllConditioned
from imgtheranostics.validation.detection import DETECTION, QUANTIFICATION, detection_limits, straight_line

X = np.array([1.0, 3.0, 10.0, 30.0, 100.0])


def test_limits_by_hand():
    """Blanks 9, 10, 11 scatter by 1; slope 2: 3.3 / 2 and 10 / 2."""
    found = detection_limits(X, 10 + 2 * X, [9.0, 10.0, 11.0])
    assert found.blank_sd == pytest.approx(1)
    assert found.slope == pytest.approx(2)
    assert found.detection == pytest.approx(1.65)
    assert found.quantification == pytest.approx(5.0)
    assert found.log10_low < math.log10(1.65) < found.log10_high


def test_interval_of_an_exact_line_is_that_of_chi_square():
    """Tables: chi-square of 10 degrees of freedom lies from 3.247 to 20.483 in 95 % of cases."""
    blanks = np.arange(11.0)
    found = detection_limits(X, 2 * X, blanks)
    low, high = (math.sqrt(10 / q) for q in (20.483, 3.247))
    assert 10**found.log10_low == pytest.approx(found.detection * low, rel=1e-4)
    assert 10**found.log10_high == pytest.approx(found.detection * high, rel=1e-4)


def test_sets_of_blanks_are_pooled_around_their_own_means():
    found = detection_limits(X, X, [[9.0, 10.0, 11.0], [109.0, 110.0, 111.0]])
    assert found.blank_sd == pytest.approx(1)


def test_interval_covers_the_truth_as_often_as_it_says():
    """2000 experiments with 12 blanks: 95 % within 3 binomial standard deviations."""
    rng = np.random.default_rng(0)
    sd, slope, n = 0.7, 2.5, 2000
    truth = math.log10(DETECTION * sd / slope)
    inside = 0
    for _ in range(n):
        found = detection_limits(X, slope * X + rng.normal(0, sd, X.size), rng.normal(0, sd, 12))
        inside += found.log10_low <= truth <= found.log10_high
    assert inside / n == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n))


def test_quantification_lies_at_ten_standard_deviations():
    found = detection_limits(X, X, np.array([0.0, 1.0, 2.0]))
    assert found.quantification / found.detection == pytest.approx(QUANTIFICATION / DETECTION)


def test_straight_line_equals_scipy():
    rng = np.random.default_rng(1)
    y = 0.3 + 1.7 * X + rng.normal(0, 2, X.size)
    slope, r_squared = straight_line(X, y)
    reference = linregress(X, y)
    assert slope == pytest.approx(reference.slope)
    assert r_squared == pytest.approx(reference.rvalue**2)


@pytest.mark.parametrize(("signal", "blanks"), [(-X, [1.0, 2.0]), (np.ones(5), [1.0, 2.0]), (X, [1.0, 1.0])])
def test_no_slope_or_no_noise_has_no_limit(signal, blanks):
    with pytest.raises(IllConditioned, match="no limit"):
        detection_limits(X, signal, blanks)


@pytest.mark.parametrize(
    ("x", "y", "blanks"),
    [
        (X, X[:-1], [1.0, 2.0]),
        (X[:2], X[:2], [1.0, 2.0]),
        (X, X, [1.0]),
        (X, X * np.nan, [1.0, 2.0]),
        (np.ones(5), X, [1.0, 2.0]),
    ],
)
def test_misfits_are_refused(x, y, blanks):
    with pytest.raises(ValueError, match=r"concentrations"):
        detection_limits(x, y, blanks)
