"""Panels of curves with what is left over below them: what figures of fitted tracer curves share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import theme
from imgtheranostics.report.wording import number, readers_unit, rounded, shortened
from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from imgtheranostics.fit import CurveFit
    from imgtheranostics.report.run import Run

FloatArray = npt.NDArray[np.float64]

LEFT_IN = 0.68
DASHES = (0, (3.5, 2.0))

_GAP_IN = 0.62
_TITLE_IN = 0.5
_REST_IN = 0.5
_FOOT_IN = 0.48

SYMBOLS = {
    "tissue_influx": "K₁", "tissue_efflux": "k₂", "binding_rate": "k₃", "release_rate": "k₄",
    "blood_fraction": "vB", "distribution_volume": "VT", "net_influx": "Ki", "relative_influx": "Ki′",
    "distribution_ratio": "DVR", "binding_potential": "BP", "relative_delivery": "R₁",
    "effective_half_life": "T½ eff", "time_integrated_activity": "Ã", "tiac": "ã", "tiac_per_g": "ã",
    "tiac_per_ml": "ã",
}  # fmt: skip
"""How readers write a quantity beside its value."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How panels are arranged.

    Attributes
    ----------
    columns : int
    curve_in : float
        Height of the curve.
    residuals : bool
        Whether there is room for them.
    """

    columns: int = 2
    curve_in: float = 1.75
    residuals: bool = True

    @property
    def row_in(self) -> float:
        """Height of a row of panels."""
        rest = 0.07 + _REST_IN if self.residuals else 0.0
        return _TITLE_IN + self.curve_in + rest + _FOOT_IN

    @property
    def panel_in(self) -> float:
        """Width of a panel."""
        return (theme.WIDTH_IN - LEFT_IN - (self.columns - 1) * _GAP_IN - 0.05) / self.columns

    def height_in(self, n: int) -> float:
        """Of a figure with so many panels."""
        return -(-n // self.columns) * self.row_in


def panel(
    figure: Figure, n: int, layout: Layout, title: str, words: str, colour: str, *, whole: bool = False
) -> tuple[Axes, Axes | None]:
    """Axes of one curve and of its residuals, with a title and what was found above them.

    A `whole` one has no residuals and takes their place.
    """
    width, height = figure.get_size_inches()
    left = LEFT_IN + (n % layout.columns) * (layout.panel_in + _GAP_IN)
    top = (n // layout.columns) * layout.row_in + _TITLE_IN
    with_rest = layout.residuals and not whole
    rest_in = 0.07 + _REST_IN if layout.residuals and whole else 0.0
    places = [(top, layout.curve_in + rest_in)]
    if with_rest:
        places.append((top + layout.curve_in + 0.07, _REST_IN))
    made = [
        figure.add_axes((left / width, 1.0 - (start + tall) / height, layout.panel_in / width, tall / height))
        for start, tall in places
    ]
    head = 1.0 - (top - _TITLE_IN) / height
    longest = int(layout.panel_in / 0.085)
    figure.text(
        left / width, head - 0.06 / height, shortened(title, longest), fontsize=8.5, va="top",
        fontweight="bold", color=colour,
    )  # fmt: skip
    figure.text(left / width, head - 0.23 / height, words, fontsize=7, va="top", color=theme.MUTED)
    for axes in made:
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_formatter(plain_number)
        axes.yaxis.set_major_formatter(plain_number)
        axes.locator_params(axis="x", nbins=6)
    made[0].locator_params(axis="y", nbins=5)
    if with_rest:
        made[0].tick_params(labelbottom=False)
    return made[0], made[1] if with_rest else None


def plain_number(value: float, _place: float = 0.0) -> str:
    """A tick."""
    return number(value)


def percent_of_fit(curve: CurveFit) -> FloatArray:
    """Measured minus fitted in percent of the fitted; NaN where that is not above zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = 100.0 * (curve.measured - curve.fitted) / np.where(curve.fitted > 0, curve.fitted, np.nan)
    return np.asarray(left, np.float64)


def residuals(
    axes: Axes, x: FloatArray, left: FloatArray, colour: str, errors: FloatArray | None = None
) -> None:
    """Stems about zero, with bars of one standard error where that is known."""
    reach = np.abs(left) + (0.0 if errors is None else np.nan_to_num(errors))
    reach = reach[np.isfinite(reach)]
    limit = 1.15 * float(reach.max()) if reach.size and reach.max() > 0 else 1.0
    axes.axhline(0.0, color=theme.INK, linewidth=0.6)
    axes.vlines(x, 0.0, left, color=colour, linewidth=0.9)
    axes.plot(x, left, "o", color=colour, markersize=2.4, markeredgewidth=0)
    if errors is not None:
        axes.errorbar(x, left, yerr=errors, fmt="none", ecolor=colour, elinewidth=0.7, alpha=0.6)
    axes.set_ylim(-limit, limit)
    tick = _round_down(0.85 * limit)
    axes.set_yticks([-tick, 0.0, tick])


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    return float(max(step * power for step in steps if step * power <= value * (1 + 1e-9)))


def result_words(curve: CurveFit, wanted: tuple[str, ...]) -> str:
    """Symbols with their values, standard errors and units, those that have a value.

    Parameters
    ----------
    curve : CurveFit
    wanted : tuple of str
        Quantities, in order.
    """
    found = []
    for quantity in wanted:
        value, error = curve.results.get(quantity, (math.nan, math.nan))
        if math.isfinite(value):
            found.append(f"{SYMBOLS.get(quantity, quantity)} {quantity_value(quantity, value, error)}")
    return ",  ".join(found) if found else "no fit"


def quantity_value(quantity: str, value: float, error: float) -> str:
    """A value with its error and unit; times in their natural unit.

    >>> quantity_value("effective_half_life", 41040.0, 360.0)
    '11.40 ± 0.10 h'
    """
    step, unit = readers_unit(quantity, QUANTITIES[quantity].unit or "", value)
    unit = unit.replace("cm3", "cm³")
    return f"{rounded(value / step, error / step)} {unit}".strip()


def colour_of(run: Run, curve: CurveFit, position: int) -> str:
    """That of the curve's region."""
    named = list(run.regions) if run.regions is not None else []
    return theme.region_colour(named.index(curve.label) if curve.label in named else position)


def side_words(figure: Figure, layout: Layout, upper: str, lower: str, below: str) -> None:
    """What stands on the axes, once: left of the first column in every row, and under the last row."""
    _, height = figure.get_size_inches()
    rows = round(height / layout.row_in)
    for row in range(rows):
        top = row * layout.row_in + _TITLE_IN
        middle = 1.0 - (top + layout.curve_in / 2) / height
        figure.text(0.004, middle, upper, rotation=90, va="center", fontsize=7.5)
        if layout.residuals:
            middle = 1.0 - (top + layout.curve_in + 0.07 + _REST_IN / 2) / height
            figure.text(0.004, middle, lower, rotation=90, va="center", fontsize=7.5)
    figure.text(LEFT_IN / theme.WIDTH_IN, 0.05 / height, below, fontsize=8)
