"""Noise of spectra that share their offsets, from fourth divided differences, with voxels as SIMD lanes."""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.z_spline import BLOCK, FAST

STENCIL = 5
"""Samples in a difference."""

DIP_LEVEL = 0.6
"""Differences that reach into the water dip below this part of its depth are left out: it bends too much."""

LEAST_USED = 8
"""Differences below which all of them are used, the dip included."""

CLIP = 1.5
CLIPPED_SQUARE = 0.7784654
"""Standard deviations at which a difference is clipped, and the mean square of normal noise so clipped."""

ROUNDS = 4


@njit(cache=True, nogil=True, error_model="numpy")
def fill_dips(z, n, low, high, arg, first, last):
    """First and last sample of the dip around each lane's lowest one; none where too little would be left.

    z : (n * BLOCK,) float64; low, high : (BLOCK,) float64; arg, first, last : (BLOCK,) int64
    """
    for lane in range(BLOCK):
        level = low[lane] + DIP_LEVEL * (high[lane] - low[lane])
        i = j = arg[lane]
        while i > 0 and z[(i - 1) * BLOCK + lane] < level:
            i -= 1
        while j < n - 1 and z[(j + 1) * BLOCK + lane] < level:
            j += 1
        if max(0, i - STENCIL + 1) + max(0, n - j - STENCIL) < LEAST_USED:
            i, j = 2 * n, -1
        first[lane], last[lane] = i, j


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def fill_noise(z, differences, first, last, r, sums, noise):
    """Noise of each lane.

    z : (n * BLOCK,) float64; differences : (n - 4, STENCIL) float64, of length one
    first, last : (BLOCK,) int64 of `fill_dips`
    r : (n * BLOCK,) float64, sums : (2 * BLOCK,) float64; workspace
    noise : (BLOCK,) float64
    """
    n_rows = differences.shape[0]
    total, count = sums[:BLOCK], sums[BLOCK : 2 * BLOCK]
    for lane in range(BLOCK):
        total[lane] = 0.0
        count[lane] = 0.0
    for i in range(n_rows):
        a, b, c, d, e = (
            differences[i, 0],
            differences[i, 1],
            differences[i, 2],
            differences[i, 3],
            differences[i, 4],
        )
        rows = z[i * BLOCK : (i + STENCIL) * BLOCK]
        row = r[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            size = abs(
                a * rows[lane]
                + b * rows[BLOCK + lane]
                + c * rows[2 * BLOCK + lane]
                + d * rows[3 * BLOCK + lane]
                + e * rows[4 * BLOCK + lane]
            )
            used = 1.0 if (i + STENCIL - 1 < first[lane] or i > last[lane]) else 0.0
            row[lane] = size * used
            total[lane] += size * used
            count[lane] += used
    for lane in range(BLOCK):
        noise[lane] = np.sqrt(0.5 * np.pi) * total[lane] / count[lane]
    for _ in range(ROUNDS):
        for lane in range(BLOCK):
            total[lane] = 0.0
        for i in range(n_rows):
            row = r[i * BLOCK : (i + 1) * BLOCK]
            for lane in range(BLOCK):
                size = min(row[lane], CLIP * noise[lane])
                total[lane] += size * size
        for lane in range(BLOCK):
            noise[lane] = np.sqrt(total[lane] / (CLIPPED_SQUARE * count[lane]))
