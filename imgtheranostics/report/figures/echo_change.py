"""A contrast cine before the agent, after it, and the enhancement in colour over the first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import layout, picture, planes, scene, theme
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.planes import Plane
from imgtheranostics.report.figures.scene import Picture, Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, with_unit
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

QUANTITY = "echo_enhancement"
_HEADS = ("Before", "After", "Enhancement over before")
_GAP_IN, _HEAD_IN, _FOOT_IN, _LEGEND_ROW_IN = 0.12, 0.2, 0.52, 0.17
_TALLEST_IN = 3.2
_OPAQUE, _PALE = 0.85, 0.25
_PERCENTILE = 99.0
_GREY_PERCENTILES = (2.0, 99.8)
_LEGEND_COLUMNS = 4


@dataclass(frozen=True, eq=False)
class _Panels:
    """Three pictures of one plane, and the scales they share."""

    places: tuple[Placed, ...]
    grey: Scale
    colour: Scale
    bottom_in: float


def keys(run: Run) -> tuple[str, ...]:
    """The map of enhancement, when the levels before and after lie beside it."""
    return tuple(
        one.quantity for one in run.maps if one.quantity == QUANTITY and {"before", "after"} <= set(one.maps)
    )


def draw(run: Run, quantity: str) -> Drawing:
    """Levels in dB on one grey scale, and the enhancement fading in over the first of them."""
    chosen = scene.scene_of(run, quantity)
    chosen = replace(chosen, stage=planes.stage_for(chosen.estimate.grid, []))
    estimate = chosen.estimate
    panels = _panels(chosen)
    names = list(chosen.regions) if chosen.regions is not None else []
    legend_in = _LEGEND_ROW_IN * -(-len(names) // _LEGEND_COLUMNS)
    figure = theme.new_figure(panels.bottom_in + _FOOT_IN + legend_in)
    pictures = (
        _grey(estimate.maps["before"], chosen, panels),
        _grey(estimate.maps["after"], chosen, panels),
        _overlaid(estimate, chosen, panels),
    )
    for item, pixels, head in zip(panels.places, pictures, _HEADS, strict=True):
        axes, ink = picture.place(figure, item, pixels, chosen, marked=False)
        # ultrasound has no place in the patient that the name of a plane could refer to
        axes.texts[0].remove()
        picture.outline(axes, chosen, item, ink)
        if item is panels.places[0]:
            picture.ruler(axes, item, chosen, ink)
        top = 1.0 - 0.03 / figure.get_figheight()
        figure.text(item.left_in / theme.WIDTH_IN, top, head, fontsize=8, va="top", fontweight="bold")
    half = theme.WIDTH_IN / 2
    picture.colour_bar(figure, panels.grey, "Echo level [dB]", legend_in)
    picture.colour_bar(figure, panels.colour, with_unit(quantity, "dB"), legend_in, left_in=half + 0.08)
    _legend(figure, names)
    return Drawing(figure, _caption(chosen, panels), _alt(chosen, panels))


def _panels(chosen: Scene) -> _Panels:
    normal = chosen.stack
    plane = Plane(normal, float(chosen.focus_mm[normal]))
    across, up = plane.in_plane
    size = chosen.stage.size_mm(across), chosen.stage.size_mm(up)
    width = (theme.WIDTH_IN - 2 * _GAP_IN) / 3
    factor = min(width / size[0], _TALLEST_IN / size[1])
    places = tuple(
        Placed(plane, n * (width + _GAP_IN), _HEAD_IN, size[0] * factor, size[1] * factor) for n in range(3)
    )
    levels = np.concatenate([scene.thinned(chosen.estimate.maps[name].data) for name in ("before", "after")])
    levels = levels[np.isfinite(levels)]
    low, high = (float(v) for v in np.percentile(levels, _GREY_PERCENTILES)) if levels.size else (0.0, 1.0)
    grey = Scale(low, high if high > low else low + 1.0, "gray", "both")
    bottom = _HEAD_IN + size[1] * factor + layout.LABEL_IN
    return _Panels(places, grey, _colour_scale(chosen), bottom)


def _colour_scale(chosen: Scene) -> Scale:
    """As far as nearly all pixels of the region with the strongest change reach."""
    parts = [chosen.data]
    if chosen.regions is not None and chosen.estimate.grid.same_as(chosen.regions.grid):
        flat = chosen.data.reshape(-1, order="F")
        parts = [flat[voxels] for voxels in chosen.regions.voxel_lists()]
    reaches = [
        float(np.percentile(np.abs(part[np.isfinite(part)]), _PERCENTILE))
        for part in parts
        if np.isfinite(part).any()
    ]
    reach = scene.round_up(max(reaches, default=1.0) or 1.0)
    return Scale(-reach, reach, "RdBu_r", "both")


def _grey(level: Volume, chosen: Scene, panels: _Panels) -> Picture:
    pixels, inside = planes.sample(level.data, level.affine, chosen.stage, panels.places[0].plane)
    return scene.coloured(pixels, inside, panels.grey)


def _overlaid(estimate: Estimate, chosen: Scene, panels: _Panels) -> Picture:
    """Colour fades in up to a quarter of the scale; where there is no value, grey shows."""
    base = _grey(estimate.maps["before"], chosen, panels).astype(np.float64)
    values, inside = planes.sample(chosen.data, estimate.value.affine, chosen.stage, panels.places[0].plane)
    colour = scene.coloured(values, inside, panels.colour).astype(np.float64)
    height = np.where(np.isfinite(values) & inside, np.abs(values), 0.0)
    opacity = _OPAQUE * np.clip(height / (_PALE * panels.colour.high), 0.0, 1.0)
    return np.asarray(np.round(base + (colour - base) * opacity[..., np.newaxis]), np.uint8)


def _legend(figure: Figure, names: list[str]) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    rows = -(-len(names) // _LEGEND_COLUMNS)
    step = theme.WIDTH_IN / _LEGEND_COLUMNS
    for n, name in enumerate(names):
        x = (n % _LEGEND_COLUMNS) * step / width
        y = (rows - n // _LEGEND_COLUMNS - 0.5) * _LEGEND_ROW_IN / height
        figure.add_artist(
            Line2D(
                [x, x + 0.16 / width],
                [y, y],
                color=theme.region_colour(n),
                linewidth=1.8,
                transform=figure.transFigure,
            )
        )
        figure.text(x + 0.22 / width, y, shortened(name, 18), fontsize=7.5, va="center")


def _caption(chosen: Scene, panels: _Panels) -> str:
    cells = chosen.estimate.decisions.get("window", {})
    pixels = int(cells.get("pixels", 1)) if isinstance(cells, dict) else 1
    of_what = f"means over {pixels} x {pixels} pixels" if pixels > 1 else "single pixels"
    return (
        "Mean linear echo power of the frames before the agent and of those compared with them, shown in dB, "
        f"of arbitrary reference; enhancement of {of_what}, which fades in up to "
        f"{number(_PALE * panels.colour.high)} dB; as on the scanner's screen; {scene.voxel_words(chosen)}."
    )


def _alt(chosen: Scene, panels: _Panels) -> str:
    heads = ", ".join(head.lower() for head in _HEADS)
    return (
        f"Contrast ultrasound side by side ({heads}); {quantity_words(chosen.estimate.quantity).lower()} in "
        f"colour from {number(panels.colour.low)} to {number(panels.colour.high)} dB."
    )
