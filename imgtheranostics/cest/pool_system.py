"""Pools of protons that exchange with water: what a Bloch-McConnell simulation is about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.errors import ImplausibleValue

LineShape = Literal["lorentzian", "super_lorentzian", "full", "none"]
"""How a pool of bound protons is saturated: by a line shape along z only, in all three components, or not."""

T1_LIMITS_S = (1e-4, 60.0)
T2_LIMITS_S = (1e-6, 10.0)
"""T2 outside is a rate, or in ms (cest.md section 5)."""

FASTEST_EXCHANGE_PER_S = 1e7
FARTHEST_POOL_PPM = 100.0
"""Chemical shift beyond which an offset is taken for one in Hz."""

FIELD_LIMITS_T = (0.005, 40.0)
GAMMA_LIMITS = (200.0, 300.0)
"""rad/(s uT): protons and fluorine; 42.58 MHz/T and 2.675e8 rad/(s T) are outside."""

FARTHEST_B0_PPM = 20.0
LARGEST_RELATIVE_B1 = 5.0

Limit = tuple[str, float, float, float, str]
"""Name, value, least and largest value, next step."""


@dataclass(frozen=True, slots=True)
class WaterPool:
    """Free water.

    Attributes
    ----------
    t1_s, t2_s : float
        Relaxation times, s.
    fraction : float
        Size of the pool, 1 by convention; the other fractions are in the same unit.
    """

    t1_s: float
    t2_s: float
    fraction: float = 1.0

    def __post_init__(self) -> None:
        check(self.limits())
        _check_t2_of_t1(self.t1_s, self.t2_s)

    def limits(self) -> Iterator[Limit]:
        """What each value may be."""
        yield from _relaxation(self.t1_s, self.t2_s)
        yield "fraction", self.fraction, 1e-6, 1.0, "give fractions relative to water, which is 1"


@dataclass(frozen=True, slots=True)
class ExchangePool:
    """Protons that exchange with water: amide, amine, hydroxyl, a drug's, or a relayed effect.

    Attributes
    ----------
    name : str
    fraction : float
        Protons relative to those of water, below 1.
    t1_s, t2_s : float
        Relaxation times, s.
    exchange_rate_per_s : float
        From the pool to water, 1/s.
    offset_ppm : float
        Chemical shift from water, downfield positive.
    """

    name: str
    fraction: float
    t1_s: float
    t2_s: float
    exchange_rate_per_s: float
    offset_ppm: float

    def __post_init__(self) -> None:
        check(self.limits())
        _check_t2_of_t1(self.t1_s, self.t2_s)

    def limits(self) -> Iterator[Limit]:
        """What each value may be."""
        yield from _relaxation(self.t1_s, self.t2_s)
        yield from _exchange(self.fraction, self.exchange_rate_per_s, self.offset_ppm)


@dataclass(frozen=True, slots=True)
class MtPool:
    """Protons bound to macromolecules, whose transverse magnetisation lives for microseconds.

    Attributes
    ----------
    fraction, t1_s, t2_s, exchange_rate_per_s, offset_ppm : float
        As for `ExchangePool`.
    line_shape : {"lorentzian", "super_lorentzian", "full", "none"}
        The first two saturate the longitudinal magnetisation at the rate w1^2 g(dw) of that line, the
        transverse one is left out; ``full`` treats the pool like any other (both differ by up to 30 % in the
        fraction that belongs to a spectrum); ``none`` exchanges without being saturated.
    """

    fraction: float
    t1_s: float
    t2_s: float
    exchange_rate_per_s: float
    offset_ppm: float
    line_shape: LineShape = "lorentzian"

    def __post_init__(self) -> None:
        if self.line_shape not in get_args(LineShape):
            raise ValueError(f"line_shape must be one of {get_args(LineShape)}, found {self.line_shape!r}")
        check(self.limits())
        _check_t2_of_t1(self.t1_s, self.t2_s)

    def limits(self) -> Iterator[Limit]:
        """What each value may be."""
        yield from _relaxation(self.t1_s, self.t2_s)
        yield from _exchange(self.fraction, self.exchange_rate_per_s, self.offset_ppm)


@dataclass(frozen=True, slots=True)
class PoolSystem:
    """Water and all that exchanges with it, in a field, and how the simulation is to go about it.

    Attributes
    ----------
    water : WaterPool
    exchange : tuple of ExchangePool
    mt : MtPool or None
    field_t : float
        Static field, T.
    gamma_rad_per_s_ut : float
        Gyromagnetic ratio, rad/(s uT).
    b0_inhomogeneity_ppm : float
        Where water lies; all pools move with it. Added to what `simulate` is given.
    relative_b1 : float
        Actual over nominal B1. Multiplied with what `simulate` is given.
    scale : float
        Magnetisation before each offset, relative to the relaxed one.
    max_pulse_samples : int
        Most steps that a pulse of a sequence file is resampled to.
    reset_magnetisation : bool
        Whether each offset starts anew; otherwise with what the one before left.
    """

    water: WaterPool
    exchange: tuple[ExchangePool, ...] = ()
    mt: MtPool | None = None
    field_t: float = 3.0
    gamma_rad_per_s_ut: float = GAMMA_RAD_PER_S_UT
    b0_inhomogeneity_ppm: float = 0.0
    relative_b1: float = 1.0
    scale: float = 1.0
    max_pulse_samples: int = 500
    reset_magnetisation: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "exchange", tuple(self.exchange))
        names = [pool.name for pool in self.exchange]
        if len(set(names)) < len(names) or {"water", "mt"} & set(names):
            raise ValueError(f"names of pools must differ, and not be 'water' or 'mt'; found {names}")
        if int(self.max_pulse_samples) != self.max_pulse_samples or self.max_pulse_samples < 1:
            raise ValueError(
                f"max_pulse_samples must be a whole number of at least 1: {self.max_pulse_samples}"
            )
        check(self.limits())

    def limits(self) -> Iterator[Limit]:
        """What each value of the scanner may be."""
        yield "field_t", self.field_t, *FIELD_LIMITS_T, "give the field in T, not a frequency in MHz"
        yield "gamma_rad_per_s_ut", self.gamma_rad_per_s_ut, *GAMMA_LIMITS, "give gamma in rad/(s uT)"
        ppm = "give the inhomogeneity in ppm"
        yield "b0_inhomogeneity_ppm", self.b0_inhomogeneity_ppm, -FARTHEST_B0_PPM, FARTHEST_B0_PPM, ppm
        yield "relative_b1", self.relative_b1, 0.0, LARGEST_RELATIVE_B1, "give a ratio, not per cent"
        yield "scale", self.scale, -1.0, 1.0, "give it as a part of the relaxed magnetisation"

    @property
    def larmor_rad_per_s_ppm(self) -> float:
        """What one ppm is, in rad/s."""
        return self.gamma_rad_per_s_ut * self.field_t

    @property
    def n_pools(self) -> int:
        """All pools, water and MT included."""
        return 1 + len(self.exchange) + (self.mt is not None)


def check(limits: Iterator[Limit]) -> None:
    """Refuse the first value that is no number (ValueError) or outside its limits.

    Raises
    ------
    ImplausibleValue
        Its `where` is the name of the value.
    """
    for name, value, low, high, next_step in limits:
        if math.isnan(value):
            raise ValueError(f"{name} is not a number")
        if not low <= value <= high:
            raise ImplausibleValue(
                "a value of a pool system is not plausible",
                where=name,
                found=f"{value:g}",
                needed=f"{low:g} to {high:g}",
                next_step=next_step,
            )


def _relaxation(t1_s: float, t2_s: float) -> Iterator[Limit]:
    yield "t1_s", t1_s, *T1_LIMITS_S, "give T1 in s; a rate is its inverse"
    yield "t2_s", t2_s, *T2_LIMITS_S, "give T2 in s; a rate R2 is its inverse"


def _exchange(fraction: float, rate: float, offset_ppm: float) -> Iterator[Limit]:
    below = math.nextafter(1.0, 0.0)
    yield "fraction", fraction, 0.0, below, "give protons relative to those of water, not per cent"
    yield "exchange_rate_per_s", rate, 0.0, FASTEST_EXCHANGE_PER_S, "give the rate from pool to water in 1/s"
    yield "offset_ppm", offset_ppm, -FARTHEST_POOL_PPM, FARTHEST_POOL_PPM, "give the shift in ppm, not in Hz"


def _check_t2_of_t1(t1_s: float, t2_s: float) -> None:
    if t2_s > 2.0 * t1_s:
        raise ImplausibleValue(
            "T2 of a pool is more than twice its T1, which cannot be",
            where="t2_s",
            found=f"t1_s {t1_s:g}, t2_s {t2_s:g}",
            needed="t2_s of at most 2 t1_s",
            next_step="see whether a rate was given for a time",
        )
