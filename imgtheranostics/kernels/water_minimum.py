"""Minimum of spectra that share their offsets, the position of water, with voxels as SIMD lanes.

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

from imgtheranostics.kernels.z_spline import BLOCK, FAST

TOP = 0.1
"""What the map leaves between the highest sample and its pole, in depths of the dip."""

TOP_OF_FEW = 10.0
"""The same for fewer samples than a quartic takes, which the steep map would make overshoot: hardly a map."""

LEVELS = (0.3, 0.5, 0.7)
"""Parts of the depth up to which samples belong to the bottom of the dip, tried in turn."""

LEAST_SAMPLES = 7
"""Samples to fit a quartic to."""

SURE_CURVATURE = 40.0
"""Curvature over its standard error from which the interpolating spline is used."""

CLEAR_CURVATURE = 8.0
SEEN_CURVATURE = 4.0
"""The same from which a quartic is taken, and the least for the largest bottom."""

ENOUGH_FOR_QUARTIC = 7.0
"""Degrees of freedom beside a parabola from which the quartic tells how smooth a bottom is."""

NEWTON_STEPS = 7
SETTLED = 1e-9
"""Last step of the search, in widths of the bottom."""

REACH = 8
"""Knots on either side of a minimum whose samples enter its standard error: beyond, less than 1e-4 does."""

BELOW_NOISE = 2
OUTSIDE_RANGE = 32
"""Bits of `imgtheranostics.volume.Flag`."""

OPEN, ASK_SPLINE, ASK_SPLINE_UNSURE = -1, -2, -3
"""Marks of lanes that are not settled, that the spline is to settle, and so for want of a quartic."""

# Rows of the workspace: sums of weighted powers, of their products with samples (then the coefficients), ...
_M, _R, _S, _X, _MIDDLE, _PER, _ALONG, _BEND, _CURVE, _STEP, _FIRST, _LAST = (
    row * BLOCK for row in (0, 9, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
)
ROUGH = 24 * BLOCK
"""Beginning of the row with the roughness of each settled bottom."""

N_ROWS = 25


@njit(cache=True, nogil=True, error_model="numpy")
def _bottoms(z, n, knots, level, low, high, arg, marks, w):
    """First and last sample of each open lane's dip below a level; the range of all of them."""
    begin, end = n, -1
    first, last = w[_FIRST : _FIRST + BLOCK], w[_LAST : _LAST + BLOCK]
    for lane in range(BLOCK):
        w[_MIDDLE + lane] = 0.0
        w[_PER + lane] = 1.0
        if marks[lane] != OPEN:
            first[lane], last[lane] = n, -1
            continue
        limit = low[lane] + level * (high[lane] - low[lane])
        i = j = arg[lane]
        while i > 0 and z[i * BLOCK + lane] < limit:
            i -= 1
        while j < n - 1 and z[j * BLOCK + lane] < limit:
            j += 1
        while j - i + 1 < LEAST_SAMPLES and (i > 0 or j < n - 1):
            i = max(i - 1, 0)
            j = min(j + 1, n - 1)
        first[lane], last[lane] = i, j
        middle = knots[arg[lane]]
        w[_MIDDLE + lane] = middle
        w[_PER + lane] = 1.0 / max(knots[j] - middle, middle - knots[i])
        begin, end = min(begin, i), max(end, j)
    return begin, end


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _add_powers(row, knot, number, middle, per, top, per_depth, first, last, sums):
    """What one sample of each lane adds to the sums; 0 outside the lane's bottom."""
    for lane in range(BLOCK):
        x = (knot - middle[lane]) * per[lane]
        v = top[lane] - row[lane] * per_depth[lane]
        v = v if (number >= first[lane]) & (number <= last[lane]) else 0.0
        cube = v * v * v
        weight = cube * v
        sums[lane] += weight
        sums[9 * BLOCK + lane] += cube
        sums[14 * BLOCK + lane] += v * v
        cube *= x
        weight *= x
        sums[BLOCK + lane] += weight
        sums[10 * BLOCK + lane] += cube
        cube *= x
        weight *= x
        sums[2 * BLOCK + lane] += weight
        sums[11 * BLOCK + lane] += cube
        cube *= x
        weight *= x
        sums[3 * BLOCK + lane] += weight
        sums[12 * BLOCK + lane] += cube
        cube *= x
        weight *= x
        sums[4 * BLOCK + lane] += weight
        sums[13 * BLOCK + lane] += cube
        weight *= x
        sums[5 * BLOCK + lane] += weight
        weight *= x
        sums[6 * BLOCK + lane] += weight
        weight *= x
        sums[7 * BLOCK + lane] += weight
        weight *= x
        sums[8 * BLOCK + lane] += weight


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _sum_powers(z, knots, begin, end, low, high, w):
    """Sums of weighted powers of the place, and of their products with the mapped samples."""
    sums = w[_M : _M + 15 * BLOCK]
    middle, per = w[_MIDDLE : _MIDDLE + BLOCK], w[_PER : _PER + BLOCK]
    first, last = w[_FIRST : _FIRST + BLOCK], w[_LAST : _LAST + BLOCK]
    top, per_depth = w[_ALONG : _ALONG + BLOCK], w[_BEND : _BEND + BLOCK]
    for lane in range(15 * BLOCK):
        sums[lane] = 0.0
    for lane in range(BLOCK):
        per_depth[lane] = 1.0 / (high[lane] - low[lane])
        top[lane] = 1.0 + TOP + low[lane] * per_depth[lane]
    for i in range(begin, end + 1):
        _add_powers(
            z[i * BLOCK : (i + 1) * BLOCK], knots[i], float(i), middle, per, top, per_depth, first, last, sums
        )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _solve(w):
    """Coefficients of the quartics, in place of the products; the factors, in place of the sums.

    The matrix of the normal equations is L D L' with unit L: its sums 0 to 8 give way to l21, l31, l41, l32,
    l42, l43 and the inverses of d1 .. d4 in part; rows 0 and 1 hold 1/d1 and 1/d2, rows 8 and 7 1/d4 and
    1/d3, rows 2 to 6 l21, l31, l41, l32, l42, and the first of the products l43. `_S` holds the mean
    square by which samples miss a parabola, or the quartic where they are many, in depths.
    """
    for lane in range(BLOCK):
        m0, m1, m2 = w[_M + lane], w[_M + BLOCK + lane], w[_M + 2 * BLOCK + lane]
        m3, m4, m5 = w[_M + 3 * BLOCK + lane], w[_M + 4 * BLOCK + lane], w[_M + 5 * BLOCK + lane]
        m6, m7, m8 = w[_M + 6 * BLOCK + lane], w[_M + 7 * BLOCK + lane], w[_M + 8 * BLOCK + lane]
        r0, r1, r2 = w[_R + lane], w[_R + BLOCK + lane], w[_R + 2 * BLOCK + lane]
        r3, r4 = w[_R + 3 * BLOCK + lane], w[_R + 4 * BLOCK + lane]
        i0 = 1.0 / m0
        l10, l20, l30, l40 = m1 * i0, m2 * i0, m3 * i0, m4 * i0
        i1 = 1.0 / (m2 - l10 * m1)
        t21, t31, t41 = m3 - l20 * m1, m4 - l30 * m1, m5 - l40 * m1
        l21, l31, l41 = t21 * i1, t31 * i1, t41 * i1
        i2 = 1.0 / (m4 - l20 * m2 - l21 * t21)
        t32, t42 = m5 - l30 * m2 - l31 * t21, m6 - l40 * m2 - l41 * t21
        l32, l42 = t32 * i2, t42 * i2
        i3 = 1.0 / (m6 - l30 * m3 - l31 * t31 - l32 * t32)
        t43 = m7 - l40 * m3 - l41 * t31 - l42 * t32
        l43 = t43 * i3
        i4 = 1.0 / (m8 - l40 * m4 - l41 * t41 - l42 * t42 - l43 * t43)
        r1 -= l10 * r0
        r2 -= l20 * r0 + l21 * r1
        r3 -= l30 * r0 + l31 * r1 + l32 * r2
        r4 -= l40 * r0 + l41 * r1 + l42 * r2 + l43 * r3
        missed = w[_S + lane] - (r0 * r0 * i0 + r1 * r1 * i1 + r2 * r2 * i2)
        freedom = w[_LAST + lane] - w[_FIRST + lane] - 2.0
        missed -= r3 * r3 * i3 + r4 * r4 * i4 if freedom >= ENOUGH_FOR_QUARTIC else 0.0
        freedom -= 2.0 if freedom >= ENOUGH_FOR_QUARTIC else 0.0
        w[_S + lane] = max(missed, 0.0) / freedom
        c4 = r4 * i4
        c3 = r3 * i3 - l43 * c4
        c2 = r2 * i2 - l32 * c3 - l42 * c4
        c1 = r1 * i1 - l21 * c2 - l31 * c3 - l41 * c4
        w[_R + BLOCK + lane] = c1
        w[_R + 2 * BLOCK + lane] = c2
        w[_R + 3 * BLOCK + lane] = c3
        w[_R + 4 * BLOCK + lane] = c4
        w[_M + lane] = i1
        w[_M + BLOCK + lane] = i2
        w[_M + 2 * BLOCK + lane] = l21
        w[_M + 3 * BLOCK + lane] = l31
        w[_M + 4 * BLOCK + lane] = l41
        w[_M + 5 * BLOCK + lane] = l32
        w[_M + 6 * BLOCK + lane] = l42
        w[_M + 7 * BLOCK + lane] = i3
        w[_M + 8 * BLOCK + lane] = i4
        w[_R + lane] = l43
        w[_X + lane] = 0.0 if not c2 > 0.0 else max(-1.0, min(1.0, -0.5 * c1 / c2))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _search(w):
    """Newton's steps to the minimum of each quartic from the vertex of its parabola."""
    c1, c2 = w[_R + BLOCK : _R + 2 * BLOCK], w[_R + 2 * BLOCK : _R + 3 * BLOCK]
    c3, c4 = w[_R + 3 * BLOCK : _R + 4 * BLOCK], w[_R + 4 * BLOCK : _R + 5 * BLOCK]
    place, step = w[_X : _X + BLOCK], w[_STEP : _STEP + BLOCK]
    for _ in range(NEWTON_STEPS):
        for lane in range(BLOCK):
            x = place[lane]
            slope = c1[lane] + x * (2.0 * c2[lane] + x * (3.0 * c3[lane] + x * 4.0 * c4[lane]))
            curvature = 2.0 * c2[lane] + x * (6.0 * c3[lane] + x * 12.0 * c4[lane])
            forward = max(-0.5, min(0.5, -slope / curvature))
            place[lane] = x + forward
            step[lane] = forward


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _judge(w):
    """Curvature at each minimum, and for noise of 1 at its bottom the variances of slope and curvature."""
    for lane in range(BLOCK):
        x = w[_X + lane]
        i1, i2 = w[_M + lane], w[_M + BLOCK + lane]
        l21, l31, l41 = w[_M + 2 * BLOCK + lane], w[_M + 3 * BLOCK + lane], w[_M + 4 * BLOCK + lane]
        l32, l42, l43 = w[_M + 5 * BLOCK + lane], w[_M + 6 * BLOCK + lane], w[_R + lane]
        i3, i4 = w[_M + 7 * BLOCK + lane], w[_M + 8 * BLOCK + lane]
        c2, c3, c4 = w[_R + 2 * BLOCK + lane], w[_R + 3 * BLOCK + lane], w[_R + 4 * BLOCK + lane]
        y2 = 2.0 * x - l21
        y3 = 3.0 * x * x - l31 - l32 * y2
        y4 = 4.0 * x * x * x - l41 - l42 * y2 - l43 * y3
        w[_ALONG + lane] = i1 + y2 * y2 * i2 + y3 * y3 * i3 + y4 * y4 * i4
        y3 = 6.0 * x - 2.0 * l32
        y4 = 12.0 * x * x - 2.0 * l42 - l43 * y3
        w[_BEND + lane] = 4.0 * i2 + y3 * y3 * i3 + y4 * y4 * i4
        w[_CURVE + lane] = 2.0 * c2 + x * (6.0 * c3 + x * 12.0 * c4)


@njit(cache=True, nogil=True, error_model="numpy")
def fit_bottoms(z, n, knots, bends, noise, low, high, arg, marks, w, place, error):
    """Minimum of a quartic for every open lane, the least of the levels that shows a clear one.

    z : (n * BLOCK,) float64; knots : (n,) float64
    bends : (n,) float64, standard error of the spline's second derivative at each knot for noise of 1
    noise, low, high : (BLOCK,) float64; arg : (BLOCK,) int64
    marks : (BLOCK,) int64; OPEN becomes 0, ASK_SPLINE or the flag of a lane without a minimum
    w : (N_ROWS * BLOCK,) float64, workspace; the row at `ROUGH` becomes by how much of the depth, root mean
        square, samples miss a smooth bottom; 0 without one
    place, error : (BLOCK,) float64
    """
    w[ROUGH : ROUGH + BLOCK] = 0.0
    for number in range(len(LEVELS)):
        begin, end = _bottoms(z, n, knots, LEVELS[number], low, high, arg, marks, w)
        if end < 0:
            return
        _sum_powers(z, knots, begin, end, low, high, w)
        _solve(w)
        _search(w)
        _judge(w)
        widest = number + 1 == len(LEVELS)
        least = SEEN_CURVATURE if widest else CLEAR_CURVATURE
        for lane in range(BLOCK):
            if marks[lane] != OPEN:
                continue
            depth = high[lane] - low[lane]
            level = noise[lane] / depth
            per = w[_PER + lane]
            found = w[_MIDDLE + lane] + w[_X + lane] / per
            curvature = w[_CURVE + lane]
            first, last = int(w[_FIRST + lane]), int(w[_LAST + lane])
            settled = abs(w[_STEP + lane]) < SETTLED and curvature > 0.0
            if settled and found > knots[first] and found < knots[last]:
                if not curvature < least * np.sqrt(w[_BEND + lane]) * level:
                    place[lane] = found
                    w[ROUGH + lane] = np.sqrt(w[_S + lane])
                    error[lane] = np.sqrt(w[_ALONG + lane]) * level / (curvature * per)
                    of_spline = bends[arg[lane]] * level / ((1.0 + TOP) * (1.0 + TOP))
                    sure = not curvature * per * per < SURE_CURVATURE * of_spline
                    marks[lane] = ASK_SPLINE if sure else 0
                elif widest:
                    marks[lane] = BELOW_NOISE
            elif widest:
                marks[lane] = OUTSIDE_RANGE if first == 0 or last == n - 1 else BELOW_NOISE


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
    x = -begin / (square + root) if square > 0.0 else (root - square) / (3.0 * cubic)
    x = min(max(x, 0.0), 1.0)
    curvature = (2.0 * square + 6.0 * cubic * x) / (step * step)
    of_first = 1.0 + x * (3.0 * x - 4.0)
    of_last = x * (3.0 * x - 2.0)
    of_rise = 6.0 * x * (1.0 - x) / step
    total = 0.0
    for j in range(max(0, k - REACH), min(n, k + 2 + REACH)):
        by = of_first * sensitivity[k, j] + of_last * sensitivity[k + 1, j]
        if j == k:
            by -= of_rise
        elif j == k + 1:
            by += of_rise
        level = u[j * BLOCK + lane]
        by *= level * level
        total += by * by
    return knots[k] + step * x, noise * np.sqrt(total) / (depth * curvature)
