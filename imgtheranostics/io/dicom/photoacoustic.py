"""Frames of Photoacoustic Image objects: their wavelength, frame of reference, and what their numbers are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import CorruptInput, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.wavelength_units import WAVELENGTHS_NM

if TYPE_CHECKING:
    from imgtheranostics.io.dicom.functional import Groups
    from imgtheranostics.io.dicom.series import Series

EXCITATION = "PhotoacousticExcitationCharacteristicsSequence"
_WAVELENGTH_TAG = 0x00189826
_COMBINED = "combined"


def describe_photoacoustic(frame: Frame, groups: Groups, dimensions: tuple[int, ...]) -> None:
    """Fill in what a photoacoustic frame states.

    Raises
    ------
    MissingMetadata
        If it does not say its wavelength.
    UnitMismatch
        If that is no light in nm.
    """
    header = groups.header
    combined = len(groups.items(EXCITATION)) > 1
    if not combined:
        frame.parameters["wavelength"] = _wavelength(groups, dimensions)
    frame.details["laser_energy_mj"] = groups.number([EXCITATION], "ExcitationEnergy")
    frame.details["volume_frame"] = groups.macro("PlanePositionSequence") is None
    frame.details["speed_of_sound_m_s"] = _speed_of_sound(header)
    kind = groups.macro("ImageDataTypeSequence")
    codes = None if kind is None else kind.get("ImageDataTypeCodeSequence")
    meaning = str(codes[0].get("CodeMeaning", "")) if codes else ""
    frame.details["image_data_type"] = meaning
    frame.details["combined"] = combined
    frame.kind = (meaning, _COMBINED if combined else "", *_frames_of_reference(header))


def together(series: list[Series]) -> list[Series]:
    """Series of single wavelengths that lie in one frame of reference as one series.

    Scanners write each wavelength as a file, and some as a series, of its own. Only series go together that
    agree in all but wavelength: study, frame of reference, matrix, orientation, spacing and kind of image.
    """
    from imgtheranostics.io.dicom.series import combine

    groups: dict[tuple[object, ...], list[Series]] = {}
    for one in series:
        if any(frame.details.get("combined") for frame in one.frames):
            one.failure = _combined(one)
        groups.setdefault(_place(one), []).append(one)
    result = []
    for members in groups.values():
        wavelengths = [{frame.parameters.get("wavelength") for frame in one.frames} for one in members]
        apart = all(a.isdisjoint(b) for a, b in itertools.combinations(wavelengths, 2))
        same = len({len(one.frames) // len(w) for one, w in zip(members, wavelengths, strict=True)}) == 1
        if len(members) > 1 and apart and same:
            result.append(combine(members, str(members[0].files[0].parent)))
        else:
            result += members
    return result


def _combined(one: Series) -> UnsupportedInput:
    """The refusal of frames that combine several wavelengths: these never enter unmixing."""
    return UnsupportedInput(
        "a frame combines several wavelengths; it cannot enter unmixing",
        where=f"{one.files[0]}: {EXCITATION} (0018,9821)",
        needed="one wavelength per frame",
        next_step="load the images of single wavelengths",
    )


def _place(one: Series) -> tuple[object, ...]:
    """What series must share to go together; their own number where they never do."""
    from imgtheranostics.io.dicom.series import keys_of

    own = (id(one),)
    if one.modality != "PA" or one.failure is not None:
        return own
    header = one.header
    reference = _frames_of_reference(header)
    if not any(reference):
        return own
    keys = set(keys_of(one.frames))
    return (header.text("StudyInstanceUID"), *reference, *keys) if len(keys) == 1 else own


def photoacoustic_record(frames: Sequence[Frame], subject: Any) -> PhotoacousticAcquisition:
    """The record of a series: wavelengths rising, energies as means of the frames of each."""
    header = frames[0].header
    details = frames[0].details
    energies: dict[float, list[float | None]] = {}
    for frame in frames:
        energy = frame.details.get("laser_energy_mj")
        wavelength = frame.parameters.get("wavelength")
        if wavelength is not None:
            energies.setdefault(wavelength, []).append(energy if isinstance(energy, float) else None)
    wavelengths = sorted(energies)
    means = [_mean(energies[wavelength]) for wavelength in wavelengths]
    known = tuple(mean for mean in means if mean is not None)
    speed = details.get("speed_of_sound_m_s")
    kind = details.get("image_data_type")
    return PhotoacousticAcquisition(
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        wavelength_nm=tuple(wavelengths),
        speed_of_sound_m_s=speed if isinstance(speed, float) else None,
        laser_energy_mj=known if len(known) == len(means) else (),
        image_type=str(kind) if kind else None,
        temperature_cel=_nested_number(header, "AcousticCouplingMediumTemperature"),
        subject=subject,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _wavelength(groups: Groups, dimensions: tuple[int, ...]) -> float:
    """The wavelength of a frame in nm: its own, else the shared one, else by its place in the file's list."""
    header = groups.header
    wavelength = groups.number([EXCITATION], "ExcitationWavelength")
    if wavelength is None:
        listed = [_number(item, header) for item in header.sequence("ExcitationWavelengthSequence")]
        counted = dict(
            zip(dimensions, groups.numbers(["FrameContentSequence"], "DimensionIndexValues"), strict=False)
        )
        place = counted.get(_WAVELENGTH_TAG)
        if len(listed) == 1:
            wavelength = listed[0]
        elif place is not None and place == int(place) and 1 <= place <= len(listed):
            wavelength = listed[int(place) - 1]
    where = f"{header.path}: ExcitationWavelength (0018,9826)"
    if wavelength is None:
        raise MissingMetadata("a photoacoustic frame does not say its wavelength", where=where)
    low, high = WAVELENGTHS_NM
    if not low <= wavelength <= high:
        raise UnitMismatch(
            "the wavelength of a photoacoustic frame is not plausible in nm",
            where=where,
            found=f"{wavelength:g}",
            needed=f"light of {low:g} to {high:g} nm",
        )
    return wavelength


def _number(item: Any, header: Header) -> float | None:
    value = item.get("ExcitationWavelength")
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CorruptInput(
            "an attribute that must hold one number does not",
            where=f"{header.path}: ExcitationWavelength (0018,9826)",
        ) from None


def _frames_of_reference(header: Header) -> tuple[str, str]:
    """UIDs of the frames of reference of the patient and of the transducer's volume."""
    return header.text("FrameOfReferenceUID") or "", header.text("VolumeFrameOfReferenceUID") or ""


def _nested_number(header: Header, keyword: str) -> float | None:
    """A number of the header that is only shown and never computed with."""
    value = header.dataset.get(keyword)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _speed_of_sound(header: Header) -> float | None:
    """Speed of sound in the object, in the mechanism of its correction or beside it."""
    items = header.sequence("SoundSpeedCorrectionMechanismCodeSequence")
    for source in (*items, header.dataset):
        value = source.get("ObjectSoundSpeed")
        try:
            speed = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise CorruptInput(
                "an attribute that must hold one number does not",
                where=f"{header.path}: ObjectSoundSpeed (0018,9833)",
            ) from None
        if math.isfinite(speed) and speed > 0:
            return speed
    return None
