"""Noise of a region's mean, from the means of regions of the same shape over tissue without the agent.

Voxels of an image are correlated by its resolution: the error of a mean is not that of a voxel over the
square root of their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.fit import shortfall
from imgtheranostics.kernels.shifted_regions import shifted_means
from imgtheranostics.mapping.detection import false_positive_rate
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.regions import correlated_voxels
from imgtheranostics.volume import Estimate, Volume

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

FEWEST_BLANKS = 8
"""Fewer shifted copies of a region say too little about the scatter of its mean."""

MOST_BLANKS = 400
MARGIN_VOXELS = 2
"""Voxels between blank regions, and between regions and the tissue that counts as blank."""

_MOST_PLACES = 4 * MOST_BLANKS
_MOST_PLACES_CLOSE = 200_000
_SMALLEST_PART = 128
_MOST_PARTS = 32
_MOST_VOXELS = 2_000_000
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class BlankNoise:
    """Scatter of the mean of a shape over blank tissue.

    Attributes
    ----------
    sd : float
        Of the means, in the unit of the image; NaN where the shape fits nowhere.
    n_blanks : int
        Places, none overlapping another.
    mean : float
        Of the means: how much tissue without agent changed.
    n_voxels : int
        Of the region.
    rule : str
    placed_sd : float
        SD of what was placed, without the scaling from parts of the region to all of it.
    """

    sd: float
    n_blanks: int
    mean: float
    n_voxels: int
    rule: str
    placed_sd: float = math.nan

    @property
    def standard_error(self) -> float:
        """Of the region's mean: the SD, corrected for how short it falls with few blanks."""
        return self.sd / shortfall(self.n_blanks - 1) if self.n_blanks > 1 else math.nan

    @property
    def mean_error(self) -> float:
        """Of `mean`, from the scatter of the blanks themselves; NaN where nothing was placed."""
        if self.n_blanks < 2:
            return math.nan
        return self.placed_sd / shortfall(self.n_blanks - 1) / math.sqrt(self.n_blanks)

    @property
    def false_positive_rate(self) -> float:
        """How often the mean of a blank exceeds 3.3 of these SD."""
        return false_positive_rate(self.n_blanks) if self.n_blanks > 1 else math.nan

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": self.rule,
            "sd": self.sd,
            "n_blanks": self.n_blanks,
            "mean_of_blanks": self.mean,
            "false_positive_rate_at_lod": self.false_positive_rate,
        }


def blank_sd(x: Volume | Estimate, region: Mask, blanks: Mask, *, own: bool = False) -> float:
    """SD of the means of a region's shape, shifted over blank tissue.

    Parameters
    ----------
    x, region, blanks, own
        As for `blank_noise`.

    Returns
    -------
    float
        In the unit of the image; NaN where no copies of the region, nor of its parts, find room.

    Raises
    ------
    GeometryMismatch
        If the region is empty, or a mask lies on another grid.
    """
    return blank_noise(x, region, blanks, own=own).sd


def blank_noise(x: Volume | Estimate, region: Mask, blanks: Mask, *, own: bool = False) -> BlankNoise:
    """Scatter of the mean of a region if nothing but noise were in it.

    Copies of the region are placed over the blank tissue, none nearer to another than two voxels. Where
    fewer than eight fit, halves of it (quarters ...) are placed, and their SD is scaled by the square root of
    the number of independent voxels in both, as the correlation of neighbours tells it; `rule` says so.

    Parameters
    ----------
    x : Volume or Estimate
        The difference of two scans, or a map made of it.
    region : Volume, Regions or (i, j, k) array_like
        The shape; several regions count as one.
    blanks : Volume, Regions or (i, j, k) array_like
        Tissue without agent.
    own : bool
        Whether the region itself may count as blank, where the blanks hold it.

    Returns
    -------
    BlankNoise

    Raises
    ------
    GeometryMismatch
        If the region is empty, or a mask lies on another grid.
    """
    value = x.value if isinstance(x, Estimate) else x
    inside = np.flatnonzero(_needed(region, value, "region").ravel(order="F"))
    usable = _needed(blanks, value, "blanks") & np.isfinite(value.data)
    return voxel_list_noise(value, inside, usable.ravel(order="F"), own=own)


def voxel_list_noise(value: Volume, voxels: IndexArray, blank: BoolArray, *, own: bool = False) -> BlankNoise:
    """`blank_noise` of a region that is given by its flat Fortran-order indices.

    `blank` is flat alike, and true only where the image has a value.
    """
    if not own:
        blank = blank.copy()
        blank[voxels] = False
    shape = _Shape.of(voxels, value.grid.shape)
    rule = "SD of the means of shifted blank regions of the same shape"
    whole, n_voxels = shape, shape.n_voxels
    values = value.data.ravel(order="F")
    while blank.any():
        means = shape.means(values, blank, value.grid.shape)
        if means.size >= FEWEST_BLANKS or shape.n_voxels < max(_SMALLEST_PART, n_voxels / _MOST_PARTS):
            break
        shape = shape.half(value.grid.spacing_mm)
        rule = (
            f"SD of the means of blank parts of {shape.n_voxels} voxels, scaled to {n_voxels}: fewer than "
            f"{FEWEST_BLANKS} copies of the whole region fit into the blank tissue"
        )
    else:
        means = np.empty(0)
    if means.size < FEWEST_BLANKS:
        return BlankNoise(math.nan, int(means.size), math.nan, n_voxels, "no room for blank regions")
    sd = placed_sd = float(np.std(means, ddof=1))
    if shape is not whole:
        neighbour = _neighbour_correlation(value, blank)
        sd *= math.sqrt(shape.independent(neighbour) / whole.independent(neighbour))
    return BlankNoise(sd, int(means.size), float(np.mean(means)), n_voxels, rule, placed_sd)


def _needed(mask: Mask, value: Volume, what: str) -> BoolArray:
    if mask is None:
        raise ValueError(f"{what} must be given")
    inside = mask_array(mask, value)
    if not inside.any():
        raise GeometryMismatch(f"there are no voxels in the {what}", needed="at least one voxel")
    return inside


@dataclass(frozen=True, eq=False)
class _Shape:
    """Voxels of a region, (n, 3), relative to the corner of their box."""

    voxels: IndexArray

    @classmethod
    def of(cls, flat: IndexArray, extents: tuple[int, ...]) -> _Shape:
        return cls._from(np.stack(np.unravel_index(flat, extents, order="F"), axis=-1))

    @classmethod
    def _from(cls, voxels: IndexArray) -> _Shape:
        return cls((voxels - voxels.min(axis=0)).astype(np.int64))

    @property
    def n_voxels(self) -> int:
        return len(self.voxels)

    @property
    def box(self) -> IndexArray:
        return np.asarray(self.voxels.max(axis=0) + 1)

    def independent(self, neighbour: FloatArray) -> float:
        """How many voxels of the shape count for its mean, for noise with that correlation of neighbours."""
        held = np.zeros(self.box, np.bool_)
        held[tuple(self.voxels.T)] = True
        pairs = [
            np.count_nonzero(held.take(range(1, n), axis) & held.take(range(n - 1), axis))
            for axis, n in enumerate(held.shape)
        ]
        chords = self.n_voxels / np.maximum(self.n_voxels - np.array(pairs), 1)
        return self.n_voxels / float(np.prod(correlated_voxels(neighbour, chords)))

    def half(self, spacing_mm: tuple[float, ...]) -> _Shape:
        """The half of it on one side of its longest extent."""
        axis = int(np.argmax(self.box * np.asarray(spacing_mm)))
        order = np.argsort(self.voxels[:, axis], kind="stable")
        middle = self.voxels[order[len(order) // 2], axis]
        part = self.voxels[self.voxels[:, axis] < middle]
        if not len(part):
            part = self.voxels[order[: max(1, len(order) // 2)]]
        return self._from(part)

    def means(self, values: npt.NDArray[Any], blank: BoolArray, extents: tuple[int, ...]) -> Any:
        """Means of the shape at places of the blank tissue, at most `MOST_BLANKS`."""
        grid, box = np.array(extents, np.int64), self.box
        room = grid - box
        places, means = np.zeros((MOST_BLANKS, 3), np.int64), np.empty(MOST_BLANKS)
        offsets = self.voxels @ np.array([1, grid[0], grid[0] * grid[1]])
        reach, found = box + MARGIN_VOXELS, 0
        if (room < 0).any():
            return means[:0]
        for steps in (_spread(room, reach, _MOST_PLACES), _spread(room, box // 4, _MOST_PLACES_CLOSE)):
            counts = room // steps + 1
            turn = _coprime(int(np.prod(counts)))
            found = shifted_means(
                values, blank, grid, offsets, steps, counts, turn, reach, places, means, found
            )
        return means[:found]


def _neighbour_correlation(value: Volume, blank: BoolArray) -> FloatArray:
    """Correlation of neighbouring blank voxels along i, j and k, in the middle slices of large images."""
    extents = value.grid.shape
    n_slices = max(2, _MOST_VOXELS // (extents[0] * extents[1]))
    first = max(0, (extents[2] - n_slices) // 2)
    chosen = slice(first, first + n_slices)
    held = blank.reshape(extents, order="F")[:, :, chosen]
    field = np.asarray(value.data[:, :, chosen], np.float64)
    if not held.any():
        held, field = blank.reshape(extents, order="F"), np.asarray(value.data, np.float64)
    centred = np.where(held, field - field[held].mean(), 0.0)
    variance = float(np.square(centred[held]).mean())
    found = np.zeros(3)
    for axis, n in enumerate(held.shape):
        both = np.count_nonzero(held.take(range(1, n), axis) & held.take(range(n - 1), axis))
        if both and variance > 0:
            product = np.sum(centred.take(range(1, n), axis) * centred.take(range(n - 1), axis))
            found[axis] = product / both / variance
    return np.asarray(np.clip(found, 0.0, 0.99))


def _spread(room: IndexArray, least: IndexArray, most: int) -> IndexArray:
    """Steps of a lattice of at most `most` places, none below `least`."""
    steps = np.maximum(least, 1)
    excess = float(np.prod(room // steps + 1)) / most
    while excess > 1.0:
        steps = np.maximum(steps + 1, np.ceil(steps * excess ** (1 / 3)).astype(np.int64))
        excess = float(np.prod(room // steps + 1)) / most
    return np.asarray(steps, np.int64)


def _coprime(count: int) -> int:
    """A number coprime to `count` near its golden section."""
    turn = max(1, int(count * _GOLDEN))
    while math.gcd(turn, count) > 1:
        turn += 1
    return turn
