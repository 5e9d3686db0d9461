"""What the cubic spline through a list of offsets has in common for all spectra.

The spline is the interpolating one with the not-a-knot condition: it reproduces cubics up to the ends of the
range, where a natural spline would bend a spectrum straight. SciPy's `CubicSpline` has the same default.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.cest.sample_differences import STENCIL, difference_weights

FloatArray = npt.NDArray[np.float64]

MOST_CELLS = 4096


@dataclass(frozen=True, eq=False)
class SplineDesign:
    """The eliminated system of the slopes, and tables to look places up.

    Attributes
    ----------
    knots : (n,) ndarray
        Offsets, ascending.
    sweep : (4, n) ndarray
        See `imgtheranostics.kernels.z_spline.fill_slopes`.
    """

    knots: FloatArray
    sweep: FloatArray

    @cached_property
    def cells(self) -> tuple[npt.NDArray[np.uintp], float]:
        """Index of the knot below the beginning of each of equal cells and of the end; cells per ppm."""
        span = self.knots[-1] - self.knots[0]
        count = int(min(np.ceil(span / np.diff(self.knots).min()), MOST_CELLS))
        begins = self.knots[0] + span * np.arange(count) / count
        below = np.searchsorted(self.knots, begins, side="right") - 1
        below = np.append(np.clip(below, 0, self.knots.size - 2), self.knots.size - 2)
        return below.astype(np.uintp), float(count / span)

    @cached_property
    def grid(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, npt.NDArray[np.uintp], float]:
        """What the kernel looks places up in."""
        ends = self.knots[1:].copy()
        ends[-1] = np.inf
        steps = np.diff(self.knots)
        return (self.knots, steps, 1.0 / steps, ends, *self.cells)

    @cached_property
    def sensitivity(self) -> FloatArray:
        """Slope at each knot by each sample, (n, n)."""
        n = self.knots.size
        rise, climb, below, above = self.sweep
        slopes = np.zeros((n, n))
        unit = np.eye(n)
        for i in range(n):
            middle = min(max(i, 1), n - 2)
            slopes[i] = rise[i] * (unit[middle] - unit[max(middle - 1, 0)])
            slopes[i] += climb[i] * (unit[middle + 1] - unit[middle])
            if i > 0:
                slopes[i] -= below[i] * slopes[i - 1]
        for i in range(n - 2, -1, -1):
            slopes[i] -= above[i] * slopes[i + 1]
        return slopes

    @cached_property
    def gram(self) -> FloatArray:
        """Covariances of samples and slopes for independent noise of 1 in the samples, (2 n, 2 n)."""
        both = np.vstack([np.eye(self.knots.size), self.sensitivity])
        return both @ both.T

    @cached_property
    def bends(self) -> FloatArray:
        """Standard error of the second derivative at each knot for noise of 1, (n,)."""
        step = np.diff(self.knots)[:, np.newaxis]
        unit, slopes = np.eye(self.knots.size), self.sensitivity
        rises = np.diff(unit, axis=0) / step
        begins = (6.0 * rises - 4.0 * slopes[:-1] - 2.0 * slopes[1:]) / step
        end = (2.0 * slopes[-2:-1] + 4.0 * slopes[-1:] - 6.0 * rises[-1:]) / step[-1]
        norms: FloatArray = np.linalg.norm(np.vstack([begins, end]), axis=1)
        return norms

    @cached_property
    def differences(self) -> FloatArray:
        """Weights of fourth divided differences, (n - 4, 5); none for fewer than 6 offsets."""
        if self.knots.size <= STENCIL:
            return np.empty((0, STENCIL))
        full = difference_weights(self.knots)
        return np.array([full[row, row : row + STENCIL] for row in range(full.shape[0])])


def design_of(offsets: OffsetList) -> SplineDesign:
    """The design of a list of offsets, kept for the next call with the same list."""
    return _design(offsets.ppm.tobytes())


@lru_cache(maxsize=16)
def _design(knots: bytes) -> SplineDesign:
    ppm = np.frombuffer(knots, np.float64).copy()
    return SplineDesign(ppm, _sweep(ppm))


def _sweep(knots: FloatArray) -> FloatArray:
    """Elimination of the tridiagonal system of the slopes."""
    n = knots.size
    step = np.diff(knots)
    if n == 2:
        return np.array([[0.0, 0.0], [1.0, 1.0] / step, [0.0, 0.0], [0.0, 0.0]])
    before, after, below, diagonal, above = np.zeros((5, n))
    if n == 3:
        both = step[0] + step[1]
        before[:] = np.array([1.0 + step[0] / both, step[1] / both, -step[1] / both]) / step[0]
        after[:] = np.array([-step[0] / both, step[0] / both, 1.0 + step[1] / both]) / step[1]
        return np.array([before, after, below, above])
    before[1:-1] = 3.0 * step[1:] / step[:-1]
    after[1:-1] = 3.0 * step[:-1] / step[1:]
    below[1:-1], above[1:-1] = step[1:], step[:-1]
    diagonal[1:-1] = 2.0 * (step[:-1] + step[1:])
    for end, near, far, first, second in ((0, 0, 1, before, after), (-1, -1, -2, after, before)):
        both = step[near] + step[far]
        diagonal[end] = step[far]
        first[end] = (step[near] + 2.0 * both) * step[far] / (both * step[near])
        second[end] = step[near] ** 2 / (both * step[far])
        (above if end == 0 else below)[end] = both
    sweep = np.zeros((4, n))
    carried = 0.0
    for i in range(n):
        pivot = diagonal[i] - below[i] * carried
        carried = above[i] / pivot
        sweep[:, i] = before[i] / pivot, after[i] / pivot, below[i] / pivot, carried
    return sweep
