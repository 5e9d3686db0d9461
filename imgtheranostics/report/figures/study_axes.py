"""What figures of studies share: axes of a given place in inches, words beside them, legends of groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import theme
from imgtheranostics.report.wording import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LETTER_IN = 0.062


def axes_at(figure: Figure, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
    """Axes whose upper left corner lies so far from that of the figure."""
    width, height = figure.get_size_inches()
    bottom = height - top_in - height_in
    return figure.add_axes((left_in / width, bottom / height, width_in / width, height_in / height))


def legend_height(names: Sequence[str]) -> float:
    """Inches that `legend` takes; none for a single name without text."""
    return 0.22 * len(_legend_lines(names)) if any(names) else 0.0


def legend(
    figure: Figure, colours: Mapping[str, str], names: Sequence[str], *, left_in: float = 0.62
) -> None:
    """Names with a dot of their colour, at the top of the figure, in as many lines as they need."""
    width, height = figure.get_size_inches()
    for line, places in enumerate(_legend_lines(names)):
        y = 1.0 - (0.11 + 0.22 * line) / height
        for name, offset in places:
            x = (left_in + offset) / width
            figure.text(x, y, "●", color=colours[name], fontsize=8, va="center", ha="left")
            figure.text(x + 0.13 / width, y, shortened(name, 44), fontsize=8, va="center", ha="left")


def _legend_lines(names: Sequence[str]) -> list[list[tuple[str, float]]]:
    lines: list[list[tuple[str, float]]] = [[]]
    x = 0.0
    for name in (one for one in names if one):
        needed = 0.35 + _LETTER_IN * len(shortened(name, 44))
        if lines[-1] and x + needed > theme.WIDTH_IN - 0.8:
            lines.append([])
            x = 0.0
        lines[-1].append((name, x))
        x += needed
    return lines


def hours_axis(axes: Axes, longest: float, label: str) -> float:
    """Label the axis in hours or days as is natural; returns what hours are divided by."""
    step, unit = (24.0, "d") if longest > 96.0 else (1.0, "h")
    axes.set_xlabel(f"{label} [{unit}]")
    return step


def plain_log(axes: Axes, which: str = "y") -> None:
    """A logarithmic scale with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    scale = axes.set_yscale if which == "y" else axes.set_xscale
    scale("log")
    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(max(high / low, 1.0 + 1e-9))
    subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: number(value, 3)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def spread_out(values: Sequence[float], reach: float, height: float) -> list[float]:
    """Sideways shifts with which points of similar value lie beside each other, deterministic.

    Parameters
    ----------
    values : sequence of float
        Where the points lie, in any unit.
    reach : float
        Largest shift.
    height : float
        Points closer than this would touch.
    """
    placed: list[tuple[float, float]] = []
    shifts = [0.0] * len(values)
    step = reach / 3.0
    candidates = [0.0] + [sign * step * n for n in range(1, 4) for sign in (1.0, -1.0)]
    for place in np.argsort(np.asarray(values), kind="stable"):
        value = values[place]
        near = {round(shift, 9) for shift, other in placed if abs(other - value) < height}
        shifts[place] = next((one for one in candidates if round(one, 9) not in near), candidates[-1])
        placed.append((shifts[place], value))
    return shifts


def apart(values: Sequence[float], least: float) -> list[float]:
    """Ascending values moved apart until neighbours keep their distance; their middle stays."""
    placed: list[float] = []
    for value in values:
        placed.append(value if not placed else max(value, placed[-1] + least))
    shift = sum(new - old for new, old in zip(placed, values, strict=True)) / max(len(placed), 1)
    return [value - shift for value in placed]
