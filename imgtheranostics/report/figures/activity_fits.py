"""Activity over time with the model, its confidence band, what was extrapolated, and what is left over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import curve_panels, theme
from imgtheranostics.report.figures.curve_panels import Layout
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import (
    number,
    quantity_words,
    shortened,
    time_scale,
    unit_words,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from imgtheranostics.fit import CurveFit

_MOST = 8
_LOG_FROM = 20.0
_LEVEL = 0.95
_SHOWN = ("effective_half_life", "tiac_per_g", "tiac_per_ml", "tiac", "time_integrated_activity")


def keys(run: Run) -> tuple[str, ...]:
    """What was measured over time and fitted."""
    return tuple(dict.fromkeys(curve.measured_quantity for curve in _curves(run)))


def _curves(run: Run) -> list[CurveFit]:
    return [curve for curve in run.curves if curve.kind == "activity"]


def draw(run: Run, quantity: str) -> Drawing:
    """One panel per region: samples with their errors, line and band, and the residuals below."""
    every = [curve for curve in _curves(run) if curve.measured_quantity == quantity]
    shown = every[:_MOST]
    by_model = any(curve.band is not None for curve in shown)
    layout = Layout(columns=1 if len(shown) == 1 else 2, residuals=by_model)
    figure = theme.new_figure(layout.height_in(len(shown)))
    logarithmic = _is_wide(shown)
    step, symbol = time_scale(max(float(curve.x[-1]) for curve in shown))
    for n, curve in enumerate(shown):
        colour = curve_panels.colour_of(run, curve, n)
        words = curve_panels.result_words(curve, _SHOWN)
        upper, lower = curve_panels.panel(figure, n, layout, curve.label, words, colour)
        _curve(upper, curve, step, colour, logarithmic=logarithmic)
        if lower is not None:
            left = curve_panels.percent_of_fit(curve)
            curve_panels.residuals(
                lower, np.asarray(curve.x / step, np.float64), left, colour, _relative_errors(curve)
            )
            lower.set_xlim(upper.get_xlim())
    side = with_unit(quantity, shown[0].unit)
    curve_panels.side_words(figure, layout, side, "Rest [%]", f"Time after injection [{symbol}]")
    level = float(run.parameters.get("level", _LEVEL))
    text = _caption(shown, every, level, by_model=by_model) + _reference(run)
    return Drawing(figure, text, _alt(quantity, shown))


def _reference(run: Run) -> str:
    """What the values are corrected for, where the table says it."""
    if "decay_corrected" not in run.table.columns:
        return ""
    stated = {bool(flag) for flag in run.table["decay_corrected"].dropna()}
    if stated == {True}:
        return " Values are decay corrected to the injection; half-life and decays are not."
    return " Values are the activity that was there." if stated == {False} else ""


def _is_wide(curves: list[CurveFit]) -> bool:
    """Whether a linear axis would hide the end of a curve."""
    samples = [curve.measured[np.isfinite(curve.measured)] for curve in curves]
    if any(values.size == 0 or values.min() <= 0 for values in samples):
        return False
    return any(float(values.max()) > _LOG_FROM * float(values.min()) for values in samples)


def _curve(axes: Axes, curve: CurveFit, step: float, colour: str, *, logarithmic: bool) -> None:
    x, last = curve.line_x / step, curve.x[-1]
    inside, after = curve.line_x <= last, curve.line_x >= last
    if curve.band is not None:
        lower, upper = curve.band
        axes.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0, zorder=1)
    axes.plot(x[inside], curve.line[inside], color=theme.INK, linewidth=1.0, zorder=2)
    axes.plot(
        x[after], curve.line[after], color=theme.INK, linewidth=1.0, linestyle=curve_panels.DASHES, zorder=2
    )
    errors = curve.errors if curve.errors is not None else np.full(curve.x.size, math.nan)
    axes.errorbar(
        curve.x / step, curve.measured, yerr=errors, fmt="o", color=colour, markersize=4.0, markeredgewidth=0,
        elinewidth=1.1, zorder=3,
    )  # fmt: skip
    axes.set_xlim(-0.02 * x[-1], 1.02 * x[-1])
    if logarithmic:
        _logarithmic(axes, curve)
    elif float(np.nanmin(curve.measured)) >= 0:
        axes.set_ylim(0.0, 1.12 * _highest(curve))


def _highest(curve: CurveFit) -> float:
    ends = [float(np.nanmax(curve.measured))]
    if np.isfinite(curve.line).any():
        ends.append(float(np.nanmax(curve.line)))
    return max(ends)


def _logarithmic(axes: Axes, curve: CurveFit) -> None:
    """A decade below the last sample is the most that a tail may take."""
    axes.set_yscale("log")
    lowest = float(np.nanmin(curve.measured))
    line = curve.line[np.isfinite(curve.line) & (curve.line > 0)]
    after = float(line[-1]) if line.size else lowest
    axes.set_ylim(0.6 * max(min(lowest, after), 0.1 * lowest), 1.8 * _highest(curve))
    axes.yaxis.set_major_formatter(curve_panels.plain_number)
    axes.yaxis.set_minor_formatter(lambda _value, _place: "")


def _relative_errors(curve: CurveFit) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """Standard errors in percent of the fitted curve."""
    if curve.errors is None or not np.isfinite(curve.errors).any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100.0 * curve.errors / np.where(curve.fitted > 0, curve.fitted, np.nan))


def _caption(shown: list[CurveFit], every: list[CurveFit], level: float, *, by_model: bool) -> str:
    text = "Points: samples with one standard error, without what all share by the calibration. "
    if by_model:
        text += (
            f"Line: the fitted exponentials; band: its {number(100 * level)} % confidence at each time by "
            "itself; dashed: extrapolated after the last sample. Below: measured minus fit, in percent of "
            "the fit"
        )
    else:
        text += "Line: what the area was taken under; dashed: the tail that was assumed after the last sample"
    text += ". Above: half-life of the last phase and decays after injection, with standard errors"
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} regions are shown"
    return text + "."


def _alt(quantity: str, shown: list[CurveFit]) -> str:
    unit = unit_words(shown[0].unit, quantity)
    listed = "; ".join(
        f"{shortened(curve.label)}: {curve.x.size} samples up to {number(float(np.nanmax(curve.measured)))} "
        f"{unit}, {curve_panels.result_words(curve, _SHOWN)}"
        for curve in shown
    )
    return f"{quantity_words(quantity)} against time after injection: {listed}."
