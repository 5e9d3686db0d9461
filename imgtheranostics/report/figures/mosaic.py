"""Mosaic: the map over the anatomy with region outlines, colour bar, orientation letters and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import layout, planes, scene, theme
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.scene import Picture, Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

_FOOT_IN = 0.52
_LEGEND_ROW_IN = 0.17
_LARGEST_LEGEND = 16


def keys(run: Run) -> tuple[str, ...]:
    """Quantities that have a map."""
    return tuple(estimate.quantity for estimate in run.maps)


def draw(run: Run, quantity: str) -> Drawing:
    """The mosaic of one map."""
    chosen = scene.scene_of(run, quantity)
    scale = scene.scale_of(chosen)
    grey = scene.anatomy_scale(chosen.anatomy_data) if chosen.anatomy_data is not None else scale
    placed, height = layout.mosaic(chosen)
    names = list(chosen.regions) if chosen.regions is not None else []
    legend_in = _LEGEND_ROW_IN * _legend_rows(names)
    figure = theme.new_figure(height + _FOOT_IN + legend_in)
    for item in placed:
        if chosen.anatomy is None:
            picture, inside = planes.sample(
                chosen.data, chosen.estimate.value.affine, chosen.stage, item.plane
            )
            pixels = scene.coloured(picture, inside, scale)
        else:
            pixels = scene.over_anatomy(chosen, item.plane, scale, grey)
        axes = place(figure, item, pixels, chosen)
        outline(axes, chosen, item)
        if item.tile is None:
            _slice_marks(axes, chosen, item)
    colour_bar(figure, scale, with_unit(quantity, chosen.estimate.unit), legend_in)
    _legend(figure, names, legend_in)
    return Drawing(figure, _caption(chosen), _alt(chosen, scale, names))


def place(
    figure: Figure, item: Placed, pixels: Picture, chosen: Scene, *, letters: bool | None = None
) -> Axes:
    """Put a picture on the page with its label underneath and orientation letters at its edges."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        (
            item.left_in / width,
            1.0 - (item.top_in + item.height_in) / height,
            item.width_in / width,
            item.height_in / height,
        )
    )
    theme.bare(axes)
    axes.imshow(
        pixels, extent=chosen.stage.extent(item.plane), origin="upper", aspect="auto", interpolation="none"
    )
    label = f"{planes.AXIS_WORDS[item.plane.normal]} = {number(item.plane.position_mm, 3)} mm"
    if item.tile is None:
        label = f"{planes.PLANE_NAMES[item.plane.normal]}, {label}"
    else:
        label = f"{item.tile} · {label}"
    axes.text(0.0, -0.03 / item.height_in, label, transform=axes.transAxes, va="top", fontsize=6.5)
    if letters if letters is not None else item.tile in (None, 1):
        _orientation(axes, item)
    if item.left_in == 0.0 and item.top_in == 0.0 and letters is None:
        _ruler(axes, item, chosen)
    return axes


def outline(axes: Axes, chosen: Scene, item: Placed) -> None:
    """Draw the outlines of the regions that the plane meets."""
    from matplotlib.collections import LineCollection

    if chosen.regions is None:
        return
    limits = (axes.get_xlim(), axes.get_ylim())
    for position, lines in planes.contours(chosen.regions, chosen.stage, item.plane):
        colour = theme.region_colour(position)
        dark = chosen.anatomy is not None
        axes.add_collection(
            LineCollection(lines, colors="#000000" if dark else "#ffffff", linewidths=1.9, alpha=0.55)
        )
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=1.0))
    axes.set(xlim=limits[0], ylim=limits[1])


def colour_bar(figure: Figure, scale: Scale, label: str, legend_in: float, *, left_in: float = 0.08) -> None:
    """A horizontal colour bar with its quantity and unit, above the legend."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import FuncFormatter

    width, height = figure.get_size_inches()
    axes = figure.add_axes((left_in / width, (legend_in + 0.2) / height, 2.6 / width, 0.085 / height))
    mappable = ScalarMappable(Normalize(scale.low, scale.high), matplotlib.colormaps[scale.colours])
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal", extend=scale.beyond, extendfrac=0.03)
    bar.outline.set_linewidth(0.4)
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    bar.locator = _few_ticks()
    bar.formatter = FuncFormatter(lambda value, _place: number(value))
    bar.update_ticks()
    axes.text(0.0, 1.55, label, transform=axes.transAxes, fontsize=7.5, va="bottom", ha="left")


def _few_ticks() -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])


def _orientation(axes: Axes, item: Placed) -> None:
    from matplotlib.patheffects import withStroke

    edge_x, edge_y = 0.05 / item.width_in, 0.05 / item.height_in
    places = (
        (edge_x, 0.5, "left", "center"),
        (1 - edge_x, 0.5, "right", "center"),
        (0.5, 1 - edge_y, "center", "top"),
        (0.5, edge_y, "center", "bottom"),
    )
    for letter, (x, y, across, up) in zip(item.plane.letters, places, strict=True):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            ha=across,
            va=up,
            fontsize=7,
            fontweight="bold",
            color="#ffffff",
            path_effects=[withStroke(linewidth=1.6, foreground=theme.HALO)],
        )


def _ruler(axes: Axes, item: Placed, chosen: Scene) -> None:
    """A scale bar of a round length at the lower left, about a third of the picture wide."""
    from matplotlib.patheffects import withStroke

    across, up = item.plane.in_plane
    width_mm, height_mm = chosen.stage.size_mm(across), chosen.stage.size_mm(up)
    power = 10.0 ** np.floor(np.log10(width_mm / 3.0))
    length = float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= width_mm / 3.0))
    left, _, bottom, _ = chosen.stage.extent(item.plane)
    x = left - 0.06 * width_mm
    y = bottom + 0.09 / item.height_in * height_mm
    stroke = [withStroke(linewidth=2.6, foreground=theme.HALO)]
    axes.plot([x, x - length], [y, y], color="#ffffff", linewidth=1.4, path_effects=stroke)
    axes.text(
        x,
        y + 0.04 / item.height_in * height_mm,
        f"{number(length)} mm",
        color="#ffffff",
        fontsize=6,
        ha="left",
        va="bottom",
        path_effects=[withStroke(linewidth=1.6, foreground=theme.HALO)],
    )


def _slice_marks(axes: Axes, chosen: Scene, item: Placed) -> None:
    """Short marks with the numbers of the slices at the right edge of a long view."""
    from matplotlib.patheffects import withStroke

    if item.plane.in_plane[1] != chosen.stack:
        return
    _, right, _, _ = chosen.stage.extent(item.plane)
    span = chosen.stage.size_mm(item.plane.in_plane[0])
    low, high = sorted(axes.get_ylim())
    for n, tile in enumerate(chosen.tiles, start=1):
        if low <= tile.position_mm <= high:
            y = tile.position_mm
            line = [withStroke(linewidth=2.0, foreground=theme.HALO)]
            axes.plot([right, right + 0.06 * span], [y, y], color="#ffffff", linewidth=0.8, path_effects=line)
            halo = [withStroke(linewidth=1.6, foreground=theme.HALO)]
            axes.text(
                right + 0.08 * span,
                y,
                str(n),
                fontsize=5.5,
                ha="right",
                va="center",
                color="#ffffff",
                path_effects=halo,
            )


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
