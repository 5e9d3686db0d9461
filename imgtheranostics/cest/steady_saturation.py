"""Z-spectra of saturation that has gone on for ever: linear equations are solved, no pseudo-inverse."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_system import PoolSystem
from imgtheranostics.cest.pool_tables import Tables, both_maps, run_kernel, tabulated
from imgtheranostics.cest.pulse_program import DoubleArray
from imgtheranostics.cest.pulse_train import PulseTrain


def steady_state(
    pools: PoolSystem,
    train: PulseTrain,
    *,
    b0_ppm: npt.ArrayLike = 0.0,
    relative_b1: npt.ArrayLike = 1.0,
    workers: int | None = None,
) -> DoubleArray:
    """Z-spectra after a train that has gone on for ever; its number of pulses does not matter.

    Parameters
    ----------
    pools : PoolSystem
    train : PulseTrain
        Constant B1 without a gap is continuous saturation; other pulses must be spoiled between.
    b0_ppm, relative_b1, workers
        As for `simulate`.

    Returns
    -------
    (..., n) ndarray
        Mz/M0 of water `post_delay_s` after the end of a pulse.

    Raises
    ------
    ValueError
        If transverse magnetisation goes over from one pulse to the next, or shapes do not fit together.
    ImplausibleValue
        As `simulate`.
    """
    from imgtheranostics.kernels.threads import thread_limit

    shift, field = both_maps(b0_ppm, relative_b1)
    b0 = shift.ravel() + pools.b0_inhomogeneity_ppm
    b1 = field.ravel() * pools.relative_b1
    tables = tabulated([pools])
    continuous = train.pulse_interval_s == 0 and bool(np.all(train.samples == train.samples[0]))
    if not (continuous or train.spoil_between_pulses):
        raise ValueError("the steady state of a pulse train needs spoil_between_pulses")
    with thread_limit(workers):
        if continuous:
            magnetisation = _of_continuous_wave(tables, pools, train, b0, b1)
        else:
            magnetisation = _of_spoiled_pulses(tables, pools, train, b0, b1)
        z = _after_delay(tables, train, magnetisation)
    return z.reshape(*shift.shape, train.offsets.size)


def _of_continuous_wave(
    tables: Tables, pools: PoolSystem, train: PulseTrain, b0_ppm: DoubleArray, relative_b1: DoubleArray
) -> DoubleArray:
    """Longitudinal magnetisation of the pools where its derivative is zero, (v, n, k)."""
    from imgtheranostics.kernels.bloch_mcconnell import fill_matrix

    k, n_full = tables.pools.shape[1], tables.n_full
    m = 2 * n_full + k
    found = np.full((b0_ppm.size, train.offsets.size, k), np.nan)
    matrix = np.empty((m + 1, m + 1))
    amplitude = pools.gamma_rad_per_s_ut * float(train.samples[0])
    for v in np.flatnonzero(np.isfinite(b0_ppm) & np.isfinite(relative_b1)):
        for i, offset in enumerate(train.offsets * tables.larmor):
            field = (tables.line, tables.larmor, b0_ppm[v] * tables.larmor, offset)
            fill_matrix(tables.pools[0], n_full, *field, amplitude * relative_b1[v], matrix)
            found[v, i] = np.linalg.solve(matrix[:m, :m], -matrix[:m, m])[2 * n_full :]
    return found


def _of_spoiled_pulses(
    tables: Tables, pools: PoolSystem, train: PulseTrain, b0_ppm: DoubleArray, relative_b1: DoubleArray
) -> DoubleArray:
    """Longitudinal magnetisation of the pools that a gap and a pulse bring back, (v, n, k)."""
    k, count = tables.pools.shape[1], b0_ppm.size
    gap = train.pulse_interval_s
    program = PulseTrain(train.offsets, train.samples, train.sample_s, post_delay_s=gap).program(pools)
    if gap > 0:
        program = dataclasses.replace(
            program,
            **{
                name: np.ascontiguousarray(getattr(program, name).reshape(-1, 2)[:, ::-1]).ravel()
                for name in ("kind", "item", "frequency", "start_phase")
            },
        )
    starts = np.vstack([np.zeros(k), np.eye(k)])
    ends = run_kernel(
        tables,
        program,
        np.zeros(count * (k + 1), np.int64),
        np.repeat(b0_ppm, k + 1),
        np.repeat(relative_b1, k + 1),
        np.tile(starts, (count, 1)),
        True,
    ).reshape(count, k + 1, -1, k)
    recovered = ends[:, 0]
    kept = np.moveaxis(ends[:, 1:] - ends[:, :1], 1, -1)
    found = np.full((count, train.offsets.size, k), np.nan)
    given = np.isfinite(recovered).all(axis=(1, 2))
    found[given] = np.linalg.solve(np.eye(k) - kept[given], recovered[given][..., np.newaxis])[..., 0]
    return found


def _after_delay(tables: Tables, train: PulseTrain, magnetisation: DoubleArray) -> DoubleArray:
    """Water relative to the relaxed one after the delay that ends the train, (v, n)."""
    from imgtheranostics.kernels import matrix_exponential as matrices
    from imgtheranostics.kernels.bloch_mcconnell import fill_matrix

    first = 2 * tables.n_full
    n = first + tables.pools.shape[1] + 1
    matrix = np.empty((n, n))
    fill_matrix(tables.pools[0], tables.n_full, tables.line, tables.larmor, 0.0, 0.0, 0.0, matrix)
    free = np.ascontiguousarray(matrix[first:, first:])
    change = np.empty_like(free)
    matrices.exponential(free, train.post_delay_s, np.empty((matrices.N_MATRICES, *free.shape)), change)
    water: DoubleArray = (magnetisation @ change[0, :-1] + change[0, -1]) / tables.pools[0, 0, 0]
    return water
