"""From peak, time to peak and width of each curve to what is reported of it, with standard errors.

Every reported quantity is ``P^a k^b F(ln w) + c t0``: F is tabulated with its derivative and interpolated by
cubics, so that a map costs no more special functions than its table.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

CHUNK = 64

_PEAK, _TIME, _ARRIVAL, _WIDTH = range(4)


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolated(table, slopes, row, cell, share, step):
    """Cubic through the values and slopes at both ends of a cell, and its derivative."""
    a, b = table[row, cell], table[row, cell + 1]
    da, db = step * slopes[row, cell], step * slopes[row, cell + 1]
    bend = 3.0 * (b - a) - 2.0 * da - db
    twist = 2.0 * (a - b) + da + db
    value = a + share * (da + share * (bend + share * twist))
    return value, (da + share * (2.0 * bend + 3.0 * share * twist)) / step


@njit(cache=True, nogil=True, error_model="numpy")
def _error(g0, g1, g2, g3, known, c):
    """Standard error of what has this gradient; parameters without effect add nothing.

    known : (4,) float64, 0 where the parameter has no error; c : (4, 4) float64, 0 there
    """
    lost = (1.0 - known[0]) * abs(g0) + (1.0 - known[1]) * abs(g1)
    lost += (1.0 - known[2]) * abs(g2) + (1.0 - known[3]) * abs(g3)
    if lost > 0.0:
        return np.nan
    total = g0 * g0 * c[0, 0] + g1 * g1 * c[1, 1] + g2 * g2 * c[2, 2] + g3 * g3 * c[3, 3]
    total += 2.0 * (g0 * (g1 * c[1, 0] + g2 * c[2, 0] + g3 * c[3, 0]) + g1 * (g2 * c[2, 1] + g3 * c[3, 1]))
    total += 2.0 * g2 * g3 * c[3, 2]
    return math.sqrt(max(total, 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _power(value, exponent):
    """Value to the power -1, 0 or 1."""
    if exponent > 0.0:
        return value
    return 1.0 / value if exponent < 0.0 else 1.0


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def describe_curves(values, covariances, lowest, step, table, slopes, powers, out, errors):
    """Reported quantities of each curve.

    values : (m, 5), covariances : (m, 5, 5) float64 of `bolus_fit.fit_bolus`
    lowest, step : first node and spacing of ln w in the table
    table, slopes : (K, nodes) float64, F and its derivative by ln w
    powers : (K, 3) float64; a and b, each -1, 0 or 1, and c
    out, errors : (K, m) float64
    """
    m = values.shape[0]
    last = table.shape[1] - 2
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        known, own = np.empty(4), np.empty((4, 4))
        for v in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            peak, duration = values[v, _PEAK], values[v, _TIME] - values[v, _ARRIVAL]
            if not (peak > 0.0 and duration > 0.0):
                out[:, v] = np.nan
                errors[:, v] = np.nan
                continue
            for j in range(4):
                known[j] = 1.0 if covariances[v, j, j] == covariances[v, j, j] else 0.0
            for j in range(4):
                for k in range(4):
                    own[j, k] = covariances[v, j, k] if known[j] * known[k] > 0.0 else 0.0
            place = (values[v, _WIDTH] - lowest) / step
            cell = min(max(int(place), 0), last)
            for row in range(table.shape[0]):
                value, by_width = _interpolated(table, slopes, row, cell, place - cell, step)
                a, b, shift = powers[row, 0], powers[row, 1], powers[row, 2]
                scale = _power(peak, a) * _power(duration, b)
                result = scale * value
                by_time = b * result / duration
                out[row, v] = result + shift * values[v, _ARRIVAL]
                errors[row, v] = _error(
                    a * result / peak, by_time, shift - by_time, scale * by_width, known, own
                )
