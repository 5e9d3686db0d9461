"""What a ``.msot`` description says: detectors, frames and lasers; nothing of people, places and devices."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, UnitMismatch
from imgtheranostics.io.ithera.frames import FRAMES, ScanFrame, moment_of, read_frames
from imgtheranostics.io.ithera.quantities import (
    factor,
    measured,
    number,
    optional,
    required,
    where,
    whole_number,
)
from imgtheranostics.io.xml_tree import Element, read_xml
from imgtheranostics.volume import FloatArray

ROOT = "DataModelMsotProject"
NODES = ("ReconNodes", "DataModelNewReconstructionNode")
_HARDWARE, _MEASUREMENT, _SCAN = "HARDWARE-DESC", "MEASUREMENT-DESC", "ScanNode"
_RADII_MM = (1.0, 500.0)
_PATHS_MM = (2.0, 300.0)
_COUPLANT = re.compile(r"_(D2O|H2O|water|heavywater)\.bin$", re.IGNORECASE)
_VERSION = re.compile(r"^\d+(\.\d+){1,5}$")
_CORRECTED = {"perpulse": True, "none": False, "off": False, "false": False}


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
    frames, cautions = read_frames(root, path)
    length, more = _couplant_path(root, path)
    offset = root.first(_SCAN, "TrimSpeedOfSound")
    delay, later = _delay(root, path)
    corrected, unknown = _energy_corrected(root, path)
    cautions = (*cautions, *more, *later, *unknown)
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


def begin_of(path: Path) -> datetime | None:
    """When a scan began on the scanner's clock: its first frame, else when its description was made.

    Raises
    ------
    CorruptInput
        If the file describes no scan.
    """
    root = _root(path)
    stamps = [one.attributes.get("timestamp", "") for one in root.all(*FRAMES, "Frame")]
    moments = [moment_of(int(one)) for one in stamps if one.isascii() and one.isdecimal() and len(one) < 20]
    known = [one for one in moments if one is not None]
    if known:
        return min(known)
    made = root.first("CreationTime")
    try:
        return None if made is None else datetime.fromisoformat(made.text).replace(tzinfo=None)
    except ValueError:
        return None


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
    place = "PATH-LENGTH-IN-WATER"
    value, stated = number(element, path), optional(element, path, "m")
    if stated is None:
        return None, (Caution("unit-unknown", f"{place} is in no unit that is known: it is not used", place),)
    labelled, plain = stated * 1e3, value * 1e3
    low, high = _PATHS_MM
    if value == 0 or low <= labelled <= high:
        return labelled, ()
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


def response_in(root: Element, n_samples: int) -> FloatArray | None:
    """The impulse response that newer files hold themselves, in base64; None where there is none."""
    for element in root.walk():
        if element.name != "ImpulseResponse" or len(element.text) < n_samples * 8:
            continue
        try:
            raw = base64.b64decode(element.text, validate=True)
        except ValueError:
            continue
        if len(raw) == n_samples * 8:
            return np.frombuffer(raw, "<f8").astype(np.float64)
    return None
