"""The searched cut-point against a search by scipy, a planted threshold, and its own permutations."""

from __future__ import annotations

import math
import time as clock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.statistics import cutpoint_search, log_rank, split_at


def _cohort(rng, n, *, ratio=1.0, above=np.inf):
    uptake = rng.lognormal(1.0, 0.8, n)
    time = rng.exponential(6.0, n) / np.where(uptake > above, ratio, 1.0)
    return uptake, np.minimum(time, 12.0), time < 12.0


@given(st.integers(0, 10_000), st.integers(10, 40), st.booleans())
def test_search_finds_what_scipy_finds_cut_by_cut(seed, n, tied):
    rng = np.random.default_rng(seed)
    uptake, time, event = _cohort(rng, n)
    if tied:
        uptake, time = np.round(uptake), np.ceil(time)
    if not event.any() or np.unique(uptake).size < 3:
        return
    try:
        found = cutpoint_search(uptake, time, event, n_permutations=99)
    except it.IllConditioned:
        return
    expected = []
    for cut in found.candidates:
        parts = [
            stats.CensoredData.right_censored(time[side], ~event[side])
            for side in (uptake > cut, uptake <= cut)
        ]
        with np.errstate(all="ignore"):
            expected.append(stats.logrank(*parts).statistic ** 2)
    assert found.chi_square == pytest.approx(np.nan_to_num(expected), rel=1e-8, abs=1e-10)
    assert found.cutpoint == found.candidates[np.argmax(np.round(found.chi_square, 12))]
    assert found.n_low == np.sum(uptake <= found.cutpoint)
    assert found.n_low >= 0.2 * n - 1e-9
    assert found.n_high >= 0.2 * n - 1e-9
    assert found.p_value >= found.uncorrected_p_value or found.p_value <= 0.1


def test_a_planted_threshold_is_found(rng):
    uptake, time, event = _cohort(rng, 200, ratio=0.2, above=3.0)
    found = cutpoint_search(uptake, time, event, unit="%/kg")
    assert found.cutpoint == pytest.approx(3.0, abs=0.35)
    assert found.p_value == pytest.approx(1 / 1000)
    assert found.cutpoint_unit == "%/kg"
    assert found.estimate < 0.5
    assert found.interval.excludes(1.0)
    assert [warning.code for warning in found.warnings] == ["searched-cutpoint"]


def test_interval_excludes_one_just_when_the_corrected_p_is_significant(rng):
    for seed in range(40):
        uptake, time, event = _cohort(rng, 25, ratio=0.35, above=2.7)
        found = cutpoint_search(uptake, time, event, rng=seed)
        if abs(found.p_value - 0.05) > 0.005:
            assert found.interval.excludes(1.0) == (found.p_value < 0.05)


def test_outcomes_without_scan_are_left_out_and_counted(rng):
    uptake, time, event = _cohort(rng, 30)
    uptake[[2, 7]] = np.nan
    found = cutpoint_search(uptake, time, event)
    assert (found.n, found.left_out) == (28, 2)
    assert found.warnings[0].message == "2 rows were left out: 2 without uptake"
    kept = ~np.isnan(uptake)
    again = cutpoint_search(uptake[kept], time[kept], event[kept])
    assert (again.cutpoint, again.p_value) == (found.cutpoint, found.p_value)


def test_units_of_uptake_do_not_change_the_finding(rng):
    uptake, time, event = _cohort(rng, 24)
    one, other = cutpoint_search(uptake, time, event), cutpoint_search(1000 * uptake, time / 30.4, event)
    assert other.cutpoint == pytest.approx(1000 * one.cutpoint)
    assert (other.p_value, other.statistic) == pytest.approx((one.p_value, one.statistic))


def test_many_subjects_are_searched_in_steps_of_rank_and_in_seconds(rng):
    uptake, time, event = _cohort(rng, 1500, ratio=0.6, above=3.0)
    start = clock.perf_counter()
    found = cutpoint_search(uptake, time, event, n_permutations=99)
    assert clock.perf_counter() - start < 20
    assert found.candidates.size == 100
    assert found.cutpoint == pytest.approx(3.0, abs=0.5)


def test_uptake_of_one_kind_has_no_cut_point():
    time, event = np.arange(1.0, 11.0), np.ones(10)
    with pytest.raises(it.IllConditioned, match="no cut-point leaves enough"):
        cutpoint_search([1.0] * 9 + [2.0], time, event)
    with pytest.raises(it.IllConditioned, match="same in all"):
        cutpoint_search(np.ones(10), time, event)


@pytest.mark.parametrize("settings", [{"smallest_share": 0.5}, {"n_permutations": 10}, {"level": 1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        cutpoint_search(np.arange(10.0), np.arange(10.0), np.ones(10), **settings)


def test_uncorrected_p_is_that_of_the_chi_square_distribution(rng):
    found = cutpoint_search(*_cohort(rng, 30))
    assert found.uncorrected_p_value == pytest.approx(stats.chi2.sf(found.statistic, 1))
    assert math.isfinite(found.statistic)


def test_subjects_without_scan_are_on_neither_side_of_a_fixed_cutpoint(rng):
    uptake, time, event = _cohort(rng, 30, ratio=0.3, above=2.7)
    uptake[[0, 5]] = np.nan
    found = log_rank(time, event, split_at(uptake, 2.7))
    assert found.groups == ("<= 2.7", "> 2.7")
    assert (found.n, found.left_out) == (28, 2)
    assert found.sizes[1] == np.sum(uptake > 2.7)
    halves = split_at(uptake, "median")
    assert [np.sum(halves == one) for one in sorted(set(halves) - {None})] == [14, 14]


def test_a_cutpoint_beyond_all_subjects_divides_nobody():
    with pytest.raises(it.IllConditioned, match="on one side"):
        split_at([1.0, 2.0, 3.0], 9.0)
