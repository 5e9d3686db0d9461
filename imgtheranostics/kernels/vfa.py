"""T1 and S0 from signals at several flip angles: planes of voxels in float32 blocks.

The mathematics is in `imgtheranostics.kernels.vfa_block`. Lanes that have not settled there, or that lie near
the ends of the range, are searched in float64 (`imgtheranostics.kernels.vfa_voxel`).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.lanes import BLOCK, CHUNK, blank, list_chosen, put, take
from imgtheranostics.kernels.vfa_block import (
    AMPLITUDE,
    FAST,
    R_SQUARED,
    RMSE,
    ROWS,
    S0_ERROR,
    STEP,
    STEPS,
    T1,
    T1_ERROR,
    WEIGHT_STEPS,
    Q,
    angles,
    fit_block,
)
from imgtheranostics.kernels.vfa_voxel import LINEAR, WEIGHTED, solve_voxel

SETTLED = np.float32(2e-5)
"""Relative last step at which a lane has settled: the next one is its square, or below float32."""

SMALLEST_E = np.float32(0.4)
"""The series of the logarithm serves lanes down to here; T1 below about TR go to the float64 search."""

SEARCH = 8192
"""Mark of a lane that the float64 search takes over; never leaves the kernel."""

_MASKED_OUT, _INVALID_INPUT, _OUTSIDE_RANGE, _INVALID_B1 = 1, 4, 32, 1024


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _lane_flags(signal, b1, widest, method, longest, rows, codes):
    """What each lane is: 0 done, SEARCH for the float64 search, or the flag of a refusal.

    codes : (BLOCK,) uint16
    """
    top = np.float32(1.0) - SMALLEST_E
    tolerance = np.float32(np.inf) if method == LINEAR else SETTLED
    beyond = np.uint16(_OUTSIDE_RANGE) if method == LINEAR else np.uint16(SEARCH)
    if method == LINEAR:
        for lane in range(BLOCK):
            rows[STEP + lane] = 0.0
    limit = np.float32(longest)
    zero = np.float32(0.0)
    without_errors = signal.shape[0] == 2
    for lane in range(BLOCK):
        q, error = rows[Q + lane], rows[T1_ERROR + lane] + rows[S0_ERROR + lane]
        settled = rows[STEP + lane] <= tolerance and q < top
        known = (error >= zero and error < np.inf) or without_errors
        goodness = rows[R_SQUARED + lane]
        sound = known and rows[RMSE + lane] < np.inf and np.float32(-1e6) < goodness <= np.float32(1.0)
        inside = q > zero and q < np.float32(1.0) and rows[T1 + lane] <= limit
        inside = inside and rows[AMPLITUDE + lane] > zero
        code = np.uint16(0) if settled and sound else np.uint16(SEARCH)
        # What is not a number has overflowed; the search tells.
        codes[lane] = code if inside or q != q else beyond
    for i in range(signal.shape[0]):
        y = signal[i]
        for lane in range(BLOCK):
            codes[lane] = codes[lane] if y[lane] > 0.0 and y[lane] < np.inf else np.uint16(_INVALID_INPUT)
    for lane in range(BLOCK):
        known = b1[lane] > 0.0 and b1[lane] * widest < np.float32(np.pi)
        codes[lane] = codes[lane] if known else np.uint16(_INVALID_B1)
    troubled = np.uint16(0)
    for lane in range(BLOCK):
        troubled |= codes[lane]
    return troubled != 0


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_chunk(
    samples, flip_rad, b1, repetition_time, method, longest, chosen, begin, planes, iterations, flags
):
    """Voxels [begin, begin + CHUNK) of `fit_planes`."""
    n, n_voxels = samples.shape
    end = min(begin + CHUNK, n_voxels)
    voxels = np.empty(CHUNK + 1, np.int64)
    count = list_chosen(chosen, begin, end, voxels)
    if count < end - begin:
        blank(begin, end, _MASKED_OUT, planes, flags)
        for voxel in voxels[:count]:
            flags[voxel] = 0
    signal = np.empty((n, BLOCK), np.float32)
    cot = np.empty((n, BLOCK), np.float32)
    half = np.empty((n, BLOCK), np.float32)
    rows = np.empty(ROWS, np.float32)
    codes = np.empty(BLOCK, np.uint16)
    field = np.empty(BLOCK, np.float32)
    widest = np.float32(flip_rad.max())
    field[:] = b1[0]
    angles(flip_rad, field, cot, half)
    for first in range(0, count, BLOCK):
        stop = min(first + BLOCK, count)
        for i in range(n):
            take(samples[i], voxels, first, stop, signal[i])
        if b1.size > 1:
            take(b1, voxels, first, stop, field)
            angles(flip_rad, field, cot, half)
        fit_block(signal, cot, half, repetition_time, method, rows)
        troubled = _lane_flags(signal, field, widest, method, longest, rows, codes)
        for row in range(6):
            put(rows[BLOCK * row : BLOCK * (row + 1)], voxels, first, stop, planes[row])
        if method != LINEAR:
            for lane in range(stop - first):
                iterations[voxels[first + lane]] = WEIGHT_STEPS if method == WEIGHTED else STEPS
        if troubled:
            _settle(
                signal,
                flip_rad,
                field,
                repetition_time,
                method,
                longest,
                codes,
                voxels[first:stop],
                planes,
                iterations,
                flags,
            )


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(signal, flip_rad, b1, repetition_time, method, longest, codes, voxels, planes, iterations, flags):
    """Search the lanes that ask for it in float64; refuse those with a flag."""
    work = np.empty((4, flip_rad.size))
    values = np.empty(6)
    for lane in range(voxels.size):
        code, voxel = codes[lane], voxels[lane]
        if code == 0:
            continue
        values[:] = np.nan
        if code == SEARCH:
            work[0] = signal[:, lane]
            used, code = solve_voxel(work, flip_rad, b1[lane], repetition_time, method, longest, values)
            iterations[voxel] = used
        flags[voxel] = code
        for row in range(6):
            planes[row, voxel] = values[row]


@njit(cache=True, nogil=True, parallel=True)
def fit_planes(samples, flip_rad, b1, repetition_time, method, longest, chosen, planes, iterations, flags):
    """T1 and S0 of every chosen voxel in float32 blocks.

    samples : (n, n_voxels) float32, read only
    flip_rad : (n,) float64, nominal
    b1 : (n_voxels,) or (1,) float32, ratio to nominal
    repetition_time, longest : float, s; longer T1 are outside the range
    method : int, of `imgtheranostics.kernels.vfa_voxel`
    chosen : (n_voxels,) bool
    planes : (6, n_voxels) float32, T1, S0, their standard errors, R^2, RMSE
    iterations, flags : (n_voxels,) int16 and uint16, zero on entry
    """
    n_chunks = (samples.shape[1] + CHUNK - 1) // CHUNK
    for chunk in prange(n_chunks):
        _fit_chunk(
            samples,
            flip_rad,
            b1,
            repetition_time,
            method,
            longest,
            chosen,
            chunk * CHUNK,
            planes,
            iterations,
            flags,
        )
