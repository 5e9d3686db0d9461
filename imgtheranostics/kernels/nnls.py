"""Spectra as sums of known ones with amounts that are not negative: exact, for every voxel.

A spectrum enters by a few coefficients alone. Up to four components that are not too much alike, those are
the products of the columns with it, and all lanes of a block are solved side by side by one run of
instructions (`imgtheranostics.kernels.nnls_supports.solve_four`).

Else, with columns of the length one and their factors Q R, they are z = Q'y. For every set of components that
are held at zero (a support) a table has one matrix on z: a row gives the amount of a component that is free,
and the multiplier of one that is held. The solution is the support whose rows are all at least 0. All voxels
try the support that holds nothing first, as vectors over lanes; only those with a negative amount go on
(`imgtheranostics.kernels.nnls_supports.walk`).

`imgtheranostics.msot.bounded_solutions` makes the tables. All sums are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.nnls_supports import PENDING, of_eight, solve_four, walk

BLOCK = 1024
"""Lanes of a block: voxels beside each other. A short block is padded with its first voxel, so that every
lane goes through the same instructions and the bytes do not depend on the chunks. Memory is read and written
in runs of this length: 256 lanes took a tenth longer."""

TILE = 4
"""Coefficients are summed four at a time; tables are padded to a multiple of it."""

FAST = {"reassoc", "contract", "arcp", "nsz"}

ROUNDING = 1e-5
"""Share of the sum of squares below which that of the residuals is summed from the residuals themselves."""

_MASKED_OUT, _INVALID_INPUT, _AT_BOUND = 1, 4, 8
_NO_RESULT = _MASKED_OUT | _INVALID_INPUT
_NO_VARIATION = 1e-14


@njit(cache=True, nogil=True, error_model="numpy")
def _load(samples, by_voxel, order, first, n, x):
    """Voxels [first, first + n) in the order of the wavelengths, as rows of lanes.

    samples : (n_voxels, n_wavelengths) if `by_voxel`, else (n_wavelengths, n_voxels)
    x : (n_wavelengths * BLOCK,), as samples
    """
    if by_voxel:
        for lane in range(n):
            given = samples[first + lane]
            for row in range(order.size):
                x[row * BLOCK + lane] = given[order[row]]
    for row in range(order.size):
        out = x[row * BLOCK : (row + 1) * BLOCK]
        if not by_voxel:
            plane = samples[order[row], first : first + n]
            for lane in range(n):
                out[lane] = plane[lane]
        for lane in range(n, BLOCK):
            out[lane] = out[0]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _first_tile(samples, order, first, basis, z, total, squares):
    """The first four coefficients, with sum and sum of squares over the wavelengths; True where finite.

    samples : (n, n_voxels), of which BLOCK from `first` on; order : (n,) int64; basis : (size, n) float64
    z : (size * BLOCK,), others (BLOCK,) float64
    """
    n, last = basis.shape[1], first + BLOCK
    p, q = z[:BLOCK], z[BLOCK : 2 * BLOCK]
    r, s = z[2 * BLOCK : 3 * BLOCK], z[3 * BLOCK : 4 * BLOCK]
    a, b, c, d = basis[0], basis[1], basis[2], basis[3]
    for lane in range(BLOCK):
        p[lane], q[lane], r[lane], s[lane] = 0.0, 0.0, 0.0, 0.0
        total[lane], squares[lane] = 0.0, 0.0
    whole = n - n % 4
    for j in range(0, whole, 4):
        one, two = samples[order[j], first:last], samples[order[j + 1], first:last]
        three, four = samples[order[j + 2], first:last], samples[order[j + 3], first:last]
        a0, a1, a2, a3 = a[j], a[j + 1], a[j + 2], a[j + 3]
        b0, b1, b2, b3 = b[j], b[j + 1], b[j + 2], b[j + 3]
        c0, c1, c2, c3 = c[j], c[j + 1], c[j + 2], c[j + 3]
        d0, d1, d2, d3 = d[j], d[j + 1], d[j + 2], d[j + 3]
        for lane in range(BLOCK):
            u, v = np.float64(one[lane]), np.float64(two[lane])
            w, y = np.float64(three[lane]), np.float64(four[lane])
            p[lane] += (a0 * u + a1 * v) + (a2 * w + a3 * y)
            q[lane] += (b0 * u + b1 * v) + (b2 * w + b3 * y)
            r[lane] += (c0 * u + c1 * v) + (c2 * w + c3 * y)
            s[lane] += (d0 * u + d1 * v) + (d2 * w + d3 * y)
            total[lane] += (u + v) + (w + y)
            squares[lane] += (u * u + v * v) + (w * w + y * y)
    for j in range(whole, n):
        one = samples[order[j], first:last]
        a0, b0, c0, d0 = a[j], b[j], c[j], d[j]
        for lane in range(BLOCK):
            u = np.float64(one[lane])
            p[lane] += a0 * u
            q[lane] += b0 * u
            r[lane] += c0 * u
            s[lane] += d0 * u
            total[lane] += u
            squares[lane] += u * u
    finite = 0.0
    for lane in range(BLOCK):
        finite += squares[lane] * 0.0
    return finite == 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _combine(matrix, begin, x, out):
    """Matrix times rows of lanes, four rows of the result at a time, from row `begin` on.

    matrix : (m, n) float64, m a multiple of TILE; x : (n * BLOCK,); out : (m * BLOCK,) float64
    """
    n = matrix.shape[1]
    out[begin * BLOCK :] = 0.0
    for first in range(begin, matrix.shape[0], TILE):
        p = out[first * BLOCK : (first + 1) * BLOCK]
        q = out[(first + 1) * BLOCK : (first + 2) * BLOCK]
        r = out[(first + 2) * BLOCK : (first + 3) * BLOCK]
        s = out[(first + 3) * BLOCK : (first + 4) * BLOCK]
        a, b, c, d = matrix[first], matrix[first + 1], matrix[first + 2], matrix[first + 3]
        for j in range(0, n - 1, 2):
            one, two = x[j * BLOCK : (j + 1) * BLOCK], x[(j + 1) * BLOCK : (j + 2) * BLOCK]
            a0, b0, c0, d0, a1, b1, c1, d1 = a[j], b[j], c[j], d[j], a[j + 1], b[j + 1], c[j + 1], d[j + 1]
            for lane in range(BLOCK):
                u, v = np.float64(one[lane]), np.float64(two[lane])
                p[lane] += a0 * u + a1 * v
                q[lane] += b0 * u + b1 * v
                r[lane] += c0 * u + c1 * v
                s[lane] += d0 * u + d1 * v
        if n % 2:
            one = x[(n - 1) * BLOCK : n * BLOCK]
            a0, b0, c0, d0 = a[n - 1], b[n - 1], c[n - 1], d[n - 1]
            for lane in range(BLOCK):
                u = np.float64(one[lane])
                p[lane] += a0 * u
                q[lane] += b0 * u
                r[lane] += c0 * u
                s[lane] += d0 * u


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _remaining(z, squares, rest):
    """Sum of squares that the coefficients leave."""
    for lane in range(BLOCK):
        rest[lane] = squares[lane]
    for first in range(0, z.size, TILE * BLOCK):
        p, q = z[first : first + BLOCK], z[first + BLOCK : first + 2 * BLOCK]
        r, s = z[first + 2 * BLOCK : first + 3 * BLOCK], z[first + 3 * BLOCK : first + 4 * BLOCK]
        for lane in range(BLOCK):
            rest[lane] -= p[lane] * p[lane] + q[lane] * q[lane] + r[lane] * r[lane] + s[lane] * s[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _any_below(row):
    """Whether a lane is below zero."""
    lowest = 0.0
    for lane in range(BLOCK):
        lowest += np.float64(row[lane] < 0.0)
    return lowest > 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _negative(found, n_components, held):
    """Mark the lanes in which an amount is not at least 0; whether there is any."""
    for lane in range(BLOCK):
        held[lane] = 0.0
    for k in range(n_components):
        row = found[k * BLOCK : (k + 1) * BLOCK]
        for lane in range(BLOCK):
            held[lane] = held[lane] if row[lane] >= 0.0 else np.float64(PENDING)
    return _any_below(held)


@njit(cache=True, nogil=True, error_model="numpy")
def _walk_lanes(tables, triangle, n_components, n, z, found, codes, marks, place, rows):
    """Solve the lanes that are marked one by one; those that have no result stay marked."""
    for lane in range(n):
        if marks[lane] < 0.0 and codes[lane] == 0:
            wrong = 0
            for k in range(n_components):
                if not found[k * BLOCK + lane] >= 0.0:
                    wrong |= 1 << k
            marks[lane] = walk(
                tables, triangle, n_components, wrong, z[lane::BLOCK], found[lane::BLOCK], place, rows
            )


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _left(triangle, n_components, z, found, row, rest):
    """Squares that amounts leave of the coefficients, added to the rest."""
    for j in range(n_components):
        given = z[j * BLOCK : (j + 1) * BLOCK]
        for lane in range(BLOCK):
            row[lane] = given[lane]
        for k in range(j, n_components):
            factor, amount = triangle[j, k], found[k * BLOCK : (k + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] -= factor * amount[lane]
        for lane in range(BLOCK):
            rest[lane] += row[lane] * row[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _explicit(design, x, found, row, rest):
    """Sum of squares of the residuals; design : (n_wavelengths, n_components) of columns with length one."""
    for lane in range(BLOCK):
        rest[lane] = 0.0
    for wavelength in range(design.shape[0]):
        given = x[wavelength * BLOCK : (wavelength + 1) * BLOCK]
        for lane in range(BLOCK):
            row[lane] = given[lane]
        for k in range(design.shape[1]):
            factor, amount = design[wavelength, k], found[k * BLOCK : (k + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] -= factor * amount[lane]
        for lane in range(BLOCK):
            rest[lane] += row[lane] * row[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _any_small(rest, squares):
    """Whether the residuals of a lane are lost in rounding."""
    small = 0.0
    for lane in range(BLOCK):
        small += np.float64(rest[lane] < ROUNDING * squares[lane])
    return small > 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _take_residuals(every, squares, summed, rest):
    """Sums of the residuals one by one, in every lane or where rounding has lost the others."""
    for lane in range(BLOCK):
        rest[lane] = summed[lane] if every or rest[lane] < ROUNDING * squares[lane] else rest[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _put_goodness(total, squares, rest, n_wavelengths, first, n, root, goodness):
    """Write root mean square residuals and shares of the variation explained; root of the residuals' squares.

    root : (BLOCK,), as goodness
    """
    residual, explained = goodness[0, first : first + n], goodness[1, first : first + n]
    share, mean = 1.0 / n_wavelengths, np.sqrt(1.0 / n_wavelengths)
    for lane in range(n):
        around = squares[lane] - total[lane] * total[lane] * share
        part = 1.0 - rest[lane] / around
        explained[lane] = part if around > _NO_VARIATION * squares[lane] else np.nan
        left = np.sqrt(rest[lane])
        root[lane], residual[lane] = left, left * mean


@njit(cache=True, nogil=True, error_model="numpy")
def _put(row, factor, first, n, plane):
    """Write the lanes of a row times a factor."""
    out = plane[first : first + n]
    for lane in range(n):
        out[lane] = row[lane] * factor


@njit(cache=True, nogil=True, error_model="numpy")
def _put_errors(spread, held, few, some, root, first, n, errors):
    """Standard errors: those of the support times the root of the residuals' squares, or times one.

    spread : (n_components, n_supports), as errors; n_supports is 16 where there are `few`
    """
    for k in range(errors.shape[0]):
        out, own = errors[k, first : first + n], spread[k]
        if few:
            a, b, c, d, e, f, g, h = own[0], own[1], own[2], own[3], own[4], own[5], own[6], own[7]
            i, j, o, p, q, r, s, t = own[8], own[9], own[10], own[11], own[12], own[13], own[14], own[15]
            for lane in range(n):
                one, two = held[lane] & 1 != 0, held[lane] & 2 != 0
                four, eight = held[lane] & 4 != 0, held[lane] & 8 != 0
                low = of_eight(four, two, one, a, b, c, d, e, f, g, h)
                high = of_eight(four, two, one, i, j, o, p, q, r, s, t)
                out[lane] = (high if eight else low) * root[lane]
        elif some:
            for lane in range(n):
                out[lane] = own[held[lane]] * root[lane]
        else:
            for lane in range(n):
                out[lane] = own[0] * root[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _blank(codes, first, n, planes):
    """Not a number where a lane has no result."""
    for k in range(planes.shape[0]):
        out = planes[k, first : first + n]
        for lane in range(n):
            if codes[lane]:
                out[lane] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _reasons(chosen, finite, squares, first, n, codes):
    """Why a lane has no result; True where all have one."""
    taken, run = 0, chosen[first : first + n]
    for lane in range(n):
        taken += run[lane]
    for lane in range(BLOCK):
        codes[lane] = 0
    every = finite and taken == n
    if not every:
        for lane in range(n):
            if not chosen[first + lane]:
                codes[lane] = _MASKED_OUT
            elif not squares[lane] < np.inf:
                codes[lane] = _INVALID_INPUT
    return every


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(marks, held):
    """Supports as whole numbers."""
    for lane in range(BLOCK):
        held[lane] = np.int32(max(marks[lane], 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _put_codes(codes, held, first, n, flags, supports):
    """Write flags and supports; a lane without a result has no support, and no flag of one."""
    flag, support = flags[first : first + n], supports[first : first + n]
    for lane in range(n):
        lost, bits = codes[lane], held[lane]
        bound = _AT_BOUND if bits != 0 else 0
        flag[lane] = lost if lost != 0 else bound
        support[lane] = bits if lost == 0 else 0


@njit(cache=True, nogil=True, error_model="numpy")
def unmix_voxels(
    samples,
    by_voxel,
    order,
    chosen,
    basis,
    tables,
    triangle,
    inverses,
    design,
    unit,
    deviations,
    known,
    direct,
    begin,
    end,
    values,
    errors,
    goodness,
    flags,
    supports,
):
    """Amounts in the chosen voxels among [begin, end); released from the interpreter, for several threads.

    `size` is the number of components, rounded up to a multiple of TILE; what is padded is zero.

    Parameters
    ----------
    samples : (n_voxels, n_wavelengths) if `by_voxel`, else (n_wavelengths, n_voxels)
        Spectra, float32 or float64 in C order; one that is not finite gets a flag.
    by_voxel : bool
    order : (n_wavelengths,) int64
        Where in the spectra the wavelengths of `basis` and `design` are.
    chosen : (n_voxels,) bool
        Which voxels are worked on.
    basis : (size, n_wavelengths) float64
        From spectra to coefficients: products of the columns where there are `inverses`.
    tables : (n_supports, size, size) float64
        On the coefficients; bit k of a support holds component k. Amount or multiplier k is the sum over j of
        [support, j, k] times coefficient j. NaN where columns are alike. One support alone is without bounds.
    triangle : (size, size) float64
        Coefficients of each column.
    inverses : (16, TILE, TILE) or (0, TILE, TILE) float64
        As `imgtheranostics.kernels.nnls_supports.solve_four` takes them, for up to four components that are
        not too much alike.
    design : (n_wavelengths, n_components) float64
        The columns, of the length one.
    unit : (n_components,) float64
        From amounts of such columns to those of the result.
    deviations : (n_components, n_supports) float64
        Standard errors in each support, by known noise or for a sum of squared residuals of 1.
    known : bool
    direct : bool
        Sum the residuals one by one, as weighted fits need.
    begin, end : int
    values, errors : (n_components, n_voxels), as `samples`; errors may be (0, 0)
    goodness : (2, n_voxels), as `samples`
        Root mean square residual, and share of the variation over the wavelengths that is explained.
    flags, supports : (n_voxels,) uint16
    """
    n_wavelengths, n_components, size = order.size, unit.size, basis.shape[0]
    few, bounded, some = inverses.shape[0] > 0, tables.shape[0] > 1, False
    x, z, found = (
        np.empty(n_wavelengths * BLOCK, samples.dtype),
        np.empty(size * BLOCK),
        np.empty(size * BLOCK),
    )
    lanes, straight = x.reshape(n_wavelengths, BLOCK), np.arange(n_wavelengths)
    # Rows of one array would be strided ones to the compiler
    total, squares, rest = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    row, marks, held = np.empty(BLOCK), np.empty(BLOCK), np.zeros(BLOCK, np.int32)
    codes, root, ones = (
        np.empty(BLOCK, np.uint16),
        np.empty(BLOCK, samples.dtype),
        np.ones(BLOCK, samples.dtype),
    )
    freely, place, rows = np.ascontiguousarray(tables[0].T), np.empty(size), np.empty(size)
    spread = np.zeros((n_components, max(16, deviations.shape[1])), samples.dtype)
    spread[:, : deviations.shape[1]] = deviations
    for first in range(begin, end, BLOCK):
        n = min(BLOCK, end - first)
        plain = not by_voxel and n == BLOCK and size == TILE
        if plain:
            finite = _first_tile(samples, order, first, basis, z, total, squares)
        else:
            _load(samples, by_voxel, order, first, n, x)
            finite = _first_tile(lanes, straight, 0, basis, z, total, squares)
        sound = _reasons(chosen, finite, squares, first, n, codes)
        if few:
            solve_four(inverses, z, squares, found, held, rest)
        else:
            _combine(basis, TILE, x, z)
            _combine(freely, 0, z, found)
            _remaining(z, squares, rest)
            some = bounded and _negative(found, n_components, marks)
            if some:
                _walk_lanes(tables, triangle, n_components, n, z, found, codes, marks, place, rows)
                _left(triangle, n_components, z, found, row, rest)
                _settle(marks, held)
            elif bounded:
                held[:] = 0
        if direct or _any_small(rest, squares):
            if plain:
                _load(samples, by_voxel, order, first, n, x)
            _explicit(design, x, found, row, marks)
            _take_residuals(direct, squares, marks, rest)
        for k in range(n_components):
            _put(found[k * BLOCK : (k + 1) * BLOCK], unit[k], first, n, values[k])
        _put_goodness(total, squares, rest, n_wavelengths, first, n, root, goodness)
        _put_errors(spread, held, few, some, ones if known else root, first, n, errors)
        _put_codes(codes, held, first, n, flags, supports)
        if not sound:
            _blank(codes, first, n, values)
            _blank(codes, first, n, errors)
            _blank(codes, first, n, goodness)


@njit(cache=True, nogil=True, error_model="numpy")
def mapped_errors(noise, squares, supports, flags, begin, end, errors):
    """Standard errors by the noise of each voxel among [begin, end).

    Parameters
    ----------
    noise : (end - begin, n_wavelengths) float64
        Standard deviations, in the order of the solvers.
    squares : (n_supports, n_components, n_wavelengths) float64
        Of the solvers' entries; where a component is held, of its solver where none is.
    supports : (n_voxels,) uint16
    flags : (n_voxels,) uint16
    begin, end : int
    errors : (n_components, n_voxels) float32 or float64
    """
    for voxel in range(begin, end):
        sound = not flags[voxel] & _NO_RESULT
        support = supports[voxel] if sound else 0
        for k in range(errors.shape[0]):
            total = 0.0
            for j in range(noise.shape[1]):
                total += squares[support, k, j] * noise[voxel - begin, j] * noise[voxel - begin, j]
            errors[k, voxel] = np.sqrt(total) if sound else np.nan
