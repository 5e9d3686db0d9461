"""What the voxels of a series are, per modality: quantity, unit, factor, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import Caution
from imgtheranostics.io.dicom.ct_records import ct_acquisition, ct_quantity
from imgtheranostics.io.dicom.emission import emission_acquisition, emission_quantity
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.records import (
    mr_acquisition,
    mr_quantity,
    nuclear_acquisition,
    other_acquisition,
    photoacoustic_acquisition,
)
from imgtheranostics.io.dicom.samples import Arrangement
from imgtheranostics.io.dicom.saturation import place_offsets, with_saturation
from imgtheranostics.io.dicom.scaling import Scaling
from imgtheranostics.volume import Axis, Step


@dataclass(frozen=True, slots=True)
class Description:
    """Quantity, unit and record of a series, and the factor after its rescaling."""

    quantity: str
    unit: str
    acquisition: Any
    axes: tuple[Axis, ...]
    factor: float = 1.0
    cautions: tuple[Caution, ...] = ()
    history: tuple[Step, ...] = ()


def describe(
    modality: str, frames: Sequence[Frame], arrangement: Arrangement, scaling: Scaling, where: str
) -> Description:
    """Quantity, unit, factor and acquisition record of a series."""
    factor = 1.0
    cautions: list[Caution] = []
    axes = arrangement.axes
    history: tuple[Step, ...] = ()
    acquisition: Any
    if modality == "PT":
        acquisition = emission_acquisition(frames, arrangement.order)
        quantity, unit, factor, cautions = emission_quantity(acquisition, where)
    elif modality == "CT":
        acquisition = ct_acquisition(frames, axes)
        quantity, unit, cautions = ct_quantity(frames, scaling, acquisition, axes)
    elif modality == "MR":
        acquisition = mr_acquisition(frames, scaling, arrangement)
        quantity, unit, factor, cautions = mr_quantity(frames, scaling)
        placed = place_offsets(frames, arrangement, acquisition)
        if placed is not None:
            acquisition = with_saturation(acquisition, placed)
            axes, history, cautions = placed.axes, placed.history, [*cautions, *placed.cautions]
    elif modality == "NM":
        acquisition = nuclear_acquisition(frames)
        cautions = _drug_cautions(acquisition)
        quantity, unit, more = _camera_quantity(frames, scaling)
        cautions += more
    elif modality == "US":
        from imgtheranostics.io.dicom.ultrasound import describe_ultrasound

        acquisition, cautions = describe_ultrasound(frames, as_stored=scaling.rule in ("none", "inverted"))
        quantity, unit = "signal", "[arb'U]"
    elif modality == "PA":
        acquisition = photoacoustic_acquisition(frames)
        quantity, unit = "optoacoustic_signal", "[arb'U]"
    else:
        acquisition = other_acquisition(frames[0].header)
        quantity, unit = "signal", "[arb'U]"
        if modality == "RTDOSE":
            from imgtheranostics.io.dicom.rtdose import dose_cautions

            cautions = dose_cautions(frames[0].header)
    if scaling.quantity:
        quantity, unit, factor = scaling.quantity, scaling.unit, 1.0
    cautions += _plane_cautions(frames)
    return Description(quantity, unit, acquisition, axes, factor, tuple(cautions), history)


_CAMERA_UNITS = {
    "BQML": ("activity_concentration", "Bq/mL"),
    "CNTS": ("counts", "{counts}"),
    "CPS": ("count_rate", "{counts}/s"),
}
"""Units (0054,1001) as far as gamma-camera objects, which do not have them, carry them from PET."""


def _camera_quantity(frames: Sequence[Frame], scaling: Scaling) -> tuple[str, str, list[Caution]]:
    """Counts, unless a real-world value mapping, or an element that belongs to PET, says otherwise."""
    stated = (frames[0].header.text("Units") or "").upper()
    if scaling.quantity or not stated or stated == "CNTS":
        return "counts", "{counts}", []
    where = "Units (0054,1001)"
    quantity, unit = _CAMERA_UNITS.get(stated, ("signal", "[arb'U]"))
    if quantity == "signal":
        text = "the units that the file states have no scale here: values are signal on an arbitrary scale"
        return quantity, unit, [Caution("camera-units-without-scale", text, where)]
    text = f"the file states its unit, {unit}, as PET images do and those of gamma cameras do not"
    return quantity, unit, [Caution("camera-units-as-of-pet", text, where)]


def _drug_cautions(acquisition: NuclearAcquisition) -> list[Caution]:
    names = sorted({drug.nuclide or "one not named" for drug in acquisition.radiopharmaceuticals})
    if not names:
        return []
    text = (
        f"the file states {len(acquisition.radiopharmaceuticals)} radiopharmaceuticals ({', '.join(names)}) "
        "and not which of them the image shows: name its nuclide"
    )
    return [
        Caution("several-radiopharmaceuticals", text, "RadiopharmaceuticalInformationSequence (0054,0016)")
    ]


def _plane_cautions(frames: Sequence[Frame]) -> list[Caution]:
    details = frames[0].details
    cautions = []
    if details.get("windows_not_told_apart"):
        cautions.append(
            Caution(
                "energy-windows-not-told-apart",
                "the file lists several energy windows and does not say in which of them it was counted",
                "EnergyWindowVector (0054,0010)",
            )
        )
    if details.get("thickness_as_spacing"):
        cautions.append(
            Caution(
                "slice-spacing-from-thickness",
                "the distance of the slices is not stated: their thickness stands in for it",
                "SpacingBetweenSlices (0018,0088)",
            )
        )
    if details.get("planar"):
        cautions.append(
            Caution("no-patient-geometry", "the image has no place in the patient: it lies at the origin")
        )
    if details.get("volume_frame"):
        cautions.append(
            Caution(
                "no-patient-geometry", "positions are those of the transducer's volume, not of the patient"
            )
        )
    if details.get("no_spacing"):
        cautions.append(
            Caution("pixel-spacing-unknown", "the pixel spacing is not stated: 1 mm stands in for it")
        )
    return cautions
