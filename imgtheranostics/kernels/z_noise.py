"""Noise of spectra that share their offsets, from fourth divided differences, with voxels as SIMD lanes."""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.z_spline import BLOCK, FAST

STENCIL = 5
"""Samples in a difference."""

DIP_LEVELS = (0.6, 0.3)
"""Differences that reach into the water dip below these parts of its depth are left out: it bends too much.
The first that leaves enough of them counts, else none are left out ..."""

LEAST_USED = 8
"""... which is so many."""

TOO_MUCH = 3.0
"""... unless all of them are this much larger than the two or more outside of the dip: it is too narrow."""

CLIPPED_SQUARE = 0.5160585
"""Mean square of normal noise that is clipped at its standard deviation."""

MOST_ROUNDS = 30
CLOSE = 0.02
"""Change of a clipped level, as a fraction of its square, at which it stays."""

TRIM = 2.5
TRIMMED_SQUARE = 0.9112566
"""Standard deviations beyond which a difference is left out, and the mean square of normal noise within."""

N_ROWS = 7


@njit(cache=True, nogil=True, error_model="numpy")
def fill_dips(z, n, low, high, arg, sums):
    """First and last sample of the dip around each lane's lowest one, in the rows 3 and 4 of `sums`.

    In the rows 0 and 1 those that are left out: of a smaller part of it, or none, where too little would be
    left.

    z : (n * BLOCK,) float64; low, high : (BLOCK,) float64; arg : (BLOCK,) int64
    sums : (N_ROWS * BLOCK,) float64
    """
    for lane in range(BLOCK):
        sums[lane], sums[BLOCK + lane] = 2 * n, -1
        for part in range(len(DIP_LEVELS)):
            level = low[lane] + DIP_LEVELS[part] * (high[lane] - low[lane])
            i = j = arg[lane]
            while i > 0 and z[(i - 1) * BLOCK + lane] < level:
                i -= 1
            while j < n - 1 and z[(j + 1) * BLOCK + lane] < level:
                j += 1
            if part == 0:
                sums[3 * BLOCK + lane], sums[4 * BLOCK + lane] = i, j
            if max(0, i - STENCIL + 1) + max(0, n - j - STENCIL) >= LEAST_USED:
                sums[lane], sums[BLOCK + lane] = i, j
                break


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _fill_differences(rows, weights, number, row, sums):
    """Sizes of one difference, 0 where it reaches into the dip, and their sums.

    rows : (STENCIL * BLOCK,), row : (BLOCK,) float64
    sums : (N_ROWS * BLOCK,) float64, as in `fill_noise`: one array, since the compiler gives up on many
    """
    a, b, c, d, e = weights[0], weights[1], weights[2], weights[3], weights[4]
    end = number + (STENCIL - 1.0)
    for lane in range(BLOCK):
        size = abs(
            a * rows[lane]
            + b * rows[BLOCK + lane]
            + c * rows[2 * BLOCK + lane]
            + d * rows[3 * BLOCK + lane]
            + e * rows[4 * BLOCK + lane]
        )
        size = size if (end < sums[lane]) | (number > sums[BLOCK + lane]) else 0.0
        row[lane] = size
        sums[2 * BLOCK + lane] += size


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _add_clipped(row, noise, total):
    """Squares of the sizes, clipped at the noise; all (BLOCK,) float64."""
    for lane in range(BLOCK):
        size = row[lane] if row[lane] < noise[lane] else noise[lane]
        total[lane] += size * size


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _add_trimmed(row, noise, total, count):
    """Squares of the sizes within reach of the noise, and their number; all (BLOCK,) float64."""
    for lane in range(BLOCK):
        size = row[lane] if row[lane] <= TRIM * noise[lane] else 0.0
        total[lane] += size * size
        count[lane] += 1.0 if row[lane] <= TRIM * noise[lane] else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(r, n_rows, noise, total, left_out):
    """From the mean size to the level that equals its own clipped mean square.

    Up to a third of the differences may have any size. Each lane stays once it is close, so that none
    depends on those beside it.
    """
    moving = True
    rounds = 0
    while moving and rounds < MOST_ROUNDS:
        moving = False
        rounds += 1
        total[:] = 0.0
        for i in range(n_rows):
            _add_clipped(r[i * BLOCK : (i + 1) * BLOCK], noise, total)
        for lane in range(BLOCK):
            square = noise[lane] * noise[lane]
            clipped = total[lane] / (CLIPPED_SQUARE * (n_rows - left_out[lane]))
            if abs(clipped - square) > CLOSE * square:
                noise[lane] = np.sqrt(clipped)
                moving = True


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def fill_noise(z, differences, r, sums, noise):
    """Noise of each lane.

    z : (n * BLOCK,) float64; differences : (n - 4, STENCIL) float64, of length one
    r : (n * BLOCK,) float64, workspace
    sums : (N_ROWS * BLOCK,) float64, first and last samples of `fill_dips`, and workspace
    noise : (BLOCK,) float64
    """
    n_rows = differences.shape[0]
    first, last, total = sums[:BLOCK], sums[BLOCK : 2 * BLOCK], sums[2 * BLOCK : 3 * BLOCK]
    left_out = sums[5 * BLOCK : 6 * BLOCK]
    total[:] = 0.0
    for i in range(n_rows):
        rows, row = z[i * BLOCK : (i + STENCIL) * BLOCK], r[i * BLOCK : (i + 1) * BLOCK]
        _fill_differences(rows, differences[i], float(i), row, sums)
    for lane in range(BLOCK):
        within = min(last[lane], n_rows - 1.0) - max(first[lane] - (STENCIL - 1.0), 0.0) + 1.0
        left_out[lane] = max(within, 0.0)
        noise[lane] = np.sqrt(0.5 * np.pi) * total[lane] / (n_rows - left_out[lane])
    _settle(r, n_rows, noise, total, left_out)
    total[:] = 0.0
    count = sums[6 * BLOCK : 7 * BLOCK]
    count[:] = 0.0
    for i in range(n_rows):
        _add_trimmed(r[i * BLOCK : (i + 1) * BLOCK], noise, total, count)
    for lane in range(BLOCK):
        noise[lane] = np.sqrt(total[lane] / (TRIMMED_SQUARE * max(count[lane] - left_out[lane], 1.0)))
    for lane in range(BLOCK):
        if sums[lane] == 2 * (n_rows + STENCIL - 1):
            noise[lane] = _without_dip(r, n_rows, lane, sums, noise[lane])


@njit(cache=True, nogil=True, error_model="numpy")
def _without_dip(r, n_rows, lane, sums, whole):
    """The noise of the differences outside of the dip where that of all is far larger.

    Not known where there are none and few in all: a dip of few samples is not smooth to them.
    """
    total, count = 0.0, 0
    for i in range(n_rows):
        if i + STENCIL - 1 < sums[3 * BLOCK + lane] or i > sums[4 * BLOCK + lane]:
            total += r[i * BLOCK + lane]
            count += 1
    if count < 2:
        return whole if n_rows >= LEAST_USED else np.nan
    clean = np.sqrt(0.5 * np.pi) * total / count
    return clean if TOO_MUCH * clean < whole else whole
