"""ROC areas against a published table, the definition of DeLong's error, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.statistics import roc_area


def _hanley():
    """Ratings of 109 CT scans, Hanley and McNeil, Radiology 143 (1982) 29, table I."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = np.arange(1, 6)
    score = np.concatenate([np.repeat(ratings, normal), np.repeat(ratings, abnormal)])
    return score, np.repeat([0, 1], [58, 51])


def test_area_of_the_published_ratings():
    """Published: .893, standard error .032 by their formula."""
    found = roc_area(*_hanley())
    assert found.estimate == pytest.approx(0.893, abs=5e-4)
    assert found.standard_error == pytest.approx(0.032, abs=0.002)
    assert (found.n_positive, found.n_negative) == (51, 58)


def test_delong_error_is_its_definition_by_pairs():
    score, outcome = _hanley()
    one, other = score[outcome == 1], score[outcome == 0]
    pairs = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    variance = pairs.mean(axis=1).var(ddof=1) / one.size + pairs.mean(axis=0).var(ddof=1) / other.size
    found = roc_area(score, outcome)
    assert found.estimate == pytest.approx(pairs.mean())
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.interval.high - found.estimate == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


@given(st.integers(0, 1000))
def test_area_is_the_mann_whitney_share_and_that_of_the_curve(seed):
    rng = np.random.default_rng(seed)
    score, outcome = np.round(rng.normal(size=25), 1), np.repeat([0, 1], [14, 11])
    found = roc_area(score, outcome, n_permutations=99)
    u = stats.mannwhitneyu(score[outcome == 1], score[outcome == 0]).statistic
    assert found.estimate == pytest.approx(u / (14 * 11))
    assert np.trapezoid(found.sensitivity, 1 - found.specificity) == pytest.approx(found.estimate)
    assert (found.sensitivity[0], found.specificity[-1]) == (0, 0)


def test_p_value_of_few_is_the_exact_one():
    score, outcome = [0.3, 1.2, 2.2, 2.9, 3.3, 4.1, 5.0], [0, 0, 1, 0, 1, 1, 1]
    expected = stats.mannwhitneyu([2.2, 3.3, 4.1, 5.0], [0.3, 1.2, 2.9], method="exact").pvalue
    assert roc_area(score, outcome).p_value == pytest.approx(expected)


def test_complete_separation_still_has_an_interval():
    found = roc_area([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1, 1])
    assert found.estimate == 1.0
    assert 0.5 < found.interval.low < 0.8
    assert found.interval.high == pytest.approx(1.0)
    assert "Newcombe" in found.method


def test_interval_covers_the_truth():
    """Normal scores one standard deviation apart: area Phi(1/sqrt 2) = .760; 400 studies of 20 + 20."""
    rng = np.random.default_rng(3)
    outcome = np.repeat([0, 1], 20)
    truth = stats.norm.cdf(1 / math.sqrt(2))
    covered = sum(
        not roc_area(rng.normal(size=40) + outcome, outcome, n_permutations=99).interval.excludes(truth)
        for _ in range(400)
    )
    assert 0.91 <= covered / 400 <= 0.98


def test_too_few_responders_are_refused():
    with pytest.raises(it.IllConditioned, match="too few subjects of one outcome"):
        roc_area([1, 2, 3, 4, 5], [0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="1 for responders"):
        roc_area([1, 2, 3, 4], [0, 1, 2, 1])
