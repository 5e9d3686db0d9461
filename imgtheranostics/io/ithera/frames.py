"""The frames of a scan: what each was taken with, and which of them belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, MissingMetadata, UnitMismatch
from imgtheranostics.io.ithera.quantities import (
    factor,
    measured,
    number,
    optional,
    required,
    where,
    whole_number,
)
from imgtheranostics.io.wavelength_units import WAVELENGTHS_NM
from imgtheranostics.io.xml_tree import Element
from imgtheranostics.volume import FloatArray

_MEASUREMENT = "MEASUREMENT-DESC"
FRAMES = ("ScanNode", "ScanFrames", "DataModelScanFrame")
_TICK_S = 1e-7
_SAME_PLACE_MM = 0.05
_TICKS_BEGIN = datetime(1, 1, 1)
_YEARS = range(1995, 2100)
"""Of scans: a clock that says something else counts from elsewhere."""


@dataclass(frozen=True, eq=False)
class ScanFrame:
    """One shot, or the mean of several: where it lies in the data file and what it was taken with.

    Attributes
    ----------
    offset : int
        Position among the frames of the ``.bin`` file, from 0.
    wavelength_nm : float
    energy_mj, temperature_cel, stage_mm, ticks : float or None
        `ticks` counts 100 ns.
    """

    offset: int
    wavelength_nm: float
    energy_mj: float | None
    temperature_cel: float | None
    stage_mm: float | None
    ticks: int | None


def read_frames(root: Element, path: Path) -> tuple[tuple[ScanFrame, ...], tuple[Caution, ...]]:
    """The frames of a scan in the order of its data file, and what to know of them.

    Raises
    ------
    MissingMetadata
        If there are none, or one states no wavelength.
    CorruptInput
        If they are not numbered from 0 without gaps.
    UnitMismatch
        If a wavelength is no light in the unit that is stated.
    """
    found = root.all(*FRAMES)
    if not found:
        raise MissingMetadata("the scan lists no frames", where=where(path, *FRAMES))
    stage_scale = _stage_scale(root, path)
    frames = [_frame(one, path, stage_scale) for one in found]
    offsets = sorted(frame.offset for frame in frames)
    if offsets != list(range(len(frames))):
        raise CorruptInput(
            "the frames are not numbered from 0 without gaps",
            where=where(path, *FRAMES, "IDOffset"),
            found=f"{len(frames)} frames, numbers {offsets[0]} to {offsets[-1]}",
            needed="each place in the data file once",
        )
    ordered = tuple(sorted(frames, key=lambda frame: frame.offset))
    return ordered, (*_unit_cautions(found, frames), *_list_cautions(root, path, ordered))


def _unit_cautions(entries: list[Element], frames: list[ScanFrame]) -> tuple[Caution, ...]:
    """Cautions about values that the frames state in no unit that is known."""
    cautions = []
    for name, field_name in (("LASER-ENERGY", "energy_mj"), ("TEMPERATURE", "temperature_cel")):
        stated = sum(bool(one.all("Frame", name) and one.all("Frame", name)[0].text) for one in entries)
        if stated > sum(getattr(frame, field_name) is not None for frame in frames):
            text = f"{name} of some frames is in no unit that is known: it is not used"
            cautions.append(Caution("unit-unknown", text, name))
    return tuple(cautions)


def _frame(entry: Element, path: Path, stage_scale: float) -> ScanFrame:
    frame = required(entry, path, "Frame")
    wavelength = measured(required(frame, path, "WAVELENGTH"), path, "m") * 1e9
    low, high = WAVELENGTHS_NM
    if not low <= wavelength <= high:
        raise UnitMismatch(
            "a wavelength is not plausible in the unit that is stated",
            where=where(path, *FRAMES, "Frame", "WAVELENGTH"),
            found=f"{wavelength:g} nm",
            needed=f"light of {low:g} to {high:g} nm",
        )
    energy = optional(frame.first("LASER-ENERGY"), path, "J")
    stage = frame.first("Z-POS")
    ticks = frame.attributes.get("timestamp", "")
    return ScanFrame(
        offset=whole_number(required(entry, path, "IDOffset"), path),
        wavelength_nm=round(wavelength, 6),
        energy_mj=None if energy is None else energy * 1e3,
        temperature_cel=optional(frame.first("TEMPERATURE"), path, "C"),
        stage_mm=None if stage is None else number(stage, path) * stage_scale,
        ticks=int(ticks) if ticks.isascii() and ticks.isdecimal() and len(ticks) < 20 else None,
    )


def _stage_scale(root: Element, path: Path) -> float:
    """Millimetres per unit of the stage's position along the array's axis."""
    for axis in root.all(_MEASUREMENT, "COORDINATE-DEFINITION", "AXIS"):
        if axis.attributes.get("number") == "3":
            return 1e3 * factor(axis, path, "m")
    return 1.0


def _list_cautions(root: Element, path: Path, frames: tuple[ScanFrame, ...]) -> tuple[Caution, ...]:
    """A caution where the scan's own list has other wavelengths than its frames; the frames are right."""
    listed = root.all(_MEASUREMENT, "WAVELENGTHS", "WAVELENGTH")
    stated = {round(measured(one, path, "m") * 1e9, 6) for one in listed}
    measured_nm = {frame.wavelength_nm for frame in frames}
    if not stated or stated == measured_nm:
        return ()
    text = f"the frames have {len(measured_nm)} wavelengths, the list beside them {len(stated)}: frames count"
    return (Caution("wavelength-list-differs", text, "MEASUREMENT-DESC/WAVELENGTHS"),)


def grid_of_frames(
    frames: Sequence[ScanFrame], path: Path, *, drop_incomplete: bool = False
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Frames sorted into repetitions and wavelengths.

    Parameters
    ----------
    frames : sequence of ScanFrame
        In the order of the data file.
    path : Path
        The description, for messages.
    drop_incomplete : bool
        Leave out the last repetition where it lacks wavelengths.

    Returns
    -------
    wavelength_nm : (wavelengths,) array
        Rising.
    index : (frames, wavelengths) int array
        Positions in the data file.

    Raises
    ------
    CorruptInput
        If one wavelength was taken more often than another: the scan was broken off.
    GeometryMismatch
        If the wavelengths of a frame were taken at different places.
    """
    by_wavelength: dict[float, list[int]] = {}
    for frame in frames:
        by_wavelength.setdefault(frame.wavelength_nm, []).append(frame.offset)
    wavelengths = sorted(by_wavelength)
    counts = {len(offsets) for offsets in by_wavelength.values()}
    if drop_incomplete:
        by_wavelength = {one: offsets[: min(counts)] for one, offsets in by_wavelength.items()}
    elif len(counts) > 1:
        listed = ", ".join(f"{one:g} nm {len(by_wavelength[one])}" for one in wavelengths)
        raise CorruptInput(
            "the wavelengths were not taken equally often",
            where=where(path, *FRAMES),
            found=listed,
            needed="as many frames at each wavelength",
            next_step="if the scan was broken off, drop_incomplete=True leaves out its last repetition",
        )
    index = np.array([by_wavelength[one] for one in wavelengths]).T
    stages = [frame.stage_mm for frame in frames]
    if all(stage is not None for stage in stages):
        places = np.array(stages, dtype=np.float64)[index]
        spread = float(np.ptp(places, axis=1).max())
        if spread > _SAME_PLACE_MM:
            raise GeometryMismatch(
                "the wavelengths of one frame were taken at different places",
                where=where(path, *FRAMES, "Frame", "Z-POS"),
                found=f"up to {spread:g} mm apart",
                needed="all wavelengths before the stage moves",
            )
    return np.array(wavelengths), index


def moment_of(ticks: int) -> datetime | None:
    """A time stamp as a moment on the scanner's clock: steps of 100 ns since the first day of year 1.

    None where that is no time at which such a scanner was used, so that the stamp counts from elsewhere.

    >>> moment_of(637371523560823431)
    datetime.datetime(2020, 10, 1, 12, 32, 36, 82343)
    """
    try:
        found = _TICKS_BEGIN + timedelta(microseconds=ticks // 10)
    except OverflowError:
        return None
    return found if found.year in _YEARS else None


def relative_seconds(frames: Sequence[ScanFrame]) -> FloatArray | None:
    """Time of each frame of the file after the first; None where a time stamp is missing."""
    ticks = [frame.ticks for frame in frames]
    if any(one is None for one in ticks):
        return None
    known = [int(one) for one in ticks if one is not None]
    first = min(known)
    return np.array([(one - first) * _TICK_S for one in known])
