"""Saturation as a Pulseq file has it: every pulse, delay and spoiler before the readout of each offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_system import PoolSystem
from imgtheranostics.cest.pulse_program import DELAY, PULSE, SPOIL, DoubleArray, Program
from imgtheranostics.cest.pulse_train import check_offsets
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata
from imgtheranostics.io.pulseq import Block, read_pulseq
from imgtheranostics.io.pulseq_events import RfPulse
from imgtheranostics.io.saturation_offsets import LARGEST_B1_UT

OTHER_FIELD = 0.01
"""Relative difference between the offsets of a file and the frequencies of its pulses in a field, above which
the file was made for another one."""

SHORTEST_S = 1e-9
"""Gaps below are rounding of the file."""


@dataclass(frozen=True, slots=True)
class Event:
    """A pulse, a delay or a spoiler (neither).

    Attributes
    ----------
    pulse : RfPulse or None
    delay_s : float
    """

    pulse: RfPulse | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Protocol:
    """Saturation before each readout of a sequence file.

    Attributes
    ----------
    offset_ppm : (n,) ndarray
        Offset of each readout, as the file defines them.
    events : tuple of tuple of Event
        What happens before each readout.
    name : str
        The file's name, for messages.
    """

    offset_ppm: npt.NDArray[np.float64]
    events: tuple[tuple[Event, ...], ...] = field(repr=False)
    name: str = ""

    @property
    def offsets(self) -> DoubleArray:
        """The offsets, ppm."""
        return self.offset_ppm

    def program(self, pools: PoolSystem) -> Program:
        """What happens at each offset in the field of a pool system.

        Raises
        ------
        ImplausibleValue
            If the pulses' frequencies are not those of the offsets in that field.
        """
        return _Compilation(self, pools).program()


def read_sequence(path: str | Path) -> Protocol:
    """The saturation that a Pulseq file (``.seq``) of a CEST protocol plays before each readout.

    Pulses keep their shape, phase and frequency, dead times around them are delays, a gradient along z
    without a pulse spoils the transverse magnetisation, and an acquisition window ends an offset.

    Parameters
    ----------
    path : path

    Returns
    -------
    Protocol
        For `simulate`; the field of the pool system turns frequencies into shifts, not that of the file.

    Raises
    ------
    MissingMetadata
        If the file does not define ``offsets_ppm``.
    CorruptInput
        If there is not one readout for each offset, or the file is not in order.
    ImplausibleValue
        If the offsets look like Hz, or B1 is above 200 uT.
    """
    file = read_pulseq(path)
    offsets = file.numbers("offsets_ppm", "offset_ppm")
    if not offsets:
        raise MissingMetadata(
            "the sequence does not say which offset each readout belongs to",
            where=str(path),
            needed="the definition offsets_ppm",
            next_step="add a line offsets_ppm with one value for each readout to [DEFINITIONS]",
        )
    spans = tuple(_spans(file.blocks))
    if len(spans) != len(offsets):
        raise CorruptInput(
            "the sequence does not have one readout for each offset",
            where=str(path),
            found=f"{len(spans)} readouts, {len(offsets)} offsets",
        )
    offset_ppm = np.array(offsets, np.float64)
    offset_ppm.setflags(write=False)
    check_offsets(offset_ppm)
    return Protocol(offset_ppm, spans, Path(path).name)


def _spans(blocks: tuple[Block, ...]) -> Iterator[tuple[Event, ...]]:
    """Events before each readout; what follows the last one does not matter."""
    events: list[Event] = []
    for block in blocks:
        if block.readout is not None:
            yield tuple(events)
            events = []
        else:
            events.extend(_events(block))


def _events(block: Block) -> Iterator[Event]:
    if block.rf is None:
        yield Event(delay_s=block.duration_s)
        if block.gradients[2] is not None:
            yield Event()
        return
    rest = block.duration_s - block.rf.delay_s - block.rf.duration_s
    for event in (Event(delay_s=block.rf.delay_s), Event(pulse=block.rf), Event(delay_s=rest)):
        if event.pulse is not None or event.delay_s > SHORTEST_S:
            yield event


def resampled(
    step_s: DoubleArray, amplitude: npt.NDArray[np.complexfloating], most: int
) -> tuple[npt.NDArray[np.complexfloating], float]:
    """A pulse as at most `most` equal steps that have the means of what they replace, and their length.

    A pulse of equal steps that are few enough is returned as it is, one of constant amplitude as one step.

    Parameters
    ----------
    step_s : (m,) ndarray
        Durations of the steps, s.
    amplitude : (m,) ndarray of complex
    most : int
    """
    duration = float(step_s.sum())
    if np.all(amplitude == amplitude[0]):
        return amplitude[:1], duration
    shortest = float(step_s.min())
    count = duration / shortest
    if round(count) <= most and np.allclose(step_s / shortest, np.round(step_s / shortest), atol=1e-6):
        return np.repeat(amplitude, np.round(step_s / shortest).astype(np.int64)), duration / round(count)
    ends = np.concatenate([[0.0], np.cumsum(step_s)])
    area = np.concatenate([[0.0], np.cumsum(step_s * amplitude)])
    grid = np.linspace(0.0, ends[-1], most + 1)
    areas = np.interp(grid, ends, area.real) + 1j * np.interp(grid, ends, area.imag)
    return np.diff(areas) / (duration / most), duration / most


class _Compilation:
    """The arrays of a program, grown event by event."""

    def __init__(self, protocol: Protocol, pools: PoolSystem) -> None:
        self.protocol = protocol
        self.pools = pools
        self.megahertz = pools.larmor_rad_per_s_ppm / (2.0 * np.pi)
        self.pulses: list[tuple[npt.NDArray[np.complexfloating], float]] = []
        self.shapes: dict[tuple[int, float], tuple[float, int, float]] = {}
        self.delays: dict[float, int] = {}
        self.rows: list[tuple[int, int, float, float]] = []

    def program(self) -> Program:
        """All of it."""
        first_event = [0]
        for offset, events in zip(self.protocol.offset_ppm, self.protocol.events, strict=True):
            for event in events:
                if event.pulse is not None:
                    self._add_pulse(event.pulse)
                elif event.delay_s > 0:
                    self._add_delay(event.delay_s)
                else:
                    self.rows.append((SPOIL, 0, 0.0, 0.0))
            self._check_frequency(float(offset), self.rows[first_event[-1] :])
            first_event.append(len(self.rows))
        samples = np.concatenate([np.zeros(0, complex), *(pulse for pulse, _ in self.pulses)])
        table = np.array(self.rows, np.float64).reshape(-1, 4)
        return Program(
            amplitude=2.0 * np.pi * np.abs(samples),
            phase=np.angle(samples),
            first_sample=np.cumsum([0, *(pulse.size for pulse, _ in self.pulses)], dtype=np.int64),
            sample_s=np.array([step for _, step in self.pulses], np.float64),
            delay_s=np.array(list(self.delays), np.float64),
            kind=table[:, 0].astype(np.int64),
            item=table[:, 1].astype(np.int64),
            frequency=np.ascontiguousarray(table[:, 2]),
            start_phase=np.ascontiguousarray(table[:, 3]),
            first_event=np.array(first_event, np.int64),
        )

    def _add_delay(self, delay_s: float) -> None:
        number = self.delays.setdefault(round(delay_s, 12), len(self.delays))
        self.rows.append((DELAY, number, 0.0, 0.0))

    def _add_pulse(self, pulse: RfPulse) -> None:
        key = (id(pulse.envelope), pulse.peak_hz)
        if key not in self.shapes:
            self.shapes[key] = self._shape(pulse)
        before, number, after = self.shapes[key]
        if before > SHORTEST_S:
            self._add_delay(before)
        if number >= 0:
            frequency = 2.0 * np.pi * pulse.frequency_hz(self.megahertz)
            phase = (pulse.phase_rad(self.megahertz) + frequency * before) % (2.0 * np.pi)
            self.rows.append((PULSE, number, frequency, phase))
        if after > SHORTEST_S:
            self._add_delay(after)

    def _shape(self, pulse: RfPulse) -> tuple[float, int, float]:
        """Dead time before, number of the pulse's samples (-1 for none), dead time after."""
        step_s, magnitude = pulse.envelope.step_s, pulse.amplitude_hz
        on = np.flatnonzero(magnitude)
        if on.size == 0:
            return pulse.duration_s, -1, 0.0
        largest = 2.0 * np.pi * float(magnitude.max()) / self.pools.gamma_rad_per_s_ut
        if largest > LARGEST_B1_UT:
            raise ImplausibleValue(
                "the B1 of a pulse of the sequence is not plausible",
                where=self.protocol.name,
                found=f"{largest:g} uT",
                needed=f"at most {LARGEST_B1_UT:g} uT",
            )
        played = slice(on[0], on[-1] + 1)
        amplitude = magnitude[played] * np.exp(1j * pulse.envelope.phase_rad[played])
        self.pulses.append(resampled(step_s[played], amplitude, self.pools.max_pulse_samples))
        return float(step_s[: on[0]].sum()), len(self.pulses) - 1, float(step_s[on[-1] + 1 :].sum())

    def _check_frequency(self, offset_ppm: float, rows: list[tuple[int, int, float, float]]) -> None:
        """Refuse a file whose frequencies are not its offsets in this field."""
        frequencies = {row[2] for row in rows if row[0] == PULSE and row[2] != 0.0}
        expected = offset_ppm * self.pools.larmor_rad_per_s_ppm
        if len(frequencies) == 1 and expected != 0.0:
            found = frequencies.pop()
            if abs(found - expected) > OTHER_FIELD * abs(expected) + 2.0 * np.pi:
                raise ImplausibleValue(
                    "the pulses of the sequence are not at its offsets in the field of the pool system",
                    where=self.protocol.name,
                    found=f"{found / (2.0 * np.pi):g} Hz at {offset_ppm:g} ppm",
                    needed=f"{expected / (2.0 * np.pi):g} Hz at {self.pools.field_t:g} T",
                    next_step="give the field that the sequence was made for, or make it for this one",
                )
