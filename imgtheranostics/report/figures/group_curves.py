"""Curves of groups over time: every animal as a thin line, the mean of the group as a thick one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at, hours_axis, legend, legend_height, plain_log
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.study_figures import group_colours
from imgtheranostics.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TALL_IN = 3.1


@dataclass(frozen=True, slots=True)
class AnimalCurve:
    """Values of one animal or patient over time."""

    subject: str
    group: str
    hours: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GroupCurves:
    """What the figure shows; `logarithmic` takes geometric means and a logarithmic scale."""

    label: str
    time_label: str
    curves: tuple[AnimalCurve, ...]
    logarithmic: bool = False


def draw(shown: GroupCurves) -> Drawing:
    """One colour per group."""
    groups = sorted({one.group for one in shown.curves})
    colours = group_colours(groups)
    names = _names(shown, groups)
    top = legend_height(list(names.values())) + 0.1
    figure = theme.new_figure(top + _TALL_IN + 0.5)
    legend(figure, {names[one]: colours[one] for one in groups}, [names[one] for one in groups])
    axes = axes_at(figure, 0.72, top, theme.WIDTH_IN - 0.9, _TALL_IN)
    longest = max((hour for one in shown.curves for hour in one.hours if math.isfinite(hour)), default=0.0)
    step = hours_axis(axes, longest, shown.time_label)
    for one in shown.curves:
        hours = [hour / step for hour in one.hours]
        axes.plot(
            hours, one.values, color=colours[one.group], linewidth=0.7, alpha=0.55, marker="o",
            markersize=2.6, markeredgewidth=0, zorder=2,
        )  # fmt: skip
    for group in groups:
        _mean(axes, shown, group, colours[group], step)
    axes.set_ylabel(shown.label)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    if shown.logarithmic:
        plain_log(axes)
    elif min(value for one in shown.curves for value in one.values) >= 0.0:
        axes.set_ylim(bottom=0.0)
    kind = "geometric mean" if shown.logarithmic else "mean"
    caption = (
        f"Thin lines and dots: every subject; thick line: {kind} of the group, first sessions together, "
        f"second sessions together, and so on. n = {len(shown.curves)} subjects."
    )
    return Drawing(figure, caption, _alt(shown, groups))


def _names(shown: GroupCurves, groups: list[str]) -> dict[str, str]:
    counts = {group: sum(one.group == group for one in shown.curves) for group in groups}
    return {group: f"{group or 'all'} (n = {counts[group]})" for group in groups}


def means_of(shown: GroupCurves, group: str) -> tuple[list[float], list[float]]:
    """Mean times and mean values of the sessions of a group, the first sessions together and so on."""
    curves = [one for one in shown.curves if one.group == group]
    hours, means = [], []
    for place in range(max(len(one.values) for one in curves)):
        here = [(one.hours[place], one.values[place]) for one in curves if place < len(one.values)]
        values = np.array([value for _, value in here])
        hours.append(float(np.mean([hour for hour, _ in here])))
        means.append(float(np.exp(np.mean(np.log(values))) if shown.logarithmic else values.mean()))
    return hours, means


def _mean(axes: Axes, shown: GroupCurves, group: str, colour: str, step: float) -> None:
    hours, means = means_of(shown, group)
    axes.plot([hour / step for hour in hours], means, color=colour, linewidth=2.2, zorder=3)


def _alt(shown: GroupCurves, groups: list[str]) -> str:
    parts = []
    for group in groups:
        hours, means = means_of(shown, group)
        told = ", ".join(
            f"{number(mean, 3)} at {number(hour, 3)} h" for hour, mean in zip(hours, means, strict=True)
        )
        parts.append(f"{group or 'all subjects'}: {told}")
    return f"{shown.label}, means of groups: {'; '.join(parts)}."
