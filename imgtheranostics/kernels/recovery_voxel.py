"""One recovery curve in float64: search along the rate, choice of the polarity, standard errors.

With R = 1/T1, E = exp(-R t) and D = exp(-R TR) every model is linear in its amplitudes,

    S = c1 g1 + c2 g2,    g1 = k0 + k1 E + k2 D,    g2 = E + m2 D  (or absent),

so the sum of squares has one unknown, R (variable projection). Its slope is that of the residual along
J = c1 g1' + c2 g2'; the curvature is that of Gauss and Newton at first, then the secant.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MOST_STEPS = 60
TOLERANCE = 1e-8
"""Relative step at which the search has settled; steps shrink faster than linearly."""

SSE, C1, C2, SLOPE, CURVATURE, S11, S12, S22, J1, J2 = range(10)
"""Places in the record of a point."""

_NOT_CONVERGED, _OUTSIDE_RANGE, _ILL_CONDITIONED, _NEGATIVE_AMPLITUDE, _AMBIGUOUS = 16, 32, 64, 256, 512


@njit(cache=True, nogil=True, error_model="numpy")
def point(y, times, repetition_times, coefficients, pair, rate, work, out):
    """Best amplitudes at one rate, their sum of squares, and slope and curvature along the rate.

    y, times, repetition_times : (n,) float64
    coefficients : (4,) float64, k0, k1, k2, m2
    pair : bool, whether there is a second component
    work : (4, n) float64; out : (10,) float64, see `SSE` and following
    """
    n = y.size
    finite = coefficients[2] != 0.0 or coefficients[3] != 0.0
    s11, s12, s22, b1, b2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        e = math.exp(-rate * times[i])
        d = math.exp(-rate * repetition_times[i]) if finite else 0.0
        e_slope, d_slope = -times[i] * e, -repetition_times[i] * d
        g1 = coefficients[0] + coefficients[1] * e + coefficients[2] * d
        g2 = e + coefficients[3] * d
        work[0, i] = g1
        work[1, i] = g2
        work[2, i] = coefficients[1] * e_slope + coefficients[2] * d_slope
        work[3, i] = e_slope + coefficients[3] * d_slope
        s11 += g1 * g1
        s12 += g1 * g2
        s22 += g2 * g2
        b1 += g1 * y[i]
        b2 += g2 * y[i]
    if pair:
        determinant = s11 * s22 - s12 * s12
        c1 = (b1 * s22 - b2 * s12) / determinant
        c2 = (b2 * s11 - b1 * s12) / determinant
    else:
        c1, c2, determinant = b1 / s11, 0.0, 1.0
    sse, slope, jj, j1, j2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        residual = y[i] - c1 * work[0, i] - c2 * work[1, i]
        along = c1 * work[2, i] + c2 * work[3, i]
        sse += residual * residual
        slope += residual * along
        jj += along * along
        j1 += along * work[0, i]
        j2 += along * work[1, i]
    shared = j1 * j1 / s11
    if pair:
        shared = (j1 * j1 * s22 - 2.0 * j1 * j2 * s12 + j2 * j2 * s11) / determinant
    out[SSE], out[C1], out[C2], out[SLOPE], out[CURVATURE] = sse, c1, c2, slope, jj - shared
    out[S11], out[S12], out[S22], out[J1], out[J2] = s11, s12, s22, j1, j2


@njit(cache=True, nogil=True, error_model="numpy")
def descend(y, times, repetition_times, coefficients, pair, rate, low, high, work, out, trial):
    """From a start down to the smallest sum of squares within [low, high]; rate, steps, whether it settled.

    `out` holds the record of the point returned, `trial` is scratch of the same length.
    """
    point(y, times, repetition_times, coefficients, pair, rate, work, out)
    rounding = 0.0
    for i in range(y.size):
        rounding += 1e-28 * y[i] * y[i]
    curvature = out[CURVATURE]
    for step in range(1, MOST_STEPS + 1):
        change = out[SLOPE] / curvature
        if abs(change) <= TOLERANCE * rate:
            return rate, step - 1, True
        change = min(max(change, -0.5 * rate), rate)
        target = rate
        for _ in range(30):
            target = min(max(rate + change, low), high)
            point(y, times, repetition_times, coefficients, pair, target, work, trial)
            if trial[SSE] <= out[SSE] * (1.0 + 1e-13) + rounding:
                break
            change *= 0.25
        moved = target - rate
        secant = (out[SLOPE] - trial[SLOPE]) / moved
        out[:] = trial
        rate = target
        if not abs(moved) > TOLERANCE * rate:
            return rate, step, out[SSE] == out[SSE] and moved == moved
        curvature = out[CURVATURE]
        if secant > 0.2 * curvature and secant < 5.0 * curvature:
            curvature = secant
    return rate, MOST_STEPS, False


@njit(cache=True, nogil=True, error_model="numpy")
def report(y, rate, record, pair, values):
    """Time constant, c1, k = -c2/c1, T (k - 1), their standard errors, R^2 and RMSE.

    values : (10,) float64; the errors are those of the covariance s^2 (J'J)^-1, NaN without spare samples
    """
    n = y.size
    mean = 0.0
    for i in range(n):
        mean += y[i] / n
    around = 0.0
    for i in range(n):
        around += (y[i] - mean) ** 2
    n_parameters = 3 if pair else 2
    variance = record[SSE] / (n - n_parameters) if n > n_parameters else np.nan
    s11, s12, s22, j1, j2 = record[S11], record[S12], record[S22], record[J1], record[J2]
    c1, c2 = record[C1], record[C2]
    t = 1.0 / rate
    # inverse of the block matrix [[JJ, J1, J2], [J1, s11, s12], [J2, s12, s22]]
    var_rate = 1.0 / record[CURVATURE]
    if pair:
        determinant = s11 * s22 - s12 * s12
        w1 = (j1 * s22 - j2 * s12) / determinant
        w2 = (j2 * s11 - j1 * s12) / determinant
        v11 = s22 / determinant + w1 * w1 * var_rate
        v22 = s11 / determinant + w2 * w2 * var_rate
        v12 = -s12 / determinant + w1 * w2 * var_rate
    else:
        w1, w2 = j1 / s11, 0.0
        v11, v22, v12 = 1.0 / s11 + w1 * w1 * var_rate, 0.0, 0.0
    k = -c2 / c1
    # d k = -(d c2 + k d c1) / c1, and the covariance of rate with c is -w var_rate
    var_k = (v22 + 2.0 * k * v12 + k * k * v11) / (c1 * c1)
    cov_rate_k = (w2 + k * w1) / c1 * var_rate
    var_t = t**4 * var_rate
    cov_t_k = -t * t * cov_rate_k
    values[0], values[1], values[2], values[3] = t, c1, k, t * (k - 1.0)
    values[4] = math.sqrt(variance * var_t)
    values[5] = math.sqrt(variance * v11)
    values[6] = math.sqrt(variance * var_k)
    values[7] = math.sqrt(variance * ((k - 1.0) ** 2 * var_t + t * t * var_k + 2.0 * t * (k - 1.0) * cov_t_k))
    values[8] = 1.0 - record[SSE] / around
    values[9] = math.sqrt(record[SSE] / n)
