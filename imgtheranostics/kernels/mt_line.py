"""Saturation of bound protons: rate w1^2 g(dw) with the line of Lorentz or the super-Lorentzian one.

The super-Lorentzian line is an average over orientations, with a pole in the middle. Inside 1 ppm it is
continued by the cubic Hermite polynomial that meets value and slope at both ends.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NONE, LORENTZIAN, SUPER_LORENTZIAN = 0, 1, 2

_PLACES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_VANISHED = 40.0
"""Exponent at which a Gaussian is nothing."""


@njit(cache=True, nogil=True, error_model="numpy")
def super_lorentzian(detuning, t2_s):
    """The line g and its slope by the detuning, s and s^2, without a cut; detuning in rad/s, not zero.

    With v = 3u^2 - 1 and |v| = exp(-t) the average over u has smooth integrands on both sides of the magic
    angle; sqrt(t) as variable takes away the end point at u = 0.
    """
    spread = abs(detuning) * t2_s
    value, slope = 0.0, 0.0
    end = 0.5 * np.log(_VANISHED / (2.0 * spread * spread))
    for side in range(2):
        start = -np.log(2.0) if side == 0 else 0.0
        if end <= start:
            continue
        length = end - start if side == 0 else np.sqrt(end)
        for i in range(_PLACES.size):
            place = 0.5 * length * (1.0 + _PLACES[i])
            if side == 0:
                logarithm = start + place
                weight = 1.0 / np.sqrt(1.0 + np.exp(-logarithm))
            else:
                logarithm = place * place
                shorter = -np.expm1(-logarithm)
                weight = 2.0 * place / np.sqrt(shorter) if shorter > 0.0 else 2.0
            exponent = 2.0 * spread * spread * np.exp(2.0 * logarithm)
            term = 0.5 * length * _WEIGHTS[i] * weight * np.exp(-exponent)
            value += term
            slope -= 2.0 * exponent * term
    scale = np.pi * np.sqrt(2.0 / np.pi) * t2_s / (2.0 * np.sqrt(3.0))
    return scale * value, scale * slope / detuning


@njit(cache=True, nogil=True, error_model="numpy")
def saturation_rate(line, detuning, larmor, t2_s):
    """The line g at a detuning, s: what is multiplied with the square of the nutation rate.

    line : int, NONE, LORENTZIAN or SUPER_LORENTZIAN; detuning : rad/s of the pulse from the pool
    larmor : rad/s in one ppm; t2_s : s
    """
    if line == LORENTZIAN:
        return t2_s / (1.0 + (detuning * t2_s) ** 2)
    if line == SUPER_LORENTZIAN:
        distance = max(abs(detuning), larmor)
        value, slope = super_lorentzian(distance, t2_s)
        return value - 0.5 * slope * distance * (1.0 - (detuning / distance) ** 2)
    return 0.0
