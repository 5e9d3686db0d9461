"""Covariance of fitted parameters from the residuals of one curve whose noise is neither constant nor white.

Echo power fluctuates in proportion to itself, beside noise that is always there, and from frame to frame it
is correlated. The variance of a sample is taken as ``v0 + v1 g^2`` of the fitted level g, both parts from the
residuals; neighbouring residuals tell the correlation time. With B the inverse of the normal matrix and S the
covariance of the samples that follows, the covariance of the parameters is the sandwich B (J' S J) B.
Residuals are smaller than the noise by what the fit has swallowed, which is taken into account exactly for
white noise: the variance of residual i is that of the sum over j of ((1 - H)_ij)^2 s_j^2 with H = J B J'.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from imgtheranostics.kernels.lane_vector import keep_apart

N = 5
"""Parameters; rows of derivatives that a model lacks are 0, and so are their rows of B."""

N_PRODUCTS = 15

_FAST = {"reassoc", "contract", "arcp", "nsz"}

_ROUNDS = 2
_LEAST_SHARE = 0.01
"""Variance below this part of the mean does not make a sample weigh any more."""

_MOST_LOST = 0.5

_SIGNIFICANT = 1.5
"""Standard deviations of an autocorrelation of white noise from which it counts."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def fill_products(rows, weight, out):
    """Sums of weight times the products of two rows of derivatives; the fifth derivative is 1.

    rows : (5, n), weight : (n,), out : (5, 5) float64
    """
    keep_apart()
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    p00 = p10 = p11 = p20 = p21 = p22 = p30 = p31 = p32 = p33 = p40 = p41 = p42 = p43 = p44 = 0.0
    for i in range(weight.size):
        w = weight[i]
        a, b, c, d = r0[i], r1[i], r2[i], r3[i]
        wa, wb, wc, wd = w * a, w * b, w * c, w * d
        p00 += wa * a
        p10 += wb * a
        p11 += wb * b
        p20 += wc * a
        p21 += wc * b
        p22 += wc * c
        p30 += wd * a
        p31 += wd * b
        p32 += wd * c
        p33 += wd * d
        p40 += wa
        p41 += wb
        p42 += wc
        p43 += wd
        p44 += w
    out[0, 0], out[1, 1], out[2, 2], out[3, 3], out[4, 4] = p00, p11, p22, p33, p44
    out[1, 0] = out[0, 1] = p10
    out[2, 0] = out[0, 2] = p20
    out[2, 1] = out[1, 2] = p21
    out[3, 0] = out[0, 3] = p30
    out[3, 1] = out[1, 3] = p31
    out[3, 2] = out[2, 3] = p32
    out[4, 0] = out[0, 4] = p40
    out[4, 1] = out[1, 4] = p41
    out[4, 2] = out[2, 4] = p42
    out[4, 3] = out[3, 4] = p43


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _fill_forms(rows, matrix, out):
    """Quadratic form J_i' M J_i of every sample; rows : (5, n), matrix : (5, 5), out : (n,)."""
    keep_apart()
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    m00, m11, m22, m33, m44 = matrix[0, 0], matrix[1, 1], matrix[2, 2], matrix[3, 3], matrix[4, 4]
    m10, m20, m21 = 2.0 * matrix[1, 0], 2.0 * matrix[2, 0], 2.0 * matrix[2, 1]
    m30, m31, m32 = 2.0 * matrix[3, 0], 2.0 * matrix[3, 1], 2.0 * matrix[3, 2]
    m40, m41, m42, m43 = 2.0 * matrix[4, 0], 2.0 * matrix[4, 1], 2.0 * matrix[4, 2], 2.0 * matrix[4, 3]
    for i in range(out.size):
        a, b, c, d = r0[i], r1[i], r2[i], r3[i]
        total = m44 + a * (m00 * a + m40) + b * (m11 * b + m10 * a + m41)
        total += c * (m22 * c + m20 * a + m21 * b + m42)
        total += d * (m33 * d + m30 * a + m31 * b + m32 * c + m43)
        out[i] = total


@njit(cache=True, nogil=True, error_model="numpy")
def sandwich(outer, inner, work, out):
    """Product outer inner outer of symmetric (5, 5) matrices."""
    for i in range(N):
        for j in range(N):
            total = 0.0
            for k in range(N):
                total += outer[i, k] * inner[k, j]
            work[i, j] = total
    for i in range(N):
        for j in range(i + 1):
            total = 0.0
            for k in range(N):
                total += work[i, k] * outer[k, j]
            out[i, j] = out[j, i] = total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _variance_sums(residual, white, rising, level, v0, v1, least):
    """Sums of the weighted regression of squared residuals on what both parts of the variance give them."""
    s00 = s10 = s11 = t0 = t1 = 0.0
    for i in range(residual.size):
        variance = max(v0 + v1 * level[i] * level[i], least)
        weight = 1.0 / (variance * variance)
        square = residual[i] * residual[i]
        a, b = weight * white[i], weight * rising[i]
        s00 += a * white[i]
        s10 += a * rising[i]
        s11 += b * rising[i]
        t0 += a * square
        t1 += b * square
    return s00, s10, s11, t0, t1


@njit(cache=True, nogil=True, error_model="numpy")
def _variance_parts(residual, white, rising, level, mean):
    """v0 and v1, neither below 0, of the variance v0 + v1 g^2."""
    v0, v1 = mean, 0.0
    for _ in range(_ROUNDS):
        s00, s10, s11, t0, t1 = _variance_sums(
            residual, white, rising, level, v0, v1, max(_LEAST_SHARE * mean, 1e-300)
        )
        determinant = s00 * s11 - s10 * s10
        if determinant > 1e-10 * s00 * s11:
            v0 = (s11 * t0 - s10 * t1) / determinant
            v1 = (s00 * t1 - s10 * t0) / determinant
        else:
            v0, v1 = t0 / s00, 0.0
        if v1 < 0.0:
            v0, v1 = t0 / s00, 0.0
        elif v0 < 0.0:
            v0, v1 = 0.0, max(t1 / s11, 0.0)
    return v0, v1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _lagged(z, lag):
    total = 0.0
    for i in range(z.size - lag):
        total += z[i] * z[i + lag]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def correlation_factor(z, swallowed, lost, n_loud):
    """Variance of the mean of correlated samples over that of white ones, 1 + 2 (r1 + r2 + ...).

    z : (n,) float64, residuals over their standard deviation, quiet ones over that of all
    swallowed : parameters' worth of samples that the fit has taken
    lost : what that is of the sum of squares, more where noise is correlated, and likewise of the neighbours'
    products
    n_loud : samples that count, as many of equal variance as have their weight
    The sum ends before the first autocorrelation that white noise might show.
    """
    keep_apart()
    n = z.size
    size = _lagged(z, 0) + lost
    factor = 1.0
    if not size > 0.0:
        return factor
    for lag in range(1, n // 4):
        rho = (_lagged(z, lag) + lost * max(1.0 - lag * swallowed / n, 0.0)) / size
        if not rho > _SIGNIFICANT / math.sqrt(n_loud):
            break
        factor += 2.0 * rho
    return factor


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_correlated(rows, sd, rho, out):
    """J' S J of samples with these standard deviations and correlation rho^|i - j|."""
    keep_apart()
    sums = np.zeros(N)
    here = np.empty(N)
    out[:] = 0.0
    for i in range(sd.size):
        for j in range(N):
            here[j] = sd[i] * (rows[j, i] if j < N - 1 else 1.0)
        for j in range(N):
            for k in range(j + 1):
                out[j, k] += here[j] * (here[k] + sums[k]) + sums[j] * here[k]
        for j in range(N):
            sums[j] = rho * (sums[j] + here[j])
    for j in range(N):
        for k in range(j):
            out[k, j] = out[j, k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _totals(leverage, residual, level, weight):
    """Sums of the leverages and of the squared residuals; weight becomes the squared level."""
    swallowed, squares = 0.0, 0.0
    for i in range(residual.size):
        weight[i] = level[i] * level[i]
        swallowed += leverage[i]
        squares += residual[i] * residual[i]
    return swallowed, squares


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _expected(leverage, weight, white, rising):
    """What a unit of each part of the variance makes of the expected squares of the residuals."""
    for i in range(leverage.size):
        white[i] = 1.0 - leverage[i]
        rising[i] += weight[i] * (1.0 - 2.0 * leverage[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _standardise(residual, v0, v1, mean, weight, white):
    """Variances in place of the squared level, and residuals over their standard deviation.

    What the fit does to quiet samples, whose own noise is far below the mean variance, is much larger than
    that noise and the same for neighbours: they are divided by the mean. Returns how many samples are loud.
    """
    once, twice = 0.0, 0.0
    for i in range(residual.size):
        variance = v0 + v1 * weight[i]
        weight[i] = variance
        white[i] = residual[i] / math.sqrt(max(variance, mean))
        share = min(variance / mean, 1.0)
        once += share
        twice += share * share
    return once * once / twice if twice > 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def residual_covariance(rows, residual, level, inverse, lines, matrices, covariance):
    """Covariance of the parameters; returns the correlation factor, NaN where residuals cannot tell.

    rows : (5, n) float64, derivatives of the model by four parameters; that by the fifth, the baseline, is 1
    residual, level : (n,) float64, of the fit
    inverse : (5, 5) float64, of the normal matrix; 0 in rows and columns of what is known
    lines : (4, n), matrices : (3, 5, 5) float64, workspace; covariance : (5, 5) float64
    """
    keep_apart()
    n = residual.size
    leverage, weight, rising, white = lines[0], lines[1], lines[2], lines[3]
    products, work, doubled = matrices[0], matrices[1], matrices[2]
    _fill_forms(rows, inverse, leverage)
    swallowed, squares = _totals(leverage, residual, level, weight)
    if not n - swallowed > 0.5:
        covariance[:] = np.nan
        return np.nan
    fill_products(rows, weight, products)
    sandwich(inverse, products, work, doubled)
    _fill_forms(rows, doubled, rising)
    _expected(leverage, weight, white, rising)
    v0, v1 = _variance_parts(residual, white, rising, level, squares / (n - swallowed))
    n_loud = _standardise(residual, v0, v1, max(squares / n, 1e-300), weight, white)
    factor = correlation_factor(white, swallowed, swallowed, n_loud)
    if factor > 1.0:
        # of correlated noise the fit takes more, which makes it look smaller and less correlated
        factor = correlation_factor(white, swallowed, min(swallowed * factor, _MOST_LOST * n), n_loud)
        lost = min(swallowed * factor, _MOST_LOST * n)
        growth = (n - swallowed) / (n - lost) if lost > swallowed else 1.0
        for i in range(n):
            rising[i] = math.sqrt(growth * weight[i])
        _fill_correlated(rows, rising, (factor - 1.0) / (factor + 1.0), products)
    else:
        fill_products(rows, weight, products)
    sandwich(inverse, products, work, covariance)
    return factor
