"""How a subject lies differently at a later fraction: a known, smooth field that carries the agent along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.phantom.ct_scanner import Deformation

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_REACHES = 2.8
"""Standard deviations of the local part beyond which there is none (2 % of the middle)."""
_MARGIN = 12
"""Voxels around the window that interpolation by splines looks at; the field moves less than that."""


@dataclass(frozen=True, eq=False)
class Field:
    """Where the tissue that a later scan shows at a point lay in the first scan.

    ``source(x) = x - shift - v(x - shift)`` with
    ``v(y) = exp(-|y - c|^2 / (2 reach^2)) (bend + strain * (y - c))``, which falls to exactly nothing at
    2.8 reaches.

    Attributes
    ----------
    centre_mm, shift_mm, bend_mm : (3,) ndarray
    strain : (3,) ndarray
    reach_mm : float
    """

    centre_mm: FloatArray
    shift_mm: FloatArray
    bend_mm: FloatArray
    strain: FloatArray
    reach_mm: float

    @classmethod
    def at(cls, deformation: Deformation, centre_mm: FloatArray, step: float) -> Field:
        """The field of a fraction, `step` from 0 at the first to 1 at the last."""
        return cls(
            centre_mm,
            step * np.array(deformation.shift_mm),
            step * np.array(deformation.bend_mm),
            step * np.array(deformation.strain),
            deformation.reach_mm,
        )

    def source(self, points_mm: FloatArray) -> FloatArray:
        """Points of the first scan, (..., 3)."""
        moved = points_mm - self.shift_mm
        return np.asarray(moved - self._local(moved - self.centre_mm))

    def compression(self, points_mm: FloatArray) -> FloatArray:
        """Volume in the first scan over volume in the later one, the determinant of `source`, (...)."""
        offset = points_mm - self.shift_mm - self.centre_mm
        weight, slope = self._weight(offset)
        push = self.bend_mm + self.strain * offset
        jacobian = np.eye(3) - weight[..., np.newaxis, np.newaxis] * np.diag(self.strain)
        jacobian = jacobian - push[..., :, np.newaxis] * (slope[..., np.newaxis] * offset)[..., np.newaxis, :]
        return np.asarray(np.linalg.det(jacobian))

    def _local(self, offset: FloatArray) -> FloatArray:
        weight, _ = self._weight(offset)
        return np.asarray(weight[..., np.newaxis] * (self.bend_mm + self.strain * offset))

    def _weight(self, offset: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The Gaussian less its value at its end, and its slope over the distance from the middle."""
        squared = (offset**2).sum(axis=-1) / self.reach_mm**2
        floor = np.exp(-0.5 * _REACHES**2)
        inside = squared < _REACHES**2
        bell = np.where(inside, np.exp(-0.5 * squared), 0.0)
        weight = np.where(inside, (bell - floor) / (1 - floor), 0.0)
        return weight, -bell / (1 - floor) / self.reach_mm**2


def carried(image: Float32Array, grid: Grid, field: Field, *, mass: bool) -> Float32Array:
    """An image of the first scan as a later one shows it, within the reach of the local part.

    Parameters
    ----------
    image : (i, j, k) array
        Already moved by the shift where ``mass`` is False: only the local part is applied.
    mass : bool
        The image is a concentration that lies within the reach: the whole field is applied, and the sum
        over all voxels stays exactly as it was.
    """
    from scipy.ndimage import map_coordinates

    window = _box(grid, field)
    near = tuple(slice(max(part.start - _MARGIN, 0), part.stop + _MARGIN) for part in window)
    axes = [np.arange(part.start, part.stop) for part in window]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float64)
    points = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    source = field.source(points) + (0.0 if mass else field.shift_mm)
    inverse = np.linalg.inv(grid.affine)
    first = np.array([part.start for part in near])
    coordinates = np.moveaxis(source @ inverse[:3, :3].T + inverse[:3, 3] - first, -1, 0)
    found = map_coordinates(image[near], coordinates, order=3, mode="nearest", output=np.float64)
    if not mass:
        out = image.copy(order="F")
        out[window] = found
        return out
    out = np.zeros(grid.shape, np.float32, order="F")
    moved = np.maximum(found, 0.0) * field.compression(points)
    total = float(image.sum(dtype=np.float64))
    out[window] = moved * (total / moved.sum() if total > 0 else 0.0)
    return out


def _box(grid: Grid, field: Field) -> tuple[slice, slice, slice]:
    inverse = np.linalg.inv(grid.affine)
    middle = inverse[:3, :3] @ (field.centre_mm + field.shift_mm) + inverse[:3, 3]
    reach = _REACHES * field.reach_mm / np.array(grid.spacing_mm)
    low = np.clip(np.floor(middle - reach), 0, None).astype(int)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, grid.shape)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
