"""Two ways of measuring one thing: difference against mean, with bias, limits and their intervals."""

from __future__ import annotations

from dataclasses import dataclass

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.study_axes import axes_at
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.wording import number

_TALL_IN = 3.0
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class AgreementPlot:
    """What the figure shows.

    Attributes
    ----------
    mean, difference : tuple of float
        Of each subject.
    subjects : tuple of str
    bias : float
    limits : (float, float)
    intervals : three pairs
        Of the bias, the lower and the upper limit.
    unit : str
        Of the differences.
    labels : (str, str)
        The two measures; the difference is the second less the first.
    """

    mean: tuple[float, ...]
    difference: tuple[float, ...]
    subjects: tuple[str, ...]
    bias: float
    limits: Pair
    intervals: tuple[Pair, Pair, Pair]
    unit: str
    labels: tuple[str, str]


def draw(shown: AgreementPlot) -> Drawing:
    """Bands are the intervals of the bias and of the limits of agreement."""
    figure = theme.new_figure(0.12 + _TALL_IN + 0.5)
    axes = axes_at(figure, 0.78, 0.12, 4.9, _TALL_IN)
    values = (shown.bias, *shown.limits)
    for value, (low, high), dash in zip(values, shown.intervals, (None, (4, 3), (4, 3)), strict=True):
        axes.axhspan(low, high, color=theme.REGION_COLOURS[1], alpha=0.12, linewidth=0, zorder=1)
        style = "solid" if dash is None else (0, dash)
        axes.axhline(value, color=theme.INK, linewidth=0.9, linestyle=style, zorder=2)
    axes.axhline(0.0, color=theme.RULE, linewidth=0.8, zorder=1)
    axes.plot(
        shown.mean, shown.difference, linestyle="none", marker="o", markersize=4.6, markeredgewidth=0,
        color=theme.REGION_COLOURS[1], zorder=3,
    )  # fmt: skip
    names = ("bias", "−1.96 SD", "+1.96 SD")
    low, high = axes.get_ylim()
    placed = low - (high - low)
    for value, name in sorted(zip(values, names, strict=True)):
        placed = max(value, placed + 0.07 * (high - low))
        axes.annotate(
            f"{name} {number(value, 3)} {shown.unit}".rstrip(), (1.02, placed),
            xycoords=("axes fraction", "data"), fontsize=7.5, va="center", annotation_clip=False,
        )  # fmt: skip
    axes.set_xlabel("mean of both")
    axes.set_ylabel(f"difference [{shown.unit}]" if shown.unit else "difference")
    axes.margins(x=0.06)
    n = len(shown.mean)
    caption = (
        f"{shown.labels[1]} less {shown.labels[0]}, against their mean. Solid line: bias; dashed: 95 % "
        f"limits of agreement; bands: their intervals. n = {n} subjects."
    )
    told = (
        f"bias {number(shown.bias, 3)}, limits {number(shown.limits[0], 3)} to {number(shown.limits[1], 3)}"
    )
    return Drawing(figure, caption, f"Differences of two measures: {told} {shown.unit}, n = {n}.")
