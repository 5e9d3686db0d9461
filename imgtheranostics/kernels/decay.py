"""Exponential decay, with or without a constant, by variable projection in float64.

Amplitude and constant are linear and are eliminated, so that one unknown remains, the rate. A scan of a few
rates finds the valley of the sum of squares; a Gauss-Newton search that never leaves the bracket around it
does the rest. Times are counted from the first sample, so that nothing overflows.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 64
"""Voxels per task."""

MOST_ITERATIONS = 100
TOLERANCE = 1e-9
"""Relative change of the rate below which it counts as settled."""

LEAST_RATE = 0.01
"""1/s: nothing in tissue or fluid relaxes more slowly, so that less is no decay at all."""

FURTHEST_BACK = 1e30
"""Decay from time 0 to the first sample beyond which there is no amplitude at time 0 to speak of."""

BELOW_NOISE = 2
INVALID_INPUT = 4
AT_BOUND = 8
NOT_CONVERGED = 16
OUTSIDE_RANGE = 32
ILL_CONDITIONED = 64
NEGATIVE_AMPLITUDE = 256
"""The bits of `imgtheranostics.volume.Flag` that the kernels of decays set."""

TIME, AMPLITUDE, OFFSET, TIME_ERROR, AMPLITUDE_ERROR, OFFSET_ERROR, R_SQUARED, RMSE = range(8)
"""Rows of a result."""

ROWS = 8

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy")
def scaled_samples(samples, voxel, s):
    """Copy one voxel's samples over their largest magnitude; returns that, or NaN where one is not finite.

    samples : (n, n_voxels) float64; s : (n,) float64
    """
    largest = 0.0
    spoilt = 0.0
    for i in range(s.size):
        s[i] = samples[i, voxel]
        largest = max(largest, abs(s[i]))
        spoilt += s[i] * 0.0
    if spoilt != 0.0:
        return np.nan
    if largest > 0.0:
        for i in range(s.size):
            s[i] /= largest
    return largest


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def fill_decay(rate, shifts, spacing, e):
    """exp(-rate shift); by powers where the samples are equally spaced (`spacing` > 0)."""
    if spacing > 0.0:
        factor = np.exp(-rate * spacing)
        value = 1.0
        for i in range(e.size):
            e[i] = value
            value *= factor
    else:
        for i in range(e.size):
            e[i] = np.exp(-rate * shifts[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def projected(s, e, d, with_offset):
    """Linear least squares of A e + C against s, and how its sum of squares changes with the rate.

    s, e, d : (n,) float64; samples, curve, derivative of the curve by the rate
    Returns sum of squares, half its derivative, the Gauss-Newton curvature, A, C, the (centred) norm of e,
    dA/drate and dC/drate along the valley, and the mean of e.
    """
    n = s.size
    mean_s = 0.0
    mean_e = 0.0
    mean_d = 0.0
    if with_offset:
        for i in range(n):
            mean_s += s[i]
            mean_e += e[i]
            mean_d += d[i]
        mean_s /= n
        mean_e /= n
        mean_d /= n
    se = 0.0
    ee = 0.0
    ed = 0.0
    dd = 0.0
    for i in range(n):
        centred = e[i] - mean_e
        slope = d[i] - mean_d
        se += (s[i] - mean_s) * centred
        ee += centred * centred
        ed += centred * slope
        dd += slope * slope
    amplitude = se / ee
    offset = mean_s - amplitude * mean_e
    squares = 0.0
    downhill = 0.0
    for i in range(n):
        residual = s[i] - amplitude * e[i] - offset
        squares += residual * residual
        downhill += residual * d[i]
    curvature = amplitude * amplitude * (dd - ed * ed / ee)
    by_rate = -amplitude * ed / ee
    return (
        squares,
        -amplitude * downhill,
        curvature,
        amplitude,
        offset,
        ee,
        by_rate,
        -amplitude * mean_d - by_rate * mean_e,
        mean_e,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def next_rate(rate, slope, curvature, previous, low, high):
    """A Gauss-Newton step inside the bracket; its middle where the step leaves it or gains too little."""
    proposed = rate - slope / curvature
    if low < proposed < high and abs(slope) <= 0.5 * previous:
        return proposed
    return np.sqrt(low * high)


@njit(cache=True, nogil=True, error_model="numpy")
def best_curve(s, curves):
    """Index of the normalised curve that explains most of s.

    curves : (n_rates, n) float64, of length one; centred where a constant is fitted too
    """
    best = 0
    most = -1.0
    for g in range(curves.shape[0]):
        along = 0.0
        for i in range(s.size):
            along += s[i] * curves[g, i]
        if along * along > most:
            most = along * along
            best = g
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def bracket(best, rates, least):
    """The rates on both sides of the best one of the scan."""
    low = rates[best - 1] if best > 0 else least
    high = rates[best + 1] if best + 1 < rates.size else rates[best]
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def total_squares(s):
    """Sum of squares about the mean."""
    mean = 0.0
    for i in range(s.size):
        mean += s[i]
    mean /= s.size
    total = 0.0
    for i in range(s.size):
        total += (s[i] - mean) ** 2
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def write_projected(s, e, d, rate, first_s, with_offset, scale, bound, out, voxel):
    """Values, standard errors and goodness of fit at the rate found; the flags to set.

    bound : the rate stands at a bound, so that no standard error holds
    """
    squares, _, curvature, amplitude, offset, ee, by_rate, offset_by_rate, mean_e = projected(
        s, e, d, with_offset
    )
    if not amplitude > 0.0:
        return NEGATIVE_AMPLITUDE
    freedom = s.size - (3 if with_offset else 2)
    back = np.exp(rate * first_s)
    if not back < FURTHEST_BACK:
        return OUTSIDE_RANGE
    out[TIME, voxel] = 1.0 / rate
    out[AMPLITUDE, voxel] = amplitude * back * scale
    out[OFFSET, voxel] = offset * scale if with_offset else np.nan
    out[R_SQUARED, voxel] = 1.0 - squares / total_squares(s)
    out[RMSE, voxel] = np.sqrt(squares / s.size) * scale
    if bound:
        return AT_BOUND
    if freedom > 0:
        variance = squares / freedom
        rate_variance = variance / curvature
        carried = by_rate + amplitude * first_s
        out[TIME_ERROR, voxel] = np.sqrt(rate_variance) / (rate * rate)
        out[AMPLITUDE_ERROR, voxel] = (
            back * scale * np.sqrt(variance / ee + carried * carried * rate_variance)
        )
        if with_offset:
            own = variance * (1.0 / s.size + mean_e * mean_e / ee)
            out[OFFSET_ERROR, voxel] = scale * np.sqrt(own + offset_by_rate * offset_by_rate * rate_variance)
    return 0


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_voxel(s, e, d, first_s, shifts, spacing, rates, curves, with_offset, scale, out, voxel):
    """One voxel; iterations and flags."""
    best = best_curve(s, curves)
    least = rates[0] if with_offset else LEAST_RATE
    low, high = bracket(best, rates, least)
    rate = rates[best]
    last = best == rates.size - 1
    previous = np.inf
    settled = False
    count = 0
    while count < MOST_ITERATIONS and not settled:
        fill_decay(rate, shifts, spacing, e)
        for i in range(s.size):
            d[i] = -shifts[i] * e[i]
        fitted = projected(s, e, d, with_offset)
        slope = fitted[1]
        count += 1
        if last and count == 1 and slope <= 0.0:
            return count, write_projected(s, e, d, rate, first_s, with_offset, scale, True, out, voxel)
        if slope > 0.0:
            high = rate
        else:
            low = rate
        proposed = next_rate(rate, slope, fitted[2], previous, low, high)
        settled = abs(proposed - rate) <= TOLERANCE * rate
        previous = abs(slope)
        rate = proposed
    if not settled:
        return count, NOT_CONVERGED
    at_least = rate <= least * (1.0 + 1e-6)
    if at_least and not with_offset:
        return count, OUTSIDE_RANGE
    fill_decay(rate, shifts, spacing, e)
    for i in range(s.size):
        d[i] = -shifts[i] * e[i]
    return count, write_projected(s, e, d, rate, first_s, with_offset, scale, at_least, out, voxel)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_decays(samples, first_s, shifts, spacing, rates, curves, with_offset, out, iterations, flags):
    """Least-squares fit of A exp(-rate t), or A exp(-rate t) + C, to every voxel.

    samples : (n, n_voxels) float64
    first_s : time of the first sample; shifts : (n,) float64, time of each after it, ascending from 0
    spacing : seconds between samples where they are equally spaced, otherwise 0
    rates : (n_rates,) float64 ascending, 1/s; the last bounds the rate, with a constant the first too
    curves : (n_rates, n) float64, the decays at these rates, of length one; centred with a constant
    out : (ROWS, n_voxels) float64; time constant in s, amplitude at time 0, constant, their standard errors,
        R squared, root mean square residual; NaN where there is no result
    iterations : (n_voxels,) int16; flags : (n_voxels,) uint16
    """
    n, n_voxels = samples.shape
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        s = np.empty(n)
        e = np.empty(n)
        d = np.empty(n)
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            scale = scaled_samples(samples, voxel, s)
            count = 0
            flag = INVALID_INPUT
            if scale > 0.0:
                count, flag = _fit_voxel(
                    s, e, d, first_s, shifts, spacing, rates, curves, with_offset, scale, out, voxel
                )
            iterations[voxel] = count
            flags[voxel] = flag
