"""Recovery curves on a grid of rates: for every polarity of the samples, the rate that explains most.

On the grid the exponentials are known in advance, so a block of voxels takes multiplications only. The places
found are starts for `imgtheranostics.kernels.recovery_voxel`, and show which polarities are worth a search.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.lanes import BLOCK

FAST = {"reassoc", "contract", "arcp", "nsz"}

FIRST, SECOND, SQUARES = range(0, 3 * BLOCK, BLOCK)
ROWS = 3 * BLOCK
"""Length of the workspace of a block."""


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def normalise(signal, rows):
    """Scale every lane to a largest magnitude of 1, and put its sum of squares into SQUARES.

    signal : (n, BLOCK) float32
    """
    n = signal.shape[0]
    for lane in range(BLOCK):
        rows[FIRST + lane] = np.float32(1e-37)
        rows[SQUARES + lane] = 0.0
    for i in range(n):
        y = signal[i]
        for lane in range(BLOCK):
            rows[FIRST + lane] = max(rows[FIRST + lane], abs(y[lane]))
    for lane in range(BLOCK):
        rows[FIRST + lane] = np.float32(1.0) / rows[FIRST + lane]
    for i in range(n):
        y = signal[i]
        for lane in range(BLOCK):
            y[lane] *= rows[FIRST + lane]
            rows[SQUARES + lane] += y[lane] * y[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def scan(signal, first, second, n_polarities, rows, best):
    """Largest explained sum of squares of each polarity, and the grid point where it is.

    signal : (n, BLOCK) float32, in order of time
    first, second : (n_grid, n) float32, orthonormal basis at each rate; `second` is zero for one component
    n_polarities : int; polarity j has the first j samples turned to negative
    rows : (ROWS,) float32
    best : (2 * n_polarities * BLOCK,) float32; for each polarity the explained sum, then the index
    """
    n = signal.shape[0]
    two = np.float32(2.0)
    for j in range(n_polarities):
        record = best[2 * j * BLOCK : 2 * (j + 1) * BLOCK]
        for lane in range(BLOCK):
            record[lane] = -1.0
            record[BLOCK + lane] = 0.0
    for k in range(first.shape[0]):
        for lane in range(BLOCK):
            rows[FIRST + lane] = 0.0
            rows[SECOND + lane] = 0.0
        for i in range(n):
            y, a, b = signal[i], first[k, i], second[k, i]
            for lane in range(BLOCK):
                rows[FIRST + lane] += a * y[lane]
                rows[SECOND + lane] += b * y[lane]
        index = np.float32(k)
        for j in range(n_polarities):
            record = best[2 * j * BLOCK : 2 * (j + 1) * BLOCK]
            y, a, b = signal[j], two * first[k, j], two * second[k, j]
            for lane in range(BLOCK):
                p, q = rows[FIRST + lane], rows[SECOND + lane]
                explained = p * p + q * q
                rows[FIRST + lane] = p - a * y[lane]
                rows[SECOND + lane] = q - b * y[lane]
                better = explained > record[lane]
                record[lane] = explained if better else record[lane]
                record[BLOCK + lane] = index if better else record[BLOCK + lane]
