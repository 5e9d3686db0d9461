"""Replenishment after a destruction pulse, f = C + A (1 - exp(-b t)), fitted to many curves.

A and C are linear and are eliminated, which leaves ln b: the best of a table of rates is where a bounded
Gauss-Newton search begins.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from imgtheranostics.kernels.curve_errors import residual_covariance

AMPLITUDE, LN_RATE, BASELINE = 0, 1, 4
"""Places in values and covariances; the others are not used."""

CONVERGED, UNDETERMINED, NO_RISE, AT_BOUND = 1, 2, 4, 8

LONGEST_STEP = 1.0
LEAST_STEP = 1e-11
LEAST_DETERMINANT = 1e-13
"""Of the correlation matrix, below which amplitude, rate and baseline are not told apart."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _products(e, y):
    s0 = s1 = s2 = 0.0
    for i in range(y.size):
        s0 += e[i]
        s1 += e[i] * e[i]
        s2 += e[i] * y[i]
    return s0, s1, s2


@njit(cache=True, nogil=True, error_model="numpy")
def _explained(e, y, free_baseline):
    """Amplitude, mean of e to be taken off, and the sum of squares that the growth explains."""
    s0, s1, s2 = _products(e, y)
    share = s0 / y.size if free_baseline else 0.0
    own = s1 - share * s0
    if not own > 1e-14 * s1:
        return 0.0, share, 0.0
    amplitude = s2 / own
    return amplitude, share, amplitude * s2


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_growth(time, rate, e, by_ln):
    for i in range(time.size):
        e[i] = -math.expm1(-rate * time[i])
        by_ln[i] = rate * time[i] * math.exp(-rate * time[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _direction(e, by_ln, y, amplitude, share, free_baseline):
    """Gradient of half the sum of squares by ln b, and its curvature without A and C."""
    gradient, own, with_growth, growth, mean = 0.0, 0.0, 0.0, 0.0, 0.0
    if free_baseline:
        for i in range(y.size):
            mean += by_ln[i] / y.size
    for i in range(y.size):
        a, g = by_ln[i] - mean, e[i] - share
        gradient += a * (amplitude * g - y[i])
        own += a * a
        with_growth += a * g
        growth += g * g
    curvature = own - with_growth * with_growth / growth if growth > 0.0 else 0.0
    return amplitude * gradient, amplitude * amplitude * curvature


@njit(cache=True, nogil=True, error_model="numpy")
def _search(time, y, free_baseline, limits, ln_rate, most, e, by_ln):
    """Minimum from a start; ln b, amplitude, mean of the growth, iterations, and whether it has settled."""
    _fill_growth(time, math.exp(ln_rate), e, by_ln)
    amplitude, share, explained = _explained(e, y, free_baseline)
    for iteration in range(1, most + 1):
        gradient, curvature = _direction(e, by_ln, y, amplitude, share, free_baseline)
        if not curvature > 0.0:
            return ln_rate, amplitude, share, iteration, False
        step = min(max(-gradient / curvature, -LONGEST_STEP), LONGEST_STEP)
        for _ in range(40):
            trial = min(max(ln_rate + step, limits[0]), limits[1])
            _fill_growth(time, math.exp(trial), e, by_ln)
            amplitude, share, better = _explained(e, y, free_baseline)
            if better >= explained - 1e-15 * abs(explained):
                break
            step *= 0.5
        moved = abs(trial - ln_rate)
        ln_rate, explained = trial, better
        if moved <= LEAST_STEP:
            return ln_rate, amplitude, share, iteration, True
    return ln_rate, amplitude, share, most, False


@njit(cache=True, nogil=True, error_model="numpy")
def _invert_scaled(m, inverse):
    """Inverse of a symmetric (3, 3) matrix with a unit diagonal; False where it is nearly singular."""
    a = 1.0 - m[1, 2] * m[1, 2]
    b = m[1, 2] * m[0, 2] - m[0, 1]
    c = m[0, 1] * m[1, 2] - m[0, 2]
    determinant = a + m[0, 1] * b + m[0, 2] * c
    if not determinant > LEAST_DETERMINANT:
        return False
    inverse[0, 0], inverse[1, 1] = a / determinant, (1.0 - m[0, 2] * m[0, 2]) / determinant
    inverse[2, 2] = (1.0 - m[0, 1] * m[0, 1]) / determinant
    inverse[0, 1] = inverse[1, 0] = b / determinant
    inverse[0, 2] = inverse[2, 0] = c / determinant
    inverse[1, 2] = inverse[2, 1] = (m[0, 1] * m[0, 2] - m[1, 2]) / determinant
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _inverse(rows, free_baseline, free_rate, inverse):
    """Inverse of the normal matrix of A, ln b and C where they are free, else 0; False where singular."""
    inverse[:] = 0.0
    used = np.array([0, 1, 4])
    keep = np.array([True, free_rate, free_baseline])
    matrix, small, size = np.zeros((3, 3)), np.empty((3, 3)), np.ones(3)
    for i in range(rows.shape[1]):
        line = (keep[0] * rows[0, i], keep[1] * rows[1, i], keep[2] * 1.0)
        for j in range(3):
            for k in range(3):
                matrix[j, k] += line[j] * line[k]
    for j in range(3):
        size[j] = math.sqrt(matrix[j, j]) if keep[j] else 1.0
        if not size[j] > 0.0:
            return False
    for j in range(3):
        for k in range(3):
            matrix[j, k] = 1.0 if j == k else matrix[j, k] / (size[j] * size[k])
    if not _invert_scaled(matrix, small):
        return False
    for j in range(3):
        for k in range(3):
            both = 1.0 if keep[j] and keep[k] else 0.0
            inverse[used[j], used[k]] = both * small[j, k] / (size[j] * size[k])
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(
    y, level, free_baseline, free_rate, amplitude, share, rows, lines, matrices, covariance, statistics
):
    """Residuals, covariance and statistics; False where the errors are not determined."""
    n = y.size
    left = 0.0
    for i in range(n):
        fitted = amplitude * (rows[0, i] - share)
        lines[5, i] = fitted - y[i]
        lines[4, i] = fitted + level
        rows[1, i] *= amplitude
        left += lines[5, i] * lines[5, i]
    rows[2] = 0.0
    rows[3] = 0.0
    statistics[0] = left
    if not _inverse(rows, free_baseline, free_rate, matrices[4]):
        return False
    statistics[2] = residual_covariance(rows, lines[5], lines[4], matrices[4], lines, matrices, covariance)
    if not free_rate:
        covariance[LN_RATE, :] = np.nan
        covariance[:, LN_RATE] = np.nan
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def fit_replenishment(
    free_baseline, time, curves, rates, most, values, covariances, statistics, iterations, state
):
    """Fit amplitude, rate and baseline of each curve, one after the other.

    free_baseline : bool, else it is 0; time : (n,) float64, s since the burst, not below 0
    curves : (m, n) float64, finite; rates : (r,) float64, increasing; the first and the last are the bounds
    values : (m, 5), covariances : (m, 5, 5) float64; A, ln b and C at their places
    statistics : (m, 3) float64, as of `bolus_fit`; iterations : (m,) int32; state : (m,) uint8
    """
    m, n = curves.shape
    table = np.empty((rates.size, n))
    unused = np.empty(n)
    for r in range(rates.size):
        _fill_growth(time, rates[r], table[r], unused)
    limits = (math.log(rates[0]), math.log(rates[rates.size - 1]))
    y, rows, lines, matrices = np.empty(n), np.empty((5, n)), np.empty((6, n)), np.empty((5, 5, 5))
    for v in range(m):
        mean = curves[v].mean()
        level = mean if free_baseline else 0.0
        around = 0.0
        for i in range(n):
            y[i] = curves[v, i] - level
            around += (curves[v, i] - mean) * (curves[v, i] - mean)
        values[v, :] = np.nan
        covariances[v] = np.nan
        statistics[v, 0] = statistics[v, 1] = around
        statistics[v, 2] = np.nan
        iterations[v] = 0
        state[v] = NO_RISE
        best, start = 0.0, -1
        for r in range(rates.size):
            amplitude, _, explained = _explained(table[r], y, free_baseline)
            if amplitude > 0.0 and explained > best:
                best, start = explained, r
        if start < 0 or not around > 1e-24 * n * mean * mean:
            continue
        ln_rate, amplitude, share, count, settled = _search(
            time, y, free_baseline, limits, math.log(rates[start]), most, rows[0], rows[1]
        )
        iterations[v] = count
        if not amplitude > 0.0:
            continue
        free_rate = limits[0] < ln_rate < limits[1]
        determined = _describe(
            y, level, free_baseline, free_rate, amplitude, share, rows, lines, matrices, covariances[v],
            statistics[v],
        )  # fmt: skip
        values[v, AMPLITUDE], values[v, LN_RATE] = amplitude, ln_rate
        values[v, BASELINE] = level - amplitude * share
        state[v] = (
            (CONVERGED if settled else 0)
            + (0 if determined else UNDETERMINED)
            + (0 if free_rate else AT_BOUND)
        )
