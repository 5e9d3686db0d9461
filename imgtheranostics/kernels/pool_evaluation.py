"""Sum of squares of a fit of pools at one place, its gradient and normal matrix, for `LANES` voxels at once.

Parameters are in the order baseline, k amplitudes, then width and centre of each pool. Unknowns have a row in
the basis: the linear ones all, of the others those that are not held.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.lane_systems import bounded_step_lanes, clamp_lanes
from imgtheranostics.kernels.lane_vector import LANES, keep_apart, load, spread, store
from imgtheranostics.kernels.pool_curvature import add_curvature
from imgtheranostics.kernels.pool_lines import pool_rows


@njit(cache=True, nogil=True, error_model="numpy")
def _gram(basis, n, rows, out):
    """Products of all rows with each other, lower triangle; rows is even."""
    keep_apart()
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
    keep_apart()
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
def residual_lanes(basis, n, k, values, z, residual):
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
def evaluate(design, n, k, size, count, solve, lower, upper, values, z, work):
    """Normal matrix, gradient and squares at a place; with `solve`, its linear part is solved for first.

    lower, upper : bounds of the unknowns in lanes; values : all parameters in lanes
    """
    keep_apart()
    x, active, row_of, shapes, water, shared, plateau, table, weights = design
    basis, raw, normal, gradient, scales, residual, free, factor, inverse, scratch, step, one, near = work
    pool_rows(x, values, shapes, water, shared, plateau, table, row_of, basis, one)
    _gram(basis, n, size, raw)
    squares = residual_lanes(basis, n, k, values, z, residual)
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
        squares = residual_lanes(basis, n, k, values, z, residual)
        _row_scales(values, k, active, scales)
    _products(basis, n, size, residual, gradient)
    _scaled_normal(raw, scales, size, 1 + k, count, normal)
    if solve:
        add_curvature(basis, n, k, shapes, row_of, values, residual, gradient, near, size, normal)
    for row in range(count):
        store(gradient, row * LANES, load(gradient, row * LANES) * load(scales, row * LANES))
    if shared and row_of[2 + k + 2 * water] >= 0:
        for pool in range(k):
            if pool != water:
                row, other = row_of[2 + k + 2 * water], row_of[2 + k + 2 * pool]
                _tie_centres(normal, gradient, size, count, row, other)
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def workspace(n, size):
    """Arrays in which `evaluate` works, for n offsets and `size` unknowns; `size` is even.

    Rows of the basis, their products, normal matrix, gradient, dZ/dparameter over each row, residual, four
    scratch arrays of the linear step, the step, a vector, and which lanes get the curvature.
    """
    vectors = np.zeros((5, size * LANES))
    matrices = np.zeros((3, size * size * LANES))
    return (
        np.zeros(size * n * LANES),
        matrices[0],
        matrices[1],
        vectors[0],
        vectors[1],
        np.zeros(n * LANES),
        vectors[2],
        matrices[2],
        vectors[3],
        np.zeros((2 * size + 1) * LANES),
        vectors[4],
        np.zeros(LANES),
        np.zeros(LANES),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def row_bounds(active, k, size, bounds):
    """Bounds (3 k + 1,) of the parameters as those of the unknowns, in lanes."""
    out = np.zeros(size * LANES)
    for row in range(1 + k + active.size):
        parameter = row if row <= k else active[row - 1 - k]
        out[row * LANES : (row + 1) * LANES] = bounds[parameter]
    return out
