"""Agreement, error-in-both lines and reliability against published tables and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.study.statistics import (
    bland_altman,
    concordance_correlation,
    deming_regression,
    intraclass_correlation,
    repeatability,
)

LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
LARGE_AGAIN = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
"""Peak expiratory flow of 17 subjects, L/min, by two meters (Bland and Altman, Lancet 1986)."""

JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
"""Ratings of 6 targets by 4 judges (Shrout and Fleiss 1979, table 2)."""


def test_flow_meters_agree_as_published():
    """Mean difference -2.1, SD 38.8, interval -22.0 to 17.8; limits are known to ± 34.6 L/min."""
    found = bland_altman(MINI, LARGE)
    assert found.estimate == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.interval == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.upper - found.estimate == pytest.approx(1.959964 * found.sd, rel=1e-6)
    assert found.upper_interval.high - found.upper == pytest.approx(34.6, abs=0.3)
    assert found.lower_interval.low == pytest.approx(found.lower - 34.6, abs=0.3)
    assert not found.warnings


def test_limits_of_agreement_cover_at_their_level():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        x = rng.normal(size=20)
        covered += not bland_altman(x, x + rng.normal(size=20)).upper_interval.excludes(1.959964)
    assert 0.92 <= covered / 400 <= 0.98


def test_difference_that_grows_with_size_is_told_and_gone_in_percent(rng):
    x = rng.uniform(1, 100, 60)
    y = x * 1.1 * rng.lognormal(0, 0.02, 60)
    absolute, relative = bland_altman(x, y, unit="%/g"), bland_altman(x, y, relative=True)
    assert [warning.code for warning in absolute.warnings] == ["proportional-difference"]
    assert (absolute.unit, relative.unit) == ("%/g", "%")
    assert relative.estimate == pytest.approx(100 * 0.1 / 1.05, abs=1.0)
    assert relative.slope_p_value > 0.05
    with pytest.raises(it.ImplausibleValue, match="not above zero"):
        bland_altman(-x, -y, relative=True)


def test_concordance_is_lins_formula_and_falls_with_offset(rng):
    x, y = np.array(MINI, float), np.array(LARGE, float)
    expected = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    found = concordance_correlation(x, y)
    assert found.estimate == pytest.approx(expected)
    assert found.estimate == pytest.approx(found.pearson * found.accuracy)
    shifted = concordance_correlation(x, y + 100)
    assert shifted.pearson == pytest.approx(found.pearson)
    assert shifted.estimate < found.estimate


def test_concordance_interval_covers_the_truth():
    """Pairs of variance 1, correlation .8, offset .5: 2 (.8) / (2 + .25)."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        x = rng.normal(size=40)
        y = 0.5 + 0.8 * x + 0.6 * rng.normal(size=40)
        covered += not concordance_correlation(x, y).interval.excludes(1.6 / 2.25)
    assert 0.91 <= covered / 400 <= 0.98


def test_deming_line_of_equal_errors_is_the_main_axis():
    """With a ratio of 1 the line is that of total least squares, the first singular vector."""
    x, y = np.array(MINI, float), np.array(LARGE, float)
    axis = np.linalg.svd(np.column_stack([x - x.mean(), y - y.mean()]), full_matrices=False)[2][0]
    found = deming_regression(x, y)
    assert found.estimate == pytest.approx(axis[1] / axis[0])
    assert found.intercept == pytest.approx(y.mean() - found.estimate * x.mean())
    back = deming_regression(y, x)
    assert back.estimate == pytest.approx(1 / found.estimate)


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_deming_finds_the_slope_that_least_squares_flattens(ratio):
    rng = np.random.default_rng(9)
    covered, slopes, flat = 0, [], []
    for _ in range(200):
        truth = rng.normal(0, 2, 40)
        x = truth + rng.normal(0, 0.8, 40)
        y = 1.0 + 1.5 * truth + rng.normal(0, 0.8 * math.sqrt(ratio), 40)
        found = deming_regression(x, y, variance_ratio=ratio)
        covered += not found.interval.excludes(1.5) and not found.intercept_interval.excludes(1.0)
        slopes.append(found.estimate)
        flat.append(np.polyfit(x, y, 1)[0])
    assert np.median(slopes) == pytest.approx(1.5, abs=0.03)
    assert np.median(flat) < 1.35
    assert covered / 200 > 0.85


def test_units_of_a_deming_line_are_those_of_its_sides(rng):
    x = rng.uniform(1, 9, 20)
    found = deming_regression(x, 2 * x + rng.normal(size=20), x_unit="mmol/L", y_unit="[HU]")
    assert (found.unit, found.x_unit, found.y_unit) == ("([HU])/(mmol/L)", "mmol/L", "[HU]")
    assert deming_regression(x, x + rng.normal(size=20), x_unit="g", y_unit="g").unit == "1"
    with pytest.raises(ValueError, match="variance_ratio"):
        deming_regression(x, x, variance_ratio=0)


def test_repeatability_of_the_large_meter_is_the_published_one():
    """Published coefficient 43.2 L/min with a factor of 2: within-subject SD 43.2 / (2 sqrt 2) = 15.3."""
    values, subject = np.concatenate([LARGE, LARGE_AGAIN]), np.tile(np.arange(17), 2)
    found = repeatability(values, subject)
    assert found.within_sd == pytest.approx(15.3, abs=0.05)
    assert found.estimate == pytest.approx(1.959964 * math.sqrt(2) * found.within_sd)
    assert found.change_limits == (-found.estimate, found.estimate)
    assert (found.n, found.freedom, found.n_measurements) == (17, 17, 34)


def test_repeatability_interval_covers_and_ninety_five_percent_of_changes_are_inside():
    rng = np.random.default_rng(12)
    subject = np.repeat(np.arange(15), 2)
    covered = inside = 0
    for _ in range(400):
        values = rng.normal(0, 5, 15)[subject] + rng.normal(0, 0.7, 30)
        found = repeatability(values, subject)
        covered += not found.within_sd_interval.excludes(0.7)
        inside += abs(rng.normal(0, 0.7 * math.sqrt(2))) < 1.959964 * math.sqrt(2) * 0.7
    assert 0.925 <= covered / 400 <= 0.975
    assert inside / 400 == pytest.approx(0.95, abs=0.035)


def test_scatter_in_proportion_to_size_is_given_in_percent():
    rng = np.random.default_rng(13)
    subject = np.repeat(np.arange(400), 2)
    values = np.exp(rng.normal(2, 1, 400)[subject] + rng.normal(0, 0.1, 800))
    found = repeatability(values, subject, logarithmic=True)
    assert found.within_cv == pytest.approx(10.0, abs=0.9)
    assert found.change_limits[1] == pytest.approx(100 * math.expm1(2.7718 * found.within_sd), rel=1e-4)
    assert found.change_limits[0] > -100


def test_single_measurements_and_copies_tell_nothing_of_repeats():
    found = repeatability([1, 1.2, 5, 5.3, 3, 9, 8.8], ["a", "a", "b", "b", "c", "d", "d"])
    assert found.n == 3
    assert found.warnings[0].code == "no-repeat"
    with pytest.raises(it.IllConditioned, match="too few repeated"):
        repeatability([1, 2, 3, 4, 5, 6], list("abcdef"))
    with pytest.raises(it.IllConditioned, match="repeats do not differ"):
        intraclass_correlation([1, 1, 2, 2, 3, 3], list("aabbcc"))


@pytest.mark.parametrize(
    ("kind", "estimate", "interval"),
    [
        ("one_way", 0.17, (-0.133, 0.723)),
        ("agreement", 0.29, (0.019, 0.761)),
        ("consistency", 0.71, (0.342, 0.946)),
    ],
)
def test_judges_are_as_reliable_as_published(kind, estimate, interval):
    """Shrout and Fleiss 1979, table 4; intervals as the R package psych gives them for these data."""
    subject, judge = np.repeat(np.arange(6), 4), np.tile(list("abcd"), 6)
    found = intraclass_correlation(JUDGES.ravel(), subject, judge, kind=kind)
    assert found.estimate == pytest.approx(estimate, abs=0.006)
    assert found.interval == pytest.approx(interval, abs=6e-4)
    assert found.repeats == 4


def test_components_of_variance_are_found_in_lesions_of_patients():
    """C7: lesions of one patient differ more than patients; 2 to 8 lesions each."""
    rng = np.random.default_rng(21)
    covered = {"between": 0, "within": 0, "icc": 0}
    for _ in range(300):
        patient = np.repeat(np.arange(20), rng.integers(2, 9, 20))
        values = rng.normal(0, 1, 20)[patient] + rng.normal(0, 1.5, patient.size)
        found = intraclass_correlation(values, patient)
        covered["between"] += not found.between_interval.excludes(1.0)
        covered["within"] += not found.within_interval.excludes(2.25)
        covered["icc"] += not found.interval.excludes(1 / 3.25)
    assert all(0.91 <= count / 300 <= 0.99 for count in covered.values()), covered
    assert found.warnings[-1].code == "uneven-repeats"


def test_incomplete_or_double_ratings_are_refused():
    values, subject, judge = [1.0, 2, 3, 4, 5, 7], ["a", "a", "b", "b", "c", "c"], ["x", "y"] * 3
    with pytest.raises(ValueError, match="1 measurements of the table"):
        intraclass_correlation([*values[:5], np.nan], subject, judge, kind="agreement")
    with pytest.raises(ValueError, match="twice"):
        intraclass_correlation(values, subject, ["x"] * 6, kind="agreement")
    with pytest.raises(ValueError, match="needs the rater"):
        intraclass_correlation(values, subject, kind="consistency")
    with pytest.raises(ValueError, match="not one of"):
        intraclass_correlation(values, subject, kind="icc")
