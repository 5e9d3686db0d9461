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

SPREADS = 9
"""Rows of the workspace of a block in which noise is followed through the integrals."""


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


@njit(cache=True, nogil=True, error_model="numpy")
def reach_of_samples(older, newer):
    """What each sample adds to all integrals after it, and the squares of those before each sample."""
    n = older.size
    reach, earlier = np.zeros(n), np.zeros(n)
    for i in range(n - 1):
        reach[i] = newer[i] + older[i + 1]
        earlier[i + 1] = earlier[i] + reach[i] * reach[i]
    return reach, earlier


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
def _finish_line(sums, sum_w, begin, out, flags, spreads):
    sx, sy, sxx, sxy, syy = sums[1], sums[2], sums[3], sums[4], sums[5]
    end = begin + sx.size
    slopes, intercepts = out[SLOPE, begin:end], out[INTERCEPT, begin:end]
    shares, rmse, none = out[R_SQUARED, begin:end], out[RMSE, begin:end], flags[begin:end]
    kept, share = sums[7], 1.0 / sum_w
    means, rests, lines = spreads[6], spreads[7], spreads[8]
    for k in range(sx.size):
        mean_x, mean_y = sx[k] * share, sy[k] * share
        spread = sxx[k] - mean_x * sx[k]
        slope = (sxy[k] - mean_x * sy[k]) / spread
        total = max(syy[k] - mean_y * sy[k], 0.0)
        squares = max(total - slope * slope * spread, 0.0)
        slopes[k] = slope
        intercepts[k] = mean_y - slope * mean_x
        shares[k] = 1.0 - squares / total
        rmse[k] = np.sqrt(squares * share)
        none[k] = 0
        kept[k], means[k], rests[k], lines[k] = spread, mean_x, squares, mean_y - slope * mean_x


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _spread_line(row, at, weight, newer, reach, earlier, share, spread, spreads):
    """What noise of one size in every sample does to slope and level of a line, from the last sample on.

    A sample moves its own point, by its integral less the intercept, and the integrals of all after it.
    """
    later_slope, later_level = spreads[0], spreads[1]
    slopes, both, levels, squares = spreads[2], spreads[3], spreads[4], spreads[5]
    means, lines = spreads[6], spreads[8]
    for k in range(row.size):
        inverse = 1.0 / np.float64(row[k])
        level = weight * inverse
        slope = level * (at * inverse - means[k]) / spread[k]
        own = newer - lines[k]
        squares[k] += level * inverse * (own * own + earlier)
        level *= share
        one, two = reach * later_slope[k] + own * slope, reach * later_level[k] + own * level
        slopes[k] += one * one
        both[k] += one * two
        levels[k] += two * two
        later_slope[k] += slope
        later_level[k] += level


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _finish_line_errors(spreads, spread, sum_w, earlier, freedom, unbiased, begin, out):
    """Standard errors from the squares that are left, over what noise of size 1 would leave."""
    end = begin + spread.size
    errors, offset_errors = out[SLOPE_ERROR, begin:end], out[INTERCEPT_ERROR, begin:end]
    usable = 1.0 / (unbiased * unbiased) if freedom > 0 else np.nan
    for k in range(spread.size):
        slope, level, mean = spreads[0, k], spreads[1, k], spreads[6, k]
        slopes = spreads[2, k] + earlier * slope * slope
        both = spreads[3, k] + earlier * slope * level
        levels = spreads[4, k] + earlier * level * level
        left = spreads[5, k] - spread[k] * slopes - sum_w * levels
        variance = usable * spreads[7, k] / left
        errors[k] = np.sqrt(variance * slopes)
        offset_errors[k] = np.sqrt(variance * max(levels + mean * (mean * slopes - 2.0 * both), 0.0))


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

    Standard errors are those of noise that is as large in every sample, also in those before the line, and
    goes into both axes and the integral.
    """
    n, n_voxels = samples.shape
    sum_w, _ = _weight_sums(x, weights)
    reach, earlier = reach_of_samples(older, newer)
    for block in prange((n_voxels + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, n_voxels)
        sums = np.zeros((SUMS, end - begin))
        sums[6] = np.inf
        for i in range(n):
            row = samples[i, begin:end]
            _add_area(samples[max(i - 1, 0), begin:end], row, older[i], newer[i], sums[0])
            if i >= first:
                _add_line(row, x[i], weights[i], sums)
        spreads = np.zeros((SPREADS, end - begin))
        _finish_line(sums, sum_w, begin, out, flags, spreads)
        for i in range(n - 1, first - 1, -1):
            at, weight = x[i], weights[i]
            _spread_line(
                samples[i, begin:end], at, weight, newer[i], reach[i], earlier[i], 1.0 / sum_w, sums[7],
                spreads,
            )  # fmt: skip
        _finish_line_errors(spreads, sums[7], sum_w, earlier[first], freedom, unbiased, begin, out)
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
def _finish_plane(sums, sum_w, saa, begin, out, flags, spreads):
    sab, sbb, sac, sbc, scc, sc = sums[1], sums[2], sums[3], sums[4], sums[5], sums[6]
    end = begin + sab.size
    slopes, intercepts = out[SLOPE, begin:end], out[INTERCEPT, begin:end]
    shares, rmse, none = out[R_SQUARED, begin:end], out[RMSE, begin:end], flags[begin:end]
    kept, share = sums[7], 1.0 / sum_w
    rests, lines = spreads[7], spreads[8]
    for k in range(sab.size):
        determinant = saa * sbb[k] - sab[k] * sab[k]
        one = (sbb[k] * sac[k] - sab[k] * sbc[k]) / determinant
        two = (saa * sbc[k] - sab[k] * sac[k]) / determinant
        squares = max(scc[k] - one * sac[k] - two * sbc[k], 0.0)
        slopes[k] = -one / two
        intercepts[k] = 1.0 / two
        shares[k] = 1.0 - squares / (scc[k] - sc[k] * sc[k] * share)
        rmse[k] = np.sqrt(squares * share)
        none[k] = 0
        kept[k], rests[k], lines[k] = determinant, squares, 1.0 / two


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _spread_plane(before, row, at, weight, older, newer, reach, earlier, saa, sums, spreads):
    """As `_spread_line`, for the two weights of a plane; takes the sample off the integral again."""
    area, sab, sbb, determinant = sums[0], sums[1], sums[2], sums[7]
    later_one, later_two = spreads[0], spreads[1]
    ones, both, twos, squares = spreads[2], spreads[3], spreads[4], spreads[5]
    lines = spreads[8]
    for k in range(row.size):
        # Of the equation divided by its second weight: integral = -b1/b2 x + 1/b2 sample.
        scale = weight / (lines[k] * determinant[k])
        first = scale * (sbb[k] * at - sab[k] * area[k])
        second = scale * (saa * area[k] - sab[k] * at)
        own = newer - lines[k]
        squares[k] += weight * (own * own + earlier)
        one, two = reach * later_one[k] + own * first, reach * later_two[k] + own * second
        ones[k] += one * one
        both[k] += one * two
        twos[k] += two * two
        later_one[k] += first
        later_two[k] += second
        area[k] -= older * np.float64(before[k]) + newer * np.float64(row[k])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _finish_plane_errors(spreads, sums, saa, earlier, freedom, unbiased, begin, out):
    sab, sbb = sums[1], sums[2]
    end = begin + sab.size
    errors, offset_errors = out[SLOPE_ERROR, begin:end], out[INTERCEPT_ERROR, begin:end]
    slopes = out[SLOPE, begin:end]
    usable = 1.0 / (unbiased * unbiased) if freedom > 0 else np.nan
    for k in range(sab.size):
        one, two, line = spreads[0, k], spreads[1, k], spreads[8, k]
        ones = spreads[2, k] + earlier * one * one
        both = spreads[3, k] + earlier * one * two
        twos = spreads[4, k] + earlier * two * two
        left = spreads[5, k] / (line * line) - (saa * ones + 2.0 * sab[k] * both + sbb[k] * twos)
        variance = usable * spreads[7, k] / left
        ratio = np.float64(slopes[k])
        spread = ones + ratio * (ratio * twos + 2.0 * both)
        errors[k] = np.sqrt(variance * max(spread, 0.0)) * abs(line)
        offset_errors[k] = np.sqrt(variance * twos) * line * line


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def own_planes(samples, chosen, first, older, newer, x, weights, freedom, unbiased, out, flags):
    """Least-squares fits of the voxel by ``b1 x + b2 (integral of the voxel)``: MA1 and its kin.

    Arguments as in `own_lines`. The rows of the result are -b1/b2 and 1/b2, the slope and the intercept of
    Logan's plot, their standard errors, and goodness of fit in the unit of the samples.
    """
    n, n_voxels = samples.shape
    sum_w, saa = _weight_sums(x, weights)
    reach, earlier = reach_of_samples(older, newer)
    for block in prange((n_voxels + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, n_voxels)
        sums = np.zeros((SUMS, end - begin))
        for i in range(n):
            row = samples[i, begin:end]
            _add_area(samples[max(i - 1, 0), begin:end], row, older[i], newer[i], sums[0])
            if i >= first:
                _add_plane(row, x[i], weights[i], sums)
        spreads = np.zeros((SPREADS, end - begin))
        _finish_plane(sums, sum_w, saa, begin, out, flags, spreads)
        for i in range(n - 1, first - 1, -1):
            row, before = samples[i, begin:end], samples[max(i - 1, 0), begin:end]
            _spread_plane(
                before, row, x[i], weights[i], older[i], newer[i], reach[i], earlier[i], saa, sums, spreads
            )
        _finish_plane_errors(spreads, sums, saa, earlier[first], freedom, unbiased, begin, out)
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
