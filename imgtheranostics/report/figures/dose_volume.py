"""Cumulative dose-volume histograms: how much of each region gets at least a dose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.nuclear.dose_volume import (
    DOSES,
    dose_at_volume,
    dose_volume_histogram,
    volume_at_dose,
)
from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import Row, run_rows
from imgtheranostics.report.wording import number, rounded, shortened, unit_words, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

SHOWN = ("absorbed_dose", "absorbed_dose_per_activity")
"""Quantities that are drawn; effects beside them have the same histograms on another scale."""

_HEIGHT_IN = 3.2
_MOST = 16
_BINS = 400
_SHORT_OF_ALL = 99.9
_LEGEND_ROW_IN = 0.3


@dataclass(frozen=True, eq=False)
class _Curve:
    """One region: doses of its voxels, what the table says of their mean, whether its colour is taken."""

    name: str
    colour: str
    values: FloatArray
    mean: float
    error: float
    n_voxels: int
    again: bool


def keys(run: Run) -> tuple[str, ...]:
    """Maps of dose, where regions are drawn on their grid."""
    regions = run.regions
    if regions is None:
        return ()
    doses = [
        one for one in run.maps if one.quantity in DOSES and not one.axes and one.grid.same_as(regions.grid)
    ]
    shown = tuple(one.quantity for one in doses if one.quantity in SHOWN)
    return shown or tuple(one.quantity for one in doses[:1])


def draw(run: Run, quantity: str) -> Drawing:
    """One line per region, with the band of what all voxels share and a dot at the mean."""
    estimate = next(one for one in run.maps if one.quantity == quantity)
    curves, left_out = _curves(run, quantity)
    figure = theme.new_figure(max(_HEIGHT_IN, 0.7 + _LEGEND_ROW_IN * len(curves)))
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.55 / width, 0.45 / height, 4.75 / width, (height - 0.6) / height))
    reach = max(float(np.percentile(one.values, _SHORT_OF_ALL)) for one in curves)
    shared = estimate.calibration_relative if math.isfinite(estimate.calibration_relative) else 0.0
    for one in curves:
        _line(axes, one, shared)
    low = min(0.0, min(float(one.values.min()) for one in curves))
    axes.set_xlim(low, 1.04 * (1.0 + shared) * reach if reach > 0 else 1.0)
    axes.set_ylim(0, 103)
    unit = unit_words(estimate.unit, quantity)
    axes.set_xlabel(with_unit(quantity, estimate.unit))
    axes.set_ylabel("Share of the region with at least that dose [%]")
    axes.xaxis.set_major_formatter(lambda value, _place: number(value))
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    _legend(figure, curves, unit)
    return Drawing(figure, _caption(curves, left_out, shared), _alt(curves, unit))


def _curves(run: Run, quantity: str) -> tuple[list[_Curve], int]:
    """Regions with a dose, highest mean first, and how many are not shown."""
    assert run.regions is not None  # noqa: S101
    estimate = next(one for one in run.maps if one.quantity == quantity)
    flat = estimate.value.data.reshape(-1, order="F")
    rows = {
        str(row["region"]): row
        for row in run_rows(run)
        if row["quantity"] == quantity and row["axis_value"] is None
    }
    found = []
    for n, (name, voxels) in enumerate(zip(run.regions, run.regions.voxel_lists(), strict=True)):
        values = flat[voxels].astype(np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            mean, error = _stated(rows.get(name), values)
            again = n >= len(theme.REGION_COLOURS)
            colour = theme.region_colour(n)
            found.append(_Curve(name, colour, np.sort(values), mean, error, values.size, again))
    found.sort(key=lambda one: -one.mean)
    return found[:_MOST], max(0, len(found) - _MOST)


def _stated(row: Row | None, values: FloatArray) -> tuple[float, float]:
    """Mean and standard error as the table has them."""
    if row is None or row["mean"] is None:
        return float(values.mean()), math.nan
    error = row["standard_error"]
    return float(row["mean"]), math.nan if error is None else float(error)


def _line(axes: Axes, one: _Curve, shared: float) -> None:
    histogram = dose_volume_histogram(one.values, bins=_BINS)
    dose, volume = histogram.dose_gy, histogram.volume_percent
    end = float(one.values[-1])
    dose, volume = np.append(dose, end), np.append(volume, 0.0)
    if shared > 0:
        axes.fill_betweenx(
            volume, dose * (1.0 - shared), dose * (1.0 + shared), color=one.colour, alpha=0.18, linewidth=0
        )
    axes.plot(dose, volume, color=one.colour, linewidth=1.4, zorder=3, linestyle=_dashes(one))
    height = float(volume_at_dose(one.values, one.mean))
    axes.plot(
        [one.mean], [height], marker="o", markersize=5.0, color=one.colour, markeredgecolor="white",
        markeredgewidth=0.8, zorder=4,
    )  # fmt: skip


def _dashes(one: _Curve) -> Literal["-", "--"]:
    """Dashed where the colour is taken."""
    return "--" if one.again else "-"


def _legend(figure: Figure, curves: list[_Curve], unit: str) -> None:
    """Names and means right of the lines, highest first."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    left = 5.5
    for n, one in enumerate(curves):
        y = height - 0.22 - _LEGEND_ROW_IN * n
        line = Line2D(
            [left / width, (left + 0.16) / width],
            [y / height] * 2,
            color=one.colour,
            linewidth=1.8,
            linestyle=_dashes(one),
            transform=figure.transFigure,
        )
        figure.add_artist(line)
        x = (left + 0.22) / width
        figure.text(x, y / height, shortened(one.name, 24), fontsize=7.5, va="center", fontweight="bold")
        text = f"{rounded(one.mean, one.error)} {unit}; n = {one.n_voxels}"
        figure.text(x, (y - 0.13) / height, text, fontsize=7, va="center", color=theme.MUTED)


def _caption(curves: list[_Curve], left_out: int, shared: float) -> str:
    parts = ["Dots: mean dose, with its standard error beside the line's name"]
    if shared > 0:
        parts.append(
            f"bands: one standard error of what all voxels share, {number(100 * shared, 2)} % of the dose"
        )
    parts.append("noise of single voxels widens the lines, which are of the voxels as they are")
    parts.append("n counts the voxels")
    if left_out:
        parts.append(f"{len(curves)} of {len(curves) + left_out} regions, those with the highest mean")
    return "; ".join(parts) + "."


def _alt(curves: list[_Curve], unit: str) -> str:
    listed = []
    for one in curves[:12]:
        high, middle, low = (float(value) for value in dose_at_volume(one.values, (98.0, 50.0, 2.0)))
        listed.append(
            f"{shortened(one.name)} mean {rounded(one.mean, one.error)}, D98 {number(high, 3)}, "
            f"D50 {number(middle, 3)}, D2 {number(low, 3)}"
        )
    return f"Cumulative dose-volume histograms in {unit}: {'; '.join(listed)}."
