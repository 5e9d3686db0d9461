"""What a polychromatic beam does to an image that is corrected for water alone.

Each slice with agent in it is projected in parallel beams over half a turn, tissue as water of its density
and agent as mass; the attenuation of the whole spectrum along each ray is turned into the length of water
that shows the same, as the correction of a scanner does, and what that differs from the sum of water and
pinned slope times mass is filtered and projected back. A user sees three things of it: the slope is that of
the beam where the agent lies instead of the calibration's, dense agent shows less than its slope says and
most in the middle of a pool (cupping), and streaks join dense pools. Scans without agent have none of it:
all tissue, bone too, hardens the beam like water. Not modelled are scatter, the fan of the beam, the
scanner's own correction for bone, and motion during the rotation.

The difference is smooth, so that it is computed on voxels of a coarser grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.phantom.ct_beam import Beam, attenuation

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

LARGEST_GRID = 88
"""Most coarse voxels along an edge of a slice."""
ANGLES = 90
_TRACE = 1e-9


@dataclass(frozen=True, eq=False)
class Held:
    """One agent in the object.

    Attributes
    ----------
    material : str
        Formula.
    slope_hu : float
        HU per mg/mL of a trace in the beam of the calibration, which its attenuation is scaled to.
    mg_ml : (i, j, k) ndarray
        Where it is.
    """

    material: str
    slope_hu: float
    mg_ml: npt.NDArray[np.floating]


def hardening_hu(
    grid: Grid,
    tissue_hu: Float32Array,
    held: Sequence[Held],
    beam: Beam,
    *,
    water_cm: float,
    bath_cm: float | None = None,
) -> Float32Array:
    """Error of the image, HU, (i, j, k) float32 in Fortran order.

    Parameters
    ----------
    grid : Grid
        Upright.
    tissue_hu : (i, j, k) array
    held : sequence of Held
    beam : Beam
    water_cm : float
        Water of the calibration.
    bath_cm : float, optional
        Every ray crosses this length of water, whatever the image shows: a rack of vials in the middle of a
        large phantom.
    """
    out = np.zeros(grid.shape, np.float32, order="F")
    used = sum((one.mg_ml.any(axis=(0, 1)) for one in held), np.zeros(grid.shape[2], np.bool_))
    shown = np.flatnonzero(used)
    if not shown.size:
        return out
    planes = slice(int(shown[0]), int(shown[-1]) + 1)
    step = _step(grid)
    size_cm = step * grid.spacing_mm[0] / 10
    # pixels are as wide as along i; along j they may be stretched
    aspect = grid.spacing_mm[1] / grid.spacing_mm[0]
    water = _coarse(np.maximum(1.0 + tissue_hu[..., planes] / 1000.0, 0.0), step)
    projector = _projector(water.shape[0], water.shape[1], aspect)

    def path(image: FloatArray) -> FloatArray:
        return np.asarray(size_cm * (projector @ image.reshape(-1, image.shape[2])))

    path_water = path(water) if bath_cm is None else np.full(path(water).shape, bath_cm)
    masses = [path(_coarse(one.mg_ml[..., planes] / 1000.0, step)) for one in held]
    error_cm = shown_less_linear(beam, held, masses, water_cm=water_cm, path_water_cm=path_water)
    image = _back_projected(error_cm, water.shape, projector, size_cm, aspect)
    out[..., planes] = 1000.0 * _fine(image, step, grid.shape[:2])
    return out


def shown_less_linear(
    beam: Beam,
    held: Sequence[Held],
    masses_g_cm2: Sequence[FloatArray],
    *,
    water_cm: float,
    path_water_cm: FloatArray,
) -> FloatArray:
    """Length of water that a ray shows, less that of its water and of its agents by their slopes, cm."""
    out = np.zeros_like(path_water_cm)
    crossed = np.sum(masses_g_cm2, axis=0) > _TRACE
    energy = beam.energies_kev
    water, masses = path_water_cm[crossed], [mass[crossed] for mass in masses_g_cm2]
    scales = [one.slope_hu / beam.slope(one.material, water_cm) for one in held]
    of_agents = [k * attenuation(one.material, energy) for k, one in zip(scales, held, strict=True)]
    of_water = attenuation("H2O", energy)
    transmitted = np.zeros(water.size)
    for n, weight in enumerate(beam.weights()):
        depth = of_water[n] * water
        for of_agent, mass in zip(of_agents, masses, strict=True):
            depth += of_agent[n] * mass
        transmitted += weight * np.exp(-depth)
    lengths, shown = beam.water_equivalent()
    linear = water + sum(one.slope_hu * mass for one, mass in zip(held, masses, strict=True))
    out[crossed] = np.interp(-np.log(transmitted), shown, lengths) - linear
    return out


def _step(grid: Grid) -> int:
    return max(1, int(np.ceil(max(grid.shape[:2]) / LARGEST_GRID)))


def _coarse(image: npt.NDArray[np.floating], step: int) -> FloatArray:
    """Means over squares of voxels; the last ones are filled up with nothing."""
    i, j, k = image.shape
    padded = np.zeros((-(-i // step) * step, -(-j // step) * step, k))
    padded[:i, :j] = image
    return np.asarray(
        padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step, k).mean(axis=(1, 3))
    )


def _fine(image: FloatArray, step: int, shape: tuple[int, ...]) -> FloatArray:
    """A coarse image on the fine grid, straight lines between its middles."""
    out = image
    for axis in (0, 1):
        position = np.clip((np.arange(shape[axis]) + 0.5) / step - 0.5, 0, image.shape[axis] - 1)
        low = np.minimum(position.astype(np.int64), max(image.shape[axis] - 2, 0))
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (position - low).reshape([-1 if n == axis else 1 for n in range(3)])
        out = np.take(out, low, axis) * (1 - share) + np.take(out, high, axis) * share
    return out


@lru_cache(maxsize=4)
def _projector(ni: int, nj: int, aspect: float) -> Any:
    """Sparse matrix from pixels to rays of parallel beams: lengths in pixel widths.

    Each pixel falls on its two nearest rays, in proportion; rays are a pixel width apart.
    """
    from scipy.sparse import csr_matrix

    x = np.arange(ni) - (ni - 1) / 2
    y = (np.arange(nj) - (nj - 1) / 2) * aspect
    n_rays = _rays(ni, nj, aspect)
    rows, values = [], []
    for angle in np.pi * (np.arange(ANGLES) + 0.5) / ANGLES:
        place = (np.cos(angle) * x[:, np.newaxis] + np.sin(angle) * y).ravel() + (n_rays - 1) / 2
        low = np.floor(place)
        rows += [low, low + 1]
        values += [1 - (place - low), place - low]
    starts = np.repeat(np.arange(ANGLES) * n_rays, 2)
    row = np.concatenate([one + start for one, start in zip(rows, starts, strict=True)])
    column = np.tile(np.arange(ni * nj), 2 * ANGLES)
    # a pixel's area over the distance of the rays
    value = aspect * np.concatenate(values)
    return csr_matrix((value, (row.astype(np.int64), column)), shape=(ANGLES * n_rays, ni * nj))


def _rays(ni: int, nj: int, aspect: float) -> int:
    return int(np.ceil(np.hypot(ni, nj * aspect))) + 4


def _back_projected(
    sinogram: FloatArray, shape: tuple[int, ...], projector: Any, size_cm: float, aspect: float
) -> FloatArray:
    """Filtered back-projection, 1/cm times the unit of the sinogram."""
    from scipy.fft import irfft, next_fast_len, rfft

    n_rays = _rays(shape[0], shape[1], aspect)
    lines = sinogram.reshape(ANGLES, n_rays, -1)
    n = next_fast_len(2 * n_rays)
    lag = np.minimum(np.arange(n), n - np.arange(n))
    # band-limited ramp, sampled: its zero frequency is right, unlike |f| on a grid
    ramp = np.where(lag % 2 == 1, -1.0 / (np.pi * np.maximum(lag, 1)) ** 2, 0.0)
    ramp[0] = 0.25
    # a pixel driver is true only for what is broader than a few pixels
    soft = np.cos(0.5 * np.pi * np.linspace(0.0, 1.0, n // 2 + 1)) ** 2
    gain = (rfft(ramp).real * soft)[np.newaxis, :, np.newaxis] / size_cm
    filtered = irfft(rfft(lines, n, axis=1) * gain, n, axis=1)[:, :n_rays]
    image = projector.T @ filtered.reshape(ANGLES * n_rays, -1)
    return np.asarray(image * np.pi / ANGLES / aspect).reshape(shape[0], shape[1], -1)
