"""When curves step from one level to another: the most probable moment, with an interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    FlagArray,
    IndexArray,
    checked_times,
    stored,
)
from imgtheranostics.volume import Flag

FEWEST_FRAMES = 3
"""Frames that a state must have."""

CHANGE = ("change_s", "change_low_s", "change_high_s")
"""Names of the moment of a change and of the interval around it."""


def change_point(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    level: float = 0.95,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """When curves step from one level to another, with an interval.

    Parameters
    ----------
    signal : (..., n) array_like
        Curves with noise of one size before and after the step.
    time_s : (n,) array_like
        Increasing.
    level : float
        Probability of the interval.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Taken as everywhere; the search runs in one thread.

    Returns
    -------
    Fit
        ``change_s``, half way between the two frames around the most probable step; ``change_low_s`` and
        ``change_high_s``, the frames that enclose it with the stated probability; ``p_value`` of that step if
        there were none, corrected for having looked at every place. Where it exceeds ``1 - level`` no change
        was found: times are NaN with `Flag.NOT_ENHANCING`. There are no standard errors: the distribution is
        neither normal nor symmetric.

    Raises
    ------
    ValueError
        If there are fewer than six frames, or shapes, times or level do not fit.

    Notes
    -----
    With every place alike probable beforehand, two levels and the size of the noise unknown, the probability
    of a step after k of n frames is proportional to ``(k (n - k))^-1/2 SSE(k)^-(n - 2) / 2``. The interval
    holds the most probable places. The p-value is that of the largest t times the number of places.
    """
    del workers
    times, probability = checked_times(time_s), checked_level(level)
    curves = Curves.of(signal, times.size, mask)
    check_length(times.size)
    rows, flags = np.full((4, curves.planes.n_voxels), np.nan), curves.flags()
    for index in curves.blocks():
        found, state = most_probable_steps(curves.samples(index), times, probability)
        rows[:, index] = np.stack([*found.times_s, found.p_value])
        flags[index] |= state
    names = (*CHANGE, "p_value")
    return curve_results(curves, dict(zip(names, rows, strict=True)), {}, flags, ("s", "s", "s", "1"))


class Step(NamedTuple):
    """Frames before the step of each curve, its times in s (3, n_some), and its p-value."""

    before: IndexArray
    times_s: DoubleArray
    p_value: DoubleArray


def checked_level(level: float) -> float:
    """A probability for an interval; ValueError when it is none."""
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level is a probability from 0.5 up to but not 1, not {level!r}")
    return float(level)


def check_length(n_frames: int) -> None:
    """ValueError when there are too few frames for two states."""
    if n_frames < 2 * FEWEST_FRAMES:
        raise ValueError(f"a change needs at least {2 * FEWEST_FRAMES} frames, not {n_frames}")


def most_probable_steps(samples: DoubleArray, times: DoubleArray, level: float) -> tuple[Step, FlagArray]:
    """The most probable step of each curve (n, n_some), its interval, and flags."""
    n, n_some = samples.shape
    places = np.arange(FEWEST_FRAMES, n - FEWEST_FRAMES + 1)
    flags = np.zeros(n_some, np.uint16)
    invalid = ~np.isfinite(samples).all(axis=0)
    flags[invalid] = Flag.INVALID_INPUT.value
    centred = np.where(invalid, 0.0, samples - np.where(invalid, 0.0, samples.mean(axis=0)))
    total = np.sum(centred**2, axis=0)
    first = np.cumsum(centred, axis=0)[places - 1]
    weight = (places * (n - places))[:, np.newaxis] / n
    explained = first**2 / weight
    left = np.maximum(total - explained, np.finfo(float).eps * total)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_odds = -0.5 * np.log(weight) - 0.5 * (n - 2) * np.log(left / total)
        odds = np.exp(log_odds - log_odds.max(axis=0))
        odds /= odds.sum(axis=0)
        t = np.sqrt(explained * (n - 2) / left)
    best = np.argmax(np.nan_to_num(odds), axis=0)
    low, high = _interval(np.nan_to_num(odds), level)
    largest = np.take_along_axis(np.nan_to_num(t), best[np.newaxis], axis=0)[0]
    p_value = np.minimum(1.0, places.size * _two_sided(largest, n - 2))
    p_value[invalid] = np.nan
    unchanged = (flags == 0) & ~(p_value <= 1.0 - level)
    flags[unchanged] = Flag.NOT_ENHANCING.value
    before = places[best]
    moments = np.stack(
        [0.5 * (times[before - 1] + times[before]), times[places[low] - 1], times[places[high]]]
    )
    moments[:, flags != 0] = np.nan
    return Step(before, moments, p_value), flags


def _interval(odds: DoubleArray, level: float) -> tuple[IndexArray, IndexArray]:
    """First and last of the most probable places that hold the probability together."""
    order = np.argsort(-odds, axis=0, kind="stable")
    ranked = np.take_along_axis(odds, order, axis=0)
    n_needed = np.minimum(np.sum(np.cumsum(ranked, axis=0) < level, axis=0) + 1, odds.shape[0])
    kept = np.arange(odds.shape[0])[:, np.newaxis] < n_needed
    low = np.where(kept, order, odds.shape[0]).min(axis=0)
    high = np.where(kept, order, -1).max(axis=0)
    return low, high


def _two_sided(t: DoubleArray, freedom: int) -> DoubleArray:
    from scipy import special

    return np.asarray(2.0 * special.stdtr(freedom, -np.abs(t)))


def curve_results(
    curves: Curves,
    values: dict[str, DoubleArray],
    deviations: dict[str, DoubleArray],
    flags: FlagArray,
    units: tuple[str, ...],
) -> Fit:
    """Results of curves, one row for each name, as a Fit in the type and shape of the signal."""
    dtype = curves.planes.samples.dtype
    missing = np.full(curves.planes.n_voxels, np.nan)
    return Fit(
        {name: curves.restored(stored(row, dtype)) for name, row in values.items()},
        {name: curves.restored(stored(deviations.get(name, missing), dtype)) for name in values},
        *nothing_fitted(curves.planes.shape, dtype),
        flags=curves.restored(flags),
        units=dict(zip(values, units, strict=True)),
    )
