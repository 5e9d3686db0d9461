"""After a fit of pools: sums of squares, variances and how alike the lines are, `LANES` voxels at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.lane_systems import factor_lanes, inverse_diagonal_lanes
from imgtheranostics.kernels.lane_vector import (
    LANES,
    any_lane,
    keep_apart,
    less,
    load,
    root,
    spread,
    store,
    where,
)
from imgtheranostics.kernels.pool_evaluation import evaluate, workspace
from imgtheranostics.kernels.pool_overlap import condition_lanes

UNDETERMINED = 2
"""Bit of the state of a fit of which a parameter has no effect of its own."""

CONFINED = 4
"""Bit of the state of a fit in which the error of a parameter depends on one that lies at its bound."""

INFLATED = 1.0 / 0.81
"""Growth of a variance, were parameters at bounds free, above which it is not known: errors to 10 %."""

WORST_PIVOT = 1e-13
"""Part of an unknown's effect that no other mimics, below which it is undetermined."""


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


@njit(cache=True, nogil=True, error_model="numpy")
def _write_variances(lane, determined, k, active, size, free, normal, diagonal, variances):
    """Variances of one voxel's parameters for noise of 1; NaN where they are not known."""
    variances[:] = np.nan
    for row in range(1 + k + active.size):
        if determined and free[row * LANES + lane] != 0.0:
            parameter = row if row <= k else active[row - 1 - k]
            variances[parameter] = diagonal[row * LANES + lane] / normal[(row * size + row) * LANES + lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _free_rows(lane_values, normal, lower, upper, rows, size, within, free):
    """Which unknowns have an effect and are not held and, with `within`, lie inside their bounds; any not."""
    keep_apart()
    outside = spread(0.0)
    for row in range(rows.size):
        low, high = lower[rows[row]], upper[rows[row]]
        here = load(lane_values, rows[row] * LANES)
        felt = less(spread(0.0), load(normal, (row * size + row) * LANES)) * less(spread(low), spread(high))
        inside = less(spread(low), here) * less(here, spread(high))
        store(free, row * LANES, where(spread(1.0 if within else 0.0), felt * inside, felt))
        outside = outside + where(inside, spread(0.0), felt)
    return outside


@njit(cache=True, nogil=True, error_model="numpy")
def _mark_confined(lane, count, free, diagonal, unbound):
    """Unknowns of a lane with a variance that grows where those at bounds are free become not free."""
    confined = False
    for row in range(count):
        place = row * LANES + lane
        if free[place] != 0.0 and not unbound[place] <= INFLATED * diagonal[place]:
            free[place], confined = 0.0, True
    return confined


@njit(cache=True, nogil=True, error_model="numpy")
def report(curves, first, last, design, lower, upper, values, variances, sums, conditions, state):
    """Sums of squares, variances over that of the noise, and how alike the pools are, of a chunk."""
    keep_apart()
    x, active, shapes = design[0], design[1], design[3]
    n, k, width = x.size, shapes.size, values.shape[1]
    count = 1 + k + active.size
    size = count + count % 2
    work = workspace(n, size)
    raw, normal, residual, free, factor, inverse = work[1], work[2], work[5], work[6], work[7], work[8]
    scratch, diagonal = work[9], work[10]
    z, places, squares, likeness = (
        np.zeros(n * LANES),
        np.ones(width * LANES),
        np.zeros(LANES),
        np.zeros(LANES),
    )
    rows, outside = np.concatenate((np.arange(1 + k), active)), np.zeros(LANES)
    unbound, unbound_free = np.zeros(size * LANES), np.zeros(size * LANES)
    for group in range(first, last, LANES):
        for lane in range(LANES):
            voxel = min(group + lane, last - 1)
            for i in range(n):
                z[i * LANES + lane] = curves[voxel, i]
            for j in range(width):
                places[j * LANES + lane] = values[voxel, j]
        store(squares, 0, evaluate(design, n, k, size, count, False, z, z, places, z, work))
        condition_lanes(raw, size, k, lower, upper, factor, inverse, scratch, likeness)
        store(outside, 0, _free_rows(places, normal, lower, upper, rows, size, True, free))
        _correlations(normal, free, size, count, factor)
        factor_lanes(factor, inverse, size, count, WORST_PIVOT)
        for lane in range(min(LANES, last - group)):
            for row in range(count):
                if inverse[row * LANES + lane] == 0.0:
                    state[group + lane] |= UNDETERMINED
        inverse_diagonal_lanes(factor, inverse, size, count, diagonal)
        if any_lane(load(outside, 0)):
            _free_rows(places, normal, lower, upper, rows, size, False, unbound_free)
            _correlations(normal, unbound_free, size, count, factor)
            factor_lanes(factor, inverse, size, count, 1e-15)
            inverse_diagonal_lanes(factor, inverse, size, count, unbound)
            for lane in range(min(LANES, last - group)):
                if outside[lane] > 0.0 and _mark_confined(lane, count, free, diagonal, unbound):
                    state[group + lane] |= CONFINED
        for lane in range(min(LANES, last - group)):
            voxel = group + lane
            conditions[voxel], sums[voxel, 0] = likeness[lane], squares[lane]
            _spread_of(curves[voxel], residual, lane, sums[voxel])
            _write_variances(
                lane,
                (state[voxel] & UNDETERMINED) == 0,
                k,
                active,
                size,
                free,
                normal,
                diagonal,
                variances[voxel],
            )
