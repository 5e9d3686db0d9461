"""From peak, time to peak and width of each curve to what is reported of it, with standard errors.

Every reported quantity is ``P^a k^b F(ln w) + c t0``: F is tabulated with its derivative and interpolated by
cubics, so that a map costs no more special functions than its table.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from imgtheranostics.kernels.bolus_shapes import GAMMA_VARIATE, LOGNORMAL

_PEAK, _TIME, _ARRIVAL, _WIDTH, _BASELINE = range(5)
_DECIBELS = 10.0 / math.log(10.0)


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
def _error(g0, g1, g2, g3, g4, known, c):
    """Standard error of what has this gradient; parameters without effect add nothing.

    known : (5,) float64, 0 where the parameter has no error; c : (5, 5) float64, 0 there
    """
    lost = (1.0 - known[0]) * abs(g0) + (1.0 - known[1]) * abs(g1) + (1.0 - known[2]) * abs(g2)
    lost += (1.0 - known[3]) * abs(g3) + (1.0 - known[4]) * abs(g4)
    if lost > 0.0:
        return np.nan
    total = g0 * g0 * c[0, 0] + g1 * g1 * c[1, 1] + g2 * g2 * c[2, 2] + g3 * g3 * c[3, 3] + g4 * g4 * c[4, 4]
    total += 2.0 * g0 * (g1 * c[1, 0] + g2 * c[2, 0] + g3 * c[3, 0] + g4 * c[4, 0])
    total += 2.0 * g1 * (g2 * c[2, 1] + g3 * c[3, 1] + g4 * c[4, 1])
    total += 2.0 * g2 * (g3 * c[3, 2] + g4 * c[4, 2]) + 2.0 * g3 * g4 * c[4, 3]
    return math.sqrt(max(total, 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _own_parameter(model, value, duration):
    """What does not scale with peak and time to peak, and its derivatives by peak, time to peak and ln w."""
    peak, width = value[_PEAK], math.exp(value[_WIDTH])
    if model == LOGNORMAL:
        return math.log(duration) + width * width, 0.0, 1.0 / duration, 2.0 * width * width
    if model == GAMMA_VARIATE:
        lever = 1.0 - math.log(duration)
        amplitude = peak * math.exp(width * lever)
        return amplitude, amplitude / peak, -amplitude * width / duration, amplitude * width * lever
    return np.nan, 0.0, 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _power(value, exponent):
    """Value to the power -1, 0 or 1."""
    if exponent > 0.0:
        return value
    return 1.0 / value if exponent < 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _describe_rest(model, value, duration, known, own, row, out, errors):
    """The model's own parameter, the peak in dB and the baseline, from `row` on."""
    peak, base = value[_PEAK], value[_BASELINE]
    out[row], by_peak, by_time, by_width = _own_parameter(model, value, duration)
    errors[row] = _error(by_peak, by_time, -by_time, by_width, 0.0, known, own)
    out[row + 1] = errors[row + 1] = np.nan
    if base > 0.0:
        out[row + 1] = _DECIBELS * math.log1p(peak / base)
        scale = _DECIBELS / (base + peak)
        errors[row + 1] = _error(scale, 0.0, 0.0, 0.0, -scale * peak / base, known, own)
    out[row + 2] = base
    errors[row + 2] = math.sqrt(own[_BASELINE, _BASELINE])


@njit(cache=True, nogil=True, error_model="numpy")
def describe_curves(model, values, covariances, lowest, step, table, slopes, powers, out, errors):
    """Reported quantities of each curve.

    values : (m, 5), covariances : (m, 5, 5) float64 of `bolus_fit.fit_bolus`
    lowest, step : first node and spacing of ln w in the table
    table, slopes : (K, nodes) float64, F and its derivative by ln w
    powers : (K, 3) float64; a and b, each -1, 0 or 1, and c
    out, errors : (K + 3, m) float64
        After the K rows the model's own parameter, the peak in dB over the baseline, and the baseline.
    """
    m = values.shape[0]
    last = table.shape[1] - 2
    known, own = np.empty(5), np.empty((5, 5))
    for v in range(m):
        peak, duration = values[v, _PEAK], values[v, _TIME] - values[v, _ARRIVAL]
        if not (peak > 0.0 and duration > 0.0):
            out[:, v] = np.nan
            errors[:, v] = np.nan
            continue
        for j in range(5):
            known[j] = 1.0 if covariances[v, j, j] == covariances[v, j, j] else 0.0
        for j in range(5):
            for k in range(5):
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
                a * result / peak, by_time, shift - by_time, scale * by_width, 0.0, known, own
            )
        _describe_rest(model, values[v], duration, known, own, table.shape[0], out[:, v], errors[:, v])
