"""Events of a Pulseq file: pulses, gradients and readouts, in seconds, hertz and radians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.pulseq_sections import Line, refuse_line, rows_of, whole
from imgtheranostics.io.pulseq_shapes import MOST_RUNS, Shape, merge_runs

FloatArray = npt.NDArray[np.float64]

_TRAP_COLUMNS = 6


@dataclass(frozen=True, eq=False, slots=True)
class Envelope:
    """What the amplitude and phase of a pulse do, as steps; shared by pulses that differ only in offset.

    Attributes
    ----------
    step_s, magnitude, phase_rad : (m,) float64
        Duration of each step, the amplitude relative to the peak, and the phase. Steps of zero amplitude
        (dead time written as samples) are kept.
    """

    step_s: FloatArray
    magnitude: FloatArray
    phase_rad: FloatArray

    @property
    def duration_s(self) -> float:
        """Sum of the steps."""
        return float(self.step_s.sum())


@dataclass(frozen=True, eq=False, slots=True)
class RfPulse:
    """One pulse.

    Attributes
    ----------
    identifier : int
    peak_hz : float
        gamma B1 / 2 pi where the magnitude is 1; divide by 42.5764 Hz/uT for B1.
    envelope : Envelope
    delay_s : float
        From the start of the block.
    frequency_offset_hz, phase_offset_rad : float
    frequency_offset_ppm, phase_offset_rad_per_mhz : float
        Parts that grow with the field (version 1.5), to be added to those above.
    use : str or None
        Initial that version 1.5 writes, such as ``s`` for saturation.
    """

    identifier: int
    peak_hz: float
    envelope: Envelope
    delay_s: float
    frequency_offset_hz: float
    phase_offset_rad: float
    frequency_offset_ppm: float = 0.0
    phase_offset_rad_per_mhz: float = 0.0
    use: str | None = None

    @property
    def amplitude_hz(self) -> FloatArray:
        """Amplitude of each step."""
        return self.peak_hz * self.envelope.magnitude

    @property
    def duration_s(self) -> float:
        """Duration of the envelope, without the delay."""
        return self.envelope.duration_s

    def frequency_hz(self, imaging_frequency_mhz: float) -> float:
        """Whole frequency offset at a field."""
        return self.frequency_offset_hz + self.frequency_offset_ppm * imaging_frequency_mhz

    def phase_rad(self, imaging_frequency_mhz: float) -> float:
        """Whole phase offset at a field."""
        return self.phase_offset_rad + self.phase_offset_rad_per_mhz * imaging_frequency_mhz


@dataclass(frozen=True, slots=True)
class Gradient:
    """One gradient of one axis; only what a saturation simulation needs."""

    amplitude_hz_per_m: float
    delay_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Readout:
    """One acquisition window."""

    n_samples: int
    dwell_s: float
    delay_s: float

    @property
    def duration_s(self) -> float:
        """Number of samples times the dwell time, without the delay."""
        return self.n_samples * self.dwell_s


def read_pulses(
    lines: Sequence[Line],
    shapes: Mapping[int, Shape],
    version: tuple[int, int, int],
    raster_s: float,
    path: Path,
) -> dict[int, RfPulse]:
    """The section of pulses.

    Raises
    ------
    CorruptInput
        If a line is wrong, a shape is not there, or magnitude and phase differ in length.
    UnsupportedInput
        If pulses are too large, or on a time raster that is not known.
    """
    late = version >= (1, 5, 0)
    columns = 12 if late else (8 if version >= (1, 4, 0) else 7)
    rows, uses = rows_of(lines, columns, path, last_is_word=late)
    envelopes: dict[tuple[int, int, int], Envelope] = {}
    pulses: dict[int, RfPulse] = {}
    budget = MOST_RUNS
    for n, row in enumerate(rows.tolist()):
        line = lines[n][0]
        identifier = _identifier(row[0], pulses, path, line)
        timed = version >= (1, 4, 0)
        key = (
            whole(row[2], path, line, smallest=1),
            whole(row[3], path, line),
            whole(row[4], path, line, smallest=-1) if timed else 0,
        )
        if key not in envelopes:
            envelopes[key] = _envelope(key, shapes, raster_s, budget, f"{path}, line {line}")
            budget -= len(envelopes[key].step_s)
        rest = row[5:] if timed else row[4:]
        if late:
            _, delay, ppm, per_mhz, offset, phase = rest
        else:
            (delay, offset, phase), ppm, per_mhz = rest, 0.0, 0.0
        _not_negative((delay,), path, line)
        use = uses[n][:1].lower() if late else None
        envelope = envelopes[key]
        pulses[identifier] = RfPulse(
            identifier, row[1], envelope, delay * 1e-6, offset, phase, ppm, per_mhz, use
        )
    return pulses


def _envelope(
    key: tuple[int, int, int], shapes: Mapping[int, Shape], raster_s: float, budget: int, where: str
) -> Envelope:
    magnitude = _shape(key[0], shapes, where)
    phase = _shape(key[1], shapes, where) if key[1] else _constant(0.0, magnitude.n_samples)
    if magnitude.n_samples != phase.n_samples:
        raise CorruptInput(
            "magnitude and phase of a pulse differ in length",
            where=where,
            found=f"{magnitude.n_samples} and {phase.n_samples} samples",
        )
    if key[2] < 0:
        raise UnsupportedInput(
            "the pulse is on an oversampled raster",
            where=where,
            needed="the raster of the pulses, or a shape of times",
        )
    if key[2]:
        return _timed_envelope(magnitude, phase, _shape(key[2], shapes, where), raster_s, budget, where)
    values, turns, counts = merge_runs(magnitude, phase)
    if len(counts) > budget:
        raise _too_large(where)
    steps = np.asarray(counts * raster_s, dtype=np.float64)
    return Envelope(steps, values, 2 * np.pi * turns)


def _timed_envelope(
    magnitude: Shape, phase: Shape, times: Shape, raster_s: float, budget: int, where: str
) -> Envelope:
    """A waveform given at points in time: straight lines of the complex amplitude between them."""
    if times.n_samples != magnitude.n_samples or times.n_samples < 2:
        raise CorruptInput(
            "the times of a pulse do not fit its samples",
            where=where,
            found=f"{times.n_samples} times for {magnitude.n_samples} samples",
        )
    knots = times.samples()
    signal = magnitude.samples() * np.exp(2j * np.pi * phase.samples())
    if knots[0] < 0 or (np.diff(knots) < 0).any():
        raise CorruptInput("the times of a pulse do not ascend", where=where)
    if knots[0] > 0:
        knots = np.concatenate(([0.0, knots[0]], knots))
        signal = np.concatenate(([0.0, 0.0], signal))
    lengths = np.diff(knots)
    flat = signal[1:] == signal[:-1]
    wanted = np.where(flat, 1.0, np.ceil(np.maximum(lengths - 1e-9, 0.0)))
    if wanted.sum() > budget:
        raise _too_large(where)
    n_steps = np.where(lengths > 0, np.maximum(wanted, 1.0), 0.0).astype(np.int64)
    piece = np.repeat(np.arange(len(lengths)), n_steps)
    inside = np.arange(len(piece)) - np.repeat(np.cumsum(n_steps) - n_steps, n_steps)
    fraction = (inside + 0.5) / n_steps[piece]
    values = signal[piece] * (1 - fraction) + signal[piece + 1] * fraction
    step_s = (lengths[piece] / n_steps[piece] * raster_s).astype(np.float64)
    magnitudes, phases = np.abs(values).astype(np.float64), np.angle(values).astype(np.float64)
    return Envelope(step_s, magnitudes, phases)


def _shape(identifier: int, shapes: Mapping[int, Shape], where: str) -> Shape:
    if identifier not in shapes:
        raise CorruptInput("an event names a shape that is not there", where=where, found=str(identifier))
    return shapes[identifier]


def _constant(value: float, n: int) -> Shape:
    return Shape(np.array([value]), np.array([n], dtype=np.int64))


def _too_large(where: str) -> UnsupportedInput:
    return UnsupportedInput(
        "the pulses of the file are too large", where=where, needed=f"at most {MOST_RUNS} steps"
    )


def read_gradients(
    arbitrary: Sequence[Line],
    trapezoids: Sequence[Line],
    shapes: Mapping[int, Shape],
    version: tuple[int, int, int],
    raster_s: float,
    path: Path,
) -> dict[int, Gradient]:
    """Both sections of gradients, which share their numbers.

    Raises
    ------
    CorruptInput
        If a line is wrong, or a shape is not there.
    """
    gradients: dict[int, Gradient] = {}
    late, timed = version >= (1, 5, 0), version >= (1, 4, 0)
    columns = 7 if late else (5 if timed else 4)
    rows, _ = rows_of(arbitrary, columns, path)
    for (line, _), row in zip(arbitrary, rows.tolist(), strict=True):
        identifier = _identifier(row[0], gradients, path, line)
        shape_at = 4 if late else 2
        where = f"{path}, line {line}"
        shape = _shape(whole(row[shape_at], path, line, smallest=1), shapes, where)
        timing = whole(row[shape_at + 1], path, line, smallest=-1) if timed else 0
        n_cells: float = shape.n_samples
        if timing > 0:
            n_cells = float(_shape(timing, shapes, where).values[-1])
        elif timing < 0:
            n_cells = (shape.n_samples + 1) / 2
        _not_negative((row[-1], n_cells), path, line)
        gradients[identifier] = Gradient(row[1], row[-1] * 1e-6, n_cells * raster_s)
    rows, _ = rows_of(trapezoids, _TRAP_COLUMNS, path)
    for (line, _), row in zip(trapezoids, rows.tolist(), strict=True):
        identifier = _identifier(row[0], gradients, path, line)
        _not_negative(row[2:], path, line)
        gradients[identifier] = Gradient(row[1], row[5] * 1e-6, sum(row[2:5]) * 1e-6)
    return gradients


def read_readouts(lines: Sequence[Line], version: tuple[int, int, int], path: Path) -> dict[int, Readout]:
    """The section of acquisition windows."""
    rows, _ = rows_of(lines, 9 if version >= (1, 5, 0) else 6, path)
    readouts: dict[int, Readout] = {}
    for (line, _), row in zip(lines, rows.tolist(), strict=True):
        identifier = _identifier(row[0], readouts, path, line)
        _not_negative(row[2:4], path, line)
        readouts[identifier] = Readout(whole(row[1], path, line), row[2] * 1e-9, row[3] * 1e-6)
    return readouts


def read_delays(lines: Sequence[Line], path: Path) -> dict[int, float]:
    """The section of delays (versions before 1.4), in s."""
    rows, _ = rows_of(lines, 2, path)
    delays: dict[int, float] = {}
    for (line, _), row in zip(lines, rows.tolist(), strict=True):
        identifier = _identifier(row[0], delays, path, line)
        _not_negative(row[1:], path, line)
        delays[identifier] = row[1] * 1e-6
    return delays


def _identifier(value: float, known: Mapping[int, object], path: Path, line: int) -> int:
    identifier = whole(value, path, line, smallest=1)
    if identifier in known:
        refuse_line("an event number stands twice", path, line)
    return identifier


def _not_negative(values: Sequence[float], path: Path, line: int) -> None:
    if min(values) < 0:
        refuse_line("a time is negative", path, line)
