"""The sidecar that this package writes beside a NIfTI image, and reading it back without loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from imgtheranostics._version import VERSION
from imgtheranostics.acquisition import Acquisition, OtherAcquisition
from imgtheranostics.errors import Caution, CorruptInput
from imgtheranostics.io.acquisition_record import from_record, plain, to_record
from imgtheranostics.io.meaning import Meaning, convert_units
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.units import QUANTITIES, canonical_unit
from imgtheranostics.volume import AXIS_NAMES, Axis, Flag, Step, Volume

SOFTWARE = "imgtheranostics"


def describe(volume: Volume, *, keep_texts: bool = False) -> dict[str, Any]:
    """The sidecar's content for a Volume: no date, no path, and no free text unless `keep_texts`."""
    content: dict[str, Any] = {
        "Quantity": volume.quantity,
        "Description": QUANTITIES[volume.quantity].description,
        "Units": volume.unit,
        "SoftwareName": SOFTWARE,
        "SoftwareVersion": VERSION,
    }
    modality = getattr(volume.acquisition, "modality", None)
    if modality and modality != OtherAcquisition.modality:
        content["Modality"] = modality
    if volume.axes:
        content["Axes"] = [
            {"Name": axis.name, "Units": axis.unit, "Values": plain(axis.values)} for axis in volume.axes
        ]
    if volume.quantity == "flags":
        content["FlagMeanings"] = {str(flag.value): (flag.name or "").lower() for flag in Flag}
    if volume.acquisition is not None:
        content["Acquisition"] = to_record(volume.acquisition, keep_texts=keep_texts)
    if volume.history:
        content["History"] = [
            {"Name": step.name, "Parameters": plain(dict(step.parameters)), "Version": step.version}
            for step in volume.history
        ]
    if volume.warnings:
        content["Warnings"] = [
            {"Code": caution.code, "Message": caution.message, "Where": caution.where}
            for caution in volume.warnings
        ]
    return content


def is_own(sidecar: Sidecar) -> bool:
    """Whether the sidecar names a quantity of this package."""
    return sidecar.text("Quantity") in QUANTITIES


def interpret_own(sidecar: Sidecar, shape: tuple[int, ...]) -> tuple[Meaning, bool]:
    """The meaning that the sidecar states, and whether it states the acquisition too.

    Raises
    ------
    CorruptInput
        If Axes contradict the image, or an entry is not of the form that `describe` writes.
    UnitMismatch
        If the unit is not one of the quantity.
    """
    quantity = QUANTITIES[sidecar.text("Quantity") or ""]
    stated = sidecar.text("Units")
    if stated is None:
        raise CorruptInput(
            "Quantity is stated without Units", where=sidecar.where("Quantity"), needed="Units, a UCUM code"
        )
    factor = 1.0
    history: tuple[Step, ...] = ()
    if quantity.unit is not None:
        unit = quantity.unit
        if quantity.dtype == "float32":
            factor, history = convert_units(stated, unit, "Units")
    else:
        unit = canonical_unit(stated)
    axes = _axes(sidecar, shape)
    ours = sidecar.text("SoftwareName") == SOFTWARE
    acquisition = _acquisition(sidecar) if ours else None
    meaning = Meaning(
        quantity=quantity.name,
        unit=unit,
        factor=factor,
        axes=axes,
        acquisition=acquisition or OtherAcquisition(),
        history=(*(_history(sidecar) if ours else ()), *history),
        cautions=_warnings(sidecar) if ours else (),
    )
    return meaning, acquisition is not None


def _axes(sidecar: Sidecar, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    entries = sidecar.values.get("Axes") or []
    try:
        axes = tuple(
            Axis(
                str(entry["Name"]),
                np.array([np.nan if value is None else float(value) for value in entry["Values"]]),
                str(entry["Units"]),
            )
            for entry in entries
        )
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptInput(
            "Axes is not a list of Name, Units and Values",
            where=sidecar.where("Axes"),
            needed=f"names among {', '.join(sorted(AXIS_NAMES))} and UCUM units",
        ) from error
    lengths = tuple(len(axis) for axis in axes)
    found = tuple(shape[3:]) + (1,) * (len(lengths) - len(shape[3:]))
    if lengths != found:
        raise CorruptInput(
            "the sidecar's Axes contradict the image",
            where=sidecar.where("Axes"),
            found=f"axes of {list(lengths)}, image {list(shape)}",
            needed="one axis per dimension beyond space, of its length",
        )
    return axes


def _acquisition(sidecar: Sidecar) -> Acquisition | None:
    content = sidecar.values.get("Acquisition")
    if content is None:
        return None
    try:
        return from_record(content)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise CorruptInput(
            "the acquisition record cannot be read", where=sidecar.where("Acquisition")
        ) from error


def _entries(sidecar: Sidecar, key: str) -> list[Mapping[str, Any]]:
    entries = sidecar.values.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CorruptInput(f"{key} is not a list of objects", where=sidecar.where(key))
    return entries


def _history(sidecar: Sidecar) -> tuple[Step, ...]:
    return tuple(
        Step(str(entry.get("Name", "")), dict(entry.get("Parameters") or {}), str(entry.get("Version", "")))
        for entry in _entries(sidecar, "History")
    )


def _warnings(sidecar: Sidecar) -> tuple[Caution, ...]:
    return tuple(
        Caution(str(entry.get("Code", "")), str(entry.get("Message", "")), str(entry.get("Where", "")))
        for entry in _entries(sidecar, "Warnings")
    )
