"""Fits of compartment models to time-activity curves: best starts of a table, then Levenberg-Marquardt.

For given rates, delay and blood fraction the models are linear in their weights. A table holds the averages
over frames of the blood and of the plasma's convolutions with a set of rates, for a set of delays; for each
of a few blood fractions the pair of rates that explains most with weights that are not negative starts a fit.
With the best two of them alone, 3 % of two-tissue curves without noise ended beside their minimum, without
blood and with an early input.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels import small_matrices as pieces
from imgtheranostics.kernels.compartment_models import (
    BASIS_ROWS,
    IRREVERSIBLE,
    ONE_TISSUE,
    derived_values,
    evaluate_tissue,
)
from imgtheranostics.kernels.curve_products import (
    dot,
    explained_by_two,
    normal_equations,
    residual_squares,
)
from imgtheranostics.kernels.frame_convolution import frame_averages

CHUNK = 16
"""Curves per task: the workspace of a task serves them all."""

_SAME = 1e-20
"""Squares left, as a share of those of the curve, that are 0 but for rounding: the first start keeps them."""

CONVERGED, UNDETERMINED = 1, 2
"""Bits of the state of a fit."""

LEAST_GAIN = 1e-10
"""Relative decrease of the sum of squares that a step must promise: less is a 1e-4th of a standard error."""

LEAST_RATE = 1e-7
"""Smallest rate, 1/s, that a fit starts from."""


@njit(cache=True, nogil=True, error_model="numpy")
def tabulate_frames(frames, inflow, rates, delays, table):
    """Weighted frame averages of blood and of the plasma's convolution with each rate, for each delay.

    frames : (3, n), inflow : (3, k), rates : (r,), delays : (d,), table : (d, 1 + r, n) float64
    """
    out, space = np.empty((4, frames.shape[1])), np.empty((3, 18))
    state, step, own_step = space[:, :6], space[0, 6:15], space[1, 6:15]
    start, end, time = frames[0], frames[1], inflow[0]
    for d in range(delays.size):
        frame_averages(start, end, time, inflow[2], 0.0, delays[d], state, step, own_step, out)
        table[d, 0] = out[0] * frames[2]
        for m in range(rates.size):
            frame_averages(start, end, time, inflow[1], rates[m], delays[d], state, step, own_step, out)
            table[d, 1 + m] = out[2] * frames[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _candidates(curve, table, gram, pairs, fractions, products, found):
    """For each blood fraction the best delay, pair and weights: rows of `found`, with what they leave.

    found : (f, 5) float64: squares left (less those of the curve), delay, pair, both weights
    """
    found[:, 0] = np.inf
    for d in range(table.shape[0]):
        for row in range(table.shape[1]):
            products[row] = dot(table[d, row], curve)
        for f in range(fractions.size):
            fraction = fractions[f]
            fixed = fraction * (fraction * gram[d, 0, 0] - 2.0 * products[0])
            for pair in range(pairs.shape[0]):
                first, second = pairs[pair, 0], pairs[pair, 1]
                x = products[first] - fraction * gram[d, 0, first]
                a, b, c, y = gram[d, first, first], 0.0, 0.0, 0.0
                if second >= 0:
                    b, c = gram[d, second, second], gram[d, first, second]
                    y = products[second] - fraction * gram[d, 0, second]
                explained, one, two = explained_by_two(a, b, c, x, y)
                if fixed - explained < found[f, 0]:
                    found[f, 0], found[f, 1], found[f, 2] = fixed - explained, d, pair
                    found[f, 3], found[f, 4] = one, two


@njit(cache=True, nogil=True, error_model="numpy")
def _start(model, one, two, rate_one, rate_two, parameters):
    """Rates of a model from the weights and rates of a pair of table rows, in that order slow and fast."""
    total = max(one + two, LEAST_RATE)
    parameters[0] = total
    if model == ONE_TISSUE:
        parameters[1] = max(rate_one, LEAST_RATE)
        return
    if model == IRREVERSIBLE:
        staying = min(max(one / total, 1e-3), 0.999)
        parameters[1], parameters[2] = rate_two * (1.0 - staying), rate_two * staying
        return
    share = min(max(two / total, 1e-3), 0.999)
    leaving = share * rate_two + (1.0 - share) * rate_one
    back = rate_one * rate_two / leaving
    parameters[1], parameters[3] = leaving, max(back, LEAST_RATE)
    parameters[2] = max(rate_one + rate_two - leaving - back, LEAST_RATE)


@njit(cache=True, nogil=True, error_model="numpy")
def _minimise(model, curve, frames, inflow, limits, known_blood, parameters, free, work):
    """Levenberg-Marquardt from `parameters`, which become the minimum; sum of squares, iterations, settled.

    The normal matrix of `work` is that of the minimum on return.
    """
    lower, upper, scale, max_iterations, tolerance = limits
    normal, factor, vectors, terms, slopes, basis, space, fitted, residual, jacobian = work
    gradient, target, step, trial = vectors[0], vectors[1], vectors[2], vectors[3]
    evaluate_tissue(
        model, parameters, frames, inflow, known_blood, terms, slopes, basis, space, fitted, jacobian
    )
    squares = residual_squares(curve, fitted, residual)
    normal_equations(jacobian, residual, normal, gradient)
    damping = pieces.FIRST_DAMPING
    for iteration in range(1, max_iterations + 1):
        if not pieces.bounded_step(
            normal, gradient, parameters, lower, upper, damping, free, factor, target, step
        ):
            damping = max(8.0 * damping, pieces.FIRST_DAMPING)
            if damping > pieces.MOST_DAMPING:
                return squares, iteration, False
            continue
        small = pieces.settled(parameters, step, scale, tolerance)
        predicted = pieces.predicted_decrease(normal, gradient, step)
        pieces.take_step(parameters, step, lower, upper, trial)
        evaluate_tissue(
            model, trial, frames, inflow, known_blood, terms, slopes, basis, space, fitted, jacobian
        )
        new_squares = residual_squares(curve, fitted, residual)
        decrease = squares - new_squares
        if decrease >= 0.0:
            parameters[:] = trial
            squares = new_squares
            normal_equations(jacobian, residual, normal, gradient)
        flat = decrease >= 0.0 and damping <= 1.0 and predicted <= LEAST_GAIN * squares
        if small or flat:
            return squares, iteration, True
        damping = pieces.next_damping(damping, decrease, predicted)
    return squares, max_iterations, False


@njit(cache=True, nogil=True, error_model="numpy")
def _variance_along(gradient, normal, free, variance, factor, variances):
    """Variance of what has this gradient, from the factor that `covariance_diagonal` leaves."""
    total = 0.0
    for i in range(gradient.size):
        if free[i]:
            total += gradient[i] * gradient[i] * variances[i]
            for j in range(i):
                if free[j]:
                    common = pieces.covariance_of_two(normal, free, variance, factor, i, j)
                    total += 2.0 * gradient[i] * gradient[j] * common
    return max(total, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def report_fit(
    model, freedom, found, lower, upper, parameters, free, normal, factor, slopes, values, variances, derived
):
    """Values, variances and what follows from them; whether the variances are determined.

    model, freedom, found : code, degrees of freedom, and sum of squares of the residual
    lower, upper, parameters : (p,), normal : (p, p) float64, bounds, minimum, and J'J there (lower triangle)
    free : (p,) bool, factor : (p, p), slopes : (4, p) float64, workspace
    values, variances : (p,), derived : (4,) float64, written
    """
    for j in range(parameters.size):
        values[j] = parameters[j]
        free[j] = lower[j] < parameters[j] < upper[j] and normal[j, j] > 0.0
    variance = found / freedom if freedom > 0 else np.nan
    determined = pieces.covariance_diagonal(normal, free, variance, factor, variances)
    gradients = slopes[:2]
    derived_values(model, parameters, derived[:2], gradients)
    for row in range(2):
        derived[2 + row] = (
            _variance_along(gradients[row], normal, free, variance, factor, variances)
            if determined
            else np.nan
        )
    return determined


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_compartments(
    model,
    curves,
    frames,
    inflow,
    lower,
    upper,
    scale,
    table,
    gram,
    pairs,
    rates,
    delays,
    fractions,
    freedom,
    max_iterations,
    tolerance,
    values,
    variances,
    derived,
    squares,
    iterations,
    state,
):
    """Fit each curve; rates per second.

    model : int, code of `compartment_models`; curves : (m, n) float64, finite, times the root of the weights
    frames : (3, n) float64: start, end, root of the weight; inflow : (3, k) float64: time, plasma, blood
    lower, upper, scale : (p,) float64, bounds, equal for what is known, and size below which steps do not
    matter
    table : (d, 1 + r, n) float64 of `tabulate_frames`; gram : (d, 1 + r, 1 + r), its products with itself
    pairs : (q, 2) int64, rows of the table to combine, slow and fast, -1 for none
    rates : (1 + r,), delays : (d,), fractions : (f,) float64, those of the starts
    freedom : int, degrees of freedom
    values, variances : (m, p) float64; variances NaN at a bound and where undetermined
    derived : (m, 4) float64, VT and Ki and their variances
    squares : (m, 2) float64, sum of squares of the residual and of the curve less its weighted mean
    iterations : (m,) int32; state : (m,) uint8, bits of CONVERGED and UNDETERMINED
    """
    m, n = curves.shape
    p = lower.size
    total_weight = dot(frames[2], frames[2])
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        normal, factor, vectors = np.empty((p, p)), np.empty((p, p)), np.empty((4, p))
        free, parameters, best = np.empty(p, np.bool_), np.empty(p), np.empty(p)
        basis, jacobian, lines = np.empty((BASIS_ROWS, n)), np.empty((p, n)), np.empty((2, n))
        slopes, space, found = np.empty((4, p)), np.empty((3, 18)), np.empty((fractions.size, 5))
        products, terms = np.empty(table.shape[1]), np.empty(4)
        work = (normal, factor, vectors, terms, slopes, basis, space, lines[0], lines[1], jacobian)
        limits = (lower, upper, scale, max_iterations, tolerance)
        known_blood = lower[p - 1] == upper[p - 1]
        if known_blood:
            evaluate_tissue(
                model, lower, frames, inflow, False, terms, slopes, basis, space, lines[0], jacobian
            )
        for c in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            curve = curves[c]
            _candidates(curve, table, gram, pairs, fractions, products, found)
            least, used, settled = np.inf, 0, False
            rounding = _SAME * dot(curve, curve)
            for _ in range(fractions.size):
                f = int(np.argmin(found[:, 0]))
                d, pair = int(found[f, 1]), int(found[f, 2])
                first, second = pairs[pair, 0], pairs[pair, 1]
                one, two = found[f, 3], found[f, 4]
                _start(model, one, two, rates[first], rates[max(second, 0)], parameters)
                parameters[0] /= max(1.0 - fractions[f], 1e-3)
                parameters[p - 2], parameters[p - 1] = fractions[f], delays[d]
                for j in range(p):
                    parameters[j] = min(max(parameters[j], lower[j]), upper[j])
                left, more, quiet = _minimise(
                    model, curve, frames, inflow, limits, known_blood, parameters, free, work
                )
                used += more
                if left < least - rounding:
                    least, settled, best[:] = left, quiet, parameters
                found[f, 0] = np.inf
            parameters[:] = best
            least, more, quiet = _minimise(
                model, curve, frames, inflow, limits, known_blood, parameters, free, work
            )
            iterations[c] = used + more
            determined = report_fit(
                model,
                freedom,
                least,
                lower,
                upper,
                parameters,
                free,
                normal,
                factor,
                slopes,
                values[c],
                variances[c],
                derived[c],
            )
            state[c] = (CONVERGED if settled or quiet else 0) + (0 if determined else UNDETERMINED)
            mean = dot(curve, frames[2]) / total_weight
            squares[c, 0], squares[c, 1] = least, 0.0
            for i in range(n):
                squares[c, 1] += (curve[i] - mean * frames[2, i]) ** 2
