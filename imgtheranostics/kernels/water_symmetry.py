"""Axis about which the bottom of a spectrum's water dip is most symmetric.

The sum of squares of ``z_k - m_k - t (x_k - c) (z_k + m_k)`` over the samples of a window is least in c and
t, where m_k is what the cubic spline gives at the mirrored place 2 c - x_k. The tilt t takes up a background
that leans; without it this is maximum symmetry. The spline goes through samples mapped as in
`imgtheranostics.kernels.water_minimum`, which keeps symmetric what is symmetric.
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

MOST_OF_NOISE = 0.2
"""Part of the squared slopes that may be noise; the rest is what determines the axis."""

LARGEST_PART = 0.6
"""Part of noise above which a standard error is not raised further: the axis then stays near the start."""

RAISED, RAISED_WITH_TILT = 1.0, 1.5
"""Powers of the rest of the slopes by which the standard error is raised."""

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
def _sums(knots, y, u, s, first, last, low, depth, axis, tilt, sums):
    """Sum of squares and its derivatives in the sense of Gauss and Newton."""
    sums[:] = 0.0
    for i in range(first, last + 1):
        _, _, mapped, slope = _mirrored(knots, u, s, 2.0 * axis - knots[i])
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


@njit(cache=True, nogil=True, error_model="numpy")
def _search(knots, y, u, s, first, last, low, depth, axis, tilted, sums):
    """Axis and tilt of least squares; iterations, 0 where it did not settle."""
    furthest = min(axis - knots[0], knots[knots.size - 1] - axis)
    start, tilt = axis, 0.0
    _sums(knots, y, u, s, first, last, low, depth, axis, tilt, sums)
    for count in range(1, MOST_ITERATIONS + 1):
        if tilted:
            determinant = sums[AXIS_AXIS] * sums[TILT_TILT] - sums[AXIS_TILT] * sums[AXIS_TILT]
            move = -(sums[BY_AXIS] * sums[TILT_TILT] - sums[BY_TILT] * sums[AXIS_TILT]) / determinant
            lean = -(sums[BY_TILT] * sums[AXIS_AXIS] - sums[BY_AXIS] * sums[AXIS_TILT]) / determinant
        else:
            move, lean = -sums[BY_AXIS] / sums[AXIS_AXIS], 0.0
        before, at, leaning = sums[SQUARES], axis, tilt
        share = 1.0
        for _ in range(12):
            axis, tilt = at + share * move, leaning + share * lean
            inside = (
                2.0 * axis - knots[last] >= knots[0] and 2.0 * axis - knots[first] <= knots[knots.size - 1]
            )
            if inside and abs(axis - start) < furthest:
                _sums(knots, y, u, s, first, last, low, depth, axis, tilt, sums)
                if sums[SQUARES] <= before * (1.0 + 1e-12):
                    break
            share *= 0.5
        else:
            axis, tilt = at, leaning
            _sums(knots, y, u, s, first, last, low, depth, axis, tilt, sums)
            return axis, tilt, count if abs(move) < 1e-6 else 0
        if abs(share * move) < TOLERANCE:
            return axis, tilt, count
    return axis, tilt, 0


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(knots, y, u, s, sensitivity, first, last, low, depth, axis, tilt, tilted, sums, by_sample):
    """Variance of the axis for noise of 1 in the samples, and the part of its slopes that is such noise.

    by_sample : (n,) float64; the axis by each sample
    """
    n = knots.size
    by_sample[:] = 0.0
    noise = 0.0
    determinant = sums[AXIS_AXIS]
    if tilted:
        determinant -= sums[AXIS_TILT] * sums[AXIS_TILT] / sums[TILT_TILT]
    for i in range(first, last + 1):
        k, t, mapped, slope = _mirrored(knots, u, s, 2.0 * axis - knots[i])
        value = low + depth * (1.0 + TOP - 1.0 / mapped)
        steep = depth * slope / (mapped * mapped)
        d = knots[i] - axis
        both = y[i] + value
        gain = -2.0 * steep * (1.0 + tilt * d) + tilt * both
        if tilted:
            gain -= -d * both * sums[AXIS_TILT] / sums[TILT_TILT]
        gain /= -determinant
        by_sample[i] += gain * (1.0 - tilt * d)
        gain *= -(1.0 + tilt * d) / (mapped * mapped)
        step = knots[k + 1] - knots[k]
        rest = 1.0 - t
        w0, w1 = rest * rest * (1.0 + 2.0 * t), t * t * (3.0 - 2.0 * t)
        w2, w3 = step * t * rest * rest, -step * t * t * rest
        r0, r2, r3 = -6.0 * t * rest / step, 1.0 + t * (3.0 * t - 4.0), t * (3.0 * t - 2.0)
        for j in range(n):
            weight = w2 * sensitivity[k, j] + w3 * sensitivity[k + 1, j]
            rate = r2 * sensitivity[k, j] + r3 * sensitivity[k + 1, j]
            if j == k:
                weight += w0
                rate += r0
            elif j == k + 1:
                weight += w1
                rate -= r0
            steepness = u[j] * u[j]
            by_sample[j] += gain * weight * steepness
            rate *= 2.0 * steepness / (mapped * mapped)
            noise += rate * rate
    total = 0.0
    for j in range(n):
        total += by_sample[j] * by_sample[j]
    return total, noise / sums[AXIS_AXIS]


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
        y, u, s, by_sample, sums = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(6)
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
            axis, tilt, count = _search(
                knots, y, u, s, i, j, low, depth, start[voxel], tilted, sums
            )  # fmt: skip
            if count == 0:
                flags[voxel] |= NOT_CONVERGED
                continue
            iterations[voxel] = count
            out[0, voxel] = axis
            out[2, voxel] = np.sqrt(sums[SQUARES] / (j - i + 1))
            variance, noisy = _factor(
                knots, y, u, s, sensitivity, i, j, low, depth, axis, tilt, tilted, sums, by_sample
            )  # fmt: skip
            part = noisy * noise[voxel] * noise[voxel]
            if part > MOST_OF_NOISE:
                flags[voxel] |= ILL_CONDITIONED
            if part >= 0.0:
                rest = 1.0 - min(part, LARGEST_PART)
                power = RAISED_WITH_TILT if tilted else RAISED
                out[1, voxel] = np.sqrt(variance) * noise[voxel] / rest**power
