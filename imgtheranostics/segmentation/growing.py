"""Voxels above a threshold, and which of them hang together."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import NothingUsable
from imgtheranostics.segmentation.search_regions import BoolArray, Place, SearchRegion

Keep = Literal["hottest", "all", "each"]
KEEP: tuple[Keep, ...] = ("hottest", "all", "each")
"""Which of several parts of a search region: the one with the maximum, all as one, or each by itself."""

CONNECTIVITIES = {6: 1, 18: 2, 26: 3}
"""Neighbours of a voxel by faces, also by edges, also by corners."""


def check_connectivity(connectivity: int) -> int:
    """The number, once it is sure to be one of `CONNECTIVITIES`."""
    if connectivity not in CONNECTIVITIES:
        raise ValueError(f"connectivity must be 6, 18 or 26, not {connectivity!r}")
    return connectivity


def above(search: SearchRegion, threshold: float) -> BoolArray:
    """Voxels of the search region that reach the threshold."""
    return np.asarray(search.inside & (search.values >= threshold))


def labelled(mask: BoolArray, connectivity: int) -> tuple[npt.NDArray[np.int32], int]:
    """Connected parts numbered from 1, and how many there are."""
    from scipy import ndimage

    structure = ndimage.generate_binary_structure(3, CONNECTIVITIES[connectivity])
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, structure=structure, output=labels)
    return labels, int(count)


def part_with(mask: BoolArray, place: Place, connectivity: int) -> BoolArray:
    """The connected part that holds a voxel; empty where the voxel is not in the mask."""
    if not mask[place]:
        return np.zeros_like(mask)
    labels, count = labelled(mask, connectivity)
    return mask if count == 1 else np.asarray(labels == labels[place])


def grown(search: SearchRegion, threshold: float, place: Place, connectivity: int) -> BoolArray:
    """What hangs together with a voxel above the threshold.

    Raises
    ------
    NothingUsable
        If the voxel does not reach it.
    """
    found = part_with(above(search, threshold), place, connectivity)
    if not found.any():
        raise nothing_above(search, threshold, float(search.values[place]))
    return found


def nothing_above(search: SearchRegion, threshold: float, highest: float) -> NothingUsable:
    """The refusal of a threshold that nothing reaches."""
    unit = search.volume.unit
    return NothingUsable(
        "no voxel reaches the threshold" if search.seed is None else "the seed does not reach the threshold",
        where=search.name,
        found=f"at most {highest:.4g} {unit}",
        needed=f"{threshold:.4g} {unit}",
        next_step="give a lower threshold, or look where the seed or the search region lies",
    )
