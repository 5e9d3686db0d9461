"""Means of regions in optoacoustic images, with the error that noise correlated by the resolution leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import NothingUsable
from imgtheranostics.mapping.blank_regions import voxel_list_noise
from imgtheranostics.mapping.detection import DETECTION_SDS
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.msot.region_shapes import RegionShape
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Estimate, Flag, Volume

IndexArray = npt.NDArray[np.int64]

Blanks = Mask | str

_FEWEST_VOXELS = 8
_LEAST_FREEDOM = 0.5
_LARGEST_SHARE = 1.0 / 1.5
_HIGHEST_CORRELATION = 0.99
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class RegionMean:
    """Mean of a region, negative voxels included, and how well it is known.

    Attributes
    ----------
    region : str
    value : float
        In the unit of the image.
    standard_error : float
        By noise alone, with the correlation of the voxels; NaN where nobody knows it.
    calibration_error : float
        What all voxels share, which averaging does not reduce.
    freedom : float
        Degrees of freedom of `standard_error`.
    n_valid : int
        Voxels with a value.
    held_at_zero : float
        Share of them that non-negative unmixing held at zero.
    rule : str
        Where the standard error is from.
    detection_limit : float
        3.3 standard deviations of the means of blank regions of the same shape; NaN without blanks.
    """

    region: str
    value: float
    standard_error: float
    calibration_error: float
    freedom: float
    n_valid: int
    held_at_zero: float
    rule: str
    detection_limit: float = math.nan

    @property
    def total_error(self) -> float:
        """Noise and calibration in quadrature."""
        return math.hypot(self.standard_error, self.calibration_error)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the mean: noise by Student's t, and the calibration by the normal distribution."""
        from scipy import special

        side = 0.5 + 0.5 * level
        noise = float(special.stdtrit(self.freedom, side)) * self.standard_error
        reach = math.hypot(noise, float(special.ndtri(side)) * self.calibration_error)
        return self.value - reach, self.value + reach

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": self.rule,
            "mean": self.value,
            "standard_error": self.standard_error,
            "degrees_of_freedom": self.freedom,
            "n_valid": self.n_valid,
        }


def region_means(
    x: Volume | Estimate,
    regions: Regions,
    names: Sequence[str] | None = None,
    *,
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    workers: int | None = None,
) -> list[RegionMean]:
    """Mean of each region of one image.

    The standard error is the scatter of the means of copies of the region over blank tissue, where that is
    given and has room; else it is from the spread of the region's own voxels and the correlation between
    neighbours. Structure inside of a region then counts as noise, so that the error is rather too large.

    Parameters
    ----------
    x : Volume or Estimate
        One image, without axes beyond space.
    regions : Regions
        On its grid.
    names : sequence of str, optional
        Which; all of them without it.
    blanks : str, Volume, Regions or (i, j, k) array_like, optional
        Tissue without agent: the name of a region, or a mask.
    resolution_mm : float or 3 floats, optional
        Full width at half maximum of the image's resolution; without it, the correlation is estimated.
    workers : int, optional

    Returns
    -------
    list of RegionMean

    Raises
    ------
    GeometryMismatch
        If regions or blanks lie on another grid, or a region is empty.
    NothingUsable
        If no voxel of a region has a value.
    UnknownChoice
        If a region does not exist.
    ValueError
        If the image has further axes.
    """
    value = x.value if isinstance(x, Estimate) else x
    if value.axes:
        raise ValueError(
            f"a mean needs one image, not one along {value.axes[0].name}: choose it with frame()"
        )
    (means,) = region_mean_series(
        x, regions, names, blanks=blanks, resolution_mm=resolution_mm, workers=workers
    )
    return means


def region_mean_series(
    x: Volume | Estimate,
    regions: Regions,
    names: Sequence[str] | None = None,
    *,
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    required: bool = True,
    workers: int | None = None,
) -> list[list[RegionMean]]:
    """`region_means` of each image of a series; parameters and errors as there.

    With ``required=False`` the mean of a region without a value is NaN.

    Returns
    -------
    list of list of RegionMean
        For each sample of the axes, the last one slowest, in the order of the regions.
    """
    value = x.value if isinstance(x, Estimate) else x
    fitted = regions.fit_to(value.grid)
    wanted = fitted if names is None else known_regions(fitted, names)
    table = roi_statistics(x, wanted, resolution_mm=resolution_mm, workers=workers)
    blank = _blank_tissue(value, fitted, blanks)
    shapes = [
        RegionShape.of(name, voxels, value) for name, voxels in zip(wanted, wanted.voxel_lists(), strict=True)
    ]
    details = table.attrs.pop("details")  # pandas copies attributes with each column that is taken out
    rows = list(zip(table.itertuples(), details, strict=True))
    flags = x.flags.planar if isinstance(x, Estimate) else None
    found = []
    for sample, image in enumerate(value.planar):
        one = Volume(image.reshape(value.grid.shape, order="F"), value.affine, value.quantity, value.unit)
        here = rows[sample * len(shapes) : (sample + 1) * len(shapes)]
        marks = None if flags is None else flags[sample]
        found.append(
            [
                _mean(shape, row, detail, marks, _error(one, shape, blank, blanks, detail, row))
                if row.n_valid or required
                else _no_mean(shape.name)
                for shape, (row, detail) in zip(shapes, here, strict=True)
            ]
        )
    return found


def _no_mean(name: str) -> RegionMean:
    nothing = math.nan
    return RegionMean(name, nothing, nothing, nothing, nothing, 0, 0.0, "no voxel has a value")


class _Noise(NamedTuple):
    """Standard error of a mean by noise, its degrees of freedom, their origin, and what is detected."""

    error: float
    freedom: float
    rule: str
    limit: float = math.nan


def _mean(
    shape: RegionShape,
    row: Any,
    detail: dict[str, Any],
    flags: npt.NDArray[np.uint16] | None,
    noise: _Noise,
) -> RegionMean:
    if not row.n_valid:
        raise NothingUsable("no voxel of a region has a value", where=f"region {shape.name}")
    held = 0.0 if flags is None else float(np.mean((flags[shape.voxels] & Flag.AT_BOUND.value) != 0))
    shared = float(detail["standard_error_calibration"])
    return RegionMean(
        shape.name, float(row.mean), noise.error, shared, noise.freedom, int(row.n_valid), held, noise.rule,
        noise.limit,
    )  # fmt: skip


def known_regions(regions: Regions, names: Sequence[str]) -> Regions:
    """Only the named regions; `UnknownChoice` when one does not exist."""
    missing = [name for name in names if name not in regions.names.values()]
    if missing:
        raise UnknownChoice(f"no region {', '.join(map(repr, missing))}; there are {', '.join(regions)}")
    return regions.subset(list(dict.fromkeys(names)))


def _blank_tissue(value: Volume, regions: Regions, blanks: Blanks) -> npt.NDArray[np.bool_] | None:
    if blanks is None:
        return None
    inside = (
        known_regions(regions, [blanks]).mask(blanks)
        if isinstance(blanks, str)
        else mask_array(blanks, value)
    )
    return np.asarray(inside.ravel(order="F"))


def _error(
    image: Volume,
    shape: RegionShape,
    blank: npt.NDArray[np.bool_] | None,
    blanks: Blanks,
    detail: dict[str, Any],
    row: Any,
) -> _Noise:
    if blank is not None:
        usable = blank & np.isfinite(image.data.ravel(order="F"))
        own = isinstance(blanks, str) and blanks == shape.name
        noise = voxel_list_noise(image, shape.voxels, usable, own=own)
        if math.isfinite(noise.sd):
            limit = DETECTION_SDS * noise.sd
            return _Noise(noise.standard_error, float(noise.n_blanks - 1), noise.rule, limit)
    rule = "spread of the region's voxels over their effective number"
    if blank is not None:
        rule += ": no copies of the region fit into the blank tissue"
    if row.n_valid < _FEWEST_VOXELS:
        return _Noise(float(detail["standard_error_sampling"]), _LEAST_FREEDOM, rule)
    share = _share(shape, detail)
    error = float(row.sd) * math.sqrt((1.0 - 1.0 / row.n_valid) * share / (1.0 - share))
    return _Noise(error, max(_LEAST_FREEDOM, 1.0 / share - 1.0), rule)


def _share(shape: RegionShape, detail: dict[str, Any]) -> float:
    """Variance of a mean over that of a voxel, with the correlation of neighbours.

    An estimated correlation is about the region's own mean, which takes the variance of the mean out of both
    numerator and denominator: it is too low by that, which is undone by repeating.
    """
    measured = np.array(detail["neighbour_correlation"])
    share = min(shape.share(measured), _LARGEST_SHARE)
    if detail["resolution"] == "given":
        return share
    for _ in range(_ROUNDS):
        correlation = np.clip(measured * (1.0 - share) + share, 0.0, _HIGHEST_CORRELATION)
        share = min(shape.share(correlation), _LARGEST_SHARE)
    return share
