"""Regions brought onto another image through a transform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import Regions
from imgtheranostics.registration.matching import Registration
from imgtheranostics.registration.resampling import resample
from imgtheranostics.registration.transform import Transform
from imgtheranostics.volume import Grid, Volume


def carry_regions(
    regions: Regions, transform: Registration | Transform | npt.ArrayLike | None, *, like: Volume | Grid
) -> Regions:
    """Regions drawn on the moving image, on the grid of the fixed one, by nearest voxel.

    Parameters
    ----------
    regions : Regions
        On the grid of the moving image; they may overlap.
    transform : Registration, Transform, (4, 4) array_like or None
        Fixed to moving points, RAS+ mm.
    like : Volume or Grid
        The fixed image.

    Returns
    -------
    Regions
        All of them, those that lie outside of the fixed image without voxels.
    """
    carried = {}
    for name in regions:
        labels = Volume(regions.mask(name).astype(np.int32), regions.grid.affine, "labels", "1")
        carried[name] = resample(labels, transform, like=like, interpolation="nearest").data > 0
    return Regions.from_masks(carried, like if isinstance(like, Grid) else like.grid)
