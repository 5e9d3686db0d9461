"""Mass of an agent at each follow-up, what of it is retained, and where the rest is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import Row, run_rows
from imgtheranostics.report.wording import number, rounded, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_IN = 3.0
_SECONDS_PER_DAY = 86400.0
_MOST_SHELLS = 3
_MASS, _RETAINED, _RECOVERED = "agent_mass", "retained_fraction", "recovered_fraction"
_DODGE = 0.012


@dataclass(frozen=True, slots=True)
class _Point:
    """One follow-up of one region."""

    x: float
    value: float
    error: float


def keys(run: Run) -> tuple[str, ...]:
    """What is retained, where the table gives it at follow-ups."""
    rows = run_rows(run)
    found = any(row["quantity"] == _RETAINED and row["axis_value"] is not None for row in rows)
    return (_RETAINED,) if found and _tumour(rows) else ()


def _tumour(rows: Sequence[Row]) -> str:
    """The region that was injected: the only one whose spread was looked at."""
    return next((row["region"] for row in rows if row["quantity"] == "occupancy"), "")


def draw(run: Run, quantity: str) -> Drawing:
    """Masses on the left, the retained share on the right."""
    rows = [row for row in run_rows(run) if row["axis_value"] is not None]
    tumour = _tumour(rows)
    names = list(run.regions) if run.regions is not None else [tumour]
    colour = theme.region_colour(names.index(tumour) if tumour in names else 0)
    figure = theme.new_figure(_HEIGHT_IN)
    width, height = figure.get_size_inches()
    tall = (_HEIGHT_IN - 0.78) / height
    left = figure.add_axes((0.62 / width, 0.45 / height, 2.95 / width, tall))
    right = figure.add_axes((4.35 / width, 0.45 / height, 3.15 / width, tall))
    missing = _missing(rows)
    injected = _injected(rows, tumour)
    _masses(left, rows, tumour, colour, injected)
    kept = _points(rows, _RETAINED, tumour)
    _shares(right, kept, colour)
    words = "Day" if rows[0]["axis"] == "time" else "Follow-up"
    for axes, title in ((left, "Mass [mg]"), (right, "Retained [% of the first scan]")):
        _frame(axes, [point.x for point in kept] + missing, missing, words)
        axes.set_title(title, fontsize=8, fontweight="bold", loc="left", pad=6)
    return Drawing(figure, _caption(missing, injected), _alt(tumour, kept))


def _place(row: Row) -> float:
    scale = _SECONDS_PER_DAY if row["axis"] == "time" else 1.0
    return float(row["axis_value"]) / scale


def _points(rows: Sequence[Row], quantity: str, region: str) -> list[_Point]:
    found = [
        _Point(_place(row), float(row["mean"]), _or_nan(row["standard_error"]))
        for row in rows
        if row["quantity"] == quantity and row["region"] == region and row["mean"] is not None
    ]
    return sorted(found, key=lambda point: point.x)


def _or_nan(value: Any) -> float:
    return math.nan if value is None else float(value)


def _missing(rows: Sequence[Row]) -> list[float]:
    """Where follow-ups were planned and not made."""
    codes = ((row, str(row["warnings"]).split(";")) for row in rows)
    return sorted({_place(row) for row, found in codes if "missing-scan" in found})


def _injected(rows: Sequence[Row], tumour: str) -> float:
    """The injected mass that recovered shares refer to; NaN where none is given."""
    recovered = {point.x: point.value for point in _points(rows, _RECOVERED, tumour)}
    masses = {point.x: point.value for point in _points(rows, _MASS, tumour)}
    return next(
        (100.0 * masses[x] / share for x, share in recovered.items() if share and x in masses), math.nan
    )


def _masses(axes: Axes, rows: Sequence[Row], tumour: str, colour: str, injected: float) -> None:
    """Tumour and shells; the injected mass as a line."""
    shells = list(
        dict.fromkeys(str(row["region"]) for row in rows if str(row["region"]).startswith("shell "))
    )
    series = [(tumour, colour), *((name, theme.MUTED) for name in shells[:_MOST_SHELLS])]
    span = max((_place(row) for row in rows), default=1.0) or 1.0
    markers = ("o", "s", "D", "^")
    for n, (name, own) in enumerate(series):
        points = _points(rows, _MASS, name)
        _errors(axes, points, own, markers[n % 4], shift=n * _DODGE * span, filled=n == 0)
    axes.axhline(0.0, color=theme.RULE, linewidth=0.6, zorder=1)
    if math.isfinite(injected):
        axes.axhline(injected, color=theme.INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2)
        axes.annotate(
            f"injected {number(injected)} mg", (0.98, injected), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", fontsize=7,
        )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    _name_ends(axes, [(name, _points(rows, _MASS, name), own) for name, own in series])


def _name_ends(axes: Axes, series: list[tuple[str, list[_Point], str]]) -> None:
    """A name under or over the first point of each series; shells together, which lie near zero."""
    shells = [(name, points) for name, points, _ in series[1:] if points]
    name, points, colour = series[0]
    if points:
        axes.annotate(
            shortened(name, 18), (points[0].x, points[0].value), xytext=(0, -9), textcoords="offset points",
            fontsize=7.5, fontweight="bold", color=colour, ha="left", va="top",
        )  # fmt: skip
    if shells:
        words = ", ".join(name.removeprefix("shell ").removesuffix(" mm") for name, _ in shells)
        place = max(point.value for _, found in shells for point in found)
        axes.annotate(
            f"shells {words} mm", (shells[0][1][0].x, place), xytext=(0, 6), textcoords="offset points",
            fontsize=7.5, color=theme.MUTED, ha="left", va="bottom",
        )  # fmt: skip


def _errors(
    axes: Axes, points: list[_Point], colour: str, marker: str, *, shift: float = 0.0, filled: bool = True
) -> None:
    x = [point.x + shift for point in points]
    y = [point.value for point in points]
    axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.55, zorder=2)
    axes.errorbar(
        x, y, yerr=[point.error for point in points], fmt=marker, color=colour, markersize=4.2,
        markerfacecolor=colour if filled else "white", markeredgewidth=0.0 if filled else 0.9, elinewidth=1.1,
        capsize=2.2, zorder=3,
    )  # fmt: skip


def _shares(axes: Axes, points: list[_Point], colour: str) -> None:
    axes.axhline(100.0, color=theme.INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    _errors(axes, points, colour, "o")
    for point in points:
        text = str(rounded(point.value, point.error)) if point.error > 0 else number(point.value)
        axes.annotate(
            text, (point.x, point.value - (point.error if point.error > 0 else 0.0)), xytext=(0, -7),
            textcoords="offset points", fontsize=7, ha="center", va="top",
        )  # fmt: skip
    finite = [point for point in points if math.isfinite(point.value)]
    lowest = min((p.value - (p.error if p.error > 0 else 0.0) for p in finite), default=0.0)
    highest = max((p.value + (p.error if p.error > 0 else 0.0) for p in finite), default=100.0)
    bottom = 0.0 if lowest < 70.0 else 10.0 * math.floor((lowest - 8.0) / 10.0)
    axes.set_ylim(min(bottom, lowest), max(104.0, highest + 0.08 * (highest - bottom)))


def _frame(axes: Axes, places: list[float], missing: list[float], words: str) -> None:
    shown = sorted(set(places)) or [0.0]
    span = shown[-1] - shown[0] or 1.0
    axes.set_xlim(shown[0] - 0.16 * span, shown[-1] + 0.16 * span)
    if len(shown) <= 12:
        axes.set_xticks(shown)
    axes.xaxis.set_major_formatter(lambda value, _place: number(value))
    axes.yaxis.set_major_formatter(lambda value, _place: number(value))
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel(words)
    for place in missing:
        axes.annotate(
            "no scan", (place, 0.03), xycoords=("data", "axes fraction"), fontsize=6.5, rotation=90,
            ha="center", va="bottom", color=theme.MUTED,
        )  # fmt: skip


def _caption(missing: list[float], injected: float) -> str:
    parts = [
        "Left: mass with one standard error, that of the slope included, which all scans share",
        "right: the same relative to the first scan, where the slope cancels and the noise remains",
    ]
    if math.isfinite(injected):
        parts.insert(1, "dashed: the injected mass")
    if missing:
        number_of = "one follow-up was" if len(missing) == 1 else f"{len(missing)} follow-ups were"
        parts.append(f"{number_of} not made")
    return "; ".join(parts) + "."


def _alt(tumour: str, kept: list[_Point]) -> str:
    listed = "; ".join(f"{number(point.x)}: {rounded(point.value, point.error)} %" for point in kept)
    return f"Mass and retained share in {shortened(tumour)} by follow-up: {listed}."
