"""Power and critical values against the figures of the project's Monte Carlo and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.power import _chi_square
from imgtheranostics.study.statistics import (
    cox_regression,
    log_rank,
    log_rank_power,
    spearman,
    spearman_critical,
    spearman_power,
    two_sample_power,
)


def _sheet_error(share: float) -> float:
    """Rounding, and three standard errors of 2000 simulated studies."""
    return 0.005 + 3 * math.sqrt(share * (1 - share) / 2000)


@pytest.mark.parametrize(("n", "ratio", "expected"), [(19, 0.42, 0.36), (60, 0.42, 0.80), (19, 1.0, 0.065)])
def test_log_rank_power_is_that_of_the_sheet(n, ratio, expected):
    """systems.md section 5 (a)-(c): Monte Carlo to two digits, taken to be of 2000 studies."""
    found = log_rank_power(n, ratio)
    assert found.power == pytest.approx(expected, abs=_sheet_error(expected))
    assert found.interval.low < found.power < found.interval.high
    assert found.n_simulations == 10_000


def test_log_rank_power_is_close_to_schoenfelds_formula():
    """Biometrika 68 (1981) 316: normal with sqrt(events / 4) |log HR|; holds for many subjects."""
    rate = math.log(2) / 4.16
    events = 400 * (1 - (math.exp(-rate * 12) + math.exp(-rate * 0.75 * 12)) / 2)
    expected = stats.norm.cdf(math.sqrt(events / 4) * -math.log(0.75) - 1.96)
    assert log_rank_power(400, 0.75, n_simulations=4000).power == pytest.approx(expected, abs=0.03)


def test_rows_of_simulated_studies_get_the_statistic_of_the_test_itself(rng):
    time = rng.exponential(6, (5, 19))
    high = np.arange(19) >= 9
    for row, found in zip(time, _chi_square(time, high, 12.0), strict=True):
        single = log_rank(np.minimum(row, 12), row <= 12, high, method="asymptotic")
        assert single.statistic == pytest.approx(found)


@pytest.mark.parametrize(
    ("n", "critical", "power"), [(14, 0.53, 0.59), (15, 0.51, 0.63), (19, 0.45, 0.74), (30, 0.35, 0.93)]
)
def test_spearman_critical_values_and_power_are_those_of_the_sheet(n, critical, power):
    """systems.md section 5 (d): Monte Carlo, two digits. Ours keeps the level, so it is never below."""
    assert spearman_critical(n) == pytest.approx(critical, abs=0.015)
    assert spearman_power(n, 0.6).power == pytest.approx(power, abs=_sheet_error(power))
    assert spearman_power(n, 0.0).power <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 10_000)


@pytest.mark.parametrize(("n", "exact"), [(5, 1.0), (6, 0.886), (7, 0.786), (8, 0.738)])
def test_critical_values_of_few_subjects_are_those_of_the_tables(n, exact):
    """Zar, Biostatistical Analysis, table B.20, two-sided 5 %."""
    assert spearman_critical(n) == pytest.approx(exact, abs=5e-4)


@pytest.mark.parametrize("rho", [0.1, 0.15])
def test_power_of_many_subjects_is_that_of_simulated_ones(rho):
    """600 subjects have no permutations: t and Fisher's z, against ranks that are drawn here."""
    rng, n, count = np.random.default_rng(8), 600, 2000
    x = rng.standard_normal((count, n))
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((count, n))
    found = [stats.spearmanr(one, other).pvalue <= 0.05 for one, other in zip(x, y, strict=True)]
    expected = spearman_power(n, rho).power
    assert np.mean(found) == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / count))
    assert spearman_power(n, 0.0).power == pytest.approx(0.05, abs=2e-3)
    least = spearman_critical(n)
    assert 2 * stats.t.sf(least * math.sqrt((n - 2) / (1 - least**2)), n - 2) == pytest.approx(0.05)
    assert least < spearman_critical(500)


def test_power_at_hand_is_what_the_test_itself_finds():
    """C2 with effect: Spearman at 15 patients and correlation .6."""
    rng = np.random.default_rng(6)
    found = 0
    for seed in range(400):
        x = rng.standard_normal(15)
        y = 0.6 * x + 0.8 * rng.standard_normal(15)
        found += spearman(x, y, seed, n_permutations=999).p_value <= 0.05
    expected = spearman_power(15, 0.6).power
    assert found / 400 == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / 400))


def test_continuous_uptake_finds_more_than_halves_of_it():
    """Cox on log uptake against a median split, at a hazard ratio of .42 per standard deviation."""
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(42)
    continuous = halves = 0
    for seed in range(40):
        uptake = rng.lognormal(1.0, 0.9, 30)
        time = rng.exponential(6.0, 30) / 0.42 ** ((np.log(uptake) - 1.0) / 0.9)
        event = time < 12
        followed = np.minimum(time, 12)
        found = cox_regression(uptake, followed, event, rng=seed, n_permutations=199, n_resamples=0)
        continuous += found.p_value <= 0.05
        halves += log_rank(followed, event, uptake > np.median(uptake), method="asymptotic").p_value <= 0.05
    assert continuous > halves


def test_t_test_power_is_cohens():
    """Cohen 1988, table 2.3.5 and 2.4.1: d .5 needs 64 per group for 80 %, d .8 needs 26."""
    assert two_sample_power(64, 64, 0.5).power == pytest.approx(0.80, abs=0.005)
    assert two_sample_power(26, 26, 0.8).power == pytest.approx(0.80, abs=0.01)
    assert two_sample_power(10, 12, 0.0).power == 0.05


@pytest.mark.parametrize(
    "call",
    [
        lambda: log_rank_power(3, 0.5),
        lambda: log_rank_power(19, 0.0),
        lambda: log_rank_power(19, 0.5, follow_up_time=-1),
        lambda: spearman_power(15, 1.0),
        lambda: spearman_power(15.5, 0.5),
        lambda: spearman_critical(15, alpha=5),
        lambda: it.study.two_sample_power(1, 5, 1.0),
    ],
)
def test_settings_out_of_range_are_refused(call):
    with pytest.raises(ValueError, match=r"must be|must lie"):
        call()
