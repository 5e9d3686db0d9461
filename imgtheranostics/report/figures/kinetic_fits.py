"""Tissue curves with their kinetic models and what is left over, beside the input that drives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import curve_panels, theme
from imgtheranostics.report.figures.curve_panels import Layout
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, time_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from imgtheranostics.fit import CurveFit

_MOST = 9
_BESIDE = ("tissue_influx", "relative_delivery", "blood_fraction")
"""What may stand beside the quantity that the model is asked for; the first that there is."""

_TAIL_SHARE = 1e-3
"""Share of the input's peak below which it is not drawn."""

_DENSE = 80
_PREFIXES = ((1e6, "MBq/mL"), (1e3, "kBq/mL"), (1.0, "Bq/mL"))


def keys(run: Run) -> tuple[str, ...]:
    """What models of tissue curves lead to."""
    return tuple(dict.fromkeys(curve.quantity for curve in _curves(run)))


def _curves(run: Run) -> list[CurveFit]:
    return [curve for curve in run.curves if curve.kind == "kinetics"]


def draw(run: Run, quantity: str) -> Drawing:
    """The input first, then one panel per region with its residuals."""
    every = [curve for curve in _curves(run) if curve.quantity == quantity]
    shown = every[:_MOST]
    inputs = [curve for curve in run.curves if curve.kind == "input" and curve.quantity == quantity][:1]
    layout = Layout()
    figure = theme.new_figure(layout.height_in(len(shown) + len(inputs)))
    step, symbol = time_scale(max(float(curve.x[-1]) for curve in shown))
    scale, unit = _scale(shown)
    for curve in inputs:
        by_blood = curve.label == "plasma"
        title = "Input: plasma" if by_blood else f"Input: {curve.label}"
        words = "unchanged tracer in plasma; dashed: whole blood" if curve.parts else "what drives the tissue"
        axes, _ = curve_panels.panel(figure, 0, layout, title, words, theme.INK, whole=True)
        _input(axes, curve, step, scale, float(shown[0].x[-1]))
    for n, curve in enumerate(shown):
        colour = curve_panels.colour_of(run, curve, n)
        beside = [name for name in _BESIDE if name in curve.results][:1]
        words = curve_panels.result_words(curve, (quantity, *beside))
        upper, lower = curve_panels.panel(figure, n + len(inputs), layout, curve.label, words, colour)
        _tissue(upper, curve, step, scale, colour)
        if lower is not None:
            _rest(lower, curve, step, scale, colour)
            lower.set_xlim(upper.get_xlim())
    side = f"Activity [{unit}]"
    curve_panels.side_words(figure, layout, side, "Rest", f"Time after injection [{symbol}]")
    return Drawing(figure, _caption(shown, every, unit), _alt(quantity, shown))


def _scale(curves: list[CurveFit]) -> tuple[float, str]:
    """What activities are divided by, and the unit then."""
    if curves[0].unit != "Bq/mL":
        return 1.0, curves[0].unit
    highest = max(float(np.nanmax(curve.measured)) for curve in curves)
    return next((item for item in _PREFIXES if highest >= 2.0 * item[0]), _PREFIXES[-1])


def _input(axes: Axes, curve: CurveFit, step: float, scale: float, last: float) -> None:
    peak = float(np.nanmax(curve.measured))
    for values, style in (
        (curve.measured, "-"),
        *((part, curve_panels.DASHES) for part in curve.parts.values()),
    ):
        positive = np.where(values > _TAIL_SHARE * peak, values, np.nan)
        axes.plot(curve.x / step, positive / scale, linestyle=style, color=theme.INK, linewidth=1.0, zorder=2)
    if curve.x.size <= _DENSE:
        positive = np.where(curve.measured > _TAIL_SHARE * peak, curve.measured, np.nan)
        axes.plot(curve.x / step, positive / scale, "o", color=theme.INK, markersize=2.6, zorder=3)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(curve_panels.plain_number)
    axes.yaxis.set_minor_formatter(lambda _value, _place: "")
    axes.set_xlim(-0.02 * last / step, 1.03 * max(last, float(curve.x[-1])) / step)


def _tissue(axes: Axes, curve: CurveFit, step: float, scale: float, colour: str) -> None:
    used = np.ones(curve.x.size, bool) if curve.used is None else curve.used
    axes.plot(curve.line_x / step, curve.line / scale, color=theme.INK, linewidth=1.0, zorder=2)
    errors = None if curve.errors is None else curve.errors / scale
    if errors is not None and np.isfinite(errors).any():
        axes.errorbar(
            curve.x / step, curve.measured / scale, yerr=errors, fmt="none", ecolor=colour, elinewidth=0.9
        )
    for chosen, face in ((used, colour), (~used, "none")):
        axes.plot(
            curve.x[chosen] / step, curve.measured[chosen] / scale, "o", markersize=3.2, markeredgewidth=0.7,
            markeredgecolor=colour, markerfacecolor=face, zorder=3,
        )  # fmt: skip
    if float(np.nanmin(curve.measured)) >= 0:
        axes.set_ylim(bottom=0)
    axes.set_xlim(-0.02 * float(curve.x[-1]) / step, 1.03 * float(curve.x[-1]) / step)


def _rest(axes: Axes, curve: CurveFit, step: float, scale: float, colour: str) -> None:
    left = np.asarray((curve.measured - curve.fitted) / scale, np.float64)
    if curve.used is not None:
        left = np.where(curve.used, left, np.nan)
    curve_panels.residuals(axes, np.asarray(curve.x / step, np.float64), left, colour)


def _caption(shown: list[CurveFit], every: list[CurveFit], unit: str) -> str:
    text = (
        "Points: mean of the region in each frame; line: the fitted model; below: measured minus model, in "
        f"{unit}. The input, on a logarithmic scale, is that which the model was driven with"
    )
    if any(curve.errors is not None and np.isfinite(curve.errors).any() for curve in shown):
        text += "; bars: one standard error of the mean"
    if any(curve.used is not None and not curve.used.all() for curve in shown):
        text += "; open points were left out of the fit"
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} regions are shown"
    return text + "."


def _alt(quantity: str, shown: list[CurveFit]) -> str:
    listed = []
    for curve in shown:
        left = np.abs(curve_panels.percent_of_fit(curve)[curve.x > 0.2 * curve.x[-1]])
        left = left[np.isfinite(left)]
        worst = number(float(left.max()), 2) if left.size else "n/a"
        words = curve_panels.result_words(curve, (quantity,))
        listed.append(f"{shortened(curve.label)}: {words}, late frames within {worst} % of the model")
    return f"{quantity_words(quantity)} from fitted tissue curves: {'; '.join(listed)}."
