"""One voxel at several flip angles in float64: the full-precision path, and the search where blocks give up.

Notation and formulas are those of `imgtheranostics.kernels.vfa`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lanes import CHUNK

LINEAR, WEIGHTED, NONLINEAR = 0, 1, 2
"""Methods: a line, a line with iterated weights, non-linear least squares."""

START_T1_S = 1.0
"""Start where the line gives none."""

MOST_STEPS = 100
"""Steps of the search, or rounds of weights."""

STARTS = 24
"""Places between the ends of the range that are tried when the first start leads to an end."""

TOLERANCE = 1e-10
"""Relative step at which the search has settled."""

LARGEST_Q = 1.0 - 1e-7
"""T1 below TR/16 leaves no trace in the signal."""

_MASKED_OUT, _INVALID_INPUT, _NOT_CONVERGED, _OUTSIDE_RANGE = 1, 4, 16, 32
_ILL_CONDITIONED, _INVALID_B1 = 64, 1024


@njit(cache=True, nogil=True, error_model="numpy")
def _line(work, weighted, q):
    """q, M, mean x and sum of squares of x of the line; weights h^2 at the q given."""
    n = work.shape[1]
    total, mean_x, mean_d = 0.0, 0.0, 0.0
    for i in range(n):
        s, v = work[1, i], work[2, i]
        h = s / (v + q * (1.0 - v))
        weight = h * h if weighted else 1.0
        work[3, i] = weight
        total += weight
        mean_x += weight * work[0, i] / s * (1.0 - v)
        mean_d += weight * work[0, i] / s * v
    mean_x /= total
    mean_d /= total
    sxx, sxd = 0.0, 0.0
    for i in range(n):
        s, v = work[1, i], work[2, i]
        x = work[0, i] / s * (1.0 - v) - mean_x
        sxx += work[3, i] * x * x
        sxd += work[3, i] * x * (work[0, i] / s * v - mean_d)
    q = -sxd / sxx
    return q, mean_d + q * mean_x, mean_x, sxx


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(work, q):
    """S.h, h.h, S.ht, h.ht, ht.ht, S.ht^2."""
    a0, b0, a1, b1, b2, a2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(work.shape[1]):
        c = 1.0 - work[2, i]
        share = 1.0 / (work[2, i] + q * c)
        h = work[1, i] * share
        t = c * share
        yh = work[0, i] * h
        a0 += yh
        b0 += h * h
        a1 += yh * t
        b1 += h * h * t
        b2 += h * h * t * t
        a2 += yh * t * t
    return a0, b0, a1, b1, b2, a2


@njit(cache=True, nogil=True, error_model="numpy")
def _explained(work, q):
    """(S.h)^2 / h.h, what the model explains of the sum of squared signals."""
    a0, b0 = 0.0, 0.0
    for i in range(work.shape[1]):
        h = work[1, i] / (work[2, i] + q * (1.0 - work[2, i]))
        a0 += work[0, i] * h
        b0 += h * h
    return a0 * a0 / b0


@njit(cache=True, nogil=True, error_model="numpy")
def _climb(work, q, low, high):
    """Newton steps that never explain less, within [low, high]; place, steps, whether it settled."""
    value = _explained(work, q)
    for step in range(1, MOST_STEPS + 1):
        a0, b0, a1, b1, b2, a2 = _sums(work, q)
        mean_a, mean_b = a1 / a0, b1 / b0
        spread = b2 / b0 - mean_b * mean_b
        curvature = mean_a * mean_a - 2.0 * a2 / a0 + 3.0 * b2 / b0 - 2.0 * mean_b * mean_b
        if not curvature > 0.3 * spread:
            curvature = spread
        change = (mean_b - mean_a) / curvature
        change = min(max(change, -0.9 * q), 9.0 * q)
        for _ in range(40):
            target = min(max(q + change, low), high)
            reached = _explained(work, target)
            if reached >= value * (1.0 - 1e-14):
                break
            change *= 0.5
        moved = abs(target - q)
        q, value = target, reached
        if not moved > TOLERANCE * q:
            return q, step, value == value
    return q, MOST_STEPS, False


@njit(cache=True, nogil=True, error_model="numpy")
def _search(work, q, low, high):
    """The q that explains most; from other starts as well when the first leads to an end of the range."""
    if not (q > low and q < high):
        q = low * math.sqrt(high / low)
    q, steps, settled = _climb(work, q, low, high)
    if settled and q > low and q < high:
        return q, steps, settled
    best, value = q, _explained(work, q)
    for start in range(1, STARTS):
        place = low * (high / low) ** (start / STARTS)
        explained = _explained(work, place)
        if explained > value:
            best, value = place, explained
    if best != q:
        q, more, settled = _climb(work, best, low, high)
        steps += more
    return q, steps, settled


@njit(cache=True, nogil=True, error_model="numpy")
def _rounds_of_weights(work, q):
    """The weighted line until its slope stays; slope, intercept, rounds, whether it settled."""
    amplitude = np.nan
    for step in range(1, MOST_STEPS + 1):
        before = q
        q, amplitude, _, _ = _line(work, True, before)
        if abs(q - before) <= TOLERANCE * abs(q):
            return q, amplitude, step, True
        if not (q > 0.0 and q < 1.0):
            return q, amplitude, step, True
    return q, amplitude, MOST_STEPS, False


@njit(cache=True, nogil=True, error_model="numpy")
def _report(work, q, amplitude, repetition_time, out):
    """T1, S0, their standard errors by Gauss and Newton, R^2 and RMSE; also the sum of squares."""
    n = work.shape[1]
    _, b0, _, b1, b2, _ = _sums(work, q)
    mean = 0.0
    for i in range(n):
        mean += work[0, i] / n
    squares, around = 0.0, 0.0
    for i in range(n):
        h = work[1, i] / (work[2, i] + q * (1.0 - work[2, i]))
        squares += (work[0, i] - amplitude * h) ** 2
        around += (work[0, i] - mean) ** 2
    t1 = -repetition_time / math.log1p(-q)
    mean_t = b1 / b0
    spread = b2 / b0 - mean_t * mean_t
    deviation = math.sqrt(squares / (n - 2) / (b0 * spread)) if n > 2 else np.nan
    out[0] = t1
    out[1] = amplitude / q
    out[2] = t1 * t1 / (repetition_time * (1.0 - q) * amplitude) * deviation
    out[3] = deviation * math.sqrt(spread + (mean_t - 1.0 / q) ** 2) / q
    out[4] = 1.0 - squares / around if around > 1e-28 * mean * mean else math.nan
    out[5] = math.sqrt(squares / n)
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def _line_errors(work, q, amplitude, mean_x, sxx, squares, repetition_time, out):
    """Standard errors of the unweighted line, as in `imgtheranostics.kernels.vfa`."""
    n = work.shape[1]
    _, b0, _, b1, b2, _ = _sums(work, q)
    qq, qm, mm = 0.0, 0.0, 0.0
    for i in range(n):
        s, c = work[1, i], 1.0 - work[2, i]
        lift = (work[2, i] + q * c) / s
        to_q = (mean_x - work[0, i] * c / s) * lift / sxx
        to_m = lift / n + mean_x * to_q
        qq += to_q * to_q
        qm += to_q * to_m
        mm += to_m * to_m
    trace = amplitude**2 * b2 * qq - 2.0 * amplitude * b1 * qm + b0 * mm
    noise = squares / (n - 4 + trace) if n > 2 else np.nan
    out[2] = out[0] ** 2 / (repetition_time * (1.0 - q)) * math.sqrt(noise * qq)
    out[3] = math.sqrt(noise * (mm - 2.0 * out[1] * qm + out[1] ** 2 * qq)) / q


@njit(cache=True, nogil=True, error_model="numpy")
def solve_voxel(work, flip_rad, b1, repetition_time, method, longest, out):
    """One voxel; steps used and the flag, 0 when it succeeded.

    work : (4, n) float64; row 0 holds the signal, the others are scratch
    out : (6,) float64, as the rows of `imgtheranostics.kernels.vfa`; NaN where it fails
    """
    n = work.shape[1]
    out[:] = np.nan
    if not b1 > 0.0 or not b1 * flip_rad.max() < math.pi:
        return 0, _INVALID_B1
    for i in range(n):
        if not (work[0, i] > 0.0 and work[0, i] < np.inf):
            return 0, _INVALID_INPUT
        work[1, i] = math.sin(b1 * flip_rad[i])
        work[2, i] = 2.0 * math.sin(0.5 * b1 * flip_rad[i]) ** 2
    low, high = -math.expm1(-repetition_time / longest), LARGEST_Q
    q, amplitude, mean_x, sxx = _line(work, False, 0.0)
    steps, settled = 0, True
    if method == WEIGHTED:
        if not (q > 0.0 and q < 1.0):
            q = -math.expm1(-repetition_time / START_T1_S)
        q, amplitude, steps, settled = _rounds_of_weights(work, q)
    elif method == NONLINEAR:
        q, steps, settled = _search(work, q, low, high)
        a0, b0, _, _, _, _ = _sums(work, q)
        amplitude = a0 / b0
    if not settled:
        return steps, _NOT_CONVERGED
    if not (q > low and q < high and amplitude > 0.0):
        return steps, _OUTSIDE_RANGE
    squares = _report(work, q, amplitude, repetition_time, out)
    if method == LINEAR:
        _line_errors(work, q, amplitude, mean_x, sxx, squares, repetition_time, out)
    if n > 2 and not out[2] + out[3] + out[5] < np.inf:
        out[:] = np.nan
        return steps, _ILL_CONDITIONED
    return steps, 0


@njit(cache=True, nogil=True, parallel=True)
def fit_exactly(samples, flip_rad, b1, repetition_time, method, longest, chosen, planes, iterations, flags):
    """T1 and S0 of every chosen voxel, each in float64; arguments as of `vfa.fit_planes`, but float64."""
    n, n_voxels = samples.shape
    n_chunks = (n_voxels + CHUNK - 1) // CHUNK
    for chunk in prange(n_chunks):
        work = np.empty((4, n))
        out = np.empty(6)
        for voxel in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)):
            if chosen[voxel]:
                work[0] = samples[:, voxel]
                field = b1[voxel] if b1.size > 1 else b1[0]
                used, flag = solve_voxel(work, flip_rad, field, repetition_time, method, longest, out)
            else:
                used, flag = 0, _MASKED_OUT
                out[:] = np.nan
            iterations[voxel] = used
            flags[voxel] = flag
            for row in range(6):
                planes[row, voxel] = out[row]
