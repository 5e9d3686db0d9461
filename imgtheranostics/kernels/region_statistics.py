"""Statistics of voxel lists: one gather per region and sample, the same bytes for any thread count.

Regions come as runs of consecutive voxels (flat Fortran-order indices), or as one list of voxels ascending
within each region, with `starts` marking where each begins; only voxels inside regions are read.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

BLOCK = 1024
"""Voxels per partial sum: the summation order is fixed, whatever the number of threads."""

N_BINS = 1024
"""Bins of the histogram that narrows the search for quantiles."""


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


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "nnan"})
def _extremes(values, count):
    """Smallest and largest of values[:count], which are all finite."""
    smallest = values[0]
    largest = values[0]
    for n in range(count):
        smallest = min(smallest, values[n])
        largest = max(largest, values[n])
    return smallest, largest


@njit(cache=True, nogil=True)
def _gather(samples, first, length, begin, end, gathered):
    """Copy runs of voxels into `gathered`; how many of them are finite, those first, and their sum."""
    count = 0
    for run in range(begin, end):
        start = first[run]
        for n in range(length[run]):
            gathered[count + n] = samples[start + n]
        count += length[run]
    total, _ = _block_sum(gathered, count, 0.0)
    if np.isfinite(total):
        return count, total
    kept = 0
    for n in range(count):
        if np.isfinite(gathered[n]):
            gathered[kept] = gathered[n]
            kept += 1
    total, _ = _block_sum(gathered, kept, 0.0)
    return kept, total


@njit(cache=True, nogil=True)
def _ranks_wanted(count, probabilities, ranks):
    """The two ranks around each quantile; the fraction between them is left to the caller."""
    for q in range(probabilities.size):
        rank = int(np.floor(probabilities[q] * (count - 1)))
        ranks[2 * q] = rank
        ranks[2 * q + 1] = min(rank + 1, count - 1)


@njit(cache=True, nogil=True)
def _quantiles(values, count, smallest, largest, probabilities, out):
    """Linear-interpolation quantiles (NumPy's default) of values[:count].

    A histogram between the extremes finds the bins that hold the ranks wanted; only their members are
    sorted. Binning is monotone, so the order statistics are exact.
    """
    if largest == smallest:
        out[:] = smallest
        return
    scale = np.float32((N_BINS - 1) / (np.float64(largest) - np.float64(smallest)))
    bins = np.empty(count, np.int16)
    if not np.isfinite(scale) or scale == 0.0 or not np.isfinite(largest - smallest):
        bins[:] = 0
    else:
        for n in range(count):
            bins[n] = np.int16(min(np.float32(N_BINS - 1), (values[n] - smallest) * scale))
    histogram = np.zeros(N_BINS, np.int64)
    for n in range(count):
        histogram[bins[n]] += 1
    ranks = np.empty(2 * probabilities.size, np.int64)
    _ranks_wanted(count, probabilities, ranks)
    wanted = np.zeros(N_BINS, np.bool_)
    left_out = np.empty(ranks.size, np.int64)
    _mark_bins(histogram, ranks, wanted, left_out)
    members = 0
    scratch = np.empty(int(histogram[wanted].sum()), np.float32)
    for n in range(count):
        if wanted[bins[n]]:
            scratch[members] = values[n]
            members += 1
    scratch.sort()
    for q in range(probabilities.size):
        lower = np.float64(scratch[ranks[2 * q] - left_out[2 * q]])
        upper = np.float64(scratch[ranks[2 * q + 1] - left_out[2 * q + 1]])
        fraction = probabilities[q] * (count - 1) - ranks[2 * q]
        out[q] = lower + fraction * (upper - lower)


@njit(cache=True, nogil=True)
def _mark_bins(histogram, ranks, wanted, left_out):
    """Which bins hold the ranks (ascending), and how many lower values lie in bins that are not wanted."""
    below = 0
    place = 0
    for n in range(histogram.size):
        while place < ranks.size and ranks[place] < below + histogram[n]:
            wanted[n] = True
            left_out[place] = n
            place += 1
        below += histogram[n]
    for place in range(ranks.size):
        skipped = 0
        for n in range(left_out[place]):
            if not wanted[n]:
                skipped += histogram[n]
        left_out[place] = skipped


@njit(cache=True, nogil=True, parallel=True)
def region_statistics(planar, first, length, starts, counts, probabilities, out):
    """Count, mean, SD, extremes and quantiles of each region in each sample.

    planar : (n_samples, n_voxels) float32; values that are not finite are left out
    first, length : (n_runs,) int64; runs of consecutive voxels, starts : (n_regions + 1,) int64 into them
    counts : (n_regions,) int64, voxels of each region
    probabilities : (3,) float64, ascending
    out : (n_samples, n_regions, 8) float64: n_valid, mean, sd, min, max and the three quantiles; NaN where
        nothing is valid
    """
    n_samples = planar.shape[0]
    n_regions = starts.size - 1
    for task in prange(n_samples * n_regions):
        sample = task // n_regions
        region = task % n_regions
        row = out[sample, region]
        row[:] = np.nan
        gathered = np.empty(counts[region], np.float32)
        count, total = _gather(planar[sample], first, length, starts[region], starts[region + 1], gathered)
        row[0] = count
        if count > 0:
            smallest, largest = _extremes(gathered, count)
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
