"""What lies around a region: its distance, shells of tissue, and where a registration may look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Volume

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

TISSUE_HU = -300.0
"""Attenuation before the agent below which a voxel of a shell is air, gas or aerated lung."""


@dataclass(frozen=True, eq=False)
class Shell:
    """Tissue between two distances from a region.

    Attributes
    ----------
    name : str
    inner_mm, outer_mm : float
    voxels : (n,) ndarray of int
        Flat Fortran-order indices, ascending.
    n_air : int
        Voxels at that distance that were left out as air.
    """

    name: str
    inner_mm: float
    outer_mm: float
    voxels: IndexArray
    n_air: int


def shell_edges(shell_mm: float | Sequence[float]) -> tuple[float, ...]:
    """Outer distances of shells in mm, once they are sure to increase from above 0; may be empty.

    Raises
    ------
    ValueError
        If they do not.
    """
    given = np.atleast_1d(np.asarray(shell_mm, np.float64))
    if given.ndim != 1 or not np.isfinite(given).all() or (np.diff(np.append(0.0, given)) <= 0).any():
        raise UnknownChoice(f"shell_mm are increasing distances above 0, not {given.tolist()}")
    return tuple(float(edge) for edge in given)


def shells(region: BoolArray, before: Volume, edges_mm: Sequence[float]) -> list[Shell]:
    """Shells of tissue around a region.

    Parameters
    ----------
    region : (i, j, k) ndarray of bool
    before : Volume
        Attenuation without agent, which tells tissue from air.
    edges_mm : sequence of float
        Outer distance of each shell, from the nearest voxel of the region.
    """
    if not edges_mm or not region.any():
        return []
    box, distance = distance_mm(region, before.grid, edges_mm[-1])
    tissue = before.data[box] >= TISSUE_HU
    found, inner = [], 0.0
    for outer in edges_mm:
        there = (distance > inner) & (distance <= outer)
        places = np.argwhere(there & tissue) + np.array([part.start for part in box])
        voxels = np.sort(np.ravel_multi_index(tuple(places.T), region.shape, order="F"))
        name = f"shell {inner:g}-{outer:g} mm"
        n_air = int(np.count_nonzero(there & (before.data[box] < TISSUE_HU)))
        found.append(Shell(name, inner, float(outer), voxels, n_air))
        inner = float(outer)
    return found


def away_from(region: BoolArray, grid: Grid, margin_mm: float) -> BoolArray:
    """All voxels further than a margin from a region."""
    if not region.any():
        return np.ones(region.shape, np.bool_, order="F")
    box, distance = distance_mm(region, grid, margin_mm)
    away = np.ones(region.shape, np.bool_, order="F")
    away[box] = distance > margin_mm
    return away


def distance_mm(
    region: BoolArray, grid: Grid, reach_mm: float
) -> tuple[tuple[slice, ...], npt.NDArray[np.float64]]:
    """Distance from the nearest voxel of a region, in a box that reaches so far around it.

    Returns
    -------
    box : tuple of slice
    distance : ndarray
        0 in the region.
    """
    from scipy import ndimage

    spacing = np.asarray(grid.spacing_mm)
    box = []
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        held = np.flatnonzero(region.any(axis=others))
        reach = int(np.ceil(reach_mm / spacing[axis])) + 1
        box.append(slice(max(0, int(held[0]) - reach), min(region.shape[axis], int(held[-1]) + reach + 1)))
    cut = (box[0], box[1], box[2])
    distance = ndimage.distance_transform_edt(~region[cut], sampling=spacing)
    return cut, np.asarray(distance)
