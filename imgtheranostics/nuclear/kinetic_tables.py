"""Kinetics of the curves of regions: rates, volumes and binding with standard errors, and curves to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    IllConditioned,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
    merge_cautions,
)
from imgtheranostics.fit import CurveFit, Fit, shortfall
from imgtheranostics.mapping.refusals import UnknownChoice, applicable, checked
from imgtheranostics.nuclear.exponential_models import student_quantile
from imgtheranostics.nuclear.input_functions import InputFunction, image_derived, read_blood
from imgtheranostics.nuclear.kinetic_drawings import LEADS_TO, Setting, drawn_curves
from imgtheranostics.nuclear.kinetic_maps import (
    COMPARTMENTS,
    METHODS,
    OPTIONS,
    PARAMETERS,
    PLASMA_PLOTS,
    SCALED,
    array_call,
)
from imgtheranostics.nuclear.tissue_curves import TissueCurves
from imgtheranostics.nuclear.tissue_regions import tissue_of_regions, tissue_of_table
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_weights", "kinetics_table", "region_input"]

FloatArray = npt.NDArray[np.float64]

_IN_IMAGES = "region in the images"
_WEIGHTS = ("given", "equal", "frames")
_N_RATES = {"one_tissue": 2, "two_tissue_irreversible": 3, "two_tissue": 4, "srtm": 3}


def kinetics_table(
    data: Volume | TissueCurves | pd.DataFrame,
    regions: Regions | None = None,
    *,
    model: str,
    input_function: InputFunction | Path | str | Sequence[Path | str] | None = None,
    reference: str | npt.ArrayLike | None = None,
    leave_out: Sequence[str] = (),
    weights: str | npt.ArrayLike | None = None,
    level: float = 0.95,
    workers: int | None = None,
    scan: Mapping[str, Any] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Kinetic parameters of the mean curves of regions.

    Parameters
    ----------
    data : Volume, TissueCurves or pandas.DataFrame
        A dynamic series; curves from `imgtheranostics.nuclear.read_tissue_curves`; or the table that
        `time_activity` returns for a dynamic series.
    regions : Regions, optional
        Of a Volume.
    model : str
        One of `imgtheranostics.nuclear.kinetic_maps.METHODS`.
    input_function : InputFunction, path or sequence of path
        As in `kinetics_maps`; see `region_input` for one out of the images.
    reference : str or (n,) array_like
        For methods with a reference tissue: a region, which is then not fitted, or the curve of one.
    leave_out : sequence of str
        Regions that are not fitted.
    weights : {"given", "equal", "frames"} or (n,) array_like, optional
        Of the squares of the frames: those that came with the curves (the default, equal without), all alike,
        or by the length of each frame and what decay has left, as the counts are.
    level : float
        Of the intervals among the details.
    workers : int, optional
    scan : mapping, optional
        Keywords of `imgtheranostics.nuclear.tissue_regions.tissue_of_regions` for a Volume, of
        `imgtheranostics.nuclear.tissue_regions.tissue_of_table` for a table: its `duration_s`.
    **options
        Those of the method, as in `kinetics_maps`. Compartment models fit the delay of the blood unless
        `delay_s` is given.

    Returns
    -------
    pandas.DataFrame
        A row per region and parameter, such as ``tissue_influx`` (K1) or ``binding_potential``, in the
        columns of `imgtheranostics.regions.STATISTICS_COLUMNS`. Standard errors are those of the fit, and
        for K1, VT and Ki against blood samples also the calibration of the scanner. ``attrs`` has the
        ``curves`` to draw, the ``details`` of each row, ``decisions`` and ``warnings``.

    Raises
    ------
    UnknownChoice
        If the model is not known, or an option does not belong to it.
    UnsupportedInput
        If the series is not dynamic, a region does not exist, or none is left to be fitted.
    MissingMetadata
        If the input, the injection, the start of the line or the duration of frames is not known.
    UnitMismatch
        If blood is given for images that hold no activity concentration.
    IllConditioned
        If there are fewer frames than parameters.
    ImplausibleValue
        If the blood does not cover the scan, or an input is negative.
    """
    import pandas as pd

    checked(model, METHODS, "model")
    if not 0 < level < 1:
        raise UnknownChoice(f"level must be between 0 and 1, not {level!r}")
    given = applicable(options, OPTIONS[model], model)
    curves = _curves(data, regions, scan, workers)
    source = _source(curves, model, input_function, reference)
    fitted = curves.without([*leave_out, *([reference] if isinstance(reference, str) else [])])
    if not fitted.names:
        raise UnsupportedInput(
            "no region is left to be fitted",
            found=", ".join(curves.names),
            needed="a region beside those that are the input",
        )
    given = {**given, "weights": frame_weights(curves, weights)}
    call = array_call(model, curves.mid_s, curves.duration_s, source.inflow, source.curve, given)
    fit = _fitted(call, fitted, workers)
    warnings = merge_cautions(curves.warnings, source.warnings)
    rows, details, results = _rows(fitted, fit, model, given, source, level)
    setting = Setting(model, source.inflow, source.curve, source.name, given, level)
    table = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    drawn: tuple[CurveFit, ...] = drawn_curves(fitted, fit, setting, results)
    table.attrs = {
        "time_origin": "injection",
        "curves": drawn,
        "details": details,
        "decisions": {**curves.decisions, "method": {"rule": model, **_plain(given)}, **source.decisions},
        "warnings": merge_cautions(warnings, _cautions(fitted, fit)),
    }
    return table


def region_input(
    curves: TissueCurves,
    name: str,
    *,
    recovery: float = 1.0,
    surroundings: str | None = None,
    plasma_over_blood: float = 1.0,
) -> InputFunction:
    """An input function from the curve of a vessel's region; see `image_derived`.

    Parameters
    ----------
    curves : TissueCurves
    name : str
        The vessel or ventricle.
    recovery : float
        Recovery coefficient of it, above 0 and at most 1.
    surroundings : str, optional
        The region around it; needed where `recovery` is below 1.
    plasma_over_blood : float

    Raises
    ------
    UnsupportedInput
        If there is no such region.
    UnitMismatch
        If the curves are no activity concentration.
    ImplausibleValue, MissingMetadata
        As `image_derived`.
    """
    _refuse_suv(curves)
    around = None if surroundings is None else curves.curve(surroundings)
    found = image_derived(
        curves.curve(name),
        time_s=curves.mid_s,
        frame_duration_s=curves.duration_s,
        recovery=recovery,
        surroundings=around,
        plasma_over_blood=plasma_over_blood,
    )
    decisions = {**found.decisions, "name": name, "surroundings": surroundings}
    return replace(found, decisions={key: value for key, value in decisions.items() if value is not None})


@dataclass(frozen=True, eq=False)
class _Source:
    """What drives the tissue."""

    inflow: InputFunction | None
    curve: FloatArray | None
    name: str
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...] = ()

    @property
    def from_images(self) -> bool:
        """Whether it has the calibration of the tissue."""
        return self.inflow is None or self.inflow.decisions.get("rule") == _IN_IMAGES


def _curves(
    data: Volume | TissueCurves | pd.DataFrame,
    regions: Regions | None,
    scan: Mapping[str, Any] | None,
    workers: int | None,
) -> TissueCurves:
    if not isinstance(data, Volume):
        if regions is not None:
            raise UnknownChoice("regions= is for a Volume; curves have theirs")
        if not isinstance(data, TissueCurves):
            return tissue_of_table(data, **(scan or {}))
        if scan:
            raise UnknownChoice("scan= is for a Volume or a table; curves have all of it")
        return data
    if regions is None:
        raise UnknownChoice("a Volume needs regions=")
    return tissue_of_regions(data, regions, workers=workers, **(scan or {}))


def _refuse_suv(curves: TissueCurves) -> None:
    if curves.quantity != "activity_concentration":
        raise UnitMismatch(
            "blood in Bq/mL cannot drive curves in SUV",
            found=f"{curves.quantity} [{curves.unit}]",
            needed="activity concentration in Bq/mL",
            next_step="take the curves in Bq/mL, or use a method with a reference tissue",
        )


def _source(
    curves: TissueCurves,
    model: str,
    input_function: InputFunction | Path | str | Sequence[Path | str] | None,
    reference: str | npt.ArrayLike | None,
) -> _Source:
    by_blood = model in COMPARTMENTS or model in PLASMA_PLOTS
    vain = reference if by_blood else input_function
    if vain is not None:
        raise UnsupportedInput(
            f"{model} takes {'an input function' if by_blood else 'a reference tissue'} and nothing else",
            next_step=f"leave out {'--reference (reference=)' if by_blood else '--blood (input_function=)'}",
        )
    if not by_blood:
        if reference is None:
            raise MissingMetadata(
                f"{model} needs a reference tissue",
                where="--reference (reference=)",
                needed="one region without binding, or its curve",
            )
        if isinstance(reference, str):
            decisions = {"reference": {"rule": "region", "name": reference}}
            return _Source(None, curves.curve(reference), reference, decisions)
        return _Source(None, np.asarray(reference, np.float64), "reference", {"reference": {"rule": "given"}})
    if input_function is None:
        raise MissingMetadata(
            f"{model} needs an input function",
            where="--blood (input_function=)",
            needed="a *_blood.tsv of PET-BIDS, a region with blood, or an InputFunction",
        )
    _refuse_suv(curves)
    inflow = input_function if isinstance(input_function, InputFunction) else read_blood(input_function)
    decisions = {"input_function": {**inflow.decisions, "time_zero": "taken as the injection"}}
    return _Source(inflow, None, "plasma", decisions, inflow.warnings)


def frame_weights(curves: TissueCurves, weights: str | npt.ArrayLike | None) -> FloatArray | None:
    """Weights of the frames; None where all are alike.

    Parameters
    ----------
    curves : TissueCurves
    weights : {"given", "equal", "frames"} or (n,) array_like, optional
        As in `kinetics_table`.

    Raises
    ------
    UnknownChoice
        If the rule is not known.
    MissingMetadata
        If durations or half-life are needed and not known.
    """
    if weights is not None and not isinstance(weights, str):
        return np.asarray(weights, np.float64)
    rule = checked(weights or "given", _WEIGHTS, "weights")
    if rule == "given":
        return curves.weights
    if rule == "equal":
        return None
    if curves.duration_s is None or curves.half_life_s is None:
        raise MissingMetadata(
            "weights by frames need their durations and the half-life",
            where="--weights (weights=)",
            next_step="state --nuclide, or ask for weights='equal'",
        )
    left = np.exp2(-curves.mid_s / curves.half_life_s)
    return np.asarray(curves.duration_s * left, np.float64)


def _fitted(call: Callable[..., Fit], curves: TissueCurves, workers: int | None) -> Fit:
    try:
        return call(curves.values, workers=workers)
    except UnknownChoice:
        raise
    except ValueError as error:
        raise IllConditioned(
            f"the curves cannot be fitted: {error}",
            found=f"{curves.mid_s.size} frames from {curves.mid_s[0]:g} to {curves.mid_s[-1]:g} s",
            next_step="give all frames, an earlier start, or a model with fewer parameters",
        ) from error


def _rows(
    curves: TissueCurves, fit: Fit, model: str, given: Mapping[str, Any], source: _Source, level: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, tuple[float, float]]]]:
    """Rows of the table, their details, and the results of each region."""
    freedom = _freedom(curves, model, given)
    width = student_quantile(level, freedom) * shortfall(freedom) if freedom > 0 else np.nan
    calibrated = 0.0 if source.from_images else curves.calibration_relative
    rows, details, results = [], [], []
    for n, region in enumerate(curves.names):
        own: dict[str, tuple[float, float]] = {}
        flags = ";".join(f"{flag.name}:1" for flag in Flag if int(fit.flags[n]) & flag.value)
        codes = ";".join(dict.fromkeys(one.code for one in _cautions(curves, fit, n)))
        others = {key: float(values[n]) for key, values in fit.parameters.items() if key not in PARAMETERS}
        for name, quantity in _ordered(fit, model):
            value, error = float(fit.parameters[name][n]), float(fit.standard_errors[name][n])
            shared = calibrated * abs(value) if name in SCALED and calibrated else 0.0
            whole = float(np.hypot(error, shared))
            own[quantity] = (value, whole)
            n_voxels, n_valid, volume = curves.sizes[n]
            rows.append(
                {
                    "subject": curves.subject, "session": curves.session, "region": region,
                    "quantity": quantity, "unit": QUANTITIES[quantity].unit, "axis": "", "axis_value": np.nan,
                    "n_voxels": n_voxels or np.nan,
                    "n_valid": (n_valid if np.isfinite(value) else 0) if n_voxels else np.nan,
                    "volume_ml": volume, "mean": value, "standard_error": whole, "flags": flags,
                    "warnings": codes,
                }
            )  # fmt: skip
            details.append(
                {
                    "model": model, "parameter": name, "standard_error_fit": error,
                    "standard_error_calibration": shared, "interval_level": level,
                    "lower": value - width * error, "upper": value + width * error,
                    "degrees_of_freedom": freedom, "r_squared": float(fit.r_squared[n]),
                    "rmse": float(fit.rmse[n]), **others,
                }
            )  # fmt: skip
        results.append(own)
    return rows, details, results


def _ordered(fit: Fit, model: str) -> list[tuple[str, str]]:
    """Parameters that a fit has with their quantities, what the model is asked for first."""
    named = {name: quantity for name, quantity in PARAMETERS.items() if name in fit.parameters}
    if model == "patlak_reference":
        named["Ki"] = "relative_influx"
    return sorted(named.items(), key=lambda item: item[1] != LEADS_TO[model])


def _freedom(curves: TissueCurves, model: str, given: Mapping[str, Any]) -> int:
    """Frames that count less parameters that are fitted."""
    weights = given.get("weights")
    counts = np.ones(curves.mid_s.size, bool) if weights is None else np.asarray(weights) > 0
    if model in COMPARTMENTS:
        free = [given.get("blood_fraction"), given.get("delay_s")].count(None)
        return int(np.count_nonzero(counts)) - _N_RATES[model] - free
    if given.get("start_s") is not None:
        counts = counts & (curves.mid_s >= float(given["start_s"]))
    if given.get("end_s") is not None:
        counts = counts & (curves.mid_s <= float(given["end_s"]))
    return int(np.count_nonzero(counts)) - _N_RATES.get(model, 2)


def _cautions(curves: TissueCurves, fit: Fit, only: int | None = None) -> tuple[Caution, ...]:
    """What the flags of each region say in words."""
    words = {
        Flag.INVALID_INPUT: ("invalid-curve", "the curve has frames that the method cannot take"),
        Flag.NOT_CONVERGED: ("not-converged", "the fit did not settle"),
        Flag.ILL_CONDITIONED: ("not-determined", "the curve does not determine the parameters"),
        Flag.AT_BOUND: ("at-bound", "{} ended at the end of its range and has no standard error"),
        Flag.NOT_ENHANCING: ("no-uptake", "nothing is taken up from the plasma"),
        Flag.NEGATIVE_AMPLITUDE: ("negative-amplitude", "an amplitude of the curve is below zero"),
    }
    found = []
    for n, region in enumerate(curves.names):
        if only is not None and n != only:
            continue
        for flag, (code, text) in words.items():
            if int(fit.flags[n]) & flag.value:
                said = text.format(_at_bound(fit, n))
                found.append(Caution(code, f"{region}: {said}", f"region {region}"))
        if "VT" in fit.parameters and _undetermined(fit, "VT", n):
            said = "VT is not determined, by its standard error: a smaller or irreversible model may do"
            found.append(Caution("not-determined", f"{region}: {said}", f"region {region}"))
    return tuple(found)


def _undetermined(fit: Fit, name: str, n: int) -> bool:
    """Whether the standard error of a parameter is more than half of it."""
    value = np.asarray(fit.parameters[name]).ravel()[n]
    return bool(np.asarray(fit.standard_errors[name]).ravel()[n] > 0.5 * abs(value))


def _at_bound(fit: Fit, n: int) -> str:
    """Parameters that a curve has without a standard error; k2a, with which the others of SRTM go."""
    if "k2a" in fit.parameters:
        return "k2a"
    names = [
        name
        for name, values in fit.parameters.items()
        if name not in ("VT", "Ki") and np.isfinite(values[n]) and np.isnan(fit.standard_errors[name][n])
    ]
    return " or ".join(names) or "a parameter"


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they go into the record."""
    return {
        name: np.asarray(value).tolist()
        for name, value in given.items()
        if value is not None and name != "weights"
    }
