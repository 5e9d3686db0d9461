"""Curves along an axis, most often time: a point with its standard error per region and sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import Row, run_rows
from imgtheranostics.report.wording import (
    duration,
    number,
    quantity_words,
    rounded,
    shortened,
    time_scale,
    unit_words,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST = 8
_HEIGHT_IN = 2.9
_LOG_FROM = 20.0
_DENSE = 60

AXIS_UNITS = {
    "time": "s",
    "echo_time": "s",
    "inversion_time": "s",
    "repetition_time": "s",
    "flip_angle": "°",
    "saturation_offset": "ppm",
    "saturation_b1": "µT",
    "wavelength": "nm",
    "energy": "keV",
    "dose": "",
    "component": "",
}
"""Unit of each axis in tables, as readers write it."""

DOWNFIELD_LEFT = frozenset({"saturation_offset"})
"""Axes that spectroscopists draw from high to low."""


def keys(run: Run) -> tuple[str, ...]:
    """Quantities that the table gives at two axis values or more."""
    values: dict[str, set[float]] = {}
    for row in _along_axis(run_rows(run)):
        values.setdefault(row["quantity"], set()).add(row["axis_value"])
    return tuple(quantity for quantity, found in values.items() if len(found) > 1)


def log_keys(run: Run) -> tuple[str, ...]:
    """Quantities with positive means that span a factor that a linear axis hides, or that were asked for."""
    found = []
    for quantity in keys(run):
        rows = [row for row in _along_axis(run_rows(run)) if row["quantity"] == quantity]
        if rows[0]["axis"] in DOWNFIELD_LEFT:
            continue
        means = [row["mean"] for row in rows]
        wanted = "curves-log" in run.figures or max(means) > _LOG_FROM * min(means)
        if min(means) > 0 and wanted:
            found.append(quantity)
    return tuple(found)


def draw(run: Run, quantity: str) -> Drawing:
    """Linear axes."""
    return _draw(run, quantity, logarithmic=False)


def draw_log(run: Run, quantity: str) -> Drawing:
    """Logarithmic value axis, on which washout and decay are straight lines."""
    return _draw(run, quantity, logarithmic=True)


def curves_of(rows: list[Row], quantity: str) -> dict[str, list[Row]]:
    """Rows of a quantity by region in the table's order, each along its axis."""
    curves: dict[str, list[Row]] = {}
    for row in _along_axis(rows):
        if row["quantity"] == quantity:
            curves.setdefault(row["region"], []).append(row)
    return {region: sorted(points, key=lambda row: row["axis_value"]) for region, points in curves.items()}


def _along_axis(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["axis_value"] is not None and row["mean"] is not None]


def _draw(run: Run, quantity: str, *, logarithmic: bool) -> Drawing:
    curves = curves_of(run_rows(run), quantity)
    order = sorted(curves, key=lambda region: -max(row["mean"] for row in curves[region]))[:_LARGEST]
    first = next(iter(curves.values()))[0]
    axis = first["axis"]
    largest = max(abs(row["axis_value"]) for points in curves.values() for row in points)
    step, symbol = time_scale(largest) if AXIS_UNITS.get(axis) == "s" else (1.0, AXIS_UNITS.get(axis, ""))
    figure = theme.new_figure(_HEIGHT_IN)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.72 / width, 0.45 / height, 5.25 / width, (_HEIGHT_IN - 0.6) / height))
    # Colours follow the outlines of the map unless there are more regions than colours.
    outlined = list(run.regions) if run.regions is not None else list(curves)
    named = outlined if len(outlined) <= len(theme.REGION_COLOURS) else order
    for region in order:
        colour = theme.region_colour(named.index(region) if region in named else order.index(region))
        _curve(axes, curves[region], step, colour)
    axes.xaxis.set_major_formatter(_plain_number)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(_no_number)
    elif axes.get_ylim()[0] > 0 or min(row["mean"] for region in order for row in curves[region]) >= 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_plain_number)
    if axis in DOWNFIELD_LEFT:
        axes.invert_xaxis()
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    words = axis.replace("_", " ").capitalize()
    axes.set_xlabel(f"{words} [{symbol}]" if symbol else words)
    axes.set_ylabel(with_unit(quantity, first["unit"]))
    _labels(figure, axes, [(region, curves[region][-1]) for region in order], named)
    return Drawing(figure, _caption(curves, order), _alt(quantity, curves, order, axis))


def _plain_number(value: float, _place: float = 0.0) -> str:
    return number(value)


def _no_number(_value: float, _place: float = 0.0) -> str:
    return ""


def _curve(axes: Axes, points: list[Row], step: float, colour: str) -> None:
    x = [row["axis_value"] / step for row in points]
    y = [row["mean"] for row in points]
    errors = [row["standard_error"] if row["standard_error"] is not None else math.nan for row in points]
    if len(points) > _DENSE:
        low, high = ([mean + sign * error for mean, error in zip(y, errors, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0, zorder=2)
        axes.plot(x, y, color=colour, linewidth=0.9, zorder=3)
        return
    axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.55, zorder=2)
    axes.errorbar(
        x, y, yerr=errors, fmt="o", color=colour, markersize=3.4, markeredgewidth=0, elinewidth=1.1, zorder=3
    )


def _labels(figure: Figure, axes: Axes, ends: list[tuple[str, Row]], named: list[str]) -> None:
    """Names at the right in the order of the curves' ends, moved apart until they do not touch."""
    _, height = figure.get_size_inches()
    box = axes.get_position()
    gap = 0.165 / (box.height * height)
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        low, high = math.log(low), math.log(high)
    places: list[tuple[float, str]] = []
    for region, row in ends:
        value = math.log(row["mean"]) if axes.get_yscale() == "log" else row["mean"]
        places.append(((value - low) / (high - low), region))
    places.sort()
    for y, (_, region) in zip(_apart([place for place, _ in places], gap), places, strict=True):
        colour = theme.region_colour(named.index(region) if region in named else 0)
        axes.plot(
            [1.015], [y], marker="o", markersize=4, color=colour, transform=axes.transAxes, clip_on=False
        )
        axes.text(1.035, y, shortened(region, 22), transform=axes.transAxes, fontsize=7.5, va="center")


def _apart(places: list[float], gap: float) -> list[float]:
    """Ascending places moved up until they are `gap` apart, then down again where they leave the top."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, 0.0, moved[-1] + gap if moved else 0.0))
    ceiling = max(1.0, gap * (len(moved) - 1))
    for n in reversed(range(len(moved))):
        moved[n] = min(moved[n], ceiling)
        ceiling = moved[n] - gap
    return moved


def _caption(curves: dict[str, list[Row]], order: list[str]) -> str:
    counts = sorted(
        {row["n_valid"] for region in order for row in curves[region] if row["n_valid"] is not None}
    )
    n = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}" if counts else ""
    text = f"Mean over each region with its standard error; n = {n} voxels per point" if n else "Simulated"
    if len(order) < len(curves):
        text += f"; the {len(order)} highest of {len(curves)} regions"
    if any(len(curves[region]) > _DENSE for region in order):
        return text + ". Line: mean; band: one standard error on either side."
    return text + ". The line between points is a guide for the eye."


def _alt(quantity: str, curves: dict[str, list[Row]], order: list[str], axis: str) -> str:
    peaks = []
    for region in order:
        peak = max(curves[region], key=lambda row: row["mean"])
        at = peak["axis_value"]
        where = duration(at) if AXIS_UNITS.get(axis) == "s" else f"{at:g}"
        peaks.append(
            f"{shortened(region)} peaks at {rounded(peak['mean'], peak['standard_error'])} at {where}"
        )
    unit = unit_words(curves[order[0]][0]["unit"], quantity)
    return (
        f"{quantity_words(quantity)}{f' in {unit}' if unit else ''} against {axis.replace('_', ' ')}: "
        + "; ".join(peaks)
    )
