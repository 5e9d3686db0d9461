"""Cubic splines through spectra that share their offsets, with voxels as SIMD lanes.

The slopes at the knots solve a tridiagonal system whose matrix is the same for all voxels, so that its
elimination is known beforehand (`imgtheranostics.cest.spline_design`): a sweep up and one down. A block's
samples and slopes are rows of `BLOCK` lanes in two flat arrays, which is what makes the sweeps vectorise.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 128
"""Lanes of a block; 51 offsets then take 51 KiB, and each offset's samples some lines of the cache."""

FAST = {"reassoc", "contract", "arcp", "nsz"}

_LANES, _ONE = np.uintp(BLOCK), np.uintp(1)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def fill_slopes(z, sweep, s):
    """Slopes of the spline at the knots.

    z, s : (n * BLOCK,) float64, a row per knot
    sweep : (4, n) float64; weights of the rise before and after, of the slope below, and of the slope above
    """
    n = sweep.shape[1]
    for i in range(n):
        middle = min(max(i, 1), n - 2)
        low = max(middle - 1, 0) * BLOCK
        before = z[low : low + BLOCK]
        here = z[middle * BLOCK : (middle + 1) * BLOCK]
        after = z[(middle + 1) * BLOCK : (middle + 2) * BLOCK]
        below = max(i - 1, 0) * BLOCK
        previous = s[below : below + BLOCK]
        row = s[i * BLOCK : (i + 1) * BLOCK]
        rise, climb, carried = sweep[0, i], sweep[1, i], sweep[2, i]
        if i == 0:
            for lane in range(BLOCK):
                row[lane] = rise * (here[lane] - before[lane]) + climb * (after[lane] - here[lane])
        else:
            for lane in range(BLOCK):
                row[lane] = (
                    rise * (here[lane] - before[lane])
                    + climb * (after[lane] - here[lane])
                    - carried * previous[lane]
                )
    for i in range(n - 2, -1, -1):
        carried = sweep[3, i]
        row = s[i * BLOCK : (i + 1) * BLOCK]
        above = s[(i + 1) * BLOCK : (i + 2) * BLOCK]
        for lane in range(BLOCK):
            row[lane] -= carried * above[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def interval(place, first, ends, cells, per_ppm):
    """Index of the knot below a place within the range.

    first : the first knot; ends : (n - 1,) float64, the knot above each interval, infinite for the last
    cells : (n_cells + 1,) uintp, index of the knot below the beginning of each cell; per_ppm : cells per ppm
    Unsigned, since a signed index costs a test for a negative one wherever it is used.
    """
    k = cells[np.uintp(np.int64((place - first) * per_ppm))]
    while place >= ends[k]:
        k += _ONE
    return k


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def fill_interval(first, last, begins, ends, b0, at, knot, step, share, low, high, row):
    """Values of the spline at b0 + at for the lanes whose place lies in one interval, low <= place < high.

    first, last, begins, ends : (BLOCK,) float64, samples and slopes at both ends of the interval
    knot, step, share : where it begins, its length and the inverse of that
    """
    for lane in range(BLOCK):
        place = b0[lane] + at
        fraction = (place - knot) * share
        rise = last[lane] - first[lane]
        begin = step * begins[lane]
        cubic = begin + step * ends[lane] - 2.0 * rise
        value = first[lane] + fraction * (begin + fraction * (rise - begin - cubic + fraction * cubic))
        row[lane] = value if (place >= low and place < high) else row[lane]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def slope_in(z, s, k, lane, step, fraction):
    """Slope of the spline in the interval above knot `k`; k, lane : uintp."""
    low = k * _LANES + lane
    high = low + _LANES
    rise = z[high] - z[low]
    begin = step * s[low]
    end = step * s[high]
    cubic = begin + end - 2.0 * rise
    return (begin + fraction * (2.0 * (rise - begin - cubic) + 3.0 * fraction * cubic)) / step


@njit(cache=True, nogil=True, error_model="numpy")
def fill_weights(step, fraction, weights):
    """How samples and slopes at both ends of an interval enter the value in it; weights : (4,) float64."""
    rest = 1.0 - fraction
    weights[0] = rest * rest * (1.0 + 2.0 * fraction)
    weights[1] = fraction * fraction * (3.0 - 2.0 * fraction)
    weights[2] = step * fraction * rest * rest
    weights[3] = -step * fraction * fraction * rest


@njit(cache=True, nogil=True, error_model="numpy")
def shared_variance(gram, k, weights, j, others):
    """Covariance of two values for samples with independent noise of variance 1.

    gram : (2 n, 2 n) float64, covariances of the samples and slopes; k, j : uintp, knots below the two places
    """
    n = np.uintp(gram.shape[0] // 2)
    total = 0.0
    for row in range(4):
        at = k + np.uintp(row & 1) + (n if row > 1 else np.uintp(0))
        part = (
            gram[at, j] * others[0]
            + gram[at, j + _ONE] * others[1]
            + gram[at, n + j] * others[2]
            + gram[at, n + j + _ONE] * others[3]
        )
        total += weights[row] * part
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def clamped(place, first, last):
    """The place, or the end of the range that it lies beyond; the first of it for NaN."""
    return last if place > last else (place if place >= first else first)


@njit(cache=True, nogil=True, error_model="numpy")
def lies_inside(place, first, last):
    """Whether a place is in the range, or only rounding keeps it out."""
    slack = 1e-9 * (last - first)
    return place >= first - slack and place <= last + slack
