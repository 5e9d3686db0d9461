"""Curves of some voxels as rows in float64, from planes of samples that stay where they lie."""

from __future__ import annotations

from numba import njit

CHUNK = 64
"""Voxels that are turned into rows together: neighbours share the cache lines of a plane."""


@njit(cache=True, nogil=True)
def gather_rows(samples, index, rows, finite):
    """Copy curves into rows; whether each is finite throughout.

    samples : (n, n_voxels) float32 or float64; index : (m,) int64
    rows : (m, n) float64, 0 where a curve is not finite; finite : (m,) bool
    """
    n, m = samples.shape[0], index.size
    for first in range(0, m, CHUNK):
        stop = min(m, first + CHUNK)
        for k in range(n):
            plane = samples[k]
            for v in range(first, stop):
                rows[v, k] = plane[index[v]]
        for v in range(first, stop):
            check = 0.0
            for k in range(n):
                check += rows[v, k] * 0.0
            finite[v] = check == 0.0
            if check != 0.0:
                rows[v, :] = 0.0
