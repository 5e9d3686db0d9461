"""Grey levels of a log-compressed image to linear echo power: a table for whole levels, exact for others."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

BLOCK = 1 << 14
"""Voxels per task."""


@njit(cache=True, nogil=True)
def _all_whole(grey, top):
    """Whether all values are whole levels from 0 to `top`; on its own, so that it vectorises."""
    others = np.int32(0)
    for n in range(grey.size):
        level = grey[n]
        others += np.int32(not (level >= np.float32(0.0) and level <= top and np.floor(level) == level))
    return others == 0


@njit(cache=True, nogil=True)
def _calculate(grey, decibels, gamma, gain_db, largest, out):
    """Powers of any levels; NaN where there is none. How many are outside the scale without being NaN."""
    scale = math.log(10.0) / 10.0
    outside = 0
    for n in range(grey.size):
        level = grey[n]
        if level >= 0.0 and level <= largest:
            decibel = decibels * (np.float64(level) / largest) ** gamma + gain_db
            out[n] = math.exp(scale * decibel)
        else:
            out[n] = np.nan
            if level == level:
                outside += 1
    return outside


@njit(cache=True, nogil=True, parallel=True)
def linear_power(grey, table, decibels, gamma, gain_db, largest, out, invalid):
    """Power 10^((decibels (g/largest)^gamma + gain_db)/10) of each grey level g.

    grey : (n_voxels,) float32
    table : (n_levels,) float32, the power of whole levels from 0 on, none above `largest`
    decibels, gamma, gain_db, largest : float
    out : (n_voxels,) float32, NaN where the level is NaN or not from 0 to `largest`
    invalid : (n_blocks,) int64, finite or infinite levels outside that range, in each `BLOCK` of voxels
    """
    for block in prange(invalid.size):
        first = block * BLOCK
        last = min(first + BLOCK, grey.size)
        some, powers = grey[first:last], out[first:last]
        invalid[block] = 0
        if _all_whole(some, np.float32(table.size - 1)):
            for n in range(some.size):
                powers[n] = table[np.int64(some[n])]
            continue
        invalid[block] = _calculate(some, decibels, gamma, gain_db, largest, powers)
        # whole levels take their power from the table, as in blocks without others
        for n in range(some.size):
            if some[n] >= 0.0 and some[n] < table.size and some[n] == math.floor(some[n]):
                powers[n] = table[np.int64(some[n])]
