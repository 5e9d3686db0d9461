"""Curves of activity as they are drawn: samples, the fit with its band, and what was extrapolated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.nuclear.curve_intervals import band, model_curve
from imgtheranostics.nuclear.curve_models import AREAS, TERMS
from imgtheranostics.nuclear.curve_rows import RegionCurve

FloatArray = npt.NDArray[np.float64]

KIND = "activity"

_LINE_POINTS = 200
_TAIL_POINTS = 60
_LONGEST_TAIL = 0.6
"""How far a line goes on after the last sample, as a share of the time up to that."""

_TAIL_HALF_LIVES = 2.0
_SAME = 1e-6


def drawn_curve(
    curve: RegionCurve,
    fit: Fit,
    model: str,
    *,
    uptake: bool | None,
    rule: tuple[str, str, str],
    weights: npt.ArrayLike | None,
    level: float,
    results: dict[str, tuple[float, float]],
) -> CurveFit:
    """One curve with its model, ready for a figure.

    Parameters
    ----------
    curve : RegionCurve
    fit : Fit
        Of it, by `fit_exponential` or `auc`.
    model : str
        Of `imgtheranostics.nuclear.curve_models.MODELS`.
    uptake : bool, optional
    rule : (str, str, str)
        Method, tail and beginning of trapezoids.
    weights : array_like, optional
        That exponentials had.
    level : float
        Of the band.
    results : dict
        By quantity, value and standard error.
    """
    line_x = _line_times(curve, fit, extrapolated=model in TERMS or rule[1] != "none")
    if model in TERMS:
        options: dict[str, Any] = {"half_life_s": curve.half_life_s, "decay_corrected": curve.decay_corrected}
        fitted, line = (model_curve(fit, times, options) for times in (curve.time_s, line_x))
        if not np.isfinite(fit.parameters["terms"]):
            fitted, line = np.full(fitted.shape, np.nan), np.full(line.shape, np.nan)
        ends = band(
            curve.values,
            curve.time_s,
            line_x,
            level=level,
            terms=TERMS[model],
            uptake=uptake,
            weights=weights,
            **options,
        )
    else:
        fitted, line, ends = curve.values, _trapezoids(curve, fit, line_x, rule), None
    quantity = AREAS.get(curve.quantity, ("effective_half_life", 1.0))[0]
    value, error = results.get(quantity, (np.nan, np.nan))
    return CurveFit(
        label=curve.region,
        quantity=quantity,
        axis="time",
        axis_unit="s",
        x=curve.time_s,
        measured=curve.values,
        fitted=fitted,
        line_x=line_x,
        line=line,
        unit=curve.unit,
        value=value,
        standard_error=error,
        n_voxels=curve.n_voxels,
        kind=KIND,
        measured_quantity=curve.quantity,
        errors=curve.sampling_error,
        band=ends,
        results=results,
    )


def _line_times(curve: RegionCurve, fit: Fit, *, extrapolated: bool) -> FloatArray:
    """From the injection to the last sample, which is one of the times, and some of the tail."""
    last = float(curve.time_s[-1])
    inside = np.union1d(np.linspace(0.0, last, _LINE_POINTS), curve.time_s)
    half_life = float(fit.parameters["effective_half_life_s"])
    if not extrapolated or not np.isfinite(half_life):
        return inside
    reach = min(_LONGEST_TAIL * last, _TAIL_HALF_LIVES * half_life)
    return np.concatenate([inside, np.linspace(last, last + reach, _TAIL_POINTS)[1:]])


def _trapezoids(curve: RegionCurve, fit: Fit, line_x: FloatArray, rule: tuple[str, str, str]) -> FloatArray:
    """What the area is that of: segments of the activity, in the reference of the samples."""
    method, _, beginning = rule
    decay = np.log(2.0) / curve.half_life_s
    left = np.exp(-decay * curve.time_s) if curve.decay_corrected else np.ones(curve.time_s.size)
    samples = curve.values * left
    line = np.interp(line_x, curve.time_s, samples)
    if method == "linear_log":
        for k in range(samples.size - 1):
            first, second = samples[k], samples[k + 1]
            if second > 0 and first > second * (1.0 + _SAME):
                inside = (line_x >= curve.time_s[k]) & (line_x <= curve.time_s[k + 1])
                share = (line_x[inside] - curve.time_s[k]) / (curve.time_s[k + 1] - curve.time_s[k])
                line[inside] = first * (second / first) ** share
    line = np.where(line_x < curve.time_s[0], _before(curve, samples[0], line_x, beginning, decay), line)
    after = line_x > curve.time_s[-1]
    rate = float(fit.parameters["terminal_rate_per_s"])
    tail = max(float(samples[-1]), 0.0) * np.exp(-rate * np.maximum(line_x - curve.time_s[-1], 0.0))
    line = np.where(after, tail, line)
    return np.asarray(line * np.exp(decay * line_x) if curve.decay_corrected else line)


def _before(
    curve: RegionCurve, first: float, line_x: FloatArray, beginning: str, decay: float
) -> FloatArray | float:
    if beginning == "linear":
        return np.asarray(first * line_x / curve.time_s[0]) if curve.time_s[0] > 0 else first
    if beginning == "physical":
        return np.asarray(first * np.exp(decay * (curve.time_s[0] - line_x)))
    return np.nan
