"""Folds are ratios of differences post - pre: published numbers, statistics against SciPy, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import expm

from imgtheranostics.cest import contrast
from imgtheranostics.cest.bootstrap import mean_interval, ratio_interval
from imgtheranostics.cest.fold_change import control_threshold, difference, fold_change

GAMMA = 267.5154109126009


def olsalazine(concentration_mm, *, background=False, field_t=11.7, b1_ut=3.6, duration_s=3.0, at_ppm=9.8):
    """MTRasym of cest.md section 6: block pulse, Bloch-McConnell by the matrix exponential.

    Water T1 2 s and T2 45 ms, label at 9.8 ppm with 1000 1/s, two protons, T1 1 s, T2 20 ms. The background
    is MT at -2.4 ppm and NOE at -3.5 ppm, of a size that gives the sheet's baseline of -2.4 %.
    """
    pools = [(1.0, 2.0, 0.045, 0.0, 0.0), (2 * concentration_mm / 111e3, 1.0, 0.02, 1000.0, 9.8)]
    if background:
        pools += [(0.055, 1.0, 11.5e-6, 40.0, -2.4), (0.0045, 1.3, 0.005, 20.0, -3.5)]
    to_rad = GAMMA * field_t
    z = []
    for offset in (at_ppm, -at_ppm):
        matrix = np.zeros((3 * len(pools) + 1,) * 2)
        for k, (fraction, t1, t2, rate, place) in enumerate(pools):
            x, y, m = 3 * k, 3 * k + 1, 3 * k + 2
            shift = (place - offset) * to_rad
            matrix[x, x] = matrix[y, y] = -1 / t2
            matrix[m, m] = -1 / t1
            matrix[x, y], matrix[y, x] = -shift, shift
            matrix[y, m], matrix[m, y] = -GAMMA * b1_ut, GAMMA * b1_ut
            matrix[m, -1] = fraction / t1
            for axis in range(3):
                matrix[3 * k + axis, 3 * k + axis] -= rate
                matrix[axis, 3 * k + axis] += rate
                matrix[3 * k + axis, axis] += rate * fraction
                matrix[axis, axis] -= rate * fraction
        start = np.zeros(matrix.shape[0])
        start[2:-1:3] = [pool[0] for pool in pools]
        start[-1] = 1.0
        z.append((expm(matrix * duration_s) @ start)[2])
    return z[1] - z[0]


def test_the_simulation_is_that_of_the_sheet():
    """cest.md section 6: 1.24/2.45/5.95/11.4/20.8 % at 1/2/5/10/20 mM."""
    found = [100 * olsalazine(c) for c in (1, 2, 5, 10, 20)]
    np.testing.assert_allclose(found, [1.24, 2.45, 5.95, 11.4, 20.8], rtol=0.005)


def test_signal_of_6_5_fold_needs_6_87_fold_concentration():
    """Delta ratio 6.50 for 6.87 and 1 mM without background."""
    pre = [olsalazine(0.0)]
    fold = fold_change(pre, [olsalazine(6.87)], reference=(pre, [olsalazine(1.0)]))
    assert fold.fold == pytest.approx(6.50, abs=0.01)
    assert np.isnan(fold.raw_ratio)
    assert [caution.code for caution in fold.warnings] == ["raw-ratio-undefined"]


def test_on_an_asymmetric_background_the_raw_ratio_is_negative_and_flagged():
    """Raw -0.47, Delta ratio 6.57 (cest.md section 6): the former is no fold, the latter hardly moves."""
    pre = [olsalazine(0.0, background=True)]
    assert pre[0] == pytest.approx(-0.024, abs=0.002)
    fold = fold_change(
        pre, [olsalazine(6.87, background=True)], reference=(pre, [olsalazine(1.0, background=True)])
    )
    assert fold.raw_ratio == pytest.approx(-0.47, abs=0.03)
    assert "raw-ratio-no-fold" in [caution.code for caution in fold.warnings]
    assert fold.fold == pytest.approx(6.57, rel=0.005)


def test_statistics_are_those_of_scipy(rng):
    pre, post = rng.normal(0.02, 0.01, 12), rng.normal(0.05, 0.012, 12)
    found = difference(pre, post)
    change = post - pre
    assert found.mean == pytest.approx(change.mean())
    assert found.standard_error == pytest.approx(stats.sem(change))
    assert found.t_p_value == pytest.approx(stats.ttest_rel(post, pre).pvalue)
    assert found.wilcoxon_p_value == pytest.approx(stats.wilcoxon(post, pre).pvalue)
    assert found.n == 12


@pytest.mark.parametrize("paired", [False, True])
def test_groups_are_compared_on_their_differences(paired, rng):
    before, after = rng.normal(0.02, 0.01, (2, 9)), rng.normal(0.05, 0.01, (2, 9))
    fold = fold_change(before[0], after[0], reference=(before[1], after[1]), paired=paired)
    one, other = after - before
    assert fold.fold == pytest.approx(one.mean() / other.mean())
    expected = stats.ttest_rel(one, other) if paired else stats.ttest_ind(one, other, equal_var=False)
    ranks = stats.wilcoxon(one, other) if paired else stats.mannwhitneyu(one, other)
    assert fold.t_p_value == pytest.approx(expected.pvalue)
    assert fold.rank_p_value == pytest.approx(ranks.pvalue)


def test_intervals_are_those_of_scipy(rng):
    values, other = rng.gamma(3, 0.01, 15), rng.normal(0.02, 0.004, 11)
    options = {"n_resamples": 9999, "method": "BCa", "vectorized": True}
    expected = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(1), **options)
    found = mean_interval(values, level=0.95, n_resamples=9999, rng=2)
    np.testing.assert_allclose(found, expected.confidence_interval, rtol=0.02)

    def ratio(x, y, axis):
        return np.mean(x, axis=axis) / np.mean(y, axis=axis)

    peer = stats.bootstrap((values, other), ratio, rng=np.random.default_rng(1), **options)
    settings = {"level": 0.95, "n_resamples": 9999, "rng": 2}
    np.testing.assert_allclose(
        ratio_interval(values, other, paired=False, **settings), peer.confidence_interval, rtol=0.02
    )
    pair = stats.bootstrap((values[:11], other), ratio, paired=True, rng=np.random.default_rng(1), **options)
    np.testing.assert_allclose(
        ratio_interval(values[:11], other, paired=True, **settings), pair.confidence_interval, rtol=0.02
    )


def test_the_standard_error_of_a_fold_is_its_scatter(rng):
    """Ten animals per group, differences of 6.5 and 1 with 8 % scatter, 400 repeats."""
    folds = [
        fold_change(np.zeros(10), one, reference=(np.zeros(10), other), n_resamples=1)
        for one, other in zip(rng.normal(6.5, 0.5, (400, 10)), rng.normal(1, 0.08, (400, 10)), strict=True)
    ]
    scatter = np.std([fold.fold for fold in folds])
    error = np.sqrt(np.mean([fold.standard_error**2 for fold in folds]))
    assert error == pytest.approx(scatter, rel=0.1)


def test_the_interval_holds_the_true_fold_as_often_as_stated(rng):
    inside = 0
    for one, other in zip(rng.normal(3, 0.6, (200, 12)), rng.normal(1, 0.2, (200, 12)), strict=True):
        low, high = ratio_interval(one, other, paired=False, level=0.9, n_resamples=999, rng=rng)
        inside += low <= 3.0 <= high
    assert 0.8 <= inside / 200 <= 0.96


def test_a_reference_without_change_gives_no_fold(rng):
    pre = rng.normal(0.02, 0.005, 8)
    fold = fold_change(pre, pre + 0.03, reference=(pre, pre + rng.normal(0, 0.01, 8)))
    assert np.isnan(fold.fold)
    assert np.isnan(fold.interval).all()
    assert fold.warnings[0].code == "fold-undefined"
    assert "compare the differences" in fold.warnings[0].message
    assert fold.difference.mean == pytest.approx(0.03)
    less = fold_change(pre, pre + 0.03, reference=(pre, pre - 0.02))
    assert np.isnan(less.fold)


@pytest.mark.parametrize(
    ("pre", "post", "code", "ratio"),
    [
        ([-0.024, -0.025, -0.023], [0.011, 0.012, 0.011], "raw-ratio-no-fold", -0.472),
        ([0.0004, -0.0005, 0.0002], [0.02, 0.021, 0.02], "raw-ratio-undefined", np.nan),
        ([0.0, 0.0, 0.0], [0.02, 0.021, 0.02], "raw-ratio-undefined", np.nan),
        ([0.02, 0.021, 0.019], [-0.04, -0.041, -0.039], "raw-ratio-no-fold", -2.0),
    ],
)
def test_the_raw_ratio_of_a_doubtful_baseline_carries_a_caution(pre, post, code, ratio):
    found = difference(pre, post)
    assert [caution.code for caution in found.warnings] == [code]
    assert found.raw_ratio == pytest.approx(ratio, abs=1e-3, nan_ok=True)


def test_the_raw_ratio_of_a_positive_baseline_is_a_number_without_caution():
    found = difference([0.02, 0.021, 0.019], [0.04, 0.041, 0.039])
    assert found.raw_ratio == pytest.approx(2.0)
    assert not found.warnings


def test_standard_errors_of_single_regions_count():
    """One animal: no scatter, so its own errors tell whether the baseline is zero, and that of the fold."""
    reference = difference([0.01], [0.02], pre_se=0.001, post_se=0.001)
    assert reference.standard_error == pytest.approx(np.sqrt(2) * 0.001)
    fold = fold_change([0.01], [0.06], reference=reference, pre_se=[0.001], post_se=[0.002])
    assert fold.fold == pytest.approx(5.0)
    expected = np.sqrt(0.001**2 + 0.002**2 + 25 * 2 * 0.001**2) / 0.01
    assert fold.standard_error == pytest.approx(expected)
    assert np.isnan(fold.t_p_value)
    assert np.isnan(difference([0.01], [0.06], pre_se=0.02).raw_ratio)


def test_differences_above_those_of_a_control_region_are_told(rng):
    control = rng.normal(0, 0.004, 200), rng.normal(0, 0.003, 200)
    limit = control_threshold(*control)
    assert limit == pytest.approx(0.01, rel=0.15)
    found = difference([0.0, 0.01, np.nan], [0.005, 0.03, 0.04], control=control)
    assert found.threshold == limit
    np.testing.assert_array_equal(found.above_threshold, [False, True, False])
    with pytest.raises(ValueError, match="at least 3"):
        control_threshold([0.1, 0.2], [0.1, 0.2])


def test_pairs_that_were_not_measured_are_left_out():
    found = difference([0.01, np.nan, 0.02, 0.03], [0.03, 0.04, 0.05, np.nan])
    assert found.n == 2
    assert found.mean == pytest.approx(0.025)
    np.testing.assert_array_equal(np.isnan(found.values), [False, True, False, True])


@given(st.lists(st.floats(0.01, 0.1), min_size=3, max_size=8), st.floats(-0.05, 0.05))
def test_a_shared_background_does_not_change_the_fold(values, shift):
    """The sheet's rule: what is in both scans cancels in the difference."""
    post = np.array(values)
    reference = np.full(post.size, 0.01), np.linspace(0.02, 0.022, post.size)
    plain = fold_change(np.zeros(post.size), post, reference=reference, n_resamples=99)
    moved = fold_change(np.full(post.size, shift), post + shift, reference=reference, n_resamples=99)
    assert moved.fold == pytest.approx(plain.fold, rel=1e-9)


def test_the_seed_makes_intervals_repeatable(rng):
    pre, post = rng.normal(0, 0.01, 8), rng.normal(0.05, 0.01, 8)
    assert difference(pre, post, rng=3).interval == difference(pre, post, rng=3).interval
    assert difference(pre, post, rng=3).interval != difference(pre, post, rng=4).interval


def test_constant_or_few_differences_have_no_test():
    found = difference([0.0, 0.0], [0.0, 0.0])
    assert np.isnan(found.t_p_value)
    assert np.isnan(found.wilcoxon_p_value)
    assert np.isnan(found.interval).all()
    assert np.isnan(difference([0.01], [0.02]).standard_error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: difference([0.1, 0.2], [0.1]), "same length"),
        (lambda: difference([np.nan], [0.1]), "no pair"),
        (lambda: difference([0.1, 0.2], [0.1, 0.2], pre_se=[1.0, 2.0, 3.0]), "standard errors have shape"),
        (lambda: fold_change([0, 0], [1, 1], reference=([0], [1]), paired=True), "same animals"),
        (lambda: difference([0.1] * 3, [0.2] * 3, level=95), "level must be"),
        (lambda: difference([0.1] * 3, [0.2] * 3, n_resamples=0), "n_resamples must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_both_are_reached_through_the_contrasts():
    assert contrast.fold_change is fold_change
    assert contrast.difference is difference
