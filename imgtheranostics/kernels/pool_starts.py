"""Which of several starts a fit of pools begins at: the one whose linear fit leaves least, lane by lane."""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.lane_vector import LANES, keep_apart, store
from imgtheranostics.kernels.pool_evaluation import evaluate, row_bounds, workspace


@njit(cache=True, nogil=True, error_model="numpy")
def place_start(lane, code, starts, k, water, lowest, lower, upper, values):
    """Put a start into a lane: row code // 2, with water at the lowest sample where the code is odd."""
    start = starts[code // 2]
    for j in range(start.size):
        values[j * LANES + lane] = start[j]
    if code % 2 == 1 and water >= 0:
        place = 2 + k + 2 * water
        values[place * LANES + lane] = min(max(lowest, lower[place]), upper[place])


@njit(cache=True, nogil=True, error_model="numpy")
def lowest_sample(curve, x):
    """Offset of the lowest sample."""
    least = 0
    for i in range(x.size):
        if curve[i] < curve[least]:
            least = i
    return x[least]


@njit(cache=True, nogil=True, error_model="numpy")
def choose_starts(curves, first, last, design, starts, avoided, lower, upper, start_of):
    """Code of the best start of each voxel of a chunk, among all rows of `starts` but the one avoided.

    avoided : (m,) int64, a row or -1; start_of : (m,) int64, on return the codes of `place_start`
    """
    keep_apart()
    x, _, _, shapes, water, shared, plateau, table, _ = design
    n, k, width = x.size, shapes.size, starts.shape[1]
    count = 1 + k
    size = count + count % 2
    none, row_of = np.empty(0, np.int64), np.full(width, -1, np.int64)
    row_of[:count] = np.arange(count)
    lines = (x, none, row_of, shapes, water, shared, plateau, table, np.zeros(count))
    work, low, high = workspace(n, size), row_bounds(none, k, size, lower), row_bounds(none, k, size, upper)
    z, values = np.zeros(n * LANES), np.ones(width * LANES)
    squares, least, lowest = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    for group in range(first, last, LANES):
        for lane in range(LANES):
            voxel = min(group + lane, last - 1)
            lowest[lane], least[lane] = lowest_sample(curves[voxel], x), np.inf
            for i in range(n):
                z[i * LANES + lane] = curves[voxel, i]
        for code in range(2 * starts.shape[0]):
            for lane in range(LANES):
                place_start(lane, code, starts, k, water, lowest[lane], lower, upper, values)
            store(squares, 0, evaluate(lines, n, k, size, count, True, low, high, values, z, work))
            for lane in range(min(LANES, last - group)):
                if squares[lane] < least[lane] and avoided[group + lane] != code // 2:
                    least[lane], start_of[group + lane] = squares[lane], code
