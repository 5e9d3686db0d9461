"""Models of recovery as the kernel takes them: coefficients, limits, and the basis on a grid of rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

GRID_STEP = 0.12
"""Relative step between rates of the grid; a search starts within half of it."""

SHORTEST = 8.0
"""Time constants before the first sample after which nothing is left to see."""

LARGEST_INVERSION = 2.5
"""S0 (1 - k E): an inversion has k up to 2, noise takes it further."""

LARGEST_LOOK_LOCKER = 12.0
"""B/A up to which a polarity is plausible: T1 up to eleven times T1*."""


@dataclass(frozen=True, eq=False)
class RecoveryModel:
    """S = c1 (k0 + k1 E + k2 D) + c2 (E + m2 D), E = exp(-t/T), D = exp(-TR/T).

    Attributes
    ----------
    name : str
        For messages.
    coefficients : tuple of float
        k0, k1, k2, m2.
    pair : bool
        Whether the second component is there.
    smallest_ratio, largest_ratio : float
        What k = -c2/c1 must exceed, and up to where a polarity is plausible.
    corrected : bool
        Whether T1 is T (k - 1), as for Look-Locker.
    parameters : tuple of (str, str, int)
        What is reported: name, unit, and place among T, c1, k and T (k - 1).
    """

    name: str
    coefficients: tuple[float, float, float, float]
    pair: bool
    parameters: tuple[tuple[str, str, int], ...]
    smallest_ratio: float = 0.0
    largest_ratio: float = math.inf
    corrected: bool = False

    @property
    def n_parameters(self) -> int:
        """Parameters that are fitted."""
        return 3 if self.pair else 2


_T, _C1, _K, _CORRECTED = range(4)
_PLAIN = (("t1_s", "s", _T), ("s0", "[arb'U]", _C1))
_INVERTED = (*_PLAIN, ("inversion_efficiency", "1", _K))
_SATURATED = (*_PLAIN, ("saturation_efficiency", "1", _K))
_TRAIN = (("t1_s", "s", _CORRECTED), ("t1star_s", "s", _T), *_INVERTED[1:])

INVERSION = RecoveryModel("inversion recovery", (1.0, 0.0, 0.0, 0.0), True, _INVERTED, 0.0, LARGEST_INVERSION)
INVERSION_FINITE = RecoveryModel(
    "inversion recovery", (1.0, 0.0, -1.0, -1.0), True, _INVERTED, 0.0, LARGEST_INVERSION
)
PERFECT_INVERSION = RecoveryModel("two-parameter inversion recovery", (1.0, -2.0, 0.0, 0.0), False, _INVERTED)
PERFECT_INVERSION_FINITE = RecoveryModel(
    "two-parameter inversion recovery", (1.0, -2.0, 1.0, 0.0), False, _INVERTED
)
SATURATION = RecoveryModel("two-parameter saturation recovery", (1.0, -1.0, 0.0, 0.0), False, _PLAIN)
PARTIAL_SATURATION = RecoveryModel(
    "three-parameter saturation recovery", (1.0, 0.0, 0.0, 0.0), True, _SATURATED
)
LOOK_LOCKER = RecoveryModel(
    "Look-Locker", (1.0, 0.0, 0.0, 0.0), True, _TRAIN, 1.0, LARGEST_LOOK_LOCKER, corrected=True
)


def rate_limits(times: FloatArray, longest_s: float) -> tuple[float, float]:
    """Smallest and largest rate in 1/s that are searched."""
    positive = times[times > 0.0]
    shortest = min(float(positive.min()) / SHORTEST, 0.5 * longest_s)
    return 1.0 / longest_s, 1.0 / shortest


def grid(
    model: RecoveryModel, times: FloatArray, repetition_times: FloatArray, low: float, high: float
) -> tuple[FloatArray, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Rates from `low` to `high`, and an orthonormal basis of the model's components at each."""
    n = max(2, math.ceil(math.log(high / low) / GRID_STEP) + 1)
    rates = np.geomspace(low, high, n)
    e = np.exp(-rates[:, None] * times)
    d = np.exp(-rates[:, None] * repetition_times)
    k0, k1, k2, m2 = model.coefficients
    first = _unit(k0 + k1 * e + k2 * d)
    if not model.pair:
        return rates, first.astype(np.float32), np.zeros(first.shape, np.float32)
    second = e + m2 * d
    for _ in range(2):
        second = second - np.sum(first * second, axis=1, keepdims=True) * first
    return rates, first.astype(np.float32), _unit(second).astype(np.float32)


def packed(model: RecoveryModel, times: FloatArray, repetition_times: FloatArray) -> FloatArray:
    """Times, repetition times and coefficients as rows of one array."""
    rows: npt.NDArray[Any] = np.zeros((3, max(times.size, 4)))
    rows[0, : times.size] = times
    rows[1, : times.size] = repetition_times
    rows[2, :4] = model.coefficients
    return rows


def limits(model: RecoveryModel, low: float, high: float, longest_s: float, *, free_sign: bool) -> FloatArray:
    """Limits in the order of `imgtheranostics.kernels.recovery_choice`."""
    ratios = model.smallest_ratio, model.largest_ratio
    return np.array([low, high, *ratios, longest_s, float(model.corrected), float(free_sign)])


def _unit(rows: FloatArray) -> FloatArray:
    """Rows of length 1; a row without length stays 0."""
    length = np.sqrt(np.sum(rows * rows, axis=1, keepdims=True))
    unit: FloatArray = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12)
    return unit
