"""``study run`` and ``study status``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.study.execution import SubjectStatus
    from imgtheranostics.study.results import StudyStatus
    from imgtheranostics.study.running import Plan

SOME_FAILED = 8
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(MB|GB)$")

Manifest = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Manifest: YAML, or a table with one row per scan.")
]
Into = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results of all subjects.")]
Processes = Annotated[int, typer.Option("--workers", min=1, help="Processes; results do not depend on it.")]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786."),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        "--memory-limit", metavar="SIZE", help="Of all subjects in work together, such as 8GB; default: none."
    ),
]
Analyses = Annotated[
    Path | None,
    typer.Option(
        "--analyses", metavar="FILE.yaml", help="Analyses and questions of a study whose manifest is a table."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and its memory.")]


def run(
    manifest: Manifest,
    out: Into,
    workers: Processes = 1,
    scheduler: Scheduler = None,
    memory_limit: MemoryLimit = None,
    analyses: Analyses = None,
    dry_run: DryRun = False,
    no_report: options.NoReport = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Do all analyses of STUDY that are not done yet; exit code 8 when some subjects failed.

    May be killed and started again: what is done is kept, and only what changed is done anew.
    """
    from imgtheranostics.cli.study_program import CommandLine
    from imgtheranostics.study.manifest_files import read_analyses, read_manifest
    from imgtheranostics.study.runner import Means
    from imgtheranostics.study.running import plan, run_plan, with_analyses

    if scheduler is not None and workers != 1:
        raise typer.BadParameter("belongs to processes of this machine", param_hint="--workers")
    means = Means(workers, scheduler, _bytes(memory_limit), not no_report)
    study = read_manifest(manifest)
    if analyses is not None:
        study = with_analyses(study, read_analyses(analyses))
    program = CommandLine()
    planned = plan(study, manifest, program)
    if dry_run:
        _print_plan(planned, as_json=as_json)
        return
    with _progress(len(planned.subjects), quiet=quiet or as_json) as told:
        status = run_plan(planned, out, program, means, told)
    _finish("study run", status, out, as_json=as_json, quiet=quiet)


def status(
    folder: Annotated[Path, typer.Argument(help="Output folder of study run.")],
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """How many subjects are done, failed and waiting, and why some failed; exit code 8 if any did."""
    from imgtheranostics.study.results import read_status

    _finish("study status", read_status(folder), folder, as_json=as_json, quiet=quiet)


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    match = _MEMORY.match(text.strip())
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not like 8GB or 500MB", param_hint="--memory-limit")
    return int(float(match[1]) * {"MB": 1e6, "GB": 1e9}[match[2]])


def _print_plan(planned: Plan, *, as_json: bool) -> None:
    errors = [str(one.planned.error) if one.planned.error else "" for one in planned.subjects]
    folders = [[job.folder for job in one.planned.jobs] for one in planned.subjects]
    pairs = list(zip(planned.subjects, folders, errors, strict=True))
    if as_json:
        rows = [
            {"subject": one.planned.subject, "jobs": jobs, "memory_bytes": one.memory_bytes, "error": error}
            for one, jobs, error in pairs
        ]
        terminal.print_json({"command": "study run", "dry_run": True, "subjects": rows})
        return
    lines = [
        [
            one.planned.subject,
            str(len(jobs)),
            f"{one.memory_bytes / 1e9:.1f}",
            error or ", ".join(folder.partition("/")[2] for folder in jobs),
        ]
        for one, jobs, error in pairs
    ]
    headings = ["subject", "jobs", "memory GB", "what"]
    terminal.print_table(planned.study.study, headings, lines, {"jobs", "memory GB"})
    typer.echo(f"{len(lines)} subjects, {planned.n_jobs} jobs")


Told = Callable[["SubjectStatus", int, int], None]


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Told]:
    """A bar with the time that is left on a terminal, else a line now and then; all on stderr."""
    if quiet:
        yield lambda status, done, of: None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("subjects"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[failed]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("subjects", total=total, failed="")
        failed = 0

        def told(status: SubjectStatus, done: int, of: int) -> None:
            nonlocal failed
            failed += status.failed
            bar.update(task, completed=done, failed=f"{failed} failed" if failed else "")

        yield told


def _lines(every_s: float = 10.0) -> Told:
    began = last = time.monotonic()

    def told(status: SubjectStatus, done: int, of: int) -> None:
        nonlocal last
        now = time.monotonic()
        if status.failed:
            sys.stderr.write(f"{status.subject} failed: {_reason(status.errors)}\n")
        if now - last >= every_s or done == of:
            left = (now - began) / done * (of - done)
            sys.stderr.write(f"{done} of {of} subjects, about {left:.0f} s left\n")
            last = now

    return told


def _reason(errors: list[dict[str, Any]]) -> str:
    return terminal.visible("; ".join(str(error.get("what")) for error in errors) or "a job before it failed")


def _finish(command: str, found: StudyStatus, out: Path, *, as_json: bool, quiet: bool) -> None:
    terminal.print_cautions(found.warnings, quiet=quiet)
    if as_json:
        content = {"command": command, "study": found.study, "counts": found.counts}
        terminal.print_json({**content, "output": str(out), "subjects": dict(found.subjects)})
    else:
        counts = ", ".join(f"{number} {state}" for state, number in found.counts.items() if number)
        typer.echo(f"{found.study}: {counts or 'no subjects'}")
        for name in found.failed:
            for error in found.subjects[name]["errors"]:
                place = f"{error['job']}: " if error.get("job") else f"{name}: "
                where = f" ({error['where']})" if error.get("where") else ""
                typer.echo(f"  {place}{terminal.visible(str(error.get('what')) + where)}")
    if found.failed:
        raise typer.Exit(SOME_FAILED)
