"""Dead time of a detector from a measurement: two sources, or one that decays."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.nuclear.dead_time import DeadTime, busy_share, checked_model, rate_variance, true_rate

FloatArray = npt.NDArray[np.float64]

_STEPS = 60
_RELATIVE_STEP = 1e-12
_UNLIKELY = 3.0
"""Standard deviations of chi squared above its mean from which the measurement does not fit the model."""


def dead_time_of_two_sources(
    first_cps: float,
    second_cps: float,
    both_cps: float,
    *,
    background_cps: float = 0.0,
    duration_s: float | tuple[float, float, float, float],
    model: str = "non_paralysable",
) -> DeadTime:
    """Dead time by the method of two sources: together they show less than the sum of each alone.

    With true rates n of the observed m, n(first) + n(second) = n(both) + n(background). The non-paralysable
    model has a closed form [1]_; of the paralysable one the root is bracketed and found by bisection.

    Parameters
    ----------
    first_cps, second_cps, both_cps : float
        Observed rates of each source alone and of both, in the same places, with the background.
    background_cps : float
        Observed rate without a source.
    duration_s : float or tuple of 4 float
        Counting time, of all or of first, second, both and background; for the standard error.
    model : {"non_paralysable", "paralysable"}

    Returns
    -------
    DeadTime
        With the standard error of counting.

    Raises
    ------
    ImplausibleValue
        If a rate or time is impossible, or no dead time explains the rates.
    IllConditioned
        If both together lose no more than counting statistics: there is nothing to tell.

    References
    ----------
    .. [1] Knoll GF, Radiation Detection and Measurement, chapter 4.

    Examples
    --------
    >>> round(dead_time_of_two_sources(9.0909e4, 9.0909e4, 1.66667e5, duration_s=100.0).tau_s * 1e6, 3)
    1.0
    """
    name = checked_model(model)
    observed = np.array([first_cps, second_cps, both_cps, background_cps], np.float64)
    times = np.broadcast_to(np.asarray(duration_s, np.float64), (4,))
    _check_rates(observed, times)
    excess = float(observed[0] + observed[1] - observed[2] - observed[3])
    if not excess > 0:
        raise ImplausibleValue(
            "the sources together show as much as each alone: there is no dead time to be seen",
            where="two sources",
            found=f"{excess:.4g} counts/s are missing",
            needed="a loss",
            next_step="measure with more activity, and leave the first source where it is",
        )
    tau = _closed_form(observed) if name == "non_paralysable" else _root(observed)
    found = true_rate(observed, tau_s=tau, model=name)
    signs = np.array([1.0, 1.0, -1.0, -1.0])
    per_tau = float((signs * found.per_tau).sum())
    variance = rate_variance(observed, tau, name, times)
    error = math.sqrt(float((found.per_observed**2 * variance).sum())) / abs(per_tau)
    _check_error(tau, error, "two sources")
    return DeadTime(tau, name, error)


def dead_time_of_decaying_source(
    observed_cps: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    half_life_s: float,
    duration_s: npt.ArrayLike,
    background_cps: float = 0.0,
    model: str = "non_paralysable",
) -> DeadTime:
    """Dead time by the method of a decaying source: late, weak rates tell what early ones should have been.

    Observed rates are fitted with those of a true rate n0 exp(-lambda t) + background; weights are those of
    counting behind a dead time. The start is a straight line: 1/m = exp(lambda t)/n0 + tau for the
    non-paralysable model, ln m + lambda t = ln n0 - n0 tau exp(-lambda t) for the paralysable one.

    Parameters
    ----------
    observed_cps : (n,) array_like
        At least three.
    time_s : (n,) array_like
        Middle of each measurement; it must be short against the half-life.
    half_life_s : float
    duration_s : float or (n,) array_like
        Counting times.
    background_cps : float
        True rate without the source, known.
    model : {"non_paralysable", "paralysable"}

    Returns
    -------
    DeadTime
        With the standard error of counting, and a caution where the rates do not follow the model.

    Raises
    ------
    ImplausibleValue
        If a rate, time or half-life is impossible, or the rates want a negative dead time.
    IllConditioned
        If the rates are too alike, or lose too little, to tell the dead time.
    """
    name = checked_model(model)
    observed = np.asarray(observed_cps, np.float64)
    times = np.asarray(time_s, np.float64)
    if observed.ndim != 1 or observed.size < 3 or times.shape != observed.shape:
        raise ValueError("at least three rates are needed, and one time for each")
    counted = np.broadcast_to(np.asarray(duration_s, np.float64), observed.shape)
    _check_rates(observed, counted)
    if not (math.isfinite(half_life_s) and half_life_s > 0 and math.isfinite(background_cps)):
        raise ImplausibleValue("the half-life must be positive", found=f"{half_life_s:g} s")
    if not (observed > 0).all() or not np.isfinite(times).all():
        raise ImplausibleValue("rates of a source must be positive, at known times", where="decaying source")
    left = np.exp(-math.log(2.0) / half_life_s * (times - times.min()))
    if left.min() > 0.9:
        raise IllConditioned(
            "the source hardly decayed between the measurements",
            where="decaying source",
            found=f"{100 * float(left.min()):.3g} % are left",
            needed="less than 90 %",
        )
    start = _line(observed, left, name)
    found, covariance = _refined(observed, left, background_cps, counted, start, name)
    source, tau = found
    if not tau > 0:
        raise ImplausibleValue(
            "the rates rise above those of decay alone: no dead time explains them",
            where="decaying source",
            found=f"{tau:.3g} s",
            next_step="check half-life, times and background",
        )
    error = math.sqrt(float(covariance[1, 1]))
    _check_error(tau, error, "decaying source")
    expected, _ = _shown(source, tau, left, background_cps, name)
    variance = rate_variance(expected, tau, name, counted)
    freedom = observed.size - 2
    chi = float(((observed - expected) ** 2 / variance).sum())
    cautions: tuple[Caution, ...] = ()
    if chi > freedom + _UNLIKELY * math.sqrt(2 * freedom):
        text = f"the rates do not follow the {name} model: chi squared {chi:.3g} at {freedom} degrees"
        cautions = (Caution("dead-time-model-does-not-fit", text),)
    return DeadTime(float(tau), name, error, chi / freedom, cautions)


def _check_rates(observed: FloatArray, times: FloatArray) -> None:
    if not (np.isfinite(observed).all() and (observed >= 0).all()):
        raise ImplausibleValue("a count rate is negative or no number", where="observed rates")
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ImplausibleValue("the counting time must be positive", where="duration_s")


def _check_error(tau: float, error: float, where: str) -> None:
    if not error < tau:
        raise IllConditioned(
            "the losses are within counting statistics: the dead time cannot be told",
            where=where,
            found=f"{tau:.3g} s with a standard error of {error:.3g} s",
            next_step="measure with more activity, or longer",
        )


def _closed_form(observed: FloatArray) -> float:
    first, second, both, background = (float(v) for v in observed)
    x = first * second - background * both
    y = first * second * (both + background) - background * both * (first + second)
    inside = 1.0 - y * (first + second - both - background) / x**2 if x > 0 else -1.0
    if not (y > 0 and inside >= 0):
        raise ImplausibleValue("no dead time explains the rates of the two sources", where="two sources")
    return x * (1.0 - math.sqrt(inside)) / y


def _root(observed: FloatArray) -> float:
    signs = np.array([1.0, 1.0, -1.0, -1.0])

    def excess(tau: float) -> float:
        return float((signs * observed * np.exp(busy_share(observed * tau))).sum())

    low, high = 0.0, (1.0 - 1e-9) * math.exp(-1.0) / float(observed.max())
    if excess(high) > 0:
        raise ImplausibleValue(
            "no dead time explains the rates of the two sources",
            where="two sources",
            needed="rates below the highest that a paralysable detector can show",
        )
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def _line(observed: FloatArray, left: FloatArray, model: str) -> FloatArray:
    """Source rate and dead time of the weighted straight line."""
    if model == "non_paralysable":
        x, y, weights = 1.0 / left, 1.0 / observed, observed**3
    else:
        x, y, weights = left, np.log(observed / left), observed
    design = np.stack([x, np.ones_like(x)], axis=1) * np.sqrt(weights)[:, None]
    slope, intercept = np.linalg.lstsq(design, y * np.sqrt(weights), rcond=None)[0]
    if model == "non_paralysable":
        source, tau = 1.0 / slope if slope > 0 else float(observed.max()), intercept
    else:
        source = math.exp(min(float(intercept), 700.0))
        tau = -slope / source
    return np.array([source, max(float(tau), 0.0)])


def _shown(
    source: float, tau: float, left: FloatArray, background: float, model: str
) -> tuple[FloatArray, FloatArray]:
    """Rates of the model and their derivatives by source and dead time, (n,) and (n, 2)."""
    true = source * left + background
    if model == "non_paralysable":
        shown = true / (1.0 + true * tau)
        per_true, per_tau = (shown / true) ** 2, -(shown**2)
    else:
        shown = true * np.exp(-true * tau)
        per_true, per_tau = (1.0 - true * tau) * shown / true, -true * shown
    return shown, np.stack([per_true * left, per_tau], axis=1)


def _refined(
    observed: FloatArray,
    left: FloatArray,
    background: float,
    duration: FloatArray,
    start: FloatArray,
    model: str,
) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares by damped Gauss-Newton steps; source and dead time, and their covariance.

    The weights that go into the covariance are those of the variance behind the dead time that was found.
    """
    values = start
    cost = math.inf
    for _ in range(_STEPS):
        shown, jacobian = _shown(values[0], values[1], left, background, model)
        variance = rate_variance(shown, values[1], model, duration)
        inverse = 1.0 / np.where(variance > 0, variance, shown / duration)
        residual = observed - shown
        scale = np.array([max(abs(values[0]), 1e-30), 1.0 / float(observed.max())])
        scaled = jacobian * scale
        normal = scaled.T @ (scaled * inverse[:, None])
        step = np.linalg.solve(normal, scaled.T @ (inverse * residual)) * scale
        fraction = 1.0
        cost = float((residual**2 * inverse).sum())
        while fraction > 1e-6:
            trial = values + fraction * step
            if trial[0] > 0 and 1.0 + trial[1] * trial[0] > 0.1:
                again, _ = _shown(trial[0], trial[1], left, background, model)
                if float(((observed - again) ** 2 * inverse).sum()) <= cost * (1 + 1e-12):
                    break
            fraction *= 0.5
        values = values + fraction * step
        if np.abs(fraction * step / scale).max() < _RELATIVE_STEP:
            break
    return values, np.asarray(np.linalg.inv(normal) * np.outer(scale, scale))
