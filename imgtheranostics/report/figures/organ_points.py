"""Biodistribution: every animal as a point, by organ and group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at, legend, legend_height, plain_log, spread_out
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.study_figures import group_colours
from imgtheranostics.report.wording import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TALL_IN = 2.9
_WIDEST_SLOT_IN = 1.5
_DOT_IN = 0.055


@dataclass(frozen=True, slots=True)
class OrganPoint:
    """The value of one organ of one subject."""

    organ: str
    group: str
    subject: str
    value: float


@dataclass(frozen=True, slots=True)
class OrganPoints:
    """What the figure shows."""

    label: str
    points: tuple[OrganPoint, ...]
    logarithmic: bool = False


def draw(shown: OrganPoints) -> Drawing:
    """Organs from left to right as they come, groups side by side in each."""
    organs = list(dict.fromkeys(one.organ for one in shown.points))
    groups = sorted({one.group for one in shown.points})
    colours = group_colours(groups)
    top = (legend_height(groups) if len(groups) > 1 else 0.0) + 0.12
    longest = max(len(shortened(one, 24)) for one in organs)
    slot = min(_WIDEST_SLOT_IN * max(1.0, len(groups) / 2), (theme.WIDTH_IN - 0.9) / len(organs))
    tilted = 0.075 * longest > slot
    below = 0.3 + (0.05 * longest if tilted else 0.0)
    figure = theme.new_figure(top + _TALL_IN + below)
    if len(groups) > 1:
        legend(figure, colours, groups)
    axes = axes_at(figure, 0.72, top, slot * len(organs), _TALL_IN)
    values = [one.value for one in shown.points]
    for place, organ in enumerate(organs):
        for turn, group in enumerate(groups):
            here = [one.value for one in shown.points if one.organ == organ and one.group == group]
            if here:
                x = place + (turn - (len(groups) - 1) / 2) * 0.8 / len(groups)
                _column(axes, x, 0.8 / len(groups), here, colours[group], values, shown.logarithmic)
    axes.set_xlim(-0.55, len(organs) - 0.45)
    names = [shortened(one, 24) for one in organs]
    axes.set_xticks(
        range(len(organs)), names, rotation=35 if tilted else 0, ha="right" if tilted else "center"
    )
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.set_ylabel(shown.label)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    if shown.logarithmic and min(values) > 0.0:
        plain_log(axes)
    elif min(values) >= 0.0:
        axes.set_ylim(0.0, 1.06 * max(values) or 1.0)
    n = len({one.subject for one in shown.points})
    kind = "geometric means" if shown.logarithmic and min(values) > 0.0 else "means"
    caption = f"Every point is one subject; lines: {kind} of the groups. n = {n} subjects."
    return Drawing(figure, caption, _alt(shown, organs, groups))


def _column(
    axes: Axes, x: float, width: float, here: list[float], colour: str, every: list[float], logarithmic: bool
) -> None:
    log = logarithmic and min(every) > 0.0
    heights = [math.log(value) for value in here] if log else here
    everything = [math.log(value) for value in every] if log else [*every, 0.0]
    touch = (max(everything) - min(everything) or 1.0) * _DOT_IN / _TALL_IN
    shifts = spread_out(heights, 0.3 * width, touch)
    axes.plot(
        [x + shift for shift in shifts], here, linestyle="none", marker="o", markersize=4.0, color=colour,
        alpha=0.75, markeredgewidth=0, zorder=2,
    )  # fmt: skip
    mean = math.exp(float(np.mean(heights))) if log else float(np.mean(here))
    axes.plot([x - 0.38 * width, x + 0.38 * width], [mean, mean], color=theme.INK, linewidth=1.2, zorder=3)


def _alt(shown: OrganPoints, organs: list[str], groups: list[str]) -> str:
    parts = []
    for organ in organs:
        for group in groups:
            here = [one.value for one in shown.points if one.organ == organ and one.group == group]
            if here:
                name = f"{organ}, {group}" if group else organ
                parts.append(f"{name}: mean {number(float(np.mean(here)), 3)}, n = {len(here)}")
    return f"{shown.label} by region: {'; '.join(parts)}."
