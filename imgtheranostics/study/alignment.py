"""One scan brought onto another, and the regions that were drawn on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.regions import Regions
from imgtheranostics.registration.carrying import carry_regions
from imgtheranostics.registration.matching import Registration, register
from imgtheranostics.registration.resampling import resample
from imgtheranostics.registration.transform import Model, Transform
from imgtheranostics.volume import Volume, make_step


@dataclass(frozen=True, eq=False)
class Aligned:
    """A scan on the grid of another, regions with it, and how that was found.

    Attributes
    ----------
    moved : Volume
        Every sample of its axes beyond space.
    regions : Regions, optional
        On the grid of the fixed scan.
    transform : Transform
        Fixed to moving points, RAS+ mm.
    registration : Registration, optional
        Of the means over the axes beyond space; None where the scanner's coordinates were taken.
    warnings : tuple of Caution
    """

    moved: Volume
    regions: Regions | None
    transform: Transform
    registration: Registration | None
    warnings: tuple[Caution, ...]


def align(
    fixed: Volume,
    moving: Volume,
    *,
    regions: Regions | None = None,
    model: Model | Literal["position"] = "rigid",
) -> Aligned:
    """Register `moving` to `fixed`, or take its position as it is, and carry regions over by nearest voxel.

    Parameters
    ----------
    fixed, moving : Volume
        Series are registered by their means over the axes beyond space.
    regions : Regions, optional
        On the grid of `moving`.
    model : {"rigid", "affine", "bspline", "translation", "position"}
        The last takes the scanner's coordinates as they are.

    Raises
    ------
    IllConditioned
        If the images do not determine a transform, or a region leaves the fixed image altogether.
    """
    found = None if model == "position" else register(_still(fixed), _still(moving), model=model)
    transform = Transform(np.eye(4)) if found is None else found.transform
    warnings = () if found is None else found.warnings
    moved = resample(moving, transform, like=fixed)
    if regions is None:
        return Aligned(moved, None, transform, found, warnings)
    carried = carry_regions(regions, transform, like=fixed)
    for name in carried:
        if not carried.mask(name).any():
            raise IllConditioned(
                "a region lies outside of the scan that it is carried to",
                where=name,
                next_step="draw the regions on this scan",
            )
    return Aligned(moved, carried, transform, found, warnings)


def _still(volume: Volume) -> Volume:
    """The mean over all axes beyond space."""
    if volume.data.ndim == 3:
        return volume
    mean = np.asfortranarray(volume.data.mean(axis=tuple(range(3, volume.data.ndim)), dtype=np.float32))
    return volume.derived(mean, volume.quantity, volume.unit, make_step("mean"), axes=())
