"""Simulation of Z-spectra by the Bloch-McConnell equations, for any number of pools and any saturation.

Water at 0 ppm, downfield positive. Magnetisation is fully relaxed at the start of each offset (unless the
pool system says otherwise), the result is the longitudinal magnetisation of water over the relaxed one. A
positive B0 inhomogeneity moves water, and all pools with it, to a positive offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_file import read_pools as read_pools
from imgtheranostics.cest.pool_system import ExchangePool as ExchangePool
from imgtheranostics.cest.pool_system import MtPool as MtPool
from imgtheranostics.cest.pool_system import PoolSystem as PoolSystem
from imgtheranostics.cest.pool_system import WaterPool as WaterPool
from imgtheranostics.cest.pool_tables import both_maps, tabulated, water_spectra
from imgtheranostics.cest.pulse_program import DoubleArray
from imgtheranostics.cest.pulse_train import PulseTrain as PulseTrain
from imgtheranostics.cest.seq_protocol import Protocol as Protocol
from imgtheranostics.cest.seq_protocol import read_sequence as read_sequence
from imgtheranostics.cest.steady_saturation import steady_state as steady_state


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
    shift, field = both_maps(b0_ppm, relative_b1)
    shape = shift.shape if isinstance(pools, PoolSystem) else (len(systems), *shift.shape)
    n = sequence.offsets.size
    groups = _alike(systems)
    with thread_limit(workers):
        parts = [
            _simulate_alike([systems[m] for m in members], sequence, shift.ravel(), field.ravel())
            for members in groups
        ]
    z = parts[0]
    if len(parts) > 1:
        z = np.empty((len(systems), shift.size, n))
        for members, part in zip(groups, parts, strict=True):
            z[members] = part
    return z.reshape(*shape, n)


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


def _simulate_alike(
    systems: Sequence[PoolSystem],
    sequence: PulseTrain | Protocol,
    b0_ppm: DoubleArray,
    relative_b1: DoubleArray,
) -> DoubleArray:
    first, count = systems[0], b0_ppm.size
    of_system = [(s.b0_inhomogeneity_ppm, s.relative_b1, s.scale) for s in systems]
    own_b0, own_b1, scale = np.repeat(np.array(of_system).T, count, axis=1)
    z = water_spectra(
        tabulated(systems),
        sequence.program(first),
        np.repeat(np.arange(len(systems)), count),
        own_b0 + np.tile(b0_ppm, len(systems)),
        own_b1 * np.tile(relative_b1, len(systems)),
        scale,
        first.reset_magnetisation,
    )
    return z.reshape(len(systems), count, -1)
