"""Grey levels of a log-compressed image to linear echo power: a table for whole levels, exact for others."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

BLOCK = 1 << 16
"""Voxels per task."""


@njit(cache=True, nogil=True, parallel=True)
def linear_power(grey, table, decibels, gamma, gain_db, largest, out, invalid):
    """Power 10^((decibels (g/largest)^gamma + gain_db)/10) of each grey level g.

    grey : (n_voxels,) float32
    table : (n_levels,) float32, the power of whole levels; others, and higher ones, are calculated
    decibels, gamma, gain_db, largest : float
    out : (n_voxels,) float32, NaN where the level is NaN or not from 0 to `largest`
    invalid : (n_blocks,) int64, finite or infinite levels outside that range, in each `BLOCK` of voxels
    """
    scale = math.log(10.0) / 10.0
    for block in prange(invalid.size):
        outside = 0
        for n in range(block * BLOCK, min((block + 1) * BLOCK, grey.size)):
            level = grey[n]
            if level >= 0.0 and level <= largest:
                whole = np.int64(level)
                if np.float32(whole) == level and whole < table.size:
                    out[n] = table[whole]
                else:
                    decibel = decibels * (np.float64(level) / largest) ** gamma + gain_db
                    out[n] = math.exp(scale * decibel)
            else:
                out[n] = np.nan
                if level == level:
                    outside += 1
        invalid[block] = outside
