"""Pulseq sequence files (``.seq``, versions 1.2 to 1.5): definitions and blocks, read in milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from imgtheranostics.errors import CorruptInput, MissingMetadata, NothingUsable, UnsupportedInput
from imgtheranostics.io.pulseq_events import (
    Gradient,
    Readout,
    RfPulse,
    read_delays,
    read_gradients,
    read_pulses,
    read_readouts,
)
from imgtheranostics.io.pulseq_sections import (
    Line,
    number_of,
    numbers_of,
    refuse_line,
    rows_of,
    split_sections,
    whole,
)
from imgtheranostics.io.pulseq_shapes import read_shapes

MOST_BLOCKS = 500_000

_OLDEST, _NEWEST = (1, 2), (1, 5)
_RF_RASTER_S = 1e-6
_GRADIENT_RASTER_S = 1e-5
_LONGEST_CHAIN = 64
_DIGITS = re.compile(r"[0-9]{1,6}")

Definition = tuple[float, ...] | str
_Event = TypeVar("_Event")


@dataclass(frozen=True, slots=True)
class Block:
    """Events that run at the same time.

    Attributes
    ----------
    duration_s : float
    rf : RfPulse or None
    gradients : tuple of three Gradient or None
        Along x, y and z.
    readout : Readout or None
    extensions : tuple of str
        Names of the extensions that apply, such as ``RF_SHIMS`` or ``LABELSET``.
    """

    duration_s: float
    rf: RfPulse | None = None
    gradients: tuple[Gradient | None, Gradient | None, Gradient | None] = (None, None, None)
    readout: Readout | None = None
    extensions: tuple[str, ...] = ()

    @property
    def is_spoiler(self) -> bool:
        """Whether gradients run along all three axes without a pulse: nothing transverse remains."""
        return self.rf is None and all(one is not None for one in self.gradients)


@dataclass(frozen=True, eq=False, slots=True)
class PulseqFile:
    """One sequence.

    Attributes
    ----------
    version : tuple of three int
    definitions : mapping of str to tuple of float or str
        As written; see `definition` for keys in any case.
    blocks : tuple of Block
        In the order in which they are run.
    """

    version: tuple[int, int, int]
    definitions: Mapping[str, Definition] = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    path: Path = field(default=Path(), repr=False)

    @property
    def duration_s(self) -> float:
        """Duration of all blocks."""
        return float(sum(block.duration_s for block in self.blocks))

    @property
    def n_readouts(self) -> int:
        """Number of blocks with an acquisition window."""
        return sum(block.readout is not None for block in self.blocks)

    def definition(self, *names: str) -> Definition | None:
        """The first of these definitions that is there, upper and lower case being the same.

        Raises
        ------
        CorruptInput
            If it stands twice with different values.
        """
        for name in names:
            found = [value for key, value in self.definitions.items() if key.lower() == name.lower()]
            if any(value != found[0] for value in found):
                raise CorruptInput(
                    "a definition stands twice with different values", where=f"{self.path}, {name}"
                )
            if found:
                return found[0]
        return None

    def number(self, *names: str) -> float | None:
        """A definition that is one number.

        Raises
        ------
        CorruptInput
            If it is text or several numbers.
        """
        value = self.definition(*names)
        if value is None:
            return None
        if isinstance(value, str) or len(value) != 1:
            raise CorruptInput("a definition is no single number", where=f"{self.path}, {names[0]}")
        return value[0]

    def numbers(self, *names: str) -> tuple[float, ...] | None:
        """A definition that is a list of numbers.

        Raises
        ------
        CorruptInput
            If it is text.
        """
        value = self.definition(*names)
        if isinstance(value, str):
            raise CorruptInput("a definition is no list of numbers", where=f"{self.path}, {names[0]}")
        return value


def read_pulseq(path: str | Path) -> PulseqFile:
    """Read a Pulseq file of the versions 1.2 to 1.5, text form.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    PulseqFile
        Times in s, amplitudes in Hz, phases in rad. A pulse is kept as steps of equal amplitude and phase:
        a block pulse of 2 s at a raster of 1 us is one step.

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If a line or reference is wrong; the message has the line number.
    MissingMetadata
        If a raster that version 1.4 requires is not defined.
    UnsupportedInput
        If the version is another, or the file is too large.

    References
    ----------
    .. [1] Open file format for MR sequences, https://pulseq.github.io/specification.pdf
    """
    path = Path(path)
    if not path.is_file():
        raise NothingUsable("the sequence file does not exist", where=str(path))
    sections = split_sections(path)
    version = _version(sections.get("VERSION"), path)
    definitions = _definitions(sections.get("DEFINITIONS", []), path)
    modern = version >= (1, 4, 0)
    shapes = read_shapes(sections.get("SHAPES", []), path, plain_where_complete=modern)
    file = PulseqFile(version, MappingProxyType(definitions), (), path)
    rf_raster = _raster(file, "RadiofrequencyRasterTime", None if modern else _RF_RASTER_S)
    gradient_raster = _raster(file, "GradientRasterTime", None if modern else _GRADIENT_RASTER_S)
    block_raster = _raster(file, "BlockDurationRaster", None) if modern else 0.0
    library = _Library(
        read_pulses(sections.get("RF", []), shapes, version, rf_raster, path),
        read_gradients(
            sections.get("GRADIENTS", []), sections.get("TRAP", []), shapes, version, gradient_raster, path
        ),
        read_readouts(sections.get("ADC", []), version, path),
        read_delays(sections.get("DELAYS", []), path),
        _extensions(sections.get("EXTENSIONS", []), path),
    )
    blocks = _blocks(sections.get("BLOCKS", []), library, block_raster, path)
    return PulseqFile(version, file.definitions, blocks, path)


@dataclass(frozen=True, slots=True)
class _Library:
    pulses: Mapping[int, RfPulse]
    gradients: Mapping[int, Gradient]
    readouts: Mapping[int, Readout]
    delays: Mapping[int, float]
    extensions: Mapping[int, tuple[str, ...]]


def _version(lines: Sequence[Line] | None, path: Path) -> tuple[int, int, int]:
    if lines is None:
        raise CorruptInput("not a Pulseq file", where=str(path), needed="a section [VERSION]")
    parts: dict[str, int] = {}
    for number, line in lines:
        words = line.split()
        digits = _DIGITS.match(words[-1])
        if len(words) != 2 or words[0].lower() not in ("major", "minor", "revision") or digits is None:
            refuse_line("the version is not written as it should be", path, number)
        parts[words[0].lower()] = int(digits[0])
    if "major" not in parts or "minor" not in parts:
        raise CorruptInput("the version is not complete", where=str(path), needed="major and minor")
    version = (parts["major"], parts["minor"], parts.get("revision", 0))
    if not _OLDEST <= version[:2] <= _NEWEST:
        raise UnsupportedInput(
            "this version of Pulseq is not known",
            where=str(path),
            found=".".join(str(part) for part in version),
            needed="1.2 to 1.5",
            next_step="export the sequence again as one of these",
        )
    return version


def _definitions(lines: Sequence[Line], path: Path) -> dict[str, Definition]:
    definitions: dict[str, Definition] = {}
    for number, line in lines:
        key, *words = line.split()
        values = [number_of(word) for word in words]
        known = tuple(value for value in values if value is not None)
        value: Definition = known if words and len(known) == len(values) else " ".join(words)
        if key in definitions and definitions[key] != value:
            refuse_line("a definition stands twice with different values", path, number)
        definitions[key] = value
    return definitions


def _raster(file: PulseqFile, name: str, usual: float | None) -> float:
    value = file.number(name)
    if value is None and usual is None:
        raise MissingMetadata(
            f"{name} is not defined",
            where=f"{file.path}, [DEFINITIONS]",
            needed="the raster in s, which version 1.4 and later require",
        )
    raster = value if value is not None else usual
    if raster is None or not 1e-9 <= raster <= 1e-2:
        raise CorruptInput("a raster is not plausible", where=f"{file.path}, {name}", needed="1e-9 to 0.01 s")
    return raster


def _extensions(lines: Sequence[Line], path: Path) -> dict[int, tuple[str, ...]]:
    """Names of the extensions of each entry of the list, entries that follow it included."""
    entries: dict[int, tuple[int, int]] = {}
    names: dict[int, str] = {}
    in_list = True
    for number, line in lines:
        words = line.split()
        if words[0].lower() == "extension":
            in_list = False
            if len(words) != 3:
                refuse_line("an extension needs a name and a number", path, number)
            names[whole(numbers_of(words[2:], path, number)[0], path, number)] = words[1].upper()
        elif in_list:
            values = numbers_of(words, path, number)
            if len(values) != 4:
                refuse_line(f"a line has {len(values)} columns", path, number, "4 columns")
            entry, kind, _, following = (whole(value, path, number) for value in values)
            entries[entry] = (kind, following)
    result: dict[int, tuple[str, ...]] = {}
    for entry in entries:
        chain: list[str] = []
        current, n_steps = entry, 0
        while current in entries and n_steps < _LONGEST_CHAIN:
            kind, current = entries[current]
            chain.append(names.get(kind, "UNKNOWN"))
            n_steps += 1
        result[entry] = tuple(dict.fromkeys(chain))
    return result


def _blocks(lines: Sequence[Line], library: _Library, raster_s: float, path: Path) -> tuple[Block, ...]:
    if not lines:
        raise CorruptInput("the sequence has no block", where=str(path), needed="a section [BLOCKS]")
    if len(lines) > MOST_BLOCKS:
        raise UnsupportedInput(
            "the sequence has too many blocks", where=str(path), needed=f"at most {MOST_BLOCKS}"
        )
    old = raster_s == 0
    columns = 7 if old and len(lines[0][1].split()) == 7 else 8
    rows, _ = rows_of(lines, columns, path)
    made: dict[tuple[float, ...], Block] = {}
    blocks: list[Block] = []
    previous = 0.0
    for (line, _), row in zip(lines, rows.tolist(), strict=True):
        if row[0] <= previous:
            refuse_line("block numbers do not ascend", path, line)
        previous = row[0]
        key = tuple(row[1:])
        if key not in made:
            made[key] = _block(key, library, raster_s, path, line)
        blocks.append(made[key])
    return tuple(blocks)


def _block(row: tuple[float, ...], library: _Library, raster_s: float, path: Path, line: int) -> Block:
    first, rf_id, gx, gy, gz, adc, *rest = (whole(value, path, line) for value in row)
    rf = _event(rf_id, library.pulses, path, line)
    x, y, z = (_event(one, library.gradients, path, line) for one in (gx, gy, gz))
    readout = _event(adc, library.readouts, path, line)
    extensions = library.extensions.get(rest[0], ("UNKNOWN",)) if rest and rest[0] else ()
    events = [one for one in (rf, x, y, z, readout) if one is not None]
    longest = max((one.delay_s + one.duration_s for one in events), default=0.0)
    if raster_s == 0:
        delay = _event(first, library.delays, path, line)
        duration = max(longest, delay or 0.0)
    else:
        duration = first * raster_s
        if longest > duration + raster_s * 1.001:
            refuse_line("an event is longer than its block", path, line)
    return Block(duration, rf, (x, y, z), readout, extensions)


def _event(identifier: int, known: Mapping[int, _Event], path: Path, line: int) -> _Event | None:
    if identifier == 0:
        return None
    if identifier not in known:
        refuse_line("a block names an event that is not there", path, line)
    return known[identifier]
