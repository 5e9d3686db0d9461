"""Means of a region's shape at places over blank tissue, for the noise of the region's mean."""

from __future__ import annotations

import numpy as np
from numba import njit

BUDGET = 500_000_000
"""Voxels that are looked at, at most: a second of one core."""

_PROBES = 64
"""Voxels of a shape that are looked at before all of them are."""


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
def _all_blank(blank, corner, offsets, step):
    """How many voxels of a shape were looked at until one was not blank; minus 1 where none was."""
    for n in range(0, offsets.size, step):
        if not blank[corner + offsets[n]]:
            return n // step + 1
    return -1


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
    returns the number of places found; no more are looked for after `BUDGET` voxels were
    """
    total = counts[0] * counts[1] * counts[2]
    sparse = max(1, offsets.size // _PROBES)
    seen = 0
    for visit in range(total):
        if found == means.size or seen > BUDGET:
            break
        place = (visit * turn) % total
        i = (place % counts[0]) * steps[0]
        j = (place // counts[0]) % counts[1] * steps[1]
        k = place // (counts[0] * counts[1]) * steps[2]
        if not _apart(places, found, i, j, k, reach):
            continue
        corner = i + extents[0] * (j + extents[1] * k)
        looked = _all_blank(blank, corner, offsets, sparse)
        if looked < 0:
            looked = _all_blank(blank, corner, offsets, 1)
        seen += offsets.size if looked < 0 else looked
        if looked > 0:
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
