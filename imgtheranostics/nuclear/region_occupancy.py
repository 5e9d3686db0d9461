"""Regions as the share of each voxel that they fill, sharp and blurred, and the background between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from imgtheranostics.errors import GeometryMismatch, IllConditioned, ImplausibleValue, NothingUsable
from imgtheranostics.mapping.voxels import on_grid
from imgtheranostics.nuclear.point_spread import Float32Array, FloatArray, PointSpread, Width
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

BACKGROUND = "background"
"""Name of the region that is whatever no region covers."""

GivenRegions = Regions | Mapping[str, Any]

_AT_ONCE = 1 << 20
_ROUNDING = 1e-3
_Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Part:
    """One region: its occupancy and that after the blur, in the box beyond which both are zero."""

    name: str
    box: _Box
    sharp: Float32Array
    blurred: Float32Array

    @property
    def voxels(self) -> float:
        """Its volume in voxels."""
        return float(self.sharp.sum(dtype=np.float64))


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
        found: list[tuple[str, _Box, Float32Array]] = []
        # One at a time, and kept without the empty rest: many regions of a large image take little memory.
        for name, array in _arrays(v, rois):
            covered += array
            box = _box_of(array, name)
            found.append((name, box, np.array(array[box], order="F")))
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
        parts = tuple(_part(one.name, one.box, one.sharp, spread, self.shape) for one in self.parts)
        return type(self)(self.shape, parts, spread, self.background, self.names, self.voxels)

    def slabs(self, n_frames: int = 1) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Slices in groups, with sharp and blurred occupancies, each (n_regions, voxels in Fortran order)."""
        plane = self.shape[0] * self.shape[1]
        thick = max(1, _AT_ONCE // (plane * (2 * len(self.names) + 3 * n_frames)))
        for first in range(0, self.shape[2], thick):
            here = slice(first, min(first + thick, self.shape[2]))
            yield here, self._dense(here, "sharp"), self._dense(here, "blurred")

    def _dense(self, here: slice, kind: str) -> FloatArray:
        n = here.stop - here.start
        out = np.zeros((len(self.names), n, self.shape[1], self.shape[0]))
        for row, part in zip(out, self.parts, strict=False):
            i, j, k = part.box
            first, last = max(k.start, here.start), min(k.stop, here.stop)
            if first < last:
                values: Float32Array = getattr(part, kind)
                row[first - here.start : last - here.start, j, i] = values[
                    :, :, first - k.start : last - k.start
                ].T
        if self.background:
            out[-1] = np.maximum(1.0 - out[:-1].sum(axis=0), 0.0)
        return out.reshape(len(self.names), -1)


def _arrays(v: Volume, rois: GivenRegions) -> Iterator[tuple[str, Float32Array]]:
    """Name and share of each voxel, in the order given; NaN is outside."""
    if isinstance(rois, Regions):
        fitted = rois.fit_to(v.grid)
        for name in fitted:
            yield name, np.asarray(fitted.mask(name), np.float32, order="F")
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
        yield str(name), np.clip(share, 0.0, 1.0)


def _box_of(array: Float32Array, name: str) -> _Box:
    """The least box that holds a region."""
    sides = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero((array > 0).any(axis=others))
        if not inside.size:
            raise NothingUsable("a region holds no voxel of the image", where=name)
        sides.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return sides[0], sides[1], sides[2]


def _part(
    name: str, box: _Box, sharp: Float32Array, spread: PointSpread, shape: tuple[int, int, int]
) -> Part:
    """A region in the box that its blur reaches."""
    wide = [
        slice(max(0, side.start - reach), min(n, side.stop + reach))
        for side, reach, n in zip(box, spread.reach, shape, strict=True)
    ]
    within = [
        slice(side.start - around.start, side.stop - around.start)
        for side, around in zip(box, wide, strict=True)
    ]
    padded = np.zeros([around.stop - around.start for around in wide], np.float32, order="F")
    padded[within[0], within[1], within[2]] = sharp
    return Part(name, (wide[0], wide[1], wide[2]), padded, spread.blur(padded))


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
