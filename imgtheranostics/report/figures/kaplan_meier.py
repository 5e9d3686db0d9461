"""Kaplan-Meier curves with their limits, censored subjects as ticks, and numbers at risk below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at, legend, legend_height
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.study_figures import group_colours
from imgtheranostics.report.wording import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TALL_IN = 2.7
_ROW_IN = 0.19
_LEFT_IN = 1.35


@dataclass(frozen=True, slots=True)
class FollowedGroup:
    """Follow-up of one group, with the curve that was found for it.

    Attributes
    ----------
    label : str
    time : tuple of float
        Of every subject.
    event : tuple of bool
        False where censored.
    steps : tuple of (float, float, float, float)
        Time, share without event after it, and its limits.
    """

    label: str
    time: tuple[float, ...]
    event: tuple[bool, ...]
    steps: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class KaplanMeier:
    """What the figure shows."""

    label: str
    groups: tuple[FollowedGroup, ...]


def draw(shown: KaplanMeier) -> Drawing:
    """Curves on top, the table of numbers at risk at the ticks of the axis below."""
    names = [f"{one.label} (n = {len(one.time)}, {sum(one.event)} events)" for one in shown.groups]
    order = group_colours([one.label for one in shown.groups])
    colours = {name: order[one.label] for name, one in zip(names, shown.groups, strict=True)}
    top = legend_height(names) + 0.12
    rows = len(shown.groups)
    figure = theme.new_figure(top + _TALL_IN + 0.75 + _ROW_IN * (rows + 1))
    legend(figure, colours, names)
    axes = axes_at(figure, _LEFT_IN, top, theme.WIDTH_IN - _LEFT_IN - 0.3, _TALL_IN)
    longest = max(max(one.time) for one in shown.groups)
    for one in shown.groups:
        _curve(axes, one, order[one.label])
    axes.set_xlim(0.0, 1.02 * longest)
    axes.set_ylim(0.0, 1.03)
    axes.set_ylabel("share without event")
    axes.set_xlabel(shown.label)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    ticks = [float(tick) for tick in axes.get_xticks() if 0.0 <= tick <= 1.02 * longest]
    axes.set_xticks(ticks)
    _at_risk(axes, shown, ticks, order)
    caption = (
        "Share of subjects without event (Kaplan-Meier); bands: 95 % limits (Greenwood, log-log); ticks on "
        "the curves: censored; below: subjects at risk just before each time."
    )
    return Drawing(figure, caption, _alt(shown, ticks))


def _curve(axes: Axes, group: FollowedGroup, colour: str) -> None:
    steps = np.array([(0.0, 1.0, 1.0, 1.0), *group.steps])
    end = max(group.time)
    time = np.append(steps[:, 0], end)
    share, low, high = (np.append(steps[:, one], steps[-1, one]) for one in (1, 2, 3))
    axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0, zorder=1)
    axes.step(time, share, where="post", color=colour, linewidth=1.6, zorder=3)
    censored = np.sort([when for when, seen in zip(group.time, group.event, strict=True) if not seen])
    heights = steps[np.searchsorted(steps[:, 0], censored, side="right") - 1, 1]
    axes.plot(
        censored,
        heights,
        linestyle="none",
        marker="|",
        markersize=6,
        markeredgewidth=1.0,
        color=colour,
        zorder=4,
    )


def at_risk(group: FollowedGroup, times: list[float]) -> npt.NDArray[np.int64]:
    """Subjects still under observation just before each time."""
    ordered = np.sort(group.time)
    return np.asarray(len(ordered) - np.searchsorted(ordered, times, side="left"), np.int64)


def _at_risk(axes: Axes, shown: KaplanMeier, ticks: list[float], colours: dict[str, str]) -> None:
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    figure = axes.figure
    inch = figure.dpi_scale_trans
    for row in range(len(shown.groups) + 1):
        below = blended_transform_factory(axes.transData, axes.transAxes) + ScaledTranslation(
            0, -(0.62 + _ROW_IN * row), inch
        )
        left = axes.transAxes + ScaledTranslation(-0.25, -(0.62 + _ROW_IN * row), inch)
        if row == 0:
            axes.text(0.0, 0.0, "At risk", transform=left, fontsize=7.5, ha="right", va="center")
            continue
        group = shown.groups[row - 1]
        colour = colours[group.label]
        axes.text(
            0.0,
            0.0,
            shortened(group.label, 20),
            transform=left,
            fontsize=7,
            ha="right",
            va="center",
            color=colour,
        )
        for tick, count in zip(ticks, at_risk(group, ticks), strict=True):
            axes.text(tick, 0.0, str(count), transform=below, fontsize=7.5, ha="center", va="center")


def _alt(shown: KaplanMeier, ticks: list[float]) -> str:
    parts = []
    for one in shown.groups:
        last = one.steps[-1][1] if one.steps else 1.0
        counts = ", ".join(
            f"{count} at {number(tick, 3)}" for tick, count in zip(ticks, at_risk(one, ticks), strict=True)
        )
        parts.append(
            f"{one.label}: {sum(one.event)} events of {len(one.time)}, {number(100 * last, 2)} % without "
            f"event at the end; at risk {counts}"
        )
    return f"Share without event over {shown.label}. {'; '.join(parts)}."
