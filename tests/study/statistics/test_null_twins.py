"""What is called significant at 5 % in 500 studies without any effect, and in studies done the wrong way.

Each share is compared with 5 % by the exact binomial interval of 500 draws, or with the figures of the
project's own Monte Carlo (systems.md, section 5).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from imgtheranostics.study.statistics import (
    binomial_interval,
    cutpoint_search,
    lesion_association,
    log_rank,
    roc_area,
    spearman,
)

TWINS = 500


def _holds_five_percent(found: int, total: int = TWINS) -> bool:
    low, high = binomial_interval(found, total)
    return low <= 0.05 <= high


def _mm302_twin(rng: np.random.Generator):
    """C1 without effect: 19 patients, lognormal uptake, times of mean 6, censored at 12 months."""
    time = rng.exponential(6.0, 19)
    return rng.lognormal(1.1, 0.9, 19), np.minimum(time, 12.0), time < 12.0


def _lesions(rng: np.random.Generator, sizes: np.ndarray, rho: float = 0.0):
    """Uptake and response of lesions whose correlation inside a patient is .6; rho is that of both layers."""
    patient = np.repeat(np.arange(sizes.size), sizes)

    def layers():
        own = rng.standard_normal(patient.size)
        return math.sqrt(0.6) * rng.standard_normal(sizes.size)[patient] + math.sqrt(0.4) * own

    uptake = layers()
    return uptake, rho * uptake + math.sqrt(1 - rho**2) * layers(), patient


def test_searched_cutpoints_hold_their_level_only_when_corrected():
    """(b): the best of all cut-points between 20 and 80 % is significant in 30 % of null studies."""
    rng = np.random.default_rng(302)
    corrected = naive = split = 0
    for seed in range(TWINS):
        uptake, time, event = _mm302_twin(rng)
        found = cutpoint_search(uptake, time, event, rng=seed, n_permutations=499)
        corrected += found.p_value <= 0.05
        naive += found.uncorrected_p_value <= 0.05
        halves = log_rank(time, event, uptake > np.median(uptake), method="asymptotic")
        split += halves.p_value <= 0.05
    assert _holds_five_percent(corrected)
    assert naive / TWINS == pytest.approx(0.30, abs=3 * math.sqrt(0.3 * 0.7 / TWINS))
    assert split / TWINS == pytest.approx(0.065, abs=3 * math.sqrt(0.065 * 0.935 / TWINS))


def test_permuted_log_rank_of_a_fixed_cutpoint_holds_its_level():
    rng = np.random.default_rng(11)
    found = 0
    for seed in range(TWINS):
        uptake, time, event = _mm302_twin(rng)
        found += (
            log_rank(time, event, uptake > np.median(uptake), rng=seed, n_permutations=499).p_value <= 0.05
        )
    assert _holds_five_percent(found)


def test_spearman_holds_its_level():
    rng = np.random.default_rng(14)
    found = sum(
        spearman(*rng.standard_normal((2, 14)), seed, n_permutations=999).p_value <= 0.05
        for seed in range(TWINS)
    )
    assert _holds_five_percent(found)


@pytest.mark.parametrize("uneven", [False, True], ids=["5 lesions each", "2 to 10 lesions"])
def test_lesions_hold_their_level_as_patients(uneven):
    rng = np.random.default_rng(1203 + uneven)
    found = 0
    for seed in range(TWINS):
        sizes = rng.integers(2, 11, 15) if uneven else np.full(15, 5)
        answer = lesion_association(*_lesions(rng, sizes), rng=seed, n_permutations=999, n_resamples=99)
        found += answer.p_value <= 0.05
    assert _holds_five_percent(found)


def test_pooled_lesions_do_not_hold_it():
    """(e): 5 lesions x 15 patients with correlation .6 pooled: 19 %; means of patients 5.5 %."""
    rng = np.random.default_rng(91)
    pooled = means = 0
    for _ in range(1000):
        uptake, response, _ = _lesions(rng, np.full(15, 5))
        pooled += stats.pearsonr(uptake, response).pvalue <= 0.05
        one, other = (values.reshape(15, 5).mean(axis=1) for values in (uptake, response))
        means += stats.pearsonr(one, other).pvalue <= 0.05
    assert pooled / 1000 == pytest.approx(0.19, abs=3 * math.sqrt(0.19 * 0.81 / 1000))
    assert means / 1000 == pytest.approx(0.055, abs=3 * math.sqrt(0.055 * 0.945 / 1000))


def test_roc_area_holds_its_level():
    rng = np.random.default_rng(27)
    outcome = np.repeat([0, 1], [15, 4])  # response rate of the trial is low
    found = sum(
        roc_area(rng.lognormal(size=19), outcome, rng=seed, n_permutations=499).p_value <= 0.05
        for seed in range(TWINS)
    )
    assert _holds_five_percent(found)
