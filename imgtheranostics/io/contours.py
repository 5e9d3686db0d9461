"""Planar contours in patient coordinates become voxels of an image grid.

A voxel belongs to a region when its centre lies inside an odd number of the closed contours of its plane:
several contours, holes and keyholes need no further rule. A centre exactly on an outline belongs to the
region when the outline is the region's right, front or lower side (towards smaller LPS coordinates) and
not when it is the opposite one, whatever the order in which the grid stores its voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch
from imgtheranostics.kernels.polygon import fill_even_odd
from imgtheranostics.volume import Grid

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

FLATNESS_SLICES = 0.1
"""How far the points of one contour may lie from one plane, in slices."""
ON_SLICE = 0.1
"""How far a contour's plane may lie from an image slice and still be on it, in slices."""
SAME_PLANE = 0.05
"""How far apart contours may lie and still share a plane, in slices, when planes are not image slices."""


@dataclass(frozen=True)
class _Slicing:
    """How contours cut a grid: the axis across the planes, the two along them, and which of those turn."""

    across: int
    along: tuple[int, int]
    turned: tuple[bool, bool]
    grid: Grid

    @classmethod
    def of(cls, grid: Grid, across: int) -> _Slicing:
        directions = grid.affine[:3, :3] * np.array([[-1.0], [-1.0], [1.0]])
        patient_axis = np.abs(directions).argmax(axis=0)
        low, high = sorted((axis for axis in range(3) if axis != across), key=lambda axis: patient_axis[axis])
        turned = tuple(bool(directions[patient_axis[axis], axis] < 0) for axis in (low, high))
        return cls(across, (low, high), (turned[0], turned[1]), grid)

    @property
    def n_slices(self) -> int:
        return self.grid.shape[self.across]

    def in_plane(self, index: FloatArray) -> FloatArray:
        """(n, 2) positions in a slice, ascending towards larger LPS coordinates."""
        points = index[:, list(self.along)]
        for column, (axis, turned) in enumerate(zip(self.along, self.turned, strict=True)):
            if turned:
                points[:, column] = self.grid.shape[axis] - 1 - points[:, column]
        return points

    def flat(self, plane: npt.NDArray[np.uint8], low: IndexArray, number: int) -> IndexArray:
        """Flat Fortran-order voxel indices of what is set in a part of slice `number`, ascending.

        The part starts at the in-plane position `low`.
        """
        start = low.tolist()
        for column, (axis, turned) in enumerate(zip(self.along, self.turned, strict=True)):
            if turned:
                plane = np.flip(plane, column)
                start[column] = self.grid.shape[axis] - start[column] - plane.shape[column]
        axes = list(self.along)
        if axes[0] > axes[1]:
            plane, start, axes = plane.T, start[::-1], axes[::-1]
        strides = (1, self.grid.shape[0], self.grid.shape[0] * self.grid.shape[1])
        slow, fast = np.nonzero(plane.T)
        fast = (fast + start[0]) * strides[axes[0]]
        slow = (slow + start[1]) * strides[axes[1]]
        return np.asarray(fast + slow + number * strides[self.across])


@dataclass
class _Outlines:
    """The contours of one region in voxel units: position across the slices and points along them."""

    positions: FloatArray
    polygons: list[FloatArray]
    cautions: list[Caution] = field(default_factory=list)


def voxels_in_contours(
    contours: Mapping[str, Sequence[FloatArray]], grid: Grid, *, resample: bool = False, where: str = ""
) -> tuple[dict[str, IndexArray], tuple[Caution, ...]]:
    """Voxels whose centre lies inside the contours of each region.

    Parameters
    ----------
    contours : mapping of str to sequence of (n, 3) float64
        Closed planar contours of each region, RAS+ mm, without repetition of the first point.
    grid : Grid
        The image; its voxel axes may have any order and any rotation.
    resample : bool
        Accept contours that lie between image slices: a slice then takes the nearest plane of contours.
    where : str
        The file, for messages.

    Returns
    -------
    voxels : dict of str to (n,) int64
        Flat Fortran-order voxel indices, ascending.
    cautions : tuple of Caution

    Raises
    ------
    GeometryMismatch
        If contours are not parallel to image slices, lie between them without `resample`, or if none
        of them lies in the image.
    """
    slicing, indices = _slicing(contours, grid, where)
    voxels: dict[str, IndexArray] = {}
    cautions: list[Caution] = []
    total, beyond = 0, 0
    for name, parts in indices.items():
        outlines = _Outlines(
            np.array([float(part[:, slicing.across].mean()) for part in parts]),
            [slicing.in_plane(part) for part in parts],
        )
        outside = sum(_points_outside(part, grid) for part in parts)
        points = sum(len(part) for part in parts)
        total, beyond = total + points, beyond + outside
        found = _voxels(name, outlines, slicing, resample, where)
        voxels[name] = found
        if outside:
            share = f"{100 * outside / points:.3g} %"
            text = f"{share} of the contour points of region {name!r} lie outside the image"
            outlines.cautions.append(Caution("contours-outside-image", text, where))
        if parts and not found.size and outside < points:
            text = f"region {name!r} has contours but holds no voxel centre"
            outlines.cautions.append(Caution("region-below-voxel-size", text, where))
        cautions += outlines.cautions
    if total and beyond == total:
        raise GeometryMismatch(
            "all contours lie outside the image",
            where=where or None,
            next_step="give the image on which the regions were drawn",
        )
    return voxels, tuple(dict.fromkeys(cautions))


def _slicing(
    contours: Mapping[str, Sequence[FloatArray]], grid: Grid, where: str
) -> tuple[_Slicing, dict[str, list[FloatArray]]]:
    indices = {name: [grid.index(part) for part in parts] for name, parts in contours.items()}
    extents = [np.ptp(part, axis=0) for parts in indices.values() for part in parts]
    if not extents:
        return _Slicing.of(grid, 2), indices
    thickest = np.max(extents, axis=0)
    across = 2 if thickest[2] <= FLATNESS_SLICES else int(thickest.argmin())
    if thickest[across] > FLATNESS_SLICES:
        spread = thickest[across] * grid.spacing_mm[across]
        raise GeometryMismatch(
            "contours are not parallel to the slices of the image",
            where=where or None,
            found=f"one contour spans {spread:.4g} mm across the slices",
            needed=f"at most {FLATNESS_SLICES:g} slices",
            next_step="give the image on which they were drawn, or export a mask of this image",
        )
    return _Slicing.of(grid, across), indices


def _points_outside(index: FloatArray, grid: Grid) -> int:
    extent = np.array(grid.shape) - 0.5
    return int(((index < -0.5) | (index > extent)).any(axis=1).sum())


def _voxels(name: str, outlines: _Outlines, slicing: _Slicing, resample: bool, where: str) -> IndexArray:
    distance = np.abs(outlines.positions - np.rint(outlines.positions))
    if not distance.size:
        return np.empty(0, np.int64)
    if distance.max() <= ON_SLICE:
        slices = _contours_of_slices(outlines, slicing)
        missing = _missing_slices(list(slices))
        if missing:
            text = f"region {name!r} has no contour on {missing} slices between its first and its last"
            outlines.cautions.append(Caution("contour-gaps", text, where))
    elif resample:
        slices = _nearest_planes(outlines, slicing)
        text = f"slices took the nearest contours, up to {distance.max():.2g} slices away"
        outlines.cautions.append(Caution("contours-between-slices", text, where))
    else:
        spacing = slicing.grid.spacing_mm[slicing.across]
        raise GeometryMismatch(
            "contours lie between the slices of the image",
            where=where or None,
            found=f"up to {distance.max() * spacing:.3g} mm from a slice, {spacing:.4g} mm apart",
            needed=f"at most {ON_SLICE:g} slices",
            next_step="give the image on which they were drawn, or --resample-rois (nearest contours)",
        )
    parts = []
    for number, members in slices.items():
        if 0 <= number < slicing.n_slices:
            polygons = _distinct([outlines.polygons[member] for member in members], name, outlines, where)
            parts.append(_paint(polygons, slicing, number))
            if len(polygons) > 1 and _partly_overlapping(polygons, slicing):
                text = f"contours of region {name!r} cross on one slice; where two of them overlap is outside"
                outlines.cautions.append(Caution("contours-cross", text, where))
    voxels = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return voxels if slicing.across == 2 else np.sort(voxels)


def _contours_of_slices(outlines: _Outlines, slicing: _Slicing) -> dict[int, list[int]]:
    slices: dict[int, list[int]] = {}
    for member in np.argsort(outlines.positions, kind="stable").tolist():
        nearest = float(np.clip(np.rint(outlines.positions[member]), -1, slicing.n_slices))
        slices.setdefault(int(nearest), []).append(member)
    return slices


def _missing_slices(numbers: list[int]) -> int:
    return max(numbers) - min(numbers) + 1 - len(numbers)


def _nearest_planes(outlines: _Outlines, slicing: _Slicing) -> dict[int, list[int]]:
    """Contours for each image slice from the nearest plane of contours within half their distance."""
    order = np.argsort(outlines.positions, kind="stable")
    sorted_positions = outlines.positions[order]
    starts = np.flatnonzero(np.diff(sorted_positions, prepend=-np.inf) > SAME_PLANE)
    planes = np.split(order, starts[1:])
    heights = np.array([float(outlines.positions[plane].mean()) for plane in planes])
    thickness = float(np.median(np.diff(heights))) if heights.size > 1 else 1.0
    slices: dict[int, list[int]] = {}
    for number in range(slicing.n_slices):
        nearest = int(np.abs(heights - number).argmin())
        offset = number - heights[nearest]
        if -thickness / 2 <= offset < thickness / 2:
            slices[number] = planes[nearest].tolist()
    return slices


def _distinct(polygons: list[FloatArray], name: str, outlines: _Outlines, where: str) -> list[FloatArray]:
    """The polygons without exact copies, which would cancel each other."""
    distinct = list({polygon.tobytes(): polygon for polygon in polygons}.values())
    if len(distinct) < len(polygons):
        text = f"region {name!r} holds the same contour more than once; each is used once"
        outlines.cautions.append(Caution("contours-repeat", text, where))
    return distinct


def _paint(polygons: list[FloatArray], slicing: _Slicing, number: int) -> IndexArray:
    low, high = _extent(polygons, slicing)
    if (high <= low).any():
        return np.empty(0, np.int64)
    return slicing.flat(_filled(polygons, low, high), low, number)


def _extent(polygons: list[FloatArray], slicing: _Slicing) -> tuple[IndexArray, IndexArray]:
    """Where the in-plane positions begin and end that polygons reach within the slice."""
    points = np.concatenate(polygons)
    shape = np.array([slicing.grid.shape[axis] for axis in slicing.along])
    low = np.clip(np.floor(points.min(axis=0)), 0, shape).astype(np.int64)
    high = np.clip(np.ceil(points.max(axis=0)) + 1, 0, shape).astype(np.int64)
    return low, high


def _filled(polygons: list[FloatArray], low: IndexArray, high: IndexArray) -> npt.NDArray[np.uint8]:
    points = np.concatenate(polygons) - low
    plane = np.zeros((high - low)[::-1].tolist(), np.uint8)
    first = np.concatenate(([0], np.cumsum([len(polygon) for polygon in polygons]))).astype(np.int64)
    fill_even_odd(np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1]), first, plane)
    return plane.T


def _partly_overlapping(polygons: list[FloatArray], slicing: _Slicing) -> bool:
    """Whether a polygon lies neither inside nor outside a larger one."""
    low, high = _extent(polygons, slicing)
    if (high <= low).any():
        return False
    planes = [_filled([polygon], low, high).astype(bool) for polygon in polygons]
    depth = np.zeros(planes[0].shape, np.int64)
    for plane in sorted(planes, key=np.count_nonzero, reverse=True):
        beneath = depth[plane]
        if beneath.size and beneath.min() != beneath.max():
            return True
        depth += plane
    return False
