"""Sums of exponentials at given rates: best amplitudes, residuals, derivatives, and areas.

Amplitudes are linear and not below zero, so that they are solved for. Rates are counted as increments, the
slowest first. Times are in units of the last one. What the amplitudes stand for depends on the mode:

PLAIN  sum of c_j e_j, all phases positive;
OPEN   c_j of (e_j - e_last), and c_last of e_last, the activity at time 0: the fastest phase may be negative,
       which is uptake;
ZERO   c_j of (e_j - e_last) alone: no activity at time 0.

The state of a curve is a tuple of float64 arrays: rates (E,), amplitudes c (C,), those of the exponentials
(E,), exponentials (E, n), columns of the amplitudes (C, n), their products with each other (C, C) and with
the curve (C,), workspace (C,), residuals (n,), workspace (C, C).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels import small_matrices as pieces
from imgtheranostics.kernels.bolus_shapes import exponential

PLAIN, OPEN, ZERO = range(3)

LEAST_EXPONENT = -700.0
"""What is left after so many mean lives is nothing."""

DEPENDENT = 1e-13
"""Determinant, relative to the product of the diagonal, below which columns are one and the same."""

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def dot(a, b):
    """Sum of products."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _subset(gram, products, chosen, c, factor):
    """Solve for the chosen of up to three columns; False where they are dependent.

    gram : (C, C) float64, lower triangle; c : (C,) float64, zero where not chosen; factor : (C, C), workspace
    """
    size = products.size
    for row in range(size):
        there = (chosen >> row) & 1
        for column in range(row):
            both = there and (chosen >> column) & 1
            factor[row, column] = gram[row, column] if both else 0.0
        factor[row, row] = gram[row, row] if there else 1.0
        c[row] = products[row] if there else 0.0
    if not pieces.cholesky(factor, factor):
        return False
    for row in range(size):
        if (chosen >> row) & 1 and not factor[row, row] * factor[row, row] > DEPENDENT * gram[row, row]:
            return False
    pieces.solve_factored(factor, c, c)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _amplitudes(gram, products, c, trial, factor):
    """Least-squares amplitudes that are not below zero, of up to three columns, and what they explain."""
    size = products.size
    if size == 1:
        c[0] = max(products[0], 0.0) / gram[0, 0] if gram[0, 0] > 0.0 else 0.0
        return c[0] * products[0]
    if size == 2:
        x, y, a, b, d = products[0], products[1], gram[0, 0], gram[1, 0], gram[1, 1]
        determinant = a * d - b * b
        if determinant > DEPENDENT * a * d:
            c[0], c[1] = (d * x - b * y) / determinant, (a * y - b * x) / determinant
            if c[0] >= 0.0 and c[1] >= 0.0:
                return c[0] * x + c[1] * y
    whole = (1 << size) - 1
    best = 0.0
    for j in range(size):
        c[j] = 0.0
    for chosen in range(whole, 0, -1):
        if not _subset(gram, products, chosen, trial, factor):
            continue
        explained, feasible = 0.0, True
        for j in range(size):
            feasible = feasible and trial[j] >= 0.0
            explained += trial[j] * products[j]
        if feasible and explained > best:
            best = explained
            c[:] = trial
            if chosen == whole:
                break
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _combined(mode, rows, n_columns, out):
    """Columns of the amplitudes from the exponentials: differences to the last one unless PLAIN."""
    last = rows.shape[0] - 1
    for j in range(n_columns):
        if mode == PLAIN or j == last:
            out[j] = rows[j]
        else:
            for i in range(rows.shape[1]):
                out[j, i] = rows[j, i] - rows[last, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _plain_amplitudes(mode, c, a):
    """Amplitude of each exponential."""
    last = a.size - 1
    total = 0.0
    for j in range(c.size):
        a[j] = c[j]
        if j < last:
            total += c[j]
    if mode != PLAIN:
        a[last] = (c[last] if mode == OPEN else 0.0) - total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _fill_exponential(rate, time, root, e):
    """Root of the weight times exp(-rate time)."""
    for i in range(time.size):
        e[i] = root[i] * exponential(max(-rate * time[i], LEAST_EXPONENT))


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(mode, curve, time, root, increments, state):
    """Exponentials, columns, best amplitudes and residuals at a place; the sum of squares."""
    rates, c, a, e, columns, gram, products, spare, residual, small = state
    rate = 0.0
    for j in range(rates.size):
        rate += increments[j]
        rates[j] = rate
        _fill_exponential(rate, time, root, e[j])
    _combined(mode, e, c.size, columns)
    for j in range(c.size):
        products[j] = dot(columns[j], curve)
        for k in range(j + 1):
            gram[j, k] = dot(columns[j], columns[k])
    _amplitudes(gram, products, c, spare, small)
    _plain_amplitudes(mode, c, a)
    squares = 0.0
    for i in range(time.size):
        total = -curve[i]
        for j in range(c.size):
            total += c[j] * columns[j, i]
        residual[i] = total
        squares += total * total
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def fill_slopes(time, a, e, slopes):
    """Derivatives by the increments: each moves its own rate and all faster ones."""
    last = a.size - 1
    for j in range(last, -1, -1):
        for i in range(time.size):
            total = -a[j] * time[i] * e[j, i]
            if j < last:
                total += slopes[j + 1, i]
            slopes[j, i] = total


@njit(cache=True, nogil=True, error_model="numpy")
def fill_normal(state, slopes, normal, gradient):
    """Normal matrix of amplitudes and increments, lower triangle, and the gradient by the increments."""
    columns, gram, residual = state[4], state[5], state[8]
    n_columns = gram.shape[0]
    for j in range(n_columns):
        for k in range(j + 1):
            normal[j, k] = gram[j, k]
    for j in range(slopes.shape[0]):
        row = n_columns + j
        gradient[j] = dot(slopes[j], residual)
        for k in range(n_columns):
            normal[row, k] = dot(slopes[j], columns[k])
        for k in range(j + 1):
            normal[row, n_columns + k] = dot(slopes[j], slopes[k])


@njit(cache=True, nogil=True, error_model="numpy")
def project(normal, c, reduced):
    """Normal matrix of the increments with the amplitudes that are above zero eliminated from `normal`."""
    n_columns, size = c.size, normal.shape[0]
    for k in range(n_columns):
        if not (c[k] > 0.0 and normal[k, k] > 0.0):
            continue
        for i in range(k + 1, size):
            factor = normal[i, k] / normal[k, k]
            for j in range(k + 1, i + 1):
                normal[i, j] -= factor * normal[j, k]
    for i in range(reduced.shape[0]):
        for j in range(i + 1):
            reduced[i, j] = normal[n_columns + i, n_columns + j]
        reduced[i, i] = max(reduced[i, i], 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def fill_summaries(a, rates, decay, values, slopes):
    """Area, share after time 1, mean residence time of a sum of exponentials, and their derivatives.

    decay : added to each rate; slopes : (3, 2, E) float64, by amplitudes and by rates
    """
    area, late, moment = 0.0, 0.0, 0.0
    for j in range(a.size):
        rate = rates[j] + decay
        left = np.exp(-rate)
        area += a[j] / rate
        late += a[j] * left / rate
        moment += a[j] / (rate * rate)
        slopes[0, 0, j], slopes[0, 1, j] = 1.0 / rate, -a[j] / (rate * rate)
        slopes[1, 0, j], slopes[1, 1, j] = left / rate, -a[j] * left * (1.0 + 1.0 / rate) / rate
        slopes[2, 0, j], slopes[2, 1, j] = 1.0 / (rate * rate), -2.0 * a[j] / (rate * rate * rate)
    values[0], values[1], values[2] = area, late / area, moment / area
    for quantity in range(1, 3):
        for kind in range(2):
            for j in range(a.size):
                slope = slopes[quantity, kind, j] - values[quantity] * slopes[0, kind, j]
                slopes[quantity, kind, j] = slope / area
