"""Activation of phase-change droplets: the temperature at which the echo has risen half way.

Droplets boil well above the bulk temperature of what they are made of, at one that depends on their size, so
that the echo rises along a sigmoid:

    P(T) = low + (high - low) / (1 + exp(-2 ln 9 (T - T50) / width)),

whose width is the span of temperature from 10 to 90 % of the rise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, FloatArray, planar, shortfall
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.volume import Flag

Noise = Literal["relative", "constant"]
NOISES: tuple[Noise, ...] = ("relative", "constant")
"""Errors of the samples: in proportion to the signal, as speckle has them, or all the same."""

WIDTH_STEEPNESS = 2.0 * math.log(9.0)
"""Steepness of a logistic curve times its width from 10 to 90 %."""

_PARAMETERS = ("t50_cel", "width_cel", "low", "high")
_UNITS = {"t50_cel": "Cel", "width_cel": "Cel", "low": "1", "high": "1", "superheat_cel": "Cel"}
_MOST_ITERATIONS = 60
_CONVERGED = 1e-10
_ROUNDING = 1e-14
_REWEIGHTED = 4
_SIGNIFICANT = 3.0
_CURVES_AT_ONCE = 2048
_LEAST_SHARE = 1e-3
_HOTTEST_CEL = 150.0
_SINGULAR = 1e-8

DoubleArray = npt.NDArray[np.float64]


def activation_curve(
    temperature_cel: npt.ArrayLike,
    t50_cel: npt.ArrayLike,
    width_cel: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> DoubleArray:
    """Echo power at temperatures; arguments are broadcast.

    >>> activation_curve([26.0, 29.0, 32.0], 29.0, 6.0, 0.0, 1.0).round(6).tolist()
    [0.1, 0.5, 0.9]
    """
    at, t50, width, below, above = (
        np.asarray(given, np.float64) for given in (temperature_cel, t50_cel, width_cel, low, high)
    )
    return np.asarray(below + (above - below) * _logistic(WIDTH_STEEPNESS * (at - t50) / width))


def activation_temperature(
    signal: npt.ArrayLike,
    temperature_cel: npt.ArrayLike,
    *,
    noise: Noise = "relative",
    bulk_transition_cel: float | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Temperature and width of the rise of the echo of phase-change droplets.

    Parameters
    ----------
    signal : (..., n) array_like
        Linear echo power at each temperature, of regions or pixels.
    temperature_cel : (n,) array_like
        Temperatures in any order, at least five different ones.
    noise : {"relative", "constant"}
        Whether errors grow with the signal, as those of speckle do, or not.
    bulk_transition_cel : float, optional
        Boiling point of the bulk liquid: ``superheat_cel`` is then T50 above it.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Has no influence on the result; the fit runs on one thread.

    Returns
    -------
    Fit
        ``t50_cel``, ``width_cel`` (10 to 90 %), ``low`` and ``high`` in the unit of the signal. NaN and
        `Flag.BELOW_NOISE` where the two plateaus do not differ by three standard errors, `Flag.OUTSIDE_RANGE`
        where T50 lies outside the temperatures. A rise between two neighbouring temperatures has a width that
        is only known to be small: `Flag.AT_BOUND`, without an error, and T50 is known to their distance. So
        it is where noise leaves such a width open by more than itself.
        `Flag.NEGATIVE_AMPLITUDE` where the echo falls.

    Raises
    ------
    ValueError
        If shapes do not fit, or there are fewer than five temperatures.
    ImplausibleValue
        If temperatures are those of no tissue or bath, such as kelvin.
    """
    checked(noise, NOISES, "noise")
    del workers
    temperature = np.asarray(temperature_cel, np.float64)
    distinct = np.unique(temperature)
    if temperature.ndim != 1 or not np.isfinite(temperature).all() or distinct.size < 5:
        raise ValueError("activation needs at least five different temperatures in Cel")
    if distinct[-1] > _HOTTEST_CEL:
        raise ImplausibleValue(
            "temperatures are too high for tissue or a bath",
            where="temperature_cel",
            found=f"{distinct[0]:g} to {distinct[-1]:g} Cel",
            needed=f"degrees Celsius, at most {_HOTTEST_CEL:g}",
            next_step="subtract 273.15 if they are in kelvin",
        )
    planes = planar(signal, temperature.size)
    values = np.asarray(planes.samples, np.float64).T
    chosen = planes.chosen(mask)
    usable = chosen & np.isfinite(values).all(axis=1)
    result = _Result.empty(values.shape[0])
    result.flags[~usable] = Flag.INVALID_INPUT.value
    result.flags[~chosen] = Flag.MASKED_OUT.value
    index = np.flatnonzero(usable)
    for first in range(0, index.size, _CURVES_AT_ONCE):
        some = index[first : first + _CURVES_AT_ONCE]
        _fit(values[some], temperature, noise == "relative", result, some)
    return _as_fit(result, planes.restored, bulk_transition_cel)


@dataclass(frozen=True, eq=False)
class _Result:
    """Values, errors (4, n_curves) in the order of `_PARAMETERS`, goodness, iterations and flags."""

    value: DoubleArray
    error: DoubleArray
    r_squared: DoubleArray
    rmse: DoubleArray
    iterations: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint16]

    @classmethod
    def empty(cls, n: int) -> _Result:
        nan = np.full((2, 4, n), np.nan)
        return cls(
            nan[0],
            nan[1],
            np.full(n, np.nan),
            np.full(n, np.nan),
            np.zeros(n, np.int64),
            np.zeros(n, np.uint16),
        )


def _as_fit(result: _Result, restored: Any, bulk_cel: float | None) -> Fit:
    names = dict(zip(_PARAMETERS, zip(result.value, result.error, strict=True), strict=True))
    if bulk_cel is not None:
        names["superheat_cel"] = (result.value[0] - bulk_cel, result.error[0])
    values: dict[str, FloatArray] = {name: restored(pair[0]) for name, pair in names.items()}
    errors: dict[str, FloatArray] = {name: restored(pair[1]) for name, pair in names.items()}
    return Fit(
        values,
        errors,
        restored(result.r_squared),
        restored(result.rmse),
        restored(result.iterations),
        restored(result.flags),
        {name: _UNITS[name] for name in values},
    )


def _logistic(x: DoubleArray) -> DoubleArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _model(parameters: DoubleArray, temperature: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Curve (n_curves, n) and its derivatives (n_curves, n, 4) by T50, ln width, low and high."""
    t50, log_width, low, high = (parameters[:, k, np.newaxis] for k in range(4))
    slope = WIDTH_STEEPNESS / np.exp(log_width)
    x = slope * (temperature - t50)
    share = _logistic(x)
    rise = (high - low) * share * (1.0 - share)
    derivatives = np.stack([-rise * slope, -rise * x, 1.0 - share, share], axis=-1)
    return low + (high - low) * share, derivatives


def _starts(values: DoubleArray, temperature: DoubleArray, bounds: tuple[float, float]) -> DoubleArray:
    """The best of a grid of T50 and width, with the plateaus that fit each best."""
    explained = np.full(values.shape[0], -1.0)
    found = np.zeros((values.shape[0], 4))
    mean = values.mean(axis=1)
    ordered = np.unique(temperature)
    places = np.union1d(ordered, 0.5 * (ordered[1:] + ordered[:-1]))
    for log_width in np.linspace(bounds[0], bounds[1], 8):
        slope = WIDTH_STEEPNESS / np.exp(log_width)
        share = _logistic(slope * (temperature - places[:, np.newaxis]))
        level = share.mean(axis=1)
        centred = share - level[:, np.newaxis]
        squares = np.sum(centred**2, axis=1)
        kept = np.flatnonzero(squares >= _LEAST_SHARE)
        if not kept.size:
            continue
        # what a curve of these plateaus explains of the squares is the product with it, squared, over its own
        product = values @ centred[kept].T
        chosen = np.argmax(product**2 / squares[kept], axis=1)
        best = product[np.arange(chosen.size), chosen]
        chosen = kept[chosen]
        gain = best**2 / squares[chosen]
        better = gain > explained
        explained[better] = gain[better]
        rise = best / squares[chosen]
        low = mean - rise * level[chosen]
        start = np.stack([places[chosen], np.full(low.size, log_width), low, low + rise], axis=1)
        found[better] = start[better]
    return found


def _fit(
    values: DoubleArray,
    temperature: DoubleArray,
    relative: bool,
    result: _Result,
    index: npt.NDArray[np.int64],
) -> None:
    steps = np.diff(np.unique(temperature))
    span = float(np.ptp(temperature))
    bounds = (math.log(0.1 * float(steps.min())), math.log(4.0 * span))
    parameters = _starts(values, temperature, bounds)
    weight = np.ones_like(values)
    iterations = np.zeros(values.shape[0], np.int64)
    converged = np.zeros(values.shape[0], np.bool_)
    for _ in range(_REWEIGHTED if relative else 1):
        if relative:
            curve = _model(parameters, temperature)[0]
            floor = _LEAST_SHARE * np.abs(curve).max(axis=1, keepdims=True)
            weight = 1.0 / np.maximum(np.abs(curve), np.maximum(floor, np.finfo(np.float64).tiny))
        parameters, more, converged = _descend(parameters, values, temperature, weight, bounds)
        iterations += more
    _report(parameters, values, temperature, weight, converged, bounds, result, index)
    result.iterations[index] = iterations


def _descend(
    parameters: DoubleArray,
    values: DoubleArray,
    temperature: DoubleArray,
    weight: DoubleArray,
    bounds: tuple[float, float],
) -> tuple[DoubleArray, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Levenberg-Marquardt of all curves side by side; the width stays within its bounds."""
    parameters = parameters.copy()
    damping = np.full(values.shape[0], 1e-3)
    iterations = np.zeros(values.shape[0], np.int64)
    open_ = np.arange(values.shape[0])
    for _ in range(_MOST_ITERATIONS):
        if not open_.size:
            break
        now, seen, by = parameters[open_], values[open_], weight[open_]
        tried, cost = _step(now, seen, temperature, by, damping[open_])
        tried[:, 1] = np.clip(tried[:, 1], *bounds)
        new_cost = np.sum((by * (seen - _model(tried, temperature)[0])) ** 2, axis=1)
        better = new_cost <= cost
        size = 1.0 + np.abs(now).max(axis=1)
        done = np.abs(tried - now).max(axis=1) <= _CONVERGED * size
        done |= np.abs(new_cost - cost) <= _ROUNDING * cost
        parameters[open_[better]] = tried[better]
        damping[open_] = np.where(better, np.maximum(damping[open_] / 10.0, 1e-12), damping[open_] * 10.0)
        iterations[open_] += 1
        open_ = open_[~done]
    converged = np.ones(values.shape[0], np.bool_)
    converged[open_] = False
    return parameters, iterations, converged


def _step(
    parameters: DoubleArray,
    values: DoubleArray,
    temperature: DoubleArray,
    weight: DoubleArray,
    damping: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Parameters after one damped step, and the cost before it."""
    curve, derivatives = _model(parameters, temperature)
    residual = weight * (values - curve)
    design = derivatives * weight[..., np.newaxis]
    turned = design.transpose(0, 2, 1)
    normal = turned @ design
    gradient = turned @ residual[..., np.newaxis]
    scale = np.einsum("cii->ci", normal)
    added = damping[:, np.newaxis] * scale + _tiny(scale)
    step = np.linalg.solve(normal + np.eye(4) * added[:, np.newaxis], gradient)[..., 0]
    return parameters + step, np.sum(residual**2, axis=1)


def _tiny(scale: DoubleArray) -> DoubleArray:
    """Keeps a matrix regular where a parameter has no influence."""
    return np.asarray(1e-14 * scale.max(axis=1, keepdims=True) + np.finfo(np.float64).tiny)


def _report(
    parameters: DoubleArray,
    values: DoubleArray,
    temperature: DoubleArray,
    weight: DoubleArray,
    converged: npt.NDArray[np.bool_],
    bounds: tuple[float, float],
    result: _Result,
    index: npt.NDArray[np.int64],
) -> None:
    curve, derivatives = _model(parameters, temperature)
    residual = weight * (values - curve)
    freedom = values.shape[1] - 4
    narrow = parameters[:, 1] <= bounds[0] + 1e-9
    design = derivatives * weight[..., np.newaxis]
    design[narrow, :, :2] = 0.0
    variance = np.sum(residual**2, axis=1) / max(freedom, 1)
    error = _errors(design, variance, freedom)
    width = np.exp(parameters[:, 1])
    # only a rise between two temperatures leaves the width open by more than itself: as good as a step
    told = (error[:, 1] <= 1.0) & _regular(design)
    open_width = ~narrow & ~told & (width <= _spacing(parameters[:, 0], np.unique(temperature)))
    design[open_width, :, :2] = 0.0
    error[open_width] = _errors(design[open_width], variance[open_width], freedom)
    narrow, converged = narrow | open_width, converged | open_width
    value = np.stack([parameters[:, 0], width, parameters[:, 2], parameters[:, 3]])
    spread = np.stack([error[:, 0], error[:, 1] * width, error[:, 2], error[:, 3]])
    spread[0, narrow] = _uniform_error(parameters[narrow, 0], np.unique(temperature))
    spread[1, narrow] = np.nan
    flags = _flags(value, spread, temperature, converged, narrow, bounds)
    refused = flags & (Flag.BELOW_NOISE | Flag.OUTSIDE_RANGE).value != 0
    value[:, refused], spread[:, refused] = np.nan, np.nan
    plain = values - curve
    total = np.sum((values - values.mean(axis=1, keepdims=True)) ** 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        result.r_squared[index] = 1.0 - np.sum(plain**2, axis=1) / total
    result.rmse[index] = np.sqrt(np.mean(plain**2, axis=1))
    result.value[:, index], result.error[:, index] = value, spread
    result.flags[index] |= flags


def _errors(design: DoubleArray, variance: DoubleArray, freedom: int) -> DoubleArray:
    """Standard errors of the parameters, (n_curves, 4)."""
    inverse = np.linalg.pinv(np.einsum("cni,cnj->cij", design, design), rcond=1e-13, hermitian=True)
    with np.errstate(invalid="ignore"):
        error = np.sqrt(np.einsum("cii->ci", inverse) * variance[:, np.newaxis])
    return error / shortfall(freedom) if freedom > 0 else np.full_like(error, np.nan)


def _regular(design: DoubleArray) -> npt.NDArray[np.bool_]:
    """Whether the samples tell all parameters apart; where not, the pseudo-inverse has too small errors."""
    length = np.sqrt(np.sum(design**2, axis=1, keepdims=True))
    scaled = np.divide(design, length, out=np.zeros_like(design), where=length > 0)
    least = np.linalg.eigvalsh(np.einsum("cni,cnj->cij", scaled, scaled))[:, 0]
    return np.asarray(least > _SINGULAR)


def _spacing(t50: DoubleArray, ordered: DoubleArray) -> DoubleArray:
    """Distance of the two neighbouring temperatures around each T50."""
    above = np.clip(np.searchsorted(ordered, t50), 1, ordered.size - 1)
    return np.asarray(ordered[above] - ordered[above - 1])


def _uniform_error(t50: DoubleArray, ordered: DoubleArray) -> DoubleArray:
    """Of a rise somewhere between two neighbouring temperatures: their distance over the root of 12."""
    return np.asarray(_spacing(t50, ordered) / math.sqrt(12.0))


def _flags(
    value: DoubleArray,
    spread: DoubleArray,
    temperature: DoubleArray,
    converged: npt.NDArray[np.bool_],
    narrow: npt.NDArray[np.bool_],
    bounds: tuple[float, float],
) -> npt.NDArray[np.uint16]:
    t50, width, low, high = value
    rise = high - low
    flags = np.zeros(t50.size, np.uint16)
    with np.errstate(invalid="ignore"):
        noise = np.hypot(spread[2], spread[3])
        weak = ~(np.abs(rise) > _SIGNIFICANT * noise) | (np.abs(rise) <= 1e-9 * np.abs(low + high))
    outside = (t50 < temperature.min()) | (t50 > temperature.max())
    flags[weak] |= Flag.BELOW_NOISE.value
    flags[outside & ~weak] |= Flag.OUTSIDE_RANGE.value
    flags[(narrow | (np.log(width) >= bounds[1] - 1e-9)) & ~weak] |= Flag.AT_BOUND.value
    flags[~converged & ~weak] |= Flag.NOT_CONVERGED.value
    flags[(rise < 0) & ~weak] |= Flag.NEGATIVE_AMPLITUDE.value
    return flags
