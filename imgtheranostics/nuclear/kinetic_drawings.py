"""Kinetics as they are drawn: tissue curves with their models, Patlak's and Logan's plots, and the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.nuclear.compartments import MODELS
from imgtheranostics.nuclear.exponential_models import student_quantile
from imgtheranostics.nuclear.graphical import area_weights, line_window, reference_area
from imgtheranostics.nuclear.input_functions import InputFunction
from imgtheranostics.nuclear.kinetic_inputs import Frames, InputCurve
from imgtheranostics.nuclear.reference_tissue import reference_knots
from imgtheranostics.nuclear.tissue_curves import TissueCurves

__all__ = ["INPUT", "KINETICS", "PLOT", "Setting", "drawn_curves"]

FloatArray = npt.NDArray[np.float64]

KINETICS, PLOT, INPUT = "kinetics", "plot", "input"
"""Kinds of drawn curves."""

LEADS_TO = {
    "one_tissue": "distribution_volume", "two_tissue": "distribution_volume",
    "two_tissue_irreversible": "net_influx", "patlak": "net_influx", "patlak_reference": "relative_influx",
    "logan": "distribution_volume", "ma1": "distribution_volume", "logan_reference": "distribution_ratio",
    "mrtm": "binding_potential", "mrtm2": "binding_potential", "srtm": "binding_potential",
    "srtm2": "binding_potential",
}  # fmt: skip
"""What each method is asked for."""

PLOTS = ("patlak", "logan", "patlak_reference", "logan_reference")

_LINE_POINTS = 600
_SAME_RATES = 1e-9


@dataclass(frozen=True, eq=False)
class Setting:
    """What all curves of a table share.

    Attributes
    ----------
    model : str
    inflow : InputFunction or None
    curve : (n,) ndarray or None
        Of the reference tissue.
    name : str
        Of the input.
    given : mapping
        Options of the method.
    level : float
        Of bands.
    """

    model: str
    inflow: InputFunction | None
    curve: FloatArray | None
    name: str
    given: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.95


def drawn_curves(
    curves: TissueCurves, fit: Fit, setting: Setting, results: list[dict[str, tuple[float, float]]]
) -> tuple[CurveFit, ...]:
    """The input, and each region with its model or its plot.

    Parameters
    ----------
    curves : TissueCurves
    fit : Fit
        Of all of them.
    setting : Setting
    results : list of dict
        Of each region, value and standard error by quantity.
    """
    found = [_input(curves, setting)]
    for n in range(len(curves.names)):
        one = {name: float(values[n]) for name, values in fit.parameters.items()}
        make = _plot if setting.model in PLOTS else _kinetics
        found.append(make(curves, n, one, setting, results[n]))
    return tuple(found)


def _input(curves: TissueCurves, setting: Setting) -> CurveFit:
    if setting.inflow is not None:
        time, values, blood = setting.inflow.time_s, setting.inflow.plasma, setting.inflow.whole_blood
    else:
        assert setting.curve is not None  # noqa: S101
        time, values, blood = curves.mid_s, setting.curve, None
    return CurveFit(
        label=setting.name,
        quantity=LEADS_TO[setting.model],
        axis="time",
        axis_unit="s",
        x=time,
        measured=values,
        fitted=values,
        line_x=time,
        line=values,
        unit=curves.unit,
        parts={} if blood is None else {"whole blood": blood},
        kind=INPUT,
        measured_quantity=curves.quantity,
    )


def _frames(curves: TissueCurves) -> Frames:
    half = np.zeros(curves.mid_s.size) if curves.duration_s is None else 0.5 * curves.duration_s
    return Frames(curves.mid_s - half, curves.mid_s + half)


def _used(curves: TissueCurves, setting: Setting) -> npt.NDArray[np.bool_]:
    weights = setting.given.get("weights")
    used = np.ones(curves.mid_s.size, bool) if weights is None else np.asarray(weights) > 0.0
    start, end = setting.given.get("start_s"), setting.given.get("end_s")
    used &= curves.mid_s >= (-np.inf if start is None else float(start))
    return np.asarray(used & (curves.mid_s <= (np.inf if end is None else float(end))))


def _kinetics(
    curves: TissueCurves,
    n: int,
    one: Mapping[str, float],
    setting: Setting,
    results: dict[str, tuple[float, float]],
) -> CurveFit:
    end = float(_frames(curves).end_s[-1])
    fine = np.linspace(0.0, end, _LINE_POINTS)
    if setting.model in MODELS:
        fitted = compartment_curve(setting, one, _frames(curves))
        line = compartment_curve(setting, one, Frames(fine, fine))
    elif setting.model in ("srtm", "srtm2"):
        fitted, line = _reference_model(curves, one, setting, fine)
    else:
        fitted = _multilinear(curves, n, one, setting)
        fine, line = curves.mid_s, fitted
    quantity = LEADS_TO[setting.model]
    value, error = results[quantity]
    return CurveFit(
        label=curves.names[n],
        quantity=quantity,
        axis="time",
        axis_unit="s",
        x=curves.mid_s,
        measured=curves.values[n],
        fitted=fitted,
        line_x=fine,
        line=line,
        unit=curves.unit,
        value=value,
        standard_error=error,
        n_voxels=curves.sizes[n][0],
        kind=KINETICS,
        measured_quantity=curves.quantity,
        errors=curves.errors[n],
        used=_used(curves, setting),
        results=results,
    )


def compartment_curve(setting: Setting, one: Mapping[str, float], frames: Frames) -> FloatArray:
    """What a compartment model predicts in frames; at their times where they have no length.

    Parameters
    ----------
    setting : Setting
        With an input function.
    one : mapping of str to float
        Parameters as `imgtheranostics.nuclear.kinetics.fit` names them.
    frames : Frames
    """
    from imgtheranostics.kernels.compartment_fit import tabulate_frames

    assert setting.inflow is not None  # noqa: S101
    k1, k2 = one["K1"] / 60.0, one["k2"] / 60.0
    k3, k4 = one.get("k3", 0.0) / 60.0, one.get("k4", 0.0) / 60.0
    if not np.isfinite([k1, k2, k3, k4, one["vB"], one["delay_s"]]).all():
        return np.full(len(frames), np.nan)
    total = k2 + k3 + k4
    root = np.sqrt(max(total**2 - 4.0 * k2 * k4, 0.0))
    slow, fast = 0.5 * (total - root), 0.5 * (total + root)
    apart = max(fast - slow, _SAME_RATES * max(fast, 1e-12))
    weights = k1 * np.array([k3 + k4 - slow, fast - k3 - k4]) / apart
    inflow = setting.inflow
    blood = inflow.plasma if inflow.whole_blood is None else inflow.whole_blood
    table = np.empty((1, 3, len(frames)))
    tabulate_frames(
        np.ascontiguousarray([frames.start_s, frames.end_s, np.ones(len(frames))]),
        np.ascontiguousarray([inflow.time_s, inflow.plasma, blood]),
        np.array([slow, fast]),
        np.array([one["delay_s"]]),
        table,
    )
    tissue = weights @ table[0, 1:]
    return np.asarray((1.0 - one["vB"]) * tissue + one["vB"] * table[0, 0])


def _reference_model(
    curves: TissueCurves, one: Mapping[str, float], setting: Setting, fine: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """R1 C_R and the convolution of C_R, in frames and at fine times."""
    from imgtheranostics.kernels.compartment_fit import tabulate_frames

    assert setting.curve is not None  # noqa: S101
    rate = one["k2a"] / 60.0
    if not np.isfinite([one["R1"], one["k2"], rate]).all():
        return np.full(curves.mid_s.size, np.nan), np.full(fine.size, np.nan)
    frames = _frames(curves)
    knots, values = reference_knots(curves.mid_s, setting.curve, float(frames.end_s[-1]))
    found = []
    for span, itself in ((frames, setting.curve), (Frames(fine, fine), np.interp(fine, knots, values))):
        table = np.empty((1, 2, len(span)))
        tabulate_frames(
            np.ascontiguousarray([span.start_s, span.end_s, np.ones(len(span))]),
            np.ascontiguousarray([knots, values, values]),
            np.array([rate]),
            np.zeros(1),
            table,
        )
        found.append(one["R1"] * itself + (one["k2"] / 60.0 - one["R1"] * rate) * table[0, 1])
    return found[0], found[1]


class _Axes(NamedTuple):
    """Transformed data of a plot, x in min where it is a time."""

    x: FloatArray
    y: FloatArray


def _areas(curves: TissueCurves, n: int, setting: Setting) -> tuple[FloatArray, FloatArray]:
    """Integrals of input and tissue up to the middles of the frames, as the methods take them."""
    frames = None if curves.duration_s is None else _frames(curves)
    if setting.inflow is not None:
        inflow = InputCurve(setting.inflow.time_s, setting.inflow.plasma)
        area = inflow.integral(curves.mid_s)
    else:
        assert setting.curve is not None  # noqa: S101
        area = reference_area(setting.curve, curves.mid_s, frames)[1]
        known = setting.given.get("k2_reference_per_min")
        if known is not None and setting.model in ("logan_reference", "mrtm2"):
            area = area + setting.curve * (60.0 / float(known))
    older, newer = area_weights(curves.mid_s, frames)
    values = curves.values[n]
    return area, np.cumsum(older * np.concatenate([[0.0], values[:-1]]) + newer * values)


def _multilinear(curves: TissueCurves, n: int, one: Mapping[str, float], setting: Setting) -> FloatArray:
    """MA1 and MRTM2: C_T = -(V/b) int C_in + (1/b) int C_T, in the frames that they take; MRTM with C_R."""
    area, own = _areas(curves, n, setting)
    if setting.model == "mrtm":
        assert setting.curve is not None  # noqa: S101
        fitted = (one["k2"] * area - one["k2a"] * own) / 60.0 + one["R1"] * setting.curve
        return np.asarray(np.where(_used(curves, setting), fitted, np.nan))
    slope = one["VT"] if setting.model == "ma1" else one["DVR"]
    intercept = one["intercept"] * 60.0
    fitted = (own - slope * area) / intercept
    return np.asarray(np.where(_used(curves, setting), fitted, np.nan))


def _transformed(curves: TissueCurves, n: int, setting: Setting) -> _Axes:
    values = curves.values[n]
    with np.errstate(divide="ignore", invalid="ignore"):
        if setting.model in ("logan", "logan_reference"):
            area, own = _areas(curves, n, setting)
            below = np.where(values > 0.0, values, np.nan)
            return _Axes(area / below / 60.0, own / below / 60.0)
        frames = None if curves.duration_s is None else _frames(curves)
        if setting.inflow is not None:
            inflow = InputCurve(setting.inflow.time_s, setting.inflow.plasma)
            if frames is None:
                level, area = inflow.at(curves.mid_s), inflow.integral(curves.mid_s)
            else:
                ends = frames.start_s, frames.end_s
                level, area = inflow.average(*ends), inflow.average_integral(*ends)
        else:
            assert setting.curve is not None  # noqa: S101
            level, area = reference_area(setting.curve, curves.mid_s, frames)
        below = np.where(level > 0.0, level, np.nan)
        return _Axes(area / below / 60.0, values / below)


def _plot(
    curves: TissueCurves,
    n: int,
    one: Mapping[str, float],
    setting: Setting,
    results: dict[str, tuple[float, float]],
) -> CurveFit:
    """Transformed data, the line and its band."""
    axes, used = _transformed(curves, n, setting), _used(curves, setting)
    slope = next(one[name] for name in ("Ki", "VT", "DVR") if name in one)
    line = line_window(
        curves.mid_s, setting.given["start_s"], setting.given.get("end_s"), setting.given.get("weights")
    )
    weights = np.zeros(curves.mid_s.size)
    weights[line.first : line.stop] = line.weights
    fitted = slope * axes.x + one["intercept"]
    within = axes.x[used & np.isfinite(axes.x)]
    ends = (float(within.min()), float(within.max())) if within.size else (0.0, 1.0)
    fine = np.linspace(min(0.0, ends[0]), ends[1], 100)
    quantity = LEADS_TO[setting.model]
    value, error = results[quantity]
    return CurveFit(
        label=curves.names[n],
        quantity=quantity,
        axis="plot",
        axis_unit="min",
        x=axes.x,
        measured=axes.y,
        fitted=np.where(used, fitted, np.nan),
        line_x=fine,
        line=slope * fine + one["intercept"],
        unit="min" if "logan" in setting.model else "1",
        value=value,
        standard_error=error,
        n_voxels=curves.sizes[n][0],
        marks=ends,
        kind=PLOT,
        measured_quantity=setting.model,
        used=used,
        band=_line_band(axes, weights, slope, one["intercept"], fine, setting.level),
        results=results,
    )


def _line_band(
    axes: _Axes, weights: FloatArray, slope: float, intercept: float, fine: FloatArray, level: float
) -> tuple[FloatArray, FloatArray]:
    """Confidence of the line at each abscissa, by Student's t and the scatter about it."""
    counts = (weights > 0.0) & np.isfinite(axes.x) & np.isfinite(axes.y)
    freedom = int(np.count_nonzero(counts)) - 2
    if freedom < 1 or not np.isfinite(slope):
        nothing = np.full(fine.size, np.nan)
        return nothing, nothing.copy()
    x, y, w = axes.x[counts], axes.y[counts], weights[counts]
    scatter = float(w @ (y - slope * x - intercept) ** 2) / freedom
    mean = float(w @ x / w.sum())
    spread = float(w @ (x - mean) ** 2)
    width = student_quantile(level, freedom) * np.sqrt(
        scatter * (1.0 / w.sum() + (fine - mean) ** 2 / spread)
    )
    middle = slope * fine + intercept
    return middle - width, middle + width
