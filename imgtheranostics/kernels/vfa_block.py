"""T1 and S0 from signals at several flip angles, by lines and by non-linear least squares.

With E = exp(-TR/T1) and q = 1 - E the spoiled gradient echo is

    S = M h,    1/h = tan(a/2) + q cot a,    M = S0 q,

so the sum of squares has one unknown, q: M = S.h / h.h (variable projection). No difference of nearly equal
numbers occurs in this form, which is why float32 is enough for the blocks. With t = h cot a the derivatives
are h' = -h t and h'' = 2 h t^2, and Newton's step maximises ln((S.h)^2 / h.h).

The line is y = E x + M with x = S cot a and y = S / sin a; as y - x = S tan(a/2) = M - q x, its slope is
found as q = -cov(x, S tan(a/2)) / var(x). Weighted: w = h^2, iterated.


The rows of numbers per lane lie in one flat array at the constant offsets below, since the compiler then sees
without a test that they do not overlap.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from imgtheranostics.kernels.lanes import BLOCK
from imgtheranostics.kernels.vfa_voxel import LINEAR, START_T1_S, WEIGHTED

FAST = {"reassoc", "contract", "arcp", "nsz"}

STEPS = 4
"""Newton steps of a block; what has not settled then goes to the float64 search."""

WEIGHT_STEPS = 6
"""Rounds of weights of a block."""

T1, S0, T1_ERROR, S0_ERROR, R_SQUARED, RMSE = range(0, 6 * BLOCK, BLOCK)
Q, INVERSE_Q, STEP, AMPLITUDE = range(6 * BLOCK, 10 * BLOCK, BLOCK)
MEAN_X, MEAN_D, MEAN_S, INVERSE_SXX, SXX, SXD = range(10 * BLOCK, 16 * BLOCK, BLOCK)
YH, HH, YHT, HHT, HHTT, YHTT = range(16 * BLOCK, 22 * BLOCK, BLOCK)
SQUARES, AROUND, WEIGHTS, VAR_Q, COV_QM, VAR_M = range(22 * BLOCK, 28 * BLOCK, BLOCK)
ROWS = 28 * BLOCK
"""Length of the workspace of a block."""


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def angles(flip_rad, b1, cot, half):
    """Cotangent, and tangent of the half, of each actual flip angle, from the sine of a quarter of it.

    flip_rad : (n,) float64; b1 : (BLOCK,) float32; cot, half : (n, BLOCK) float32; angles below pi
    """
    one, two = np.float32(1.0), np.float32(2.0)
    for i in range(flip_rad.size):
        quarter = np.float32(0.25 * flip_rad[i])
        c_row = cot[i]
        h_row = half[i]
        for lane in range(BLOCK):
            x = quarter * b1[lane]
            z = x * x
            series = np.float32(-1.0 / 5040.0) + z * np.float32(1.0 / 362880.0)
            series = np.float32(-1.0 / 6.0) + z * (np.float32(1.0 / 120.0) + z * series)
            s = x + x * z * series
            half_cosine = one - two * s * s
            half_sine = two * s * math.sqrt(one - s * s)
            tangent = half_sine / half_cosine
            h_row[lane] = tangent
            c_row[lane] = np.float32(0.5) * (one / tangent - tangent)


@njit(cache=True, nogil=True)
def _partner(i, n):
    """The sample that is summed together with sample i, and 0 where there is none.

    Two at a time halve the traffic of the running sums, which is what the blocks spend their time on.
    """
    if i + 1 < n:
        return i + 1, np.float32(1.0)
    return i, np.float32(0.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _line(signal, cot, half, rows):
    """The line through x = S cot a and S tan(a/2); also the mean signal and the sum of squares about it."""
    for lane in range(BLOCK):
        rows[MEAN_X + lane] = 0.0
        rows[MEAN_D + lane] = 0.0
        rows[MEAN_S + lane] = 0.0
        rows[SXX + lane] = 0.0
        rows[SXD + lane] = 0.0
        rows[AROUND + lane] = 0.0
    n = signal.shape[0]
    share = np.float32(1.0 / n)
    for i in range(0, n, 2):
        j, there = _partner(i, n)
        y, c, h, y2, c2, h2 = signal[i], cot[i], half[i], signal[j], cot[j], half[j]
        for lane in range(BLOCK):
            first = y[lane] * share
            second = there * y2[lane] * share
            rows[MEAN_S + lane] += first + second
            rows[MEAN_X + lane] += first * c[lane] + second * c2[lane]
            rows[MEAN_D + lane] += first * h[lane] + second * h2[lane]
    for i in range(0, n, 2):
        j, there = _partner(i, n)
        y, c, h, y2, c2, h2 = signal[i], cot[i], half[i], signal[j], cot[j], half[j]
        for lane in range(BLOCK):
            first = y[lane] - rows[MEAN_S + lane]
            second = y2[lane] - rows[MEAN_S + lane]
            x = y[lane] * c[lane] - rows[MEAN_X + lane]
            x2 = y2[lane] * c2[lane] - rows[MEAN_X + lane]
            d = y[lane] * h[lane] - rows[MEAN_D + lane]
            d2 = y2[lane] * h2[lane] - rows[MEAN_D + lane]
            rows[AROUND + lane] += first * first + there * second * second
            rows[SXX + lane] += x * x + there * x2 * x2
            rows[SXD + lane] += x * d + there * x2 * d2
    for lane in range(BLOCK):
        rows[INVERSE_SXX + lane] = np.float32(1.0) / rows[SXX + lane]
        rows[Q + lane] = -rows[SXD + lane] * rows[INVERSE_SXX + lane]
        rows[AMPLITUDE + lane] = rows[MEAN_D + lane] + rows[Q + lane] * rows[MEAN_X + lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _weighted_line(signal, cot, half, rows):
    """Lines with weights h^2 of the line before; the last relative step goes to STEP."""
    n = signal.shape[0]
    for _ in range(WEIGHT_STEPS):
        for lane in range(BLOCK):
            rows[WEIGHTS + lane] = 0.0
            rows[MEAN_X + lane] = 0.0
            rows[MEAN_D + lane] = 0.0
            rows[SXX + lane] = 0.0
            rows[SXD + lane] = 0.0
        for i in range(n):
            y, c, h = signal[i], cot[i], half[i]
            for lane in range(BLOCK):
                inverse = h[lane] + rows[Q + lane] * c[lane]
                weight = np.float32(1.0) / (inverse * inverse)
                rows[WEIGHTS + lane] += weight
                rows[MEAN_X + lane] += weight * y[lane] * c[lane]
                rows[MEAN_D + lane] += weight * y[lane] * h[lane]
        for lane in range(BLOCK):
            rows[MEAN_X + lane] /= rows[WEIGHTS + lane]
            rows[MEAN_D + lane] /= rows[WEIGHTS + lane]
        for i in range(n):
            y, c, h = signal[i], cot[i], half[i]
            for lane in range(BLOCK):
                inverse = h[lane] + rows[Q + lane] * c[lane]
                x = y[lane] * c[lane] - rows[MEAN_X + lane]
                weighted = x / (inverse * inverse)
                rows[SXX + lane] += weighted * x
                rows[SXD + lane] += weighted * (y[lane] * h[lane] - rows[MEAN_D + lane])
        for lane in range(BLOCK):
            before = rows[Q + lane]
            rows[Q + lane] = -rows[SXD + lane] / rows[SXX + lane]
            rows[STEP + lane] = abs(before - rows[Q + lane]) / rows[Q + lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _projections(signal, cot, half, rows):
    """Sums S.h, h.h, S.ht, h.ht, ht.ht and S.ht^2 at the q of each lane."""
    for lane in range(BLOCK):
        rows[YH + lane] = 0.0
        rows[HH + lane] = 0.0
        rows[YHT + lane] = 0.0
        rows[HHT + lane] = 0.0
        rows[HHTT + lane] = 0.0
        rows[YHTT + lane] = 0.0
    n = signal.shape[0]
    one = np.float32(1.0)
    for i in range(0, n, 2):
        j, there = _partner(i, n)
        y, c, d, y2, c2, d2 = signal[i], cot[i], half[i], signal[j], cot[j], half[j]
        for lane in range(BLOCK):
            inverse = d[lane] + rows[Q + lane] * c[lane]
            inverse2 = d2[lane] + rows[Q + lane] * c2[lane]
            share = one / (inverse * inverse2)
            h = share * inverse2
            h2 = there * share * inverse
            t = c[lane] * h
            t2 = c2[lane] * h2
            yh = y[lane] * h
            yh2 = y2[lane] * h2
            hh = h * h
            hh2 = h2 * h2
            rows[YH + lane] += yh + yh2
            rows[HH + lane] += hh + hh2
            rows[YHT + lane] += yh * t + yh2 * t2
            rows[HHT + lane] += hh * t + hh2 * t2
            rows[HHTT + lane] += hh * t * t + hh2 * t2 * t2
            rows[YHTT + lane] += yh * t * t + yh2 * t2 * t2


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _newton(signal, cot, half, start, rows):
    """Newton steps of ln((S.h)^2 / h.h) in q; the last relative step goes to STEP."""
    one, low = np.float32(1.0), np.float32(1e-7)
    high = one - np.float32(1e-5)
    for lane in range(BLOCK):
        if not (rows[Q + lane] > low and rows[Q + lane] < high):
            rows[Q + lane] = start
    for _ in range(STEPS):
        _projections(signal, cot, half, rows)
        for lane in range(BLOCK):
            both = one / (rows[YH + lane] * rows[HH + lane])
            share_a = both * rows[HH + lane]
            share_b = both * rows[YH + lane]
            mean_a = rows[YHT + lane] * share_a
            mean_b = rows[HHT + lane] * share_b
            square_b = rows[HHTT + lane] * share_b
            spread = square_b - mean_b * mean_b
            # -1/2 of the second derivative; Gauss and Newton's part of it is the spread alone
            curvature = mean_a * mean_a - np.float32(2.0) * rows[YHTT + lane] * share_a
            curvature += np.float32(3.0) * square_b - np.float32(2.0) * mean_b * mean_b
            if not (curvature > np.float32(0.3) * spread):
                curvature = spread
            change = (mean_b - mean_a) / curvature
            change = max(change, np.float32(-0.7) * rows[Q + lane])
            change = min(change, np.float32(0.7) * (one - rows[Q + lane]))
            rows[STEP + lane] = abs(change) / rows[Q + lane]
            rows[Q + lane] += change


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _residuals(signal, cot, half, rows):
    """Sum of squares, and h.h, h.ht and ht.ht, at q and M of each lane."""
    for lane in range(BLOCK):
        rows[SQUARES + lane] = 0.0
        rows[HH + lane] = 0.0
        rows[HHT + lane] = 0.0
        rows[HHTT + lane] = 0.0
    n = signal.shape[0]
    one = np.float32(1.0)
    for i in range(0, n, 2):
        j, there = _partner(i, n)
        y, c, d, y2, c2, d2 = signal[i], cot[i], half[i], signal[j], cot[j], half[j]
        for lane in range(BLOCK):
            inverse = d[lane] + rows[Q + lane] * c[lane]
            inverse2 = d2[lane] + rows[Q + lane] * c2[lane]
            share = one / (inverse * inverse2)
            h = share * inverse2
            h2 = there * share * inverse
            residual = y[lane] - rows[AMPLITUDE + lane] * h
            residual2 = there * y2[lane] - rows[AMPLITUDE + lane] * h2
            ht = h * h * c[lane]
            ht2 = h2 * h2 * c2[lane]
            rows[SQUARES + lane] += residual * residual + residual2 * residual2
            rows[HH + lane] += h * h + h2 * h2
            rows[HHT + lane] += h * ht + h2 * ht2
            rows[HHTT + lane] += ht * ht + ht2 * ht2


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _line_spread(signal, cot, half, rows):
    """How noise of equal size in every signal spreads through the unweighted line to q and M.

    dq/dS_i = -(x_i - mean x) / (h_i sxx) and dM/dS_i = 1/(n h_i) + mean x dq/dS_i, at vanishing residuals.
    """
    n = signal.shape[0]
    share = np.float32(1.0 / n)
    for lane in range(BLOCK):
        rows[VAR_Q + lane] = 0.0
        rows[COV_QM + lane] = 0.0
        rows[VAR_M + lane] = 0.0
    for i in range(0, n, 2):
        j, there = _partner(i, n)
        y, c, d, y2, c2, d2 = signal[i], cot[i], half[i], signal[j], cot[j], half[j]
        for lane in range(BLOCK):
            inverse = d[lane] + rows[Q + lane] * c[lane]
            inverse2 = there * (d2[lane] + rows[Q + lane] * c2[lane])
            to_q = (rows[MEAN_X + lane] - y[lane] * c[lane]) * inverse * rows[INVERSE_SXX + lane]
            to_q2 = (rows[MEAN_X + lane] - y2[lane] * c2[lane]) * inverse2 * rows[INVERSE_SXX + lane]
            to_m = inverse * share + rows[MEAN_X + lane] * to_q
            to_m2 = inverse2 * share + rows[MEAN_X + lane] * to_q2
            rows[VAR_Q + lane] += to_q * to_q + to_q2 * to_q2
            rows[COV_QM + lane] += to_q * to_m + to_q2 * to_m2
            rows[VAR_M + lane] += to_m * to_m + to_m2 * to_m2


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _results(n, repetition_time, rows):
    """T1, S0, R^2, RMSE and 1/q."""
    one, two = np.float32(1.0), np.float32(2.0)
    share = np.float32(1.0 / n)
    half_tr = np.float32(0.5 * repetition_time)
    for lane in range(BLOCK):
        # T1/TR = 1 / (2 atanh z) with z = q / (2 - q), by the series of z / atanh z: no difference 1 - q
        q = rows[Q + lane]
        both = one / (q * (two - q))
        inverse_q = both * (two - q)
        z = both * q * q
        x = z * z
        series = np.float32(-0.013502765) + x * np.float32(-0.011203746)
        series = np.float32(-0.021796804) + x * (np.float32(-0.016787552) + x * series)
        series = np.float32(-0.046560847) + x * (np.float32(-0.030194004) + x * series)
        series = np.float32(-1.0 / 3.0) + x * (np.float32(-4.0 / 45.0) + x * series)
        series = one + x * series
        rows[T1 + lane] = half_tr * (two - q) * inverse_q * series
        rows[S0 + lane] = rows[AMPLITUDE + lane] * inverse_q
        rows[INVERSE_Q + lane] = inverse_q
        squares = rows[SQUARES + lane]
        rows[R_SQUARED + lane] = one - squares / rows[AROUND + lane]
        rows[RMSE + lane] = math.sqrt(squares * share)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _errors(n, repetition_time, rows):
    """Standard errors by the covariance of Gauss and Newton."""
    one = np.float32(1.0)
    freedom = np.float32(1.0 / (n - 2)) if n > 2 else np.float32(np.nan)
    tr = np.float32(repetition_time)
    for lane in range(BLOCK):
        q, t1 = rows[Q + lane], rows[T1 + lane]
        share = one / rows[HH + lane]
        mean_t = rows[HHT + lane] * share
        spread = rows[HHTT + lane] * share - mean_t * mean_t
        lever = mean_t - rows[INVERSE_Q + lane]
        deviation = math.sqrt(rows[SQUARES + lane] * freedom / (rows[HH + lane] * spread))
        rows[T1_ERROR + lane] = t1 * t1 / (tr * (one - q) * rows[AMPLITUDE + lane]) * deviation
        rows[S0_ERROR + lane] = deviation * math.sqrt(spread + lever * lever) * rows[INVERSE_Q + lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _line_errors(n, repetition_time, rows):
    """Standard errors of the unweighted line.

    The line's residuals differ in size by 1/h and its x is noisy too, so the formula of ordinary least
    squares does not hold: the variances are those of `_line_spread`, and the trace of the fit gives the
    degrees of freedom of the sum of squares.
    """
    two = np.float32(2.0)
    tr = np.float32(repetition_time)
    unknown = np.float32(0.0 if n > 2 else np.nan)
    for lane in range(BLOCK):
        m, s0, t1, q = rows[AMPLITUDE + lane], rows[S0 + lane], rows[T1 + lane], rows[Q + lane]
        var_q, cov_qm, var_m = rows[VAR_Q + lane], rows[COV_QM + lane], rows[VAR_M + lane]
        trace = m * (m * rows[HHTT + lane] * var_q - two * rows[HHT + lane] * cov_qm)
        trace += rows[HH + lane] * var_m
        freedom = np.float32(n - 4) + trace
        slope = tr * (np.float32(1.0) - q)
        both = np.float32(1.0) / (freedom * slope)
        noise = unknown + rows[SQUARES + lane] * both * slope
        rows[T1_ERROR + lane] = t1 * t1 * both * freedom * math.sqrt(noise * var_q)
        spread = var_m - s0 * (two * cov_qm - s0 * var_q)
        rows[S0_ERROR + lane] = math.sqrt(noise * spread) * rows[INVERSE_Q + lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fit_block(signal, cot, half, repetition_time, method, rows):
    """All lanes of a block by one method of `imgtheranostics.kernels.vfa_voxel`.

    signal, cot, half : (n, BLOCK) float32; rows : (ROWS,) float32
    """
    n = signal.shape[0]
    _line(signal, cot, half, rows)
    if method != LINEAR:
        if method == WEIGHTED:
            _weighted_line(signal, cot, half, rows)
        else:
            _newton(signal, cot, half, np.float32(-math.expm1(-repetition_time / START_T1_S)), rows)
        _projections(signal, cot, half, rows)
        for lane in range(BLOCK):
            rows[AMPLITUDE + lane] = rows[YH + lane] / rows[HH + lane]
    _residuals(signal, cot, half, rows)
    _results(n, repetition_time, rows)
    if method == LINEAR:
        _line_spread(signal, cot, half, rows)
        _line_errors(n, repetition_time, rows)
    else:
        _errors(n, repetition_time, rows)
