"""Basis functions between the rows of a table: the cubic of their values and slopes."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def interpolated(table, slopes, step, place, basis, change):
    """B and dB/du at a place between rows of their table.

    table, slopes : (j, n) float64, B and dB/du at steps `step` of u; place : float, from 0 to j - 1
    basis, change : (n,) float64, written
    """
    row = min(max(int(place), 0), table.shape[0] - 2)
    t = place - row
    s = 1.0 - t
    h00, h10 = (1.0 + 2.0 * t) * s * s, t * s * s * step
    h01, h11 = t * t * (3.0 - 2.0 * t), -t * t * s * step
    d00 = -6.0 * t * s / step
    d10, d11 = s * (1.0 - 3.0 * t), t * (3.0 * t - 2.0)
    one, two, left, right = table[row], table[row + 1], slopes[row], slopes[row + 1]
    for i in range(basis.size):
        basis[i] = h00 * one[i] + h10 * left[i] + h01 * two[i] + h11 * right[i]
        change[i] = d00 * (one[i] - two[i]) + d10 * left[i] + d11 * right[i]
