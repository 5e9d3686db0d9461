"""Shapes of a bolus that passes: one formula with eight coefficients for all models, and its sums.

With x = t - t0 since arrival, k = tp - t0 the time to peak, u = x / k and L = ln u, every model is

    f(t) = C + P exp(q),  q = c1 L + c2 (u - 1) + c3 (1/u - 1) + c4 L^2,   f = C up to t0,

so that the peak P above the baseline C is reached at tp whatever the width w:

=====  ==================================  =========================================================
code   model                               coefficients
=====  ==================================  =========================================================
0      lognormal, w = s                    c4 = -1 / (2 s^2)
1      gamma variate, w = a                c1 = a, c2 = -a
2      local density random walk, w = L    c1 = -c, c2 = -(R - c)/2, c3 = -(R + c)/2 with c = 1/2 and
                                           R^2 = w^2 + c^2
3      first passage, w = L                the same with c = 3/2
=====  ==================================  =========================================================

P and C are linear and are eliminated from the sums over the samples, which leaves tp, t0 and ln w. The sums
are written so that the compiler turns the loop over the samples into vectors: exponential and logarithm are
polynomials here, since those of the mathematical library are called number by number.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from imgtheranostics.kernels.lane_vector import keep_apart

LOGNORMAL, GAMMA_VARIATE, RANDOM_WALK, FIRST_PASSAGE = range(4)

PEAK, PEAK_TIME, ARRIVAL, LN_WIDTH, BASELINE = range(5)
"""Order of the parameters in covariances and rows of derivatives."""

N_PARAMETERS = 5

N_COEFFICIENTS = 8
"""c1 to c4, and their derivatives by ln w."""

N_SUMS = 18
"""Sums over the samples: e, e^2, e y; for each derivative a: a, a e, a y; and the six products of two."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}
_STRICT = {"contract", "nsz"}

_LOG2_E = 1.0 / math.log(2.0)
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_ROUNDER = 6755399441055744.0
"""1.5 * 2^52: what is added to it loses its fraction, and its last bits are the whole number."""

_LOWEST = -700.0
"""Exponent below which a sample is no different from the baseline."""

_SMALLEST_U = 1e-9


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_STRICT)
def exponential(x):
    """exp(x) for -700 <= x <= 700 to about 3e-13."""
    shifted = x * _LOG2_E + _ROUNDER
    power = shifted - _ROUNDER
    r = (x - power * _LN2_HIGH) - power * _LN2_LOW
    p = 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = (np.float64(shifted).view(np.uint64) + np.uint64(1023)) << np.uint64(52)
    return p * np.uint64(bits).view(np.float64)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_STRICT)
def logarithm(x):
    """ln(x) of a normal number above 0 to about 3e-13."""
    bits = np.float64(x).view(np.uint64)
    raised = (bits >> np.uint64(52)) | np.uint64(0x4330000000000000)
    power = np.uint64(raised).view(np.float64) - 4503599627371519.0
    mantissa = (bits & np.uint64(0x000FFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000)
    m = np.uint64(mantissa).view(np.float64)
    large = m > 1.4142135623730951
    m = 0.5 * m if large else m
    power = power + 1.0 if large else power
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 15.0
    p = p * z + 1.0 / 13.0
    p = p * z + 1.0 / 11.0
    p = p * z + 1.0 / 9.0
    p = p * z + 1.0 / 7.0
    p = p * z + 1.0 / 5.0
    p = p * z + 1.0 / 3.0
    p = p * z + 1.0
    return (2.0 * s * p + power * _LN2_LOW) + power * _LN2_HIGH


@njit(cache=True, nogil=True, error_model="numpy")
def fill_coefficients(model, ln_width, c):
    """The eight coefficients of a model; c : (N_COEFFICIENTS,) float64."""
    width = math.exp(ln_width)
    c[:] = 0.0
    if model == LOGNORMAL:
        c[3] = -0.5 / (width * width)
        c[7] = 1.0 / (width * width)
    elif model == GAMMA_VARIATE:
        c[0], c[1] = width, -width
        c[4], c[5] = width, -width
    else:
        share = 0.5 if model == RANDOM_WALK else 1.5
        both = math.sqrt(width * width + share * share)
        c[0], c[1], c[2] = -share, -0.5 * (both - share), -0.5 * (both + share)
        c[5] = c[6] = -0.5 * width * width / both


@njit(cache=True, nogil=True, error_model="numpy")
def width_of_curvature(model, curvature):
    """The width whose peak has this curvature -d2q/dL2."""
    if model == LOGNORMAL:
        return 1.0 / math.sqrt(curvature)
    if model == GAMMA_VARIATE:
        return curvature
    share = 0.5 if model == RANDOM_WALK else 1.5
    return math.sqrt(max(curvature * curvature - share * share, 0.09))


@njit(cache=True, nogil=True, error_model="numpy")
def first_after(time, moment):
    """Index of the first time after a moment; time : (n,) float64, increasing."""
    low, high = 0, time.size
    while low < high:
        middle = (low + high) // 2
        if time[middle] > moment:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def fill_sums(time, y, peak_time, arrival, c, sums):
    """Sums over the samples after arrival of e = exp(q), its derivatives by tp, t0 and ln w, and y.

    time, y : (n,) float64; c : (N_COEFFICIENTS,); sums : (N_SUMS,) float64
    """
    keep_apart()
    per_duration = 1.0 / (peak_time - arrival)
    c1, c2, c3, c4, d1, d2, d3, d4 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    c0, d0 = c2 + c3, d2 + d3
    s0 = s1 = s2 = 0.0
    a0 = a1 = a2 = 0.0
    b0 = b1 = b2 = 0.0
    y0 = y1 = y2 = 0.0
    m00 = m10 = m11 = m20 = m21 = m22 = 0.0
    begin = first_after(time, arrival)
    times, values = time[begin:], y[begin:]
    for i in range(times.size):
        u = max((times[i] - arrival) * per_duration, _SMALLEST_U)
        inverse = 1.0 / u
        ln_u = logarithm(u)
        square = ln_u * ln_u
        q = c1 * ln_u + c2 * u + c3 * inverse + c4 * square - c0
        e = exponential(max(q, _LOWEST))
        value = values[i]
        by_ln = e * (c1 + c2 * u - c3 * inverse + 2.0 * c4 * ln_u) * per_duration
        by_peak = -by_ln
        by_arrival = by_ln * (1.0 - inverse)
        by_width = e * (d1 * ln_u + d2 * u + d3 * inverse + d4 * square - d0)
        s0 += e
        s1 += e * e
        s2 += e * value
        a0 += by_peak
        a1 += by_arrival
        a2 += by_width
        b0 += by_peak * e
        b1 += by_arrival * e
        b2 += by_width * e
        y0 += by_peak * value
        y1 += by_arrival * value
        y2 += by_width * value
        m00 += by_peak * by_peak
        m10 += by_arrival * by_peak
        m11 += by_arrival * by_arrival
        m20 += by_width * by_peak
        m21 += by_width * by_arrival
        m22 += by_width * by_width
    sums[0], sums[1], sums[2] = s0, s1, s2
    sums[3], sums[4], sums[5] = a0, a1, a2
    sums[6], sums[7], sums[8] = b0, b1, b2
    sums[9], sums[10], sums[11] = y0, y1, y2
    sums[12], sums[13], sums[14], sums[15], sums[16], sums[17] = m00, m10, m11, m20, m21, m22


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def fill_rows(time, peak_time, arrival, c, rows):
    """The model of peak 1 above its baseline, and its derivatives by peak time, arrival and ln w, as rows.

    time : (n,); c : (N_COEFFICIENTS,); rows : (4 or more, n) float64: e, and its derivatives by tp, t0 and ln
    w
    """
    keep_apart()
    begin = first_after(time, arrival)
    per_duration = 1.0 / (peak_time - arrival)
    c1, c2, c3, c4, d1, d2, d3, d4 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    c0, d0 = c2 + c3, d2 + d3
    rows[:, :begin] = 0.0
    times = time[begin:]
    by_peak, by_time = rows[0, begin:], rows[1, begin:]
    by_arrival, by_width = rows[2, begin:], rows[3, begin:]
    for i in range(times.size):
        u = max((times[i] - arrival) * per_duration, _SMALLEST_U)
        inverse = 1.0 / u
        ln_u = logarithm(u)
        square = ln_u * ln_u
        q = c1 * ln_u + c2 * u + c3 * inverse + c4 * square - c0
        e = exponential(max(q, _LOWEST))
        slope = e * (c1 + c2 * u - c3 * inverse + 2.0 * c4 * ln_u) * per_duration
        by_peak[i] = e
        by_time[i] = -slope
        by_arrival[i] = slope * (1.0 - inverse)
        by_width[i] = e * (d1 * ln_u + d2 * u + d3 * inverse + d4 * square - d0)
