"""What a correction for partial volume changed: regions before and after, and how much of them was kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.nuclear.partial_volume import sphere_recovery
from imgtheranostics.nuclear.recovery_rows import sphere_diameter_mm
from imgtheranostics.report.figures import theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import Row, run_rows
from imgtheranostics.report.wording import number, rounded, shortened, unit_words, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, SHARE, KEPT = "uncorrected_mean", "apparent_recovery", "recovery_coefficient"

_ROW_IN = 0.27
_LEAST_IN = 2.6
_MOST = 24


@dataclass(frozen=True, slots=True)
class _Region:
    """One region before and after."""

    name: str
    colour: str
    before: tuple[float, float]
    after: tuple[float, float]
    share: float
    kept: tuple[float, float]
    diameter_mm: float


def keys(run: Run) -> tuple[str, ...]:
    """The quantity that was corrected."""
    rows = run_rows(run)
    if not any(row["quantity"] == BEFORE for row in rows):
        return ()
    return (next(row["quantity"] for row in rows if row["quantity"] not in (BEFORE, SHARE, KEPT)),)


def draw(run: Run, quantity: str) -> Drawing:
    """Means before and after on the left; on the right what is kept, against the size of the region."""
    frame, found = _regions(run, quantity)
    shown = found[:_MOST]
    unit = unit_words(_first(run, quantity)["unit"], quantity)
    fwhm = _fwhm(run)
    curve = fwhm is not None and any(math.isfinite(one.kept[0]) for one in shown)
    figure = theme.new_figure(max(_LEAST_IN if curve else 0.0, 0.85 + _ROW_IN * len(shown)))
    width, height = figure.get_size_inches()
    tall = min(height - 0.75, max(_ROW_IN * len(shown), 0.6))
    left = figure.add_axes((1.25 / width, (height - 0.3 - tall) / height, 2.15 / width, tall / height))
    _dumbbells(left, shown, with_unit(quantity, _first(run, quantity)["unit"]), wide=not curve)
    if curve and fwhm is not None:
        right = figure.add_axes((5.05 / width, 0.45 / height, 2.45 / width, (height - 0.75) / height))
        _recoveries(right, shown, fwhm)
        right.set_title("Share of its own signal", fontsize=8, fontweight="bold", loc="left", pad=6)
    left.set_title("Before and after", fontsize=8, fontweight="bold", loc="left", pad=6)
    return Drawing(figure, _caption(frame, shown, found, curve), _alt(shown, unit))


def _first(run: Run, quantity: str) -> Row:
    return next(row for row in run_rows(run) if row["quantity"] == quantity)


def _fwhm(run: Run) -> float | None:
    """The width of the correction; the geometric mean where directions differ."""
    decisions: Any = run.decisions
    resolution = decisions.get("resolution")
    if not isinstance(resolution, Mapping) or "fwhm_mm" not in resolution:
        return None
    return float(math.prod(resolution["fwhm_mm"]) ** (1.0 / 3.0))


def _regions(run: Run, quantity: str) -> tuple[str, list[_Region]]:
    """All regions of the frame with the highest value, largest first; which frame it is in words."""
    rows = run_rows(run)
    means = [row for row in rows if row["quantity"] == quantity and row["mean"] is not None]
    top = max(means, key=lambda row: float(row["mean"]))
    at = top["axis_value"]
    names = list(run.regions) if run.regions is not None else []
    by_key = {(row["quantity"], row["region"], row["axis_value"]): row for row in rows}
    found = []
    for row in means:
        if row["axis_value"] != at:
            continue
        name = row["region"]
        volume = row["volume_ml"]
        found.append(
            _Region(
                name,
                theme.region_colour(names.index(name)) if name in names else theme.MUTED,
                _value(by_key.get((BEFORE, name, at))),
                _value(row),
                _value(by_key.get((SHARE, name, at)))[0],
                _value(by_key.get((KEPT, name, None))),
                sphere_diameter_mm(float(volume)) if volume else math.nan,
            )
        )
    found.sort(key=lambda one: (one.colour == theme.MUTED, -one.diameter_mm))
    frame = "" if at is None else f"{top['axis'].replace('_', ' ')} {number(at)}"
    return frame, found


def _value(row: Row | None) -> tuple[float, float]:
    if row is None or row["mean"] is None:
        return math.nan, math.nan
    error: Any = row["standard_error"]
    return float(row["mean"]), math.nan if error is None else float(error)


def _dumbbells(axes: Axes, shown: Sequence[_Region], label: str, *, wide: bool) -> None:
    for place, one in enumerate(reversed(shown)):
        axes.plot([one.before[0], one.after[0]], [place] * 2, color=one.colour, linewidth=0.8, alpha=0.6)
        for (value, error), filled in ((one.before, False), (one.after, True)):
            if math.isfinite(error):
                axes.plot([value - error, value + error], [place] * 2, color=one.colour, linewidth=2.2)
            axes.plot(
                [value], [place], marker="o", markersize=5.0, markeredgecolor=one.colour,
                markerfacecolor=one.colour if filled else "white", markeredgewidth=1.1, zorder=4,
            )  # fmt: skip
        text = f"{rounded(*one.after)}"
        if math.isfinite(one.share):
            text += f"; × {number(1.0 / one.share, 3)}" if one.share > 0 else ""
        axes.annotate(
            text, (1.04, place), xycoords=("axes fraction", "data"), fontsize=7, va="center",
            annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_yticks(range(len(shown)), [shortened(one.name, 20) for one in reversed(shown)])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.spines["left"].set_visible(False)
    low, high = axes.get_xlim()
    if low > 0:
        axes.set_xlim(0, high)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=6 if wide else 5)
    axes.xaxis.set_major_formatter(lambda value, _place: number(value))
    axes.set_xlabel(label)


def _recoveries(axes: Axes, shown: Sequence[_Region], fwhm: float) -> None:
    known = [one for one in shown if math.isfinite(one.kept[0]) and one.colour != theme.MUTED]
    sizes = [one.diameter_mm for one in known] or [fwhm]
    highest = 1.25 * max(sizes)
    diameters = np.linspace(0.02 * highest, highest, 200)
    line = [sphere_recovery(float(one), fwhm)[0] for one in diameters]
    axes.plot(diameters, line, color=theme.INK, linewidth=1.0, zorder=2)
    axes.annotate(
        f"sphere, FWHM {number(fwhm, 3)} mm", (diameters[-1], line[-1]), xytext=(0, 5),
        textcoords="offset points", fontsize=7, ha="right", va="bottom", annotation_clip=False,
    )  # fmt: skip
    for one in known:
        value, error = one.kept
        if math.isfinite(error):
            axes.plot([one.diameter_mm] * 2, [value - error, value + error], color=one.colour, linewidth=1.4)
        axes.plot([one.diameter_mm], [value], marker="o", markersize=5.0, color=one.colour, zorder=4)
    axes.set(xlim=(0, highest), ylim=(0, 1.08))
    axes.set_xlabel("Diameter of a sphere of its volume [mm]")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(lambda value, _place: number(value))


def _caption(frame: str, shown: Sequence[_Region], found: Sequence[_Region], curve: bool) -> str:
    parts = [
        "Open: mean in the image; filled: after the correction; thick lines: one standard error; beside them "
        "the corrected mean and what it was multiplied by"
    ]
    if curve:
        parts.append(
            "right: share of its own signal that a region keeps at this resolution, in its colour; line: "
            "closed form for a sphere, which no other shape of that volume exceeds"
        )
    if frame:
        parts.append(f"shown at {frame}, where the highest value is")
    if len(shown) < len(found):
        parts.append(f"the {len(shown)} largest of {len(found)} regions")
    return "; ".join(parts) + "."


def _alt(shown: Sequence[_Region], unit: str) -> str:
    listed = "; ".join(
        f"{shortened(one.name)} {rounded(*one.before)} before, {rounded(*one.after)} after"
        + (f", keeps {number(one.kept[0], 3)}" if math.isfinite(one.kept[0]) else "")
        for one in shown[:12]
    )
    return f"Means of regions{f' in {unit}' if unit else ''} before and after the correction: {listed}."
