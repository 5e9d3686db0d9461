"""Where an injected suspension lies: clustered pools that together hold its mass exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.grid import Grid
from imgtheranostics.phantom.mixture import rasterise
from imgtheranostics.phantom.shapes import Norms, Solid

Float32Array = npt.NDArray[np.float32]

Window = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Altered:
    """A shape scaled about its centre, then with its surface moved in by a margin."""

    shape: Solid
    scale: float = 1.0
    margin_mm: float = 0.0

    @property
    def smallest_half_mm(self) -> float:
        """Smallest half extent, mm."""
        return max(self.shape.smallest_half_mm * self.scale - self.margin_mm, 0.01)

    def norms(self) -> Norms:
        """The shape as norms; what the margin leaves nothing of shrinks to a hundredth of a mm."""
        norms = self.shape.norms()
        half = 1.0 / np.linalg.norm(norms.rows, axis=1)
        altered = np.maximum(half * self.scale - self.margin_mm, 0.01)
        return Norms(norms.centre, norms.rows * (half / altered)[:, np.newaxis], norms.groups, norms.bore)


@dataclass(frozen=True)
class PoolJob:
    """Everything that decides where pools lie; two jobs that are equal give the same pools.

    Attributes
    ----------
    shapes : tuple of Altered
        The pools lie inside of them.
    volume_ml : float
        Of all pools together.
    size_mm : tuple of float
        Correlation length along x, y, z.
    seed : int
    grid_shape, grid_affine : tuple
        Of the grid.
    """

    shapes: tuple[Altered, ...]
    volume_ml: float
    size_mm: tuple[float, float, float]
    seed: int
    grid_shape: tuple[int, int, int]
    grid_affine: tuple[float, ...]

    @property
    def grid(self) -> Grid:
        """The grid."""
        return Grid(self.grid_shape, np.array(self.grid_affine).reshape(4, 4))


def pool_job(
    shapes: Sequence[Altered], volume_ml: float, size_mm: tuple[float, float, float], seed: int, grid: Grid
) -> PoolJob:
    """A job on a grid."""
    return PoolJob(tuple(shapes), volume_ml, size_mm, seed, grid.shape, tuple(grid.affine.ravel().tolist()))


@lru_cache(maxsize=24)
def pool_shares(job: PoolJob) -> tuple[Window, Float32Array]:
    """Share of each voxel that pools fill, in the part of the grid around them.

    A smooth random field is cut at the height above which it covers the wanted volume, with an edge about a
    voxel wide; what is left to rounding is scaled, so that the sum is exact.

    Raises
    ------
    ImplausibleValue
        If the shapes have no room for the volume.
    """
    from scipy.ndimage import gaussian_filter

    grid = job.grid
    inside = rasterise({"room": job.shapes}, grid).occupancy("room")
    window = _window(inside)
    room = inside[window].astype(np.float64)
    wanted = job.volume_ml / grid.voxel_volume_ml
    if wanted > 0.98 * room.sum():
        raise ImplausibleValue(
            "the pools do not fit into their region",
            found=f"{job.volume_ml:.4g} mL of suspension",
            needed=f"less than {0.98 * room.sum() * grid.voxel_volume_ml:.4g} mL",
        )
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([job.seed, 0x90015])))
    sd = [size / spacing for size, spacing in zip(job.size_mm, grid.spacing_mm, strict=True)]
    field = gaussian_filter(rng.standard_normal(room.shape), sd, mode="wrap")
    field /= field.std()
    steepness = 1.4 * min(sd)  # voxels over which a field of unit variance changes by about one
    low, high = -8.0, 8.0
    for _ in range(60):
        cut = 0.5 * (low + high)
        shares = room * np.clip((field - cut) * steepness + 0.5, 0.0, 1.0)
        low, high = (cut, high) if shares.sum() > wanted else (low, cut)
    return window, np.asarray(shares * (wanted / shares.sum()), np.float32)


def _window(inside: Float32Array) -> Window:
    found = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(n for n in range(3) if n != axis)))
        found.append(slice(int(used[0]), int(used[-1]) + 1))
    return found[0], found[1], found[2]
