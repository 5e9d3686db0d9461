"""What the model's own curvature adds to the normal matrix of a fit of pools: Newton steps near the minimum.

Pools do not bend each other: of the second derivatives of Z = Zi - sum A S only those within a pool are not
zero, and for Lorentzians they are products of the rows that a fit has anyway. Without them the last steps of
Gauss and Newton shrink slowly where a weak line is fitted to noise.
"""

from __future__ import annotations

from numba import njit

from imgtheranostics.kernels.lane_vector import LANES, keep_apart, less, load, spread, store, where
from imgtheranostics.kernels.pool_lines import LORENTZIAN

LEAST_LEFT = 0.1
"""Part of a diagonal of the normal matrix that must be left: beyond, a pool stays without its curvature."""


@njit(cache=True, nogil=True, error_model="numpy")
def _add(normal, size, row, column, value):
    place = (max(row, column) * size + min(row, column)) * LANES
    store(normal, place, load(normal, place) + value)


@njit(cache=True, nogil=True, error_model="numpy")
def add_curvature(basis, n, k, shapes, row_of, values, residual, products, near, size, normal):
    """Add sum r d2Z of every Lorentzian in the lanes that are near their minimum.

    basis, row_of, values : as in `pool_lines.pool_rows`; residual : model less data
    products : of the rows with the residual; near : vector, 1.0 in lanes that get it
    normal : normal matrix of the unknowns before centres are tied, changed
    """
    keep_apart()
    length = n * LANES
    wanted, zero = load(near, 0), spread(0.0)
    for pool in range(k):
        width, position = row_of[1 + k + 2 * pool], row_of[2 + k + 2 * pool]
        if shapes[pool] != LORENTZIAN or (width < 0 and position < 0):
            continue
        line = (1 + pool) * length
        by_width, by_both, by_place = zero, zero, zero
        for i in range(n):
            at = i * LANES
            s, r = load(basis, line + at), load(residual, at)
            square = s * s
            by_width = by_width + r * (s - square) * (spread(1.0) - spread(4.0) * s)
            by_place = by_place + r * square * (spread(3.0) - spread(4.0) * s)
            if position >= 0:
                v = load(basis, position * length + at)
                by_both = by_both + r * v * (spread(1.0) - spread(2.0) * s)
        depth = load(values, (1 + pool) * LANES)
        scale = spread(2.0) / load(values, (1 + k + 2 * pool) * LANES)
        factor = zero - depth * scale * scale
        by_width, by_both, by_place = (
            factor * spread(0.5) * by_width,
            factor * spread(2.0) * by_both,
            factor * spread(2.0) * by_place,
        )
        sound = wanted
        if width >= 0:
            own = load(normal, (width * size + width) * LANES)
            sound = sound * less(spread(LEAST_LEFT) * own, own + by_width)
        if position >= 0:
            own = load(normal, (position * size + position) * LANES)
            sound = sound * less(spread(LEAST_LEFT) * own, own + by_place)
        if width >= 0:
            cross = zero - scale * load(products, width * LANES)
            _add(normal, size, width, width, where(sound, by_width, zero))
            _add(normal, size, width, 1 + pool, where(sound, cross, zero))
        if position >= 0:
            cross = zero - spread(2.0) * scale * load(products, position * LANES)
            _add(normal, size, position, position, where(sound, by_place, zero))
            _add(normal, size, position, 1 + pool, where(sound, cross, zero))
        if width >= 0 and position >= 0:
            _add(normal, size, position, width, where(sound, by_both, zero))
