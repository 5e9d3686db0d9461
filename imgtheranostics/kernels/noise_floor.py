"""Exponential decay of a magnitude signal whose noise level is known, in float64.

The expectation of a magnitude does not fall to zero but to a floor that the noise sets. Two forms of it are
fitted by damped Gauss-Newton steps in amplitude and rate: the root of the second moment,
sqrt(a^2 + 2 n sigma^2), and the mean of the noncentral chi distribution, which is tabulated. Near the floor
the noise is narrower than sigma; the standard errors follow the tabulated variance and are scaled by the
residuals.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.decay import (
    AMPLITUDE,
    AMPLITUDE_ERROR,
    AT_BOUND,
    BELOW_NOISE,
    BLOCK,
    FURTHEST_BACK,
    INVALID_INPUT,
    LEAST_RATE,
    MOST_ITERATIONS,
    NOT_CONVERGED,
    OUTSIDE_RANGE,
    R_SQUARED,
    RMSE,
    TIME,
    TIME_ERROR,
    TOLERANCE,
    fill_decay,
    scaled_samples,
    total_squares,
)

MEAN, SLOPE, VARIANCE = range(3)
"""Rows of the table of the noncentral chi distribution: mean, its derivative, variance; all for sigma 1."""

NEWTON_STEPS = 20
"""The tabulated mean has jumps in its second derivative, across which Newton steps may go back and forth."""

LEAST_GAIN = 1e-14
"""Relative gain in the sum of squares that a step promises, below which the fit has settled: 1e-7 errors."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy")
def _asymptotic_mean(x, coils):
    """As `tabulated_mean`, by the asymptotic series of Kummer's function."""
    inverse = 2.0 / (x * x)
    term = x
    mean, slope, bend = x, 1.0, 0.0
    for k in range(1, 7):
        term *= (k - 1.5) * (k - 0.5 - coils) / k * inverse
        power = 1.0 - 2.0 * k
        mean += term
        slope += power * term / x
        bend += power * (power - 1.0) * term / (x * x)
    return mean, slope, bend


@njit(cache=True, nogil=True, error_model="numpy")
def tabulated_mean(x, table, step, coils):
    """Mean of the magnitude for a true amplitude x and its first two derivatives; in units of sigma."""
    place = x / step
    last = table.shape[1] - 1
    if not place < last:
        return _asymptotic_mean(x, coils)
    cell = int(place)
    f = place - cell
    low, high = table[MEAN, cell], table[MEAN, cell + 1]
    low_slope, high_slope = step * table[SLOPE, cell], step * table[SLOPE, cell + 1]
    rise = high - low
    third = low_slope + high_slope - 2.0 * rise
    second = 3.0 * rise - 2.0 * low_slope - high_slope
    mean = low + f * (low_slope + f * (second + f * third))
    slope = (low_slope + f * (2.0 * second + f * 3.0 * third)) / step
    return mean, slope, (2.0 * second + 6.0 * f * third) / (step * step)


@njit(cache=True, nogil=True, error_model="numpy")
def tabulated_variance(x, table, step, coils):
    """Variance of the magnitude for a true amplitude x, in units of sigma squared."""
    place = x / step
    last = table.shape[1] - 1
    if not place < last:
        return 1.0 - (2.0 * coils - 1.0) / (2.0 * x * x)
    cell = int(place)
    return table[VARIANCE, cell] + (place - cell) * (table[VARIANCE, cell + 1] - table[VARIANCE, cell])


@njit(cache=True, nogil=True, error_model="numpy")
def expected(a, sigma, coils, exact, table, step):
    """Expected magnitude for a true amplitude a, and its first two derivatives by a."""
    if exact and sigma > 0.0:
        mean, slope, bend = tabulated_mean(a / sigma, table, step, coils)
        return sigma * mean, slope, bend / sigma
    floor = 2.0 * coils * sigma * sigma
    value = np.sqrt(a * a + floor)
    if value > 0.0:
        return value, a / value, floor / (value * value * value)
    return value, 1.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _scan(s, y, floor, powers, lengths):
    """The amplitude and the rate of a scan that fit best; amplitude 0 where the signal is all floor.

    The squares of the samples less the floor's are free of bias, and their amplitude at each rate is linear.
    """
    for i in range(s.size):
        y[i] = s[i] * s[i] - floor
    most = 0.0
    best = -1
    for g in range(lengths.size):
        along = 0.0
        for i in range(s.size):
            along += y[i] * powers[g, i]
        along /= lengths[g]
        if along > most:
            most = along
            best = g
    return np.sqrt(most / lengths[best]) if best >= 0 else 0.0, best


@njit(cache=True, nogil=True, error_model="numpy")
def _normal(s, e, shifts, amplitude, sigma, coils, exact, table, step, normal):
    """Sum of squares; into `normal` its halved derivatives (aa, ar, rr, a, r), and J'J (aa, ar, rr)."""
    normal[:] = 0.0
    squares = 0.0
    for i in range(s.size):
        a = amplitude * e[i]
        value, slope, bend = expected(a, sigma, coils, exact, table, step)
        residual = value - s[i]
        by_amplitude = slope * e[i]
        by_rate = -slope * a * shifts[i]
        squares += residual * residual
        normal[3] += by_amplitude * residual
        normal[4] += by_rate * residual
        normal[5] += by_amplitude * by_amplitude
        normal[6] += by_amplitude * by_rate
        normal[7] += by_rate * by_rate
        normal[0] += residual * bend * e[i] * e[i]
        normal[1] -= residual * (bend * a + slope) * e[i] * shifts[i]
        normal[2] += residual * (bend * a + slope) * a * shifts[i] * shifts[i]
    for n in range(3):
        normal[n] += normal[n + 5]
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def _step(normal, damping, amplitude, rate, most_rate, newton):
    """Amplitude and rate after one damped step, kept within the bounds.

    Newton's if wanted and the sum of squares curves upward in every direction, else that of Gauss and Newton.
    """
    aa, ar, rr = normal[0], normal[1], normal[2]
    if not (newton and aa > 0.1 * normal[5] and rr > 0.1 * normal[7] and aa * rr > 1.01 * ar * ar):
        aa, ar, rr = normal[5], normal[6], normal[7]
    aa *= 1.0 + damping
    rr *= 1.0 + damping
    change_r = (ar * normal[3] - aa * normal[4]) / (aa * rr - ar * ar)
    new_rate = min(max(rate + change_r, LEAST_RATE, 0.2 * rate), most_rate, 5.0 * rate)
    change_a = -(normal[3] + ar * (new_rate - rate)) / aa
    return max(amplitude + change_a, 0.1 * amplitude), new_rate


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    s, e, amplitude, rate, most_rate, sigma, coils, exact, shifts, spacing, table, step, normal, proposed
):
    """Damped Newton steps; amplitude at the first sample, rate, sum of squares, iterations, if settled."""
    fill_decay(rate, shifts, spacing, e)
    squares = _normal(s, e, shifts, amplitude, sigma, coils, exact, table, step, normal)
    damping = 1e-3
    for count in range(MOST_ITERATIONS):
        new_amplitude, new_rate = _step(normal, damping, amplitude, rate, most_rate, count < NEWTON_STEPS)
        gain = abs(normal[3] * (new_amplitude - amplitude) + normal[4] * (new_rate - rate))
        fill_decay(new_rate, shifts, spacing, e)
        new_squares = _normal(s, e, shifts, new_amplitude, sigma, coils, exact, table, step, proposed)
        moved = max(abs(new_amplitude / amplitude - 1.0), abs(new_rate / rate - 1.0))
        if new_squares <= squares * (1.0 + 1e-14):
            amplitude, rate, squares = new_amplitude, new_rate, new_squares
            normal[:] = proposed
            damping = 0.01 * damping
        else:
            damping = max(10.0 * damping, 1e-3)
        if moved <= TOLERANCE or gain <= LEAST_GAIN * squares or amplitude <= 1e-3 * sigma:
            return amplitude, rate, squares, count + 1, True
    return amplitude, rate, squares, MOST_ITERATIONS, False


@njit(cache=True, nogil=True, error_model="numpy")
def _covariance(s, e, shifts, amplitude, sigma, coils, exact, table, step, normal, squares):
    """Variances of amplitude and rate and their covariance, from the residuals and the noise's profile."""
    aa, ar, rr = normal[5], normal[6], normal[7]
    determinant = aa * rr - ar * ar
    inverse_aa, inverse_ar, inverse_rr = rr / determinant, -ar / determinant, aa / determinant
    awaited = 0.0
    var_aa, var_ar, var_rr = 0.0, 0.0, 0.0
    for i in range(s.size):
        a = amplitude * e[i]
        variance, excess = 1.0, 0.0
        value, slope, _ = expected(a, sigma, coils, exact, table, step)
        if sigma > 0.0:
            variance = tabulated_variance(a / sigma, table, step, coils)
            excess = value / sigma - tabulated_mean(a / sigma, table, step, coils)[0]
        by_amplitude = slope * e[i]
        by_rate = -by_amplitude * amplitude * shifts[i]
        gain_a = inverse_aa * by_amplitude + inverse_ar * by_rate
        gain_r = inverse_ar * by_amplitude + inverse_rr * by_rate
        awaited += variance * (1.0 - by_amplitude * gain_a - by_rate * gain_r) + excess * excess
        var_aa += variance * gain_a * gain_a
        var_ar += variance * gain_a * gain_r
        var_rr += variance * gain_r * gain_r
    scale = squares / awaited
    return scale * var_aa, scale * var_ar, scale * var_rr


@njit(cache=True, nogil=True, error_model="numpy")
def _write(found, s, e, sigma, coils, exact, first_s, shifts, table, step, normal, scale, bound, out, voxel):
    """Values, standard errors and goodness of fit of one voxel; its flags."""
    amplitude, rate, squares = found
    back = np.exp(rate * first_s)
    if not back < FURTHEST_BACK:
        return OUTSIDE_RANGE
    out[TIME, voxel] = 1.0 / rate
    out[AMPLITUDE, voxel] = amplitude * back * scale
    out[R_SQUARED, voxel] = 1.0 - squares / total_squares(s)
    out[RMSE, voxel] = np.sqrt(squares / s.size) * scale
    flag = AT_BOUND if bound else 0
    if bound or s.size <= 2:
        return flag
    var_a, covariance, var_r = _covariance(
        s, e, shifts, amplitude, sigma, coils, exact, table, step, normal, squares
    )
    lever = amplitude * first_s
    out[TIME_ERROR, voxel] = np.sqrt(var_r) / (rate * rate)
    out[AMPLITUDE_ERROR, voxel] = (
        back * scale * np.sqrt(max(0.0, var_a + 2.0 * lever * covariance + lever * lever * var_r))
    )
    return flag


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_voxel(
    s,
    e,
    sigma,
    coils,
    exact,
    first_s,
    shifts,
    spacing,
    rates,
    powers,
    lengths,
    table,
    step,
    normal,
    scale,
    out,
    voxel,
):
    """One voxel; iterations and flags."""
    amplitude, best = _scan(s, e, 2.0 * coils * sigma * sigma, powers, lengths)
    if not amplitude > 0.0:
        return 0, BELOW_NOISE
    most_rate = rates[-1]
    amplitude, rate, squares, count, settled = _search(
        s,
        e,
        amplitude,
        rates[best],
        most_rate,
        sigma,
        coils,
        exact,
        shifts,
        spacing,
        table,
        step,
        normal[0],
        normal[1],
    )
    if amplitude <= 1e-3 * sigma:
        return count, BELOW_NOISE
    if not settled:
        return count, NOT_CONVERGED
    if rate <= LEAST_RATE * (1.0 + 1e-6):
        return count, OUTSIDE_RANGE
    bound = rate >= most_rate
    fill_decay(rate, shifts, spacing, e)
    found = (amplitude, rate, squares)
    return count, _write(
        found, s, e, sigma, coils, exact, first_s, shifts, table, step, normal[0], scale, bound, out, voxel
    )


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_noise_floor(
    samples,
    noise_sd,
    coils,
    detectable,
    exact,
    first_s,
    shifts,
    spacing,
    rates,
    powers,
    table,
    step,
    out,
    iterations,
    flags,
):
    """Least-squares fit of the expected magnitude of A exp(-rate t) in noise to every voxel.

    samples : (n, n_voxels) float64, magnitudes; a negative one makes the voxel invalid
    noise_sd : (n_voxels,) float64, SD of the noise in each channel of each coil; coils : their number
    detectable : a voxel whose largest sample is not above `detectable` times the noise SD is below the noise
    exact : fit the mean of the noncentral chi distribution instead of the root of the second moment
    first_s, shifts, spacing, rates : as `kernels.decay.fit_decays` takes them
    powers : (n_rates, n) float64, squares of the decays at these rates
    table : (3, n_cells + 1) float64, rows MEAN, SLOPE, VARIANCE; step : its spacing in units of sigma
    out, iterations, flags : as `kernels.decay.fit_decays` writes them; there is no constant
    """
    n, n_voxels = samples.shape
    lengths = np.sqrt((powers * powers).sum(axis=1))
    for task in prange((n_voxels + BLOCK - 1) // BLOCK):
        s = np.empty(n)
        e = np.empty(n)
        normal = np.empty((2, 8))
        for voxel in range(task * BLOCK, min((task + 1) * BLOCK, n_voxels)):
            out[:, voxel] = np.nan
            scale = scaled_samples(samples, voxel, s)
            sigma = noise_sd[voxel] / scale
            count = 0
            flag = INVALID_INPUT
            if scale > 0.0 and 0.0 <= sigma < np.inf and s.min() >= 0.0:
                flag = BELOW_NOISE
                if detectable * sigma < 1.0:
                    count, flag = _fit_voxel(
                        s,
                        e,
                        sigma,
                        coils,
                        exact,
                        first_s,
                        shifts,
                        spacing,
                        rates,
                        powers,
                        lengths,
                        table,
                        step,
                        normal,
                        scale,
                        out,
                        voxel,
                    )
            iterations[voxel] = count
            flags[voxel] = flag
