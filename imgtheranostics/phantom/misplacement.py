"""Errors of level 3: the subject moves between images, and the regions to measure on are drawn wrongly."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.phantom.mixture import Mixture, rasterise
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.templates import region_shapes

Shift = tuple[float, float, float]


def shapes_on_grid(spec: PhantomSpec, grid: Grid, shift_mm: Shift = (0.0, 0.0, 0.0)) -> Mixture:
    """The phantom's regions on a grid, all moved by the same shift; exact, nothing is interpolated."""
    shapes = {region.name: region_shapes(spec.template, region) for region in spec.painted()}
    mixture = rasterise(shapes, _moved(grid, shift_mm))
    return Mixture(mixture.names, mixture.labels, mixture.mixed, mixture.shares, grid)


def _moved(grid: Grid, shift_mm: Shift) -> Grid:
    """The grid moved against a shift, on which shapes at rest look as moved shapes do on the grid."""
    affine = grid.affine.copy()
    affine[:3, 3] -= np.asarray(shift_mm)
    return Grid(grid.shape, affine)


def draw_shift(sd_mm: float, rng: np.random.Generator) -> Shift:
    """A shift in mm with the same standard deviation along x, y and z."""
    x, y, z = rng.normal(0.0, sd_mm, 3)
    return float(x), float(y), float(z)


def misdrawn(
    spec: PhantomSpec, grid: Grid, rng: np.random.Generator
) -> tuple[dict[int, str], npt.NDArray[np.int32]]:
    """Label map of regions as a hurried reader draws them: shifted, and too large or too small.

    Every region has an error of its own; regions are drawn in the phantom's order.

    Returns
    -------
    names : mapping of label to region
    labels : (i, j, k) int32
    """
    errors = spec.physics.misplacement
    labels = np.zeros(grid.shape, np.int32, order="F")
    names: dict[int, str] = {}
    for number, region in enumerate(spec.painted(), 1):
        names[number] = region.name
        shift = draw_shift(errors.region_shift_sd_mm, rng)
        margin = float(rng.normal(0.0, errors.region_margin_sd_mm))
        alone = rasterise({region.name: region_shapes(spec.template, region)}, _moved(grid, shift))
        labels[_grown(alone.nominal() == 1, margin, grid.spacing_mm)] = number
    return names, labels


def _grown(
    mask: npt.NDArray[np.bool_], margin_mm: float, spacing_mm: tuple[float, float, float]
) -> npt.NDArray[np.bool_]:
    """The mask grown by a margin at its surface, or shrunk by a negative one; never to nothing."""
    from scipy.ndimage import distance_transform_edt

    if margin_mm == 0.0 or not mask.any():
        return mask
    window = _around(mask, spacing_mm, abs(margin_mm))
    part = mask[window]
    half = min(spacing_mm) / 2  # the surface lies half a voxel beyond the last centre
    if margin_mm > 0:
        part = distance_transform_edt(~part, sampling=spacing_mm) <= margin_mm + half
    else:
        inside = distance_transform_edt(part, sampling=spacing_mm)
        kept = inside > -margin_mm + half
        part = kept if kept.any() else inside == inside.max()
    out = np.zeros_like(mask)
    out[window] = part
    return out


def _around(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float, float], reach_mm: float
) -> tuple[slice, ...]:
    window = []
    for axis, spacing in enumerate(spacing_mm):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        reach = math.ceil(reach_mm / spacing) + 2
        window.append(slice(max(0, int(used[0]) - reach), int(used[-1]) + reach + 1))
    return tuple(window)
