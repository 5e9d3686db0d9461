"""Noise, position of water, and spline values of spectra that share their offsets, in one pass over them."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lanes import list_chosen
from imgtheranostics.kernels.water_minimum import (
    BELOW_NOISE,
    OUTSIDE_RANGE,
    TOP,
    fit_bottom,
    spline_minimum,
    workspace,
)
from imgtheranostics.kernels.z_noise import fill_dip, fill_noise
from imgtheranostics.kernels.z_spline import (
    BLOCK,
    FAST,
    fill_slopes,
    fill_weights,
    inside,
    interval,
    shared_variance,
    slope_in,
    value_in,
)

CHUNK = 1024
"""Voxels that one thread takes at a time; a whole number of blocks."""

MASKED_OUT = 1
INVALID_INPUT = 4
"""Bits of `imgtheranostics.volume.Flag`."""

NOISE, B0, VALUES, ERRORS = 1, 2, 4, 8
"""What to do: estimate the noise, find the water, evaluate the spline, with factors of variance and slopes."""


@njit(cache=True, nogil=True, error_model="numpy")
def _load(samples, order, voxels, first, count, z):
    """Samples of a block in ascending order of the offsets; lanes without a voxel repeat the first."""
    begin = voxels[first]
    in_row = voxels[first + count - 1] - begin == count - 1
    for i in range(order.size):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        plane = samples[order[i]]
        if in_row:
            run = plane[begin : begin + count]
            for lane in range(count):
                row[lane] = run[lane]
        else:
            for lane in range(count):
                row[lane] = plane[voxels[first + lane]]
        for lane in range(count, BLOCK):
            row[lane] = row[0]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _survey(z, n, low, high, arg, spread, spoilt):
    """Lowest and highest sample, where the lowest is, mean square about the mean, and 0 or NaN; per lane."""
    for lane in range(BLOCK):
        low[lane] = z[lane]
        high[lane] = z[lane]
        arg[lane] = 0
        spread[lane] = 0.0
        spoilt[lane] = 0.0
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            value = row[lane]
            arg[lane] = i if value < low[lane] else arg[lane]
            low[lane] = min(low[lane], value)
            high[lane] = max(high[lane], value)
            spoilt[lane] += value
    for lane in range(BLOCK):
        spoilt[lane] /= n
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            away = row[lane] - spoilt[lane]
            spread[lane] += away * away
    for lane in range(BLOCK):
        spread[lane] /= n - 1
        spoilt[lane] *= 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _map(z, n, low, high, u):
    """The samples mapped as `imgtheranostics.kernels.water_minimum` says."""
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        out = u[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            out[lane] = 1.0 / (1.0 + TOP - (row[lane] - low[lane]) / (high[lane] - low[lane]))


@njit(cache=True, nogil=True, error_model="numpy")
def _find_water(
    z, u, s, n, count, knots, sweep, bends, sensitivity, least_ratio, noise, lanes, arg, marks, small
):
    """Position of water, its standard error and flags of every lane of a block."""
    low, high, spread, spoilt, place, error = lanes
    any_sure = False
    for lane in range(count):
        marks[lane] = 0
        place[lane] = np.nan
        error[lane] = np.nan
        if spoilt[lane] != 0.0:
            marks[lane] = INVALID_INPUT
        elif not spread[lane] > 0.0 or spread[lane] < least_ratio * noise[lane] * noise[lane]:
            marks[lane] = BELOW_NOISE
        elif arg[lane] == 0 or arg[lane] == n - 1:
            marks[lane] = OUTSIDE_RANGE
        else:
            place[lane], error[lane], marks[lane], sure = fit_bottom(
                z, n, lane, knots, bends, noise[lane], low[lane], high[lane], arg[lane], small
            )
            if sure:
                marks[lane] = -1
                any_sure = True
    if any_sure:
        _map(z, n, low, high, u)
        fill_slopes(u, sweep, s)
        for lane in range(count):
            if marks[lane] == -1:
                marks[lane] = 0
                place[lane], error[lane] = spline_minimum(
                    u, s, n, lane, knots, sensitivity, noise[lane], high[lane] - low[lane], arg[lane]
                )


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(z, s, knots, cells, per_ppm, b0, at, mirror, voxels, first, count, values):
    """Spline values, or differences of mirrored values, of every lane of a block."""
    for k in range(at.size):
        row = values[k]
        for lane in range(count):
            result = np.nan
            right = inside(b0[lane] + at[k], knots)
            left = inside(b0[lane] - at[k], knots) if mirror else right
            if right == right and left == left:
                j = interval(right, knots, cells, per_ppm)
                step = knots[j + 1] - knots[j]
                result = value_in(z, s, j, lane, step, (right - knots[j]) / step)
                if mirror:
                    j = interval(left, knots, cells, per_ppm)
                    step = knots[j + 1] - knots[j]
                    result = value_in(z, s, j, lane, step, (left - knots[j]) / step) - result
            row[voxels[first + lane]] = result


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate_errors(
    z, s, knots, cells, per_ppm, gram, b0, at, mirror, voxels, first, count, pair, factors, slopes
):
    """Factors of variance and slopes with b0 of what `_evaluate` gives; pair : (2, 4) workspace."""
    here, there = pair[0], pair[1]
    for k in range(at.size):
        for lane in range(count):
            factor = slope = np.nan
            right = inside(b0[lane] + at[k], knots)
            left = inside(b0[lane] - at[k], knots) if mirror else right
            if right == right and left == left and s[lane] == s[lane]:
                j = interval(right, knots, cells, per_ppm)
                step = knots[j + 1] - knots[j]
                share = (right - knots[j]) / step
                fill_weights(step, share, here)
                factor = shared_variance(gram, j, here, j, here)
                slope = slope_in(z, s, j, lane, step, share)
                if mirror:
                    i = interval(left, knots, cells, per_ppm)
                    step = knots[i + 1] - knots[i]
                    share = (left - knots[i]) / step
                    fill_weights(step, share, there)
                    factor += shared_variance(gram, i, there, i, there)
                    factor -= 2.0 * shared_variance(gram, j, here, i, there)
                    slope = slope_in(z, s, i, lane, step, share) - slope
            voxel = voxels[first + lane]
            factors[k, voxel] = factor
            slopes[k, voxel] = slope


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def measure_spectra(
    samples,
    order,
    chosen,
    todo,
    knots,
    sweep,
    cells,
    per_ppm,
    differences,
    bends,
    sensitivity,
    gram,
    least_ratio,
    at,
    mirror,
    noise,
    b0,
    b0_error,
    values,
    factors,
    slopes,
    flags,
):
    """Do what `todo` says for every chosen voxel.

    samples : (n, n_voxels) float32 or float64; order : (n,) int64, ``knots = offsets[order]``
    chosen : (n_voxels,) bool
    todo : sum of NOISE, B0, VALUES, ERRORS; what is not to be done leaves its array as it is
    knots : (n,) float64, ascending
    sweep, cells, per_ppm : for `fill_slopes` and `interval`
    differences : (n - 4, 5) float64 for `fill_noise`
    bends, sensitivity : for `fit_bottom` and `spline_minimum`
    gram : (2 n, 2 n) float64 for `shared_variance`; (0, 0) without ERRORS
    least_ratio : mean square about the mean over the noise's, below which a spectrum is noise alone
    at : (n_at,) float64, ppm from water; mirror : value at -at less that at +at
    noise, b0, b0_error : (n_voxels,) float64; given or found
    values, factors, slopes : (n_at, n_voxels) of the type of the samples
    flags : (n_voxels,) uint16
    """
    n, n_voxels = samples.shape
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)
        voxels = np.empty(CHUNK, np.int64)
        z = np.empty(n * BLOCK)
        u = np.empty(n * BLOCK)
        s = np.empty(n * BLOCK)
        low, high, spread, spoilt = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
        place, error, level = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
        lanes = low, high, spread, spoilt, place, error
        arg, marks, bounds = (
            np.empty(BLOCK, np.int64),
            np.empty(BLOCK, np.int64),
            np.empty(2 * BLOCK, np.int64),
        )
        sums, pair = np.empty(2 * BLOCK), np.empty((2, 4))
        small = workspace()
        n_chosen = list_chosen(chosen, begin, end, voxels)
        if n_chosen < end - begin:
            flags[begin:end] = MASKED_OUT
            if todo & NOISE:
                noise[begin:end] = np.nan
            if todo & B0:
                b0[begin:end] = np.nan
                b0_error[begin:end] = np.nan
            if todo & VALUES:
                values[:, begin:end] = np.nan
            if todo & ERRORS:
                factors[:, begin:end] = np.nan
                slopes[:, begin:end] = np.nan
        for first in range(0, n_chosen, BLOCK):
            count = min(BLOCK, n_chosen - first)
            _load(samples, order, voxels, first, count, z)
            _survey(z, n, low, high, arg, spread, spoilt)
            if todo & NOISE:
                for lane in range(BLOCK):
                    fill_dip(z, n, lane, low[lane], high[lane], arg[lane], bounds)
                fill_noise(z, differences, bounds, s, sums, level)
                for lane in range(count):
                    noise[voxels[first + lane]] = level[lane] + spoilt[lane]
            else:
                for lane in range(count):
                    level[lane] = noise[voxels[first + lane]]
            if todo & B0:
                _find_water(
                    z, u, s, n, count, knots, sweep, bends, sensitivity, least_ratio, level, lanes, arg, marks,
                    small,
                )  # fmt: skip
                for lane in range(count):
                    voxel = voxels[first + lane]
                    b0[voxel] = place[lane]
                    b0_error[voxel] = error[lane]
                    flags[voxel] = marks[lane]
            else:
                for lane in range(count):
                    voxel = voxels[first + lane]
                    place[lane] = b0[voxel] + spoilt[lane]
                    flags[voxel] = INVALID_INPUT if spoilt[lane] != 0.0 else 0
            if todo & (VALUES | ERRORS):
                fill_slopes(z, sweep, s)
            if todo & VALUES:
                _evaluate(z, s, knots, cells, per_ppm, place, at, mirror, voxels, first, count, values)
            if todo & ERRORS:
                _evaluate_errors(
                    z, s, knots, cells, per_ppm, gram, place, at, mirror, voxels, first, count, pair, factors,
                    slopes,
                )  # fmt: skip
