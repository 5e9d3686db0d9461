"""Smoothing splines as matrices: what minimises ``p sum (y - f)^2 + (1 - p) int f''^2``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]


def roughness(x: DoubleArray) -> DoubleArray:
    """Matrix K with ``y'Ky = int f''^2`` of the natural cubic spline through y at x, (n, n).

    Parameters
    ----------
    x : (n,) ndarray
        Increasing.
    """
    n = x.size
    if n < 3:
        return np.zeros((n, n))
    step = np.diff(x)
    second = np.zeros((n, n - 2))
    middle = np.zeros((n - 2, n - 2))
    for k in range(n - 2):
        second[k : k + 3, k] = 1 / step[k], -1 / step[k] - 1 / step[k + 1], 1 / step[k + 1]
        middle[k, k] = (step[k] + step[k + 1]) / 3
        if k + 1 < n - 2:
            middle[k, k + 1] = middle[k + 1, k] = step[k + 1] / 6
    found: DoubleArray = second @ np.linalg.solve(middle, second.T)
    return 0.5 * (found + found.T)


def smoothing_modes(x: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Orthonormal curves at x, (n, n) by column, and how rough each is, (n,).

    The smoothing spline of y is ``U diag(1 / (1 + r (1 - p)/p)) U'y``; the two straight lines have r = 0.
    """
    rough, modes = np.linalg.eigh(roughness(x))
    rough[: min(2, x.size)] = 0.0
    return modes, np.maximum(rough, 0.0)


def checked_smoothing(smoothing: float) -> float:
    """The parameter p of a smoothing spline.

    Raises
    ------
    ValueError
        If it is not above 0 and at most 1.
    """
    p = float(smoothing)
    if not 0.0 < p <= 1.0:
        raise ValueError(f"smoothing must be above 0 and at most 1 (1 interpolates), found {smoothing:g}")
    return p


def smoothing_matrix(x: DoubleArray, smoothing: float) -> DoubleArray:
    """Matrix that takes samples at x to their smoothing spline at x, (n, n)."""
    p = checked_smoothing(smoothing)
    if p == 1.0:
        return np.eye(x.size)
    modes, rough = smoothing_modes(x)
    matrix: DoubleArray = (modes / (1.0 + rough * (1.0 - p) / p)) @ modes.T
    return matrix
