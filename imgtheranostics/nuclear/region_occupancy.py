"""Regions as the share of each voxel that they fill, sharp and blurred, and the background between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch, IllConditioned, ImplausibleValue, NothingUsable
from imgtheranostics.mapping.voxels import on_grid
from imgtheranostics.nuclear.point_spread import Float32Array, FloatArray, PointSpread, Width
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

BACKGROUND = "background"
"""Name of the region that is whatever no region covers."""

GivenRegions = Regions | Mapping[str, Any]

Box = tuple[slice, slice, slice]

_AT_ONCE = 1 << 20
_EDGE = 32
_ROUNDING = 1e-3
_LARGEST_NUMBER = 1 << 20
_Given = tuple[str, Box, Float32Array]


@dataclass(frozen=True, eq=False)
class Part:
    """One region: its occupancy and that after the blur, in the box beyond which both are zero.

    Its own voxels lie in the smaller box `core`.
    """

    name: str
    box: Box
    core: Box
    sharp: Float32Array
    blurred: Float32Array

    @property
    def voxels(self) -> float:
        """Its volume in voxels."""
        return float(self.sharp.sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Tile:
    """Some voxels, and those regions that reach into them.

    Attributes
    ----------
    box : 3 slices
    rows : ndarray of int, shape (m,)
        Which of all regions they are, in their order.
    sharp, blurred : ndarray, shape (m, n_voxels)
        Occupancies; voxels in Fortran order.
    """

    box: Box
    rows: npt.NDArray[np.intp]
    sharp: FloatArray
    blurred: FloatArray

    def of(self, planar: npt.NDArray[Any], shape: tuple[int, int, int]) -> npt.NDArray[Any]:
        """The view of these voxels, (n_frames, k, j, i), in frames of all voxels in Fortran order."""
        i, j, k = self.box
        return planar.reshape(-1, *shape[::-1])[:, k, j, i]


@dataclass(frozen=True, eq=False)
class Occupancy:
    """All regions of an image; the background has no arrays, being one less the others everywhere.

    Attributes
    ----------
    shape : tuple of int
    parts : tuple of Part
    spread : PointSpread
        The blur of `Part.blurred`.
    background : bool
        Whether what no part covers is a region too, the last one.
    names : tuple of str
    voxels : ndarray, shape (n_regions,)
        Volumes in voxels.
    """

    shape: tuple[int, int, int]
    parts: tuple[Part, ...]
    spread: PointSpread
    background: bool
    names: tuple[str, ...]
    voxels: FloatArray

    @classmethod
    def of(cls, v: Volume, rois: GivenRegions, fwhm_mm: Width, background: bool = True) -> Self:
        """The regions on the grid of an image, blurred.

        Shares of voxels are means over them, so that a voxel's own width is taken off the blur; masks are
        samples of the region at the voxels' centres, and it is not.

        Raises
        ------
        NothingUsable
            If there is no region, or an empty one.
        GeometryMismatch
            If a region lies on another grid.
        ImplausibleValue
            If a share is not between 0 and 1, or regions overlap.
        IllConditioned
            If the point spread is larger than a region.
        ValueError
            If a region has the name of the background, or the width is not positive.
        """
        covered = np.zeros(v.grid.shape, np.float32, order="F")
        found: list[_Given] = []
        # One at a time, and kept without the empty rest: many regions of a large image take little memory.
        for name, box, sharp in _arrays(v, rois):
            covered[box] += sharp
            found.append((name, box, sharp))
        if not found:
            raise NothingUsable("no regions were given")
        fractional = any(bool(((sharp > 0) & (sharp < 1)).any()) for _, _, sharp in found)
        spread = PointSpread.of(v, fwhm_mm, voxel_mean=fractional)
        if float(covered.max()) > 1 + _ROUNDING:
            raise ImplausibleValue(
                "regions overlap: a voxel is filled more than once",
                where="rois",
                found=f"up to {float(covered.max()):.4g} of a voxel",
                needed="at most 1",
                next_step="give each voxel to one region, or shares that add up to one at most",
            )
        rest = covered.size - float(covered.sum(dtype=np.float64))
        del covered
        parts = tuple(_part(name, box, sharp, spread, v.grid.shape) for name, box, sharp in found)
        for part in parts:
            _check_size(part, spread, v.grid.voxel_volume_ml)
        with_rest = background and rest >= 1.0
        names = [part.name for part in parts]
        if with_rest and BACKGROUND in names:
            raise ValueError(f"no region may be called {BACKGROUND!r}: it is what no region covers")
        voxels = [part.voxels for part in parts] + ([rest] if with_rest else [])
        every = (*names, BACKGROUND) if with_rest else tuple(names)
        return cls(v.grid.shape, parts, spread, with_rest, every, np.array(voxels))

    def blurred_by(self, spread: PointSpread) -> Self:
        """The same regions after another blur."""
        parts = tuple(
            _part(one.name, one.core, one.sharp[_within(one.core, one.box)], spread, self.shape)
            for one in self.parts
        )
        return type(self)(self.shape, parts, spread, self.background, self.names, self.voxels)

    def reaches(self, kind: Literal["box", "core"] = "box") -> npt.NDArray[np.int64]:
        """First and stop voxel of the box or core of each part, (n_parts, 3, 2)."""
        sides = [[(side.start, side.stop) for side in getattr(part, kind)] for part in self.parts]
        return np.array(sides, np.int64).reshape(-1, 3, 2)

    def tiles(self, n_frames: int = 1, beside: Occupancy | None = None) -> Iterator[Tile]:
        """All voxels in boxes, with the few regions that reach into each.

        Parameters
        ----------
        n_frames : int
            How many values of each voxel the caller will hold: boxes are smaller for many.
        beside : Occupancy, optional
            The same regions after another blur, whose reach counts too.
        """
        reaches = self.reaches()
        if beside is not None:
            other = beside.reaches()
            reaches = np.stack(
                [np.minimum(reaches[..., 0], other[..., 0]), np.maximum(reaches[..., 1], other[..., 1])], -1
            )
        thick = int(np.clip(_AT_ONCE // (_EDGE * _EDGE * (8 + 3 * n_frames)), 1, _EDGE))
        ends = [range(0, n, edge) for n, edge in zip(self.shape, (_EDGE, _EDGE, thick), strict=True)]
        rest = [len(self.parts)] if self.background else []
        for k, j, i in itertools.product(ends[2], ends[1], ends[0]):
            first = np.array([i, j, k])
            stop = np.minimum(first + np.array([_EDGE, _EDGE, thick]), self.shape)
            within = ((reaches[..., 0] < stop) & (first < reaches[..., 1])).all(axis=1)
            rows = np.concatenate([np.flatnonzero(within), np.array(rest, np.intp)])
            sides = [slice(int(low), int(high)) for low, high in zip(first, stop, strict=True)]
            box = (sides[0], sides[1], sides[2])
            yield Tile(box, rows, self.dense(box, rows, "sharp"), self.dense(box, rows, "blurred"))

    def dense(self, box: Box, rows: npt.NDArray[np.intp], kind: Literal["sharp", "blurred"]) -> FloatArray:
        """Occupancies of some regions in a box, (m, n_voxels) in Fortran order; the rest is the last."""
        sizes = [side.stop - side.start for side in box]
        out = np.zeros((rows.size, *sizes[::-1]))
        for place, row in enumerate(rows):
            if row == len(self.parts):
                out[place] = np.maximum(1.0 - out[:place].sum(axis=0), 0.0)
                continue
            part = self.parts[row]
            both = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, part.box, strict=True)]
            if any(low >= high for low, high in both):
                continue
            source = tuple(
                slice(low - side.start, high - side.start)
                for (low, high), side in zip(both, part.box, strict=True)
            )
            target = tuple(
                slice(low - side.start, high - side.start)
                for (low, high), side in zip(both, box, strict=True)
            )
            values: Float32Array = getattr(part, kind)
            out[place][target[::-1]] = values[source].T
        return out.reshape(rows.size, math.prod(sizes))


def _arrays(v: Volume, rois: GivenRegions) -> Iterator[_Given]:
    """Name, least box, and share of each voxel in it, in the order given; NaN is outside."""
    if isinstance(rois, Regions):
        yield from _of_labels(rois.fit_to(v.grid))
        return
    for name, given in rois.items():
        array = on_grid(given, v, "a region", "draw it on this image") if isinstance(given, Volume) else given
        values = np.asarray(array)
        if values.shape != v.grid.shape:
            raise GeometryMismatch(
                "a region does not fit the image", found=str(values.shape), needed=str(v.grid.shape)
            )
        share = np.nan_to_num(np.asarray(values, np.float32, order="F"), nan=0.0)
        if float(share.min()) < -_ROUNDING or float(share.max()) > 1 + _ROUNDING:
            raise ImplausibleValue(
                "the share of a voxel that a region fills lies between 0 and 1",
                where="rois",
                found=f"{float(share.min()):.4g} to {float(share.max()):.4g}",
                needed="a mask of 0 and 1, or shares",
                next_step="divide by the value of a full voxel, or give Regions for labels",
            )
        box = _box_of(share, str(name))
        yield str(name), box, np.clip(share[box], 0.0, 1.0)


def _of_labels(rois: Regions) -> Iterator[_Given]:
    """Regions of a label image, whose boxes are found in one pass over it."""
    from scipy.ndimage import find_objects

    labels = rois.labels
    planes = [labels[..., n] for n in range(labels.shape[-1])]
    known = max(rois.names, default=0) <= _LARGEST_NUMBER
    boxes = [find_objects(np.asarray(plane, np.int64)) for plane in planes] if known else []
    for number, name in rois.names.items():
        if not known:
            mask = np.asarray(rois.mask(name), np.float32, order="F")
            box = _box_of(mask, name)
            yield name, box, mask[box]
            continue
        found = [own[number - 1] for own in boxes if number <= len(own) and own[number - 1] is not None]
        if not found:
            raise NothingUsable("a region holds no voxel of the image", where=name)
        sides = [
            slice(min(one[axis].start for one in found), max(one[axis].stop for one in found))
            for axis in range(3)
        ]
        box = (sides[0], sides[1], sides[2])
        inside = np.any([plane[box] == number for plane in planes], axis=0)
        yield name, box, np.asarray(inside, np.float32, order="F")


def _box_of(array: Float32Array, name: str) -> Box:
    """The least box that holds a region."""
    along = np.asarray((array > 0).any(axis=2))
    inside = [along.any(axis=1), along.any(axis=0)]
    inside.append((array[inside[0]][:, inside[1]] > 0).any(axis=(0, 1)))
    sides = []
    for one in inside:
        places = np.flatnonzero(one)
        if not places.size:
            raise NothingUsable("a region holds no voxel of the image", where=name)
        sides.append(slice(int(places[0]), int(places[-1]) + 1))
    return sides[0], sides[1], sides[2]


def _part(name: str, box: Box, sharp: Float32Array, spread: PointSpread, shape: tuple[int, int, int]) -> Part:
    """A region in the box that its blur reaches."""
    wide = [
        slice(max(0, side.start - reach), min(n, side.stop + reach))
        for side, reach, n in zip(box, spread.reach, shape, strict=True)
    ]
    padded = np.zeros([around.stop - around.start for around in wide], np.float32, order="F")
    whole = (wide[0], wide[1], wide[2])
    padded[_within(box, whole)] = sharp
    return Part(name, whole, box, padded, spread.blur(padded))


def _within(box: Box, around: Box) -> Box:
    """A box in the indices of one around it."""
    i, j, k = (
        slice(side.start - wide.start, side.stop - wide.start) for side, wide in zip(box, around, strict=True)
    )
    return i, j, k


def _check_size(part: Part, spread: PointSpread, voxel_ml: float) -> None:
    diameter = (6 / math.pi * part.voxels * voxel_ml * 1e3) ** (1 / 3)
    if diameter < spread.mean_fwhm_mm:
        raise IllConditioned(
            "the point spread is larger than a region",
            where=part.name,
            found=f"{spread.mean_fwhm_mm:.3g} mm FWHM; the region is a sphere of {diameter:.3g} mm at most",
            needed="a region at least as large as the resolution",
            next_step="join it with its neighbour, or report the uncorrected mean as a lower bound",
        )
