"""Saturation offsets in text: one per line, a row, or a table with a header; units in header or comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from imgtheranostics.errors import CorruptInput, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.io.saturation_offsets import UNSPECIFIED_B1, SaturationOffsets
from imgtheranostics.io.whole_files import read_text

MAXIMUM_BYTES = 4 * 2**20
MOST_VOLUMES = 100_000

_COMMENT = re.compile(r"(#|%|//)(.*)$")
_UNIT = re.compile(r"(?<![a-z])(ppm|khz|hz|rad/s)(?![a-z])")
_SIGN = re.compile(
    r"(downfield|upfield)[ _-]*(?:is[ _]*)?positive|positive[ _-]*(?:is[ _]*)?(downfield|upfield)"
)
_UNSATURATED = frozenset(
    {"m0", "s0", "ref", "reference", "nan", "null", "none", "n/a", "inf", "-inf", "+inf"}
)
_OFFSET_NAMES = re.compile(
    r"^(saturation_?)?(offsets?|freq(uenc(y|ies))?(_?offsets?)?|ppm|hz|delta_?omega|dw|sat_f0)"
    r"(_?(ppm|hz|khz|list|values))?$"
)
_B1_NAMES = {
    "b1rms": "b1_rms_ut",
    "b1mean": "b1_mean_ut",
    "b1cwpe": "b1_cwpe_ut",
    "b1": UNSPECIFIED_B1,
}
_MOST_TESLA = 1e-3
_FABBER_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class _Table:
    """The cells of a text, its header row and what its comments say."""

    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    header: tuple[str, ...]
    remarks: str
    path: Path


def read_text_offsets(path: Path) -> SaturationOffsets:
    """Offsets of a text, CSV or TSV file, or of a data specification of Fabber (ppm, B1 in T, pulses).

    Raises
    ------
    CorruptInput
        If it is empty, no text, or a cell is neither number nor word for an unsaturated volume.
    MissingMetadata
        If there are several columns and no header says which holds the offsets.
    UnitMismatch
        If the unit is rad/s, or its statements contradict each other.
    UnsupportedInput
        If it is too large.
    """
    table = _split(path)
    sign = _stated_sign(table.remarks, path)
    where = str(path)
    if table.header:
        column, record = _columns(table)
        named = _units_in(table.header[column])
    else:
        record = {}
        named = set()
        if len(table.rows) == 1 and len(table.rows[0]) > 1:
            cells = table.rows[0]
            lines = table.lines * len(cells)
            table = replace(table, rows=tuple((cell,) for cell in cells), lines=lines)
        if _is_fabber(table):
            return _fabber(table, sign)
        if len(table.rows[0]) > 1:
            _refuse_columns(path, len(table.rows[0]))
        column = 0
    unit, factor = _unit(named or _units_in(table.remarks), path)
    values = tuple(
        _offset(row[column], path, line) for row, line in zip(table.rows, table.lines, strict=True)
    )
    scaled = tuple(None if value is None else value * factor for value in values)
    return SaturationOffsets(scaled, unit, sign, record=record, source="text", where=where)


def read_small_text(path: Path, purpose: str = "a list of offsets") -> str:
    """The content of a small text file, in UTF-8, UTF-16 or, failing these, Latin-1.

    Raises
    ------
    CorruptInput, UnsupportedInput
        If it is empty, binary, or too large.
    """
    return read_text(path, purpose, most_bytes=MAXIMUM_BYTES)


def _split(path: Path) -> _Table:
    remarks: list[str] = []
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    header: tuple[str, ...] = ()
    content: list[tuple[int, str]] = []
    for number, raw in enumerate(read_small_text(path).splitlines(), start=1):
        match = _COMMENT.search(raw)
        if match:
            remarks.append(match[2].strip().lower())
        line = raw[: match.start()] if match else raw
        if line.strip():
            content.append((number, line.strip().strip("[]").rstrip(",;")))
    if len(content) > MOST_VOLUMES:
        raise UnsupportedInput(
            "the list of offsets is too long", where=str(path), needed=f"at most {MOST_VOLUMES} lines"
        )
    delimiter = _delimiter([line for _, line in content])
    for number, line in content:
        cells = tuple(cell.strip().strip("\"'") for cell in re.split(delimiter, line.strip()))
        if not rows and not header and not all(_is_entry(cell) for cell in cells):
            header = tuple(cell.lower() for cell in cells)
            continue
        if header and not rows and len(cells) == 1:
            header = (" ".join(header),)
        width = len(header) or (len(rows[0]) if rows else len(cells))
        if len(cells) != width:
            raise CorruptInput(
                "a line has another number of columns",
                where=f"{path}, line {number}",
                found=str(len(cells)),
                needed=str(width),
            )
        rows.append(cells)
        lines.append(number)
    if not rows:
        raise CorruptInput("the file holds no offsets", where=str(path), needed="one number per volume")
    header, rows = _without_decimal_commas(header, rows, delimiter, path)
    return _Table(tuple(rows), tuple(lines), header, " ; ".join(remarks), path)


def _delimiter(lines: Sequence[str]) -> str:
    """The first of tab, semicolon, comma and blanks that stands in the lines, as a regular expression."""
    for character in ("\t", ";", ","):
        if any(character in line for line in lines):
            return rf"\s*{re.escape(character)}\s*"
    return r"\s+"


def _without_decimal_commas(
    header: tuple[str, ...], rows: list[tuple[str, ...]], delimiter: str, path: Path
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Refuse two columns of whole numbers parted by a comma, which may be numbers with a decimal comma."""
    if "," in delimiter:
        if not header and len(rows) > 1 and len(rows[0]) == 2 and all(r[1].isdigit() for r in rows):
            raise MissingMetadata(
                "a comma stands once in every line: it may part columns or be a decimal comma",
                where=str(path),
                needed="decimal points, or a header that names the columns",
            )
        return header, rows
    return header, [
        tuple(cell.replace(",", ".") if cell.count(",") == 1 else cell for cell in r) for r in rows
    ]


def _is_entry(cell: str) -> bool:
    return (
        cell.lower() in _UNSATURATED
        or _number(cell) is not None
        or _number(cell.replace(",", ".")) is not None
    )


def _number(cell: str) -> float | None:
    if len(cell) > 64 or "_" in cell or cell.lower() in _UNSATURATED:
        return None
    try:
        value = float(cell.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None
    return value if abs(value) < 1e12 else None


def _offset(cell: str, path: Path, line: int) -> float | None:
    if cell.lower() in _UNSATURATED:
        return None
    value = _number(cell)
    if value is None:
        raise CorruptInput(
            "an offset is no number",
            where=f"{path}, line {line}",
            needed="a finite number, or M0 for an unsaturated volume",
        )
    return value


def _columns(table: _Table) -> tuple[int, dict[str, Any]]:
    """The column of offsets (ppm before Hz where there are both), and B1 by its definition."""
    names = [re.sub(r"_+", "_", re.sub(r"[^a-z0-9/]+", "_", cell)).strip("_") for cell in table.header]
    found = [n for n, name in enumerate(names) if _OFFSET_NAMES.match(name)]
    if len(found) > 1:
        found = [n for n in found if "ppm" in _units_in(table.header[n])][:2]
    if len(found) != 1:
        if not found and len(names) == 1:
            found = [0]
        else:
            raise MissingMetadata(
                "the header does not name one column of saturation offsets",
                where=str(table.path),
                found=f"{len(names)} columns",
                needed="a column named offset_ppm or offset_hz",
            )
    record: dict[str, Any] = {}
    for n, name in enumerate(names):
        kind = _B1_NAMES.get(re.sub(r"_|(_?ut$)", "", name))
        if kind is not None and n not in found:
            record[kind] = tuple(
                _offset(row[n], table.path, line) or 0.0
                for row, line in zip(table.rows, table.lines, strict=True)
            )
    return found[0], record


def _units_in(text: str) -> set[str]:
    return set(_UNIT.findall(text.lower().replace("_", " ")))


def _unit(found: set[str], path: Path) -> tuple[str | None, float]:
    """Unit and factor; None where nothing states it."""
    if len(found) > 1:
        raise UnitMismatch(
            "the file states several units for its offsets",
            where=str(path),
            found=", ".join(sorted(found)),
            needed="one of ppm and Hz",
            next_step="give the unit with unit=, or a header with the unit in the column's name",
        )
    if not found:
        return None, 1.0
    unit = found.pop()
    if unit == "rad/s":
        raise UnitMismatch("offsets in rad/s are not taken", where=str(path), needed="ppm or Hz")
    return ("ppm", 1.0) if unit == "ppm" else ("Hz", 1000.0 if unit == "khz" else 1.0)


def _stated_sign(remarks: str, path: Path) -> str | None:
    found = {match[1] or match[2] for match in _SIGN.finditer(remarks)}
    if len(found) > 1:
        raise UnitMismatch(
            "the file states both signs for its offsets", where=str(path), needed="one of them"
        )
    return f"{found.pop()}_positive" if found else None


def _is_fabber(table: _Table) -> bool:
    """Three columns of which the second is a B1 in tesla and the third a number of pulses."""
    if len(table.rows[0]) != _FABBER_COLUMNS:
        return False
    powers = [_number(row[1]) for row in table.rows]
    pulses = [_number(row[2]) for row in table.rows]
    return all(b1 is not None and 0 <= b1 < _MOST_TESLA for b1 in powers) and all(
        n is not None and n >= 0 and n == int(n) for n in pulses
    )


def _fabber(table: _Table, sign: str | None) -> SaturationOffsets:
    """Columns ppm, B1 in T and pulses; without B1 a volume is unsaturated."""
    powers = [(_number(row[1]) or 0.0) * 1e6 for row in table.rows]
    counts = [_number(row[2]) or 0.0 for row in table.rows]
    values = tuple(
        None if power == 0 else _offset(row[0], table.path, line)
        for row, line, power in zip(table.rows, table.lines, powers, strict=True)
    )
    record: dict[str, Any] = {
        UNSPECIFIED_B1: powers[0] if len(set(powers)) == 1 else tuple(powers),
        "pulse_count": counts[0] if len(set(counts)) == 1 else tuple(counts),
    }
    return SaturationOffsets(values, "ppm", sign, record=record, source="fabber", where=str(table.path))


def _refuse_columns(path: Path, count: int) -> NoReturn:
    raise MissingMetadata(
        "nothing says which column holds the saturation offsets",
        where=str(path),
        found=f"{count} columns without a header",
        needed="one number per line, or a header with a column offset_ppm or offset_hz",
    )
