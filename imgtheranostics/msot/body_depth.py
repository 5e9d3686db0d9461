"""How deep each voxel lies below the surface on which light falls, from a mask of the body."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, NothingUsable, UnsupportedInput
from imgtheranostics.grid import Grid
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume, make_step

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SIDES = {
    "right": (0, 1),
    "left": (0, -1),
    "anterior": (1, 1),
    "posterior": (1, -1),
    "superior": (2, 1),
    "inferior": (2, -1),
}
"""Axis and direction, in patient coordinates, of the side on which light falls."""

ILLUMINATIONS = ("around", "surface", *SIDES)

_ALONG = 0.9


def depth_from_mask(mask: Volume | Regions, *, illumination: str = "around") -> Volume:
    """Depth of each voxel's middle below the lit surface of the body.

    Parameters
    ----------
    mask : Volume or Regions
        The body: every voxel that is neither 0 nor NaN, or lies in any region.
    illumination : {"around", "surface", "right", "left", "anterior", "posterior", "superior", "inferior"}
        ``around``: a ring of light in the plane of each slice (the first two voxel axes), so that the depth
        is the distance to the nearest point of the outline. ``surface``: light from everywhere. A side of the
        patient: a broad beam from there, and the way through the body along that axis.

    Returns
    -------
    Volume
        ``depth`` in mm; NaN outside of the body. The border of the image counts as a surface for ``around``
        and ``surface``.

    Raises
    ------
    NothingUsable
        If the mask is empty.
    UnsupportedInput
        If no voxel axis runs along the side that was named.
    UnknownChoice
        If there is no such illumination.
    """
    checked(illumination, ILLUMINATIONS, "illumination")
    inside, grid = body_of(mask)
    if illumination in SIDES:
        depth = _beam_depth(inside, grid, illumination)
    else:
        depth = _nearest_surface(inside, grid, in_plane=illumination == "around")
    depth[~inside] = np.nan
    step = make_step("depth_from_mask", illumination=illumination)
    volume = Volume(depth, grid.affine, "depth", "mm", history=(*mask.history, step))
    cautions = [] if illumination in SIDES else _cut_off(inside, illumination == "around")
    return volume.with_warnings(*cautions)


def body_of(mask: Volume | Regions) -> tuple[BoolArray, Grid]:
    """The voxels of a mask, and its grid.

    Raises
    ------
    NothingUsable
        If it is empty.
    UnsupportedInput
        If it has axes beyond space.
    """
    if isinstance(mask, Regions):
        inside, grid = mask.union(), mask.grid
    else:
        if mask.axes:
            raise UnsupportedInput(
                "the mask of the body has axes beyond space",
                found=", ".join(axis.name for axis in mask.axes),
                needed="one value per voxel",
            )
        inside, grid = np.asarray((mask.data != 0) & (mask.data == mask.data)), mask.grid
    if not inside.any():
        raise NothingUsable("the mask of the body is empty", next_step="draw the body, or give another mask")
    return inside, grid


def side_axis(grid: Grid, side: str) -> tuple[int, bool]:
    """Voxel axis along which light falls from a side, and whether its first voxels are lit first.

    Raises
    ------
    UnsupportedInput
        If no voxel axis runs that way within 25 degrees.
    """
    world, sign = SIDES[side]
    directions = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    axis = int(np.abs(directions[world]).argmax())
    along = float(directions[world, axis])
    if abs(along) < _ALONG:
        raise UnsupportedInput(
            f"no axis of the image runs towards {side}",
            found=f"the nearest has a cosine of {abs(along):.2f}",
            needed=f"at least {_ALONG:g}",
            next_step="resample the image to upright axes, or take illumination='surface'",
        )
    return axis, along * sign < 0


def _beam_depth(inside: BoolArray, grid: Grid, side: str) -> FloatArray:
    """Way through the body from the lit side to the middle of each voxel."""
    axis, first_is_lit = side_axis(grid, side)
    ordered = inside if first_is_lit else np.flip(inside, axis)
    passed = np.cumsum(ordered, axis=axis, dtype=np.float64) - 0.5
    return np.asarray((passed if first_is_lit else np.flip(passed, axis)) * grid.spacing_mm[axis])


def _nearest_surface(inside: BoolArray, grid: Grid, *, in_plane: bool) -> FloatArray:
    """Distance to the face of the nearest voxel outside."""
    spacing = np.array(grid.spacing_mm)
    if not in_plane:
        return _distance(inside, spacing)
    depth = np.zeros(inside.shape, np.float64)
    for k in range(inside.shape[2]):
        depth[:, :, k] = _distance(inside[:, :, k], spacing[:2])
    return depth


def _distance(inside: BoolArray, spacing: FloatArray) -> FloatArray:
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(inside, 1)
    place: Any = distance_transform_edt(
        padded, sampling=spacing.tolist(), return_distances=False, return_indices=True
    )
    own = np.indices(padded.shape)
    # A voxel's face lies half a voxel before its middle, along the largest component of the way in voxels.
    steps = np.abs(place - own).astype(np.float64)
    length = np.sqrt(np.tensordot(spacing**2, steps**2, axes=1))
    most = steps.max(axis=0)
    depth = length * (1.0 - 0.5 / np.maximum(most, 1.0))
    return np.asarray(depth[(slice(1, -1),) * inside.ndim])


def _cut_off(inside: BoolArray, in_plane: bool) -> list[Caution]:
    """A caution where the body reaches the border of the image, which is then taken for its surface."""
    axes = (0, 1) if in_plane else (0, 1, 2)
    cut = [
        axis
        for axis in axes
        if inside.shape[axis] > 1 and (inside.take(0, axis).any() or inside.take(-1, axis).any())
    ]
    if not cut:
        return []
    words = "the body reaches the border of the image, which is taken for its surface: depths are too small"
    return [Caution("body-cut-off", words, "mask")]
