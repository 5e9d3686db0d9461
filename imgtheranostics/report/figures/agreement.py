"""Agreement with truth after Bland and Altman: difference against truth, bias and 95 % limits, by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtheranostics.report.comparison import Comparison, is_placeholder, relative_percent
from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.wording import number, quantity_words, unit_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_IN = 1.75
_BETWEEN_IN = 0.62
_LEGEND_IN = 6.88
_LETTER_IN = 0.06
"""Width of the legend, and of a letter of its names on average."""
_SMALL = 1e-3
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bias and 95 % limits of agreement of a set of differences."""

    n: int
    bias: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Point:
    truth: float
    percent: float
    kind: str
    failed: bool
    placeholder: bool


def agreement_of(differences: Sequence[float]) -> Agreement:
    """Mean of the differences and mean -/+ 1.96 of their standard deviation (n - 1).

    The limits are NaN for fewer than two differences.
    """
    n = len(differences)
    bias = math.fsum(differences) / n if n else math.nan
    if n < 2:
        return Agreement(n, bias, math.nan, math.nan)
    sd = math.sqrt(math.fsum((value - bias) ** 2 for value in differences) / (n - 1))
    return Agreement(n, bias, bias - 1.96 * sd, bias + 1.96 * sd)


def levels(comparison: Comparison) -> dict[int, Agreement]:
    """Agreement in percent of the truth at each level, over all rows and repeats that have a number."""
    return {
        level: agreement_of([point.percent for point in points])
        for level, points in _points(comparison).items()
    }


def keys(comparison: Comparison) -> tuple[str, ...]:
    """One figure for all rows, where any can be compared."""
    return ("all rows",) if _points(comparison) else ()


def draw(comparison: Comparison, _key: str) -> Drawing:
    """One panel per level."""
    by_level = _points(comparison)
    kinds = list(dict.fromkeys(p.kind for points in by_level.values() for p in points))
    legend_in = 0.17 * math.ceil(len(kinds) / _legend_columns(kinds))
    count = len(by_level)
    height = 0.2 + count * _PANEL_IN + (count - 1) * _BETWEEN_IN + 0.5 + legend_in
    figure = theme.new_figure(height)
    for place, (level, points) in enumerate(by_level.items()):
        top = 0.2 + place * (_PANEL_IN + _BETWEEN_IN)
        box = (0.62 / theme.WIDTH_IN, 1 - (top + _PANEL_IN) / height)
        axes = figure.add_axes((*box, 5.75 / theme.WIDTH_IN, _PANEL_IN / height))
        _panel(axes, points, kinds)
        title = f"Level {level}, n = {len(points)}: measured − truth, % of truth"
        axes.set_title(title, fontsize=8, loc="left", pad=4)
        if place == count - 1:
            axes.set_xlabel("truth, each quantity in its own unit")
    _legend(figure, kinds, legend_in)
    return Drawing(figure, _caption(comparison, by_level), _alt(comparison))


def _legend_columns(kinds: Sequence[str]) -> int:
    """As many as the longest name leaves room for, at most four."""
    longest = max(len(kind) for kind in kinds)
    return max(1, min(4, int(_LEGEND_IN / (0.12 + _LETTER_IN * longest))))


def _legend(figure: Figure, kinds: Sequence[str], legend_in: float) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    columns = _legend_columns(kinds)
    for n, kind in enumerate(kinds):
        row, column = divmod(n, columns)
        x, y = 0.62 + column * _LEGEND_IN / columns, legend_in - 0.17 * (row + 0.5)
        figure.text((x + 0.12) / width, y / height, kind, fontsize=7.5, va="center")
        mark = Line2D(
            [x / width],
            [y / height],
            marker=_marker(kind, kinds),
            color=_colour(kind, kinds),
            linestyle="none",
            markersize=4.5,
            markeredgewidth=0,
            transform=figure.transFigure,
        )
        figure.add_artist(mark)


def _panel(axes: Axes, points: Sequence[_Point], kinds: Sequence[str]) -> None:
    found = agreement_of([point.percent for point in points])
    for point in points:
        colour = _colour(point.kind, kinds)
        axes.plot(
            [point.truth],
            [point.percent],
            marker=_marker(point.kind, kinds),
            markersize=4.6 if not point.failed else 6.5,
            markerfacecolor="none" if point.placeholder else colour,
            markeredgecolor="#c0392b" if point.failed else colour,
            markeredgewidth=1.6 if point.failed else 0.8,
            linestyle="none",
            alpha=0.9,
            zorder=3,
        )
    axes.axhline(0.0, color=theme.RULE, linewidth=0.8, zorder=1)
    if min(point.truth for point in points) > 0:
        axes.set_xscale("log")
        _plain_ticks(axes)
    axes.axhline(found.bias, color=theme.INK, linewidth=0.9, zorder=2)
    spots = [(found.bias, f"bias {_percent(found.bias)}")]
    if not math.isnan(found.low):
        for value, name in ((found.low, "−1.96 SD"), (found.high, "+1.96 SD")):
            axes.axhline(value, color=theme.INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
            spots.append((value, f"{name} {_percent(value)}"))
    axes.margins(x=0.04, y=0.12)
    _words_at(axes, spots)


def _words_at(axes: Axes, spots: Sequence[tuple[float, str]]) -> None:
    """Words at the right edge at given heights, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    least = 0.1 * (high - low)
    placed = -math.inf
    for value, words in sorted(spots):
        y = max(value, placed + least)
        placed = y
        axes.annotate(
            words,
            (1.01, y),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            ha="left",
            va="center",
            annotation_clip=False,
        )


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(base=10.0, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: number(value, 3)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _points(comparison: Comparison) -> dict[int, list[_Point]]:
    found: dict[int, list[_Point]] = {}
    for row, repeats in zip(comparison.rows, comparison.repeats, strict=True):
        for value in repeats:
            truth = row["truth"]
            if truth is None or not math.isfinite(value):
                continue
            percent = 100.0 * (value - truth) if row["method"] == "recovery" else None
            if percent is None:
                percent = relative_percent(row, value - truth)
            if percent is None or not truth:
                continue
            unit = unit_words(row["unit"], row["quantity"]) if row["method"] == "mean" else ""
            name = quantity_words(row["quantity"]) if row["method"] == "mean" else row["method"]
            kind = f"{name.replace('_', ' ')}{f', {unit}' if unit else ''}"
            failed = row["verdict"] == "fail"
            found.setdefault(row["level"], []).append(
                _Point(float(truth), percent, kind, failed, is_placeholder(row))
            )
    return dict(sorted(found.items()))


def _colour(kind: str, kinds: Sequence[str]) -> str:
    return theme.region_colour(kinds.index(kind) + 1)


def _marker(kind: str, kinds: Sequence[str]) -> str:
    # colours repeat after eight kinds; markers then start one later, so that no two kinds look alike
    place = kinds.index(kind)
    return _MARKERS[(place + place // len(_MARKERS)) % len(_MARKERS)]


def _percent(value: float) -> str:
    shown = number(abs(value), 2) if abs(value) >= _SMALL else f"{abs(value):.4f}".rstrip("0").rstrip(".")
    sign = "" if shown == "0" else "+" if value > 0 else "−"
    return f"{sign}{shown} %"


def _caption(comparison: Comparison, by_level: dict[int, list[_Point]]) -> str:
    shown = sum(len(points) for points in by_level.values())
    each = "row and seed" if comparison.seeds > 1 else "row"
    return (
        "Difference against the truth, which is known here, instead of against the mean of two methods; "
        f"one point per {each}; solid line: bias; dashed: 95 % limits of agreement, bias ± 1.96 SD. Open "
        "symbols: the truth is a placeholder; red edge: outside tolerance. Recoveries in percentage points. "
        f"n = {shown}; rows whose truth is zero or a refusal have no place here."
    )


def _alt(comparison: Comparison) -> str:
    parts = [
        f"level {level}: bias {_percent(found.bias)}, limits {_percent(found.low)} to "
        f"{_percent(found.high)}, n = {found.n}"
        for level, found in levels(comparison).items()
    ]
    return f"Differences from the truth; {'; '.join(parts)}."
