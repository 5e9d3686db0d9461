"""How signal and components fall with depth below the surface of the body."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.fit import CurveFit
from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, rounded, shortened, unit_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = "depth"
_LARGEST = 12
_COLUMNS = 3
_LEFT_IN, _GAP_IN, _TITLE_IN, _CURVE_IN, _FOOT_IN = 0.6, 0.55, 0.36, 1.25, 0.42
_ROW_IN = _TITLE_IN + _CURVE_IN + _FOOT_IN


def keys(run: Run) -> tuple[str, ...]:
    """One figure where there are curves against depth."""
    return tuple(dict.fromkeys(curve.quantity for curve in run.curves if curve.axis == AXIS))


def draw(run: Run, quantity: str) -> Drawing:
    """One panel for each curve."""
    every = [curve for curve in run.curves if curve.axis == AXIS and curve.quantity == quantity]
    shown = every[:_LARGEST]
    figure = theme.new_figure(-(-len(shown) // _COLUMNS) * _ROW_IN + 0.1)
    for n, curve in enumerate(shown):
        axes = _panel(figure, n, curve)
        axes.plot(curve.line_x, curve.line, color=theme.MUTED, linewidth=0.9, zorder=2)
        axes.plot(curve.x, curve.measured, "o", color=theme.INK, markersize=3.0, markeredgewidth=0, zorder=3)
        if float(np.nanmin(curve.measured)) >= 0:
            axes.set_ylim(bottom=0.0)
        axes.set_xlim(left=0.0)
        axes.locator_params(axis="y", nbins=4)
        axes.locator_params(axis="x", nbins=5)
        axes.yaxis.set_major_formatter(_plain)
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
    _, height = figure.get_size_inches()
    figure.text(_LEFT_IN / theme.WIDTH_IN, 0.04 / height, "Depth below the surface [mm]", fontsize=8)
    return Drawing(figure, _caption(shown, every), _alt(shown))


def _panel(figure: Figure, n: int, curve: CurveFit) -> Axes:
    width, height = figure.get_size_inches()
    panel = (theme.WIDTH_IN - _LEFT_IN - (_COLUMNS - 1) * _GAP_IN - 0.05) / _COLUMNS
    left = _LEFT_IN + (n % _COLUMNS) * (panel + _GAP_IN)
    top = (n // _COLUMNS) * _ROW_IN + _TITLE_IN
    head = 1.0 - (top - _TITLE_IN) / height
    unit = unit_words(curve.unit)
    title = f"{shortened(curve.label, 26)} [{unit}]" if unit else shortened(curve.label, 30)
    figure.text(left / width, head - 0.04 / height, title, fontsize=8, va="top", fontweight="bold")
    figure.text(left / width, head - 0.18 / height, _result(curve), fontsize=7, va="top", color=theme.MUTED)
    return figure.add_axes(
        (left / width, 1.0 - (top + _CURVE_IN) / height, panel / width, _CURVE_IN / height)
    )


def _plain(value: float, _place: float = 0.0) -> str:
    return number(value)


def _result(curve: CurveFit) -> str:
    if not math.isfinite(curve.value):
        return "no exponential decay"
    return f"falls by {rounded(curve.value, curve.standard_error)} per cm"


def _caption(shown: list[CurveFit], every: list[CurveFit]) -> str:
    text = (
        "Points: means of shells of equal depth, over all of the body. Line: the exponential through them; "
        "its rate is that of diffuse light only where what absorbs is spread evenly"
    )
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} curves are shown"
    return text + "."


def _alt(shown: list[CurveFit]) -> str:
    listed = "; ".join(f"{shortened(curve.label)}: {_result(curve)}" for curve in shown)
    return f"Curves against depth: {listed}."
