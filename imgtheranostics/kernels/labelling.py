"""Fits of the saturation transfer of one exchanging pool to powers and times of saturation (QUESP, QUEST).

With w1 the amplitude of the field in rad/s, alpha = w1^2/(w1^2 + k^2) the labelling efficiency and u = f k
the rate at which water meets the pool, the asymmetry after saturation for t is
alpha u/(R1 + u) (1 - exp(-(R1 + u) t)), and its inverse form in the steady state alpha u/R1. Both unknowns
are positive and range over decades: logarithms are fitted, from the best of some u and the k that suits it.

What is well determined is the height of the transfer, u alpha at a middle power: it takes the place of u in
the steps, since along a curved valley of equal heights they would have to be short.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels import small_matrices as pieces

CHUNK = 64
"""Voxels per task."""

LN_RATE, LN_TRANSFER = 0, 1
"""The results: logarithms of k and of u = f k, both of 1/s; u alpha at the middle power during the steps."""

RATE_VARIANCE, TRANSFER_VARIANCE, COVARIANCE, RATE_BY_R1, TRANSFER_BY_R1 = range(5)
"""Columns of what is known of the parameters: covariance, and derivatives by ln R1 at the minimum."""

CONVERGED, UNDETERMINED, AT_BOUND = 1, 2, 4
"""Bits of the state of a fit."""

LONGEST_STEP = 0.5
"""Of a logarithm: a longer one may end where growth is over before the first time, and nothing shows."""

LEAST_GAIN = 1e-12
"""Relative decrease of the sum of squares that a step must promise: less is a 1e-5th of a standard error."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _transferred(transfer, r1, time, inverse):
    """What full labelling transfers, and its derivatives by ln u and ln R1."""
    if inverse:
        value = transfer / r1
        return value, value, -value
    total = r1 + transfer
    left = np.exp(-total * time)
    grown = -np.expm1(-total * time)
    late = time * left
    value = transfer / total * grown
    by_transfer = transfer * (r1 * grown / (total * total) + transfer * late / total)
    by_r1 = r1 * transfer * (late - grown / total) / total
    return value, by_transfer, by_r1


@njit(cache=True, nogil=True, error_model="numpy")
def _squares(parameters, values, noise, power, middle, time, r1, inverse, residual, jacobian):
    """Sum of squares; into `residual` (n,) and `jacobian` (3, n) by ln k, ln height, ln R1; noise units."""
    square = np.exp(2.0 * parameters[LN_RATE])
    transfer = np.exp(parameters[LN_TRANSFER]) * (1.0 + square / middle)
    following = 2.0 * square / (middle + square)
    total = 0.0
    for i in range(values.size):
        labelled = power[i] / (power[i] + square)
        value, by_transfer, by_r1 = _transferred(transfer, r1, time[i], inverse)
        weight = 1.0 / noise[i]
        residual[i] = (labelled * value - values[i]) * weight
        by_rate = following * by_transfer - 2.0 * (1.0 - labelled) * value
        jacobian[0, i] = labelled * by_rate * weight
        jacobian[1, i] = labelled * by_transfer * weight
        jacobian[2, i] = labelled * by_r1 * weight
        total += residual[i] * residual[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_equations(jacobian, residual, normal, gradient):
    normal[:] = 0.0
    gradient[:] = 0.0
    for i in range(residual.size):
        a, b = jacobian[0, i], jacobian[1, i]
        normal[0, 0] += a * a
        normal[1, 0] += a * b
        normal[1, 1] += b * b
        gradient[0] += a * residual[i]
        gradient[1] += b * residual[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _rate_squared(values, noise, power, grown):
    """The k^2 that fits best where full labelling would transfer `grown`, by a line; may be negative.

    y (w1^2 + k^2) = g w1^2 is linear in k^2; weights that follow k make its residuals those of y.
    """
    square = 0.0
    for _ in range(2):
        along, across = 0.0, 0.0
        for i in range(values.size):
            weight = values[i] / (noise[i] * (power[i] + square))
            along += weight * (grown[i] - values[i]) * power[i] / (noise[i] * (power[i] + square))
            across += weight * weight
        square = along / across if across > 0.0 else 0.0
        if not square > 0.0:
            return square
    return square


@njit(cache=True, nogil=True, error_model="numpy")
def _start(voxel, limits, transfers, grown, parameters):
    """The best of some u, each with the k that suits it; False where no sum of squares is finite."""
    values, noise, power, middle, time, r1, inverse = voxel
    lower, upper = limits[0], limits[1]
    best = np.inf
    for u in range(transfers.size):
        for i in range(values.size):
            if i > 0 and time[i] == time[i - 1]:
                grown[i] = grown[i - 1]
            else:
                grown[i] = _transferred(transfers[u], r1, time[i], inverse)[0]
        square = _rate_squared(values, noise, power, grown)
        ln_rate = 0.5 * np.log(square) if square > 0.0 else lower[LN_RATE]
        ln_rate = min(max(ln_rate, lower[LN_RATE]), upper[LN_RATE])
        square = np.exp(2.0 * ln_rate)
        total = 0.0
        for i in range(values.size):
            residual = (grown[i] * power[i] / (power[i] + square) - values[i]) / noise[i]
            total += residual * residual
        if total < best:
            best = total
            height = np.log(transfers[u] * middle / (middle + square))
            parameters[LN_RATE] = ln_rate
            parameters[LN_TRANSFER] = min(max(height, lower[LN_TRANSFER]), upper[LN_TRANSFER])
    return best < np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _minimise(voxel, limits, parameters, free, work):
    """Levenberg-Marquardt from `parameters`, which become the minimum; squares, iterations, settled."""
    values, noise, power, middle, time, r1, inverse = voxel
    lower, upper, scale, max_iterations, tolerance = limits
    normal, factor, vectors, residual, jacobian, old_jacobian = work
    gradient, target, step, trial = vectors[0], vectors[1], vectors[2], vectors[3]
    squares = _squares(parameters, values, noise, power, middle, time, r1, inverse, residual, jacobian)
    _normal_equations(jacobian, residual, normal, gradient)
    old_jacobian[:] = jacobian
    damping = pieces.FIRST_DAMPING
    for iteration in range(1, max_iterations + 1):
        if not pieces.bounded_step(
            normal, gradient, parameters, lower, upper, damping, free, factor, target, step
        ):
            damping = max(8.0 * damping, pieces.FIRST_DAMPING)
            if damping > pieces.MOST_DAMPING:
                return squares, iteration, False
            continue
        largest = max(abs(step[0]), abs(step[1]))
        if largest > LONGEST_STEP:
            step *= LONGEST_STEP / largest
        small = pieces.settled(parameters, step, scale, tolerance)
        predicted = pieces.predicted_decrease(normal, gradient, step)
        pieces.take_step(parameters, step, lower, upper, trial)
        found = _squares(trial, values, noise, power, middle, time, r1, inverse, residual, jacobian)
        decrease = squares - found
        if decrease >= 0.0:
            parameters[:] = trial
            squares = found
            _normal_equations(jacobian, residual, normal, gradient)
            old_jacobian[:] = jacobian
        flat = decrease >= 0.0 and damping <= 1.0 and predicted <= LEAST_GAIN * squares
        if small or flat:
            return squares, iteration, True
        damping = pieces.next_damping(damping, decrease, predicted)
    return squares, max_iterations, False


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(normal, factor, free, jacobian, known):
    """Covariance for a unit variance, and how the minimum moves with ln R1; False where undetermined."""
    known[:] = np.nan
    if not pieces.covariance_diagonal(normal, free, 1.0, factor, known[:2]):
        return False
    known[COVARIANCE] = pieces.covariance_of_two(normal, free, 1.0, factor, 0, 1)
    first, second = 0.0, 0.0
    for i in range(jacobian.shape[1]):
        first += jacobian[0, i] * jacobian[2, i]
        second += jacobian[1, i] * jacobian[2, i]
    known[RATE_BY_R1] = -(known[RATE_VARIANCE] * first + known[COVARIANCE] * second)
    known[TRANSFER_BY_R1] = -(known[COVARIANCE] * first + known[TRANSFER_VARIANCE] * second)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _unfold(middle, parameters, known):
    """From ln k and ln height to ln k and ln u."""
    square = np.exp(2.0 * parameters[LN_RATE])
    following = 2.0 * square / (middle + square)
    parameters[LN_TRANSFER] += np.log1p(square / middle)
    known[TRANSFER_VARIANCE] += following * (2.0 * known[COVARIANCE] + following * known[RATE_VARIANCE])
    known[COVARIANCE] += following * known[RATE_VARIANCE]
    known[TRANSFER_BY_R1] += following * known[RATE_BY_R1]


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_labelling(
    values,
    noise,
    power,
    time,
    r1,
    inverse,
    transfers,
    lower,
    upper,
    max_iterations,
    tolerance,
    parameters,
    known,
    squares,
    iterations,
    state,
):
    """Fit ln k and ln u of each voxel.

    values : (m, n) float64, finite; asymmetries, or the inverse form where `inverse`
    noise : (m, n) or (1, n) float64, > 0, weights are its inverse squares
    power : (n,) float64, w1^2 in (rad/s)^2; time : (n,) float64, s, finite; r1 : (m,) float64, 1/s
    transfers : (a,) float64, values of u to start from, 1/s
    lower, upper : (2,) float64, bounds of ln k and of the logarithm of u alpha at the middle power
    parameters : (m, 2), known : (m, 5) float64, variances for a unit variance of the weighted residuals
    squares : (m,) float64, sum of the weighted squares; iterations : (m,) int32; state : (m,) uint8
    """
    m, n = values.shape
    middle = np.sqrt(power.min() * power.max())
    scale = np.ones(2)
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        jacobian, old_jacobian, lines = np.empty((3, n)), np.empty((3, n)), np.empty((2, n))
        normal, factor, vectors = np.empty((2, 2)), np.empty((2, 2)), np.empty((4, 2))
        free, place = np.empty(2, np.bool_), np.empty(2)
        work = (normal, factor, vectors, lines[0], jacobian, old_jacobian)
        limits = (lower, upper, scale, max_iterations, tolerance)
        for c in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            spread = noise[min(c, noise.shape[0] - 1)]
            voxel = (values[c], spread, power, middle, time, r1[c], inverse)
            state[c] = 0
            parameters[c, :] = np.nan
            known[c, :] = np.nan
            squares[c] = np.nan
            iterations[c] = 0
            if not _start(voxel, limits, transfers, lines[1], place):
                state[c] = UNDETERMINED
                continue
            squares[c], iterations[c], settled = _minimise(voxel, limits, place, free, work)
            for j in range(2):
                parameters[c, j] = place[j]
                free[j] = lower[j] < place[j] < upper[j] and normal[j, j] > 0.0
            determined = _describe(normal, factor, free, old_jacobian, known[c])
            _unfold(middle, parameters[c], known[c])
            state[c] = (
                (CONVERGED if settled else 0)
                + (0 if determined else UNDETERMINED)
                + (0 if free[0] and free[1] else AT_BOUND)
            )
