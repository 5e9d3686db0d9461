"""JCAMP-DX as ParaVision writes it: labelled records of numbers, words, strings, structs and arrays.

The records of a file are found at once; the value of one is parsed when it is asked for, so that what
nobody needs can neither fail nor cost time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from imgtheranostics.errors import CorruptInput

MOST_VALUES = 4_000_000
"""Entries that one parameter may have; run lengths count as what they stand for."""

DEEPEST = 16
"""Structs within structs."""

_LONGEST_NAME = 128
_NAME = re.compile(r"##\$?([A-Za-z0-9_. /-]+)=", re.ASCII)
_HEADER = re.compile(
    r"\A\(\s*(\d{1,9}(?:\s*,\s*\d{1,9})*)\s*\)[ \t]*(?=\n|\Z)|\A\( (\d{1,9}(?:, ?\d{1,9})*) \)[ \t]*",
    re.ASCII,
)
_TOKEN = re.compile(r"<|\(|\)|,|@(\d{1,9})\*\(|[^\s<(),]+", re.ASCII)
_NUMBER = re.compile(r"\A[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
_SPECIAL = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "nan": math.nan, "-nan": math.nan}


class Text(str):
    """A string that stood in angle brackets."""

    __slots__ = ()


Value: TypeAlias = "str | tuple[Value, ...]"
"""A word or number as it is written, a `Text`, or a struct of such."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of one record.

    Attributes
    ----------
    dims : tuple of int or None
        The declared array size; None where there is none.
    values : list
        Run lengths expanded.
    """

    dims: tuple[int, ...] | None
    values: list[Value]


def as_number(value: Value) -> float | None:
    """The number that a word is, ``inf`` and ``nan`` included, or None."""
    if isinstance(value, tuple):
        return None
    word = value.strip().lower()
    if word in _SPECIAL:
        return _SPECIAL[word]
    return float(word) if len(word) < 400 and _NUMBER.match(word) else None


def split_records(text: str, where: str) -> tuple[dict[str, str], frozenset[str]]:
    """Raw value text of each record by name, and the names that stand twice with different values.

    Parameters
    ----------
    text : str
        The content of a file.
    where : str
        The file, for messages.

    Raises
    ------
    CorruptInput
        If it is no JCAMP-DX text, or ends before its end record.
    """
    records: dict[str, str] = {}
    repeated: set[str] = set()
    name: str | None = None
    lines: list[str] = []
    ended = False

    def close() -> None:
        if name is None:
            return
        value = "\n".join(lines)
        if records.get(name, value) != value:
            repeated.add(name)
        records[name] = value

    for line in text.split("\n"):
        line = line.rstrip("\r")
        if line.startswith("$$"):
            continue
        match = _NAME.match(line) if line.startswith("##") else None
        if match is None:
            if name is None and line.strip():
                raise CorruptInput(
                    "not a ParaVision parameter file: it does not begin with a labelled record",
                    where=where,
                    needed="##TITLE= first",
                )
            lines.append(line)
            continue
        close()
        name, lines = match[1].strip()[:_LONGEST_NAME], [line[match.end() :]]
        if name == "END":
            ended = True
            break
    if name is None:
        raise CorruptInput("the parameter file holds no record", where=where)
    if not ended:
        raise CorruptInput(
            "the parameter file ends before its end record",
            where=where,
            needed="##END= as the last record",
            next_step="copy the file again; it is truncated",
        )
    return records, frozenset(repeated)


def parse_value(text: str, where: str) -> Entry:
    """The value of a record.

    Parameters
    ----------
    text : str
        All behind the equals sign, following lines included.
    where : str
        File and parameter, for messages; the value itself may name a person and is never quoted.

    Raises
    ------
    CorruptInput
        If brackets do not close, structs are nested too deep, or there are too many values.
    """
    text = text.strip()
    header = _HEADER.match(text)
    dims: tuple[int, ...] | None = None
    if header is not None:
        body = text[header.end() :]
        alone = header[1] is not None and not body.strip()
        if not alone or text.startswith("( "):
            dims = tuple(int(part) for part in (header[1] or header[2]).split(","))
            text = body
    return Entry(dims, _Parser(text, where).values())


@dataclass(slots=True)
class _Level:
    """An open bracket.

    Attributes
    ----------
    repeat : int or None
        How often the values of a run length count; None for a struct.
    fields : list
        Fields of a struct that are finished.
    current : list
        Values since the last comma.
    """

    repeat: int | None
    fields: list[Value] = field(default_factory=list)
    current: list[Value] = field(default_factory=list)


class _Parser:
    """Words, strings and structs of one value, with a stack of its own instead of recursion."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.count = 0
        self.levels = [_Level(1)]

    def values(self) -> list[Value]:
        """All values of the text."""
        position = 0
        while (match := _TOKEN.search(self.text, position)) is not None:
            self._only_space(position, match.start())
            position = match.end()
            sign = match[0]
            if sign == "<":
                position = self._string(position)
            elif sign == "(" or match[1] is not None:
                self._open(match[1])
            elif sign == ",":
                self._comma()
            elif sign == ")":
                self._close()
            else:
                self.levels[-1].current.append(self._counted(sign))
        if len(self.levels) > 1:
            raise self._damaged("a bracket is not closed")
        return self.levels[0].current

    def _string(self, position: int) -> int:
        """Keep the text up to the closing bracket, without the writer's line breaks; where it ends."""
        end = self.text.find(">", position)
        if end < 0:
            raise self._damaged("a string is not closed")
        text = Text(self.text[position:end].replace("\n", ""))
        self.levels[-1].current.append(self._counted(text))
        return end + 1

    def _open(self, repeat: str | None) -> None:
        if len(self.levels) > DEEPEST:
            raise self._damaged("values are nested too deep")
        self.levels.append(_Level(None if repeat is None else int(repeat)))

    def _comma(self) -> None:
        level = self.levels[-1]
        if level.repeat is None:
            level.fields.append(_field(level.current))
            level.current = []

    def _close(self) -> None:
        if len(self.levels) == 1:
            raise self._damaged("a bracket closes that was never opened")
        level = self.levels.pop()
        outer = self.levels[-1].current
        if level.repeat is None:
            if level.current or level.fields:
                level.fields.append(_field(level.current))
            outer.append(self._counted(tuple(level.fields)))
            return
        added = level.repeat * len(level.current)
        if level.repeat > MOST_VALUES or self.count + added > MOST_VALUES:
            raise self._damaged("a run length stands for too many values")
        self.count += added
        outer.extend(level.current * level.repeat)

    def _counted(self, value: Value) -> Value:
        self.count += 1
        if self.count > MOST_VALUES:
            raise self._damaged("there are too many values")
        return value

    def _only_space(self, start: int, stop: int) -> None:
        if self.text[start:stop].strip():
            raise self._damaged("a character has no meaning here")

    def _damaged(self, what: str) -> CorruptInput:
        return CorruptInput(
            f"a parameter cannot be read: {what}", where=self.where, next_step="copy the file again"
        )


def _field(values: list[Value]) -> Value:
    """One field of a struct: a value, or a tuple of several."""
    return values[0] if len(values) == 1 else tuple(values)
