"""Ultrasound: cines in time, calibrated regions, pixel spacing from the one tissue region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import (
    Caution,
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
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
_SHORTEST_FRAME_S = 2e-5


def ultrasound_frames(header: Header) -> list[Frame]:
    """Frames of a still image or cine; every file is a volume of one slice of its own.

    Raises
    ------
    CorruptInput
        If times do not increase, or a tissue region has a pixel size of 0.
    UnitMismatch
        If tissue is measured in another unit than cm.
    """
    count = header.integer("NumberOfFrames") or 1
    starts = frame_starts_s(header, count) if count > 1 else np.zeros(1)
    regions = read_regions(header)
    _check_units(header, regions)
    spacing = tissue_spacing_mm(regions)
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
    """Frame times in s: FrameTimeVector (increments, ms) before FrameTime (ms); NaN without either."""
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
            return np.full(count, np.nan)
        starts = np.arange(count) * step / 1000.0
    steps = np.diff(starts)
    if not np.isfinite(starts).all() or not (steps > 0).all() or (steps > _LONGEST_FRAME_S).any():
        raise CorruptInput("the frame times do not increase", where=f"{header.path}: FrameTime (0018,1063)")
    if (steps < _SHORTEST_FRAME_S).any():
        raise ImplausibleValue(
            "the time between frames cannot be one in milliseconds",
            where=f"{header.path}: FrameTime (0018,1063), FrameTimeVector (0018,1065)",
            found=f"{1000.0 * float(steps.min()):g}",
            needed="milliseconds, as DICOM demands",
            next_step="if these are seconds, give the frame time (--frame-time)",
        )
    return np.asarray(starts)


def timed_frames(frames: Sequence[Frame], frame_time_s: float | None) -> list[Caution]:
    """Put the user's time between frames on them, or make sure that the file has its own.

    Raises
    ------
    MissingMetadata
        If a cine does not say when its frames were; display rates are not times.
    ValueError
        If the time given is none.
    """
    header = frames[0].header
    if frame_time_s is None:
        if any(np.isnan(np.asarray(frame.details["mid_time_s"], np.float64)) for frame in frames):
            raise MissingMetadata(
                "a cine does not say when its frames were",
                where=f"{header.where('FrameTime')}, FrameTimeVector (0018,1065)",
                next_step="give --frame-time SECONDS (frame_time_s=); cine and display rates are not times",
            )
        return []
    if not 0.0 < frame_time_s <= _LONGEST_FRAME_S:
        raise ValueError(f"frame_time_s is a time in s above 0, not {frame_time_s:g}")
    stated = [frame.details["mid_time_s"] for frame in frames]
    for frame in frames:
        frame.details["mid_time_s"] = frame.index * frame_time_s
    own = np.array(stated, np.float64)
    if np.isnan(own).any() or np.allclose(own, [frame.index * frame_time_s for frame in frames], rtol=1e-6):
        return []
    return [
        Caution(
            "frame-time-replaced",
            f"the frames are {frame_time_s:g} s apart as given, not as the file says",
            "FrameTime (0018,1063)",
        )
    ]


def _check_units(header: Header, regions: tuple[dict[str, Any], ...]) -> None:
    """Refuse tissue whose pixels have no size, or a size that is no length."""
    planes = [region for region in regions if region["spatial_format"] == "2d"]
    for region in planes:
        in_cm = region["x_unit"] == region["y_unit"] == "cm"
        if in_cm and not (region["x_delta"] and region["y_delta"]):
            raise CorruptInput(
                "the pixels of a tissue region have no size",
                where=f"{header.path}: PhysicalDeltaX (0018,602C), PhysicalDeltaY (0018,602E)",
                found=f"{region['x_delta']} and {region['y_delta']} cm",
                needed="numbers other than 0",
            )
    if planes and not tissue_regions(regions):
        units = sorted({f"{region['x_unit']} and {region['y_unit']}" for region in planes})
        raise UnitMismatch(
            "the image of tissue is not measured in cm, so that its lengths are not known",
            where=f"{header.path}: PhysicalUnitsXDirection (0018,6024), PhysicalUnitsYDirection (0018,6026)",
            found="; ".join(units),
            needed="cm (code 3) in both directions",
            next_step="export the image with its calibration, or correct the unit codes",
        )


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


def tissue_window(header: Header) -> tuple[slice, slice] | None:
    """Rows and columns around all tissue regions, within the image; None without any."""
    rows, columns = header.required_integer("Rows"), header.required_integer("Columns")
    bounds = [_bounds(region) for region in tissue_regions(read_regions(header))]
    known = [one for one in bounds if one is not None]
    if not known:
        return None
    x0, y0 = (max(0, min(one[n] for one in known)) for n in (0, 1))
    x1, y1 = min(columns - 1, max(one[2] for one in known)), min(rows - 1, max(one[3] for one in known))
    return (slice(y0, y1 + 1), slice(x0, x1 + 1)) if x1 >= x0 and y1 >= y0 else None


def _bounds(region: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """First and last column and row; None where one is missing."""
    found = tuple(region[name] for name in ("x0", "y0", "x1", "y1"))
    return found if all(isinstance(value, int) for value in found) else None


def describe_ultrasound(
    frames: Sequence[Frame], *, as_stored: bool = True
) -> tuple[UltrasoundAcquisition, list[Caution]]:
    """The record of an ultrasound image, and what to know of its geometry.

    `as_stored` tells that grey levels are the stored ones, so that their full scale is that of the bits
    stored.
    """
    header = frames[0].header
    regions = read_regions(header)
    step = None if header.numbers("FrameTimeVector") else header.number("FrameTime")
    largest = full_scale(header) if as_stored else None
    record = ultrasound_acquisition(frames, regions, None if step is None else step / 1000.0, largest)
    return record, _region_cautions(header, regions)


def full_scale(header: Header) -> float:
    """Largest grey level that the pixels can hold: of a palette that is undone, its largest index of echo."""
    if header.text("PhotometricInterpretation") != "PALETTE COLOR":
        return float((1 << header.required_integer("BitsStored")) - 1)
    from imgtheranostics.io.dicom.palette import echo_top, table_luminance

    top = echo_top(header)
    return float(table_luminance(header).max()) if top is None else float(top)


def _region_cautions(header: Header, regions: tuple[dict[str, Any], ...]) -> list[Caution]:
    tissue = tissue_regions(regions)
    cautions = []
    if len({tuple(sorted(r.items(), key=str)) for r in tissue}) > 1:
        listed = "; ".join(
            f"{n}: columns {r['x0']}-{r['x1']}, rows {r['y0']}-{r['y1']}, "
            f"{r['x_delta']:g} x {r['y_delta']:g} cm"
            for n, r in enumerate(regions)
            if r in tissue
        )
        cautions.append(
            Caution(
                "several-tissue-regions",
                f"the image holds several tissue regions; choose one by its number to measure in: {listed}",
                "SequenceOfUltrasoundRegions (0018,6011)",
            )
        )
    size = header.required_integer("Columns"), header.required_integer("Rows")
    bounds = [_bounds(region) for region in tissue]
    if any(one is not None and (one[2] > size[0] or one[3] > size[1]) for one in bounds):
        cautions.append(
            Caution(
                "region-exceeds-image",
                f"a tissue region is larger than the image of {size[0]} x {size[1]} pixels, which was cut or "
                "resized after its calibration: lengths and areas are doubtful",
                "RegionLocationMaxX1 (0018,601C), RegionLocationMaxY1 (0018,601E)",
            )
        )
    return cautions
