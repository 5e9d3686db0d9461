"""Long block pulses, where all that precesses has died away: exp(A t) v by a rational approximation.

The best approximation of exp(-x), x >= 0, by rational functions of order 14 is good to 2e-14 there, and far
from its poles wherever the exponential itself is nothing [1]_. Each of its seven terms is a linear system in
which pools meet water alone, so that it is solved pool by pool.

References
----------
.. [1] M. Pusa, "Rational approximations to the matrix exponential in burnup calculations", Nucl. Sci. Eng.
   169:155 (2011), coefficients as corrected in 2012.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.mt_line import saturation_rate

FRACTION, R1, R2, RATE, SHIFT = range(5)

POLES = np.array(
    [
        -8.8977731864688888199 + 16.630982619902085304j,
        -3.7032750494234480603 + 13.656371871483268171j,
        -0.2087586382501301251 + 10.991260561901260913j,
        3.9933697105785685194 + 6.0048316422350373178j,
        5.0893450605806245066 + 3.5888240290270065102j,
        5.6231425727459771248 + 1.1940690463439669766j,
        2.2697838292311127097 + 8.4617379730402214019j,
    ]
)
RESIDUES = np.array(
    [
        -7.1542880635890672853e-5 + 1.4361043349541300111e-4j,
        9.4390253107361688779e-3 - 1.7184791958483017511e-2j,
        -3.7636003878226968717e-1 + 3.3518347029450104214e-1j,
        -2.3498232091082701191e1 - 5.8083591297142074004j,
        4.6933274488831293047e1 + 4.5643649768827760791e1j,
        -2.7875161940145646468e1 - 1.0214733999056451434e2j,
        4.8071120988325088907 - 1.3209793837428723881j,
    ]
)
AT_INFINITY = 1.8321743782540412751e-14

LEAST_DECAY = 32.0
"""Decay in the pulse of whatever precesses, from which it may be left to the approximation."""


@njit(cache=True, nogil=True, error_model="numpy")
def is_long(pools, n_full, duration):
    """Whether all that precesses decays by exp(-LEAST_DECAY) in the pulse.

    What precesses relaxes with at least the mean of R1 and R2, and leaves a pool by exchange: the smallest
    eigenvalue of the two in their symmetric form is above the least rate where all its pivots are positive.
    """
    least = LEAST_DECAY / duration
    water = 0.5 * (pools[0, R1] + pools[0, R2]) - least
    for p in range(1, pools.shape[0]):
        back = pools[p, RATE] * pools[p, FRACTION] / pools[0, FRACTION]
        if p < n_full:
            pivot = 0.5 * (pools[p, R1] + pools[p, R2]) + pools[p, RATE] - least
            if pivot <= 0.0:
                return False
            water += back - back * pools[p, RATE] / pivot
    return water > 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(a, b, detuning, w, out):
    """Inverse of [[a, -d, 0], [d, a, -w], [0, w, b]], row by row; out (9,) complex."""
    scale = 1.0 / (a * (a * b + w * w) + detuning * detuning * b)
    out[0] = (a * b + w * w) * scale
    out[1] = detuning * b * scale
    out[2] = detuning * w * scale
    out[3] = -out[1]
    out[4] = a * b * scale
    out[5] = a * w * scale
    out[6] = out[2]
    out[7] = -out[5]
    out[8] = (a * a + detuning * detuning) * scale


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_three(matrix, right):
    """Solve a 3 x 3 system without pivots: the shift by a pole keeps the diagonal away from zero."""
    for column in range(2):
        for row in range(column + 1, 3):
            factor = matrix[row, column] / matrix[column, column]
            for j in range(column + 1, 3):
                matrix[row, j] -= factor * matrix[column, j]
            right[row] -= factor * right[column]
    right[2] = right[2] / matrix[2, 2]
    right[1] = (right[1] - matrix[1, 2] * right[2]) / matrix[1, 1]
    right[0] = (right[0] - matrix[0, 1] * right[1] - matrix[0, 2] * right[2]) / matrix[0, 0]


@njit(cache=True, nogil=True, error_model="numpy")
def _terms(pools, n_full, line, larmor, b0, frequency, w, duration, state, sides, rates):
    """Right sides and longitudinal losses that all terms share.

    sides : (k, 3) complex, state over duration; rates : (k, 3) float64, loss of z, exchange
    from the pool and to it
    """
    for p in range(pools.shape[0]):
        detuning = pools[p, SHIFT] + b0 - frequency
        rates[p, 0] = pools[p, R1]
        rates[p, 1] = pools[p, RATE] if p > 0 else 0.0
        rates[p, 2] = rates[p, 1] * pools[p, FRACTION] / pools[0, FRACTION]
        if p >= n_full:
            rates[p, 0] += w * w * saturation_rate(line, -detuning, larmor, 1.0 / pools[p, R2])
        for component in range(3):
            given = component == 2 or p < n_full
            sides[p, component] = state[component * n_full + p, 0] / duration if given else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fold(pool, rates, n_full, p, detuning, w, shift, inverse, side, water, right):
    """Take a pool out of the equations of water: its inverse stays, what it does to water is added there."""
    out, back = rates[p, 1], rates[p, 2]
    b = -rates[p, 0] - out - shift
    if p < n_full:
        _invert(-pool[R2] - out - shift, b, detuning, w, inverse)
    else:
        for entry in range(8):
            inverse[entry] = 0.0
        inverse[8] = 1.0 / b
    for i in range(3):
        for j in range(3):
            water[i, j] -= out * back * inverse[3 * i + j]
            right[i] -= out * inverse[3 * i + j] * side[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _begin(pool, loss, detuning, w, shift, water):
    """The equations of water by itself, (3, 3) complex."""
    for i in range(3):
        for j in range(3):
            water[i, j] = 0.0
    water[0, 0] = -pool[R2] - shift
    water[1, 1] = water[0, 0]
    water[2, 2] = -loss - shift
    water[0, 1], water[1, 0] = -detuning, detuning
    water[1, 2], water[2, 1] = -w, w


@njit(cache=True, nogil=True, error_model="numpy")
def _add(n_full, p, back, inverse, side, water, weight, state):
    """Add what one term says of a pool, once water is known, to the state."""
    for i in range(0 if p < n_full else 2, 3):
        value = 0.0j
        for j in range(3):
            value += inverse[3 * i + j] * (side[j] - back * water[j])
        state[i * n_full + p, 0] += (weight * value).real


@njit(cache=True, nogil=True, error_model="numpy")
def play_long(place, frequency, w, duration, work, state):
    """Send one state through a long block pulse, in the frame of its frequency.

    place : (pools, n_full, line, larmor, b0); w : float, rad/s; state : (2, n, 1) float64, in and out in [0]
    work : ((k, 9), (k, 3), (k + 4, 3) complex128, (k, 3) float64)
    """
    pools, n_full, line, larmor, b0 = place
    inverses, fixed, sides, rates = work
    k, last = pools.shape[0], state.shape[1] - 1
    water, right = sides[k : k + 3], sides[k + 3]
    _terms(pools, n_full, line, larmor, b0, frequency, w, duration, state[0], fixed, rates)
    for i in range(last):
        state[1, i, 0] = AT_INFINITY * state[0, i, 0]
    for term in range(POLES.size):
        shift, weight = POLES[term] / duration, 2.0 * RESIDUES[term]
        _begin(pools[0], rates[0, 0], pools[0, SHIFT] + b0 - frequency, w, shift, water)
        for p in range(k):
            for j in range(3):
                sides[p, j] = fixed[p, j]
            sides[p, 2] += pools[p, R1] * pools[p, FRACTION] / POLES[term]
        for j in range(3):
            right[j] = sides[0, j]
        for p in range(1, k):
            detuning = pools[p, SHIFT] + b0 - frequency
            for j in range(0 if p < n_full else 2, 3):
                water[j, j] -= rates[p, 2]
            _fold(pools[p], rates, n_full, p, detuning, w, shift, inverses[p], sides[p], water, right)
        _solve_three(water, right)
        for i in range(3):
            state[1, i * n_full, 0] += (weight * right[i]).real
        for p in range(1, k):
            _add(n_full, p, rates[p, 2], inverses[p], sides[p], right, weight, state[1])
    for i in range(last):
        state[0, i, 0] = state[1, i, 0]
