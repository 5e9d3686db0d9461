"""Several files of one series: which belong together, and one Volume with the axis that they vary along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics.acquisition import FILTERS_OF_ENERGIES, CtAcquisition, MrAcquisition
from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, MissingMetadata
from imgtheranostics.io.bids_mri import check_flip_angles
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.io.sidecar import Sidecar, entities, image_stem
from imgtheranostics.volume import Axis, Source, Volume, make_step

_VARYING = ("echo", "inv", "flip")
_VARYING_FIELDS: dict[type[Any], tuple[str, ...]] = {
    MrAcquisition: ("repetition_time_s", "echo_time_s", "inversion_time_s", "flip_angle_deg"),
    CtAcquisition: (
        "tube_voltage_kv",
        "filtration",
        "filter_material",
        "filter_thickness_mm",
        "kernel",
        "slice_thickness_mm",
    ),
}
_REPETITION_SUFFIX = "TB1AFI"
_REPETITION = re.compile(r"^tr\d{1,2}$")
_DCM2NIIX_ECHO = re.compile(r"^(?P<name>.+)_e(?P<echo>\d{1,2})(?P<part>_ph|_real|_imaginary)?$")

_AXES = {
    "echo": ("echo_time", "echo_time_s", "EchoTime", "s"),
    "inv": ("inversion_time", "inversion_time_s", "InversionTime", "s"),
    "flip": ("flip_angle", "flip_angle_deg", "FlipAngle", "deg"),
    "acq": ("repetition_time", "repetition_time_s", "RepetitionTimeExcitation", "s"),
    "kvp": ("energy", "tube_voltage_kv", "KVP", "kV"),
}
_PREFERRED = ("inv", "flip", "echo", "acq", "kvp")


def group_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Files that form one series, in first-seen order.

    By BIDS, files that differ only in ``echo-``, else only in ``inv-``, else only in ``flip-``, and the two
    ``acq-tr1`` and ``acq-tr2`` of actual-flip-angle imaging; by the habit of dcm2niix, files that differ only
    in a last ``_e1``, ``_e2`` ...
    """
    groups = [[path] for path in paths]
    for entity in (*_VARYING, "acq"):
        groups = _merge(groups, entity)
    return groups


def _merge(groups: list[list[Path]], entity: str) -> list[list[Path]]:
    merged: dict[Any, list[Path]] = {}
    for number, group in enumerate(groups):
        key = _key(group[0], entity) if len(group) == 1 else None
        merged.setdefault(number if key is None else key, []).extend(group)
    return list(merged.values())


def _key(path: Path, entity: str) -> tuple[Any, ...] | None:
    stem = image_stem(path)
    found, suffix = entities(stem)
    if entity == "acq" and (suffix != _REPETITION_SUFFIX or not _REPETITION.match(found.get("acq", ""))):
        return None
    if entity in found and suffix:
        rest = tuple(item for item in sorted(found.items()) if item[0] != entity)
        return (str(path.parent), suffix, rest)
    match = _DCM2NIIX_ECHO.match(stem) if entity == "echo" and "echo" not in found else None
    return (str(path.parent), match["name"], match["part"]) if match else None


def varying_entity(paths: Sequence[Path]) -> str:
    """The entity along which the files of a group vary."""
    first, second = (entities(image_stem(path))[0] for path in paths[:2])
    return next((name for name in (*_VARYING, "acq") if first.get(name) != second.get(name)), "echo")


def series_axis(paths: Sequence[Path]) -> str:
    """The name of the axis along which the files of a group become one Volume."""
    return _AXES[varying_entity(paths)][0]


def stack(parts: Sequence[tuple[Volume, Sidecar]], paths: Sequence[Path]) -> Volume:
    """One Volume from the files of a group, ordered by the value of the field and not by name.

    Raises
    ------
    MissingMetadata
        If a file does not say its echo time, inversion time or flip angle.
    GeometryMismatch
        If the files do not share one grid, quantity and set of axes.
    CorruptInput
        If two files say the same value.
    """
    entity = varying_entity(paths)
    _, field, key, _ = _AXES[entity]
    volumes = [volume for volume, _ in parts]
    values = [_value(volume, sidecar, field, key) for volume, sidecar in parts]
    if entity == "flip":
        check_flip_angles(values, parts[0][1])
    return _stacked(volumes, values, entity, [str(path) for path in paths])


def stack_volumes(volumes: Sequence[Volume], where: str) -> Volume:
    """One Volume from MR or CT volumes that differ in one parameter of their acquisition.

    Images of several energies are ordered by their tube voltage, never by their names.

    Parameters
    ----------
    volumes : sequence of Volume
    where : str
        What messages name.

    Raises
    ------
    GeometryMismatch
        If they do not share one grid, quantity and set of axes, or differ in no parameter or in several.
    CorruptInput
        If two of them state the same value.
    """
    places = [f"series {n + 1} of those chosen from {where}" for n in range(len(volumes))]
    differing = []
    for entity in _PREFERRED:
        values = [getattr(volume.acquisition, _AXES[entity][1], None) for volume in volumes]
        if None not in values and len(set(values)) > 1:
            differing.append((entity, [float(value) for value in values if value is not None]))
    # inversion times often come with repetition times of their own, which are then no second parameter
    names = [entity for entity, _ in differing if not (entity == "acq" and len(differing) > 1)]
    if len(names) != 1:
        raise GeometryMismatch(
            "the series do not go together into one volume",
            where=where,
            found=f"they differ in {', '.join(_AXES[name][0] for name in names) or 'no parameter'}",
            needed="one parameter that tells them apart: inversion, echo or repetition time, flip angle, "
            "tube voltage",
            next_step="load them one by one",
        )
    return _stacked(volumes, dict(differing)[names[0]], names[0], places)


def _stacked(
    volumes: Sequence[Volume], values: Sequence[float], entity: str, places: Sequence[str]
) -> Volume:
    name, field, key, unit = _AXES[entity]
    _same_kind(volumes, places)
    order = sorted(range(len(values)), key=lambda n: values[n])
    ordered = [values[n] for n in order]
    if len(set(ordered)) < len(ordered):
        raise CorruptInput(
            f"two files of one series state the same {key}",
            where=", ".join(places),
            found=", ".join(f"{value:g}" for value in ordered),
            needed="a value of its own for each file",
            next_step="correct the sidecars, or give one of the files alone",
        )
    first = volumes[order[0]]
    shape = (*first.shape, len(volumes))
    check_budget(4 * int(np.prod(shape, dtype=np.int64)), where=places[0])
    data = np.empty(shape, dtype=first.data.dtype, order="F")
    for place, n in enumerate(order):
        data[..., place] = volumes[n].data
    acquisition, cautions = _common_acquisition([volumes[n].acquisition for n in order], field)
    files = tuple(file for n in order for file in volumes[n].source.files)
    whole = first.replace(
        data=data,
        axes=(*first.axes, Axis(name, np.array(ordered), unit)),
        acquisition=acquisition,
        source=Source(files, first.source.subject, first.source.session, first.source.identifiers),
        history=(*first.history, make_step("stack_files", axis=name, n_files=len(volumes))),
    )
    for n in order[1:]:
        whole = whole.with_warnings(*volumes[n].warnings)
    return whole.with_warnings(*cautions)


def _value(volume: Volume, sidecar: Sidecar, field: str, key: str) -> float:
    value = getattr(volume.acquisition, field, None)
    if value is None:
        value = sidecar.number(key)
    if value is None and key == "RepetitionTimeExcitation":
        value = sidecar.number("RepetitionTime")
    if value is None:
        raise MissingMetadata(
            f"{key} is needed to order the files of this series",
            where=sidecar.where(key),
            needed=f"{key} in the sidecar of each file",
            next_step="write it, or give one of the files alone",
        )
    return float(value)


def _same_kind(volumes: Sequence[Volume], paths: Sequence[str]) -> None:
    first = volumes[0]
    for volume, path in zip(volumes[1:], paths[1:], strict=True):
        difference = first.grid.same_as(volume.grid)
        if not difference or volume.shape != first.shape:
            raise GeometryMismatch(
                "the files of one series lie on different grids",
                where=f"{paths[0]} and {path}",
                found=str(difference) if not difference else f"{first.shape} and {volume.shape}",
                needed="one grid",
                next_step="load them one by one, and register or resample",
            )
        if (volume.quantity, volume.unit) != (first.quantity, first.unit) or not _same_axes(first, volume):
            raise GeometryMismatch(
                "the files of one series hold different quantities or axes",
                where=f"{paths[0]} and {path}",
                found=f"{first.quantity} [{first.unit}] and {volume.quantity} [{volume.unit}]",
            )


def _same_axes(first: Volume, second: Volume) -> bool:
    return len(first.axes) == len(second.axes) and all(
        mine.same_as(theirs) for mine, theirs in zip(first.axes, second.axes, strict=True)
    )


def _common_acquisition(records: Sequence[Any], field: str) -> tuple[Any, tuple[Caution, ...]]:
    """The record of the series: what varies along the axis is None, repetition times are kept one by one."""
    first = records[0]
    names = next((known for kind, known in _VARYING_FIELDS.items() if isinstance(first, kind)), None)
    if names is None or not all(isinstance(record, type(first)) for record in records):
        return first, ()
    changes: dict[str, Any] = {field: None}
    cautions: list[Caution] = []
    for name in names:
        values = [getattr(record, name) for record in records]
        if name == field or len(set(values)) == 1:
            continue
        changes[name] = None
        if name == "repetition_time_s" and None not in values:
            changes["repetition_times_s"] = tuple(float(value) for value in values)
        if name in FILTERS_OF_ENERGIES:
            changes[FILTERS_OF_ENERGIES[name]] = tuple(values)
        shown = ", ".join(_shown(value, name) for value in values)
        cautions.append(Caution("series-field-varies", f"{name} varies within the series: {shown}", name))
    return replace(first, **changes), tuple(cautions)


def _shown(value: Any, name: str) -> str:
    if isinstance(value, str):
        return harmless_text(name, value) or "another"
    return "absent" if value is None else f"{value:g}"
