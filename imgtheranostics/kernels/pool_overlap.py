"""How alike the lines of the pools are: condition number of their products, `LANES` voxels at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.lane_systems import factor_lanes, multiply_lanes, solve_lanes
from imgtheranostics.kernels.lane_vector import LANES, keep_apart, less, load, root, spread, store, where

POWER_STEPS, INVERSE_STEPS = 20, 12
"""Steps to the largest and the smallest eigenvalue; the quotient of Rayleigh doubles their digits."""


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(vector, count):
    total = spread(1e-300)
    for j in range(count):
        total = total + load(vector, j * LANES) * load(vector, j * LANES)
    scale = spread(1.0) / root(total)
    for j in range(count):
        store(vector, j * LANES, load(vector, j * LANES) * scale)


@njit(cache=True, nogil=True, error_model="numpy")
def _along(first, second, count):
    total = spread(0.0)
    for j in range(count):
        total = total + load(first, j * LANES) * load(second, j * LANES)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def condition_lanes(raw, size, k, lower, upper, matrix, inverse, scratch, out):
    """Condition number of the k lines, each scaled to unit length, as columns of a design.

    Pools of which the amplitude is held do not count. Where lines are the same the number is infinite.

    raw : products of the basis rows, (size, size) in lanes; that of pool i is row 1 + i
    lower, upper : bounds of the parameters; matrix, inverse, scratch : workspace; out : (LANES,)
    """
    keep_apart()
    count = 0
    for pool in range(1, k + 1):
        if not lower[pool] < upper[pool]:
            continue
        own = load(raw, (pool * size + pool) * LANES)
        column = 0
        for other in range(1, pool):
            if lower[other] < upper[other]:
                cross = load(raw, (pool * size + other) * LANES)
                both = own * load(raw, (other * size + other) * LANES)
                store(matrix, (count * size + column) * LANES, cross / root(both))
                column += 1
        store(matrix, (count * size + count) * LANES, spread(1.0))
        count += 1
    store(out, 0, spread(1.0))
    if count < 2:
        return
    vector, product = scratch[: size * LANES], scratch[size * LANES : 2 * size * LANES]
    for j in range(count):
        store(vector, j * LANES, spread(1.0))
    for _ in range(POWER_STEPS):
        _normalise(vector, count)
        multiply_lanes(matrix, size, count, vector, product)
        for j in range(count):
            store(vector, j * LANES, load(product, j * LANES))
    _normalise(vector, count)
    multiply_lanes(matrix, size, count, vector, product)
    largest = _along(vector, product, count)
    factor_lanes(matrix, inverse, size, count, 1e-15)
    alike = spread(0.0)
    for j in range(count):
        alike = alike + less(load(inverse, j * LANES), spread(1e-300))
        # no symmetry of the lines is orthogonal to this start
        store(vector, j * LANES, spread(np.cos(1.0 + 2.7 * j)))
    reach = spread(1.0)
    for _ in range(INVERSE_STEPS):
        _normalise(vector, count)
        for j in range(count):
            store(product, j * LANES, load(vector, j * LANES))
        solve_lanes(matrix, inverse, size, count, vector)
        reach = _along(vector, product, count)
    condition = root(largest * reach)
    store(out, 0, where(alike, spread(np.inf), condition))
