"""Fits of water shift and transmit field to spectra of a short pulse: table of starts, then bounded steps.

The signal after a block pulse of rotation w about the effective field is ``c - d S`` in magnitude, with
``S = (w1/w)^2 sin^2(w tp/2)`` and ``w^2 = w1^2 + D^2``. The table holds the patterns of the signal's square
for shifts and fields a part of a fringe apart; from the best places that are no neighbours a few steps are
taken, and the best of them are followed to the end.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels import small_matrices as pieces

FREE_AMPLITUDES, RECOVERY = 0, 1
"""Models: c and d free; or ``c = 1 - exp(-Trec/T1)`` and ``d = 2 c`` with T1 free."""

N_STARTS, N_FOLLOWED = 20, 4
"""Places of the table from which a few steps are taken, and how many of them are followed to the end."""

FIRST_STEPS = 3

HOPELESS = 16.0
"""A place whose sum of squares after the first steps is this many times the least is not followed."""

NEGLIGIBLE_SQUARE = 1e-16
"""Decrease of the sum of squares per sample that is none: 1e-8 of the signal."""

CHUNK = 16
"""Spectra per task: the workspace of a task serves them all."""

CONVERGED, UNDETERMINED = 1, 2
"""Bits of the state of a fit."""

LEAST_GAIN = 1e-12
"""Relative decrease of the sum of squares that a step must promise."""

TILE = 128
"""Places of the table that stay in the first-level cache while all spectra of a task meet them."""

SURE_SIGN = 6.0
"""A signal this many times its noise is certain in its sign."""

_SLOW = 1e-9
_ROUNDING = 6755399441055744.0
_PI_REST = 1.2246467991473532e-16


@njit(cache=True, nogil=True, error_model="numpy")
def _sine_and_cosine(x):
    """Sine and cosine of x less the nearest multiple of pi: products of two of them are those of x.

    Taylor series, to 4e-14; plain arithmetic, so that a loop over samples becomes one over SIMD lanes.
    x : float64, at most 1e6
    """
    turns = (x * (1.0 / np.pi) + _ROUNDING) - _ROUNDING
    r = (x - turns * np.pi) - turns * _PI_REST
    q = r * r
    sine = q * (1.0 / 355687428096000.0) - 1.0 / 1307674368000.0
    sine = ((sine * q + 1.0 / 6227020800.0) * q - 1.0 / 39916800.0) * q + 1.0 / 362880.0
    sine = ((((sine * q - 1.0 / 5040.0) * q + 1.0 / 120.0) * q - 1.0 / 6.0) * q + 1.0) * r
    cosine = q * (-1.0 / 6402373705728000.0) + 1.0 / 20922789888000.0
    cosine = ((cosine * q - 1.0 / 87178291200.0) * q + 1.0 / 479001600.0) * q - 1.0 / 3628800.0
    cosine = (((cosine * q + 1.0 / 40320.0) * q - 1.0 / 720.0) * q + 1.0 / 24.0) * q - 0.5
    return sine, cosine * q + 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def tip_pattern(parameters, offset_ppm, scales, pattern, by_field, by_shift):
    """S of each sample and its derivatives with respect to field and shift, the first two parameters.

    scales : (rad/s per uT, rad/s per ppm, half the pulse in s); others but parameters : (n,) float64
    """
    per_ut, per_ppm, half_s = scales
    w1, b0 = per_ut * parameters[0], parameters[1]
    for i in range(offset_ppm.size):
        shift = per_ppm * (offset_ppm[i] - b0)
        square = max(w1 * w1 + shift * shift, _SLOW)
        w = np.sqrt(square)
        sine, cosine = _sine_and_cosine(w * half_s)
        shape = sine * sine / square
        by_w = (2.0 * half_s * sine * cosine / square - 2.0 * shape / w) / w
        pattern[i] = w1 * w1 * shape
        by_field[i] = (2.0 * w1 * shape + w1 * w1 * w1 * by_w) * per_ut
        by_shift[i] = -w1 * w1 * shift * by_w * per_ppm


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(model, parameters, offset_ppm, scales, recovery_s, squared, curve, jacobian):
    """Signal, or its square, and the derivatives.

    model : int, one of the codes above
    parameters : (4,) uT, ppm, c, d; or (3,) uT, ppm, T1 in s
    offset_ppm, recovery_s : (n,) float64; recovery_s is not read where amplitudes are free
    scales : (rad/s per uT, rad/s per ppm, half the pulse in s)
    squared : bool; the square has no kinks where the signal changes its sign
    curve : (n,); jacobian : (p, n)
    """
    by_field, by_shift, third = jacobian[0], jacobian[1], jacobian[2]
    tip_pattern(parameters, offset_ppm, scales, curve, by_field, by_shift)
    if model == FREE_AMPLITUDES:
        c, d, fourth = parameters[2], parameters[3], jacobian[3]
        for i in range(curve.size):
            value = c - d * curve[i]
            sign = 1.0 if value >= 0.0 else -1.0
            outer = 2.0 * value if squared else sign
            by_field[i] *= -outer * d
            by_shift[i] *= -outer * d
            third[i] = outer
            fourth[i] = -outer * curve[i]
            curve[i] = value * value if squared else sign * value
    else:
        t1_s = parameters[2]
        for i in range(curve.size):
            rest = np.exp(-recovery_s[i] / t1_s)
            part = 1.0 - 2.0 * curve[i]
            value = (1.0 - rest) * part
            sign = 1.0 if value >= 0.0 else -1.0
            outer = 2.0 * value if squared else sign
            by_field[i] *= -2.0 * outer * (1.0 - rest)
            by_shift[i] *= -2.0 * outer * (1.0 - rest)
            third[i] = -outer * part * rest * recovery_s[i] / (t1_s * t1_s)
            curve[i] = value * value if squared else sign * value


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _scores(squares, n_spectra, table, products, scores):
    """How much of the squared signal of each spectrum each place of the table explains.

    squares : (CHUNK, n) float32, n a multiple of 4; table : (r, n, k) float32, orthonormal in n
    products : (TILE,), scores : (CHUNK, k) float32
    """
    n, k = squares.shape[1], table.shape[2]
    for first in range(0, k, TILE):
        last = min(first + TILE, k)
        for voxel in range(n_spectra):
            score = scores[voxel, first:last]
            score[:] = 0.0
            for r in range(table.shape[0]):
                product = products[: last - first]
                product[:] = 0.0
                for i in range(0, n, 4):
                    a, b = squares[voxel, i], squares[voxel, i + 1]
                    c, d = squares[voxel, i + 2], squares[voxel, i + 3]
                    row_a, row_b = table[r, i, first:last], table[r, i + 1, first:last]
                    row_c, row_d = table[r, i + 2, first:last], table[r, i + 3, first:last]
                    for lane in range(product.size):
                        product[lane] += (
                            a * row_a[lane] + b * row_b[lane] + (c * row_c[lane] + d * row_d[lane])
                        )
                for lane in range(product.size):
                    score[lane] += product[lane] * product[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _best_places(scores, n_shifts, row_best, places):
    """The best places of the table that lie more than two steps apart; how many there are.

    scores : (k,) float32, spoiled
    row_best : (n_fields,), places : (N_STARTS,) int64
    """
    n_fields = row_best.size
    for field in range(n_fields):
        row_best[field] = _best_of_row(scores, field * n_shifts, n_shifts)
    for found in range(places.size):
        best = row_best[0]
        for field in range(1, n_fields):
            if scores[row_best[field]] > scores[best]:
                best = row_best[field]
        if scores[best] < 0.0:
            return found
        places[found] = best
        field, shift = best // n_shifts, best % n_shifts
        for f in range(max(field - 2, 0), min(field + 3, n_fields)):
            for s in range(max(shift - 2, 0), min(shift + 3, n_shifts)):
                scores[f * n_shifts + s] = np.float32(-1.0)
            row_best[f] = _best_of_row(scores, f * n_shifts, n_shifts)
    return places.size


@njit(cache=True, nogil=True, error_model="numpy")
def _best_of_row(scores, first, n_shifts):
    best = first
    for k in range(first + 1, first + n_shifts):
        if scores[k] > scores[best]:
            best = k
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _amplitudes(signal, pattern, parameters):
    """Start of c and d: least squares for some ratios c/d, above which the signal has changed its sign."""
    n = signal.size
    least = np.inf
    for step in range(10):
        turn = 0.2 + 0.1 * step
        s1 = s2 = y0 = y1 = 0.0
        for i in range(n):
            signed = signal[i] if pattern[i] < turn else -signal[i]
            s1 += pattern[i]
            s2 += pattern[i] * pattern[i]
            y0 += signed
            y1 += signed * pattern[i]
        determinant = n * s2 - s1 * s1
        c, d = y0 / n, 0.0
        if determinant > 1e-12 * n * n:
            c = (s2 * y0 - s1 * y1) / determinant
            d = (s1 * y0 - n * y1) / determinant
        total = 0.0
        for i in range(n):
            rest = signal[i] - abs(c - d * pattern[i])
            total += rest * rest
        if c >= 0.0 and d >= 0.0 and total < least:
            least = total
            parameters[2], parameters[3] = c, d
    if least == np.inf:
        parameters[2], parameters[3] = 0.5, 1.2


@njit(cache=True, nogil=True, error_model="numpy")
def _relaxation(signal, pattern, recovery_s, low_s, high_s, parameters):
    """Start of T1: the best of twelve between its bounds."""
    least = np.inf
    for step in range(12):
        t1 = low_s * (high_s / low_s) ** ((step + 0.5) / 12.0)
        total = 0.0
        for i in range(signal.size):
            rest = signal[i] - (1.0 - np.exp(-recovery_s[i] / t1)) * abs(1.0 - 2.0 * pattern[i])
            total += rest * rest
        if total < least:
            least = total
            parameters[2] = t1


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _products(signal, curve, jacobian, residual, normal, gradient):
    """Sum of squares, and the normal equations where `normal` is to be filled."""
    n, total = signal.size, 0.0
    for i in range(n):
        residual[i] = curve[i] - signal[i]
        total += residual[i] * residual[i]
    for row in range(jacobian.shape[0]):
        first, slope = jacobian[row], 0.0
        for i in range(n):
            slope += first[i] * residual[i]
        gradient[row] = slope
        for column in range(row + 1):
            second, product = jacobian[column], 0.0
            for i in range(n):
                product += first[i] * second[i]
            normal[row, column] = product
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _minimise(model, squared, signal, offset_ppm, scales, recovery_s, limits, parameters, free, work):
    """Levenberg-Marquardt from `parameters`, which become the minimum; sum of squares, steps, settled.

    work : two normal matrices, a factor, vectors, curve, residual, Jacobian; the first normal matrix is that
    of the minimum on return
    """
    lower, upper, scale, max_iterations, tolerance = limits
    normal, other_normal, factor, vectors, curve, residual, jacobian = work
    gradient, target, step, trial, other_gradient = vectors
    least = NEGLIGIBLE_SQUARE * signal.size
    squares, damping = np.inf, pieces.FIRST_DAMPING
    step[:] = 0.0
    for iteration in range(max_iterations + 1):
        if iteration > 0 and not pieces.bounded_step(
            normal, gradient, parameters, lower, upper, damping, free, factor, target, step
        ):
            damping = max(8.0 * damping, pieces.FIRST_DAMPING)
            if damping > pieces.MOST_DAMPING:
                return squares, iteration, False
            continue
        pieces.take_step(parameters, step, lower, upper, trial)
        evaluate(model, trial, offset_ppm, scales, recovery_s, squared, curve, jacobian)
        new_squares = _products(signal, curve, jacobian, residual, other_normal, other_gradient)
        decrease = squares - new_squares
        small = flat = False
        if iteration > 0:
            small = pieces.settled(parameters, step, scale, tolerance)
            predicted = pieces.predicted_decrease(normal, gradient, step)
            flat = decrease >= 0.0 and damping <= 1.0 and predicted <= LEAST_GAIN * squares + least
            damping = pieces.next_damping(damping, decrease, predicted)
        if decrease >= 0.0:
            parameters[:] = trial
            squares = new_squares
            normal[:] = other_normal
            gradient[:] = other_gradient
        if small or flat:
            return squares, iteration, True
    return squares, max_iterations, False


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_from(model, given, starts, reached, free, work, pattern, best):
    """A few steps from each start, on the square of the signal; the best few to the end, on the signal.

    starts : (k, p) float64 of field and shift, which get the rest; best : (p,) float64, the minimum
    reached, pattern : (k,) and (n,) workspace
    """
    signal, powers, offset_ppm, scales, recovery_s, limits = given
    lower, upper, scale, max_iterations, tolerance = limits
    jacobian = work[6]
    n_starts, used, least, hopeless, converged = starts.shape[0], 0, np.inf, np.inf, False
    reached[n_starts:] = np.inf
    for run in range(n_starts + N_FOLLOWED + 1):
        first = run < n_starts
        start, steps = run, FIRST_STEPS
        if run == n_starts:
            hopeless = HOPELESS * np.min(reached)
        if first:
            tip_pattern(starts[start], offset_ppm, scales, pattern, jacobian[0], jacobian[1])
            if model == FREE_AMPLITUDES:
                _amplitudes(signal, pattern, starts[start])
            else:
                _relaxation(signal, pattern, recovery_s, lower[2], upper[2], starts[start])
            for j in range(lower.size):
                starts[start, j] = min(max(starts[start, j], lower[j]), upper[j])
        else:
            start, steps = int(np.argmin(reached)), max_iterations
            if run == n_starts + N_FOLLOWED:  # where it ended: the normal matrix there
                start, steps = 0, 0
                starts[0] = best
            elif not reached[start] <= hopeless:
                continue
        bounds = (lower, upper, scale, steps, tolerance)
        data = powers if first else signal
        end, steps, settled = _minimise(
            model, first, data, offset_ppm, scales, recovery_s, bounds, starts[start], free, work
        )
        used += steps
        reached[start] = end if first else np.inf
        if not first and ((end < least and (settled or not converged)) or (settled and not converged)):
            least, converged = end, settled
            best[:] = starts[start]
    return least, used, converged


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_square(signal):
    total = 0.0
    for i in range(signal.size):
        total += signal[i] * signal[i]
    return total / signal.size


@njit(cache=True, nogil=True, error_model="numpy")
def _count_certain_signs(curve, jacobian, noise, normal):
    """The normal matrix with each sample weighed by how certain the sign of its signal is.

    A magnitude within its noise may belong to a signal of either sign, so that it tells less than the
    derivatives say: as much as the square of the mean sign, erf(signal / (sqrt(2) noise)), by trial.
    """
    n = curve.size
    for row in range(jacobian.shape[0]):
        for column in range(row + 1):
            normal[row, column] = 0.0
    for i in range(n):
        weight = 1.0
        if curve[i] < SURE_SIGN * noise:
            sign = math.erf(curve[i] / (math.sqrt(2.0) * noise))
            weight = sign * sign
        for row in range(jacobian.shape[0]):
            for column in range(row + 1):
                normal[row, column] += weight * jacobian[row, i] * jacobian[column, i]


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_tip_patterns(
    model,
    spectra,
    offset_ppm,
    scales,
    recovery_s,
    lower,
    upper,
    scale,
    fields_ut,
    shifts_ppm,
    table,
    max_iterations,
    tolerance,
    values,
    inverse,
    squares,
    iterations,
    state,
):
    """Fit each spectrum from the best places of the table and keep the best minimum.

    model : int; spectra : (m, n) float64, finite; offset_ppm, recovery_s : (n,) float64
    scales : (rad/s per uT, rad/s per ppm, half the pulse in s)
    lower, upper, scale : (p,) float64, bounds, and size near zero below which steps do not matter
    fields_ut : (a,), shifts_ppm : (b,) float64; table : (r, n', a * b) float32, orthonormal in
    n', the next multiple of 4 (and to a constant where amplitudes are free)
    values, inverse : (m, p) float64; inverse is the diagonal of (J'WJ)^-1, NaN at a bound and undetermined;
    W is 1 but for samples within their noise
    squares : (m, 2) float64, sum of squares of the residual and of the spectrum less its mean
    iterations : (m,) int32; state : (m,) uint8, bits of CONVERGED and UNDETERMINED
    """
    m, n = spectra.shape
    p, n_places = lower.size, fields_ut.size * shifts_ppm.size
    padded = table.shape[1]
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        normal, other_normal, factor = np.empty((p, p)), np.empty((p, p)), np.empty((p, p))
        vectors, lines, jacobian = np.empty((5, p)), np.empty((3, n)), np.empty((p, n))
        vector = (vectors[0], vectors[1], vectors[2], vectors[3], vectors[4])
        work = (normal, other_normal, factor, vector, lines[0], lines[1], jacobian)
        powers, centred = np.empty(n), np.zeros((CHUNK, padded), np.float32)
        products, scores = np.empty(TILE, np.float32), np.empty((CHUNK, n_places), np.float32)
        places, free = np.empty(N_STARTS, np.int64), np.empty(p, np.bool_)
        row_best = np.empty(fields_ut.size, np.int64)
        starts, reached = np.empty((N_STARTS, p)), np.empty(N_STARTS)
        begin, end = chunk * CHUNK, min(m, (chunk + 1) * CHUNK)
        for voxel in range(begin, end):
            level = _mean_square(spectra[voxel]) if model == FREE_AMPLITUDES else 0.0
            for i in range(n):
                centred[voxel - begin, i] = np.float32(spectra[voxel, i] * spectra[voxel, i] - level)
        _scores(centred, end - begin, table, products, scores)
        for voxel in range(begin, end):
            signal, total = spectra[voxel], 0.0
            mean = np.mean(signal)
            for i in range(n):
                powers[i] = signal[i] * signal[i]
                total += (signal[i] - mean) * (signal[i] - mean)
            found = _best_places(scores[voxel - begin], shifts_ppm.size, row_best, places)
            for start in range(found):
                starts[start, 0] = fields_ut[places[start] // shifts_ppm.size]
                starts[start, 1] = shifts_ppm[places[start] % shifts_ppm.size]
            limits = (lower, upper, scale, max_iterations, tolerance)
            given = (signal, powers, offset_ppm, scales, recovery_s, limits)
            least, used, converged = _fit_from(
                model, given, starts[:found], reached, free, work, lines[2], values[voxel]
            )
            for j in range(p):
                free[j] = lower[j] < values[voxel, j] < upper[j] and normal[j, j] > 0.0
            if n > p:
                noise = np.sqrt(least / (n - p))
                _count_certain_signs(work[4], jacobian, noise, normal)
            determined = pieces.covariance_diagonal(normal, free, 1.0, factor, inverse[voxel])
            squares[voxel, 0], squares[voxel, 1] = least, total
            iterations[voxel] = used
            state[voxel] = (CONVERGED if converged else 0) + (0 if determined else UNDETERMINED)
