"""Saturation by radiofrequency: trains of equal pulses over a list of offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_system import PoolSystem
from imgtheranostics.cest.pulse_program import DELAY, PULSE, SPOIL, DoubleArray, Program
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.io.saturation_offsets import LARGEST_B1_UT

FARTHEST_OFFSET_PPM = 3000.0
"""Reference images lie at -300 ppm, in old protocols at -1560 ppm."""

WIDE_PPM = 60.0
FEWEST_OFFSETS = 5
"""Of so many different offsets, not more than half lie beyond `WIDE_PPM`, or they are in Hz."""

LONGEST_S = 1000.0


@dataclass(frozen=True, eq=False)
class PulseTrain:
    """Equal saturation pulses at each offset of a Z-spectrum.

    Attributes
    ----------
    offset_ppm : (n,) array_like
        Offsets of the spectrum from nominal water, in any order.
    pulse_b1_ut : (m,) array_like
        B1 of one pulse during each of its samples, uT; one sample is a block pulse of `sample_s`.
    sample_s : float
        Duration of each sample, s.
    n_pulses : int
    pulse_interval_s : float
        Gap between the end of a pulse and the next one, s. The transmitter's phase runs on through it.
    post_delay_s : float
        From the end of the last pulse to the readout, s.
    spoil_between_pulses : bool
        Whether transverse magnetisation is gone when the next pulse begins.
    """

    offset_ppm: npt.ArrayLike
    pulse_b1_ut: npt.ArrayLike
    sample_s: float
    n_pulses: int = 1
    pulse_interval_s: float = 0.0
    post_delay_s: float = 0.0
    spoil_between_pulses: bool = True

    def __init__(
        self,
        offset_ppm: npt.ArrayLike,
        pulse_b1_ut: npt.ArrayLike,
        sample_s: float,
        *,
        n_pulses: int = 1,
        pulse_interval_s: float = 0.0,
        post_delay_s: float = 0.0,
        spoil_between_pulses: bool = True,
    ) -> None:
        offsets = np.array(offset_ppm, np.float64, ndmin=1)
        samples = np.array(pulse_b1_ut, np.float64, ndmin=1)
        for name, values in (("offset_ppm", offsets), ("pulse_b1_ut", samples)):
            if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
                raise ValueError(f"{name} must be a list of finite numbers")
            values.setflags(write=False)
        if int(n_pulses) != n_pulses or n_pulses < 1:
            raise ValueError(f"n_pulses must be a whole number of at least 1, found {n_pulses}")
        _check_duration("sample_s", sample_s, positive=True)
        _check_duration("pulse_interval_s", pulse_interval_s)
        _check_duration("post_delay_s", post_delay_s)
        check_offsets(offsets)
        check_b1(samples)
        for name, value in (
            ("offset_ppm", offsets),
            ("pulse_b1_ut", samples),
            ("sample_s", float(sample_s)),
            ("n_pulses", int(n_pulses)),
            ("pulse_interval_s", float(pulse_interval_s)),
            ("post_delay_s", float(post_delay_s)),
            ("spoil_between_pulses", bool(spoil_between_pulses)),
        ):
            object.__setattr__(self, name, value)

    @property
    def offsets(self) -> DoubleArray:
        """The offsets as an array, ppm."""
        return np.asarray(self.offset_ppm, np.float64)

    @property
    def samples(self) -> DoubleArray:
        """B1 of one pulse as an array, uT."""
        return np.asarray(self.pulse_b1_ut, np.float64)

    @property
    def pulse_s(self) -> float:
        """Duration of one pulse, s."""
        return self.samples.size * self.sample_s

    @property
    def duration_s(self) -> float:
        """From the start of the first pulse to the end of the last one, s."""
        return self.n_pulses * (self.pulse_s + self.pulse_interval_s) - self.pulse_interval_s

    @property
    def duty_cycle(self) -> float:
        """Part of the time between two pulses' starts that a pulse takes."""
        return self.pulse_s / (self.pulse_s + self.pulse_interval_s)

    @property
    def b1_mean_ut(self) -> float:
        """Mean B1 of one pulse, its flip angle over gamma times duration, uT."""
        return float(self.samples.mean())

    @property
    def b1_rms_ut(self) -> float:
        """Root mean square of B1 over one pulse, uT."""
        return float(np.sqrt(np.mean(self.samples**2)))

    @property
    def b1_cwpe_ut(self) -> float:
        """B1 of the continuous wave of equal power, the gaps included, uT."""
        return self.b1_rms_ut * float(np.sqrt(self.duty_cycle))

    def program(self, pools: PoolSystem) -> Program:
        """What happens at each offset, in the field of a pool system."""
        step = [PULSE] + [SPOIL] * self.spoil_between_pulses + [DELAY] * (self.pulse_interval_s > 0)
        kind = (step * self.n_pulses)[: len(step) * (self.n_pulses - 1) + 1]
        delays = [self.pulse_interval_s] * (self.pulse_interval_s > 0)
        item = [0] * len(kind)
        if self.post_delay_s > 0:
            kind, item = [*kind, DELAY], [*item, len(delays)]
            delays.append(self.post_delay_s)
        kinds = np.array(kind, np.int64)
        order = np.cumsum(kinds == PULSE) - 1
        began = np.where(kinds == PULSE, order, 0) * (self.pulse_s + self.pulse_interval_s)
        frequency = np.multiply.outer(self.offsets * pools.larmor_rad_per_s_ppm, kinds == PULSE)
        n = self.offsets.size
        return Program(
            amplitude=pools.gamma_rad_per_s_ut * self.samples,
            phase=np.zeros(self.samples.size),
            first_sample=np.array([0, self.samples.size], np.int64),
            sample_s=np.array([self.sample_s]),
            delay_s=np.array(delays, np.float64),
            kind=np.tile(kinds, n),
            item=np.tile(np.array(item, np.int64), n),
            frequency=frequency.ravel(),
            start_phase=np.mod(frequency * began, 2.0 * np.pi).ravel(),
            first_event=np.arange(n + 1, dtype=np.int64) * kinds.size,
        )


def check_offsets(offset_ppm: DoubleArray) -> None:
    """Refuse offsets that are in Hz."""
    distinct = np.unique(offset_ppm)
    size = np.abs(distinct)
    wide = int(np.count_nonzero(size > WIDE_PPM))
    if size.max() > FARTHEST_OFFSET_PPM or (distinct.size >= FEWEST_OFFSETS and 2 * wide > distinct.size):
        raise ImplausibleValue(
            "the saturation offsets are not plausible in ppm",
            where="offset_ppm",
            found=f"{wide} of {distinct.size} beyond {WIDE_PPM:g}, the farthest {size.max():g}",
            needed=f"offsets in ppm, at most {FARTHEST_OFFSET_PPM:g}",
            next_step="divide offsets in Hz by the scanner's frequency in MHz",
        )


def check_b1(b1_ut: DoubleArray) -> None:
    """Refuse B1 that is in another unit."""
    largest = float(np.abs(b1_ut).max())
    if largest > LARGEST_B1_UT:
        raise ImplausibleValue(
            "the B1 of a saturation pulse is not plausible",
            where="pulse_b1_ut",
            found=f"{largest:g} uT",
            needed=f"at most {LARGEST_B1_UT:g} uT",
            next_step="give B1 in uT; Hz divided by 42.5764 are uT",
        )


def _check_duration(name: str, value: float, *, positive: bool = False) -> None:
    if not np.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be {'above zero' if positive else 'zero or more'}, found {value}")
    if value > LONGEST_S:
        raise ImplausibleValue(
            f"{name} is not plausible",
            found=f"{value:g} s",
            needed=f"at most {LONGEST_S:g} s",
            next_step="give durations in s, not in ms",
        )
