"""Which components of a bounded least-squares problem are held at zero.

Tables have one matrix per support, padded with zeros to a multiple of four; see
`imgtheranostics.kernels.nnls`. Up to four components every support is tried on all lanes at once; with more,
each lane walks from support to support.
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
def sweep(tables, support, lanes, z, found, held):
    """Try one support of up to four components on all lanes that are pending.

    tables : (n_supports, 4, 4); lanes : their number; z, found : (4 * lanes,); held : (lanes,) float64
    """
    table = tables[support]
    a0, a1, a2, a3 = table[0, 0], table[1, 0], table[2, 0], table[3, 0]
    b0, b1, b2, b3 = table[0, 1], table[1, 1], table[2, 1], table[3, 1]
    c0, c1, c2, c3 = table[0, 2], table[1, 2], table[2, 2], table[3, 2]
    d0, d1, d2, d3 = table[0, 3], table[1, 3], table[2, 3], table[3, 3]
    a, b, c, d = (
        1.0 - (support & 1),
        1.0 - (support >> 1 & 1),
        1.0 - (support >> 2 & 1),
        1.0 - (support >> 3 & 1),
    )
    z0, z1, z2, z3 = z[:lanes], z[lanes : 2 * lanes], z[2 * lanes : 3 * lanes], z[3 * lanes : 4 * lanes]
    f0, f1 = found[:lanes], found[lanes : 2 * lanes]
    f2, f3 = found[2 * lanes : 3 * lanes], found[3 * lanes : 4 * lanes]
    code = np.float64(support)
    for lane in range(lanes):
        p = a0 * z0[lane] + a1 * z1[lane] + a2 * z2[lane] + a3 * z3[lane]
        q = b0 * z0[lane] + b1 * z1[lane] + b2 * z2[lane] + b3 * z3[lane]
        r = c0 * z0[lane] + c1 * z1[lane] + c2 * z2[lane] + c3 * z3[lane]
        s = d0 * z0[lane] + d1 * z1[lane] + d2 * z2[lane] + d3 * z3[lane]
        right = (p >= 0.0) & (q >= 0.0) & (r >= 0.0) & (s >= 0.0) & (held[lane] < 0.0)
        f0[lane] = a * p if right else f0[lane]
        f1[lane] = b * q if right else f1[lane]
        f2[lane] = c * r if right else f2[lane]
        f3[lane] = d * s if right else f3[lane]
        held[lane] = code if right else held[lane]


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
