"""Mass of the agent in a region of one scan, how it is spread there, and what of it a later scan retains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.blank_regions import BlankNoise, voxel_list_noise
from imgtheranostics.ct.follow_ups import FollowUp, too_little_seen
from imgtheranostics.mapping.detection import DETECTION_SDS
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Volume

IndexArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_CHANCE = 1e-3
_DRIFT_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class RegionMass:
    """Mass of the agent in a region.

    Attributes
    ----------
    region : str
    mass_mg : float
        NaN where too much of the region has no value.
    noise_error_mg : float
        From the scatter of blank regions of the same shape; where there is no blank tissue, from that of the
        region's own voxels, which is no smaller.
    slope_error_mg : float
        From the slope: common to all scans and regions.
    volume_ml : float
        In this scan.
    lod_mg : float
        Mass that would be detected: 3.3 SD of blank regions; of the mean's standard error where there is no
        blank tissue.
    n_voxels, n_valid, n_saturated : int
    blank : BlankNoise
        In HU.
    codes : tuple of str
        What a reader should know.
    """

    region: str
    mass_mg: float
    noise_error_mg: float
    slope_error_mg: float
    volume_ml: float
    lod_mg: float
    n_voxels: int
    n_valid: int
    n_saturated: int
    blank: BlankNoise
    codes: tuple[str, ...] = ()

    @property
    def standard_error_mg(self) -> float:
        """Noise and slope in quadrature."""
        return math.hypot(self.noise_error_mg, self.slope_error_mg)

    @property
    def concentration_mg_ml(self) -> float:
        """Mean over the region's volume."""
        return self.mass_mg / self.volume_ml if self.volume_ml > 0 else math.nan


class Retained(NamedTuple):
    """Mass over that of the first scan, without what the slope contributes to both."""

    percent: float
    standard_error: float
    rule: str


@dataclass(frozen=True, slots=True)
class Spread:
    """How the agent is spread in a region.

    Attributes
    ----------
    occupancy_percent : float
        Volume above the limit of detection of a voxel, of the region's volume.
    lod_mg_ml : float
        That limit.
    variation_percent : float
        SD over mean of the concentration, the noise of voxels taken out of the SD.
    raw_variation_percent : float
        With the noise in it.
    centroid_mm : (3,) ndarray or None
        Centroid of the agent on the grid of the baseline, RAS+ mm; None where no agent was detected.
    centroid_error_mm : float
        Standard error of each coordinate.
    """

    occupancy_percent: float
    lod_mg_ml: float
    variation_percent: float
    raw_variation_percent: float
    centroid_mm: FloatArray | None
    centroid_error_mm: float


def region_mass(scan: FollowUp, name: str, voxels: IndexArray) -> RegionMass:
    """Mass of the agent in a region: the sum of concentration times volume.

    Voxels without a value hold nothing for the sum, which makes it a lower bound; where they are more than
    5 %, there is no mass.

    Parameters
    ----------
    scan : FollowUp
    name : str
    voxels : (n,) ndarray of int
        Flat Fortran-order indices on the grid of the baseline.

    Raises
    ------
    GeometryMismatch
        If the region is empty, or the scans do not show it.
    """
    missing = scan.require_view(name, voxels)
    weighted = scan.weighted
    values = weighted.data.ravel(order="F")[voxels]
    per_hu = scan.change.grid.voxel_volume_ml / scan.hu_per_mg_ml
    noise = voxel_list_noise(weighted, voxels, scan.blank)
    n_voxels = int(values.size)
    mass = float(np.nansum(values, dtype=np.float64)) * per_hu
    codes = []
    if too_little_seen(missing):
        mass = math.nan
    if missing > 0:
        codes.append("incomplete-region")
    n_saturated = scan.n_saturated(voxels)
    if n_saturated:
        codes.append("saturated-in-region")
    mean_error, blank_sd = noise.standard_error, noise.sd
    if not math.isfinite(mean_error):
        mean_error = blank_sd = _sampling_error(weighted, voxels)
        codes.append("no-blank-tissue")
    elif _drifted(noise, mass / per_hu / n_voxels):
        codes.append("blank-tissue-changed")
    per_mean = abs(per_hu) * n_voxels
    return RegionMass(
        name,
        mass,
        mean_error * per_mean if math.isfinite(mass) else math.nan,
        abs(mass) * scan.concentration.calibration_relative,
        scan.volume_ml(voxels),
        DETECTION_SDS * blank_sd * per_mean,
        n_voxels,
        int(np.count_nonzero(np.isfinite(values))),
        n_saturated,
        noise,
        tuple(codes),
    )


def _drifted(noise: BlankNoise, region_mean: float) -> bool:
    """Whether tissue without agent changed between the scans: beyond chance, and enough to matter.

    What is less than the standard error of the region's mean, or 1 % of the mean, does not.
    """
    from scipy.special import stdtrit

    beyond = float(stdtrit(noise.n_blanks - 1, 1.0 - _CHANCE / 2.0)) * noise.mean_error
    return abs(noise.mean) > max(beyond, noise.standard_error, _DRIFT_SHARE * abs(region_mean))


def _sampling_error(image: Volume, voxels: IndexArray) -> float:
    """Of a mean, from the voxels themselves: real structure counts as noise, so that it is not too small."""
    table = roi_statistics(image, Regions.from_voxel_lists({"region": voxels}, image.grid))
    return float(table["standard_error"].iloc[0])


def retained_percent(
    first: FollowUp, in_first: RegionMass, later: FollowUp, in_later: RegionMass, name: str
) -> Retained:
    """Mass in a later scan over the mass in the first, in percent, with its standard error.

    Both are changes from one baseline and share its noise. Where they come from the same voxels, the blank
    regions of (later - ratio x first) tell the error of the ratio, noise of the baseline included once; where
    the region was drawn anew, both errors are added in quadrature, which is no less than the true one. The
    error of the slope is the same factor in both and cancels.
    """
    if not (in_first.mass_mg > max(in_first.lod_mg, 0.0)):
        return Retained(math.nan, math.nan, "no agent was detected in the first scan")
    if later is first:
        return Retained(100.0, 0.0, "the first scan itself")
    ratio = in_later.mass_mg / in_first.mass_mg
    voxels = later.voxels[name]
    same = np.array_equal(voxels, first.voxels[name])
    if same and math.isfinite(in_first.blank.sd) and math.isfinite(in_later.blank.sd):
        one, other = first.weighted, later.weighted
        both = other.replace(data=other.data - np.float32(ratio) * one.data)
        noise = voxel_list_noise(both, voxels, first.blank & later.blank)
        if math.isfinite(noise.standard_error):
            per_mean = later.change.grid.voxel_volume_ml / abs(later.hu_per_mg_ml) * in_later.n_voxels
            error = noise.standard_error * per_mean / in_first.mass_mg
            return Retained(100.0 * ratio, 100.0 * error, "blank regions of the difference of both changes")
    error = math.hypot(in_later.noise_error_mg, ratio * in_first.noise_error_mg) / in_first.mass_mg
    return Retained(100.0 * ratio, 100.0 * error, "errors of both masses, as if they were independent")


def spread(scan: FollowUp, mass: RegionMass, voxels: IndexArray) -> Spread:
    """Occupancy, heterogeneity and centroid of the agent in a region."""
    amount = scan.concentration.value.data.ravel(order="F")[voxels].astype(np.float64)
    growth = scan.growth_of(voxels)
    known = np.isfinite(amount)
    amount, growth = amount[known], growth[known]
    lod = scan.voxel_lod_mg_ml
    total = float(growth.sum())
    if amount.size < 2 or not total > 0 or not math.isfinite(mass.mass_mg):
        return Spread(math.nan, lod, math.nan, math.nan, None, math.nan)
    occupancy = 100.0 * float(growth[amount > lod].sum()) / total if math.isfinite(lod) else math.nan
    mean = float((growth * amount).sum()) / total
    variance = float((growth * (amount - mean) ** 2).sum()) / total * amount.size / (amount.size - 1)
    voxel_sd = lod / DETECTION_SDS
    if not mass.mass_mg > max(mass.lod_mg, 0.0):
        return Spread(occupancy, lod, math.nan, math.nan, None, math.nan)
    beyond = math.sqrt(max(0.0, variance - voxel_sd**2)) if math.isfinite(voxel_sd) else math.nan
    index = np.stack(np.unravel_index(voxels[known], scan.change.grid.shape, order="F"), axis=-1)
    points = scan.change.grid.world_mm(index.astype(np.float64))
    weights = growth * amount
    centroid = (weights[:, np.newaxis] * points).sum(axis=0) / weights.sum()
    squares = float(((points - centroid) ** 2).sum()) / 3.0 / amount.size
    # the scatter of a mean, over the mean, is that of a weight; each coordinate moves by its RMS extent
    relative = mass.noise_error_mg / mass.mass_mg
    return Spread(
        occupancy,
        lod,
        100.0 * beyond / mean,
        100.0 * math.sqrt(variance) / mean,
        np.asarray(centroid),
        relative * math.sqrt(squares),
    )


def apart_mm(one: Spread, other: Spread) -> tuple[float, float]:
    """Distance of two centroids and its standard error; NaN where one has none."""
    if one.centroid_mm is None or other.centroid_mm is None:
        return math.nan, math.nan
    distance = float(np.linalg.norm(other.centroid_mm - one.centroid_mm))
    return distance, math.hypot(one.centroid_error_mm, other.centroid_error_mm)
