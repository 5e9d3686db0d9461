"""The text of a Pulseq file: its sections, their lines with numbers, and tables of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.whole_files import read_text

MAXIMUM_BYTES = 32 * 2**20
"""Largest file that is read; sequences of whole protocols have 0.01 to 5 MB."""

MOST_LINES = 1_000_000

SECTIONS = frozenset(
    {
        "VERSION",
        "DEFINITIONS",
        "BLOCKS",
        "RF",
        "GRADIENTS",
        "TRAP",
        "ADC",
        "DELAYS",
        "EXTENSIONS",
        "SHAPES",
        "SIGNATURE",
    }
)

Line = tuple[int, str]
"""Line number, counted from 1, and the line without its comment."""

FloatTable = npt.NDArray[np.float64]


def split_sections(path: Path) -> dict[str, list[Line]]:
    """Lines of each section by its name, without comments and blank lines.

    Raises
    ------
    CorruptInput
        If the file is empty, holds binary data, text before its first section, or a section twice.
    UnsupportedInput
        If it is too large, or has a section that the format does not know.
    """
    text = read_text(path, "a Pulseq sequence", most_bytes=MAXIMUM_BYTES)
    sections: dict[str, list[Line]] = {}
    current: list[Line] | None = None
    if text.count("\n") > MOST_LINES:
        raise UnsupportedInput(
            "the sequence file has too many lines", where=str(path), needed=f"at most {MOST_LINES}"
        )
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.partition("#")[0].strip() if "#" in raw else raw.strip()
        if line.startswith("[") and line.endswith("]"):
            current = _open_section(line[1:-1].strip().upper(), sections, f"{path}, line {number}")
        elif line and current is None:
            refuse_line("text stands before the first section", path, number, "[VERSION] first")
        elif current is not None and line:
            current.append((number, line))
    return sections


def _open_section(name: str, sections: dict[str, list[Line]], where: str) -> list[Line]:
    if name not in SECTIONS:
        raise UnsupportedInput(
            "the sequence file has a section that is not known",
            where=where,
            needed=", ".join(sorted(SECTIONS)),
            next_step="export the sequence as Pulseq 1.2 to 1.5",
        )
    if name in sections:
        raise CorruptInput("a section stands twice", where=where, needed="each section once")
    sections[name] = []
    return sections[name]


def refuse_line(what: str, path: Path, number: int, needed: str | None = None) -> NoReturn:
    """Refuse one line; what it holds is not quoted, it may name a person."""
    raise CorruptInput(what, where=f"{path}, line {number}", needed=needed)


def number_of(word: str) -> float | None:
    """The finite number that a word is, or None."""
    if "_" in word or len(word) > 64:
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers_of(words: Sequence[str], path: Path, line: int) -> list[float]:
    """All words as finite numbers.

    Raises
    ------
    CorruptInput
        If one is none.
    """
    values = [number_of(word) for word in words]
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        refuse_line("a value is no finite number", path, line)
    return found


def whole(value: float, path: Path, line: int, *, smallest: int = 0, largest: int = 2**31 - 1) -> int:
    """A number as a whole one within limits.

    Raises
    ------
    CorruptInput
        If it is not whole, or outside.
    """
    if value != math.floor(value) or not smallest <= value <= largest:
        refuse_line("a value is no whole number in its range", path, line, f"{smallest} to {largest}")
    return int(value)


def rows_of(
    lines: Sequence[Line], columns: int, path: Path, *, last_is_word: bool = False
) -> tuple[FloatTable, list[str]]:
    """A section as a table with one row per line, and the words of its last column where it has such.

    Raises
    ------
    CorruptInput
        If a line has another number of columns, or something that is no finite number.
    """
    words: list[str] = []
    rows: list[list[float]] = []
    for number, line in lines:
        entries = line.split()
        if len(entries) != columns:
            refuse_line(f"a line has {len(entries)} columns", path, number, f"{columns} columns")
        if last_is_word:
            words.append(entries.pop())
        rows.append(numbers_of(entries, path, number))
    width = columns - last_is_word
    return np.array(rows, dtype=np.float64).reshape(len(rows), width), words
