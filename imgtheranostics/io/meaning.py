"""What the stored numbers of an image mean, as its sidecar tells: quantity, unit, axes and acquisition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgtheranostics.acquisition import OtherAcquisition, Subject
from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, MissingMetadata
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar, entities, image_stem
from imgtheranostics.units import canonical_unit, conversion_factor
from imgtheranostics.volume import Axis, Step, make_step

ARBITRARY = "[arb'U]"

_TYPICAL_LONGEST_STEP_S = 100.0


@dataclass(frozen=True, eq=False)
class Meaning:
    """The interpretation of one image.

    Attributes
    ----------
    quantity, unit : str
        What the voxels are after multiplication with `factor`.
    factor : float
        From the file's unit to `unit`.
    axes : tuple of Axis
        One per dimension beyond space.
    acquisition : acquisition record
    history : tuple of Step
        Conversions, to stand in the Volume's history.
    """

    quantity: str = "signal"
    unit: str = ARBITRARY
    factor: float = 1.0
    axes: tuple[Axis, ...] = ()
    acquisition: Any = field(default=OtherAcquisition())
    history: tuple[Step, ...] = ()
    cautions: tuple[Caution, ...] = ()


def convert_units(text: str, target: str, key: str) -> tuple[float, tuple[Step, ...]]:
    """Factor from the unit that a sidecar states to `target`, and the step that records it."""
    unit = canonical_unit(text)
    factor = conversion_factor(unit, target)
    if factor == 1.0:
        return 1.0, ()
    return factor, (make_step("convert_unit", key=key, found=unit, to=target, factor=factor),)


def modality_of(sidecar: Sidecar) -> tuple[str, str]:
    """The modality (DICOM code, empty when unknown) and the BIDS suffix of the image."""
    suffix = entities(image_stem(sidecar.image))[1]
    stated = (sidecar.text("Modality") or "").upper()
    known = {"PET": "PT", "MRI": "MR", "SPECT": "NM", "MSOT": "PA"}
    if stated:
        return known.get(stated, stated), suffix
    by_suffix = {
        "pet": "PT",
        "cest": "MR",
        "wassr": "MR",
        "wasabi": "MR",
        "pa": "PA",
        "ct": "CT",
        "us": "US",
        "spect": "NM",
    }
    return by_suffix.get(suffix.lower(), ""), suffix


def subject_of(sidecar: Sidecar) -> Subject:
    """Body measures, which do not identify anybody."""
    sex = sidecar.text("PatientSex", "Sex", "sex")
    return Subject(
        weight_kg=sidecar.number("PatientWeight", "BodyWeight", "weight"),
        height_m=sidecar.number("PatientSize", "BodyHeight", "height"),
        sex=sex[:1].upper() if sex else None,
        species=sidecar.text("Species", "species"),
    )


def extra_axes(header: NiftiHeader, sidecar: Sidecar) -> tuple[tuple[Axis, ...], tuple[Caution, ...]]:
    """Axes of an image whose sidecar names none: time where the header says so, else a numbered axis."""
    axes: list[Axis] = []
    cautions: list[Caution] = []
    for dimension, length in enumerate(header.shape[3:]):
        axis, found = _time_axis(header, sidecar, length) if dimension == 0 else (None, ())
        cautions += found
        if axis is None:
            axis = Axis("component", np.arange(length, dtype=np.float64), "1")
            if not any(one.code == "axis-unknown" for one in cautions):
                cautions.append(
                    Caution(
                        "axis-unknown",
                        f"neither header nor sidecar says what axis {dimension + 4} is: samples are numbered",
                        "pixdim[4], xyzt_units",
                    )
                )
        axes.append(axis)
    if len(axes) == 2 and axes[0].name == axes[1].name:
        if header.shape[3] != 1:
            raise MissingMetadata(
                "neither of the two axes beyond space is described",
                where=str(sidecar.image),
                found=" x ".join(str(n) for n in header.shape),
                needed="a sidecar with Axes",
            )
        axes[0] = Axis("time", np.zeros(1), "s")
    return tuple(axes), tuple(cautions)


def _time_axis(header: NiftiHeader, sidecar: Sidecar, length: int) -> tuple[Axis | None, tuple[Caution, ...]]:
    times = sidecar.all_numbers("VolumeTiming")
    if times is not None:
        check_length(times, length, sidecar, "VolumeTiming")
        return Axis("time", np.array(times), "s"), ()
    unit = header.step_unit
    if header.step is None or unit not in ("s", "ms", "us"):
        return None, ()
    step = header.step * conversion_factor(unit, "s")
    cautions: tuple[Caution, ...] = ()
    if step >= _TYPICAL_LONGEST_STEP_S:
        cautions = (
            Caution(
                "time-unit-doubtful",
                f"the header says {header.step:g} {unit} from volume to volume: are these ms?",
                "pixdim[4], xyzt_units",
            ),
        )
    return Axis("time", step * np.arange(length, dtype=np.float64), "s"), cautions


def check_length(values: Sequence[object], length: int, sidecar: Sidecar, key: str) -> None:
    """Refuse a list whose length is not that of the image's axis."""
    if len(values) != length:
        raise CorruptInput(
            f"{key} does not have one entry per volume of the image",
            where=sidecar.where(key),
            found=f"{len(values)} entries, {length} volumes",
            needed="equal numbers",
        )


def refuse_implausible(
    sidecar: Sidecar, key: str, found: str, needed: str, next_step: str
) -> ImplausibleValue:
    """An ImplausibleValue about one key."""
    return ImplausibleValue(
        f"{key} is not plausible", where=sidecar.where(key), found=found, needed=needed, next_step=next_step
    )
