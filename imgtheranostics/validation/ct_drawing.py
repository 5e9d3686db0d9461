"""Regions that a reader draws for a mass in CT: outside of all that the blurred image shows of a region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.phantom.ct_pools import Altered
from imgtheranostics.phantom.ct_tissue import growth
from imgtheranostics.phantom.mixture import rasterise
from imgtheranostics.phantom.templates import region_shapes
from imgtheranostics.regions import Regions
from imgtheranostics.validation.ct_maps import scan_of
from imgtheranostics.volume import Grid, Volume

if TYPE_CHECKING:
    from imgtheranostics.validation.session import Session

SURROUNDINGS_MM = 35.0
"""Tissue around a region that its part of the images shows on every side."""


def drawn(session: Session, volume: int, region: str) -> Regions:
    """A region as one scan shows it, swollen where it is, drawn half a voxel and one resolution too large."""
    phantom = session.phantom
    scan, grid = scan_of(session, volume), phantom.grid
    margin_mm = 0.5 * math.hypot(*grid.spacing_mm)
    if phantom.level >= 2:
        margin_mm += phantom.spec.physics_of("CT").psf_fwhm_mm
    scale = growth(phantom.spec, region, scan) ** (1 / 3)
    shapes = region_shapes(phantom.spec.template, phantom.spec.region(region))
    mixture = rasterise({region: [Altered(shape, scale, -margin_mm) for shape in shapes]}, grid)
    return Regions(mixture.nominal().astype(np.int32)[..., np.newaxis], {1: region}, grid)


@dataclass(frozen=True, eq=False)
class Part:
    """A box of the images around a region.

    Attributes
    ----------
    window : tuple of slice
    regions : Regions
        What was drawn, on the grid of the part.
    """

    window: tuple[slice, slice, slice]
    regions: Regions

    def image(self, volume: Volume) -> Volume:
        """The part of an image."""
        grid = _part_of(volume.grid, self.window)
        return volume.replace(data=np.asfortranarray(volume.data[self.window]), affine=grid.affine)


def around(regions: Regions) -> Part:
    """The part of the images that shows drawn regions and their surroundings."""
    grid = regions.grid
    voxels = np.argwhere((regions.labels > 0).any(axis=-1))
    reach = np.ceil(SURROUNDINGS_MM / np.array(grid.spacing_mm)).astype(int)
    low = np.maximum(voxels.min(axis=0) - reach, 0)
    high = np.minimum(voxels.max(axis=0) + reach + 1, grid.shape)
    window = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return Part(window, Regions(regions.labels[window], regions.names, _part_of(grid, window)))


def _part_of(grid: Grid, window: tuple[slice, slice, slice]) -> Grid:
    first = np.array([part.start for part in window])
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    i, j, k = (part.stop - part.start for part in window)
    return Grid((int(i), int(j), int(k)), affine)
