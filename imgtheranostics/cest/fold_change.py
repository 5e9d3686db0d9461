"""Change of a contrast from before to after, in regions of several animals: differences first, then folds.

A contrast on an asymmetric background is not zero without agent: the ratio of after to before then says
nothing about the agent, and may be negative. So a fold is the ratio of two differences post - pre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bootstrap import Interval, mean_interval, ratio_interval
from imgtheranostics.errors import Caution

DoubleArray = npt.NDArray[np.float64]

LEAST_MULTIPLE = 2.0
"""A ratio is taken only of a denominator above this many of its standard errors."""

_NOTHING = 1e-6
_NO_SCATTER = 1e-12


@dataclass(frozen=True, eq=False)
class Difference:
    """Post minus pre of several animals or regions.

    Attributes
    ----------
    values : (n,) ndarray
        Difference of each; NaN where one of the two was not measured.
    mean, standard_error : float
        Of the `n` that were measured; the error from their scatter, for one its own if that was given.
    interval : (float, float)
        Bootstrap (BCa) interval of the mean.
    t_p_value, wilcoxon_p_value : float
        Paired t test and Wilcoxon's signed-rank test against no difference; NaN where there are too few, or
        no differences but 0.
    raw_ratio : float
        Mean post over mean pre, which contains the contrast without agent and is no fold. NaN where pre does
        not differ from zero by `LEAST_MULTIPLE` standard errors; with a caution then, and where one of the
        two is negative.
    n : int
    threshold : float
        Difference that one of the control region would exceed by chance; NaN without control.
    above_threshold : (n,) ndarray of bool
    warnings : tuple of Caution
    """

    values: DoubleArray
    mean: float
    standard_error: float
    interval: Interval
    t_p_value: float
    wilcoxon_p_value: float
    raw_ratio: float
    n: int
    threshold: float
    above_threshold: npt.NDArray[np.bool_]
    warnings: tuple[Caution, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class FoldChange:
    """Ratio of the mean differences post - pre of two groups.

    Attributes
    ----------
    fold, standard_error : float
        NaN where the reference does not change by more than `LEAST_MULTIPLE` standard errors; the error by
        error propagation.
    interval : (float, float)
        Bootstrap (BCa) interval; an end is infinite where the reference may not have changed.
    difference, reference : Difference
        Of both groups.
    t_p_value, rank_p_value : float
        The two groups' differences compared: Welch's t and Mann-Whitney test, or for pairs the paired t and
        Wilcoxon's signed-rank test.
    raw_ratio : float
        That of `difference`, which is no fold.
    warnings : tuple of Caution
    """

    fold: float
    standard_error: float
    interval: Interval
    difference: Difference
    reference: Difference
    t_p_value: float
    rank_p_value: float
    raw_ratio: float
    warnings: tuple[Caution, ...] = field(default=())


def difference(
    pre: npt.ArrayLike,
    post: npt.ArrayLike,
    *,
    pre_se: npt.ArrayLike | None = None,
    post_se: npt.ArrayLike | None = None,
    control: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    control_multiple: float = 2.0,
    least_multiple: float = LEAST_MULTIPLE,
    level: float = 0.95,
    n_resamples: int = 9999,
    rng: int | np.random.Generator = 0,
) -> Difference:
    """Post minus pre of the same animals or regions, with tests against no difference.

    Parameters
    ----------
    pre, post : (n,) array_like
        Contrast of each animal's region before and after; pairs without a number are left out.
    pre_se, post_se : float or (n,) array_like, optional
        Standard errors of each value. Those of `pre` count in whether its mean differs from zero, beside the
        scatter; of a single animal, both are the standard error of its difference.
    control : (pre, post) array_likes, optional
        A region that takes up no agent: the threshold is the mean of its differences plus `control_multiple`
        standard deviations.
    control_multiple, least_multiple : float
    level : float
        Of the interval.
    n_resamples : int
    rng : Generator or int

    Returns
    -------
    Difference

    Raises
    ------
    ValueError
        If the two have different lengths, or no pair was measured.
    """
    before, after = _pairs(pre, post, "pre and post")
    values = after - before
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("no pair of pre and post was measured")
    change = values[known]
    n = change.size
    mean = float(change.mean())
    own, own_after = (
        None if errors is None else _like(errors, values)[known] for errors in (pre_se, post_se)
    )
    error = _mean_error(change)
    if n == 1 and own is not None and own_after is not None:
        error = math.hypot(own[0], own_after[0])
    ratio, cautions = _raw_ratio(before[known], after[known], own, least_multiple)
    threshold = math.nan if control is None else control_threshold(*control, multiple=control_multiple)
    with np.errstate(invalid="ignore"):
        above = values > threshold
    return Difference(
        values=values,
        mean=mean,
        standard_error=error,
        interval=mean_interval(change, level=level, n_resamples=n_resamples, rng=rng),
        t_p_value=_one_sample_t(change),
        wilcoxon_p_value=_signed_rank(change),
        raw_ratio=ratio,
        n=n,
        threshold=threshold,
        above_threshold=above,
        warnings=cautions,
    )


def fold_change(
    pre: npt.ArrayLike,
    post: npt.ArrayLike,
    *,
    reference: Difference | tuple[npt.ArrayLike, npt.ArrayLike],
    paired: bool = False,
    pre_se: npt.ArrayLike | None = None,
    post_se: npt.ArrayLike | None = None,
    least_multiple: float = LEAST_MULTIPLE,
    level: float = 0.95,
    n_resamples: int = 9999,
    rng: int | np.random.Generator = 0,
) -> FoldChange:
    """How many times more a group's contrast changed than the reference group's: a ratio of differences.

    Parameters
    ----------
    pre, post : (n,) array_like
        Contrast of each animal's region before and after.
    reference : (pre, post) array_likes, or Difference
        The same of the reference group, such as animals with the untargeted agent.
    paired : bool
        The reference is measured in the same animals, in the same order.
    pre_se, post_se : float or (n,) array_like, optional
        As in `difference`; those of the reference go into a `Difference`.
    least_multiple : float
        The fold is NaN with a caution where the reference's mean difference is below this many of its
        standard errors, or not above zero.
    level, n_resamples, rng
        Of the bootstrap interval.

    Returns
    -------
    FoldChange
        With one animal per group, tests and intervals are NaN, and the standard error is that of the given
        errors.

    Raises
    ------
    ValueError
        If lengths differ, or nothing was measured.
    """
    options: dict[str, Any] = {
        "least_multiple": least_multiple,
        "level": level,
        "n_resamples": n_resamples,
        "rng": rng,
    }
    treated = difference(pre, post, pre_se=pre_se, post_se=post_se, **options)
    untreated = reference if isinstance(reference, Difference) else difference(*reference, **options)
    if paired and treated.values.size != untreated.values.size:
        raise ValueError(
            f"paired groups have the same animals: found {treated.values.size} and {untreated.values.size}"
        )
    one, other = treated.values, untreated.values
    if paired:
        both = np.isfinite(one) & np.isfinite(other)
        if not both.any():
            raise ValueError("no animal was measured in both groups")
        one, other = one[both], other[both]
    else:
        one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    errors = (
        _mean_error(one) if one.size > 1 else treated.standard_error,
        _mean_error(other) if other.size > 1 else untreated.standard_error,
    )
    fold, error, cautions = _ratio_of_means(one, other, errors, least_multiple, paired)
    if math.isnan(fold):
        interval = (math.nan, math.nan)
    else:
        interval = ratio_interval(one, other, paired=paired, level=level, n_resamples=n_resamples, rng=rng)
    t_p_value, rank_p_value = _compared(one, other, paired)
    return FoldChange(
        fold=fold,
        standard_error=error,
        interval=interval,
        difference=treated,
        reference=untreated,
        t_p_value=t_p_value,
        rank_p_value=rank_p_value,
        raw_ratio=treated.raw_ratio,
        warnings=tuple(dict.fromkeys((*cautions, *treated.warnings))),
    )


def control_threshold(pre: npt.ArrayLike, post: npt.ArrayLike, *, multiple: float = 2.0) -> float:
    """Difference post - pre above which a voxel, region or animal differs from the control region.

    Parameters
    ----------
    pre, post : (n,) array_like
        Contrast of the control region's voxels or animals before and after, at least three pairs.
    multiple : float
        Standard deviations above the mean of the differences.

    Raises
    ------
    ValueError
        If fewer than three pairs were measured.
    """
    before, after = _pairs(pre, post, "control")
    change = (after - before)[np.isfinite(after - before)]
    if change.size < 3:
        raise ValueError(f"a control threshold needs at least 3 measured pairs, found {change.size}")
    return float(change.mean() + multiple * change.std(ddof=1))


def _pairs(pre: npt.ArrayLike, post: npt.ArrayLike, what: str) -> tuple[DoubleArray, DoubleArray]:
    before = np.atleast_1d(np.asarray(pre, dtype=np.float64))
    after = np.atleast_1d(np.asarray(post, dtype=np.float64))
    if before.ndim != 1 or before.shape != after.shape:
        raise ValueError(f"{what} must be lists of the same length, found {before.shape} and {after.shape}")
    return before, after


def _like(given: npt.ArrayLike, values: DoubleArray) -> DoubleArray:
    errors = np.asarray(given, dtype=np.float64)
    if errors.shape not in ((), values.shape):
        raise ValueError(f"standard errors have shape {errors.shape}, pre and post {values.shape}")
    return np.broadcast_to(errors, values.shape)


def _mean_error(values: DoubleArray) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan


def _raw_ratio(
    before: DoubleArray, after: DoubleArray, errors: DoubleArray | None, least_multiple: float
) -> tuple[float, tuple[Caution, ...]]:
    """Mean post over mean pre, and why it is no fold."""
    low, high = float(before.mean()), float(after.mean())
    scatter = _mean_error(before)
    own = math.nan if errors is None else float(np.sqrt(np.sum(errors**2)) / errors.size)
    spread = max((value for value in (scatter, own) if math.isfinite(value)), default=0.0)
    if abs(low) <= max(least_multiple * spread, _NOTHING * abs(high)):
        caution = Caution(
            "raw-ratio-undefined",
            f"the contrast before ({low:.3g}) is not {least_multiple:g} standard errors "
            f"({spread:.2g}) from zero: post over pre is no number, the difference is",
        )
        return math.nan, (caution,)
    ratio = high / low
    if low < 0.0 or high < 0.0:
        caution = Caution(
            "raw-ratio-no-fold",
            f"the contrast is {low:.3g} before and {high:.3g} after: their ratio {ratio:.3g} is no fold, "
            "since the background is asymmetric",
        )
        return ratio, (caution,)
    return ratio, ()


def _ratio_of_means(
    one: DoubleArray, other: DoubleArray, errors: tuple[float, float], least_multiple: float, paired: bool
) -> tuple[float, float, tuple[Caution, ...]]:
    """Ratio of two means, its standard error by propagation, and why there is none."""
    mean, below = float(one.mean()), float(other.mean())
    error, error_below = errors
    limit = 0.0 if math.isnan(error_below) else least_multiple * error_below
    if not below > limit:
        caution = Caution(
            "fold-undefined",
            f"the reference changed by {below:.3g}, not more than {least_multiple:g} of its standard errors "
            f"({error_below:.2g}): a fold relative to it is not defined, compare the differences",
        )
        return math.nan, math.nan, (caution,)
    fold = mean / below
    variance = error**2 + (fold * error_below) ** 2
    if paired and one.size > 1:
        variance -= 2.0 * fold * float(np.cov(one, other)[0, 1]) / one.size
    return fold, math.sqrt(max(variance, 0.0)) / below if math.isfinite(variance) else math.nan, ()


def _t_p_value(mean: float, error: float, freedom: float) -> float:
    """Two-sided p value of a mean with its standard error; NaN without any scatter."""
    from scipy.stats import t

    if not (freedom >= 1.0 and error > _NO_SCATTER * abs(mean)):
        return math.nan
    return float(2.0 * t.sf(abs(mean) / error, freedom))


def _one_sample_t(change: DoubleArray) -> float:
    return _t_p_value(float(change.mean()), _mean_error(change), change.size - 1)


def _welch_t(one: DoubleArray, other: DoubleArray) -> float:
    """Of two means with scatters that differ; degrees of freedom by Welch and Satterthwaite."""
    first, second = _mean_error(one) ** 2, _mean_error(other) ** 2
    below = first**2 / max(one.size - 1, 1) + second**2 / max(other.size - 1, 1)
    freedom = (first + second) ** 2 / below if below > 0.0 else 0.0
    return _t_p_value(float(one.mean() - other.mean()), math.sqrt(first + second), freedom)


def _signed_rank(change: DoubleArray) -> float:
    from scipy.stats import wilcoxon

    if not change.any():
        return math.nan
    ties = np.unique(np.abs(change)).size < change.size or not change.all()
    return float(wilcoxon(change, method="approx" if ties else "auto").pvalue)


def _compared(one: DoubleArray, other: DoubleArray, paired: bool) -> tuple[float, float]:
    """How probable the difference of two groups is by chance, by t and by ranks."""
    from scipy.stats import mannwhitneyu

    if paired:
        return _one_sample_t(one - other), _signed_rank(one - other)
    if min(one.size, other.size) < 2 or np.unique(np.concatenate([one, other])).size < 2:
        return math.nan, math.nan
    return _welch_t(one, other), float(mannwhitneyu(one, other).pvalue)
