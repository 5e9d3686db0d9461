"""Curves of pairs as they are drawn: the carrier's with its band, and the activity of what is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import Nuclide
from imgtheranostics.fit import CurveFit
from imgtheranostics.nuclear.curve_intervals import band
from imgtheranostics.nuclear.curve_models import TERMS
from imgtheranostics.nuclear.curve_rows import RegionCurve
from imgtheranostics.nuclear.pair_curves import phases

FloatArray = npt.NDArray[np.float64]

KIND = "pair"

_POINTS = 160
_HALF_LIVES = 4.0
"""After so many effective half-lives of what is given 6 % of it are left."""
_FURTHEST = 12.0
"""Largest time that is drawn, in times of the last image."""


def biology_at(parameters: Mapping[str, Any], decay_per_s: float, time_s: FloatArray) -> FloatArray:
    """A fitted biological curve at some times.

    Parameters
    ----------
    parameters : mapping
        Of `fit_exponential` with the nuclide of `decay_per_s`.
    decay_per_s : float
    time_s : (m,) ndarray
    """
    amplitude, rate = phases(curve_parameters(parameters), decay_per_s)
    return np.asarray(np.exp(-np.outer(time_s, rate)) @ amplitude)


def curve_parameters(details: Mapping[str, Any]) -> dict[str, Any]:
    """Amplitudes and rates among the details of `fit_curve`."""
    return {name: value for name, value in details.items() if name.startswith(("amplitude_", "rate_"))}


def drawn_pair(
    curve: RegionCurve,
    fitted: CurveFit,
    parameters: Mapping[str, Any],
    given: Nuclide,
    model: str,
    uptake: bool | None,
    weights: str,
    level: float,
    results: Mapping[str, tuple[float, float]],
) -> CurveFit:
    """The biological curve of a region, and in `parts` the activity of the nuclide that is given.

    Both go on until most of the decays have happened, or to a multiple of the last image.

    Parameters
    ----------
    curve : RegionCurve
        Decay corrected, with the half-life of what is given.
    fitted : CurveFit
        Of `fit_curve`.
    parameters : mapping
        Of the fit, as among the details of `fit_curve`.
    given : Nuclide
    model, uptake, weights, level
        As in `fit_curve`.
    results : mapping of str to (float, float)
    """
    last, decay = float(curve.time_s[-1]), given.decay_constant_per_s
    line_x = np.asarray(fitted.line_x, np.float64)
    line, ends = fitted.line, fitted.band
    half_life = results["effective_half_life"][0]
    if model in TERMS and np.isfinite(half_life):
        reach = min(max(_HALF_LIVES * half_life, 1.1 * last), _FURTHEST * last)
        line_x = np.union1d(np.linspace(0.0, last, _POINTS), np.linspace(last, reach, _POINTS))
        options: dict[str, Any] = {"half_life_s": curve.half_life_s, "decay_corrected": True}
        importance = None if weights == "equal" else curve.importance(weights)
        line = biology_at(parameters, decay, line_x)
        ends = band(
            curve.values,
            curve.time_s,
            line_x,
            level=level,
            terms=TERMS[model],
            uptake=uptake,
            weights=importance,
            **options,
        )
    return replace(
        fitted,
        kind=KIND,
        line_x=line_x,
        line=line,
        band=ends,
        parts={given.name: line * np.exp(-decay * line_x)},
        results=dict(results),
    )
