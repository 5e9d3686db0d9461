"""RT Dose objects of any planning system: where their frames lie, what their numbers are, and in which unit.

References
----------
.. [1] DICOM PS3.3 C.8.8.3, RT Dose Module: scaling, units, types, and both forms of the frame offsets.
"""

from __future__ import annotations

import math

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.io.dicom.frames import Frame, Vector, vector
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.plane_scale import Scale

RT_DOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"
MODALITY = "RTDOSE"

_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW", "RECORD")
_PARTS = ("FRACTION", "FRACTION_SESSION", "BEAM", "BEAM_SESSION", "BRACHY", "BRACHY_SESSION", "CONTROL_POINT")
_EFFECTS = {
    "eqd2": "equieffective_dose_2gy",
    "biologically effective dose": "biologically_effective_dose",
}
"""What DoseComment names where the type is EFFECTIVE; other models stay a weighted dose."""

_AXIAL_TOLERANCE = 1e-3
_SAME_PLACE_MM = 1e-2


def is_dose_grid(header: Header) -> bool:
    """Whether the object is an RT Dose with voxels; one of histograms alone has none."""
    return header.text("SOPClassUID") == RT_DOSE_STORAGE and header.layout.pixel_offset >= 0


def dose_frames(header: Header) -> list[Frame]:
    """The planes of an RT Dose, with the scale that makes them gray.

    Raises
    ------
    MissingMetadata
        If geometry, offsets, scaling, unit or type are absent.
    UnitMismatch
        If doses are relative.
    CorruptInput
        If offsets or scaling are malformed.
    UnsupportedInput
        If it is a difference of doses.
    """
    position = vector(header, "ImagePositionPatient", 3)
    orientation = vector(header, "ImageOrientationPatient", 6)
    spacing = vector(header, "PixelSpacing", 2)
    scale = Scale(_scaling(header), 0.0, "dose_grid_scaling", _quantity(header), "Gy")
    places = _places(header, position, orientation)
    return [
        Frame(
            header,
            index=n,
            position=place,
            orientation=orientation,
            spacing=spacing,
            kind=(header.text("SOPInstanceUID"),),
            details={"real_world": scale},
        )
        for n, place in enumerate(places)
    ]


def dose_cautions(header: Header) -> list[Caution]:
    """What a reader has to know of a dose: that it is one part of a plan, or weighted by an unknown model."""
    found = []
    summation = header.text("DoseSummationType")
    if summation is not None and summation.upper() not in _WHOLE:
        part = summation.upper() if summation.upper() in _PARTS else "part"
        text = f"the dose is that of one {part.lower().replace('_', ' ')}, not of the whole plan"
        found.append(Caution("partial-dose", text, "DoseSummationType (3004,000A)"))
    if _quantity(header) == "weighted_dose":
        text = "the dose is weighted for its biological effect, and the file does not say by which model"
        found.append(Caution("weighted-dose", text, "DoseType (3004,0004)"))
    return found


def _scaling(header: Header) -> float:
    found = header.number("DoseGridScaling")
    if found is None:
        raise MissingMetadata(
            "the dose has no scaling: its stored numbers are not gray",
            where=header.where("DoseGridScaling"),
            found="absent",
            needed="the dose of one stored unit",
            next_step="export the dose again",
        )
    if not (math.isfinite(found) and found > 0):
        raise CorruptInput(
            "the scaling of the dose is not a scale",
            where=header.where("DoseGridScaling"),
            found=f"{found:g}",
            needed="a positive number",
        )
    return found


def _quantity(header: Header) -> str:
    """What the voxels are, after their unit and type."""
    unit = (header.text("DoseUnits") or "").upper()
    if unit != "GY":
        kind = UnitMismatch if unit else MissingMetadata
        raise kind(
            "the dose is not in gray",
            where=header.where("DoseUnits"),
            found=_word(unit),
            needed="GY",
            next_step="export the absolute dose",
        )
    dose_type = (header.text("DoseType") or "").upper()
    if dose_type == "PHYSICAL":
        return "absorbed_dose"
    if dose_type == "EFFECTIVE":
        comment = (header.text("DoseComment") or "").lower()
        return next((name for words, name in _EFFECTS.items() if comment.startswith(words)), "weighted_dose")
    if not dose_type:
        raise MissingMetadata(
            "whether the dose is physical or effective is not stated", where=header.where("DoseType")
        )
    raise UnsupportedInput(
        "the object holds no dose of a patient",
        where=header.where("DoseType"),
        found=_word(dose_type),
        needed="PHYSICAL or EFFECTIVE",
    )


def _word(text: str) -> str:
    """A defined term as it is; anything else may be what identifies a person."""
    return text if text.isalpha() and len(text) <= 16 else "absent" if not text else "another text"


def _places(header: Header, position: Vector, orientation: Vector) -> list[Vector]:
    """Position of every frame; offsets are along the normal from the first, or patient z of axial frames."""
    n = header.integer("NumberOfFrames") or 1
    offsets = header.numbers("GridFrameOffsetVector")
    if not offsets and n == 1:
        return [position]
    if not offsets:
        raise MissingMetadata(
            "the frames of the dose do not say where they lie",
            where=header.where("GridFrameOffsetVector"),
            found=f"absent, for {n} frames",
            needed="the offset of every frame",
        )
    values = np.asarray(offsets, np.float64)
    steps = np.diff(values)
    if values.size != n or not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise CorruptInput(
            "the offsets of the frames are malformed",
            where=header.where("GridFrameOffsetVector"),
            found=f"{values.size} values for {n} frames" if values.size != n else "offsets out of order",
            needed="one for each frame, growing or falling",
        )
    start = np.asarray(position, np.float64)
    if abs(values[0]) <= _SAME_PLACE_MM:
        normal = np.cross(orientation[:3], orientation[3:])
        places = start + (values - values[0])[:, np.newaxis] * normal
    elif _is_axial_start(values[0], position, orientation):
        places = np.column_stack([np.broadcast_to(start[:2], (values.size, 2)), values])
    else:
        raise CorruptInput(
            "the offsets of the frames begin neither with 0 nor with the position of axial frames",
            where=header.where("GridFrameOffsetVector"),
            found=f"{values[0]:g} mm",
            needed="0, or the z coordinate of ImagePositionPatient",
        )
    return [(float(x), float(y), float(z)) for x, y, z in places]


def _is_axial_start(first: float, position: Vector, orientation: Vector) -> bool:
    """Whether the first offset is the z coordinate of frames that lie across the patient's axis."""
    axial = abs(orientation[2]) < _AXIAL_TOLERANCE and abs(orientation[5]) < _AXIAL_TOLERANCE
    return axial and abs(first - position[2]) <= _SAME_PLACE_MM
