"""Manifests read and written: YAML, or a table with one row per scan."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.io.whole_files import read_text
from imgtheranostics.study.manifest import Analyses, Study, absolute
from imgtheranostics.yaml_lines import Document, KeyPath, read

MOST_BYTES = 16 << 20
"""Of a manifest: 5,000 scans take one or two."""

_KINDS: dict[str, type[ImgTheranosticsError]] = {
    "unit": UnitMismatch,
    "missing": MissingMetadata,
    "greater_than_equal": ImplausibleValue,
    "greater_than": ImplausibleValue,
}
OPEN = "ask"
"""The value of an entry that a person has to answer."""
_MOST_NAMED = 12
_WRONG = "the manifest is not valid"
_SUBJECT_COLUMNS = ("group", "species", "sex", "weight", "height")
_ADMINISTRATION = "administration_"
_ADMINISTERED = {
    "activity": "Bq",
    "residual": "Bq",
    "infiltrated": "Bq",
    "delay": "s",
    "mass": "mg",
    "mass_per_weight": "mg/kg",
}
_COVARIATE = "covariate_"
_FACTOR = "factor_"
_PLAIN_COLUMNS = frozenset(
    ("study", "agent", "subject", "session", "date", "role", "path", "series", "regions", "drawn_on")
)
_NEEDED = ("subject", "session", "date", "role", "path")
_ABSENT = ("", "n/a")


def read_manifest(path: str | Path) -> Study:
    """A study from its manifest, YAML (``.yaml``, ``.yml``) or a table (``.tsv``, ``.csv``).

    A table has one row per scan and the columns ``subject session date role path``, and, where wanted,
    ``series regions drawn_on group species sex weight height study agent``, ``administration_activity`` and
    the like, ``covariate_...`` and ``factor_...``. What belongs to a subject or session must be the same in
    all its rows, or stand in one of them. A table holds no analyses: they are given beside it.

    Raises
    ------
    NothingUsable
        If there is no such file, or a scan or region file that it names is not there.
    CorruptInput, MissingMetadata, UnitMismatch, ImplausibleValue
        If the manifest is not valid, with its line: unknown keys, labels that stand twice, a session without
        date, an amount without unit.
    """
    path = Path(path)
    if path.suffix.lower() in (".tsv", ".csv"):
        document = _table(path)
    else:
        document = read(path, subject="manifest", most_bytes=MOST_BYTES)
    asked = _open_questions(document.content)
    _refuse_open([(_readable(place, document.content), document.place(place)) for place in asked])
    study = document.validated(Study, _WRONG, kinds=_KINDS)
    _check_files(study, document, path)
    return study


def read_analyses(path: str | Path) -> Analyses:
    """Analyses and questions from a YAML file, for a manifest that is a table.

    Raises
    ------
    NothingUsable, CorruptInput, MissingMetadata
        As `read_manifest`.
    """
    document = read(path, subject="file of analyses")
    return document.validated(Analyses, "the analyses are not valid", kinds=_KINDS)


def manifest_text(study: Study) -> str:
    """The manifest as YAML that `read_manifest` reads."""
    import yaml

    content = study.model_dump(mode="json", exclude_defaults=True)
    for subject in content["subjects"]:
        _with_units(subject, {"weight": "kg", "height": "m"})
        for session in subject["sessions"]:
            _with_units(session.get("administration", {}), _ADMINISTERED)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _with_units(entry: dict[str, Any], units: Mapping[str, str]) -> None:
    for key, unit in units.items():
        if entry.get(key) is not None:
            entry[key] = f"{entry[key]!r} {unit}"


def _open_questions(content: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Where the manifest still has the value ``ask``, of which `study init` makes its questions."""
    if isinstance(content, str):
        if content == OPEN:
            yield path
        return
    if isinstance(content, Mapping):
        for key, value in content.items():
            if str(key) == OPEN:
                yield (*path, str(key))
            yield from _open_questions(value, (*path, str(key)))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _open_questions(value, (*path, number))


def _refuse_open(questions: list[tuple[str, str]]) -> None:
    """Refuse a manifest with open questions, each with its place."""
    if not questions:
        return
    more = f" and {len(questions) - _MOST_NAMED} more" if len(questions) > _MOST_NAMED else ""
    raise MissingMetadata(
        "the manifest has open questions",
        where=questions[0][1],
        found="; ".join(f"{name} ({place})" for name, place in questions[:_MOST_NAMED]) + more,
        needed=f"an answer in place of each {OPEN}",
        next_step="see the lines with ASK above them; delete the entries that are not wanted",
    )


def _readable(path: KeyPath, content: object) -> str:
    """A key path with the labels of subjects and sessions in place of their numbers."""
    words: list[str] = []
    here: Any = content
    for part in path:
        here = here.get(part) if isinstance(here, Mapping) else here[part] if isinstance(part, int) else None
        is_named = isinstance(part, int) and isinstance(here, Mapping)
        words.append(str(here.get("id") or here.get("name") or part) if is_named else str(part))
    return ".".join(words)


def _check_files(study: Study, document: Document, manifest: Path) -> None:
    """Refuse the first file that is not there; which others are missing is counted."""
    named: list[tuple[KeyPath, str]] = []
    for i, subject in enumerate(study.subjects):
        for j, session in enumerate(subject.sessions):
            here = ("subjects", i, "sessions", j)
            named += [((*here, "scans", role), scan.path) for role, scan in session.scans.items()]
            if session.regions is not None:
                named.append(((*here, "regions"), session.regions.path))
    if study.outcomes is not None:
        named.append((("outcomes",), study.outcomes))
    missing = [(place, path) for place, path in named if not absolute(path, manifest).exists()]
    if missing:
        place, path = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NothingUsable(
            "a file of the study does not exist",
            where=document.place(place),
            found=path + more,
            needed="paths relative to the manifest's folder",
        )


def _table(path: Path) -> Document:
    """The rows as the mapping that YAML would give, with the line of each subject, session and scan."""
    if not path.is_file():
        raise NothingUsable("the manifest does not exist", where=str(path))
    text = read_text(path, "a manifest", most_bytes=MOST_BYTES)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), delimiter=delimiter, strict=True)
    columns = [name or "" for name in reader.fieldnames or ()]
    _check_columns(columns, path)
    lines: dict[KeyPath, int] = {}
    rows = _Rows(path, lines)
    asked: list[tuple[str, str]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise CorruptInput(
                    _WRONG, where=f"{path}:{reader.line_num}", needed=f"{len(columns)} columns"
                )
            cells = {key: value.strip() for key, value in row.items()}
            asked += [(name, f"{path}:{reader.line_num}") for name, value in cells.items() if value == OPEN]
            if not asked:
                rows.add(cells, reader.line_num)
    except csv.Error as error:
        raise CorruptInput(
            "the manifest is no table", where=f"{path}:{reader.line_num}", found=str(error)
        ) from None
    _refuse_open(asked)
    return Document(rows.content(), str(path), lines)


def _check_columns(columns: list[str], path: Path) -> None:
    known = _PLAIN_COLUMNS | set(_SUBJECT_COLUMNS)
    for name in _NEEDED:
        if name not in columns:
            raise MissingMetadata(
                f"the manifest has no column {name!r}", where=str(path), needed=", ".join(_NEEDED)
            )
    for name in columns:
        if columns.count(name) > 1:
            raise CorruptInput("a column of the manifest stands twice", where=str(path), found=name)
        if name not in known and not name.startswith((_ADMINISTRATION, _COVARIATE, _FACTOR)):
            raise CorruptInput(
                "a column of the manifest is not known",
                where=str(path),
                found=name,
                needed=", ".join(
                    (*sorted(known), *(f"{one}..." for one in (_ADMINISTRATION, _COVARIATE, _FACTOR)))
                ),
            )


class _Rows:
    """Rows gathered into subjects and sessions."""

    def __init__(self, path: Path, lines: dict[KeyPath, int]) -> None:
        self._path = path
        self._lines = lines
        self._top: dict[str, Any] = {}
        self._subjects: dict[str, dict[str, Any]] = {}
        self._sessions: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, row: Mapping[str, str], line: int) -> None:
        given = {key: value for key, value in row.items() if value not in _ABSENT}
        if not given:
            return
        for name in ("subject", "session", "role", "path"):
            if name not in given:
                raise MissingMetadata(
                    _WRONG, where=f"{self._path}:{line}", needed=f"a value in the column {name}"
                )
        for key, name in (("study", "study"), ("agent", "agent")):
            self._set(self._top, key, given.get(name), line)
        subject = self._subject(given, line)
        session = self._session(given, subject, line)
        role = given["role"]
        if role in session["scans"]:
            raise CorruptInput(
                "a scan of the manifest stands twice",
                where=f"{self._path}:{line}",
                found=f"{given['subject']}, {given['session']}, {role}",
                needed="each role once in a session",
            )
        place = self._place(given["subject"], given["session"])
        self._lines[*place, "scans", role] = line
        session["scans"][role] = {"path": given["path"], **self._if_given(given, "series")}

    def content(self) -> dict[str, Any]:
        study = {"study": self._path.stem, **self._top}
        return {**study, "subjects": list(self._subjects.values())}

    def _subject(self, given: Mapping[str, str], line: int) -> dict[str, Any]:
        label = given["subject"].removeprefix("sub-")
        if label not in self._subjects:
            self._lines["subjects", len(self._subjects)] = line
            self._subjects[label] = {"id": label, "covariates": {}, "factors": {}, "sessions": []}
        subject = self._subjects[label]
        for key in _SUBJECT_COLUMNS:
            self._set(subject, key, given.get(key), line)
        for key, value in given.items():
            if key.startswith(_COVARIATE):
                self._set(subject["covariates"], key.removeprefix(_COVARIATE), value, line)
            elif key.startswith(_FACTOR):
                self._set(subject["factors"], key.removeprefix(_FACTOR), value, line)
        return subject

    def _session(self, given: Mapping[str, str], subject: dict[str, Any], line: int) -> dict[str, Any]:
        label = given["session"].removeprefix("ses-")
        key = (subject["id"], label)
        if key not in self._sessions:
            self._sessions[key] = {"id": label, "scans": {}}
            subject["sessions"].append(self._sessions[key])
            self._lines[self._place(*key)] = line
        session = self._sessions[key]
        self._set(session, "date", given.get("date"), line)
        if "regions" in given:
            session.setdefault("regions", {})
            self._set(session["regions"], "path", given["regions"], line)
            self._set(session["regions"], "drawn_on", given.get("drawn_on"), line)
        for name, value in given.items():
            if name.startswith(_ADMINISTRATION):
                entry = session.setdefault("administration", {})
                self._set(entry, name.removeprefix(_ADMINISTRATION), value, line)
        return session

    def _place(self, subject: str, session: str) -> KeyPath:
        label = subject.removeprefix("sub-")
        number = list(self._subjects).index(label)
        sessions = [one["id"] for one in self._subjects[label]["sessions"]]
        return ("subjects", number, "sessions", sessions.index(session.removeprefix("ses-")))

    def _set(self, entry: dict[str, Any], key: str, value: str | None, line: int) -> None:
        if value is None:
            return
        if entry.setdefault(key, value) != value:
            raise CorruptInput(
                f"the manifest says two things of {key}",
                where=f"{self._path}:{line}",
                found=f"{value}, and {entry[key]} before",
                needed="one value for a subject or session",
            )

    @staticmethod
    def _if_given(given: Mapping[str, str], *names: str) -> dict[str, str]:
        return {name: given[name] for name in names if name in given}
