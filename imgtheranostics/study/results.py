"""The folder of a study's results: its lock, its status, and the tables of all subjects."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtheranostics._version import VERSION
from imgtheranostics.errors import Caution, CorruptInput, NothingUsable, OutputError
from imgtheranostics.io.atomic import check_folder, write_text
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.report.plain import as_json
from imgtheranostics.report.tables import COLUMN_DESCRIPTIONS, as_tsv
from imgtheranostics.study.bids_names import Naming
from imgtheranostics.study.dataset_files import DESCRIPTION_FILE, description
from imgtheranostics.study.execution import WORK_FOLDER, SubjectStatus
from imgtheranostics.study.jobs import SubjectJobs
from imgtheranostics.study.manifest import Study

STATUS_FILE = "status.json"
TABLE_FILE = "quantities.tsv"
_LOCK_FILE = ".lock"
COLUMNS = ("subject", "session", "analysis", *STATISTICS_COLUMNS[2:])
"""Of the table of all subjects."""


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes
    ----------
    study : str
    subjects : mapping of str to mapping
        Of each subject its ``state`` (``done``, ``failed``, ``waiting``), its ``jobs`` (folder and state)
        and its ``errors``.
    warnings : tuple of Caution
    """

    study: str
    subjects: Mapping[str, Mapping[str, Any]]
    warnings: tuple[Caution, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Subjects by state."""
        states = [str(one["state"]) for one in self.subjects.values()]
        return {state: states.count(state) for state in ("done", "failed", "waiting")}

    @property
    def failed(self) -> list[str]:
        """Subjects of which something is missing."""
        return [name for name, one in self.subjects.items() if one["state"] == "failed"]


@contextmanager
def study_folder(output: Path) -> Iterator[None]:
    """The folder made ready and kept for one run at a time.

    Raises
    ------
    OutputError
        If it holds something else than results of a study, cannot be written, or another run is at work.
    """
    if not (output / DESCRIPTION_FILE).is_file():
        check_folder(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with (output / _LOCK_FILE).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    "another run is at work in this folder",
                    where=str(output),
                    next_step="wait for it, or choose another --out",
                ) from None
            shutil.rmtree(output / WORK_FOLDER, ignore_errors=True)
            if not (output / DESCRIPTION_FILE).is_file():
                write_text(output / DESCRIPTION_FILE, as_json(description(output, "", Naming())))
            yield
            shutil.rmtree(output / WORK_FOLDER, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            "the output folder cannot be written",
            where=str(output),
            found=error.strerror or type(error).__name__,
            next_step="check free space and permissions, or choose another --out",
        ) from error


def write_status(
    output: Path,
    study: str,
    subjects: Sequence[SubjectJobs],
    ended: Mapping[str, SubjectStatus],
    warnings: Sequence[Caution] = (),
) -> StudyStatus:
    """What is done, failed and waiting, in one file that is replaced as a whole."""
    entries = {one.subject: _entry(one, ended.get(one.subject)) for one in subjects}
    status = StudyStatus(study, entries, tuple(warnings))
    content = {
        "study": study,
        "version": VERSION,
        "counts": status.counts,
        "warnings": [{"code": one.code, "message": one.message, "where": one.where} for one in warnings],
        "subjects": entries,
    }
    write_text(output / STATUS_FILE, as_json(content))
    return status


def _entry(planned: SubjectJobs, ended: SubjectStatus | None) -> dict[str, Any]:
    """A result that was kept is as good as one that was made now."""
    if ended is None:
        return {"state": "waiting", "jobs": {job.folder: "waiting" for job in planned.jobs}, "errors": []}
    jobs = {job.folder: "done" if job.state == "kept" else job.state for job in ended.jobs}
    return {"state": "failed" if ended.failed else "done", "jobs": jobs, "errors": ended.errors}


def read_status(output: Path) -> StudyStatus:
    """The status of a study's results.

    Raises
    ------
    NothingUsable
        If the folder holds no results of a study.
    CorruptInput
        If the status cannot be read.
    """
    file = output / STATUS_FILE
    if not file.is_file():
        raise NothingUsable(
            "the folder holds no results of a study", where=str(output), needed=f"a {STATUS_FILE}"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        warnings = tuple(Caution(one["code"], one["message"], one["where"]) for one in content["warnings"])
        return StudyStatus(str(content["study"]), dict(content["subjects"]), warnings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptInput(
            "the status of the study cannot be read", where=str(file), found=type(error).__name__
        ) from error


def write_tables(output: Path, study: Study, ended: Mapping[str, SubjectStatus]) -> tuple[Caution, ...]:
    """All rows of all subjects in one table, and the subjects in another.

    Returns
    -------
    tuple of Caution
        ``mixed-units`` where subjects have a quantity in different units: such rows cannot be compared.
    """
    rows: list[dict[str, Any]] = []
    for subject in study.subjects:
        for job in ended[subject.id].jobs if subject.id in ended else ():
            if job.state in ("done", "kept"):
                rows += _rows(output / job.folder / TABLE_FILE, subject.id, job.folder, job.name)
    return write_rows(output, study, rows)


def write_rows(output: Path, study: Study, rows: Sequence[Mapping[str, Any]]) -> tuple[Caution, ...]:
    """The tables of `write_tables` from rows with the keys of `COLUMNS`."""
    write_text(output / TABLE_FILE, as_tsv([dict(row) for row in rows], COLUMNS))
    described = {"analysis": ("", "name of the analysis in the manifest"), **COLUMN_DESCRIPTIONS}
    columns = {name: {"Description": text, "Units": unit} for name, (unit, text) in described.items()}
    write_text(output / "quantities.json", as_json(columns))
    write_participants(output, study)
    return _mixed_units(rows)


def _rows(file: Path, subject: str, folder: str, analysis: str) -> list[dict[str, Any]]:
    """The rows of one job under the labels of the manifest."""
    if not file.is_file():
        return []
    session = next((part[4:] for part in folder.split("/") if part.startswith("ses-")), "")
    reader = csv.DictReader(
        io.StringIO(file.read_text(encoding="utf-8")), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    return [
        {
            "subject": subject,
            "session": session or row.get("session", ""),
            "analysis": analysis,
            **{name: row.get(name) for name in COLUMNS[3:]},
        }
        for row in reader
    ]


def write_participants(output: Path, study: Study) -> None:
    """The subjects as the manifest describes them; scans that were moved into the folder are read with it."""
    covariates = sorted({name for subject in study.subjects for name in subject.covariates})
    factors = sorted({name for subject in study.subjects for name in subject.factors} - set(covariates))
    rows = [
        {
            "participant_id": f"sub-{one.id}",
            "group": one.group or None,
            "species": one.species,
            "sex": one.sex,
            "weight": one.weight,
            **{name: one.covariates.get(name) for name in covariates},
            **{name: one.factors.get(name) for name in factors},
        }
        for one in study.subjects
    ]
    write_text(output / "participants.tsv", as_tsv(rows, list(rows[0])))
    columns = {
        "participant_id": {"Description": "subject of the study, a pseudonym"},
        "group": {"Description": "group of the study"},
        "species": {"Description": "species of the subject"},
        "sex": {"Description": "sex of the subject", "Levels": {"F": "female", "M": "male", "O": "other"}},
        "weight": {"Description": "body weight", "Units": "kg"},
        **{name: {"Description": "covariate of the manifest"} for name in covariates},
        **{name: {"Description": "factor of the manifest"} for name in factors},
    }
    write_text(output / "participants.json", as_json(columns))


def _mixed_units(rows: Sequence[Mapping[str, Any]]) -> tuple[Caution, ...]:
    units: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        key = (str(row["analysis"]), str(row["quantity"]))
        units.setdefault(key, {}).setdefault(str(row["unit"]), str(row["subject"]))
    return tuple(
        Caution(
            "mixed-units",
            f"{quantity} of {analysis} is in "
            + ", ".join(f"{unit} ({subject} first)" for unit, subject in found.items())
            + ": these rows cannot be compared",
            quantity,
        )
        for (analysis, quantity), found in units.items()
        if len(found) > 1
    )
