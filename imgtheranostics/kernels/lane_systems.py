"""Symmetric systems and bounded steps of several voxels at once: `small_matrices` in lanes.

Every matrix is a flat float64 workspace of ``size * size * LANES``, of which the lower triangle is used: the
entry (row, column) of a lane is at ``(row * size + column) * LANES + lane``. Vectors are ``size * LANES``.
Unknowns that a lane cannot determine get no step in that lane, instead of failing the system.
"""

from __future__ import annotations

from numba import njit

from imgtheranostics.kernels.lane_vector import (
    LANES,
    any_lane,
    at_most,
    keep_apart,
    larger,
    less,
    load,
    root,
    smaller,
    spread,
    store,
    where,
)

LEAST_PIVOT = 1e-14
"""Part of an unknown's own diagonal below which what is left of it is rounding."""


@njit(cache=True, nogil=True, error_model="numpy")
def _eliminate(matrix, size, column, row, inverse):
    """One entry of the factor below the diagonal."""
    total = load(matrix, (row * size + column) * LANES)
    for k in range(column):
        total = total - load(matrix, (row * size + k) * LANES) * load(matrix, (column * size + k) * LANES)
    store(matrix, (row * size + column) * LANES, total * inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def factor_lanes(matrix, inverse, size, count, least):
    """Lower factor L in place of the lower triangle of the leading (count, count) part.

    A pivot below zero is taken by its size: along a direction in which the matrix bends the wrong way, a step
    then still leads downhill, away from the saddle.

    inverse : (count * LANES,), 1 over the diagonal of L, 0 where a pivot is within `least` of its diagonal
    """
    keep_apart()
    for column in range(count):
        place = (column * size + column) * LANES
        whole = load(matrix, place)
        total = whole
        for k in range(column):
            entry = load(matrix, (column * size + k) * LANES)
            total = total - entry * entry
        size_of = larger(total, spread(0.0) - total)
        sound = less(spread(least) * whole, size_of)
        one = spread(1.0)
        scale = where(sound, one / root(where(sound, size_of, one)), spread(0.0))
        store(inverse, column * LANES, scale)
        # four rows at a time hide the latency of the sums
        row = column + 1
        while row + 4 <= count:
            r0 = row * size * LANES
            r1, r2, r3 = r0 + size * LANES, r0 + 2 * size * LANES, r0 + 3 * size * LANES
            at = column * LANES
            t0, t1 = load(matrix, r0 + at), load(matrix, r1 + at)
            t2, t3 = load(matrix, r2 + at), load(matrix, r3 + at)
            for k in range(column):
                entry = load(matrix, (column * size + k) * LANES)
                t0 = t0 - load(matrix, r0 + k * LANES) * entry
                t1 = t1 - load(matrix, r1 + k * LANES) * entry
                t2 = t2 - load(matrix, r2 + k * LANES) * entry
                t3 = t3 - load(matrix, r3 + k * LANES) * entry
            store(matrix, r0 + at, t0 * scale)
            store(matrix, r1 + at, t1 * scale)
            store(matrix, r2 + at, t2 * scale)
            store(matrix, r3 + at, t3 * scale)
            row += 4
        while row < count:
            _eliminate(matrix, size, column, row, scale)
            row += 1


@njit(cache=True, nogil=True, error_model="numpy")
def solve_lanes(factor, inverse, size, count, values):
    """Solve L L' x = values in place."""
    keep_apart()
    for column in range(count):
        done = load(values, column * LANES) * load(inverse, column * LANES)
        store(values, column * LANES, done)
        for row in range(column + 1, count):
            rest = load(values, row * LANES) - load(factor, (row * size + column) * LANES) * done
            store(values, row * LANES, rest)
    for row in range(count - 1, -1, -1):
        done = load(values, row * LANES) * load(inverse, row * LANES)
        store(values, row * LANES, done)
        for column in range(row):
            rest = load(values, column * LANES) - load(factor, (row * size + column) * LANES) * done
            store(values, column * LANES, rest)


@njit(cache=True, nogil=True, error_model="numpy")
def inverse_diagonal_lanes(factor, inverse, size, count, out):
    """Diagonal of (L L')^-1; L becomes its own inverse."""
    keep_apart()
    for column in range(count):
        own = load(inverse, column * LANES)
        store(factor, (column * size + column) * LANES, own)
        square = own * own
        for row in range(column + 1, count):
            total = spread(0.0)
            for k in range(column, row):
                total = total - load(factor, (row * size + k) * LANES) * load(
                    factor, (k * size + column) * LANES
                )
            total = total * load(inverse, row * LANES)
            store(factor, (row * size + column) * LANES, total)
            square = square + total * total
        store(out, column * LANES, square)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply_lanes(matrix, size, count, vector, out):
    """Matrix times vector, the matrix given by its lower triangle."""
    for row in range(count):
        total = spread(0.0)
        for column in range(row + 1):
            total = total + load(matrix, (row * size + column) * LANES) * load(vector, column * LANES)
        for column in range(row + 1, count):
            total = total + load(matrix, (column * size + row) * LANES) * load(vector, column * LANES)
        store(out, row * LANES, total)


@njit(cache=True, nogil=True, error_model="numpy")
def _assemble(normal, free, damping, weights, size, count, factor):
    """The damped matrix of the free unknowns, ones on the diagonal of the others."""
    for row in range(count):
        own = load(free, row * LANES)
        for column in range(row):
            place = (row * size + column) * LANES
            store(factor, place, load(normal, place) * own * load(free, column * LANES))
        place = (row * size + row) * LANES
        raised = load(normal, place) * (spread(1.0) + damping * spread(weights[row]))
        store(factor, place, where(own, raised, spread(1.0)))


@njit(cache=True, nogil=True, error_model="numpy")
def _meet_bound(values, lower, upper, moved, count, step, target, free, going):
    """Go along `target` from `step` to its end or the first bound; which lanes met one.

    There the unknown that met it is no longer free.
    """
    keep_apart()
    first, fraction = spread(-1.0), spread(1.0)
    for j in range(count):
        place = j * LANES
        here = load(values, place) + load(step, place)
        ahead = load(target, place)
        low, high = load(lower, place), load(upper, place)
        reached = here + ahead
        below = less(reached, low)
        beyond = below + less(high, reached)
        allowed = (where(below, low, high) - here) / where(beyond, ahead, spread(1.0))
        allowed = where(beyond, larger(allowed, spread(0.0)), spread(2.0))
        nearer = less(allowed, fraction) * load(free, place)
        fraction = where(nearer, allowed, fraction)
        first = where(nearer, spread(float(j)), first)
    met = at_most(spread(0.0), first) * going
    for j in range(count):
        place = j * LANES
        ahead, own = load(target, place), load(free, place)
        now = load(step, place)
        low, high = load(lower, place), load(upper, place)
        here = load(values, place)
        hit = met * less(spread(-0.5), first - spread(float(j))) * less(first - spread(float(j)), spread(0.5))
        further = now + where(own, fraction * ahead, spread(0.0))
        bound = where(less(ahead, spread(0.0)), low, high) - here
        store(step, place, where(going, where(hit, bound, further), now))
        store(free, place, where(hit, spread(0.0), own))
    store(moved, 0, met)


@njit(cache=True, nogil=True, error_model="numpy")
def bounded_step_lanes(
    normal,
    gradient,
    values,
    lower,
    upper,
    damping,
    weights,
    size,
    count,
    free,
    factor,
    inverse,
    scratch,
    step,
):
    """A step downhill on the damped quadratic model within the bounds, as `small_matrices.bounded_step`.

    normal, gradient : of the leading `count` unknowns; damping : vector (LANES,) in the workspace
    weights : (count,) float64, how much of the damping each unknown gets
    free : on return 1.0 for the unknowns that the step moves within their bounds
    factor, inverse, scratch : workspace; scratch is (2 * size + 1) * LANES
    """
    keep_apart()
    zero, strength = spread(0.0), load(damping, 0)
    target, slope = scratch[: size * LANES], scratch[size * LANES : 2 * size * LANES]
    moved = scratch[2 * size * LANES :]
    for j in range(count):
        place = j * LANES
        here, downhill = load(values, place), load(gradient, place)
        at_low = at_most(here, load(lower, place)) * at_most(zero, downhill)
        at_high = at_most(load(upper, place), here) * at_most(downhill, zero)
        felt = less(zero, load(normal, (j * size + j) * LANES))
        store(free, place, where(at_low + at_high, zero, felt))
        store(step, place, zero)
        store(target, place, where(load(free, place), zero - downhill, zero))
    going = spread(1.0)
    for _ in range(count + 1):
        _assemble(normal, free, strength, weights, size, count, factor)
        factor_lanes(factor, inverse, size, count, LEAST_PIVOT)
        solve_lanes(factor, inverse, size, count, target)
        _meet_bound(values, lower, upper, moved, count, step, target, free, going)
        going = load(moved, 0)
        if not any_lane(going):
            return
        multiply_lanes(normal, size, count, step, slope)
        for j in range(count):
            place = j * LANES
            raised = strength * spread(weights[j]) * load(normal, (j * size + j) * LANES) * load(step, place)
            rest = zero - load(gradient, place) - load(slope, place) - raised
            store(target, place, where(load(free, place), rest, zero))


@njit(cache=True, nogil=True, error_model="numpy")
def predicted_decrease_lanes(normal, gradient, step, size, count):
    """How much smaller the sum of squares would be after the step if the model were linear."""
    total = spread(0.0)
    for row in range(count):
        own = load(step, row * LANES)
        product = spread(0.5) * load(normal, (row * size + row) * LANES) * own
        for column in range(row):
            product = product + load(normal, (row * size + column) * LANES) * load(step, column * LANES)
        total = total - spread(2.0) * own * (load(gradient, row * LANES) + product)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def clamp_lanes(values, lower, upper, count):
    """Values within their bounds, exactly on one where rounding would miss it."""
    for j in range(count):
        place = j * LANES
        inside = smaller(larger(load(values, place), load(lower, place)), load(upper, place))
        store(values, place, inside)
