"""Axis about which the bottom of a spectrum's water dip is most symmetric.

The sum of squares of ``z_k - m_k - t (x_k - c) (z_k + m_k)`` over the samples of a window is least in c and
t, where m_k is what the cubic spline gives at the mirrored place 2 c - x_k. The tilt t takes up a background
that leans; without it this is maximum symmetry. The spline goes through samples mapped as in
`imgtheranostics.kernels.water_minimum`, which keeps symmetric what is symmetric.

Noise in z_k and m_k adds to the sum an amount that depends on where the mirrored places lie between the
samples, least midway, and would draw the axis there. What it adds to the sum and to its derivatives is known
from the spline and taken off, so that the axis is unbiased and its error follows from what remains.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.water_minimum import TOP

BLOCK = 64
"""Voxels per task."""

MOST_ITERATIONS = 40
TOLERANCE = 1e-10
"""Step in ppm below which the axis has settled."""

MOST_OF_NOISE = 0.4
"""Part of the squared slopes that may be noise; the rest is what determines the axis."""

LEAST_CLEAN = 0.3
"""Part of the squared slopes that counts as free of noise at least, in steps and standard errors."""

RETRIES = (0.3, 0.0)
"""Parts of what noise adds that are taken off in turn where without all of it no sum is least."""

LITTLE_NOISE = 0.005
"""Part up to which the search leaves it alone."""

REACH = 6
"""Samples on either side of a mirrored place that enter the spline there: beyond, less than 1e-3 does."""

NOT_CONVERGED = 16
OUTSIDE_RANGE = 32
ILL_CONDITIONED = 64
"""Bits of `imgtheranostics.volume.Flag`."""

SQUARES, BY_AXIS, BY_TILT, AXIS_AXIS, AXIS_TILT, TILT_TILT = range(6)


@njit(cache=True, nogil=True, error_model="numpy")
def _slopes(u, sweep, s):
    """Slopes of the spline at its knots, as `imgtheranostics.kernels.z_spline.fill_slopes`; one spectrum."""
    n = u.size
    for i in range(n):
        middle = min(max(i, 1), n - 2)
        s[i] = sweep[0, i] * (u[middle] - u[middle - 1]) + sweep[1, i] * (u[middle + 1] - u[middle])
        if i > 0:
            s[i] -= sweep[2, i] * s[i - 1]
    for i in range(n - 2, -1, -1):
        s[i] -= sweep[3, i] * s[i + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _mirrored(knots, u, s, place):
    """Interval, fraction, value and slope of the spline at a place inside the range."""
    k = min(max(np.searchsorted(knots, place, side="right") - 1, 0), knots.size - 2)
    step = knots[k + 1] - knots[k]
    t = (place - knots[k]) / step
    rise = u[k + 1] - u[k]
    begin = step * s[k]
    end = step * s[k + 1]
    cubic = begin + end - 2.0 * rise
    square = rise - begin - cubic
    value = u[k] + t * (begin + t * (square + t * cubic))
    return k, t, value, (begin + t * (2.0 * square + 3.0 * t * cubic)) / step


@njit(cache=True, nogil=True, error_model="numpy")
def _weights(knots, u, sensitivity, i, here, d, tilt, rows):
    """How each sample enters the residual of one, and the derivatives of that by axis and tilt.

    here : interval, fraction, value and slope of the mapped spline at the mirrored place
    rows : (3, n) float64; set from the first to before the last sample that is returned
    """
    k, t, mapped, slope = here
    step = knots[k + 1] - knots[k]
    rest = 1.0 - t
    w0, w1 = rest * rest * (1.0 + 2.0 * t), t * t * (3.0 - 2.0 * t)
    w2, w3 = step * t * rest * rest, -step * t * t * rest
    r0, r2, r3 = -6.0 * t * rest / step, 1.0 + t * (3.0 * t - 4.0), t * (3.0 * t - 2.0)
    begin, end = min(max(0, k - REACH), i), max(min(knots.size, k + 2 + REACH), i + 1)
    for j in range(begin, end):
        weight = w2 * sensitivity[k, j] + w3 * sensitivity[k + 1, j]
        rate = r2 * sensitivity[k, j] + r3 * sensitivity[k + 1, j]
        if j == k:
            weight += w0
            rate += r0
        elif j == k + 1:
            weight += w1
            rate -= r0
        part = (u[j] / mapped) ** 2
        rate = part * (rate - 2.0 * weight * slope / mapped)
        weight *= part
        own = 1.0 if j == i else 0.0
        rows[0, j] = own * (1.0 - tilt * d) - (1.0 + tilt * d) * weight
        rows[1, j] = tilt * (own + weight) - 2.0 * (1.0 + tilt * d) * rate
        rows[2, j] = -d * (own + weight)
    return begin, end


@njit(cache=True, nogil=True, error_model="numpy")
def _add_noise(rows, begin, end, noisy):
    """What noise of 1 in the samples adds to the sums by one residual."""
    for j in range(begin, end):
        own, by_axis, by_tilt = rows[0, j], rows[1, j], rows[2, j]
        noisy[SQUARES] += own * own
        noisy[BY_AXIS] += own * by_axis
        noisy[BY_TILT] += own * by_tilt
        noisy[AXIS_AXIS] += by_axis * by_axis
        noisy[AXIS_TILT] += by_axis * by_tilt
        noisy[TILT_TILT] += by_tilt * by_tilt


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(curve, window, axis, tilt, variance, work):
    """Sum of squares and its derivatives in the sense of Gauss and Newton; and what noise adds to them.

    curve : knots, samples, mapped samples, slopes of their spline, and its sensitivity
    window : first and last sample, lowest sample and depth; variance : of the noise, 0 leaves it out
    work : sums and noisy (6,), rows (3, n), float64
    """
    knots, y, u, s, sensitivity = curve
    first, last, low, depth = window
    sums, noisy, rows = work
    sums[:] = 0.0
    noisy[:] = 0.0
    for i in range(first, last + 1):
        here = _mirrored(knots, u, s, 2.0 * axis - knots[i])
        mapped, slope = here[2], here[3]
        value = low + depth * (1.0 + TOP - 1.0 / mapped)
        steep = depth * slope / (mapped * mapped)
        d = knots[i] - axis
        both = y[i] + value
        residual = y[i] - value - tilt * d * both
        by_axis = -2.0 * steep * (1.0 + tilt * d) + tilt * both
        by_tilt = -d * both
        sums[SQUARES] += residual * residual
        sums[BY_AXIS] += by_axis * residual
        sums[BY_TILT] += by_tilt * residual
        sums[AXIS_AXIS] += by_axis * by_axis
        sums[AXIS_TILT] += by_axis * by_tilt
        sums[TILT_TILT] += by_tilt * by_tilt
        if variance > 0.0:
            begin, end = _weights(knots, u, sensitivity, i, here, d, tilt, rows)
            _add_noise(rows, begin, end, noisy)
    for k in range(noisy.size):
        noisy[k] *= variance


@njit(cache=True, nogil=True, error_model="numpy")
def _curvatures(sums, noisy, tilted):
    """Curvature along the axis with and without noise, that along the tilt, and the tilt that goes along."""
    whole, clean = sums[AXIS_AXIS], sums[AXIS_AXIS] - noisy[AXIS_AXIS]
    by_tilt, along = 1.0, 0.0
    if tilted:
        whole -= sums[AXIS_TILT] * sums[AXIS_TILT] / sums[TILT_TILT]
        by_tilt = max(sums[TILT_TILT] - noisy[TILT_TILT], LEAST_CLEAN * sums[TILT_TILT])
        along = (sums[AXIS_TILT] - noisy[AXIS_TILT]) / by_tilt
        clean -= along * along * by_tilt
    return whole, max(clean, LEAST_CLEAN * whole), by_tilt, along


@njit(cache=True, nogil=True, error_model="numpy")
def _search(curve, window, axis, tilted, variance, work):
    """Axis and tilt of least squares without what noise adds; iterations, 0 where it did not settle.

    Last the variance that was reckoned with: 0 where noise adds little.
    """
    knots, (first, last, _, _), (sums, noisy, _) = curve[0], window, work
    furthest = min(axis - knots[0], knots[knots.size - 1] - axis)
    start, tilt = axis, 0.0
    _sums(curve, window, axis, tilt, variance, work)
    if noisy[AXIS_AXIS] <= LITTLE_NOISE * sums[AXIS_AXIS]:
        variance = 0.0
        noisy[:] = 0.0
    for count in range(1, MOST_ITERATIONS + 1):
        _, clean, by_tilt, along = _curvatures(sums, noisy, tilted)
        lean = -(sums[BY_TILT] - noisy[BY_TILT]) / by_tilt if tilted else 0.0
        move = -(sums[BY_AXIS] - noisy[BY_AXIS] + along * by_tilt * lean) / clean
        lean -= along * move
        before, at, leaning = sums[SQUARES] - noisy[SQUARES], axis, tilt
        slack = 1e-12 * sums[SQUARES]
        share = 1.0
        for _ in range(12):
            axis, tilt = at + share * move, leaning + share * lean
            inside = (
                2.0 * axis - knots[last] >= knots[0] and 2.0 * axis - knots[first] <= knots[knots.size - 1]
            )
            if inside and abs(axis - start) < furthest:
                _sums(curve, window, axis, tilt, variance, work)
                if sums[SQUARES] - noisy[SQUARES] <= before + slack:
                    break
            share *= 0.5
        else:
            axis, tilt = at, leaning
            return axis, tilt, count if abs(move) < 1e-6 else 0, variance
        if abs(share * move) < TOLERANCE:
            return axis, tilt, count, variance
    return axis, tilt, 0, variance


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(curve, window, axis, tilt, tilted, variance, work, by_sample, products):
    """Variance of the axis over that of the noise, and the part of its slopes that is noise.

    The slope of the sum at the axis is a product of residuals and slopes, both with noise: its variance is
    that by the residuals, with slopes as they are, and the trace of the square of `products`, by both.

    by_sample : (n,), products : (n, n) float64, workspace
    """
    knots, y, u, s, sensitivity = curve
    first, last, low, depth = window
    sums, noisy, rows = work
    n = knots.size
    _sums(curve, window, axis, tilt, variance, work)
    whole, clean, _, along = _curvatures(sums, noisy, tilted)
    part = 1.0 - clean / whole
    lowest, highest = max(0, first - REACH - 2), min(n, last + REACH + 3)
    by_sample[:] = 0.0
    products[:] = 0.0
    for i in range(first, last + 1):
        here = _mirrored(knots, u, s, 2.0 * axis - knots[i])
        mapped, slope = here[2], here[3]
        d = knots[i] - axis
        both = y[i] + low + depth * (1.0 + TOP - 1.0 / mapped)
        gain = -2.0 * depth * slope / (mapped * mapped) * (1.0 + tilt * d) + (tilt + along * d) * both
        begin, end = _weights(knots, u, sensitivity, i, here, d, tilt, rows)
        lowest, highest = min(lowest, begin), max(highest, end)
        for j in range(begin, end):
            by_sample[j] += gain * rows[0, j]
            if variance > 0.0:
                for k in range(begin, end):
                    products[j, k] += rows[0, j] * (rows[1, k] - along * rows[2, k])
    total = 0.0
    for j in range(n):
        total += by_sample[j] * by_sample[j]
    if variance > 0.0:
        for j in range(lowest, highest):
            for k in range(lowest, highest):
                total += variance * products[j, k] * products[k, j]
    return max(total, 0.0) / (clean * clean), part


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def find_axes(samples, knots, sweep, sensitivity, first, last, start, noise, tilted, out, iterations, flags):
    """Axis of symmetry of every voxel that has a window.

    samples : (n, n_voxels) float64; knots : (n,) float64, ascending; sweep, sensitivity : of the spline
    first, last : (n_voxels,) int64, samples of the window; none where first > last
    start, noise : (n_voxels,) float64; position to begin with, noise of each sample or NaN
    tilted : whether a tilt is fitted
    out : (3, n_voxels) float64; position, its standard error, root mean square residual; NaN without result
    iterations : (n_voxels,) int16; flags : (n_voxels,) uint16, added to
    """
    n, n_voxels = samples.shape
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        y, u, s, by_sample, products = (
            np.empty(n),
            np.empty(n),
            np.empty(n),
            np.empty(n),
            np.empty((n, n)),
        )
        work = np.empty(6), np.empty(6), np.empty((3, n))
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            iterations[voxel] = 0
            i, j = first[voxel], last[voxel]
            if i > j:
                continue
            for k in range(n):
                y[k] = samples[k, voxel]
            low = y.min()
            depth = y.max() - low
            for k in range(n):
                u[k] = 1.0 / (1.0 + TOP - (y[k] - low) / depth)
            _slopes(u, sweep, s)
            curve, window = (knots, y, u, s, sensitivity), (i, j, low, depth)
            variance = noise[voxel] * noise[voxel] if noise[voxel] > 0.0 else 0.0
            axis, tilt, count, used = _search(curve, window, start[voxel], tilted, variance, work)
            for share in RETRIES:
                if count == 0:
                    flags[voxel] |= ILL_CONDITIONED
                    axis, tilt, count, _ = _search(
                        curve, window, start[voxel], tilted, share * variance, work
                    )  # fmt: skip
                    used = variance
            if count == 0:
                flags[voxel] |= NOT_CONVERGED
                continue
            iterations[voxel] = count
            factor, part = _factor(
                curve, window, axis, tilt, tilted, used, work, by_sample, products
            )  # fmt: skip
            out[0, voxel] = axis
            out[1, voxel] = np.sqrt(factor) * noise[voxel]
            out[2, voxel] = np.sqrt(work[0][SQUARES] / (j - i + 1))
            if part > MOST_OF_NOISE:
                flags[voxel] |= ILL_CONDITIONED
