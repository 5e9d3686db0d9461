"""Landmarks of contrast curves: arrival, peak, slopes, areas; each with the gradient that gives its error.

Every parameter is a differentiable function of the samples once the samples that it rests on are chosen. Its
gradient with respect to all samples is written out, so that its variance contains every correlation (of a
peak with the baseline, of an area with the arrival).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

CHUNK = 64
"""Voxels whose curves are turned into rows together; columns of planes are far apart in memory."""

NOT_ENHANCING = 4096
AT_BOUND = 8
ILL_CONDITIONED = 64
INVALID_INPUT = 4
OUTSIDE_RANGE = 32

ROUNDING = 0.01
"""Share of the peak that counts as nothing even in a curve without noise: images are rounded."""

LANDMARKS = 5
"""Rows: arrival, time to peak, peak, mean wash-in and wash-out slopes."""


@njit(cache=True, nogil=True)
def _rows(samples, begin, end, rows):
    """Curves of samples[:, begin:end] as rows."""
    for k in range(samples.shape[0]):
        for v in range(begin, end):
            rows[v - begin, k] = samples[k, v]


@njit(cache=True, nogil=True)
def _error(gradient, noise, shared):
    """Standard error of what has this gradient: noise of each sample apart, shared errors all at once."""
    own = 0.0
    common = 0.0
    for k in range(gradient.size):
        if gradient[k] != 0.0:
            own += (gradient[k] * noise[k]) ** 2
            common += gradient[k] * shared[k]
    return np.sqrt(own + common * common)


@njit(cache=True, nogil=True)
def _height(noise, first, stop, threshold):
    """How far above the baseline a sample must lie; 0 where the noise is not known."""
    total = 0.0
    for k in range(first, stop):
        total += noise[k]
    return threshold * total / (stop - first) if np.isfinite(total) else 0.0


@njit(cache=True, nogil=True)
def _mean(curve, first, stop):
    """Mean of curve[first:stop]; NaN as soon as any sample of the curve is not finite."""
    total = 0.0
    check = 0.0
    for k in range(curve.size):
        check += curve[k] * 0.0
        if first <= k < stop:
            total += curve[k]
    return total / (stop - first) + check


@njit(cache=True, nogil=True)
def _top(curve, stop):
    """Index of the largest sample after the baseline."""
    top = min(stop, curve.size - 1)
    for k in range(top, curve.size):
        if curve[k] > curve[top]:
            top = k
    return top


@njit(cache=True, nogil=True)
def _arrival(curve, time_s, first, stop, base, height, run, gradient):
    """Where the first rise meets the baseline; time and flags, the gradient into `gradient`.

    The rise begins with the first `run` samples after the baseline that all lie above it by `height`; the
    line through the first two of them is extended back, at most to two samples before.
    """
    n = curve.size
    gradient[:] = 0.0
    height = max(height, ROUNDING * (curve[_top(curve, stop)] - base))
    begin = -1
    for i in range(stop, n - run + 1):
        above = True
        for k in range(i, i + run):
            above = above and curve[k] - base > height
        if above:
            begin = i
            break
    if begin < 0:
        return np.nan, NOT_ENHANCING
    earliest = time_s[max(begin - 2, 0)]
    rise = curve[begin + 1] - curve[begin] if begin + 1 < n else 0.0
    if rise <= 0.0:
        return time_s[begin - 1] if begin > 0 else time_s[0], AT_BOUND
    step = time_s[begin + 1] - time_s[begin]
    above_base = curve[begin] - base
    arrival = time_s[begin] - above_base * step / rise
    if arrival < earliest:
        return earliest, AT_BOUND
    share = above_base * step / (rise * rise)
    gradient[begin] -= step / rise + share
    gradient[begin + 1] += share
    for k in range(first, stop):
        gradient[k] += step / rise / (stop - first)
    return arrival, 0


@njit(cache=True, nogil=True)
def _invert_3x3(m, out):
    """Inverse of a symmetric 3 x 3 matrix; False when it is singular."""
    a = m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1]
    b = m[1, 2] * m[2, 0] - m[1, 0] * m[2, 2]
    c = m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0]
    determinant = m[0, 0] * a + m[0, 1] * b + m[0, 2] * c
    if determinant == 0.0:
        return False
    out[0, 0] = a / determinant
    out[0, 1] = out[1, 0] = b / determinant
    out[0, 2] = out[2, 0] = c / determinant
    out[1, 1] = (m[0, 0] * m[2, 2] - m[0, 2] * m[2, 0]) / determinant
    out[1, 2] = out[2, 1] = (m[0, 2] * m[1, 0] - m[0, 0] * m[1, 2]) / determinant
    out[2, 2] = (m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]) / determinant
    return True


@njit(cache=True, nogil=True)
def _vertex(curve, time_s, top, half, small, gradient_time, gradient_height):
    """Time and height of the parabola through the samples around `top`; flags; gradients of both.

    small : (2, 3, 3) workspace
    """
    gradient_time[:] = 0.0
    gradient_height[:] = 0.0
    low, high = top - half, top + half
    if low < 0 or high >= curve.size:
        return time_s[top], curve[top], AT_BOUND
    unit = 0.5 * (time_s[high] - time_s[low])
    normal, inverse = small[0], small[1]
    normal[:] = 0.0
    for k in range(low, high + 1):
        x = (time_s[k] - time_s[top]) / unit
        for i in range(3):
            for j in range(3):
                normal[i, j] += x ** (i + j)
    if not _invert_3x3(normal, inverse):
        return np.nan, np.nan, ILL_CONDITIONED
    p0 = p1 = p2 = 0.0
    for k in range(low, high + 1):
        x = (time_s[k] - time_s[top]) / unit
        y = curve[k] - curve[top]
        p0 += (inverse[0, 0] + inverse[0, 1] * x + inverse[0, 2] * x * x) * y
        p1 += (inverse[1, 0] + inverse[1, 1] * x + inverse[1, 2] * x * x) * y
        p2 += (inverse[2, 0] + inverse[2, 1] * x + inverse[2, 2] * x * x) * y
    if p2 >= 0.0:
        return np.nan, np.nan, ILL_CONDITIONED
    best = -0.5 * p1 / p2
    if best < (time_s[low] - time_s[top]) / unit or best > (time_s[high] - time_s[top]) / unit:
        return np.nan, np.nan, ILL_CONDITIONED
    for k in range(low, high + 1):
        x = (time_s[k] - time_s[top]) / unit
        d0 = inverse[0, 0] + inverse[0, 1] * x + inverse[0, 2] * x * x
        d1 = inverse[1, 0] + inverse[1, 1] * x + inverse[1, 2] * x * x
        d2 = inverse[2, 0] + inverse[2, 1] * x + inverse[2, 2] * x * x
        gradient_time[k] = unit * (-0.5 * d1 / p2 + 0.5 * p1 * d2 / (p2 * p2))
        gradient_height[k] = d0 + best * d1 + best * best * d2
    return time_s[top] + unit * best, curve[top] + p0 + best * (p1 + best * p2), 0


@njit(cache=True, nogil=True)
def _first_from(time_s, moment):
    k = 0
    while k < time_s.size and time_s[k] < moment:
        k += 1
    return k


@njit(cache=True, nogil=True)
def _relative(value, base, first, stop, given, share, gradient, relative):
    """A difference from the baseline, or a slope, as it is or in percent of the baseline's size.

    given : gradient of what is compared with the baseline; share : derivative of the value by the baseline
    gradient : where that of the result goes; may be `given`
    """
    size = abs(base)
    scale = 1.0 if relative == 0 else 100.0 / size
    by_base = scale * share
    if relative != 0:
        by_base -= 100.0 * value / (base * size)
    for k in range(gradient.size):
        gradient[k] = scale * given[k]
    for k in range(first, stop):
        gradient[k] += by_base / (stop - first)
    return scale * value


@njit(cache=True, nogil=True)
def _landmarks(
    curve, time_s, first, stop, base, height, run, half, relative, noise, shared, work, small, out, errors
):
    """All landmarks of one curve that begins at a known arrival out[0], or at one found here; its flags.

    noise, shared : (n,); work : (4, n)
    """
    n = curve.size
    moving, rising, arriving, gradient = work[0], work[1], work[2], work[3]
    flags = 0
    if np.isnan(out[0]):
        out[0], flags = _arrival(curve, time_s, first, stop, base, height, run, arriving)
        errors[0] = _error(arriving, noise, shared) if flags == 0 else np.nan
        if flags & NOT_ENHANCING:
            return flags
    else:
        arriving[:] = 0.0
        errors[0] = 0.0
    top = _top(curve, stop)
    if not curve[top] - base > height:
        return flags | NOT_ENHANCING
    moment, height_at_peak, state = _vertex(curve, time_s, top, half, small, moving, rising)
    if not np.isfinite(moment):
        return flags | state
    peak = height_at_peak - base
    duration = moment - out[0]
    ahead = time_s[n - 1] - moment
    out[1] = duration
    out[2] = _relative(peak, base, first, stop, rising, -1.0, gradient, relative)
    errors[2] = _error(gradient, noise, shared)
    if duration > 0.0:
        for k in range(n):
            moving[k] -= arriving[k]
            gradient[k] = rising[k] / duration - peak * moving[k] / (duration * duration)
        errors[1] = _error(moving, noise, shared) + 0.0 * errors[0]
        out[3] = _relative(peak / duration, base, first, stop, gradient, -1.0 / duration, gradient, relative)
        errors[3] = _error(gradient, noise, shared) + 0.0 * errors[0]
        for k in range(n):
            moving[k] += arriving[k]
    else:
        flags |= OUTSIDE_RANGE
    if ahead > 0.0:
        fall = (curve[n - 1] - height_at_peak) / ahead
        for k in range(n):
            gradient[k] = (fall * moving[k] - rising[k]) / ahead
        gradient[n - 1] += 1.0 / ahead
        out[4] = _relative(fall, base, first, stop, gradient, 0.0, gradient, relative)
        errors[4] = _error(gradient, noise, shared)
    else:
        flags |= OUTSIDE_RANGE
    if state != 0:
        errors[1:] = np.nan
    return flags | state


@njit(cache=True, nogil=True, parallel=True)
def landmarks(
    samples, noise, shared, time_s, first, stop, threshold, run, half, relative, arrival_s, out, errors, flags
):
    """Arrival, time to peak, peak above baseline, wash-in and wash-out slope of each curve.

    samples : (n, n_voxels) float64
    noise : (n, n_voxels) float64; of each sample alone, NaN where it is not known
    shared : (n, n_voxels) float64; error of each sample that all of a curve have in common
    time_s : (n,) float64, increasing
    relative : 0, or 1 (-1 for curves turned upside down) for percent of a baseline of that sign
    arrival_s : (n_voxels,) float64, NaN where it is to be found
    out, errors : (LANDMARKS, n_voxels) float64; NaN where there is none
    flags : (n_voxels,) uint16
    """
    n, n_voxels = samples.shape
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        work = np.empty((4, n))
        small = np.empty((2, 3, 3))
        tiles = np.empty((3, CHUNK, n))
        begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)
        _rows(samples, begin, end, tiles[0])
        _rows(noise, begin, end, tiles[1])
        _rows(shared, begin, end, tiles[2])
        row, error = np.empty(LANDMARKS), np.empty(LANDMARKS)
        for v in range(begin, end):
            curve, own, common = tiles[0, v - begin], tiles[1, v - begin], tiles[2, v - begin]
            row[:] = np.nan
            error[:] = np.nan
            base = _mean(curve, first, stop)
            if not np.isfinite(base) or (base * relative < 0.0 or (relative != 0 and base == 0.0)):
                flags[v] |= INVALID_INPUT
            else:
                row[0] = arrival_s[v]
                height = _height(own, first, stop, threshold)
                flags[v] |= _landmarks(
                    curve, time_s, first, stop, base, height, run, half, relative, own, common, work, small,
                    row, error,
                )  # fmt: skip
            out[:, v] = row
            errors[:, v] = error


@njit(cache=True, nogil=True)
def _value_at(curve, time_s, moment):
    """Curve at a moment inside the times, by linear interpolation."""
    k = min(max(_first_from(time_s, moment), 1), time_s.size - 1)
    share = (moment - time_s[k - 1]) / (time_s[k] - time_s[k - 1])
    return curve[k - 1] + share * (curve[k] - curve[k - 1])


@njit(cache=True, nogil=True)
def _area(curve, time_s, begin, end, gradient):
    """Integral of the piecewise-linear curve from `begin` to `end`, inside its times; the gradient."""
    gradient[:] = 0.0
    total = 0.0
    for k in range(max(_first_from(time_s, begin) - 1, 0), time_s.size - 1):
        low, high = max(begin, time_s[k]), min(end, time_s[k + 1])
        if low >= end:
            break
        if high > low:
            middle = (0.5 * (low + high) - time_s[k]) / (time_s[k + 1] - time_s[k])
            gradient[k] += (high - low) * (1.0 - middle)
            gradient[k + 1] += (high - low) * middle
            total += (high - low) * (curve[k] + middle * (curve[k + 1] - curve[k]))
    return total


@njit(cache=True, nogil=True, parallel=True)
def initial_areas(
    samples,
    noise,
    shared,
    time_s,
    first,
    stop,
    threshold,
    run,
    windows_s,
    arrival_s,
    arrival,
    areas,
    errors,
    flags,
):
    """Arrival of each curve, and the area under it in windows that begin there.

    samples, noise, shared, time_s, arrival_s, flags : as in `landmarks`
    windows_s : (n_windows,) float64
    arrival : (2, n_voxels) float64; s, and its error
    areas, errors : (n_windows, n_voxels) float64; NaN where the curve ends before the window
    """
    n, n_voxels = samples.shape
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        arriving, gradient, tiles = np.empty(n), np.empty(n), np.empty((3, CHUNK, n))
        lowest, highest = chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)
        _rows(samples, lowest, highest, tiles[0])
        _rows(noise, lowest, highest, tiles[1])
        _rows(shared, lowest, highest, tiles[2])
        for v in range(lowest, highest):
            curve, own, common = tiles[0, v - lowest], tiles[1, v - lowest], tiles[2, v - lowest]
            arrival[:, v] = np.nan
            areas[:, v] = np.nan
            errors[:, v] = np.nan
            base = _mean(curve, first, stop)
            if not np.isfinite(base):
                flags[v] |= INVALID_INPUT
                continue
            state = 0
            begin = arrival_s[v]
            arriving[:] = 0.0
            if np.isnan(begin):
                height = _height(own, first, stop, threshold)
                begin, state = _arrival(curve, time_s, first, stop, base, height, run, arriving)
                flags[v] |= state
            arrival[0, v] = begin
            if state & NOT_ENHANCING:
                continue
            arrival[1, v] = _error(arriving, own, common) if state == 0 else np.nan
            for w in range(windows_s.size):
                end = begin + windows_s[w]
                if end > time_s[n - 1] or begin < time_s[0]:
                    flags[v] |= OUTSIDE_RANGE
                    continue
                areas[w, v] = _area(curve, time_s, begin, end, gradient)
                if state == 0:
                    shift = _value_at(curve, time_s, end) - _value_at(curve, time_s, begin)
                    for k in range(n):
                        gradient[k] += shift * arriving[k]
                    errors[w, v] = _error(gradient, own, common)
