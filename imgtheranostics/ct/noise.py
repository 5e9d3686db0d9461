"""Noise of a difference of two CT scans, and what can be detected above it.

CT noise is correlated between voxels: the error of a region's mean is not the noise of a voxel over the
square root of their number. It is the standard deviation of the means of regions of the same shape, shifted
over tissue without the agent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.slope import Slope
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.mapping.detection import DETECTION_SDS, QUANTIFICATION_SDS, false_positive_rate
from imgtheranostics.volume import Volume

__all__ = [
    "DETECTION_SDS",
    "QUANTIFICATION_SDS",
    "SOFT_TISSUE_HU",
    "DetectionLimits",
    "DifferenceNoise",
    "contrast_to_noise",
    "detection_limits",
    "difference_noise",
    "false_positive_rate",
]

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

SOFT_TISSUE_HU = (-200.0, 300.0)
"""Attenuation before the agent of voxels from which noise is estimated: neither air nor dense bone."""

_LAG = 8
_FEWEST_PAIRS = 200
_MOST_PAIRS = 2_000_000
_ROUNDS, _OUTLYING = 3, 4.0
_MAD_TO_SD = 1.4826022185056018


class DetectionLimits(NamedTuple):
    """Least concentrations in mg/mL: detected, and quantified."""

    lod: float
    loq: float


def detection_limits(sd_blank: float, slope: float | Slope) -> DetectionLimits:
    """Limits of detection and quantification of a reading whose blank has that standard deviation.

    LOD = 3.3 sd / slope and LOQ = 10 sd / slope. How often a blank exceeds the LOD depends on how well its SD
    is known, see `false_positive_rate`.

    Parameters
    ----------
    sd_blank : float
        HU; of one voxel for voxels, of the mean of a blank region of the same shape for a region.
    slope : float or Slope
        HU per mg/mL.

    Returns
    -------
    DetectionLimits
        (lod, loq) in mg/mL.

    Raises
    ------
    ValueError
        If the SD is negative or the slope is not positive.

    Examples
    --------
    >>> lod, loq = detection_limits(10.0, 26.6)
    >>> round(lod, 3), round(loq, 3)
    (1.241, 3.759)
    """
    if not sd_blank >= 0 and not math.isnan(sd_blank):
        raise ValueError(f"sd_blank must not be negative, got {sd_blank}")
    if isinstance(slope, Slope):
        slope = abs(slope.hu_per_mg_ml)
    if not (math.isfinite(slope) and slope > 0):
        raise ValueError(f"the slope must be positive, got {slope}")
    return DetectionLimits(DETECTION_SDS * sd_blank / slope, QUANTIFICATION_SDS * sd_blank / slope)


def contrast_to_noise(change_hu: npt.ArrayLike, noise_sd: float) -> npt.NDArray[np.float64]:
    """Change of attenuation over the noise of one voxel of the difference.

    Parameters
    ----------
    change_hu : array_like
    noise_sd : float
        Of one voxel of the difference image, HU; not of a region's mean.

    Returns
    -------
    ndarray
        NaN where there is no noise to compare with.
    """
    given = np.asarray(change_hu, np.float64)
    if not noise_sd > 0:
        return np.full(given.shape, np.nan)
    return np.asarray(given / noise_sd)


@dataclass(frozen=True, slots=True)
class DifferenceNoise:
    """Noise of one voxel of a difference image.

    Attributes
    ----------
    sd : float
        HU; NaN where nothing was there to estimate it from.
    n_pairs : int
        Pairs of voxels that it was estimated from; 0 where it was given.
    rule : str
    warnings : tuple of Caution
    """

    sd: float
    n_pairs: int
    rule: str
    warnings: tuple[Caution, ...] = ()

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {"rule": self.rule, "voxel_sd_hu": self.sd, "n_pairs": self.n_pairs}


def difference_noise(
    pre: Volume, change: FloatArray, *, noise_sd: float | tuple[float, float] | None = None
) -> DifferenceNoise:
    """Noise of one voxel of the difference: from the noise of both scans, or from its soft tissue.

    sqrt(s_pre^2 + s_post^2) for scans whose noise is given. Else the median absolute difference of voxels
    eight apart in a plane of the soft tissue, over sqrt(2) and scaled to a standard deviation: what is the
    same on both sides, such as an agent that fills a region, cancels, and the few pairs across its edge stand
    out and are left out.

    Parameters
    ----------
    pre : Volume
        Attenuation before the agent, which tells tissue from air and bone.
    change : (i, j, k) ndarray
        After minus before; NaN where there is none.
    noise_sd : float or (pre, post), optional

    Returns
    -------
    DifferenceNoise

    Raises
    ------
    ImplausibleValue
        If a noise that is given is negative or no number.
    """
    if noise_sd is not None:
        given = np.broadcast_to(np.asarray(noise_sd, np.float64), (2,))
        if not (np.isfinite(given).all() and (given >= 0).all()):
            raise ImplausibleValue(
                "noise is given as standard deviations in HU", found=str(noise_sd), needed="at least 0"
            )
        return DifferenceNoise(float(np.hypot(*given)), 0, "noise of both scans, given")
    low, high = SOFT_TISSUE_HU
    differences = []
    for axis in (0, 1):
        lag = min(_LAG, change.shape[axis] // 2)
        if lag < 1:
            continue
        thinner = max(1, 2 * change.size // _MOST_PAIRS)
        differences.append(_apart(pre.data, change, axis, lag, thinner, (low, high)))
    pairs = np.concatenate([np.empty(0), *differences])
    if pairs.size < _FEWEST_PAIRS:
        text = (
            f"the noise could not be estimated from {pairs.size} pairs of soft-tissue voxels; standard "
            "errors of voxels are missing. Give noise_sd"
        )
        return DifferenceNoise(
            math.nan, int(pairs.size), "too little soft tissue", (Caution("noise-unknown", text),)
        )
    sd = _robust_sd(pairs) / math.sqrt(2.0)
    return DifferenceNoise(sd, int(pairs.size), "median difference of soft-tissue voxels eight apart")


def _robust_sd(values: npt.NDArray[np.float64]) -> float:
    """Scaled median of what does not stand out, so that a tenth of outliers changes it by little."""
    size = np.abs(values)
    sd = _MAD_TO_SD * float(np.median(size))
    for _ in range(_ROUNDS):
        sd = _MAD_TO_SD * float(np.median(size[size <= _OUTLYING * sd]))
    return sd


def _apart(
    pre: FloatArray, change: FloatArray, axis: int, lag: int, thinner: int, window: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Differences of voxels `lag` apart along an axis, of every `thinner`-th voxel, both soft tissue."""
    first = np.moveaxis(change, axis, 0)[:-lag]
    second = np.moveaxis(change, axis, 0)[lag:]
    tissue_first = np.moveaxis(pre, axis, 0)[:-lag]
    tissue_second = np.moveaxis(pre, axis, 0)[lag:]
    chosen = _every(first.shape, thinner)
    kept = [part[chosen].ravel().astype(np.float64) for part in (first, second, tissue_first, tissue_second)]
    low, high = window
    usable = np.isfinite(kept[0]) & np.isfinite(kept[1])
    for tissue in kept[2:]:
        usable &= (tissue >= low) & (tissue <= high)
    return np.asarray((kept[1] - kept[0])[usable])


def _every(shape: tuple[int, ...], thinner: int) -> tuple[slice, ...]:
    """Slices that keep about one voxel in `thinner`, evenly in all directions of the longest axes."""
    steps = [1] * len(shape)
    while np.prod(steps) < thinner:
        axis = int(np.argmax([n / step for n, step in zip(shape, steps, strict=True)]))
        steps[axis] += 1
    return tuple(slice(None, None, step) for step in steps)
