"""One tissue compartment with blood in every voxel, the delay being known: basis functions, then the rate.

The curve is ``a f + b B(u)`` with the blood f, the plasma's convolution B with exp(-k2 t), and u = log(k2);
a = vB and b = (1 - vB) K1 are not below zero. A table holds B and dB/du at equal steps of u, between which
B is the cubic of their values and slopes. The best row starts a search for u alone, with a and b by linear
least squares at every u (variable projection). What this cannot tell is left to the general fit.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.basis_rows import interpolated
from imgtheranostics.kernels.compartment_fit import CONVERGED, UNDETERMINED, report_fit
from imgtheranostics.kernels.compartment_models import ONE_TISSUE
from imgtheranostics.kernels.curve_products import dot, explained_by_two, normal_equations

CHUNK = 64
"""Curves per task: the workspace of a task serves them all."""

LEFT = 4
"""State of a curve that is left to the general fit."""

STRIDE = 2
"""Of the rows of the table that a start is chosen from."""

MOST_STEPS = 30
SETTLED = 1e-7
"""Change of u that no longer matters: a relative one of k2."""

FLAT = 1e-12
"""The same of the sum of squares, promised by a step."""

ROUNDING = 1e-20
"""Share of the squares of a curve that is nothing but rounding."""

MOST_BLOOD = 0.999
"""Blood fraction above which nothing is left of the tissue."""

BLOOD, TISSUE, OWN, ALONG = range(4)
"""Weights a and b, square of the slope along u beside the regressors, and its product with the rest."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _projected(curve, blood, square, along_blood, basis, change, moments):
    """Least squares with weights not below zero at one rate: the sum of squares, and `moments`.

    square, along_blood : squares of the blood and its product with the curve; 0 where its weight is known
    """
    n = curve.size
    bb, by, fb, bs, fs = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        bb += basis[i] * basis[i]
        by += basis[i] * curve[i]
        fb += basis[i] * blood[i]
        bs += basis[i] * change[i]
        fs += blood[i] * change[i]
    _, a, b = explained_by_two(square, bb, fb, along_blood, by)
    p, q = 0.0, bs / bb
    if a > 0.0 and b > 0.0:
        determinant = square * bb - fb * fb
        p, q = (bb * fs - fb * bs) / determinant, (square * bs - fb * fs) / determinant
    squares, own, along = 0.0, 0.0, 0.0
    for i in range(n):
        rest = curve[i] - a * blood[i] - b * basis[i]
        slope = b * (change[i] - p * blood[i] - q * basis[i])
        squares += rest * rest
        own += slope * slope
        along += slope * rest
    moments[BLOOD], moments[TISSUE], moments[OWN], moments[ALONG] = a, b, own, along
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def _best_row(curve, table, gram, square, along_blood):
    """Row of the table that explains most with weights not below zero; -1 where tissue explains nothing."""
    best, row = 0.0, -1
    for j in range(0, table.shape[0], STRIDE):
        by = dot(table[j], curve)
        explained, _, b = explained_by_two(square, gram[j, 1], gram[j, 0], along_blood, by)
        if b > 0.0 and explained > best:
            best, row = explained, j
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def _search(curve, blood, square, along_blood, table, slopes, step, row, lines, moments):
    """The place beside a row that leaves least: its sum of squares, the place, and whether it is settled."""
    basis, change = lines[0], lines[1]
    low, high = max(row - STRIDE, 0.0), min(row + STRIDE, table.shape[0] - 1.0)
    place, steps, settled = float(row), 0, False
    interpolated(table, slopes, step, place, basis, change)
    squares = _projected(curve, blood, square, along_blood, basis, change, moments)
    before, slope_before = place, np.nan
    while steps < MOST_STEPS and not settled:
        slope = moments[ALONG] * step
        own = moments[OWN] * step * step
        # After one step the change of the slope knows the curvature that Gauss and Newton leave out.
        bend = (slope_before - slope) / (place - before)
        if not bend > 0.1 * own:
            bend = own
        move = slope / bend if bend > 0.0 else 0.0
        span = min(max(place + move, low), high) - place
        settled = abs(span) * step < SETTLED or abs(span * slope) <= FLAT * squares
        while not settled:
            steps += 1
            interpolated(table, slopes, step, place + span, basis, change)
            left = _projected(curve, blood, square, along_blood, basis, change, moments)
            if left <= squares:
                before, slope_before = place, slope
                place, squares = place + span, left
                break
            span *= 0.25
            if abs(span) * step < SETTLED or steps >= MOST_STEPS:
                settled = abs(span) * step < SETTLED
                interpolated(table, slopes, step, place, basis, change)
                squares = _projected(curve, blood, square, along_blood, basis, change, moments)
                break
    return squares, place, settled


@njit(cache=True, nogil=True, error_model="numpy")
def _at_rest(curve, blood, square, along_blood, table, lines, moments):
    """The fit at k2 = 0, and whether no rate above it is better."""
    still, moment = table[0], table[1]
    lines[0][:] = still
    lines[1][:] = 0.0
    squares = _projected(curve, blood, square, along_blood, lines[0], lines[1], moments)
    a, b = moments[BLOOD], moments[TISSUE]
    uphill = 0.0
    for i in range(curve.size):
        uphill += moment[i] * (curve[i] - a * blood[i] - b * still[i])
    return squares, uphill >= 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fitted(curve, blood, square, along_blood, table, slopes, rest_table, first, step, row, lines, moments):
    """The fit from a row of the table: sum of squares, k2 (infinity at the last row, 0 without
    tissue), and whether it is settled.
    """
    if row < 0:
        moments[BLOOD] = max(along_blood, 0.0) / square if square > 0.0 else 0.0
        moments[TISSUE] = 0.0
        lines[0][:] = table[0]
        lines[1][:] = 0.0
        return max(dot(curve, curve) - moments[BLOOD] * along_blood, 0.0), 0.0, True
    left, place, settled = _search(
        curve, blood, square, along_blood, table, slopes, step, row, lines, moments
    )
    if place >= table.shape[0] - 1.0:
        return left, np.inf, settled
    if place > 0.0:
        return left, np.exp(first + step * place), settled
    left, settled = _at_rest(curve, blood, square, along_blood, rest_table, lines, moments)
    return left, 0.0, settled


@njit(cache=True, nogil=True, error_model="numpy")
def _jacobian(parameters, blood, basis, change, jacobian):
    """Derivatives of the curve along K1, k2, vB; `change` is that of B along k2."""
    tissue = 1.0 - parameters[2]
    for i in range(blood.size):
        jacobian[0, i] = tissue * basis[i]
        jacobian[1, i] = tissue * parameters[0] * change[i]
        jacobian[2, i] = blood[i] - parameters[0] * basis[i]
        jacobian[3, i] = 0.0


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def fit_one_tissue(
    curves,
    blood,
    root,
    table,
    slopes,
    gram,
    rest_table,
    first,
    step,
    lower,
    upper,
    freedom,
    values,
    variances,
    derived,
    squares,
    iterations,
    state,
):
    """Fit each curve; rates per second.

    curves : (m, n) float64, finite, times the root of the weights; blood, root : (n,) likewise
    table, slopes : (j, n) float64, B and dB/du times the root; gram : (j, 2), products of B with f and itself
    rest_table : (2, n) float64, B and -dB/dk2 at k2 = 0 times the root
    first, step : float, log of the first rate and its steps, which end at the bound of k2
    lower, upper : (4,) float64, bounds of K1, k2, vB and the delay, equal for what is known
    freedom : int, degrees of freedom
    values, variances : (m, 4), derived : (m, 4), squares : (m, 2) float64, iterations : (m,) int32 and
    state : (m,) uint8, written as by `imgtheranostics.kernels.compartment_fit.fit_compartments`; curves of
    the state LEFT have no results
    """
    m, n = curves.shape
    total_weight = dot(root, root)
    known = lower[2] == upper[2]
    square = 0.0 if known else dot(blood, blood)
    for chunk in prange((m + CHUNK - 1) // CHUNK):
        lines, jacobian, moments = np.empty((3, n)), np.zeros((4, n)), np.empty(4)
        normal, factor, gradient = np.empty((4, 4)), np.empty((4, 4)), np.empty(4)
        free, parameters, slopes_of = np.empty(4, np.bool_), np.empty(4), np.empty((4, 4))
        for c in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            curve = lines[2]
            for i in range(n):
                curve[i] = curves[c, i] - (lower[2] * blood[i] if known else 0.0)
            along_blood = 0.0 if known else dot(blood, curve)
            row = _best_row(curve, table, gram, square, along_blood)
            left, rate, settled = _fitted(
                curve, blood, square, along_blood, table, slopes, rest_table, first, step, row, lines, moments
            )
            rate = min(rate, upper[1])
            tissue = moments[TISSUE]
            if tissue * tissue * dot(lines[0], lines[0]) <= ROUNDING * dot(curve, curve):
                moments[TISSUE] = 0.0
            fraction = lower[2] if known else moments[BLOOD]
            influx = moments[TISSUE] / (1.0 - fraction)
            if not settled or fraction > MOST_BLOOD or influx >= upper[0]:
                state[c] = LEFT
                continue
            parameters[0], parameters[1], parameters[2], parameters[3] = influx, rate, fraction, lower[3]
            if rate > 0.0:
                for i in range(n):
                    lines[1, i] /= rate
            elif row >= 0:
                for i in range(n):
                    lines[1, i] = -rest_table[1, i]
            _jacobian(parameters, blood, lines[0], lines[1], jacobian)
            normal_equations(jacobian, curve, normal, gradient)
            iterations[c] = 1
            determined = report_fit(
                ONE_TISSUE,
                freedom,
                left,
                lower,
                upper,
                parameters,
                free,
                normal,
                factor,
                slopes_of,
                values[c],
                variances[c],
                derived[c],
            )
            state[c] = CONVERGED + (0 if determined else UNDETERMINED)
            mean = dot(curves[c], root) / total_weight
            squares[c, 0], squares[c, 1] = left, 0.0
            for i in range(n):
                squares[c, 1] += (curves[c, i] - mean * root[i]) ** 2
