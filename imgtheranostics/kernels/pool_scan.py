"""Where else two neighbouring lines of a fitted Z-spectrum could lie: places of a grid, depths eliminated.

Weak lines that overlap have several minima: one is narrow where the other is broad. With every other line
free to change as far as its slopes reach, the sum of squares that two lines at given places would leave is
that of a linear problem. The minima of this on a grid of places are worth a fit of their own, and nearly no
other.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.pool_lines import SUPER_LORENTZIAN, super_lorentzian_point

WIDTHS, CENTRES = 6, 5
"""Places of a line on the grid, ends of the range included."""

STIFFNESS = 0.02
"""Damping of widths and centres of the other lines, beyond which their slopes mislead."""

ABSENT = 1e6
"""Over the squares of the spectrum: a line without depth has no place."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _line(x, centre, half_width, shape, plateau, table, rows):
    """A line and its slopes along width and centre, each up to a factor, in three rows."""
    if shape == SUPER_LORENTZIAN:
        for i in range(x.size):
            rows[0, i], rows[1, i], rows[2, i] = super_lorentzian_point(x[i] - centre, half_width, table)
        return
    for i in range(x.size):
        distance = x[i] - centre
        u = (distance - max(min(distance, plateau), -plateau)) / half_width
        s = 1.0 / (1.0 + u * u)
        rows[0, i], rows[1, i], rows[2, i] = s, s - s * s, u * s * s


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _places(pool, k, x, shift, shape, plateau, table, lower, upper, rows, places, lines):
    """Fill widths and centres of a pool's grid and its lines (n, m); m, or 0 lines for no pool."""
    lines[:] = 0.0
    if pool < 0:
        return 1, 1
    at = 1 + k + 2 * pool
    n_widths = WIDTHS if lower[at] < upper[at] else 1
    n_centres = CENTRES if lower[at + 1] < upper[at + 1] else 1
    for j in range(n_widths * n_centres):
        row, column = j // n_centres, j % n_centres
        width, centre = lower[at], lower[at + 1]
        if n_widths > 1:
            width = lower[at] * (upper[at] / lower[at]) ** (row / (n_widths - 1))
        if n_centres > 1:
            centre += (upper[at + 1] - lower[at + 1]) * column / (n_centres - 1)
        places[j, 0], places[j, 1] = width, centre
        _line(x, centre + shift, 0.5 * width, shape, plateau, table, rows)
        for i in range(x.size):
            lines[i, j] = rows[0, i]
    return n_widths, n_centres


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _cross_products(lines, n, size1, size2, cross):
    """Products of all lines of one grid with those of the other."""
    for i in range(size1):
        for j in range(size2):
            cross[i, j] = 0.0
    for sample in range(n):
        for i in range(size1):
            one = lines[0, sample, i]
            for j in range(size2):
                cross[i, j] += one * lines[1, sample, j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _others(curve, x, p, q, design, values, lower, upper, rows, slopes, stiff, rest):
    """Slopes of all lines but p and q, in rows; what p and q have to explain. How many slopes there are."""
    shapes, water, shared, plateau, table = design
    k, n, count = shapes.size, x.size, 0
    for i in range(n):
        rest[i] = values[0] - curve[i]
    if lower[0] < upper[0]:
        slopes[0], stiff[0], count = 1.0, 0.0, 1
    for pool in range(k):
        depth = values[1 + pool]
        if pool in (p, q) or depth == 0.0:
            continue
        at = 1 + k + 2 * pool
        shift = values[2 + k + 2 * water] if shared and pool != water else 0.0
        _line(x, values[at + 1] + shift, 0.5 * values[at], shapes[pool], plateau, table, rows)
        for i in range(n):
            rest[i] -= depth * rows[0, i]
        for kind in range(3):
            parameter = 1 + pool if kind == 0 else at + kind - 1
            if lower[parameter] < values[parameter] < upper[parameter]:
                slopes[count], stiff[count] = rows[kind], 0.0 if kind == 0 else STIFFNESS
                count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _factor(slopes, stiff, count, n, factor):
    """Lower factor of the damped products of the slopes; its diagonal is inverted."""
    for row in range(count):
        for column in range(row + 1):
            total = 0.0
            for i in range(n):
                total += slopes[row, i] * slopes[column, i]
            if row == column:
                total *= 1.0 + stiff[row] + 1e-9
            for m in range(column):
                total -= factor[row, m] * factor[column, m]
            factor[row, column] = 1.0 / np.sqrt(max(total, 1e-300)) if row == column else total
            if row != column:
                factor[row, column] *= factor[column, column]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _project(slopes, factor, count, n, lines, size, rest, out, explained, own, towards):
    """Solve L U = T'S for all lines S of a grid: U, S'PS and S'Py of P, which leaves what no slope mimics."""
    for j in range(size):
        own[j], towards[j] = 0.0, 0.0
    for i in range(n):
        for j in range(size):
            own[j] += lines[i, j] * lines[i, j]
            towards[j] += lines[i, j] * rest[i]
    for row in range(count):
        for j in range(size):
            out[row, j] = 0.0
        for i in range(n):
            slope = slopes[row, i]
            for j in range(size):
                out[row, j] += slope * lines[i, j]
        for m in range(row):
            part = factor[row, m]
            for j in range(size):
                out[row, j] -= part * out[m, j]
        scale, known = factor[row, row], explained[row]
        for j in range(size):
            out[row, j] *= scale
            own[j] -= out[row, j] * out[row, j]
            towards[j] -= out[row, j] * known


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _explain(slopes, factor, count, n, rest, explained):
    """Solve L u = T'y; the squares of y that no slope explains."""
    left = 0.0
    for i in range(n):
        left += rest[i] * rest[i]
    for row in range(count):
        total = 0.0
        for i in range(n):
            total += slopes[row, i] * rest[i]
        for m in range(row):
            total -= factor[row, m] * explained[m]
        explained[row] = total * factor[row, row]
        left -= explained[row] * explained[row]
    return left


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _left_over(left, count, first, second, cross, lowest, highest, squares):
    """Sum of squares with both lines at each pair of places, their depths solved for within their bounds."""
    out1, own1, towards1, size1 = first
    out2, own2, towards2, size2 = second
    for i in range(size1):
        a, b = max(own1[i], 1e-12), towards1[i]
        for j in range(size2):
            squares[i, j] = cross[i, j]
        for row in range(count):
            part = out1[row, i]
            for j in range(size2):
                squares[i, j] -= part * out2[row, j]
        for j in range(size2):
            c, d, both = max(own2[j], 1e-12), towards2[j], squares[i, j]
            determinant = max(a * c - both * both, 1e-6 * a * c)
            one = min(max((b * c - both * d) / determinant, lowest[0]), highest[0])
            two = min(max((d - one * both) / c, lowest[1]), highest[1])
            one = min(max((b - two * both) / a, lowest[0]), highest[0])
            value = left + one * (one * a - 2.0 * b) + two * (two * c - 2.0 * d + 2.0 * one * both)
            gone = one <= lowest[0] < highest[0] or two <= lowest[1] < highest[1]
            squares[i, j] = ABSENT * left if gone else value


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(places, size, width, centre, n_centres):
    """Row and column of the place of a grid that is nearest to a line."""
    best, least = 0, np.inf
    for j in range(size):
        away = abs(np.log(width / places[j, 0])) * 3.0 + abs(centre - places[j, 1])
        if away < least:
            best, least = j, away
    return best // n_centres, best % n_centres


@njit(cache=True, nogil=True, error_model="numpy")
def _is_lowest(squares, i, j, shape):
    """Whether no place next to this one, in any of the four directions, is lower."""
    here = squares[i, j]
    w1, c1, w2, c2 = i // shape[1], i % shape[1], j // shape[3], j % shape[3]
    for a in range(max(w1 - 1, 0), min(w1 + 2, shape[0])):
        for b in range(max(c1 - 1, 0), min(c1 + 2, shape[1])):
            for c in range(max(w2 - 1, 0), min(w2 + 2, shape[2])):
                for d in range(max(c2 - 1, 0), min(c2 + 2, shape[3])):
                    if squares[a * shape[1] + b, c * shape[3] + d] < here:
                        return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _keep_lowest(squares, shape, here, inside, limit, places1, places2, found, left):
    """The lowest minima below a limit that are not next to where the lines are."""
    keep = left.size
    left[:] = np.inf
    for i in range(shape[0] * shape[1]):
        for j in range(shape[2] * shape[3]):
            value = squares[i, j]
            if not (value < limit and value < left[keep - 1]):
                continue
            near = inside and abs(i // shape[1] - here[0]) <= 1 and abs(i % shape[1] - here[1]) <= 1
            near = near and abs(j // shape[3] - here[2]) <= 1 and abs(j % shape[3] - here[3]) <= 1
            if near or not _is_lowest(squares, i, j, shape):
                continue
            slot = keep - 1
            while slot > 0 and left[slot - 1] > value:
                left[slot], found[slot] = left[slot - 1], found[slot - 1]
                slot -= 1
            left[slot] = value
            found[slot, :2], found[slot, 2:] = places1[i], places2[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def scan_pairs(
    first,
    last,
    curves,
    x,
    p,
    q,
    shapes,
    water,
    shared,
    plateau,
    table,
    lower,
    upper,
    values,
    limits,
    found,
    left,
):
    """Other places for the lines p and q of spectra `first` up to `last`.

    curves : (m, n) float64; x : (n,) float64; p, q : pools, q -1 for none
    values : (m, 3 k + 1) float64, fitted; limits : (m,) float64, squares that a place must stay below
    found : (m, keep, 4) float64, widths and centres of both
    left : (m, keep) float64, squares that they would leave, ascending, infinite for none
    """
    n, k = x.size, shapes.size
    design = (shapes, water, shared, plateau, table)
    most, width = WIDTHS * CENTRES, values.shape[1]
    rows, slopes, factor = np.zeros((3, n)), np.zeros((width, n)), np.zeros((width, width))
    stiff, rest, explained = np.zeros(width), np.zeros(n), np.zeros(width)
    places, lines = np.ones((2, most, 2)), np.zeros((2, n, most))
    out, own, towards = np.zeros((2, width, most)), np.zeros((2, most)), np.zeros((2, most))
    cross, squares = np.zeros((most, most)), np.zeros((most, most))
    lowest, highest, here = np.zeros(2), np.zeros(2), np.zeros(4, np.int64)
    pools, sizes, shape = (p, q), np.ones(2, np.int64), np.ones(4, np.int64)
    for voxel in range(first, last):
        here_values = values[voxel]
        if voxel == first or shared:
            for side in range(2):
                pool = pools[side]
                shift = here_values[2 + k + 2 * water] if shared and pool != water else 0.0
                shape[2 * side], shape[2 * side + 1] = _places(
                    pool, k, x, shift, shapes[max(pool, 0)], plateau, table, lower, upper, rows, places[side],
                    lines[side],
                )  # fmt: skip
                sizes[side] = shape[2 * side] * shape[2 * side + 1]
                if pool >= 0:
                    lowest[side], highest[side] = lower[1 + pool], upper[1 + pool]
            _cross_products(lines, n, sizes[0], sizes[1], cross)
        count = _others(curves[voxel], x, p, q, design, here_values, lower, upper, rows, slopes, stiff, rest)
        _factor(slopes, stiff, count, n, factor)
        remaining = _explain(slopes, factor, count, n, rest, explained)
        inside = True
        for side in range(2):
            _project(
                slopes, factor, count, n, lines[side], sizes[side], rest, out[side], explained, own[side],
                towards[side],
            )  # fmt: skip
            pool = pools[side]
            here[2 * side], here[2 * side + 1] = 0, 0
            if pool >= 0:
                at = 1 + k + 2 * pool
                for parameter in (1 + pool, at, at + 1):
                    held = lower[parameter] >= upper[parameter]
                    inside &= held or lower[parameter] < here_values[parameter] < upper[parameter]
                here[2 * side], here[2 * side + 1] = _nearest(
                    places[side], sizes[side], here_values[at], here_values[at + 1], shape[2 * side + 1]
                )
        one = (out[0], own[0], towards[0], sizes[0])
        two = (out[1], own[1], towards[1], sizes[1])
        _left_over(remaining, count, one, two, cross, lowest, highest, squares)
        _keep_lowest(
            squares, shape, here, inside, limits[voxel], places[0], places[1], found[voxel], left[voxel]
        )
