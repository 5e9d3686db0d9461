"""Balls as regions, such as the 3 cm sphere in the liver that thresholds refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imgtheranostics.errors import Caution, GeometryMismatch, NothingUsable
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid, make_step

_SMALLEST_SHARE = 0.98


def ball_regions(grid: Grid, centres_mm: Mapping[str, Sequence[float]], diameter_mm: float) -> Regions:
    """Voxels whose centres lie within balls.

    Parameters
    ----------
    grid : Grid
    centres_mm : mapping of str to (x, y, z)
        RAS+ mm of each ball, by name.
    diameter_mm : float

    Returns
    -------
    Regions
        With a caution where a ball reaches beyond the image.

    Raises
    ------
    ValueError
        If a centre is not three numbers, or the diameter not above 0.
    GeometryMismatch
        If a centre lies outside the image.
    NothingUsable
        If a ball holds no voxel centre.
    """
    if not 0 < diameter_mm < np.inf:
        raise ValueError(f"diameter_mm is a length above 0, not {diameter_mm!r}")
    voxels, cautions = {}, []
    for name, given in centres_mm.items():
        centre = np.asarray(given, np.float64)
        if centre.shape != (3,) or not np.isfinite(centre).all():
            raise ValueError(f"a centre is three numbers x, y, z in mm (RAS+), not {given!r}")
        index = grid.index(centre)
        if (index < -0.5).any() or (index > np.array(grid.shape) - 0.5).any():
            raise GeometryMismatch("the centre of a ball lies outside the image", where=name)
        reach = 0.5 * diameter_mm * np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)
        axes = [np.arange(np.ceil(i - r), np.floor(i + r) + 1) for i, r in zip(index, reach, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        away = np.linalg.norm((places - index) @ grid.affine[:3, :3].T, axis=1)
        places = places[away <= 0.5 * diameter_mm].astype(np.int64)
        inside = places[((places >= 0) & (places < grid.shape)).all(axis=1)]
        if not inside.size:
            raise NothingUsable(
                "a ball holds no voxel centre", where=name, found=f"{diameter_mm:g} mm across"
            )
        if len(inside) < _SMALLEST_SHARE * len(places):
            cautions.append(Caution("ball-beyond-image", f"{name}: the ball reaches beyond the image", name))
        voxels[name] = np.sort(np.ravel_multi_index(tuple(inside.T), grid.shape, order="F"))
    centres = {name: [float(v) for v in given] for name, given in centres_mm.items()}
    step = make_step("ball_regions", centres_mm=centres, diameter_mm=float(diameter_mm))
    found = Regions.from_voxel_lists(voxels, grid, warnings=cautions)
    return Regions(found.labels, found.names, grid, found.warnings, (step,))
