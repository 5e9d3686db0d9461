"""A fitted parameter, its standard error and its flags side by side, on the same slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import layout, picture, planes, scene, theme, uncertainty
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.scene import Picture, Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import flag_words, number, quantity_words, unit_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3
_COLUMN_GAP_IN = 0.2
_TALLEST_IN = 3.4
_HEAD_IN = 0.2
_FOOT_IN = 0.42
_LEGEND_ROW_IN = 0.17
_MOST_TILES = 4


def keys(run: Run) -> tuple[str, ...]:
    """Quantities that are parameters and not uptake, when they have a standard error somewhere, or flags."""
    return tuple(
        estimate.quantity
        for estimate in run.maps
        if not scene.is_uptake(estimate.quantity) and uncertainty.has_doubt(estimate)
    )


def draw(run: Run, quantity: str) -> Drawing:
    """Value, standard error and flags of one map in three columns."""
    chosen = scene.scene_of(run, quantity)
    estimate = chosen.estimate
    counts = uncertainty.flag_counts(estimate.flags)
    error = scene.sample_of(estimate.standard_error, chosen.sample_index)
    flags = scene.sample_of(estimate.flags, chosen.sample_index)
    value_scale = scene.scale_of(chosen)
    clean = scene.without_flagged(chosen, error)
    error_scale = uncertainty.error_scale(clean, scene.region_reach(chosen, clean), bound=True)
    columns = [_column(chosen, n) for n in range(_COLUMNS)]
    bottom = max(item.top_in + item.height_in for item in columns[0]) + layout.LABEL_IN
    legend_in = max(_FOOT_IN, _LEGEND_ROW_IN * (len(counts) + 1))
    figure = theme.new_figure(bottom + 0.08 + legend_in)
    for item in columns[0]:
        _place(figure, item, _pixels(chosen, chosen.data, item, value_scale), chosen)
    for item in columns[1]:
        _place(figure, item, _pixels(chosen, error, item, error_scale), chosen)
    for item in columns[2]:
        marks, inside = planes.sample(flags, estimate.value.affine, chosen.stage, item.plane)
        picture.place(figure, item, uncertainty.flag_picture(marks, inside), chosen, marked=False)
    unit = unit_words(estimate.unit, quantity)
    heads = (f"Value [{unit}]" if unit else "Value", "Standard error", "Flags")
    for column, words in zip(columns, heads, strict=True):
        left = column[0].left_in
        figure.text(left / theme.WIDTH_IN, 1.0 - 0.02, words, fontsize=8, va="top", fontweight="bold")
    width = _column_width() - 0.4
    for column, scale in zip(columns, (value_scale, error_scale), strict=False):
        left = column[0].left_in + 0.08
        picture.colour_bar(figure, scale, unit, legend_in - 0.36, left_in=left, width_in=width)
    _legend(figure, counts, columns[2][0].left_in, legend_in)
    return Drawing(figure, _caption(chosen, counts), _alt(quantity, value_scale, error_scale, counts))


def _column_width() -> float:
    return (theme.WIDTH_IN - (_COLUMNS - 1) * _COLUMN_GAP_IN) / _COLUMNS


def _column(chosen: Scene, n: int) -> list[Placed]:
    width = _column_width()
    tiles = chosen.tiles[:_MOST_TILES]
    left = n * (width + _COLUMN_GAP_IN)
    placed = layout.grid_of(
        chosen, tiles, left_in=left, width_in=width, tallest_in=_TALLEST_IN, top_in=_HEAD_IN
    )
    return placed if n == 0 else [replace(item, tile=item.tile) for item in placed]


def _pixels(chosen: Scene, data: npt.NDArray[Any], item: Placed, scale: Scale) -> Picture:
    values, inside = planes.sample(data, chosen.estimate.value.affine, chosen.stage, item.plane)
    return scene.coloured(values, inside, scale)


def _place(figure: Figure, item: Placed, pixels: Picture, chosen: Scene) -> None:
    axes, ink = picture.place(figure, item, pixels, chosen)
    picture.outline(axes, chosen, item, ink)


def _legend(figure: Figure, counts: dict[str, int], left_in: float, legend_in: float) -> None:
    entries = uncertainty.flag_entries(counts)
    for n, (words, colour) in enumerate(entries):
        y = legend_in - _LEGEND_ROW_IN * (n + 0.5)
        uncertainty.legend_entry(figure, left_in, y, words, colour)


def _caption(chosen: Scene, counts: dict[str, int]) -> str:
    parts = [
        "Value, standard error and flags on the same slices; the standard error contains the part that all "
        "voxels share",
        scene.voxel_words(chosen),
    ]
    missing = ~np.isfinite(scene.thinned(chosen.data))
    if missing.any():
        parts.append("slate: no value")
    if chosen.sample_words:
        parts.append(f"shown at {chosen.sample_words}")
    parts.append("counts of flags are over the whole map" if counts else "no voxel carries a flag")
    return "; ".join(parts) + "."


def _alt(quantity: str, value: Scale, error: Scale, counts: dict[str, int]) -> str:
    flagged = ", ".join(f"{flag_words(name)} {count}" for name, count in counts.items()) or "none"
    return (
        f"Slices of {quantity_words(quantity)} (scale {number(value.low)} to {number(value.high)}), of its "
        f"standard error (scale 0 to {number(error.high, 3)}) and of its flags. Flagged voxels: {flagged}."
    )
