"""Tables of a BIDS dataset: who the participants are, and when sessions and scans were."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.participants import LENGTH_M, MASS_KG, body_measure, column_units, table_rows
from imgtheranostics.io.sidecar import Sidecar

_ABSENT = ("", "n/a")
_GROUP_COLUMNS = ("group", "arm", "treatment", "cohort")
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
_NO_COVARIATES = frozenset(
    (
        "participant_id",
        "sex",
        "gender",
        "species",
        "strain",
        "strain_rrid",
        "weight",
        "height",
        *_GROUP_COLUMNS,
    )
)
_LONGEST = 64


@dataclass(frozen=True)
class Participant:
    """One row of ``participants.tsv``; `unsure` names what has no unit there."""

    group: str = ""
    sex: str | None = None
    species: str | None = None
    weight_kg: float | None = None
    height_m: float | None = None
    covariates: dict[str, float] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()


def read_participants(root: Path) -> dict[str, Participant]:
    """Participants of a dataset by label; none where it has no table.

    Columns of numbers become covariates, named with the unit that the table's description states.

    Raises
    ------
    CorruptInput, ImplausibleValue
        If the table is none, or a weight or height is no positive number.
    """
    table = root / "participants.tsv"
    if not table.is_file():
        return {}
    units = column_units(table.with_suffix(".json"))
    rows = [{key.strip().lower(): value.strip() for key, value in row.items()} for row in table_rows(table)]
    numeric = _numeric_columns(rows)
    return {
        row["participant_id"].removeprefix("sub-"): _participant(row, units, numeric, table)
        for row in rows
        if row.get("participant_id")
    }


def _numeric_columns(rows: list[dict[str, str]]) -> list[str]:
    names = [name for name in (rows[0] if rows else {}) if name not in _NO_COVARIATES]
    return [
        name
        for name in names
        if all(row[name].lower() in _ABSENT or _number(row[name]) is not None for row in rows)
        and any(_number(row[name]) is not None for row in rows)
    ]


def _participant(row: dict[str, str], units: dict[str, Any], numeric: list[str], table: Path) -> Participant:
    weight, weight_cautions = body_measure(row, "weight", units, MASS_KG, table)
    height, height_cautions = body_measure(row, "height", units, LENGTH_M, table)
    unsure = [name for name, found in (("weight", weight_cautions), ("height", height_cautions)) if found]
    group = next((row[name] for name in _GROUP_COLUMNS if row.get(name, "").lower() not in _ABSENT), "")
    species = row.get("species", "")
    covariates = {
        _covariate_name(name, units.get(name, "")): value
        for name in numeric
        if (value := _number(row[name])) is not None
    }
    return Participant(
        group=group,
        sex=_SEXES.get((row.get("sex") or row.get("gender") or "").lower()),
        species=species if species.lower() not in _ABSENT else None,
        weight_kg=weight,
        height_m=height,
        covariates=covariates,
        unsure=tuple(unsure),
    )


def _covariate_name(name: str, unit: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", f"{name}_{unit}".lower()).strip("_")
    return (words if words[:1].isalpha() else f"c_{words}")[:_LONGEST]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value - value == 0 else None


def read_times(root: Path) -> tuple[dict[Path, datetime], dict[tuple[str, str], datetime]]:
    """When scans were, by file, and sessions, by labels, of ``_scans.tsv`` and ``_sessions.tsv``.

    Raises
    ------
    CorruptInput
        If one of the tables is none.
    """
    scans: dict[Path, datetime] = {}
    sessions: dict[tuple[str, str], datetime] = {}
    for table in sorted((*root.glob("sub-*/*_scans.tsv"), *root.glob("sub-*/ses-*/*_scans.tsv"))):
        for row, moment in _timed(table):
            if row.get("filename"):
                scans[table.parent / row["filename"]] = moment
    for table in sorted(root.glob("sub-*/*_sessions.tsv")):
        subject = table.parent.name.removeprefix("sub-")
        for row, moment in _timed(table):
            sessions[subject, row.get("session_id", "").removeprefix("ses-")] = moment
    return scans, sessions


def _timed(table: Path) -> Iterator[tuple[dict[str, str], datetime]]:
    for row in table_rows(table):
        moment = _moment(row.get("acq_time", ""))
        if moment is not None:
            yield row, moment


def time_of(sidecar: Sidecar) -> datetime | None:
    """When an image was acquired, as far as its sidecar has a date."""
    try:
        whole = sidecar.text("AcquisitionDateTime", "SeriesDateTime")
        day = sidecar.text("AcquisitionDate", "ScanDate", "SeriesDate")
        clock = sidecar.text("AcquisitionTime", "TimeZero", "SeriesTime")
    except ImgTheranosticsError:
        return None
    found = _moment(whole or "")
    if found is None and day is not None:
        found = _moment(f"{day}T{clock}") or _moment(day)
    return found


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None
