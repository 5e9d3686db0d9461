"""Exponentials of small square matrices in a workspace of the caller.

A degree-16 Taylor polynomial of the matrix divided by a power of two, then squared. Matrices are (n, n)
float64, C order; workspaces (N_MATRICES, n, n).
"""

from __future__ import annotations

import numpy as np
from numba import njit

N_MATRICES = 5
"""Matrices that `exponential` works in."""

LARGEST_NORM = 0.78
"""Norm up to which the polynomial is exact to rounding."""

_DEGREE = 16
_INVERSE_FACTORIALS = 1.0 / np.cumprod(np.concatenate([[1.0], np.arange(1.0, _DEGREE + 1)]))


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(first, second, out):
    """Write first @ second to out; first (m, n), second (n, c), out (m, c), which is neither of them."""
    for i in range(first.shape[0]):
        for j in range(second.shape[1]):
            out[i, j] = 0.0
        for k in range(first.shape[1]):
            factor = first[i, k]
            if factor != 0.0:
                for j in range(second.shape[1]):
                    out[i, j] += factor * second[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def copy(matrix, out):
    """Copy a matrix; loops compile much faster than an assignment of arrays."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[i, j] = matrix[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def clear(matrix, rows):
    """Zeros in the first rows of a matrix."""
    for i in range(rows):
        for j in range(matrix.shape[1]):
            matrix[i, j] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def one_norm(matrix):
    """Largest sum of absolute values in a column."""
    largest = 0.0
    for j in range(matrix.shape[1]):
        total = 0.0
        for i in range(matrix.shape[0]):
            total += abs(matrix[i, j])
        largest = max(largest, total)
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def _combine(work, lowest, out):
    """Add to out the sum of four powers with the coefficients from `lowest` on; work holds A, A^2, A^3."""
    n = out.shape[0]
    for i in range(n):
        out[i, i] += _INVERSE_FACTORIALS[lowest]
        for j in range(n):
            out[i, j] += (
                _INVERSE_FACTORIALS[lowest + 1] * work[0, i, j]
                + _INVERSE_FACTORIALS[lowest + 2] * work[1, i, j]
                + _INVERSE_FACTORIALS[lowest + 3] * work[2, i, j]
            )


@njit(cache=True, nogil=True, error_model="numpy")
def exponential(matrix, factor, work, out):
    """Write exp(factor * matrix) to out.

    matrix, out : (n, n) float64; factor : float; work : (N_MATRICES, n, n) float64
    """
    n = matrix.shape[0]
    size = one_norm(matrix) * abs(factor)
    squarings = 0
    if size > LARGEST_NORM:
        squarings = int(np.ceil(np.log2(size / LARGEST_NORM)))
    scale = factor / 2.0**squarings
    for i in range(n):
        for j in range(n):
            work[0, i, j] = scale * matrix[i, j]
    for power in range(3):
        multiply(work[0] if power < 2 else work[1], work[min(power, 1)], work[1 + power])
    for i in range(n):
        for j in range(n):
            out[i, j] = _INVERSE_FACTORIALS[16] * work[3, i, j]
    _combine(work, 12, out)
    power = work[3]
    for step in range(3 + squarings):
        multiply(out, power if step < 3 else out, work[4])
        copy(work[4], out)
        if step < 3:
            _combine(work, 8 - 4 * step, out)
