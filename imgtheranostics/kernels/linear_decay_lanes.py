"""Straight line through the logarithms of a decay, many voxels as SIMD lanes, in float32.

The logarithm comes from the bits of the number and a series, so that it is computed for all lanes at once;
calling it for one number after the other takes most of the time otherwise. Lanes whose line is too flat for
float32, or that hold a sample that has no logarithm, are left to the float64 kernel.

The workspace is flat for the reason given in `decay_lanes`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.decay_lanes import FAST, N_RESULTS, UNSETTLED
from imgtheranostics.kernels.lanes import BLOCK, CHUNK, blank, list_chosen, put, take

LEAST_FALL = np.float32(0.02)
"""Of the logarithm over the echoes; below it the rounding of float32 is more than 1e-4 of it."""

LEAST_SAMPLE = np.float32(1e-14)
"""Of which the square keeps its digits."""

MOST_LOGARITHM = np.float32(80.0)

_MASKED_OUT = 1
_LN2_HIGH = np.float32(0.693145751953125)
_LN2_LOW = np.float32(1.428606765330187e-06)
_ROOT_HALF = np.int32(0x3F3504F3)
_MANTISSA = np.int32(0x7FFFFF)

# Where the rows of the workspace begin.
_TOTAL, _X, _Y, _XX, _XY, _SQUARES, _SLOPE, _LEAST, _SPOILT, _MISFIT, _AROUND, _MEAN, _NEAR, _POWER, _ARG = (
    row * BLOCK for row in range(15)
)
_FIRST = 15 * BLOCK
_N_ROWS = 16


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _logarithms(signal, bits, n, exponent, mantissa, mantissa_bits, y, w):
    """Logarithm of every sample over a power of two near the first one into y, and the smallest sample.

    signal, y : (n * BLOCK,) float32; bits : the same memory as signal, int32
    exponent, mantissa : (BLOCK,) float32; mantissa_bits : the same memory as mantissa, int32
    """
    for lane in range(BLOCK):
        w[_LEAST + lane] = signal[lane]
        w[_SPOILT + lane] = 0.0
    for i in range(n):
        s, b, row = (
            signal[i * BLOCK : (i + 1) * BLOCK],
            bits[i * BLOCK : (i + 1) * BLOCK],
            y[i * BLOCK : (i + 1) * BLOCK],
        )
        for lane in range(BLOCK):
            moved = np.int32(b[lane] - _ROOT_HALF)
            exponent[lane] = np.float32(moved >> np.int32(23))
            mantissa_bits[lane] = (moved & _MANTISSA) + _ROOT_HALF
        if i == 0:
            for lane in range(BLOCK):
                w[_FIRST + lane] = exponent[lane]
        for lane in range(BLOCK):
            f = mantissa[lane] - np.float32(1.0)
            z = f / (np.float32(2.0) + f)
            zz = z * z
            series = np.float32(1 / 5) + zz * (np.float32(1 / 7) + zz * np.float32(1 / 9))
            series = z + z * zz * (np.float32(1 / 3) + zz * series)
            power = exponent[lane] - w[_FIRST + lane]
            row[lane] = power * _LN2_HIGH + (np.float32(2.0) * series + power * _LN2_LOW)
        for lane in range(BLOCK):
            w[_LEAST + lane] = min(w[_LEAST + lane], s[lane])
            w[_SPOILT + lane] += s[lane] * np.float32(0.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _line(signal, y, n, shifts, weighted, w):
    """Means, slope, spread of the shifts and weighted sum of squares of the line."""
    one = np.float32(1.0)
    for lane in range(6 * BLOCK):
        w[_TOTAL + lane] = 0.0
    for i in range(n):
        s, row = signal[i * BLOCK : (i + 1) * BLOCK], y[i * BLOCK : (i + 1) * BLOCK]
        x = shifts[i]
        for lane in range(BLOCK):
            weight = s[lane] * s[lane] if weighted else one
            w[_TOTAL + lane] += weight
            w[_X + lane] += weight * x
            w[_Y + lane] += weight * row[lane]
    for lane in range(BLOCK):
        share = one / w[_TOTAL + lane]
        w[_X + lane] *= share
        w[_Y + lane] *= share
    for i in range(n):
        s, row = signal[i * BLOCK : (i + 1) * BLOCK], y[i * BLOCK : (i + 1) * BLOCK]
        x = shifts[i]
        for lane in range(BLOCK):
            weight = s[lane] * s[lane] if weighted else one
            off = x - w[_X + lane]
            w[_XX + lane] += weight * off * off
            w[_XY + lane] += weight * off * (row[lane] - w[_Y + lane])
    for lane in range(BLOCK):
        w[_SLOPE + lane] = w[_XY + lane] / w[_XX + lane]
    for i in range(n):
        s, row = signal[i * BLOCK : (i + 1) * BLOCK], y[i * BLOCK : (i + 1) * BLOCK]
        x = shifts[i]
        for lane in range(BLOCK):
            weight = s[lane] * s[lane] if weighted else one
            residual = row[lane] - w[_Y + lane] - w[_SLOPE + lane] * (x - w[_X + lane])
            w[_SQUARES + lane] += weight * residual * residual
            row[lane] = residual


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _exponentials(w, bits):
    """Exp of _ARG, which lies within MOST_LOGARITHM, as the product of _NEAR and _POWER (bits)."""
    for lane in range(BLOCK):
        x = w[_ARG + lane]
        half = np.float32(0.5) if x > np.float32(0.0) else np.float32(-0.5)
        power = np.int32(np.float32(1.0 / math.log(2.0)) * x + half)
        whole = np.float32(power)
        r = x - whole * _LN2_HIGH - whole * _LN2_LOW
        series = np.float32(1 / 120) + r * (np.float32(1 / 720) + r * np.float32(1 / 5040))
        series = np.float32(0.5) + r * (np.float32(1 / 6) + r * (np.float32(1 / 24) + r * series))
        w[_NEAR + lane] = np.float32(1.0) + r * (np.float32(1.0) + r * series)
        bits[lane] = (power + np.int32(127)) << np.int32(23)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _goodness(signal, y, n, w, bits):
    """Sums of squares of the signal about the decay and about its mean; y holds the logarithms' residuals.

    Where a sample s lies a residual r above the line, the decay there is s exp(-r).
    """
    for lane in range(BLOCK):
        w[_MISFIT + lane] = 0.0
        w[_AROUND + lane] = 0.0
        w[_MEAN + lane] = 0.0
    for i in range(n):
        s = signal[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            w[_MEAN + lane] += s[lane]
    share = np.float32(1.0 / n)
    for i in range(n):
        s, row = signal[i * BLOCK : (i + 1) * BLOCK], y[i * BLOCK : (i + 1) * BLOCK]
        for lane in range(BLOCK):
            w[_ARG + lane] = min(max(-row[lane], -MOST_LOGARITHM), MOST_LOGARITHM)
        _exponentials(w, bits)
        for lane in range(BLOCK):
            residual = s[lane] - s[lane] * (w[_NEAR + lane] * w[_POWER + lane])
            deviation = s[lane] - share * w[_MEAN + lane]
            w[_MISFIT + lane] += residual * residual
            w[_AROUND + lane] += deviation * deviation


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _write(n, first_s, span, w, bits, out, flag):
    """Results of a block; UNSETTLED where a lane does not hold, else 0.

    out : (N_RESULTS * BLOCK,) float32; flag : (BLOCK,) uint16
    """
    one = np.float32(1.0)
    first = np.float32(first_s)
    for lane in range(BLOCK):
        start = w[_Y + lane] - w[_SLOPE + lane] * (w[_X + lane] + first)
        start += w[_FIRST + lane] * (_LN2_HIGH + _LN2_LOW)
        w[_MEAN + lane] = start
        w[_ARG + lane] = min(max(start, -MOST_LOGARITHM), MOST_LOGARITHM)
    _exponentials(w, bits)
    freedom = np.float32(1.0 / (n - 2)) if n > 2 else np.float32(np.nan)
    share = np.float32(1.0 / n)
    fall = LEAST_FALL / np.float32(span)
    for lane in range(BLOCK):
        amplitude = w[_NEAR + lane] * w[_POWER + lane]
        rate = -w[_SLOPE + lane]
        time = one / rate
        variance = w[_SQUARES + lane] * freedom
        lever = w[_X + lane] + first
        out[lane] = time
        out[BLOCK + lane] = amplitude
        out[2 * BLOCK + lane] = time * time * math.sqrt(variance / w[_XX + lane])
        out[3 * BLOCK + lane] = amplitude * math.sqrt(
            variance * (one / w[_TOTAL + lane] + lever * lever / w[_XX + lane])
        )
        out[4 * BLOCK + lane] = one - w[_MISFIT + lane] / w[_AROUND + lane]
        out[5 * BLOCK + lane] = math.sqrt(w[_MISFIT + lane] * share)
        good = (w[_LEAST + lane] > LEAST_SAMPLE) & (w[_SPOILT + lane] == np.float32(0.0)) & (rate > fall)
        good = good & (abs(w[_MEAN + lane]) < np.float32(60.0))
        flag[lane] = np.uint16(0) if good else np.uint16(UNSETTLED)


@njit(cache=True, nogil=True, parallel=True)
def fit_line_lanes(samples, chosen, first_s, shifts, weighted, out, iterations, flags):
    """Straight line through the logarithms of every chosen voxel that float32 is enough for.

    samples : (n, n_voxels) float32; chosen : (n_voxels,) bool
    first_s : time of the first sample; shifts : (n,) float32, time of each after it, ascending from 0
    weighted : weight each logarithm by the square of its sample
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
        y = np.empty(n * BLOCK, np.float32)
        w = np.empty(_N_ROWS * BLOCK, np.float32)
        exponent = np.empty(BLOCK, np.float32)
        mantissa = np.empty(BLOCK, np.float32)
        power = w[_POWER : _POWER + BLOCK].view(np.int32)
        found = np.empty(N_RESULTS * BLOCK, np.float32)
        flag = np.empty(BLOCK, np.uint16)
        for first in range(0, count, BLOCK):
            stop = min(first + BLOCK, count)
            for i in range(n):
                take(samples[i], voxels, first, stop, signal[i * BLOCK : (i + 1) * BLOCK])
            _logarithms(signal, signal.view(np.int32), n, exponent, mantissa, mantissa.view(np.int32), y, w)
            _line(signal, y, n, shifts, weighted, w)
            _goodness(signal, y, n, w, power)
            _write(n, first_s, shifts[n - 1], w, power, found, flag)
            for row in range(N_RESULTS):
                put(found[row * BLOCK : (row + 1) * BLOCK], voxels, first, stop, out[row])
            put(flag, voxels, first, stop, flags)
