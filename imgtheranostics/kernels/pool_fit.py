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
from numba import njit

from imgtheranostics.kernels.lane_systems import (
    bounded_step_lanes,
    clamp_lanes,
    predicted_decrease_lanes,
)
from imgtheranostics.kernels.lane_vector import LANES, at_most, keep_apart, less, load, spread, store, where
from imgtheranostics.kernels.pool_evaluation import evaluate, row_bounds, workspace
from imgtheranostics.kernels.pool_report import CONFINED, UNDETERMINED, report
from imgtheranostics.kernels.pool_starts import choose_starts, lowest_sample, place_start

__all__ = ["CONFINED", "CONVERGED", "UNDETERMINED", "fit_pools"]

CHUNK = 384
"""Voxels per task: the workspace of a task serves them all, and few of its ticks run with idle lanes."""

CONVERGED = 1
"""Bit of the state of a fit that settled."""

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-9, 1e12

NEARLY_UNDAMPED = 1e-4
"""Damping up to which the predicted decrease tells how far the minimum is."""

NEAR = 1e-2
"""Relative decrease predicted of a step below which the next one is of Newton."""

ROUNDING = 1e-26
"""Part of the spectrum's sum of squares below which a decrease is rounding."""

IDLE, ITERATING, START, REVIVAL = -1, 0, 1, 2
"""Stages of a lane."""


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
def _judge(squares, power, goal, damping, stage, tolerance, predicted, found, accepted, verdict, near):
    """Which lanes take the trial, their next damping, and whether they have settled (1) or failed (2).

    A lane that nears a minimum clearly above its goal fails: another start of that voxel led lower.

    squares, damping : of the present place, changed; stage : as float64; found : squares of the trial
    """
    keep_apart()
    now, trial, expected = load(squares, 0), load(found, 0), load(predicted, 0)
    strength, one, zero = load(damping, 0), spread(1.0), spread(0.0)
    iterating = at_most(load(stage, 0), zero)
    rounding = spread(ROUNDING) * load(power, 0)
    better = at_most(trial, now)
    small = at_most(expected, spread(tolerance) * now + rounding)
    none_left = at_most(expected, spread(1e-12) * now + rounding)
    gentle = at_most(strength, spread(NEARLY_UNDAMPED))
    settled = where(better, small * gentle, none_left * gentle)
    close = at_most(expected, spread(NEAR) * now)
    above = close * less(spread(0.999) * load(goal, 0), now - spread(5.0) * expected)
    hopeless = above + less(spread(MOST_DAMPING), strength)
    quiet = where(better, small, none_left)
    gain = (now - trial) / where(less(zero, expected), expected, one)
    following = _next_damping(strength, where(none_left, one, better), gain, quiet)
    store(damping, 0, where(iterating, following, spread(FIRST_DAMPING)))
    store(squares, 0, where(better, trial, now))
    store(accepted, 0, better)
    store(near, 0, iterating * close)
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
def _take_lower(accepted, from_array, to_array, size):
    """The same for the lower triangle of a matrix."""
    taken = load(accepted, 0)
    for row in range(size):
        for column in range(row + 1):
            place = (row * size + column) * LANES
            store(to_array, place, where(taken, load(from_array, place), load(to_array, place)))


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(unknowns, current, active, k):
    """The unknowns of all parameters."""
    for row in range(1 + k):
        store(unknowns, row * LANES, load(current, row * LANES))
    for j in range(active.size):
        store(unknowns, (1 + k + j) * LANES, load(current, active[j] * LANES))


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
def _begin(curves, goals, following, last, x, lane, z, short, book, near):
    """Put the next spectrum of the chunk into a lane; 1 if there is one, else the lane stays idle."""
    squares, power, stage, goal = short[0], short[1], short[3], short[8]
    stage[lane] = IDLE
    if following >= last:
        return 0
    total = 0.0
    for i in range(x.size):
        value = curves[following, i]
        z[i * LANES + lane] = value
        total += value * value
    power[lane], goal[lane], stage[lane] = total, goals[following], START
    squares[lane], near[lane] = np.inf, 0.0
    book[0, lane], book[1, lane], book[2, lane] = following, 0, 0
    return 1


@njit(cache=True, nogil=True, error_model="numpy")
def _revive(lane, start, k, lower, current, trial):
    """The trial of a lane with lines without depth put back to their start."""
    for j in range(start.size):
        pool = j if j <= k else 1 + (j - 1 - k) // 2
        gone = j > k and current[pool * LANES + lane] <= lower[pool]
        trial[j * LANES + lane] = start[j] if gone else current[j * LANES + lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _to_revive(lane, k, lower, upper, current):
    """Whether a line lost its depth: where it went, its width and centre have no slope to come back by."""
    gone = False
    for pool in range(1, 1 + k):
        gone |= lower[pool] < upper[pool] and current[pool * LANES + lane] <= lower[pool]
    return gone


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(lane, stage, verdict, book, k, lower, upper, max_iterations, current):
    """Next stage of a lane after an evaluation; True where its voxel is done."""
    book[1, lane] += 1
    if stage[lane] > 0:
        stage[lane] = ITERATING
        return False
    if verdict[lane] == 0.0 and book[1, lane] < max_iterations:
        return False
    if book[2, lane] == 0 and verdict[lane] == 1.0 and book[1, lane] < max_iterations:
        book[2, lane] = 1
        if _to_revive(lane, k, lower, upper, current):
            stage[lane] = REVIVAL
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    curves, goals, first, last, design, starts, start_of, lower, upper, limits, values, iterations, state
):
    """Fit the voxels of a chunk: parameters, iterations and whether they settled."""
    keep_apart()
    x, active, shapes, water, weights = design[0], design[1], design[3], design[4], design[8]
    max_iterations, tolerance = limits
    n, k, width = x.size, shapes.size, values.shape[1]
    count = 1 + k + active.size
    size = count + count % 2
    low, high = row_bounds(active, k, size, lower), row_bounds(active, k, size, upper)
    work = workspace(n, size)
    trial_normal, trial_gradient, free, factor = work[2], work[3], work[6], work[7]
    inverse, scratch, near = work[8], work[9], work[12]
    normal, vectors = np.zeros(size * size * LANES), np.zeros((3, size * LANES))
    gradient, step, unknowns = vectors[0], vectors[1], vectors[2]
    z, current, trial = np.zeros(n * LANES), np.ones(width * LANES), np.ones(width * LANES)
    short, book = np.zeros((9, LANES)), np.zeros((3, LANES), np.int64)
    squares, power, damping, stage, predicted = short[0], short[1], short[2], short[3], short[4]
    found, accepted, verdict, goal = short[5], short[6], short[7], short[8]
    following, busy = first, 0
    for lane in range(LANES):
        begun = _begin(curves, goals, following, last, x, lane, z, short, book, near)
        following, busy = following + begun, busy + begun
    while busy > 0:
        _gather(unknowns, current, active, k)
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
            if stage[lane] > 0:
                code = start_of[book[0, lane]]
                if stage[lane] == REVIVAL:
                    _revive(lane, starts[code // 2], k, lower, current, trial)
                else:
                    lowest = lowest_sample(curves[book[0, lane]], x)
                    place_start(lane, code, starts, k, water, lowest, lower, upper, trial)
        store(found, 0, evaluate(design, n, k, size, count, True, low, high, trial, z, work))
        _judge(squares, power, goal, damping, stage, tolerance, predicted, found, accepted, verdict, near)
        _take(accepted, trial, current, width)
        _take_lower(accepted, trial_normal, normal, size)
        _take(accepted, trial_gradient, gradient, size)
        for lane in range(LANES):
            if stage[lane] >= 0 and _advance(
                lane, stage, verdict, book, k, lower, upper, max_iterations, current
            ):
                done = book[0, lane]
                for j in range(width):
                    values[done, j] = current[j * LANES + lane]
                iterations[done] = book[1, lane]
                state[done] = CONVERGED if verdict[lane] == 1.0 else 0
                begun = _begin(curves, goals, following, last, x, lane, z, short, book, near)
                following, busy = following + begun, busy + begun - 1


@njit(cache=True, nogil=True, error_model="numpy")
def fit_pools(
    first,
    last,
    curves,
    goals,
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
    screen,
    avoided,
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
    """Fit spectra `first` up to `last`, each from its start; they do not depend on each other.

    curves : (m, n) float64, finite; x : (n,) float64, offsets in ppm
    goals : (m,) float64, sum of squares that a fit must undercut, or end as not settled; infinite for none
    active : (q,) int64, parameters other than the linear ones that have a row: those that are not held, and
    with `shared` every centre; row_of : (3 k + 1,) int64, row of each parameter, -1 for none
    shapes : (k,) int64, codes of `pool_lines`; water : int, index of the water pool, -1 for none
    shared : bool, whether the centres of the other pools are relative to that of water
    plateau : float, half of the flat part of a line in ppm; table : of `super_lorentzian_table`
    weights : (1 + k + q,) float64, how much of the damping each unknown gets: 0 for the linear ones
    starts : (s, 3 k + 1) float64, within bounds; screen : bool, whether the start is chosen here: of
    all rows but the one in avoided (m,) int64, with water where it is or at the lowest sample
    start_of : (m,) int64, codes of `pool_starts.place_start`, or chosen ones on return
    lower, upper : (3 k + 1,) float64; max_iterations : int
    tolerance : float, relative decrease of the sum of squares left at the minimum
    values, variances : (m, 3 k + 1) float64; variances for noise of 1, NaN at a bound or undetermined
    sums : (m, 3) float64, squares of the residual, of the curve less its mean, of differences of the residual
    conditions : (m,) float64, condition number of the lines; iterations : (m,) int32
    state : (m,) uint8, bits of CONVERGED, UNDETERMINED and CONFINED
    """
    design = (x, active, row_of, shapes, water, shared, plateau, table, weights)
    limits = (max_iterations, tolerance)
    if screen:
        choose_starts(curves, first, last, design, starts, avoided, lower, upper, start_of)
    _search(
        curves, goals, first, last, design, starts, start_of, lower, upper, limits, values, iterations, state
    )
    report(curves, first, last, design, lower, upper, values, variances, sums, conditions, state)
