"""Ultrasound sidecars: what the grey levels mean, and when the frames were."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.io.meaning import (
    ARBITRARY,
    Meaning,
    check_length,
    extra_axes,
    modality_of,
    refuse_implausible,
    subject_of,
)
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.volume import Axis

_SCALES = {
    "": ("signal", ARBITRARY),
    "grey": ("signal", ARBITRARY),
    "gray": ("signal", ARBITRARY),
    "arbitrary": ("signal", ARBITRARY),
    "arb": ("signal", ARBITRARY),
    ARBITRARY.lower(): ("signal", ARBITRARY),
    "linear": ("echo_intensity", "1"),
    "1": ("echo_intensity", "1"),
    "db": ("echo_level", "dB"),
}
_LARGEST_RANGE_DB = 200.0
_LONGEST_FRAME_S = 60.0
_OWN_KEYS = ("DynamicRange", "GreyMax")


def is_us(sidecar: Sidecar) -> bool:
    """Whether the sidecar has keys that only ultrasound has."""
    return any(key in sidecar for key in _OWN_KEYS)


def interpret_us(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of an ultrasound image: grey levels, dB or linear power, as ``Units`` says.

    Raises
    ------
    MissingMetadata
        If a cine does not say when its frames were.
    CorruptInput
        If the number of frame times is not that of the frames, or they do not increase.
    UnitMismatch
        If ``Units`` is neither grey nor linear nor dB.
    ImplausibleValue
        If the dynamic range is none, or frame times look like ms.
    """
    stated = (sidecar.text("Units") or "").strip().lower()
    if stated not in _SCALES:
        raise UnitMismatch(
            "the unit of an ultrasound image is not known",
            where=sidecar.where("Units"),
            found=sidecar.text("Units"),
            needed="grey, linear or dB",
        )
    quantity, unit = _SCALES[stated]
    axes, cautions = _axes(sidecar, header)
    return Meaning(quantity, unit, 1.0, axes, read_us(sidecar), (), (*cautions, *place_cautions(header)))


def read_us(sidecar: Sidecar) -> UltrasoundAcquisition:
    """The ultrasound record of a sidecar."""
    dynamic_range = sidecar.positive("DynamicRange")
    if dynamic_range is not None and dynamic_range > _LARGEST_RANGE_DB:
        raise refuse_implausible(
            sidecar,
            "DynamicRange",
            f"{dynamic_range:g}",
            f"dB, at most {_LARGEST_RANGE_DB:g}",
            "write the dynamic range of the log compression in dB",
        )
    return UltrasoundAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        frame_time_s=sidecar.positive("FrameTime"),
        mechanical_index=sidecar.number("MechanicalIndex"),
        transducer_frequency_mhz=sidecar.number("TransducerFrequency"),
        grey_max=sidecar.positive("GreyMax"),
        dynamic_range_db=dynamic_range,
        gain_db=sidecar.number("Gain"),
        acquisition_datetime=_moment(sidecar),
        subject=subject_of(sidecar),
    )


def place_cautions(header: NiftiHeader) -> tuple[Caution, ...]:
    """A caution where the header holds the spacing of the image alone, and no pose of the transducer."""
    cosines = header.affine[:3, :3] / np.linalg.norm(header.affine[:3, :3], axis=0)
    along = np.abs(cosines).round(6)
    if not ((along == 0.0) | (along == 1.0)).all():
        return ()
    text = "the image lies along its own rows and columns: how the transducer was held is not stated"
    return (Caution("no-patient-geometry", text, "sform, qform"),)


def with_given_frame_time(sidecar: Sidecar, frame_time_s: float) -> Sidecar:
    """The sidecar of a cine with the time between frames that a user gives in place of its own.

    Raises
    ------
    ValueError
        If it describes another modality, or the time is none.
    """
    modality, _ = modality_of(sidecar)
    if modality not in ("", "US"):
        raise ValueError("frame_time_s is that of ultrasound cines")
    if not 0.0 < frame_time_s <= _LONGEST_FRAME_S:
        raise ValueError(f"frame_time_s is a time in s above 0, not {frame_time_s:g}")
    values = {key: value for key, value in sidecar.values.items() if key != "FrameTimes"}
    return replace(sidecar, values={"Modality": "US"} | values | {"FrameTime": float(frame_time_s)})


def _moment(sidecar: Sidecar) -> datetime | None:
    text = sidecar.text("AcquisitionDateTime")
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise CorruptInput(
            "the time of acquisition is malformed",
            where=sidecar.where("AcquisitionDateTime"),
            needed="such as 2020-01-31T12:00:00",
        ) from error


def _axes(sidecar: Sidecar, header: NiftiHeader) -> tuple[tuple[Axis, ...], tuple[Caution, ...]]:
    """Time as listed, else from frame to frame, else as the header says."""
    extents = header.shape[3:]
    if len(extents) != 1 or extents[0] == 1:
        return extra_axes(header, sidecar)
    times = sidecar.all_numbers("FrameTimes")
    if times is not None:
        check_length(times, extents[0], sidecar, "FrameTimes")
        steps = np.diff(times)
        if not (steps > 0).all():
            raise CorruptInput("the frame times do not increase", where=sidecar.where("FrameTimes"))
        _check_seconds(sidecar, "FrameTimes", float(np.median(steps)))
        return (Axis("time", np.array(times), "s"),), ()
    step = sidecar.positive("FrameTime")
    if step is not None:
        _check_seconds(sidecar, "FrameTime", step)
        return (Axis("time", step * np.arange(extents[0], dtype=np.float64), "s"),), ()
    axes, cautions = extra_axes(header, sidecar)
    if axes[0].name != "time":
        raise MissingMetadata(
            "a cine does not say when its frames were",
            where=sidecar.where("FrameTimes"),
            needed="FrameTimes or FrameTime in s",
            next_step="write FrameTimes into the sidecar, or give --frame-time SECONDS (frame_time_s=)",
        )
    return axes, cautions


def _check_seconds(sidecar: Sidecar, key: str, step: float) -> None:
    if step >= _LONGEST_FRAME_S:
        raise ImplausibleValue(
            "the time between frames is longer than that of any cine",
            where=sidecar.where(key),
            found=f"{step:g} s",
            needed=f"s, below {_LONGEST_FRAME_S:g}",
            next_step="if these are ms, divide them by 1000",
        )
