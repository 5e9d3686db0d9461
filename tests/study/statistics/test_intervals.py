"""Exact binomial intervals and p values of several outcomes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from imgtheranostics.study.statistics import benjamini_hochberg, binomial_interval, holm


def test_thirteen_of_fourteen_is_the_interval_of_the_review_sheet():
    """systems.md E7: 13/14 exact 95 % interval 66.1 to 99.8 %."""
    found = binomial_interval(13, 14)
    assert [round(100 * limit, 1) for limit in found] == [66.1, 99.8]
    assert (found.estimate, found.n, found.level) == (13 / 14, 14, 0.95)
    assert found.interval == tuple(found)


@given(st.integers(1, 60), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_limits_leave_half_of_alpha_in_each_tail(total, data, level):
    """Definition of Clopper and Pearson: binomial tails at the limits."""
    successes = data.draw(st.integers(0, total))
    low, high = binomial_interval(successes, total, level)
    half = (1 - level) / 2
    if successes:
        assert stats.binom.sf(successes - 1, total, low) == pytest.approx(half, rel=1e-6)
    else:
        assert low == 0.0
    if successes < total:
        assert stats.binom.cdf(successes, total, high) == pytest.approx(half, rel=1e-6)
    else:
        assert high == 1.0


def test_interval_survives_pickling_with_what_it_is_of():
    again = pickle.loads(pickle.dumps(binomial_interval(3, 10)))  # noqa: S301
    assert (again.successes, again.total, again) == (3, 10, binomial_interval(3, 10))


@pytest.mark.parametrize("counts", [(5, 4), (-1, 4), (0, 0), (1.5, 4)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="successes"):
        binomial_interval(*counts)


def test_level_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="level"):
        binomial_interval(1, 2, 95)


def test_holm_and_benjamini_hochberg_agree_with_statsmodels(rng):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = rng.uniform(size=12) ** 3
    assert holm(p).adjusted == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p).adjusted == pytest.approx(multitest.multipletests(p, method="fdr_bh")[1])


def test_outcomes_that_were_not_tested_do_not_count():
    found = holm([0.01, np.nan, 0.04])
    assert found.adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(found.adjusted[1])
    assert found.n == 2
    assert found.rejected().tolist() == [True, False, True]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_values_are_never_smaller_and_keep_the_order(p_values):
    p = np.array(p_values)
    for found in (holm(p), benjamini_hochberg(p)):
        assert (found.adjusted >= p - 1e-15).all()
        assert (found.adjusted <= 1).all()
        order = np.argsort(p, kind="stable")
        assert (np.diff(found.adjusted[order]) >= -1e-15).all()


def test_p_values_outside_0_to_1_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.2])
