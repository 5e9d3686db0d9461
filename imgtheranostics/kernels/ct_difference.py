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

KEPT = 4096
"""Changes of one region that are summed at once, at most."""

_NARROW, _WIDE = 32, 1024
"""Labels that are compared at once."""

_BRIGHT = np.float32(3e38)
"""Stands for the change of a saturated voxel among changes that are kept for their sums."""

_MISSING = np.float32(np.nan)
_SPREAD = 0.6180339887498949


@njit(cache=True, nogil=True)
def _all_narrow(labels, first, label):
    differing = np.int32(0)
    start = np.uintp(first)
    for m in range(_NARROW):
        differing |= labels[start + np.uintp(m)] ^ label
    return differing == 0


@njit(cache=True, nogil=True)
def _all_wide(labels, first, label):
    differing = np.int32(0)
    start = np.uintp(first)
    for m in range(_WIDE):
        differing |= labels[start + np.uintp(m)] ^ label
    return differing == 0


@njit(cache=True, nogil=True)
def _run_end(labels, first, last):
    """Where the run of equal labels that begins at `first` ends, at most at `last`."""
    label = labels[np.uintp(first)]
    n = first + 1
    while n + _NARROW <= last and _all_narrow(labels, n, label):
        n += _NARROW
        while n - first > _WIDE // 2 and n + _WIDE <= last and _all_wide(labels, n, label):
            n += _WIDE
    while n < last and labels[np.uintp(n)] == label:
        n += 1
    return n


@njit(cache=True, nogil=True)
def _differences(pre, post, first, count, limits, kept, place):
    """Changes of a run of voxels into `kept` from `place` on, `_BRIGHT` where one is saturated, or NaN."""
    source, target = np.uintp(first), np.uintp(place)
    lowest, top_before, top_after = limits
    for m in range(count):
        n = np.uintp(m)
        one = np.float32(pre[source + n])
        other = np.float32(post[source + n])
        change = _BRIGHT if (one >= top_before) | (other >= top_after) else other - one
        kept[target + n] = _MISSING if (one <= lowest) | (other <= lowest) else change


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _sums(changes, place, count):
    """Sum of changes and of their squares, float64: not finite as soon as one voxel is not."""
    total = 0.0
    squares = 0.0
    start = np.uintp(place)
    for n in range(count):
        change = np.float64(changes[start + np.uintp(n)])
        total += change
        squares += change * change
    return total, squares


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "nnan"})
def _extremes(changes, place, count, threshold):
    """Smallest and largest change, and how many lie above the threshold, where all are finite."""
    start = np.uintp(place)
    smallest = changes[start]
    largest = changes[start]
    above = np.int32(0)
    for n in range(count):
        change = changes[start + np.uintp(n)]
        smallest = min(smallest, change)
        largest = max(largest, change)
        above += np.int32(change > threshold)
    return smallest, largest, above


@njit(cache=True, nogil=True)
def _flush(changes, place, count, threshold, row):
    """Add the changes that were kept to a row of statistics."""
    if count == 0:
        return
    total, squares = _sums(changes, place, count)
    row[VOXELS] += count
    if not np.isfinite(squares) or squares >= np.float64(_BRIGHT):
        kept = 0
        for n in range(place, place + count):
            if changes[n] == _BRIGHT:
                row[SATURATED] += 1
            elif np.isfinite(changes[n]):
                changes[place + kept] = changes[n]
                kept += 1
        if kept == 0:
            return
        count = kept
        total, squares = _sums(changes, place, count)
    smallest, largest, above = _extremes(changes, place, count, threshold)
    row[VALID] += count
    row[ABOVE] += above
    row[TOTAL] += total
    row[SQUARES] += squares
    row[SMALLEST] = min(row[SMALLEST], np.float64(smallest))
    row[LARGEST] = max(row[LARGEST], np.float64(largest))


@njit(cache=True, nogil=True)
def _part_of_labels(pre, post, labels, slots, limits, threshold, n, last, length, kept, filled, rows):
    """Statistics of voxels n to last, run by run.

    kept : (n_rows * length,) float32, changes of each label that wait to be summed
    filled : (n_rows,) int64, how many there are
    """
    filled[:] = 0
    while n < last:
        end = _run_end(labels, n, last)
        label = labels[n]
        if 0 <= label < slots.size and slots[label] >= 0:
            slot = slots[label]
            while n < end:
                step = min(end - n, length - filled[slot])
                _differences(pre, post, n, step, limits, kept, slot * length + filled[slot])
                filled[slot] += step
                n += step
                if filled[slot] == length:
                    _flush(kept, slot * length, length, threshold[slot], rows[slot])
                    filled[slot] = 0
        n = end
    for slot in range(filled.size):
        _flush(kept, slot * length, filled[slot], threshold[slot], rows[slot])


@njit(cache=True, nogil=True, parallel=True)
def label_differences(pre, post, labels, slots, limits, threshold, length, partial):
    """Statistics of post - pre by label, in parts of fixed size.

    pre, post : (n_voxels,) float32 or int16
    labels : (n_voxels,) int32
    slots : (n,) int64, row of each label, -1 for labels to skip (0 among them); labels beyond are skipped
    limits : three float32; voxels with a value at or below the first, which is no attenuation, do not count,
        nor those at or above the second in `pre` or the third in `post`, which are saturated
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
        kept = np.empty(rows.shape[0] * length, np.float32)
        filled = np.empty(rows.shape[0], np.int64)
        first = min(part * size, labels.size)
        last = min(first + size, labels.size)
        _part_of_labels(pre, post, labels, slots, limits, threshold, first, last, length, kept, filled, rows)


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


@njit(cache=True, nogil=True, parallel=True)
def concentrations(change, noise, given, scale, relative, limit, marks, value, error, flags):
    """Concentration, its standard error and its flags from a change of attenuation.

    change, noise : (n_voxels,) float32, HU and its standard error; NaN where there is none
    given : (n_voxels,) uint16, flags of the change
    scale : float64, mg/mL per HU
    relative : two float64, relative errors that all voxels share: of the change, contained in `noise`, and of
        the concentration
    limit : float64, standard deviations of the noise below which a value is not detected
    marks : two uint16, flags of voxels without a number and of values that are not detected
    value, error : (n_voxels,) float32, out
    flags : (n_voxels,) uint16, out
    """
    of_change, of_value = relative
    invalid, below = marks
    for n in prange(change.size):
        hu = np.float64(change[n])
        shared = of_change * hu
        spread = np.float64(noise[n])
        own = np.sqrt(max(0.0, spread * spread - shared * shared)) if np.isfinite(spread) else np.nan
        found = hu * scale
        sd = own * abs(scale)
        flag = given[n]
        if not np.isfinite(found):
            found = np.nan
            sd = np.nan
            if flag == 0:
                flag = invalid
        elif found < limit * sd:
            flag |= below
        value[n] = found
        error[n] = np.sqrt(sd * sd + of_value * found * of_value * found)
        flags[n] = flag
