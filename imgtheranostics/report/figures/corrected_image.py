"""An image before and after it was corrected, side by side at one scale, with a profile through both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import layout, picture, planes, scene, theme
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.planes import AXIAL, CORONAL, Plane
from imgtheranostics.report.figures.scene import Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, unit_words, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

PART = "uncorrected"
"""Name of the further map that holds the image before."""

_GAP_IN, _HEAD_IN, _FOOT_IN, _PROFILE_IN = 0.14, 0.2, 0.52, 1.45
_TALLEST_IN = 3.2
_MARK = "#d9772b"
_BEFORE, _AFTER = theme.MUTED, "#3f86c4"


def keys(run: Run) -> tuple[str, ...]:
    """Quantities whose map has the image before beside it."""
    return tuple(one.quantity for one in run.maps if PART in one.maps)


def draw(run: Run, quantity: str) -> Drawing:
    """A plane through the region with the highest mean: before, after, and the profile along its marks."""
    chosen = _centred(scene.scene_of(run, quantity))
    estimate = chosen.estimate
    before = scene.sample_of(estimate.maps[PART], chosen.sample_index)
    scale = _scale(scene.scale_of(chosen))
    items, bottom = _placed(chosen)
    figure = theme.new_figure(bottom + _FOOT_IN + _PROFILE_IN + 0.35)
    lines = []
    for item, data, head in zip(items, (before, chosen.data), ("Before", "After"), strict=True):
        values, inside = planes.sample(data, estimate.value.affine, chosen.stage, item.plane)
        axes, ink = picture.place(
            figure, item, scene.coloured(values, inside, scale), chosen, marked=head == "Before"
        )
        picture.outline(axes, chosen, item, ink)
        if head == "Before":
            picture.ruler(axes, item, chosen, ink)
        row = _row(chosen, item, values)
        _marks(axes, item, values, row)
        lines.append(np.where(inside[row], np.asarray(values, np.float64)[row], np.nan))
        top = 1.0 - 0.03 / figure.get_figheight()
        figure.text(item.left_in / theme.WIDTH_IN, top, head, fontsize=8, va="top", fontweight="bold")
    unit = with_unit(quantity, estimate.unit)
    picture.colour_bar(figure, scale, unit, _PROFILE_IN + 0.35)
    _profile(figure, lines, items[0], chosen, unit_words(estimate.unit, quantity))
    return Drawing(figure, _caption(chosen), _alt(quantity, scale, lines))


def _centred(chosen: Scene) -> Scene:
    """The scene with its planes through the middle of the region with the highest mean, if there is one."""
    regions = chosen.regions
    grid = chosen.estimate.grid
    if regions is None or not grid.same_as(regions.grid):
        return chosen
    flat = chosen.data.reshape(-1, order="F")
    lists = regions.voxel_lists()
    means = [float(np.nanmean(flat[one])) if np.isfinite(flat[one]).any() else -np.inf for one in lists]
    if not means or not np.isfinite(max(means)):
        return chosen
    voxels = lists[int(np.argmax(means))]
    index = np.stack(np.unravel_index(voxels, grid.shape, order="F"), axis=-1)
    middle = np.round(index.mean(axis=0))
    return replace(chosen, focus_mm=np.asarray(grid.world_mm(middle), np.float64))


def _scale(scale: Scale) -> Scale:
    return replace(scale, beyond="both" if scale.low > 0 else "max")


def _placed(chosen: Scene) -> tuple[list[Placed], float]:
    """Two pictures of one plane."""
    normal = chosen.stack if chosen.stage.centres(AXIAL).size < 8 else AXIAL
    if normal == AXIAL and chosen.stage.size_mm(AXIAL) > 2.5 * max(
        chosen.stage.size_mm(one) for one in Plane(AXIAL, 0.0).in_plane
    ):
        normal = CORONAL
    plane = Plane(normal, float(chosen.focus_mm[normal]))
    across, up = plane.in_plane
    width = (theme.WIDTH_IN - _GAP_IN) / 2
    size = chosen.stage.size_mm(across), chosen.stage.size_mm(up)
    factor = min(width / size[0], _TALLEST_IN / size[1])
    wide, tall = size[0] * factor, size[1] * factor
    items = [Placed(plane, n * (wide + _GAP_IN), _HEAD_IN, wide, tall) for n in range(2)]
    return items, _HEAD_IN + tall + layout.LABEL_IN


def _row(chosen: Scene, item: Placed, values: Array) -> int:
    """Row of pixels through what the planes pass through."""
    _, up = item.plane.in_plane
    low, high = float(chosen.stage.low_mm[up]), float(chosen.stage.high_mm[up])
    share = (high - float(chosen.focus_mm[up])) / (high - low)
    return int(np.clip(share * values.shape[0], 0, values.shape[0] - 1))


def _marks(axes: Axes, item: Placed, values: Array, row: int) -> None:
    """Two short lines at the edges, at the height of the profile."""
    y = 1.0 - (row + 0.5) / values.shape[0]
    for start, end in ((0.0, 0.05), (0.95, 1.0)):
        axes.plot([start, end], [y, y], transform=axes.transAxes, color=_MARK, linewidth=1.2, clip_on=False)


def _profile(figure: Figure, lines: list[Array], item: Placed, chosen: Scene, unit: str) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.6 / width, 0.42 / height, (width - 0.75) / width, (_PROFILE_IN - 0.3) / height))
    across, _ = item.plane.in_plane
    count = lines[0].size
    place = (np.arange(count) + 0.5) / count * chosen.stage.size_mm(across)
    axes.step(place, lines[0], where="mid", color=_BEFORE, linewidth=1.2)
    axes.step(place, lines[1], where="mid", color=_AFTER, linewidth=1.3)
    axes.set_xlim(0, chosen.stage.size_mm(across))
    known = np.concatenate(lines)
    known = known[np.isfinite(known)]
    axes.set_ylim(bottom=min(0.0, float(known.min(initial=0.0))))
    axes.set_xlabel("Place along the orange marks [mm]")
    axes.set_title(unit, fontsize=7.5, loc="left", pad=3)
    axes.xaxis.set_major_formatter(lambda value, _place: number(value))
    axes.yaxis.set_major_formatter(lambda value, _place: number(value))
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    for x, text, colour in ((0.9, "before", _BEFORE), (1.0, "after", _AFTER)):
        axes.text(x, 1.02, text, transform=axes.transAxes, color=colour, fontsize=7.5, ha="right",
                  va="bottom", fontweight="bold")  # fmt: skip


def _caption(chosen: Scene) -> str:
    parts = ["Both pictures share one scale", "orange marks: height of the profile below"]
    where = "the middle of the region with the highest mean" if chosen.regions else "the highest value"
    parts.append(f"the plane passes through {where}")
    if chosen.sample_words:
        parts.append(f"shown at {chosen.sample_words}")
    if scene.has_place(chosen):
        parts.append("radiological convention: the left of a picture is the patient's right")
    return "; ".join(parts) + "."


def _alt(quantity: str, scale: Scale, lines: list[Array]) -> str:
    peaks = [float(np.nanmax(line)) for line in lines]
    return (
        f"{quantity_words(quantity)} before and after the correction, on a scale from {number(scale.low)} to "
        f"{number(scale.high)}; the profile peaks at {number(peaks[0], 3)} before and {number(peaks[1], 3)} "
        "after."
    )
