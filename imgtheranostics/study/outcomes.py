"""The table of outcomes: one row per subject, with what happened to it.

Rows that cannot be used are named and counted; what is missing is never guessed, and a table without the
column of events is never taken as one in which all subjects had the event.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, NothingUsable
from imgtheranostics.io.whole_files import read_text
from imgtheranostics.report.tables import as_tsv
from imgtheranostics.study.samples import DoubleArray

MOST_BYTES = 16 << 20
OUTCOMES_FILE = "outcomes.tsv"
TIME_UNIT = "time_unit"
"""Column with the unit of the times, row by row."""

_SUBJECT_COLUMNS = ("subject", "participant_id")
_ALWAYS = ("response", "time", "event", TIME_UNIT)
_ABSENT = frozenset(("", "n/a", "na", "nan", "none", "missing", "."))
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_MOST_NAMED = 12


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes by subject.

    Attributes
    ----------
    rows : mapping of str to mapping
        Of each subject the cells that are not empty, by column.
    columns : tuple of str
        All but the subject.
    lines : mapping of str to int
        Where each row stands in the table.
    cautions : tuple of Caution
        What was left out, named and counted.
    """

    rows: Mapping[str, Mapping[str, str]]
    columns: tuple[str, ...]
    lines: Mapping[str, int]
    cautions: tuple[Caution, ...] = ()

    def numbers(self, name: str, subjects: Iterable[str]) -> DoubleArray:
        """One column for subjects in the order given; NaN where it has no value. Yes and no are 1 and 0.

        Raises
        ------
        MissingMetadata
            If there is no such column.
        CorruptInput
            If a cell is neither a number nor yes or no.
        """
        self._require(name)
        return np.array([self._number(name, one) for one in subjects], np.float64)

    def texts(self, name: str, subjects: Iterable[str]) -> list[str | None]:
        """One column as it stands; None where it has no value or there is no such column."""
        return [self.rows.get(one, {}).get(name) for one in subjects]

    def _require(self, name: str) -> None:
        if name not in self.columns:
            raise MissingMetadata(
                f"the outcomes have no column {name!r}",
                where=OUTCOMES_FILE,
                found=", ".join(self.columns) or "no column but the subjects",
                needed=name,
                next_step="add the column to the table, or name another one in the question",
            )

    def _number(self, name: str, subject: str) -> float:
        text = self.rows.get(subject, {}).get(name)
        if text is None:
            return math.nan
        value = _value(text)
        if value is None:
            raise CorruptInput(
                f"column {name!r} of the outcomes does not hold a number",
                where=f"{OUTCOMES_FILE}:{self.lines[subject]}",
                found=text[:40],
                needed="a number, yes or no, or n/a where nothing is known",
            )
        return value


@dataclass(frozen=True)
class OutcomeColumns:
    """What a table of outcomes has; no value of it is kept.

    Attributes
    ----------
    names : tuple of str
        All but the subject.
    numeric : tuple of str
        Columns of numbers, or of yes and no.
    yes_or_no : tuple of str
        Those of two values, 0 and 1 or yes and no.
    subjects : frozenset of str
        Labels, without ``sub-``.
    """

    names: tuple[str, ...]
    numeric: tuple[str, ...]
    yes_or_no: tuple[str, ...]
    subjects: frozenset[str] = field(default=frozenset(), repr=False)


def outcome_columns(path: Path) -> OutcomeColumns:
    """The columns of a table of outcomes and what they hold.

    Raises
    ------
    NothingUsable, CorruptInput, UnsupportedInput, MissingMetadata
        As `outcome_text`.
    """
    subject, header, rows = _table(path)
    names = tuple(name for name in header if name != subject)
    values = {
        name: [_value(row[name]) for _, row in rows if row[name].lower() not in _ABSENT] for name in names
    }
    numeric = tuple(name for name in names if values[name] and None not in values[name])
    return OutcomeColumns(
        names,
        numeric,
        tuple(name for name in numeric if set(values[name]) <= {0.0, 1.0}),
        frozenset(row[subject].removeprefix("sub-") for _, row in rows),
    )


def _value(text: str) -> float | None:
    """A number, 1 for yes, 0 for no; None for another word."""
    known = _WORDS.get(text.lower())
    if known is not None:
        return known
    try:
        return float(text)
    except ValueError:
        return None


def outcome_text(path: Path, columns: Collection[str]) -> str:
    """The columns of a table of outcomes that a study reads, as tab-separated text with its lines in place.

    Nothing else of the table is copied: it may say more of a person than the study needs.

    Raises
    ------
    NothingUsable, CorruptInput, UnsupportedInput
        If the file is not there, is no table, or has no rows.
    MissingMetadata
        If it has no column ``subject`` (or ``participant_id``).
    """
    subject, header, rows = _table(path)
    kept = [name for name in header if name in columns or name in _ALWAYS]
    names = ["subject", *kept]
    return as_tsv([{"subject": row[subject], **{name: row[name] for name in kept}} for _, row in rows], names)


def _table(path: Path) -> tuple[str, list[str], list[tuple[int, dict[str, str]]]]:
    """The column of subjects, all columns, and the rows with their lines."""
    if not path.is_file():
        raise NothingUsable("the table of outcomes does not exist", where=str(path))
    text = read_text(path, "a table of outcomes", most_bytes=MOST_BYTES).removeprefix("\ufeff")
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    header, rows = _lines(text, delimiter, str(path))
    subject = next((name for name in _SUBJECT_COLUMNS if name in header), None)
    if subject is None:
        raise MissingMetadata(
            "the outcomes have no column 'subject'",
            where=str(path),
            found=", ".join(header)[:200],
            needed="subject, and any of response, time, event",
        )
    return subject, header, rows


def read_outcomes(text: str, subjects: Sequence[str]) -> Outcomes:
    """Outcomes as `outcome_text` gives them, beside the subjects of the study.

    Rows that repeat a subject count once where they are equal. Where they differ, none of them can be
    believed: the subject then has no outcome.

    Parameters
    ----------
    text : str
    subjects : sequence of str
        With scans.

    Returns
    -------
    Outcomes
        With cautions ``repeated-outcomes``, ``contradicting-outcomes``, ``outcome-without-scan`` and
        ``scan-without-outcome``.
    """
    header, rows = _lines(text, "\t", OUTCOMES_FILE)
    found: dict[str, Mapping[str, str]] = {}
    lines: dict[str, int] = {}
    times: Counter[str] = Counter()
    contradicting: list[str] = []
    for line, row in rows:
        label = row["subject"].removeprefix("sub-")
        if label.lower() in _ABSENT:
            continue
        cells = {
            name: cell for name, cell in row.items() if name != "subject" and cell.lower() not in _ABSENT
        }
        times[label] += 1
        if label in found and found[label] != cells:
            contradicting.append(label)
        found.setdefault(label, cells)
        lines.setdefault(label, line)
    contradicting = list(dict.fromkeys(contradicting))
    repeated = [name for name, count in times.items() if count > 1 and name not in contradicting]
    known = set(subjects)
    cautions = (
        *_caution("repeated-outcomes", "stand twice in the table of outcomes, with equal rows", repeated),
        *_caution(
            "contradicting-outcomes",
            "stand twice in the table of outcomes with different values and are used with neither",
            contradicting,
        ),
        *_caution(
            "outcome-without-scan",
            "have an outcome, but no scan in the study",
            [one for one in found if one not in known],
        ),
        *_caution(
            "scan-without-outcome",
            "have scans, but no row in the table of outcomes",
            [one for one in subjects if one not in found],
        ),
    )
    usable = {one: row for one, row in found.items() if one in known and one not in contradicting}
    return Outcomes(usable, tuple(name for name in header if name != "subject"), lines, cautions)


def _caution(code: str, words: str, subjects: Sequence[str]) -> tuple[Caution, ...]:
    if not subjects:
        return ()
    named = ", ".join(subjects[:_MOST_NAMED])
    more = f" and {len(subjects) - _MOST_NAMED} more" if len(subjects) > _MOST_NAMED else ""
    count = "1 subject" if len(subjects) == 1 else f"{len(subjects)} subjects"
    if len(subjects) == 1:
        words = (
            words.replace("have ", "has ", 1).replace("stand ", "stands ", 1).replace("are used", "is used")
        )
    return (Caution(code, f"{count} {words}: {named}{more}", OUTCOMES_FILE),)


def _lines(text: str, delimiter: str, where: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        header = [(name or "").strip() for name in reader.fieldnames or ()]
        twice = [name for name, count in Counter(header).items() if count > 1]
        if twice:
            raise CorruptInput(
                "a column of the outcomes stands twice", where=f"{where}:1", found=", ".join(twice)
            )
        reader.fieldnames = header
        for row in reader:
            if None in row or None in row.values():
                raise CorruptInput(
                    "a row of the outcomes has another number of cells than the heading",
                    where=f"{where}:{reader.line_num}",
                    needed=f"{len(header)} cells",
                )
            rows.append((reader.line_num, {name: cell.strip() for name, cell in row.items()}))
    except csv.Error as error:
        raise CorruptInput(
            "the outcomes are no table", where=f"{where}:{reader.line_num}", found=str(error)
        ) from None
    if not rows:
        raise NothingUsable("the table of outcomes has no rows", where=where)
    return header, rows
