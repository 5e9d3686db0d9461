"""The carrier's curve of each region with its band, and the activity of the nuclide that will be given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

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
_LEVEL = 0.95
_SHOWN = (("T½ eff", "effective_half_life"), ("D", "local_dose_per_activity"))
_LATER = 0.09


def keys(run: Run) -> tuple[str, ...]:
    """What was measured over time and transferred to another nuclide."""
    return tuple(dict.fromkeys(curve.measured_quantity for curve in _curves(run)))


def _curves(run: Run) -> list[CurveFit]:
    return [curve for curve in run.curves if curve.kind == "pair"]


def draw(run: Run, quantity: str) -> Drawing:
    """One panel per region: samples and the carrier's curve, and what of the given nuclide would be left."""
    every = [curve for curve in _curves(run) if curve.measured_quantity == quantity]
    shown = every[:_MOST]
    layout = Layout(columns=1 if len(shown) == 1 else 2, residuals=False)
    figure = theme.new_figure(layout.height_in(len(shown)))
    step, symbol = time_scale(max(float(curve.line_x[-1]) for curve in shown))
    for n, curve in enumerate(shown):
        colour = curve_panels.colour_of(run, curve, n)
        axes, _ = curve_panels.panel(figure, n, layout, curve.label, _words(curve), colour)
        _panel(axes, curve, step, colour)
    side = with_unit(quantity, shown[0].unit)
    curve_panels.side_words(figure, layout, side, "", f"Time after injection [{symbol}]")
    level = float(run.parameters.get("level", _LEVEL))
    return Drawing(figure, _caption(shown, every, level), _alt(quantity, shown))


def _panel(axes: Axes, curve: CurveFit, step: float, colour: str) -> None:
    x, last = curve.line_x / step, float(curve.x[-1])
    inside, after = curve.line_x <= last, curve.line_x >= last
    axes.axvspan(last / step, x[-1], color=theme.MUTED, alpha=_LATER, linewidth=0, zorder=0)
    if curve.band is not None:
        lower, upper = curve.band
        axes.fill_between(x, lower, upper, color=colour, alpha=0.22, linewidth=0, zorder=1)
    axes.plot(x[inside], curve.line[inside], color=colour, linewidth=1.2, zorder=2, label="carrier")
    dashed: dict[str, Any] = {"linewidth": 1.2, "linestyle": curve_panels.DASHES, "zorder": 2}
    axes.plot(x[after], curve.line[after], color=colour, **dashed)
    for name, line in curve.parts.items():
        axes.plot(
            x[inside], line[inside], color=theme.INK, linewidth=1.6, zorder=2.5, label=f"{name}, predicted"
        )
        axes.plot(x[after], line[after], color=theme.INK, **{**dashed, "linewidth": 1.6})
    errors = curve.errors if curve.errors is not None else np.full(curve.x.size, math.nan)
    axes.errorbar(
        curve.x / step, curve.measured, yerr=errors, fmt="o", color=colour, markersize=4.0, markeredgewidth=0,
        elinewidth=1.1, zorder=3,
    )  # fmt: skip
    axes.set_xlim(-0.02 * x[-1], x[-1])
    highest = max(float(np.nanmax(curve.measured)), _largest(curve.line))
    if float(np.nanmin(curve.measured)) >= 0:
        axes.set_ylim(0.0, 1.15 * highest)
    axes.legend(loc="upper right", fontsize=7, frameon=False, labelcolor=theme.MUTED, borderaxespad=0.2)


def _largest(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else 0.0


def _words(curve: CurveFit) -> str:
    """What follows for the nuclide that is given, with standard errors."""
    found = []
    for symbol, quantity in _SHOWN:
        value, error = curve.results.get(quantity, (math.nan, math.nan))
        if math.isfinite(value):
            found.append(f"{symbol} {curve_panels.quantity_value(quantity, value, error)}")
    share = curve.results.get("extrapolated_fraction", (math.nan, math.nan))[0]
    if math.isfinite(share):
        found.append(f"{number(share, 2)} % later")
    return ",  ".join(found) if found else "no fit"


def _caption(shown: list[CurveFit], every: list[CurveFit], level: float) -> str:
    (given,) = dict.fromkeys(name for curve in shown for name in curve.parts)
    text = (
        "Points: samples, decay corrected to the injection, with one standard error. Coloured: the curve of "
        "the carrier that was fitted to them"
    )
    if any(curve.band is not None for curve in shown):
        text += f", with its {number(100 * level)} % confidence at each time by itself"
    text += (
        f". Black: what of {given} would be there if it moved alike, in percent of what is given. Grey: "
        "after the last image, where the lines are extrapolated. Above: effective half-life of "
        f"{given}, dose by local deposition, and the share of the decays in the grey"
    )
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} regions are shown"
    return text + "."


def _alt(quantity: str, shown: list[CurveFit]) -> str:
    unit = unit_words(shown[0].unit, quantity)
    listed = "; ".join(
        f"{shortened(curve.label)}: {curve.x.size} samples up to {number(float(np.nanmax(curve.measured)))} "
        f"{unit}, {_words(curve)}"
        for curve in shown
    )
    return f"{quantity_words(quantity)} against time, and what is predicted of the other nuclide: {listed}."
