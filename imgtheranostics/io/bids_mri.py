"""MR sidecars: qMRI-BIDS parameters, maps and series; seconds and degrees are checked for ms and radians."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.io.meaning import (
    ARBITRARY,
    Meaning,
    check_length,
    convert_units,
    extra_axes,
    refuse_implausible,
    subject_of,
)
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar, entities, image_stem
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Axis, Step, make_step

MR_SUFFIXES = frozenset(
    {"VFA", "IRT1", "MP2RAGE", "MESE", "MEGRE", "MPM", "MTS", "MTR", "T1w", "T2w", "T2starw", "PDw", "FLAIR"}
    | {
        "inplaneT1",
        "inplaneT2",
        "bold",
        "epi",
        "dwi",
        "asl",
        "mtw",
        "SPGR",
        "TB1AFI",
        "TB1DAM",
        "TB1EPI",
        "TB1TFL",
        "TB1SRGE",
        "TB1RFM",
        "RB1COR",
        "MRA",
        "UNIT1",
        "PDT2",
        "T2star",
        "angio",
    }
)
"""File-name suffixes of MR images in BIDS."""

_MAPS = {
    "T1map": "t1",
    "T2map": "t2",
    "T2starmap": "t2star",
    "R1map": "r1",
    "R2map": "r2",
    "R2starmap": "r2star",
    "TB1map": "relative_b1",
    "b1map": "relative_b1",
    "B1map": "relative_b1",
    "b0map": "b0_shift",
    "B0map": "b0_shift",
    "M0map": "signal",
}
_SPOILED = ("VFA", "MPM", "MTS", "SPGR")
_NEEDS_EXCITATION_TR = ("VFA", "IRT1", "MP2RAGE", "MPM", "MTS", "SPGR")

LONGEST_ECHO_TIME_S = 5.0
LONGEST_REPETITION_TIME_S = 60.0
LONGEST_INVERSION_TIME_S = 30.0
LARGEST_FIELD_T = 30.0
LONGEST_SPOILED_REPETITION_TIME_S = 1.0
"""Of spoiled gradient echoes at several flip angles; more is ms."""
SHORTEST_REPETITION_TIME_S = 5e-4


def is_mr(sidecar: Sidecar, suffix: str) -> bool:
    """Whether keys or the file name's suffix say that this is a magnetic-resonance image."""
    return (
        suffix in MR_SUFFIXES
        or suffix in _MAPS
        or "MagneticFieldStrength" in sidecar
        or "EchoTime" in sidecar
    )


def interpret_mr(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of an MR image.

    Raises
    ------
    ImplausibleValue
        If an echo, repetition or inversion time must be ms, or flip angles must be radians.
    UnitMismatch
        If a map's unit is not one of its quantity.
    """
    suffix = entities(image_stem(sidecar.image))[1]
    quantity, unit, factor, history, unit_cautions = _quantity(sidecar, suffix)
    acquisition, cautions = read_mr(sidecar, suffix)
    axes, axis_cautions = _axes(sidecar, header)
    if any(axis.name == "flip_angle" for axis in axes):
        check_flip_angles(axes[0].values.tolist(), sidecar)
    return Meaning(
        quantity, unit, factor, axes, acquisition, history, (*unit_cautions, *cautions, *axis_cautions)
    )


def read_mr(
    sidecar: Sidecar, suffix: str, saturation: Mapping[str, Any] | None = None
) -> tuple[MrAcquisition, tuple[Caution, ...]]:
    """The acquisition record; fields that are lists, one entry per volume, stand in the axes instead."""
    repetition, cautions = _repetition_time(sidecar, suffix)
    echo = _single(sidecar, "EchoTime")
    inversion = _single(sidecar, "InversionTime")
    flip = _single(sidecar, "FlipAngle")
    _check_times(sidecar, _listed(sidecar, "EchoTime"), repetition, _listed(sidecar, "InversionTime"))
    _check_repetition(sidecar, repetition, suffix)
    field_strength = sidecar.positive("MagneticFieldStrength")
    if field_strength is not None and field_strength > LARGEST_FIELD_T:
        raise refuse_implausible(
            sidecar, "MagneticFieldStrength", f"{field_strength:g} T", "below 30 T", "give the field in tesla"
        )
    record = MrAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        field_strength_t=field_strength,
        imaging_frequency_mhz=sidecar.positive("ImagingFrequency"),
        nucleus=sidecar.text("ImagedNucleus", "ResonantNucleus"),
        repetition_time_s=repetition,
        echo_time_s=echo,
        inversion_time_s=inversion,
        flip_angle_deg=flip,
        sequence=sidecar.text("SequenceName", "PulseSequenceType"),
        scanning_sequence=sidecar.texts("ScanningSequence"),
        image_component=_component(sidecar),
        saturation=dict(saturation or _magnetisation_transfer(sidecar)),
        subject=subject_of(sidecar),
    )
    return record, cautions


def check_flip_angles(flips: Sequence[float], sidecar: Sidecar) -> None:
    """Refuse a series whose flip angles are all at most pi, as radians are and degrees are not.

    Raises
    ------
    ImplausibleValue
    """
    if len(flips) > 1 and max(abs(flip) for flip in flips) <= math.pi + 1e-6:
        raise refuse_implausible(
            sidecar,
            "FlipAngle",
            ", ".join(f"{flip:g}" for flip in flips),
            "degrees",
            "these look like radians: multiply them by 57.29578",
        )


def _component(sidecar: Sidecar) -> str | None:
    """Magnitude, phase, real or imaginary, in the words that DICOM images get too."""
    part = entities(image_stem(sidecar.image))[0].get("part")
    if part:
        return {"mag": "magnitude", "phase": "phase", "real": "real", "imag": "imaginary"}.get(part)
    words = {word.upper() for word in sidecar.texts("ImageType")}
    if words & {"P", "PHASE"}:
        return "phase"
    return "magnitude" if words & {"M", "MAGNITUDE"} else None


def _quantity(sidecar: Sidecar, suffix: str) -> tuple[str, str, float, tuple[Step, ...], tuple[Caution, ...]]:
    stated = sidecar.text("Units")
    if suffix == "M0map":
        return "signal", ARBITRARY, 1.0, (), ()
    if _MAPS.get(suffix) == "b0_shift":
        return _shift(sidecar, stated)
    if suffix in _MAPS:
        quantity = QUANTITIES[_MAPS[suffix]]
        unit = quantity.unit or ARBITRARY
        if stated is None:
            caution = Caution(
                "unit-assumed", f"{suffix} states no Units: {unit} assumed, as BIDS does", "Units"
            )
            cautions = (caution,) if quantity.name != "relative_b1" else ()
            return quantity.name, unit, 1.0, (), cautions
        if quantity.name == "relative_b1" and stated.lower() in ("arbitrary", "percent", "%", "1"):
            return quantity.name, unit, 1.0, (), ()
        factor, history = _converted(sidecar, stated, unit)
        return quantity.name, unit, factor, history, ()
    phase = _component(sidecar) == "phase"
    if phase and stated is not None and stated.lower() in ("rad", "radians"):
        return "phase", "rad", 1.0, (), ()
    if phase:
        return (
            "signal",
            ARBITRARY,
            1.0,
            (),
            (
                Caution(
                    "phase-scale-unknown",
                    "a phase image without Units rad keeps the scanner's scale",
                    "Units",
                ),
            ),
        )
    return "signal", ARBITRARY, 1.0, (), ()


def _shift(
    sidecar: Sidecar, stated: str | None
) -> tuple[str, str, float, tuple[Step, ...], tuple[Caution, ...]]:
    """A map of the water frequency in ppm: in Hz it needs the imaging frequency, without unit it is none."""
    unit = (stated or "").strip().lower()
    if not unit:
        text = "the field map states no Units (ppm or Hz): its values are not taken for a shift"
        return "signal", ARBITRARY, 1.0, (), (Caution("map-unit-missing", text, "Units"),)
    if unit == "ppm":
        return "b0_shift", "ppm", 1.0, (), ()
    if unit not in ("hz", "rad/s"):
        raise UnitMismatch(
            "the unit of a field map is not known", where=sidecar.where("Units"), needed="ppm, Hz or rad/s"
        )
    frequency = sidecar.positive("ImagingFrequency")
    if frequency is None:
        raise MissingMetadata(
            "a field map in Hz needs the imaging frequency to become ppm",
            where=sidecar.where("ImagingFrequency"),
            needed="ImagingFrequency in MHz",
        )
    factor = 1.0 / (frequency * (2.0 * math.pi if unit == "rad/s" else 1.0))
    step = make_step("convert_unit", key="Units", found=stated, to="ppm", factor=factor)
    return "b0_shift", "ppm", factor, (step,), ()


def _converted(sidecar: Sidecar, stated: str, unit: str) -> tuple[float, tuple[Step, ...]]:
    try:
        return convert_units(stated, unit, "Units")
    except UnitMismatch as error:
        error.where = sidecar.where("Units")
        raise


def _repetition_time(sidecar: Sidecar, suffix: str) -> tuple[float | None, tuple[Caution, ...]]:
    """RepetitionTimeExcitation, else RepetitionTime, which for these sequences may be that of the volume."""
    excitation = _single(sidecar, "RepetitionTimeExcitation")
    if excitation is not None:
        return excitation, ()
    repetition = _single(sidecar, "RepetitionTime")
    if repetition is None or suffix not in _NEEDS_EXCITATION_TR:
        return repetition, ()
    return repetition, (
        Caution(
            "repetition-time-kind",
            "RepetitionTimeExcitation is absent: RepetitionTime is taken for it",
            "RepetitionTime",
        ),
    )


def _listed(sidecar: Sidecar, key: str) -> list[float]:
    return [value for value in sidecar.numbers(key) or [] if value is not None]


def _single(sidecar: Sidecar, key: str) -> float | None:
    values = _listed(sidecar, key)
    return values[0] if values and all(value == values[0] for value in values) else None


def _check_times(
    sidecar: Sidecar, echoes: Sequence[float], repetition: float | None, inversions: Sequence[float]
) -> None:
    limits = (
        ("EchoTime", echoes, LONGEST_ECHO_TIME_S),
        ("InversionTime", inversions, LONGEST_INVERSION_TIME_S),
        (
            "RepetitionTimeExcitation" if "RepetitionTimeExcitation" in sidecar else "RepetitionTime",
            [] if repetition is None else [repetition],
            LONGEST_REPETITION_TIME_S,
        ),
    )
    for key, values, longest in limits:
        if values and max(values) > longest:
            raise refuse_implausible(
                sidecar,
                key,
                f"{max(values):g} s",
                f"s, at most {longest:g}",
                "divide by 1000 if these are ms",
            )
        if values and (min(values) < 0 or (min(values) == 0 and key != "InversionTime")):
            raise refuse_implausible(sidecar, key, f"{min(values):g} s", "s, above 0", "correct the sidecar")
    if echoes and repetition is not None and max(echoes) > repetition:
        raise ImplausibleValue(
            "the echo time is longer than the repetition time",
            where=sidecar.where("EchoTime"),
            found=f"{max(echoes):g} s and {repetition:g} s",
            needed="both in s",
            next_step="one of the two is probably in ms",
        )


def _check_repetition(sidecar: Sidecar, repetition: float | None, suffix: str) -> None:
    """Repetition times that only another unit explains."""
    if repetition is None or repetition <= 0:
        return
    key = "RepetitionTimeExcitation" if "RepetitionTimeExcitation" in sidecar else "RepetitionTime"
    if repetition < SHORTEST_REPETITION_TIME_S:
        raise refuse_implausible(
            sidecar,
            key,
            f"{repetition:g} s",
            "s, at least 0.0005",
            "it was probably divided by 1000 twice: correct the sidecar",
        )
    excitation = "RepetitionTimeExcitation" in sidecar
    if suffix in _SPOILED and excitation and repetition > LONGEST_SPOILED_REPETITION_TIME_S:
        raise refuse_implausible(
            sidecar,
            key,
            f"{repetition:g} s",
            "s, at most 1 for spoiled gradient echoes",
            "divide by 1000 if these are ms",
        )


def _axes(sidecar: Sidecar, header: NiftiHeader) -> tuple[tuple[Axis, ...], tuple[Caution, ...]]:
    """The fourth axis by whichever field is a list of the right length, else time as the header says."""
    if len(header.shape) != 4:
        return extra_axes(header, sidecar)
    length = header.shape[3]
    for key, name, unit in (
        ("EchoTime", "echo_time", "s"),
        ("InversionTime", "inversion_time", "s"),
        ("FlipAngle", "flip_angle", "deg"),
        ("RepetitionTimeExcitation", "repetition_time", "s"),
        ("RepetitionTime", "repetition_time", "s"),
    ):
        values = _listed(sidecar, key)
        if len(values) > 1 and len(set(values)) > 1:
            check_length(values, length, sidecar, key)
            return (Axis(name, np.array(values), unit),), ()
    repetition = _single(sidecar, "RepetitionTime")
    if (
        (header.step is None or header.step_unit is None)
        and repetition is not None
        and "VolumeTiming" not in sidecar
    ):
        return (Axis("time", repetition * np.arange(length, dtype=np.float64), "s"),), ()
    return extra_axes(header, sidecar)


def _magnetisation_transfer(sidecar: Sidecar) -> dict[str, Any]:
    """The MT keys of BIDS, as far as they are there."""
    found: dict[str, Any] = {
        "mt_state": sidecar.flag("MTState"),
        "mt_offset_hz": sidecar.number("MTOffsetFrequency"),
        "mt_pulse_bandwidth_hz": sidecar.number("MTPulseBandwidth"),
        "mt_pulse_count": sidecar.number("MTNumberOfPulses"),
        "mt_pulse_shape": sidecar.text("MTPulseShape"),
        "mt_pulse_duration_s": sidecar.number("MTPulseDuration"),
    }
    return {key: value for key, value in found.items() if value is not None}
