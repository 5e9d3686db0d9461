"""Which samples of each spectrum belong to its water dip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.z_kernel import Measured, Spectra
from imgtheranostics.volume import Flag

IndexArray = npt.NDArray[np.int64]
DoubleArray = npt.NDArray[np.float64]

BLOCK = 4096
"""Voxels that are held in float64 at a time."""


@dataclass(frozen=True)
class WindowRule:
    """How far a window reaches from the first estimate of the position.

    Attributes
    ----------
    level : float
        Up to the first sample above this part of the depth, on either side.
    half_width_ppm : float or None
        Instead of that, samples within this distance.
    least : int
        Samples that a window is extended to.
    balanced : bool
        As far on both sides, and mirrored samples lie in the measured range.
    """

    level: float
    half_width_ppm: float | None
    least: int
    balanced: bool

    def __post_init__(self) -> None:
        if not 0.0 < self.level <= 1.0:
            raise ValueError(f"level must be above 0 and at most 1, found {self.level!r}")
        if self.half_width_ppm is not None and not 0.0 < self.half_width_ppm < np.inf:
            raise ValueError(f"half_width_ppm must be above 0, found {self.half_width_ppm!r}")


@dataclass(frozen=True, eq=False)
class Windows:
    """Some voxels in float64, ascending, and the window of each.

    Attributes
    ----------
    voxels : slice
    samples : (n, n_some) ndarray
    start : (n_some,) ndarray
        Position that was found before.
    first, last : (n_some,) ndarray of int
        Samples of the window; first > last where there is none.
    """

    voxels: slice
    samples: DoubleArray
    start: DoubleArray
    first: IndexArray
    last: IndexArray


def windows(
    spectra: Spectra, measured: Measured, rule: WindowRule, flags: npt.NDArray[np.uint16]
) -> Iterator[Windows]:
    """Windows about the minima that were found, block by block.

    Voxels whose window has fewer than `rule.least` samples are flagged `Flag.OUTSIDE_RANGE`.
    """
    knots = spectra.design.knots
    for begin in range(0, spectra.planes.n_voxels, BLOCK):
        part = slice(begin, min(begin + BLOCK, spectra.planes.n_voxels))
        samples = spectra.planes.samples[spectra.offsets.order, part].astype(np.float64)
        place = measured.b0[part].astype(np.float64)
        usable = np.isfinite(place)
        samples[:, ~usable] = 0.0
        first, last = _bounds(knots, samples, np.where(usable, place, knots[0]), rule)
        short = usable & (last - first + 1 < rule.least)
        flags[part][short] |= Flag.OUTSIDE_RANGE.value
        none = short | ~usable
        first[none], last[none] = 1, 0
        yield Windows(part, np.ascontiguousarray(samples), place, first, last)


def _bounds(
    knots: DoubleArray, samples: DoubleArray, place: DoubleArray, rule: WindowRule
) -> tuple[IndexArray, IndexArray]:
    n = knots.size
    below = np.clip(np.searchsorted(knots, place, side="right") - 1, 0, n - 2)
    if rule.half_width_ppm is not None:
        reach_low = reach_high = np.full(place.size, rule.half_width_ppm)
    else:
        low, high = samples.min(axis=0), samples.max(axis=0)
        above = samples >= low + rule.level * (high - low)
        rows = np.arange(n)[:, np.newaxis]
        first = np.where(above & (rows <= below), rows, 0).max(axis=0)
        last = np.where(above & (rows > below), rows, n - 1).min(axis=0)
        reach_low, reach_high = place - knots[first], knots[last] - place
    if not rule.balanced:
        return _extended(knots, place, reach_low, reach_high, rule.least)
    half = np.minimum(reach_low, reach_high) if rule.half_width_ppm is None else reach_low
    away = np.abs(knots[:, np.newaxis] - place)
    half = np.maximum(half, np.partition(away, rule.least - 1, axis=0)[rule.least - 1])
    half = np.minimum(half, np.minimum(place - knots[0], knots[-1] - place))
    return _extended(knots, place, half, half, 0)


def _extended(
    knots: DoubleArray, place: DoubleArray, reach_low: DoubleArray, reach_high: DoubleArray, least: int
) -> tuple[IndexArray, IndexArray]:
    """First and last sample within reach, at least so many where the range has them."""
    n = knots.size
    slack = 1e-9 * (knots[-1] - knots[0])
    first = np.searchsorted(knots, place - reach_low - slack, side="left")
    last = np.searchsorted(knots, place + reach_high + slack, side="right") - 1
    for _ in range(n):
        short = last - first + 1 < least
        if not short.any() or least > n:
            break
        first[short & (first > 0)] -= 1
        last[short & (last < n - 1)] += 1
    return first.astype(np.int64), last.astype(np.int64)
