"""Mean echo power of regions in every frame, with what clipping and speckle make uncertain of it.

Pixels at the floor of the log compression are left-censored: their power lies between 0 and that of grey
level 1. Leaving them out would raise the mean of speckle, by as much as their share; they count with the
middle of that range, and the two ends bound what they do to the mean. Pixels at the top are right-censored
without a bound: of fully developed speckle the mean is low by their share, so that more than a stated share
is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.ultrasound.echo_scale import EchoScale
from imgtheranostics.ultrasound.speckle import Cells, Patch, count_cells, images_used
from imgtheranostics.volume import Flag, Volume

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

LARGEST_SATURATED = 0.01
"""Share of saturated pixels above which a mean is refused; of speckle it is low by about that share."""

LARGEST_FLOOR_EFFECT = 0.1
"""Relative uncertainty of a mean by pixels at the floor above which it is refused (0.41 dB)."""

DECIBELS = 10.0 / np.log(10.0)
"""Decibels of a small relative change."""

_VALUES_AT_ONCE = 1 << 21


@dataclass(frozen=True, eq=False)
class RegionPower:
    """Linear echo power of one region in every frame.

    Attributes
    ----------
    mean, standard_error : (n_frames,) ndarray
        Of the region's mean; NaN where it is refused. The error contains speckle and the floor.
    n_valid, n_floor, n_saturated : (n_frames,) ndarray of int
    floor_half : (n_frames,) ndarray
        Half the range of the mean that pixels at the floor leave open.
    flags : (n_frames,) ndarray of uint16
        `Flag.SATURATED` or `Flag.BELOW_NOISE` where the mean is refused.
    quantiles : (n_frames, 6) ndarray
        Standard deviation, 5th, 50th and 95th percentile, smallest and largest pixel.
    cells : Cells
    pixel_mean : (n_frames,) ndarray
        Mean over the pixels as they are stored, also where it is refused.
    """

    mean: FloatArray
    standard_error: FloatArray
    n_valid: IndexArray
    n_floor: IndexArray
    n_saturated: IndexArray
    floor_half: FloatArray
    flags: npt.NDArray[np.uint16]
    quantiles: FloatArray
    cells: Cells
    pixel_mean: FloatArray

    @property
    def relative_error(self) -> FloatArray:
        """Standard error over the mean."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.standard_error / self.mean)


@dataclass(frozen=True, eq=False)
class PowerReader:
    """Pixels of one region, frame by frame, in float64, floor pixels in the middle of their range.

    Attributes
    ----------
    planar : (n_frames, n_voxels) ndarray
    voxels : (n_pixels,) int64
        Flat Fortran-order indices.
    scale : EchoScale or None
        Tells clipped pixels; without it none are known.
    """

    planar: npt.NDArray[np.float32]
    voxels: IndexArray
    scale: EchoScale | None

    def __len__(self) -> int:
        return int(self.planar.shape[0])

    def frame(self, n: int) -> FloatArray:
        """Power of the pixels in one frame."""
        return self._corrected(self.planar[n, self.voxels])

    def _corrected(self, raw: npt.NDArray[np.float32]) -> FloatArray:
        power = raw.astype(np.float64)
        if self.scale is not None:
            power[raw <= np.float32(self.scale.floor)] = self.scale.floor_edge / 2.0
        return power

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float32], FloatArray]]:
        """Frames in blocks: which, raw and corrected power (n, n_pixels)."""
        step = max(1, _VALUES_AT_ONCE // max(self.voxels.size, 1))
        for first in range(0, len(self), step):
            which = slice(first, min(first + step, len(self)))
            raw = self.planar[which][:, self.voxels]
            yield which, raw, self._corrected(raw)


def region_power(
    volume: Volume,
    voxels: IndexArray,
    *,
    largest_saturated: float = LARGEST_SATURATED,
    largest_floor_effect: float = LARGEST_FLOOR_EFFECT,
) -> RegionPower:
    """The mean power of one region in every frame.

    Parameters
    ----------
    volume : Volume
        ``echo_intensity`` with at most one axis beyond space.
    voxels : (n_pixels,) int64
        Flat Fortran-order indices; NaN pixels do not count.
    largest_saturated : float
        Share of saturated pixels above which the mean is NaN, with `Flag.SATURATED`.
    largest_floor_effect : float
        Relative half-range by floor pixels above which it is NaN, with `Flag.BELOW_NOISE`.
    """
    scale = EchoScale.of(volume)
    reader = PowerReader(volume.planar, voxels, scale)
    n = len(reader)
    table = np.full((n, 7), np.nan)
    counts = np.zeros((3, n), np.int64)
    for which, raw, power in reader.blocks():
        known = np.isfinite(power)
        counts[0, which] = np.count_nonzero(known, axis=1)
        if scale is not None:
            counts[1, which] = np.count_nonzero(raw <= np.float32(scale.floor), axis=1)
            counts[2, which] = np.count_nonzero(raw >= np.float32(scale.ceiling), axis=1)
        table[which] = _statistics(power, known)
    n_valid, n_floor, n_saturated = counts
    mean, sd = table[:, 0], table[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        half = (scale.floor_edge / 2.0 if scale else 0.0) * n_floor / n_valid
        refused_top = n_saturated > largest_saturated * n_valid
        refused_floor = half > largest_floor_effect * mean
    flags = np.full(n, Flag.INVALID_INPUT.value, np.uint16)
    flags[n_valid > 0] = 0
    flags[refused_top] |= Flag.SATURATED.value
    flags[refused_floor] |= Flag.BELOW_NOISE.value
    patch = Patch.of(voxels, volume.grid.shape)
    cells = count_cells(patch, [_relative(reader.frame(int(k))) for k in images_used(patch, n)])
    with np.errstate(invalid="ignore", divide="ignore"):
        biased = sd**2 * (n_valid - 1) / n_valid
        error = np.sqrt(biased * cells.variance_factor * voxels.size / n_valid + half**2 / 3.0)
    bad = flags != 0
    return RegionPower(
        np.where(bad, np.nan, mean),
        np.where(bad, np.nan, error),
        n_valid,
        n_floor,
        n_saturated,
        half,
        flags,
        table[:, 1:],
        cells,
        mean,
    )


def _relative(power: FloatArray) -> FloatArray:
    """Pixels over their mean, so that bright frames do not drown others."""
    known = power[np.isfinite(power)]
    mean = float(known.mean()) if known.size else 0.0
    return power / mean if mean > 0 else np.zeros_like(power)


def _statistics(power: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Mean, standard deviation, percentiles 5, 50, 95, smallest and largest of each row; NaN without any."""
    out = np.full((power.shape[0], 7), np.nan)
    if known.all():
        rows = [(slice(None), power)] if power.shape[1] else []
        for where, values in rows:
            out[where, 0] = values.mean(axis=1)
            out[where, 1] = values.std(axis=1, ddof=1) if values.shape[1] > 1 else np.nan
            out[where, 2:5] = np.quantile(values, (0.05, 0.5, 0.95), axis=1).T
            out[where, 5], out[where, 6] = values.min(axis=1), values.max(axis=1)
        return out
    for n, (row, inside) in enumerate(zip(power, known, strict=True)):
        values = row[inside]
        if values.size:
            sd = float(values.std(ddof=1)) if values.size > 1 else np.nan
            low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
            out[n] = (values.mean(), sd, low, middle, high, values.min(), values.max())
    return out
