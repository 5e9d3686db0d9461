"""What kinetic analyses are given: times of frames, and an input function of straight lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue

FloatArray = npt.NDArray[np.float64]

SHORTEST_SCAN_S = 150.0
"""A scan for kinetics that ends earlier was probably given in minutes."""

LATEST_START_S = 30.0
"""How long after the injection the input function may begin above zero."""

NEGLIGIBLE = 0.05
"""Share of the peak that counts as nothing at the start of an input function, and below zero."""

LATEST_TISSUE_S = 60.0
"""How long after the injection the first frame may start where the tissue's integral is needed."""

SAME_TIME = 1e-6
"""Overlap of neighbouring frames, relative to their length, that is rounding."""


@dataclass(frozen=True, eq=False)
class InputCurve:
    """A curve of straight lines between samples: zero before the first one, constant after the last one.

    Attributes
    ----------
    time_s, values : (k,) ndarray
    """

    time_s: FloatArray
    values: FloatArray

    def at(self, when_s: FloatArray) -> FloatArray:
        """The curve itself."""
        return np.interp(when_s, self.time_s, self.values, left=0.0)

    def integral(self, when_s: FloatArray) -> FloatArray:
        """Exact integral up to a time."""
        return self._integrals(when_s)[0]

    def average(self, start_s: FloatArray, end_s: FloatArray) -> FloatArray:
        """Exact average over frames; the value itself in a frame without length."""
        return _over_frames(self.at, self.integral, start_s, end_s)

    def average_integral(self, start_s: FloatArray, end_s: FloatArray) -> FloatArray:
        """Exact average over frames of the integral since the injection."""
        return _over_frames(self.integral, lambda when: self._integrals(when)[1], start_s, end_s)

    def _integrals(self, when_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The integral, and the integral of that."""
        time, value = self.time_s, self.values
        step = np.diff(time)
        once = np.concatenate([[0.0], np.cumsum(0.5 * step * (value[1:] + value[:-1]))])
        parts = step * once[:-1] + step**2 * (2.0 * value[:-1] + value[1:]) / 6.0
        twice = np.concatenate([[0.0], np.cumsum(parts)])
        knot = np.clip(np.searchsorted(time, when_s, side="right") - 1, 0, time.size - 1)
        rest = np.maximum(when_s - time[knot], 0.0)
        here = np.interp(when_s, time, value)
        first = once[knot] + 0.5 * rest * (value[knot] + here)
        second = twice[knot] + rest * once[knot] + rest**2 * (2.0 * value[knot] + here) / 6.0
        inside = when_s > time[0]
        return np.where(inside, first, 0.0), np.where(inside, second, 0.0)


def _over_frames(
    itself: Callable[[FloatArray], FloatArray],
    integral: Callable[[FloatArray], FloatArray],
    start_s: FloatArray,
    end_s: FloatArray,
) -> FloatArray:
    """Averages, from the curve and its integral."""
    length = end_s - start_s
    whole = length > 0.0
    mean = (integral(end_s) - integral(start_s)) / np.where(whole, length, 1.0)
    return np.asarray(np.where(whole, mean, itself(start_s)))


@dataclass(frozen=True, eq=False)
class Frames:
    """Start and end of each frame in s since injection."""

    start_s: FloatArray
    end_s: FloatArray

    @property
    def mid_s(self) -> FloatArray:
        """Their middles."""
        return 0.5 * (self.start_s + self.end_s)

    def __len__(self) -> int:
        return int(self.start_s.size)


def checked_frames(
    frame_start_s: npt.ArrayLike, frame_end_s: npt.ArrayLike, *, check_time: bool = True
) -> Frames:
    """Frames that follow each other; one without length is a sample at its time.

    Raises
    ------
    ValueError
        If the lists differ in length, hold what is not finite, overlap or do not increase.
    ImplausibleValue
        If the times look like minutes, and `check_time`.
    """
    start = np.array(frame_start_s, np.float64, ndmin=1)
    end = np.array(frame_end_s, np.float64, ndmin=1)
    if start.ndim != 1 or start.shape != end.shape or start.size == 0:
        raise ValueError(
            f"frame_start_s and frame_end_s need one time per frame, found {start.shape} and {end.shape}"
        )
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        raise ValueError("times of frames must be finite")
    if (end < start).any():
        raise ValueError("a frame ends before it starts; frame_end_s are times, not durations")
    if start.size > 1:
        slack = SAME_TIME * np.maximum(end, 1.0)
        if (start[1:] < end[:-1] - slack[:-1]).any() or (np.diff(0.5 * (start + end)) <= 0.0).any():
            raise ValueError("frames must increase and not overlap; sort them by time")
    _check_unit(end, check_time, "frame_end_s")
    return Frames(start, end)


def checked_mid_times(
    time_s: npt.ArrayLike, duration_s: npt.ArrayLike | None, *, check_time: bool = True
) -> tuple[FloatArray, Frames | None]:
    """Middles of frames, increasing, and the frames themselves where their durations are given.

    Raises
    ------
    ValueError, ImplausibleValue
        As `checked_frames`.
    """
    mid = np.array(time_s, np.float64, ndmin=1)
    if mid.ndim != 1 or mid.size == 0 or not np.isfinite(mid).all():
        raise ValueError("time_s must be a list of finite numbers")
    if (np.diff(mid) <= 0.0).any():
        raise ValueError("time_s must increase; sort the samples by time")
    _check_unit(mid, check_time, "time_s")
    if duration_s is None:
        return mid, None
    half = 0.5 * np.array(duration_s, np.float64)
    if half.shape not in ((), mid.shape):
        raise ValueError(f"frame_duration_s has shape {half.shape}, but there are {mid.size} frames")
    return mid, checked_frames(mid - half, mid + half, check_time=False)


def _check_unit(times: FloatArray, check_time: bool, where: str) -> None:
    if check_time and times.size > 1 and times[-1] < SHORTEST_SCAN_S:
        raise ImplausibleValue(
            "the times look like minutes",
            where=where,
            found=f"{times.size} frames up to {times[-1]:g} s",
            needed="times in s since the injection",
            next_step="multiply by 60, or give check_time=False",
        )


def checked_input(
    input_time_s: npt.ArrayLike, values: npt.ArrayLike, *, until_s: float, name: str = "plasma"
) -> InputCurve:
    """An input function that covers a scan: from the injection to its last frame.

    Parameters
    ----------
    input_time_s, values : (k,) array_like
        Samples since the injection, decay corrected to the same moment as the images.
    until_s : float
        The last sample must not be before this: the start of the last frame. It stays as it is from there.
    name : str

    Raises
    ------
    ValueError
        If times and values do not fit together, are not finite, or do not increase.
    ImplausibleValue
        If the samples do not cover the scan, or the curve is negative or nowhere above zero.
    """
    time = np.array(input_time_s, np.float64, ndmin=1)
    curve = np.array(values, np.float64, ndmin=1)
    if time.ndim != 1 or time.size < 2:
        raise ValueError("input_time_s must be a list of at least two times")
    if curve.shape != time.shape:
        raise ValueError(f"{name} has shape {curve.shape}, but needs one value per time, {time.size}")
    if not (np.isfinite(time).all() and np.isfinite(curve).all()):
        raise ValueError(f"{name} and its times must be finite; leave out samples that are missing")
    if (np.diff(time) <= 0.0).any():
        raise ValueError("input_time_s must increase; sort the samples by time")
    peak = float(curve.max())
    if not peak > 0.0:
        raise ImplausibleValue(f"{name} is nowhere above zero: there is no input function", where=name)
    if curve.min() < -NEGLIGIBLE * peak:
        raise ImplausibleValue(
            f"{name} is negative",
            where=name,
            found=f"down to {curve.min():.4g}, with a peak of {peak:.4g}",
            needed="activity concentrations, which noise alone may bring just below zero",
            next_step="look for a wrong background or decay correction",
        )
    late = time[0] > LATEST_START_S and curve[0] > NEGLIGIBLE * peak
    if time[-1] < until_s or late:
        raise ImplausibleValue(
            f"the samples of {name} do not cover the scan",
            where="input_time_s",
            found=f"{time[0]:g} to {time[-1]:g} s",
            needed=f"from the injection (0 s) to the last frame, which starts at {until_s:g} s",
            next_step="give all samples, or leave out the frames after the last one",
        )
    return InputCurve(time, curve)


def refuse_late_tissue(times: FloatArray, frames: Frames | None) -> None:
    """A curve whose integral since the injection is needed must begin with it.

    Raises
    ------
    ImplausibleValue
        If the first frame starts more than a minute after the injection.
    """
    if frames is not None:
        began = float(frames.start_s[0])
    else:
        began = float(times[0] - 0.5 * (times[1] - times[0]) if times.size > 1 else times[0])
    if began > LATEST_TISSUE_S:
        raise ImplausibleValue(
            "the first frame is too late for the integral of the tissue curve",
            where="time_s",
            found=f"it starts about {began:g} s after the injection",
            needed=f"frames from the injection on, at most {LATEST_TISSUE_S:g} s later",
            next_step="give all frames of the scan, or use patlak, which needs none before start_s",
        )


def checked_reference(reference: npt.ArrayLike, times: FloatArray) -> FloatArray:
    """The curve of a reference tissue, one value per frame.

    Raises
    ------
    ValueError
        If there are more or fewer values, or one is not finite.
    ImplausibleValue
        If it is negative or nowhere above zero.
    """
    curve = np.array(reference, np.float64)
    if curve.shape != times.shape:
        raise ValueError(f"reference has shape {curve.shape}, but needs one value per frame, {times.size}")
    if not np.isfinite(curve).all():
        raise ValueError("the reference curve must be finite")
    peak = float(curve.max())
    if not peak > 0.0:
        raise ImplausibleValue("the reference curve is nowhere above zero", where="reference")
    if curve.min() < -NEGLIGIBLE * peak:
        raise ImplausibleValue(
            "the reference curve is negative", where="reference", found=f"down to {curve.min():.4g}"
        )
    return curve


def checked_clearance(k2_per_min: float) -> float:
    """The clearance of a reference tissue, above zero; `ImplausibleValue` otherwise."""
    if not (np.isfinite(k2_per_min) and k2_per_min > 0.0):
        raise ImplausibleValue(
            "the clearance of the reference tissue is not positive",
            where="k2_reference_per_min",
            found=f"{k2_per_min:g}",
            needed="1/min, as srtm finds it",
        )
    return float(k2_per_min)


def root_weights(weights: npt.ArrayLike | None, n: int) -> tuple[FloatArray, int]:
    """Roots of the weights of `n` frames, whose mean over those that count is 1, and how many count.

    Raises
    ------
    ValueError
        If there are more or fewer, one is negative or not finite, or all are zero.
    """
    given = np.ones(n) if weights is None else np.array(weights, np.float64)
    if given.shape != (n,):
        raise ValueError(f"weights has shape {given.shape}, but needs one per frame, {n}")
    if not np.isfinite(given).all() or (given < 0.0).any() or not given.any():
        raise ValueError("weights must be finite and not negative, and not all zero")
    used = int(np.count_nonzero(given))
    return np.sqrt(given * used / given.sum()), used
