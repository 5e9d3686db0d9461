"""Oxygen saturation of regions from their mean haemoglobin, which single weak voxels cannot spoil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.msot.oxygenation import DETECTION_SDS
from imgtheranostics.msot.oxygenation_maps import Oxygenation
from imgtheranostics.msot.region_averages import RegionMean, region_mean_series
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag, Volume

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RegionSaturation:
    """Oxygen saturation of a region's mean haemoglobin over time.

    Attributes
    ----------
    region : str
    so2, standard_error : (n_frames,) ndarray
        In %. NaN where the mean haemoglobin is not above 0 or below three of its standard errors.
    flags : (n_frames,) ndarray of uint16
        Why it is NaN; of no voxel with a value `Flag.INVALID_INPUT`.
    freedom : (n_frames,) ndarray
        Degrees of freedom of the standard errors.
    """

    region: str
    so2: FloatArray
    standard_error: FloatArray
    flags: npt.NDArray[np.uint16]
    freedom: FloatArray


def region_so2(
    oxygenation: Oxygenation,
    regions: Regions,
    *,
    resolution_mm: float | Sequence[float] | None = None,
    workers: int | None = None,
) -> list[RegionSaturation]:
    """Mean HbO2 over mean total haemoglobin of each region, in each frame.

    Unlike the mean of the voxels' saturations it is not biased by the voxels that are masked for too little
    haemoglobin, nor by the noise of single voxels.

    Parameters
    ----------
    oxygenation : Oxygenation
    regions : Regions
    resolution_mm, workers
        As in `imgtheranostics.msot.region_means`.

    Returns
    -------
    list of RegionSaturation

    Raises
    ------
    GeometryMismatch
        If regions lie on another grid, or one is empty.

    Notes
    -----
    With the saturation s of the region, its error is that of the mean of
    ``(HbO2 - s THb) / mean THb``, which holds the covariance of the two forms and the correlation of voxels.
    """
    fitted = regions.fit_to(oxygenation.so2.grid)
    oxygenated, deoxygenated = (
        oxygenation.unmixed.estimate(name).value for name in (oxygenation.hbo2, oxygenation.hb)
    )
    total = oxygenated.replace(data=oxygenated.data.astype(np.float64) + deoxygenated.data, warnings=())
    means = [
        region_mean_series(one, fitted, resolution_mm=resolution_mm, required=False, workers=workers)
        for one in (oxygenated, total)
    ]
    found = []
    for place, name in enumerate(fitted):
        above, below = (np.array([row[place].value for row in rows]) for rows in means)
        noise = np.array([row[place].standard_error for row in means[1]])
        flags = np.where(below > 0, 0, Flag.NEGATIVE_AMPLITUDE.value).astype(np.uint16)
        flags[below < DETECTION_SDS * noise] |= Flag.BELOW_NOISE.value
        flags[~np.isfinite(below)] = Flag.INVALID_INPUT.value
        share = np.divide(above, below, out=np.full(below.shape, np.nan), where=flags == 0)
        linear = _linearised(oxygenated, total, share, below)
        errors = region_mean_series(
            linear, fitted, (name,), resolution_mm=resolution_mm, required=False, workers=workers
        )
        found.append(_saturation(name, share, flags, [row[0] for row in errors]))
    return found


def _linearised(oxygenated: Volume, total: Volume, share: FloatArray, mean: FloatArray) -> Volume:
    """What each voxel adds to the saturation of the mean; 0 in frames without one."""
    shape = oxygenated.shape[3:]
    known = np.isfinite(share)
    factor = np.where(known, share, 0.0).reshape(shape, order="F")
    scale = np.where(known, mean, np.inf).reshape(shape, order="F")
    return oxygenated.replace(data=(oxygenated.data - factor * total.data) / scale, warnings=())


def _saturation(
    name: str, share: FloatArray, flags: npt.NDArray[np.uint16], errors: Sequence[RegionMean]
) -> RegionSaturation:
    known = flags == 0
    outside = known & ((share < 0.0) | (share > 1.0))
    flags[outside] |= Flag.OUTSIDE_RANGE.value
    error = np.where(known, [one.standard_error for one in errors], np.nan)
    return RegionSaturation(
        name, 100.0 * share, 100.0 * error, flags, np.array([one.freedom for one in errors])
    )
