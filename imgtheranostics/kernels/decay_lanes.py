"""Exponential decay at equally spaced echoes, many voxels as SIMD lanes, in float32.

With u = exp(-rate spacing) the signal is S_i = A u^i, i = 0 .. n - 1, so that no exponential occurs in the
search. A is eliminated: with the polynomials P(u) = sum S_i u^i and W(v) = sum v^i, v = u^2, the least sum of
squares is where P^2 / W is largest. Newton's steps there take P, P', P'', W, W' and W'', which Horner's rule
gives with six multiply-adds per echo. Lanes that have not settled are left to the float64 search.

The workspace of a block is one flat array whose rows begin at constant places: only so does the compiler see
that they do not overlap, which makes the loops six times as fast as over the rows of a matrix.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lanes import BLOCK, CHUNK, blank, list_chosen, put, take

FAST = {"reassoc", "contract", "arcp", "nsz"}

UNSETTLED = 1 << 15
"""The flag of a voxel that is left to the float64 search."""

LEAST_STEPS, MOST_STEPS = 3, 9
"""Newton steps of a block, which ends when every lane has settled; a lane stays where it has settled."""

SETTLED = np.float32(2e-4)
"""Last step relative to u (1 - u) at which a lane has settled: what is left is of the order of its square."""

SMALLEST_U = np.float32(0.03)
LARGEST_U = np.float32(0.995)
"""Beyond these the float64 search takes over: within a spacing the signal is gone, or it barely falls."""

LEAST_R_SQUARED = np.float32(0.5)
"""Below it there may be another valley, and the search scans for it."""

LEAST_SQUARES = np.float32(1e-24)
"""About the mean; of smaller signals the squares of the residuals lose their digits."""

MOST_SPACINGS_BACK = 20.0
"""From the first echo to time 0; beyond, the amplitude at time 0 leaves the range of float32."""

N_RESULTS = 6
"""Rows of a result: time constant, amplitude, their errors, R squared, root mean square residual."""

_MASKED_OUT = 1
_GROUP = 4

# Where the rows of the workspace begin: u, A, the polynomials P, P', P''/2, W, W', W''/2, and others.
_U, _A, _P0, _P1, _P2, _W0, _W1, _W2, _STEP, _POWER, _SQUARES, _AROUND, _MEAN, _RATE, _COUNT = (
    row * BLOCK for row in range(15)
)
_N_ROWS = 15


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _start(signal, n, w):
    """Best u of the auto-regression S_(i+1) = u S_i.

    signal : (n_padded * BLOCK,) float32, one row of lanes per echo; w : the workspace
    """
    for lane in range(BLOCK):
        w[_P0 + lane] = 0.0
        w[_W0 + lane] = 0.0
    for i in range(n - 1):
        pair = signal[i * BLOCK : (i + 2) * BLOCK]
        for lane in range(BLOCK):
            w[_P0 + lane] += pair[lane] * pair[BLOCK + lane]
            w[_W0 + lane] += pair[lane] * pair[lane]
    for lane in range(BLOCK):
        w[_U + lane] = min(max(w[_P0 + lane] / w[_W0 + lane], SMALLEST_U), LARGEST_U)
        w[_STEP + lane] = 1.0
        w[_COUNT + lane] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _polynomials(signal, ones, w):
    """P, P', P''/2, W, W' and W''/2 at u, four echoes at a time.

    ones : (n_padded,) float32, 1 for each echo and 0 for the rows that fill the last four
    """
    for lane in range(6 * BLOCK):
        w[_P0 + lane] = 0.0
    for group in range(ones.size // _GROUP - 1, -1, -1):
        i = group * _GROUP
        s = signal[i * BLOCK : (i + _GROUP) * BLOCK]
        b0, b1, b2, b3 = ones[i], ones[i + 1], ones[i + 2], ones[i + 3]
        for lane in range(BLOCK):
            x = w[_U + lane]
            p, q, r = w[_P0 + lane], w[_P1 + lane], w[_P2 + lane]
            r = r * x + q
            q = q * x + p
            p = p * x + s[3 * BLOCK + lane]
            r = r * x + q
            q = q * x + p
            p = p * x + s[2 * BLOCK + lane]
            r = r * x + q
            q = q * x + p
            p = p * x + s[BLOCK + lane]
            r = r * x + q
            q = q * x + p
            p = p * x + s[lane]
            w[_P0 + lane], w[_P1 + lane], w[_P2 + lane] = p, q, r
            x = x * x
            p, q, r = w[_W0 + lane], w[_W1 + lane], w[_W2 + lane]
            r = r * x + q
            q = q * x + p
            p = p * x + b3
            r = r * x + q
            q = q * x + p
            p = p * x + b2
            r = r * x + q
            q = q * x + p
            p = p * x + b1
            r = r * x + q
            q = q * x + p
            p = p * x + b0
            w[_W0 + lane], w[_W1 + lane], w[_W2 + lane] = p, q, r


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _newton_step(w):
    """One step to the largest P^2 / W of the lanes that move, and how many are to move on.

    _STEP becomes the size of the step relative to u (1 - u), or 1 where it is not Newton's.
    """
    one = np.float32(1.0)
    two = np.float32(2.0)
    for lane in range(BLOCK):
        x = w[_U + lane]
        share = one / w[_P0 + lane]
        weight = one / w[_W0 + lane]
        of_signal = w[_P1 + lane] * share
        of_curve = x * w[_W1 + lane] * weight
        square = (w[_W1 + lane] + two * x * x * w[_W2 + lane]) * weight
        spread = square - of_curve * of_curve
        # minus the second derivative of ln P - ln W / 2; Gauss and Newton's part of it is the spread
        curvature = of_signal * of_signal - two * (w[_P2 + lane] * share + of_curve * of_curve - square)
        curvature -= w[_W1 + lane] * weight
        trusted = curvature > np.float32(0.3) * spread
        change = (of_signal - of_curve) / (curvature if trusted else spread)
        change = min(max(change, np.float32(-0.7) * x), np.float32(0.7) * (one - x))
        moves = w[_STEP + lane] >= SETTLED
        size = abs(change) / (x * (one - x)) if trusted else one
        w[_STEP + lane] = size if moves else w[_STEP + lane]
        w[_U + lane] = x + change if moves else x
        w[_COUNT + lane] += one if moves else np.float32(0.0)
    left = 0
    for lane in range(BLOCK):
        left += 1 if w[_STEP + lane] >= SETTLED else 0
    return left


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _residuals(signal, n, w):
    """A at u, and the sums of squares of the residuals and about the mean.

    The latter are taken about the first sample, which loses little: the signal falls from there.
    """
    for lane in range(BLOCK):
        w[_A + lane] = w[_P0 + lane] / w[_W0 + lane]
        w[_POWER + lane] = w[_A + lane]
        w[_SQUARES + lane] = 0.0
        w[_AROUND + lane] = 0.0
        w[_MEAN + lane] = 0.0
    origin = signal[:BLOCK]
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            residual = s[lane] - w[_POWER + lane]
            deviation = s[lane] - origin[lane]
            w[_SQUARES + lane] += residual * residual
            w[_MEAN + lane] += deviation
            w[_AROUND + lane] += deviation * deviation
            w[_POWER + lane] *= w[_U + lane]
    share = np.float32(1.0 / n)
    for lane in range(BLOCK):
        w[_AROUND + lane] -= share * w[_MEAN + lane] * w[_MEAN + lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def logarithms(u, rate):
    """-ln u for u from SMALLEST_U / 2 to 1: the root is taken twice, then the series of atanh.

    u, rate : (BLOCK,) float32
    """
    one = np.float32(1.0)
    for lane in range(BLOCK):
        x = one - u[lane]
        x = x / (one + math.sqrt(one - x))
        x = x / (one + math.sqrt(one - x))
        z = x / (np.float32(2.0) - x)
        zz = z * z
        series = np.float32(1 / 13) + zz * np.float32(1 / 15)
        series = np.float32(1 / 9) + zz * (np.float32(1 / 11) + zz * series)
        series = np.float32(1 / 5) + zz * (np.float32(1 / 7) + zz * series)
        rate[lane] = np.float32(8.0) * z * (one + zz * (np.float32(1 / 3) + zz * series))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def back_to_start(rate, spacings, near_one, bits):
    """exp(spacings * rate) as a product of a number near 1 and a power of two.

    rate, near_one : (BLOCK,) float32; spacings : from the first echo to time 0
    bits : (BLOCK,) int32, the power of two as the bits of a float32
    """
    per_power = np.float32(spacings / math.log(2.0))
    for lane in range(BLOCK):
        power = np.int32(per_power * rate[lane] + np.float32(0.5))
        whole = np.float32(power)
        # ln 2 in two parts, the first of which has so few digits that its multiples are exact
        r = np.float32(spacings) * rate[lane] - whole * np.float32(0.693145751953125)
        r -= whole * np.float32(1.428606765330187e-06)
        series = np.float32(1 / 120) + r * (np.float32(1 / 720) + r * np.float32(1 / 5040))
        series = np.float32(0.5) + r * (np.float32(1 / 6) + r * (np.float32(1 / 24) + r * series))
        near_one[lane] = np.float32(1.0) + r * (np.float32(1.0) + r * series)
        bits[lane] = (power + np.int32(127)) << np.int32(23)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _write(n, spacing, lever, w, out, flag):
    """Results of a block; UNSETTLED where a lane has not settled or its fit may not hold, else 0.

    lever : spacings from the first echo to time 0
    out : (N_RESULTS * BLOCK,) float32; flag : (BLOCK,) uint16
    """
    one = np.float32(1.0)
    two = np.float32(2.0)
    freedom = np.float32(1.0 / (n - 2)) if n > 2 else np.float32(np.nan)
    share = np.float32(1.0 / n)
    d = np.float32(spacing)
    steps = np.float32(lever)
    for lane in range(BLOCK):
        x = w[_U + lane]
        squares = w[_SQUARES + lane]
        to_start = w[_P1 + lane] * w[_P2 + lane]
        time = d / w[_RATE + lane]
        weight = one / w[_W0 + lane]
        of_curve = x * w[_W1 + lane] * weight
        spread = (w[_W1 + lane] + two * x * x * w[_W2 + lane]) * weight - of_curve * of_curve
        # the variance of ln u is that of ln A at a given u over spread / u^2
        variance = squares * freedom * weight
        by_u = of_curve + steps / x
        r_squared = one - squares / w[_AROUND + lane]
        out[lane] = time
        out[BLOCK + lane] = w[_A + lane] * to_start
        out[2 * BLOCK + lane] = time * time / (d * x * w[_A + lane]) * math.sqrt(variance / spread)
        out[3 * BLOCK + lane] = to_start * math.sqrt(variance * (one + by_u * by_u / spread))
        out[4 * BLOCK + lane] = r_squared
        out[5 * BLOCK + lane] = math.sqrt(squares * share)
        good = (
            (w[_STEP + lane] < SETTLED) & (x > SMALLEST_U) & (x < LARGEST_U) & (w[_A + lane] > np.float32(0))
        )
        good = good & (r_squared > LEAST_R_SQUARED) & (w[_AROUND + lane] > LEAST_SQUARES)
        flag[lane] = np.uint16(0) if good else np.uint16(UNSETTLED)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _fit_block(signal, n, ones, first_s, spacing, w, bits, out, flag):
    """All steps of a block."""
    _start(signal, n, w)
    for step in range(MOST_STEPS):
        _polynomials(signal, ones, w)
        left = _newton_step(w)
        if left == 0 and step + 1 >= LEAST_STEPS:
            break
    _polynomials(signal, ones, w)
    _residuals(signal, n, w)
    rate = w[_RATE : _RATE + BLOCK]
    logarithms(w[_U : _U + BLOCK], rate)
    lever = first_s / spacing
    # the derivatives of P are not needed any more; their rows serve for the way back to time 0
    back_to_start(rate, lever, w[_P1 : _P1 + BLOCK], bits)
    _write(n, spacing, lever, w, out, flag)


@njit(cache=True, nogil=True, parallel=True)
def fit_decay_lanes(samples, chosen, first_s, spacing, out, iterations, flags):
    """Least-squares fit of A exp(-rate t) to every chosen voxel that settles in float32.

    samples : (n, n_voxels) float32; chosen : (n_voxels,) bool
    first_s : time of the first sample, at most MOST_SPACINGS_BACK spacings
    spacing : seconds between samples, > 0
    out : (N_RESULTS, n_voxels) float32; NaN outside `chosen`
    iterations : (n_voxels,) int16
    flags : (n_voxels,) uint16; 0, masked out, or UNSETTLED where `out` is not to be used
    """
    n, n_voxels = samples.shape
    n_padded = -(-n // _GROUP) * _GROUP
    ones = np.zeros(n_padded, np.float32)
    ones[:n] = 1.0
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        end = min(begin + CHUNK, n_voxels)
        voxels = np.empty(CHUNK, np.int64)
        count = list_chosen(chosen, begin, end, voxels)
        if count < end - begin:
            blank(begin, end, _MASKED_OUT, out, flags)
            iterations[begin:end] = 0
        signal = np.zeros(n_padded * BLOCK, np.float32)
        w = np.empty(_N_ROWS * BLOCK, np.float32)
        bits = w[_P2 : _P2 + BLOCK].view(np.int32)
        found = np.empty(N_RESULTS * BLOCK, np.float32)
        flag = np.empty(BLOCK, np.uint16)
        steps = np.empty(BLOCK, np.int16)
        for first in range(0, count, BLOCK):
            stop = min(first + BLOCK, count)
            for i in range(n):
                take(samples[i], voxels, first, stop, signal[i * BLOCK : (i + 1) * BLOCK])
            _fit_block(signal, n, ones, first_s, spacing, w, bits, found, flag)
            for row in range(N_RESULTS):
                put(found[row * BLOCK : (row + 1) * BLOCK], voxels, first, stop, out[row])
            for lane in range(BLOCK):
                steps[lane] = np.int16(w[_COUNT + lane])
            put(flag, voxels, first, stop, flags)
            put(steps, voxels, first, stop, iterations)
