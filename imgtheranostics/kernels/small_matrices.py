"""Pieces of a batched, bounded Levenberg-Marquardt fit: symmetric systems of up to 20 unknowns.

Every piece works in a workspace of its caller, so that a loop over voxels allocates nothing. The evaluation
of a model is not among them: each model has its own loop, since functions as arguments defeat the compile
cache. Such a loop evaluates the normal matrix ``N = J'J``, the gradient ``g = J'r`` (r = model - data) and
the sum of squares, then

1. `bounded_step` for the step that minimises the damped quadratic model within the bounds,
2. evaluates the sum of squares at the new place,
3. `next_damping` to take the step or to shorten it, until `settled`.

`covariance_diagonal` gives the variances at the end, without the parameters that lie at a bound, and
`covariance_of_two` what two of them have in common.

Matrices are (p, p) float64 of which only the lower triangle is read; p is their shape.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LEAST_DAMPING = 1e-12
"""Damping below which a step is that of Gauss and Newton."""

MOST_DAMPING = 1e12
"""Damping at which no shorter step is tried."""

FIRST_DAMPING = 1e-3
"""Damping to begin with, where the start is near."""

WORST_PIVOT = 1e-13
"""Part of a parameter's sensitivity that no other parameter mimics, below which it is undetermined."""


@njit(cache=True, nogil=True, error_model="numpy")
def cholesky(matrix, factor):
    """Lower factor L of a symmetric positive definite matrix, L L' = matrix; False where it is none.

    matrix, factor : (p, p) float64; may be the same array; above the diagonal nothing is read or written
    """
    for row in range(matrix.shape[0]):
        for column in range(row + 1):
            total = matrix[row, column]
            for k in range(column):
                total -= factor[row, k] * factor[column, k]
            if row > column:
                factor[row, column] = total / factor[column, column]
            elif total > 0.0 and total < np.inf:
                factor[row, row] = np.sqrt(total)
            else:
                return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def solve_factored(factor, right, out):
    """Solve L L' out = right.

    factor : (p, p) float64 of `cholesky`; right, out : (p,) float64, may be the same array
    """
    p = factor.shape[0]
    for row in range(p):
        total = right[row]
        for k in range(row):
            total -= factor[row, k] * out[k]
        out[row] = total / factor[row, row]
    for row in range(p - 1, -1, -1):
        total = out[row]
        for k in range(row + 1, p):
            total -= factor[k, row] * out[k]
        out[row] = total / factor[row, row]


@njit(cache=True, nogil=True, error_model="numpy")
def inverse_diagonal(factor, out):
    """Diagonal of the inverse of L L'; L becomes its own inverse.

    factor : (p, p) float64 of `cholesky`, overwritten; out : (p,) float64
    """
    p = factor.shape[0]
    for column in range(p):
        factor[column, column] = 1.0 / factor[column, column]
        for row in range(column + 1, p):
            total = 0.0
            for k in range(column, row):
                total -= factor[row, k] * factor[k, column]
            factor[row, column] = total / factor[row, row]
    for column in range(p):
        total = 0.0
        for row in range(column, p):
            total += factor[row, column] * factor[row, column]
        out[column] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _damped_system(normal, gradient, damping, free, step, factor, right):
    """The damped normal equations with the unknowns that are not free eliminated; False if all are."""
    p = normal.shape[0]
    any_free = False
    for row in range(p):
        if not free[row]:
            for column in range(row):
                factor[row, column] = 0.0
            factor[row, row] = 1.0
            right[row] = step[row]
            continue
        any_free = True
        total = -gradient[row]
        for column in range(p):
            entry = normal[row, column] if column <= row else normal[column, row]
            if not free[column]:
                total -= entry * step[column]
                entry = 0.0
            if column < row:
                factor[row, column] = entry
        factor[row, row] = normal[row, row] * (1.0 + damping)
        right[row] = total
    return any_free


@njit(cache=True, nogil=True, error_model="numpy")
def _first_bound(parameters, lower, upper, free, step, target):
    """Which free parameter meets a bound first on the way from `step` to `target`, and how far that is."""
    first, fraction = -1, 1.0
    for j in range(parameters.size):
        if free[j]:
            reached = parameters[j] + target[j]
            bound = lower[j] if reached < lower[j] else upper[j]
            if reached < lower[j] or reached > upper[j]:
                allowed = max((bound - parameters[j] - step[j]) / (target[j] - step[j]), 0.0)
                if first < 0 or allowed < fraction:
                    first, fraction = j, allowed
    return first, fraction


@njit(cache=True, nogil=True, error_model="numpy")
def bounded_step(normal, gradient, parameters, lower, upper, damping, free, factor, target, step):
    """A step downhill on the damped quadratic model, within the bounds; False where the system is singular.

    Lowers g's + s'(N + damping diag N)s/2: parameters at a bound that the gradient presses against it stay.
    Where the minimum lies beyond a bound, the step goes as far as the first bound, and on from there along
    it. Parameters without any effect (a zero on the diagonal) stay too.

    normal, factor : (p, p) float64; gradient, parameters, lower, upper, target, step : (p,) float64
    free : (p,) bool; on return, which parameters the step moves within their bounds
    factor, target : workspace
    """
    p = normal.shape[0]
    for j in range(p):
        pressed = (parameters[j] <= lower[j] and gradient[j] >= 0.0) or (
            parameters[j] >= upper[j] and gradient[j] <= 0.0
        )
        free[j] = not pressed and normal[j, j] > 0.0
        step[j] = 0.0
    while _damped_system(normal, gradient, damping, free, step, factor, target):
        if not cholesky(factor, factor):
            return False
        solve_factored(factor, target, target)
        for j in range(p):
            if target[j] != target[j]:
                return False
        first, fraction = _first_bound(parameters, lower, upper, free, step, target)
        for j in range(p):
            if free[j]:
                step[j] = step[j] + fraction * (target[j] - step[j]) if first >= 0 else target[j]
        if first < 0:
            return True
        free[first] = False
        low = parameters[first] + target[first] < lower[first]
        step[first] = (lower[first] if low else upper[first]) - parameters[first]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def take_step(parameters, step, lower, upper, trial):
    """The place that a step leads to, exactly on a bound where rounding would miss it; all (p,) float64."""
    for j in range(parameters.size):
        trial[j] = min(max(parameters[j] + step[j], lower[j]), upper[j])


@njit(cache=True, nogil=True, error_model="numpy")
def predicted_decrease(normal, gradient, step):
    """How much smaller the sum of squares would be after the step if the model were linear."""
    total = 0.0
    for row in range(normal.shape[0]):
        product = 0.5 * normal[row, row] * step[row]
        for column in range(row):
            product += normal[row, column] * step[column]
        total -= 2.0 * step[row] * (gradient[row] + product)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def next_damping(damping, decrease, predicted):
    """Damping for the next step: less after a step as good as predicted, more after a poor one.

    decrease, predicted : the actual and the predicted decrease of the sum of squares; a decrease that is not
    above zero (or NaN) asks for a shorter step from the same place
    """
    if not decrease > 0.0:
        return damping * 8.0
    ratio = decrease / predicted if predicted > 0.0 else 0.0
    if ratio > 0.75:
        return max(damping * 0.1, LEAST_DAMPING)
    if ratio < 0.25:
        return damping * 4.0
    return damping


@njit(cache=True, nogil=True, error_model="numpy")
def settled(parameters, step, scale, tolerance):
    """Whether a step changes no parameter by more than `tolerance` of its size, or of its scale near zero.

    parameters, step, scale : (p,) float64; scale > 0 in the unit of each parameter
    """
    quiet = True
    for j in range(parameters.size):
        quiet = quiet and abs(step[j]) <= tolerance * max(abs(parameters[j]), scale[j])
    return quiet


@njit(cache=True, nogil=True, error_model="numpy")
def covariance_diagonal(normal, free, variance, factor, out):
    """Variances ``variance * diag(N^-1)`` of the free parameters; False where they are not determined.

    Parameters that are not free (at a bound, or without effect) are taken as known and get NaN. The matrix is
    scaled to a unit diagonal before it is factored, so that units do not matter: where a pivot shows that
    less than `WORST_PIVOT` of one parameter's effect is its own, all variances are NaN.

    normal, factor : (p, p) float64; free : (p,) bool; out : (p,) float64
    """
    p = normal.shape[0]
    for row in range(p):
        if free[row] and not normal[row, row] > 0.0:
            out[:] = np.nan
            return False
        for column in range(row):
            both = free[row] and free[column]
            size = np.sqrt(normal[row, row]) * np.sqrt(normal[column, column]) if both else 1.0
            factor[row, column] = normal[row, column] / size if both else 0.0
        factor[row, row] = 1.0
    determined = cholesky(factor, factor)
    if determined:
        for row in range(p):
            if factor[row, row] * factor[row, row] < WORST_PIVOT:
                determined = False
    if not determined:
        out[:] = np.nan
        return False
    inverse_diagonal(factor, out)
    for row in range(p):
        out[row] = variance * out[row] / normal[row, row] if free[row] else np.nan
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def covariance_of_two(normal, free, variance, factor, first, second):
    """Covariance of two parameters from the factor that `covariance_diagonal` leaves where it returns True.

    Zero where one of them is not free, since it is taken as known.

    normal, factor : (p, p) float64; free : (p,) bool; first, second : int
    """
    if not (free[first] and free[second]):
        return 0.0
    total = 0.0
    for row in range(max(first, second), factor.shape[0]):
        total += factor[row, first] * factor[row, second]
    return variance * total / (np.sqrt(normal[first, first]) * np.sqrt(normal[second, second]))
