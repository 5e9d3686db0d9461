"""``report``, ``validate`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    import pandas as pd

OUTSIDE_TOLERANCE = 9


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
    from imgtheranostics import validation

    table = validation.validate(slugs or None, level=level or [0], seeds=seeds)
    if out is not None:
        _write_validation(table, out, force=force)
    if as_json:
        terminal.print_json({"command": "validate", "passed": table.attrs["passed"], "rows": _plain(table)})
    else:
        _print_validation(table)
    if not table.attrs["passed"]:
        raise typer.Exit(OUTSIDE_TOLERANCE)


def _plain(table: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {str(key): None if value != value else value for key, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def _print_validation(table: pd.DataFrame) -> None:
    headings = (
        "phantom",
        "level",
        "quantity",
        "region",
        "at",
        "truth",
        "measured",
        "error",
        "tolerance",
        "verdict",
    )
    columns = ("slug", "level", "quantity", "region", "axis_value", "truth", "measured", "error", "tolerance")
    rows = []
    for row in table.to_dict("records"):
        cells = [terminal.number(row[c]) if isinstance(row[c], float) else str(row[c]) for c in columns]
        method = "" if row["method"] in ("mean", "") else f" ({row['method']})"
        cells[2] += method
        verdict = str(row["verdict"]) + (" *" if "memory" in str(row["provenance"]) else "")
        rows.append([*cells, verdict])
    terminal.print_table("", headings, rows, {"at", "truth", "measured", "error", "tolerance"})
    for slug, note in dict.fromkeys(zip(table["slug"], table["note"], strict=True)):
        if note:
            typer.echo(f"{slug}: {note}")
    if table["provenance"].astype(str).str.contains("memory").any():
        typer.echo("* the truth of this row is a placeholder (source: memory), not a published value")
    counts = table["verdict"].value_counts()
    typer.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _write_validation(table: pd.DataFrame, out: Path, *, force: bool) -> None:
    from imgtheranostics.io.atomic import output_folder, write_text

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
