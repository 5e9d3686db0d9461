"""What a ``.msot`` description says: detectors, frames and lasers; nothing of people, places and devices."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, MissingMetadata, UnitMismatch
from imgtheranostics.io.ithera.quantities import factor, measured, number, required, where, whole_number
from imgtheranostics.io.xml_tree import Element, read_xml
from imgtheranostics.volume import FloatArray

ROOT = "DataModelMsotProject"
NODES = ("ReconNodes", "DataModelNewReconstructionNode")
_HARDWARE, _MEASUREMENT, _SCAN = "HARDWARE-DESC", "MEASUREMENT-DESC", "ScanNode"
_FRAMES = (_SCAN, "ScanFrames", "DataModelScanFrame")
_TICK_S = 1e-7
_WAVELENGTHS_NM = (200.0, 3000.0)
_RADII_MM = (1.0, 500.0)
_PATHS_MM = (2.0, 300.0)
_COUPLANT = re.compile(r"_(D2O|H2O|water|heavywater)\.bin$", re.IGNORECASE)
_VERSION = re.compile(r"^\d+(\.\d+){1,5}$")
_CORRECTED = {"perpulse": True, "none": False, "off": False, "false": False}


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


@dataclass(frozen=True, eq=False)
class Description:
    """A ``.msot`` file.

    Attributes
    ----------
    root : Element
        For the reconstruction nodes.
    n_samples : int
    sampling_rate_hz : float
    detector_positions_mm : (detectors, 3) array
    frames : tuple of ScanFrame
        In the order of the data file.
    """

    path: Path
    root: Element = field(repr=False)
    n_samples: int
    sampling_rate_hz: float
    detector_positions_mm: FloatArray
    frames: tuple[ScanFrame, ...]
    energy_corrected: bool | None
    first_sample_s: float
    speed_of_sound_offset_m_s: float | None
    couplant: str | None
    couplant_coefficients: tuple[float, ...]
    couplant_path_mm: float | None
    software_version: str | None
    data_model: str | None
    species: str | None
    cautions: tuple[Caution, ...]


def read_description(path: Path) -> Description:
    """Read and check a ``.msot`` file.

    Raises
    ------
    CorruptInput
        If it is no XML, has a DOCTYPE, or contradicts itself.
    MissingMetadata, UnitMismatch
        If what the signals need is absent or in an unknown unit.
    """
    root = _root(path)
    frames, cautions = _frames(root, path)
    length, more = _couplant_path(root, path)
    offset = root.first(_SCAN, "TrimSpeedOfSound")
    delay, later = _delay(root, path)
    corrected, unknown = _energy_corrected(root, path)
    cautions = (*cautions, *_list_cautions(root, path, frames), *more, *later, *unknown)
    return Description(
        path=path,
        root=root,
        n_samples=whole_number(required(root, path, _MEASUREMENT, "RECORDED-LENGTH"), path),
        sampling_rate_hz=measured(required(root, path, _HARDWARE, "SAMPLING-FREQUENCY"), path, "Hz"),
        detector_positions_mm=_detectors(root, path),
        frames=frames,
        energy_corrected=corrected,
        first_sample_s=delay,
        speed_of_sound_offset_m_s=None if offset is None or not offset.text else number(offset, path),
        couplant=_couplant(root),
        couplant_coefficients=_coefficients(root, path),
        couplant_path_mm=length,
        software_version=_version(root, _SCAN, "SW_Version"),
        data_model=_version(root, "DataModelVersion"),
        species=_species(root),
        cautions=cautions,
    )


def node_count(path: Path) -> int:
    """Number of reconstructions that a ``.msot`` file lists.

    Raises
    ------
    CorruptInput
        If it describes no scan.
    """
    return len(_root(path).all(*NODES))


def _root(path: Path) -> Element:
    root = read_xml(path)
    if root.name != ROOT:
        raise CorruptInput("the XML file describes no MSOT scan", where=str(path), needed=ROOT)
    return root


def _detectors(root: Element, path: Path) -> FloatArray:
    """Positions in mm, each coordinate in the unit that its own axis states: x and y may be m, z mm."""
    scales = {}
    for axis in root.all(_MEASUREMENT, "COORDINATE-DEFINITION", "AXIS"):
        scales[axis.attributes.get("number", "")] = 1e3 * factor(axis, path, "m")
    rows = []
    for projection in root.all(_HARDWARE, "FRAME-DESC", "PROJECTION"):
        position = [0.0, 0.0, 0.0]
        values = projection.all("VALUE")
        references = [value.attributes.get("axis-ref", "") for value in values]
        if sorted(references) != ["1", "2", "3"] or not set(references) <= set(scales):
            raise CorruptInput(
                "a detector has no position on three axes that the file defines",
                where=where(path, _HARDWARE, "FRAME-DESC", "PROJECTION"),
                needed="one VALUE for each AXIS of COORDINATE-DEFINITION",
            )
        for value, reference in zip(values, references, strict=True):
            position[int(reference) - 1] = number(value, path) * scales[reference]
        rows.append(position)
    if not rows:
        raise MissingMetadata(
            "the detectors are not described", where=where(path, _HARDWARE, "FRAME-DESC", "PROJECTION")
        )
    positions = np.array(rows)
    radius = float(np.median(np.linalg.norm(positions, axis=1)))
    if not _RADII_MM[0] <= radius <= _RADII_MM[1]:
        raise UnitMismatch(
            "the detectors are not plausibly far from the centre in the units that are stated",
            where=where(path, _MEASUREMENT, "COORDINATE-DEFINITION"),
            found=f"a median distance of {radius:g} mm",
            needed=f"{_RADII_MM[0]:g} to {_RADII_MM[1]:g} mm",
        )
    return positions


def _frames(root: Element, path: Path) -> tuple[tuple[ScanFrame, ...], tuple[Caution, ...]]:
    found = root.all(*_FRAMES)
    if not found:
        raise MissingMetadata("the scan lists no frames", where=where(path, *_FRAMES))
    stage_scale = _stage_scale(root, path)
    frames = [_frame(one, path, stage_scale) for one in found]
    offsets = sorted(frame.offset for frame in frames)
    if offsets != list(range(len(frames))):
        raise CorruptInput(
            "the frames are not numbered from 0 without gaps",
            where=where(path, *_FRAMES, "IDOffset"),
            found=f"{len(frames)} frames, numbers {offsets[0]} to {offsets[-1]}",
            needed="each place in the data file once",
        )
    return tuple(sorted(frames, key=lambda frame: frame.offset)), ()


def _frame(entry: Element, path: Path, stage_scale: float) -> ScanFrame:
    frame = required(entry, path, "Frame")
    wavelength = measured(required(frame, path, "WAVELENGTH"), path, "m") * 1e9
    low, high = _WAVELENGTHS_NM
    if not low <= wavelength <= high:
        raise UnitMismatch(
            "a wavelength is not plausible in the unit that is stated",
            where=where(path, *_FRAMES, "Frame", "WAVELENGTH"),
            found=f"{wavelength:g} nm",
            needed=f"light of {low:g} to {high:g} nm",
        )
    energy, temperature = frame.first("LASER-ENERGY"), frame.first("TEMPERATURE")
    stage = frame.first("Z-POS")
    ticks = frame.attributes.get("timestamp", "")
    return ScanFrame(
        offset=whole_number(required(entry, path, "IDOffset"), path),
        wavelength_nm=round(wavelength, 6),
        energy_mj=None if energy is None else measured(energy, path, "J") * 1e3,
        temperature_cel=None if temperature is None else measured(temperature, path, "C"),
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


def _energy_corrected(root: Element, path: Path) -> tuple[bool | None, tuple[Caution, ...]]:
    measurement = required(root, path, _MEASUREMENT)
    word = measurement.attributes.get("LEnergy-normalization")
    corrected = None if word is None else _CORRECTED.get(word.strip().lower())
    if corrected is not None:
        return corrected, ()
    text = "the file does not say in a known word whether the signals are divided by the laser energy"
    return None, (Caution("energy-normalisation-unknown", text, "LEnergy-normalization"),)


def _couplant(root: Element) -> str | None:
    """The coupling medium by the name of the vendor's table that it was looked up in."""
    element = root.first(_MEASUREMENT, "WATER-ABSORPTION-CALCULATION-FILE")
    match = _COUPLANT.search(element.text) if element is not None else None
    return match[1] if match else None


def _coefficients(root: Element, path: Path) -> tuple[float, ...]:
    """Coefficients of the couplant, in the order of the scan's list of wavelengths."""
    values = []
    for one in root.all(_MEASUREMENT, "WATER-ABSORPTION-COEFFICIENTS", "WATER-ABSORPTION-COEFFICIENT"):
        stated = Element("WATER-ABSORPTION-COEFFICIENT", {})
        stated.parts = [one.attributes.get("coefficient") or one.text]
        values.append(number(stated, path))
    return tuple(values)


def _couplant_path(root: Element, path: Path) -> tuple[float | None, tuple[Caution, ...]]:
    """Path of light in the couplant; the prefix in real files is not that of the value."""
    element = root.first(_MEASUREMENT, "PATH-LENGTH-IN-WATER")
    if element is None or not element.text:
        return None, ()
    value = number(element, path)
    labelled, plain = value * factor(element, path, "m") * 1e3, value * 1e3
    low, high = _PATHS_MM
    if value == 0 or low <= labelled <= high:
        return labelled, ()
    place = "PATH-LENGTH-IN-WATER"
    both = (
        f"the path of light in the couplant is {labelled:g} mm in the unit that is stated, {plain:g} mm if "
    )
    if low <= plain <= high:
        text = both + "its prefix is wrong: the second is taken, the first is not plausible"
        return plain, (Caution("couplant-path-unit", text, place),)
    return None, (Caution("couplant-path-unit", both + "its prefix is wrong: neither is plausible", place),)


def _delay(root: Element, path: Path) -> tuple[float, tuple[Caution, ...]]:
    """Time before the first sample: steps of ns, which no file that we know states a unit for."""
    steps, size = (root.first(_HARDWARE, name) for name in ("DAQTriggerDelay", "DAQTriggerDelayStepSize"))
    if steps is None or size is None or not steps.text or number(steps, path) == 0:
        return 0.0, ()
    delay = number(steps, path) * number(size, path) * 1e-9
    text = f"the first sample is taken to be {delay * 1e6:g} us after the pulse, the step being in ns"
    return delay, (Caution("trigger-delay-unit", text, "DAQTriggerDelay"),)


def _version(root: Element, *names: str) -> str | None:
    element = root.first(*names)
    return element.text if element is not None and _VERSION.match(element.text) else None


def _species(root: Element) -> str | None:
    """Mouse or rat, of a text that people may have changed."""
    element = root.first(_SCAN, "AnimalLibType")
    words = element.text.lower() if element is not None else ""
    return next((name for name in ("mouse", "rat", "human") if name in words), None)


def grid_of_frames(description: Description) -> tuple[FloatArray, np.ndarray]:
    """Frames sorted into repetitions and wavelengths.

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
    for frame in description.frames:
        by_wavelength.setdefault(frame.wavelength_nm, []).append(frame.offset)
    wavelengths = sorted(by_wavelength)
    counts = {len(offsets) for offsets in by_wavelength.values()}
    if len(counts) > 1:
        listed = ", ".join(f"{one:g} nm {len(by_wavelength[one])}" for one in wavelengths)
        raise CorruptInput(
            "the wavelengths were not taken equally often",
            where=where(description.path, *_FRAMES),
            found=listed,
            needed="as many frames at each wavelength",
            next_step="the scan may have been broken off: export it again without its last frame",
        )
    index = np.array([by_wavelength[one] for one in wavelengths]).T
    stages = [frame.stage_mm for frame in description.frames]
    if all(stage is not None for stage in stages):
        places = np.array(stages, dtype=np.float64)[index]
        spread = float(np.ptp(places, axis=1).max())
        if spread > 0.05:
            raise GeometryMismatch(
                "the wavelengths of one frame were taken at different places",
                where=where(description.path, *_FRAMES, "Frame", "Z-POS"),
                found=f"up to {spread:g} mm apart",
                needed="all wavelengths before the stage moves",
            )
    return np.array(wavelengths), index


def relative_seconds(description: Description) -> FloatArray | None:
    """Time of each frame of the file after the first; None where a time stamp is missing."""
    ticks = [frame.ticks for frame in description.frames]
    if any(one is None for one in ticks):
        return None
    known = [int(one) for one in ticks if one is not None]
    first = min(known)
    return np.array([(one - first) * _TICK_S for one in known])
