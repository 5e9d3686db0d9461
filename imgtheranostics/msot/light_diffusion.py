"""Diffuse light in a body whose absorption varies: the stationary diffusion equation in cells of voxels.

    div(D grad Phi) = mu_a Phi,   D = 1 / (3 (mu_a + mu_s')),   Phi = 1 at the lit surface

in finite volumes. Cells are about a millimetre wide, far less than light varies over; where the surface is a
plane, what the staircase of the cells gets wrong is taken out by the exact solution of an even body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.grid import Grid
from imgtheranostics.msot.body_depth import SIDES, side_axis
from imgtheranostics.msot.tissue_light import mu_eff

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

DARKEST = 1e-5
"""Light over that at the surface below which it is not calculated."""

_CM_PER_MM = 0.1
_TOLERANCE = 1e-6
_MOST_STEPS = 3000


@dataclass(frozen=True, eq=False)
class Cells:
    """The body in cells.

    Attributes
    ----------
    number : (i, j, k) ndarray of int
        Cell of each voxel, -1 outside of the body.
    at : (i, j, k) ndarray of int
        Number of the cell at each place of the grid of cells, -1 where there is none.
    counts : (n_cells,) ndarray
        Voxels of the body in each.
    depth_mm, depth_variance : (n_cells,) ndarray
        Mean depth of these, and its variance among them in mm2.
    faces : tuple of (a, b, width_cm) per axis
        Cells that touch along each axis.
    lit_square : (n_cells,) ndarray
        Sum over the faces through which light falls into a cell of one over the square of its width across
        them, in 1/cm2.
    left : tuple of (cells, width_cm)
        Cells that light leaves through a face as if the body went on there.
    factors : (3,) tuple of int
        Voxels per cell along each axis.
    side : str or None
        From where a beam falls; None for light from all around.
    """

    number: IntArray
    at: IntArray
    counts: FloatArray
    depth_mm: FloatArray
    depth_variance: FloatArray
    faces: tuple[tuple[IntArray, IntArray, float], ...]
    lit_square: FloatArray
    left: tuple[tuple[IntArray, float], ...]
    factors: tuple[int, int, int]
    side: str | None

    @classmethod
    def of(
        cls, inside: BoolArray, depth_mm: FloatArray, grid: Grid, *, illumination: str, cell_mm: float
    ) -> Cells:
        """Cells of at least half a body, about `cell_mm` wide."""
        spacing = grid.spacing_mm
        factors = tuple(
            max(1, min(round(cell_mm / width), n)) for width, n in zip(spacing, inside.shape, strict=True)
        )
        place = tuple(np.arange(n) // factor for n, factor in zip(inside.shape, factors, strict=True))
        shape = tuple(int(p[-1]) + 1 for p in place)
        flat = np.ravel_multi_index(np.ix_(*place), shape)
        share = np.bincount(flat.ravel(), inside.ravel(), int(np.prod(shape)))
        held = share > 0
        at = np.where(held, np.cumsum(held) - 1, -1)
        number = np.where(inside, at[flat], -1)
        counts = share[held]
        depth = np.bincount(number[inside], depth_mm[inside], counts.size) / counts
        away = (depth_mm[inside] - depth[number[inside]]) ** 2
        at = at.reshape(shape)
        side = illumination if illumination in SIDES else None
        width_cm = [f * s * _CM_PER_MM for f, s in zip(factors, spacing, strict=True)]
        lit, left = _outer_faces(at, grid, illumination, width_cm)
        return cls(
            number,
            at,
            counts.astype(np.float64),
            depth,
            np.bincount(number[inside], away, counts.size) / counts,
            tuple(_inner_faces(at, axis, width_cm[axis]) for axis in range(3)),
            lit,
            left,
            (factors[0], factors[1], factors[2]),
            side,
        )

    @property
    def n(self) -> int:
        """How many there are."""
        return int(self.counts.size)

    def mean(self, image: npt.NDArray[Any]) -> FloatArray:
        """Mean of an (i, j, k) image over the voxels in each cell that have a value; 0 without any."""
        inside = self.number >= 0
        values, place = image[inside].astype(np.float64), self.number[inside]
        known = np.isfinite(values)
        total = np.bincount(place[known], values[known], self.n)
        return np.asarray(total / np.maximum(np.bincount(place[known], minlength=self.n), 1))

    def mean_over_middle(self, mu_a: FloatArray, mu_s: FloatArray) -> FloatArray:
        """Mean light of the voxels of each cell over the light at their mean depth.

        Light falls off as exp(-mu_eff depth), which is convex.
        """
        per_mm = _CM_PER_MM * mu_eff(mu_a, mu_s)
        return np.asarray(1.0 + 0.5 * per_mm**2 * self.depth_variance[:, np.newaxis])

    def light(self, mu_a: FloatArray, mu_s: float, start: FloatArray | None = None) -> FloatArray:
        """Fluence in each cell over that of the lit surface, and at least `DARKEST`.

        Parameters
        ----------
        mu_a : (n_cells,) ndarray
            1/cm.
        mu_s : float
            Reduced scattering in 1/cm.
        start : (n_cells,) ndarray, optional
            A guess, which saves time.

        Raises
        ------
        IllConditioned
            If the equations were not solved.
        """
        from scipy.sparse import coo_array, diags_array
        from scipy.sparse.linalg import cg

        d = 1.0 / (3.0 * (mu_a + mu_s))
        diagonal = mu_a + 2.0 * d * self.lit_square
        rows, columns, flows = [], [], []
        for a, b, width in self.faces:
            flow = 2.0 * d[a] * d[b] / (d[a] + d[b]) / width**2
            diagonal += np.bincount(a, flow, self.n) + np.bincount(b, flow, self.n)
            rows += [a, b]
            columns += [b, a]
            flows += [-flow, -flow]
        for cells, width in self.left:
            attenuation = mu_eff(mu_a[cells], mu_s)
            diagonal[cells] += d[cells] * attenuation / (1.0 + 0.5 * attenuation * width) / width
        off: Any = coo_array(
            (np.concatenate(flows), (np.concatenate(rows), np.concatenate(columns))), shape=(self.n, self.n)
        )
        system = off.tocsr() + diags_array(diagonal)
        source = 2.0 * d * self.lit_square
        found, failed = cg(
            system, source, x0=start, rtol=_TOLERANCE, maxiter=_MOST_STEPS, M=diags_array(1.0 / diagonal)
        )
        if failed or not np.all(np.isfinite(found)):
            raise IllConditioned(
                "the light in the body could not be calculated",
                where="fluence",
                needed="a lit surface for each part of the body",
                next_step="check the mask of the body and the illumination",
            )
        return np.asarray(np.maximum(found, DARKEST), np.float64)

    def on_voxels(self, logarithm: FloatArray) -> Float32Array:
        """What is known in the cells at every voxel of the body: straight between the cells' middles."""
        from scipy.ndimage import distance_transform_edt, map_coordinates

        grid = np.zeros(self.at.shape)
        known = self.at >= 0
        grid[known] = logarithm[self.at[known]]
        nearest: Any = distance_transform_edt(~known, return_distances=False, return_indices=True)
        grid = grid[tuple(nearest)]
        inside = self.number >= 0
        where = [
            (index + 0.5) / factor - 0.5
            for index, factor in zip(np.nonzero(inside), self.factors, strict=True)
        ]
        out = np.full(inside.shape, np.nan, np.float32, order="F")
        out[inside] = map_coordinates(grid, where, order=1, mode="nearest")
        return out


def _inner_faces(at: IntArray, axis: int, width_cm: float) -> tuple[IntArray, IntArray, float]:
    """Pairs of cells that touch along an axis."""
    first = at.take(range(at.shape[axis] - 1), axis)
    second = at.take(range(1, at.shape[axis]), axis)
    both = (first >= 0) & (second >= 0)
    return first[both], second[both], width_cm


def _outer_faces(
    at: IntArray, grid: Grid, illumination: str, width_cm: list[float]
) -> tuple[FloatArray, tuple[tuple[IntArray, float], ...]]:
    """Faces through which light falls in, summed per cell, and those through which it leaves."""
    n = int(at.max()) + 1
    lit = np.zeros(n)
    left: list[tuple[IntArray, float]] = []
    padded = np.pad(at, 1, constant_values=-1)
    middle = (slice(1, -1),) * 3
    beam = side_axis(grid, illumination) if illumination in SIDES else None
    for axis in range(3):
        for first in (True, False):
            beside = np.roll(padded, 1 if first else -1, axis)[middle]
            open_faces = at[(at >= 0) & (beside < 0)]
            if beam is not None:
                falls_in, leaves = beam == (axis, first), beam == (axis, not first)
            else:
                falls_in, leaves = illumination == "surface" or axis < 2, False
            if falls_in:
                lit += np.bincount(open_faces, minlength=n) / width_cm[axis] ** 2
            if leaves:
                left.append((open_faces, width_cm[axis]))
    return lit, tuple(left)
