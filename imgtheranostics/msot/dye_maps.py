"""Kinetics of a dye in images over time: maps, a table of regions, curves to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import estimate_of
from imgtheranostics.mapping.frame_seconds import frame_seconds
from imgtheranostics.mapping.refusals import UnknownChoice, checked, typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels
from imgtheranostics.msot import dye_kinetics
from imgtheranostics.pickling import reduced
from imgtheranostics.regions import Regions, region_curve
from imgtheranostics.units import UNITS
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
Model = Literal["tail", "two_compartments"]

MODELS = ("tail", "two_compartments")

_QUANTITIES = {
    "peak": "dye_peak",
    "time_to_peak_s": "time_to_peak",
    "rise_per_s": "dye_rise",
    "area": "dye_area",
    "decay_per_s": "decay_rate",
    "half_life_s": "half_life",
}
_AMOUNTS = {
    "tail": ("baseline", "peak", "rise_per_s", "area", "tail_amplitude"),
    "two_compartments": ("amplitude", "peak", "area"),
}
"""Parameters that scale with the amount of the dye, and with the error of its calibration."""


@dataclass(frozen=True, eq=False)
class DyeKinetics:
    """What a dye did after its injection.

    Attributes
    ----------
    maps : mapping of str to Estimate
        By quantity: ``dye_peak``, ``time_to_peak``, ``dye_rise`` (``uptake_rate`` of two compartments),
        ``dye_area``, ``decay_rate``, ``half_life``.
    table : pandas.DataFrame or None
        One row per region and parameter of its mean curve, with its standard error.
    curves : tuple of CurveFit
        The mean curve of each region with what was fitted to it.
    decisions : mapping
    warnings : tuple of Caution
    """

    maps: Mapping[str, Estimate]
    table: pd.DataFrame | None
    curves: tuple[CurveFit, ...]
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        for name in ("maps", "decisions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, maps=dict(self.maps), decisions=dict(self.decisions))


def dye_kinetics_maps(
    x: Volume | Estimate,
    rois: Regions | None = None,
    *,
    baseline: tuple[int, int],
    injection_s: float | None = None,
    model: Model = "tail",
    tail_from_s: float | None = None,
    noise_sd: float | None = None,
    mask: Mask = None,
    workers: int | None = None,
) -> DyeKinetics:
    """Peak, area, rise and decay of a dye in every voxel and region (msot.md M9).

    Parameters
    ----------
    x : Volume or Estimate
        Amount of the dye's component along ``time``. The error of a calibration is carried on.
    rois : Regions, optional
    baseline : (first, stop)
        Frames before the injection.
    injection_s : float, optional
        On the time axis; needed by ``two_compartments``.
    model : {"tail", "two_compartments"}
        A mono-exponential tail after a rise without a model, or two rates for the whole curve.
    tail_from_s : float, optional
        Where the tail begins; by default after the largest frame of each curve.
    noise_sd : float, optional
        Of one voxel in one frame; by default the scatter of its baseline. Regions have the scatter of theirs.
    mask : Volume, Regions or (i, j, k) array_like, optional
        For the maps.
    workers : int, optional

    Returns
    -------
    DyeKinetics

    Raises
    ------
    MissingMetadata
        If there is no time axis, its frames were only numbered, or the injection is needed and not given.
    UnsupportedInput
        If baseline, tail or injection do not fit the times.
    UnknownChoice
        If the model does not exist or an option does not apply to it.
    GeometryMismatch
        If regions or mask lie on another grid.
    """
    checked(model, MODELS, "model")
    value = x.value if isinstance(x, Estimate) else x
    times = _times(value)
    options = _options(model, baseline, injection_s, tail_from_s, value.unit)
    chosen = chosen_voxels(value.data, value, mask=mask)
    with typed_refusals():
        fit = _fitted(model, value.data, times, options, noise_sd, chosen.inside, workers)
    decisions = {
        "rule": model,
        "baseline": list(baseline),
        "injection_s": injection_s,
        "tail_from_s": tail_from_s,
        "mask": chosen.decision,
    }
    earlier = x.decisions if isinstance(x, Estimate) else {}
    shared = x.calibration_relative if isinstance(x, Estimate) else 0.0
    step = make_step("dye_kinetics", model=model, baseline=list(baseline), injection_s=injection_s)
    maps = {}
    for parameter, quantity in _quantities(model).items():
        unit = fit.units[parameter]
        if unit not in UNITS:
            continue
        scaled = shared if parameter in _AMOUNTS[model] else 0.0
        found = estimate_of(
            value.replace(unit=unit, quantity="signal"),
            fit,
            parameter,
            quantity,
            step,
            chosen,
            calibration_relative=scaled,
            decisions={**earlier, "dye_kinetics": decisions},
        )
        residual = found.maps["rmse"].replace(unit=value.unit)
        maps[quantity] = replace(found, maps={**found.maps, "rmse": residual})
    table, curves = _regions(model, value, rois, times, options, shared, workers)
    notes = merge_cautions(value.warnings, *(one.warnings for one in maps.values()))
    return DyeKinetics(maps, table, curves, decisions, notes)


def _times(value: Volume) -> FloatArray:
    axis = value.axes[0] if len(value.axes) == 1 else None
    if axis is None or axis.name != "time":
        raise MissingMetadata(
            "kinetics need images over time",
            where="time axis",
            found=", ".join(one.name for one in value.axes) or "one image",
            needed="an axis of time and no other",
            next_step="unmix the series first; its frames need FrameTimes in the sidecar",
        )
    if any(caution.code == "time-unknown" for caution in value.warnings):
        raise MissingMetadata(
            "the times of the frames are not known; rates and half-lives need them",
            where="time axis",
            found="frames that were numbered in their place",
            needed="the time of each frame in s",
            next_step="write FrameTimes into the sidecar, or give the images a time axis of their own",
        )
    return frame_seconds(axis)


def _options(
    model: str, baseline: tuple[int, int], injection_s: float | None, tail_from_s: float | None, unit: str
) -> dict[str, Any]:
    options: dict[str, Any] = {"baseline": baseline, "injection_s": injection_s, "unit": unit}
    if model == "tail":
        return {**options, "tail_from_s": tail_from_s}
    if tail_from_s is not None:
        raise UnknownChoice("tail_from_s= does not apply to two compartments")
    if injection_s is None:
        raise MissingMetadata(
            "two compartments need the time of the injection",
            where="injection_s",
            needed="s on the time axis",
            next_step="give injection_s=, or take model='tail'",
        )
    return options


def _quantities(model: str) -> dict[str, str]:
    return _QUANTITIES if model == "tail" else {**_QUANTITIES, "rise_per_s": "uptake_rate"}


def _fitted(
    model: str,
    signal: npt.ArrayLike,
    times: FloatArray,
    options: Mapping[str, Any],
    noise_sd: float | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    fit = dye_kinetics.fit if model == "tail" else dye_kinetics.fit_two_compartments
    return fit(signal, times, noise_sd=noise_sd, mask=mask, workers=workers, **options)


def _regions(
    model: str,
    value: Volume,
    rois: Regions | None,
    times: FloatArray,
    options: Mapping[str, Any],
    shared: float,
    workers: int | None,
) -> tuple[pd.DataFrame | None, tuple[CurveFit, ...]]:
    """Parameters of the mean curve of each region, and the curves."""
    import pandas as pd

    if rois is None:
        return None, ()
    fitted = rois.fit_to(value.grid)
    means = region_curve(value, fitted, workers=workers).T
    with typed_refusals():
        fit = _fitted(model, means, times, options)
    rows, curves = [], []
    for n, name in enumerate(fitted):
        for parameter in fit.parameters:
            own = float(fit.parameters[parameter][n])
            error = float(fit.standard_errors[parameter][n])
            if parameter in _AMOUNTS[model]:
                error = float(np.hypot(error, shared * own))
            rows.append(
                {
                    "region": name,
                    "parameter": parameter,
                    "quantity": _quantities(model).get(parameter, ""),
                    "unit": fit.units[parameter],
                    "value": own,
                    "standard_error": error,
                    "flags": int(fit.flags[n]),
                }
            )
        curves.append(_drawn(model, name, means[n], fit, n, times, options, value.unit))
    return pd.DataFrame(rows), tuple(curves)


def _drawn(
    model: str,
    name: str,
    curve: FloatArray,
    fit: Fit,
    n: int,
    times: FloatArray,
    options: Mapping[str, Any],
    unit: str,
) -> CurveFit:
    """A region's curve with its tail, or its two compartments."""
    one = {key: float(values[n]) for key, values in fit.parameters.items()}
    first, stop = options["baseline"]
    level = float(np.mean(curve[first:stop]))
    fine = np.linspace(times[0], times[-1], 200)

    def at(where: FloatArray) -> FloatArray:
        if model == "tail":
            tail = level + one["tail_amplitude"] * np.exp(-one["decay_per_s"] * (where - one["tail_from_s"]))
            return np.asarray(np.where(where >= one["tail_from_s"], tail, np.nan))
        rates = {key: one[key] for key in ("amplitude", "rise_per_s", "decay_per_s")}
        return level + dye_kinetics.compartment_curve(where - options["injection_s"], **rates)

    return CurveFit(
        name,
        "decay_rate",
        "time",
        "s",
        times,
        curve,
        at(times),
        fine,
        at(fine),
        unit,
        one["decay_per_s"],
        float(fit.standard_errors["decay_per_s"][n]),
    )
