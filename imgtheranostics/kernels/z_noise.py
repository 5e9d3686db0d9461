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
CLOSE = 0.04
"""Change of a clipped level, as a fraction of its square, at which it stays."""

GAIN = 2.5
"""Steps are so much larger than the change, which for normal noise goes 0.4 of the way."""

LEAST_STEP = 0.25
"""Part of the square that a step leaves at least."""

TRIM = 2.5
TRIMMED_SQUARE = 0.9112566
"""Standard deviations beyond which a difference is left out, and the mean square of normal noise within."""

N_ROWS = 7


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _widen(row, number, at_low, low, depth, part, first, last):
    """First and last sample below a part of the depth around the lowest, from one sample after the other."""
    for lane in range(BLOCK):
        above = row[lane] >= low[lane] + part * depth[lane]
        first[lane] = number + 1.0 if above & (number < at_low[lane]) else first[lane]
        ends = above & (number > at_low[lane]) & (number <= last[lane])
        last[lane] = number - 1.0 if ends else last[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def fill_dips(z, n, low, high, arg, sums):
    """First and last sample of the dip around each lane's lowest one, in the rows 3 and 4 of `sums`.

    In the rows 0 and 1 those that are left out: of a smaller part of it, or none, where too little would be
    left.

    z : (n * BLOCK,) float64; low, high : (BLOCK,) float64; arg : (BLOCK,) int64
    sums : (N_ROWS * BLOCK,) float64
    """
    first, last = sums[:BLOCK], sums[BLOCK : 2 * BLOCK]
    at_low, depth = sums[2 * BLOCK : 3 * BLOCK], sums[5 * BLOCK : 6 * BLOCK]
    wide_first, wide_last = sums[3 * BLOCK : 4 * BLOCK], sums[4 * BLOCK : 5 * BLOCK]
    first[:] = 0.0
    wide_first[:] = 0.0
    last[:] = n - 1.0
    wide_last[:] = n - 1.0
    for lane in range(BLOCK):
        at_low[lane] = arg[lane]
        depth[lane] = high[lane] - low[lane]
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        _widen(row, float(i), at_low, low, depth, DIP_LEVELS[0], wide_first, wide_last)
        _widen(row, float(i), at_low, low, depth, DIP_LEVELS[1], first, last)
    for lane in range(BLOCK):
        if _n_left(wide_first[lane], wide_last[lane], n) >= LEAST_USED:
            first[lane], last[lane] = wide_first[lane], wide_last[lane]
        elif _n_left(first[lane], last[lane], n) < LEAST_USED:
            first[lane], last[lane] = 2.0 * n, -1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _n_left(first, last, n):
    """Differences that do not reach into a dip."""
    return max(0.0, first - STENCIL + 1.0) + max(0.0, n - last - STENCIL)


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
                noise[lane] = np.sqrt(max(square + GAIN * (clipped - square), LEAST_STEP * square))
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
