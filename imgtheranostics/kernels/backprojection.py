"""Back-projection of detector signals onto a grid: each voxel takes what every detector heard from it.

A task is a block of grid rows, which no other task writes to, and detectors are added in their order: the
bytes do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

ROWS = 8
"""Grid rows of a task: one detector's signal stays in the first-level cache while they are filled."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _listen(detector, directional, x, y, z, samples_per_mm, first, last, place, fraction, weight):
    """When and how strongly a detector hears each voxel of a row; weight 0 outside of what was recorded."""
    detector_x, normal_x = detector[0], detector[3]
    dy = y - detector[1]
    dz = z - detector[2]
    across = dy * dy + dz * dz
    none, one = np.float32(0.0), np.float32(1.0)
    for i in range(x.size):
        dx = x[i] - detector_x
        sample = np.sqrt(dx * dx + across) * samples_per_mm - first
        heard = (sample >= none) & (sample < last)
        sample = sample if heard else none
        n = np.int32(sample)
        place[i] = n
        fraction[i] = sample - np.float32(n)
        weight[i] = one if heard else none
    if directional:
        facing = detector[4] * dy + detector[5] * dz
        for i in range(x.size):
            dx = x[i] - detector_x
            squared = dx * dx + across
            depth = facing + normal_x * dx
            depth = depth if depth > none else none
            weight[i] = weight[i] * depth / (squared * np.sqrt(squared))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add(signal, place, fraction, weight, row):
    """Add the signal at the places, linear between samples, to a row of the image."""
    for i in range(row.size):
        n = np.uint32(place[i])
        lower = signal[n]
        row[i] += weight[i] * (lower + fraction[i] * (signal[n + np.uint32(1)] - lower))


@njit(
    cache=True,
    nogil=True,
    parallel=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "arcp", "nsz"},
)
def project_back(signals, detectors, directional, x, y, z, samples_per_mm, first, out):
    """Weighted mean over the detectors of their signals at the time of flight from each voxel.

    signals : (n_images, n_detectors, n_samples) float32, all finite
    detectors : (n_detectors, 6) float32, position in mm and unit normal towards the object
    directional : bool, weights are the solid angles cos / d^2 that a detector's area subtends; else all are 1
    x, y, z : float32, coordinates of the grid in mm
    samples_per_mm : float32, sampling rate over speed of sound
    first : float32, number of samples between the laser pulse and the first sample
    out : (n_images, len(z), len(y), len(x)) float32; NaN where no detector recorded the time of flight
    """
    n_rows = y.size * z.size
    last = np.float32(signals.shape[2] - 1)
    for block in prange((n_rows + ROWS - 1) // ROWS):
        begin = block * ROWS
        end = min(begin + ROWS, n_rows)
        place = np.empty(x.size, np.int32)
        fraction = np.empty(x.size, np.float32)
        weight = np.empty(x.size, np.float32)
        total = np.zeros((ROWS, x.size), np.float32)
        for line in range(begin, end):
            for image in range(signals.shape[0]):
                out[image, line // y.size, line % y.size, :] = np.float32(0.0)
        for detector in range(detectors.shape[0]):
            for line in range(begin, end):
                k, j = line // y.size, line % y.size
                _listen(
                    detectors[detector],
                    directional,
                    x,
                    y[j],
                    z[k],
                    samples_per_mm,
                    first,
                    last,
                    place,
                    fraction,
                    weight,
                )
                heard = total[line - begin]
                for i in range(x.size):
                    heard[i] += weight[i]
                for image in range(signals.shape[0]):
                    _add(signals[image, detector], place, fraction, weight, out[image, k, j])
        for line in range(begin, end):
            heard = total[line - begin]
            for image in range(signals.shape[0]):
                row = out[image, line // y.size, line % y.size]
                for i in range(x.size):
                    row[i] = row[i] / heard[i] if heard[i] > np.float32(0.0) else np.float32(np.nan)
