"""``report``, ``validate`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli import options, terminal

OUTSIDE_TOLERANCE = 9
DEMO_SLUG = "upsn-86y-mouse-pet"
DEMO_HOURS = 24.0


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


def validate(
    slugs: Annotated[
        list[str] | None, typer.Argument(help="Phantoms to run; default: all.", show_default=False)
    ] = None,
    level: Annotated[
        list[int] | None,
        typer.Option("--level", min=0, max=3, help="0 noise-free, 1 noise, 2 point spread too; default 0."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Repeats with different noise.")] = 1,
    out: options.Out = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Make phantoms, load them, quantify them, and compare with the truth; exit code 9 outside tolerance."""
    import pandas as pd

    from imgtheranostics import validation

    tables = [validation.validate(slugs or None, level=number, seeds=seeds) for number in (level or [0])]
    table = pd.concat(tables, ignore_index=True)
    if out is not None:
        _write_validation(table, out, force=force)
    if as_json:
        rows = [
            {key: None if value != value else value for key, value in row.items()}
            for row in table.astype(object).to_dict("records")
        ]
        terminal.print_json({"command": "validate", "rows": rows})
    else:
        numeric = {"truth", "measured", "error", "tolerance", "axis_value"}
        shown = [
            [terminal.number(v) if isinstance(v, float) else str(v) for v in row]
            for row in table.itertuples(index=False)
        ]
        terminal.print_table("", list(table.columns), shown, numeric)
        counts = table["verdict"].value_counts()
        typer.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if (table["verdict"] == "failed").any():
        raise typer.Exit(OUTSIDE_TOLERANCE)


def _write_validation(table: object, out: Path, *, force: bool) -> None:
    import pandas as pd

    from imgtheranostics.io.atomic import output_folder, write_text

    assert isinstance(table, pd.DataFrame)  # noqa: S101
    with output_folder(out, force=force) as folder:
        text = table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
        write_text(folder / "validation.tsv", text)


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
