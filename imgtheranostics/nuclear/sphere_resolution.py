"""The resolution of an image from one of its regions that is a sphere of known size."""

from __future__ import annotations

import numpy as np

from imgtheranostics.errors import NothingUsable
from imgtheranostics.nuclear.resolution_estimate import ResolutionEstimate, estimate_psf
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step


def psf_of_sphere(
    volume: Volume | Estimate, rois: Regions, name: str, diameter_mm: float
) -> ResolutionEstimate:
    """Resolution from a region that is a sphere of known diameter, and what lies around it.

    Voxels of the region and up to one diameter from its centroid count, without those of other regions; of
    several frames their mean.

    Parameters
    ----------
    volume : Volume or Estimate
    rois : Regions
    name : str
        The region.
    diameter_mm : float

    Raises
    ------
    NothingUsable
        If there is no such region, or too few voxels.
    ImgTheranosticsError, ValueError
        As `estimate_psf`.
    """
    v = volume.value if isinstance(volume, Estimate) else volume
    if name not in list(rois):
        raise NothingUsable("there is no such region", found=name, needed="one of " + ", ".join(rois))
    fitted = rois.fit_to(v.grid)
    own = fitted.mask(name)
    index = np.argwhere(own)
    if not len(index):
        raise NothingUsable("a region has no voxel", where=name)
    centre = index.mean(axis=0) @ v.affine[:3, :3].T + v.affine[:3, 3]
    place = np.moveaxis(np.indices(v.grid.shape), 0, -1) @ v.affine[:3, :3].T + v.affine[:3, 3]
    near = np.linalg.norm(place - centre, axis=-1) <= diameter_mm
    others = [other for other in fitted if other != name]
    taken = fitted.subset(others).union() if others else np.zeros(v.grid.shape, bool)
    image = v
    if v.axes:
        mean = v.planar.mean(axis=0, dtype=np.float64).reshape(v.grid.shape, order="F")
        image = v.derived(mean, v.quantity, v.unit, make_step("mean_of_frames"), axes=())
    return estimate_psf(image, (near & ~taken) | own, diameter_mm=diameter_mm)
