"""Where the pictures of a mosaic stand on the page, in inches, all at one scale per group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.planes import AXIAL, CORONAL, SAGITTAL, Plane
from imgtheranostics.report.figures.scene import Scene

GAP_IN = 0.06
LABEL_IN = 0.16
_TALLEST_IN = 4.4
_TALLEST_FILLING = 5.4
_LONG_SHARE = 0.52
_SMALLEST_TILE_IN = 1.0
_TALLEST_ROW_IN = 3.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture with its place: left and top edge from the top left corner, width and height, in inches."""

    plane: Plane
    left_in: float
    top_in: float
    width_in: float
    height_in: float
    tile: int | None = None


def mosaic(scene: Scene) -> tuple[list[Placed], float]:
    """Long views where they are worth it, slices in a grid beside or below them; and the height needed."""
    if not scene.has_long_views:
        placed = grid_of(scene, scene.tiles, left_in=0.0, width_in=theme.WIDTH_IN, tallest_in=_TALLEST_IN)
        return placed, _bottom(placed)
    views = _long_views(scene, theme.WIDTH_IN * _LONG_SHARE, _TALLEST_IN - LABEL_IN)
    left = max(p.left_in + p.width_in for p in views) + 3 * GAP_IN
    beside = grid_of(
        scene, scene.tiles, left_in=left, width_in=theme.WIDTH_IN - left, tallest_in=_bottom(views)
    )
    if min(p.width_in for p in beside) >= _SMALLEST_TILE_IN:
        placed = _filling(views + beside)
        return placed, _bottom(placed)
    views = _long_views(scene, theme.WIDTH_IN, _TALLEST_ROW_IN)
    below = grid_of(
        scene,
        scene.tiles,
        left_in=0.0,
        width_in=theme.WIDTH_IN,
        tallest_in=_TALLEST_IN,
        top_in=_bottom(views) + GAP_IN,
    )
    return views + below, _bottom(below)


def _filling(placed: list[Placed]) -> list[Placed]:
    """The same arrangement, enlarged until it fills the width or becomes too tall."""
    right = max(p.left_in + p.width_in for p in placed)
    factor = max(1.0, min(theme.WIDTH_IN / right, _TALLEST_FILLING / (_bottom(placed) - LABEL_IN)))
    return [
        replace(
            p,
            left_in=p.left_in * factor,
            top_in=p.top_in * factor,
            width_in=p.width_in * factor,
            height_in=p.height_in * factor,
        )
        for p in placed
    ]


def grid_of(
    scene: Scene,
    tiles: Sequence[Plane],
    *,
    left_in: float,
    width_in: float,
    tallest_in: float,
    top_in: float = 0.0,
) -> list[Placed]:
    """Slices in the grid of rows and columns that shows them largest."""
    across, up = tiles[0].in_plane
    width_mm, height_mm = scene.stage.size_mm(across), scene.stage.size_mm(up)
    best = (0.0, 1)
    for columns in range(1, len(tiles) + 1):
        rows = math.ceil(len(tiles) / columns)
        scale = min(
            (width_in - (columns - 1) * GAP_IN) / columns / width_mm,
            ((tallest_in - (rows - 1) * GAP_IN) / rows - LABEL_IN) / height_mm,
        )
        best = max(best, (scale, columns))
    scale, columns = best
    width, height = scale * width_mm, scale * height_mm
    return [
        Placed(
            plane,
            left_in + (n % columns) * (width + GAP_IN),
            top_in + (n // columns) * (height + GAP_IN + LABEL_IN),
            width,
            height,
            n + 1,
        )
        for n, plane in enumerate(tiles)
    ]


def _long_views(scene: Scene, width_in: float, tallest_in: float) -> list[Placed]:
    """The two planes that hold the stack axis, side by side at one scale."""
    views = [normal for normal in (CORONAL, SAGITTAL, AXIAL) if normal != scene.stack]
    sizes = [tuple(scene.stage.size_mm(a) for a in Plane(normal, 0.0).in_plane) for normal in views]
    free = width_in - (len(views) - 1) * GAP_IN
    scale = min(free / sum(width for width, _ in sizes), tallest_in / max(height for _, height in sizes))
    placed, left = [], 0.0
    for normal, (width, height) in zip(views, sizes, strict=True):
        plane = Plane(normal, float(scene.focus_mm[normal]))
        placed.append(Placed(plane, left, 0.0, width * scale, height * scale))
        left += width * scale + GAP_IN
    return placed


def _bottom(placed: Sequence[Placed]) -> float:
    return max(p.top_in + p.height_in for p in placed) + LABEL_IN
