"""Differences of neighbouring samples that no smooth spectrum can explain."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

STENCIL = 5
"""Neighbouring samples of which a divided difference is taken: it vanishes on cubics."""

LEAST_OFFSETS = STENCIL + 1


def difference_weights(ppm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of fourth divided differences scaled to unit length, (n - 4, n)."""
    n = ppm.size
    weights = np.zeros((max(n - STENCIL + 1, 0), n))
    for row in range(weights.shape[0]):
        x = ppm[row : row + STENCIL]
        raw = np.array([1.0 / math.prod(a - b for b in x if b != a) for a in x])
        weights[row, row : row + STENCIL] = raw / np.linalg.norm(raw)
    return weights
