"""The table in which another tool's numbers come: read strictly, every fault named by line and column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgtheranostics.errors import CorruptInput, NothingUsable, UnitMismatch
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.units import QUANTITIES, canonical_unit, conversion_factor
from imgtheranostics.validation.methods import METHODS, unit_of

NEEDED = ("slug", "quantity", "region", "axis_value", "value")
OPTIONAL = ("level", "method", "unit")
REFUSAL_WORD = "refused"
"""What stands in the column value where the tool refused the image."""

LARGEST_FILE_BYTES = 16 << 20
_WRITTEN_UNITS = {"%id/g": "%/g", "%id/ml": "%/mL", "%id/kg": "%/kg", "suv": "g/mL", "": ""}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table.

    Attributes
    ----------
    line : int
        Counted from 1, the heading included.
    level : int or None
        None where the table has no such column.
    value : float
        NaN where the tool refused.
    unit : str
        UCUM code as given; empty when the expected unit is meant.
    """

    line: int
    slug: str
    level: int | None
    quantity: str
    region: str
    axis_value: str
    method: str
    value: float
    unit: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What the phantom of one slug and level can be asked for."""

    slug: str
    level: int
    quantities: tuple[str, ...]
    regions: tuple[str, ...]
    axis_values: tuple[str, ...]

    def pairs(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each column with the values that it may hold."""
        yield "quantity", self.quantities
        yield "region", self.regions
        yield "axis_value", self.axis_values


def read_tool_table(path: Path) -> list[Entry]:
    """The lines of another tool's table.

    Parameters
    ----------
    path : Path
        Tab-separated UTF-8 text with a heading: the columns of `NEEDED` and any of `OPTIONAL`, in any order.
        Columns of other names are not allowed: a misspelled ``levl`` would otherwise go unnoticed.

    Raises
    ------
    NothingUsable
        If there is no such file or it has no line but the heading.
    CorruptInput
        If it is not such a table; line and column are named.
    UnitMismatch
        If a unit is not known.
    """
    if not path.is_file():
        raise NothingUsable("the table of measured values does not exist", where=str(path))
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise CorruptInput("the table of measured values is larger than 16 MiB", where=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptInput("the table of measured values is not UTF-8 text", where=str(path)) from error
    lines = [
        (number, line.split("\t")) for number, line in enumerate(text.splitlines(), start=1) if line.strip()
    ]
    if len(lines) < 2:
        raise NothingUsable(
            "the table of measured values has no line",
            where=str(path),
            needed="a heading with " + ", ".join(NEEDED) + ", then one line per value",
        )
    heading = _heading(lines[0][1], path)
    return [_entry(number, _cells(number, cells, heading, path), path) for number, cells in lines[1:]]


def check_known(entries: Sequence[Entry], known: Mapping[tuple[str, int], Known], path: Path) -> None:
    """Refuse a quantity, region or axis value that the phantom does not have, and what is given twice."""
    seen: dict[tuple[object, ...], int] = {}
    for entry in entries:
        level = 0 if entry.level is None else entry.level
        for column, allowed in known[entry.slug, level].pairs():
            given = getattr(entry, column)
            parts = given.split("/") if column == "region" else [given]
            if any(part not in allowed for part in parts):
                raise CorruptInput(
                    f"the phantom {entry.slug} has no such {column.replace('_', ' ')}",
                    where=_place(path, entry.line, column),
                    found=given,
                    needed="one of " + ", ".join(allowed),
                )
        key = (entry.slug, level, entry.quantity, entry.region, entry.axis_value, entry.method)
        if key in seen:
            raise CorruptInput(
                "a value is given twice",
                where=_place(path, entry.line, "value"),
                found=f"the same slug, level, quantity, region, axis_value and method as line {seen[key]}",
            )
        seen[key] = entry.line


def converted(entry: Entry, expectation: Expectation, path: Path) -> float:
    """The entry's value in the unit of the expectation.

    Raises
    ------
    UnitMismatch
        If its unit is of another kind.
    """
    needed = unit_of(expectation)
    if entry.refused or not entry.unit or entry.unit == needed:
        return entry.value
    try:
        return entry.value * conversion_factor(entry.unit, needed)
    except UnitMismatch as error:
        raise UnitMismatch(
            f"{expectation.quantity} cannot be given in this unit",
            where=_place(path, entry.line, "unit"),
            found=entry.unit,
            needed=f"{needed}, or a unit that converts to it",
        ) from error


def same_axis_value(given: str) -> str:
    """An axis value in the spelling of the truth: ``24.0`` is ``24``; several are parted by commas."""
    return ", ".join(_same(part.strip()) for part in given.split(","))


def _same(given: str) -> str:
    try:
        return f"{float(given):g}"
    except ValueError:
        return given


def _heading(cells: Sequence[str], path: Path) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    missing = [name for name in NEEDED if name not in names]
    strange = [name for name in names if name not in (*NEEDED, *OPTIONAL)]
    if missing or strange or len(set(names)) != len(names):
        raise CorruptInput(
            "the heading of the table is not as needed",
            where=f"{path}, line 1",
            found=", ".join(names)[:200],
            needed="tab-separated " + ", ".join(NEEDED) + "; optional " + ", ".join(OPTIONAL),
        )
    return names


def _cells(line: int, cells: Sequence[str], heading: Sequence[str], path: Path) -> dict[str, str]:
    if len(cells) != len(heading):
        raise CorruptInput(
            "a line has another number of columns than the heading",
            where=f"{path}, line {line}",
            found=str(len(cells)),
            needed=str(len(heading)),
        )
    return {name: cell.strip() for name, cell in zip(heading, cells, strict=True)}


def _entry(line: int, cells: Mapping[str, str], path: Path) -> Entry:
    method = cells.get("method", "") or ("ratio" if "/" in cells["region"] else "mean")
    if method not in METHODS:
        raise CorruptInput(
            "there is no such measuring method",
            where=_place(path, line, "method"),
            found=method,
            needed="one of " + ", ".join(METHODS),
        )
    if cells["quantity"] not in QUANTITIES:
        raise CorruptInput(
            "the quantity is not known",
            where=_place(path, line, "quantity"),
            found=cells["quantity"],
            needed="one of " + ", ".join(QUANTITIES),
        )
    refused = cells["value"].lower() == REFUSAL_WORD
    return Entry(
        line=line,
        slug=cells["slug"],
        level=_level(line, cells, path),
        quantity=cells["quantity"],
        region=cells["region"],
        axis_value=same_axis_value(cells["axis_value"]),
        method=method,
        value=math.nan if refused else _number(line, cells["value"], path),
        unit=_unit(line, cells.get("unit", ""), path),
        refused=refused,
    )


def _level(line: int, cells: Mapping[str, str], path: Path) -> int | None:
    if "level" not in cells:
        return None
    if cells["level"] not in ("0", "1", "2", "3"):
        raise CorruptInput(
            "the level is not known",
            where=_place(path, line, "level"),
            found=cells["level"] or "nothing",
            needed="0, 1, 2 or 3",
        )
    return int(cells["level"])


def _number(line: int, text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise CorruptInput(
            "the value is not a number",
            where=_place(path, line, "value"),
            found=text[:60] or "nothing",
            needed=f"a number with a decimal point, or {REFUSAL_WORD!r} where the tool refused the image",
            next_step="leave out the lines of what was not measured",
        )
    return value


def _unit(line: int, text: str, path: Path) -> str:
    if text.lower() in _WRITTEN_UNITS:
        return _WRITTEN_UNITS[text.lower()]
    try:
        return canonical_unit(text)
    except UnitMismatch as error:
        raise UnitMismatch(
            "the unit is not known",
            where=_place(path, line, "unit"),
            found=text[:60],
            needed="the UCUM unit of the quantity, such as %/g, g/mL, Bq/mL",
        ) from error


def _place(path: Path, line: int, column: str) -> str:
    return f"{path}, line {line}, column {column}"
