"""Means of a region's shape at places over blank tissue, for the noise of the region's mean."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _apart(places, found, i, j, k, reach):
    """Whether a place is at least `reach` from every place that was found, along one axis at least."""
    for n in range(found):
        if (
            abs(places[n, 0] - i) < reach[0]
            and abs(places[n, 1] - j) < reach[1]
            and abs(places[n, 2] - k) < reach[2]
        ):
            return False
    return True


@njit(cache=True, nogil=True)
def shifted_means(values, blank, extents, offsets, steps, counts, turn, reach, places, means, found):
    """Mean of a shape at each place of a lattice where all its voxels are blank, without overlaps.

    values : (n_voxels,) float32, flat Fortran order; finite where blank
    blank : (n_voxels,) bool
    extents : (3,) int64, voxels along i, j and k
    offsets : (n,) int64, flat indices of the shape's voxels relative to its first corner
    steps, counts : (3,) int64, spacing of the lattice in voxels and places along each axis
    turn : int, coprime to the number of places, which are visited in the order (n turn) mod number
    reach : (3,) int64, shapes whose corners are nearer than this along all axes overlap
    places : (most, 3) int64, means : (most,) float64; filled from `found` on
    returns the number of places found
    """
    total = counts[0] * counts[1] * counts[2]
    for visit in range(total):
        if found == means.size:
            break
        place = (visit * turn) % total
        i = (place % counts[0]) * steps[0]
        j = (place // counts[0]) % counts[1] * steps[1]
        k = place // (counts[0] * counts[1]) * steps[2]
        if not _apart(places, found, i, j, k, reach):
            continue
        corner = i + extents[0] * (j + extents[1] * k)
        usable = True
        for n in range(offsets.size):
            if not blank[corner + offsets[n]]:
                usable = False
                break
        if not usable:
            continue
        total_value = 0.0
        for n in range(offsets.size):
            total_value += np.float64(values[corner + offsets[n]])
        places[found, 0] = i
        places[found, 1] = j
        places[found, 2] = k
        means[found] = total_value / offsets.size
        found += 1
    return found
