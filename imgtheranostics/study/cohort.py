"""The results of a study read back: tables, groups, outcomes, and which number of a subject is meant."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics.errors import CorruptInput, MissingMetadata, NothingUsable, UnitMismatch
from imgtheranostics.study.declared import Declared, read_declared
from imgtheranostics.study.outcomes import OUTCOMES_FILE, Outcomes, read_outcomes
from imgtheranostics.study.questions import EVERY, Measure
from imgtheranostics.study.results import TABLE_FILE, StudyStatus, read_status
from imgtheranostics.study.samples import DoubleArray

PARTICIPANTS_FILE = "participants.tsv"
_MISSING = "n/a"
_SUMMARIES: Mapping[str, Callable[[list[float]], Any]] = {
    "mean": np.mean,
    "median": np.median,
    "maximum": np.max,
}

Cells = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Everything that the folder of a study's results holds.

    Attributes
    ----------
    declared : Declared
    status : StudyStatus
    rows : tuple of mapping
        Of ``quantities.tsv``, as text.
    people : mapping of str to mapping
        Of ``participants.tsv``, by subject; without what is missing.
    outcomes : Outcomes, optional
    """

    declared: Declared
    status: StudyStatus
    rows: tuple[Cells, ...]
    people: Mapping[str, Cells]
    outcomes: Outcomes | None

    @property
    def subjects(self) -> tuple[str, ...]:
        """All of the manifest, also those that failed."""
        return tuple(self.people)

    def group(self, subject: str) -> str:
        """The group of a subject; empty where it has none."""
        return self.people[subject].get("group", "")

    @property
    def groups(self) -> tuple[str, ...]:
        """In sorted order, without subjects that have none."""
        return tuple(sorted({self.group(one) for one in self.people} - {""}))

    def labels(self, name: str, subjects: Iterable[str]) -> list[str | None]:
        """A factor, covariate, group, sex or species of subjects, as text."""
        return [self.people[one].get(name) for one in subjects]

    def covariate(self, name: str, subjects: Sequence[str]) -> DoubleArray:
        """Numbers of subjects, from the manifest or else from the table of outcomes.

        Raises
        ------
        MissingMetadata
            If neither has them.
        """
        if any(name in one for one in self.people.values()):
            return np.array([float(self.people[one].get(name, math.nan)) for one in subjects])
        if self.outcomes is None:
            raise MissingMetadata(f"no subject has a covariate {name!r}", where=PARTICIPANTS_FILE)
        return self.outcomes.numbers(name, subjects)

    def why_missing(self, subject: str) -> str:
        """Why a subject may lack a number, in words; empty where it was done."""
        entry = self.status.subjects.get(subject, {})
        if entry.get("state") == "failed":
            reasons = [str(error.get("what", "")) for error in entry.get("errors", ())]
            return f"failed: {'; '.join(dict.fromkeys(reasons)) or 'a job before it failed'}"
        return "not done yet" if entry.get("state") == "waiting" else ""


@dataclass(frozen=True, slots=True)
class Value:
    """One number of one region of one subject in one session."""

    subject: str
    session: str
    region: str
    value: float


@dataclass(frozen=True, eq=False)
class Chosen:
    """The numbers that a question means.

    Attributes
    ----------
    values : tuple of Value
    unit : str
        UCUM code, one for all.
    left_out : tuple of str
        Who has no number, and why.
    analysis : str
        Which gave them.
    """

    values: tuple[Value, ...]
    unit: str
    left_out: tuple[str, ...]
    analysis: str = ""

    @property
    def several_regions(self) -> bool:
        """Whether a subject has several regions in one session."""
        seen = [(one.subject, one.session) for one in self.values]
        return len(set(seen)) < len(seen)


@dataclass(frozen=True, eq=False)
class PerSubject:
    """One number per subject.

    Attributes
    ----------
    subjects : tuple of str
    values : (n,) ndarray
    unit : str
    n_regions : int
        Regions in all.
    several_regions : bool
    left_out : tuple of str
    """

    subjects: tuple[str, ...]
    values: DoubleArray
    unit: str
    n_regions: int
    several_regions: bool
    left_out: tuple[str, ...]


def read_cohort(output: Path) -> Cohort:
    """Read a folder that ``study run`` wrote.

    Raises
    ------
    NothingUsable
        If it holds no results of a study.
    CorruptInput
        If a table is not what this package writes.
    """
    status = read_status(output)
    declared = read_declared(output)
    rows = _table(
        output / TABLE_FILE, ("subject", "session", "analysis", "region", "quantity", "unit", "mean")
    )
    people = {
        one["participant_id"].removeprefix("sub-"): {
            name: cell for name, cell in one.items() if cell != _MISSING and name != "participant_id"
        }
        for one in _table(output / PARTICIPANTS_FILE, ("participant_id", "group"))
    }
    file = output / OUTCOMES_FILE
    outcomes = read_outcomes(file.read_text(encoding="utf-8"), tuple(people)) if file.is_file() else None
    return Cohort(declared, status, tuple(rows), people, outcomes)


def _table(file: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    if not file.is_file():
        raise NothingUsable(
            "the study has not got so far as to have tables",
            where=str(file),
            next_step="let study run come to its end",
        )
    text = io.StringIO(file.read_text(encoding="utf-8"))
    reader = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = list(reader)
    lacking = [name for name in needed if name not in (reader.fieldnames or ())]
    if lacking or any(None in row or None in row.values() for row in rows):
        raise CorruptInput(
            "a table of the study is damaged",
            where=str(file),
            found=f"no column {', '.join(lacking)}" if lacking else "a row with too many or too few cells",
            next_step="run study run again: what is done is kept",
        )
    return rows


def chosen(cohort: Cohort, measure: Measure) -> Chosen:
    """The numbers that a question means, and who has none.

    Raises
    ------
    NothingUsable
        If no row is meant.
    MissingMetadata
        If several analyses, sessions or points of a curve could be meant.
    UnitMismatch
        If subjects have it in different units.
    """
    rows = [
        row
        for row in cohort.rows
        if row["quantity"] == measure.quantity
        and fnmatchcase(row["region"], measure.region)
        and (measure.analysis is None or row["analysis"] == measure.analysis)
        and (measure.session in (None, EVERY) or row["session"] == measure.session)
    ]
    rows = _at_axis(rows, measure)
    if not rows:
        raise _nothing(cohort, measure)
    analyses = sorted({row["analysis"] for row in rows})
    if len(analyses) > 1:
        raise MissingMetadata(
            f"several analyses give {measure.quantity}",
            where="question",
            found=", ".join(analyses),
            needed="analysis: one of them",
        )
    if measure.session is None:
        _require_one_session(rows)
    unit = "mL" if measure.statistic == "volume_ml" else _one_unit(rows, measure.quantity)
    values, empty = [], []
    for row in rows:
        text = row.get(measure.statistic, _MISSING)
        if text == _MISSING:
            empty.append(f"{row['subject']}: {row['region']} has no value{_flags(row)}")
            continue
        session = "" if row["session"] == _MISSING else row["session"]
        values.append(Value(row["subject"], session, row["region"], float(text)))
    present = {one.subject for one in values} | {row["subject"] for row in rows}
    absent = [
        f"{one}: {cohort.why_missing(one) or f'no {measure.quantity} of a region {measure.region}'}"
        for one in cohort.subjects
        if one not in present
    ]
    return Chosen(tuple(values), unit, (*absent, *empty), analyses[0])


def _at_axis(rows: list[Cells], measure: Measure) -> list[Cells]:
    """Rows of a curve at the place that is asked for, or those that are none of a curve."""
    along = [row for row in rows if row.get("axis_value", _MISSING) != _MISSING]
    if measure.axis_value is not None:
        return [row for row in along if math.isclose(float(row["axis_value"]), measure.axis_value)]
    plain = [row for row in rows if row.get("axis_value", _MISSING) == _MISSING]
    if along and not plain:
        places = sorted({float(row["axis_value"]) for row in along})
        raise MissingMetadata(
            f"{measure.quantity} is a curve",
            where="question",
            found=f"{len(places)} places along {along[0]['axis']}: {places[0]:g} to {places[-1]:g}",
            needed="axis_value: one of them",
        )
    return plain


def _require_one_session(rows: Sequence[Cells]) -> None:
    sessions: dict[str, set[str]] = {}
    for row in rows:
        sessions.setdefault(row["subject"], set()).add(row["session"])
    several = next((found for found in sessions.values() if len(found) > 1), None)
    if several is not None:
        raise MissingMetadata(
            "subjects have several sessions",
            where="question",
            found=", ".join(sorted(several)),
            needed='session: one of them, or "*" where the question takes all',
        )


def _one_unit(rows: Sequence[Cells], quantity: str) -> str:
    units: dict[str, list[str]] = {}
    for row in rows:
        found = units.setdefault(row["unit"], [])
        if row["subject"] not in found:
            found.append(row["subject"])
    if len(units) > 1:
        told = "; ".join(f"{unit}: {', '.join(found[:4])}" for unit, found in units.items())
        raise UnitMismatch(
            f"{quantity} is in different units between subjects",
            where=TABLE_FILE,
            found=told,
            needed="one unit",
            next_step="give all subjects the same options, or name the analysis",
        )
    unit = next(iter(units))
    return "1" if unit == _MISSING else unit


def _flags(row: Cells) -> str:
    flags = row.get("flags", _MISSING)
    return "" if flags == _MISSING else f" ({flags})"


def _nothing(cohort: Cohort, measure: Measure) -> NothingUsable:
    quantities = sorted({row["quantity"] for row in cohort.rows})
    regions = sorted({row["region"] for row in cohort.rows if row["quantity"] == measure.quantity})
    found = f"regions {', '.join(regions)}" if regions else f"quantities {', '.join(quantities) or 'none'}"
    return NothingUsable(
        "no number of the study is meant",
        where="question",
        found=found[:300],
        needed=f"{measure.quantity} of {measure.region}",
        next_step="name a quantity, region, session and analysis as they stand in quantities.tsv",
    )


def per_subject(cohort: Cohort, measure: Measure, found: Chosen | None = None) -> PerSubject:
    """One number per subject: that of its region, or of its lesions as the question declares.

    Raises
    ------
    MissingMetadata
        If subjects have several regions and the question does not say how they become one number; and as
        `chosen`.
    """
    found = chosen(cohort, measure) if found is None else found
    if found.several_regions and measure.lesions is None:
        names = sorted({one.region for one in found.values})
        raise MissingMetadata(
            "several regions of a subject are meant, which are no independent witnesses",
            where="question",
            found=", ".join(names)[:200],
            needed="lesions: mean, median or maximum",
        )
    summary = _SUMMARIES[measure.lesions or "mean"]
    by_subject: dict[str, list[float]] = {}
    for one in found.values:
        by_subject.setdefault(one.subject, []).append(one.value)
    ordered = [one for one in cohort.subjects if one in by_subject]
    return PerSubject(
        subjects=tuple(ordered),
        values=np.array([float(summary(by_subject[one])) for one in ordered]),
        unit=found.unit,
        n_regions=len(found.values),
        several_regions=found.several_regions,
        left_out=found.left_out,
    )


def by_session(cohort: Cohort, measure: Measure) -> tuple[list[Value], Chosen]:
    """One number per subject and session, lesions brought together as the question declares."""
    found = chosen(cohort, measure)
    values: list[Value] = []
    for session in dict.fromkeys(one.session for one in found.values):
        part = Chosen(tuple(one for one in found.values if one.session == session), found.unit, ())
        here = per_subject(cohort, measure, part)
        values += [
            Value(subject, session, measure.region, float(value))
            for subject, value in zip(here.subjects, here.values, strict=True)
        ]
    return values, found
