"""Models of an agent's passage through tissue, and how they change with their parameters.

Every model is ``C = c1 I(l1) + c2 I(l2) + w cp`` of the plasma curve cp and its convolutions I(l) with
exp(-l t), so that a model is no more than its three weights and two rates, and their derivatives.
All rates, Ktrans, PS and plasma flow Fp are per second.

=====  ==========================  ================================================================
code   parameters                  model
=====  ==========================  ================================================================
0      Ktrans, ve                  Tofts: Ktrans I(Ktrans/ve)
1      Ktrans, ve, vp              extended Tofts: the same + vp cp
2      PS, vp                      Patlak: PS I(0) + vp cp
3      Fp, PS, ve, vp              two compartments with exchange
4      Fp, PS, vp                  two compartments, uptake only
=====  ==========================  ================================================================
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.convolution import convolve, convolve_shifted

TOFTS, EXTENDED_TOFTS, PATLAK, EXCHANGE, UPTAKE = range(5)

WEIGHT_1, RATE_1, WEIGHT_2, RATE_2, PLASMA = range(5)
"""Rows of the terms of a model and of their derivatives."""


@njit(cache=True, nogil=True, error_model="numpy")
def _tofts(parameters, terms, slopes):
    ktrans, ve = parameters[0], parameters[1]
    terms[WEIGHT_1], terms[RATE_1] = ktrans, ktrans / ve
    slopes[WEIGHT_1, 0] = 1.0
    slopes[RATE_1, 0] = 1.0 / ve
    slopes[RATE_1, 1] = -ktrans / (ve * ve)


@njit(cache=True, nogil=True, error_model="numpy")
def _exchange(parameters, terms, slopes):
    """Two exponentials whose rates are the roots of K^2 - (kp + ke) K + ke kb."""
    fp, ps, ve, vp = parameters[0], parameters[1], parameters[2], parameters[3]
    kp, ke, kb = (fp + ps) / vp, ps / ve, fp / vp
    difference = np.sqrt((kp - ke) * (kp - ke) + 4.0 * ke * ps / vp)
    fast = 0.5 * (kp + ke + difference)
    slow = ke * kb / fast
    share = (kb - slow) / difference
    terms[WEIGHT_1], terms[RATE_1] = fp * share, fast
    terms[WEIGHT_2], terms[RATE_2] = fp * (1.0 - share), slow
    for j in range(4):
        d_fp = 1.0 if j == 0 else 0.0
        d_kp = (1.0 / vp, 1.0 / vp, 0.0, -kp / vp)[j]
        d_ke = (0.0, 1.0 / ve, -ke / ve, 0.0)[j]
        d_kb = (1.0 / vp, 0.0, 0.0, -kb / vp)[j]
        d_sum, d_product = d_kp + d_ke, d_ke * kb + ke * d_kb
        d_fast = (fast * d_sum - d_product) / difference
        d_slow = (d_product - slow * d_sum) / difference
        d_share = (d_kb - d_slow - share * (d_fast - d_slow)) / difference
        slopes[WEIGHT_1, j] = d_fp * share + fp * d_share
        slopes[RATE_1, j] = d_fast
        slopes[WEIGHT_2, j] = d_fp * (1.0 - share) - fp * d_share
        slopes[RATE_2, j] = d_slow


@njit(cache=True, nogil=True, error_model="numpy")
def _uptake(parameters, terms, slopes):
    fp, ps, vp = parameters[0], parameters[1], parameters[2]
    total = fp + ps
    passing, staying = fp / total, ps / total
    terms[WEIGHT_1], terms[RATE_1] = fp * passing, total / vp
    terms[WEIGHT_2], terms[RATE_2] = fp * staying, 0.0
    slopes[WEIGHT_1, 0] = passing * (1.0 + staying)
    slopes[WEIGHT_1, 1] = -passing * passing
    slopes[WEIGHT_2, 0] = staying * staying
    slopes[WEIGHT_2, 1] = passing * passing
    slopes[RATE_1, 0] = slopes[RATE_1, 1] = 1.0 / vp
    slopes[RATE_1, 2] = -total / (vp * vp)


@njit(cache=True, nogil=True, error_model="numpy")
def terms_of(model, parameters, terms, slopes):
    """Weights and rates of a model, their derivatives, and how many exponentials it has.

    parameters : (p,) float64; terms : (5,), slopes : (5, p) float64
    """
    terms[:] = 0.0
    slopes[:] = 0.0
    if model == EXCHANGE:
        _exchange(parameters, terms, slopes)
        return 2
    if model == UPTAKE:
        _uptake(parameters, terms, slopes)
        return 2
    if model == PATLAK:
        terms[WEIGHT_1] = parameters[0]
        slopes[WEIGHT_1, 0] = 1.0
        terms[PLASMA] = parameters[1]
        slopes[PLASMA, 1] = 1.0
        return 1
    _tofts(parameters, terms, slopes)
    if model == EXTENDED_TOFTS:
        terms[PLASMA] = parameters[2]
        slopes[PLASMA, 2] = 1.0
    return 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _combine(terms, slopes, n_exponentials, delayed, basis, curve, jacobian):
    """Curve and Jacobian from the basis: plasma, its slope, I and M of each exponential."""
    plasma, gradient = basis[0], basis[1]
    integral, moment, second, second_moment = basis[2], basis[3], basis[4], basis[5]
    one, two, w = terms[WEIGHT_1], terms[WEIGHT_2], terms[PLASMA]
    n, p = curve.size, slopes.shape[1]
    for i in range(n):
        curve[i] = one * integral[i] + w * plasma[i]
    for j in range(p):
        row = jacobian[j]
        a, b, c = slopes[WEIGHT_1, j], -one * slopes[RATE_1, j], slopes[PLASMA, j]
        for i in range(n):
            row[i] = a * integral[i] + b * moment[i] + c * plasma[i]
    if n_exponentials == 2:
        for i in range(n):
            curve[i] += two * second[i]
        for j in range(p):
            row = jacobian[j]
            a, b = slopes[WEIGHT_2, j], -two * slopes[RATE_2, j]
            for i in range(n):
                row[i] += a * second[i] + b * second_moment[i]
    if delayed:
        row = jacobian[p]
        a, b = one * terms[RATE_1], two * terms[RATE_2]
        for i in range(n):
            row[i] = a * integral[i] - (one + two) * plasma[i] - w * gradient[i]
        if n_exponentials == 2:
            for i in range(n):
                row[i] += b * second[i]


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(model, parameters, time, knots, plasma, delayed, shared, terms, slopes, basis, curve, jacobian):
    """Concentration of a model in tissue and its derivatives.

    model : int, code of the table above
    parameters : (p,) float64; the last one is the delay of the plasma curve where `delayed`
    time : (n,) float64; knots, plasma : (k,) float64, times and values of the plasma curve
    shared : bool, whether knots are the same as time
    terms : (5,), slopes : (5, p without delay), basis : (6, n) float64, workspace; where `shared` and not
    `delayed`, basis[0] must hold the plasma curve
    curve : (n,), jacobian : (p, n) float64, written
    """
    n_exponentials = terms_of(model, parameters, terms, slopes)
    for m in range(n_exponentials):
        rate = terms[RATE_1] if m == 0 else terms[RATE_2]
        integral, moment = basis[2 + 2 * m], basis[3 + 2 * m]
        if delayed or not shared:
            delay = parameters[parameters.size - 1] if delayed else 0.0
            convolve_shifted(time, knots, plasma, rate, delay, basis[0], basis[1], integral, moment)
        else:
            convolve(time, plasma, rate, integral, moment)
    _combine(terms, slopes, n_exponentials, delayed, basis, curve, jacobian)
