"""Lesions inside patients, animals inside groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.statistics import ecological_association, lesion_association, spearman

PATIENT = ["b", "b", "a", "c", "c", "c", "d", "e", "f"]
UPTAKE = [1.0, 3.0, 5.0, 1.0, 2.0, 9.0, 7.0, 8.0, 0.5]
RESPONSE = [0.0, 2.0, 4.0, 3.0, 3.0, 3.0, 6.0, 5.0, 0.2]


@pytest.mark.parametrize(
    ("summary", "values"),
    [
        ("mean", [5.0, 2.0, 4.0, 7.0, 8.0, 0.5]),
        ("median", [5.0, 2.0, 2.0, 7.0, 8.0, 0.5]),
        ("maximum", [5.0, 3.0, 9.0, 7.0, 8.0, 0.5]),
    ],
)
def test_lesions_become_one_number_per_patient_as_declared(summary, values):
    found = lesion_association(UPTAKE, RESPONSE, PATIENT, summary=summary)
    assert found.patients == ("a", "b", "c", "d", "e", "f")
    assert found.uptake.tolist() == values
    assert (found.n, found.n_lesions) == (6, 9)
    response = [4, 2 if summary == "maximum" else 1, 3, 6, 5, 0.2]
    assert found.estimate == pytest.approx(stats.spearmanr(values, response).statistic)
    assert found.p_value == pytest.approx(spearman(values, response).p_value)
    assert summary in found.method


def test_copies_of_lesions_add_no_evidence():
    once = lesion_association(UPTAKE, RESPONSE, PATIENT)
    often = lesion_association(UPTAKE * 20, RESPONSE * 20, PATIENT * 20)
    assert (often.estimate, often.p_value, often.interval) == (once.estimate, once.p_value, once.interval)
    assert often.n == 6


def test_both_intervals_cover_the_truth_of_fifteen_patients():
    """Correlation .6 in both layers, so .6 for means: rho = 6/pi asin(.3) = .582."""
    rng = np.random.default_rng(8)
    patient = np.repeat(np.arange(15), 5)
    by_formula = by_bootstrap = 0
    for seed in range(200):
        x, error = (
            rng.standard_normal(15)[patient] * 0.6**0.5 + rng.standard_normal(75) * 0.4**0.5 for _ in range(2)
        )
        found = lesion_association(
            x, 0.6 * x + 0.8 * error, patient, rng=seed, n_permutations=99, n_resamples=499
        )
        by_formula += not found.interval.excludes(0.582)
        by_bootstrap += not found.bootstrap_interval.excludes(0.582)
    assert 0.91 <= by_formula / 200 <= 0.99
    assert 0.90 <= by_bootstrap / 200 <= 0.99


def test_lesions_and_patients_that_are_left_out_are_counted():
    uptake = [np.nan if one == "f" else value for one, value in zip(PATIENT, UPTAKE, strict=True)]
    found = lesion_association(uptake, RESPONSE, PATIENT)
    assert (found.n, found.left_out) == (5, 1)
    assert [warning.code for warning in found.warnings] == ["rows-left-out", "patients-left-out"]


def test_three_patients_with_many_lesions_are_too_few(rng):
    with pytest.raises(it.IllConditioned, match="too few patients"):
        lesion_association(rng.normal(size=60), rng.normal(size=60), np.arange(60) % 3)


def test_response_of_all_patients_alike_is_refused():
    with pytest.raises(it.IllConditioned, match="response of patients is the same"):
        lesion_association(UPTAKE, np.zeros(9), PATIENT)


def test_group_means_agree_by_design_and_animals_do_not():
    """C6: treatment moves both quantities; inside groups they share nothing."""
    rng = np.random.default_rng(97)
    group = np.repeat(["control", "olsa", "olsa-rvrr"], 8)
    step = np.repeat([0.0, 3.0, 6.0], 8)
    significant, means = 0, []
    for seed in range(200):
        found = ecological_association(
            step + rng.normal(size=24), -step + rng.normal(size=24), group, rng=seed, n_permutations=199
        )
        significant += found.p_value <= 0.05
        means.append(found.group_r_squared)
        assert found.animal_r < -0.6
    low, high = it.study.binomial_interval(significant, 200)
    assert low <= 0.05 <= high
    assert np.median(means) > 0.97
    assert found.warnings[-1].code == "group-means"
    assert found.sizes == (8, 8, 8)


def test_animals_that_agree_inside_groups_are_found(rng):
    group = np.repeat(["a", "b"], 12)
    x = rng.normal(size=24)
    found = ecological_association(x, x + 0.4 * rng.normal(size=24) + 5 * (group == "b"), group)
    expected = np.concatenate([x[:12] - x[:12].mean(), x[12:] - x[12:].mean()])
    assert found.estimate > 0.8
    assert found.interval.low > 0.5
    assert found.p_value < 0.01
    assert expected.size == found.n


def test_estimate_interval_and_p_agree_where_groups_scatter_differently(rng):
    """Signal scatters in one group and growth in another, as in C6: each group counts by its number."""
    group = np.repeat(["vehicle", "olsa", "olsa-rvrr"], 8)
    scale_x, scale_y = np.repeat([0.1, 0.5, 2.0], 8), np.repeat([3.0, 1.0, 0.1], 8)
    x = rng.normal(size=24)
    y = -0.8 * x + 0.4 * rng.normal(size=24)
    found = ecological_association(x * scale_x, y * scale_y, group)
    each = [
        stats.pearsonr(x[group == one], y[group == one]).statistic for one in ("vehicle", "olsa", "olsa-rvrr")
    ]
    centre = np.mean(np.arctanh(each))  # equal numbers, so equal weights
    assert found.estimate == pytest.approx(np.tanh(centre))
    reach = stats.norm.ppf(0.975) / np.sqrt(15)
    assert tuple(found.interval) == pytest.approx((np.tanh(centre - reach), np.tanh(centre + reach)))
    assert (found.p_value < 0.05) == (found.interval.high < 0)


def test_intervals_inside_groups_hold_the_correlation(rng):
    """Bivariate normal at -0.6, other scales in each group: 95 % within the binomial interval of 500."""
    group = np.repeat(["a", "b", "c"], 8)
    scale = np.repeat([1.0, 5.0, 0.2], 8)
    held = 0
    for _ in range(500):
        x = rng.normal(size=24)
        y = -0.6 * x + 0.8 * rng.normal(size=24)
        found = ecological_association(x * scale, y / scale, group, n_permutations=99)
        held += found.interval.low <= -0.6 <= found.interval.high
    low, high = it.study.binomial_interval(held, 500)
    assert low <= 0.95 <= high


def test_groups_too_small_for_a_correlation_are_left_out_by_name(rng):
    group = ["a"] * 8 + ["b"] * 3
    x = rng.normal(size=11)
    found = ecological_association(x, x + 0.1 * rng.normal(size=11), group)
    [caution] = [one for one in found.warnings if one.code == "group-left-out"]
    assert caution.message.endswith(": b")
    with pytest.raises(it.IllConditioned, match="large enough"):
        ecological_association(rng.normal(size=9), rng.normal(size=9), ["a"] * 3 + ["b"] * 3 + ["c"] * 3)


def test_one_group_is_no_design_of_groups(rng):
    with pytest.raises(ValueError, match="one label"):
        ecological_association(rng.normal(size=9), rng.normal(size=9), ["a"] * 9)
