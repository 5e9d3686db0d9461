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
def _one(inverse, g, h, k, b, c, d, e):
    """One component free with product b, three held with c, d, e: 1 and its amount where that is right."""
    p = inverse * b
    good = (p >= 0.0) & (g * p - c >= 0.0) & (h * p - d >= 0.0) & (k * p - e >= 0.0)
    return (1.0 if good else 0.0), (p if good else 0.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _two(pair, g, h, k, m, b, c, d, e):
    """Two components free with products b and c; g, h and k, m are products of columns with those held."""
    p, q = pair[0] * b + pair[1] * c, pair[1] * b + pair[2] * c
    good = (p >= 0.0) & (q >= 0.0) & (g * p + h * q - d >= 0.0) & (k * p + m * q - e >= 0.0)
    return (1.0 if good else 0.0), (p if good else 0.0), (q if good else 0.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _three(triple, g, h, k, b, c, d, e):
    """Three components free with products b, c, d, one held with e."""
    p = triple[0] * b + triple[1] * c + triple[2] * d
    q = triple[1] * b + triple[3] * c + triple[4] * d
    r = triple[2] * b + triple[4] * c + triple[5] * d
    good = (p >= 0.0) & (q >= 0.0) & (r >= 0.0) & (g * p + h * q + k * r - e >= 0.0)
    return (1.0 if good else 0.0), (p if good else 0.0), (q if good else 0.0), (r if good else 0.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _pair(inverse, i, j):
    """Entries of the inverse for two free components."""
    return inverse[i, i], inverse[i, j], inverse[j, j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _triple(inverse, i, j, k):
    """Entries of the inverse for three free components."""
    return inverse[i, i], inverse[i, j], inverse[i, k], inverse[j, j], inverse[j, k], inverse[k, k]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def try_all(inverses, known, b, found, marks):
    """Every support of four components, on all lanes that are pending at once, without branches.

    Parameters
    ----------
    inverses : (17, 4, 4) float64
        Of the free part of the matrix of products of the columns for each support, and that matrix itself.
        NaN where a component is free that there is not.
    known : int
        Bits of the components that there are; the others have products of zero.
    b : (4 * lanes,) float64
        Products of the columns with the spectrum.
    found : (4 * lanes,) float64
        Amounts, of the columns.
    marks : (lanes,) float64
        The support, or `PENDING`, which stays where rounding leaves none or several right.
    """
    lanes = marks.size
    g = inverses[16]
    g01, g02, g03, g12, g13, g23 = g[0, 1], g[0, 2], g[0, 3], g[1, 2], g[1, 3], g[2, 3]
    i0, i1, i2, i3 = inverses[14][0, 0], inverses[13][1, 1], inverses[11][2, 2], inverses[7][3, 3]
    i01, i02, i03 = _pair(inverses[12], 0, 1), _pair(inverses[10], 0, 2), _pair(inverses[6], 0, 3)
    i12, i13, i23 = _pair(inverses[9], 1, 2), _pair(inverses[5], 1, 3), _pair(inverses[3], 2, 3)
    i012, i013 = _triple(inverses[8], 0, 1, 2), _triple(inverses[4], 0, 1, 3)
    i023, i123 = _triple(inverses[2], 0, 2, 3), _triple(inverses[1], 1, 2, 3)
    b0, b1, b2, b3 = b[:lanes], b[lanes : 2 * lanes], b[2 * lanes : 3 * lanes], b[3 * lanes : 4 * lanes]
    f0, f1 = found[:lanes], found[lanes : 2 * lanes]
    f2, f3 = found[2 * lanes : 3 * lanes], found[3 * lanes : 4 * lanes]
    for lane in range(lanes):
        t, u, v, w = b0[lane], b1[lane], b2[lane], b3[lane]
        n012, x0, x1, x2 = _three(i012, g03, g13, g23, t, u, v, w)
        n013, p, q, x3 = _three(i013, g02, g12, g23, t, u, w, v)
        x0, x1 = x0 + p, x1 + q
        n023, p, q, r = _three(i023, g01, g12, g13, t, v, w, u)
        x0, x2, x3 = x0 + p, x2 + q, x3 + r
        n123, p, q, r = _three(i123, g01, g02, g03, u, v, w, t)
        x1, x2, x3 = x1 + p, x2 + q, x3 + r
        n01, p, q = _two(i01, g02, g12, g03, g13, t, u, v, w)
        x0, x1 = x0 + p, x1 + q
        n02, p, q = _two(i02, g01, g12, g03, g23, t, v, u, w)
        x0, x2 = x0 + p, x2 + q
        n03, p, q = _two(i03, g01, g13, g02, g23, t, w, u, v)
        x0, x3 = x0 + p, x3 + q
        n12, p, q = _two(i12, g01, g02, g13, g23, u, v, t, w)
        x1, x2 = x1 + p, x2 + q
        n13, p, q = _two(i13, g01, g03, g12, g23, u, w, t, v)
        x1, x3 = x1 + p, x3 + q
        n23, p, q = _two(i23, g02, g03, g12, g13, v, w, t, u)
        x2, x3 = x2 + p, x3 + q
        n0, p = _one(i0, g01, g02, g03, t, u, v, w)
        n1, q = _one(i1, g01, g12, g13, u, t, v, w)
        x0, x1 = x0 + p, x1 + q
        n2, p = _one(i2, g02, g12, g23, v, t, u, w)
        n3, q = _one(i3, g03, g13, g23, w, t, u, v)
        x2, x3 = x2 + p, x3 + q
        none = 1.0 if (t <= 0.0) & (u <= 0.0) & (v <= 0.0) & (w <= 0.0) else 0.0
        right = n012 + n013 + n023 + n123 + n01 + n02 + n03 + n12 + n13 + n23 + n0 + n1 + n2 + n3 + none
        code = 8.0 * n012 + 4.0 * n013 + 2.0 * n023 + n123 + 12.0 * n01 + 10.0 * n02 + 6.0 * n03
        code += 9.0 * n12 + 5.0 * n13 + 3.0 * n23 + 14.0 * n0 + 13.0 * n1 + 11.0 * n2 + 7.0 * n3 + 15.0 * none
        solved = (marks[lane] < 0.0) & (right == 1.0)
        f0[lane] = x0 if solved else f0[lane]
        f1[lane] = x1 if solved else f1[lane]
        f2[lane] = x2 if solved else f2[lane]
        f3[lane] = x3 if solved else f3[lane]
        marks[lane] = code if solved else marks[lane]
    if known < 15:
        for lane in range(lanes):
            code = np.int64(marks[lane])
            marks[lane] = np.float64(code & known) if code > 0 else marks[lane]


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
