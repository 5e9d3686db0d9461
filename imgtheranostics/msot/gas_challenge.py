"""Gas challenge: how much oxygen saturation changes when the breathing gas does, and when it changed.

Nothing has to be picked by hand: the moment of the change is known, or it is found with an interval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, shortfall
from imgtheranostics.mapping.voxel_blocks import Curves, DoubleArray, FlagArray, IndexArray, checked_times
from imgtheranostics.msot.change_points import (
    CHANGE,
    FEWEST_FRAMES,
    Step,
    change_point,
    check_length,
    checked_level,
    curve_results,
    most_probable_steps,
)
from imgtheranostics.volume import Flag

__all__ = ["BUFFER_FRAMES", "RESPONDING_SDS", "change_point", "delta_so2"]

BUFFER_FRAMES = 5
"""Frames on each side of the change that belong to neither state (msot.md M8)."""

RESPONDING_SDS = 2.0
"""A curve responds if it changes by more than this many standard deviations of its baseline."""

_CORRELATED, _LARGEST_LAG = 2.0, 0.9
_LEVELS = ("delta_so2", "baseline", "challenge", "baseline_sd", "responding")
_INTERVAL = ("delta_low", "delta_high")


def delta_so2(
    so2: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    change_s: npt.ArrayLike | None = None,
    buffer_frames: int = BUFFER_FRAMES,
    from_s: float | None = None,
    until_s: float | None = None,
    level: float = 0.95,
    unit: str = "1",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Change of oxygen saturation from the baseline gas to the challenge, mean minus mean.

    Parameters
    ----------
    so2 : (..., n) array_like
        Oxygen saturation over time.
    time_s : (n,) array_like
        Increasing.
    change_s : float or (...) array_like, optional
        When the gas was changed, taken as exact. Without it, the moment of each curve is found as in
        `change_point`: for maps, find it once in the mean of a region and give it here.
    buffer_frames : int
        Frames on each side of the change that are left out of both means.
    from_s, until_s : float, optional
        Only frames in between are used, such as those before the gas is changed back.
    level : float
        Probability of both intervals, of the change and of its moment.
    unit : str
        Of `so2`.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Taken as everywhere; the means are made in one thread.

    Returns
    -------
    Fit
        ``delta_so2``, ``baseline`` and ``challenge`` with standard errors, the interval ``delta_low`` to
        ``delta_high``, ``baseline_sd`` of one frame,
        ``responding`` (1 where the change exceeds two of these, else 0) and ``change_s``, ``change_low_s``,
        ``change_high_s``. A frame that is not finite within one of the means is `Flag.INVALID_INPUT`, a mean
        with fewer than three frames `Flag.OUTSIDE_RANGE`. Where no change is given and none is found, there
        is no difference of means that the search would not bias: `Flag.NOT_ENHANCING`, ``responding`` 0.

    Raises
    ------
    ValueError
        If shapes, times or numbers do not fit, or the change leaves too few frames for every curve.

    Notes
    -----
    Standard errors come from the scatter of the frames in each state. Where neighbouring frames of a curve
    are correlated beyond what noise makes (lag-1 correlation above ``2 / sqrt(n)``), they are widened by
    ``sqrt((1 + r) / (1 - r))``.
    """
    del workers
    times, probability = checked_times(time_s), checked_level(level)
    if isinstance(buffer_frames, bool) or int(buffer_frames) != buffer_frames or buffer_frames < 0:
        raise ValueError(f"buffer_frames is a whole number, 0 or more, not {buffer_frames!r}")
    used = _used(times, from_s, until_s)
    curves = Curves.of(so2, times.size, mask)
    times = times[used]
    check_length(times.size)
    given = None if change_s is None else curves.flat(change_s, "change_s")
    names = (*_LEVELS, *_INTERVAL, *CHANGE)
    rows, errors = (
        np.full((len(names), curves.planes.n_voxels), np.nan),
        np.full((3, curves.planes.n_voxels), np.nan),
    )
    flags = curves.flags()
    for index in curves.blocks():
        samples = curves.samples(index)[used]
        if given is None:
            step, state = most_probable_steps(samples, times, probability)
        else:
            step, state = _givenmost_probable_steps(given[index], times)
        states = _states(samples, step.before, int(buffer_frames), state)
        levels = states.levels()
        errors[:, index] = states.errors()
        reach = errors[0, index] * states.quantile(probability)
        rows[:, index] = np.stack([*levels, levels[0] - reach, levels[0] + reach, *step.times_s])
        flags[index] |= state
    if given is not None and curves.chosen.any() and (flags[curves.chosen] & Flag.OUTSIDE_RANGE.value).all():
        raise ValueError(
            f"the change leaves fewer than {FEWEST_FRAMES} frames on a side, {buffer_frames} on each left out"
        )
    values = dict(zip(names, rows, strict=True))
    deviations = dict(zip(_LEVELS[:3], errors, strict=True))
    units = (unit, unit, unit, unit, "1", unit, unit, "s", "s", "s")
    return curve_results(curves, values, deviations, flags, units)


def state_frames(
    times: DoubleArray, change_s: float, *, buffer_frames: int, from_s: float | None, until_s: float | None
) -> tuple[slice, slice]:
    """Frames of the baseline and of the challenge, as `delta_so2` takes them for one moment of change.

    Raises
    ------
    ValueError
        If a state has fewer than three.
    """
    used = _used(times, from_s, until_s)
    before = used.start + int(np.searchsorted(times[used], change_s, side="left"))
    states = slice(used.start, before - buffer_frames), slice(before + buffer_frames, used.stop)
    if min(state.stop - state.start for state in states) < FEWEST_FRAMES:
        raise ValueError(
            f"the change leaves fewer than {FEWEST_FRAMES} frames on a side, {buffer_frames} on each left out"
        )
    return states


def _used(times: DoubleArray, from_s: float | None, until_s: float | None) -> slice:
    first = 0 if from_s is None else int(np.searchsorted(times, from_s, side="left"))
    stop = times.size if until_s is None else int(np.searchsorted(times, until_s, side="right"))
    return slice(first, max(first, stop))


def _givenmost_probable_steps(change_s: DoubleArray, times: DoubleArray) -> tuple[Step, FlagArray]:
    flags = np.where(np.isfinite(change_s), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    before = np.searchsorted(times, np.nan_to_num(change_s), side="left")
    moments = np.repeat(change_s[np.newaxis], 3, axis=0)
    return Step(before, moments, np.full(change_s.shape, np.nan)), flags


class _States(NamedTuple):
    """Mean, variance of a frame and number of frames (2, n_some) of both states, and how noise widens."""

    mean: DoubleArray
    variance: DoubleArray
    n_frames: DoubleArray
    widened: DoubleArray
    known: npt.NDArray[np.bool_]
    unchanged: npt.NDArray[np.bool_]

    def levels(self) -> tuple[DoubleArray, ...]:
        """The values of `_LEVELS`."""
        with np.errstate(invalid="ignore"):
            delta = self._kept(self.mean[1] - self.mean[0])
            spread = self._kept(np.sqrt(self.variance[0]))
            responding = np.where(np.abs(delta) > RESPONDING_SDS * spread, 1.0, 0.0)
        responding[~self.known & ~self.unchanged] = np.nan
        return delta, self._kept(self.mean[0]), self._kept(self.mean[1]), spread, responding

    def freedom(self) -> DoubleArray:
        """Degrees of freedom of the difference, by Welch and Satterthwaite."""
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = self.variance / self.n_frames
            return np.asarray(parts.sum(axis=0) ** 2 / np.sum(parts**2 / (self.n_frames - 1.0), axis=0))

    def quantile(self, level: float) -> DoubleArray:
        """Standard errors that reach to the ends of the interval, by Student's t."""
        from scipy import special

        freedom = np.nan_to_num(self.freedom(), nan=1.0)
        # the errors are widened for few frames, Student's t is not meant for that
        return np.asarray(special.stdtrit(freedom, 0.5 + 0.5 * level) * _shortfalls(freedom))

    def errors(self) -> tuple[DoubleArray, ...]:
        """Standard errors of the difference and of both means."""
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = self.variance / self.n_frames
            short = _shortfalls(self.freedom())
            own = np.sqrt(parts) / _shortfalls(self.n_frames - 1.0) * self.widened
            both = np.sqrt(parts.sum(axis=0)) / short * self.widened
        return self._kept(both), self._kept(own[0]), self._kept(own[1])

    def _kept(self, values: DoubleArray) -> DoubleArray:
        return np.where(self.known, values, np.nan)


def _shortfalls(freedom: DoubleArray) -> DoubleArray:
    """`shortfall` of each number of degrees of freedom, rounded; 1 where there is none to speak of."""
    whole = np.nan_to_num(np.rint(freedom), nan=0.0, posinf=0.0).astype(np.int64)
    table = np.array([1.0, *(shortfall(n) for n in range(1, int(whole.max(initial=0)) + 1))])
    return np.asarray(table[whole])


def _states(samples: DoubleArray, before: IndexArray, buffer: int, flags: FlagArray) -> _States:
    """Both states of each curve; `flags` are completed."""
    frames = np.arange(samples.shape[0])[:, np.newaxis]
    inside = np.stack([frames < before - buffer, frames >= before + buffer])
    count = inside.sum(axis=1).astype(np.float64)
    spoilt = (inside & ~np.isfinite(samples)).any(axis=(0, 1))
    short = (count < FEWEST_FRAMES).any(axis=0)
    flags[(flags == 0) & short] = Flag.OUTSIDE_RANGE.value
    flags[(flags == 0) & spoilt] = Flag.INVALID_INPUT.value
    filled = np.where(np.isfinite(samples), samples, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.sum(np.where(inside, filled, 0.0), axis=1) / count
        residual = np.where(inside, filled - mean[:, np.newaxis], 0.0)
        squares = np.sum(residual**2, axis=1)
        variance = squares / (count - 1.0)
        lagged = np.sum(residual[:, 1:] * residual[:, :-1], axis=(0, 1)) / squares.sum(axis=0)
        significant = lagged > _CORRELATED / np.sqrt(count.sum(axis=0))
        # means are fitted: r is too low by about (1 + 4 r) / n for a state of n frames
        truer = lagged + (1.0 + 4.0 * lagged) / count.mean(axis=0)
        lag = np.where(significant, np.minimum(truer, _LARGEST_LAG), 0.0)
    widened = np.sqrt((1.0 + lag) / (1.0 - lag))
    unchanged = (flags & Flag.NOT_ENHANCING.value) != 0
    return _States(mean, variance, count, widened, flags == 0, unchanged)
