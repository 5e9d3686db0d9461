"""Planes through the patient: sampling any grid on pictures that are aligned with the body.

Pictures are sampled in world coordinates (RAS+ mm), so oblique, sheared and flipped affines need no cases
of their own. The convention is radiological: the patient's right is on the left of axial and coronal
pictures, anterior on the left of sagittal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

SAGITTAL, CORONAL, AXIAL = 0, 1, 2
PLANE_NAMES = ("sagittal", "coronal", "axial")
AXIS_WORDS = ("x", "y", "z")
_IN_PLANE = {AXIAL: (0, 1), CORONAL: (0, 2), SAGITTAL: (1, 2)}
_LETTERS = {AXIAL: ("R", "L", "A", "P"), CORONAL: ("R", "L", "S", "I"), SAGITTAL: ("A", "P", "S", "I")}
_LARGEST_PICTURE = 180
_LARGEST_SCAN = 500_000
_TIE = 1e-4


@dataclass(frozen=True, slots=True)
class Plane:
    """A picture plane: perpendicular to world axis `normal`, at `position_mm` along it."""

    normal: int
    position_mm: float

    @property
    def in_plane(self) -> tuple[int, int]:
        """World axes that run from right to left and from bottom to top of the picture."""
        return _IN_PLANE[self.normal]

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Orientation at the left, right, top and bottom edge."""
        return _LETTERS[self.normal]


@dataclass(frozen=True, eq=False)
class Stage:
    """The world box that pictures show and the size of their pixels along x, y and z, in mm."""

    low_mm: FloatArray
    high_mm: FloatArray
    pixel_mm: FloatArray

    def centres(self, axis: int) -> FloatArray:
        """Pixel centres along a world axis, from high to low, as pictures show them."""
        extent = self.high_mm[axis] - self.low_mm[axis]
        count = max(1, math.ceil(extent / self.pixel_mm[axis] - 1e-6))
        return np.asarray(self.high_mm[axis] - (np.arange(count) + 0.5) * self.pixel_mm[axis])

    def size_mm(self, axis: int) -> float:
        """Extent of the pictures along a world axis."""
        return float(self.centres(axis).size * self.pixel_mm[axis])

    def extent(self, plane: Plane) -> tuple[float, float, float, float]:
        """World coordinates of the left, right, bottom and top edges of a picture."""
        across, up = plane.in_plane
        return (
            float(self.high_mm[across]),
            float(self.high_mm[across] - self.size_mm(across)),
            float(self.high_mm[up] - self.size_mm(up)),
            float(self.high_mm[up]),
        )


def sample(
    data: Array, affine: FloatArray, stage: Stage, plane: Plane
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The nearest voxel at each pixel of a picture, and whether the pixel lies on the grid.

    Parameters
    ----------
    data : (i, j, k, ...) ndarray
    affine : (4, 4) ndarray
        Voxel index to RAS+ mm.

    Returns
    -------
    picture : (rows, columns, ...) ndarray
        Off the grid, the value of some voxel: use `inside`.
    inside : (rows, columns) ndarray of bool
    """
    across, up = plane.in_plane
    inverse = np.linalg.inv(affine)
    offset = inverse[:3, 3] + inverse[:3, plane.normal] * plane.position_mm
    columns = inverse[:3, across, np.newaxis] * stage.centres(across)
    rows = inverse[:3, up, np.newaxis] * stage.centres(up)
    inside = np.ones((rows.shape[1], columns.shape[1]), bool)
    nearest = []
    for axis in range(3):
        index = np.floor(offset[axis] + rows[axis][:, np.newaxis] + columns[axis] + 0.5 + _TIE).astype(
            np.int64
        )
        inside &= (index >= 0) & (index < data.shape[axis])
        nearest.append(np.clip(index, 0, data.shape[axis] - 1))
    return data[nearest[0], nearest[1], nearest[2]], inside


def stage_for(grid: Grid, boxes: list[tuple[FloatArray, FloatArray]], finest: Grid | None = None) -> Stage:
    """A stage that shows the union of `boxes` as far as the grid reaches, with a margin.

    Pixels follow the voxels of an axis-aligned grid exactly, or every n-th of them where it is large;
    a finer grid `finest` makes them smaller.
    """
    low, high = voxel_box(grid, np.zeros(3), np.array(grid.shape) - 1.0)
    if boxes:
        inner_low = np.min([box[0] for box in boxes], axis=0)
        inner_high = np.max([box[1] for box in boxes], axis=0)
    else:
        inner_low, inner_high = low, high
    pixel = _aligned_spacing(grid)
    margin = np.maximum(np.ceil(0.04 * (inner_high - inner_low) / pixel), 1.0) * pixel
    low, high = np.maximum(low, inner_low - margin), np.minimum(high, inner_high + margin)
    if finest is not None:
        pixel = pixel / np.maximum(np.ceil(pixel / _aligned_spacing(finest) - 1e-6), 1.0)
    pixels = (high - low) / pixel
    return Stage(low, high, pixel * np.maximum(np.ceil(pixels / _LARGEST_PICTURE - 1e-6), 1.0))


def voxel_box(grid: Grid, first: FloatArray, last: FloatArray) -> tuple[FloatArray, FloatArray]:
    """World box around the voxels from index `first` to `last`, edges included."""
    ends = np.stack([first - 0.5, last + 0.5])
    corners = np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    world = grid.world_mm(corners)
    return world.min(axis=0), world.max(axis=0)


def box_of(
    data: Array, grid: Grid, threshold: float, *, absolute: bool = False
) -> tuple[FloatArray, FloatArray] | None:
    """World box around the voxels above a threshold, found on every n-th voxel; None where there is none."""
    step = thinning(data)
    view = data[::step, ::step, ::step]
    above = (np.abs(view) if absolute else view) > threshold
    if not above.any():
        return None
    first, last = np.zeros(3), np.zeros(3)
    for axis in range(3):
        hit = np.flatnonzero(above.any(axis=tuple(other for other in range(3) if other != axis)))
        first[axis], last[axis] = hit[0] * step, min(hit[-1] * step + step - 1, data.shape[axis] - 1)
    return voxel_box(grid, first, last)


def thinning(data: Array) -> int:
    """Step along i, j and k that leaves a number of voxels that is quick to look through."""
    voxels = math.prod(data.shape[:3])
    return max(1, math.ceil(math.cbrt(voxels / _LARGEST_SCAN)))


def contours(regions: Regions, stage: Stage, plane: Plane) -> list[tuple[int, list[npt.NDArray[np.float64]]]]:
    """Outlines in world mm of each region that the plane meets, with the region's position in the list.

    Small regions come last, so that the outline of one inside another is drawn over it.
    """
    import contourpy

    labels, inside = sample(regions.labels, regions.grid.affine, stage, plane)
    labels = np.where(inside[..., np.newaxis], labels, 0)
    across, up = plane.in_plane
    x, y = (_padded(stage.centres(axis), stage.pixel_mm[axis]) for axis in (across, up))
    found: list[tuple[float, int, list[npt.NDArray[np.float64]]]] = []
    present = set(np.unique(labels).tolist())
    for position, number in enumerate(regions.names):
        if number in present:
            mask = np.pad((labels == number).any(axis=-1).astype(np.float64), 1)
            lines = contourpy.contour_generator(x, y, mask).lines(0.5)
            found.append((-mask.sum(), position, [np.asarray(line, np.float64) for line in lines]))
    return [(position, lines) for _, position, lines in sorted(found, key=lambda one: one[:2])]


def _padded(centres: FloatArray, step: float) -> FloatArray:
    return np.concatenate([[centres[0] + step], centres, [centres[-1] - step]])


def _aligned_spacing(grid: Grid) -> FloatArray:
    """Spacing along world x, y and z: the voxel axis that lies along it, else the smallest spacing."""
    spacing = np.array(grid.spacing_mm)
    directions = np.abs(grid.affine[:3, :3] / spacing)
    aligned = directions > 0.9999
    smallest = float(spacing.min())
    return np.array([spacing[row.argmax()] if row.any() else smallest for row in aligned])
