"""Rank correlations against scipy's enumeration, closed forms and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.statistics import kendall, partial_spearman, spearman

FEW = np.array([3.1, 0.4, 2.2, 5.9, 1.7, 4.4, 0.9])
GO_ALONG = np.array([2.0, 1.1, 0.3, 4.2, 1.9, 2.9, 1.0])
TIED = np.array([1.0, 1.0, 0.0, 2.0, 1.0, 2.0, 0.0])


def _row_correlation(one, other):
    away = one - one.mean(axis=-1, keepdims=True)
    other = other - other.mean()
    return np.sum(away * other, axis=-1) / np.sqrt(np.sum(away**2, axis=-1) * np.sum(other**2))


@pytest.mark.parametrize("other", [GO_ALONG, TIED], ids=["distinct", "ties"])
def test_spearman_of_seven_subjects_is_that_of_all_orders_as_scipy_lists_them(other):
    ranks = stats.rankdata(other)

    def rho(x, axis):
        return _row_correlation(stats.rankdata(x, axis=axis), ranks)

    expected = stats.permutation_test(
        (FEW,), rho, permutation_type="pairings", n_resamples=math.inf, vectorized=True
    )
    found = spearman(FEW, other)
    assert found.estimate == pytest.approx(stats.spearmanr(FEW, other).statistic, abs=1e-12)
    assert found.p_value == pytest.approx(
        np.mean(np.abs(expected.null_distribution) >= abs(found.estimate) - 1e-9)
    )
    assert "all 5040 permutations" in found.method


def test_spearman_of_many_subjects_agrees_with_the_t_distribution(rng):
    x = rng.normal(size=120)
    y = 0.2 * x + rng.normal(size=120)
    drawn, asymptotic = spearman(x, y), stats.spearmanr(x, y)
    assert drawn.p_value == pytest.approx(asymptotic.pvalue, abs=4 * math.sqrt(asymptotic.pvalue / 9999))
    more = rng.normal(size=600)
    far = more + rng.normal(size=600)
    assert spearman(more, far).p_value == pytest.approx(stats.spearmanr(more, far).pvalue, rel=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_spearman_interval_covers_the_truth_of_binormal_values(rho, rng):
    """The truth is 6/pi asin(rho/2) (Pearson 1907); 500 samples of 15: SE of the share 1 %."""
    truth = 6 / math.pi * math.asin(rho / 2)
    covered = 0
    for _ in range(500):
        x = rng.normal(size=15)
        low, high = spearman(
            x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=15), n_permutations=99
        ).interval
        covered += low <= truth <= high
    assert 0.925 <= covered / 500 <= 0.985


def test_same_seed_gives_the_same_p_and_another_seed_only_its_noise(rng):
    x, y = rng.normal(size=(2, 20))
    assert spearman(x, y, 3).p_value == spearman(x, y, rng=3).p_value
    assert spearman(x, y, 4).p_value == pytest.approx(spearman(x, y, 3).p_value, abs=0.03)


@given(st.lists(st.floats(-50, 50), min_size=6, max_size=30, unique=True), st.integers(0, 99))
def test_spearman_does_not_change_under_rising_transformations(values, seed):
    x = np.array(values)
    y = np.random.default_rng(seed).normal(size=x.size)
    once, again = (
        spearman(x, y, n_permutations=99),
        spearman(np.argsort(np.argsort(x)) ** 3.0, y, n_permutations=99),
    )
    assert once.estimate == pytest.approx(again.estimate, abs=1e-12)
    assert once.p_value == again.p_value
    assert spearman(x, -y, n_permutations=99).estimate == pytest.approx(-once.estimate, abs=1e-12)
    assert 0 < once.p_value <= 1


def test_kendall_without_ties_is_exact_as_scipy_has_it(rng):
    x, y = rng.normal(size=(2, 14))
    expected = stats.kendalltau(x, y, method="exact")
    found = kendall(x, y)
    assert (found.estimate, found.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)


def test_kendall_with_ties_permutes(rng):
    signs = np.sign(TIED[:, None] - TIED[None, :])

    def tau(x, axis):
        moved = np.moveaxis(x, axis, -1)
        return np.sum(np.sign(moved[..., :, None] - moved[..., None, :]) * signs, axis=(-1, -2)) / scale

    scale = np.sqrt(42 * np.sum(signs**2))
    expected = stats.permutation_test(
        (FEW,), tau, permutation_type="pairings", n_resamples=math.inf, vectorized=True
    )
    found = kendall(FEW, TIED)
    assert found.estimate == pytest.approx(stats.kendalltau(FEW, TIED).statistic)
    assert found.p_value == pytest.approx(
        np.mean(np.abs(expected.null_distribution) >= abs(found.estimate) - 1e-9)
    )


def test_kendall_interval_covers_the_truth(rng):
    """Truth: tau = 2/pi asin(rho) for binormal values; 400 samples of 20."""
    truth = 2 / math.pi * math.asin(0.5)
    covered = 0
    for _ in range(400):
        x = rng.normal(size=20)
        low, high = kendall(x, 0.5 * x + math.sqrt(0.75) * rng.normal(size=20)).interval
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.985


def test_partial_correlation_of_one_quantity_is_the_textbook_formula(rng):
    dose = rng.normal(size=15)
    x, y = dose + rng.normal(size=15), dose + rng.normal(size=15)
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, dose), (y, dose)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_spearman(x, y, {"dose": dose}).estimate == pytest.approx(expected, abs=1e-12)


def test_dose_that_drives_both_is_no_finding_once_it_is_adjusted_for(rng):
    """C2: five doses of three patients; uptake and response both rise with dose and share nothing else."""
    plain = adjusted = 0
    for seed in range(300):
        dose = np.repeat([15.0, 30.0, 50.0, 75.0, 100.0], 3)
        volume = rng.lognormal(size=15)
        x, y = (dose / 30 + rng.normal(size=15) for _ in range(2))
        plain += spearman(x, y, seed, n_permutations=399).p_value <= 0.05
        found = partial_spearman(x, y, {"dose": dose, "volume": volume}, seed, n_permutations=399)
        adjusted += found.p_value <= 0.05
    assert plain / 300 > 0.3
    low, high = it.study.binomial_interval(adjusted, 300)
    assert low <= 0.05 <= high


def test_partial_correlation_refuses_what_the_adjusted_quantity_determines(rng):
    dose = rng.normal(size=12)
    y = rng.normal(size=12)
    with pytest.raises(it.IllConditioned, match="follows from"):
        partial_spearman(np.exp(dose), y, {"dose": dose})
    with pytest.raises(it.IllConditioned, match="repeat each other"):
        partial_spearman(y, rng.normal(size=12), {"dose": dose, "dose in MBq": 2 * dose})
    with pytest.raises(ValueError, match="adjust is empty"):
        partial_spearman(y, dose, {})


def test_perfect_order_has_no_interval_and_says_so():
    found = spearman([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    assert found.estimate == pytest.approx(1.0)
    assert found.p_value == pytest.approx(2 / 120)
    assert math.isnan(found.interval.low)
    assert [warning.code for warning in found.warnings] == ["no-interval"]
