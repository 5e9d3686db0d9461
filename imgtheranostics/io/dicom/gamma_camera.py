"""Gamma-camera objects (NM): geometry from the detector information, frames by their index vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from imgtheranostics.errors import CorruptInput, MissingMetadata, UnsupportedInput
from imgtheranostics.io.dicom.clocks import acquisition_us
from imgtheranostics.io.dicom.energy_windows import assign_windows
from imgtheranostics.io.dicom.frames import Frame, Vector, check_vector, vector
from imgtheranostics.io.dicom.header import Header

_VECTORS = {
    0x00540010: "EnergyWindowVector",
    0x00540020: "DetectorVector",
    0x00540030: "PhaseVector",
    0x00540050: "RotationVector",
    0x00540060: "RRIntervalVector",
    0x00540070: "TimeSlotVector",
    0x00540080: "SliceVector",
    0x00540090: "AngularViewVector",
    0x00540100: "TimeSliceVector",
}
_GATED = frozenset({"GATED", "GATED TOMO", "RECON GATED TOMO"})


def nuclear_frames(header: Header) -> list[Frame]:
    """Frames of a reconstructed SPECT volume or of planar images.

    Raises
    ------
    UnsupportedInput
        For projections and gated series, which are no volume.
    MissingMetadata
        If the geometry of a reconstruction is absent.
    CorruptInput
        If the index vectors do not fit the number of frames.
    """
    kinds = header.strings("ImageType")
    kind = kinds[2].upper() if len(kinds) > 2 else ""
    if kind in _GATED:
        raise UnsupportedInput(
            "gated gamma-camera images are not handled: their frames are phases, not a volume",
            where=header.where("ImageType"),
            found=kind,
            needed="RECON TOMO",
            next_step="load the reconstruction of all phases together",
        )
    if kind == "TOMO":
        raise UnsupportedInput(
            "projections are not a volume",
            where=header.where("ImageType"),
            found="TOMO",
            needed="RECON TOMO",
            next_step="load the reconstructed series",
        )
    count = header.integer("NumberOfFrames") or 1
    index = _index_vectors(header, count)
    frames = _reconstructed(header, index) if kind == "RECON TOMO" else _planar(header, index, kind)
    assign_windows(frames, header, index.get("EnergyWindowVector"))
    for frame in frames:
        frame.acquisition_us = acquisition_us(header)
        _add_rotation(header, frame)
    return frames


def _index_vectors(header: Header, count: int) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    dataset = header.dataset
    pointers = dataset.get("FrameIncrementPointer")
    if pointers is None:
        if count > 1:
            raise MissingMetadata(
                "a multi-frame image does not say what its frames are",
                where=f"{header.path}: FrameIncrementPointer (0028,0009)",
            )
        return {}
    listed = [pointers] if isinstance(pointers, int) else list(pointers)
    found: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    for pointer in listed:
        name = _VECTORS.get(int(pointer))
        value = dataset.get(name) if name else None
        if name is None or value is None:
            if count > 1:
                raise MissingMetadata(
                    "a frame index vector is absent",
                    where=f"{header.path}: {name or 'FrameIncrementPointer'}",
                )
            continue
        numbers = np.atleast_1d(np.array(value, dtype=np.int64))
        if numbers.size != count:
            raise CorruptInput(
                "a frame index vector does not fit the number of frames",
                where=f"{header.path}: {name}",
                found=f"{numbers.size} entries",
                needed=str(count),
            )
        found[name] = numbers
    return found


def _group(
    header: Header, index: dict[str, np.ndarray[Any, np.dtype[np.int64]]], n: int
) -> tuple[object, ...]:
    """What separates the frames of one file and of files of one series: detector, kind and corrections."""
    detector = (int(index["DetectorVector"][n]),) if "DetectorVector" in index else ()
    return (*detector, header.strings("ImageType")[2:4], header.strings("CorrectedImage"))


def _item_vector(item: Any, keyword: str, length: int, header: Header) -> Vector | None:
    value = None if item is None else item.get(keyword)
    if value is None or value == "":
        return None
    try:
        values = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        raise CorruptInput("the image geometry is malformed", where=f"{header.path}: {keyword}") from None
    check_vector(values, length, header, keyword)
    return values


def _place(header: Header, number: int) -> tuple[Vector, Vector]:
    """Position of the first frame and orientation, of the detector with that number from 1.

    Detectors that turned together give one reconstruction, whose place may stand with the first of them only.

    Raises
    ------
    CorruptInput
        If the detector is not listed.
    MissingMetadata
        If neither it, nor the first one, nor the file itself states them.
    """
    items = header.sequence("DetectorInformationSequence")
    if items and not 1 <= number <= len(items):
        raise CorruptInput(
            "a frame names a detector that is not listed",
            where=f"{header.path}: DetectorVector (0054,0020)",
            found=str(number),
            needed=f"1 to {len(items)}",
        )
    for item in (items[number - 1], items[0]) if items else ():
        position = _item_vector(item, "ImagePositionPatient", 3, header)
        orientation = _item_vector(item, "ImageOrientationPatient", 6, header)
        if position is not None and orientation is not None:
            return position, orientation
    return vector(header, "ImagePositionPatient", 3), vector(header, "ImageOrientationPatient", 6)


def _reconstructed(header: Header, index: dict[str, np.ndarray[Any, np.dtype[np.int64]]]) -> list[Frame]:
    spacing = vector(header, "PixelSpacing", 2)
    step_mm = header.number("SpacingBetweenSlices")
    thickness = header.number("SliceThickness")
    if step_mm is None:
        step_mm = thickness
    if not step_mm:
        raise MissingMetadata(
            "a reconstruction does not say how far its slices lie apart",
            where=header.where("SpacingBetweenSlices"),
        )
    unknown = set(index) - {"SliceVector", "TimeSliceVector", "EnergyWindowVector", "DetectorVector"}
    if unknown:
        raise UnsupportedInput(
            "the frames of a reconstruction are counted in a way that is not handled",
            where=f"{header.path}: FrameIncrementPointer (0028,0009)",
            found=", ".join(sorted(unknown)),
        )
    count = header.integer("NumberOfFrames") or 1
    slices = index.get("SliceVector", np.ones(count, dtype=np.int64))
    detectors = index.get("DetectorVector", np.ones(count, dtype=np.int64))
    places = {int(number): _place(header, int(number)) for number in np.unique(detectors)}
    details: dict[str, object] = {
        "slice_thickness_mm": thickness or abs(step_mm),
        "thickness_as_spacing": header.number("SpacingBetweenSlices") is None and count > 1,
    }
    frames = []
    for n in range(count):
        position, orientation = places[int(detectors[n])]
        cosines = np.array(orientation)
        normal = np.cross(cosines[:3], cosines[3:])
        normal /= np.linalg.norm(normal)
        # the position is that of the first frame in the file (PS3.3 C.8.4.11), the sign of the step counts
        place = np.array(position) + (int(slices[n]) - int(slices[0])) * step_mm * normal
        frames.append(
            Frame(
                header,
                index=n,
                position=tuple(float(v) for v in place),
                orientation=orientation,
                spacing=spacing,
                kind=_group(header, index, n),
                order=(float(index["TimeSliceVector"][n]),) if "TimeSliceVector" in index else (),
                details=dict(details),
            )
        )
    return frames


def _planar(header: Header, index: dict[str, np.ndarray[Any, np.dtype[np.int64]]], kind: str) -> list[Frame]:
    """Planar images: one slice, a group per energy window and detector, dynamic frames in time.

    A projection has no place in the patient: the plane is put at the origin with the pixel spacing of the
    detector, and the Volume says so.
    """
    spacing = vector(header, "PixelSpacing", 2) if header.has("PixelSpacing") else None
    starts = _dynamic_starts(header, index) if kind == "DYNAMIC" else None
    count = header.integer("NumberOfFrames") or 1
    frames = []
    for n in range(count):
        details: dict[str, object] = {"planar": True, "no_spacing": spacing is None}
        order: Vector = ()
        if starts is not None:
            details["frame_duration_s"] = starts[n][1]
            details["mid_time_s"] = starts[n][0] + starts[n][1] / 2.0
            order = (float(n),)
        frames.append(
            Frame(
                header,
                index=n,
                position=(0.0, 0.0, 0.0),
                orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
                spacing=spacing or (1.0, 1.0),
                kind=_group(header, index, n),
                order=order,
                details=details,
            )
        )
    return frames


def _dynamic_starts(
    header: Header, index: dict[str, np.ndarray[Any, np.dtype[np.int64]]]
) -> list[tuple[float, float]]:
    """Start and duration in s of every frame, from the phases; frames follow each other in a phase."""
    phases = header.sequence("PhaseInformationSequence")
    vector_ = index.get("PhaseVector")
    count = header.integer("NumberOfFrames") or 1
    if not phases or vector_ is None:
        raise MissingMetadata(
            "a dynamic image does not say when its frames were",
            where=f"{header.path}: PhaseInformationSequence (0054,0032)",
        )
    begins: list[float] = []
    now = 0.0
    for phase in phases:
        now += float(phase.get("PhaseDelay", 0) or 0) / 1000.0
        begins.append(now)
        duration, pause = _phase_times(phase, header)
        now += int(phase.get("NumberOfFramesInPhase", 1) or 1) * (duration + pause)
    seen: dict[tuple[int, ...], int] = {}
    starts = []
    for n in range(count):
        number = int(vector_[n]) - 1
        if not 0 <= number < len(phases):
            raise CorruptInput("a frame names a phase that is not there", where=f"{header.path}: PhaseVector")
        others = tuple(int(index[k][n]) for k in ("EnergyWindowVector", "DetectorVector") if k in index)
        place = seen.get((number, *others), 0)
        seen[(number, *others)] = place + 1
        if "TimeSliceVector" in index:
            place = int(index["TimeSliceVector"][n]) - 1
            if not 0 <= place < int(phases[number].get("NumberOfFramesInPhase", 0) or place + 1):
                raise CorruptInput(
                    "a frame names a time slice that its phase does not have",
                    where=f"{header.path}: TimeSliceVector (0054,0100)",
                    found=str(place + 1),
                )
        duration, pause = _phase_times(phases[number], header)
        starts.append((begins[number] + place * (duration + pause), duration))
    return starts


def _phase_times(phase: Any, header: Header) -> tuple[float, float]:
    try:
        duration = float(phase.get("ActualFrameDuration", 0) or 0) / 1000.0
        pause = float(phase.get("PauseBetweenFrames", 0) or 0) / 1000.0
    except (TypeError, ValueError):
        duration = pause = float("nan")
    if not duration > 0 or not pause >= 0:
        raise CorruptInput(
            "the frame duration of a phase is not positive",
            where=f"{header.path}: ActualFrameDuration (0018,1242)",
        )
    return duration, pause


def _add_rotation(header: Header, frame: Frame) -> None:
    items = header.sequence("RotationInformationSequence")
    if not items:
        return
    item = items[0]
    duration = item.get("ActualFrameDuration")
    count, arc = item.get("NumberOfFramesInRotation"), item.get("ScanArc")
    if duration is not None and "frame_duration_s" not in frame.details:
        frame.details["frame_duration_s"] = float(duration) / 1000.0
    frame.details["n_projections"] = None if count is None else int(count)
    frame.details["scan_arc_deg"] = None if arc is None else float(arc)
