"""Kaplan-Meier curves, log-rank tests and landmarks against published and independent values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.log_rank_sums import divided, follow_up
from imgtheranostics.study.statistics import kaplan_meier, landmark, log_rank


def test_remission_curve_is_the_published_one(leukaemia):
    """Kalbfleisch and Prentice, table 1.2: shares .857 at 6, .807 at 7, .448 at 23 weeks; median 23."""
    time, event, group = leukaemia
    curve = kaplan_meier(time[group == "6-MP"], event[group == "6-MP"])
    assert curve.at([5.9, 6, 7, 23, 30]) == pytest.approx([1, 0.857, 0.807, 0.448, 0.448], abs=5e-4)
    assert math.isnan(curve.at(36))
    assert curve.numbers_at_risk([0, 6, 7, 10, 20, 35, 36]).tolist() == [21, 21, 17, 15, 8, 1, 0]
    assert curve.estimate == 23
    assert curve.interval == (13, math.inf)
    placebo = kaplan_meier(time[group == "placebo"], event[group == "placebo"])
    assert placebo.estimate == 8
    assert placebo.at(40) == 0


def test_limits_are_those_of_scipy(leukaemia):
    time, event, _ = leukaemia
    curve = kaplan_meier(time, event, level=0.9)
    theirs = stats.ecdf(stats.CensoredData.right_censored(time, event == 0)).sf
    limits = theirs.confidence_interval(0.9, method="log-log")
    assert curve.survival == pytest.approx(theirs.probabilities)
    assert curve.low == pytest.approx(limits.low.probabilities)
    assert curve.high == pytest.approx(limits.high.probabilities)
    assert curve.events.sum() == event.sum()
    assert curve.censored.sum() == (event == 0).sum()


def test_log_rank_of_remissions_is_the_published_one(leukaemia):
    """R survdiff: chi-square 16.8 (16.79), expected 19.3 and 10.7, p 4e-05."""
    time, event, group = leukaemia
    found = log_rank(time, event, group, method="asymptotic")
    assert found.statistic == pytest.approx(16.79, abs=0.005)
    assert found.expected == pytest.approx((19.25, 10.75), abs=0.005)
    assert found.observed == (9, 21)
    assert found.p_value == pytest.approx(4.17e-5, rel=5e-3)
    assert found.groups == ("6-MP", "placebo")
    assert found.estimate > 4
    assert found.interval.excludes(1.0)


@given(st.integers(0, 10_000))
def test_log_rank_agrees_with_scipy_with_ties_and_censoring(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 40))
    time = np.ceil(rng.exponential(6, n))
    event = rng.uniform(size=n) < 0.7
    group = np.arange(n) % 2
    if not event.any() or min(np.sum(event[group == one]) for one in (0, 1)) == 0:
        return
    samples = [stats.CensoredData.right_censored(time[group == one], ~event[group == one]) for one in (1, 0)]
    theirs = stats.logrank(*samples)
    found = log_rank(time, event, group, method="asymptotic")
    assert found.statistic == pytest.approx(theirs.statistic**2, rel=1e-9, abs=1e-12)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


def test_permutation_p_of_six_subjects_is_that_of_all_orders():
    time, event, group = np.array([1.0, 2, 3, 4, 5, 6]), np.ones(6), np.array([1, 1, 1, 0, 0, 0])
    found = log_rank(time, event, group)
    assert found.p_value == pytest.approx(2 / 20)  # 2 of the 20 ways to choose 3 of 6 are as extreme


def test_scores_add_up_to_zero_and_to_observed_less_expected(rng):
    time, event = np.ceil(rng.exponential(6, 30)), rng.uniform(size=30) < 0.6
    known = follow_up(time, event)
    assert known.scores.sum() == pytest.approx(0.0, abs=1e-12)
    assert divided(known, np.ones(30, bool)) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_many_subjects_use_the_chi_square_distribution_and_say_so(rng):
    time, event, group = rng.exponential(6, 600), np.ones(600), np.arange(600) % 2
    found = log_rank(time, event, group)
    assert found.p_value == found.asymptotic_p_value
    assert "chi-square distribution" in found.method


def test_more_than_two_groups_are_compared_in_pairs(leukaemia):
    time, event, _ = leukaemia
    with pytest.raises(ValueError, match="holm"):
        log_rank(time, event, np.arange(42) % 3)


def test_events_that_do_not_tell_groups_apart_are_refused():
    with pytest.raises(it.IllConditioned, match="tells the groups apart"):
        log_rank([1, 2, 3, 4], [0, 0, 1, 1], ["a", "a", "b", "b"])


def test_immortal_time_makes_a_null_twin_significant_and_a_landmark_does_not():
    """High uptake is measured late only in those who live until then; survival is the same for all."""
    naive = honest = used = 0
    rng = np.random.default_rng(5)
    for seed in range(200):
        time = rng.exponential(10, 60)
        late = rng.uniform(size=60) < 0.5
        measured = np.where(late & (time > 6), 6.0, 0.0)
        high = measured > 0
        naive += log_rank(time, np.ones(60), high, n_permutations=199, rng=seed).p_value <= 0.05
        start = landmark(time, np.ones(60), measured)
        used += start.immortal_time
        after = log_rank(start.time, start.event, high[start.kept], n_permutations=199, rng=seed)
        honest += after.p_value <= 0.05
    assert used == 200
    assert naive / 200 > 0.5
    low, high_limit = it.study.binomial_interval(honest, 200)
    assert low <= 0.05 <= high_limit


def test_landmark_counts_who_is_not_analysed():
    found = landmark([5, 10, 20, 30, np.nan], [1, 1, 0, 1, 1], [1, 2, 9, 3, 1], at=6, time_unit="d")
    assert found.kept.tolist() == [False, True, False, True, False]
    assert found.time.tolist() == [4, 24]
    assert (found.ended_before, found.measured_after, found.incomplete, found.n) == (1, 1, 1, 2)
    assert {warning.code for warning in found.warnings} == {"rows-left-out", "landmark"}
    assert "6 d after time zero" in found.warnings[-1].message


def test_uptake_measured_after_the_end_of_follow_up_is_refused():
    with pytest.raises(it.ImplausibleValue, match="after the end"):
        landmark([5, 10, 20], [1, 1, 1], [6, 2, 3])


def test_uptake_measured_at_time_zero_needs_no_landmark():
    found = landmark([5, 10, 20], [1, 1, 1], [0, 0, 0])
    assert found.time.tolist() == [5, 10, 20]
    assert not found.immortal_time
    assert found.warnings == ()
