"""Regions from voxel lists, after checking that the layers of overlapping ones fit in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.io.budget import check_budget
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid

_BYTES_PER_LABEL = 4


def layered(
    voxels: Mapping[str, npt.NDArray[np.int64]], grid: Grid, *, where: str, warnings: Sequence[Caution] = ()
) -> Regions:
    """Regions from flat Fortran-order voxel indices per name, in as many layers as they overlap.

    Raises
    ------
    UnsupportedInput
        If the layers would take more memory than the budget allows.
    """
    check_budget(grid.n_voxels * _BYTES_PER_LABEL, where=where, what="a label image of this grid")
    if len(voxels) > 1:
        depth = np.zeros(grid.n_voxels, np.uint32)
        for inside in voxels.values():
            depth[inside] += 1
        needed = int(depth.max()) * grid.n_voxels * _BYTES_PER_LABEL
        check_budget(needed, where=where, what=f"{int(depth.max())} layers of overlapping regions")
    return Regions.from_voxel_lists(voxels, grid, warnings=warnings)
