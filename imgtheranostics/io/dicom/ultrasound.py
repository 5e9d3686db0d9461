"""Ultrasound: cines in time, calibrated regions, pixel spacing from the one tissue region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata
from imgtheranostics.io.dicom.clocks import acquisition_us
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.records import ultrasound_acquisition

UNITS = {
    0: "none",
    1: "percent",
    2: "dB",
    3: "cm",
    4: "s",
    5: "Hz",
    6: "dB/s",
    7: "cm/s",
    8: "cm2",
    9: "cm2/s",
    10: "cm3",
    11: "cm3/s",
    12: "deg",
}
FORMATS = {0: "none", 1: "2d", 2: "m_mode", 3: "spectral", 4: "waveform", 5: "graphics"}

_LONGEST_FRAME_S = 60.0


def ultrasound_frames(header: Header) -> list[Frame]:
    """Frames of a still image or cine; every file is a volume of one slice of its own.

    Raises
    ------
    MissingMetadata
        If a cine does not say when its frames were; display rates are not times.
    """
    count = header.integer("NumberOfFrames") or 1
    starts = frame_starts_s(header, count) if count > 1 else np.zeros(1)
    spacing = tissue_spacing_mm(read_regions(header))
    known = spacing is not None
    return [
        Frame(
            header,
            index=n,
            position=(0.0, 0.0, 0.0),
            orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            spacing=spacing or (1.0, 1.0),
            kind=(header.text("SOPInstanceUID"),),
            acquisition_us=acquisition_us(header),
            order=(float(n),),
            details={"planar": True, "no_spacing": not known, "mid_time_s": float(starts[n])},
        )
        for n in range(count)
    ]


def frame_starts_s(header: Header, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Frame times in s: FrameTimeVector (increments in ms) before FrameTime (ms)."""
    increments = header.numbers("FrameTimeVector")
    if increments:
        if len(increments) != count:
            raise CorruptInput(
                "the frame times do not fit the number of frames",
                where=header.where("FrameTimeVector"),
                found=f"{len(increments)} times",
                needed=str(count),
            )
        steps = np.array(increments) / 1000.0
        starts = np.cumsum(steps) - steps[0]
    else:
        step = header.number("FrameTime")
        if step is None:
            raise MissingMetadata(
                "a cine does not say when its frames were",
                where=f"{header.where('FrameTime')}, FrameTimeVector (0018,1065)",
                next_step="give the time between frames; cine and display rates are not times",
            )
        starts = np.arange(count) * step / 1000.0
    steps = np.diff(starts)
    if not np.isfinite(starts).all() or not (steps > 0).all() or (steps > _LONGEST_FRAME_S).any():
        raise CorruptInput("the frame times do not increase", where=f"{header.path}: FrameTime (0018,1063)")
    return np.asarray(starts)


def read_regions(header: Header) -> tuple[dict[str, Any], ...]:
    """All calibrated regions of the image, each with its bounds, format, data type, units and deltas."""
    regions = []
    for item in header.sequence("SequenceOfUltrasoundRegions"):
        x_unit = _integer(item, "PhysicalUnitsXDirection")
        y_unit = _integer(item, "PhysicalUnitsYDirection")
        regions.append(
            {
                "spatial_format": FORMATS.get(_integer(item, "RegionSpatialFormat") or 0, "other"),
                "data_type": _integer(item, "RegionDataType"),
                "x0": _integer(item, "RegionLocationMinX0"),
                "y0": _integer(item, "RegionLocationMinY0"),
                "x1": _integer(item, "RegionLocationMaxX1"),
                "y1": _integer(item, "RegionLocationMaxY1"),
                "x_unit": UNITS.get(-1 if x_unit is None else x_unit, "unknown"),
                "y_unit": UNITS.get(-1 if y_unit is None else y_unit, "unknown"),
                "x_delta": _real(item, "PhysicalDeltaX"),
                "y_delta": _real(item, "PhysicalDeltaY"),
            }
        )
    return tuple(regions)


def _integer(item: Any, keyword: str) -> int | None:
    value = item.get(keyword)
    return int(value) if isinstance(value, int) else None


def _real(item: Any, keyword: str) -> float | None:
    value = item.get(keyword)
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def tissue_regions(regions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Regions that are two-dimensional and measured in cm along both directions."""
    return [
        region
        for region in regions
        if region["spatial_format"] == "2d"
        and region["x_unit"] == region["y_unit"] == "cm"
        and region["x_delta"]
        and region["y_delta"]
    ]


def tissue_spacing_mm(regions: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    """Row and column spacing in mm; None unless all tissue regions agree on one."""
    found = {
        (abs(region["y_delta"]) * 10.0, abs(region["x_delta"]) * 10.0) for region in tissue_regions(regions)
    }
    return found.pop() if len(found) == 1 else None


def describe_ultrasound(frames: Sequence[Frame]) -> tuple[UltrasoundAcquisition, list[Caution]]:
    """The record of an ultrasound image, and what to know of its geometry."""
    header = frames[0].header
    regions = read_regions(header)
    cautions = []
    if len({tuple(sorted(r.items(), key=str)) for r in tissue_regions(regions)}) > 1:
        cautions.append(
            Caution(
                "several-tissue-regions",
                "the image holds several tissue regions; choose one by its bounds before measuring",
                "SequenceOfUltrasoundRegions (0018,6011)",
            )
        )
    step = header.number("FrameTime")
    return ultrasound_acquisition(frames, regions, None if step is None else step / 1000.0), cautions
