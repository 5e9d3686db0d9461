"""Images as the optimiser takes them: finite, clipped, in RAS+ mm, in the plane where there is one slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch, NothingUsable
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_CLIPPED = (0.1, 99.9)
_PARALLEL = 0.9998  # cosine of 1.1 degrees


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane of a single slice: points are ``origin + basis (u, v) + w normal``.

    Attributes
    ----------
    origin : (3,) ndarray
        RAS+ mm.
    basis : (3, 2) ndarray
        Two orthonormal directions.
    """

    origin: FloatArray
    basis: FloatArray

    @classmethod
    def of(cls, affine: FloatArray) -> Plane:
        """The plane of the first slice of a grid."""
        first = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
        second = affine[:3, 1] - (affine[:3, 1] @ first) * first
        return cls(affine[:3, 3].copy(), np.stack([first, second / np.linalg.norm(second)], axis=1))

    @property
    def normal(self) -> FloatArray:
        """Unit vector across the plane."""
        return np.cross(self.basis[:, 0], self.basis[:, 1])

    def flattened(self, affine: FloatArray) -> FloatArray:
        """Index to (u, v) mm of a slice that lies in this plane, 3 by 3."""
        flat = np.eye(3)
        flat[:2, :2] = self.basis.T @ affine[:3, :2]
        flat[:2, 2] = self.basis.T @ (affine[:3, 3] - self.origin)
        return flat

    def lifted(self, matrix: FloatArray, offset_mm: float) -> FloatArray:
        """A 3 by 3 matrix of the plane as a 4 by 4 matrix of space; `offset_mm` goes along the normal."""
        space = np.eye(4)
        space[:3, :3] = self.basis @ matrix[:2, :2] @ self.basis.T + np.outer(self.normal, self.normal)
        moved = self.origin + self.basis @ matrix[:2, 2] + offset_mm * self.normal
        space[:3, 3] = moved - space[:3, :3] @ self.origin
        return space


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images ready for the optimiser, of two or three dimensions, in one system of coordinates.

    Attributes
    ----------
    fixed, moving : SimpleITK.Image
        float32, finite.
    fixed_mask, moving_mask : SimpleITK.Image or None
        1 where the image holds values that count.
    plane : Plane or None
        Where the two dimensions lie in space.
    normal_offset_mm : float
        How far the moving slice lies from the plane of the fixed one.
    """

    fixed: SimpleITK.Image
    moving: SimpleITK.Image
    fixed_mask: SimpleITK.Image | None
    moving_mask: SimpleITK.Image | None
    plane: Plane | None
    normal_offset_mm: float = 0.0

    def in_space(self, matrix: FloatArray) -> FloatArray:
        """A matrix of the pair's own coordinates as 4 by 4 in RAS+ mm."""
        if self.plane is None:
            return matrix
        return self.plane.lifted(matrix, self.normal_offset_mm)


def make_pair(fixed: Volume, moving: Volume, mask: BoolArray | None) -> Pair:
    """Prepare two volumes without axes beyond space.

    Raises
    ------
    GeometryMismatch
        If both are single slices that do not lie in one plane.
    NothingUsable
        If an image has no finite value, or one value only, inside its mask.
    """
    here, there = np.isfinite(fixed.data), np.isfinite(moving.data)
    inside = here if mask is None else here & mask
    if fixed.shape[2] > 1 or moving.shape[2] > 1:
        return Pair(
            to_image(finite(fixed, inside, "fixed"), fixed.affine),
            to_image(finite(moving, there, "moving"), moving.affine),
            None if inside.all() else to_image(inside.astype(np.uint8), fixed.affine),
            None if there.all() else to_image(there.astype(np.uint8), moving.affine),
            None,
        )
    plane = Plane.of(fixed.affine)
    offset = _offset(plane, fixed, moving)
    flat, other = plane.flattened(fixed.affine), plane.flattened(moving.affine)
    return Pair(
        to_image(finite(fixed, inside, "fixed")[..., 0], flat),
        to_image(finite(moving, there, "moving")[..., 0], other),
        None if inside.all() else to_image(inside[..., 0].astype(np.uint8), flat),
        None if there.all() else to_image(there[..., 0].astype(np.uint8), other),
        plane,
        offset,
    )


def _offset(plane: Plane, fixed: Volume, moving: Volume) -> float:
    """Distance between two parallel slices, refused where they do not show the same plane."""
    normal = plane.normal
    cosine = abs(float(Plane.of(moving.affine).normal @ normal))
    offset = float((moving.affine[:3, 3] - fixed.affine[:3, 3]) @ normal)
    thickness = 0.5 * (fixed.grid.spacing_mm[2] + moving.grid.spacing_mm[2])
    if cosine < _PARALLEL or abs(offset) > 0.5 * thickness:
        raise GeometryMismatch(
            "two single slices do not show the same plane, and nothing tells what lies between",
            found=f"{np.degrees(np.arccos(min(1.0, cosine))):.3g} degrees and {offset:.4g} mm apart",
            needed="parallel slices less than half a slice thickness apart",
            next_step="register stacks of slices",
        )
    return offset


def finite(volume: Volume, inside: BoolArray, what: str) -> npt.NDArray[np.float32]:
    """The voxels clipped to what counts, each NaN replaced by its nearest value.

    Clipping to the 0.1 and 99.9 percentiles keeps single hot voxels from emptying the histogram.
    """
    data = volume.data
    values = data[inside]
    low, high = np.percentile(values, _CLIPPED) if values.size else (np.nan, np.nan)
    if not high > low:
        low, high = (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)
    if not high > low:
        raise NothingUsable(
            f"the {what} image has no contrast to register",
            found=f"{values.size} finite voxels" + (f", all {values[0]:g}" if values.size else ""),
            needed="voxels of different values inside the mask",
        )
    filled = with_nearest(np.asarray(data, np.float32))
    return np.clip(filled, np.float32(low), np.float32(high))


def with_nearest(data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The array with every NaN or infinity replaced by the nearest finite value; zero if there is none."""
    bad = ~np.isfinite(data)
    if not bad.any():
        return data
    if bad.all():
        return np.zeros_like(data)
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    return np.asarray(data[tuple(nearest)])


def to_image(data: npt.NDArray[Any], affine: FloatArray) -> SimpleITK.Image:
    """A SimpleITK image of two or three dimensions whose coordinates are those of `affine`, not LPS."""
    import SimpleITK

    n = data.ndim
    image = SimpleITK.GetImageFromArray(data.T)
    spacing = np.linalg.norm(affine[:n, :n], axis=0)
    image.SetOrigin(affine[:n, n].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:n, :n] / spacing).ravel().tolist())
    return image
