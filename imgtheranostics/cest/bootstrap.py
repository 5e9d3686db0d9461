"""Bootstrap intervals of a mean and of a ratio of means, bias-corrected and accelerated (BCa)."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]
Interval = tuple[float, float]

FEWEST = 3
"""Of fewer samples, resampling tells nothing."""

_NORMAL = NormalDist()


def mean_interval(
    values: DoubleArray, *, level: float, n_resamples: int, rng: int | np.random.Generator
) -> Interval:
    """BCa interval of a mean; NaN for fewer than three samples.

    Parameters
    ----------
    values : (n,) ndarray
    level : float
        Between 0 and 1.
    n_resamples : int
    rng : Generator or int

    References
    ----------
    .. [1] Efron, Tibshirani, An introduction to the bootstrap, 1993, chapter 14.
    """
    _check(level, n_resamples)
    if values.size < FEWEST:
        return math.nan, math.nan
    drawn = _drawn(values.size, n_resamples, np.random.default_rng(rng))
    resampled = values[drawn].mean(axis=1)
    return _bca(float(values.mean()), resampled, [_without_each(values)], level)


def ratio_interval(
    one: DoubleArray,
    other: DoubleArray,
    *,
    paired: bool,
    level: float,
    n_resamples: int,
    rng: int | np.random.Generator,
) -> Interval:
    """BCa interval of mean(one) / mean(other); NaN for fewer than three samples in either.

    Resamples whose denominator is not above zero count as infinitely large, so that an interval that reaches
    there has no upper end.

    Parameters
    ----------
    one, other : (n,), (m,) ndarray
    paired : bool
        Samples of both are drawn together.
    level, n_resamples, rng
        As in `mean_interval`.
    """
    _check(level, n_resamples)
    if min(one.size, other.size) < FEWEST:
        return math.nan, math.nan
    generator = np.random.default_rng(rng)
    drawn = _drawn(one.size, n_resamples, generator)
    drawn_other = drawn if paired else _drawn(other.size, n_resamples, generator)
    mean, below = float(one.mean()), float(other.mean())
    resampled = _ratio(one[drawn].mean(axis=1), other[drawn_other].mean(axis=1))
    if paired:
        jackknife = [_ratio(_without_each(one), _without_each(other))]
    else:
        jackknife = [
            _ratio(_without_each(one), np.full(one.size, below)),
            _ratio(np.full(other.size, mean), _without_each(other)),
        ]
    return _bca(mean / below, resampled, jackknife, level)


def _check(level: float, n_resamples: int) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, found {level:g}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, found {n_resamples}")


def _ratio(above: DoubleArray, below: DoubleArray) -> DoubleArray:
    positive = below > 0.0
    return np.where(positive, above / np.where(positive, below, 1.0), np.inf)


def _drawn(n: int, n_resamples: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return rng.integers(0, n, (n_resamples, n))


def _without_each(values: DoubleArray) -> DoubleArray:
    return np.asarray((values.sum() - values) / (values.size - 1))


def _bca(estimate: float, resampled: DoubleArray, jackknife: list[DoubleArray], level: float) -> Interval:
    """Interval from resampled estimates and those without each sample, per group."""
    below = (np.count_nonzero(resampled < estimate) + np.count_nonzero(resampled <= estimate)) / (
        2.0 * resampled.size
    )
    finite = all(np.isfinite(group).all() for group in jackknife)
    spread = resampled.max() > resampled.min()
    if not (0.0 < below < 1.0 and finite and spread):
        return _quantiles(resampled, (0.5 - level / 2, 0.5 + level / 2))
    bias = _NORMAL.inv_cdf(below)
    cubes = sum(float(np.sum((group.mean() - group) ** 3)) / group.size**3 for group in jackknife)
    squares = sum(float(np.sum((group.mean() - group) ** 2)) / group.size**2 for group in jackknife)
    acceleration = cubes / (6.0 * squares**1.5) if squares > 0.0 else 0.0
    ends: list[float] = []
    for probability in (0.5 - level / 2, 0.5 + level / 2):
        shifted = bias + _NORMAL.inv_cdf(probability)
        ends.append(_NORMAL.cdf(bias + shifted / (1.0 - acceleration * shifted)))
    return _quantiles(resampled, (ends[0], ends[1]))


def _quantiles(resampled: DoubleArray, ends: tuple[float, float]) -> Interval:
    """Quantiles of values of which some may be infinite."""
    ordered = np.sort(resampled)
    places = [min(max(round(end * (ordered.size - 1)), 0), ordered.size - 1) for end in ends]
    return float(ordered[places[0]]), float(ordered[places[1]])
