"""Difference of two images, its statistics by label, and its concentration: each voxel is read once.

Voxels are flat in Fortran order. Sums run over fixed blocks, so that results do not depend on the number of
threads; only labelled voxels of the images are read.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

VOXELS, VALID, SATURATED, ABOVE, TOTAL, SQUARES, SMALLEST, LARGEST = range(8)
N_STATISTICS = 8
"""Columns of the table of `label_differences`."""

_NARROW, _WIDE = 32, 1024
"""Labels that are compared at once."""

_BRIGHT = np.float32(3e38)
"""Stands for the change of a saturated voxel among changes that are kept for their sums."""

_SPREAD = 0.6180339887498949


@njit(cache=True, nogil=True)
def _all_narrow(labels, first, label):
    part = labels[first : first + _NARROW]
    differing = np.int32(0)
    for m in range(_NARROW):
        differing |= part[m] ^ label
    return differing == 0


@njit(cache=True, nogil=True)
def _all_wide(labels, first, label):
    part = labels[first : first + _WIDE]
    differing = np.int32(0)
    for m in range(_WIDE):
        differing |= part[m] ^ label
    return differing == 0


@njit(cache=True, nogil=True)
def _run_end(labels, first, last):
    """Where the run of equal labels that begins at `first` ends, at most at `last`."""
    label = labels[first]
    n = first + 1
    while n + _NARROW <= last and _all_narrow(labels, n, label):
        n += _NARROW
        while n - first > _WIDE // 2 and n + _WIDE <= last and _all_wide(labels, n, label):
            n += _WIDE
    while n < last and labels[n] == label:
        n += 1
    return n


@njit(cache=True, nogil=True)
def _differences(before, after, top, kept):
    """Changes of a run of voxels, `_BRIGHT` where one is saturated."""
    for n in range(before.size):
        one = np.float32(before[n])
        other = np.float32(after[n])
        kept[n] = _BRIGHT if (one >= top) | (other >= top) else other - one


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _sums(changes):
    """Sum of changes and of their squares, float64: not finite as soon as one voxel is not."""
    total = 0.0
    squares = 0.0
    for n in range(changes.size):
        change = np.float64(changes[n])
        total += change
        squares += change * change
    return total, squares


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "nnan"})
def _extremes(changes, threshold):
    """Smallest and largest change, and how many lie above the threshold, where all are finite."""
    smallest = changes[0]
    largest = changes[0]
    above = np.int32(0)
    for n in range(changes.size):
        smallest = min(smallest, changes[n])
        largest = max(largest, changes[n])
        above += np.int32(changes[n] > threshold)
    return smallest, largest, above


@njit(cache=True, nogil=True)
def _flush(changes, threshold, row):
    """Add changes to a row of statistics."""
    if changes.size == 0:
        return
    total, squares = _sums(changes)
    count = changes.size
    row[VOXELS] += count
    if not np.isfinite(squares) or squares >= np.float64(_BRIGHT):
        count = 0
        for n in range(changes.size):
            if changes[n] == _BRIGHT:
                row[SATURATED] += 1
            elif np.isfinite(changes[n]):
                changes[count] = changes[n]
                count += 1
        if count == 0:
            return
        total, squares = _sums(changes[:count])
    smallest, largest, above = _extremes(changes[:count], threshold)
    row[VALID] += count
    row[ABOVE] += above
    row[TOTAL] += total
    row[SQUARES] += squares
    row[SMALLEST] = min(row[SMALLEST], np.float64(smallest))
    row[LARGEST] = max(row[LARGEST], np.float64(largest))


@njit(cache=True, nogil=True)
def _keep(pre, post, first, last, top, threshold, buffer, filled, row):
    """Put the changes of a run of voxels with those of its label; how many are there then."""
    while first < last:
        step = min(last - first, buffer.size - filled)
        _differences(pre[first : first + step], post[first : first + step], top, buffer[filled:])
        filled += step
        first += step
        if filled == buffer.size:
            _flush(buffer, threshold, row)
            filled = 0
    return filled


@njit(cache=True, nogil=True)
def _part_of_labels(pre, post, labels, slots, top, threshold, n, last, buffers, filled, rows):
    """Statistics of voxels n to last, run by run."""
    filled[:] = 0
    while n < last:
        end = _run_end(labels, n, last)
        label = labels[n]
        if 0 <= label < slots.size and slots[label] >= 0:
            slot = slots[label]
            filled[slot] = _keep(
                pre, post, n, end, top, threshold[slot], buffers[slot], filled[slot], rows[slot]
            )
        n = end
    for slot in range(filled.size):
        _flush(buffers[slot, : filled[slot]], threshold[slot], rows[slot])


@njit(cache=True, nogil=True, parallel=True)
def label_differences(pre, post, labels, slots, top, threshold, length, partial):
    """Statistics of post - pre by label, in parts of fixed size.

    pre, post : (n_voxels,) float32 or int16
    labels : (n_voxels,) int32
    slots : (n,) int64, row of each label, -1 for labels to skip (0 among them); labels beyond are skipped
    top : float32, values from which on a voxel is saturated and does not count
    threshold : (n_rows,) float32, changes above it are counted
    length : int, changes of one label that are summed at once
    partial : (n_parts, n_rows, 8) float64, out: voxels, valid ones, saturated ones, changes above the
        threshold, sum, sum of squares, smallest and largest change (infinite where nothing is valid)
    """
    n_parts = partial.shape[0]
    turn = _turn(n_parts)
    size = (labels.size + n_parts - 1) // n_parts
    for task in prange(n_parts):
        part = (task * turn) % n_parts
        rows = partial[part]
        rows[:, :SMALLEST] = 0.0
        rows[:, SMALLEST] = np.inf
        rows[:, LARGEST] = -np.inf
        buffers = np.empty((rows.shape[0], length), np.float32)
        filled = np.empty(rows.shape[0], np.int64)
        first = min(part * size, labels.size)
        last = min(first + size, labels.size)
        _part_of_labels(pre, post, labels, slots, top, threshold, first, last, buffers, filled, rows)


@njit(cache=True, nogil=True)
def _turn(count):
    """A number coprime to `count`, so that each thread gets parts from everywhere."""
    turn = max(1, int(count * _SPREAD))
    while True:
        larger, smaller = count, turn
        while smaller > 0:
            larger, smaller = smaller, larger % smaller
        if larger == 1:
            return turn
        turn += 1


@njit(cache=True, nogil=True, parallel=True)
def subtract(pre, post, top, invalid, saturated, change, flags):
    """Second image minus first, NaN and flagged where that is no measurement.

    pre, post : (n_voxels,) float32
    top : float32, values from which on a voxel is saturated
    invalid, saturated : uint16, flags of voxels without a number and at the top of the range
    change : (n_voxels,) float32, out
    flags : (n_voxels,) uint16, out
    """
    for n in prange(pre.size):
        difference = post[n] - pre[n]
        flag = np.uint16(0)
        if not np.isfinite(difference):
            flag = invalid
            difference = np.float32(np.nan)
        if pre[n] >= top or post[n] >= top:
            flag = saturated
            difference = np.float32(np.nan)
        change[n] = difference
        flags[n] = flag
