"""Errors of level 3: the subject moves between images, and the regions to measure on are drawn wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.phantom.mixture import Mixture, rasterise
from imgtheranostics.phantom.shapes import Norms, Solid
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.templates import region_shapes

Shift = tuple[float, float, float]


def shapes_on_grid(spec: PhantomSpec, grid: Grid, shift_mm: Shift = (0.0, 0.0, 0.0)) -> Mixture:
    """The phantom's regions on a grid, all moved by the same shift; exact, nothing is interpolated."""
    shapes = {region.name: region_shapes(spec.template, region) for region in spec.painted()}
    mixture = rasterise(shapes, moved_grid(grid, shift_mm))
    return Mixture(mixture.names, mixture.labels, mixture.mixed, mixture.shares, grid)


def moved_grid(grid: Grid, shift_mm: Shift) -> Grid:
    """A grid moved against a shift, on which shapes at rest look as moved shapes do on the grid."""
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
        drawn = [_Grown(shape, margin) for shape in region_shapes(spec.template, region)]
        alone = rasterise({region.name: drawn}, moved_grid(grid, shift))
        labels[alone.nominal() == 1] = number
    return names, labels


@dataclass(frozen=True, slots=True)
class _Grown:
    """A shape whose surface lies a margin further out, or further in for a negative one.

    Every semi-axis changes by the margin, which for spheres, cylinders and boxes is the parallel surface; no
    shape loses more than nine tenths of a semi-axis.
    """

    shape: Solid
    margin_mm: float

    @property
    def smallest_half_mm(self) -> float:
        return max(self.shape.smallest_half_mm + self.margin_mm, 0.1 * self.shape.smallest_half_mm)

    def norms(self) -> Norms:
        norms = self.shape.norms()
        half = 1.0 / np.linalg.norm(norms.rows, axis=1)
        grown = np.maximum(half + self.margin_mm, 0.1 * half)
        bore = 0.0
        if norms.bore > 0.0:
            bore = min(max(norms.bore * half[0] - self.margin_mm, 0.0) / grown[0], 0.99)
        return Norms(norms.centre, norms.rows * (half / grown)[:, np.newaxis], norms.groups, bore)
