"""Spectra as sums of known ones with amounts that are not negative: exact, for every voxel.

With columns of the length one and their factors Q R, a spectrum enters by its few coefficients z = Q'y alone.
For every set of components that are held at zero (a support) a table has one matrix on z: a row gives the
amount of a component that is free, and the multiplier of one that is held. The solution is the support whose
rows are all at least 0. All voxels try the support that holds nothing first, as vectors over lanes; only
those with a negative amount go on, one by one.

`imgtheranostics.msot.bounded_solutions` makes the tables. All sums are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 256
"""Lanes of a block: voxels beside each other. A short block is padded with its first voxel, so that every
lane goes through the same instructions and the bytes do not depend on the chunks."""

MOST_BOUNDED = 10
"""Components that a table of supports is made for."""

FAST = {"reassoc", "contract", "arcp", "nsz"}

ROUNDING = 1e-6
"""Share of the sum of squares below which that of the residuals is summed from the residuals themselves."""

_MASKED_OUT, _INVALID_INPUT, _AT_BOUND = 1, 4, 8
_TOLERANCE = 1e-12


@njit(cache=True, nogil=True, error_model="numpy")
def _load(samples, by_voxel, order, first, n, x):
    """Voxels [first, first + n) in the order of the wavelengths, as rows of lanes.

    samples : (n_voxels, n_wavelengths) if `by_voxel`, else (n_wavelengths, n_voxels)
    x : (n_wavelengths * BLOCK,) float64
    """
    for row in range(order.size):
        out = x[row * BLOCK : (row + 1) * BLOCK]
        if by_voxel:
            for lane in range(n):
                out[lane] = samples[first + lane, order[row]]
        else:
            given = samples[order[row], first : first + n]
            for lane in range(n):
                out[lane] = given[lane]
        for lane in range(n, BLOCK):
            out[lane] = out[0]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums(x, n_wavelengths, total, squares):
    """Sum and sum of squares over the wavelengths; True where all are finite."""
    for lane in range(BLOCK):
        total[lane] = 0.0
        squares[lane] = 0.0
    for row in range(n_wavelengths):
        given = x[row * BLOCK : (row + 1) * BLOCK]
        for lane in range(BLOCK):
            total[lane] += given[lane]
            squares[lane] += given[lane] * given[lane]
    finite = 0.0
    for lane in range(BLOCK):
        finite += squares[lane] * 0.0
    return finite == 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _combine(matrix, n_rows, x, out):
    """The first rows of matrix times x; matrix : (rows, n), x : (n * BLOCK,), out : (rows * BLOCK,)."""
    n = matrix.shape[1]
    for k in range(n_rows):
        row = out[k * BLOCK : (k + 1) * BLOCK]
        for lane in range(BLOCK):
            row[lane] = 0.0
        for j in range(n):
            factor = matrix[k, j]
            given = x[j * BLOCK : (j + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] += factor * given[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _remaining(z, n_rows, squares, rest):
    """Sum of squares that the coefficients leave."""
    for lane in range(BLOCK):
        rest[lane] = squares[lane]
    for k in range(n_rows):
        given = z[k * BLOCK : (k + 1) * BLOCK]
        for lane in range(BLOCK):
            rest[lane] -= given[lane] * given[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(tables, support, z, rows):
    """Rows of a support for one voxel: the bits of those below 0; -1 where the support has no solution."""
    n, wrong = rows.size, 0
    for k in range(n):
        total = 0.0
        for j in range(n):
            total += tables[support, k, j] * z[j]
        rows[k] = total
        if not total >= 0.0:
            if not total < 0.0:
                return -1
            wrong |= 1 << k
    return wrong


@njit(cache=True, nogil=True, error_model="numpy")
def _left(triangle, support, z, rows):
    """Squares that a support leaves of the coefficients."""
    n, total = rows.size, 0.0
    for row in range(n):
        rest = z[row]
        for k in range(n):
            if not (support >> k) & 1:
                rest -= triangle[row, k] * rows[k]
        total += rest * rest
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _search_all(tables, triangle, z, rows):
    """The support without a negative amount that leaves least, whatever its multipliers say."""
    n, best, least = rows.size, -1, np.inf
    for support in range(tables.shape[0]):
        if _evaluate(tables, support, z, rows) < 0:
            continue
        lowest, largest = 0.0, 0.0
        for k in range(n):
            if not (support >> k) & 1:
                lowest = min(lowest, rows[k])
                largest = max(largest, rows[k])
        if lowest < -_TOLERANCE * largest:
            continue
        left = _left(triangle, support, z, rows)
        if left < least:
            best, least = support, left
    _evaluate(tables, best, z, rows)
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _bounded(tables, triangle, support, z, rows):
    """The support whose rows are all at least 0, and its rows.

    Supports are changed where their rows are wrong, which ends after a step or two nearly always; where it
    does not, or columns are alike, all are looked at.
    """
    for _ in range(rows.size + 1):
        wrong = _evaluate(tables, support, z, rows)
        if wrong == 0:
            return support
        if wrong < 0:
            break
        support ^= wrong
    return _search_all(tables, triangle, z, rows)


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(tables, triangle, n_components, n, z, found, rest, held, codes, place, rows):
    """Solve the lanes again that have a negative amount; whether there were any.

    z, found : (rows * BLOCK,); rest : (BLOCK,) is told what the bound leaves in addition
    """
    some, size = False, rows.size
    for lane in range(n):
        support = 0
        for k in range(n_components):
            if not found[k * BLOCK + lane] >= 0.0:
                support |= 1 << k
        if support == 0 or codes[lane] != 0:
            continue
        some = True
        for k in range(size):
            place[k] = z[k * BLOCK + lane]
        support = _bounded(tables, triangle, support, place, rows)
        held[lane] = support
        codes[lane] = _AT_BOUND
        rest[lane] += _left(triangle, support, place, rows)
        for k in range(n_components):
            free = not (support >> k) & 1 and rows[k] > 0.0
            found[k * BLOCK + lane] = rows[k] if free else 0.0
    return some


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


@njit(cache=True, nogil=True, error_model="numpy")
def _any_small(rest, squares):
    small = 0
    for lane in range(BLOCK):
        small += rest[lane] < ROUNDING * squares[lane]
    return small > 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _goodness(total, squares, rest, n_wavelengths, out_rmse, out_explained):
    """Root mean square of the residuals, and the share of the variation over wavelengths explained."""
    share = 1.0 / n_wavelengths
    for lane in range(BLOCK):
        around = squares[lane] - total[lane] * total[lane] * share
        explained = 1.0 - rest[lane] / around
        out_explained[lane] = explained if around > 1e-14 * squares[lane] else np.nan
        out_rmse[lane] = np.sqrt(rest[lane] * share)


@njit(cache=True, nogil=True, error_model="numpy")
def _put(row, factor, codes, sound, first, n, plane):
    """Write the lanes of a row times a factor, not a number where a lane has no result."""
    out = plane[first : first + n]
    for lane in range(n):
        out[lane] = row[lane] * factor
    if not sound:
        for lane in range(n):
            if codes[lane] & (_MASKED_OUT | _INVALID_INPUT):
                out[lane] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _put_errors(deviations, known, rest, held, some, codes, sound, first, n, row, errors):
    """Standard errors by support: those of known noise, or times the root of the residuals' squares."""
    for k in range(errors.shape[0]):
        for lane in range(BLOCK):
            row[lane] = deviations[0, k]
        if some:
            for lane in range(n):
                row[lane] = deviations[held[lane], k]
        if not known:
            for lane in range(BLOCK):
                row[lane] *= np.sqrt(rest[lane])
        _put(row, 1.0, codes, sound, first, n, errors[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _reasons(chosen, squares, first, n, codes):
    """Why a lane has no result; True where all have one."""
    sound = True
    for lane in range(BLOCK):
        codes[lane] = 0
    for lane in range(n):
        if not chosen[first + lane]:
            codes[lane] = _MASKED_OUT
            sound = False
        elif not squares[lane] < np.inf:
            codes[lane] = _INVALID_INPUT
            sound = False
    return sound


@njit(cache=True, nogil=True, error_model="numpy")
def unmix_voxels(
    samples,
    by_voxel,
    order,
    chosen,
    basis,
    tables,
    triangle,
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

    Parameters
    ----------
    samples : (n_voxels, n_wavelengths) if `by_voxel`, else (n_wavelengths, n_voxels)
        Spectra, float32 or float64 in C order; one that is not finite gets a flag.
    by_voxel : bool
    order : (n_wavelengths,) int64
        Where in the spectra the wavelengths of `basis` and `design` are.
    chosen : (n_voxels,) bool
        Which voxels are worked on.
    basis : (rows, n_wavelengths) float64
        From spectra to coefficients.
    tables : (n_supports, rows, rows) float64
        On the coefficients; bit k of a support holds component k. NaN where columns are alike. One support
        without bounds solves freely.
    triangle : (rows, rows) float64
        Coefficients of each column.
    design : (n_wavelengths, n_components) float64
        The columns, of the length one.
    unit : (n_components,) float64
        From amounts of such columns to those of the result.
    deviations : (n_supports, n_components) float64
        Standard errors in each support, by known noise or for a sum of squared residuals of 1.
    known : bool
    direct : bool
        Sum the residuals one by one, as weighted fits need.
    begin, end : int
    values, errors : (n_components, n_voxels), as `samples`; errors may be (0, 0)
    goodness : (2, n_voxels), as `samples`
        Root mean square residual, and share of the variation over the wavelengths that is explained.
    flags : (n_voxels,) uint16
    supports : (n_voxels,) uint16 or (0,)
    """
    n_wavelengths, n_components, size = order.size, unit.size, basis.shape[0]
    x, z = np.empty(n_wavelengths * BLOCK), np.empty(size * BLOCK)
    found, place, rows = np.empty(size * BLOCK), np.empty(size), np.empty(size)
    total, squares, rest, row, other = np.empty((5, BLOCK))
    codes, held = np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.int64)
    bounded = tables.shape[0] > 1
    for first in range(begin, end, BLOCK):
        n = min(BLOCK, end - first)
        _load(samples, by_voxel, order, first, n, x)
        _sums(x, n_wavelengths, total, squares)
        sound = _reasons(chosen, squares, first, n, codes)
        _combine(basis, size, x, z)
        _combine(tables[0], size, z, found)
        _remaining(z, size, squares, rest)
        some = False
        held[:] = 0
        if bounded:
            some = _walk(tables, triangle, n_components, n, z, found, rest, held, codes, place, rows)
        if direct:
            _explicit(design, x, found, row, rest)
        elif _any_small(rest, squares):
            _explicit(design, x, found, row, other)
            for lane in range(BLOCK):
                if rest[lane] < ROUNDING * squares[lane]:
                    rest[lane] = other[lane]
        for k in range(n_components):
            _put(found[k * BLOCK : (k + 1) * BLOCK], unit[k], codes, sound, first, n, values[k])
        if errors.shape[0] > 0:
            _put_errors(deviations, known, rest, held, some, codes, sound, first, n, row, errors)
        _goodness(total, squares, rest, n_wavelengths, row, other)
        _put(row, 1.0, codes, sound, first, n, goodness[0])
        _put(other, 1.0, codes, sound, first, n, goodness[1])
        for lane in range(n):
            flags[first + lane] = codes[lane]
        if supports.size > 0:
            for lane in range(n):
                supports[first + lane] = held[lane]


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
        sound = not flags[voxel] & (_MASKED_OUT | _INVALID_INPUT)
        support = supports[voxel] if sound else 0
        for k in range(errors.shape[0]):
            total = 0.0
            for j in range(noise.shape[1]):
                total += squares[support, k, j] * noise[voxel - begin, j] * noise[voxel - begin, j]
            errors[k, voxel] = np.sqrt(total) if sound else np.nan
