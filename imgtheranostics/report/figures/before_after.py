"""A CT scan before the agent, after it, and what changed in colour over the first; or all follow-ups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import layout, picture, planes, scene, theme
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.planes import AXIAL, CORONAL, Plane
from imgtheranostics.report.figures.scene import Picture, Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, with_unit
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

_MOST_COLUMNS = 4
_GAP_IN, _HEAD_IN, _FOOT_IN, _LEGEND_ROW_IN = 0.12, 0.2, 0.52, 0.17
_TALLEST_IN = 2.5
_MARGIN, _LEAST_MARGIN_MM = 0.9, 12.0
_OPAQUE = 0.85
_SDS, _PALE = (1.5, 3.3), 0.15
_PERCENTILE = 99.0


@dataclass(frozen=True, eq=False)
class _Column:
    """What one column shows: a grey image, or a sample of the map over the scan before."""

    head: str
    grey: Volume
    colour: Array | None = None


def keys(run: Run) -> tuple[str, ...]:
    """Quantities whose map has the scan before the agent beside it."""
    return tuple(estimate.quantity for estimate in run.maps if "pre" in estimate.maps)


def draw(run: Run, quantity: str) -> Drawing:
    """One row per plane through the region with the most agent, one column per image."""
    chosen = scene.scene_of(run, quantity)
    estimate = chosen.estimate
    target = _target(chosen)
    chosen = replace(chosen, stage=_stage(chosen, target), anatomy=estimate.maps["pre"])
    columns = _columns(estimate)
    scale = _scale(chosen, target, columns)
    sd = _voxel_sd(estimate)
    rows, bottom = _placed(chosen, target, len(columns))
    legend_in = _LEGEND_ROW_IN if target is not None else 0.0
    figure = theme.new_figure(bottom + _FOOT_IN + legend_in)
    for row in rows:
        for item, column in zip(row, columns, strict=True):
            pixels = _pixels(column, chosen, item, scale, sd)
            axes, ink = picture.place(figure, item, pixels, chosen, marked=item is row[0])
            if target is not None:
                picture.outline(axes, chosen, item, ink, only=target)
            if item is rows[0][0]:
                picture.ruler(axes, item, chosen, ink)
    for item, column in zip(rows[0], columns, strict=True):
        top = 1.0 - 0.03 / figure.get_figheight()
        figure.text(item.left_in / theme.WIDTH_IN, top, column.head, fontsize=8, va="top", fontweight="bold")
    picture.colour_bar(figure, scale, with_unit(quantity, estimate.unit), legend_in)
    if target is not None and chosen.regions is not None:
        _legend(figure, list(chosen.regions)[target], theme.region_colour(target))
    return Drawing(figure, _caption(chosen, columns, target, sd), _alt(quantity, columns, scale))


def _target(chosen: Scene) -> int | None:
    """Position of the region with the highest mean; None without regions on this grid."""
    regions = chosen.regions
    if regions is None or not chosen.estimate.grid.same_as(regions.grid):
        return None
    flat = chosen.data.reshape(-1, order="F")
    means = []
    for voxels in regions.voxel_lists():
        values = flat[voxels][np.isfinite(flat[voxels])]
        means.append(float(values.mean()) if values.size else -np.inf)
    return int(np.argmax(means)) if means and np.isfinite(max(means)) else None


def _stage(chosen: Scene, target: int | None) -> planes.Stage:
    """The box around the region, with some of what surrounds it; all of the image without regions."""
    if target is None or chosen.regions is None:
        return chosen.stage
    grid = chosen.estimate.grid
    index = np.stack(
        np.unravel_index(chosen.regions.voxel_lists()[target], grid.shape, order="F"), axis=-1
    ).astype(np.float64)
    low, high = planes.voxel_box(grid, index.min(axis=0), index.max(axis=0))
    margin = np.maximum(_MARGIN * (high - low), _LEAST_MARGIN_MM)
    whole = planes.stage_for(grid, [])
    low, high = np.maximum(whole.low_mm, low - margin), np.minimum(whole.high_mm, high + margin)
    # edges stay on those of pixels, so that every voxel is drawn whole
    low = whole.high_mm - np.ceil((whole.high_mm - low) / whole.pixel_mm - 1e-6) * whole.pixel_mm
    high = whole.high_mm - np.floor((whole.high_mm - high) / whole.pixel_mm + 1e-6) * whole.pixel_mm
    return planes.Stage(low, high, whole.pixel_mm)


def _columns(estimate: Estimate) -> list[_Column]:
    """Before, after where there is such a scan, and the samples of the map."""
    before = estimate.maps["pre"]
    found = [_Column("Before", before)]
    if "post" in estimate.maps:
        found.append(_Column("After", estimate.maps["post"]))
    n_samples = estimate.value.planar.shape[0]
    shown = np.linspace(0, n_samples - 1, min(n_samples, _MOST_COLUMNS - len(found)))
    for index in dict.fromkeys(round(float(one)) for one in shown):
        head = scene.follow_up_words(estimate.value, index) or "Change over before"
        if not estimate.axes and estimate.quantity != "delta_attenuation":
            head = "Agent over before"
        found.append(_Column(head, before, scene.sample_of(estimate.value, index)))
    return found


def _scale(chosen: Scene, target: int | None, columns: list[_Column]) -> Scale:
    """One scale for all samples, that reaches as far as the region does."""
    values = [column.colour for column in columns if column.colour is not None]
    if target is not None and chosen.regions is not None:
        inside = chosen.regions.voxel_lists()[target]
        values = [one.reshape(-1, order="F")[inside] for one in values]
    flat = np.concatenate([scene.thinned(one) if one.ndim == 3 else one for one in values])
    flat = np.abs(flat[np.isfinite(flat)])
    reach = scene.round_up(float(np.percentile(flat, _PERCENTILE))) if flat.size else 1.0
    if chosen.estimate.quantity == "delta_attenuation":
        return Scale(-reach, reach, "RdBu_r", "both")
    return Scale(0.0, reach, "inferno", "max")


def _voxel_sd(estimate: Estimate) -> float:
    """Noise of one voxel in the unit of the map; NaN where it is not known."""
    error = scene.thinned(scene.sample_of(estimate.standard_error, 0))
    known = error[np.isfinite(error)]
    return float(np.percentile(known, 5.0)) if known.size else float("nan")


def _placed(chosen: Scene, target: int | None, n_columns: int) -> tuple[list[list[Placed]], float]:
    """An axial and, where there are enough slices, a coronal row through the target."""
    focus = chosen.focus_mm if target is None else _centre(chosen, target)
    normals = [AXIAL, CORONAL] if chosen.stack == AXIAL else [chosen.stack]
    if chosen.stage.centres(AXIAL).size < 8:
        normals = normals[:1]
    width = (theme.WIDTH_IN - (n_columns - 1) * _GAP_IN) / n_columns
    rows, top = [], _HEAD_IN
    for normal in normals:
        plane = Plane(normal, float(focus[normal]))
        across, up = plane.in_plane
        size = chosen.stage.size_mm(across), chosen.stage.size_mm(up)
        factor = min(width / size[0], _TALLEST_IN / size[1])
        tall = size[1] * factor
        rows.append(
            [Placed(plane, n * (width + _GAP_IN), top, size[0] * factor, tall) for n in range(n_columns)]
        )
        top += tall + layout.LABEL_IN + _GAP_IN / 2
    return rows, top


def _centre(chosen: Scene, target: int) -> npt.NDArray[np.float64]:
    assert chosen.regions is not None  # noqa: S101
    grid = chosen.estimate.grid
    voxels = chosen.regions.voxel_lists()[target]
    index = np.stack(np.unravel_index(voxels, grid.shape, order="F"), axis=-1)
    return np.asarray(grid.world_mm(np.round(index.mean(axis=0))))


def _pixels(column: _Column, chosen: Scene, item: Placed, scale: Scale, sd: float) -> Picture:
    """Grey in a window of soft tissue; colour from 1.5 to 3.3 standard deviations of the noise."""
    affine = chosen.estimate.value.affine
    below, inside = planes.sample(scene.sample_of(column.grey, 0), affine, chosen.stage, item.plane)
    base = scene.coloured(below, inside, scene.anatomy_scale(below, "attenuation"))
    if column.colour is None:
        return base
    values, inside = planes.sample(column.colour, affine, chosen.stage, item.plane)
    colour = scene.coloured(values, inside, scale).astype(np.float64)
    known = np.isfinite(np.asarray(values, np.float64))
    height = np.where(known & inside, values if scale.low == 0 else np.abs(values), 0.0)
    low, high = (one * sd for one in _SDS) if sd > 0 else (0.0, 0.1 * scale.high)
    ramps = np.minimum((height - low) / (high - low), height / (_PALE * scale.high))
    opacity = _OPAQUE * np.clip(ramps, 0.0, 1.0)
    return np.asarray(np.round(base + (colour - base) * opacity[..., np.newaxis]), np.uint8)


def _legend(figure: Figure, name: str, colour: str) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    y = 0.5 * _LEGEND_ROW_IN / height
    figure.add_artist(
        Line2D([0.0, 0.16 / width], [y, y], color=colour, linewidth=1.8, transform=figure.transFigure)
    )
    figure.text(0.22 / width, y, shortened(name, 40), fontsize=7.5, va="center")


def _caption(chosen: Scene, columns: list[_Column], target: int | None, sd: float) -> str:
    low, high = scene.anatomy_scale(chosen.data, "attenuation").low, scene.WINDOW_HU[1]
    parts = [f"Grey: attenuation from {number(low)} to {number(high)} HU"]
    if sd > 0:
        unit = chosen.estimate.unit.strip("[]")
        parts.append(
            f"colour fades in between 1.5 and 3.3 standard deviations of a voxel's noise ({number(sd, 2)} "
            f"{unit})"
        )
    if target is not None and chosen.regions is not None:
        parts.append(f"planes through the middle of {list(chosen.regions)[target]}, which holds the most")
    shown = sum(column.colour is not None for column in columns)
    total = chosen.estimate.value.planar.shape[0]
    if shown < total:
        parts.append(f"{shown} of {total} follow-ups")
    parts.append("radiological convention: the left of a picture is the patient's right")
    return "; ".join(parts) + "."


def _alt(quantity: str, columns: list[_Column], scale: Scale) -> str:
    heads = ", ".join(column.head.lower() for column in columns)
    return (
        f"CT side by side ({heads}); {quantity_words(quantity).lower()} in colour from "
        f"{number(scale.low)} to {number(scale.high)}."
    )
