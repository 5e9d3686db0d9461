"""How much of a sphere's contrast an image keeps, measured and in closed form, by diameter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imgtheranostics.report.comparison import Comparison, Recovery
from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_IN = 3.0


def keys(comparison: Comparison) -> tuple[str, ...]:
    """One figure, where any sphere was measured."""
    return ("spheres",) if comparison.recoveries else ()


def draw(comparison: Comparison, _key: str) -> Drawing:
    """Measured recoveries on the closed-form curve of each resolution."""
    figure = theme.new_figure(_HEIGHT_IN)
    axes = figure.add_axes((0.085, 0.15, 0.74, 0.8))
    for place, curve in enumerate(comparison.curves):
        colour = theme.region_colour(place + 1)
        axes.plot(curve.diameters_mm, curve.values, color=colour, linewidth=1.1, zorder=2)
        axes.annotate(
            f"FWHM {number(curve.fwhm_mm)} mm",
            (curve.diameters_mm[-1], curve.values[-1]),
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=7.5,
            va="center",
            annotation_clip=False,
        )
        for item in comparison.recoveries:
            if item.fwhm_mm == curve.fwhm_mm:
                _point(axes, item, colour)
    axes.set(xlabel="diameter of the sphere, mm", ylabel="recovered share of the contrast", ylim=(0, 1.05))
    if max(max(c.diameters_mm) for c in comparison.curves) > 8 * min(
        min(c.diameters_mm) for c in comparison.curves
    ):
        _logarithmic(axes)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    return Drawing(figure, _caption(comparison), _alt(comparison))


def _point(axes: Axes, item: Recovery, colour: str) -> None:
    n = len(item.measured)
    mean = math.fsum(item.measured) / n
    if n > 1:
        spread = 1.96 * math.sqrt(math.fsum((v - mean) ** 2 for v in item.measured) / (n - 1))
        axes.plot(
            [item.diameter_mm] * 2, [mean - spread, mean + spread], color=colour, linewidth=1.0, zorder=3
        )
    axes.plot(
        [item.diameter_mm],
        [mean],
        marker="o",
        markersize=4.8,
        markerfacecolor="none",
        markeredgecolor=colour,
        markeredgewidth=1.2,
        zorder=4,
    )


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 8, 10, 13, 17, 22, 28, 37, 50, 100]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: number(value)))


def _caption(comparison: Comparison) -> str:
    largest = max(abs(v - item.truth) for item in comparison.recoveries for v in item.measured)
    several = " with its 95 % interval over the seeds" if comparison.seeds > 1 else ""
    return (
        f"Circles: measured mean in the sphere above its surroundings, over the true contrast{several}; "
        "lines: closed form for a sphere and a Gaussian point spread. Largest departure from the closed form "
        f"{number(largest, 2)}; n = {len(comparison.recoveries)} spheres."
    )


def _alt(comparison: Comparison) -> str:
    parts = [
        f"{number(item.diameter_mm)} mm at {number(item.fwhm_mm)} mm FWHM "
        f"{number(math.fsum(item.measured) / len(item.measured), 3)} ({number(item.truth, 3)})"
        for item in comparison.recoveries[:20]
    ]
    return f"Recovery of spheres, measured and in brackets closed form: {'; '.join(parts)}."
