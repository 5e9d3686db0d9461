"""How good a registration is: what is known of it without knowing the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.registration.optimising import Metric
from imgtheranostics.registration.transform import Transform
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_CLASSES = 64
_FEWEST_PAIRS = 200
_MOST_POINTS = 4000


@dataclass(frozen=True, slots=True)
class Quality:
    """What a registration reached.

    Attributes
    ----------
    metric : str
        Measure of agreement that was optimised.
    start_value, value : float
        The measure before and after, the lower the better: minus the mutual information in nats, or
        minus the squared correlation.
    residual : float
        Share of the standard deviation in the overlap, 0 to 1, that the other image does not explain by any
        relation between grey values (the correlation ratio). Noise alone leaves a share too.
    overlap : float
        Volume that both images cover over that of the smaller one (of the mask, where there is one).
    jacobian_range : (float, float)
        Smallest and largest determinant of the map's derivative; 1 keeps volumes.
    largest_displacement_mm : float
        Of any voxel that counts.
    repeat_mm : float
        How far apart two solutions lie, RMS over the image, that began two voxels apart and looked at
        different points. A spline is repeated in its linear part.
    iterations : int
        Of all levels.
    converged : bool
        Whether the optimiser stopped of itself.
    """

    metric: Metric
    start_value: float
    value: float
    residual: float
    overlap: float
    jacobian_range: tuple[float, float]
    largest_displacement_mm: float
    repeat_mm: float
    iterations: int
    converged: bool


def overlap(fixed: Volume, moving: Volume, transform: Transform, mask: BoolArray | None) -> float:
    """Volume that both cover over that of the smaller one, counted on the points of both grids."""
    there = np.isfinite(moving.data)
    here = np.isfinite(fixed.data) if mask is None else np.isfinite(fixed.data) & mask
    points, weight = _points(here, fixed)
    if not len(points):
        return 0.0
    index = moving.grid.index(transform.apply(points))
    nearest = np.floor(np.nan_to_num(index, nan=-9.0) + 0.5).astype(np.int64)
    inside = ((nearest >= 0) & (nearest < np.array(moving.shape))).all(axis=-1)
    held = nearest[inside]
    seen = float(np.count_nonzero(there[held[:, 0], held[:, 1], held[:, 2]]))
    smaller = min(weight * len(points), float(np.count_nonzero(there)) * moving.grid.voxel_volume_ml)
    return min(1.0, seen * weight / smaller) if smaller > 0 else 0.0


def residual(fixed: Volume, resampled: Volume, mask: BoolArray | None) -> float:
    """Square root of one minus the correlation ratio, the better of the two directions; NaN if too few pairs.

    Corrected for the number of classes, so that unrelated images come out at 1.
    """
    both = np.isfinite(fixed.data) & np.isfinite(resampled.data)
    if mask is not None:
        both &= mask
    here, there = fixed.data[both].astype(np.float64), resampled.data[both].astype(np.float64)
    if here.size < _FEWEST_PAIRS:
        return float("nan")
    ratio = max(_explained(here, there), _explained(there, here))
    return float(np.sqrt(min(1.0, max(0.0, 1.0 - ratio))))


def _explained(values: FloatArray, by: FloatArray) -> float:
    """Correlation ratio of `values` given classes of `by`, adjusted for their number."""
    edges = np.unique(np.quantile(by, np.linspace(0.0, 1.0, _CLASSES + 1)[1:-1]))
    group = np.searchsorted(edges, by, side="right")
    count = np.bincount(group, minlength=edges.size + 1).astype(np.float64)
    total = np.bincount(group, weights=values, minlength=edges.size + 1)
    variance = float(np.sum((values - values.mean()) ** 2))
    kept = count > 0
    degrees = values.size - int(kept.sum())
    if not variance > 0 or degrees < 1:
        return 0.0
    between = float(np.sum(total[kept] ** 2 / count[kept]) - values.sum() ** 2 / values.size)
    return 1.0 - (1.0 - between / variance) * (values.size - 1) / degrees


def apart_mm(one: Transform, other: Transform, fixed: Volume, mask: BoolArray | None) -> float:
    """RMS distance between where two transforms take the voxels that count."""
    points, _ = _points(np.ones(fixed.shape, bool) if mask is None else mask, fixed)
    return float(np.sqrt(np.mean(np.sum((one.apply(points) - other.apply(points)) ** 2, axis=-1))))


def displacements_mm(transform: Transform, fixed: Volume, mask: BoolArray | None) -> FloatArray:
    """Length of the displacement at points that count; not where a spline is undefined."""
    points, _ = _points(np.ones(fixed.shape, bool) if mask is None else mask, fixed)
    length = np.linalg.norm(transform.apply(points) - points, axis=-1)
    return np.asarray(length[np.isfinite(length)])


def _points(inside: BoolArray, volume: Volume) -> tuple[FloatArray, float]:
    """At most some thousands of voxel centres, evenly drawn and with the first and last, and mL per point."""
    flat = np.flatnonzero(inside.ravel(order="F"))
    chosen = flat[np.unique(np.linspace(0, flat.size - 1, min(flat.size, _MOST_POINTS)).astype(np.int64))]
    index = np.stack(np.unravel_index(chosen, volume.shape[:3], order="F"), axis=-1)
    weight = volume.grid.voxel_volume_ml * flat.size / max(1, chosen.size)
    return volume.grid.world_mm(index), weight


def check_jacobian(transform: Transform, fixed: Volume, mask: BoolArray | None) -> tuple[float, float]:
    """Smallest and largest determinant over what counts.

    Raises
    ------
    IllConditioned
        If space folds.
    """
    if transform.spline is None:
        constant = float(np.linalg.det(transform.linear[:3, :3]))
        return constant, constant
    values = transform.jacobian_determinant(fixed.grid)
    if mask is not None:
        values = values[mask]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not low > 0:
        raise IllConditioned(
            "the deformation folds space",
            found=f"Jacobian determinant down to {low:.3g}",
            needed="a positive determinant everywhere",
            next_step="give a larger node_spacing_mm, or a mask",
        )
    return low, high
