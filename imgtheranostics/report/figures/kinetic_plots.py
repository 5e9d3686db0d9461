"""Patlak's and Logan's plots: transformed data, the frames that make the line, the line and its band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import curve_panels, theme
from imgtheranostics.report.figures.curve_panels import Layout
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from imgtheranostics.fit import CurveFit

_MOST = 8
_LEVEL = 0.95
_WORDS = {
    "patlak": ("∫Cₚ dt / Cₚ [min]", "C / Cₚ [mL/cm³]"),
    "patlak_reference": ("∫Cᵣ dt / Cᵣ [min]", "C / Cᵣ"),
    "logan": ("∫Cₚ dt / C [min]", "∫C dt / C [min]"),
    "logan_reference": ("∫Cᵣ dt / C [min]", "∫C dt / C [min]"),
}
_NAMES = {
    "patlak": "Patlak plot",
    "patlak_reference": "Patlak plot with a reference",
    "logan": "Logan plot",
    "logan_reference": "Logan plot with a reference",
}


def keys(run: Run) -> tuple[str, ...]:
    """What the slopes of plots are."""
    return tuple(dict.fromkeys(curve.quantity for curve in _curves(run)))


def _curves(run: Run) -> list[CurveFit]:
    return [curve for curve in run.curves if curve.kind == "plot"]


def draw(run: Run, quantity: str) -> Drawing:
    """One panel per region."""
    every = [curve for curve in _curves(run) if curve.quantity == quantity]
    shown = every[:_MOST]
    method = shown[0].measured_quantity
    layout = Layout(columns=1 if len(shown) == 1 else 2, curve_in=2.3, residuals=False)
    figure = theme.new_figure(layout.height_in(len(shown)))
    for n, curve in enumerate(shown):
        colour = curve_panels.colour_of(run, curve, n)
        words = "slope: " + curve_panels.result_words(curve, (quantity,))
        axes, _ = curve_panels.panel(figure, n, layout, curve.label, words, colour)
        _plot(axes, curve, colour)
    below, side = _WORDS[method]
    curve_panels.side_words(figure, layout, side, "", below)
    level = float(run.parameters.get("level", _LEVEL))
    return Drawing(figure, _caption(shown, every, method, level), _alt(quantity, shown, method))


def _plot(axes: Axes, curve: CurveFit, colour: str) -> None:
    used = np.ones(curve.x.size, bool) if curve.used is None else curve.used
    finite = np.isfinite(curve.x) & np.isfinite(curve.measured)
    inside = curve.line_x >= curve.marks[0]
    if curve.band is not None:
        lower, upper = curve.band
        axes.fill_between(
            curve.line_x[inside],
            lower[inside],
            upper[inside],
            color=colour,
            alpha=0.22,
            linewidth=0,
            zorder=1,
        )
    axes.plot(curve.line_x[inside], curve.line[inside], color=theme.INK, linewidth=1.1, zorder=2)
    axes.plot(
        curve.line_x[~inside], curve.line[~inside], color=theme.INK, linewidth=0.8,
        linestyle=curve_panels.DASHES, zorder=2,
    )  # fmt: skip
    for chosen, face in ((used & finite, colour), (~used & finite, "none")):
        axes.plot(
            curve.x[chosen], curve.measured[chosen], "o", markersize=3.8, markeredgewidth=0.8,
            markeredgecolor=colour, markerfacecolor=face, zorder=3,
        )  # fmt: skip
    _limits(axes, curve, used & finite)


def _limits(axes: Axes, curve: CurveFit, used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    """Those of the line and its frames; an early frame, which divides by little, may lie outside."""
    if not used.any():
        return
    right = 1.04 * float(curve.x[used].max())
    values = np.concatenate([curve.measured[used], curve.line[np.isfinite(curve.line)]])
    low, high = min(float(values.min()), 0.0), float(values.max())
    margin = 0.08 * (high - low or 1.0)
    axes.set_xlim(-0.02 * right, right)
    axes.set_ylim(low - margin if low < 0 else 0.0, high + margin)


def _caption(shown: list[CurveFit], every: list[CurveFit], method: str, level: float) -> str:
    counts = sorted({int(np.count_nonzero(curve.used)) for curve in shown if curve.used is not None})
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = (
        f"{_NAMES[method]}. Filled: the {many} frames that make the line; open: frames before or after "
        f"it, some of which may lie outside. Line with its {number(100 * level)} % confidence band, dashed "
        "before those frames; the slope with its standard error is that of the table"
    )
    if "logan" in method:
        text += ". Noise of the tissue is in both axes and lowers the slope, which the band does not show"
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} regions are shown"
    return text + "."


def _alt(quantity: str, shown: list[CurveFit], method: str) -> str:
    listed = "; ".join(
        f"{shortened(curve.label)}: {curve_panels.result_words(curve, (quantity,))}" for curve in shown
    )
    return f"{_NAMES[method]} for {quantity_words(quantity)}: {listed}."
