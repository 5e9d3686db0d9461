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
def _error(gradient, covariance):
    """Standard error of what has this gradient; parameters without effect add nothing, not even NaN."""
    total = 0.0
    for j in range(gradient.size):
        for k in range(gradient.size):
            if gradient[j] != 0.0 and gradient[k] != 0.0:
                total += gradient[j] * gradient[k] * covariance[j, k]
    return math.sqrt(max(total, 0.0)) if total == total else np.nan


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def describe_curves(values, covariances, lowest, step, table, slopes, powers, out, errors):
    """Reported quantities of each curve.

    values : (m, 5), covariances : (m, 5, 5) float64 of `bolus_fit.fit_bolus`
    lowest, step : first node and spacing of ln w in the table
    table, slopes : (K, nodes) float64, F and its derivative by ln w
    powers : (K, 3) float64; a, b and c
    out, errors : (K, m) float64
    """
    m = values.shape[0]
    last = table.shape[1] - 2
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        gradient = np.empty(5)
        for v in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            peak, duration = values[v, _PEAK], values[v, _TIME] - values[v, _ARRIVAL]
            if not (peak > 0.0 and duration > 0.0):
                out[:, v] = np.nan
                errors[:, v] = np.nan
                continue
            place = (values[v, _WIDTH] - lowest) / step
            cell = min(max(int(place), 0), last)
            for row in range(table.shape[0]):
                value, by_width = _interpolated(table, slopes, row, cell, place - cell, step)
                scale = peak ** powers[row, 0] * duration ** powers[row, 1]
                result = scale * value
                gradient[:] = 0.0
                gradient[_PEAK] = powers[row, 0] * result / peak
                gradient[_TIME] = powers[row, 1] * result / duration
                gradient[_ARRIVAL] = powers[row, 2] - gradient[_TIME]
                gradient[_WIDTH] = scale * by_width
                out[row, v] = result + powers[row, 2] * values[v, _ARRIVAL]
                errors[row, v] = _error(gradient, covariances[v])
