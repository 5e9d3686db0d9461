"""Spectra of the components of an optoacoustic image, and how they add up to those of its regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.fit import CurveFit
from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.component_overlay import agents_first, component_colours
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, shortened, unit_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS = "wavelength"
_LARGEST = 8
_COLUMNS = 3
_LEFT_IN, _GAP_IN, _TITLE_IN, _KEY_IN = 0.6, 0.55, 0.36, 0.24
_CURVE_IN, _REST_IN, _FOOT_IN = 1.25, 0.42, 0.42
_ROW_IN = _TITLE_IN + _CURVE_IN + 0.06 + _REST_IN + _FOOT_IN


def is_spectrum(curve: CurveFit) -> bool:
    """Whether a curve is a spectrum of light with its components."""
    return curve.axis == AXIS and bool(curve.parts)


def keys(run: Run) -> tuple[str, ...]:
    """One figure where there are spectra."""
    return tuple(dict.fromkeys(curve.quantity for curve in run.curves if is_spectrum(curve)))


def draw(run: Run, quantity: str) -> Drawing:
    """A panel of all components, then one for each region."""
    every = [curve for curve in run.curves if is_spectrum(curve) and curve.quantity == quantity]
    shown = every[:_LARGEST]
    names = agents_first(shown[0].parts)
    known = component_colours([name.lower() for name in names])
    colours = {name: known[name.lower()] for name in names}
    figure = theme.new_figure(-(-(len(shown) + 1) // _COLUMNS) * _ROW_IN + _KEY_IN)
    _components(figure, shown, colours)
    reach = max(_largest_residual(curve) for curve in shown)
    for n, curve in enumerate(shown, start=1):
        _region(figure, n, curve, colours, reach)
    _words(figure, shown[0])
    _key(figure, colours)
    return Drawing(figure, _caption(shown, every), _alt(shown, names))


def _axes(figure: Figure, n: int, title: str, below: str) -> tuple[Axes, Axes]:
    width, height = figure.get_size_inches()
    panel = (theme.WIDTH_IN - _LEFT_IN - (_COLUMNS - 1) * _GAP_IN - 0.05) / _COLUMNS
    left = _LEFT_IN + (n % _COLUMNS) * (panel + _GAP_IN)
    top = _KEY_IN + (n // _COLUMNS) * _ROW_IN + _TITLE_IN
    upper, lower = (
        figure.add_axes((left / width, 1.0 - (start + tall) / height, panel / width, tall / height))
        for start, tall in ((top, _CURVE_IN), (top + _CURVE_IN + 0.06, _REST_IN))
    )
    head = 1.0 - (top - _TITLE_IN) / height
    figure.text(
        left / width, head - 0.04 / height, shortened(title, 28), fontsize=8, va="top", fontweight="bold"
    )
    figure.text(left / width, head - 0.18 / height, below, fontsize=7, va="top", color=theme.MUTED)
    return upper, lower


def _components(figure: Figure, shown: list[CurveFit], colours: dict[str, str]) -> None:
    """Each component over its own largest value, whatever the regions hold of it."""
    upper, lower = _axes(figure, 0, "Components", "each over its largest value")
    lower.remove()
    for name, colour in colours.items():
        column = next(
            (curve.parts[name] for curve in shown if np.abs(curve.parts[name]).max() > 0),
            np.zeros_like(shown[0].parts[name]),
        )
        largest = float(np.abs(column).max())
        if largest > 0:
            upper.plot(shown[0].line_x, np.abs(column) / largest, color=colour, linewidth=1.3)
    upper.set_ylim(0.0, 1.05)
    _grid(upper)


def _region(figure: Figure, n: int, curve: CurveFit, colours: dict[str, str], reach: float) -> None:
    below = f"residual {number(_rms_percent(curve), 2)} %; n = {curve.n_voxels}"
    upper, lower = _axes(figure, n, curve.label, below)
    for name, part in curve.parts.items():
        upper.plot(curve.line_x, part, color=colours.get(name, theme.MUTED), linewidth=1.0, zorder=2)
    upper.plot(curve.line_x, curve.line, color=theme.INK, linewidth=1.0, zorder=3)
    upper.plot(curve.x, curve.measured, "o", color=theme.INK, markersize=2.4, markeredgewidth=0, zorder=4)
    upper.tick_params(labelbottom=False)
    lowest = min(float(np.nanmin(part)) for part in (*curve.parts.values(), curve.measured))
    if lowest >= 0:
        upper.set_ylim(bottom=0.0)
    _grid(upper)
    limit = 1.25 * reach if reach > 0 else 1.0
    lower.axhline(0.0, color=theme.INK, linewidth=0.6)
    lower.vlines(curve.x, 0.0, _percent(curve), color=theme.INK, linewidth=0.9)
    lower.set_ylim(-limit, limit)
    lower.set_xlim(upper.get_xlim())
    lower.set_yticks([-limit / 1.25, 0.0, limit / 1.25])
    lower.yaxis.set_major_formatter(_two_digits)
    lower.locator_params(axis="x", nbins=4)


def _grid(axes: Axes) -> None:
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=4)
    axes.yaxis.set_major_formatter(_plain)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _plain(value: float, _place: float = 0.0) -> str:
    return number(value)


def _two_digits(value: float, _place: float = 0.0) -> str:
    return number(value, 2)


def _percent(curve: CurveFit) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Residuals in percent of the largest point."""
    largest = float(np.nanmax(np.abs(curve.measured)))
    return np.asarray(100.0 * (curve.measured - curve.fitted) / (largest or 1.0), np.float64)


def _rms_percent(curve: CurveFit) -> float:
    return float(np.sqrt(np.mean(np.square(_percent(curve)))))


def _largest_residual(curve: CurveFit) -> float:
    return float(np.abs(_percent(curve)).max())


def _words(figure: Figure, curve: CurveFit) -> None:
    """What stands on the axes: beside rows of regions, and on top where these stand in the first row only."""
    _, height = figure.get_size_inches()
    rows = round((height - _KEY_IN) / _ROW_IN)
    signal = "Absorption" if curve.quantity == "optical_absorption" else "Signal"
    words = f"{signal} [{unit_words(curve.unit)}]"
    for row in range(rows):
        top = _KEY_IN + row * _ROW_IN + _TITLE_IN
        middle = 1.0 - (top + _CURVE_IN / 2) / height
        figure.text(0.005, middle, words if row else "Share", rotation=90, va="center", fontsize=7)
        rest = 1.0 - (top + _CURVE_IN + 0.06 + _REST_IN / 2) / height
        if row:
            figure.text(0.005, rest, "Residual [%]", rotation=90, va="center", fontsize=7)
    if rows == 1:
        text = f"Regions: {words}, below: residual [%]"
        figure.text(0.995, 1.0 - 0.04 / height, text, ha="right", va="top", fontsize=7)
    figure.text(_LEFT_IN / theme.WIDTH_IN, 0.04 / height, "Wavelength [nm]", fontsize=8)


def _key(figure: Figure, colours: dict[str, str]) -> None:
    width, height = figure.get_size_inches()
    left = _LEFT_IN
    for name, colour in colours.items():
        text = shortened(name, 18)
        figure.text(
            left / width, 1.0 - 0.04 / height, text, color=colour, fontsize=8, fontweight="bold", va="top"
        )
        left += 0.25 + 0.08 * len(text)


def _caption(shown: list[CurveFit], every: list[CurveFit]) -> str:
    text = (
        "First: spectra of the components. Then, by region, points: mean of the voxels that were unmixed; "
        "coloured: what each component makes of them; black: their sum. Below: measured minus sum, in "
        "percent of the largest point"
    )
    if len(shown) < len(every):
        text += f"; {len(shown)} of {len(every)} regions are shown"
    return text + "."


def _alt(shown: list[CurveFit], names: list[str]) -> str:
    listed = "; ".join(f"{shortened(one.label)} residual {number(_rms_percent(one), 2)} %" for one in shown)
    return f"Spectra of {', '.join(names)} and their sums in regions: {listed}."
