"""Fits of the saturation transfer of one exchanging pool to powers and times of saturation (QUESP, QUEST).

With w1 the amplitude of the field in rad/s, alpha = w1^2/(w1^2 + k^2) the labelling efficiency and u = f k
the rate at which water meets the pool, the transfer is one of

- PUBLISHED, the asymmetry after saturation for t: alpha u/(R1 + u) (1 - exp(-(R1 + u) t));
- INVERSE, its inverse form in the steady state: alpha u/R1;
- LABELLED, the asymmetry when only labelled protons leave their mark: v/(R1 + v) (1 - exp(-(R1 + v) t)) with
  v = alpha u.

Both unknowns are positive and range over decades: logarithms are fitted, from the best of some u and the k
that suits it.

What is well determined is the height of the transfer, u alpha at a middle power: it takes the place of u in
the steps, since along a curved valley of equal heights they would have to be short.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels import small_matrices as pieces

CHUNK = 64
"""Voxels per task."""

PUBLISHED, INVERSE, LABELLED = range(3)
"""Forms of the transfer."""

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
def _transferred(transfer, r1, time, form):
    """What full labelling transfers, and its derivatives by ln u and ln R1."""
    if form == INVERSE:
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
def _squares(parameters, values, noise, power, middle, time, r1, form, residual, jacobian):
    """Sum of squares; into `residual` (n,) and `jacobian` (3, n) by ln k, ln height, ln R1; noise units."""
    square = np.exp(2.0 * parameters[LN_RATE])
    transfer = np.exp(parameters[LN_TRANSFER]) * (1.0 + square / middle)
    following = 2.0 * square / (middle + square)
    total = 0.0
    for i in range(values.size):
        labelled = power[i] / (power[i] + square)
        met = transfer * labelled if form == LABELLED else transfer
        share = 1.0 if form == LABELLED else labelled
        value, by_transfer, by_r1 = _transferred(met, r1, time[i], form)
        weight = 1.0 / noise[i]
        fading = by_transfer if form == LABELLED else value
        residual[i] = (share * value - values[i]) * weight
        jacobian[0, i] = share * (following * by_transfer - 2.0 * (1.0 - labelled) * fading) * weight
        jacobian[1, i] = share * by_transfer * weight
        jacobian[2, i] = share * by_r1 * weight
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
def _met(value, r1, time):
    """The v of a LABELLED transfer; Newton from below, where the concave growth never overshoots."""
    found = value * r1 / -np.expm1(-r1 * time)
    if value <= 0.0:
        return found
    value = min(value, 0.98)
    for _ in range(8):
        grown, by_ln, _ = _transferred(found, r1, time, LABELLED)
        found += (value - grown) * found / by_ln
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _start(voxel, limits, transfers, grown, met, parameters):
    """The best of some u, each with the k that suits it; False where no sum of squares is finite.

    A LABELLED transfer is turned into the v that it comes from, which is alpha u like an INVERSE one.
    """
    values, noise, power, middle, time, r1, form = voxel
    lower, upper = limits[0], limits[1]
    best = np.inf
    for i in range(values.size):
        met[i] = _met(values[i], r1, time[i]) if form == LABELLED else values[i]
    for u in range(transfers.size):
        for i in range(values.size):
            if form == LABELLED:
                grown[i] = transfers[u]
            elif i > 0 and time[i] == time[i - 1]:
                grown[i] = grown[i - 1]
            else:
                grown[i] = _transferred(transfers[u], r1, time[i], form)[0]
        square = _rate_squared(met, noise, power, grown)
        ln_rate = 0.5 * np.log(square) if square > 0.0 else lower[LN_RATE]
        ln_rate = min(max(ln_rate, lower[LN_RATE]), upper[LN_RATE])
        square = np.exp(2.0 * ln_rate)
        total = 0.0
        for i in range(values.size):
            residual = (grown[i] * power[i] / (power[i] + square) - met[i]) / noise[i]
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
    values, noise, power, middle, time, r1, form = voxel
    lower, upper, scale, max_iterations, tolerance = limits
    normal, factor, vectors, residual, jacobian, old_jacobian = work
    gradient, target, step, trial = vectors[0], vectors[1], vectors[2], vectors[3]
    squares = _squares(parameters, values, noise, power, middle, time, r1, form, residual, jacobian)
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
        found = _squares(trial, values, noise, power, middle, time, r1, form, residual, jacobian)
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
    form,
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

    values : (m, n) float64, finite; form : int, PUBLISHED, INVERSE or LABELLED
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
        jacobian, old_jacobian, lines = np.empty((3, n)), np.empty((3, n)), np.empty((3, n))
        normal, factor, vectors = np.empty((2, 2)), np.empty((2, 2)), np.empty((4, 2))
        free, place = np.empty(2, np.bool_), np.empty(2)
        work = (normal, factor, vectors, lines[0], jacobian, old_jacobian)
        limits = (lower, upper, scale, max_iterations, tolerance)
        for c in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            spread = noise[min(c, noise.shape[0] - 1)]
            voxel = (values[c], spread, power, middle, time, r1[c], form)
            state[c] = 0
            parameters[c, :] = np.nan
            known[c, :] = np.nan
            squares[c] = np.nan
            iterations[c] = 0
            if not _start(voxel, limits, transfers, lines[1], lines[2], place):
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
