"""One picture of a mosaic: pixels, outlines, orientation letters, ruler, slice marks; and the colour bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.report.figures import planes, scene, theme
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.scene import Picture, Scale, Scene
from imgtheranostics.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROUND_STEPS = (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Ink:
    """Colour of the marks on a picture and of the halo that lifts them off it."""

    mark: str
    halo: str

    @classmethod
    def on(cls, pixels: Picture) -> Ink:
        """Dark marks on bright pictures, light ones on dark."""
        if float(pixels.mean()) > 127.5:
            return cls(theme.DARK_MARK, theme.LIGHT_MARK)
        return cls(theme.LIGHT_MARK, theme.DARK_MARK)

    def haloed(self, width: float) -> dict[str, Any]:
        """Keywords for an artist of this colour."""
        from matplotlib.patheffects import withStroke

        return {"color": self.mark, "path_effects": [withStroke(linewidth=width, foreground=self.halo)]}


def place(
    figure: Figure, item: Placed, pixels: Picture, chosen: Scene, *, marked: bool = True
) -> tuple[Axes, Ink]:
    """Put a picture on the page with its label underneath.

    The first picture of its kind gets orientation letters, the first of all a ruler, unless `marked` is off.
    """
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
    axes.text(0.0, -0.03 / item.height_in, _label(item), transform=axes.transAxes, va="top", fontsize=6.5)
    ink = Ink.on(pixels)
    if marked and item.tile in (None, 1) and scene.has_place(chosen):
        orientation(axes, item, ink)
    if marked and item.left_in == 0.0 and item.top_in == 0.0:
        ruler(axes, item, chosen, ink)
    return axes, ink


def _label(item: Placed) -> str:
    position = f"{planes.AXIS_WORDS[item.plane.normal]} = {number(item.plane.position_mm, 3)} mm"
    if item.tile is None:
        return f"{planes.PLANE_NAMES[item.plane.normal]}, {position}"
    return f"{item.tile} · {position}"


def outline(axes: Axes, chosen: Scene, item: Placed, ink: Ink, *, only: int | None = None) -> None:
    """Draw the outlines of the regions that the plane meets, or of the one at a position."""
    from matplotlib.collections import LineCollection

    if chosen.regions is None:
        return
    limits = (axes.get_xlim(), axes.get_ylim())
    for position, lines in planes.contours(chosen.regions, chosen.stage, item.plane):
        if only not in (None, position):
            continue
        axes.add_collection(LineCollection(lines, colors=ink.halo, linewidths=1.9, alpha=0.55))
        axes.add_collection(LineCollection(lines, colors=theme.region_colour(position), linewidths=1.0))
    axes.set(xlim=limits[0], ylim=limits[1])


def slice_marks(axes: Axes, chosen: Scene, item: Placed, ink: Ink) -> None:
    """Short marks with the numbers of the slices at the right edge of a long view."""
    if item.plane.in_plane[1] != chosen.stack:
        return
    _, right, _, _ = chosen.stage.extent(item.plane)
    span = chosen.stage.size_mm(item.plane.in_plane[0])
    low, high = sorted(axes.get_ylim())
    for n, tile in enumerate(chosen.tiles, start=1):
        y = tile.position_mm
        if low <= y <= high:
            axes.plot([right, right + 0.06 * span], [y, y], linewidth=0.8, **ink.haloed(2.0))
            axes.text(
                right + 0.08 * span, y, str(n), fontsize=5.5, ha="right", va="center", **ink.haloed(1.6)
            )


def colour_bar(
    figure: Figure,
    scale: Scale,
    label: str,
    legend_in: float,
    *,
    left_in: float = 0.08,
    width_in: float = 2.6,
) -> None:
    """A horizontal colour bar with its quantity and unit, above the legend."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    width, height = figure.get_size_inches()
    axes = figure.add_axes((left_in / width, (legend_in + 0.2) / height, width_in / width, 0.085 / height))
    mappable = ScalarMappable(Normalize(scale.low, scale.high), matplotlib.colormaps[scale.colours])
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal", extend=scale.beyond, extendfrac=0.03)
    bar.outline.set_linewidth(0.4)
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    bar.locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    bar.formatter = FuncFormatter(lambda value, _place: number(value))
    bar.update_ticks()
    axes.text(0.0, 1.55, label, transform=axes.transAxes, fontsize=7.5, va="bottom", ha="left")


def orientation(axes: Axes, item: Placed, ink: Ink) -> None:
    """Letters of the patient's directions at the edges of a picture."""
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
            **ink.haloed(1.6),
        )


def ruler(axes: Axes, item: Placed, chosen: Scene, ink: Ink) -> None:
    """A scale bar of a round length at the lower left, about a third of the picture wide."""
    across, up = item.plane.in_plane
    width_mm, height_mm = chosen.stage.size_mm(across), chosen.stage.size_mm(up)
    third = width_mm / 3.0
    power = 10.0 ** np.floor(np.log10(third))
    length = float(max(step * power for step in _ROUND_STEPS if step * power <= third * (1 + 1e-9)))
    left, _, bottom, _ = chosen.stage.extent(item.plane)
    x = left - 0.06 * width_mm
    y = bottom + 0.09 / item.height_in * height_mm
    axes.plot([x, x - length], [y, y], linewidth=1.4, **ink.haloed(2.6))
    above = y + 0.04 / item.height_in * height_mm
    axes.text(x, above, f"{number(length)} mm", fontsize=6, ha="left", va="bottom", **ink.haloed(1.6))
