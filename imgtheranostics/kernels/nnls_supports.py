"""Which components of a bounded least-squares problem are held at zero.

Tables have one matrix per support, padded with zeros to a multiple of four; see
`imgtheranostics.kernels.nnls`. Up to four components every support is tried on all lanes at once, without
branches; with more, or columns that are much alike, each lane walks from support to support.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "arcp", "nsz"}

PENDING = -1
"""Support of a lane that is not known yet."""

_TOLERANCE = 1e-12
_NONE = -1


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _three_free(inverse, gram, places, code, b, found, marks):
    """Where the first three of `places` are at least 0 and the last one's multiplier is.

    inverse, gram : (4, 4) float64; b, found : (4, lanes); marks : (lanes,)
    """
    i, j, k, m = places
    ii, ij, ik = inverse[i, i], inverse[i, j], inverse[i, k]
    jj, jk, kk = inverse[j, j], inverse[j, k], inverse[k, k]
    mi, mj, mk = gram[m, i], gram[m, j], gram[m, k]
    bi, bj, bk, bm, fi, fj, fk = b[i], b[j], b[k], b[m], found[i], found[j], found[k]
    for lane in range(marks.size):
        p = ii * bi[lane] + ij * bj[lane] + ik * bk[lane]
        q = ij * bi[lane] + jj * bj[lane] + jk * bk[lane]
        r = ik * bi[lane] + jk * bj[lane] + kk * bk[lane]
        s = mi * p + mj * q + mk * r - bm[lane]
        least = (p >= 0.0) & (q >= 0.0) & (r >= 0.0) & (s >= 0.0)
        right = 1.0 if least & (marks[lane] < 0.0) else 0.0
        fi[lane] += right * p
        fj[lane] += right * q
        fk[lane] += right * r
        marks[lane] += right * (code - PENDING)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _two_free(inverse, gram, places, code, b, found, marks):
    """As `_three_free` with two that are free and two that are held."""
    i, j, k, m = places
    ii, ij, jj = inverse[i, i], inverse[i, j], inverse[j, j]
    ki, kj, mi, mj = gram[k, i], gram[k, j], gram[m, i], gram[m, j]
    bi, bj, bk, bm, fi, fj = b[i], b[j], b[k], b[m], found[i], found[j]
    for lane in range(marks.size):
        p = ii * bi[lane] + ij * bj[lane]
        q = ij * bi[lane] + jj * bj[lane]
        r = ki * p + kj * q - bk[lane]
        s = mi * p + mj * q - bm[lane]
        least = (p >= 0.0) & (q >= 0.0) & (r >= 0.0) & (s >= 0.0)
        right = 1.0 if least & (marks[lane] < 0.0) else 0.0
        fi[lane] += right * p
        fj[lane] += right * q
        marks[lane] += right * (code - PENDING)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _one_free(inverse, gram, places, code, b, found, marks):
    """As `_three_free` with one that is free and three that are held."""
    i, j, k, m = places
    ii, ji, ki, mi = inverse[i, i], gram[j, i], gram[k, i], gram[m, i]
    bi, bj, bk, bm, fi = b[i], b[j], b[k], b[m], found[i]
    for lane in range(marks.size):
        p = ii * bi[lane]
        q, r, s = ji * p - bj[lane], ki * p - bk[lane], mi * p - bm[lane]
        least = (p >= 0.0) & (q >= 0.0) & (r >= 0.0) & (s >= 0.0)
        right = 1.0 if least & (marks[lane] < 0.0) else 0.0
        fi[lane] += right * p
        marks[lane] += right * (code - PENDING)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _none_free(code, b, marks):
    """Where every multiplier is at least 0."""
    bi, bj, bk, bm = b[0], b[1], b[2], b[3]
    for lane in range(marks.size):
        least = (bi[lane] <= 0.0) & (bj[lane] <= 0.0) & (bk[lane] <= 0.0) & (bm[lane] <= 0.0)
        right = 1.0 if least & (marks[lane] < 0.0) else 0.0
        marks[lane] += right * (code - PENDING)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _clear(marks, found):
    """Nothing of any component in the lanes that are pending."""
    for k in range(found.shape[0]):
        row = found[k]
        for lane in range(marks.size):
            row[lane] = 0.0 if marks[lane] < 0.0 else row[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def try_all(inverses, n_components, b, found, marks):
    """Every support of up to four components, on all lanes that are pending at once.

    Parameters
    ----------
    inverses : (n_supports + 1, 4, 4) float64
        Of the free part of the matrix of products of the columns, and that matrix itself at the end.
    n_components : int
    b : (4, lanes) float64
        Products of the columns with the spectrum.
    found : (4, lanes) float64
        Amounts, of the columns.
    marks : (lanes,) float64
        The support, or `PENDING`.
    """
    _clear(marks, found)
    n_supports = inverses.shape[0] - 1
    gram, order = inverses[n_supports], np.empty(4, np.int64)
    for support in range(1, n_supports):
        n_free = 0
        for place in range(n_components):
            n_free += not (support >> place) & 1
        free, held = 0, n_free
        for place in range(4):
            if place < n_components and not (support >> place) & 1:
                order[free] = place
                free += 1
            else:
                order[held] = place
                held += 1
        places = order[0], order[1], order[2], order[3]
        code, inverse = np.float64(support), inverses[support]
        if n_free == 3:
            _three_free(inverse, gram, places, code, b, found, marks)
        elif n_free == 2:
            _two_free(inverse, gram, places, code, b, found, marks)
        elif n_free == 1:
            _one_free(inverse, gram, places, code, b, found, marks)
        else:
            _none_free(code, b, marks)


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(tables, support, z, rows):
    """Rows of a support: the bits of those below 0, or -1 where the support has no solution.

    tables : (n_supports, size, size); z, rows : (size,)
    """
    size = rows.size
    wrong = 0
    for first in range(0, size, 4):
        p, q, r, s = 0.0, 0.0, 0.0, 0.0
        for j in range(size):
            column, factor = tables[support, j, first : first + 4], z[j]
            p += column[0] * factor
            q += column[1] * factor
            r += column[2] * factor
            s += column[3] * factor
        rows[first], rows[first + 1], rows[first + 2], rows[first + 3] = p, q, r, s
        if np.isnan(p + q + r + s):
            return _NONE
        bits = int(p < 0.0) | int(q < 0.0) << 1 | int(r < 0.0) << 2 | int(s < 0.0) << 3
        wrong |= bits << first
    return wrong


@njit(cache=True, nogil=True, error_model="numpy")
def _left(triangle, n_components, support, z, rows):
    """Squares that a support leaves of the coefficients."""
    total = 0.0
    for row in range(n_components):
        rest = z[row]
        for k in range(n_components):
            if not (support >> k) & 1:
                rest -= triangle[row, k] * rows[k]
        total += rest * rest
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _search_all(tables, triangle, n_components, z, rows):
    """The support without a negative amount that leaves least, whatever its multipliers say."""
    best, least = tables.shape[0] - 1, np.inf
    for support in range(tables.shape[0]):
        if _evaluate(tables, support, z, rows) == _NONE:
            continue
        lowest, largest = 0.0, 0.0
        for k in range(n_components):
            if not (support >> k) & 1:
                lowest = min(lowest, rows[k])
                largest = max(largest, rows[k])
        if lowest < -_TOLERANCE * largest:
            continue
        left = _left(triangle, n_components, support, z, rows)
        if left < least:
            best, least = support, left
    _evaluate(tables, best, z, rows)
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def walk(tables, triangle, n_components, wrong, coefficients, found, z, rows):
    """The support of one voxel whose rows are all at least 0, with its amounts in `found`.

    Supports are changed where their rows are wrong, which ends after a step or two nearly always; where it
    does not, or columns are alike, all are looked at.

    Parameters
    ----------
    tables : (n_supports, size, size) float64
    triangle : (size, size) float64
    n_components : int
    wrong : int
        Bits of the components that are negative where none is held.
    coefficients, found : (size,) float64, strided
    z, rows : (size,) float64
        Workspace.

    Returns
    -------
    int
    """
    for k in range(rows.size):
        z[k] = coefficients[k]
    support, settled = wrong, False
    for _ in range(n_components + 1):
        wrong = _evaluate(tables, support, z, rows)
        if wrong == 0:
            settled = True
            break
        if wrong == _NONE:
            break
        support ^= wrong
    if not settled:
        support = _search_all(tables, triangle, n_components, z, rows)
    for k in range(n_components):
        free = not (support >> k) & 1 and rows[k] > 0.0
        found[k] = rows[k] if free else 0.0
    return support
