"""One subject of a study: its jobs one after the other, each result whole or absent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from imgtheranostics.errors import ImgTheranosticsError, OutputError
from imgtheranostics.io.atomic import write_text
from imgtheranostics.study.derivative import place_maps
from imgtheranostics.study.jobs import Job, Outcome, Program, SubjectJobs
from imgtheranostics.study.journal import HASH_FOLDER, JOB_FILE, Hashes, is_done, job_record, key_of

WORK_FOLDER = ".work"
"""Where results are made before they are moved to their place; on the disk of the output."""

State = Literal["done", "kept", "failed", "skipped"]


@dataclass(frozen=True)
class JobStatus:
    """How one job ended.

    Attributes
    ----------
    name, folder : str
        As of the job.
    state : {"done", "kept", "failed", "skipped"}
        Done now; found done before with the same key; failed; or not begun, as a job before it failed.
    error : mapping
        Type, exit code, what, where, found, needed, next of a failure, as the command line prints it.
    """

    name: str
    folder: str
    state: State
    error: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubjectStatus:
    """How the jobs of one subject ended; `error` is of the subject as a whole.

    `descriptions` are of the labels that its maps have in BIDS.
    """

    subject: str
    jobs: tuple[JobStatus, ...] = ()
    error: dict[str, Any] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether anything is missing of the subject."""
        return bool(self.error) or any(job.state in ("failed", "skipped") for job in self.jobs)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Every error with the job that it is of."""
        own = [{"job": "", **self.error}] if self.error else []
        return own + [{"job": job.folder, **job.error} for job in self.jobs if job.error]


def run_subject(
    planned: SubjectJobs, output: Path, program: Program, *, report: bool = True, threads: int | None = None
) -> SubjectStatus:
    """Do what is not done yet of one subject.

    A job whose key stands beside its result is left alone. Any other old result of it is taken away first, so
    that a failure never leaves the number of another input behind. A job that fails does not stop those that
    do not read its result. The maps of what is done get their names in BIDS.

    Parameters
    ----------
    planned : SubjectJobs
    output : Path
        The folder of the study's results.
    program : Program
    report : bool
        Write a report for each job.
    threads : int, optional
        Of each command.

    Raises
    ------
    OutputError
        If the output cannot be written: then no other subject can be, either.
    """
    if planned.error is not None:
        return SubjectStatus(planned.subject, error=described(planned.error))
    hashes = Hashes(output / HASH_FOLDER / f"sub-{planned.subject}.json")
    states: dict[str, JobStatus] = {}
    for job in planned.jobs:
        if any(states[before].state in ("failed", "skipped") for before in job.after):
            _take_away(output / job.folder, output)
            states[job.folder] = JobStatus(job.name, job.folder, "skipped")
            continue
        states[job.folder] = _run(job, output, program, hashes, report, threads)
    with suppress(OutputError):
        hashes.keep()
    return SubjectStatus(
        planned.subject, tuple(states.values()), descriptions=_place(planned, states, output)
    )


def _place(planned: SubjectJobs, states: Mapping[str, JobStatus], output: Path) -> Mapping[str, str]:
    """The maps of what is done under the names of BIDS; of a killed run, the next one makes that whole."""
    done = [folder for folder, one in states.items() if one.state in ("done", "kept")]
    work = _work_folder(output)
    try:
        return place_maps(planned.jobs, done, output, planned.naming, work).descriptions
    except OSError as error:
        raise _refusal(output / f"sub-{planned.subject}", error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(
    job: Job, output: Path, program: Program, hashes: Hashes, report: bool, threads: int | None
) -> JobStatus:
    target = output / job.folder
    try:
        key = key_of(job, output, hashes, report=report)
        if is_done(target, key):
            return JobStatus(job.name, job.folder, "kept")
    except ImgTheranosticsError as error:
        _take_away(target, output)
        return JobStatus(job.name, job.folder, "failed", described(error))
    _take_away(target, output)
    work = _work_folder(output)
    try:
        outcome = program.run(_command_line(job, output, work / "result", report, threads))
        if outcome.exit_code != 0:
            return _failure(job, outcome)
        write_text(work / "result" / JOB_FILE, job_record(job, key))
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / "result").replace(target)
    except OSError as error:
        raise _refusal(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return JobStatus(job.name, job.folder, "done")


def _command_line(job: Job, output: Path, result: Path, report: bool, threads: int | None) -> Sequence[str]:
    line = [*job.command_line(output), "--out", str(result), "--json", "--quiet"]
    if not report:
        line.append("--no-report")
    return line if threads is None else [*line, "--workers", str(threads)]


def _failure(job: Job, outcome: Outcome) -> JobStatus:
    """A full disk or a read-only folder is no failure of the subject."""
    error = dict(outcome.error or {"type": "Failure", "what": f"exit code {outcome.exit_code}"})
    error.setdefault("exit_code", outcome.exit_code)
    if error["exit_code"] == OutputError.exit_code:
        raise OutputError(str(error.get("what")), where=job.folder, found=str(error.get("found", "")) or None)
    return JobStatus(job.name, job.folder, "failed", error)


def described(error: ImgTheranosticsError) -> dict[str, Any]:
    """An error as the command line prints it in JSON."""
    return {"type": type(error).__name__, "exit_code": error.exit_code, **error.parts()}


def _work_folder(output: Path) -> Path:
    try:
        (output / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=output / WORK_FOLDER))
    except OSError as error:
        raise _refusal(output, error) from error


def _take_away(folder: Path, output: Path) -> None:
    """An old result disappears in one rename, before its files are deleted."""
    if not folder.exists():
        return
    work = _work_folder(output)
    try:
        folder.replace(work / "old")
    except OSError as error:
        raise _refusal(folder, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refusal(path: Path, error: OSError) -> OutputError:
    return OutputError(
        "the output of the study cannot be written",
        where=str(path),
        found=error.strerror or type(error).__name__,
        next_step="check free space and permissions; a rerun goes on where this one stopped",
    )
