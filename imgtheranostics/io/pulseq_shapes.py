"""Shapes of a Pulseq file, kept as runs of equal samples so that a pulse of seconds takes no memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.pulseq_sections import Line, number_of, refuse_line, whole

FloatArray = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.int64]

MOST_SAMPLES = 10**10
"""Samples that one shape may stand for; they are never expanded."""

MOST_RUNS = 4_000_000
"""Runs that all shapes of a file, or all pulses, may have together."""


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """One shape as runs.

    Attributes
    ----------
    values : (m,) float64
    counts : (m,) int64
        Number of equal samples.
    """

    values: FloatArray
    counts: CountArray

    @property
    def n_samples(self) -> int:
        """Number of samples that the runs stand for."""
        return int(self.counts.sum())

    def samples(self) -> FloatArray:
        """Every sample.

        Raises
        ------
        UnsupportedInput
            If they are too many to be expanded.
        """
        if self.n_samples > MOST_RUNS:
            raise UnsupportedInput(
                "the shape has too many samples",
                found=str(self.n_samples),
                needed=f"at most {MOST_RUNS}",
            )
        return np.repeat(self.values, self.counts)


def read_shapes(lines: Sequence[Line], path: Path, *, plain_where_complete: bool) -> dict[int, Shape]:
    """All shapes of the section by their number.

    A shape is the run-length encoded derivative: a value that stands twice is followed by how often it
    comes again. From version 1.4 (`plain_where_complete`) a shape with as many lines as samples is not
    encoded.

    Raises
    ------
    CorruptInput
        If a header or value is wrong, or runs do not give the declared number of samples.
    UnsupportedInput
        If the shapes are too large.
    """
    shapes: dict[int, Shape] = {}
    budget = MOST_RUNS
    position = 0
    while position < len(lines):
        number, _ = lines[position]
        identifier = _header(lines, position, "shape_id", path)
        n_samples = _header(lines, position + 1, "num_samples", path)
        if identifier in shapes or identifier == 0:
            refuse_line("a shape has number 0 or one that stands twice", path, number)
        position += 2
        packed: list[float] = []
        while position < len(lines):
            value = number_of(lines[position][1])
            if value is None:
                break
            packed.append(value)
            position += 1
        if position < len(lines) and not lines[position][1].lower().startswith("shape_id"):
            refuse_line("a sample is no finite number", path, lines[position][0])
        if plain_where_complete and len(packed) == n_samples:
            shape = _runs(np.array(packed), np.ones(len(packed), dtype=np.int64))
        else:
            shape = _unpack(packed, n_samples, budget, path, number)
        budget -= len(shape.values)
        if budget < 0:
            _too_many(path, number)
        shapes[identifier] = shape
    return shapes


def _header(lines: Sequence[Line], position: int, key: str, path: Path) -> int:
    if position >= len(lines):
        raise CorruptInput("a shape ends within its header", where=str(path), needed=key)
    number, line = lines[position]
    words = line.split()
    keys = {key, "num_uncompressed"} if key == "num_samples" else {key}
    value = number_of(words[1]) if len(words) == 2 and words[0].lower() in keys else None
    if value is None:
        refuse_line("the header of a shape is wrong", path, number, f"{key} and a number")
    return whole(value, path, number, smallest=0 if key == "shape_id" else 1, largest=MOST_SAMPLES)


def _unpack(packed: Sequence[float], n_samples: int, budget: int, path: Path, line: int) -> Shape:
    """Decode the derivative and add it up."""
    steps: list[float] = []
    counts: list[int] = []
    position, n = 0, len(packed)
    total = 0
    while position < n:
        step, count = packed[position], 1
        position += 1
        if position < n and packed[position] == step:
            if position + 1 >= n:
                # A value that comes twice at the very end needs no count: the encoder wrote both.
                count = 2
                position += 1
            else:
                count = 2 + whole(packed[position + 1], path, line, largest=MOST_SAMPLES)
                position += 2
        steps.append(step)
        counts.append(count)
        total += count
    if total != n_samples:
        refuse_line(
            "the runs of a shape do not give its number of samples",
            path,
            line,
            f"{n_samples} samples, found {total}",
        )
    return _add_up(np.array(steps), np.array(counts, dtype=np.int64), budget, path, line)


def _add_up(steps: FloatArray, counts: CountArray, budget: int, path: Path, line: int) -> Shape:
    """Cumulated derivative: a run of zero steps is one run of the shape, others are one sample each."""
    flat = steps == 0
    repeats = np.where(flat, 1, counts)
    if int(repeats.sum()) > budget:
        _too_many(path, line)
    values = np.cumsum(np.repeat(steps, repeats))
    lengths = np.ones(len(values), dtype=np.int64)
    lengths[(np.cumsum(repeats) - 1)[flat]] = counts[flat]
    return _runs(values, lengths)


def _runs(values: FloatArray, counts: CountArray) -> Shape:
    """Neighbours that are equal become one run."""
    first = np.concatenate(([True], np.diff(values) != 0)) if len(values) else np.zeros(0, dtype=bool)
    starts = np.flatnonzero(first)
    merged = np.add.reduceat(counts, starts) if len(starts) else counts
    return Shape(values[starts], merged)


def _too_many(path: Path, line: int) -> NoReturn:
    raise UnsupportedInput(
        "the shapes of the file are too large",
        where=f"{path}, line {line}",
        needed=f"at most {MOST_RUNS} samples that differ",
    )


def merge_runs(one: Shape, other: Shape) -> tuple[FloatArray, FloatArray, CountArray]:
    """Two shapes of equal length on common runs: values of both, and counts."""
    edges = np.union1d(np.cumsum(one.counts), np.cumsum(other.counts))
    counts = np.diff(edges, prepend=0)
    first = one.values[np.searchsorted(np.cumsum(one.counts), edges)]
    second = other.values[np.searchsorted(np.cumsum(other.counts), edges)]
    return first, second, counts
