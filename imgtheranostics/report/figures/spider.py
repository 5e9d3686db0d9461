"""Spider: change of every subject from its first session, over time."""

from __future__ import annotations

from dataclasses import dataclass

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.group_curves import AnimalCurve
from imgtheranostics.report.figures.study_axes import apart, axes_at, hours_axis, legend, legend_height
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.study_figures import group_colours
from imgtheranostics.report.wording import number

_TALL_IN = 2.8
_MOST_NAMED = 16


@dataclass(frozen=True, slots=True)
class Spider:
    """What the figure shows: subjects with two sessions or more, of which the first is above zero."""

    label: str
    time_label: str
    curves: tuple[AnimalCurve, ...]


def changes(curve: AnimalCurve) -> list[float]:
    """Change from the first session in %."""
    return [100.0 * (value / curve.values[0] - 1.0) for value in curve.values]


def draw(shown: Spider) -> Drawing:
    """One line per subject, named at its end."""
    groups = sorted({one.group for one in shown.curves})
    colours = group_colours(groups)
    top = legend_height(groups) + 0.1
    figure = theme.new_figure(top + _TALL_IN + 0.5)
    legend(figure, colours, groups)
    axes = axes_at(figure, 0.72, top, theme.WIDTH_IN - 1.5, _TALL_IN)
    longest = max(hour for one in shown.curves for hour in one.hours)
    step = hours_axis(axes, longest, shown.time_label)
    for one in shown.curves:
        axes.plot(
            [hour / step for hour in one.hours], changes(one), color=colours[one.group], linewidth=0.9,
            marker="o", markersize=3, markeredgewidth=0, alpha=0.85, zorder=2,
        )  # fmt: skip
    axes.axhline(0.0, color=theme.INK, linewidth=0.7, zorder=1)
    axes.set_ylabel("change from the first session [%]")
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    if len(shown.curves) <= _MOST_NAMED:
        low, high = axes.get_ylim()
        ordered = sorted(shown.curves, key=lambda curve: changes(curve)[-1])
        heights = apart([changes(one)[-1] for one in ordered], 0.045 * (high - low))
        for one, height in zip(ordered, heights, strict=True):
            axes.annotate(
                one.subject, (1.01, height), xycoords=("axes fraction", "data"), fontsize=6.5, va="center",
                color=colours[one.group], annotation_clip=False,
            )  # fmt: skip
    caption = f"{shown.label}: change of every subject from its first session. n = {len(shown.curves)}."
    ends = ", ".join(f"{one.subject} {number(changes(one)[-1], 3)} %" for one in shown.curves[:12])
    return Drawing(figure, caption, f"Change at the last session: {ends}.")
