"""What a scanner does at each offset as a list of events: pulses, delays, spoilers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_system import PoolSystem
from imgtheranostics.cest.pulse_train import DoubleArray, PulseTrain

PULSE, DELAY, SPOIL = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Program:
    """Events of each offset, in the order of time, and the pulses and delays that they name.

    Attributes
    ----------
    amplitude, phase : (s,) ndarray
        Samples of all pulses, rad/s of the nutation and rad.
    first_sample : (p + 1,) ndarray
        Where each pulse begins among them.
    sample_s : (p,) ndarray
        Duration of a sample of each pulse, s.
    delay_s : (d,) ndarray
        Different delays, s.
    kind, item : (e,) ndarray
        PULSE, DELAY or SPOIL, and which pulse or delay.
    frequency, start_phase : (e,) ndarray
        Of pulses: rad/s from nominal water, and phase in the frame of nominal water when it starts.
    first_event : (n + 1,) ndarray
        Where each offset begins among the events.
    """

    amplitude: DoubleArray
    phase: DoubleArray
    first_sample: npt.NDArray[np.int64]
    sample_s: DoubleArray
    delay_s: DoubleArray
    kind: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    frequency: DoubleArray
    start_phase: DoubleArray
    first_event: npt.NDArray[np.int64]

    @property
    def n_offsets(self) -> int:
        """Offsets of the spectrum."""
        return int(self.first_event.size) - 1

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """What the kernel takes, with whether the pulse of each event comes again at the same offset."""
        offset = np.repeat(np.arange(self.n_offsets), np.diff(self.first_event))
        keys = np.stack([offset, self.kind, self.item, self.frequency])
        _, inverse, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
        return (
            self.amplitude,
            self.phase,
            self.first_sample,
            self.sample_s,
            self.delay_s,
            self.kind,
            self.item,
            self.frequency,
            self.start_phase,
            counts[inverse.ravel()] > 1,
            self.first_event,
        )

    @property
    def longitudinal(self) -> bool:
        """Whether each pulse finds no transverse magnetisation, so that phases do not matter."""
        for first, stop in zip(self.first_event[:-1], self.first_event[1:], strict=True):
            transverse = False
            for kind in self.kind[first:stop]:
                if kind == PULSE and transverse:
                    return False
                transverse = kind == PULSE or (transverse and kind != SPOIL)
        return True


def train_program(train: PulseTrain, larmor_rad_per_s_ppm: float, gamma_rad_per_s_ut: float) -> Program:
    """The events of a pulse train in a field."""
    step = [PULSE] + [SPOIL] * train.spoil_between_pulses + [DELAY] * (train.pulse_interval_s > 0)
    pause = step[1:]
    kind = (step * train.n_pulses)[: len(step) * train.n_pulses - len(pause)]
    delays = [train.pulse_interval_s] * (train.pulse_interval_s > 0)
    item = [0] * len(kind)
    if train.post_delay_s > 0:
        kind, item = [*kind, DELAY], [*item, len(delays)]
        delays.append(train.post_delay_s)
    kinds = np.array(kind, np.int64)
    began = np.where(kinds == PULSE, np.cumsum(kinds == PULSE) - 1, 0) * (
        train.pulse_s + train.pulse_interval_s
    )
    frequency = np.multiply.outer(train.offsets * larmor_rad_per_s_ppm, kinds == PULSE)
    n = train.offsets.size
    return Program(
        amplitude=gamma_rad_per_s_ut * train.samples,
        phase=np.zeros(train.samples.size),
        first_sample=np.array([0, train.samples.size], np.int64),
        sample_s=np.array([train.sample_s]),
        delay_s=np.array(delays, np.float64),
        kind=np.tile(kinds, n),
        item=np.tile(np.array(item, np.int64), n),
        frequency=frequency.ravel(),
        start_phase=np.mod(frequency * began, 2.0 * np.pi).ravel(),
        first_event=np.arange(n + 1, dtype=np.int64) * kinds.size,
    )


def compiled(sequence: PulseTrain, pools: PoolSystem) -> Program:
    """The events of a saturation sequence in the field of a pool system."""
    return train_program(sequence, pools.larmor_rad_per_s_ppm, pools.gamma_rad_per_s_ut)
