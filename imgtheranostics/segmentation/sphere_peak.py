"""SUVpeak: the highest mean in a sphere of 1 mL whose centre lies in the region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid, Volume

SPHERE_ML = 1.0
RADIUS_MM = 10.0 * (3.0 * SPHERE_ML / (4.0 * math.pi)) ** (1.0 / 3.0)
"""Radius of the sphere, 6.2035 mm."""

SMALLEST_SHARE = 0.5
"""A sphere counts when at least this share of its volume lies inside the image and is finite."""

_SUBDIVISIONS = 8
_FINEST_STEP_MM = 0.4


@dataclass(frozen=True, eq=False)
class Peak:
    """Peaks of each sample and region.

    Attributes
    ----------
    value : (n_samples, n_regions) ndarray
        NaN where no sphere lies inside the image by half.
    inside : (n_samples, n_regions) ndarray
        Share of the peak's sphere that lies inside the image and is finite.
    """

    value: npt.NDArray[np.float64]
    inside: npt.NDArray[np.float64]


def sphere_weights(
    grid: Grid, radius_mm: float = RADIUS_MM
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Voxel offsets of a sphere centred on a voxel, and the share of each voxel that it covers.

    Voxels at the edge count by the share of their volume inside (at least 8 x 8 x 8 points,
    0.4 mm apart or less), so that the peak does not jump with voxel size.

    Parameters
    ----------
    grid : Grid
        Any rotation or shear.
    radius_mm : float

    Returns
    -------
    offsets : (n, 3) ndarray of int
    weights : (n,) ndarray
        In (0, 1].

    Raises
    ------
    GeometryMismatch
        If a voxel is larger than the sphere, or longer than its diameter.
    """
    sphere_ml = 4.0 / 3.0 * math.pi * radius_mm**3 / 1000.0
    if grid.voxel_volume_ml > sphere_ml or max(grid.spacing_mm) > 2.0 * radius_mm:
        raise GeometryMismatch(
            f"voxels are larger than the {sphere_ml:.3g} mL sphere of the peak value",
            found=" x ".join(f"{spacing:.4g}" for spacing in grid.spacing_mm) + " mm",
            needed=f"less than {sphere_ml:.3g} mL and {2 * radius_mm:.3g} mm",
            next_step="report the maximum or the mean instead (peak=False)",
        )
    matrix = grid.affine[:3, :3]
    reach = np.ceil(radius_mm * np.linalg.norm(np.linalg.inv(matrix), axis=1) + 0.5).astype(np.int64)
    axes = [np.arange(-n, n + 1) for n in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(offsets @ matrix.T, axis=1)
    half_diagonal = 0.5 * float(np.abs(matrix).sum(axis=1) @ np.abs(matrix).sum(axis=1)) ** 0.5
    weights = (distance + half_diagonal <= radius_mm).astype(np.float64)
    edge = (weights == 0.0) & (distance - half_diagonal < radius_mm)
    pieces = max(_SUBDIVISIONS, math.ceil(max(grid.spacing_mm) / _FINEST_STEP_MM))
    steps = (np.arange(pieces) + 0.5) / pieces - 0.5
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) @ matrix.T
    for n in np.flatnonzero(edge):
        position = points + matrix @ offsets[n]
        weights[n] = np.mean(np.einsum("ij,ij->i", position, position) <= radius_mm**2)
    kept = weights > 0.0
    return np.ascontiguousarray(offsets[kept]), np.ascontiguousarray(weights[kept])


def region_peaks(v: Volume, regions: Regions, *, workers: int | None = None) -> Peak:
    """Highest mean in a 1 mL sphere centred on a voxel of each region, for each sample.

    The sphere may reach beyond the region. At the image's edge the mean is over the part inside, which
    must be at least half of the sphere.

    Parameters
    ----------
    v : Volume
        Static or with one axis.
    regions : Regions
        On the grid of `v`.
    workers : int, optional
        Threads; the numbers do not depend on it.

    Returns
    -------
    Peak

    Raises
    ------
    GeometryMismatch
        If the regions lie on another grid, or voxels are larger than the sphere.
    """
    from imgtheranostics.kernels.peak import neighbourhood_means
    from imgtheranostics.kernels.threads import thread_limit

    fitted = regions.fit_to(v.grid)
    offsets, weights = sphere_weights(v.grid)
    planar = v.planar
    lists = fitted.voxel_lists()
    shape = np.array(v.grid.shape, np.int64)
    value = np.full((planar.shape[0], len(lists)), np.nan)
    inside = np.zeros_like(value)
    with thread_limit(workers):
        for sample in range(planar.shape[0]):
            for region, centres in enumerate(lists):
                means, shares = np.empty(centres.size), np.empty(centres.size)
                neighbourhood_means(planar[sample], shape, centres, offsets, weights, means, shares)
                means[shares < SMALLEST_SHARE] = np.nan
                if np.isfinite(means).any():
                    best = int(np.nanargmax(means))
                    value[sample, region], inside[sample, region] = means[best], shares[best]
    return Peak(value, inside)


def peak_of_voxels(v: Volume, centres: npt.NDArray[np.int64]) -> float:
    """Highest mean in a 1 mL sphere centred on one of some voxels of an image without further axes.

    NaN where no sphere lies inside the image by half.

    Parameters
    ----------
    v : Volume
    centres : (n,) ndarray of int
        Flat Fortran-order indices.

    Raises
    ------
    GeometryMismatch
        If voxels are larger than the sphere.
    """
    from imgtheranostics.kernels.peak import neighbourhood_means

    offsets, weights = sphere_weights(v.grid)
    means, shares = np.empty(centres.size), np.empty(centres.size)
    shape = np.array(v.grid.shape, np.int64)
    neighbourhood_means(v.planar[0], shape, centres, offsets, weights, means, shares)
    inside = shares >= SMALLEST_SHARE
    return float(means[inside].max()) if inside.any() else math.nan
