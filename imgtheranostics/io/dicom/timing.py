"""The frames of a dynamic PET series in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.samples import clock_s, sample_starts_s, sort_samples
from imgtheranostics.volume import Axis

IndexArray = npt.NDArray[np.intp]
FloatArray = npt.NDArray[np.float64]


def pet_time_axis(
    frames: Sequence[Frame], order: IndexArray, where: str
) -> tuple[Axis, IndexArray, tuple[Caution, ...]] | None:
    """Mid-frame times in s from the start of the first frame, and the frames in that order.

    Acquisition time orders the frames where it tells them apart, then FrameReferenceTime, then the frame's
    place in ImageIndex; None when nothing does.

    Raises
    ------
    UnsupportedInput
        For gated series, whose frames are phases and not times.
    MissingMetadata
        If the frames are ordered but neither clock nor reference time says when they were.
    """
    series_type = frames[0].header.strings("SeriesType")
    if series_type[:1] == ("GATED",):
        raise UnsupportedInput(
            "gated PET is not handled: its frames are phases of a cycle, not times",
            where=f"{where}: SeriesType (0054,1000)",
            next_step="load the static or dynamic reconstruction",
        )
    reference = detail(frames, "frame_reference_time_s")
    index = np.array([frame.order[0] if frame.order else -1.0 for frame in frames])
    keys = [clock_s(frames), reference, index if (index >= 0).all() else np.full(len(frames), np.nan)]
    for key in keys:
        if np.isnan(key).any():
            continue
        sorted_order = sort_samples(order, key)
        if sorted_order is not None:
            break
    else:
        return None
    cautions: list[Caution] = []
    if series_type and series_type[0] not in ("DYNAMIC", "GATED"):
        cautions.append(
            Caution(
                "series-type-not-dynamic",
                "the series repeats its positions in time although its SeriesType does not say DYNAMIC",
                "SeriesType (0054,1000)",
            )
        )
    durations = _per_sample(detail(frames, "frame_duration_s"), sorted_order)
    starts = _starts(frames, sorted_order, reference, durations)
    if starts is None:
        raise MissingMetadata(
            "the frames follow each other in time, but neither clock nor reference time says when",
            where=f"{where}: AcquisitionTime (0008,0032), FrameReferenceTime (0054,1300)",
        )
    if np.isnan(durations).any():
        cautions.append(
            Caution(
                "frame-duration-missing",
                "frame durations are absent: the time axis holds the start of each frame, not its middle",
                "ActualFrameDuration (0018,1242)",
            )
        )
        durations = np.zeros_like(durations)
    return Axis("time", starts + durations / 2.0, "s"), sorted_order, tuple(cautions)


def detail(frames: Sequence[Frame], name: str) -> FloatArray:
    """A per-frame value, NaN where absent."""
    values = [frame.details.get(name) for frame in frames]
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _per_sample(values: FloatArray, order: IndexArray) -> FloatArray:
    per_frame = values[order].reshape(order.shape[0], order.shape[1], -1)
    return np.asarray(np.median(per_frame, axis=(0, 2)))


def _starts(
    frames: Sequence[Frame], order: IndexArray, reference: FloatArray, durations: FloatArray
) -> FloatArray | None:
    """Frame starts from the clock, else from the reference time less the mean time within the frame."""
    clock = sample_starts_s(frames, order)
    if clock is not None:
        return clock
    per_sample = _per_sample(reference, order)
    if np.isnan(per_sample).any():
        return None
    from imgtheranostics.io.dicom.emission import radiopharmaceutical_of

    half_life = radiopharmaceutical_of(frames[0].header).half_life_s
    offset = _mean_activity_time(durations, half_life)
    starts = per_sample - np.nan_to_num(offset)
    return starts - starts[0] if (np.diff(starts) > 0).all() else None


def _mean_activity_time(durations: FloatArray, half_life_s: float | None) -> FloatArray:
    """Time within a frame at which the activity equals its mean; half the frame without a half-life."""
    if not half_life_s or half_life_s <= 0:
        return durations / 2.0
    rate = np.log(2.0) / half_life_s
    x = rate * durations
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.log(x / -np.expm1(-x)) / rate
    return np.where(x > 1e-6, exact, durations / 2.0)
