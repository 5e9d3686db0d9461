"""Two exponentials fitted to many curves at once: voxels as SIMD lanes, for curves that need no bound.

The search is that of `exponential_fit`, by steps of Gauss and Newton for the two rates with the amplitudes
eliminated, in closed form. A curve whose search does not settle at once, or ends at a bound, at an amplitude
of zero or where the phases are not told apart, is left to that kernel. What is found for a curve depends on
no other one: lanes that have settled stand still.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels.bolus_shapes import exponential
from imgtheranostics.kernels.exponential_fit import CONVERGED, LEAST_GAIN, NEGATIVE
from imgtheranostics.kernels.exponential_sums import LEAST_EXPONENT, OPEN

LANES = 64
"""Curves of a block: its workspace stays in the first-level cache."""

LEFT = 128
"""State of a curve that was left to the other kernel."""

MOST_STEPS = 12

LONGEST_STEP = 0.5
"""Of a rate, per iteration."""

DISTINCT = 1e-9
"""Part of the effect of a parameter that must be its own."""

LEAST_NOISE = 1e-9
"""Part of the sum of squares of the curve that the residuals must have for a difference to give them."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}

# rows of the workspace, at constant offsets, which is what lets the loops over lanes become vectors
_K1, _K2, _G11, _G12, _G22, _B1, _B2, _P11, _P12, _P22, _Q1, _Q2, _R11, _R12, _R22 = (
    0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896,
)  # fmt: skip
_DONE, _BEST, _TOTAL, _COUNT, _MEAN, _SIZE, _LEAST = 960, 1024, 1088, 1152, 1216, 1280, 1344
_ROWS = 22


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _load(curves, first, stop, root, y, w):
    """Weighted curves over their largest magnitude; missing ones are copies of the first."""
    n = root.size
    for lane in range(LANES):
        row = curves[first + lane if first + lane < stop else first]
        largest, least, total, mean = 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            value = row[i]
            if root[i] > 0.0:
                largest = max(largest, abs(value))
                least = min(least, value)
        scale = 1.0 / largest if largest > 0.0 else 0.0
        for i in range(n):
            value = row[i] * scale * root[i]
            y[i * LANES + lane] = value
            total += value * value
            mean += value * root[i]
        w[_SIZE + lane], w[_LEAST + lane] = largest, least
        w[_TOTAL + lane], w[_MEAN + lane] = total, mean
        w[_DONE + lane], w[_COUNT + lane], w[_BEST + lane] = 0.0, 0.0, -1.0
        w[_K1 + lane], w[_K2 + lane] = 1.0, 2.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _start(y, table, combinations, inverses, rates, difference, products, w):
    """Rates of the pair of table rows that explains most with amplitudes that are not below zero."""
    n = table.shape[1]
    for row in range(table.shape[0]):
        base = row * LANES
        for lane in range(LANES):
            products[base + lane] = 0.0
        for i in range(n):
            value = table[row, i]
            for lane in range(LANES):
                products[base + lane] += value * y[i * LANES + lane]
    for q in range(combinations.shape[0]):
        one, two = combinations[q, 0], combinations[q, 1]
        a, b, d = inverses[q, 0, 0], inverses[q, 0, 1], inverses[q, 1, 1]
        slow, fast = rates[one], rates[two]
        for lane in range(LANES):
            v = products[two * LANES + lane]
            u = products[one * LANES + lane] - difference * v
            first, second = a * u + b * v, b * u + d * v
            explained = first * u + second * v
            better = (first >= 0.0) & (second >= 0.0) & (explained > w[_BEST + lane])
            w[_BEST + lane] = explained if better else w[_BEST + lane]
            w[_K1 + lane] = slow if better else w[_K1 + lane]
            w[_K2 + lane] = fast if better else w[_K2 + lane]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _sum(y, time, root, w):
    """Products of the exponentials with each other, the curves, and the times."""
    for k in range(_G11, _DONE):
        w[k] = 0.0
    for i in range(time.size):
        t, weight = time[i], root[i]
        for lane in range(LANES):
            e = weight * exponential(max(-w[_K1 + lane] * t, LEAST_EXPONENT))
            f = weight * exponential(max(-w[_K2 + lane] * t, LEAST_EXPONENT))
            value = y[i * LANES + lane]
            ee, ef, ff, ey, fy = e * e, e * f, f * f, e * value, f * value
            w[_G11 + lane] += ee
            w[_G12 + lane] += ef
            w[_G22 + lane] += ff
            w[_B1 + lane] += ey
            w[_B2 + lane] += fy
            w[_P11 + lane] += t * ee
            w[_P12 + lane] += t * ef
            w[_P22 + lane] += t * ff
            w[_Q1 + lane] += t * ey
            w[_Q2 + lane] += t * fy
            w[_R11 + lane] += t * t * ee
            w[_R12 + lane] += t * t * ef
            w[_R22 + lane] += t * t * ff


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _step(w, low):
    """One step of the rates of all lanes that have not settled; how many lanes have."""
    settled = 0.0
    for lane in range(LANES):
        g11, g12, g22 = w[_G11 + lane], w[_G12 + lane], w[_G22 + lane]
        b1, b2 = w[_B1 + lane], w[_B2 + lane]
        p11, p12, p22 = w[_P11 + lane], w[_P12 + lane], w[_P22 + lane]
        share = 1.0 / (g11 * g22 - g12 * g12)
        i11, i12, i22 = g22 * share, -g12 * share, g11 * share
        a1, a2 = i11 * b1 + i12 * b2, i12 * b1 + i22 * b2
        m11, m12, m21, m22 = -a1 * p11, -a1 * p12, -a2 * p12, -a2 * p22
        x1, x2 = i11 * m11 + i12 * m12, i12 * m11 + i22 * m12
        z1, z2 = i11 * m21 + i12 * m22, i12 * m21 + i22 * m22
        n11 = a1 * a1 * w[_R11 + lane] - (m11 * x1 + m12 * x2)
        n12 = a1 * a2 * w[_R12 + lane] - (m21 * x1 + m22 * x2)
        n22 = a2 * a2 * w[_R22 + lane] - (m21 * z1 + m22 * z2)
        d1 = -a1 * (a1 * p11 + a2 * p12 - w[_Q1 + lane])
        d2 = -a2 * (a1 * p12 + a2 * p22 - w[_Q2 + lane])
        part = 1.0 / (n11 * n22 - n12 * n12)
        s1, s2 = part * (n12 * d2 - n22 * d1), part * (n12 * d1 - n11 * d2)
        k1, k2 = w[_K1 + lane], w[_K2 + lane]
        left = max(w[_TOTAL + lane] - a1 * b1 - a2 * b2, 1e-14 * w[_TOTAL + lane])
        most1, most2 = LONGEST_STEP * k1, LONGEST_STEP * k2
        short = (abs(s1) < most1) & (abs(s2) < most2) & (k1 + s1 > low)
        ends = short & (-(d1 * s1 + d2 * s2) <= LEAST_GAIN * left)
        done = w[_DONE + lane] > 0.0
        moved1 = max(k1 + min(max(s1, -most1), most1), low)
        moved2 = k2 + min(max(s2, -most2), most2)
        w[_K1 + lane] = k1 if done else moved1
        w[_K2 + lane] = k2 if done else moved2
        w[_COUNT + lane] += 0.0 if done else 1.0
        now = 1.0 if (ends | done) else 0.0
        w[_DONE + lane] = now
        settled += now
    return settled


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _describe(w, setting, out):
    """Results of all lanes in rows of `out`: 8 values, 8 errors, two sums of squares, and whether they hold.

    setting : difference, low, high, apart, decay, scale of the variance (0 where weights are inverse
    variances), sum of the weights
    """
    difference, low, high, apart, decay, freedom, weight = setting
    for lane in range(LANES):
        g11, g12, g22 = w[_G11 + lane], w[_G12 + lane], w[_G22 + lane]
        b1, b2, size = w[_B1 + lane], w[_B2 + lane], w[_SIZE + lane]
        p11, p12, p22 = w[_P11 + lane], w[_P12 + lane], w[_P22 + lane]
        k1, k2, total = w[_K1 + lane], w[_K2 + lane], w[_TOTAL + lane]
        determinant = g11 * g22 - g12 * g12
        i11, i12, i22 = g22 / determinant, -g12 / determinant, g11 / determinant
        a1, a2 = i11 * b1 + i12 * b2, i12 * b1 + i22 * b2
        m11, m12, m21, m22 = -a1 * p11, -a1 * p12, -a2 * p12, -a2 * p22
        x1, x2 = i11 * m11 + i12 * m12, i12 * m11 + i22 * m12
        z1, z2 = i11 * m21 + i12 * m22, i12 * m21 + i22 * m22
        own1, own2 = a1 * a1 * w[_R11 + lane], a2 * a2 * w[_R22 + lane]
        n11 = own1 - (m11 * x1 + m12 * x2)
        n12 = a1 * a2 * w[_R12 + lane] - (m21 * x1 + m22 * x2)
        n22 = own2 - (m21 * z1 + m22 * z2)
        both = n11 * n22 - n12 * n12
        j11, j12, j22 = n22 / both, -n12 / both, n11 / both
        explained = a1 * b1 + a2 * b2
        left = total - explained
        lowest = a2 + difference * a1
        holds = (w[_DONE + lane] > 0.0) & (a1 > 1e-9) & (lowest > 1e-9) & (k1 > low) & (k1 < high)
        holds = holds & (k2 - k1 > apart) & (k2 - k1 < high) & (left > LEAST_NOISE * total)
        holds = holds & (determinant > DISTINCT * g11 * g22) & (both > DISTINCT * n11 * n22)
        holds = holds & (n11 > DISTINCT * own1) & (n22 > DISTINCT * own2)
        holds = holds & (explained >= w[_BEST + lane] * (1.0 - 1e-12))
        variance = left * freedom if freedom > 0.0 else 1.0 / (size * size)
        r1, r2 = 1.0 / (k1 + decay), 1.0 / (k2 + decay)
        l1 = exponential(max(-(k1 + decay), LEAST_EXPONENT))
        l2 = exponential(max(-(k2 + decay), LEAST_EXPONENT))
        area = a1 * r1 + a2 * r2
        late = (a1 * r1 * l1 + a2 * r2 * l2) / area
        mean = (a1 * r1 * r1 + a2 * r2 * r2) / area
        out[0 * LANES + lane], out[1 * LANES + lane] = a1 * size, a2 * size
        out[2 * LANES + lane], out[3 * LANES + lane], out[4 * LANES + lane] = k1, k2, k1
        out[5 * LANES + lane], out[6 * LANES + lane], out[7 * LANES + lane] = area * size, late, mean
        # amplitudes: derivatives 1 and 0; the rates follow by -M G^-1 of it
        u1, u2 = -(m11 * i11 + m12 * i12), -(m21 * i11 + m22 * i12)
        v1, v2 = -(m11 * i12 + m12 * i22), -(m21 * i12 + m22 * i22)
        out[8 * LANES + lane] = size * np.sqrt(
            variance * (i11 + u1 * u1 * j11 + 2.0 * u1 * u2 * j12 + u2 * u2 * j22)
        )
        out[9 * LANES + lane] = size * np.sqrt(
            variance * (i22 + v1 * v1 * j11 + 2.0 * v1 * v2 * j12 + v2 * v2 * j22)
        )
        out[10 * LANES + lane] = np.sqrt(variance * j11)
        out[11 * LANES + lane] = np.sqrt(variance * j22)
        out[12 * LANES + lane] = out[10 * LANES + lane]
        c1, c2, h1, h2 = r1, r2, -a1 * r1 * r1, -a2 * r2 * r2
        s1, s2 = h1 + c1 * u1 + c2 * v1, h2 + c1 * u2 + c2 * v2
        form = c1 * c1 * i11 + 2.0 * c1 * c2 * i12 + c2 * c2 * i22
        form += s1 * s1 * j11 + 2.0 * s1 * s2 * j12 + s2 * s2 * j22
        out[13 * LANES + lane] = size * np.sqrt(variance * form)
        e1, e2 = (r1 * l1 - late * c1) / area, (r2 * l2 - late * c2) / area
        f1 = (-a1 * l1 * r1 * (1.0 + r1) - late * h1) / area
        f2 = (-a2 * l2 * r2 * (1.0 + r2) - late * h2) / area
        s1, s2 = f1 + e1 * u1 + e2 * v1, f2 + e1 * u2 + e2 * v2
        form = e1 * e1 * i11 + 2.0 * e1 * e2 * i12 + e2 * e2 * i22
        form += s1 * s1 * j11 + 2.0 * s1 * s2 * j12 + s2 * s2 * j22
        out[14 * LANES + lane] = np.sqrt(variance * form)
        e1, e2 = (r1 * r1 - mean * c1) / area, (r2 * r2 - mean * c2) / area
        f1 = (-2.0 * a1 * r1 * r1 * r1 - mean * h1) / area
        f2 = (-2.0 * a2 * r2 * r2 * r2 - mean * h2) / area
        s1, s2 = f1 + e1 * u1 + e2 * v1, f2 + e1 * u2 + e2 * v2
        form = e1 * e1 * i11 + 2.0 * e1 * e2 * i12 + e2 * e2 * i22
        form += s1 * s1 * j11 + 2.0 * s1 * s2 * j12 + s2 * s2 * j22
        out[15 * LANES + lane] = np.sqrt(variance * form)
        out[16 * LANES + lane] = left * size * size
        out[17 * LANES + lane] = (total - w[_MEAN + lane] * w[_MEAN + lane] / weight) * size * size
        out[18 * LANES + lane] = 1.0 if holds else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def fit_pairs(
    mode,
    curves,
    time,
    root,
    lower,
    upper,
    decay,
    known,
    table,
    combinations,
    inverses,
    starts,
    values,
    errors,
    squares,
    iterations,
    state,
):
    """Fit each curve with two exponentials; arguments as in `exponential_fit.fit_exponentials`.

    state : (m,) uint8, LEFT where that kernel must fit the curve
    """
    m, n = curves.shape
    y, w, out = np.empty(n * LANES), np.zeros(_ROWS * LANES), np.empty(19 * LANES)
    products, rates = np.empty(table.shape[0] * LANES), np.empty(table.shape[0])
    for q in range(combinations.shape[0]):
        rates[combinations[q, 0]] = starts[q, 0]
        rates[combinations[q, 1]] = starts[q, 0] + starts[q, 1]
    difference = 1.0 if mode == OPEN else 0.0
    used, weight = 0, 0.0
    for i in range(n):
        used += root[i] > 0.0
        weight += root[i] * root[i]
    freedom = 0.0 if known else 1.0 / (used - 4)
    low, high = lower[0] * (1.0 + 1e-12) + 1e-12, min(upper[0], upper[1])
    setting = (difference, low, high, lower[1] * (1.0 + 1e-9), decay, freedom, weight)
    for first in range(0, m, LANES):
        stop = min(first + LANES, m)
        _load(curves, first, stop, root, y, w)
        _start(y, table, combinations, inverses, rates, difference, products, w)
        for _ in range(MOST_STEPS):
            _sum(y, time, root, w)
            if _step(w, low) == LANES:
                break
        _sum(y, time, root, w)
        _describe(w, setting, out)
        for v in range(first, stop):
            lane = v - first
            for k in range(8):
                values[v, k] = out[k * LANES + lane]
                errors[v, k] = out[(8 + k) * LANES + lane]
            squares[v, 0], squares[v, 1] = out[16 * LANES + lane], out[17 * LANES + lane]
            iterations[v] = np.int32(w[_COUNT + lane])
            bits = CONVERGED | (NEGATIVE if w[_LEAST + lane] < 0.0 else 0)
            state[v] = bits if out[18 * LANES + lane] > 0.0 else LEFT
