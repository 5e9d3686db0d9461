"""Mean in a small weighted neighbourhood around each of many voxels."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 64


@njit(cache=True, nogil=True, parallel=True)
def neighbourhood_means(voxels, shape, centres, offsets, weights, means, shares):
    """Weighted mean around each centre over the neighbours that lie inside and are finite.

    voxels : (n_voxels,) float32, i fastest
    shape : (3,) int64
    centres : (n_centres,) int64, flat indices
    offsets : (n_neighbours, 3) int64
    weights : (n_neighbours,) float64
    means, shares : (n_centres,) float64; share of the total weight that was used, mean NaN where it is 0

    Each centre is summed by one thread in one order, so the bytes do not depend on the thread count.
    """
    n_i, n_j, n_k = shape[0], shape[1], shape[2]
    total = 0.0
    for n in range(weights.size):
        total += weights[n]
    n_blocks = (centres.size + BLOCK - 1) // BLOCK
    for block in prange(n_blocks):
        for c in range(block * BLOCK, min((block + 1) * BLOCK, centres.size)):
            flat = centres[c]
            i = flat % n_i
            j = (flat // n_i) % n_j
            k = flat // (n_i * n_j)
            weighted = 0.0
            used = 0.0
            for n in range(weights.size):
                a = i + offsets[n, 0]
                b = j + offsets[n, 1]
                d = k + offsets[n, 2]
                if 0 <= a < n_i and 0 <= b < n_j and 0 <= d < n_k:
                    value = float(voxels[a + n_i * (b + n_j * d)])
                    if np.isfinite(value):
                        weighted += weights[n] * value
                        used += weights[n]
            means[c] = weighted / used if used > 0.0 else np.nan
            shares[c] = used / total
