"""Faster steps towards a fixed point than repeating the map: the mixing of D. G. Anderson (1965)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_MEMORY = 4


class FixedPoint:
    """Combines the last steps so that what is left over of them is least.

    References
    ----------
    .. [1] D. G. Anderson, J. ACM 12, 547 (1965), doi:10.1145/321296.321305
    """

    def __init__(self) -> None:
        self._points: list[FloatArray] = []
        self._rests: list[FloatArray] = []

    def next(self, point: FloatArray, mapped: FloatArray) -> FloatArray:
        """The next point to try, from one and what it is mapped to; of the same shape."""
        self._points = [*self._points, point.ravel()][-_MEMORY:]
        self._rests = [*self._rests, (mapped - point).ravel()][-_MEMORY:]
        if len(self._points) < 2:
            return mapped
        steps = [b - a for a, b in pairwise(self._points)]
        changes = [b - a for a, b in pairwise(self._rests)]
        matrix = np.stack(changes, axis=1)
        shares, *_ = np.linalg.lstsq(matrix, self._rests[-1], rcond=1e-10)
        moved = mapped.ravel() - (np.stack(steps, axis=1) + matrix) @ shares
        return np.asarray(moved.reshape(point.shape))
