"""Frames before the agent: which they are, the power of regions against them, and whether they are quiet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput
from imgtheranostics.ultrasound.region_power import DECIBELS, PowerReader, RegionPower
from imgtheranostics.ultrasound.speckle import Cells, Patch, count_cells, images_used
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

Frames = int | slice | range | Sequence[int]

_SMALLEST_RISE = 0.01
_CERTAIN = 0.001
_LIKELY = 0.01
_STANDS_OUT = 3.0
_ROUNDING = 1e-12


def frame_list(frames: Frames | None, n_frames: int, purpose: str = "enhancement") -> IndexArray:
    """The frames before the agent as a list, ascending.

    Parameters
    ----------
    frames : int, slice, range, (first, stop) or sequence of int
        A number counts from the first frame on; a pair in a tuple is a window whose end is not in it;
        anything else lists frames, counted from 0.
    n_frames : int

    Raises
    ------
    MissingMetadata
        If nobody states them.
    UnsupportedInput
        If they do not lie within the cine.
    ValueError
        If they are no whole numbers, or a window ends before it begins.
    """
    if frames is None:
        raise MissingMetadata(
            f"the frames before the agent are not stated; {purpose} needs them",
            where="--baseline-frames (baseline_frames=)",
            needed="a list of frames, counted from 0, such as 0:5 for the first five",
        )
    index = np.unique(np.asarray(_counted(frames, n_frames), np.int64))
    if not index.size or index[0] < 0 or index[-1] >= n_frames:
        raise UnsupportedInput(
            "the frames before the agent do not lie within the cine",
            where="--baseline-frames (baseline_frames=)",
            found=", ".join(str(n) for n in index[:10]) + (" ..." if index.size > 10 else "")
            if index.size
            else "no frame",
            needed=f"frames from 0 to {n_frames - 1}",
        )
    return index


def _counted(frames: Frames, n_frames: int) -> Sequence[int]:
    """The frames that a number, a slice, a window or a list stands for."""
    if isinstance(frames, slice):
        return range(*frames.indices(n_frames))
    listed = np.atleast_1d(np.asarray(frames))
    if listed.size and listed.dtype.kind not in "iu":
        raise ValueError(f"frames are whole numbers, counted from 0, not {frames!r}")
    if np.ndim(frames) == 0:
        return range(int(listed[0]))
    numbers = [int(n) for n in listed]
    if not isinstance(frames, tuple) or len(numbers) != 2:
        return numbers
    if not numbers[0] < numbers[1]:
        raise ValueError(f"a window of frames (first, stop) ends after it begins, unlike {frames!r}")
    return range(*numbers)


@dataclass(frozen=True, eq=False)
class AgainstBaseline:
    """Power of a region over that of its baseline, in every frame.

    Attributes
    ----------
    ratio, relative_error : (n_frames,) ndarray
        Linear, and the standard error over the value. Speckle that stays the same in both cancels.
    floor_db : (n_frames,) ndarray
        Half the range of the ratio in dB that pixels at the floor leave open.
    flags : (n_frames,) ndarray of uint16
    baseline : float
        Mean power of the baseline frames; NaN where it is refused.
    cells : Cells
        Independent cells of the change.
    cautions : tuple of Caution
    """

    ratio: FloatArray
    relative_error: FloatArray
    floor_db: FloatArray
    flags: npt.NDArray[np.uint16]
    baseline: float
    cells: Cells
    cautions: tuple[Caution, ...]

    @property
    def decibels(self) -> FloatArray:
        """Enhancement in dB."""
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels: FloatArray = 10.0 * np.log10(self.ratio)
        decibels[np.abs(decibels) < _ROUNDING] = 0.0
        return decibels

    @property
    def error_db(self) -> FloatArray:
        """Its standard error."""
        error: FloatArray = DECIBELS * self.relative_error
        error[error < _ROUNDING] = 0.0
        return error


def against_baseline(
    reader: PowerReader, power: RegionPower, frames: IndexArray, shape: Sequence[int], name: str
) -> AgainstBaseline:
    """The power of one region over that of its baseline frames, pixel by pixel the same in both.

    The error is that of the ratio of two means over the same pixels: the scatter of P/mean(P) - B/mean(B)
    over the independent cells of that difference. Where the baseline frames scatter by more than that tells
    (breathing, probe), the excess is added.

    Parameters
    ----------
    reader : PowerReader
    power : RegionPower
        Of the same region.
    frames : (n_baseline,) int64
    shape : sequence of int
        Of the image.
    name : str
        Of the region, for cautions.
    """
    before = np.mean([reader.frame(int(n)) for n in frames], axis=0)
    ratio, variance = _ratios(reader, before)
    patch = Patch.of(reader.voxels, shape)
    cells = count_cells(
        patch, [_change(reader.frame(int(k)), before) for k in images_used(patch, len(reader))]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        n_valid = np.maximum(power.n_valid, 1)
        relative = variance * cells.variance_factor * reader.voxels.size / n_valid
        share = power.floor_half / np.where(power.mean > 0, power.mean, np.nan)
        before_share = float(np.mean(share[frames]))
        floor_db = DECIBELS * (np.arctanh(np.minimum(share, 0.99)) + np.arctanh(min(before_share, 0.99)))
    excess, cautions = _quietness(ratio[frames], relative[frames], frames, name)
    relative = relative + excess * (1.0 + 1.0 / frames.size)
    error = np.sqrt(relative + (share**2 + before_share**2) / 3.0)
    flags = power.flags | np.bitwise_or.reduce(power.flags[frames])
    flags = flags | np.where(np.isfinite(ratio) & (ratio > 0), 0, Flag.INVALID_INPUT.value)
    bad = flags != 0
    known = before[np.isfinite(before)]
    refused = bool(power.flags[frames].any()) or not known.size
    return AgainstBaseline(
        np.where(bad, np.nan, ratio),
        np.where(bad, np.nan, error),
        floor_db,
        flags.astype(np.uint16),
        float("nan") if refused else float(known.mean()),
        cells,
        cautions,
    )


def _ratios(reader: PowerReader, before: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ratio of the means, and the mean square of the relative change of pixels, in every frame."""
    ratio, variance = np.full((2, len(reader)), np.nan)
    for which, _, power in reader.blocks():
        known = np.isfinite(power) & np.isfinite(before)
        size = np.maximum(np.count_nonzero(known, axis=1), 1)[:, np.newaxis]
        now = np.where(known, power, 0.0)
        then = np.where(known, before, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, baseline = now.sum(1, keepdims=True) / size, then.sum(1, keepdims=True) / size
            ratio[which] = (mean / baseline)[:, 0]
            variance[which] = (((now / mean - then / baseline) ** 2).sum(1, keepdims=True) / size)[:, 0]
    return ratio, variance


def _change(power: FloatArray, before: FloatArray) -> FloatArray:
    known = np.isfinite(power) & np.isfinite(before)
    if not known.any():
        return np.full(power.shape, np.nan)
    mean, baseline = float(power[known].mean()), float(before[known].mean())
    if not (mean > 0 and baseline > 0):
        return np.zeros_like(power)
    return np.asarray(power / mean - before / baseline)


def _quietness(
    ratio: FloatArray, expected: FloatArray, frames: IndexArray, name: str
) -> tuple[float, tuple[Caution, ...]]:
    """Variance of the baseline means beyond what speckle tells, and cautions; ratios are near 1."""
    n = frames.size
    if n < 2 or not np.isfinite(ratio).all() or not np.isfinite(expected).all():
        return 0.0, ()
    cautions = []
    rise, rise_error, threshold = _rise(ratio, expected, frames)
    if rise > _SMALLEST_RISE and rise > threshold * rise_error:
        cautions.append(
            Caution(
                "rising-baseline",
                f"{name}: the power rises by {100 * rise:.3g} % over the baseline frames; the agent may have "
                "arrived already, so that the enhancement is too low",
                name,
            )
        )
    seen = float(np.var(ratio, ddof=1))
    tells = float(expected.mean()) * n / (n - 1)
    if seen > max(tells * _chi2_over_freedom(n - 1), _SMALLEST_RISE**2):
        cautions.append(
            Caution(
                "baseline-scatter",
                f"{name}: the baseline frames scatter by {100 * np.sqrt(seen):.3g} %, more than speckle "
                f"({100 * np.sqrt(tells):.2g} %); motion or gain changes, which the standard errors contain",
                name,
            )
        )
        return seen - tells, tuple(cautions)
    return 0.0, tuple(cautions)


def _rise(ratio: FloatArray, expected: FloatArray, frames: IndexArray) -> tuple[float, float, float]:
    """Rise of a line over the baseline frames, its standard error, and how many of them stand out."""
    from scipy.stats import t as student

    at = frames - frames.mean()
    squares = float(at @ at)
    slope = float(at @ ratio) / squares
    span = float(frames[-1] - frames[0])
    known = float(np.sqrt(expected.mean() / squares))
    if frames.size < 4:
        return slope * span, known * span, _STANDS_OUT
    residual = ratio - ratio.mean() - slope * at
    freedom = frames.size - 2
    own = float(np.sqrt(residual @ residual / freedom / squares))
    return slope * span, max(own, known) * span, float(student.ppf(1.0 - _LIKELY / 10.0, freedom))


def _chi2_over_freedom(freedom: int) -> float:
    from scipy.stats import chi2

    return float(chi2.ppf(1.0 - _CERTAIN, freedom)) / freedom


def baseline_decision(frames: IndexArray) -> dict[str, Any]:
    """For the record of decisions."""
    return {"rule": "given", "frames": frames.tolist()}
