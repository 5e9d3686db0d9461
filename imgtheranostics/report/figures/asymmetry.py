"""Z-spectra of regions with their asymmetry below, before and after an agent in one panel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.fit import CurveFit
from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, rounded, shortened, unit_words
from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PART = "mtr_asym"
"""Part of a curve that this figure draws below the spectrum."""

_LARGEST = 6
_COLUMNS = 2
_LEFT_IN, _GAP_IN, _TITLE_IN = 0.55, 0.6, 0.36
_SPECTRUM_IN, _ASYMMETRY_IN, _FOOT_IN = 1.6, 0.95, 0.42
_ROW_IN = _TITLE_IN + _SPECTRUM_IN + 0.06 + _ASYMMETRY_IN + _FOOT_IN
_BEFORE, _AFTER = " before", " after"


@dataclass(frozen=True, slots=True)
class _Panel:
    """The spectra of one region: one, or before and after."""

    label: str
    curves: tuple[CurveFit, ...]


def keys(run: Run) -> tuple[str, ...]:
    """Quantities whose curves have an asymmetry."""
    return tuple(dict.fromkeys(curve.quantity for curve in run.curves if PART in curve.parts))


def draw(run: Run, quantity: str) -> Drawing:
    """One panel per region."""
    every = _panels([one for one in run.curves if one.quantity == quantity and PART in one.parts])
    shown = every if len(every) <= _LARGEST else [*every[: _LARGEST - 1], every[-1]]
    figure = theme.new_figure(-(-len(shown) // _COLUMNS) * _ROW_IN)
    named = list(run.regions) if run.regions is not None else []
    limits = _asymmetry_limits(shown)
    for n, panel in enumerate(shown):
        colour = theme.region_colour(named.index(panel.label)) if panel.label in named else theme.INK
        upper, lower = _axes(figure, n)
        _spectra(upper, panel, colour)
        _asymmetries(lower, panel, colour, limits)
        _title(figure, upper, panel, quantity)
    _words(figure)
    return Drawing(figure, _caption(shown, every), _alt(quantity, shown))


def _panels(curves: list[CurveFit]) -> list[_Panel]:
    grouped: dict[str, list[CurveFit]] = {}
    for curve in curves:
        grouped.setdefault(curve.label.removesuffix(_BEFORE).removesuffix(_AFTER), []).append(curve)
    return [_Panel(label, tuple(found)) for label, found in grouped.items()]


def _asymmetry_limits(panels: list[_Panel]) -> tuple[float, float]:
    """One scale for all panels, in percent."""
    values = [100.0 * curve.parts[PART] for panel in panels for curve in panel.curves]
    finite = np.concatenate([one[np.isfinite(one)] for one in values])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.08 * max(high - low, 0.1)
    return min(low, 0.0) - margin, max(high, 0.0) + margin


def _axes(figure: Figure, n: int) -> tuple[Axes, Axes]:
    width, height = figure.get_size_inches()
    panel_in = (theme.WIDTH_IN - _LEFT_IN - (_COLUMNS - 1) * _GAP_IN - 0.05) / _COLUMNS
    left = _LEFT_IN + (n % _COLUMNS) * (panel_in + _GAP_IN)
    top = (n // _COLUMNS) * _ROW_IN + _TITLE_IN
    upper, lower = (
        figure.add_axes((left / width, 1.0 - (start + tall) / height, panel_in / width, tall / height))
        for start, tall in ((top, _SPECTRUM_IN), (top + _SPECTRUM_IN + 0.06, _ASYMMETRY_IN))
    )
    return upper, lower


def _shade(panel: _Panel, n: int) -> float:
    """The last spectrum in full, one before it paler."""
    return 1.0 if n == len(panel.curves) - 1 else 0.4


def _spectra(axes: Axes, panel: _Panel, colour: str) -> None:
    for n, curve in enumerate(panel.curves):
        shade = _shade(panel, n)
        axes.plot(curve.line_x, curve.line, color=colour, linewidth=0.9, alpha=shade)
        axes.plot(curve.x, curve.measured, "o", color=colour, markersize=2.2, markeredgewidth=0, alpha=shade)
    _marks(axes, panel)
    axes.set_ylim(0.0, max(1.05, 1.02 * max(float(np.nanmax(curve.measured)) for curve in panel.curves)))
    axes.tick_params(labelbottom=False)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.invert_xaxis()


def _asymmetries(axes: Axes, panel: _Panel, colour: str, limits: tuple[float, float]) -> None:
    for n, curve in enumerate(panel.curves):
        axes.plot(
            curve.line_x, 100.0 * curve.parts[PART], color=colour, linewidth=1.1, alpha=_shade(panel, n)
        )
    axes.axhline(0.0, color=theme.INK, linewidth=0.6)
    _marks(axes, panel)
    axes.set_ylim(*limits)
    axes.set_xlim(axes.figure.axes[axes.figure.axes.index(axes) - 1].get_xlim())
    axes.locator_params(axis="y", nbins=4)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _marks(axes: Axes, panel: _Panel) -> None:
    """Where the contrast is read."""
    for at in panel.curves[-1].marks:
        axes.axvline(at, color=theme.MUTED, linewidth=0.7, linestyle=(0, (1.5, 2.0)), zorder=0.5)


def _title(figure: Figure, upper: Axes, panel: _Panel, quantity: str) -> None:
    _, height = figure.get_size_inches()
    box = upper.get_position()
    head = box.y1 + (_TITLE_IN - 0.04) / height
    figure.text(box.x0, head, shortened(panel.label, 34), fontsize=8, va="top", fontweight="bold")
    figure.text(
        box.x0, head - 0.14 / height, _result(panel, quantity), fontsize=7, va="top", color=theme.MUTED
    )


def _result(panel: _Panel, quantity: str) -> str:
    unit = unit_words(QUANTITIES[quantity].unit or "", quantity)
    values = [
        f"{rounded(one.value, one.standard_error)} {unit}".strip() if math.isfinite(one.value) else "no value"
        for one in panel.curves
    ]
    text = f"{values[0]} before (pale), {values[1]} after" if len(values) == 2 else values[0]
    return f"{text}; n = {panel.curves[-1].n_voxels}"


def _words(figure: Figure) -> None:
    _, height = figure.get_size_inches()
    upper = 1.0 - (_TITLE_IN + _SPECTRUM_IN / 2) / height
    lower = 1.0 - (_TITLE_IN + _SPECTRUM_IN + 0.06 + _ASYMMETRY_IN / 2) / height
    figure.text(0.005, upper, "Z", rotation=90, va="center", fontsize=7)
    figure.text(0.005, lower, "MTRasym [%]", rotation=90, va="center", fontsize=7)
    figure.text(
        _LEFT_IN / theme.WIDTH_IN, 0.04 / height, "Offset from water [ppm], downfield on the left", fontsize=8
    )


def _caption(shown: list[_Panel], every: list[_Panel]) -> str:
    text = (
        "Points: mean Z-spectrum of the region's voxels that have a value, water moved to 0 ppm, and one "
        "voxel with the median value. Line: the spline through them. Below: upfield minus downfield on the "
        "range that both sides cover"
    )
    marks = dict.fromkeys(at for panel in shown for curve in panel.curves for at in curve.marks)
    if marks:
        text += f". Dotted: where the value above is read, {', '.join(number(at) for at in marks)} ppm"
    if any(len(panel.curves) > 1 for panel in shown):
        text += ". Before and after show the same voxels"
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} regions are shown"
    return text + "."


def _alt(quantity: str, shown: list[_Panel]) -> str:
    listed = "; ".join(f"{shortened(panel.label)} {_result(panel, quantity)}" for panel in shown)
    return f"Z-spectra and their asymmetry, with {quantity_words(quantity)}: {listed}."
