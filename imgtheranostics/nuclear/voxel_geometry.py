"""Where energy that is absorbed at a distance from a uniform box lands on the lattice of such boxes.

A source anywhere in a box and a step of length r in any direction: the share that lands in the box (i, j, k)
is the mean over directions of the product of three triangles, max(0, 1 - |r u / a - i|) per axis, without any
approximation of the boxes. All shares of one r add up to one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_GOLDEN = 0.6180339887498949
_SHIFT = 0.7548776662466927
_OUTER, _CENTRE = 5.0 / 24.0, 7.0 / 12.0
_POINTS = 200_000
"""Points that are worked on at once."""
_NODE = np.sqrt(0.4)
"""Three points that integrate a triangle's weight exactly up to the fifth power."""


def shell_shares(
    radius_mm: FloatArray, energy: FloatArray, spacing_mm: tuple[float, float, float], reach: tuple[int, ...]
) -> FloatArray:
    """Energy by box of the octant i, j, k >= 0, for energies that are absorbed at given distances.

    Parameters
    ----------
    radius_mm, energy : ndarray, shape (n,)
        Distances, and the energy that is absorbed there.
    spacing_mm : tuple of float
    reach : tuple of int
        Highest index per axis; what lands beyond is left out.

    Returns
    -------
    ndarray, shape (reach + 1)
    """
    spacing = np.asarray(spacing_mm)
    furthest = float(radius_mm.max(initial=0.0) / spacing.min())
    count = int(np.clip(16 * furthest**2, 2000, 60000))
    cosine = (np.arange(count) + 0.5) / count
    sine = np.sqrt(1.0 - cosine**2)
    shape = tuple(n + 2 for n in reach)
    total = np.zeros(int(np.prod(shape)))
    at_once = max(1, _POINTS // count)
    angle = (
        0.5 * np.pi * ((np.arange(count) * _GOLDEN)[np.newaxis] + np.arange(at_once)[:, np.newaxis] * _SHIFT)
    )
    angle %= 0.5 * np.pi
    direction = np.stack([sine * np.cos(angle), sine * np.sin(angle), np.broadcast_to(cosine, angle.shape)])
    direction /= spacing[:, np.newaxis, np.newaxis]
    for start in range(0, radius_mm.size, at_once):
        part = slice(start, start + at_once)
        here = radius_mm[part]
        _add_points(total, shape, direction[:, : here.size] * here[:, np.newaxis], energy[part] / count)
    octant = total.reshape(shape)[:-1, :-1, :-1]
    return np.asarray(_mirrored(octant, spacing))


def _add_points(total: FloatArray, shape: tuple[int, ...], place: FloatArray, energy: FloatArray) -> None:
    """Share the energy of points, (3, shells, directions), between the eight boxes around each."""
    first = np.floor(place)
    beyond = place - first
    outermost = np.array(shape)[:, np.newaxis, np.newaxis] - 1
    index = [np.minimum(first + step, outermost).astype(np.int64) for step in (0, 1)]
    weight = (1.0 - beyond, beyond)
    for a, b, c in np.ndindex(2, 2, 2):
        flat = (index[a][0] * shape[1] + index[b][1]) * shape[2] + index[c][2]
        part = weight[a][0] * weight[b][1] * weight[c][2] * energy[:, np.newaxis]
        total += np.bincount(flat.ravel(), part.ravel(), total.size)


def _mirrored(octant: FloatArray, spacing: FloatArray) -> FloatArray:
    """Shares of one octant's directions as those of all: boxes off a plane of symmetry get one half each."""
    for axis in range(3):
        halves = np.where(np.arange(octant.shape[axis]) > 0, 0.5, 1.0)
        octant = octant * halves.reshape([-1 if a == axis else 1 for a in range(3)])
    for a, b in ((0, 1), (1, 2), (0, 2), (0, 1), (1, 2)):
        if spacing[a] == spacing[b] and octant.shape[a] == octant.shape[b]:
            octant = 0.5 * (octant + octant.swapaxes(a, b))
    return octant


def smooth_shares(
    radius_mm: FloatArray,
    energy_per_mm: FloatArray,
    spacing_mm: tuple[float, float, float],
    reach: tuple[int, ...],
) -> FloatArray:
    """Energy by box of the octant where it varies little within a box: a few boxes away from the source.

    Parameters
    ----------
    radius_mm, energy_per_mm : ndarray, shape (n,)
        Distances from 0 up to beyond the corner of the octant, and the energy absorbed per distance.
    spacing_mm, reach : tuple
        As in `shell_shares`.

    Returns
    -------
    ndarray, shape (reach + 1)
        The innermost boxes are wrong: take them from `shell_shares`.
    """
    spacing = np.asarray(spacing_mm)
    grids = [np.arange(n + 1, dtype=np.float64) for n in reach]
    found = np.zeros(tuple(n + 1 for n in reach))
    nodes = ((-_NODE, _OUTER), (0.0, _CENTRE), (_NODE, _OUTER))
    with np.errstate(divide="ignore", invalid="ignore"):
        density = energy_per_mm / (4.0 * np.pi * radius_mm**2)
    density[0] = density[1]
    for x, weight_x in nodes:
        for y, weight_y in nodes:
            plane = np.add.outer(((grids[0] + x) * spacing[0]) ** 2, ((grids[1] + y) * spacing[1]) ** 2)
            for z, weight_z in nodes:
                radius = np.sqrt(np.add.outer(plane, ((grids[2] + z) * spacing[2]) ** 2))
                found += weight_x * weight_y * weight_z * np.interp(radius, radius_mm, density)
    return found * float(np.prod(spacing))


def whole(octant: npt.NDArray[np.float64]) -> FloatArray:
    """The array that is symmetric about its centre from its octant of indices from zero on."""
    for axis in range(3):
        mirrored = np.flip(octant, axis)
        cut = [slice(None)] * 3
        cut[axis] = slice(0, octant.shape[axis] - 1)
        octant = np.concatenate([mirrored[tuple(cut)], octant], axis=axis)
    return octant
