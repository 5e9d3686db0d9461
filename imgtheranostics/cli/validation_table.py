"""The table of `validate` for a terminal: 100 columns hold it, one block per phantom, level and quantity."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgtheranostics.cli.terminal import number, visible

if TYPE_CHECKING:
    from imgtheranostics.validation import Validation

_NARROWEST, _WIDEST = 80, 120
_QUANTITIES = {
    "activity_concentration": "activity concentration",
    "id_per_g": "uptake",
    "id_per_ml": "uptake",
    "suv_bw": "SUV",
}
_UNITS = {"%/g": "%ID/g", "%/mL": "%ID/mL", "1": ""}
_HEADINGS = ("region", "at", "truth", "measured", "error", "tolerance", "verdict")
_WORDS = frozenset({"region", "at", "verdict"})
_SHORTEST = {"region": 14, "at": 10}
_LONGEST = {"region": 26, "at": 26}
_REFUSED, _NOT_IMPLEMENTED = "refused-as-expected", "not implemented"
_INDENT = "    "


def as_text(validation: Validation, width: int = 100) -> str:
    """The whole table with its notes and its summary line.

    Parameters
    ----------
    validation : Validation
    width : int
        Columns of the terminal.
    """
    width = min(max(width, _NARROWEST), _WIDEST)
    rows = [{str(k): v for k, v in row.items()} for row in validation.table.to_dict("records")]
    cells = [_cells(row) for row in rows]
    measured = [shown for row, shown in zip(rows, cells, strict=True) if row["verdict"] != _NOT_IMPLEMENTED]
    widths = _widths(measured, width - len(_INDENT))
    lines = [_INDENT + _line(_HEADINGS, widths)]
    for slug in dict.fromkeys(row["slug"] for row in rows):
        chosen = [(row, shown) for row, shown in zip(rows, cells, strict=True) if row["slug"] == slug]
        lines += ["", f"{slug} (claim {chosen[0][0]['claim']})"]
        lines += _absent([row for row, _ in chosen if row["verdict"] == _NOT_IMPLEMENTED])
        blocks: dict[str, list[str]] = {}
        for row, shown in chosen:
            if row["verdict"] != _NOT_IMPLEMENTED:
                blocks.setdefault(_heading(row), []).append(_INDENT + _line(shown, widths))
        for heading, below in blocks.items():
            lines += [f"  {heading}", *below]
    if any(not math.isnan(row["error_low"]) for row in rows):
        lines += ["", "error: bias over the seeds and, in brackets, its 95 % limits of agreement"]
    lines += ["", *_notes(rows, width), *_unused(validation), _summary(validation, rows)]
    return "\n".join(visible(line.rstrip()) for line in lines)


def _absent(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line per level and reason for what is not implemented."""
    found: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        heading = _heading(row).partition(": ")[2].partition(" [")[0]
        words = f"{heading} of {row['region']}" if row["quantity"] else ""
        found.setdefault((row["level"], row["note"]), []).append(words)
    lines = []
    for (level, note), names in found.items():
        what = names[0] if len(names) == 1 else f"{len(names)} numbers"
        lines.append(f"  level {level}: not implemented{f', {what}' if what else ''}: {note}")
    return lines


def _heading(row: dict[str, Any]) -> str:
    """Level, quantity, method and unit of a block of rows."""
    from imgtheranostics.validation.methods import short_name

    quantity = _QUANTITIES.get(row["quantity"], str(row["quantity"]).replace("_", " "))
    method = short_name(row["method"])
    unit = _UNITS.get(row["unit"], row["unit"])
    words = f"{quantity}, {method}" if method else quantity
    return f"level {row['level']}: {words}{f' [{unit}]' if unit else ''}"


def _cells(row: dict[str, Any]) -> list[str]:
    star = " *" if "memory" in str(row["provenance"]) else ""
    verdict = "as expected" if row["verdict"] == _REFUSED else str(row["verdict"])
    return [
        str(row["region"]),
        str(row["axis_value"]),
        number(row["truth"]),
        "refused" if row["verdict"] == _REFUSED else number(row["measured"]),
        _error(row),
        _difference(row, row["tolerance"]),
        verdict + star,
    ]


def _error(row: dict[str, Any]) -> str:
    """The error, with its limits over the seeds where there are several."""
    bias = _difference(row, row["error"], fixed=True)
    if math.isnan(row["error_low"]) or math.isnan(row["truth"]):
        return bias
    low, high = (
        _difference(row, row[name], fixed=True).removesuffix(" %") for name in ("error_low", "error_high")
    )
    return f"{bias.removesuffix(' %')} [{low}, {high}]{' %' if bias.endswith('%') else ''}"


def _difference(row: dict[str, Any], value: float, *, fixed: bool = False) -> str:
    """A difference in percent of the truth; of shares and where the truth is zero, as it is."""
    from imgtheranostics.report.comparison import relative_percent

    if math.isnan(value) or math.isnan(row["truth"]):
        return "–"
    percent = relative_percent(row, value)
    relative = percent is not None
    shown = value if percent is None else percent
    digits = (2 if relative else 4) if abs(shown) < 10 else 1
    text = f"{shown:.{digits}f}" if fixed else f"{shown:.2g}"
    text = text.removeprefix("-") if not float(text) else text
    return f"{text}{' %' if relative else ''}"


def _widths(cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Width of each column: that of its longest cell; the words give way where the terminal is narrow."""
    found = []
    for place, name in enumerate(_HEADINGS):
        longest = max([len(row[place]) for row in cells] + [len(name)])
        found.append(min(longest, _LONGEST.get(name, longest)))
    for name in ("at", "region"):
        excess = sum(found) + 2 * (len(found) - 1) - width
        place = _HEADINGS.index(name)
        found[place] -= min(max(excess, 0), max(found[place] - _SHORTEST[name], 0))
    return found


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for name, cell, width in zip(_HEADINGS, cells, widths, strict=True):
        text = cell if len(cell) <= width or name not in _LONGEST else cell[: width - 1] + "…"
        parts.append(text.ljust(width) if name in _WORDS else text.rjust(width))
    return "  ".join(parts)


def _notes(rows: Sequence[dict[str, Any]], width: int) -> list[str]:
    """Each note once with the phantoms that it is about, and what the asterisk means."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["note"] and row["verdict"] != _NOT_IMPLEMENTED:
            found.setdefault(f"{row['verdict']}: {row['note']}", {})[row["slug"]] = None
    lines = []
    for note, slugs in found.items():
        lines += textwrap.wrap(f"{note} ({', '.join(slugs)})", width, subsequent_indent="  ")
    if any("memory" in str(row["provenance"]) for row in rows):
        lines.append("* the truth of this row is a placeholder (source: memory), not a published value")
    return [*lines, ""] if lines else []


def _unused(validation: Validation) -> list[str]:
    if not validation.unused:
        return []
    return ["not compared, no truth is stated for it:", *(f"  {line}" for line in validation.unused), ""]


def _summary(validation: Validation, rows: Sequence[dict[str, Any]]) -> str:
    from imgtheranostics.validation import VERDICTS

    verdicts = [row["verdict"] for row in rows]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)
    phantoms = len(validation.phantoms)
    result = "within tolerance" if validation.passed else "OUTSIDE TOLERANCE"
    return f"{result}: {counts} ({len(rows)} rows, {phantoms} phantom{'' if phantoms == 1 else 's'})"
