"""Compartment models of a tracer in tissue with blood, averaged over frames, and their derivatives.

Every model is ``(1 - vB) (c1 I(l1) + c2 I(l2)) + vB cb`` of the plasma's convolutions I(l) with exp(-l t) and
the whole blood cb. All rates and K1 are per second; the last two parameters are vB and the delay.

=====  ====================  ============================================================
code   parameters            rates l and weights c
=====  ====================  ============================================================
0      K1, k2                one tissue compartment: K1 I(k2)
1      K1, k2, k3            two, irreversible: K1/(k2 + k3) (k2 I(k2 + k3) + k3 I(0))
2      K1, k2, k3, k4        two: the roots of l^2 - (k2 + k3 + k4) l + k2 k4
=====  ====================  ============================================================
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.frame_convolution import frame_averages

ONE_TISSUE, IRREVERSIBLE, TWO_TISSUE = range(3)

WEIGHT_1, RATE_1, WEIGHT_2, RATE_2 = range(4)
"""Rows of the terms of a model and of their derivatives."""

BASIS_ROWS = 12
"""Curve, slope, I and M of the plasma at the first rate, at the second, and of the blood."""

TINY = 1e-30


@njit(cache=True, nogil=True, error_model="numpy")
def _two_tissue(parameters, terms, slopes):
    k1, k2, k3, k4 = parameters[0], parameters[1], parameters[2], parameters[3]
    total, product = k2 + k3 + k4, k2 * k4
    difference = np.sqrt(max((k2 - k4) * (k2 - k4) + k3 * (k3 + 2.0 * (k2 + k4)), TINY))
    fast = 0.5 * (total + difference)
    slow = product / fast if fast > 0.0 else 0.0
    share = (fast - k3 - k4) / difference
    terms[WEIGHT_1], terms[RATE_1] = k1 * share, fast
    terms[WEIGHT_2], terms[RATE_2] = k1 * (1.0 - share), slow
    slopes[WEIGHT_1, 0], slopes[WEIGHT_2, 0] = share, 1.0 - share
    for j in range(1, 4):
        d_product = (0.0, k4, 0.0, k2)[j]
        d_fast = (fast - d_product) / difference
        d_slow = (d_product - slow) / difference
        d_bound = 0.0 if j == 1 else 1.0
        d_share = (d_fast - d_bound - share * (d_fast - d_slow)) / difference
        slopes[WEIGHT_1, j], slopes[WEIGHT_2, j] = k1 * d_share, -k1 * d_share
        slopes[RATE_1, j], slopes[RATE_2, j] = d_fast, d_slow


@njit(cache=True, nogil=True, error_model="numpy")
def _irreversible(parameters, terms, slopes):
    k1, k2, k3 = parameters[0], parameters[1], parameters[2]
    total = max(k2 + k3, TINY)
    leaving, staying = k2 / total, k3 / total
    terms[WEIGHT_1], terms[RATE_1] = k1 * leaving, total
    terms[WEIGHT_2], terms[RATE_2] = k1 * staying, 0.0
    slopes[WEIGHT_1, 0], slopes[WEIGHT_2, 0] = leaving, staying
    slopes[WEIGHT_1, 1], slopes[WEIGHT_2, 1] = k1 * staying / total, -k1 * staying / total
    slopes[WEIGHT_1, 2], slopes[WEIGHT_2, 2] = -k1 * leaving / total, k1 * leaving / total
    slopes[RATE_1, 1] = slopes[RATE_1, 2] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def tissue_terms(model, parameters, terms, slopes):
    """Weights and rates of a model, their derivatives, and how many exponentials it has.

    parameters : (p,) float64; terms : (4,), slopes : (4, p) float64
    """
    terms[:] = 0.0
    slopes[:] = 0.0
    if model == TWO_TISSUE:
        _two_tissue(parameters, terms, slopes)
        return 2
    if model == IRREVERSIBLE:
        _irreversible(parameters, terms, slopes)
        return 2
    terms[WEIGHT_1], terms[RATE_1] = parameters[0], parameters[1]
    slopes[WEIGHT_1, 0] = slopes[RATE_1, 1] = 1.0
    return 1


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_tissue(
    model, parameters, frames, inflow, blood_known, terms, slopes, basis, space, curve, jacobian
):
    """Weighted average of a model over frames, and its derivatives.

    model : int, code of the table above; parameters : (p,) float64, the last two vB and the delay
    frames : (3, n) float64: start, end, and root of the weight
    inflow : (3, k) float64: time, plasma and whole blood
    blood_known : bool, whether the rows of the blood in `basis` hold already
    terms : (4,), slopes : (4, p), basis : (12, n), space : (3, 18) float64, workspace
    curve : (n,), jacobian : (p, n) float64, written
    """
    p, n = parameters.size, frames.shape[1]
    rates = p - 2
    blood_fraction, delay = parameters[rates], parameters[rates + 1]
    start, end, root = frames[0], frames[1], frames[2]
    time, state, step = inflow[0], space[:, :6], space[0, 6:15]
    own_step = space[1, 6:15]
    count = tissue_terms(model, parameters, terms, slopes)
    for m in range(count):
        rate, out = terms[2 * m + 1], basis[4 * m : 4 * m + 4]
        frame_averages(start, end, time, inflow[1], rate, delay, state, step, own_step, out)
    if not blood_known:
        frame_averages(start, end, time, inflow[2], 0.0, delay, state, step, own_step, basis[8:12])
    tissue = 1.0 - blood_fraction
    for i in range(n):
        plasma, blood, blood_slope = basis[0, i], basis[8, i], basis[9, i]
        inside, lag = 0.0, 0.0
        for m in range(count):
            integral, weight = basis[4 * m + 2, i], terms[2 * m]
            inside += weight * integral
            lag += weight * (terms[2 * m + 1] * integral - plasma)
        curve[i] = root[i] * (tissue * inside + blood_fraction * blood)
        for j in range(rates):
            total = 0.0
            for m in range(count):
                total += slopes[2 * m, j] * basis[4 * m + 2, i]
                total -= terms[2 * m] * slopes[2 * m + 1, j] * basis[4 * m + 3, i]
            jacobian[j, i] = root[i] * tissue * total
        jacobian[rates, i] = root[i] * (blood - inside)
        jacobian[rates + 1, i] = root[i] * (tissue * lag - blood_fraction * blood_slope)


@njit(cache=True, nogil=True, error_model="numpy")
def derived_values(model, parameters, values, gradients):
    """VT and Ki of a model and their gradients; NaN where the model has none.

    values : (2,), gradients : (2, p) float64
    """
    values[:] = np.nan
    gradients[:] = 0.0
    k1, k2 = parameters[0], parameters[1]
    if model == ONE_TISSUE:
        values[0] = k1 / k2
        gradients[0, 0], gradients[0, 1] = 1.0 / k2, -k1 / (k2 * k2)
        return
    k3 = parameters[2]
    total = k2 + k3
    values[1] = k1 * k3 / total
    gradients[1, 0], gradients[1, 1] = k3 / total, -k1 * k3 / (total * total)
    gradients[1, 2] = k1 * k2 / (total * total)
    if model == TWO_TISSUE:
        k4 = parameters[3]
        ratio = 1.0 + k3 / k4
        values[0] = k1 / k2 * ratio
        gradients[0, 0], gradients[0, 1] = ratio / k2, -k1 / (k2 * k2) * ratio
        gradients[0, 2], gradients[0, 3] = k1 / (k2 * k4), -k1 * k3 / (k2 * k4 * k4)
