"""The background of a lesion: a shell around it, beyond where its activity is blurred to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imgtheranostics.errors import NothingUsable
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.search_regions import BoolArray, SearchRegion
from imgtheranostics.volume import Volume

Background = float | Regions | None

GAP_VOXELS = 3.0
"""Voxels between a lesion and its background where the resolution is not known."""

WIDTH_VOXELS = 3.0
"""Thickness of the background in voxels."""

FEWEST = 10
"""Voxels that a background needs."""

_MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Median and robust standard deviation of the voxels around a lesion; NaN where there are none."""

    median: float
    sd: float
    n_voxels: int

    def known(self, search: SearchRegion) -> float:
        """The median.

        Raises
        ------
        NothingUsable
            If it is that of too few voxels.
        """
        if self.n_voxels < FEWEST:
            raise NothingUsable(
                "there is no background around a lesion",
                where=search.name,
                found=f"{self.n_voxels} voxels below the threshold",
                needed=f"at least {FEWEST}",
                next_step="give the background, as a value or a region",
            )
        return self.median


def surroundings(
    search: SearchRegion, mask: BoolArray, *, resolution_mm: float | None, below: float = np.inf
) -> Surroundings:
    """The shell around a lesion, of three voxels, after a gap of three voxels or of the resolution.

    Parameters
    ----------
    search : SearchRegion
    mask : (a, b, c) ndarray of bool
    resolution_mm : float, optional
        Full width at half maximum; one of it away from its edge a lesion is gone to 1 %.
    below : float
        Voxels that reach it belong to other uptake and do not count.
    """
    from scipy import ndimage

    spacing = np.array(search.grid.spacing_mm)
    gap = GAP_VOXELS * spacing.max() if resolution_mm is None else float(resolution_mm)
    box = _around(mask, np.ceil((gap + WIDTH_VOXELS * spacing.max()) / spacing).astype(int) + 1)
    distance = ndimage.distance_transform_edt(~mask[box], sampling=spacing)
    values = search.values[box]
    shell = (distance > gap) & (distance <= gap + WIDTH_VOXELS * spacing.max())
    found = values[shell & np.isfinite(values) & (values < below)].astype(np.float64)
    if not found.size:
        return Surroundings(np.nan, np.nan, 0)
    median = float(np.median(found))
    return Surroundings(median, _MAD_TO_SD * float(np.median(np.abs(found - median))), int(found.size))


def given_background(v: Volume, background: Background) -> float | None:
    """A background that was given as a value, or as one region of the image; None where it was not.

    Raises
    ------
    ValueError
        If it is not finite, or several regions.
    NothingUsable
        If the region holds no value.
    """
    if background is None:
        return None
    if isinstance(background, Regions):
        if len(background) != 1:
            raise ValueError(f"the background is one region, not {len(background)}: use Regions.subset")
        (voxels,) = background.fit_to(v.grid).voxel_lists()
        values = v.planar[0][voxels].astype(np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            raise NothingUsable("the background region holds no value", where=next(iter(background)))
        return float(values.mean())
    if not np.isfinite(background):
        raise ValueError(f"the background is a number, not {background!r}")
    return float(background)


def _around(mask: BoolArray, margin: np.ndarray[tuple[int, ...], np.dtype[np.int_]]) -> tuple[slice, ...]:
    """The box of a mask with a margin."""
    box = []
    for axis in range(3):
        held = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        start, stop = int(held[0] - margin[axis]), int(held[-1] + margin[axis] + 1)
        box.append(slice(max(0, start), min(mask.shape[axis], stop)))
    return tuple(box)
