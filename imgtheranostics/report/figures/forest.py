"""Forest: estimates with their intervals, one line each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at, plain_log
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.wording import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_IN = 0.27
_PLOT_IN = 3.0
_LETTER_IN = 0.066
_BETWEEN_IN = 0.75


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One estimate; limits may be infinite or NaN."""

    label: str
    estimate: float
    low: float
    high: float
    n: int
    scale: str
    """``ratio`` or ``correlation``: each has its own panel."""


@dataclass(frozen=True, slots=True)
class Forest:
    """What the figure shows."""

    rows: tuple[ForestRow, ...]


_PANELS = {"ratio": ("ratio", 1.0), "correlation": ("correlation", 0.0)}


def draw(shown: Forest) -> Drawing:
    """A panel of ratios on a logarithmic axis, and one of correlations."""
    panels = {scale: [row for row in shown.rows if row.scale == scale] for scale in _PANELS}
    panels = {scale: rows for scale, rows in panels.items() if rows}
    height = sum(_ROW_IN * len(rows) for rows in panels.values()) + _BETWEEN_IN * len(panels) + 0.05
    figure = theme.new_figure(height)
    left = 0.25 + _LETTER_IN * max(len(shortened(row.label, 36)) for row in shown.rows)
    top = 0.1
    for scale, rows in panels.items():
        axes = axes_at(figure, left, top, _PLOT_IN, _ROW_IN * len(rows))
        _panel(axes, rows, scale, (theme.WIDTH_IN - 0.05 - left) / _PLOT_IN)
        top += _ROW_IN * len(rows) + _BETWEEN_IN
    caption = "Estimates with their intervals; the vertical line is no effect. n counts subjects."
    told = "; ".join(f"{row.label} {_words(row)}" for row in shown.rows)
    return Drawing(figure, caption, f"Estimates: {told}.")


def _panel(axes: Axes, rows: list[ForestRow], scale: str, right: float) -> None:
    label, none = _PANELS[scale]
    known = [
        value
        for row in rows
        for value in (row.estimate, row.low, row.high)
        if math.isfinite(value) and (scale != "ratio" or value > 0.0)
    ]
    low, high = _limits([*known, none], scale)
    axes.set_xlim(low, high)
    axes.axvline(none, color=theme.INK, linewidth=0.8, zorder=1)
    for place, row in enumerate(reversed(rows)):
        ends = [
            min(max(value, low), high) if value == value else row.estimate for value in (row.low, row.high)
        ]
        axes.plot(ends, [place, place], color=theme.REGION_COLOURS[1], linewidth=1.6, zorder=2)
        axes.plot(
            [row.estimate], [place], marker="s", markersize=5, color=theme.REGION_COLOURS[1],
            markeredgewidth=0, zorder=3,
        )  # fmt: skip
        for text, x, side in ((_words(row), 1.04, "left"), (f"n = {row.n}", right, "right")):
            axes.annotate(
                text, (x, place), xycoords=("axes fraction", "data"), fontsize=7.5, ha=side, va="center",
                annotation_clip=False,
            )  # fmt: skip
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), [shortened(row.label, 36) for row in reversed(rows)])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel(label)
    if scale == "ratio":
        plain_log(axes, "x")
    else:
        axes.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])


def _limits(known: list[float], scale: str) -> tuple[float, float]:
    if scale != "ratio":
        return -1.0, 1.0
    reach = max(max(abs(math.log(value)) for value in known), math.log(2.0))
    reach = min(1.1 * reach, math.log(100.0))
    return math.exp(-reach), math.exp(reach)


def _words(row: ForestRow) -> str:
    if math.isnan(row.low + row.high):
        return number(row.estimate, 3)
    if row.scale == "correlation":
        return f"{row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})".replace("-", "−")
    high = "∞" if math.isinf(row.high) else number(row.high, 3)
    return f"{number(row.estimate, 3)} ({number(row.low, 3)} to {high})"
