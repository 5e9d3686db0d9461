"""Decay to the noise floor at equally spaced echoes, many voxels as SIMD lanes, in float32.

In units of the noise SD the expected magnitude is m_i = sqrt(a_i^2 + c) with a_i = A u^i and c = 2 n for n
coils. By ln A and ln u its derivatives are q_i = a_i^2 / m_i and i q_i, and those of the second order follow
from dq_i = q_i (2 - q_i / m_i): all sums are over powers of i, and there is no exponential. Newton's steps
begin where those of Gauss and Newton have led. Lanes that have not settled are left to the float64 search.

The workspace is flat for the reason given in `decay_lanes`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.decay_lanes import (
    FAST,
    LARGEST_U,
    N_RESULTS,
    SETTLED,
    SMALLEST_U,
    UNSETTLED,
    back_to_start,
    logarithms,
)
from imgtheranostics.kernels.lanes import BLOCK, CHUNK, blank, list_chosen, put, take

FIRST_STEPS = 2
"""Steps of Gauss and Newton."""

MOST_STEPS = 10
"""All steps; a block ends when every lane has settled, and a lane stays where it has settled."""

LEAST_R_SQUARED = np.float32(0.8)
"""Below it there may be a deeper valley, and the search scans for it."""

_MASKED_OUT = 1

# Where the rows of the workspace begin: noise SD, A, u, power a^2, five to seven sums, and others.
_SD, _A, _U, _POWER, _S0, _S1, _S2, _S3, _S4, _S5, _S6, _STEP, _SQUARES, _AROUND, _MEAN, _LARGEST, _LEAST = (
    row * BLOCK for row in range(17)
)
_COUNT = 17 * BLOCK
_N_ROWS = 18


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _scale(signal, n, w):
    """Divide the samples by the noise SD; their extremes."""
    for lane in range(BLOCK):
        w[_STEP + lane] = np.float32(1.0) / w[_SD + lane]
        w[_LARGEST + lane] = 0.0
        w[_LEAST + lane] = 0.0
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            scaled = s[lane] * w[_STEP + lane]
            s[lane] = scaled
            w[_LARGEST + lane] = max(w[_LARGEST + lane], scaled)
            w[_LEAST + lane] = min(w[_LEAST + lane], scaled)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _start(signal, n, floor, w):
    """The best u and A of the squares less the floor, by auto-regression."""
    for lane in range(2 * BLOCK):
        w[_S0 + lane] = 0.0
    for i in range(n - 1):
        pair = signal[i * BLOCK : (i + 2) * BLOCK]
        for lane in range(BLOCK):
            here = pair[lane] * pair[lane] - floor
            there = pair[BLOCK + lane] * pair[BLOCK + lane] - floor
            w[_S0 + lane] += here * there
            w[_S1 + lane] += here * here
    one = np.float32(1.0)
    for lane in range(BLOCK):
        square = w[_S0 + lane] / w[_S1 + lane]
        square = min(max(square, SMALLEST_U * SMALLEST_U), LARGEST_U * LARGEST_U)
        w[_U + lane] = math.sqrt(square)
        w[_STEP + lane] = square
        w[_POWER + lane] = one
        w[_S0 + lane] = 0.0
        w[_S1 + lane] = 0.0
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            power = w[_POWER + lane]
            w[_S0 + lane] += (s[lane] * s[lane] - floor) * power
            w[_S1 + lane] += power * power
            w[_POWER + lane] = power * w[_STEP + lane]
    for lane in range(BLOCK):
        w[_A + lane] = math.sqrt(max(w[_S0 + lane] / w[_S1 + lane], np.float32(1.0)))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums(signal, n, floor, newton, w):
    """Sums of h, i h, i^2 h (second derivatives), r q and i r q (first ones) over the echoes."""
    for lane in range(5 * BLOCK):
        w[_S0 + lane] = 0.0
    for lane in range(BLOCK):
        w[_POWER + lane] = w[_A + lane] * w[_A + lane]
    bend = np.float32(1.0) if newton else np.float32(0.0)
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        number = np.float32(i)
        for lane in range(BLOCK):
            power = w[_POWER + lane]
            inverse = np.float32(1.0) / math.sqrt(power + floor)
            q = power * inverse
            pull = ((power + floor) * inverse - s[lane]) * q
            h = q * q + bend * pull * (np.float32(2.0) - q * inverse)
            w[_S0 + lane] += h
            h *= number
            w[_S1 + lane] += h
            w[_S2 + lane] += h * number
            w[_S3 + lane] += pull
            w[_S4 + lane] += pull * number
            w[_POWER + lane] = power * (w[_U + lane] * w[_U + lane])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _move(newton, w):
    """One step in ln A and ln u of the lanes that move, and how many are to move on.

    _STEP becomes its size, or 1 where it cannot be trusted.
    """
    one = np.float32(1.0)
    for lane in range(BLOCK):
        h0, h1, h2 = w[_S0 + lane], w[_S1 + lane], w[_S2 + lane]
        determinant = h0 * h2 - h1 * h1
        upward = (determinant > np.float32(1e-3) * h0 * h2) & (h0 > np.float32(0.0))
        inverse = one / determinant
        by_a = (h1 * w[_S4 + lane] - h2 * w[_S3 + lane]) * inverse
        by_u = (h1 * w[_S3 + lane] - h0 * w[_S4 + lane]) * inverse
        # a saddle: downhill by the gradient's sign
        by_a = by_a if upward else np.float32(0.0)
        by_u = by_u if upward else (np.float32(0.1) if w[_S4 + lane] < np.float32(0.0) else np.float32(-0.1))
        u = w[_U + lane]
        room = (one - u) / u
        by_a = min(max(by_a, np.float32(-0.6)), one)
        by_u = min(max(by_u, np.float32(-0.6)), np.float32(0.7) * room)
        relative = max(abs(by_a), abs(by_u) / (one - u))
        moves = w[_STEP + lane] >= SETTLED
        size = relative if upward and newton else one
        w[_STEP + lane] = size if moves else w[_STEP + lane]
        w[_A + lane] *= one + by_a if moves else one
        w[_U + lane] = max(u * (one + by_u), np.float32(0.5) * SMALLEST_U) if moves else u
        w[_COUNT + lane] += one if moves else np.float32(0.0)
    left = 0
    for lane in range(BLOCK):
        left += 1 if w[_STEP + lane] >= SETTLED else 0
    return left


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _goodness(signal, n, floor, w):
    """Sums of squares of the residuals and about the mean."""
    for lane in range(BLOCK):
        w[_POWER + lane] = w[_A + lane] * w[_A + lane]
        w[_MEAN + lane] = 0.0
        w[_SQUARES + lane] = 0.0
        w[_AROUND + lane] = 0.0
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            w[_MEAN + lane] += s[lane]
    share = np.float32(1.0 / n)
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            residual = math.sqrt(w[_POWER + lane] + floor) - s[lane]
            deviation = s[lane] - share * w[_MEAN + lane]
            w[_SQUARES + lane] += residual * residual
            w[_AROUND + lane] += deviation * deviation
            w[_POWER + lane] *= w[_U + lane] * w[_U + lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _spread(n, floor, profile, per_cell, w):
    """Sums of q^2, i q^2, i^2 q^2, of the same times the noise's variance, and the square awaited.

    profile : (2, n_cells + 1) float32; variance of the magnitude and its expected square about m, over its
        amplitude; per_cell : cells per unit of it
    """
    for lane in range(7 * BLOCK):
        w[_S0 + lane] = 0.0
    for lane in range(BLOCK):
        w[_POWER + lane] = w[_A + lane] * w[_A + lane]
    last = np.float32(profile.shape[1] - 2)
    variance_row, square_row = profile[0], profile[1]
    for i in range(n):
        number = np.float32(i)
        for lane in range(BLOCK):
            power = w[_POWER + lane]
            place = math.sqrt(power) * per_cell
            # this way round, what is not a number goes to the last cell too and never beyond the table
            place = place if place < last else last
            cell = np.int32(place)
            f = place - np.float32(cell)
            variance = variance_row[cell] + f * (variance_row[cell + 1] - variance_row[cell])
            square = square_row[cell] + f * (square_row[cell + 1] - square_row[cell])
            qq = power * power / (power + floor)
            w[_S0 + lane] += qq
            w[_S3 + lane] += variance * qq
            qq *= number
            w[_S1 + lane] += qq
            w[_S4 + lane] += variance * qq
            qq *= number
            w[_S2 + lane] += qq
            w[_S5 + lane] += variance * qq
            w[_S6 + lane] += square
            w[_POWER + lane] = power * (w[_U + lane] * w[_U + lane])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _write(n, spacing, lever, w, out, flag):
    """Results of a block; UNSETTLED where a lane has not settled or its fit may not hold, else 0.

    lever : spacings from the first echo to time 0; _MEAN holds -ln u, _LARGEST times _POWER the way back
    out : (N_RESULTS * BLOCK,) float32; flag : (BLOCK,) uint16
    """
    one = np.float32(1.0)
    two = np.float32(2.0)
    no_error = np.float32(np.nan) if n <= 2 else one
    share = np.float32(1.0 / n)
    d = np.float32(spacing)
    back = np.float32(lever)
    for lane in range(BLOCK):
        inverse = one / (w[_S0 + lane] * w[_S2 + lane] - w[_S1 + lane] * w[_S1 + lane])
        aa, au, uu = w[_S2 + lane] * inverse, -w[_S1 + lane] * inverse, w[_S0 + lane] * inverse
        m0, m1, m2 = w[_S3 + lane], w[_S4 + lane], w[_S5 + lane]
        awaited = w[_S6 + lane] - (aa * m0 + two * au * m1 + uu * m2)
        scale = no_error * w[_SQUARES + lane] / awaited
        # rows of the inverse times the middle matrix
        a0, a1 = aa * m0 + au * m1, aa * m1 + au * m2
        u0, u1 = au * m0 + uu * m1, au * m1 + uu * m2
        var_a, covariance, var_u = a0 * aa + a1 * au, a0 * au + a1 * uu, u0 * au + u1 * uu
        time = d / w[_MEAN + lane]
        start = w[_A + lane] * w[_LARGEST + lane] * w[_POWER + lane] * w[_SD + lane]
        out[lane] = time
        out[BLOCK + lane] = start
        out[2 * BLOCK + lane] = time * time / d * math.sqrt(scale * var_u)
        through = var_a - two * back * covariance + back * back * var_u
        out[3 * BLOCK + lane] = start * math.sqrt(scale * max(through, np.float32(0.0)))
        r_squared = one - w[_SQUARES + lane] / w[_AROUND + lane]
        out[4 * BLOCK + lane] = r_squared
        out[5 * BLOCK + lane] = math.sqrt(w[_SQUARES + lane] * share) * w[_SD + lane]
        u = w[_U + lane]
        good = (w[_STEP + lane] < SETTLED) & (u > SMALLEST_U) & (u < LARGEST_U)
        good = good & (r_squared > LEAST_R_SQUARED) & (start < np.float32(1e30))
        flag[lane] = np.uint16(0) if good else np.uint16(UNSETTLED)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _fit_block(signal, n, coils, detectable, first_s, spacing, profile, per_cell, w, bits, out, flag):
    """All steps of a block."""
    floor = np.float32(2.0 * coils)
    _scale(signal, n, w)
    _start(signal, n, floor, w)
    for lane in range(BLOCK):
        w[_STEP + lane] = 1.0
        w[_COUNT + lane] = 0.0
    for step in range(MOST_STEPS):
        newton = step >= FIRST_STEPS
        _sums(signal, n, floor, newton, w)
        left = _move(newton, w)
        if left == 0:
            break
    for lane in range(BLOCK):
        # what the search refuses, or must look at
        usable = (w[_LARGEST + lane] > np.float32(detectable)) & (w[_LEAST + lane] >= np.float32(0.0))
        w[_STEP + lane] = w[_STEP + lane] if usable else np.float32(1.0)
    _goodness(signal, n, floor, w)
    _spread(n, floor, profile, np.float32(per_cell), w)
    lever = first_s / spacing
    logarithms(w[_U : _U + BLOCK], w[_MEAN : _MEAN + BLOCK])
    back_to_start(w[_MEAN : _MEAN + BLOCK], lever, w[_LARGEST : _LARGEST + BLOCK], bits)
    _write(n, spacing, lever, w, out, flag)


@njit(cache=True, nogil=True, parallel=True)
def fit_noise_floor_lanes(
    samples,
    noise_sd,
    chosen,
    coils,
    detectable,
    first_s,
    spacing,
    profile,
    per_cell,
    out,
    iterations,
    flags,
):
    """Least-squares fit of sqrt(A^2 exp(-2 rate t) + 2 n sigma^2) to every chosen voxel that settles.

    samples : (n, n_voxels) float32; noise_sd : (n_voxels,) or (1,) float32; chosen : (n_voxels,) bool
    coils, detectable : as `kernels.noise_floor.fit_noise_floor` takes them
    first_s, spacing : as `kernels.decay_lanes.fit_decay_lanes` takes them
    profile : (2, n_cells + 1) float32; for sigma 1, at amplitudes that rise by 1 / per_cell: the variance of
        the magnitude, and its expected square about sqrt(a^2 + 2 n)
    out, iterations, flags : as `kernels.decay_lanes.fit_decay_lanes` writes them
    """
    n, n_voxels = samples.shape
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        end = min(begin + CHUNK, n_voxels)
        voxels = np.empty(CHUNK, np.int64)
        count = list_chosen(chosen, begin, end, voxels)
        if count < end - begin:
            blank(begin, end, _MASKED_OUT, out, flags)
            iterations[begin:end] = 0
        signal = np.empty(n * BLOCK, np.float32)
        w = np.empty(_N_ROWS * BLOCK, np.float32)
        bits = w[_POWER : _POWER + BLOCK].view(np.int32)
        found = np.empty(N_RESULTS * BLOCK, np.float32)
        flag = np.empty(BLOCK, np.uint16)
        steps = np.empty(BLOCK, np.int16)
        for first in range(0, count, BLOCK):
            stop = min(first + BLOCK, count)
            for i in range(n):
                take(samples[i], voxels, first, stop, signal[i * BLOCK : (i + 1) * BLOCK])
            if noise_sd.size == 1:
                w[_SD : _SD + BLOCK] = noise_sd[0]
            else:
                take(noise_sd, voxels, first, stop, w[_SD : _SD + BLOCK])
            _fit_block(
                signal, n, coils, detectable, first_s, spacing, profile, per_cell, w, bits, found, flag
            )
            for row in range(N_RESULTS):
                put(found[row * BLOCK : (row + 1) * BLOCK], voxels, first, stop, out[row])
            for lane in range(BLOCK):
                steps[lane] = np.int16(w[_COUNT + lane])
            put(flag, voxels, first, stop, flags)
            put(steps, voxels, first, stop, iterations)
