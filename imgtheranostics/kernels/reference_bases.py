"""Simplified reference-tissue model in every voxel: basis functions, then the rate between them.

The tissue is ``a f + b B(u)`` with the reference f and B its convolution with exp(-rate t), u = log(rate). A
table holds B and dB/du at equal steps of u; between two of them B is the cubic of their values and slopes,
which at a hundred steps over two decades is off by less than 1e-6 of it. The best row of the table starts a
search for u alone: a and b follow by linear least squares for every u (variable projection).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.basis_rows import interpolated
from imgtheranostics.kernels.curve_products import dot

CHUNK = 64
"""Curves per task: the workspace of a task serves them all."""

R1, K2, BINDING, K2A, K2_REFERENCE = range(5)
"""Columns of the results: relative delivery, k2, BP_ND, apparent k2, and k2 of the reference; rates per s."""

N_VALUES = 5

AT_END, UNDETERMINED = 1, 2
"""Bits of the state of a fit."""

MOST_STEPS = 12
SETTLED = 1e-9
"""Change of u that no longer matters."""

LEAST_SHARE = 1e-10


@njit(cache=True, nogil=True, error_model="numpy")
def _best_row(curve, reference, table, gram, square, known, rates):
    """Row of the table that explains most of a curve with both weights, or with one where k2' is known."""
    best, row = -1.0, 0
    f = dot(reference, curve)
    for j in range(table.shape[0]):
        b = dot(table[j], curve)
        ff, fb, bb = square, gram[j, 0], gram[j, 1]
        if known > 0.0:
            c = known - rates[j]
            x, xx = f + c * b, ff + c * (2.0 * fb + c * bb)
            explained = x * x / xx if xx > 0.0 else 0.0
        else:
            determinant = ff * bb - fb * fb
            explained = (bb * f * f - 2.0 * fb * f * b + ff * b * b) / determinant
        if explained > best:
            best, row = explained, j
    return row


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _projected(curve, reference, rate, known, lines, moments):
    """Weights, residual and slope along u of the fit at one rate; sum of squares and determinant.

    lines : (4, n): B, dB/du, residual, slope; B becomes the one regressor where k2' is known
    moments : (4,): weights a and b, square of the slope beside the regressors, and its product with the rest
    """
    basis, change, rest, slope = lines[0], lines[1], lines[2], lines[3]
    n = curve.size
    if known > 0.0:
        for i in range(n):
            change[i] = (known - rate) * change[i] - rate * basis[i]
            basis[i] = reference[i] + (known - rate) * basis[i]
    ff, fb, bb = dot(reference, reference), dot(reference, basis), dot(basis, basis)
    fy, by = dot(reference, curve), dot(basis, curve)
    fs, bs = dot(reference, change), dot(basis, change)
    if known > 0.0:
        determinant = bb
        a, b = 0.0, by / bb
        p, q = 0.0, bs / bb
    else:
        determinant = ff * bb - fb * fb
        a, b = (bb * fy - fb * by) / determinant, (ff * by - fb * fy) / determinant
        p, q = (bb * fs - fb * bs) / determinant, (ff * bs - fb * fs) / determinant
        determinant /= ff
    squares, own, along = 0.0, 0.0, 0.0
    for i in range(n):
        rest[i] = curve[i] - a * reference[i] - b * basis[i]
        slope[i] = b * (change[i] - p * reference[i] - q * basis[i])
        squares += rest[i] * rest[i]
        own += slope[i] * slope[i]
        along += slope[i] * rest[i]
    moments[0], moments[1], moments[2], moments[3] = a, b, own, along
    return squares, determinant / bb


@njit(cache=True, nogil=True, error_model="numpy")
def _search(curve, reference, table, slopes, first, step, row, known, lines, moments):
    """The place between the neighbours of a row that leaves least; place and sum of squares."""
    last = table.shape[0] - 1.0
    low, high = max(row - 1.0, 0.0), min(row + 1.0, last)
    place, span = float(row), 0.0
    interpolated(table, slopes, step, place, lines[0], lines[1])
    squares, _ = _projected(curve, reference, np.exp(first + step * place), known, lines, moments)
    for _ in range(MOST_STEPS):
        move = moments[3] / (moments[2] * step) if moments[2] > 0.0 else 0.0
        target = min(max(place + move, low), high)
        span = target - place
        taken = False
        for _ in range(6):
            if abs(span) * step < SETTLED:
                break
            interpolated(table, slopes, step, place + span, lines[0], lines[1])
            rate = np.exp(first + step * (place + span))
            left, _ = _projected(curve, reference, rate, known, lines, moments)
            if left <= squares:
                place, squares, taken = place + span, left, True
                break
            span *= 0.25
        if not taken:
            break
    interpolated(table, slopes, step, place, lines[0], lines[1])
    squares, own = _projected(curve, reference, np.exp(first + step * place), known, lines, moments)
    return place, squares, own


@njit(cache=True, nogil=True, error_model="numpy")
def _covariance(reference, known, b, lines, jacobian, covariance):
    """Inverse of J'J of a, b and u; those that are not fitted get zeros. False where it is singular."""
    n = reference.size
    for i in range(n):
        jacobian[0, i] = 0.0 if known > 0.0 else reference[i]
        jacobian[1, i] = lines[0, i]
        jacobian[2, i] = b * lines[1, i]
    normal = np.empty((3, 3))
    for row in range(3):
        for column in range(3):
            normal[row, column] = dot(jacobian[row], jacobian[column])
    if known > 0.0:
        normal[0, 0] = 1.0
    a00, a01, a02 = normal[0, 0], normal[0, 1], normal[0, 2]
    a11, a12, a22 = normal[1, 1], normal[1, 2], normal[2, 2]
    c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
    determinant = a00 * c00 + a01 * c01 + a02 * c02
    if not determinant > LEAST_SHARE * a00 * a11 * a22:
        return False
    covariance[0, 0], covariance[0, 1], covariance[0, 2] = c00, c01, c02
    covariance[1, 1] = a00 * a22 - a02 * a02
    covariance[1, 2] = a01 * a02 - a00 * a12
    covariance[2, 2] = a00 * a11 - a01 * a01
    for row in range(3):
        for column in range(row, 3):
            covariance[row, column] /= determinant
            covariance[column, row] = covariance[row, column]
    if known > 0.0:
        covariance[0, 0] = 0.0
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _values(a, b, rate, known, values, gradients):
    """Parameters of the model and their gradients with respect to a, b and u."""
    gradients[:] = 0.0
    if known > 0.0:
        delivery, k2 = b, b * known
        gradients[R1, 1], gradients[K2, 1] = 1.0, known
        gradients[BINDING, 1], gradients[BINDING, 2] = known / rate, -k2 / rate
        values[K2_REFERENCE] = known
    else:
        delivery, k2 = a, b + a * rate
        gradients[R1, 0] = 1.0
        gradients[K2, 0], gradients[K2, 1], gradients[K2, 2] = rate, 1.0, a * rate
        gradients[BINDING, 0], gradients[BINDING, 1], gradients[BINDING, 2] = 1.0, 1.0 / rate, -b / rate
        values[K2_REFERENCE] = k2 / a
        gradients[K2_REFERENCE, 0] = -b / (a * a)
        gradients[K2_REFERENCE, 1], gradients[K2_REFERENCE, 2] = 1.0 / a, rate
    values[R1], values[K2], values[BINDING], values[K2A] = delivery, k2, k2 / rate - 1.0, rate
    gradients[K2A, 2] = rate


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_reference_model(
    curves,
    reference,
    root,
    table,
    slopes,
    gram,
    first,
    step,
    known,
    freedom,
    values,
    variances,
    squares,
    state,
):
    """Fit each curve.

    curves : (m, n) float64, finite, times the root of the weights; reference, root : (n,) likewise
    table, slopes : (j, n) float64, B and dB/du times the root; gram : (j, 2), products of B with f and itself
    first, step : float, log of the first rate (1/s) and its steps; known : float, k2' in 1/s, 0 if unknown
    freedom : int, degrees of freedom
    values, variances : (m, 5) float64, written; variances NaN at an end of the table or where undetermined
    squares : (m, 2) float64, of the residual and of the curve less its weighted mean; state : (m,) uint8
    """
    m, n = curves.shape
    total_weight, square = dot(root, root), dot(reference, reference)
    rates = np.exp(first + step * np.arange(table.shape[0]))
    last = table.shape[0] - 1.0
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        lines, jacobian = np.empty((4, n)), np.empty((3, n))
        moments, covariance, gradients = np.empty(4), np.zeros((3, 3)), np.empty((N_VALUES, 3))
        for c in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            curve = curves[c]
            row = _best_row(curve, reference, table, gram, square, known, rates)
            place, left, _ = _search(curve, reference, table, slopes, first, step, row, known, lines, moments)
            a, b, rate = moments[0], moments[1], np.exp(first + step * place)
            _values(a, b, rate, known, values[c], gradients)
            determined = _covariance(reference, known, b, lines, jacobian, covariance)
            at_end = place <= 0.0 or place >= last
            state[c] = (AT_END if at_end else 0) + (0 if determined else UNDETERMINED)
            variance = left / freedom if freedom > 0 and determined and not at_end else np.nan
            for j in range(N_VALUES):
                total = 0.0
                for k in range(3):
                    for h in range(3):
                        total += gradients[j, k] * covariance[k, h] * gradients[j, h]
                variances[c, j] = variance * max(total, 0.0)
            mean = dot(curve, root) / total_weight
            squares[c, 0], squares[c, 1] = left, 0.0
            for i in range(n):
                squares[c, 1] += (curve[i] - mean * root[i]) ** 2
