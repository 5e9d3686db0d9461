"""From stored values to quantities: one slope and intercept per plane, and the rule that chose them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, UnitMismatch
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.plane_scale import REQUIRED, Notes, Scale
from imgtheranostics.io.dicom.real_world import real_world_scale

MR_SCALINGS = ("floating_point", "display", "stored")
"""What `load` takes as `mr_scaling`: values that compare between images, display values, stored numbers."""

PHILIPS_MR = "Philips MR Imaging DD 001"
PHILIPS_PET = "Philips PET Private Group"


@dataclass(frozen=True, slots=True)
class Scaling:
    """The scales of all planes of a series, in the order of its frames."""

    scales: list[Scale]
    rule: str
    quantity: str
    unit: str
    cautions: tuple[Caution, ...] = ()
    factor: float = 1.0

    def parameters(self) -> dict[str, Any]:
        """What the history keeps: one pair when all planes agree, else the range and a digest."""
        slopes = np.array([scale.slope for scale in self.scales]) * self.factor
        intercepts = np.array([scale.intercept for scale in self.scales]) * self.factor
        record: dict[str, Any] = {"rule": self.rule, "planes": len(self.scales)}
        if self.factor != 1.0:
            record["factor"] = self.factor
        for name, values in (("slope", slopes), ("intercept", intercepts)):
            distinct = np.unique(values)
            if distinct.size == 1:
                record[name] = float(distinct[0])
            else:
                record[name] = _compact(values, int(distinct.size))
        return record


def _compact(values: npt.NDArray[np.float64], distinct: int) -> dict[str, Any]:
    import hashlib

    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return {
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "distinct": distinct,
        "sha256": digest,
    }


def series_scaling(frames: Sequence[Frame], modality: str, mr_scaling: str | None = None) -> Scaling:
    """The scale of every plane, checked to be of one kind.

    Parameters
    ----------
    frames : sequence of Frame
    modality : str
    mr_scaling : str, optional
        One of `MR_SCALINGS`, for MR images only.

    Raises
    ------
    MissingMetadata
        If a slope is absent where stored values mean nothing without one, or where it was asked for.
    CorruptInput
        If a slope is not one finite number other than 0.
    UnitMismatch
        If planes follow different rules or carry different units.
    """
    notes = Notes()
    philips = modality == "MR" and (frames[0].header.text("Manufacturer") or "").lower().startswith("philips")
    memo: dict[tuple[object, ...], Scale] = {}
    scales: list[Scale] = []
    for frame in frames:
        key = _memo_key(frame)
        scale = memo.get(key) if key is not None else None
        if scale is None:
            scale = (
                _plane_scale(frame, modality, philips, notes)
                if modality != "MR" or mr_scaling is None
                else _wanted_scale(frame, mr_scaling, philips, notes)
            )
            if key is not None:
                memo[key] = scale
        scales.append(scale)
    rules = {scale.rule for scale in scales}
    units = {(scale.quantity, scale.unit) for scale in scales}
    if len(rules) > 1 or len(units) > 1:
        raise UnitMismatch(
            "the images of one series are scaled by different rules",
            where=str(frames[0].header.path.parent),
            found=", ".join(sorted(rules)),
            needed="one rule for all images",
            next_step="export the series again with the scaling of every image",
        )
    first = scales[0]
    return Scaling(scales, first.rule, first.quantity, first.unit, tuple(notes.cautions))


def _memo_key(frame: Frame) -> tuple[object, ...] | None:
    elements = frame.header.elements
    return (
        frame.scale,
        elements.get("RescaleSlope"),
        elements.get("RescaleIntercept"),
        elements.get("RealWorldValueMappingSequence"),
        frame.details.get("real_world"),
        frame.details.get("component"),
        frame.details.get("philips_scale_slope"),
        frame.header.private(PHILIPS_MR, 0x2005, 0x0E) if frame.header.layout.private else None,
    )


def _plane_scale(frame: Frame, modality: str, philips: bool, notes: Notes) -> Scale:
    header = frame.header
    mapping = frame.details.get("real_world")
    if mapping is None and header.elements.get("RealWorldValueMappingSequence", (b"", b""))[1]:
        mapping = real_world_scale(header.sequence("RealWorldValueMappingSequence"), header, modality, notes)
    slope, intercept = _rescale(frame, modality, notes, optional=isinstance(mapping, Scale))
    if philips and frame.details.get("component") != "phase":
        precise = _philips_floating_point(frame, slope, intercept, notes)
        if precise is not None:
            return precise
    if isinstance(mapping, Scale):
        return mapping
    if slope is None:
        if modality == "US":
            return _inverted(frame)
        return _siemens_phase(frame) if modality == "MR" else Scale()
    return Scale(slope, intercept, "rescale")


def _inverted(frame: Frame) -> Scale:
    """Stored echo as it is, or turned round where the smallest value is shown white."""
    header = frame.header
    if header.text("PhotometricInterpretation") != "MONOCHROME1":
        return Scale()
    return Scale(-1.0, float((1 << header.required_integer("BitsStored")) - 1), "inverted")


def _siemens_phase(frame: Frame) -> Scale:
    """Older Siemens phase images state no slope for their 12 bits, 0 to 4095 for -pi to pi."""
    header = frame.header
    siemens = (header.text("Manufacturer") or "").lower().startswith("siemens")
    if siemens and frame.details.get("component") == "phase" and header.integer("BitsStored") == 12:
        return Scale(2.0, -4096.0, "rescale")
    return Scale()


def _wanted_scale(frame: Frame, mr_scaling: str, philips: bool, notes: Notes) -> Scale:
    """The scale that the user asked for by name."""
    if mr_scaling == "stored":
        return Scale()
    if mr_scaling == "display":
        slope, intercept = _rescale(frame, "MR", notes, optional=True)
        if philips:
            _note_display_values(frame.header, "display values were asked for", notes)
        return Scale() if slope is None else Scale(slope, intercept, "rescale")
    scale = _plane_scale(frame, "MR", philips, notes)
    if philips and frame.details.get("component") != "phase" and scale.rule != "philips_floating_point":
        raise MissingMetadata(
            "the Philips scale slope is absent: precise floating-point values cannot be computed",
            where=f"{frame.header.path}: (2005,100E)",
            needed="the scale slope of every image",
            next_step="export with private attributes, or ask for mr_scaling='display'",
        )
    return scale


def _note_display_values(header: Header, why: str, notes: Notes) -> None:
    notes.add(
        "philips-display-values",
        f"{why}: values are display values, which do not compare between scans, echoes or flip angles",
        f"{header.path}: (2005,100E)",
    )


def _rescale(frame: Frame, modality: str, notes: Notes, *, optional: bool) -> tuple[float | None, float]:
    header = frame.header
    if frame.scale is not None:
        slope, intercept = frame.scale
        _check_slope(slope, header, notes)
        return slope, intercept
    needed = modality in REQUIRED and not optional
    if not header.has("RescaleSlope"):
        if needed:
            raise MissingMetadata(
                "the image has no rescale slope; stored values are not quantities",
                where=header.where("RescaleSlope"),
                found="empty" if "RescaleSlope" in header.elements else "absent",
                needed="the slope of every image",
                next_step="export the series again; a missing slope is not 1",
            )
        return None, 0.0
    slope_value = header.number("RescaleSlope")
    intercept_value = header.number("RescaleIntercept")
    if slope_value is None:
        raise CorruptInput("the rescale slope cannot be read", where=header.where("RescaleSlope"))
    if intercept_value is None and modality == "CT" and needed:
        raise MissingMetadata(
            "the image has no rescale intercept; its HU scale is unknown",
            where=header.where("RescaleIntercept"),
        )
    _check_slope(slope_value, header, notes)
    return slope_value, intercept_value or 0.0


def _check_slope(slope: float, header: Header, notes: Notes) -> None:
    if slope == 0 or not math.isfinite(slope):
        raise CorruptInput(
            "the rescale slope is not a scale",
            where=header.where("RescaleSlope"),
            found=str(slope),
            needed="a finite number other than 0",
        )
    if slope < 0:
        notes.add("negative-slope", "the rescale slope is negative", header.where("RescaleSlope"))


def _philips_floating_point(
    frame: Frame, slope: float | None, intercept: float, notes: Notes
) -> Scale | None:
    """The precise value (stored x RS + RI) / (RS x SS), which alone compares between images."""
    header = frame.header
    per_frame = frame.details.get("philips_scale_slope")
    scale_slope = (
        per_frame if isinstance(per_frame, float) else header.private_number(PHILIPS_MR, 0x2005, 0x0E, b"FL")
    )
    if scale_slope is None:
        _note_display_values(header, "the Philips scale slope is absent", notes)
        return None
    if not scale_slope > 0 or not math.isfinite(scale_slope):
        raise CorruptInput("the Philips scale slope is not positive", where=f"{header.path}: (2005,100E)")
    return Scale(1.0 / scale_slope, intercept / ((slope or 1.0) * scale_slope), "philips_floating_point")
