"""How many voxels of a region count for its mean, where the resolution correlates them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.regions import correlated_voxels
from imgtheranostics.volume import Volume

IndexArray = npt.NDArray[np.int64]

_FURTHEST = 24
"""Voxels that far apart are not correlated: not even neighbours by 0.99 leave more than 0.003."""

_LARGEST_BOX = 1 << 17


@dataclass(frozen=True, eq=False)
class RegionShape:
    """Voxels of a region, and how many pairs of them lie at each small distance along i, j and k.

    Attributes
    ----------
    name : str
    voxels : (n,) ndarray of int
    pairs : (2 m + 1, 2 m + 1, 2 m + 1) ndarray or None
        By distance in voxels from -m to m along each axis; None for regions so large that their edges do not
        matter.
    chords : (3,) ndarray
        Mean length of the region's chords in voxels.
    """

    name: str
    voxels: IndexArray
    pairs: npt.NDArray[np.float64] | None
    chords: npt.NDArray[np.float64]

    @classmethod
    def of(cls, name: str, voxels: IndexArray, value: Volume) -> RegionShape:
        """The shape of a region that is given by flat Fortran-order indices on the grid of `value`."""
        if not voxels.size:
            raise GeometryMismatch("a region has no voxels", where=f"region {name}")
        places = np.stack(np.unravel_index(voxels, value.grid.shape, order="F"))
        places -= places.min(axis=1, keepdims=True)
        box = np.zeros(places.max(axis=1) + 1, np.bool_)
        box[tuple(places)] = True
        neighbours = [
            np.count_nonzero(box.take(range(1, n), axis) & box.take(range(n - 1), axis))
            for axis, n in enumerate(box.shape)
        ]
        chords = voxels.size / np.maximum(voxels.size - np.array(neighbours), 1)
        return cls(name, voxels, _pairs(box) if box.size <= _LARGEST_BOX else None, chords)

    def share(self, correlation: npt.NDArray[np.float64]) -> float:
        """Variance of the mean over that of a voxel: the mean correlation of all pairs of voxels.

        Neighbours along i, j and k are correlated by that much, voxels further apart as a Gaussian has it.
        """
        if self.pairs is None:
            return float(np.prod(correlated_voxels(correlation, self.chords))) / self.voxels.size
        lags = np.arange(-_FURTHEST, _FURTHEST + 1)
        i, j, k = (np.where(lags == 0, 1.0, max(float(one), 0.0) ** (lags**2)) for one in correlation)
        return float(i @ ((self.pairs @ k) @ j)) / self.voxels.size**2


def _pairs(box: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """How many pairs of voxels lie at each distance of at most `_FURTHEST` along every axis."""
    from scipy import fft

    padded = [int(fft.next_fast_len(n + _FURTHEST, real=True)) for n in box.shape]
    spectrum = fft.rfftn(box.astype(np.float64), padded)
    counts = np.rint(fft.irfftn(np.abs(spectrum) ** 2, padded))
    reach = np.arange(-_FURTHEST, _FURTHEST + 1)
    found = counts[np.ix_(*(reach % n for n in padded))]
    for axis, n in enumerate(box.shape):
        beyond = [slice(None)] * 3
        beyond[axis] = np.flatnonzero(np.abs(reach) >= n)  # type: ignore[call-overload]
        found[tuple(beyond)] = 0.0
    return np.asarray(found)
