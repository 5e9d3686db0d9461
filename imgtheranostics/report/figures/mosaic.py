"""Mosaic: the map over the anatomy with region outlines, colour bar, orientation letters and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import echo_change, layout, picture, planes, scene, theme
from imgtheranostics.report.figures.scene import Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, with_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOOT_IN = 0.52
_LEGEND_ROW_IN = 0.17
_LARGEST_LEGEND = 16


def keys(run: Run) -> tuple[str, ...]:
    """Quantities that have a map, and no picture before and after with the map over it."""
    shown = echo_change.keys(run)
    return tuple(estimate.quantity for estimate in run.maps if estimate.quantity not in shown)


def draw(run: Run, quantity: str) -> Drawing:
    """The mosaic of one map."""
    chosen = scene.scene_of(run, quantity)
    scale = scene.scale_of(chosen)
    grey = scale
    if chosen.anatomy is not None and chosen.anatomy_data is not None:
        grey = scene.anatomy_scale(chosen.anatomy_data, chosen.anatomy.quantity)
    placed, height = layout.mosaic(chosen)
    names = list(chosen.regions) if chosen.regions is not None else []
    legend_in = _LEGEND_ROW_IN * _legend_rows(names)
    figure = theme.new_figure(height + _FOOT_IN + legend_in)
    for item in placed:
        if chosen.anatomy is None:
            values, inside = planes.sample(
                chosen.data, chosen.estimate.value.affine, chosen.stage, item.plane
            )
            pixels = scene.coloured(values, inside, scale)
        else:
            pixels = scene.over_anatomy(chosen, item.plane, scale, grey)
        axes, ink = picture.place(figure, item, pixels, chosen)
        picture.outline(axes, chosen, item, ink)
        if item.tile is None:
            picture.slice_marks(axes, chosen, item, ink)
    picture.colour_bar(figure, scale, with_unit(quantity, chosen.estimate.unit), legend_in)
    _legend(figure, names, legend_in)
    return Drawing(figure, _caption(chosen), _alt(chosen, scale, names))


def _legend_rows(names: list[str]) -> int:
    return -(-min(len(names), _LARGEST_LEGEND) // 4)


def _legend(figure: Figure, names: list[str], legend_in: float) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    for n, name in enumerate(names[:_LARGEST_LEGEND]):
        x = (n % 4) * width / 4
        y = legend_in - _LEGEND_ROW_IN * (n // 4 + 0.5)
        line = Line2D(
            [x / width, (x + 0.16) / width],
            [y / height] * 2,
            color=theme.region_colour(n),
            linewidth=1.8,
            transform=figure.transFigure,
        )
        figure.add_artist(line)
        more = len(names) > _LARGEST_LEGEND and n == _LARGEST_LEGEND - 1
        text = f"{shortened(name, 24)} and {len(names) - n - 1} more" if more else shortened(name, 24)
        figure.text((x + 0.22) / width, y / height, text, fontsize=7.5, va="center")


def _caption(chosen: Scene) -> str:
    parts = [scene.voxel_words(chosen)]
    if chosen.sample_words:
        parts.append(f"shown at {chosen.sample_words}")
    if chosen.anatomy is not None:
        parts.append("colour over anatomy in grey, fading out towards zero")
    elif not np.isfinite(scene.thinned(chosen.data)).all():
        parts.append("blue-grey: no value")
    if chosen.has_long_views:
        focus = "in the regions" if chosen.regions is not None else "of all"
        parts.append(f"long views pass through the highest value {focus}")
    if scene.has_place(chosen):
        parts.append("radiological convention: the left of a picture is the patient's right; head (S) up")
    text = "; ".join(parts) + "."
    return text[0].lower() + text[1:] if text.startswith("n =") else text


def _alt(chosen: Scene, scale: Scale, names: list[str]) -> str:
    unit = with_unit(chosen.estimate.quantity, chosen.estimate.unit)
    regions = f" Outlined regions: {', '.join(shortened(name) for name in names)}." if names else ""
    return (
        f"Slices of the map of {quantity_words(chosen.estimate.quantity)} ({unit}), "
        f"scale from {number(scale.low)} to {number(scale.high)}.{regions}"
    )
