"""Bolus models fitted to many curves: a start from the half heights, a search on few samples, then on all.

Peak and baseline are eliminated (`bolus_shapes`), so that the Levenberg-Marquardt search is for the time of
the peak, the arrival and the logarithm of the width. Long curves are first averaged in groups of samples,
which brings the search near its end at a fraction of the cost; the minimum is always that of all samples.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from imgtheranostics.kernels import bolus_shapes as shapes
from imgtheranostics.kernels import small_matrices as pieces
from imgtheranostics.kernels.curve_errors import fill_products, residual_covariance
from imgtheranostics.kernels.three_unknowns import bounded_step

FEW_SAMPLES = 64
"""Averaged curves have at least so many samples."""

CONVERGED, UNDETERMINED, NO_RISE = 1, 2, 4
BOUND, FAR = 8, 128
"""State of a fit; bit ``BOUND << j`` says that parameter j sits at a bound."""

N_STATISTICS = 3
"""Sum of squares of the residuals, that about the mean, and the correlation factor of the residuals."""

SMOOTHINGS = (1, 3)
"""Half widths, in averaged samples, of the running means whose half heights are tried as a start."""

LEAST_AHEAD = 0.01
"""Part of a frame by which the arrival is before the first frame that has risen."""

WIDEST_START = 0.8
"""Of the width of a lognormal: a start at a bound may stay there."""

CLEAR_SHARE = 0.5
"""Part of the sum of squares: a start that leaves less is good enough, and no other is tried."""

FIRST_FRAME_SHARE = 0.1
"""Part of the rise above which a sample counts as after the arrival."""

COARSE_STEPS = 8
COARSE_STEP = 0.2
"""Step in standard errors with which the search on averages ends."""

ROUNDING = 1e-12
"""Variation relative to the mean below which a curve is constant."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}

_HALF = math.sqrt(2.0 * math.log(2.0))


@njit(cache=True, nogil=True, error_model="numpy")
def average(values, group, out):
    """Means of `group` samples each; the last ones that fill no group go into the last mean."""
    n = out.size
    for k in range(n):
        first = k * group
        stop = (k + 1) * group if k < n - 1 else values.size
        total = 0.0
        for i in range(first, stop):
            total += values[i]
        out[k] = total / (stop - first)


@njit(cache=True, nogil=True, error_model="numpy")
def _running_mean(values, half, out):
    """Means over 2 half + 1 samples, of fewer at the ends."""
    n = values.size
    total, count = 0.0, 0
    for k in range(min(half, n)):
        total += values[k]
        count += 1
    for k in range(n):
        if k + half < n:
            total += values[k + half]
            count += 1
        if k - half - 1 >= 0:
            total -= values[k - half - 1]
            count -= 1
        out[k] = total / count


@njit(cache=True, nogil=True, error_model="numpy")
def _crossing(time, smooth, top, level, step):
    """Time at which the curve falls below a level, away from its top; the end of the curve if it does not."""
    k = top
    while 0 <= k + step < smooth.size and smooth[k + step] > level:
        k += step
    other = k + step
    if other < 0 or other >= smooth.size:
        return 2.0 * time[k] - time[k - step] if 0 <= k - step < smooth.size else time[k]
    share = (smooth[k] - level) / (smooth[k] - smooth[other])
    return time[k] + share * (time[other] - time[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _start(model, time, smooth, free_baseline, place):
    """Peak, arrival and width of a curve from where it passes half of its height; False where it has none.

    A lognormal is a Gaussian of ln(t - t0), so that three times tell its arrival; other models begin with the
    width of the same curvature at the peak.
    """
    n = smooth.size
    top = 0
    for k in range(n):
        if smooth[k] > smooth[top]:
            top = k
    base = 0.0
    if free_baseline:
        base = smooth[top]
        for k in range(top if top > 1 else n):
            base = min(base, smooth[k])
    if not smooth[top] > base:
        return False
    level = 0.5 * (base + smooth[top])
    peak = time[top]
    rise = max(peak - _crossing(time, smooth, top, level, -1), 1e-3 * (time[n - 1] - time[0]) / n)
    fall = max(_crossing(time, smooth, top, level, 1) - peak, 0.5 * rise)
    early, late = peak - rise, peak + fall
    duration = 5.0 * rise
    if fall > rise:
        duration = min(rise * fall / (fall - rise), duration)
    duration = max(duration, 1.05 * rise)
    arrival = peak - duration
    width = min(math.log((late - arrival) / (early - arrival)) / (2.0 * _HALF), WIDEST_START)
    place[0], place[1] = peak, arrival
    place[2] = math.log(shapes.width_of_curvature(model, 1.0 / (width * width)))
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _project(sums, n, squares, free_baseline, normal, gradient):
    """Sum of squares with the best peak and baseline for given times and width, and the normal equations.

    The samples are given relative to a level that is their mean where the baseline is free. A peak that is
    not above the baseline has no sum of squares.
    normal : (3, 3), gradient : (3,) float64
    """
    share = 1.0 / n if free_baseline else 0.0
    own = sums[1] - share * sums[0] * sums[0]
    with_curve = sums[2]
    if not (own > 0.0 and with_curve > 0.0):
        return np.inf
    peak = with_curve / own
    least = squares - peak * with_curve
    place = 12
    for j in range(3):
        by_shape = sums[6 + j] - share * sums[0] * sums[3 + j]
        gradient[j] = peak * (peak * by_shape - sums[9 + j])
        for k in range(j + 1):
            other = sums[6 + k] - share * sums[0] * sums[3 + k]
            product = sums[place] - share * sums[3 + j] * sums[3 + k]
            normal[j, k] = peak * peak * (product - by_shape * other / own)
            place += 1
    return max(least, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _bounds(time, y, free_baseline, peak_time, limits, lower, upper):
    """Bounds of the time of the peak, the arrival and ln w.

    Arrival is not later than the first frame after which all up to the peak lie above a tenth of the rise,
    and the peak is later than that.
    """
    n = y.size
    last = min(shapes.first_after(time, peak_time), n - 1)
    base, top = (y[0] if free_baseline else 0.0), y[last]
    for k in range(last + 1):
        if free_baseline:
            base = min(base, y[k])
        top = max(top, y[k])
    level = base + FIRST_FRAME_SHARE * (top - base)
    first = last
    while first > 0 and y[first - 1] > level:
        first -= 1
    duration = time[n - 1] - time[0]
    step = duration / (n - 1)
    if first == last and first > 0:
        first -= 1
    latest = time[first] - LEAST_AHEAD * (time[first] - time[first - 1]) if first > 0 else time[0]
    latest = min(latest, peak_time - 0.1 * step)
    lower[0], upper[0] = latest + 0.05 * step, time[n - 1]
    lower[1], upper[1] = time[0] - duration, latest
    lower[2], upper[2] = limits[0], limits[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _search(curve, setting, bounds, most, gain, place, work):
    """Levenberg-Marquardt from `place`, which becomes the minimum; iterations and whether it has settled.

    The last step, which promises next to nothing, is taken without looking.
    """
    time, y, squares = curve
    model, free_baseline = setting
    lower, upper, scale = bounds
    normal, gradient, step, trial, c, sums, new_normal, new_gradient = work
    n = y.size
    shapes.fill_coefficients(model, place[2], c)
    shapes.fill_sums(time, y, place[0], place[1], c, sums)
    least = _project(sums, n, squares, free_baseline, normal, gradient)
    if not least < np.inf:
        return 0, False
    damping = 1e-4
    for iteration in range(1, most + 1):
        predicted = bounded_step(normal, gradient, place, lower, upper, damping, step)
        if predicted < 0.0:
            damping = max(8.0 * damping, 1e-3)
            if damping > pieces.MOST_DAMPING:
                return iteration, False
            continue
        small = pieces.settled(place, step, scale, 1e-7)
        pieces.take_step(place, step, lower, upper, trial)
        if damping <= 1.0 and (small or predicted <= gain * least):
            place[:] = trial
            return iteration, True
        shapes.fill_coefficients(model, trial[2], c)
        shapes.fill_sums(time, y, trial[0], trial[1], c, sums)
        found = _project(sums, n, squares, free_baseline, new_normal, new_gradient)
        decrease = least - found
        if decrease >= -1e-15 * squares:
            place[:] = trial
            normal[:] = new_normal
            gradient[:] = new_gradient
            least = found
        elif small:
            return iteration, True
        damping = pieces.next_damping(damping, decrease, predicted)
    return most, False


@njit(cache=True, nogil=True, error_model="numpy")
def _best_start(coarse, setting, limits, smooth, place, best, work):
    """The start whose model explains most of the averaged curve; False where nothing rises."""
    time, y, squares = coarse
    model, free_baseline = setting
    normal, gradient, c, sums = work[0], work[1], work[4], work[5]
    least = np.inf
    for half in SMOOTHINGS:
        _running_mean(y, half, smooth)
        if not _start(model, time, smooth, free_baseline, place):
            continue
        place[2] = min(max(place[2], limits[0]), limits[1])
        shapes.fill_coefficients(model, place[2], c)
        shapes.fill_sums(time, y, place[0], place[1], c, sums)
        left = _project(sums, y.size, squares, free_baseline, normal, gradient)
        if left < least:
            least = left
            best[:] = place
        if least < CLEAR_SHARE * squares:
            break
    place[:] = best
    return least < np.inf


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _mean(values):
    total = 0.0
    for i in range(values.size):
        total += values[i]
    return total / values.size


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _centred(values, level, out):
    """Values less a level, and the sum of their squares."""
    squares = 0.0
    for i in range(values.size):
        out[i] = values[i] - level
        squares += out[i] * out[i]
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep(matrix, pivot, share):
    """One pivot of an inversion in place; share : 1 over the pivot."""
    for j in range(5):
        factor = matrix[j, pivot] * share if j != pivot else 0.0
        for k in range(5):
            matrix[j, k] -= factor * matrix[pivot, k] if k != pivot else 0.0
    for j in range(5):
        matrix[j, pivot] *= -share
        matrix[pivot, j] *= share
    matrix[pivot, pivot] = share


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(normal, free, size, inverse):
    """Inverse of the normal matrix over what is free, 0 elsewhere; False where it is not determined.

    The matrix is scaled to a unit diagonal first; size : (5,) float64, workspace
    """
    for j in range(5):
        size[j] = 1.0 / math.sqrt(normal[j, j]) if free[j] else 0.0
        if not size[j] < np.inf:
            return False
    for j in range(5):
        for k in range(5):
            inverse[j, k] = normal[j, k] * size[j] * size[k]
        inverse[j, j] = inverse[j, j] if free[j] else 1.0
    for pivot in range(5):
        if not inverse[pivot, pivot] > pieces.WORST_PIVOT:
            return False
        _sweep(inverse, pivot, 1.0 / inverse[pivot, pivot])
    for j in range(5):
        for k in range(5):
            inverse[j, k] *= size[j] * size[k]
    return True


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _linear_parts(e, y, free_baseline):
    """Peak and baseline that fit best for a curve of peak 1."""
    s0 = s1 = s2 = s3 = 0.0
    for i in range(y.size):
        s0 += e[i]
        s1 += e[i] * e[i]
        s2 += e[i] * y[i]
        s3 += y[i]
    share = 1.0 / y.size if free_baseline else 0.0
    own = s1 - share * s0 * s0
    peak = (s2 - share * s0 * s3) / own if own > 0.0 else 0.0
    return peak, share * (s3 - peak * s0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _residuals(rows, y, peak, baseline, mean, level, residual):
    """Rows of a curve of peak 1 become those of the peak; level, residuals, and the sum of their squares."""
    by_time, by_arrival, by_width, e = rows[1], rows[2], rows[3], rows[0]
    left = 0.0
    for i in range(y.size):
        by_time[i] *= peak
        by_arrival[i] *= peak
        by_width[i] *= peak
        fitted = peak * e[i] + baseline
        level[i] = fitted + mean
        residual[i] = fitted - y[i]
        left += residual[i] * residual[i]
    return left


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _newton_step(rows, residual, inverse, step):
    """Step of Gauss and Newton for all parameters, and the decrease of the sum of squares it promises."""
    g0 = g1 = g2 = g3 = g4 = 0.0
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    for i in range(residual.size):
        r = residual[i]
        g0 += r0[i] * r
        g1 += r1[i] * r
        g2 += r2[i] * r
        g3 += r3[i] * r
        g4 += r
    decrease = 0.0
    for j in range(5):
        b = inverse[j]
        step[j] = -(b[0] * g0 + b[1] * g1 + b[2] * g2 + b[3] * g3 + b[4] * g4)
    decrease -= step[0] * g0 + step[1] * g1 + step[2] * g2 + step[3] * g3 + step[4] * g4
    return decrease


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _moved(rows, step, level, residual):
    """Level and residuals after a step, and the sum of their squares."""
    a, b, c, d, e = step[0], step[1], step[2], step[3], step[4]
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    left = 0.0
    for i in range(residual.size):
        change = a * r0[i] + b * r1[i] + c * r2[i] + d * r3[i] + e
        level[i] += change
        residual[i] += change
        left += residual[i] * residual[i]
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(curve, setting, bounds, place, mean, reach, work, workspace, out):
    """State, statistics, values and covariance at the minimum one step from `place`.

    Where that step is longer than `reach` standard errors, or leads out of the bounds, the state is FAR; with
    a reach below 0 it is then not taken instead.
    """
    time, y = curve[0], curve[1]
    lower, upper = bounds[0], bounds[1]
    rows, lines, matrices, vectors, free = workspace
    values, covariance, statistics = out
    c = work[4]
    shapes.fill_coefficients(setting[0], place[2], c)
    shapes.fill_rows(time, place[0], place[1], c, rows)
    peak, baseline = _linear_parts(rows[0], y, setting[1])
    if not peak > 0.0:
        return NO_RISE
    state = 0
    free[0], free[4] = True, setting[1]
    for j in range(3):
        free[1 + j] = lower[j] < place[j] < upper[j]
        state += 0 if free[1 + j] else BOUND << (1 + j)
    level, residual = lines[4], lines[5]
    statistics[0] = _residuals(rows, y, peak, baseline, mean, level, residual)
    normal, inverse = matrices[3], matrices[4]
    lines[0, :] = 1.0
    fill_products(rows, lines[0], normal)
    if not _invert(normal, free, vectors[0], inverse):
        if reach >= 0.0:
            return FAR
        values[0], values[4] = peak, mean + baseline
        values[1], values[2], values[3] = place[0], place[1], place[2]
        return state + UNDETERMINED
    step = vectors[1]
    decrease = _newton_step(rows, residual, inverse, step)
    near = decrease <= max(reach, 1.0) ** 2 * statistics[0] / y.size
    for j in range(3):
        near = near and (not free[1 + j] or lower[j] < place[j] + step[1 + j] < upper[j])
    if not near:
        if reach >= 0.0:
            return FAR
        step[:] = 0.0
    elif reach >= 0.0 and decrease > reach * reach * statistics[0] / y.size:
        return FAR
    statistics[0] = _moved(rows, step, level, residual)
    values[0], values[4] = peak + step[0], mean + baseline + step[4]
    values[1], values[2], values[3] = place[0] + step[1], place[1] + step[2], place[2] + step[3]
    statistics[2] = residual_covariance(rows, residual, level, inverse, lines, matrices, covariance)
    for j in range(4):
        if not free[j]:
            covariance[j, :] = np.nan
            covariance[:, j] = np.nan
    return state


@njit(cache=True, nogil=True, error_model="numpy")
def fit_bolus(
    model,
    free_baseline,
    time,
    curves,
    limits,
    max_iterations,
    last_step,
    reach,
    values,
    covariances,
    statistics,
    iterations,
    state,
):
    """Fit one model to each curve, one after the other: callers share curves out over threads.

    model : int, code of `bolus_shapes`; free_baseline : bool, else it is 0
    time : (n,) float64, s, increasing; curves : (m, n) float64, finite
    limits : (2,) float64, bounds of ln w
    last_step : float, in standard errors: the search ends with one that is smaller, of which a fifth is left.
        Without noise there is no end before the steps themselves are nothing.
    reach : float, in standard errors: where the minimum of the averages is so near to that of all samples,
    one
        step leads there, of which a tenth is left; 0 searches with all samples
    values : (m, 5) float64; peak above baseline, its time, arrival, ln width, baseline; NaN: nothing rises
    covariances : (m, 5, 5) float64; NaN where undetermined and in rows of what sits at a bound
    statistics : (m, N_STATISTICS) float64; iterations : (m,) int32; state : (m,) uint8, see above
    """
    m, n = curves.shape
    group = max(n // FEW_SAMPLES, 1)
    n_coarse = n // group
    coarse_time = np.empty(n_coarse)
    average(time, group, coarse_time)
    step = (time[n - 1] - time[0]) / (n - 1)
    scale = np.array([step, step, 1.0])
    coarse_gain, least_gain = COARSE_STEP**2 / n_coarse, last_step**2 / n
    setting = (model, free_baseline)
    coarse, smooth, y = np.empty(n_coarse), np.empty(n_coarse), np.empty(n)
    square, triple = np.empty((2, 3, 3)), np.empty((8, 3))
    place, best, lower, upper = triple[4], triple[5], triple[6], triple[7]
    c, sums = np.empty(shapes.N_COEFFICIENTS), np.empty(shapes.N_SUMS)
    work = (square[0], triple[0], triple[1], triple[2], c, sums, square[1], triple[3])
    workspace = (
        np.empty((5, n)),
        np.empty((6, n)),
        np.empty((5, 5, 5)),
        np.empty((2, 5)),
        np.empty(5, np.bool_),
    )
    bounds = (lower, upper, scale)
    for v in range(m):
        mean = _mean(curves[v])
        level = mean if free_baseline else 0.0
        squares = _centred(curves[v], level, y)
        around = squares - n * (mean - level) * (mean - level)
        values[v, :] = np.nan
        covariances[v] = np.nan
        statistics[v, 0] = statistics[v, 1] = max(around, 0.0)
        statistics[v, 2] = np.nan
        iterations[v] = 0
        state[v] = NO_RISE
        if not around > ROUNDING * ROUNDING * n * mean * mean:
            continue
        average(y, group, coarse)
        averaged = (coarse_time, coarse, squares / group)
        if not _best_start(averaged, setting, limits, smooth, place, best, work):
            continue
        _bounds(time, y, free_baseline, place[0], limits, lower, upper)
        triple[1, :] = 0.0
        place[1] = min(place[1], upper[1] - 0.5 * step)
        pieces.take_step(place, triple[1], lower, upper, place)
        curve = (time, y, squares)
        out = (values[v], covariances[v], statistics[v])
        if group > 1:
            count, _ = _search(averaged, setting, bounds, COARSE_STEPS, coarse_gain, place, work)
            if reach > 0.0 and count > 0:
                found = _describe(curve, setting, bounds, place, level, reach, work, workspace, out)
                if found < FAR:
                    iterations[v], state[v] = count, found + CONVERGED
                    continue
        iterations[v], settled = _search(curve, setting, bounds, max_iterations, least_gain, place, work)
        if iterations[v] == 0:
            continue
        state[v] = _describe(curve, setting, bounds, place, level, -1.0, work, workspace, out)
        state[v] += CONVERGED if settled else 0
