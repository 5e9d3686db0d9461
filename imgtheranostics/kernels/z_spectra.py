"""Noise, position of water, and spline values of spectra that share their offsets, in one pass over them."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lanes import list_chosen, put
from imgtheranostics.kernels.water_minimum import (
    ASK_SPLINE,
    ASK_SPLINE_UNSURE,
    BELOW_NOISE,
    LEAST_SAMPLES,
    N_ROWS,
    OPEN,
    OUTSIDE_RANGE,
    ROUGH,
    TOP,
    TOP_OF_FEW,
    fit_bottoms,
    spline_minimum,
)
from imgtheranostics.kernels.water_shape import falls_and_rises, roughness, stands_out, uncertain_width
from imgtheranostics.kernels.z_noise import N_ROWS as SUMS
from imgtheranostics.kernels.z_noise import fill_dips, fill_noise
from imgtheranostics.kernels.z_spline import (
    BLOCK,
    FAST,
    clamped,
    fill_interval,
    fill_slopes,
    fill_weights,
    interval,
    lies_inside,
    shared_variance,
    slope_in,
)

CHUNK = 1024
"""Voxels that one thread takes at a time; a whole number of blocks."""

MASKED_OUT = 1
INVALID_INPUT = 4
ILL_CONDITIONED = 64
"""Bits of `imgtheranostics.volume.Flag`."""

NOISE, B0, VALUES, ERRORS = 1, 2, 4, 8
"""What to do: estimate the noise, find the water, evaluate the spline, give its factors and slopes."""


@njit(cache=True, nogil=True, error_model="numpy")
def _load_from(samples, order, voxels, first, count, z):
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


@njit(cache=True, nogil=True, error_model="numpy")
def _load(samples, order, voxels, first, count, z):
    """`_load_from` the array that holds the samples: one of two types, so that one kernel serves both."""
    if samples[0].shape[0] > 0:
        _load_from(samples[0], order, voxels, first, count, z)
    else:
        _load_from(samples[1], order, voxels, first, count, z)


@njit(cache=True, nogil=True, error_model="numpy")
def _put(row, voxels, first, count, planes, k):
    """Lanes to plane `k` of the array that holds the results."""
    if planes[0].shape[0] > 0:
        put(row, voxels, first, first + count, planes[0][k])
    else:
        put(row, voxels, first, first + count, planes[1][k])


@njit(cache=True, nogil=True, error_model="numpy")
def _take(planes, voxels, first, count, row):
    """Lanes from the array that holds what is given; those without a voxel repeat the first."""
    for lane in range(count):
        voxel = voxels[first + lane]
        row[lane] = planes[0][0, voxel] if planes[0].shape[0] > 0 else planes[1][0, voxel]
    for lane in range(count, BLOCK):
        row[lane] = row[0]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _check(z, n, spoilt):
    """0, or NaN for lanes with a sample that is not finite."""
    for lane in range(BLOCK):
        spoilt[lane] = 0.0
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            spoilt[lane] += 0.0 * row[lane]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _survey(z, n, low, high, at_low, spread, total):
    """Lowest and highest sample, where the lowest is, and mean square about the mean; per lane.

    total : (BLOCK,) float64; becomes 0, or NaN for lanes with a sample that is not finite
    """
    for lane in range(BLOCK):
        low[lane] = z[lane]
        high[lane] = z[lane]
        at_low[lane] = 0.0
        spread[lane] = 0.0
        total[lane] = 0.0
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        number = float(i)
        for lane in range(BLOCK):
            value = row[lane]
            at_low[lane] = number if value < low[lane] else at_low[lane]
            low[lane] = value if value < low[lane] else low[lane]
            high[lane] = value if value > high[lane] else high[lane]
            away = value - z[lane]
            total[lane] += away
            spread[lane] += away * away
    for lane in range(BLOCK):
        spread[lane] = (spread[lane] - total[lane] * total[lane] / n) / (n - 1)
        total[lane] *= 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _map(z, n, low, high, top, u):
    """The samples mapped as `imgtheranostics.kernels.water_minimum` says."""
    for i in range(n):
        row = z[i * BLOCK : (i + 1) * BLOCK]
        out = u[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            out[lane] = 1.0 / (1.0 + top - (row[lane] - low[lane]) / (high[lane] - low[lane]))


@njit(cache=True, nogil=True, error_model="numpy")
def _find_water(
    z, u, s, n, count, knots, sweep, bends, sensitivity, least_ratio, noise, lanes, ints, w, place, error
):
    """Position of water, its standard error and flags of every lane of a block."""
    low, high, spread, spoilt = lanes
    arg, marks = ints
    for lane in range(BLOCK):
        place[lane] = np.nan
        error[lane] = np.nan
        if spoilt[lane] != 0.0:
            marks[lane] = INVALID_INPUT
        elif not spread[lane] > 0.0 or _is_noise(
            z, n, lane, low[lane], high[lane], arg[lane], spread[lane], noise[lane], least_ratio
        ):
            marks[lane] = BELOW_NOISE
        elif arg[lane] == 0 or arg[lane] == n - 1:
            marks[lane] = OUTSIDE_RANGE
        else:
            marks[lane] = ASK_SPLINE if n < LEAST_SAMPLES else OPEN
    fit_bottoms(z, n, knots, bends, noise, low, high, arg, marks, w, place, error)
    _reconsider(z, n, low, noise, least_ratio, arg, marks)
    if (marks <= ASK_SPLINE).any():
        _map(z, n, low, high, TOP if n >= LEAST_SAMPLES else TOP_OF_FEW, u)
        fill_slopes(u, sweep, s)
        for lane in range(count):
            if marks[lane] <= ASK_SPLINE:
                place[lane], error[lane] = spline_minimum(
                    u, s, n, lane, knots, sensitivity, noise[lane], high[lane] - low[lane], arg[lane]
                )
    for lane in range(count):
        if marks[lane] <= 0:
            perhaps = w[ROUGH + lane]
            _add_doubt(
                z, n, knots, lane, low[lane], high[lane], arg[lane], noise[lane], perhaps, marks, error
            )


@njit(cache=True, nogil=True, error_model="numpy")
def _reconsider(z, n, low, noise, least_ratio, arg, marks):
    """Dips that stand out of the noise without a quartic, too narrow for it, go to the spline."""
    for lane in range(BLOCK):
        found = marks[lane] == BELOW_NOISE and 0 < arg[lane] < n - 1
        if found and stands_out(z, n, lane, low[lane], noise[lane], least_ratio):
            marks[lane] = ASK_SPLINE_UNSURE


@njit(cache=True, nogil=True, error_model="numpy")
def _is_noise(z, n, lane, low, high, arg, spread, noise, least_ratio):
    """Whether a spectrum is no more than noise: its scatter, or its shape where the noise is not known."""
    if not noise >= 0.0:
        return not falls_and_rises(z, n, lane, low, high, arg)
    return spread < least_ratio * noise * noise and not stands_out(z, n, lane, low, noise, least_ratio)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_doubt(z, n, knots, lane, low, high, arg, noise, perhaps, marks, error):
    """Flag, and with what the samples leave open, the positions in dips that they do not resolve.

    What they miss a smooth bottom by counts as noise there.
    """
    width = uncertain_width(z, n, knots, lane, low, high, arg, noise)
    rough = roughness(z, n, knots, lane, low, high, arg, noise, perhaps)
    rippled = rough > 0.0
    if marks[lane] == ASK_SPLINE_UNSURE or (rippled and not noise > 0.0):
        width = max(width, knots[arg + 1] - knots[arg], knots[arg] - knots[arg - 1])
    if rippled and noise > 0.0:
        error[lane] *= np.sqrt(1.0 + (rough * (high - low) / noise) ** 2)
    marks[lane] = ILL_CONDITIONED if width > 0.0 or rippled else 0
    if width > 0.0:
        known = error[lane] if error[lane] >= 0.0 else 0.0
        error[lane] = np.sqrt(known * known + width * width / 12.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _extent(b0):
    """Least and largest position of a block, those that are known; infinite the wrong way without any."""
    least, largest = np.inf, -np.inf
    for lane in range(BLOCK):
        if b0[lane] < least:
            least = b0[lane]
        if b0[lane] > largest:
            largest = b0[lane]
    return least, largest


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_values(z, s, grid, b0, least, largest, at, row):
    """Spline values at b0 + at; NaN outside the range.

    The lanes of a block lie in a few neighbouring intervals: each of them is evaluated for all lanes, of
    which those keep the value that lie in it. That costs a third of looking up each lane's interval.
    """
    knots, steps, shares, ends, cells, per_ppm = grid
    n, first, last = knots.size, knots[0], knots[knots.size - 1]
    for lane in range(BLOCK):
        row[lane] = np.nan
    if not least <= largest:
        return
    begin = interval(clamped(least + at, first, last), first, ends, cells, per_ppm)
    end = interval(clamped(largest + at, first, last), first, ends, cells, per_ppm)
    slack = 1e-9 * (last - first)
    for j in range(int(begin), int(end) + 1):
        low = first - slack if j == 0 else knots[j]
        high = last + slack if j == n - 2 else knots[j + 1]
        here, there = slice(j * BLOCK, (j + 1) * BLOCK), slice((j + 1) * BLOCK, (j + 2) * BLOCK)
        fill_interval(
            z[here], z[there], s[here], s[there], b0, at, knots[j], steps[j], shares[j], low, high, row
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(z, s, grid, b0, at, mirror, voxels, begin, count, row, other, values):
    """Spline values, or differences of mirrored ones, of every lane of a block.

    row, other : (BLOCK,) float64; workspace
    """
    least, largest = _extent(b0)
    for k in range(at.size):
        _fill_values(z, s, grid, b0, least, largest, at[k], row)
        if mirror:
            _fill_values(z, s, grid, b0, least, largest, -at[k], other)
            for lane in range(BLOCK):
                row[lane] = other[lane] - row[lane]
        _put(row, voxels, begin, count, values, k)


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate_errors(
    z, s, grid, gram, b0, at, mirror, voxels, begin, count, pair, row, other, factors, slopes
):
    """Factors of variance and slopes with b0 of what `_evaluate` gives.

    pair : (2, 4), row, other : (BLOCK,) float64; workspace
    """
    knots, steps, _, ends, cells, per_ppm = grid
    first, last = knots[0], knots[knots.size - 1]
    here, there = pair[0], pair[1]
    for k in range(at.size):
        for lane in range(count):
            factor = slope = np.nan
            right, left = b0[lane] + at[k], b0[lane] - at[k]
            usable = lies_inside(right, first, last) and s[lane] == s[lane]
            if mirror:
                usable = usable and lies_inside(left, first, last)
            if usable:
                right, left = clamped(right, first, last), clamped(left, first, last)
                j = interval(right, first, ends, cells, per_ppm)
                share = (right - knots[j]) / steps[j]
                fill_weights(steps[j], share, here)
                factor = shared_variance(gram, j, here, j, here)
                slope = slope_in(z, s, j, np.uintp(lane), steps[j], share)
                if mirror:
                    i = interval(left, first, ends, cells, per_ppm)
                    share = (left - knots[i]) / steps[i]
                    fill_weights(steps[i], share, there)
                    factor += shared_variance(gram, i, there, i, there)
                    factor -= 2.0 * shared_variance(gram, j, here, i, there)
                    slope = slope_in(z, s, i, np.uintp(lane), steps[i], share) - slope
            row[lane] = factor
            other[lane] = slope
        _put(row, voxels, begin, count, factors, k)
        _put(other, voxels, begin, count, slopes, k)


@njit(cache=True, nogil=True, error_model="numpy")
def _blank(begin, end, todo, given, found, flags):
    """Not a number in every result of [begin, end), for those outside the mask."""
    flags[begin:end] = MASKED_OUT
    if todo & NOISE:
        given[0][:, begin:end] = np.nan
        given[1][:, begin:end] = np.nan
    if todo & B0:
        given[2][:, begin:end] = np.nan
        given[3][:, begin:end] = np.nan
    for k in range(3):
        singles, doubles = (given[4], found[0], found[2]), (given[5], found[1], found[3])
        singles[k][:, begin:end] = np.nan
        doubles[k][:, begin:end] = np.nan
    found[4][:, begin:end] = np.nan
    found[5][:, begin:end] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_level(
    z, s, n, differences, todo, low, high, ints, sums, spoilt, voxels, begin, count, noise, level
):
    """Noise of every lane: estimated and kept, or the given one."""
    if todo & NOISE:
        fill_dips(z, n, low, high, ints[0], sums)
        fill_noise(z, differences, s, sums, level)
        for lane in range(BLOCK):
            level[lane] += spoilt[lane]
        _put(level, voxels, begin, count, noise, 0)
    elif todo & B0:
        _take(noise, voxels, begin, count, level)


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_block(
    samples, order, voxels, begin, count, todo, grid, design, at, mirror, work, given, found, flags
):
    """Everything for the voxels of one block."""
    sweep, differences, bends, sensitivity, gram, least_ratio = design
    z, u, s, lanes, more, ints, w, sums, pair = work
    low, high, spread, spoilt = lanes
    level, place, error, row = more
    arg, marks = ints
    noise, b0, b0_error = (given[0], given[1]), (given[2], given[3]), (given[4], given[5])
    values, factors, slopes = (found[0], found[1]), (found[2], found[3]), (found[4], found[5])
    n = order.size
    _load(samples, order, voxels, begin, count, z)
    if todo & (NOISE | B0):
        _survey(z, n, low, high, row, spread, spoilt)
        for lane in range(BLOCK):
            arg[lane] = int(row[lane])
    else:
        _check(z, n, spoilt)
    _fill_level(z, s, n, differences, todo, low, high, ints, sums, spoilt, voxels, begin, count, noise, level)
    if todo & B0:
        _find_water(
            z, u, s, n, count, grid[0], sweep, bends, sensitivity, least_ratio, level, lanes, ints, w, place,
            error,
        )  # fmt: skip
        _put(place, voxels, begin, count, b0, 0)
        _put(error, voxels, begin, count, b0_error, 0)
        put(marks, voxels, begin, begin + count, flags)
    else:
        _take(b0, voxels, begin, count, place)
        for lane in range(count):
            place[lane] += spoilt[lane]
            flags[voxels[begin + lane]] = INVALID_INPUT if spoilt[lane] != 0.0 else 0
    for lane in range(count, BLOCK):
        place[lane] = np.nan
    if todo & (VALUES | ERRORS):
        fill_slopes(z, sweep, s)
    if todo & VALUES:
        _evaluate(z, s, grid, place, at, mirror, voxels, begin, count, row, level, values)
    if todo & ERRORS:
        _evaluate_errors(
            z, s, grid, gram, place, at, mirror, voxels, begin, count, pair, row, error, factors, slopes
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _workspace(n):
    """Arrays of one task: samples, mapped samples and slopes; and rows of lanes."""
    lanes = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    more = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    ints = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    blocks = np.empty(n * BLOCK), np.empty(n * BLOCK), np.empty(n * BLOCK)
    rest = np.empty(N_ROWS * BLOCK), np.empty(SUMS * BLOCK), np.empty((2, 4))
    return blocks[0], blocks[1], blocks[2], lanes, more, ints, rest[0], rest[1], rest[2]


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def measure_spectra(samples, order, chosen, todo, grid, design, at, mirror, given, found, flags):
    """Do what `todo` says for every chosen voxel.

    samples : float32 and float64, one of them (n, n_voxels), the other (0, 0)
    order : (n,) int64, ``knots = offsets[order]``
    chosen : (n_voxels,) bool
    todo : sum of NOISE, B0, VALUES, ERRORS; what is not to be done leaves its array as it is
    grid : knots (n,), the steps (n - 1,) between them, their inverses, and ends, cells and per_ppm for
        `interval`
    design : sweep (4, n) for `fill_slopes`; differences (n - 4, 5) for `fill_noise`; bends (n,) for
        `fit_bottoms`; sensitivity (n, n) for `spline_minimum`; gram (2 n, 2 n) for `shared_variance`; mean
        square about the mean over the noise's below which a spectrum is noise alone; all float64
    at : (n_at,) float64, ppm from water; mirror : value at -at less that at +at
    given : noise, b0 and its standard error, (1, n_voxels), given or found, each as float32 and float64, of
        which one is (0, 0)
    found : values, factors of variance, and slopes, (n_at, n_voxels), each as float32 and float64, of which
        one is (0, 0)
    flags : (n_voxels,) uint16
    """
    n_voxels = flags.size
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)
        voxels = np.empty(CHUNK, np.int64)
        work = _workspace(order.size)
        n_chosen = list_chosen(chosen, begin, end, voxels)
        if n_chosen < end - begin:
            _blank(begin, end, todo, given, found, flags)
        for first in range(0, n_chosen, BLOCK):
            count = min(BLOCK, n_chosen - first)
            _measure_block(
                samples, order, voxels, first, count, todo, grid, design, at, mirror, work, given, found,
                flags,
            )  # fmt: skip
