"""Sums of exponentials fitted to many curves: best start of a table, then Levenberg-Marquardt on the rates.

Amplitudes are eliminated (`exponential_sums`), so that only the rates are searched for, within bounds.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels import small_matrices as pieces
from imgtheranostics.kernels.exponential_sums import (
    OPEN,
    PLAIN,
    ZERO,
    dot,
    evaluate,
    fill_normal,
    fill_slopes,
    fill_summaries,
    project,
)

__all__ = [
    "AT_BOUND",
    "CONVERGED",
    "NEGATIVE",
    "NO_ACTIVITY",
    "N_SUMMARIES",
    "OPEN",
    "PLAIN",
    "UNDETERMINED",
    "ZERO",
    "fit_exponentials",
]

CONVERGED, UNDETERMINED, AT_BOUND, NO_ACTIVITY, NEGATIVE = 1, 2, 4, 8, 16
"""Bits of the state of a fit; NEGATIVE says that a sample was below zero."""

N_SUMMARIES = 4
"""After amplitudes and rates: slowest rate, area, share of it after the last sample, mean residence time."""

LEAST_GAIN = 1e-10
"""Relative decrease of the sum of squares that a step must promise: less is a 1e-4th of a standard error."""

ROUNDING = 1e-26
"""Part of the sum of squares of the curve below which residuals are those of rounding."""


@njit(cache=True, nogil=True, error_model="numpy")
def _table_products(mode, products, combination, out):
    """Products of the columns of one combination of table rows with the curve."""
    last = combination.size - 1
    for j in range(out.size):
        out[j] = products[combination[j]]
        if mode != PLAIN and j != last:
            out[j] -= products[combination[last]]


@njit(cache=True, nogil=True, error_model="numpy")
def _best_pair(mode, products, combinations, inverses):
    """As `_start`, for two exponentials."""
    best, place = -1.0, 0
    for q in range(combinations.shape[0]):
        x, y = products[combinations[q, 0]], products[combinations[q, 1]]
        if mode != PLAIN:
            x -= y
        one = inverses[q, 0, 0] * x + inverses[q, 0, 1] * y
        two = inverses[q, 1, 0] * x + inverses[q, 1, 1] * y
        explained = one * x + two * y
        if one >= 0.0 and two >= 0.0 and explained > best:
            best, place = explained, q
    if best < 0.0:
        for q in range(combinations.shape[0]):
            x, y = products[combinations[q, 0]], products[combinations[q, 1]]
            explained = max(x - y if mode != PLAIN else x, y)
            if explained > best:
                best, place = explained, q
    return place


@njit(cache=True, nogil=True, error_model="numpy")
def _start(mode, curve, search, products, c, right):
    """Combination of table rows that explains most with amplitudes that are not below zero."""
    table, combinations, inverses = search
    size = c.size
    for row in range(table.shape[0]):
        products[row] = dot(table[row], curve)
    if size == 2 and combinations.shape[1] == 2:
        return _best_pair(mode, products, combinations, inverses)
    best, place = -1.0, -1
    for q in range(combinations.shape[0]):
        _table_products(mode, products, combinations[q], right)
        explained, feasible = 0.0, True
        for j in range(size):
            total = 0.0
            for k in range(size):
                total += inverses[q, j, k] * right[k]
            feasible = feasible and total >= 0.0
            explained += total * right[j]
        if feasible and explained > best:
            best, place = explained, q
    if place >= 0:
        return place
    for q in range(combinations.shape[0]):
        # nothing fits with all amplitudes: the column that explains most alone
        _table_products(mode, products, combinations[q], right)
        for j in range(size):
            explained = right[j] if inverses[q, j, j] > 0.0 else 0.0
            if explained > best:
                best, place = explained, q
    return max(place, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _search(mode, curve, time, root, limits, place, state, work):
    """Levenberg-Marquardt from `place`, which becomes the minimum; sum of squares, iterations, settled.

    The state is that of the minimum on return.
    """
    lower, upper, scale, most, tolerance, total = limits
    slopes, normal, reduced, factor, vectors, free = work
    gradient, target, step, trial = vectors[0], vectors[1], vectors[2], vectors[3]
    squares = evaluate(mode, curve, time, root, place, state)
    fill_slopes(time, state[2], state[3], slopes)
    fill_normal(state, slopes, normal, gradient)
    project(normal, state[1], reduced)
    damping = pieces.FIRST_DAMPING
    for iteration in range(1, most + 1):
        if not pieces.bounded_step(
            reduced, gradient, place, lower, upper, damping, free, factor, target, step
        ):
            damping = max(8.0 * damping, pieces.FIRST_DAMPING)
            if damping > pieces.MOST_DAMPING:
                return evaluate(mode, curve, time, root, place, state), iteration, False
            continue
        small = pieces.settled(place, step, scale, tolerance)
        predicted = pieces.predicted_decrease(reduced, gradient, step)
        pieces.take_step(place, step, lower, upper, trial)
        found = evaluate(mode, curve, time, root, trial, state)
        decrease = squares - found
        flat = damping <= 1.0 and predicted <= LEAST_GAIN * squares
        if decrease >= 0.0:
            place[:] = trial
            squares = found
            if small or flat or squares <= ROUNDING * total:
                return squares, iteration, True
            fill_slopes(time, state[2], state[3], slopes)
            fill_normal(state, slopes, normal, gradient)
            project(normal, state[1], reduced)
        elif small:
            return evaluate(mode, curve, time, root, place, state), iteration, True
        damping = pieces.next_damping(damping, decrease, predicted)
    return evaluate(mode, curve, time, root, place, state), most, False


@njit(cache=True, nogil=True, error_model="numpy")
def _deviation(mode, by_amplitude, by_rate, n_columns, sizes, inverse, variance, slope):
    """Standard error of a number from its derivatives by amplitudes and rates.

    sizes : (p,) float64, 1 over the roots of the diagonal of the normal matrix, zero where not free
    inverse : inverse of the Cholesky factor, as `small_matrices.covariance_diagonal` leaves it
    slope : (p,) float64, workspace
    """
    last = by_rate.size - 1
    size = n_columns + by_rate.size
    for j in range(n_columns):
        slope[j] = by_amplitude[j]
        if mode != PLAIN and j != last:
            slope[j] -= by_amplitude[last]
    total = 0.0
    for j in range(last, -1, -1):
        total += by_rate[j]
        slope[n_columns + j] = total
    for j in range(size):
        slope[j] *= sizes[j]
    squares = 0.0
    for row in range(size):
        total = 0.0
        for k in range(row + 1):
            total += inverse[row, k] * slope[k]
        squares += total * total
    return np.sqrt(variance * squares) if squares > 0.0 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _report(mode, decay, variance, state, work, values, errors):
    """Amplitudes, rates and summaries with their standard errors; False where not determined.

    work : normal matrix, factor, and free, spread, slope, sizes (p,), by rates (3, 2, E), unit, none, shown
    """
    normal, factor, free, spread, slope, sizes, slopes, one, none, shown = work
    rates, c, a = state[0], state[1], state[2]
    n, n_columns = rates.size, c.size
    determined = pieces.covariance_diagonal(normal, free, 1.0, factor, spread)
    for j in range(sizes.size):
        sizes[j] = 1.0 / np.sqrt(normal[j, j]) if free[j] else 0.0
    fill_summaries(a, rates, decay, shown, slopes)
    slowest = -1
    for j in range(n):
        there = a[j] != 0.0
        if there and slowest < 0:
            slowest = j
        values[j] = a[j]
        values[n + j] = rates[j] if there else np.nan
        one[j] = 1.0
        errors[j] = errors[n + j] = np.nan
        if determined and there:
            errors[j] = _deviation(mode, one, none, n_columns, sizes, factor, variance, slope)
        if determined and there and free[n_columns + j]:
            errors[n + j] = _deviation(mode, none, one, n_columns, sizes, factor, variance, slope)
        one[j] = 0.0
    values[2 * n] = values[n + slowest]
    errors[2 * n] = errors[n + slowest]
    for k in range(3):
        values[2 * n + 1 + k] = shown[k]
        errors[2 * n + 1 + k] = np.nan
        if determined:
            errors[2 * n + 1 + k] = _deviation(
                mode, slopes[k, 0], slopes[k, 1], n_columns, sizes, factor, variance, slope
            )
    return determined


@njit(cache=True, nogil=True, error_model="numpy")
def _weighted(curve, root, out):
    """Curve over its largest magnitude times the roots of the weights; that magnitude, and the least sample.

    Samples of weight zero do not count.
    """
    largest, least = 0.0, 0.0
    for i in range(curve.size):
        if root[i] > 0.0:
            largest = max(largest, abs(curve[i]))
            least = min(least, curve[i])
    for i in range(curve.size):
        out[i] = curve[i] / largest * root[i] if largest > 0.0 else 0.0
    return largest, least


@njit(cache=True, nogil=True, error_model="numpy")
def _squares_about_mean(curve, root):
    weight, mean = 0.0, 0.0
    for i in range(curve.size):
        weight += root[i] * root[i]
        mean += root[i] * curve[i]
    mean /= weight
    total = 0.0
    for i in range(curve.size):
        total += (curve[i] - mean * root[i]) ** 2
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _mark_free(c, place, lower, upper, normal, free):
    """Which amplitudes and increments are neither at a bound nor without effect; AT_BOUND if one is."""
    bits = 0
    for j in range(free.size):
        k = j - c.size
        if k < 0:
            free[j] = c[j] > 0.0
        else:
            free[j] = lower[k] < place[k] < upper[k] and normal[j, j] > 0.0
        if not free[j]:
            bits = AT_BOUND
    return bits


@njit(cache=True, nogil=True, error_model="numpy")
def fit_exponentials(
    mode,
    curves,
    time,
    root,
    lower,
    upper,
    decay,
    known,
    table,
    combinations,
    inverses,
    starts,
    max_iterations,
    tolerance,
    values,
    errors,
    squares,
    iterations,
    state,
):
    """Fit each curve with E exponentials; times in units of the last one, rates in its inverse.

    mode : int, PLAIN, OPEN or ZERO; curves : (m, n) float64, finite; time, root : (n,) float64, the latter
    roots of the weights; lower, upper : (E,) float64, bounds of the increments of the rates
    decay : float, added to the rates for the area; known : bool, whether weights are inverse variances
    table : (r, n) float64, exponentials times `root`; combinations : (q, E) int64, rows of it with rates that
    increase; inverses : (q, C, C) float64, of the normal matrix of their columns; starts : (q, E) increments
    values, errors : (m, 2 E + N_SUMMARIES) float64, amplitudes, rates, summaries; NaN where there is none
    squares : (m, 2) float64, weighted sums of squares of the residual and about the weighted mean
    iterations : (m,) int32; state : (m,) uint8
    """
    m, n = curves.shape
    size, n_columns = lower.size, inverses.shape[1]
    p = size + n_columns
    used = np.count_nonzero(root)
    scale = np.full(size, 1e-3)
    fitted = (
        np.empty(size), np.empty(n_columns), np.empty(size), np.empty((size, n)), np.empty((n_columns, n)),
        np.empty((n_columns, n_columns)), np.empty(n_columns), np.empty(n_columns), np.empty(n),
        np.empty((n_columns, n_columns)),
    )  # fmt: skip
    c, a, e = fitted[1], fitted[2], fitted[3]
    slopes, normal, vectors = np.empty((size, n)), np.empty((p, p)), np.empty((4, size))
    work = (slopes, normal, np.empty((size, size)), np.empty((size, size)), vectors, np.empty(size, np.bool_))
    free, lines = np.empty(p, np.bool_), np.empty((3, p))
    report = (
        normal, np.empty((p, p)), free, lines[0], lines[1], lines[2], np.empty((3, 2, size)), np.zeros(size),
        np.zeros(size), np.empty(3),
    )  # fmt: skip
    curve, place, row, spare = np.empty(n), np.empty(size), np.empty(table.shape[0]), np.empty(n_columns)
    search, first = (table, combinations, inverses), np.empty(size)
    for v in range(m):
        largest, least = _weighted(curves[v], root, curve)
        chosen = _start(mode, curve, search, row, c, spare)
        place[:] = starts[chosen]
        limits = (lower, upper, scale, max_iterations, tolerance, dot(curve, curve))
        left, iterations[v], settled = _search(mode, curve, time, root, limits, place, fitted, work)
        if size > 1 and c.min() <= 0.0:
            # a phase has vanished, and with it the way back: once more from the slowest one that there is
            first[:] = place
            place[:] = starts[chosen]
            place[0] = lower[0]
            other, more, other_settled = _search(mode, curve, time, root, limits, place, fitted, work)
            iterations[v] += more
            if other < left:
                left, settled = other, other_settled
            else:
                place[:] = first
                left = evaluate(mode, curve, time, root, place, fitted)
        squares[v, 0] = left * largest * largest
        squares[v, 1] = _squares_about_mean(curve, root) * largest * largest
        state[v] = (NEGATIVE if least < 0.0 else 0) | (CONVERGED if settled else 0)
        if not c.max() > 0.0:
            state[v] |= NO_ACTIVITY
            values[v] = np.nan
            errors[v] = np.nan
            continue
        fill_slopes(time, a, e, slopes)
        fill_normal(fitted, slopes, normal, vectors[0])
        state[v] |= _mark_free(c, place, lower, upper, normal, free)
        scatter = left / (used - p) if used > p else np.nan
        variance = 1.0 / (largest * largest) if known else scatter
        if not _report(mode, decay, variance, fitted, report, values[v], errors[v]):
            state[v] |= UNDETERMINED
        for j in range(size):
            values[v, j] *= largest
            errors[v, j] *= largest
        values[v, 2 * size + 1] *= largest
        errors[v, 2 * size + 1] *= largest
