"""Uptake of one region over another's, such as tumour over liver, with its error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, NothingUsable
from imgtheranostics.mapping.ratio_interval import ratio_interval
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.segmentation.search_regions import static_volume
from imgtheranostics.volume import Estimate, Volume

UNCERTAIN = 0.15
"""Relative standard error of a denominator above which the ratio's own error is not symmetric."""


@dataclass(frozen=True)
class RegionUptake:
    """Mean of one region and what is known of its error.

    Attributes
    ----------
    region : str
    mean : float
    standard_error : float
        Of the mean by the spread of the voxels and their correlation, without calibration.
    n_effective : float
        Voxels that count as independent.
    voxels : (n,) ndarray
        Flat indices, to find what two regions share.
    """

    region: str
    mean: float
    standard_error: float
    n_effective: float
    voxels: np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class UptakeRatio:
    """One region's mean over another's.

    Attributes
    ----------
    numerator, denominator : str
    value : float
        NaN where the denominator is not above 0.
    standard_error : float
        By the delta method; the interval says more where the denominator is uncertain.
    low, high : float
        Interval by Fieller's theorem; `high` is infinite where the denominator is not above its noise.
    level : float
        Probability of the interval.
    correlation : float
        Of the two means, from voxels that both regions hold.
    calibration_relative : float
        Error that both means share, and that therefore is not in the ratio: dose, scanner, body measure.
    warnings : tuple of Caution
    """

    numerator: str
    denominator: str
    value: float
    standard_error: float
    low: float
    high: float
    level: float
    correlation: float
    calibration_relative: float
    warnings: tuple[Caution, ...] = ()

    @property
    def interval(self) -> tuple[float, float]:
        """The two ends."""
        return self.low, self.high


def uptake_ratio(
    x: Volume | Estimate,
    regions: Regions,
    numerator: str,
    denominator: str,
    *,
    resolution_mm: float | None = None,
    level: float = 0.95,
    workers: int | None = None,
) -> UptakeRatio:
    """Mean uptake of one region over another's in one image, with its error.

    What scales the whole image cancels: the error of dose, calibration and body measure that an Estimate
    carries is not in the ratio, and an image in counts or Bq/mL gives the same as one in SUV. What is left
    is the noise of both means. Spill-over between the regions and partial volume are not in it.

    Parameters
    ----------
    x : Volume or Estimate
        Without further axes; linear in activity.
    regions : Regions
        On the grid of `x`.
    numerator, denominator : str
        Names, such as tumour and liver.
    resolution_mm : float, optional
        As in `imgtheranostics.regions.roi_statistics`.
    level : float
        Probability of the interval.
    workers : int, optional

    Returns
    -------
    UptakeRatio

    Raises
    ------
    UnknownChoice
        If a region does not exist, or is its own denominator.
    ValueError
        If `level` is no probability.
    NothingUsable
        If a region holds no value.
    GeometryMismatch, UnsupportedInput
        If the regions lie on another grid, or the image is a series.
    """
    for name in (numerator, denominator):
        if name not in list(regions):
            raise UnknownChoice(f"there is no region {name!r}; there are {', '.join(regions)}")
    means = region_uptakes(
        x, regions.subset([numerator, denominator]), resolution_mm=resolution_mm, workers=workers
    )
    shared = x.calibration_relative if isinstance(x, Estimate) else 0.0
    return ratio_of(means[numerator], means[denominator], level=level, calibration_relative=shared)


def region_uptakes(
    x: Volume | Estimate,
    regions: Regions,
    *,
    resolution_mm: float | None = None,
    workers: int | None = None,
    table: Any = None,
) -> Mapping[str, RegionUptake]:
    """Means of regions with the error that they do not share; of a table of `roi_statistics` if given.

    Raises
    ------
    NothingUsable
        If a region holds no value.
    """
    v = static_volume(x)
    fitted = regions.fit_to(v.grid)
    if table is None:
        table = roi_statistics(x, fitted, resolution_mm=resolution_mm, workers=workers)
    found = {}
    rows = zip(table["region"], table["mean"], table["n_valid"], table.attrs["details"], strict=True)
    for (name, mean, n_valid, detail), voxels in zip(rows, fitted.voxel_lists(), strict=True):
        if not n_valid:
            raise NothingUsable("a region holds no value", where=str(name))
        error = float(detail["standard_error_sampling"])
        found[str(name)] = RegionUptake(str(name), float(mean), error, float(detail["n_effective"]), voxels)
    return found


def ratio_of(
    above: RegionUptake, below: RegionUptake, *, level: float = 0.95, calibration_relative: float = 0.0
) -> UptakeRatio:
    """The ratio of two means.

    Voxels that both regions hold correlate the means, by their number over the geometric mean of both.

    Raises
    ------
    UnknownChoice
        If both are one region.
    ValueError
        If `level` is no probability.
    """
    if above.region == below.region:
        raise UnknownChoice(f"region {above.region!r} cannot be its own denominator")
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level is a probability from 0.5 up to but not 1, not {level!r}")
    shared = np.intersect1d(above.voxels, below.voxels, assume_unique=True).size
    correlation = shared / math.sqrt(above.voxels.size * below.voxels.size)
    joint = correlation * above.standard_error * below.standard_error
    value = above.mean / below.mean if below.mean > 0 else math.nan
    variance = above.standard_error**2 - 2.0 * value * joint + (value * below.standard_error) ** 2
    error = math.sqrt(max(variance, 0.0)) / below.mean if math.isfinite(variance) else math.nan
    square = _quantile(level, above, below) ** 2
    low, high = ratio_interval(
        above.mean,
        below.mean,
        square * above.standard_error**2,
        square * below.standard_error**2,
        square * joint,
    )
    return UptakeRatio(
        above.region,
        below.region,
        value,
        error,
        low,
        high,
        level,
        correlation,
        calibration_relative,
        _cautions(above, below, shared, high),
    )


def _quantile(level: float, above: RegionUptake, below: RegionUptake) -> float:
    """Of Student's t, two-sided, with the degrees of freedom of Welch and Satterthwaite."""
    from scipy import special

    ratio = above.mean / below.mean if below.mean > 0 else 0.0
    parts = above.standard_error**2, (ratio * below.standard_error) ** 2
    freedoms = [max(one.n_effective - 1.0, 1.0) for one in (above, below)]
    weight = parts[0] ** 2 / freedoms[0] + parts[1] ** 2 / freedoms[1]
    if not weight > 0:
        return float(special.ndtri(0.5 + 0.5 * level))
    return float(special.stdtrit(sum(parts) ** 2 / weight, 0.5 + 0.5 * level))


def _cautions(above: RegionUptake, below: RegionUptake, shared: int, high: float) -> tuple[Caution, ...]:
    found = []
    pair = f"{above.region}/{below.region}"
    if shared:
        text = f"{pair}: the regions share {shared} voxels, which pulls their ratio towards 1"
        found.append(Caution("regions-overlap", text, pair))
    if not below.mean > 0:
        text = f"{pair}: the mean of {below.region} is not above 0, so there is no ratio"
        found.append(Caution("denominator-not-positive", text, pair))
    elif math.isinf(high):
        text = f"{pair}: the mean of {below.region} is not above its noise: the ratio has no upper end"
        found.append(Caution("denominator-not-detected", text, pair))
    elif below.standard_error > UNCERTAIN * below.mean:
        text = (
            f"{pair}: the mean of {below.region} is uncertain by "
            f"{100 * below.standard_error / below.mean:.0f} %: take the interval, not the standard error"
        )
        found.append(Caution("denominator-uncertain", text, pair))
    return tuple(found)
