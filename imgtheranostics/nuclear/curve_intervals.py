"""Confidence intervals of what exponentials say about a curve: from the covariance, and from resampling.

References
----------
.. [1] Efron B, Tibshirani RJ, An introduction to the bootstrap, Chapman & Hall 1993, chapter 12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, shortfall
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.nuclear.exponential_curves import checked_weights, fit_exponential
from imgtheranostics.nuclear.exponential_models import Model, student_quantile

FloatArray = npt.NDArray[np.float64]

INTERVALS = ("covariance", "bootstrap")

_FEWEST_RESAMPLES = 99

_LEAST_SHARE = 0.9
"""Share of resampled curves that must have a value and an error."""


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its confidence interval.

    Attributes
    ----------
    parameter : str
    value, lower, upper : float
        NaN where there is none.
    level : float
    method : str
    """

    parameter: str
    value: float
    lower: float
    upper: float
    level: float
    method: str


@dataclass(frozen=True, eq=False)
class _Curve:
    activity: FloatArray
    times: FloatArray
    options: dict[str, Any]

    def fit(self, activity: FloatArray) -> Fit:
        """Of samples at these times."""
        return fit_exponential(activity, self.times, **self.options)


def interval(
    activity: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    parameter: str = "tiac_s",
    level: float = 0.95,
    method: str = "covariance",
    rng: np.random.Generator | int = 0,
    n_resamples: int = 999,
    **options: Any,
) -> Interval:
    """Confidence interval of a parameter of `fit_exponential` for one curve.

    Both methods work on the logarithm of the parameter, which keeps the interval positive and is where areas
    and half-lives are closer to normal; parameters that are not positive are taken as they are.

    Parameters
    ----------
    activity, time_s : (n,) array_like
        As in `fit_exponential`.
    parameter : str
        A name of its result.
    level : float
        Such as 0.95.
    method : {"covariance", "bootstrap"}
        ``covariance`` takes the standard error times Student's t. ``bootstrap`` fits curves made of the
        fitted one and its residuals, drawn with replacement and scaled by what they have lost to the
        parameters, and takes the quantiles of their studentised results [1]_. With ``standard_error`` among
        the options noise of that size is drawn instead.
    rng : numpy Generator or seed
    n_resamples : int
    **options
        Of `fit_exponential`. ``terms="auto"`` chooses once, for the curve itself.

    Returns
    -------
    Interval
        Bounds are NaN where the fit gives no standard error: at a bound, without a sample more than
        parameters, or where more than a tenth of the resampled curves have none.

    Raises
    ------
    ValueError
        As `fit_exponential`; or if `activity` is no single curve, or a choice does not exist.

    Examples
    --------
    >>> hours = np.array([1.0, 4.0, 8.0, 24.0, 48.0])
    >>> noisy = [10.1, 7.8, 6.6, 2.4, 0.7]
    >>> found = interval(noisy, hours * 3600, terms=1, half_life_s=64.1 * 3600)
    >>> found.lower < found.value < found.upper
    True
    """
    checked(method, INTERVALS, "method")
    curve, whole, model = _fitted(activity, time_s, level, n_resamples, options)
    if parameter not in whole.parameters:
        raise UnknownChoice(f"the parameter must be one of {', '.join(whole.parameters)}, not {parameter!r}")
    value, error = float(whole.parameters[parameter]), float(whole.standard_errors[parameter])
    lower, upper = np.nan, np.nan
    if np.isfinite(value) and error > 0:
        if method == "covariance":
            lower, upper = _around(value, error, level, *_freedom(curve, model))
        else:
            lower, upper = _by_resampling(
                parameter, value, error, level, curve, whole, model, np.random.default_rng(rng), n_resamples
            )
    return Interval(parameter, value, lower, upper, level, method)


def _chosen(fit: Fit, options: dict[str, Any]) -> Model:
    """The model that a fit has taken."""
    terms = fit.parameters["terms"]
    if not np.isfinite(terms):
        return Model(1, options.get("uptake"))
    uptake = options.get("uptake")
    amplitudes = [float(value) for name, value in fit.parameters.items() if name.startswith("amplitude_")]
    n = int(np.count_nonzero(np.isfinite(amplitudes)))
    return Model(int(terms), True if n > int(terms) else uptake)


def _freedom(curve: _Curve, model: Model) -> tuple[int, bool]:
    """Degrees of freedom of the scatter, and whether errors were given instead."""
    weights, known = checked_weights(
        curve.options.get("weights"), curve.options.get("standard_error"), curve.times.size
    )
    return int(np.count_nonzero(weights)) - model.n_parameters, known


def covariance_interval(
    fit: Fit, parameter: str, level: float, n_samples: int, *, known: bool = False
) -> tuple[float, float]:
    """Interval of one parameter of one fitted curve from its standard error.

    Parameters
    ----------
    fit : Fit
        Of one curve, by `fit_exponential`.
    parameter : str
    level : float
    n_samples : int
        That counted.
    known : bool
        Whether the fit had the errors of its samples.

    Returns
    -------
    tuple of float
        NaN where there is no standard error.
    """
    value, error = float(fit.parameters[parameter]), float(fit.standard_errors[parameter])
    if not (np.isfinite(value) and error > 0):
        return np.nan, np.nan
    model = _chosen(fit, {})
    return _around(value, error, level, n_samples - model.n_parameters, known)


def _around(value: float, error: float, level: float, freedom: int, known: bool) -> tuple[float, float]:
    # Student's t has the unbiased variance below it, standard errors are over its shortfall
    quantile = (
        student_quantile(level, 10**9) if known else student_quantile(level, freedom) * shortfall(freedom)
    )
    if value > 0:
        factor = float(np.exp(quantile * error / value))
        return value / factor, value * factor
    return value - quantile * error, value + quantile * error


def _repeats(
    curve: _Curve, whole: Fit, model: Model, rng: np.random.Generator, n_resamples: int
) -> tuple[Fit, dict[str, Any]]:
    """Fits of resampled curves, and the options that they were made with."""
    freedom, known = _freedom(curve, model)
    fitted = model_curve(whole, curve.times, curve.options)
    weights, _ = checked_weights(
        curve.options.get("weights"), curve.options.get("standard_error"), curve.times.size
    )
    counts = weights > 0
    root = np.sqrt(np.where(counts, weights, 1.0))
    shape = (n_resamples, curve.times.size)
    if known:
        noise = rng.standard_normal(shape) / root
    else:
        left = ((curve.activity - fitted) * root)[counts]
        left = (left - left.mean()) * np.sqrt(left.size / freedom)
        noise = rng.choice(left, shape) / root
    options = {**curve.options, "terms": model.terms, "uptake": model.uptake}
    return fit_exponential(fitted + np.where(counts, noise, 0.0), curve.times, **options), options


def _by_resampling(
    parameter: str,
    value: float,
    error: float,
    level: float,
    curve: _Curve,
    whole: Fit,
    model: Model,
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[float, float]:
    repeats, _ = _repeats(curve, whole, model, rng, n_resamples)
    values, errors = repeats.parameters[parameter], repeats.standard_errors[parameter]
    with np.errstate(divide="ignore", invalid="ignore"):
        if value > 0:
            values, errors = np.log(values), errors / values
        middle, width = (float(np.log(value)), error / value) if value > 0 else (value, error)
        studentised = (values - middle) / errors
    studentised = studentised[np.isfinite(studentised)]
    if studentised.size < _LEAST_SHARE * n_resamples:
        return np.nan, np.nan
    low, high = np.quantile(studentised, [0.5 * (1 - level), 0.5 * (1 + level)])
    ends = middle - high * width, middle - low * width
    return (float(np.exp(ends[0])), float(np.exp(ends[1]))) if value > 0 else (float(ends[0]), float(ends[1]))


def band(
    activity: npt.ArrayLike,
    time_s: npt.ArrayLike,
    at_s: npt.ArrayLike,
    *,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
    n_resamples: int = 399,
    **options: Any,
) -> tuple[FloatArray, FloatArray]:
    """Confidence band of a fitted curve, at each time by itself.

    The scatter of the curves of resampled data, as in `interval`, times Student's t about the fitted curve.

    Parameters
    ----------
    activity, time_s : (n,) array_like
        As in `fit_exponential`.
    at_s : (m,) array_like
        Times of the band, after the injection.
    level, rng, n_resamples, **options
        As in `interval`.

    Returns
    -------
    lower, upper : (m,) ndarray
        Not below zero; NaN where there is no fit, or no sample more than parameters.

    Raises
    ------
    ValueError
        As `interval`.
    """
    curve, whole, model = _fitted(activity, time_s, level, n_resamples, options)
    wanted = np.asarray(at_s, np.float64)
    freedom, known = _freedom(curve, model)
    nothing = np.full(wanted.shape, np.nan)
    if not np.isfinite(whole.parameters["terms"]) or (freedom < 1 and not known):
        return nothing, nothing.copy()
    repeats, used = _repeats(curve, whole, model, np.random.default_rng(rng), n_resamples)
    middle = model_curve(whole, wanted, used)
    drawn = model_curve(repeats, wanted, used)[np.isfinite(repeats.parameters["terms"])]
    quantile = student_quantile(level, 10**9 if known else freedom)
    width = quantile * np.std(drawn, axis=0)
    return np.maximum(middle - width, 0.0), middle + width


def _fitted(
    activity: npt.ArrayLike, time_s: npt.ArrayLike, level: float, n_resamples: int, options: dict[str, Any]
) -> tuple[_Curve, Fit, Model]:
    """A single curve, its fit and the model that was taken."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level!r}")
    if n_resamples < _FEWEST_RESAMPLES:
        raise ValueError(f"n_resamples must be at least {_FEWEST_RESAMPLES}, not {n_resamples}")
    samples = np.asarray(activity, np.float64)
    if samples.ndim != 1:
        raise ValueError(f"an interval is that of one curve, but activity has shape {samples.shape}")
    curve = _Curve(samples, np.asarray(time_s, np.float64), dict(options))
    whole = curve.fit(samples)
    return curve, whole, _chosen(whole, options)


def model_curve(fit: Fit, time_s: FloatArray, options: dict[str, Any]) -> FloatArray:
    """Fitted curves at some times, of the reference that the samples had.

    Parameters
    ----------
    fit : Fit
        By `fit_exponential`, of one curve or many (...).
    time_s : (m,) ndarray
    options : dict
        ``half_life_s`` and ``decay_corrected`` as the fit had them.

    Returns
    -------
    (..., m) ndarray
        Phases that a curve does not have are left out.
    """
    extra = np.log(2.0) / options["half_life_s"] if options.get("decay_corrected") else 0.0
    total = np.zeros((*np.shape(fit.flags), *np.shape(time_s)))
    n = sum(name.startswith("amplitude_") for name in fit.parameters)
    for j in range(1, n + 1):
        amplitude = np.asarray(fit.parameters[f"amplitude_{j}"], np.float64)[..., np.newaxis]
        rate = np.asarray(fit.parameters[f"rate_{j}_per_s"], np.float64)[..., np.newaxis]
        there = np.isfinite(amplitude) & np.isfinite(rate)
        part = np.where(there, amplitude, 0.0) * np.exp(-(np.where(there, rate, extra) - extra) * time_s)
        total += part
    return total
