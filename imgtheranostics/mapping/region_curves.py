"""Curves of regions: which voxels each is the mean of, and one voxel that stands for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import Regions

IndexArray = npt.NDArray[np.int64]


class Place(NamedTuple):
    """Where a curve is from: a label, and flat Fortran-order voxel indices."""

    label: str
    voxels: IndexArray


def region_places(regions: Regions | None, usable: npt.NDArray[np.bool_]) -> list[Place]:
    """Each region's usable voxels, without the regions that have none.

    Parameters
    ----------
    regions : Regions, optional
        On the grid of the images.
    usable : (n_voxels,) ndarray of bool
        Flat, i fastest.
    """
    if regions is None:
        return []
    places = zip(regions, regions.voxel_lists(), strict=True)
    inside = (Place(name, voxels[usable[voxels]]) for name, voxels in places)
    return [place for place in inside if place.voxels.size]


def typical_voxel(
    regions: Regions | None,
    usable: npt.NDArray[np.bool_],
    values: npt.NDArray[Any],
    shape: tuple[int, int, int],
) -> Place | None:
    """The voxel whose value is the median of the first region, or of all; None where there is none.

    Parameters
    ----------
    regions : Regions, optional
    usable, values : (n_voxels,) ndarray
        Flat, i fastest.
    shape : tuple of int
        Of the grid, for the label.
    """
    first = None if regions is None else next(iter(regions.voxel_lists()), None)
    candidates = np.flatnonzero(usable) if first is None else first[usable[first]]
    if not candidates.size:
        return None
    ranked = candidates[np.argsort(values[candidates], kind="stable")]
    middle = ranked[ranked.size // 2 : ranked.size // 2 + 1]
    i, j, k = (int(index[0]) for index in np.unravel_index(middle, shape, order="F"))
    return Place(f"voxel {i}, {j}, {k}", middle)


def scalars(parameters: Mapping[str, npt.NDArray[Any]], index: tuple[int, ...] = ()) -> dict[str, float]:
    """One voxel's parameters as plain numbers."""
    return {name: float(np.asarray(values)[index]) for name, values in parameters.items()}
