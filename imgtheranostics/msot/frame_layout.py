"""What the frames of a scan are: times of one slice, or slices along the way of the stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch, MissingMetadata
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import Axis

FrameKind = Literal["auto", "time", "slices", "mean"]

STILL_MM = 0.05
"""Stage positions that differ by less are one."""

_EVEN = 0.02
"""Deviation of a stage step from their mean, relative to it, that still counts as even."""


@dataclass(frozen=True, eq=False)
class FrameLayout:
    """How frames become the axes of a Volume.

    Attributes
    ----------
    kind : {"one", "time", "slices", "mean"}
    order : (frames,) int
        In which frames are stacked.
    stage_mm : float
        Of the first slice; 0 where the file does not state it.
    step_mm : float or None
        Distance of slices.
    time : Axis or None
    """

    kind: str
    order: npt.NDArray[np.int64]
    stage_mm: float = 0.0
    step_mm: float | None = None
    time: Axis | None = None


def frame_layout(signals: OptoacousticSignals, frames: FrameKind) -> FrameLayout:
    """Layout of the frames; ``auto`` tells slices from times by the positions of the stage.

    Raises
    ------
    GeometryMismatch
        If the stage moved, but not in even steps, or if it moved between frames that are taken for times or
        averaged.
    MissingMetadata
        If times or positions are needed and not stated.
    """
    if frames not in ("auto", "time", "slices", "mean"):
        raise ValueError(f"frames must be 'auto', 'time', 'slices' or 'mean', found {frames!r}")
    n = signals.n_frames
    order = np.arange(n)
    stage = signals.stage_position_mm
    known = stage is not None and bool(np.isfinite(stage).all())
    moved = known and n > 1 and float(np.ptp(stage)) > STILL_MM  # type: ignore[arg-type]
    first = float(np.mean(stage)) if known else 0.0  # type: ignore[arg-type]
    if n == 1:
        return FrameLayout("one", order, first)
    if frames == "slices" or (frames == "auto" and moved):
        return _slices(signals, moved)
    if moved:
        raise GeometryMismatch(
            "the stage moved between the frames",
            where="stage_position_mm",
            found=f"positions over {float(np.ptp(stage)):.3g} mm",  # type: ignore[arg-type]
            needed="one position for frames that are times of one slice",
            next_step="use frames='slices'",
        )
    if frames == "mean":
        return FrameLayout("mean", order, first)
    if signals.frame_time_s is None or not np.isfinite(signals.frame_time_s).any(axis=1).all():
        raise MissingMetadata(
            "the times of the frames are not stated",
            where="frame_time_s",
            found=f"{n} frames",
            next_step="use frames='mean' to average them, or set them with signals.replace(frame_time_s=...)",
        )
    times = np.nanmean(signals.frame_time_s, axis=1)
    order = np.argsort(times, kind="stable")
    return FrameLayout("time", order, first, time=Axis("time", times[order], "s"))


def _slices(signals: OptoacousticSignals, moved: bool) -> FrameLayout:
    stage = signals.stage_position_mm
    if not moved or stage is None:
        raise MissingMetadata(
            "the positions of the slices are not stated",
            where="stage_position_mm",
            needed="one position of the stage for each frame",
            next_step="use frames='time' or frames='mean'",
        )
    order = np.argsort(stage, kind="stable")
    steps = np.diff(stage[order])
    mean = float(steps.mean())
    if np.abs(steps - mean).max() > _EVEN * mean:
        raise GeometryMismatch(
            "the stage did not move in even steps",
            where="stage_position_mm",
            found=f"steps of {steps.min():.3g} to {steps.max():.3g} mm",
            needed="one frame at each of evenly spaced positions",
            next_step="choose frames of one position, or of evenly spaced ones",
        )
    return FrameLayout("slices", order, float(stage[order[0]]), mean)
