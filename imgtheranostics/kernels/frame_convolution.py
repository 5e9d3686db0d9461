"""Exact averages over frames of a piecewise-linear curve and of its convolution with a decaying exponential.

As in `imgtheranostics.kernels.convolution` the curve is a straight line between two samples, zero before the
first one, constant after the last one. Beside ``I(s) = int_0^s c(u) exp(-rate (s - u)) du`` and its moment
``M = -dI/drate`` their integrals over time are carried along, so that an average over a frame is the
difference of two of them: no frame is sampled at its middle. All steps are sums of positive terms, without
cancellation for slow rates.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.convolution import SAME_STEP

N_TERMS = 20
"""Terms of the series for x < 1: the last one is below 1e-19."""

CURVE, AREA, INTEGRAL, MOMENT, INTEGRAL_AREA, MOMENT_AREA = range(6)
"""Rows of the state at a time: the curve and its integral, I, M, and the integrals of those."""

WEIGHTS = 9


@njit(cache=True, nogil=True, error_model="numpy")
def exponential_integrals(x):
    """exp(-x) and the integrals of v^k exp(-x v) over v from 0 to 1 for k = 0, 1, 2, 3; x >= 0."""
    decay = np.exp(-x)
    if x < 1.0:
        # The closed forms lose all figures for small x: a series for the last, the others backwards.
        term, third = 1.0, 0.25
        for m in range(1, N_TERMS):
            term *= -x / m
            third += term / (m + 4)
        second = (x * third + decay) / 3.0
        first = 0.5 * (x * second + decay)
        zeroth = x * first + decay
    else:
        zeroth = (1.0 - decay) / x
        first = (zeroth - decay) / x
        second = (2.0 * first - decay) / x
        third = (3.0 * second - decay) / x
    return decay, zeroth, first, second, third


@njit(cache=True, nogil=True, error_model="numpy")
def _step_weights(rate, step, weights):
    """What a step makes of the state and of the samples at its ends."""
    decay, zeroth, first, second, third = exponential_integrals(rate * step)
    weights[0] = decay
    weights[1], weights[2] = step * first, step * (zeroth - first)
    weights[3], weights[4] = step * step * second, step * step * (first - second)
    weights[5], weights[6] = step * zeroth, step * step * first
    # Integrals of the sample at the far end and of the difference to it, over the step.
    weights[7], weights[8] = 0.5 * step * step * (zeroth - second), 0.5 * step * step * step * (first - third)


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(state, step, before, now, weights):
    """The state at the end of a step of straight line from `before` to `now`."""
    integral, moment = state[INTEGRAL], state[MOMENT]
    falling = step * weights[2]
    # The sample at the far end counts with (1 - v), the difference to it with (1 - v^2)/2.
    state[INTEGRAL_AREA] += weights[5] * integral + now * falling + (before - now) * weights[7]
    state[MOMENT_AREA] += (
        weights[5] * moment + weights[6] * integral + now * step * weights[4] + (before - now) * weights[8]
    )
    state[AREA] += 0.5 * step * (before + now)
    state[MOMENT] = weights[0] * (moment + step * integral) + weights[3] * before + weights[4] * now
    state[INTEGRAL] = weights[0] * integral + weights[1] * before + weights[2] * now
    state[CURVE] = now


@njit(cache=True, nogil=True, error_model="numpy")
def frame_averages(start, end, time, values, rate, delay, state, weights, own_weights, out):
    """Averages over frames of the curve, less a delay, and of I and M; `values` are its samples.

    start, end : (n,) float64; frames that follow each other; one without length is an instant
    time, values : (k,) float64, increasing
    rate, delay : float, rate >= 0 in the inverse unit of time; a delay may be negative
    state : (3, 6), weights, own_weights : (9,) float64, workspace
    out : (4, n) float64, written: curve, its slope, I and M
    """
    n_knots = time.size
    at_knot, here, opened = state[0], state[1], state[2]
    at_knot[:] = 0.0
    at_knot[CURVE] = values[0]
    knot, last, last_part, gradient = 0, -1.0, -1.0, 0.0
    for i in range(start.size):
        for side in range(2):
            place = (start[i] if side == 0 else end[i]) - delay
            if side == 1 and end[i] == start[i]:
                continue
            gradient = 0.0
            if place < time[0]:
                here[:] = 0.0
            else:
                while knot + 1 < n_knots and time[knot + 1] <= place:
                    step = time[knot + 1] - time[knot]
                    if abs(step - last) > SAME_STEP * step:
                        _step_weights(rate, step, weights)
                        last = step
                    _advance(at_knot, step, values[knot], values[knot + 1], weights)
                    knot += 1
                here[:] = at_knot
                rest = place - time[knot]
                if knot + 1 < n_knots:
                    gradient = (values[knot + 1] - values[knot]) / (time[knot + 1] - time[knot])
                if rest > 0.0:
                    if abs(rest - last_part) > SAME_STEP * rest:
                        _step_weights(rate, rest, own_weights)
                        last_part = rest
                    _advance(here, rest, values[knot], values[knot] + gradient * rest, own_weights)
            if side == 0:
                opened[:] = here
        length = end[i] - start[i]
        if length > 0.0:
            out[0, i] = (here[AREA] - opened[AREA]) / length
            out[1, i] = (here[CURVE] - opened[CURVE]) / length
            out[2, i] = (here[INTEGRAL_AREA] - opened[INTEGRAL_AREA]) / length
            out[3, i] = (here[MOMENT_AREA] - opened[MOMENT_AREA]) / length
        else:
            out[0, i], out[1, i] = opened[CURVE], gradient
            out[2, i], out[3, i] = opened[INTEGRAL], opened[MOMENT]
