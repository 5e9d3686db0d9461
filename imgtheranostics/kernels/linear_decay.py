"""Closed forms of the exponential decay: straight lines through logarithms, and ARLO; float64."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.decay import (
    AMPLITUDE,
    AMPLITUDE_ERROR,
    BLOCK,
    FURTHEST_BACK,
    ILL_CONDITIONED,
    INVALID_INPUT,
    LEAST_RATE,
    NEGATIVE_AMPLITUDE,
    OUTSIDE_RANGE,
    R_SQUARED,
    RMSE,
    TIME,
    TIME_ERROR,
    fill_decay,
    scaled_samples,
    total_squares,
)

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _write_goodness(s, e, amplitude, scale, out, voxel):
    """R squared and root mean square residual in the domain of the signal; the sum of squares."""
    squares = 0.0
    for i in range(s.size):
        residual = s[i] - amplitude * e[i]
        squares += residual * residual
    out[R_SQUARED, voxel] = 1.0 - squares / total_squares(s)
    out[RMSE, voxel] = np.sqrt(squares / s.size) * scale
    return squares


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _line(s, w, y, shifts):
    """Weighted line through y: intercept, slope, mean shift, sum of weights, their spread, sum of squares."""
    total = 0.0
    mean_x = 0.0
    mean_y = 0.0
    for i in range(s.size):
        total += w[i]
        mean_x += w[i] * shifts[i]
        mean_y += w[i] * y[i]
    mean_x /= total
    mean_y /= total
    xx = 0.0
    xy = 0.0
    for i in range(s.size):
        x = shifts[i] - mean_x
        xx += w[i] * x * x
        xy += w[i] * x * (y[i] - mean_y)
    slope = xy / xx
    intercept = mean_y - slope * mean_x
    squares = 0.0
    for i in range(s.size):
        squares += w[i] * (y[i] - intercept - slope * shifts[i]) ** 2
    return intercept, slope, mean_x, total, xx, squares


@njit(cache=True, nogil=True, error_model="numpy")
def _line_voxel(s, e, w, y, first_s, shifts, spacing, weighted, scale, out, voxel):
    """One voxel's straight line; its flags."""
    for i in range(s.size):
        if not s[i] > 0.0:
            return INVALID_INPUT
        y[i] = np.log(s[i])
        w[i] = s[i] * s[i] if weighted else 1.0
    intercept, slope, mean_x, total, xx, squares = _line(s, w, y, shifts)
    rate = -slope
    if not rate > LEAST_RATE:
        return OUTSIDE_RANGE
    back = np.exp(rate * first_s)
    if not back < FURTHEST_BACK:
        return OUTSIDE_RANGE
    start = np.exp(intercept) * back * scale
    out[TIME, voxel] = 1.0 / rate
    out[AMPLITUDE, voxel] = start
    if s.size > 2:
        variance = squares / (s.size - 2)
        lever = first_s + mean_x
        out[TIME_ERROR, voxel] = np.sqrt(variance / xx) / (rate * rate)
        out[AMPLITUDE_ERROR, voxel] = start * np.sqrt(variance * (1.0 / total + lever * lever / xx))
    fill_decay(rate, shifts, spacing, e)
    _write_goodness(s, e, np.exp(intercept), scale, out, voxel)
    return 0


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_lines(samples, first_s, shifts, spacing, weighted, out, iterations, flags):
    """Straight line through the logarithm of every voxel's samples.

    samples : (n, n_voxels) float64; a voxel with a sample that is not above 0 is invalid
    first_s, shifts, spacing : as `kernels.decay.fit_decays` takes them
    weighted : weight each logarithm by the square of its sample, the inverse of its variance
    out, iterations, flags : as `kernels.decay.fit_decays` writes them; there is no constant
    """
    n, n_voxels = samples.shape
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        s = np.empty(n)
        e = np.empty(n)
        w = np.empty(n)
        y = np.empty(n)
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            scale = scaled_samples(samples, voxel, s)
            flag = INVALID_INPUT
            if scale > 0.0:
                flag = _line_voxel(s, e, w, y, first_s, shifts, spacing, weighted, scale, out, voxel)
            iterations[voxel] = 0
            flags[voxel] = flag


@njit(cache=True, nogil=True, error_model="numpy")
def _arlo_voxel(s, e, g, first_s, shifts, spacing, scale, out, voxel):
    """One voxel's ARLO estimate with errors carried from the samples; its flags.

    The time constant T = numerator / denominator is a ratio of quadratic forms of the samples; g collects
    its derivative by each of them.
    """
    third = spacing / 3.0
    numerator = 0.0
    denominator = 0.0
    for i in range(s.size - 2):
        area = third * (s[i] + 4.0 * s[i + 1] + s[i + 2])
        drop = s[i] - s[i + 2]
        numerator += area * (area + third * drop)
        denominator += drop * (third * drop + area)
    if denominator == 0.0:
        return ILL_CONDITIONED
    time = numerator / denominator
    if not 0.0 < time < 1.0 / LEAST_RATE:
        return OUTSIDE_RANGE
    g[:] = 0.0
    for i in range(s.size - 2):
        area = third * (s[i] + 4.0 * s[i + 1] + s[i + 2])
        drop = s[i] - s[i + 2]
        by_area = 2.0 * area + third * drop - time * drop
        by_drop = third * area - time * (2.0 * third * drop + area)
        g[i] += third * by_area + by_drop
        g[i + 1] += 4.0 * third * by_area
        g[i + 2] += third * by_area - by_drop
    fill_decay(1.0 / time, shifts, spacing, e)
    ee = 0.0
    se = 0.0
    for i in range(s.size):
        ee += e[i] * e[i]
        se += s[i] * e[i]
    amplitude = se / ee
    if not amplitude > 0.0:
        return NEGATIVE_AMPLITUDE
    back = np.exp(first_s / time)
    if not back < FURTHEST_BACK:
        return OUTSIDE_RANGE
    out[TIME, voxel] = time
    out[AMPLITUDE, voxel] = amplitude * back * scale
    squares = _write_goodness(s, e, amplitude, scale, out, voxel)
    by_time = 0.0
    for i in range(s.size):
        by_time += (s[i] - 2.0 * amplitude * e[i]) * shifts[i] * e[i]
    by_time = (by_time / ee / time - amplitude * first_s / time) / time
    time_square = 0.0
    start_square = 0.0
    for i in range(s.size):
        through = g[i] / denominator
        time_square += through * through
        start_square += (e[i] / ee + by_time * through) ** 2
    spread = np.sqrt(squares / (s.size - 2))
    out[TIME_ERROR, voxel] = spread * np.sqrt(time_square)
    out[AMPLITUDE_ERROR, voxel] = spread * np.sqrt(start_square) * back * scale
    return 0


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_arlo(samples, first_s, shifts, spacing, out, iterations, flags):
    """Auto-regression on the linear operations of every voxel's equally spaced samples.

    samples : (n, n_voxels) float64, n >= 3; spacing : seconds between samples, > 0
    first_s, shifts : as `kernels.decay.fit_decays` takes them
    out, iterations, flags : as `kernels.decay.fit_decays` writes them; there is no constant
    """
    n, n_voxels = samples.shape
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        s = np.empty(n)
        e = np.empty(n)
        g = np.empty(n)
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            scale = scaled_samples(samples, voxel, s)
            flag = INVALID_INPUT
            if scale > 0.0:
                flag = _arlo_voxel(s, e, g, first_s, shifts, spacing, scale, out, voxel)
            iterations[voxel] = 0
            flags[voxel] = flag
