"""Which components of a bounded least-squares problem are held at zero.

Tables have one matrix per support, padded with zeros to a multiple of four; see
`imgtheranostics.kernels.nnls`. Up to four components all lanes are solved at once, without branches; with
more, or columns that are much alike, each lane walks from support to support.
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
def _pair(inverse, i, j):
    """Entries of the inverse for two free components."""
    return inverse[i, i], inverse[i, j], inverse[j, j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _triple(inverse, i, j, k):
    """Entries of the inverse for three free components."""
    return inverse[i, i], inverse[i, j], inverse[i, k], inverse[j, j], inverse[j, k], inverse[k, k]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _two(pair, b, c):
    """Amounts of two free components with products b and c."""
    return pair[0] * b + pair[1] * c, pair[1] * b + pair[2] * c


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _three(triple, b, c, d):
    """Amounts of three free components with products b, c and d."""
    return (
        triple[0] * b + triple[1] * c + triple[2] * d,
        triple[1] * b + triple[3] * c + triple[4] * d,
        triple[2] * b + triple[4] * c + triple[5] * d,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def of_four(high, low, a, b, c, d):
    """One of four numbers by two bits."""
    p, q = b if low else a, d if low else c
    return q if high else p


@njit(cache=True, nogil=True, error_model="numpy")
def of_eight(top, high, low, a, b, c, d, e, f, g, h):
    """One of eight numbers by three bits."""
    p, q = of_four(high, low, a, b, c, d), of_four(high, low, e, f, g, h)
    return q if top else p


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def solve_four(inverses, b, squares, found, held, rest):
    """Amounts of four components on all lanes at once, without branches.

    A component is free in the solution where its amount beside those that are free among the others is not
    negative. So which of the first are free is found for every set of the later ones, one component after
    the other: the last of them settles itself and with it all before. In names digits are components: `x02`
    is the amount of component 0 where 0 and 2 are free, `k23` whether component k is free beside 2 and 3.

    Parameters
    ----------
    inverses : (16, 4, 4) float64
        Of the free part of the matrix of products of the columns, for each support. A column that there is
        not has a product of 1 with itself and of 0 with all else.
    b : (4 * lanes,) float64
        Products of the columns with the spectrum.
    squares : (lanes,) float64
        Of the spectrum, summed.
    found : (4 * lanes,) float64
        Amounts, of the columns.
    held : (lanes,) int32
        Bit k is set where component k is held; any bits where the spectrum is not finite.
    rest : (lanes,) float64
        Sum of squares that the amounts leave.
    """
    lanes, whole = squares.size, inverses[0]
    i0, i1, i2, i3 = inverses[14][0, 0], inverses[13][1, 1], inverses[11][2, 2], inverses[7][3, 3]
    i01, i02, i03 = _pair(inverses[12], 0, 1), _pair(inverses[10], 0, 2), _pair(inverses[6], 0, 3)
    i12, i13, i23 = _pair(inverses[9], 1, 2), _pair(inverses[5], 1, 3), _pair(inverses[3], 2, 3)
    i012, i013 = _triple(inverses[8], 0, 1, 2), _triple(inverses[4], 0, 1, 3)
    i023, i123 = _triple(inverses[2], 0, 2, 3), _triple(inverses[1], 1, 2, 3)
    w00, w01, w02, w03, w11 = whole[0, 0], whole[0, 1], whole[0, 2], whole[0, 3], whole[1, 1]
    w12, w13, w22, w23, w33 = whole[1, 2], whole[1, 3], whole[2, 2], whole[2, 3], whole[3, 3]
    b0, b1, b2, b3 = b[:lanes], b[lanes : 2 * lanes], b[2 * lanes : 3 * lanes], b[3 * lanes : 4 * lanes]
    f0, f1 = found[:lanes], found[lanes : 2 * lanes]
    f2, f3 = found[2 * lanes : 3 * lanes], found[3 * lanes : 4 * lanes]
    for lane in range(lanes):
        t, u, v, w = b0[lane], b1[lane], b2[lane], b3[lane]
        x0, x1, x2, x3 = i0 * t, i1 * u, i2 * v, i3 * w
        x01, x10 = _two(i01, t, u)
        x02, x20 = _two(i02, t, v)
        x03, x30 = _two(i03, t, w)
        x12, x21 = _two(i12, u, v)
        x13, x31 = _two(i13, u, w)
        x23, x32 = _two(i23, v, w)
        x012, x102, x201 = _three(i012, t, u, v)
        x013, x103, x301 = _three(i013, t, u, w)
        x023, x203, x302 = _three(i023, t, v, w)
        x123, x213, x312 = _three(i123, u, v, w)
        all0 = w00 * t + w01 * u + w02 * v + w03 * w
        all1 = w01 * t + w11 * u + w12 * v + w13 * w
        all2 = w02 * t + w12 * u + w22 * v + w23 * w
        all3 = w03 * t + w13 * u + w23 * v + w33 * w
        p, p1, p2, p3 = x0 >= 0.0, x01 >= 0.0, x02 >= 0.0, x03 >= 0.0
        p12, p13, p23, p123 = x012 >= 0.0, x013 >= 0.0, x023 >= 0.0, all0 >= 0.0
        q, q2 = (x10 if p else x1) >= 0.0, (x102 if p2 else x12) >= 0.0
        q3, q23 = (x103 if p3 else x13) >= 0.0, (all1 if p23 else x123) >= 0.0
        p, p2, p3, p23 = p1 if q else p, p12 if q2 else p2, p13 if q3 else p3, p123 if q23 else p23
        r = of_four(q, p, x2, x20, x21, x201) >= 0.0
        r3 = of_four(q3, p3, x23, x203, x213, all2) >= 0.0
        p, q, p3, q3 = p2 if r else p, q2 if r else q, p23 if r3 else p3, q23 if r3 else q3
        s = of_eight(r, q, p, x3, x30, x31, x301, x32, x302, x312, all3) >= 0.0
        p, q, r = p3 if s else p, q3 if s else q, r3 if s else r
        x0 = of_eight(s, r, q, x0, x01, x02, x012, x03, x013, x023, all0)
        x1 = of_eight(s, r, p, x1, x10, x12, x102, x13, x103, x123, all1)
        x2 = of_eight(s, q, p, x2, x20, x21, x201, x23, x203, x213, all2)
        x3 = of_eight(r, q, p, x3, x30, x31, x301, x32, x302, x312, all3)
        # A free amount can be below zero by rounding
        x0, x1 = x0 if p & (x0 > 0.0) else 0.0, x1 if q & (x1 > 0.0) else 0.0
        x2, x3 = x2 if r & (x2 > 0.0) else 0.0, x3 if s & (x3 > 0.0) else 0.0
        f0[lane], f1[lane], f2[lane], f3[lane] = x0, x1, x2, x3
        rest[lane] = squares[lane] - (x0 * t + x1 * u + x2 * v + x3 * w)
        low = np.int32(0 if p else 1) | np.int32(0 if q else 2)
        held[lane] = low | np.int32(0 if r else 4) | np.int32(0 if s else 8)


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
