"""Recovery of the magnetisation: T1 from inversion, saturation and Look-Locker times, with polarity restored.

A block of voxels is scanned on a grid of rates (`imgtheranostics.kernels.recovery_grid`) for every sign
pattern that a recovery can have. The patterns that come near the best are searched in float64
(`imgtheranostics.kernels.recovery_voxel`), and `imgtheranostics.kernels.recovery_choice` decides.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lanes import BLOCK, blank, list_chosen, take
from imgtheranostics.kernels.recovery_block import RATE, STEPS, refine
from imgtheranostics.kernels.recovery_block import ROWS as LANE_ROWS
from imgtheranostics.kernels.recovery_choice import FREE_SIGN, HIGH, LOW, decide, search
from imgtheranostics.kernels.recovery_grid import ROWS, SQUARES, normalise, scan

CHUNK = 1024
"""Voxels that one thread takes at a time."""

N_VALUES = 10
"""Numbers of one voxel, see `recovery_voxel.report`."""

SIGNED, MAGNITUDE, EITHER = 0, 1, 2
"""Signals with sign, magnitudes, or magnitudes unless a sample of the voxel is negative."""

NEARLY = 4.0
"""A polarity whose sum of squares on the grid is this many times the smallest is still searched."""

GRID_ERROR = 7e-4
"""What half a step of the grid may add to a sum of squares, relative to that of the signal."""

_MASKED_OUT, _INVALID_INPUT = 1, 4


@njit(cache=True, nogil=True, error_model="numpy")
def _best_polarities(best, n_polarities, rates, negative, rows):
    """The polarity that explains most of every lane, and its rate on the grid.

    negative : (BLOCK,) int64; rows : (recovery_block.ROWS,) float64
    """
    for lane in range(BLOCK):
        chosen = 0
        for j in range(1, n_polarities):
            if best[2 * j * BLOCK + lane] > best[2 * chosen * BLOCK + lane]:
                chosen = j
        negative[lane] = chosen
        rows[RATE + lane] = rates[int(best[(2 * chosen + 1) * BLOCK + lane])]


@njit(cache=True, nogil=True, error_model="numpy")
def _starts(best, squares, lane, rates, n_used, chosen, refined, starts):
    """Rates to begin with for the polarities worth a search, 0 for the others."""
    least = np.inf
    for j in range(n_used):
        least = min(least, squares - best[2 * j * BLOCK + lane])
    limit = NEARLY * max(least, 0.0) + GRID_ERROR * squares
    for j in range(starts.size):
        starts[j] = 0.0
        if j < n_used and squares - best[2 * j * BLOCK + lane] <= limit:
            starts[j] = rates[int(best[(2 * j + 1) * BLOCK + lane])]
    if starts[chosen] > 0.0 and refined > 0.0:
        starts[chosen] = refined


@njit(cache=True, nogil=True, error_model="numpy")
def _usable(y, kind):
    """Whether the samples are finite, not all 0, and have the sign that they must have."""
    largest, smallest = 0.0, 0.0
    for i in range(y.size):
        if not np.isfinite(y[i]):
            return False, False
        largest = max(largest, y[i])
        smallest = min(smallest, y[i])
    if largest == 0.0 and smallest == 0.0:
        return False, False
    return kind != MAGNITUDE or smallest >= 0.0, smallest < 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_chunk(
    samples,
    order,
    model,
    pair,
    kind,
    limits,
    rates,
    first,
    second,
    chosen,
    places,
    begin,
    planes,
    iterations,
    flags,
):
    """Voxels [begin, begin + CHUNK) of `fit_recovery`."""
    n, n_voxels = samples.shape
    end = min(begin + CHUNK, n_voxels)
    voxels = np.empty(CHUNK + 1, np.int64)
    count = list_chosen(chosen, begin, end, voxels)
    if count < end - begin:
        blank(begin, end, _MASKED_OUT, planes, flags)
    n_polarities = 1 if kind == SIGNED else n
    signal = np.empty((n, BLOCK), np.float32)
    rows = np.empty(ROWS, np.float32)
    best = np.empty(2 * n_polarities * BLOCK, np.float32)
    y = np.empty(n)
    curves = np.empty((n, BLOCK))
    e, d = np.empty((n, BLOCK)), np.zeros((n, BLOCK))
    lanes = np.empty(LANE_ROWS)
    negative_samples = np.empty(BLOCK, np.int64)
    signed, work = np.empty(n), np.empty((4, n))
    times, repetition_times, coefficients = model[0], model[1], model[2]
    starts = np.empty(n_polarities)
    candidates = np.empty((n_polarities, 4))
    records = np.empty((n_polarities + 1, 10))
    values = np.empty(N_VALUES)
    bounds = limits.copy()
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        for i in range(n):
            take(samples[order[i]], voxels, start, stop, signal[i])
            take(samples[order[i]], voxels, start, stop, curves[i])
        normalise(signal, rows)
        scan(signal, first, second, n_polarities, rows, best)
        _best_polarities(best, n_polarities, rates, negative_samples, lanes)
        refine(curves, negative_samples, model, pair, limits[LOW], limits[HIGH], e, d, lanes)
        for lane in range(stop - start):
            voxel = voxels[start + lane]
            for i in range(n):
                y[i] = curves[i, lane]
            usable, negative = _usable(y, kind)
            used = 0
            if usable:
                n_used = 1 if negative else n_polarities
                if kind == EITHER:
                    bounds[FREE_SIGN] = 0.0 if negative else 1.0
                squares, refined = rows[SQUARES + lane], lanes[RATE + lane]
                _starts(best, squares, lane, rates, n_used, negative_samples[lane], refined, starts)
                used = STEPS + search(
                    y,
                    times,
                    repetition_times,
                    coefficients,
                    pair,
                    bounds,
                    starts,
                    candidates,
                    records,
                    signed,
                    work,
                )
                flag = decide(y, pair, bounds, candidates, records, signed, values)
            else:
                flag = _INVALID_INPUT
                values[:] = np.nan
            iterations[voxel] = used
            flags[voxel] = flag
            n_places = places.size
            for row in range(n_places):
                planes[row, voxel] = values[places[row]]
                planes[n_places + row, voxel] = values[4 + places[row]]
            planes[2 * n_places, voxel] = values[8]
            planes[2 * n_places + 1, voxel] = values[9]


@njit(cache=True, nogil=True, parallel=True)
def fit_recovery(
    samples, order, model, pair, kind, limits, rates, first, second, chosen, places, planes, iterations, flags
):
    """Time constant, amplitudes and their errors of every chosen voxel.

    samples : (n, n_voxels) float64, read only
    order : (n,) int64, the samples in order of time
    model : (3, max(n, 4)) float64; times and repetition times in that order, coefficients k0, k1, k2, m2
    pair : bool, whether there is a second component
    kind : int, `SIGNED`, `MAGNITUDE` or `EITHER`
    limits : (7,) float64, see `recovery_choice`
    rates : (n_grid,) float64, 1/s; first, second : (n_grid, n) float32, see `recovery_grid.scan`
    chosen : (n_voxels,) bool
    places : (p,) int64, which of T, c1, k and T (k - 1) are wanted
    planes : (2 p + 2, n_voxels) float64; those, their standard errors, R^2 and RMSE
    iterations, flags : (n_voxels,) int16 and uint16
    """
    n_chunks = (samples.shape[1] + CHUNK - 1) // CHUNK
    for chunk in prange(n_chunks):
        _fit_chunk(
            samples,
            order,
            model,
            pair,
            kind,
            limits,
            rates,
            first,
            second,
            chosen,
            places,
            chunk * CHUNK,
            planes,
            iterations,
            flags,
        )
