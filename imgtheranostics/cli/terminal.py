"""What a person sees: tables on stdout, warnings, progress and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imgtheranostics.errors import Caution, ImgTheranosticsError

if TYPE_CHECKING:
    import pandas as pd

_LONG_S = 7200.0
_REGION = "region "
_HEADINGS = {"where": "where", "found": "found", "needed": "needed", "next": "what to do"}


def print_error(error: ImgTheranosticsError, *, as_json: bool, show_traceback: bool) -> None:
    """One block on stderr: what, where, found and needed, what to do; and JSON on stdout if asked for."""
    if show_traceback:
        traceback.print_exception(error)
    parts = error.parts()
    lines = [f"error: {type(error).__name__}: {visible(parts.pop('what'))}"]
    lines += [f"  {_HEADINGS[name] + ':':<12}{visible(text)}" for name, text in parts.items()]
    sys.stderr.write("\n".join(lines) + "\n")
    if as_json:
        fault = {"type": type(error).__name__, "exit_code": error.exit_code, **error.parts()}
        print_json({"error": fault})


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on stdout, strict (no NaN); file names that are no text keep their bytes as escapes."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, indent=2)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")


def visible(text: str) -> str:
    """The text on one line, with control characters of file names and headers as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def print_cautions(cautions: Iterable[Caution], *, quiet: bool) -> None:
    """Each warning once, on stderr, with the regions of which it is said."""
    if quiet:
        return
    regions: dict[tuple[str, str], list[str]] = {}
    for one in cautions:
        named = regions.setdefault((visible(one.message), one.code), [])
        region = visible(one.where.removeprefix(_REGION)) if one.where.startswith(_REGION) else ""
        if region and region not in one.message and region not in named:
            named.append(region)
    for (message, code), named in regions.items():
        where = f"{_REGION.strip()}{'s' if len(named) > 1 else ''} {', '.join(named)}: " if named else ""
        text = f"warning: {where}{message} [{code}]"
        sys.stderr.write(textwrap.fill(text, width=_width(), subsequent_indent="  ") + "\n")


def progress(text: str, *, quiet: bool) -> None:
    """A line about what is being done, on stderr."""
    if not quiet and sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


def print_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: set[str]
) -> None:
    """A table for people, with numbers to the right; colour only where the terminal has it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in numeric else "left", no_wrap=heading in numeric
        )
    for row in rows:
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(
        table
    )


def print_quantities(table: pd.DataFrame) -> None:
    """The headline of a run: region, quantity, mean with its standard error, spread and size."""
    with_axis = bool((table["axis"] != "").any())
    headings = ["region", "quantity", *(["axis"] if with_axis else []), "mean", "±SE", "unit"]
    headings += ["median", "min", "max", "n", "mL"]
    rows = []
    largest = table["mean"].abs().groupby(table["quantity"]).max()
    for record in table.to_dict("records"):
        row, unit = _for_readers(record, float(largest[record["quantity"]]))
        place = f"{row['axis']} {_axis_value(row)}" if row["axis"] else ""
        axis = [place] if with_axis else []
        rows.append(
            [
                *(str(row["region"]), str(row["quantity"]), *axis),
                *(number(row["mean"]), number(row["standard_error"], 2), unit),
                *(number(row["median"]), number(row["min"]), number(row["max"])),
                *(_voxels(row["n_valid"], row["n_voxels"]), number(row["volume_ml"])),
            ]
        )
    print_table("", headings, rows, {"mean", "±SE", "median", "min", "max", "n", "mL"})


def _for_readers(row: Mapping[Any, Any], largest: float) -> tuple[Mapping[Any, Any], str]:
    """Half-lives and areas of curves in hours or days, as they are read; everything else as it is."""
    from imgtheranostics.report.wording import readers_unit

    step, words = readers_unit(str(row["quantity"]), str(row["unit"]), largest)
    if step == 1.0:
        return row, str(row["unit"])
    names = ("mean", "standard_error", "median", "min", "max")
    return {**row, **{name: row[name] / step for name in names}}, words


def _axis_value(row: Mapping[Any, Any]) -> str:
    """Where a row stands along its axis; long times in hours and days."""
    from imgtheranostics.report.wording import duration

    value = float(row["axis_value"])
    return duration(value) if row["axis"] == "time" and value > _LONG_S else f"{value:g}"


def _voxels(n_valid: float, n_voxels: float) -> str:
    return "–" if n_voxels != n_voxels else f"{n_valid:.0f}/{n_voxels:.0f}"


def number(value: float, digits: int = 4) -> str:
    """A number for people: a few significant digits, a dash where there is none."""
    return "–" if value != value else f"{value:.{digits}g}"


def _width() -> int:
    try:
        return min(110, os.get_terminal_size(sys.stderr.fileno()).columns)
    except (OSError, ValueError):
        return 110
