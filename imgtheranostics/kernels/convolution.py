"""Exact convolution of a piecewise-linear curve with a decaying exponential, on any increasing times.

Between two samples the curve is a straight line, so that the integral
``I(s) = int_0^s c(u) exp(-rate (s - u)) du`` follows from the sample before by
``I' = I exp(-x) + a c + b c'`` with x = rate * step, without any error of discretisation. The first moment
``M(s) = int_0^s (s - u) c(u) exp(-rate (s - u)) du = -dI/drate`` is carried along for derivatives.
Before its first sample the curve is zero, after its last one it stays as it is.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SAME_STEP = 1e-12
"""Relative difference of two time steps that is rounding."""

N_TERMS = 20
"""Terms of the series for x < 1: the last one is below 1e-19."""


@njit(cache=True, nogil=True, error_model="numpy")
def exponential_moments(x):
    """exp(-x) and the integrals of v^k exp(-x v) over v from 0 to 1 for k = 0, 1, 2; x >= 0."""
    decay = np.exp(-x)
    if x < 1.0:
        # The closed forms lose all figures for small x: a series for the last, the others backwards.
        term, second = 1.0, 1.0 / 3.0
        for m in range(1, N_TERMS):
            term *= -x / m
            second += term / (m + 3)
        first = 0.5 * (x * second + decay)
        zeroth = x * first + decay
    else:
        zeroth = (1.0 - decay) / x
        first = (zeroth - decay) / x
        second = (2.0 * first - decay) / x
    return decay, zeroth, first, second


@njit(cache=True, nogil=True, error_model="numpy")
def step_weights(rate, step):
    """exp(-x), weights of the older and of the newer sample in I, and the same two in M."""
    decay, zeroth, first, second = exponential_moments(rate * step)
    return (
        decay,
        step * first,
        step * (zeroth - first),
        step * step * second,
        step * step * (first - second),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def convolve(time, values, rate, integral, moment):
    """I and M at the samples of the curve itself.

    time, values, integral, moment : (n,) float64; time increasing, rate >= 0 in its inverse unit
    """
    integral[0] = moment[0] = 0.0
    area, area_moment, before = 0.0, 0.0, values[0]
    last = -1.0
    decay = older = newer = older_moment = newer_moment = 0.0
    for i in range(1, time.size):
        step = time[i] - time[i - 1]
        if abs(step - last) > SAME_STEP * step:
            decay, older, newer, older_moment, newer_moment = step_weights(rate, step)
            last = step
        now = values[i]
        # What the new pieces add does not wait for the sums so far: the loop is as long as two products.
        area_moment = decay * area_moment + (
            decay * step * area + (older_moment * before + newer_moment * now)
        )
        area = decay * area + (older * before + newer * now)
        integral[i], moment[i] = area, area_moment
        before = now


@njit(cache=True, nogil=True, error_model="numpy")
def convolve_shifted(wanted, time, values, rate, delay, shifted, slope, integral, moment):
    """The curve, its slope, I and M at wanted times less a delay, which may be negative.

    wanted, shifted, slope, integral, moment : (n,) float64, increasing times and results
    time, values : (k,) float64, samples of the curve
    """
    n = time.size
    knot, area, area_moment = 0, 0.0, 0.0
    last, last_part = -1.0, -1.0
    decay = older = newer = older_moment = newer_moment = 0.0
    part = (1.0, 0.0, 0.0, 0.0, 0.0)
    for i in range(wanted.size):
        place = wanted[i] - delay
        if place < time[0]:
            shifted[i] = slope[i] = integral[i] = moment[i] = 0.0
            continue
        while knot + 1 < n and time[knot + 1] <= place:
            step = time[knot + 1] - time[knot]
            if abs(step - last) > SAME_STEP * step:
                decay, older, newer, older_moment, newer_moment = step_weights(rate, step)
                last = step
            before, now = values[knot], values[knot + 1]
            area_moment = decay * (area_moment + step * area) + older_moment * before + newer_moment * now
            area = decay * area + older * before + newer * now
            knot += 1
        rest = place - time[knot]
        gradient = 0.0
        if knot + 1 < n:
            gradient = (values[knot + 1] - values[knot]) / (time[knot + 1] - time[knot])
        here = values[knot] + gradient * rest
        if abs(rest - last_part) > SAME_STEP * max(rest, 1e-3 * abs(delay)):
            part = step_weights(rate, rest)
            last_part = rest
        shifted[i], slope[i] = here, gradient
        integral[i] = part[0] * area + part[1] * values[knot] + part[2] * here
        moment[i] = part[0] * (area_moment + rest * area) + part[3] * values[knot] + part[4] * here
