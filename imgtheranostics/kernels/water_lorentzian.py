"""Centre of a Lorentzian through the bottom of a spectrum's water dip, by bounded Levenberg-Marquardt.

``Z(x) = baseline (1 + tilt d) (1 - depth / (1 + (d / half)^2))``, d = x - centre. The tilt multiplies the
whole dip, as a background that differs between both sides does: the minimum of a deep dip then stays at its
centre.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.small_matrices import (
    FIRST_DAMPING,
    bounded_step,
    covariance_diagonal,
    next_damping,
    predicted_decrease,
    settled,
    take_step,
)

BLOCK = 64
"""Voxels per task."""

CENTRE, HALF, DEPTH, BASELINE, TILT = range(5)
MOST = 5

MOST_ITERATIONS = 200
TOLERANCE = 1e-8
ENOUGH = 1e-10
"""Part of the sum of squares below which a step is not worth taking."""

AT_BOUND = 8
NOT_CONVERGED = 16
ILL_CONDITIONED = 64
"""Bits of `imgtheranostics.volume.Flag`."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _normal_equations(x, y, first, last, p, n_free, normal, gradient, row):
    """J'J, J'r and the sum of squares over the samples first to last."""
    normal[:] = 0.0
    gradient[:] = 0.0
    squares = 0.0
    tilt = p[TILT] if n_free > TILT else 0.0
    for i in range(first, last + 1):
        d = x[i] - p[CENTRE]
        t = d / p[HALF]
        shape = 1.0 / (1.0 + t * t)
        lean = 1.0 + tilt * d
        rest = 1.0 - p[DEPTH] * shape
        model = p[BASELINE] * lean * rest
        steep = 2.0 * p[DEPTH] * shape * shape * t / p[HALF]
        row[CENTRE] = -p[BASELINE] * (tilt * rest + lean * steep)
        row[HALF] = -p[BASELINE] * lean * steep * t
        row[DEPTH] = -p[BASELINE] * lean * shape
        row[BASELINE] = lean * rest
        if n_free > TILT:
            row[TILT] = p[BASELINE] * d * rest
        residual = model - y[i]
        squares += residual * residual
        for j in range(n_free):
            gradient[j] += row[j] * residual
            for k in range(j + 1):
                normal[j, k] += row[j] * row[k]
    return squares


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _squares(x, y, first, last, p, n_free):
    tilt = p[TILT] if n_free > TILT else 0.0
    total = 0.0
    for i in range(first, last + 1):
        d = x[i] - p[CENTRE]
        t = d / p[HALF]
        residual = p[BASELINE] * (1.0 + tilt * d) * (1.0 - p[DEPTH] / (1.0 + t * t)) - y[i]
        total += residual * residual
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _fit(x, y, first, last, parameters, limits, n_free, work):
    """Parameters in place; iterations, the sum of squares, and whether it has settled."""
    normal, factor, gradient, row, step, target, trial, scale, free = work
    lower, upper = limits
    damping = FIRST_DAMPING
    squares = _normal_equations(x, y, first, last, parameters, n_free, normal, gradient, row)
    for count in range(1, MOST_ITERATIONS + 1):
        if not bounded_step(normal, gradient, parameters, lower, upper, damping, free, factor, target, step):
            damping *= 8.0
            continue
        take_step(parameters, step, lower, upper, trial)
        predicted = predicted_decrease(normal, gradient, step)
        proposed = _squares(x, y, first, last, trial, n_free)
        decrease = squares - proposed
        quiet = settled(parameters, step, scale, TOLERANCE)
        if not predicted > ENOUGH * squares and damping <= FIRST_DAMPING:
            quiet = True
        damping = next_damping(damping, decrease, predicted)
        if decrease > 0.0:
            parameters[:] = trial
            squares = _normal_equations(x, y, first, last, parameters, n_free, normal, gradient, row)
        if quiet:
            return count, squares, True
    return MOST_ITERATIONS, squares, False


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_lorentzians(samples, knots, first, last, start, tilted, out, iterations, flags):
    """Centre of the dip of every voxel that has a window.

    samples : (n, n_voxels) float64; knots : (n,) float64, ascending
    first, last : (n_voxels,) int64, samples of the window; no fit where first > last
    start : (n_voxels,) float64, position to begin with; tilted : whether the tilt is fitted
    out : (4, n_voxels) float64; position, the variance of its error over that of a residual, R squared, and
        root mean square residual; NaN where there is none
    iterations : (n_voxels,) int16; flags : (n_voxels,) uint16, added to
    """
    n, n_voxels = samples.shape
    n_free = MOST if tilted else MOST - 1
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        y = np.empty(n)
        parameters, lower, upper, row = np.zeros(n_free), np.empty(n_free), np.empty(n_free), np.empty(MOST)
        scale, variances = np.ones(n_free), np.empty(n_free)
        normal, factor = np.empty((n_free, n_free)), np.empty((n_free, n_free))
        gradient, step, target, trial = np.empty(n_free), np.empty(n_free), np.empty(n_free), np.empty(n_free)
        free = np.ones(n_free, np.bool_)
        work = normal, factor, gradient, row, step, target, trial, scale, free
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            iterations[voxel] = 0
            i, j = first[voxel], last[voxel]
            if i > j:
                continue
            mean = 0.0
            for k in range(n):
                y[k] = samples[k, voxel]
            lowest, highest = y[i], y[i]
            for k in range(i, j + 1):
                mean += y[k] / (j - i + 1)
                lowest = min(lowest, y[k])
                highest = max(highest, y[k])
            whole = y.max()
            span = knots[j] - knots[i]
            parameters[CENTRE], lower[CENTRE], upper[CENTRE] = start[voxel], knots[i], knots[j]
            parameters[BASELINE], lower[BASELINE], upper[BASELINE] = whole, 0.2 * highest, 5.0 * whole
            depth = (whole - lowest) / whole
            parameters[DEPTH], lower[DEPTH], upper[DEPTH] = min(depth, 1.5), 0.0, 2.0
            fall = max((highest - lowest) / max(whole - highest, 0.05 * (whole - lowest)), 0.05)
            parameters[HALF], lower[HALF], upper[HALF] = 0.5 * span / np.sqrt(fall), 0.01 * span, 50.0 * span
            scale[CENTRE] = span
            scale[HALF] = span
            if tilted:
                parameters[TILT], lower[TILT], upper[TILT] = 0.0, -2.0 / span, 2.0 / span
                scale[TILT] = 1.0 / span
            count, squares, done = _fit(x=knots, y=y, first=i, last=j, parameters=parameters,
                                        limits=(lower, upper), n_free=n_free, work=work)  # fmt: skip
            iterations[voxel] = count
            if not done:
                flags[voxel] |= NOT_CONVERGED
                continue
            total = 0.0
            for k in range(i, j + 1):
                total += (y[k] - mean) ** 2
            out[0, voxel] = parameters[CENTRE]
            out[2, voxel] = 1.0 - squares / total
            out[3, voxel] = np.sqrt(squares / (j - i + 1))
            if parameters[CENTRE] <= lower[CENTRE] or parameters[CENTRE] >= upper[CENTRE]:
                flags[voxel] |= AT_BOUND
                continue
            for k in range(n_free):
                free[k] = lower[k] < parameters[k] < upper[k]
            if covariance_diagonal(normal, free, 1.0, factor, variances):
                out[1, voxel] = variances[CENTRE]
            else:
                flags[voxel] |= ILL_CONDITIONED
