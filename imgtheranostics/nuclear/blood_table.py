"""Blood samples in PET-BIDS tables: times, plasma, whole blood and the share that is still the tracer."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.io.sidecar import read_json
from imgtheranostics.units import canonical_unit, conversion_factor

FloatArray = npt.NDArray[np.float64]

TIME, PLASMA, BLOOD, PARENT = (
    "time",
    "plasma_radioactivity",
    "whole_blood_radioactivity",
    "metabolite_parent_fraction",
)
"""Columns of the standard."""

_MOST_BYTES = 32 * 2**20
_ABSENT = ("", "n/a", "nan")
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minutes": 60.0}
_FRACTION_SLACK = 1.05


@dataclass(frozen=True, eq=False)
class BloodTable:
    """One table of blood samples, without the rows that a column has no value in.

    Attributes
    ----------
    columns : mapping of str to ((k,) ndarray, (k,) ndarray)
        Times in s since time zero, and values in Bq/mL or as a fraction.
    sidecar : mapping
    """

    columns: Mapping[str, tuple[FloatArray, FloatArray]]
    sidecar: Mapping[str, Any]


def read_blood_table(path: Path | str) -> BloodTable:
    """Samples of a ``*_blood.tsv`` with its ``*_blood.json``.

    Parameters
    ----------
    path : Path or str
        The table; the sidecar beside it has the same name and states the units.

    Raises
    ------
    NothingUsable
        If there is no such table.
    CorruptInput
        If it lacks the column ``time``, holds what is no number, or its times do not increase.
    MissingMetadata
        If the sidecar, or the unit of a column in it, is absent.
    UnitMismatch
        If a unit is none of activity concentration.
    ImplausibleValue
        If a parent fraction is not between 0 and 1.
    """
    place = Path(path)
    sidecar_path = place.with_suffix(".json")
    rows = _rows(place)
    if not sidecar_path.is_file():
        raise MissingMetadata(
            "the blood table has no sidecar, so its units are not known",
            where=str(sidecar_path),
            needed="Units of every column, as PET-BIDS asks for",
            next_step="write the sidecar, or give the curve as arrays",
        )
    sidecar = read_json(sidecar_path)
    if not isinstance(sidecar, dict):
        raise CorruptInput("the sidecar is no table of keys", where=str(sidecar_path))
    scale = _time_scale(sidecar, sidecar_path)
    time = _numbers(rows, TIME, place) * scale
    if not np.isfinite(time).all() or (np.diff(time) <= 0.0).any():
        raise CorruptInput(
            "the times of the blood samples do not increase",
            where=f"{place}, column {TIME}",
            next_step="sort the rows, and drop those that pad the table",
        )
    found = {}
    for name in (PLASMA, BLOOD, PARENT):
        if name not in rows[0]:
            continue
        values = _numbers(rows, name, place)
        known = np.isfinite(values)
        factor = 1.0 if name == PARENT else _activity_scale(sidecar, name, sidecar_path)
        if known.any():
            found[name] = (time[known], values[known] * factor)
    if PARENT in found:
        _check_fraction(found[PARENT][1], place)
    return BloodTable(found, sidecar)


def _rows(place: Path) -> list[dict[str, str]]:
    try:
        if place.stat().st_size > _MOST_BYTES:
            raise CorruptInput("the blood table is too large", where=str(place), needed="at most 32 MiB")
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NothingUsable(
            "the blood table cannot be read", where=str(place), needed="a *_blood.tsv of PET-BIDS"
        ) from error
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    if not rows or TIME not in rows[0]:
        raise CorruptInput(
            "the blood table lacks its times",
            where=str(place),
            found=", ".join(str(name) for name in rows[0]) if rows else "no rows",
            needed=f"a column {TIME}, separated by tabs",
        )
    return rows


def _numbers(rows: list[dict[str, str]], name: str, place: Path) -> FloatArray:
    """One column; NaN where the cell is empty or n/a."""
    values = np.empty(len(rows))
    for i, row in enumerate(rows):
        cell = (row.get(name) or "").strip()
        try:
            values[i] = math.nan if cell.lower() in _ABSENT else float(cell)
        except ValueError as error:
            raise CorruptInput(
                "the blood table holds what is no number", where=f"{place}, column {name}, row {i + 1}"
            ) from error
        if math.isinf(values[i]):
            raise CorruptInput(
                "the blood table holds an infinite value", where=f"{place}, column {name}, row {i + 1}"
            )
    return values


def _stated_unit(sidecar: Mapping[str, Any], name: str, path: Path) -> str:
    entry = sidecar.get(name)
    unit = entry.get("Units") if isinstance(entry, dict) else None
    if not isinstance(unit, str) or not unit.strip():
        raise MissingMetadata(
            "the unit of a column of the blood table is not stated",
            where=f"{path}, {name}, Units",
            needed="such as s, or kBq/mL",
            next_step="add it to the sidecar",
        )
    return unit.strip()


def _time_scale(sidecar: Mapping[str, Any], path: Path) -> float:
    unit = _stated_unit(sidecar, TIME, path)
    if unit.lower() not in _SECONDS:
        raise MissingMetadata(
            "the unit of the blood samples' times is not known",
            where=f"{path}, {TIME}, Units",
            found=unit,
            needed="s",
        )
    return _SECONDS[unit.lower()]


def _activity_scale(sidecar: Mapping[str, Any], name: str, path: Path) -> float:
    unit = _stated_unit(sidecar, name, path)
    try:
        return conversion_factor(canonical_unit(unit), "Bq/mL")
    except UnitMismatch as error:
        raise UnitMismatch(
            "the unit of a column of the blood table is none of activity per volume",
            where=f"{path}, {name}, Units",
            found=unit,
            needed="such as Bq/mL, kBq/mL or uCi/mL",
        ) from error


def _check_fraction(values: FloatArray, place: Path) -> None:
    if values.min() < 0.0 or values.max() > _FRACTION_SLACK:
        percent = " (percent?)" if values.max() > 2.0 else ""
        raise ImplausibleValue(
            "the parent fraction is no fraction",
            where=f"{place}, column {PARENT}",
            found=f"{values.min():.3g} to {values.max():.3g}{percent}",
            needed="0 to 1",
        )
