"""Uptake against outcome, every subject a point."""

from __future__ import annotations

from dataclasses import dataclass

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at, legend, legend_height, plain_log, spread_out
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.study_figures import group_colours
from imgtheranostics.report.wording import number

_TALL_IN = 3.0
_MANY = 12
_DECADE = 10.0


@dataclass(frozen=True, slots=True)
class SubjectPoint:
    """Uptake and outcome of one subject."""

    subject: str
    group: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class AssociationPlot:
    """What the figure shows; a `binary` outcome has two rows of points."""

    x_label: str
    y_label: str
    points: tuple[SubjectPoint, ...]
    binary: bool = False


def draw(shown: AssociationPlot) -> Drawing:
    """Points named by their subject where there are few."""
    groups = sorted({one.group for one in shown.points})
    colours = group_colours(groups)
    top = (legend_height(groups) if len(groups) > 1 else 0.0) + 0.12
    tall = 1.7 if shown.binary else _TALL_IN
    figure = theme.new_figure(top + tall + 0.5)
    if len(groups) > 1:
        legend(figure, colours, groups)
    axes = axes_at(figure, 0.72, top, 4.9, tall)
    xs = [one.x for one in shown.points]
    ys = _heights(shown, xs)
    for one, y in zip(shown.points, ys, strict=True):
        axes.plot(
            [one.x], [y], marker="o", markersize=5, color=colours[one.group], markeredgewidth=0, alpha=0.85
        )
    if len(shown.points) <= _MANY:
        for one, y in zip(shown.points, ys, strict=True):
            axes.annotate(
                one.subject, (one.x, y), xytext=(4, 3), textcoords="offset points", fontsize=6,
                color=theme.MUTED,
            )  # fmt: skip
    axes.set_xlabel(shown.x_label)
    axes.margins(x=0.08, y=0.1)
    if shown.binary:
        axes.set_yticks([0.0, 1.0], ["no", "yes"])
        axes.set_ylim(-0.5, 1.6)
    axes.set_ylabel(shown.y_label)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    if min(xs) > 0.0 and max(xs) > _DECADE * min(xs):
        plain_log(axes, "x")
    caption = f"Every point is one subject. n = {len(shown.points)}."
    told = ", ".join(f"{one.subject} {number(one.x, 3)}: {number(one.y, 3)}" for one in shown.points[:20])
    more = f" and {len(shown.points) - 20} more" if len(shown.points) > 20 else ""
    return Drawing(figure, caption, f"{shown.y_label} against {shown.x_label}: {told}{more}.")


def _heights(shown: AssociationPlot, xs: list[float]) -> list[float]:
    if not shown.binary:
        return [one.y for one in shown.points]
    touch = (max(xs) - min(xs) or 1.0) * 0.03
    heights = [one.y for one in shown.points]
    for level in (0.0, 1.0):
        own = [place for place, one in enumerate(shown.points) if one.y == level]
        for place, shift in zip(own, spread_out([xs[one] for one in own], 0.3, touch), strict=True):
            heights[place] = level + shift
    return heights
