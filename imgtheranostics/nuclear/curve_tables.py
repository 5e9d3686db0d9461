"""Curves of regions, as `time_activity` tabulates them, fitted or integrated: a row per region and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.nuclear.curve_areas import auc
from imgtheranostics.nuclear.curve_drawings import drawn_curve
from imgtheranostics.nuclear.curve_intervals import INTERVALS, covariance_interval, interval
from imgtheranostics.nuclear.curve_models import AREAS, MODELS, TERMS, WEIGHTS
from imgtheranostics.nuclear.curve_rows import RegionCurve, region_curves
from imgtheranostics.nuclear.exponential_curves import fit_exponential
from imgtheranostics.nuclear.frame_means import activity_at_middle, areas_of_long_frames, fit_of_means
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Estimate, Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

_RESULTS = {
    "effective_half_life": ("effective_half_life_s", 1.0),
    "biological_half_life": ("biological_half_life_s", 1.0),
    "mean_residence_time": ("mean_residence_time_s", 1.0),
    "extrapolated_fraction": ("extrapolated_fraction", 100.0),
}

_MUCH_EXTRAPOLATED = 0.2
"""Share of an area after the last sample from which on it is said."""


@dataclass(frozen=True, eq=False)
class _Quantified:
    """One curve with what came out of it."""

    curve: RegionCurve
    fit: Fit
    warnings: tuple[Caution, ...]


def fit_curve(
    table: pd.DataFrame | Volume | Sequence[Volume],
    model: str = "auto",
    *,
    half_life_s: float | None = None,
    uptake: bool | None = None,
    tail: str = "physical",
    beginning: str = "linear",
    column: str = "mean",
    weights: str = "equal",
    decay_corrected: bool | None = None,
    level: float = 0.95,
    intervals: str = "covariance",
    rng: np.random.Generator | int = 0,
    n_resamples: int = 999,
    **options: Any,
) -> pd.DataFrame | Estimate:
    """Half-lives and time-integrated activity of the curves of regions, or of every voxel.

    Parameters
    ----------
    table : pandas.DataFrame, Volume or sequence of Volume
        What `time_activity` returns, or a table with its columns ``region``, ``quantity``, ``unit``,
        ``axis_value`` (s after injection), ``mean`` and ``decay_corrected``. Volumes are handed to
        `time_integrated_activity`, with further options of that.
    model : {"auto", "mono", "bi", "tri", "linear", "linear_log"}
        Exponentials, ``auto`` by AICc as in `fit_exponential`; or trapezoids as in `auc`.
    half_life_s : float, optional
        Of the nuclide; that of the scans without it.
    uptake : bool, optional
        As in `fit_exponential`.
    tail, beginning : str
        Of trapezoids, as in `auc`.
    column : str
        Column with the values: ``mean``, ``median``, ``max`` or ``peak``.
    weights : {"equal", "relative", "standard_error"}
        Of the samples of exponentials: all alike, by an error in proportion to each, or by the sampling error
        of each.
    decay_corrected : bool, optional
        For tables without that column.
    level : float
        Of the intervals among the details, which hold the scatter about the fit, and of the bands.
    intervals : {"covariance", "bootstrap"}
        How those of exponentials are made, as in `imgtheranostics.nuclear.curves.interval`.
    rng : numpy Generator or seed
    n_resamples : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame or Estimate
        Per region ``time_integrated_activity`` of a concentration, ``tiac_per_g``, ``tiac_per_ml`` or
        ``tiac`` of a share, none of an SUV; ``effective_half_life``, ``biological_half_life`` (NaN with the
        warning ``no-clearance`` where it is infinite), ``mean_residence_time`` and ``extrapolated_fraction``,
        in the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`. The standard error of an area contains
        the calibration that all scans share. ``attrs`` has the ``curves`` to draw, the ``details`` of each
        row (interval, model, amplitudes, rates), and the ``warnings``; for exponentials the ``bands`` of the
        curves, lower and upper at ``line_x``, which goes on after the last sample.

    Raises
    ------
    ValueError
        If a choice does not exist.
    MissingMetadata
        If half-life, decay reference or injection are not known.
    UnitMismatch
        If a curve mixes decay references, units or quantities that have no area.
    ImplausibleValue
        If times of a curve do not increase, are before the injection, or scans differ in half-life.
    IllConditioned
        If a curve has fewer samples than the model has parameters.
    """
    import pandas as pd

    checked(model, MODELS, "model")
    if not isinstance(table, pd.DataFrame):
        return _of_volumes(table, model, half_life_s, uptake, tail, beginning, options)
    if options:
        raise UnknownChoice(f"{', '.join(options)} does not apply to the curves of a table")
    checked(weights, WEIGHTS, "weights")
    checked(intervals, INTERVALS, "intervals")
    if not 0 < level < 1:
        raise UnknownChoice(f"level must be between 0 and 1, not {level!r}")
    curves = region_curves(table, column, half_life_s, decay_corrected)
    found = [_quantified(curve, model, uptake, tail, beginning, weights) for curve in curves]
    wanted = _Wanted(model, uptake, weights, level, intervals, rng, n_resamples, tail, beginning)
    rows, details, drawn = [], [], []
    for one in found:
        own = _rows(one, wanted)
        rows += [row for row, _ in own]
        details += [detail for _, detail in own]
        drawn.append(_drawn(one, wanted, [row for row, _ in own]))
    result = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    given = tuple(table.attrs.get("warnings", ()))
    result.attrs = {
        "curves": tuple(drawn),
        "bands": tuple(curve.band for curve in drawn if curve.band is not None),
        "details": details,
        "warnings": merge_cautions(given, *(one.warnings for one in found)),
    }
    return result


def _of_volumes(
    volumes: Volume | Sequence[Volume],
    model: str,
    half_life_s: float | None,
    uptake: bool | None,
    tail: str,
    beginning: str,
    options: dict[str, Any],
) -> Estimate:
    from imgtheranostics.nuclear.integrated_activity import time_integrated_activity

    if half_life_s is not None:
        raise UnknownChoice("half_life_s is for tables; that of Volumes is their own")
    return time_integrated_activity(
        volumes, model=model, uptake=uptake, tail=tail, beginning=beginning, **options
    )


def _quantified(
    curve: RegionCurve, model: str, uptake: bool | None, tail: str, beginning: str, weights: str
) -> _Quantified:
    _, administered = AREAS.get(curve.quantity, ("", 1.0))
    common: dict[str, Any] = {
        "half_life_s": curve.half_life_s,
        "decay_corrected": curve.decay_corrected,
        "administered": administered,
        "unit": curve.unit,
    }
    cautions: tuple[Caution, ...] = ()
    try:
        if model in TERMS:
            importance = None if weights == "equal" else curve.importance(weights)
            options = {"terms": TERMS[model], "uptake": uptake, "weights": importance, **common}
            curve, fit, cautions = fit_of_means(
                curve, lambda one: fit_exponential(one.values, one.time_s, **options)
            )
        else:
            cautions, curve = areas_of_long_frames(curve), activity_at_middle(curve)
            errors = curve.sampling_error if np.isfinite(curve.sampling_error).all() else None
            fit = auc(
                curve.values,
                curve.time_s,
                method=model,
                tail=tail,
                beginning=beginning,
                standard_error=errors,
                **common,
            )
    except ValueError as error:
        raise IllConditioned(
            f"the curve cannot be quantified: {error}",
            where=f"region {curve.region}",
            found=f"{curve.time_s.size} times",
            next_step="add scans, or choose a model with fewer parameters",
        ) from error
    return _Quantified(curve, fit, (*cautions, *_cautions(curve, fit)))


def _cautions(curve: RegionCurve, fit: Fit) -> tuple[Caution, ...]:
    flags, where = int(fit.flags), f"region {curve.region}"
    found = []
    if flags & Flag.NEGATIVE_AMPLITUDE.value:
        found.append(Caution("negative-activity", "the curve has samples below zero", where))
    if np.isinf(fit.parameters["biological_half_life_s"]):
        text = "nothing is cleared: the activity was taken to fall with the decay alone"
        found.append(Caution("no-clearance", text, where))
    share = float(fit.parameters["extrapolated_fraction"])
    if share > _MUCH_EXTRAPOLATED:
        text = f"{100 * share:.0f} % of the area is after the last sample"
        found.append(Caution("much-extrapolated", text, where))
    if curve.quantity not in AREAS:
        found.append(Caution("no-area-of-suv", "an SUV has no time-integrated activity", where))
    return tuple(found)


@dataclass(frozen=True)
class _Wanted:
    """Choices that all curves share."""

    model: str
    uptake: bool | None
    weights: str
    level: float
    intervals: str
    rng: np.random.Generator | int
    n_resamples: int
    tail: str
    beginning: str

    def importance(self, curve: RegionCurve) -> FloatArray | None:
        """Weights of the samples of exponentials."""
        return None if self.weights == "equal" else curve.importance(self.weights)


def _rows(one: _Quantified, wanted: _Wanted) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    curve, fit = one.curve, one.fit
    results = dict(_RESULTS)
    if curve.quantity in AREAS:
        results = {AREAS[curve.quantity][0]: ("tiac_s", 1.0), **results}
    flags = ";".join(f"{flag.name}:1" for flag in Flag if int(fit.flags) & flag.value)
    codes = ";".join(dict.fromkeys((*curve.warnings, *(caution.code for caution in one.warnings))))
    found = []
    for quantity, (name, scale) in results.items():
        value = float(fit.parameters[name]) * scale
        error = float(fit.standard_errors[name]) * scale
        shared = curve.calibration_relative * abs(value) if name == "tiac_s" else 0.0
        row = {
            "subject": curve.subject,
            "session": curve.session,
            "region": curve.region,
            "quantity": quantity,
            "unit": QUANTITIES[quantity].unit,
            "axis": "",
            "axis_value": np.nan,
            "n_voxels": curve.n_voxels,
            "n_valid": curve.n_valid if np.isfinite(value) else 0,
            "volume_ml": curve.volume_ml,
            "mean": value if np.isfinite(value) else np.nan,
            "standard_error": float(np.hypot(error, shared)),
            "flags": flags,
            "warnings": codes,
        }
        detail = {
            "model": wanted.model,
            "standard_error_fit": error,
            "standard_error_calibration": shared,
            **{key: float(number) for key, number in fit.parameters.items()},
        }
        if wanted.model in TERMS:
            lower, upper = _interval(one, name, wanted)
            detail |= {
                "interval_level": wanted.level, "interval_method": wanted.intervals,
                "lower": lower * scale, "upper": upper * scale,
            }  # fmt: skip
        found.append((row, detail))
    return found


def _interval(one: _Quantified, name: str, wanted: _Wanted) -> tuple[float, float]:
    curve = one.curve
    if wanted.intervals == "covariance":
        return covariance_interval(one.fit, name, wanted.level, curve.time_s.size)
    _, administered = AREAS.get(curve.quantity, ("", 1.0))
    made = interval(
        curve.values,
        curve.time_s,
        parameter=name,
        level=wanted.level,
        method=wanted.intervals,
        rng=wanted.rng,
        n_resamples=wanted.n_resamples,
        terms=TERMS[wanted.model],
        uptake=wanted.uptake,
        half_life_s=curve.half_life_s,
        decay_corrected=curve.decay_corrected,
        administered=administered,
        weights=wanted.importance(curve),
    )
    return made.lower, made.upper


def _drawn(one: _Quantified, wanted: _Wanted, rows: list[dict[str, Any]]) -> CurveFit:
    return drawn_curve(
        one.curve,
        one.fit,
        wanted.model,
        uptake=wanted.uptake,
        rule=(wanted.model, wanted.tail, wanted.beginning),
        weights=wanted.importance(one.curve),
        level=wanted.level,
        results={row["quantity"]: (float(row["mean"]), float(row["standard_error"])) for row in rows},
    )
