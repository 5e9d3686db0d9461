"""``report`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli import options, terminal


def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of an earlier command.")],
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Write report.html again from the tables and maps in FOLDER."""
    from imgtheranostics.report.html import rebuild

    written = rebuild(folder)
    if as_json:
        terminal.print_json({"command": "report", "files": [str(written)]})
    elif not quiet:
        typer.echo(f"wrote {written}")


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for DICOM, results and report.")] = Path(
        "demo-output"
    ),
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """The main job on a phantom mouse: make its PET as DICOM, quantify it, write a report."""
    from imgtheranostics.cli.demonstration import run_demo

    run_demo(out, force=force, as_json=as_json, quiet=quiet)
