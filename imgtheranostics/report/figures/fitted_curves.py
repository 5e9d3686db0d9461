"""Measured curves with the models fitted to them, and what is left over: regions, and one voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.fit import CurveFit
from imgtheranostics.report.figures import asymmetry, component_spectra, depth_curves, theme
from imgtheranostics.report.figures.curves import AXIS_UNITS, DOWNFIELD_LEFT
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import (
    number,
    pool_words,
    quantity_words,
    rounded,
    shortened,
    time_scale,
    unit_words,
)
from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST = 9
_DENSE = 40
_LEFT_IN = 0.55
_GAP_IN = 0.5
_TITLE_IN = 0.36
_REST_IN = 0.42
_FOOT_IN = 0.42
_KEY_IN = 0.22

_OF_ECHO = ("echo_peak_enhancement", "relative_flow", "activation_temperature")
"""Quantities that are fitted to linear echo power of regions."""

_MOST_PARTS = len(theme.REGION_COLOURS)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How panels are arranged: curves with parts need room for them, and a key on top."""

    columns: int
    curve_in: float
    key_in: float

    @property
    def row_in(self) -> float:
        return _TITLE_IN + self.curve_in + 0.06 + _REST_IN + _FOOT_IN

    @property
    def panel_in(self) -> float:
        return (theme.WIDTH_IN - _LEFT_IN - (self.columns - 1) * _GAP_IN - 0.05) / self.columns


_PLAIN = _Layout(3, 1.2, 0.0)
_WITH_PARTS = _Layout(2, 1.9, _KEY_IN)


def keys(run: Run) -> tuple[str, ...]:
    """Quantities that curves were fitted for."""
    return tuple(dict.fromkeys(curve.quantity for curve in _fitted(run)))


def _fitted(run: Run) -> list[CurveFit]:
    """Curves of a model; those that have figures of their own are left out."""
    return [
        curve
        for curve in run.curves
        if not curve.kind
        and asymmetry.PART not in curve.parts
        and not component_spectra.is_spectrum(curve)
        and curve.axis != depth_curves.AXIS
    ]


def draw(run: Run, quantity: str) -> Drawing:
    """One panel per curve: points, model, and the residuals below."""
    every = [curve for curve in _fitted(run) if curve.quantity == quantity]
    shown = _shown(every)
    parts = _parts_of(shown)
    layout = _WITH_PARTS if parts else _PLAIN
    rows = -(-len(shown) // layout.columns)
    figure = theme.new_figure(rows * layout.row_in + layout.key_in)
    named = list(run.regions) if run.regions is not None else []
    step, symbol = _axis_scale(shown)
    reach = max(_reach(curve) for curve in shown)
    for n, curve in enumerate(shown):
        colour = _colour(curve.label, named)
        upper, lower = _panel(figure, curve, n, layout)
        _curve(upper, curve, step, theme.INK if parts else colour)
        _part_lines(upper, curve, step, parts)
        _residuals(lower, curve, step, theme.INK if parts else colour, reach)
        if curve.axis in DOWNFIELD_LEFT:
            upper.invert_xaxis()
        lower.set_xlim(upper.get_xlim())
    _axis_words(figure, shown[0], symbol, layout)
    _key(figure, parts)
    return Drawing(figure, _caption(shown, every, parts), _alt(quantity, shown))


def _colour(label: str, named: list[str]) -> str:
    """That of the region, also where the label says more of the scan after a comma."""
    found = [n for n, name in enumerate(named) if label == name or label.startswith(f"{name}, ")]
    return theme.region_colour(found[0]) if found else theme.MUTED


def _parts_of(curves: list[CurveFit]) -> list[str]:
    """Names of the parts of all models, each once, as many as there are colours."""
    return list(dict.fromkeys(name for curve in curves for name in curve.parts))[:_MOST_PARTS]


def _shown(curves: list[CurveFit]) -> list[CurveFit]:
    """As many as fit, the last of them, which is the voxel, included."""
    return curves if len(curves) <= _LARGEST else [*curves[: _LARGEST - 1], curves[-1]]


def _axis_scale(curves: list[CurveFit]) -> tuple[float, str]:
    first = curves[0]
    if first.axis_unit != "s":
        return 1.0, AXIS_UNITS.get(first.axis, unit_words(first.axis_unit))
    largest = max(float(np.max(np.abs(curve.x))) for curve in curves)
    return (1e-3, "ms") if largest < 0.5 else time_scale(largest)


def _reach(curve: CurveFit) -> float:
    """Largest residual in percent."""
    left = np.abs(_residual_percent(curve))
    left = left[np.isfinite(left)]
    return float(left.max()) if left.size else 0.0


def _is_spectrum(curve: CurveFit) -> bool:
    """Whether samples are fractions of the unsaturated signal already."""
    return curve.axis == "saturation_offset"


def _residual_percent(curve: CurveFit) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    largest = 1.0 if _is_spectrum(curve) else float(np.nanmax(np.abs(curve.measured)))
    return np.asarray(100.0 * (curve.measured - curve.fitted) / largest, np.float64)


def _panel(figure: Figure, curve: CurveFit, n: int, layout: _Layout) -> tuple[Axes, Axes]:
    """Axes of a curve and of its residuals, with what was found above them."""
    width, height = figure.get_size_inches()
    left = _LEFT_IN + (n % layout.columns) * (layout.panel_in + _GAP_IN)
    top = layout.key_in + (n // layout.columns) * layout.row_in + _TITLE_IN
    rest_top = top + layout.curve_in + 0.06
    upper, lower = (
        figure.add_axes((left / width, 1.0 - (start + tall) / height, layout.panel_in / width, tall / height))
        for start, tall in ((top, layout.curve_in), (rest_top, _REST_IN))
    )
    head = 1.0 - (top - _TITLE_IN) / height
    figure.text(
        left / width,
        head - 0.04 / height,
        shortened(curve.label, 26),
        fontsize=8,
        va="top",
        fontweight="bold",
    )
    figure.text(left / width, head - 0.18 / height, _result(curve), fontsize=7, va="top", color=theme.MUTED)
    return upper, lower


def _curve(axes: Axes, curve: CurveFit, step: float, colour: str) -> None:
    above = 2 if curve.x.size <= _DENSE else 4
    axes.plot(curve.line_x / step, curve.line, color=theme.INK, linewidth=0.9, zorder=above)
    size = 3.2 if curve.x.size <= _DENSE else 1.8
    axes.plot(curve.x / step, curve.measured, "o", color=colour, markersize=size, markeredgewidth=0, zorder=3)
    axes.tick_params(labelbottom=False)
    if _is_spectrum(curve):
        axes.set_ylim(0.0, max(1.05, 1.02 * float(np.nanmax(curve.measured))))
    elif float(np.nanmin(curve.measured)) >= 0:
        axes.set_ylim(bottom=0)
    elif float(np.nanmax(curve.measured)) <= 0:
        axes.set_ylim(top=0)
    axes.yaxis.set_major_formatter(_plain_number)
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _part_lines(axes: Axes, curve: CurveFit, step: float, parts: list[str]) -> None:
    if parts:
        axes.locator_params(axis="y", nbins=6)
    for n, name in enumerate(parts):
        if name in curve.parts:
            colour, x = theme.region_colour(n), curve.line_x / step
            axes.fill_between(x, 0.0, curve.parts[name], color=colour, alpha=0.18, linewidth=0, zorder=1)
            axes.plot(x, curve.parts[name], color=colour, linewidth=1.0, zorder=1.5)


def _key(figure: Figure, parts: list[str]) -> None:
    """Names of the parts in their colours, in one line on top."""
    width, height = figure.get_size_inches()
    left = _LEFT_IN
    for n, name in enumerate(parts):
        figure.text(
            left / width,
            1.0 - 0.04 / height,
            shortened(pool_words(name), 14),
            color=theme.region_colour(n),
            fontsize=8,
            fontweight="bold",
            va="top",
        )
        left += 0.3 + 0.075 * min(len(name), 14)


def _residuals(axes: Axes, curve: CurveFit, step: float, colour: str, reach: float) -> None:
    limit = 1.25 * reach if reach > 0 else 1.0
    axes.axhline(0.0, color=theme.INK, linewidth=0.6)
    left = _residual_percent(curve)
    axes.vlines(curve.x / step, 0.0, left, color=colour, linewidth=0.9)
    axes.plot(curve.x / step, left, "o", color=colour, markersize=2.2, markeredgewidth=0)
    axes.set_ylim(-limit, limit)
    axes.locator_params(axis="x", nbins=5)
    tick = _round_down(0.85 * limit)
    axes.set_yticks([-tick, 0.0, tick])
    axes.yaxis.set_major_formatter(_plain_number)
    axes.xaxis.set_major_formatter(_plain_number)


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return float(
        max(
            step * power
            for step in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
            if step * power <= value * (1 + 1e-9)
        )
    )


def _plain_number(value: float, _place: float = 0.0) -> str:
    return number(value)


def _result(curve: CurveFit) -> str:
    if not math.isfinite(curve.value):
        return f"no fit; n = {curve.n_voxels}"
    unit = unit_words(QUANTITIES[curve.quantity].unit or "", curve.quantity)
    return f"{rounded(curve.value, curve.standard_error)} {unit}".strip() + f"; n = {curve.n_voxels}"


def _axis_words(figure: Figure, curve: CurveFit, symbol: str, layout: _Layout) -> None:
    """What stands on the axes, once: left of the first panel and under the last row."""
    _, height = figure.get_size_inches()
    words = curve.axis.replace("_", " ").capitalize()
    unit = unit_words(curve.unit)
    top = layout.key_in + _TITLE_IN
    upper = 1.0 - (top + layout.curve_in / 2) / height
    lower = 1.0 - (top + layout.curve_in + 0.06 + _REST_IN / 2) / height
    measured = "Concentration" if curve.unit == "mmol/L" else "Signal"
    if curve.quantity in _OF_ECHO:
        measured = "Echo power"
    if _is_spectrum(curve):
        measured, words, symbol = "Z", "Offset from water [ppm], downfield on the left", ""
    elif curve.quantity == "exchange_rate":
        measured = "Contrast"
        words = words.replace("Saturation b1", "B1 of the saturation")
    label = f"{measured} [{unit}]" if unit else measured
    figure.text(0.005, upper, label, rotation=90, va="center", fontsize=7)
    figure.text(0.005, lower, "Residual [%]", rotation=90, va="center", fontsize=7)
    figure.text(
        _LEFT_IN / theme.WIDTH_IN, 0.04 / height, f"{words} [{symbol}]" if symbol else words, fontsize=8
    )


def _caption(shown: list[CurveFit], every: list[CurveFit], parts: list[str]) -> str:
    who = "mean of the voxels that have a value in the region, and one voxel with the median value"
    if shown[0].quantity in _OF_ECHO:
        who = "mean linear echo power of the region"
    text = (
        f"Points: {who}. "
        "Line: the model fitted to them. Below: measured minus model, in percent of the "
        f"{'unsaturated signal' if _is_spectrum(shown[0]) else 'largest point'}; the standard error is that "
        "of this fit"
    )
    if parts:
        text += ". Coloured: what each part of the model takes away"
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} curves are shown"
    return text + "."


def _alt(quantity: str, shown: list[CurveFit]) -> str:
    unit = unit_words(QUANTITIES[quantity].unit or "", quantity)
    listed = "; ".join(
        f"{shortened(curve.label)} {rounded(curve.value, curve.standard_error)} {unit}".strip()
        + f", largest residual {number(_reach(curve), 2)} %"
        for curve in shown
    )
    axis = shown[0].axis.replace("_", " ")
    return f"{quantity_words(quantity)} fitted to signal against {axis}: {listed}."
