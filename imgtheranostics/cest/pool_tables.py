"""Pool systems and maps as the kernel of the Bloch-McConnell equations takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_system import (
    FARTHEST_B0_PPM,
    LARGEST_RELATIVE_B1,
    ExchangePool,
    MtPool,
    PoolSystem,
)
from imgtheranostics.cest.pulse_program import DoubleArray, Program
from imgtheranostics.errors import ImplausibleValue

LINE_CODES = {"none": 0, "lorentzian": 1, "super_lorentzian": 2, "full": 0}
"""Codes of `kernels.mt_line`."""

BLOCK_BYTES = 1 << 21
"""Magnetisation of all pools that is held at a time."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Pool systems that are alike as the kernel takes them.

    Attributes
    ----------
    pools : (s, k, 5) ndarray
        Fraction, R1, R2, exchange rate in 1/s and shift in rad/s of each pool.
    n_full : int
        Pools with three components, the first ones.
    line : int
        Code of the line shape of the others.
    larmor : float
        rad/s in one ppm.
    """

    pools: DoubleArray
    n_full: int
    line: int
    larmor: float


def tabulated(systems: Sequence[PoolSystem]) -> Tables:
    """Pool systems that are alike as the kernel takes them."""
    first = systems[0]
    larmor = first.larmor_rad_per_s_ppm
    rows = []
    for system in systems:
        water = system.water
        table = [[water.fraction, 1.0 / water.t1_s, 1.0 / water.t2_s, 0.0, 0.0]]
        others: list[ExchangePool | MtPool] = [*system.exchange, *([system.mt] if system.mt else [])]
        for pool in others:
            rates = [1.0 / pool.t1_s, 1.0 / pool.t2_s, pool.exchange_rate_per_s]
            table.append([pool.fraction, *rates, pool.offset_ppm * larmor])
        rows.append(table)
    bound = first.mt is not None and first.mt.line_shape != "full"
    line = LINE_CODES[first.mt.line_shape] if first.mt is not None else 0
    return Tables(np.array(rows, np.float64), first.n_pools - bound, line, larmor)


def run_kernel(
    tables: Tables,
    program: Program,
    row: npt.NDArray[np.int64],
    b0_ppm: DoubleArray,
    relative_b1: DoubleArray,
    initial: DoubleArray,
    reset: bool,
) -> DoubleArray:
    """Longitudinal magnetisation of all pools, for each entry of `row` (its pool system), as (v, n, k)."""
    from imgtheranostics.kernels import bloch_mcconnell as kernels

    z = np.empty((row.size, program.n_offsets, tables.pools.shape[1]))
    kernels.simulate(
        tables.pools,
        tables.n_full,
        tables.line,
        tables.larmor,
        b0_ppm * tables.larmor,
        relative_b1,
        initial,
        row,
        program.arrays,
        program.longitudinal,
        reset,
        z,
    )
    return z


def water_spectra(
    tables: Tables,
    program: Program,
    row: npt.NDArray[np.int64],
    b0_ppm: DoubleArray,
    relative_b1: DoubleArray,
    scale: DoubleArray,
    reset: bool,
) -> DoubleArray:
    """Z of water for each entry of `row` (its pool system), (v, n), some at a time to need little memory.

    `scale` (v,) is the magnetisation at the start relative to the relaxed one.
    """
    z = np.empty((row.size, program.n_offsets))
    block = max(1, BLOCK_BYTES // (8 * program.n_offsets * tables.pools.shape[1]))
    for first in range(0, row.size, block):
        part = slice(first, first + block)
        fractions = tables.pools[row[part], :, 0]
        initial = scale[part, np.newaxis] * fractions
        field = b0_ppm[part], relative_b1[part]
        z[part] = run_kernel(tables, program, row[part], *field, initial, reset)[..., 0] / fractions[:, :1]
    return z


def both_maps(b0_ppm: npt.ArrayLike, relative_b1: npt.ArrayLike) -> tuple[DoubleArray, DoubleArray]:
    """Both maps in their common shape."""
    try:
        shift, field = np.broadcast_arrays(
            np.asarray(b0_ppm, np.float64), np.asarray(relative_b1, np.float64)
        )
    except ValueError:
        found = f"{np.shape(b0_ppm)} and {np.shape(relative_b1)}"
        raise ValueError(
            f"b0_ppm and relative_b1 must have shapes that fit together, found {found}"
        ) from None
    for name, values, low, high, step in (
        ("b0_ppm", shift, -FARTHEST_B0_PPM, FARTHEST_B0_PPM, "give the shift of water in ppm, not in Hz"),
        ("relative_b1", field, 0.0, LARGEST_RELATIVE_B1, "give actual over nominal B1, not per cent"),
    ):
        if ((values < low) | (values > high)).any():
            raise ImplausibleValue(
                f"{name} is not plausible",
                found=f"{np.nanmin(values):g} to {np.nanmax(values):g}",
                needed=f"{low:g} to {high:g}",
                next_step=step,
            )
    return shift, field
