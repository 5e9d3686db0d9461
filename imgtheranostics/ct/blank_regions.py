"""Noise of a region's mean in changes of attenuation, and the tissue without agent that it is from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imgtheranostics.ct.noise import SOFT_TISSUE_HU, DetectionLimits, detection_limits
from imgtheranostics.ct.slope import Slope
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.mapping import blank_regions as shifted
from imgtheranostics.mapping.blank_regions import MARGIN_VOXELS, BoolArray, IndexArray
from imgtheranostics.mapping.voxels import Mask, grown
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume

_LOW_NOISE_HU, _AROUND = 20.0, 3
"""Above that noise single voxels of tissue leave the range of soft tissue, and their neighbours decide."""


@dataclass(frozen=True, slots=True)
class BlankNoise(shifted.BlankNoise):
    """Scatter of the mean of a shape over blank tissue, and the concentrations that can be told from it."""

    def limits(self, slope: float | Slope) -> DetectionLimits:
        """LOD and LOQ of the region's mean in mg/mL, for a slope in HU per mg/mL."""
        return detection_limits(self.sd, slope)


def blank_sd(x: Volume | Estimate, region: Mask, blanks: Mask, *, own: bool = False) -> float:
    """SD of the means of a region's shape, shifted over blank tissue; see `blank_noise`."""
    return blank_noise(x, region, blanks, own=own).sd


def blank_noise(x: Volume | Estimate, region: Mask, blanks: Mask, *, own: bool = False) -> BlankNoise:
    """Scatter of the mean of a region if nothing but noise were in it.

    Parameters, result and errors as `imgtheranostics.mapping.blank_regions.blank_noise`.
    """
    return _of(shifted.blank_noise(x, region, blanks, own=own))


def voxel_list_noise(value: Volume, voxels: IndexArray, blank: BoolArray, *, own: bool = False) -> BlankNoise:
    """`blank_noise` of a region that is given by its flat Fortran-order indices."""
    return _of(shifted.voxel_list_noise(value, voxels, blank, own=own))


def _of(noise: shifted.BlankNoise) -> BlankNoise:
    return BlankNoise(noise.sd, noise.n_blanks, noise.mean, noise.n_voxels, noise.rule, noise.placed_sd)


def default_blanks(estimate: Estimate, regions: Regions) -> BoolArray:
    """Soft tissue with a value, two voxels and more from every region.

    A region that holds more than half of that tissue is the outline of the body, or what is left of it beside
    the others, and no place of the agent: it does not count.

    Raises
    ------
    MissingMetadata
        If the scan before the agent, which tells tissue from air and bone, is not among the maps.
    """
    pre = estimate.maps.get("pre")
    if pre is None:
        raise MissingMetadata(
            "it is not known where tissue without the agent is",
            where="blanks",
            needed="a region without agent, or the map of ct.enhancement with its scan before the agent",
            next_step="give blanks= (--blank): a region of the table, or a mask",
        )
    low, high = SOFT_TISSUE_HU
    tissue = (pre.data >= low) & (pre.data <= high)
    noise = estimate.decisions.get("noise", {}).get("voxel_sd_hu", math.nan)
    if not noise <= _LOW_NOISE_HU:
        tissue = _majority(tissue)
    tissue &= np.isfinite(estimate.value.data)
    fitted = regions.fit_to(estimate.grid)
    half = int(np.count_nonzero(tissue)) / 2.0
    taken = np.zeros(tissue.shape, np.bool_)
    for name in fitted:
        inside = fitted.mask(name)
        if int(np.count_nonzero(inside & tissue)) <= half:
            taken |= inside
    return np.asarray(tissue & ~grown(taken, MARGIN_VOXELS))


def _majority(mask: BoolArray) -> BoolArray:
    """What most voxels around each are, so that noise leaves no holes in tissue."""
    from scipy import ndimage

    return np.asarray(ndimage.uniform_filter(mask.astype(np.float32), _AROUND, mode="nearest") > 0.5)
