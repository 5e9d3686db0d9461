"""Which parameters of a pool system are fitted to Z-spectra, and the spectra for their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_system import (
    FARTHEST_POOL_PPM,
    FASTEST_EXCHANGE_PER_S,
    T1_LIMITS_S,
    T2_LIMITS_S,
    PoolSystem,
)
from imgtheranostics.cest.pool_tables import Tables, tabulated, water_spectra
from imgtheranostics.cest.pulse_program import DoubleArray, Program
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.cest.seq_protocol import Protocol

UNITS = {"fraction": "1", "t1_s": "s", "t2_s": "s", "exchange_rate_per_s": "/s", "offset_ppm": "ppm"}
"""UCUM codes of what may be free."""

_COLUMNS = {"fraction": 0, "t1_s": 1, "t2_s": 2, "exchange_rate_per_s": 3, "offset_ppm": 4}
_LOGARITHMIC = ("t1_s", "t2_s", "exchange_rate_per_s")
_HARD = {
    "fraction": (0.0, math.nextafter(1.0, 0.0)),
    "t1_s": T1_LIMITS_S,
    "t2_s": T2_LIMITS_S,
    "exchange_rate_per_s": (1e-3, FASTEST_EXCHANGE_PER_S),
    "offset_ppm": (-FARTHEST_POOL_PPM, FARTHEST_POOL_PPM),
}
_SMALLEST_FRACTION = 1e-5
"""Fraction below which steps are relative to it: about 1 mmol/L of one proton."""

TRACE = 1e-4
"""Fraction at which a pool is looked at that starts from none."""

RATE_FACTORS = (0.15, 1.0, 6.0)
FRACTION_FACTORS = (0.2, 1.0, 5.0, 25.0)
"""Other starts relative to the given one, for voxels whose first search is in doubt."""

STEP = 1e-5
"""Step of a difference for the Jacobian, relative to the size of a parameter."""


@dataclass(frozen=True, slots=True)
class FreeParameter:
    """One parameter that is fitted.

    Attributes
    ----------
    pool, quantity : str
    row : int
        Of the pool in the table of pools.
    start, low, high : float
        In the parameter's unit.
    """

    pool: str
    quantity: str
    row: int
    start: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """As results are named."""
        return f"{self.pool}_{self.quantity}"

    @property
    def logarithmic(self) -> bool:
        """Whether the search is over its logarithm."""
        return self.quantity in _LOGARITHMIC

    def inner(self, value: float) -> float:
        """As the search sees it."""
        return math.log(value) if self.logarithmic else value

    @property
    def scale(self) -> float:
        """Size near zero below which changes do not matter, as the search sees it."""
        return _SMALLEST_FRACTION if self.quantity == "fraction" else 1.0


def free_parameters(
    pools: PoolSystem,
    free: Mapping[str, str | Sequence[str]],
    bounds: Mapping[str, tuple[float, float]] | None,
) -> tuple[FreeParameter, ...]:
    """The parameters that `free` names, with starts clamped into their bounds.

    Raises
    ------
    ValueError
        If a pool, a parameter or a bound is not known, or bounds are not in order.
    """
    named = {"water": pools.water, **{pool.name: pool for pool in pools.exchange}}
    if pools.mt is not None:
        named["mt"] = pools.mt
    rows = {name: row for row, name in enumerate(("water", *(p.name for p in pools.exchange), "mt"))}
    given = dict(bounds or {})
    found = []
    for pool, wanted in free.items():
        if pool not in named:
            raise ValueError(f"there is no pool {pool!r}; the pools are {', '.join(named)}")
        allowed = ("t1_s", "t2_s") if pool == "water" else tuple(_COLUMNS)
        for quantity in (wanted,) if isinstance(wanted, str) else tuple(wanted):
            if quantity not in allowed:
                raise ValueError(f"{pool} has no free parameter {quantity!r}; it may be {', '.join(allowed)}")
            start = float(getattr(named[pool], quantity))
            low, high = _limits(f"{pool}_{quantity}", quantity, start, given)
            found.append(FreeParameter(pool, quantity, rows[pool], min(max(start, low), high), low, high))
    names = [parameter.name for parameter in found]
    if given:
        raise ValueError(f"bounds are given for what is not free: {', '.join(given)}")
    if not found or len(set(names)) < len(names):
        raise ValueError(f"free must name parameters, each once; found {names}")
    return tuple(found)


def _limits(
    name: str, quantity: str, start: float, given: dict[str, tuple[float, float]]
) -> tuple[float, float]:
    hard_low, hard_high = _HARD[quantity]
    usual = {
        "fraction": (0.0, max(0.5, min(2.0 * start, hard_high))),
        "offset_ppm": (start - 1.0, start + 1.0),
    }.get(quantity, (start / 50.0, start * 50.0))
    low, high = given.pop(name, usual)
    if name not in given and usual == (low, high):
        low, high = max(low, hard_low), min(high, hard_high)
    if not hard_low <= low < high <= hard_high:
        raise ValueError(
            f"bounds of {name} must be increasing and within {hard_low:g} to {hard_high:g}: {low, high}"
        )
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Design:
    """A fit's model: spectra for values of the free parameters.

    Attributes
    ----------
    parameters : tuple of FreeParameter
    pools : PoolSystem
    programs : tuple of Program
        Saturation sequences, whose spectra lie one behind the other.
    tables : Tables
    """

    parameters: tuple[FreeParameter, ...]
    pools: PoolSystem
    programs: tuple[Program, ...]
    tables: Tables

    @classmethod
    def of(
        cls,
        pools: PoolSystem,
        sequences: Sequence[PulseTrain | Protocol],
        parameters: tuple[FreeParameter, ...],
    ) -> Design:
        """The model of some sequences."""
        programs = tuple(sequence.program(pools) for sequence in sequences)
        return cls(parameters, pools, programs, tabulated([pools]))

    @property
    def n_samples(self) -> int:
        """Samples of all spectra together."""
        return sum(program.n_offsets for program in self.programs)

    @property
    def lower(self) -> DoubleArray:
        """Lower bounds as the search sees them."""
        return np.array([p.inner(p.low) for p in self.parameters])

    @property
    def upper(self) -> DoubleArray:
        """Upper bounds as the search sees them."""
        return np.array([p.inner(p.high) for p in self.parameters])

    @property
    def start(self) -> DoubleArray:
        """Starts as the search sees them."""
        return np.array([p.inner(p.start) for p in self.parameters])

    @property
    def scale(self) -> DoubleArray:
        """Sizes near zero."""
        return np.array([p.scale for p in self.parameters])

    def other_starts(self) -> list[DoubleArray]:
        """Starts with all fractions and all rates some times smaller or larger."""
        starts = []
        for rate in RATE_FACTORS:
            for fraction in FRACTION_FACTORS:
                values = []
                for parameter in self.parameters:
                    value = parameter.start
                    if parameter.quantity == "fraction":
                        value = fraction * max(value, TRACE)
                    elif parameter.quantity == "exchange_rate_per_s":
                        value = rate * value
                    values.append(parameter.inner(min(max(value, parameter.low), parameter.high)))
                starts.append(np.array(values))
        return starts

    def outer(self, inner: DoubleArray) -> DoubleArray:
        """Values in their units, of (v, p) values as the search sees them."""
        logarithmic = np.array([p.logarithmic for p in self.parameters])
        return np.where(logarithmic, np.exp(np.where(logarithmic, inner, 0.0)), inner)

    def slope(self, inner: DoubleArray) -> DoubleArray:
        """Derivative of the values by what the search sees."""
        logarithmic = np.array([p.logarithmic for p in self.parameters])
        return np.where(logarithmic, self.outer(inner), 1.0)

    def spectra(self, inner: DoubleArray, b0_ppm: DoubleArray, relative_b1: DoubleArray) -> DoubleArray:
        """Z, (v, n), for (v, p) values as the search sees them and the field of each voxel."""
        count = inner.shape[0]
        table = np.repeat(self.tables.pools, count, axis=0)
        for parameter, values in zip(self.parameters, self.outer(inner).T, strict=True):
            column = _COLUMNS[parameter.quantity]
            if parameter.quantity in ("t1_s", "t2_s"):
                values = 1.0 / values
            elif parameter.quantity == "offset_ppm":
                values = values * self.tables.larmor
            table[:, parameter.row, column] = values
        tables = Tables(table, self.tables.n_full, self.tables.line, self.tables.larmor)
        row, scale = np.arange(count), np.full(count, self.pools.scale)
        reset = self.pools.reset_magnetisation
        parts = [
            water_spectra(tables, program, row, b0_ppm, relative_b1, scale, reset)
            for program in self.programs
        ]
        return np.concatenate(parts, axis=1)

    def jacobian(
        self, inner: DoubleArray, z: DoubleArray, b0_ppm: DoubleArray, relative_b1: DoubleArray
    ) -> DoubleArray:
        """Derivatives of the spectra z at `inner`, (v, n, p), by differences that stay within the bounds."""
        count, p = inner.shape
        step = STEP * np.maximum(np.where(self.scale < 1.0, np.abs(inner), 1.0), self.scale)
        step = np.where(inner + step > self.upper, -step, step)
        moved = np.repeat(inner[np.newaxis], p, axis=0)
        for j in range(p):
            moved[j, :, j] += step[:, j]
        shifted = self.spectra(moved.reshape(-1, p), np.tile(b0_ppm, p), np.tile(relative_b1, p))
        slopes: npt.NDArray[np.float64] = (shifted.reshape(p, count, -1) - z) / step.T[:, :, np.newaxis]
        return np.ascontiguousarray(np.moveaxis(slopes, 0, 2))


def condition_number(jacobian: DoubleArray) -> DoubleArray:
    """Condition of each Jacobian (v, n, p) whose columns have been scaled to unit length.

    Columns without any effect are left out; infinite where nothing is left.
    """
    length = np.sqrt((jacobian**2).sum(axis=1))
    scaled = jacobian / np.where(length > 0, length, 1.0)[:, np.newaxis]
    gram = np.swapaxes(scaled, 1, 2) @ scaled
    gram[:, np.arange(length.shape[1]), np.arange(length.shape[1])] = 1.0
    values = np.linalg.eigvalsh(gram)
    with np.errstate(divide="ignore"):
        condition: DoubleArray = np.sqrt(values[:, -1] / np.maximum(values[:, 0], 0.0))
    return np.where((length > 0).any(axis=1), condition, np.inf)
