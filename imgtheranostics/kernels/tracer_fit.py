"""Fits of the tracer models to concentration curves: best start of a table, then bounded Levenberg-Marquardt.

For given rates and delay the models are linear in their weights. A table holds the plasma curve and its
convolutions with a set of rates, for a set of delays; for each curve the pair of rows that explains most with
weights that are not negative is the start.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels import small_matrices as pieces
from imgtheranostics.kernels.convolution import convolve_shifted
from imgtheranostics.kernels.curve_products import (
    dot,
    explained_by_two,
    normal_equations,
    residual_squares,
)
from imgtheranostics.kernels.tracer_models import (
    EXCHANGE,
    EXTENDED_TOFTS,
    PATLAK,
    TOFTS,
    UPTAKE,
    evaluate,
)

CHUNK = 16
"""Curves per task: the workspace of a task serves them all."""

PLASMA_ROW, INTEGRAL_ROW = 0, 1
"""Rows of the table before those of the rates."""

CONVERGED, UNDETERMINED = 1, 2
"""Bits of the state of a fit."""

LEAST_GAIN = 1e-10
"""Relative decrease of the sum of squares that a step must promise: less is a 1e-4th of a standard error."""

TINY = 1e-30


@njit(cache=True, nogil=True, error_model="numpy")
def tabulate(time, knots, plasma, rates, delays, table):
    """Plasma curve, its integral, and its convolution with each rate, for each delay.

    time : (n,), knots, plasma : (k,), rates : (r,), delays : (d,), table : (d, 2 + r, n) float64
    """
    n = time.size
    shifted, slope, moment = np.empty(n), np.empty(n), np.empty(n)
    for d in range(delays.size):
        convolve_shifted(time, knots, plasma, 0.0, delays[d], shifted, slope, table[d, 1], moment)
        table[d, PLASMA_ROW] = shifted
        for m in range(rates.size):
            convolve_shifted(
                time, knots, plasma, rates[m], delays[d], shifted, slope, table[d, 2 + m], moment
            )


@njit(cache=True, nogil=True, error_model="numpy")
def _best_of_table(curve, table, gram, pairs, products):
    """Delay, pair and weights that explain most of the curve."""
    best, best_delay, best_pair, best_one, best_two = -1.0, 0, 0, 0.0, 0.0
    for d in range(table.shape[0]):
        for row in range(table.shape[1]):
            products[row] = dot(table[d, row], curve)
        for pair in range(pairs.shape[0]):
            first, second = pairs[pair, 0], pairs[pair, 1]
            b, c, y = 0.0, 0.0, 0.0
            if second >= 0:
                b, c, y = gram[d, second, second], gram[d, first, second], products[second]
            found, one, two = explained_by_two(gram[d, first, first], b, c, products[first], y)
            if found > best:
                best, best_delay, best_pair, best_one, best_two = found, d, pair, one, two
    return best_delay, best_pair, best_one, best_two


@njit(cache=True, nogil=True, error_model="numpy")
def _start(model, one, two, rate_one, rate_two, parameters):
    """Parameters of a model from the weights and rates of a pair of table rows."""
    if model == TOFTS:
        parameters[0], parameters[1] = one, one / rate_one
    elif model == EXTENDED_TOFTS:
        parameters[0], parameters[1], parameters[2] = two, two / rate_two, one
    elif model == PATLAK:
        parameters[0], parameters[1] = two, one
    elif model == UPTAKE:
        flow = max(one + two, TINY)
        passing = max(two / flow, 1e-3)
        parameters[0] = flow
        parameters[1] = flow * (1.0 - passing) / passing
        parameters[2] = (flow + parameters[1]) / rate_two
    elif model == EXCHANGE:
        flow = max(one + two, TINY)
        share = min(max(two / flow, 1e-3), 1.0 - 1e-3)
        back = share * rate_two + (1.0 - share) * rate_one
        exchange = rate_one * rate_two / back
        vp = flow / back
        ps = max((rate_one + rate_two - back - exchange) * vp, TINY)
        parameters[0], parameters[1], parameters[2], parameters[3] = flow, ps, ps / exchange, vp


@njit(cache=True, nogil=True, error_model="numpy")
def _minimise(model, curve, time, knots, plasma, delayed, shared, limits, parameters, free, work):
    """Levenberg-Marquardt from `parameters`, which become the minimum; sum of squares, iterations, settled.

    `work` holds normal matrix, factor, vectors, terms, slopes, basis, model curve, residual and Jacobian;
    the normal matrix is that of the minimum on return.
    """
    lower, upper, scale, max_iterations, tolerance = limits
    normal, factor, vectors, terms, slopes, basis, fitted, residual, jacobian = work
    gradient, target, step, trial = vectors[0], vectors[1], vectors[2], vectors[3]
    evaluate(model, parameters, time, knots, plasma, delayed, shared, terms, slopes, basis, fitted, jacobian)
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
        evaluate(model, trial, time, knots, plasma, delayed, shared, terms, slopes, basis, fitted, jacobian)
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
def _cross_the_kink(knots, delay, lower, upper):
    """A delay on the other side of the nearest one at which the shifted samples meet the samples.

    There the slope of a shifted plasma curve of straight lines jumps, so that each side may have its minimum.
    """
    step = (knots[knots.size - 1] - knots[0]) / (knots.size - 1)
    kink = step * np.round(delay / step)
    return min(max(kink - np.copysign(0.1 * step, delay - kink), lower), upper)


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_tracer_models(
    model,
    curves,
    time,
    knots,
    plasma,
    delayed,
    shared,
    lower,
    upper,
    scale,
    table,
    gram,
    pairs,
    rates,
    delays,
    max_iterations,
    tolerance,
    values,
    variances,
    covariances,
    squares,
    iterations,
    state,
):
    """Fit each curve; rates per second.

    model : int, code of `tracer_models`; curves : (m, n) float64, finite; time : (n,) float64
    knots, plasma : (k,) float64, times and values of the plasma curve
    delayed : bool, whether the delay of the plasma curve is the last parameter
    shared : bool, whether knots are the same as time
    lower, upper, scale : (p,) float64, bounds, and size near zero below which steps do not matter
    table : (d, 2 + r, n) float64 of `tabulate`; gram : (d, 2 + r, 2 + r), its products with itself
    pairs : (q, 2) int64, rows of the table to combine, -1 for none; rates : (2 + r,), delays : (d,) float64
    values, variances : (m, p) float64; variances NaN at a bound and where undetermined
    covariances : (m,) float64, of the first two parameters; NaN where undetermined
    squares : (m, 2) float64, sum of squares of the residual and of the curve less its mean
    iterations : (m,) int32; state : (m,) uint8, bits of CONVERGED and UNDETERMINED
    """
    m, n = curves.shape
    p = lower.size
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        normal, factor, vectors, free = (
            np.empty((p, p)),
            np.empty((p, p)),
            np.empty((4, p)),
            np.empty(p, np.bool_),
        )
        basis, jacobian, lines = np.empty((6, n)), np.empty((p, n)), np.empty((2, n))
        slopes = np.empty((5, p - 1 if delayed else p))
        work = (normal, factor, vectors, np.empty(5), slopes, basis, lines[0], lines[1], jacobian)
        products, parameters = np.empty(table.shape[1]), np.empty(p)
        for c in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            curve = curves[c]
            d, pair, one, two = _best_of_table(curve, table, gram, pairs, products)
            first, second = pairs[pair, 0], pairs[pair, 1]
            _start(model, one, two, rates[first], rates[max(second, 0)], parameters)
            if delayed:
                parameters[p - 1] = delays[d]
            for j in range(p):
                parameters[j] = min(max(parameters[j], lower[j]), upper[j])
            if shared:
                basis[0] = plasma
            limits = (lower, upper, scale, max_iterations, tolerance)
            found, used, settled = _minimise(
                model, curve, time, knots, plasma, delayed, shared, limits, parameters, free, work
            )
            if delayed and model in (EXTENDED_TOFTS, PATLAK):
                values[c] = parameters
                parameters[p - 1] = _cross_the_kink(knots, parameters[p - 1], lower[p - 1], upper[p - 1])
                other, more, other_settled = _minimise(
                    model, curve, time, knots, plasma, delayed, shared, limits, parameters, free, work
                )
                used += more
                if other < found and other_settled:
                    found, settled = other, True
                else:
                    parameters[:] = values[c]
                    found, more, settled = _minimise(
                        model, curve, time, knots, plasma, delayed, shared, limits, parameters, free, work
                    )
            iterations[c] = used
            for j in range(p):
                values[c, j] = parameters[j]
                free[j] = lower[j] < parameters[j] < upper[j] and normal[j, j] > 0.0
            variance = found / (n - p) if n > p else np.nan
            determined = pieces.covariance_diagonal(normal, free, variance, factor, variances[c])
            covariances[c] = (
                pieces.covariance_of_two(normal, free, variance, factor, 0, 1) if determined else np.nan
            )
            state[c] = (CONVERGED if settled else 0) + (0 if determined else UNDETERMINED)
            mean = 0.0
            for i in range(n):
                mean += curve[i]
            mean /= n
            total = 0.0
            for i in range(n):
                total += (curve[i] - mean) * (curve[i] - mean)
            squares[c, 0], squares[c, 1] = found, total
