"""Whether a spectrum has a dip at all, and whether its samples tell where its centre lies; one lane each."""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.water_minimum import TOP
from imgtheranostics.kernels.z_spline import BLOCK

STANDS_OUT = 4.6
"""Standard deviations that one of a few hundred samples lies below their mean once in a thousand spectra."""

UNEVEN = 0.05
"""Part of the depth by which a spectrum of unknown noise may rise on its way to the lowest sample."""

LEAST_BELOW_HALF = 3
"""Samples below half of the depth that it takes to know a centre to better than the spacing."""

RIPPLE = 0.15
RIPPLE_OF_NOISE = 6.0
"""Part of the depth, and times the noise, by which one sample exceeds both beside it in a rippled dip."""

PERHAPS_ROUGH = 0.04
ROUGH = 0.03
ROUGH_OF_NOISE = 4.0
"""Parts of the depth, and times the noise, by which samples miss a smooth curve through the bottom, and a
parabola through the lower half, in the map of `water_minimum`, in a dip with ripples that they do not
resolve."""

FLAT = 0.01
FLAT_OF_NOISE = 2.0
"""The same above the lowest sample that make a flat bottom."""

MOST_FLAT = 0.04
"""Part of the depth up to which the second can be told from the walls."""


@njit(cache=True, nogil=True, error_model="numpy")
def stands_out(z, n, lane, low, noise, least_ratio):
    """Whether the lowest sample lies farther below the mean than noise takes it.

    z : (n * BLOCK,) float64
    least_ratio : mean square about the mean over the noise's, exceeded by noise alone once in a thousand. It
        has in it what is not known of the noise, which lengthens the tail of such a difference more than its
        width: 5, 7 and 14 standard deviations for a known noise, and one of 51 and 21 samples
    """
    mean = 0.0
    for i in range(n):
        mean += z[i * BLOCK + lane] / n
    tail = np.log(least_ratio)
    return mean - low > STANDS_OUT * np.exp(0.2 * tail * tail) * noise


@njit(cache=True, nogil=True, error_model="numpy")
def falls_and_rises(z, n, lane, low, high, arg):
    """Whether a spectrum falls to its lowest sample and rises from there, as noise alone hardly does."""
    allowed = UNEVEN * (high - low)
    for i in range(n - 1):
        rise = z[(i + 1) * BLOCK + lane] - z[i * BLOCK + lane]
        if (rise if i < arg else -rise) > allowed:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _is_peak(z, i, lane, above, half):
    """Whether a sample exceeds both beside it, which lie in the lower half of the dip, by so much."""
    here = z[i * BLOCK + lane] - above
    before, after = z[(i - 1) * BLOCK + lane], z[(i + 1) * BLOCK + lane]
    return before < min(here, half) and after < min(here, half)


@njit(cache=True, nogil=True, error_model="numpy")
def uncertain_width(z, n, knots, lane, low, high, arg, noise):
    """Width of the range in which the samples leave the centre of the dip open; 0 where they do not.

    z : (n * BLOCK,) float64; knots : (n,) float64; 0 < arg < n - 1, the lowest sample; noise may be NaN
    """
    depth = high - low
    half = low + 0.5 * depth
    i = j = arg
    while i > 0 and z[(i - 1) * BLOCK + lane] < half:
        i -= 1
    while j < n - 1 and z[(j + 1) * BLOCK + lane] < half:
        j += 1
    level = noise if noise > 0.0 else 0.0
    width = 0.0
    if j - i + 1 < LEAST_BELOW_HALF:
        width = max(knots[arg + 1] - knots[arg], knots[arg] - knots[arg - 1])
    above = max(RIPPLE * depth, RIPPLE_OF_NOISE * level)
    for k in range(max(i - 1, 1), min(j + 1, n - 2) + 1):
        if _is_peak(z, k, lane, above, half):
            width = max(width, 0.5 * (knots[min(j + 1, n - 1)] - knots[max(i - 1, 0)]))
    flat = max(FLAT * depth, FLAT_OF_NOISE * level)
    if flat <= MOST_FLAT * depth:
        first = last = arg
        while first > i and z[(first - 1) * BLOCK + lane] <= low + flat:
            first -= 1
        while last < j and z[(last + 1) * BLOCK + lane] <= low + flat:
            last += 1
        # One sample at most on either side between the bottom and half of the depth: a box, not a dip.
        if last - first + 1 >= LEAST_BELOW_HALF and first - i <= 1 and j - last <= 1:
            width = max(width, knots[last] - knots[first])
    return width


@njit(cache=True, nogil=True, error_model="numpy")
def _missed_by_parabola(z, knots, lane, low, depth, first, last):
    """Root mean square by which samples miss the parabola of least squares in the map, in depths."""
    if last - first < 3:
        return 0.0
    m0 = m1 = m2 = m3 = m4 = r0 = r1 = r2 = squares = 0.0
    middle, per = 0.5 * (knots[first] + knots[last]), 2.0 / (knots[last] - knots[first])
    for i in range(first, last + 1):
        x = (knots[i] - middle) * per
        v = 1.0 + TOP - (z[i * BLOCK + lane] - low) / depth
        cube = v * v * v
        weight = cube * v
        squares += v * v
        m0 += weight
        m1 += weight * x
        m2 += weight * x * x
        m3 += weight * x * x * x
        m4 += weight * x * x * x * x
        r0 += cube
        r1 += cube * x
        r2 += cube * x * x
    d1 = m2 - m1 * m1 / m0
    t21 = m3 - m2 * m1 / m0
    d2 = m4 - m2 * m2 / m0 - t21 * t21 / d1
    r1 -= m1 / m0 * r0
    r2 -= m2 / m0 * r0 + t21 / d1 * r1
    missed = squares - r0 * r0 / m0 - r1 * r1 / d1 - r2 * r2 / d2
    return np.sqrt(max(missed, 0.0) / (last - first - 2.0))


@njit(cache=True, nogil=True, error_model="numpy")
def roughness(z, n, knots, lane, low, high, arg, noise, perhaps):
    """By how much of the depth samples miss a smooth dip; 0 where noise may do that. The noise may be NaN.

    perhaps : the same for the bottom alone, which tells most dips that are smooth
    """
    depth = high - low
    least = ROUGH_OF_NOISE * noise if noise > 0.0 else 0.0
    if not perhaps > PERHAPS_ROUGH:
        return 0.0
    i = j = arg
    while i > 0 and z[i * BLOCK + lane] < low + 0.5 * depth:
        i -= 1
    while j < n - 1 and z[j * BLOCK + lane] < low + 0.5 * depth:
        j += 1
    rough = _missed_by_parabola(z, knots, lane, low, depth, i, j)
    return rough if rough > ROUGH and rough * depth > least else 0.0
