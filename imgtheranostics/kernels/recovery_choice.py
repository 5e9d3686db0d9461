"""Which polarity a recovery curve has: the smallest sum of squares among those that a recovery can have.

Magnitudes lose the sign of the samples before the null. Every number of negative samples at the beginning is
a candidate; one that needs more inversion than there can be is taken only where no other fits comparably,
and says so. Where two candidates fit equally well with different times, the voxel says that, too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.recovery_voxel import C1, C2, J1, J2, SSE, descend, report

RATE, RATIO, SETTLED, POSSIBLE = range(4)
"""Places in the record of a candidate."""

LOW, HIGH, SMALLEST_RATIO, LARGEST_RATIO, LONGEST, CORRECTED, FREE_SIGN = range(7)
"""Places in the limits: rates, k = -c2/c1, the longest time in s, whether that is T (k - 1), and whether the
sign of all samples together is unknown."""

COMPARABLE = 9.0
"""Squares of the noise by which a sum may exceed the smallest and still fit comparably."""

_NOT_CONVERGED, _OUTSIDE_RANGE, _ILL_CONDITIONED, _NEGATIVE_AMPLITUDE, _AMBIGUOUS = 16, 32, 64, 256, 512


@njit(cache=True, nogil=True, error_model="numpy")
def _sign(y, j, signed):
    """The curve with its first j samples negative."""
    for i in range(y.size):
        signed[i] = -y[i] if i < j else y[i]


@njit(cache=True, nogil=True, error_model="numpy")
def search(y, times, repetition_times, coefficients, pair, limits, starts, candidates, records, signed, work):
    """Search the polarities whose start is above 0; how many steps were used.

    y : (n,) float64
    times, repetition_times : (n,) float64; coefficients : (4,) float64
    limits : (7,) float64
    starts : (n_polarities,) float64; the rate to begin with
    candidates : (n_polarities, 4) float64; records : (n_polarities + 1, 10) float64
    signed : (n,) float64, scratch; work : (4, n) float64, scratch
    """
    n_polarities = starts.size
    scratch = records[n_polarities]
    low, high = limits[LOW], limits[HIGH]
    steps = 0
    for j in range(n_polarities):
        candidates[j, SETTLED] = candidates[j, POSSIBLE] = 0.0
        records[j, SSE] = np.inf
        if not starts[j] > 0.0:
            continue
        record = records[j]
        _sign(y, j, signed)
        rate, used, settled = descend(
            signed, times, repetition_times, coefficients, pair, starts[j], low, high, work, record, scratch
        )
        steps += used
        if limits[FREE_SIGN] > 0.0 and record[C1] < 0.0:
            for place in (C1, C2, J1, J2):
                record[place] = -record[place]
        ratio = -record[C2] / record[C1]
        inside = rate > low * (1.0 + 1e-9) and rate < high * (1.0 - 1e-9)
        like_it = not pair or (ratio > limits[SMALLEST_RATIO] and ratio <= limits[LARGEST_RATIO])
        candidates[j, RATE] = rate
        candidates[j, RATIO] = ratio
        if settled:
            candidates[j, SETTLED] = 1.0
            if inside and like_it and record[C1] > 0.0:
                candidates[j, POSSIBLE] = 1.0
        else:
            record[SSE] = np.inf
    return steps


@njit(cache=True, nogil=True, error_model="numpy")
def _pick(candidates, records, slack, exact):
    """The possible candidate with the smallest sum of squares, or the smallest of all; -1 if none settled.

    Sums that are equal but for rounding are told apart by the ratio, which is near 2 for an inversion.
    """
    best = -1
    for j in range(candidates.shape[0]):
        if candidates[j, SETTLED] > 0.0 and (best < 0 or records[j, SSE] < records[best, SSE]):
            best = j
    if best < 0:
        return best
    limit = records[best, SSE] * (1.0 + slack) + exact
    chosen = -1
    for j in range(candidates.shape[0]):
        if candidates[j, POSSIBLE] == 0.0 or records[j, SSE] > limit:
            continue
        if chosen < 0:
            chosen = j
        elif abs(records[j, SSE] - records[chosen, SSE]) <= exact:
            if abs(candidates[j, RATIO] - 2.0) < abs(candidates[chosen, RATIO] - 2.0):
                chosen = j
        elif records[j, SSE] < records[chosen, SSE]:
            chosen = j
    return best if chosen < 0 else chosen


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh_others(candidates, records, chosen, one_square, values):
    """Add to the errors what the other polarities may mean; whether one fits as well with another time.

    With noise of variance `one_square` a polarity has the weight exp(-(SSE - SSE chosen) / (2 one_square)). A
    sample near the null has a sign that its magnitude hides, which the covariance of one polarity leaves out.
    """
    time_error = values[4]
    total, ambiguous = 1.0, False
    spread0, spread1, spread2, spread3 = 0.0, 0.0, 0.0, 0.0
    for j in range(candidates.shape[0]):
        if j == chosen or candidates[j, POSSIBLE] == 0.0:
            continue
        excess = records[j, SSE] - records[chosen, SSE]
        t, k = 1.0 / candidates[j, RATE], candidates[j, RATIO]
        difference = abs(t - values[0])
        if excess <= one_square and not difference <= max(time_error, 1e-3 * values[0]):
            ambiguous = True
        weight = np.exp(-0.5 * max(excess, 0.0) / one_square)
        total += weight
        spread0 += weight * difference**2
        spread1 += weight * (records[j, C1] - values[1]) ** 2
        spread2 += weight * (k - values[2]) ** 2
        spread3 += weight * (t * (k - 1.0) - values[3]) ** 2
    if total > 1.0:
        values[4] = np.sqrt(values[4] ** 2 + spread0 / total)
        values[5] = np.sqrt(values[5] ** 2 + spread1 / total)
        values[6] = np.sqrt(values[6] ** 2 + spread2 / total)
        values[7] = np.sqrt(values[7] ** 2 + spread3 / total)
    return ambiguous


@njit(cache=True, nogil=True, error_model="numpy")
def decide(y, pair, limits, candidates, records, signed, values):
    """Values of the polarity that fits best, and its flags; NaN where there is none.

    signed : (n,) float64, scratch; values : (10,) float64, see `recovery_voxel.report`
    """
    values[:] = np.nan
    n = y.size
    spare = n - (3 if pair else 2)
    total = 0.0
    for i in range(n):
        total += y[i] * y[i]
    exact = (1e-18 if spare > 0 else 1e-12) * total
    chosen = _pick(candidates, records, COMPARABLE / spare if spare > 0 else 0.0, exact)
    if chosen < 0:
        return _NOT_CONVERGED
    record, rate, ratio = records[chosen], candidates[chosen, RATE], candidates[chosen, RATIO]
    if not record[C1] > 0.0:
        return _NEGATIVE_AMPLITUDE
    inside = rate > limits[LOW] * (1.0 + 1e-9) and rate < limits[HIGH] * (1.0 - 1e-9)
    if not inside or (pair and not ratio > limits[SMALLEST_RATIO]):
        return _OUTSIDE_RANGE
    _sign(y, chosen, signed)
    report(signed, rate, record, pair, values)
    corrected = limits[CORRECTED] > 0.0
    if (values[3] if corrected else values[0]) > limits[LONGEST]:
        values[:] = np.nan
        return _OUTSIDE_RANGE
    flag = 0
    if values[4] > values[0] or candidates[chosen, POSSIBLE] == 0.0:
        flag |= _ILL_CONDITIONED
    one_square = max(record[SSE] / spare if spare > 0 else 0.0, exact)
    if _weigh_others(candidates, records, chosen, one_square, values):
        flag |= _AMBIGUOUS
    return flag
