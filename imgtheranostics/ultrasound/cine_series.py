"""The frames of a contrast cine: their times in seconds, which of them count, and how curves are fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.frame_seconds import frame_seconds
from imgtheranostics.ultrasound import curves as array_level
from imgtheranostics.volume import Axis, Volume

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Series:
    """A cine of linear echo power without the frames that hold nothing, and how its curves are fitted."""

    linear: Volume
    time_s: FloatArray
    frames: IndexArray
    model: str
    baseline: str
    burst_time_s: float | None

    def fit(self, signal: npt.ArrayLike, which: Any = slice(None), **options: Any) -> Fit:
        """Fit curves of the frames `which`."""
        return array_level.fit(
            signal,
            self.time_s[which],
            model=self.model,
            baseline=self.baseline,
            burst_time_s=self.burst_time_s,
            **options,
        )


def time_axis(volume: Volume) -> Axis:
    """The frames of a cine, in s and increasing.

    Raises
    ------
    UnsupportedInput
        If there is no time axis, another one beside it, or times repeat or fall.
    UnitMismatch
        If the axis is in no unit of time, such as numbers of frames.
    """
    axis = volume.axis("time")
    if axis is None or len(volume.axes) != 1:
        raise UnsupportedInput(
            "time-intensity curves need a cine",
            found=", ".join(one.name for one in volume.axes) or "a single image",
            needed="frames along time, and no other axis",
        )
    seconds = frame_seconds(axis)
    if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
        raise UnsupportedInput(
            "the times of the frames do not increase",
            where="FrameTime (0018,1063), FrameTimeVector (0018,1065), or FrameTimes in the sidecar",
            needed="one time per frame, increasing",
        )
    return replace(axis, values=seconds, unit="s")


def series_of(
    linear: Volume, time: Axis, model: str, baseline: str, burst_time_s: float | None
) -> tuple[Series, tuple[Caution, ...]]:
    """The frames that hold anything, and what was left out.

    Raises
    ------
    UnsupportedInput
        If fewer are left than the model needs.
    """
    empty = np.array([not np.isfinite(plane).any() for plane in linear.planar])
    kept = np.flatnonzero(~empty)
    parameters = {"replenishment": 2}.get(model, 4) + int(baseline == "fit")
    if kept.size <= parameters:
        raise UnsupportedInput(
            f"the cine is too short for the {model} model",
            found=f"{kept.size} frames with pixels",
            needed=f"more than its {parameters} parameters",
        )
    cautions: tuple[Caution, ...] = ()
    if empty.any():
        listed = ", ".join(str(n) for n in np.flatnonzero(empty)[:20])
        text = f"{int(empty.sum())} of {empty.size} frames hold no pixel and are left out: {listed}"
        cautions = (Caution("frames-left-out", text, "time"),)
    return Series(linear, time.values[kept], kept, model, baseline, burst_time_s), cautions


def one_run(frames: IndexArray) -> tuple[int, int]:
    """Baseline frames as one window (first, stop) of the cine.

    Raises
    ------
    UnsupportedInput
        If there are gaps.
    """
    first, stop = int(frames[0]), int(frames[-1]) + 1
    if frames.size != stop - first:
        raise UnsupportedInput(
            "the frames before the agent are not in one run",
            where="--baseline-frames (baseline_frames=)",
            found=", ".join(str(n) for n in frames[:10]),
            needed="neighbouring frames, such as 0:10",
        )
    return first, stop
