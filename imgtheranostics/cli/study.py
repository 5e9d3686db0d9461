"""``study`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import study_align, study_init, study_report, study_run

app = typer.Typer(
    help="Many subjects and sessions: one manifest, one command, one table.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("init")(study_init.init)
app.command("run")(study_run.run)
app.command("status")(study_run.status)
app.command("report")(study_report.report)
app.command("align")(study_align.align)
