"""Limits of agreement, lines and concordance of several pairs per subject: one subject is one witness."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.errors import IllConditioned
from imgtheranostics.study.agreement import bland_altman, concordance_correlation
from imgtheranostics.study.agreement_repeated import bland_altman_repeated
from imgtheranostics.study.deming_lines import deming_regression

BETWEEN, WITHIN = 1.0, 0.5


def drawn(rng, subjects=12, regions=5, bias=0.3):
    """Pairs whose difference has a part that is the subject's own."""
    whose = np.repeat(np.arange(subjects), regions)
    x = rng.uniform(5, 20, whose.size)
    own = rng.normal(0, BETWEEN, subjects)[whose]
    return x, x + bias + own + rng.normal(0, WITHIN, whose.size), whose


def test_scatter_of_a_balanced_design_is_that_of_the_analysis_of_variance(rng):
    """Total variance is (MSB - MSW) / m + MSW for m pairs each (Bland and Altman 2007, section 3)."""
    x, y, whose = drawn(rng)
    difference = (y - x).reshape(12, 5)
    between = 5 * difference.mean(axis=1).var(ddof=1)
    within = difference.var(axis=1, ddof=1).mean()
    found = bland_altman_repeated(x, y, [f"m{one}" for one in whose], unit="mg/mL")
    assert found.estimate == pytest.approx(difference.mean())
    assert found.sd == pytest.approx(math.sqrt((between - within) / 5 + within))
    assert (found.n, found.unit) == (60, "mg/mL")
    half = 2.200985 * math.sqrt(difference.mean(axis=1).var(ddof=1) / 12)  # t of 11 degrees of freedom
    assert found.interval == pytest.approx((found.estimate - half, found.estimate + half), rel=1e-6)


@pytest.mark.parametrize("regions", [5, "unequal"])
def test_intervals_cover_what_a_new_subject_would_show(regions):
    """95 % of intervals of the bias and of the upper limit hold the truth; pairs as if alone would not."""
    rng = np.random.default_rng(11)
    limit = 0.3 + 1.959964 * math.hypot(BETWEEN, WITHIN)
    bias, upper, naive = 0, 0, 0
    for _ in range(300):
        x, y, whose = drawn(rng)
        if regions == "unequal":
            kept = rng.random(x.size) < 0.3 + 0.05 * whose
            kept[::5] = True
            x, y, whose = x[kept], y[kept], whose[kept]
        found = bland_altman_repeated(x, y, whose)
        bias += not found.interval.excludes(0.3)
        upper += not found.upper_interval.excludes(limit)
        naive += not bland_altman(x, y).interval.excludes(0.3)
    assert 0.92 <= bias / 300 <= 0.98
    assert 0.92 <= upper / 300 <= 0.985
    assert naive / 300 < 0.8


def test_one_pair_per_subject_is_the_plain_method(rng):
    x, y, _ = drawn(rng, 20, 1)
    plain, repeated = bland_altman(x, y), bland_altman_repeated(x, y, np.arange(20))
    assert (repeated.interval, repeated.sd) == (plain.interval, plain.sd)


def test_pairs_of_one_subject_speak_of_no_other(rng):
    x, y, _ = drawn(rng, 1, 6)
    found = bland_altman_repeated(x, y, ["m01"] * 6, relative=True)
    assert found.unit == "%"
    assert "one-subject" in [one.code for one in found.warnings]


def test_missing_pairs_are_counted_and_rows_without_subject_refused(rng):
    x, y, whose = drawn(rng)
    x[3] = np.nan
    found = bland_altman_repeated(x, y, whose)
    assert (found.n, found.left_out) == (59, 1)
    with pytest.raises(ValueError, match="whose each row is"):
        bland_altman_repeated(x, y, [None, *whose[1:]])


def test_a_line_through_pairs_of_subjects_leaves_out_whole_subjects():
    """The jackknife over subjects covers the slope; over pairs it does not."""
    rng = np.random.default_rng(3)
    covered = {"subjects": 0, "pairs": 0}
    for _ in range(200):
        whose = np.repeat(np.arange(15), 5)
        true = rng.uniform(5, 20, 15)[whose] + rng.normal(0, 0.5, whose.size)
        x = true + rng.normal(0, 0.3, whose.size)
        # a subject's own calibration
        y = true * (1 + rng.normal(0, 0.1, 15))[whose] + rng.normal(0, 0.3, whose.size)
        covered["subjects"] += not deming_regression(x, y, subject=whose).interval.excludes(1.0)
        covered["pairs"] += not deming_regression(x, y).interval.excludes(1.0)
    assert 0.90 <= covered["subjects"] / 200 <= 0.98
    assert covered["pairs"] / 200 < 0.8


def test_few_subjects_have_no_error_by_jackknife(rng):
    x, y, whose = drawn(rng, 3, 5)
    with pytest.raises(IllConditioned, match="too few subjects"):
        deming_regression(x, y, subject=whose)
    assert math.isnan(concordance_correlation(x, y, subject=whose).interval.low)
    found = bland_altman_repeated(x, y, whose)
    # two degrees of freedom: the interval of the bias is 4.3 standard errors wide
    assert found.interval.high - found.estimate > 4 * found.sd / 3 / math.sqrt(3)


def test_concordance_of_pairs_of_subjects_keeps_its_estimate(rng):
    x, y, whose = drawn(rng, 30, 4, bias=0.0)
    alone, repeated = concordance_correlation(x, y), concordance_correlation(x, y, subject=whose)
    assert repeated.estimate == alone.estimate
    assert repeated.interval.low < alone.interval.low < repeated.estimate < repeated.interval.high
