"""``study report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.study.answers import Answer
    from imgtheranostics.study.reporting import StudyReport

INCOMPLETE = 8


def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of study run.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.html", help="The report; default: report.html in FOLDER."),
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Answer the questions of the manifest from the results in FOLDER; write report.html and answers.tsv.

    Exit code 8 when subjects failed or a question could not be answered: the report says why.
    """
    from imgtheranostics.study.reporting import write_study_report

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter("must end in .html", param_hint="--out")
    found = write_study_report(folder, out)
    terminal.print_cautions(found.cautions, quiet=quiet)
    if as_json:
        terminal.print_json(_content(found))
    elif not quiet:
        _print(found)
    if not found.complete:
        raise typer.Exit(INCOMPLETE)


def _content(found: StudyReport) -> dict[str, object]:
    return {
        "command": "study report",
        "study": found.study,
        "failed": list(found.failed),
        "answers": [row for one in found.answers for row in one.rows()],
        "unanswered": {one.question.name: dict(one.error) for one in found.answers if one.reply is None},
        "files": [str(path) for path in found.files],
    }


def _print(found: StudyReport) -> None:
    if found.answers:
        headings = ["question", "estimate", "interval", "p corrected", "n"]
        terminal.print_table(found.study, headings, [_line(one) for one in found.answers], set(headings[1:]))
    for one in found.answers:
        if one.reply is None:
            typer.echo(f"{one.question.name}: not answered: {terminal.visible(str(one.error.get('what')))}")
    if found.failed:
        typer.echo(f"{len(found.failed)} subjects failed: {', '.join(found.failed)}")
    for path in found.files:
        typer.echo(f"wrote {path}")


def _line(answer: Answer) -> list[str]:
    if answer.reply is None:
        return [answer.question.name, "–", "–", "–", "–"]
    finding = answer.reply.primary
    low, high = finding.interval
    return [
        f"{answer.question.name}: {finding.measure}",
        terminal.number(finding.estimate, 3),
        f"{terminal.number(low, 3)} to {terminal.number(high, 3)}",
        terminal.number(answer.holm_p_value, 2),
        str(finding.n),
    ]
