"""Sound that detectors hear of an image, and its adjoint; nothing of the matrix between them is stored.

Each pixel is a ball whose sound at distance d is a pulse of fixed shape over d. The pulse is tabulated for
`phases` fractions of a sample, linear between them. Forward tasks own a detector, adjoint tasks own a block
of pixels, and sums run in a fixed order: the bytes do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

PIXELS = 256
"""Pixels of a task of the adjoint."""


@njit(cache=True, nogil=True, inline="always")
def _arrival(detector, point, samples_per_mm, first, phases):
    """Distance, first sample of the pulse's table, row of it, and fraction to the next row."""
    dx = point[0] - detector[0]
    dy = point[1] - detector[1]
    dz = point[2] - detector[2]
    distance = np.sqrt(dx * dx + dy * dy + dz * dz)
    sample = distance * samples_per_mm - first
    whole = np.floor(sample)
    phase = (sample - whole) * phases
    row = min(int(phase), phases - 1)
    return distance, int(whole), row, np.float32(phase - row)


@njit(cache=True, nogil=True, parallel=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def forward(image, points, detectors, pulse, samples_per_mm, first, out):
    """Signals of all detectors.

    image : (n_points,) float32
    points, detectors : (n, 3) float64, mm
    pulse : (phases + 1, length) float32, the pulse delayed by row / phases of a sample, and begun
        `length // 2` samples before it arrives
    samples_per_mm : float, sampling rate over speed of sound
    first : float, samples between the laser pulse and the first sample
    out : (n_detectors, n_samples) float32
    """
    phases, length = pulse.shape[0] - 1, pulse.shape[1]
    n_samples = out.shape[1]
    for detector in prange(detectors.shape[0]):
        padded = np.zeros(n_samples + 2 * length, np.float32)
        for point in range(points.shape[0]):
            value = image[point]
            if value == np.float32(0.0):
                continue
            distance, whole, row, fraction = _arrival(
                detectors[detector], points[point], samples_per_mm, first, phases
            )
            begin = whole + length - length // 2
            if begin < 0 or begin > n_samples + length:
                continue
            amplitude = np.float32(value / distance)
            lower, upper, heard = pulse[row], pulse[row + 1], padded[begin : begin + length]
            for n in range(length):
                heard[n] += amplitude * (lower[n] + fraction * (upper[n] - lower[n]))
        for n in range(n_samples):
            out[detector, n] = padded[length + n]


@njit(cache=True, nogil=True, parallel=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def adjoint(signals, points, detectors, pulse, samples_per_mm, first, out):
    """Sum over detectors of what each pixel's pulse has in common with their signals; see `forward`.

    signals : (n_detectors, n_samples + 2 length) float32, padded with zeros at both ends
    out : (n_points,) float32
    """
    phases, length = pulse.shape[0] - 1, pulse.shape[1]
    n_samples = signals.shape[1] - 2 * length
    n_points = points.shape[0]
    for block in prange((n_points + PIXELS - 1) // PIXELS):
        for point in range(block * PIXELS, min((block + 1) * PIXELS, n_points)):
            total = 0.0
            for detector in range(detectors.shape[0]):
                distance, whole, row, fraction = _arrival(
                    detectors[detector], points[point], samples_per_mm, first, phases
                )
                begin = whole + length - length // 2
                if begin < 0 or begin > n_samples + length:
                    continue
                lower, upper, heard = pulse[row], pulse[row + 1], signals[detector, begin : begin + length]
                common = np.float32(0.0)
                for n in range(length):
                    common += heard[n] * (lower[n] + fraction * (upper[n] - lower[n]))
                total += np.float64(common) / distance
            out[point] = total
