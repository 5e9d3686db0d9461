"""Scan conversion of closed polygons: even-odd parity on a plane of voxel centres."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

SNAP = 1e-5
"""Voxels: a coordinate this close to a voxel centre lies on it, so that rounding in files decides nothing."""


@njit(cache=True, nogil=True)
def fill_even_odd(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    first: npt.NDArray[np.int64],
    plane: npt.NDArray[np.uint8],
) -> None:
    """Set `plane` to 1 where a voxel centre lies inside an odd number of the polygons.

    A centre on the low side of an outline (smaller x or y) is inside and one on the high side is not, so
    polygons that share an edge neither overlap nor leave a gap, and a keyhole channel encloses nothing.

    Parameters
    ----------
    x, y : (n_points,) float64
        Vertices in voxels, finite; the centre of ``plane[b, a]`` is (a, b). Each polygon closes itself.
    first : (n_polygons + 1,) int64
        Where each polygon starts, and the end of the last.
    plane : (n_y, n_x) uint8, C order
        Zero on entry.
    """
    n_y, n_x = plane.shape
    for polygon in range(first.size - 1):
        start, stop = first[polygon], first[polygon + 1]
        before = stop - 1
        for vertex in range(start, stop):
            xa, ya = _snapped(x[before]), _snapped(y[before])
            xb, yb = _snapped(x[vertex]), _snapped(y[vertex])
            before = vertex
            if ya == yb:
                continue
            if ya > yb:
                xa, ya, xb, yb = xb, yb, xa, ya
            low = int(min(max(np.ceil(ya), 0.0), float(n_y)))
            high = int(min(max(np.ceil(yb), 0.0), float(n_y)))
            slope = (xb - xa) / (yb - ya)
            for row in range(low, high):
                crossing = np.ceil(_snapped(xa + (row - ya) * slope))
                if crossing < n_x:
                    plane[row, int(max(crossing, 0.0))] ^= np.uint8(1)
    for row in range(n_y):
        inside = np.uint8(0)
        for column in range(n_x):
            inside ^= plane[row, column]
            plane[row, column] = inside


@njit(cache=True, nogil=True, inline="always")
def _snapped(value: Any) -> Any:
    nearest = np.rint(value)
    return nearest if abs(value - nearest) < SNAP else value
