"""Bounded fits of pools to Z-spectra: Z = Zi - sum A_i S_i, `LANES` voxels at once, each at its own pace.

The depths A and the baseline Zi enter linearly. A step of Levenberg and Marquardt goes along all unknowns,
damped only along widths and centres; at the place where it leads the linear ones are solved for (within their
bounds), before the sums of squares are compared (variable projection). The normal matrix of the undamped rows
is that of the linear problem too, so that this costs little and saves most of the iterations. A lane whose
voxel has settled takes the next one of its chunk.

Parameters are in the order baseline, k amplitudes, then width and centre of each pool. Unknowns have a row in
the basis: the linear ones all, of the others those that are not held.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lane_systems import (
    bounded_step_lanes,
    clamp_lanes,
    factor_lanes,
    inverse_diagonal_lanes,
    predicted_decrease_lanes,
)
from imgtheranostics.kernels.lane_vector import (
    LANES,
    at_most,
    less,
    load,
    root,
    spread,
    store,
    where,
)
from imgtheranostics.kernels.pool_lines import pool_rows
from imgtheranostics.kernels.pool_overlap import condition_lanes

CHUNK = 512
"""Voxels per task: the workspace of a task serves them all, and few of its ticks run with idle lanes."""

CONVERGED, UNDETERMINED = 1, 2
"""Bits of the state of a fit."""

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-9, 1e12

NEARLY_UNDAMPED = 1e-4
"""Damping up to which the predicted decrease tells how far the minimum is."""

ROUNDING = 1e-26
"""Part of the spectrum's sum of squares below which a decrease is rounding."""

WORST_PIVOT = 1e-13
"""Part of an unknown's effect that no other mimics, below which it is undetermined."""

IDLE, ITERATING, REVIVAL = -1, 0, 9
"""Stages of a lane; 1 and 2 are the starts that are still to be tried."""


@njit(cache=True, nogil=True, error_model="numpy")
def _gram(basis, n, rows, out):
    """Products of all rows with each other, lower triangle; rows is even."""
    length = n * LANES
    for row in range(0, rows, 2):
        r0 = row * length
        r1 = r0 + length
        for column in range(0, row + 2, 2):
            c0 = column * length
            c1 = c0 + length
            t00 = spread(0.0)
            t01, t10, t11 = t00, t00, t00
            for i in range(n):
                at = i * LANES
                x0, x1 = load(basis, r0 + at), load(basis, r1 + at)
                y0, y1 = load(basis, c0 + at), load(basis, c1 + at)
                t00 = t00 + x0 * y0
                t01 = t01 + x0 * y1
                t10 = t10 + x1 * y0
                t11 = t11 + x1 * y1
            place = (row * rows + column) * LANES
            store(out, place, t00)
            store(out, place + LANES, t01)
            store(out, place + rows * LANES, t10)
            store(out, place + (rows + 1) * LANES, t11)


@njit(cache=True, nogil=True, error_model="numpy")
def _products(basis, n, rows, residual, out):
    """Products of rows with the residual; rows is even."""
    for row in range(0, rows, 2):
        r0 = row * n * LANES
        r1 = r0 + n * LANES
        t0 = spread(0.0)
        t1 = t0
        for i in range(n):
            r = load(residual, i * LANES)
            t0 = t0 + load(basis, r0 + i * LANES) * r
            t1 = t1 + load(basis, r1 + i * LANES) * r
        store(out, row * LANES, t0)
        store(out, (row + 1) * LANES, t1)


@njit(cache=True, nogil=True, error_model="numpy")
def _residual(basis, n, k, values, z, residual):
    """Model less data; the sum of its squares."""
    squares = spread(0.0)
    for i in range(n):
        at = i * LANES
        total = load(values, 0) - load(z, at)
        for pool in range(1, k + 1):
            total = total - load(values, pool * LANES) * load(basis, pool * n * LANES + at)
        store(residual, at, total)
        squares = squares + total * total
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def _row_scales(values, k, active, scales):
    """dZ/dparameter over the row of each unknown."""
    store(scales, 0, spread(1.0))
    for pool in range(1, k + 1):
        store(scales, pool * LANES, spread(-1.0))
    for j in range(active.size):
        pool, kind = (active[j] - 1 - k) // 2, (active[j] - 1 - k) % 2
        width = load(values, (1 + k + 2 * pool) * LANES)
        slope = load(values, (1 + pool) * LANES) * spread(-2.0 - 2.0 * kind) / width
        store(scales, (1 + k + j) * LANES, slope)


@njit(cache=True, nogil=True, error_model="numpy")
def _tie_centres(normal, gradient, size, count, row, other):
    """Let the unknown of `row` move that of `other` along with it."""
    lower = (max(row, other) * size + min(row, other)) * LANES
    own, cross = (row * size + row) * LANES, load(normal, lower)
    both = cross + cross + load(normal, (other * size + other) * LANES)
    for j in range(count):
        to_row = (max(row, j) * size + min(row, j)) * LANES
        to_other = (max(other, j) * size + min(other, j)) * LANES
        if j != row:
            store(normal, to_row, load(normal, to_row) + load(normal, to_other))
    store(normal, own, load(normal, own) + both)
    store(gradient, row * LANES, load(gradient, row * LANES) + load(gradient, other * LANES))


@njit(cache=True, nogil=True, error_model="numpy")
def _scaled_normal(raw, scales, size, first, count, normal):
    """Rows `first` up to `count` of the normal matrix from the products of the basis rows."""
    for row in range(first, count):
        own = load(scales, row * LANES)
        for column in range(row + 1):
            place = (row * size + column) * LANES
            store(normal, place, load(raw, place) * own * load(scales, column * LANES))


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(design, n, k, size, count, solve, lower, upper, values, z, work):
    """Normal matrix, gradient and squares at a place; with `solve`, its linear part is solved for first.

    lower, upper : bounds of the unknowns in lanes; values : all parameters in lanes
    """
    x, active, row_of, shapes, water, shared, plateau, table, weights = design
    basis, raw, normal, gradient, scales, residual, free, factor, inverse, scratch, step, one = work
    pool_rows(x, values, shapes, water, shared, plateau, table, row_of, basis, one)
    _gram(basis, n, size, raw)
    squares = _residual(basis, n, k, values, z, residual)
    _row_scales(values, k, active, scales)
    _scaled_normal(raw, scales, size, 0, 1 + k, normal)
    if solve:
        even = (1 + k) + (1 + k) % 2
        _products(basis, n, even, residual, gradient)
        for row in range(1 + k):
            store(gradient, row * LANES, load(gradient, row * LANES) * load(scales, row * LANES))
        store(one, 0, spread(0.0))
        bounded_step_lanes(
            normal,
            gradient,
            values,
            lower,
            upper,
            one,
            weights,
            size,
            1 + k,
            free,
            factor,
            inverse,
            scratch,
            step,
        )
        for row in range(1 + k):
            store(values, row * LANES, load(values, row * LANES) + load(step, row * LANES))
        clamp_lanes(values, lower, upper, 1 + k)
        squares = _residual(basis, n, k, values, z, residual)
        _row_scales(values, k, active, scales)
    _products(basis, n, size, residual, gradient)
    for row in range(count):
        store(gradient, row * LANES, load(gradient, row * LANES) * load(scales, row * LANES))
    _scaled_normal(raw, scales, size, 1 + k, count, normal)
    if shared and row_of[2 + k + 2 * water] >= 0:
        for pool in range(k):
            if pool != water:
                row, other = row_of[2 + k + 2 * water], row_of[2 + k + 2 * pool]
                _tie_centres(normal, gradient, size, count, row, other)
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def _next_damping(damping, accepted, ratio, quiet):
    """Less damping after a step as good as predicted, more after a poor one or none."""
    good = less(spread(0.75), ratio)
    poor = less(ratio, spread(0.25))
    factor = where(poor, spread(4.0), where(good, spread(0.05), spread(1.0)))
    factor = where(quiet, spread(1e-3), factor)
    factor = where(accepted, factor, spread(8.0))
    changed = damping * factor
    return where(less(changed, spread(LEAST_DAMPING)), spread(LEAST_DAMPING), changed)


@njit(cache=True, nogil=True, error_model="numpy")
def _judge(squares, power, damping, stage, tolerance, predicted, found, accepted, verdict):
    """Which lanes take the trial, their next damping, and whether they have settled (1) or failed (2).

    squares, damping : of the present place, changed; stage : as float64; found : squares of the trial
    """
    now, trial, expected = load(squares, 0), load(found, 0), load(predicted, 0)
    strength, one, zero = load(damping, 0), spread(1.0), spread(0.0)
    iterating = at_most(load(stage, 0), zero)
    rounding = spread(ROUNDING) * load(power, 0)
    better = at_most(trial, now)
    small = at_most(expected, spread(tolerance) * now + rounding)
    none_left = at_most(expected, spread(1e-12) * now + rounding)
    gentle = at_most(strength, spread(NEARLY_UNDAMPED))
    settled = where(better, small * gentle, none_left * gentle)
    hopeless = less(spread(MOST_DAMPING), strength)
    quiet = where(better, small, none_left)
    gain = (now - trial) / where(less(zero, expected), expected, one)
    following = _next_damping(strength, where(none_left, one, better), gain, quiet)
    store(damping, 0, where(iterating, following, spread(FIRST_DAMPING)))
    store(squares, 0, where(better, trial, now))
    store(accepted, 0, better)
    outcome = where(settled, one, where(hopeless, spread(2.0), zero))
    store(verdict, 0, where(iterating, outcome, zero))


@njit(cache=True, nogil=True, error_model="numpy")
def _take(accepted, from_array, to_array, size):
    """Copy where the trial was accepted; size in vectors."""
    taken = load(accepted, 0)
    for j in range(size):
        place = j * LANES
        store(to_array, place, where(taken, load(from_array, place), load(to_array, place)))


@njit(cache=True, nogil=True, error_model="numpy")
def _begin(curve, x, lane, z, power):
    """Put a spectrum into a lane."""
    total, lowest = 0.0, 0
    for i in range(x.size):
        z[i * LANES + lane] = curve[i]
        total += curve[i] * curve[i]
        if curve[i] < curve[lowest]:
            lowest = i
    power[lane] = total
    return x[lowest]


@njit(cache=True, nogil=True, error_model="numpy")
def _move_to_trial(trial, current, step, active, k, lower, upper):
    """Present values and step to the trial's values, within bounds."""
    for row in range(1 + k):
        store(trial, row * LANES, load(current, row * LANES) + load(step, row * LANES))
    clamp_lanes(trial, lower, upper, 1 + k)
    for j in range(active.size):
        row, place = (1 + k + j) * LANES, active[j] * LANES
        moved = load(current, place) + load(step, row)
        low, high = load(lower, row), load(upper, row)
        moved = where(less(moved, low), low, where(less(high, moved), high, moved))
        store(trial, place, moved)


@njit(cache=True, nogil=True, error_model="numpy")
def _search(curves, first, last, design, starts, start_of, lower, upper, limits, values, iterations, state):
    """Fit the voxels of a chunk: parameters, iterations and whether they settled."""
    x, active, shapes, water, weights = design[0], design[1], design[3], design[4], design[8]
    max_iterations, tolerance = limits
    n, k, width = x.size, shapes.size, values.shape[1]
    count = 1 + k + active.size
    size = count + count % 2
    low, high = np.zeros(size * LANES), np.zeros(size * LANES)
    for row in range(count):
        parameter = row if row <= k else active[row - 1 - k]
        low[row * LANES : (row + 1) * LANES] = lower[parameter]
        high[row * LANES : (row + 1) * LANES] = upper[parameter]
    z, residual = np.zeros(n * LANES), np.zeros(n * LANES)
    basis = np.zeros(size * n * LANES)
    raw, normal, trial_normal, factor = (
        np.zeros(size * size * LANES),
        np.zeros(size * size * LANES),
        np.zeros(size * size * LANES),
        np.zeros(size * size * LANES),
    )
    vectors = np.zeros((8, size * LANES))
    gradient, trial_gradient, scales, free = vectors[0], vectors[1], vectors[2], vectors[3]
    inverse, step, linear_step, unknowns = vectors[4], vectors[5], vectors[6], vectors[7]
    scratch = np.zeros((2 * size + 1) * LANES)
    current, trial = np.ones(width * LANES), np.ones(width * LANES)
    short = np.zeros((9, LANES))
    squares, power, damping, stage, predicted = short[0], short[1], short[2], short[3], short[4]
    found, accepted, verdict, one = short[5], short[6], short[7], short[8]
    work = (
        basis,
        raw,
        trial_normal,
        trial_gradient,
        scales,
        residual,
        free,
        factor,
        inverse,
        scratch,
        linear_step,
        one,
    )
    voxel, used, revived, lowest = (
        np.full(LANES, -1, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros(LANES),
    )
    following, busy = first, 0
    for lane in range(LANES):
        stage[lane] = IDLE
        if following < last:
            voxel[lane] = following
            lowest[lane] = _begin(curves[following], x, lane, z, power)
            stage[lane], squares[lane], used[lane], revived[lane] = 2, np.inf, 0, 0
            following += 1
            busy += 1
    while busy > 0:
        for j in range(active.size):
            store(unknowns, (1 + k + j) * LANES, load(current, active[j] * LANES))
        for row in range(1 + k):
            store(unknowns, row * LANES, load(current, row * LANES))
        bounded_step_lanes(
            normal,
            gradient,
            unknowns,
            low,
            high,
            damping,
            weights,
            size,
            count,
            free,
            factor,
            inverse,
            scratch,
            step,
        )
        store(predicted, 0, predicted_decrease_lanes(normal, gradient, step, size, count))
        _move_to_trial(trial, current, step, active, k, low, high)
        for lane in range(LANES):
            if stage[lane] == REVIVAL:
                start = starts[start_of[voxel[lane]]]
                for j in range(width):
                    pool = j if j <= k else 1 + (j - 1 - k) // 2
                    gone = pool > 0 and current[pool * LANES + lane] <= lower[pool]
                    trial[j * LANES + lane] = start[j] if gone and j > k else current[j * LANES + lane]
            elif stage[lane] > 0:
                start = starts[start_of[voxel[lane]]]
                for j in range(width):
                    trial[j * LANES + lane] = start[j]
                if stage[lane] == 1 and water >= 0:
                    place = 2 + k + 2 * water
                    trial[place * LANES + lane] = min(max(lowest[lane], lower[place]), upper[place])
        store(found, 0, _evaluate(design, n, k, size, count, True, low, high, trial, z, work))
        _judge(squares, power, damping, stage, tolerance, predicted, found, accepted, verdict)
        _take(accepted, trial, current, width)
        _take(accepted, trial_normal, normal, size * size)
        _take(accepted, trial_gradient, gradient, size)
        for lane in range(LANES):
            if stage[lane] < 0:
                continue
            used[lane] += 1
            if stage[lane] > 0:
                stage[lane] = ITERATING if stage[lane] == REVIVAL else stage[lane] - 1
                continue
            if verdict[lane] == 0.0 and used[lane] < max_iterations:
                continue
            done = voxel[lane]
            if revived[lane] < 1 and used[lane] < max_iterations:
                revived[lane] += 1
                gone = False
                for pool in range(1, 1 + k):
                    gone |= lower[pool] < upper[pool] and current[pool * LANES + lane] <= lower[pool]
                if gone:
                    stage[lane] = REVIVAL
                    continue
            for j in range(width):
                values[done, j] = current[j * LANES + lane]
            iterations[done] = used[lane]
            state[done] = CONVERGED if verdict[lane] == 1.0 else 0
            stage[lane] = IDLE
            busy -= 1
            if following < last:
                voxel[lane] = following
                lowest[lane] = _begin(curves[following], x, lane, z, power)
                stage[lane], squares[lane], used[lane], revived[lane] = 2, np.inf, 0, 0
                following += 1
                busy += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _report(curves, first, last, design, lower, upper, values, variances, sums, conditions, state):
    """Sums of squares, variances over that of the noise, and how alike the pools are, of a chunk."""
    x, active, shapes = design[0], design[1], design[3]
    n, k, width = x.size, shapes.size, values.shape[1]
    count = 1 + k + active.size
    size = count + count % 2
    z, residual, basis = np.zeros(n * LANES), np.zeros(n * LANES), np.zeros(size * n * LANES)
    matrices = np.zeros((3, size * size * LANES))
    raw, normal, factor = matrices[0], matrices[1], matrices[2]
    vectors = np.zeros((7, size * LANES))
    gradient, scales, free, inverse = vectors[0], vectors[1], vectors[2], vectors[3]
    step, low, high = vectors[4], vectors[5], vectors[6]
    scratch, one = np.zeros((2 * size + 1) * LANES), np.zeros(LANES)
    work = basis, raw, normal, gradient, scales, residual, free, factor, inverse, scratch, step, one
    places, squares, likeness = np.ones(width * LANES), np.zeros(LANES), np.zeros(LANES)
    for group in range(first, last, LANES):
        for lane in range(LANES):
            voxel = min(group + lane, last - 1)
            _begin(curves[voxel], x, lane, z, one)
            for j in range(width):
                places[j * LANES + lane] = values[voxel, j]
        store(squares, 0, _evaluate(design, n, k, size, count, False, low, high, places, z, work))
        condition_lanes(raw, size, k, lower, upper, factor, inverse, scratch, likeness)
        for row in range(count):
            parameter = row if row <= k else active[row - 1 - k]
            here = load(places, parameter * LANES)
            inside = less(spread(lower[parameter]), here) * less(here, spread(upper[parameter]))
            felt = less(spread(0.0), load(normal, (row * size + row) * LANES))
            store(free, row * LANES, inside * felt)
        _correlations(normal, free, size, count, factor)
        factor_lanes(factor, inverse, size, count, WORST_PIVOT)
        for lane in range(LANES):
            for row in range(count):
                if inverse[row * LANES + lane] == 0.0 and group + lane < last:
                    state[group + lane] |= UNDETERMINED
        inverse_diagonal_lanes(factor, inverse, size, count, step)
        for lane in range(min(LANES, last - group)):
            voxel = group + lane
            conditions[voxel], sums[voxel, 0] = likeness[lane], squares[lane]
            _spread_of(curves[voxel], residual, lane, sums[voxel])
            variances[voxel] = np.nan
            for row in range(count):
                if free[row * LANES + lane] != 0.0 and (state[voxel] & UNDETERMINED) == 0:
                    parameter = row if row <= k else active[row - 1 - k]
                    own = normal[(row * size + row) * LANES + lane]
                    variances[voxel, parameter] = step[row * LANES + lane] / own


@njit(cache=True, nogil=True, error_model="numpy")
def _correlations(normal, free, size, count, out):
    """The normal matrix of the free unknowns scaled to ones on the diagonal."""
    for row in range(count):
        own = load(normal, (row * size + row) * LANES)
        for column in range(row):
            other = load(normal, (column * size + column) * LANES)
            both = load(free, row * LANES) * load(free, column * LANES)
            place = (row * size + column) * LANES
            size_of = where(both, own * other, spread(1.0))
            store(out, place, where(both, load(normal, place) / root(size_of), spread(0.0)))
        store(out, (row * size + row) * LANES, spread(1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_of(curve, residual, lane, sums):
    """Sums of squares of the curve less its mean, and of the differences of neighbouring residuals."""
    n = curve.size
    mean = 0.0
    for i in range(n):
        mean += curve[i] / n
    sums[1], sums[2] = 0.0, 0.0
    for i in range(n):
        sums[1] += (curve[i] - mean) ** 2
        if i > 0:
            sums[2] += (residual[i * LANES + lane] - residual[(i - 1) * LANES + lane]) ** 2


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_pools(
    curves,
    x,
    active,
    row_of,
    shapes,
    water,
    shared,
    plateau,
    table,
    weights,
    starts,
    start_of,
    lower,
    upper,
    max_iterations,
    tolerance,
    values,
    variances,
    sums,
    conditions,
    iterations,
    state,
):
    """Fit each spectrum from its start, or from the same with water moved to the minimum if that is nearer.

    curves : (m, n) float64, finite; x : (n,) float64, offsets in ppm
    active : (q,) int64, parameters other than the linear ones that have a row: those that are not held, and
    with `shared` every centre; row_of : (3 k + 1,) int64, row of each parameter, -1 for none
    shapes : (k,) int64, codes of `pool_lines`; water : int, index of the water pool, -1 for none
    shared : bool, whether the centres of the other pools are relative to that of water
    plateau : float, half of the flat part of a line in ppm; table : of `super_lorentzian_table`
    weights : (1 + k + q,) float64, how much of the damping each unknown gets: 0 for the linear ones
    starts : (s, 3 k + 1) float64, within bounds; start_of : (m,) int64, which of them each spectrum gets
    lower, upper : (3 k + 1,) float64; max_iterations : int
    tolerance : float, relative decrease of the sum of squares left at the minimum
    values, variances : (m, 3 k + 1) float64; variances for noise of 1, NaN at a bound or undetermined
    sums : (m, 3) float64, squares of the residual, of the curve less its mean, of differences of the residual
    conditions : (m,) float64, condition number of the lines; iterations : (m,) int32
    state : (m,) uint8, bits of CONVERGED and UNDETERMINED
    """
    m = curves.shape[0]
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        first, last = chunk * CHUNK, min(m, (chunk + 1) * CHUNK)
        design = (x, active, row_of, shapes, water, shared, plateau, table, weights)
        limits = (max_iterations, tolerance)
        _search(
            curves, first, last, design, starts, start_of, lower, upper, limits, values, iterations, state
        )
        _report(curves, first, last, design, lower, upper, values, variances, sums, conditions, state)
