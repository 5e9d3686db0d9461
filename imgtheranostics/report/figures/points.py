"""Region values as points: mean with its standard error, median and the 5th to 95th percentile of voxels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import Row, run_rows
from imgtheranostics.report.wording import quantity_words, rounded, shortened, unit_words, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST = 40
_ROW_IN = 0.235
_BESIDE = (
    "detection_limit",
    "quantification_limit",
    "detectable_share",
    "contrast_to_noise",
    "dose_at_volume",
    "volume_at_dose",
    "equivalent_uniform_dose",
    "protraction_factor",
    "uncorrected_mean",
    "apparent_recovery",
    "recovery_coefficient",
)
"""Endings of quantities that the table has and another figure shows, or that say how far one is trusted."""


def keys(run: Run) -> tuple[str, ...]:
    """Quantities that the table gives for regions without a further axis."""
    shown = dict.fromkeys(row["quantity"] for row in static_rows(run_rows(run)))
    return tuple(quantity for quantity in shown if not quantity.endswith(_BESIDE))


def static_rows(rows: list[Row]) -> list[Row]:
    """Rows with a value and without an axis value."""
    return [row for row in rows if row["axis_value"] is None and row["mean"] is not None]


def by_mean(rows: list[Row]) -> list[Row]:
    """Rows from high to low mean; equal ones keep their order."""
    return sorted(rows, key=lambda row: -_number(row["mean"], -math.inf))


def draw(run: Run, quantity: str) -> Drawing:
    """One line per region, highest first."""
    rows = by_mean([row for row in static_rows(run_rows(run)) if row["quantity"] == quantity])
    shown = rows[:_LARGEST]
    colours = _colours(run)
    figure = theme.new_figure(0.62 + _ROW_IN * len(shown))
    width, height = figure.get_size_inches()
    axes = figure.add_axes((1.55 / width, 0.45 / height, 3.5 / width, _ROW_IN * len(shown) / height))
    several = len({row["session"] for row in rows}) > 1
    for place, row in enumerate(shown):
        _line(axes, len(shown) - 1 - place, row, colours.get(row["region"], theme.INK))
    _frame(axes, [(_name(row, several), row) for row in shown], with_unit(quantity, shown[0]["unit"]))
    caption = "Dot and thick line: mean over the region and its standard error, calibration included"
    if any(math.isfinite(_number(row["p05"], math.nan)) for row in shown):
        caption += "; thin line: 5th to 95th percentile of the voxels, with a tick at the median"
    caption += ". n counts the voxels with a value"
    if len(rows) > len(shown):
        caption += f"; the {len(shown)} highest of {len(rows)} regions"
    return Drawing(figure, caption + ".", _alt(quantity, rows))


def _line(axes: Axes, y: int, row: Row, colour: str) -> None:
    mean, error = _number(row["mean"], math.nan), _number(row["standard_error"], math.nan)
    low, high, median = (_number(row[name], math.nan) for name in ("p05", "p95", "median"))
    axes.plot([low, high], [y, y], color=theme.MUTED, linewidth=0.7, zorder=1)
    axes.plot([median], [y], marker="|", markersize=6, markeredgewidth=0.9, color=theme.MUTED, zorder=2)
    if math.isfinite(error):
        axes.plot([mean - error, mean + error], [y, y], color=colour, linewidth=2.6, zorder=3)
    axes.plot([mean], [y], marker="o", markersize=4.6, color=colour, markeredgewidth=0, zorder=4)


def _frame(axes: Axes, rows: list[tuple[str, Row]], label: str) -> None:
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), [shortened(name, 26) for name, _ in reversed(rows)])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    low, high = axes.get_xlim()
    if low > 0 and low < 0.5 * high:
        axes.set_xlim(0, high)
    for place, (_, row) in enumerate(reversed(rows)):
        unit = unit_words(row["unit"], row["quantity"])
        number = f"{rounded(row['mean'], row['standard_error'])} {unit}".rstrip()
        n = f"n = {row['n_valid']:,}".replace(",", "\u202f")
        for text, x, side in ((number, 1.03, "left"), (n, 1.71, "right")):
            axes.annotate(
                text,
                (x, place),
                xycoords=("axes fraction", "data"),
                fontsize=7,
                ha=side,
                va="center",
                annotation_clip=False,
            )


def _name(row: Row, several: bool) -> str:
    return f"{row['region']} ({row['session']})" if several and row["session"] else str(row["region"])


def _colours(run: Run) -> dict[str, str]:
    names = list(run.regions) if run.regions is not None else []
    return {name: theme.region_colour(n) for n, name in enumerate(names)}


def _number(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def _alt(quantity: str, rows: list[Row]) -> str:
    listed = "; ".join(
        f"{shortened(row['region'])} {rounded(row['mean'], row['standard_error'])}" for row in rows[:12]
    )
    unit = unit_words(rows[0]["unit"], quantity)
    return f"{quantity_words(quantity)} by region{f' in {unit}' if unit else ''}: {listed}."
