"""Straight lines of graphical analysis in every voxel: abscissa of the input (Patlak), of the voxel (Logan).

Curves are planar, (n, n_voxels); a block of voxels is worked on at a time, its sums in float64. Every voxel
is written, so that results need not be prepared; a voxel that is not chosen, or not usable, is NaN.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 256
"""Voxels whose sums lie in the first-level cache together."""

WIDE_BLOCK = 4096
"""The same where there are few sums, and more of the samples fit."""

SLOPE, INTERCEPT, SLOPE_ERROR, INTERCEPT_ERROR, R_SQUARED, RMSE = range(6)
"""Rows of the result."""

ROWS = 6

MASKED_OUT, INVALID_INPUT, ILL_CONDITIONED, NEGATIVE_AMPLITUDE = 1, 4, 64, 256

LEAST_SPREAD = 1e-12
"""Share of a sum of squares below which nothing but rounding is left of it."""

SUMS = 8
"""Rows of the workspace of a block."""


@njit(cache=True, nogil=True, error_model="numpy")
def _unknown(out, flags, v, flag):
    for row in range(ROWS):
        out[row, v] = np.nan
    flags[v] = flag


@njit(cache=True, nogil=True, error_model="numpy")
def _weight_sums(x, weights):
    """Sums over samples; not in a parallel kernel, where their order would depend on the threads."""
    total, squares = 0.0, 0.0
    for i in range(x.size):
        total += weights[i]
        squares += weights[i] * x[i] * x[i]
    return total, squares


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add_three(one, two, three, i, to_slope, to_intercept, slope, intercept):
    a, b, c = to_slope[i], to_slope[i + 1], to_slope[i + 2]
    d, e, f = to_intercept[i], to_intercept[i + 1], to_intercept[i + 2]
    for k in range(one.size):
        slope[k] += a * one[k] + b * two[k] + c * three[k]
        intercept[k] += d * one[k] + e * two[k] + f * three[k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add_one(row, a, b, slope, intercept):
    for k in range(row.size):
        slope[k] += a * row[k]
        intercept[k] += b * row[k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _three_rests(one, two, three, i, scale, x, weights, slope, intercept, squares):
    u, v, w = scale[i], scale[i + 1], scale[i + 2]
    a, b, c = x[i], x[i + 1], x[i + 2]
    d, e, f = weights[i], weights[i + 1], weights[i + 2]
    for k in range(one.size):
        m, q = slope[k], intercept[k]
        first, second, third = one[k] * u - q - m * a, two[k] * v - q - m * b, three[k] * w - q - m * c
        squares[k] += d * first * first + e * second * second + f * third * third


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _one_rest(row, scale, at, weight, slope, intercept, squares):
    for k in range(row.size):
        rest = row[k] * scale - intercept[k] - slope[k] * at
        squares[k] += weight * (rest * rest)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _finish_fixed(slope, intercept, squares, scatter, begin, out, flags):
    end = begin + slope.size
    rows = (out[0, begin:end], out[1, begin:end], out[2, begin:end], out[3, begin:end])
    explained_share, rmse, none = out[R_SQUARED, begin:end], out[RMSE, begin:end], flags[begin:end]
    for k in range(slope.size):
        size = np.sqrt(squares[k])
        explained = slope[k] * slope[k] * scatter[3]
        rows[0][k] = slope[k]
        rows[1][k] = intercept[k]
        rows[2][k] = scatter[0] * size
        rows[3][k] = scatter[1] * size
        explained_share[k] = explained / (explained + squares[k])
        rmse[k] = scatter[2] * size
        none[k] = 0


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fixed_lines(samples, chosen, first, scale, x, to_slope, to_intercept, weights, scatter, out, flags):
    """Least-squares lines of samples times `scale` over an abscissa that all voxels share.

    samples : (n, n_voxels) float32 or float64; those from `first` on are used
    chosen : (n_voxels,) bool
    scale, x, to_slope, to_intercept, weights : (m,) in the type of the samples: ordinate per sample,
    abscissa, rows of the pseudo-inverse for samples as they are, and weights of the squares (1 on average)
    scatter : (5,) in the same type: factors from the root of the weighted squares to both standard errors
    and to the root mean square; weighted squares of x about its mean; that mean
    out : (6, n_voxels), written; flags : (n_voxels,) uint16, written
    """
    n_voxels, n = samples.shape[1], x.size
    for block in prange((n_voxels + WIDE_BLOCK - 1) // WIDE_BLOCK):
        begin, end = block * WIDE_BLOCK, min((block + 1) * WIDE_BLOCK, n_voxels)
        sums = np.zeros((3, end - begin), samples.dtype)
        slope, intercept, squares = sums[0], sums[1], sums[2]
        # Three samples at a time: sums are read and written once for all three.
        for i in range(0, n - 2, 3):
            one, two = samples[first + i, begin:end], samples[first + i + 1, begin:end]
            three = samples[first + i + 2, begin:end]
            _add_three(one, two, three, i, to_slope, to_intercept, slope, intercept)
        for i in range(n - n % 3, n):
            row = samples[first + i, begin:end]
            _add_one(row, to_slope[i], to_intercept[i], slope, intercept)
        for i in range(0, n - 2, 3):
            one, two = samples[first + i, begin:end], samples[first + i + 1, begin:end]
            three = samples[first + i + 2, begin:end]
            _three_rests(one, two, three, i, scale, x, weights, slope, intercept, squares)
        for i in range(n - n % 3, n):
            row = samples[first + i, begin:end]
            _one_rest(row, scale[i], x[i], weights[i], slope, intercept, squares)
        _finish_fixed(slope, intercept, squares, scatter, begin, out, flags)
        for k in range(end - begin):
            if not chosen[begin + k]:
                _unknown(out, flags, begin + k, MASKED_OUT)
            elif not np.isfinite(squares[k]):
                _unknown(out, flags, begin + k, INVALID_INPUT)
            elif intercept[k] + slope[k] * scatter[4] < 0.0:
                flags[begin + k] = NEGATIVE_AMPLITUDE


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add_area(before, row, older, newer, area):
    for k in range(row.size):
        area[k] += older * np.float64(before[k]) + newer * np.float64(row[k])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add_line(row, at, weight, sums):
    area, sx, sy, sxx, sxy, syy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    least = sums[6]
    for k in range(row.size):
        value = np.float64(row[k])
        inverse = 1.0 / value
        px, py = at * inverse, area[k] * inverse
        wx, wy = weight * px, weight * py
        sx[k] += wx
        sy[k] += wy
        sxx[k] += wx * px
        sxy[k] += wx * py
        syy[k] += wy * py
        least[k] = min(least[k], value)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _finish_line(sums, sum_w, freedom, unbiased, begin, out, flags):
    sx, sy, sxx, sxy, syy = sums[1], sums[2], sums[3], sums[4], sums[5]
    end = begin + sx.size
    slopes, intercepts = out[SLOPE, begin:end], out[INTERCEPT, begin:end]
    errors, offset_errors = out[SLOPE_ERROR, begin:end], out[INTERCEPT_ERROR, begin:end]
    shares, rmse, none = out[R_SQUARED, begin:end], out[RMSE, begin:end], flags[begin:end]
    kept, share = sums[7], 1.0 / sum_w
    per_freedom = 1.0 / (freedom * unbiased * unbiased) if freedom > 0 else np.nan
    for k in range(sx.size):
        mean_x, mean_y = sx[k] * share, sy[k] * share
        spread = sxx[k] - mean_x * sx[k]
        slope = (sxy[k] - mean_x * sy[k]) / spread
        total = max(syy[k] - mean_y * sy[k], 0.0)
        squares = max(total - slope * slope * spread, 0.0)
        variance = squares * per_freedom
        slopes[k] = slope
        intercepts[k] = mean_y - slope * mean_x
        errors[k] = np.sqrt(variance / spread)
        offset_errors[k] = np.sqrt(variance * (share + mean_x * mean_x / spread))
        shares[k] = 1.0 - squares / total
        rmse[k] = np.sqrt(squares * share)
        none[k] = 0
        kept[k] = spread


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def own_lines(samples, chosen, first, older, newer, x, weights, freedom, unbiased, out, flags):
    """Least-squares lines of (integral of the voxel)/(voxel) over x/(voxel): Logan's plot.

    samples : (n, n_voxels) float32 or float64; the line takes those from `first` on, the integral all
    chosen : (n_voxels,) bool
    older, newer : (n,) float64: integral up to sample i = that up to i - 1 + older s[i-1] + newer s[i]
    x : (n,) float64, what the abscissa has above the voxel's value
    weights : (n,) float64, of the squares; zero before `first`, 1 on average from there
    freedom, unbiased : int, float; degrees of freedom and their c4
    out : (6, n_voxels), written; flags : (n_voxels,) uint16, written
    """
    n, n_voxels = samples.shape
    sum_w, _ = _weight_sums(x, weights)
    for block in prange((n_voxels + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, n_voxels)
        sums = np.zeros((SUMS, end - begin))
        sums[6] = np.inf
        for i in range(n):
            row = samples[i, begin:end]
            _add_area(samples[max(i - 1, 0), begin:end], row, older[i], newer[i], sums[0])
            if i >= first:
                _add_line(row, x[i], weights[i], sums)
        _finish_line(sums, sum_w, freedom, unbiased, begin, out, flags)
        for k in range(end - begin):
            spread = sums[7, k]
            if not chosen[begin + k]:
                _unknown(out, flags, begin + k, MASKED_OUT)
            elif not sums[6, k] > 0.0 or not np.isfinite(sums[5, k] + sums[3, k]):
                _unknown(out, flags, begin + k, INVALID_INPUT)
            elif not spread > LEAST_SPREAD * sums[3, k]:
                _unknown(out, flags, begin + k, ILL_CONDITIONED)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add_plane(row, at, weight, sums):
    area, sab, sbb, sac, sbc, scc, sc = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6]
    for k in range(row.size):
        value = np.float64(row[k])
        wb, wc = weight * area[k], weight * value
        sab[k] += wb * at
        sbb[k] += wb * area[k]
        sac[k] += wc * at
        sbc[k] += wc * area[k]
        scc[k] += wc * value
        sc[k] += wc


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _finish_plane(sums, sum_w, saa, freedom, unbiased, begin, out, flags):
    sab, sbb, sac, sbc, scc, sc = sums[1], sums[2], sums[3], sums[4], sums[5], sums[6]
    end = begin + sab.size
    slopes, intercepts = out[SLOPE, begin:end], out[INTERCEPT, begin:end]
    errors, offset_errors = out[SLOPE_ERROR, begin:end], out[INTERCEPT_ERROR, begin:end]
    shares, rmse, none = out[R_SQUARED, begin:end], out[RMSE, begin:end], flags[begin:end]
    kept, share = sums[7], 1.0 / sum_w
    per_freedom = 1.0 / (freedom * unbiased * unbiased) if freedom > 0 else np.nan
    for k in range(sab.size):
        determinant = saa * sbb[k] - sab[k] * sab[k]
        one = (sbb[k] * sac[k] - sab[k] * sbc[k]) / determinant
        two = (saa * sbc[k] - sab[k] * sac[k]) / determinant
        squares = max(scc[k] - one * sac[k] - two * sbc[k], 0.0)
        variance = squares * per_freedom / determinant
        ratio, inverse = -one / two, 1.0 / two
        spread = variance * (sbb[k] + ratio * ratio * saa - 2.0 * ratio * sab[k])
        slopes[k] = ratio
        intercepts[k] = inverse
        errors[k] = np.sqrt(max(spread, 0.0)) * abs(inverse)
        offset_errors[k] = np.sqrt(variance * saa) * inverse * inverse
        shares[k] = 1.0 - squares / (scc[k] - sc[k] * sc[k] * share)
        rmse[k] = np.sqrt(squares * share)
        none[k] = 0
        kept[k] = determinant


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def own_planes(samples, chosen, first, older, newer, x, weights, freedom, unbiased, out, flags):
    """Least-squares fits of the voxel by ``b1 x + b2 (integral of the voxel)``: MA1 and its kin.

    Arguments as in `own_lines`. The rows of the result are -b1/b2 and 1/b2, the slope and the intercept of
    Logan's plot, their standard errors, and goodness of fit in the unit of the samples.
    """
    n, n_voxels = samples.shape
    sum_w, saa = _weight_sums(x, weights)
    for block in prange((n_voxels + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, n_voxels)
        sums = np.zeros((SUMS, end - begin))
        for i in range(n):
            row = samples[i, begin:end]
            _add_area(samples[max(i - 1, 0), begin:end], row, older[i], newer[i], sums[0])
            if i >= first:
                _add_plane(row, x[i], weights[i], sums)
        _finish_plane(sums, sum_w, saa, freedom, unbiased, begin, out, flags)
        for k in range(end - begin):
            determinant, size = sums[7, k], saa * sums[2, k]
            if not chosen[begin + k]:
                _unknown(out, flags, begin + k, MASKED_OUT)
            elif not np.isfinite(sums[2, k] + sums[5, k]):
                _unknown(out, flags, begin + k, INVALID_INPUT)
            elif not determinant > LEAST_SPREAD * size:
                _unknown(out, flags, begin + k, ILL_CONDITIONED)
            elif sums[6, k] < 0.0:
                flags[begin + k] = NEGATIVE_AMPLITUDE
