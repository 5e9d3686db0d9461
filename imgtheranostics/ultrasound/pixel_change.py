"""Two sets of frames of one region: the change of its mean linear power, as a ratio and as a difference.

The error of either is that of independent speckle cells of the change itself, so that speckle which stays the
same cancels. Where frames scatter by more than that tells beyond doubt (breathing, probe), the scatter of
their means counts instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import shortfall
from imgtheranostics.ultrasound.region_power import PowerReader, RegionPower
from imgtheranostics.ultrasound.speckle import Cells, Patch, count_cells
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

_FEWEST_FRAMES = 3
_FEWEST_FOR_CORRELATION = 8
_MOST_CORRELATION = 0.9
_SIGNIFICANT = 2.0
_CERTAIN = 0.001


@dataclass(frozen=True, eq=False)
class FrameMean:
    """Pixels of a region averaged over frames, as linear power.

    Attributes
    ----------
    pixels : (n_pixels,) ndarray
        NaN where a pixel is missing in a frame.
    frame_variance : float
        Variance of the mean by what differs from frame to frame, neighbours in time being correlated; 0 where
        too few frames tell.
    n_frames : int
    floor_half : float
        Half the range that pixels at the floor leave open.
    flags : int
        Why the mean is refused; 0 where it is not.
    """

    pixels: FloatArray
    frame_variance: float
    n_frames: int
    floor_half: float
    flags: int

    @classmethod
    def of(
        cls, reader: PowerReader, power: RegionPower, frames: IndexArray, *, steady: bool = True
    ) -> FrameMean:
        """The mean over these frames of the region that `power` is of.

        Where the echo is not `steady`, as during a bolus, its course is no error of the mean: only what
        differs between neighbouring frames is.
        """
        pixels = np.mean([reader.frame(int(n)) for n in frames], axis=0)
        means = power.mean[frames]
        flags = int(np.bitwise_or.reduce(power.flags[frames]))
        half = float(np.mean(power.floor_half[frames]))
        variance = float(variance_of_mean(means)) if steady else _variance_about_course(means)
        return cls(pixels, variance, frames.size, half, flags)


def variance_of_mean(values: npt.ArrayLike) -> FloatArray:
    """Variance of the mean of series whose neighbours may be correlated, (n, ...) along the first axis.

    n values of a lag-1 correlation r count as n (1 - r)/(1 + r). r is that of all series together, corrected
    for the means that were taken off, and counts where it stands out of its noise. 0 for fewer than three
    values; NaN where one is missing.
    """
    series = np.asarray(values, np.float64)
    n = series.shape[0]
    if n < _FEWEST_FRAMES:
        return np.zeros(series.shape[1:])
    centred = series - series.mean(axis=0)
    squares = np.sum(centred**2, axis=0)
    r = _neighbour_correlation(centred, squares) if n >= _FEWEST_FOR_CORRELATION else 0.0
    variance = squares / (n - 1) / shortfall(n - 1) ** 2
    return np.asarray(variance / n * (1.0 + r) / (1.0 - r))


def _variance_about_course(means: FloatArray) -> float:
    """Variance of the mean by the differences of neighbours in time; 0 for fewer than three values."""
    n = means.size
    if n < _FEWEST_FRAMES:
        return 0.0
    return float(np.sum(np.diff(means) ** 2) / (2.0 * (n - 1)) / n)


def _neighbour_correlation(centred: FloatArray, squares: FloatArray) -> float:
    """Correlation of neighbours in time, of all series that vary; 0 where it may be noise."""
    n = centred.shape[0]
    varies = np.isfinite(squares) & (squares > 0)
    count = int(np.count_nonzero(varies))
    if not count:
        return 0.0
    products = np.sum(centred[1:] * centred[:-1], axis=0)
    r = float(np.mean(products[varies] / squares[varies])) + 1.0 / n
    return min(r, _MOST_CORRELATION) if r > _SIGNIFICANT / np.sqrt(n * count) else 0.0


@dataclass(frozen=True, eq=False)
class Change:
    """What changed in a region from one set of frames to another, in linear power.

    Attributes
    ----------
    before, after : float
        Means over the pixels that both have.
    ratio, ratio_error : float
        After over before.
    difference, difference_error : float
        After minus before.
    n_valid : int
    flags : int
        0, or why it is refused; numbers are NaN then.
    cells : Cells
        Independent cells of the ratio.
    """

    before: float
    after: float
    ratio: float
    ratio_error: float
    difference: float
    difference_error: float
    n_valid: int
    flags: int
    cells: Cells


def change_of(before: FrameMean, after: FrameMean, patch: Patch) -> Change:
    """The change between two means over the same pixels."""
    known = np.isfinite(before.pixels) & np.isfinite(after.pixels)
    n = int(np.count_nonzero(known))
    flags = before.flags | after.flags
    if n == 0:
        flags |= Flag.INVALID_INPUT.value
    if flags:
        nothing = (float("nan"),) * 6
        return Change(*nothing, n, flags, Cells(float("nan"), 0.0))
    then, now = np.where(known, before.pixels, np.nan), np.where(known, after.pixels, np.nan)
    mean_then, mean_now = float(then[known].mean()), float(now[known].mean())
    relative = now / mean_now - then / mean_then
    cells = count_cells(patch, [relative])
    spatial = float(np.mean(relative[known] ** 2)) * cells.variance_factor * patch.place.size / n
    of_frames = before.frame_variance / mean_then**2 + after.frame_variance / mean_now**2
    floor = (before.floor_half / mean_then) ** 2 / 3.0 + (after.floor_half / mean_now) ** 2 / 3.0
    ratio = mean_now / mean_then
    freedom = before.n_frames + after.n_frames - 2
    shift = now - then
    own = count_cells(patch, [shift])
    spatial_shift = float(np.var(shift[known])) * own.variance_factor * patch.place.size / n
    frames_shift = before.frame_variance + after.frame_variance
    floor_shift = (before.floor_half**2 + after.floor_half**2) / 3.0
    return Change(
        mean_then,
        mean_now,
        ratio,
        ratio * float(np.sqrt(_larger(spatial, of_frames, freedom) + floor)),
        mean_now - mean_then,
        float(np.sqrt(_larger(spatial_shift, frames_shift, freedom) + floor_shift)),
        n,
        0,
        cells,
    )


def _larger(spatial: float, of_frames: float, freedom: int) -> float:
    """The variance that speckle tells, or that of the frames where it is larger beyond doubt.

    Unknown where the region is too small to tell its own.
    """
    from scipy.stats import chi2

    if np.isnan(spatial) or freedom < 1 or of_frames <= spatial:
        return spatial
    largest = spatial * float(chi2.ppf(1.0 - _CERTAIN, freedom)) / freedom
    return of_frames if of_frames > largest else spatial
