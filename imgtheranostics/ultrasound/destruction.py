"""When a destruction pulse came in a cine: given, or found as the one abrupt drop of the signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned, UnsupportedInput

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

_WINDOW = 5
_MOST_BURST_FRAMES = 3
_NEARLY = 0.8
_ROUNDING = 1e-6
_STANDS_OUT = 5.0
_ABRUPT = 3.0
_MAD = 1.4826
_NEAR = 20
"""Steps on each side of a fall that tell the noise there."""


@dataclass(frozen=True, eq=False)
class Burst:
    """A destruction pulse and the frames on either side of it.

    Attributes
    ----------
    time_s : float
    before, after : (n,) int64
        Frames that are averaged; those of the pulse itself are in neither.
    decision : dict
        How the pulse was found, for the record.
    """

    time_s: float
    before: IndexArray
    after: IndexArray
    decision: dict[str, Any]


def check_times(time_s: npt.ArrayLike) -> FloatArray:
    """Frame times, increasing.

    Raises
    ------
    ValueError
        If they are not.
    """
    times = np.asarray(time_s, np.float64)
    if times.ndim != 1 or not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError("time_s must be increasing frame times in s")
    return times


def burst_at(
    times: FloatArray, burst_time_s: float, *, duration_s: float = 0.0, settle_s: float = 0.0
) -> Burst:
    """The pulse that the user states: frames from its begin to its end, and `settle_s` more, do not count.

    Raises
    ------
    ValueError
        If a duration is negative.
    UnsupportedInput
        If no frame lies on one of its sides.
    """
    if not (duration_s >= 0 and settle_s >= 0):
        raise ValueError("burst_duration_s and settle_s must not be negative")
    tick = 1e-9 * max(1.0, float(np.abs(times).max()))
    before = np.flatnonzero(times < burst_time_s - tick)
    after = np.flatnonzero(times > burst_time_s + duration_s + settle_s + tick)
    decision = {
        "rule": "given",
        "burst_time_s": float(burst_time_s),
        "duration_s": float(duration_s),
        "settle_s": float(settle_s),
    }
    return _checked(Burst(float(burst_time_s), before, after, decision), times)


def find_burst(times: FloatArray, curve: npt.ArrayLike, *, settle_s: float = 0.0) -> Burst:
    """The one abrupt drop of a curve.

    The median of five frames falls by the most to that of the next five; the fall must stand out of the noise
    of all frames, and of those on either side of it since bright speckle fluctuates more, by five of its
    standard errors, and be three times any fall right before or after it, which
    a wash-out is not. Frames next to it that lie far from both sides are those of the pulse, bright or dark.

    Raises
    ------
    IllConditioned
        If there is none.
    UnsupportedInput
        If there are too few frames.
    """
    signal = np.asarray(curve, np.float64)
    if signal.size < 2 * _WINDOW or not np.isfinite(signal).all():
        raise UnsupportedInput(
            "a destruction pulse cannot be found in so few frames, or with frames that have no value",
            found=f"{int(np.isfinite(signal).sum())} of {signal.size} frames",
            needed=f"{2 * _WINDOW} frames",
            next_step="give --burst-time SECONDS (burst_time_s=)",
        )
    windows = np.lib.stride_tricks.sliding_window_view(signal, _WINDOW)
    medians = np.median(windows, axis=1)
    falls = medians[:-_WINDOW] - medians[_WINDOW:]
    misfit = np.sum(np.abs(windows - medians[:, np.newaxis]), axis=1)
    largest = float(falls.max())
    likely = np.flatnonzero(falls >= _NEARLY * largest)
    first = int(likely[np.argmin((misfit[:-_WINDOW] + misfit[_WINDOW:])[likely])])
    steps = np.diff(signal)
    crossed = first + _WINDOW - 1
    sides_of = steps, steps[max(0, crossed - _NEAR) : crossed], steps[crossed + 1 : crossed + 1 + _NEAR]
    noise = max(_noise(some) for some in sides_of)
    beside = [float(falls[k]) for k in (first - _WINDOW, first + _WINDOW) if 0 <= k < falls.size]
    needed = max(_STANDS_OUT * noise * np.sqrt(2.0 / _WINDOW), _ABRUPT * max([0.0, *beside]))
    if not largest > needed or largest <= _ROUNDING * float(np.abs(signal).max()):
        raise IllConditioned(
            "no destruction pulse stands out of the curve",
            found=f"a largest fall of {largest:.3g}",
            needed=f"an abrupt fall above {needed:.3g}",
            next_step="give --burst-time SECONDS (burst_time_s=)",
        )
    start = first + _WINDOW
    sides = float(medians[first]), float(medians[start])
    pulse = _pulse_frames(signal, start, sides, max(_STANDS_OUT * noise, 0.5 * largest))
    begin = min([start, *pulse])
    settled = float(times[max([start - 1, *pulse])]) + settle_s
    decision = {
        "rule": "largest abrupt fall",
        "burst_time_s": float(times[begin]),
        "burst_frames": pulse,
        "fall": largest,
        "settle_s": float(settle_s),
    }
    after = np.flatnonzero((np.arange(signal.size) >= start) & (times > settled))
    after = after[~np.isin(after, pulse)]
    return _checked(Burst(float(times[begin]), np.arange(begin), after, decision), times)


def _noise(steps: FloatArray) -> float:
    """Standard deviation of a frame from the steps between neighbours; 0 for too few to tell."""
    if steps.size < _WINDOW:
        return 0.0
    return _MAD * float(np.median(np.abs(steps - np.median(steps)))) / float(np.sqrt(2.0))


def _pulse_frames(signal: FloatArray, start: int, sides: tuple[float, float], far: float) -> list[int]:
    """Frames around a fall that lie above or below both sides by more than `far`."""
    low, high = min(sides) - far, max(sides) + far
    near = range(max(0, start - _MOST_BURST_FRAMES), min(signal.size, start + _MOST_BURST_FRAMES))
    return [n for n in near if not low <= signal[n] <= high]


def _checked(burst: Burst, times: FloatArray) -> Burst:
    if not burst.before.size or not burst.after.size:
        raise UnsupportedInput(
            "there are no frames on one side of the destruction pulse",
            found=f"{burst.before.size} before and {burst.after.size} after {burst.time_s:g} s",
            needed=f"frames on both sides, of those from {times[0]:g} to {times[-1]:g} s",
        )
    return burst
