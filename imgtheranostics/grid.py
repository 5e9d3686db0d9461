"""Grid: where voxels lie in the patient, without the voxels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput
from imgtheranostics.pickling import reduced

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GridDifference:
    """What differs between two grids and by how much; true when nothing does."""

    differences: tuple[str, ...]
    largest_displacement_mm: float
    tolerance_mm: float

    def __bool__(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        if not self.differences:
            return f"same grid within {self.tolerance_mm:g} mm"
        return "; ".join(self.differences)


@dataclass(frozen=True, eq=False)
class Grid:
    """Geometry without voxels.

    Parameters
    ----------
    shape : tuple of 3 int
        Voxels along i, j, k.
    affine : (4, 4) array_like
        Voxel index to patient RAS+ position in mm, float64, any rotation or shear, non-singular.

    Raises
    ------
    CorruptInput
        If the shape is empty, or the affine is not finite, singular or not an affine.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise CorruptInput("a grid needs three extents of at least 1", found=str(shape))
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise CorruptInput("the affine is not a finite 4 by 4 matrix", found=str(affine.tolist()))
        if not np.array_equal(affine[3], [0.0, 0.0, 0.0, 1.0]):
            raise CorruptInput("the affine's last row is not 0 0 0 1", found=str(affine[3].tolist()))
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        scale = float(np.prod(lengths))
        if not (lengths > 0).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6 * scale:
            raise CorruptInput(
                "the affine is singular: voxels have no volume", found=str(affine[:3, :3].tolist())
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along i, j and k."""
        x, y, z = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel, from the determinant, so that shear is respected."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def world_mm(self, index: npt.ArrayLike) -> FloatArray:
        """RAS+ positions of voxel indices of shape (..., 3), in mm."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, world_mm: npt.ArrayLike) -> FloatArray:
        """Fractional voxel indices of RAS+ positions of shape (..., 3)."""
        offset = np.asarray(world_mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(offset @ np.linalg.inv(self.affine[:3, :3]).T)

    def corners_mm(self) -> FloatArray:
        """RAS+ centres of the eight corner voxels, (8, 3)."""
        last = np.array(self.shape) - 1
        corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) * last
        return self.world_mm(corners)

    def default_tolerance_mm(self) -> float:
        """2 % of the smallest spacing, at least 0.001 mm and at most 0.1 mm."""
        return float(np.clip(0.02 * min(self.spacing_mm), 1e-3, 0.1))

    def same_as(self, other: Grid, tolerance_mm: float | None = None) -> GridDifference:
        """Compare two grids and say what differs: shape, spacing, direction, origin, and by how much.

        Parameters
        ----------
        other : Grid
        tolerance_mm : float, optional
            Largest accepted displacement of any corner voxel; by default 2 % of the smallest spacing.

        Returns
        -------
        GridDifference
            True when the grids are the same.
        """
        limit = self.default_tolerance_mm() if tolerance_mm is None else tolerance_mm
        differences: list[str] = []
        if self.shape != other.shape:
            differences.append(f"shape {times(self.shape)} against {times(other.shape)}")
            displacement = float("nan")
        else:
            displacement = float(np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max())
        if self.shape != other.shape or displacement > limit:
            differences += self._affine_differences(other, limit)
            if len(differences) == 0:
                differences.append(f"corner voxels up to {displacement:.3g} mm apart")
        return GridDifference(tuple(differences), displacement, limit)

    def _affine_differences(self, other: Grid, limit: float) -> list[str]:
        found: list[str] = []
        here, there = np.array(self.spacing_mm), np.array(other.spacing_mm)
        extent = np.array(self.shape)
        if (np.abs(here - there) * extent > limit).any():
            found.append(f"spacing {_mm(here)} against {_mm(there)} mm")
        cosines = np.sum((self.affine[:3, :3] / here) * (other.affine[:3, :3] / there), axis=0)
        angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
        if (np.radians(angles) * here * extent > limit).any():
            found.append(f"direction by {_mm(angles)} degrees along i, j, k")
        shift = other.affine[:3, 3] - self.affine[:3, 3]
        if np.linalg.norm(shift) > limit:
            found.append(f"origin by {np.linalg.norm(shift):.4g} mm ({_mm(shift)})")
        return found

    def axis_match(self, other: Grid, tolerance_mm: float | None = None) -> AxisMatch | None:
        """The permutation and flips of `other`'s axes that give this grid exactly, or None.

        Two files of one scan often differ only in the order and sign of their voxel axes; bringing
        one onto the other then needs no interpolation.
        """
        directions = np.linalg.inv(self.affine[:3, :3]) @ other.affine[:3, :3]
        order = np.argmax(np.abs(directions), axis=1)
        if sorted(order.tolist()) != [0, 1, 2]:
            return None
        flips = tuple(bool(directions[axis, order[axis]] < 0) for axis in range(3))
        match = AxisMatch((int(order[0]), int(order[1]), int(order[2])), flips)
        return match if self.same_as(match.apply_to_grid(other), tolerance_mm) else None


@dataclass(frozen=True, slots=True)
class AxisMatch:
    """A lossless reordering of voxel axes: output axis n is input axis ``order[n]``, flipped or not."""

    order: tuple[int, int, int]
    flips: tuple[bool, ...]

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.order == (0, 1, 2) and not any(self.flips)

    def apply_to_grid(self, grid: Grid) -> Grid:
        """The grid with its axes reordered; every voxel keeps its place in the patient."""
        affine = grid.affine.copy()
        shape = [grid.shape[axis] for axis in self.order]
        affine[:3, :3] = grid.affine[:3, :3][:, list(self.order)]
        for axis, flip in enumerate(self.flips):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
                affine[:3, axis] *= -1.0
        return Grid((shape[0], shape[1], shape[2]), affine)

    def apply_to_array(self, data: Array) -> Array:
        """The array with its first three axes reordered (a view)."""
        moved = data.transpose(*self.order, *range(3, data.ndim))
        return moved[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]


def times(shape: Iterable[int]) -> str:
    """A shape in words, such as ``128 x 128 x 47``."""
    return " x ".join(str(int(n)) for n in shape)


def _mm(values: Iterable[float]) -> str:
    return ", ".join(f"{float(v):.4g}" for v in values)
