"""Waterfall: one bar per subject, from the highest to the lowest."""

from __future__ import annotations

from dataclasses import dataclass

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at, legend, legend_height
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.study_figures import group_colours
from imgtheranostics.report.wording import number

_TALL_IN = 2.4
_MOST_NAMED = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """The value of one subject, and what its colour says."""

    subject: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Waterfall:
    """What the figure shows."""

    label: str
    bars: tuple[Bar, ...]


def draw(shown: Waterfall) -> Drawing:
    """Bars in order; equal ones keep theirs."""
    bars = sorted(shown.bars, key=lambda one: -one.value)
    kinds = sorted({one.kind for one in bars})
    colours = group_colours(kinds)
    top = legend_height(kinds) + 0.1
    named = len(bars) <= _MOST_NAMED
    below = 0.25 + (0.06 * max(len(one.subject) for one in bars) if named else 0.0)
    figure = theme.new_figure(top + _TALL_IN + below)
    legend(figure, colours, kinds)
    width = min(theme.WIDTH_IN - 0.9, 0.34 * len(bars) + 0.3)
    axes = axes_at(figure, 0.72, top, width, _TALL_IN)
    places = range(len(bars))
    axes.bar(places, [one.value for one in bars], width=0.74, color=[colours[one.kind] for one in bars])
    axes.axhline(0.0, color=theme.INK, linewidth=0.7)
    # a bar of zero height still has a subject
    for place, one in zip(places, bars, strict=True):
        if one.value == 0.0:
            axes.plot([place], [0.0], marker="_", markersize=7, color=colours[one.kind])
    axes.set_xlim(-0.7, len(bars) - 0.3)
    axes.set_xticks(places if named else [], [one.subject for one in bars] if named else [], rotation=90)
    axes.tick_params(axis="x", length=0, labelsize=6.5)
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel(shown.label)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    caption = f"One bar per subject, from high to low. n = {len(bars)}."
    told = ", ".join(f"{one.subject} {number(one.value, 3)} ({one.kind})" for one in bars[:12])
    more = f" and {len(bars) - 12} more" if len(bars) > 12 else ""
    return Drawing(figure, caption, f"{shown.label} of every subject, from high to low: {told}{more}.")
