"""Each lesion that a command outlined: three planes through its highest voxel, close up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import Regions
from imgtheranostics.report.figures import picture, planes, scene, theme
from imgtheranostics.report.figures.layout import GAP_IN, LABEL_IN, Placed
from imgtheranostics.report.figures.planes import AXIAL, CORONAL, SAGITTAL, Plane, Stage
from imgtheranostics.report.figures.scene import Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, unit_words, with_unit
from imgtheranostics.segmentation.outlines import lesion_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LESIONS = 6
_TALLEST_IN = 2.0
_HEADING_IN = 0.24
_BAR_IN = 1.75
_MARGIN = 0.5  # of the lesion's extent, on either side
_LEAST_VOXELS = 6.0
_FINEST_PIXELS = 160
_VIEWS = (AXIAL, CORONAL, SAGITTAL)


def keys(run: Run) -> tuple[str, ...]:
    """Quantities of the maps on which lesions were outlined."""
    if run.delineated is None or len(run.delineated) == 0:
        return ()
    return tuple(
        estimate.quantity
        for estimate in run.maps
        if not estimate.axes and estimate.grid.same_as(run.delineated.grid)
    )


def draw(run: Run, quantity: str) -> Drawing:
    """A row of pictures for each lesion, the largest first, each on the colour scale of its own maximum."""
    assert run.delineated is not None  # noqa: S101
    chosen = scene.scene_of(run, quantity)
    names = _largest(run.delineated)
    grey: Scale | None = None
    if chosen.anatomy is not None and chosen.anatomy_data is not None:
        grey = scene.anatomy_scale(chosen.anatomy_data, chosen.anatomy.quantity)
    rows = [_row(chosen, run.delineated, name) for name in names]
    heights = [_HEADING_IN + row.height_in + LABEL_IN + 2 * GAP_IN for row in rows]
    figure = theme.new_figure(sum(heights))
    label = with_unit(quantity, chosen.estimate.unit)
    top, height = 0.0, float(figure.get_size_inches()[1])
    for name, row, tall in zip(names, rows, heights, strict=True):
        heading = f"{shortened(name, 30)}: {_found(run.delineated, name, chosen)}"
        figure.text(0.0, 1.0 - (top + 0.15) / height, heading, fontsize=8, va="center")
        left = 0.0
        for view in row.views:
            stage = row.scene.stage
            wide = row.inch_per_mm * stage.size_mm(view.in_plane[0])
            tall_in = row.inch_per_mm * stage.size_mm(view.in_plane[1])
            _picture(figure, Placed(view, left, top + _HEADING_IN, wide, tall_in), row, grey or row.scale)
            left += wide + GAP_IN
        foot = height - top - _HEADING_IN - row.height_in
        picture.colour_bar(figure, row.scale, label, foot, left_in=left + 0.12, width_in=_BAR_IN - 0.4)
        top += tall
    return Drawing(figure, _caption(run.delineated, names, chosen), _alt(names, quantity))


class _Row:
    """The close-up of one lesion."""

    def __init__(
        self, close: Scene, focus_mm: npt.NDArray[np.float64], position: int | None, scale: Scale
    ) -> None:
        self.scene = close
        self.scale = scale
        self.position = position
        self.views = [Plane(normal, float(focus_mm[normal])) for normal in _VIEWS]
        stage = close.stage
        widths = sum(stage.size_mm(view.in_plane[0]) for view in self.views)
        tallest = max(stage.size_mm(view.in_plane[1]) for view in self.views)
        free = theme.WIDTH_IN - _BAR_IN - len(self.views) * GAP_IN
        self.inch_per_mm = min(free / widths, _TALLEST_IN / tallest)
        self.height_in = self.inch_per_mm * tallest


def _largest(lesions: Regions) -> list[str]:
    sizes = [voxels.size for voxels in lesions.voxel_lists()]
    order = sorted(range(len(sizes)), key=lambda n: -sizes[n])[:_MOST_LESIONS]
    return [list(lesions)[n] for n in order if sizes[n]]


def _row(chosen: Scene, lesions: Regions, name: str) -> _Row:
    grid = chosen.estimate.grid
    voxels = lesions.subset([name]).voxel_lists()[0]
    index = np.stack(np.unravel_index(voxels, grid.shape, order="F"), axis=-1)
    low, high = planes.voxel_box(grid, index.min(axis=0).astype(float), index.max(axis=0).astype(float))
    spacing = np.array(grid.spacing_mm)
    margin = np.maximum(_MARGIN * (high - low).max(), _LEAST_VOXELS * spacing.min())
    whole_low, whole_high = planes.voxel_box(grid, np.zeros(3), np.array(grid.shape) - 1.0)
    low, high = np.maximum(low - margin, whole_low), np.minimum(high + margin, whole_high)
    pixel = np.full(3, max(float(spacing.min()) / 2.0, float((high - low).max()) / _FINEST_PIXELS))
    values = chosen.data.reshape(-1, order="F")[voxels]
    focus = grid.world_mm(index[int(np.nanargmax(values))])
    # other lesions' outlines would hide this one's
    known = list(chosen.regions) if chosen.regions is not None else []
    return _Row(
        replace(chosen, stage=Stage(low, high, pixel)),
        focus,
        known.index(name) if name in known else None,
        _scale(chosen, float(np.nanmax(values))),
    )


def _scale(chosen: Scene, highest: float) -> Scale:
    """From zero to the highest voxel of a lesion: its edge is what is looked at."""
    high = scene.round_up(highest)
    beyond = "max" if float(np.nanmax(scene.thinned(chosen.data))) > high else "neither"
    return Scale(0.0, high, "gray_r" if chosen.anatomy is None else "inferno", beyond)


def _picture(figure: Figure, placed: Placed, row: _Row, grey: Scale) -> None:
    close, scale = row.scene, row.scale
    if close.anatomy is None:
        values, inside = planes.sample(close.data, close.estimate.value.affine, close.stage, placed.plane)
        pixels = scene.coloured(values, inside, scale)
    else:
        pixels = scene.over_anatomy(close, placed.plane, scale, grey)
    axes, ink = picture.place(figure, placed, pixels, close, marked=False)
    picture.outline(axes, close, placed, ink, only=row.position)
    if scene.has_place(close):
        picture.orientation(axes, placed, ink)
    if placed.left_in == 0.0:
        picture.ruler(axes, placed, close, ink)


def _found(lesions: Regions, name: str, chosen: Scene) -> str:
    record = lesion_record(lesions, name)
    unit = unit_words(chosen.estimate.unit, chosen.estimate.quantity)
    words = []
    if "volume_ml" in record:
        words.append(f"{number(record['volume_ml'], 3)} mL")
    if "threshold" in record:
        words.append(f"threshold {number(record['threshold'], 3)} {unit}".strip())
    if "maximum" in record:
        words.append(f"maximum {number(record['maximum'], 3)} {unit}".strip())
    if "background" in record:
        words.append(f"background {number(record['background'], 3)} {unit}".strip())
    return ", ".join(words) or "drawn"


def _caption(lesions: Regions, names: list[str], chosen: Scene) -> str:
    parts = ["Planes through the highest voxel of each lesion, each on its own colour scale"]
    if len(names) < len(lesions):
        parts.append(f"the {len(names)} largest of {len(lesions)} lesions")
    methods = [step.parameters.get("method") for step in lesions.history if "method" in step.parameters]
    if methods:
        parts.append(f"outlined by the method {methods[-1]}")
    if scene.has_place(chosen):
        parts.append("radiological convention: the left of a picture is the patient's right; head (S) up")
    return "; ".join(parts) + "."


def _alt(names: list[str], quantity: str) -> str:
    shown = ", ".join(shortened(name) for name in names)
    return (
        f"Axial, coronal and sagittal close-ups of {quantity_words(quantity)} with the outlines of {shown}."
    )
