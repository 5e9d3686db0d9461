"""Statistics of voxel lists: one gather per region and sample, the same bytes for any thread count.

Regions come as one concatenated list of flat Fortran-order voxel indices, ascending within each region,
with `starts` marking where each begins; only voxels inside regions are read.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 1024
"""Voxels per partial sum: the summation order is fixed, whatever the number of threads."""

N_BINS = 1024
"""Bins of the histogram that narrows the search for quantiles."""

COLUMNS = ("n_valid", "mean", "sd", "min", "max", "p05", "median", "p95")


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _block_sum(values, count, centre):
    """Sum of (value - centre) and of its square over `values[:count]`, in fixed blocks, float64."""
    total = 0.0
    squares = 0.0
    for first in range(0, count, BLOCK):
        partial = 0.0
        partial_squares = 0.0
        for n in range(first, min(first + BLOCK, count)):
            difference = np.float64(values[n]) - centre
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
def _two_ranks(values, count, rank):
    """The elements of `rank` and `rank + 1` (or the last) of values[:count], which is reordered."""
    _select(values, 0, count, rank)
    lower = values[rank]
    if rank + 1 >= count:
        return lower, lower
    upper = values[rank + 1]
    for n in range(rank + 2, count):
        upper = min(upper, values[n])
    return lower, upper


@njit(cache=True, nogil=True)
def _quantiles(values, count, smallest, largest, probabilities, out):
    """Linear-interpolation quantiles (NumPy's default) of values[:count].

    A histogram between the extremes finds the bins that hold the two ranks wanted; only their members are
    searched. Binning is monotone, so the order statistics are exact.
    """
    if largest == smallest:
        out[:] = smallest
        return
    scale = N_BINS / (np.float64(largest) - np.float64(smallest))
    bins = np.empty(count, np.int16)
    histogram = np.zeros(N_BINS, np.int64)
    for n in range(count):
        place = min(N_BINS - 1, int((np.float64(values[n]) - np.float64(smallest)) * scale))
        bins[n] = place
        histogram[place] += 1
    scratch = np.empty(count, np.float32)
    for q in range(probabilities.size):
        position = probabilities[q] * (count - 1)
        rank = int(np.floor(position))
        before = 0
        low_bin = 0
        while before + histogram[low_bin] <= rank:
            before += histogram[low_bin]
            low_bin += 1
        high_bin = low_bin
        reached = before + histogram[low_bin]
        while reached < min(rank + 2, count):
            high_bin += 1
            reached += histogram[high_bin]
        members = 0
        for n in range(count):
            if low_bin <= bins[n] <= high_bin:
                scratch[members] = values[n]
                members += 1
        lower, upper = _two_ranks(scratch, members, rank - before)
        fraction = position - rank
        out[q] = np.float64(lower) + fraction * (np.float64(upper) - np.float64(lower))


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
        smallest = np.float32(np.inf)
        largest = np.float32(-np.inf)
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
            _quantiles(gathered, count, smallest, largest, probabilities, row[5:])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _runs_sum(samples, first, length, begin, end):
    """Sum over runs of voxels without looking at each: not finite as soon as one voxel is not."""
    total = 0.0
    for run in range(begin, end):
        partial = 0.0
        for n in range(first[run], first[run] + length[run]):
            partial += np.float64(samples[n])
        total += partial
    return total


@njit(cache=True, nogil=True)
def _finite_mean(samples, first, length, begin, end):
    total = 0.0
    count = 0
    for run in range(begin, end):
        for n in range(first[run], first[run] + length[run]):
            if np.isfinite(samples[n]):
                total += np.float64(samples[n])
                count += 1
    return total / count if count > 0 else np.nan


@njit(cache=True, nogil=True, parallel=True)
def region_means(planar, first, length, starts, counts, out):
    """Mean of the finite voxels of each region in each sample.

    planar : (n_samples, n_voxels) float32
    first, length : (n_runs,) int64; runs of consecutive voxels, starts : (n_regions + 1,) int64 into them
    counts : (n_regions,) int64, voxels of each region
    out : (n_samples, n_regions) float64; NaN where nothing is valid
    """
    n_samples = planar.shape[0]
    n_regions = starts.size - 1
    for task in prange(n_samples * n_regions):
        sample = task // n_regions
        region = task % n_regions
        begin, end = starts[region], starts[region + 1]
        total = _runs_sum(planar[sample], first, length, begin, end)
        if np.isfinite(total) and counts[region] > 0:
            out[sample, region] = total / counts[region]
        else:
            out[sample, region] = _finite_mean(planar[sample], first, length, begin, end)


@njit(cache=True, nogil=True, parallel=True)
def neighbour_pairs(voxels, starts, extents, first, second, n_pairs):
    """Neighbours within each region along each axis: how many, and an even selection of them.

    voxels, starts as above; extents : (3,) int64, voxels along i, j and k
    first, second : (n_regions, 3, n_kept) int64; flat indices of the two voxels of the kept pairs, -1 beyond
    n_pairs : (n_regions, 3) int64, all pairs
    """
    strides = np.array([1, extents[0], extents[0] * extents[1]])
    kept_at_most = first.shape[2]
    for task in prange((starts.size - 1) * 3):
        region = task // 3
        axis = task % 3
        stride = strides[axis]
        step = 1 + (starts[region + 1] - starts[region]) // kept_at_most
        first[region, axis, :] = -1
        total = 0
        ahead = starts[region]
        for n in range(starts[region], starts[region + 1]):
            wanted = voxels[n] + stride
            if (voxels[n] // stride) % extents[axis] == extents[axis] - 1:
                continue
            while ahead < starts[region + 1] and voxels[ahead] < wanted:
                ahead += 1
            if ahead < starts[region + 1] and voxels[ahead] == wanted:
                if total % step == 0 and total // step < kept_at_most:
                    first[region, axis, total // step] = voxels[n]
                    second[region, axis, total // step] = wanted
                total += 1
        n_pairs[region, axis] = total


@njit(cache=True, nogil=True, parallel=True)
def neighbour_products(planar, first, second, means, out):
    """Products of the residuals of neighbouring voxels, for the correlation between them.

    planar as above; first, second as `neighbour_pairs` writes them; means : (n_samples, n_regions) float64
    out : (n_samples, n_regions, 3, 2) float64; sum of products and number of finite pairs along each axis
    """
    n_samples = planar.shape[0]
    n_regions = first.shape[0]
    for task in prange(n_samples * n_regions):
        sample = task // n_regions
        region = task % n_regions
        mean = means[sample, region]
        for axis in range(3):
            total = 0.0
            pairs = 0
            for n in range(first.shape[2]):
                if first[region, axis, n] < 0:
                    break
                here = planar[sample, first[region, axis, n]]
                there = planar[sample, second[region, axis, n]]
                if np.isfinite(here) and np.isfinite(there):
                    total += (np.float64(here) - mean) * (np.float64(there) - mean)
                    pairs += 1
            out[sample, region, axis, 0] = total
            out[sample, region, axis, 1] = pairs


@njit(cache=True, nogil=True)
def count_labels(labels, counts):
    """Number of voxels of each label.

    labels : (n_voxels,) int32, counts : (n_labels,) int64, zeros; labels outside 0..n_labels-1 are skipped
    """
    for n in range(labels.size):
        label = labels[n]
        if 0 < label < counts.size:
            counts[label] += 1


@njit(cache=True, nogil=True)
def list_voxels(labels, cursor, voxels):
    """Write the flat index of each labelled voxel to its label's place, ascending within a label.

    labels : (n_voxels,) int32
    cursor : (n_labels,) int64, where each label's list begins (moved on), -1 for labels to skip
    voxels : (n_listed,) int64
    """
    for n in range(labels.size):
        label = labels[n]
        if 0 < label < cursor.size and cursor[label] >= 0:
            voxels[cursor[label]] = n
            cursor[label] += 1
