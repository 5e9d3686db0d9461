"""What a scanner does at each offset as a list of events: pulses, delays, spoilers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

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
