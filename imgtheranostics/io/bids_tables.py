"""Tables of a BIDS dataset: who the participants are, and when sessions and scans were."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
_IDENTIFYING = re.compile(
    r"(?:^|_)(?:id|ids|mrn|ssn|dob|phone|zip|zipcode|postcode|name|names|surname|initials|address|email|"
    r"accession|date)$|birth|(?:patient|case|hospital|record|chart|file)_?(?:number|nr|no|code|key)(?:$|_)"
)
"""Names of columns that tell who somebody is."""
_IDENTIFYING_DIGITS = 10_000
"""Whole numbers from here on that differ between all participants may be those of their records."""
_FEWEST_ALIKE = 2
"""Participants of each level of a factor: a word that only one has tells who it is, and compares nothing."""
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
    factors: dict[str, str] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()


def read_participants(root: Path) -> dict[str, Participant]:
    """Participants of a dataset by label; none where it has no table.

    Columns of numbers become covariates, named with the unit that the table's description states, and columns
    of words factors where at least two participants have each word. Columns that may tell who somebody is are
    neither: see `unused_columns`.

    Raises
    ------
    CorruptInput, ImplausibleValue
        If the table is none, or a weight or height is no positive number.
    """
    table = root / "participants.tsv"
    if not table.is_file():
        return {}
    units = column_units(table.with_suffix(".json"))
    rows = _lower_rows(table)
    kinds = {name: _kind(name, rows, units) for name in _free_columns(rows)}
    return {
        row["participant_id"].removeprefix("sub-"): _participant(row, units, kinds, table)
        for row in rows
        if row.get("participant_id")
    }


def unused_columns(root: Path) -> tuple[str, ...]:
    """Columns of ``participants.tsv`` that have values, but are neither covariates nor factors."""
    table = root / "participants.tsv"
    if not table.is_file():
        return ()
    units, rows = column_units(table.with_suffix(".json")), _lower_rows(table)
    return tuple(
        name
        for name in _free_columns(rows)
        if not _kind(name, rows, units) and any(row[name].lower() not in _ABSENT for row in rows)
    )


def _lower_rows(table: Path) -> list[dict[str, str]]:
    return [{key.strip().lower(): value.strip() for key, value in row.items()} for row in table_rows(table)]


def _free_columns(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return [name for name in (rows[0] if rows else {}) if name not in _NO_COVARIATES]


def _kind(name: str, rows: Sequence[Mapping[str, str]], units: Mapping[str, Any]) -> str:
    """``covariate``, ``factor``, or nothing for a column of names, remarks or identifiers."""
    given = [row[name] for row in rows if row[name].lower() not in _ABSENT]
    if not given or _IDENTIFYING.search(name):
        return ""
    numbers = [_number(text) for text in given]
    if None not in numbers:
        distinct = len(set(numbers)) == len(numbers) > 1
        large = all(
            value is not None and value >= _IDENTIFYING_DIGITS and value == int(value) for value in numbers
        )
        return "" if distinct and large and not units.get(name) else "covariate"
    counts = Counter(given)
    is_factor = len(counts) > 1 and min(counts.values()) >= _FEWEST_ALIKE
    return "factor" if is_factor else ""


def _participant(
    row: dict[str, str], units: dict[str, Any], kinds: Mapping[str, str], table: Path
) -> Participant:
    weight, weight_cautions = body_measure(row, "weight", units, MASS_KG, table)
    height, height_cautions = body_measure(row, "height", units, LENGTH_M, table)
    unsure = [name for name, found in (("weight", weight_cautions), ("height", height_cautions)) if found]
    group = next((row[name] for name in _GROUP_COLUMNS if row.get(name, "").lower() not in _ABSENT), "")
    species = row.get("species", "")
    covariates = {
        _covariate_name(name, units.get(name, "")): value
        for name, kind in kinds.items()
        if kind == "covariate" and (value := _number(row[name])) is not None
    }
    factors = {
        _covariate_name(name, ""): row[name]
        for name, kind in kinds.items()
        if kind == "factor" and row[name].lower() not in _ABSENT
    }
    return Participant(
        group=group,
        sex=_SEXES.get((row.get("sex") or row.get("gender") or "").lower()),
        species=species if species.lower() not in _ABSENT else None,
        weight_kg=weight,
        height_m=height,
        covariates=covariates,
        factors=factors,
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
