"""Simulation of Z-spectra by the Bloch-McConnell equations, for any number of pools and any saturation.

Water at 0 ppm, downfield positive. Magnetisation is fully relaxed at the start of each offset (unless the
pool system says otherwise), the result is the longitudinal magnetisation of water over the relaxed one. A
positive B0 inhomogeneity moves water, and all pools with it, to a positive offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_file import read_pools as read_pools
from imgtheranostics.cest.pool_system import FARTHEST_B0_PPM, LARGEST_RELATIVE_B1
from imgtheranostics.cest.pool_system import ExchangePool as ExchangePool
from imgtheranostics.cest.pool_system import MtPool as MtPool
from imgtheranostics.cest.pool_system import PoolSystem as PoolSystem
from imgtheranostics.cest.pool_system import WaterPool as WaterPool
from imgtheranostics.cest.pulse_program import Program
from imgtheranostics.cest.pulse_train import PulseTrain as PulseTrain
from imgtheranostics.cest.seq_protocol import Protocol as Protocol
from imgtheranostics.cest.seq_protocol import read_sequence as read_sequence
from imgtheranostics.errors import ImplausibleValue

DoubleArray = npt.NDArray[np.float64]

LINE_CODES = {"none": 0, "lorentzian": 1, "super_lorentzian": 2, "full": 0}
"""Codes of `kernels.mt_line`."""


def simulate(
    pools: PoolSystem | Sequence[PoolSystem],
    sequence: PulseTrain | Protocol,
    *,
    b0_ppm: npt.ArrayLike = 0.0,
    relative_b1: npt.ArrayLike = 1.0,
    workers: int | None = None,
) -> DoubleArray:
    """Z-spectra of pool systems after a saturation sequence.

    Parameters
    ----------
    pools : PoolSystem or sequence of PoolSystem
        Several give the result a leading axis.
    sequence : PulseTrain or Protocol
        A train of equal pulses, or what `read_sequence` returns.
    b0_ppm : array_like
        Where water lies, ppm; added to the inhomogeneity of the pool system. NaN gives NaN.
    relative_b1 : array_like
        Actual over nominal B1; multiplied with that of the pool system. NaN gives NaN.
    workers : int, optional
        Threads; all by default. The result does not depend on it.

    Returns
    -------
    (..., n) ndarray
        Mz/M0 of water in the order of the sequence's offsets. The leading shape is that of `b0_ppm` and
        `relative_b1` together, behind an axis for the pool systems if there are several.

    Raises
    ------
    ImplausibleValue
        If a B0 shift or a relative B1 is in another unit, or the sequence was made for another field.
    ValueError
        If shapes do not fit together, or there is no pool system.
    """
    from imgtheranostics.kernels.threads import thread_limit

    systems = [pools] if isinstance(pools, PoolSystem) else list(pools)
    if not systems:
        raise ValueError("no pool system is given")
    shift, field = _maps(b0_ppm, relative_b1)
    shape = shift.shape if isinstance(pools, PoolSystem) else (len(systems), *shift.shape)
    n = sequence.offsets.size
    z = np.empty((len(systems), shift.size, n))
    with thread_limit(workers):
        for members in _alike(systems):
            group = [systems[m] for m in members]
            z[members] = _simulate_alike(group, sequence, shift.ravel(), field.ravel())
    return z.reshape(*shape, n)


def _maps(b0_ppm: npt.ArrayLike, relative_b1: npt.ArrayLike) -> tuple[DoubleArray, DoubleArray]:
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


def _alike(systems: Sequence[PoolSystem]) -> list[list[int]]:
    """Numbers of the systems that differ in numbers alone, so that one call of the kernel takes them."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, system in enumerate(systems):
        key = (
            len(system.exchange),
            system.mt.line_shape if system.mt else None,
            system.larmor_rad_per_s_ppm,
            system.gamma_rad_per_s_ut,
            system.max_pulse_samples,
            system.reset_magnetisation,
        )
        groups.setdefault(key, []).append(number)
    return list(groups.values())


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
    scale: DoubleArray,
    reset: bool,
) -> DoubleArray:
    """Spectra, one for each entry of `row` (its pool system), as (v, n)."""
    from imgtheranostics.kernels import bloch_mcconnell as kernels

    z = np.empty((row.size, program.n_offsets))
    kernels.simulate(
        tables.pools,
        tables.n_full,
        tables.line,
        tables.larmor,
        b0_ppm * tables.larmor,
        relative_b1,
        scale,
        row,
        program.arrays,
        program.longitudinal,
        reset,
        z,
    )
    return z


def _simulate_alike(
    systems: Sequence[PoolSystem],
    sequence: PulseTrain | Protocol,
    b0_ppm: DoubleArray,
    relative_b1: DoubleArray,
) -> DoubleArray:
    first, count = systems[0], b0_ppm.size
    of_system = [(s.b0_inhomogeneity_ppm, s.relative_b1, s.scale) for s in systems]
    own_b0, own_b1, scale = np.repeat(np.array(of_system).T, count, axis=1)
    z = run_kernel(
        tabulated(systems),
        sequence.program(first),
        np.repeat(np.arange(len(systems)), count),
        own_b0 + np.tile(b0_ppm, len(systems)),
        own_b1 * np.tile(relative_b1, len(systems)),
        scale,
        first.reset_magnetisation,
    )
    return z.reshape(len(systems), count, -1)
