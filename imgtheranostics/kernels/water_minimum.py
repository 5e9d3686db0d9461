"""Minimum of one spectrum, the position of water.

Samples are first mapped by ``u = 1 / (1 + TOP - (z - lowest) / depth)``. The map rises with z, so that the
minimum stays where it is; and it makes a Lorentzian dip nearly a parabola, which splines and polynomials
follow on a grid as coarse as the dip is wide, where the spline through z itself would be off by a twentieth
of the spacing.

Where the noise leaves the curvature of the interpolating spline well determined, the minimum is that of the
spline. Where it does not, it is that of a quartic through the bottom of the dip, by least squares with the
weights that undo the map's effect on the noise; its odd terms take up what leans to one side.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.small_matrices import cholesky, solve_factored
from imgtheranostics.kernels.z_spline import BLOCK

TOP = 0.1
"""What the map leaves between the highest sample and its pole, in depths of the dip."""

LEVELS = (0.3, 0.5, 0.7)
"""Parts of the depth up to which samples belong to the bottom of the dip, tried in turn."""

LEAST_SAMPLES = 7
"""Samples to fit a quartic to."""

SURE_CURVATURE = 20.0
"""Curvature over its standard error from which the interpolating spline is used."""

CLEAR_CURVATURE = 8.0
SEEN_CURVATURE = 4.0
"""The same from which a quartic is taken, and the least for the largest bottom."""

BELOW_NOISE = 2
OUTSIDE_RANGE = 32
"""Bits of `imgtheranostics.volume.Flag`."""

_ORDER = 5


@njit(cache=True, nogil=True, error_model="numpy")
def bottom(z, n, lane, arg, level):
    """First and last sample of the dip around its lowest that lie below a level; at least LEAST_SAMPLES."""
    first = last = arg
    while first > 0 and z[first * BLOCK + lane] < level:
        first -= 1
    while last < n - 1 and z[last * BLOCK + lane] < level:
        last += 1
    while last - first + 1 < LEAST_SAMPLES and (first > 0 or last < n - 1):
        first = max(first - 1, 0)
        last = min(last + 1, n - 1)
    return first, last


@njit(cache=True, nogil=True, error_model="numpy")
def _moments(z, lane, knots, first, last, middle, scale, lowest, depth, moments, right):
    """Sums of weighted powers, and of their products with the mapped samples."""
    moments[:] = 0.0
    right[:] = 0.0
    for i in range(first, last + 1):
        x = (knots[i] - middle) / scale
        v = 1.0 + TOP - (z[i * BLOCK + lane] - lowest) / depth
        weight = v * v
        weight *= weight
        mapped = weight / v
        x2 = x * x
        x4 = x2 * x2
        moments[0] += weight
        moments[1] += weight * x
        moments[2] += weight * x2
        moments[3] += weight * x2 * x
        moments[4] += weight * x4
        moments[5] += weight * x4 * x
        moments[6] += weight * x4 * x2
        moments[7] += weight * x4 * x2 * x
        moments[8] += weight * x4 * x4
        right[0] += mapped
        right[1] += mapped * x
        right[2] += mapped * x2
        right[3] += mapped * x2 * x
        right[4] += mapped * x4


@njit(cache=True, nogil=True, error_model="numpy")
def _lowest_point(knots, first, last, middle, scale, c):
    """Minimum of the quartic between the neighbours of its lowest sample; NaN where that is an end."""
    best, least = -1, np.inf
    for i in range(first, last + 1):
        x = (knots[i] - middle) / scale
        y = x * (c[1] + x * (c[2] + x * (c[3] + x * c[4])))
        if y < least:
            best, least = i, y
    if best <= first or best >= last:
        return np.nan
    low = (knots[best - 1] - middle) / scale
    high = (knots[best + 1] - middle) / scale
    x = (knots[best] - middle) / scale
    for _ in range(60):
        slope = c[1] + x * (2.0 * c[2] + x * (3.0 * c[3] + x * 4.0 * c[4]))
        if slope > 0.0:
            high = x
        else:
            low = x
        curvature = 2.0 * c[2] + x * (6.0 * c[3] + x * 12.0 * c[4])
        proposed = x - slope / curvature
        if not (curvature > 0.0 and low < proposed < high):
            proposed = 0.5 * (low + high)
        if abs(proposed - x) <= 1e-13:
            return proposed
        x = proposed
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _quartic(z, lane, knots, first, last, arg, lowest, depth, w):
    """Minimum of the quartic, and for noise of 1: its standard error, curvature, and standard error of that.

    w : workspace of `workspace`
    """
    moments, right, found, normal, factor = w
    middle = knots[arg]
    scale = max(knots[last] - middle, middle - knots[first])
    _moments(z, lane, knots, first, last, middle, scale, lowest, depth, moments, right)
    for row in range(_ORDER):
        for column in range(row + 1):
            normal[row, column] = moments[row + column]
    if not cholesky(normal, factor):
        return np.nan, np.nan, np.nan, np.nan
    solve_factored(factor, right, found)
    x = _lowest_point(knots, first, last, middle, scale, found)
    if not np.isfinite(x):
        return np.nan, np.nan, np.nan, np.nan
    curvature = 2.0 * found[2] + x * (6.0 * found[3] + x * 12.0 * found[4])
    right[0] = 0.0
    right[1], right[2], right[3], right[4] = 1.0, 2.0 * x, 3.0 * x * x, 4.0 * x * x * x
    solve_factored(factor, right, found)
    along = 0.0
    for k in range(_ORDER):
        along += right[k] * found[k]
    right[1] = 0.0
    right[2], right[3], right[4] = 2.0, 6.0 * x, 12.0 * x * x
    solve_factored(factor, right, found)
    bending = 0.0
    for k in range(_ORDER):
        bending += right[k] * found[k]
    per_ppm = 1.0 / scale
    return (
        middle + scale * x,
        scale * np.sqrt(along) / (depth * curvature),
        curvature * per_ppm * per_ppm,
        np.sqrt(bending) * per_ppm * per_ppm / depth,
    )


@njit(cache=True, nogil=True)
def workspace():
    """Arrays that a quartic needs."""
    return (
        np.empty(9),
        np.empty(_ORDER),
        np.empty(_ORDER),
        np.empty((_ORDER, _ORDER)),
        np.empty((_ORDER, _ORDER)),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def fit_bottom(z, n, lane, knots, bends, noise, lowest, highest, arg, w):
    """Position, its standard error, flags, and whether the interpolating spline should be asked instead.

    z : (n * BLOCK,) float64; knots : (n,) float64
    bends : (n,) float64, standard error of the spline's second derivative at each knot for noise of 1
    noise : of each sample, NaN where it is not known
    """
    depth = highest - lowest
    flag = BELOW_NOISE
    if n < LEAST_SAMPLES:
        return np.nan, np.nan, 0, True
    for number in range(len(LEVELS)):
        first, last = bottom(z, n, lane, arg, lowest + LEVELS[number] * depth)
        place, error, curvature, uncertain = _quartic(z, lane, knots, first, last, arg, lowest, depth, w)
        if not np.isfinite(place):
            flag = OUTSIDE_RANGE if first == 0 or last == n - 1 else BELOW_NOISE
            continue
        least = CLEAR_CURVATURE if number + 1 < len(LEVELS) else SEEN_CURVATURE
        if curvature < least * uncertain * noise:
            flag = BELOW_NOISE
            continue
        steepness = 1.0 / ((1.0 + TOP) * (1.0 + TOP) * depth)
        sure = not curvature < SURE_CURVATURE * bends[arg] * steepness * noise
        return place, error * noise, 0, sure
    return np.nan, np.nan, flag, False


@njit(cache=True, nogil=True, error_model="numpy")
def spline_minimum(u, s, n, lane, knots, sensitivity, noise, depth, arg):
    """Minimum of the interpolating spline beside its lowest knot, and its standard error.

    u, s : (n * BLOCK,) float64, mapped samples and the spline's slopes
    sensitivity : (n, n) float64, slope at each knot by each sample
    """
    k = arg - 1 if s[arg * BLOCK + lane] > 0.0 else arg
    step = knots[k + 1] - knots[k]
    rise = u[(k + 1) * BLOCK + lane] - u[k * BLOCK + lane]
    begin = step * s[k * BLOCK + lane]
    end = step * s[(k + 1) * BLOCK + lane]
    cubic = begin + end - 2.0 * rise
    square = rise - begin - cubic
    root = np.sqrt(max(square * square - 3.0 * cubic * begin, 0.0))
    x = -begin / (square + root)
    x = min(max(x, 0.0), 1.0)
    curvature = (2.0 * square + 6.0 * cubic * x) / (step * step)
    of_first = 1.0 + x * (3.0 * x - 4.0)
    of_last = x * (3.0 * x - 2.0)
    of_rise = 6.0 * x * (1.0 - x) / step
    total = 0.0
    for j in range(n):
        by = of_first * sensitivity[k, j] + of_last * sensitivity[k + 1, j]
        if j == k:
            by -= of_rise
        elif j == k + 1:
            by += of_rise
        level = u[j * BLOCK + lane]
        by *= level * level
        total += by * by
    return knots[k] + step * x, noise * np.sqrt(total) / (depth * curvature)
