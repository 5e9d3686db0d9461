"""Curves in blocks of voxels: float64 inside, the caller's type outside, little memory beside either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import FloatArray, PlanarSignal, planar, shortfall
from imgtheranostics.volume import Flag

IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]
DoubleArray = npt.NDArray[np.float64]

BLOCK_BYTES = 1 << 20
"""Size of one block of curves in float64."""


@dataclass(frozen=True, eq=False)
class Curves:
    """A signal's curves, handed out block by block, and arrays for results in its type.

    Attributes
    ----------
    planes : PlanarSignal
    chosen : (n_voxels,) ndarray of bool
    """

    planes: PlanarSignal
    chosen: BoolArray

    @classmethod
    def of(
        cls, signal: npt.ArrayLike, n: int, mask: npt.ArrayLike | None = None, name: str = "signal"
    ) -> Curves:
        """Curves of a signal (..., n); ValueError when that or the mask does not fit."""
        planes = planar(signal, n, name)
        return cls(planes, planes.chosen(mask))

    @property
    def n_samples(self) -> int:
        """Samples of a curve."""
        return int(self.planes.samples.shape[0])

    def blocks(self) -> Iterator[IndexArray]:
        """Flat indices of the chosen voxels, some at a time, in the same portions whatever the threads."""
        index = np.flatnonzero(self.chosen)
        length = max(1, BLOCK_BYTES // (8 * max(1, self.n_samples)))
        for first in range(0, index.size, length):
            yield index[first : first + length]

    def samples(self, index: IndexArray) -> DoubleArray:
        """The curves of some voxels, (n, n_some) float64; what is not finite is NaN."""
        values = np.array(self.planes.samples[:, index], dtype=np.float64, order="C")
        values[~np.isfinite(values)] = np.nan
        return values

    def flat(self, values: npt.ArrayLike, name: str) -> DoubleArray:
        """A number or a map as one float64 value per voxel; ValueError when the shape does not fit."""
        given = np.asarray(values)
        try:
            spread = np.broadcast_to(given, self.planes.shape)
        except ValueError:
            raise ValueError(f"{name} has shape {given.shape}, the signal's is {self.planes.shape}") from None
        return np.ascontiguousarray(spread.ravel(order=self.planes.order), dtype=np.float64)

    def empty_map(self) -> FloatArray:
        """NaN for every voxel."""
        return np.full(self.planes.n_voxels, np.nan, self.planes.samples.dtype)

    def empty_series(self) -> FloatArray:
        """NaN for every sample of every voxel, planar."""
        return np.full(self.planes.samples.shape, np.nan, self.planes.samples.dtype)

    def flags(self) -> FlagArray:
        """`Flag.MASKED_OUT` for every voxel that is not chosen, else 0."""
        return np.where(self.chosen, 0, Flag.MASKED_OUT.value).astype(np.uint16)

    def restored(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One value per voxel in the leading shape, or planes as (..., n) again."""
        if values.ndim == 1:
            return self.planes.restored(values)
        return values.T.reshape((*self.planes.shape, values.shape[0]), order=self.planes.order)


def stored(values: npt.ArrayLike, dtype: np.dtype[Any]) -> FloatArray:
    """Values in the type of a result; NaN where that cannot hold them."""
    with np.errstate(over="ignore", invalid="ignore"):
        kept: FloatArray = np.array(values, dtype=dtype)
    kept[~np.isfinite(kept)] = np.nan
    return kept


def checked_times(time_s: npt.ArrayLike, name: str = "time_s") -> DoubleArray:
    """Times as float64.

    Raises
    ------
    ValueError
        If they are no list, not finite, or do not increase.
    """
    times = np.ascontiguousarray(time_s, dtype=np.float64)
    if times.ndim != 1 or times.size < 2:
        raise ValueError(f"{name} must be a list of at least two times")
    if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError(f"{name} must be finite and increase")
    return times


def checked_baseline(baseline: tuple[int, int], n: int, name: str = "baseline") -> tuple[int, int]:
    """A window of samples, ``(first, stop)`` as in a slice: those before the agent, unless `name` says else.

    Raises
    ------
    ValueError
        If it is empty or reaches beyond the `n` samples.
    """
    try:
        first, stop = (int(bound) for bound in baseline)
        whole = (first, stop) == tuple(baseline)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{name} must be a pair of whole numbers (first, stop), got {baseline!r}")
    if not 0 <= first < stop <= n:
        raise ValueError(f"{name} {first, stop} is empty or reaches beyond the {n} samples")
    return first, stop


def baseline_noise(samples: DoubleArray) -> DoubleArray:
    """Standard deviation of each curve's baseline samples (n, n_voxels), unbiased for normal noise.

    NaN for a single sample.
    """
    n = samples.shape[0]
    if n < 2:
        return np.full(samples.shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        scatter: DoubleArray = samples.std(axis=0, ddof=1) / shortfall(n - 1)
    return scatter


def baseline_level(
    samples: DoubleArray, first: int, stop: int, noise_sd: DoubleArray | None
) -> tuple[DoubleArray, DoubleArray]:
    """Mean of the baseline samples, and the noise of one sample: as given, else their scatter."""
    before = samples[first:stop]
    with np.errstate(over="ignore", invalid="ignore"):
        return before.mean(axis=0), baseline_noise(before) if noise_sd is None else noise_sd
