"""``validate``: truth beside what was measured, by this package or by another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, terminal, validation_table
from imgtheranostics.cli.runs import check_output

if TYPE_CHECKING:
    from imgtheranostics.validation import Validation

OUTSIDE_TOLERANCE = 9
_LEVELS = (0, 1, 2, 3)


def _levels(given: list[str] | None) -> list[int]:
    """Levels from ``--level 0,2 --level 1``, each once, in the order given."""
    parts = [part.strip() for text in given or ["0"] for part in text.split(",")]
    if not all(part in {str(level) for level in _LEVELS} for part in parts):
        raise typer.BadParameter(
            f"{', '.join(given or [])!r} is not a list of levels such as 0,1,2", param_hint="--level"
        )
    return list(dict.fromkeys(int(part) for part in parts))


def validate(
    slugs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Phantoms: slugs or .yaml files; default: all that are shipped.", show_default=False
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            "--level",
            metavar="LEVELS",
            help="0 noise-free, 1 noise, 2 point spread too, 3 motion too; a list such as 0,2; default 0.",
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, max=1000, help="Repeats with different noise: bias and 95 % limits."),
    ] = 1,
    measured: Annotated[
        Path | None,
        typer.Option(
            "--measured",
            metavar="FILE.tsv",
            help="What another tool measured in images of 'phantom make': columns slug, quantity, region, "
            "axis_value, value; optional level, method, unit.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdicts as JUnit XML.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for table, provenance and report.")
    ] = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Make phantoms, write, load and quantify them, compare with the truth; exit code 9 outside tolerance."""
    levels = _levels(level)
    if measured is not None and len(levels) > 1:
        raise typer.BadParameter(
            "one level for the whole table; else give it a column level", param_hint="--level"
        )
    if measured is not None and seeds > 1:
        raise typer.BadParameter("a table of measured values has no seeds", param_hint="--seeds")
    check_output(out, force=force)
    result = _compared(slugs, levels, seeds, measured, pictures=out is not None, quiet=quiet)
    written = _written(result, out, junit, force=force)
    if as_json:
        from imgtheranostics.validation.output import validation_object

        terminal.print_json({**validation_object(result), **({"files": written} if written else {})})
    else:
        typer.echo(validation_table.as_text(result, _width()))
        if written and not quiet:
            typer.echo(f"wrote {', '.join(_named(out, junit))}")
    if not result.passed:
        raise typer.Exit(OUTSIDE_TOLERANCE)


def _compared(
    slugs: list[str] | None,
    levels: list[int],
    seeds: int,
    measured: Path | None,
    *,
    pictures: bool,
    quiet: bool,
) -> Validation:
    from imgtheranostics import validation

    if measured is not None:
        from imgtheranostics.validation.measured import compare_measured

        return compare_measured(measured, slugs or None, level=levels[0])
    return validation.compare_phantoms(
        slugs or None,
        levels,
        seeds=seeds,
        pictures=pictures,
        progress=lambda text: terminal.progress(text, quiet=quiet),
    )


def _written(result: Validation, out: Path | None, junit: Path | None, *, force: bool) -> list[str]:
    """Write what was asked for; the names of the files."""
    from imgtheranostics.validation.junit import write_junit
    from imgtheranostics.validation.output import write_validation

    files: list[Path] = []
    if out is not None:
        files += write_validation(result, out, force=force)
    if junit is not None:
        write_junit(result, junit)
        files.append(junit)
    return [str(path) for path in files]


def _width() -> int:
    """Columns of the terminal; 100 where there is none."""
    from shutil import get_terminal_size

    return get_terminal_size((100, 24)).columns


def _named(out: Path | None, junit: Path | None) -> list[str]:
    return [str(path) for path in (out / "report.html" if out else None, junit) if path is not None]
