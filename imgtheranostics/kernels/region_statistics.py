"""Statistics of voxel lists: one gather per region and sample, the same bytes for any thread count.

Regions come as one concatenated list of flat Fortran-order voxel indices, ascending within each region,
with `starts` marking where each begins; only voxels inside regions are read.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 1024
"""Voxels per partial sum: the summation order is fixed, whatever the number of threads."""

N_QUANTILES = 3
COLUMNS = ("n_valid", "mean", "sd", "min", "max", "p05", "median", "p95")


@njit(cache=True, nogil=True, inline="always")
def _block_sum(values, count, centre):
    """Sum of (value - centre) and of its square over `values[:count]`, in fixed blocks, float64."""
    total = 0.0
    squares = 0.0
    for first in range(0, count, BLOCK):
        partial = 0.0
        partial_squares = 0.0
        for n in range(first, min(first + BLOCK, count)):
            difference = float(values[n]) - centre
            partial += difference
            partial_squares += difference * difference
        total += partial
        squares += partial_squares
    return total, squares


@njit(cache=True, nogil=True)
def _select(values, low, high, rank):
    """Bring the element of `rank` to its place in values[low:high] (Hoare's selection, in place)."""
    left = low
    right = high - 1
    while left < right:
        middle = (left + right) // 2
        first, centre, last = values[left], values[middle], values[right]
        pivot = max(min(first, centre), min(max(first, centre), last))
        i = left
        j = right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            return


@njit(cache=True, nogil=True)
def _quantiles(values, count, probabilities, out):
    """Linear-interpolation quantiles (NumPy's default) of values[:count]; `values` is reordered."""
    settled = 0
    for q in range(probabilities.size):
        position = probabilities[q] * (count - 1)
        lower = int(np.floor(position))
        fraction = position - lower
        _select(values, min(settled, lower), count, lower)
        value = float(values[lower])
        if fraction > 0.0 and lower + 1 < count:
            following = values[lower + 1]
            for n in range(lower + 2, count):
                following = min(following, values[n])
            value += fraction * (float(following) - value)
        settled = lower
        out[q] = value


@njit(cache=True, nogil=True, parallel=True)
def region_statistics(planar, voxels, starts, probabilities, out):
    """Count, mean, SD, extremes and quantiles of each region in each sample.

    planar : (n_samples, n_voxels) float32; values that are not finite are left out
    voxels : (n_listed,) int64, starts : (n_regions + 1,) int64
    probabilities : (3,) float64, ascending
    out : (n_samples, n_regions, 8) float64, columns as in `COLUMNS`; NaN where nothing is valid
    """
    n_samples = planar.shape[0]
    n_regions = starts.size - 1
    for task in prange(n_samples * n_regions):
        sample = task // n_regions
        region = task % n_regions
        row = out[sample, region]
        row[:] = np.nan
        gathered = np.empty(starts[region + 1] - starts[region], np.float32)
        count = 0
        smallest = np.inf
        largest = -np.inf
        for n in range(starts[region], starts[region + 1]):
            value = planar[sample, voxels[n]]
            if np.isfinite(value):
                gathered[count] = value
                count += 1
                smallest = min(smallest, value)
                largest = max(largest, value)
        row[0] = count
        if count > 0:
            total, _ = _block_sum(gathered, count, 0.0)
            mean = total / count
            residue, squares = _block_sum(gathered, count, mean)
            row[1] = mean
            if count > 1:
                row[2] = np.sqrt(max(0.0, (squares - residue * residue / count) / (count - 1)))
            row[3] = smallest
            row[4] = largest
            _quantiles(gathered, count, probabilities, row[5:])


@njit(cache=True, nogil=True, parallel=True)
def region_means(planar, voxels, starts, out):
    """Mean of the finite voxels of each region in each sample.

    planar : (n_samples, n_voxels) float32, voxels and starts as above
    out : (n_samples, n_regions) float64; NaN where nothing is valid
    """
    n_samples = planar.shape[0]
    n_regions = starts.size - 1
    for task in prange(n_samples * n_regions):
        sample = task // n_regions
        region = task % n_regions
        total = 0.0
        count = 0
        for first in range(starts[region], starts[region + 1], BLOCK):
            partial = 0.0
            for n in range(first, min(first + BLOCK, starts[region + 1])):
                value = planar[sample, voxels[n]]
                if np.isfinite(value):
                    partial += value
                    count += 1
            total += partial
        out[sample, region] = total / count if count > 0 else np.nan


@njit(cache=True, nogil=True, parallel=True)
def neighbour_products(planar, voxels, starts, means, extents, out):
    """Products of neighbouring residuals inside each region, for the correlation between voxels.

    planar, voxels, starts as above; means : (n_samples, n_regions) float64
    extents : (3,) int64, voxels along i, j and k
    out : (n_samples, n_regions, 3, 2) float64; sum of products and number of pairs along each axis
    """
    n_samples = planar.shape[0]
    n_regions = starts.size - 1
    strides = np.array([1, extents[0], extents[0] * extents[1]])
    for task in prange(n_samples * n_regions):
        sample = task // n_regions
        region = task % n_regions
        mean = means[sample, region]
        for axis in range(3):
            stride = strides[axis]
            total = 0.0
            pairs = 0
            ahead = starts[region]
            for n in range(starts[region], starts[region + 1]):
                wanted = voxels[n] + stride
                if (voxels[n] // stride) % extents[axis] == extents[axis] - 1:
                    continue
                while ahead < starts[region + 1] and voxels[ahead] < wanted:
                    ahead += 1
                if ahead < starts[region + 1] and voxels[ahead] == wanted:
                    here = planar[sample, voxels[n]]
                    there = planar[sample, wanted]
                    if np.isfinite(here) and np.isfinite(there):
                        total += (float(here) - mean) * (float(there) - mean)
                        pairs += 1
            out[sample, region, axis, 0] = total
            out[sample, region, axis, 1] = pairs
