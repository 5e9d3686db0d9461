"""Planes of pixels in patient coordinates: their own grid, and their place in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, GeometryMismatch, MissingMetadata
from imgtheranostics.volume import Grid

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

ON_SLICE = 0.1
"""How far a plane may lie from a slice of the grid and still be that slice, in slices."""
REGULAR = 0.02
"""How far a plane may lie from the best regular grid, as a part of the spacing."""
REGULAR_MM = 0.01
"""The same for narrow spacings, in mm."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of pixels in space.

    Attributes
    ----------
    origin_mm : (3,) float64
        RAS+ position of the centre of the first pixel.
    column_mm, row_mm : (3,) float64
        Step from a pixel to the one in the next column, and in the next row.
    """

    origin_mm: FloatArray
    column_mm: FloatArray
    row_mm: FloatArray

    @property
    def normal(self) -> FloatArray:
        """Unit normal of the plane."""
        normal = np.cross(self.column_mm, self.row_mm)
        return np.asarray(normal / np.linalg.norm(normal))


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the pixels of a plane are among the voxels of a grid, without interpolation."""

    first: IndexArray
    column: IndexArray
    row: IndexArray
    grid: Grid

    @property
    def key(self) -> tuple[int, ...]:
        """The same for two planes that take the same voxels."""
        return tuple(self.first.tolist())

    def flat(self, rows: IndexArray, columns: IndexArray) -> tuple[IndexArray, int]:
        """Flat Fortran-order voxel indices of pixels, and how many pixels lie outside the grid."""
        index = self.first + columns[:, np.newaxis] * self.column + rows[:, np.newaxis] * self.row
        inside = ((index >= 0) & (index < np.array(self.grid.shape))).all(axis=1)
        strides = np.array([1, self.grid.shape[0], self.grid.shape[0] * self.grid.shape[1]], np.int64)
        return np.asarray(index[inside] @ strides), int(inside.size - inside.sum())


def place(plane: Plane, grid: Grid, n_rows: int, n_columns: int) -> Placement | None:
    """The voxels of `grid` that the pixels of `plane` are, or None when they are not voxels of it."""
    inverse = np.linalg.inv(grid.affine[:3, :3])
    exact = np.stack([grid.index(plane.origin_mm), inverse @ plane.column_mm, inverse @ plane.row_mm])
    if np.abs(exact).max() > 1e9:
        return None
    whole = np.rint(exact).astype(np.int64)
    steps = np.abs(whole[1:])
    if (steps.sum(axis=1) != 1).any() or (steps[0] == steps[1]).all():
        return None
    across = int((steps.sum(axis=0) == 0).argmax())
    limit = grid.default_tolerance_mm() / np.array(grid.spacing_mm)
    limit[across] = ON_SLICE
    error = exact - whole
    for column in (0, n_columns - 1):
        for row in (0, n_rows - 1):
            if (np.abs(error[0] + column * error[1] + row * error[2]) > limit).any():
                return None
    return Placement(whole[0], whole[1], whole[2], grid)


def grid_of(
    planes: Sequence[Plane], n_rows: int, n_columns: int, *, spacing_mm: float | None, where: str
) -> Grid:
    """The regular grid on which parallel planes lie; slices between them may be missing.

    Parameters
    ----------
    planes : sequence of Plane
    n_rows, n_columns : int
    spacing_mm : float or None
        Distance between neighbouring slices as the file declares it. It is used when all planes lie on
        such a grid, else the smallest distance between two of them is.
    where : str
        The file, for messages.

    Raises
    ------
    GeometryMismatch
        If the planes have several orientations or pixel sizes, are staggered, or unevenly spaced.
    MissingMetadata
        If there is one position only and no declared distance.
    """
    first = planes[0]
    for plane in planes:
        moved = max(
            float(np.linalg.norm(plane.column_mm - first.column_mm)) * n_columns,
            float(np.linalg.norm(plane.row_mm - first.row_mm)) * n_rows,
        )
        if moved > 0.1:
            raise GeometryMismatch("the frames have several orientations or pixel sizes", where=where)
    offsets = np.array([plane.origin_mm - first.origin_mm for plane in planes])
    heights = offsets @ first.normal
    lateral = offsets - heights[:, np.newaxis] * first.normal
    if np.linalg.norm(lateral, axis=1).max() > 0.1:
        raise GeometryMismatch(
            "the frames are not stacked along their normal",
            where=where,
            found=f"shifted sideways by up to {np.linalg.norm(lateral, axis=1).max():.3g} mm",
        )
    step, lowest = _spacing(heights, spacing_mm, where)
    count = int(np.rint((heights.max() - lowest) / step)) + 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = first.column_mm, first.row_mm, first.normal * step
    affine[:3, 3] = first.origin_mm + first.normal * lowest
    return Grid((n_columns, n_rows, count), affine)


def _spacing(heights: FloatArray, declared: float | None, where: str) -> tuple[float, float]:
    """Distance between slices and height of the lowest one."""
    if declared is not None and not declared > 0:
        raise CorruptInput(
            "the distance between slices is not above 0", where=where, found=f"{declared:g} mm"
        )
    ordered = np.sort(heights)
    gaps = np.diff(ordered)
    gaps = gaps[gaps > REGULAR_MM]
    if not gaps.size:
        if declared is None:
            raise MissingMetadata(
                "one frame position does not tell the thickness of a slice",
                where=where,
                needed="SpacingBetweenSlices (0018,0088) or SliceThickness (0018,0050)",
                next_step="give the image on which the regions were drawn",
            )
        return declared, float(ordered[0])
    for candidate in (declared, float(gaps.min())):
        if candidate is None:
            continue
        numbers = np.rint((ordered - ordered[0]) / candidate)
        if not numbers.any():
            continue
        step, lowest = np.polyfit(numbers, ordered, 1)
        error = float(np.abs(numbers * step + lowest - ordered).max())
        if error <= max(REGULAR * step, REGULAR_MM) and abs(step - candidate) <= REGULAR * candidate:
            return float(step), float(lowest)
    raise GeometryMismatch(
        "the frames are unevenly spaced",
        where=where,
        found=f"distances from {gaps.min():.4g} to {gaps.max():.4g} mm",
        needed=f"whole multiples of one distance within {100 * REGULAR:g} %",
    )
