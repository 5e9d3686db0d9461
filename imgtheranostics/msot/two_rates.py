"""Curves of two rates, into the tissue and out of it, and the search for both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import shortfall
from imgtheranostics.mapping.voxel_blocks import DoubleArray, FlagArray
from imgtheranostics.volume import Flag

MOST_ITERATIONS = 60
TOLERANCE = 1e-8

NEAR = 1e-3
"""Below that, series take the place of quotients of small numbers."""

_N_RATES = 14
_SLOWEST, _FASTEST = 0.02, 10.0
_AT_BOUND = 1e-6
_APART = 4.0
"""The curve tells the square of the distance of both rates: two errors of that are four of the distance."""


def compartment_curve(
    time_s: npt.ArrayLike, *, amplitude: npt.ArrayLike, rise_per_s: npt.ArrayLike, decay_per_s: npt.ArrayLike
) -> DoubleArray:
    """The curve at times after the injection; 0 before it. All arguments broadcast.

    Examples
    --------
    >>> float(compartment_curve(10.0, amplitude=2.0, rise_per_s=0.2, decay_per_s=0.05).round(6))
    1.256521
    """
    t = np.maximum(np.asarray(time_s, np.float64), 0.0)
    k_in, k_out = np.asarray(rise_per_s, np.float64), np.asarray(decay_per_s, np.float64)
    shape, _ = _saturation(np.abs(k_in - k_out) * t)
    slower = np.minimum(k_in, k_out)
    return np.asarray(np.asarray(amplitude, np.float64) * k_in * t * np.exp(-slower * t) * shape)


def _saturation(x: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """(1 - exp(-x)) / x of x >= 0 and its derivative, also near 0."""
    small = x < NEAR
    safe = np.where(small, 1.0, x)
    value = np.where(small, 1.0 - x / 2.0 + x**2 / 6.0, -np.expm1(-safe) / safe)
    steep = (np.exp(-safe) * (1.0 + safe) - 1.0) / safe**2
    return value, np.where(small, -0.5 + x / 3.0 - x**2 / 8.0, steep)


class RateSearch(NamedTuple):
    """Logarithms of both rates and the amplitude (3, n_some), their covariance, and what a level adds."""

    parameters: DoubleArray
    covariance: DoubleArray
    by_level: DoubleArray
    r_squared: DoubleArray
    rmse: DoubleArray
    iterations: npt.NDArray[np.int16]
    flags: FlagArray


def _model(parameters: DoubleArray, times: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Curves (n_some, n) and their Jacobian (n_some, n, 3) by ln k_in, ln k_out and amplitude."""
    k_in, k_out = np.exp(parameters[:2])[:, :, np.newaxis]
    amplitude = parameters[2][:, np.newaxis]
    slower = np.minimum(k_in, k_out)
    value, slope = _saturation(np.abs(k_in - k_out) * times)
    base = k_in * times * np.exp(-slower * times)
    shape = base * value
    by_faster, by_slower = base * slope * times, -base * (value + slope) * times
    ordered = k_in >= k_out
    by_in = amplitude * (shape + k_in * np.where(ordered, by_faster, by_slower))
    by_out = amplitude * k_out * np.where(ordered, by_slower, by_faster)
    return amplitude * shape, np.stack([by_in, by_out, shape], axis=-1)


def _starts(samples: DoubleArray, times: DoubleArray) -> DoubleArray:
    """Best pair of a grid of rates for each curve (n, n_some), with its amplitude."""
    rates = np.geomspace(*_bounds(times), _N_RATES)
    pairs = np.array([(a, b) for a in rates for b in rates if a >= b]).T
    curves = compartment_curve(times[:, np.newaxis], amplitude=1.0, rise_per_s=pairs[0], decay_per_s=pairs[1])
    length = np.linalg.norm(curves, axis=0)
    along = (curves / length).T @ samples
    best = np.argmax(along, axis=0)
    amplitude = np.take_along_axis(along, best[np.newaxis], axis=0)[0] / length[best]
    return np.stack([np.log(pairs[0, best]), np.log(pairs[1, best]), amplitude])


def _bounds(times: DoubleArray) -> tuple[float, float]:
    gaps = np.diff(times, prepend=0.0)
    return _SLOWEST / float(times[-1]), _FASTEST / float(gaps[gaps > 0].min())


def search_rates(samples: DoubleArray, times: DoubleArray) -> RateSearch:
    """Levenberg-Marquardt of all curves (n, n_some) together, in bounds; times from the injection."""
    n_some = samples.shape[1]
    broken = np.asarray(~np.isfinite(samples).all(axis=0))
    data = np.where(broken, 0.0, samples)
    largest = np.abs(data).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    data = data / scale
    parameters = _starts(data, times)
    low, high = np.log(_bounds(times))
    damping, squares = np.full(n_some, 1e-3), np.full(n_some, np.inf)
    counted, active = np.zeros(n_some, np.int16), ~broken & (parameters[2] > 0)
    curve, jacobian = _model(parameters, times)
    squares = np.sum((data.T - curve) ** 2, axis=1)
    for _ in range(MOST_ITERATIONS):
        here = np.flatnonzero(active)
        if not here.size:
            break
        step = _step(
            data.T[here] - curve[here], jacobian[here], damping[here], parameters[:, here], low, high
        )
        tried = parameters[:, here] + step
        new_curve, new_jacobian = _model(tried, times)
        new_squares = np.sum((data.T[here] - new_curve) ** 2, axis=1)
        better = new_squares <= squares[here]
        good = here[better]
        gain = squares[good] - new_squares[better]
        parameters[:, good] = tried[:, better]
        curve[good], jacobian[good] = new_curve[better], new_jacobian[better]
        settled = gain <= TOLERANCE * squares[good] + 1e-24
        squares[good] = new_squares[better]
        damping[here] = np.where(better, damping[here] * 0.2, damping[here] * 8.0)
        counted[here] += 1
        active[good[settled]] = False
        active[here[~better & (damping[here] > 1e8)]] = False
    swapped = parameters[0] < parameters[1]
    parameters[2, swapped] *= np.exp(parameters[0, swapped] - parameters[1, swapped])
    parameters[:2, swapped] = parameters[1::-1, swapped]
    _, jacobian = _model(parameters, times)
    return _summary(data, scale, parameters, jacobian, squares, counted, broken, active, (low, high))


def _step(
    residual: DoubleArray,
    jacobian: DoubleArray,
    damping: DoubleArray,
    parameters: DoubleArray,
    low: float,
    high: float,
) -> DoubleArray:
    """Damped Gauss-Newton steps (3, n_some); rates at a bound that would leave it stay."""
    normal = np.einsum("vni,vnj->vij", jacobian, jacobian)
    gradient = np.einsum("vni,vn->vi", jacobian, residual)
    rates = parameters[:2].T
    stuck = ((rates <= low + _AT_BOUND) & (gradient[:, :2] < 0)) | (
        (rates >= high - _AT_BOUND) & (gradient[:, :2] > 0)
    )
    for axis in range(2):
        normal[stuck[:, axis], axis, :] = 0.0
        normal[stuck[:, axis], :, axis] = 0.0
        gradient[stuck[:, axis], axis] = 0.0
    diagonal = np.einsum("vii->vi", normal)
    diagonal += damping[:, np.newaxis] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    step = np.linalg.solve(normal, gradient[:, :, np.newaxis])[:, :, 0].T
    step[:2] = np.clip(parameters[:2] + np.clip(step[:2], -2.0, 2.0), low, high) - parameters[:2]
    return np.asarray(step)


def _summary(
    data: DoubleArray,
    scale: DoubleArray,
    parameters: DoubleArray,
    jacobian: DoubleArray,
    squares: DoubleArray,
    counted: npt.NDArray[np.int16],
    broken: npt.NDArray[np.bool_],
    active: npt.NDArray[np.bool_],
    bounds: tuple[float, float],
) -> RateSearch:
    n, n_some = data.shape
    flags = np.zeros(n_some, np.uint16)
    flags[broken] = Flag.INVALID_INPUT.value
    flags[~broken & ~(parameters[2] > 0)] = Flag.NEGATIVE_AMPLITUDE.value
    flags[active] = Flag.NOT_CONVERGED.value
    at = (parameters[:2] <= bounds[0] + _AT_BOUND) | (parameters[:2] >= bounds[1] - _AT_BOUND)
    flags[(flags == 0) & at.any(axis=0)] = Flag.AT_BOUND.value
    normal = np.einsum("vni,vnj->vij", jacobian, jacobian)
    inverse = np.linalg.pinv(normal, hermitian=True)
    variance = squares / max(n - 3, 1) / shortfall(max(n - 3, 1)) ** 2
    covariance = inverse * variance[:, np.newaxis, np.newaxis]
    by_level = np.einsum("vij,vj->vi", inverse, jacobian.sum(axis=1)) / scale[:, np.newaxis]
    spread = covariance[:, 0, 0] + covariance[:, 1, 1] - 2.0 * covariance[:, 0, 1]
    alike = (flags == 0) & (parameters[0] - parameters[1] < _APART * np.sqrt(spread))
    flags[alike] = Flag.AMBIGUOUS_BRANCH.value
    total = np.sum((data - data.mean(axis=0)) ** 2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r_squared = 1.0 - squares / total
    known = (flags & ~np.uint16(Flag.AT_BOUND.value | Flag.AMBIGUOUS_BRANCH.value)) == 0
    parameters = np.where(known, parameters, np.nan)
    covariance[~known | (flags == Flag.AT_BOUND.value)] = np.nan
    parameters[2] *= scale
    covariance[:, 2, :] *= scale[:, np.newaxis]
    covariance[:, :, 2] *= scale[:, np.newaxis]
    by_level[:, 2] *= scale
    rmse = np.where(known, np.sqrt(squares / n) * scale, np.nan)
    return RateSearch(
        parameters, covariance, by_level, np.where(known, r_squared, np.nan), rmse, counted, flags
    )
