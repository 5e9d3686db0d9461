"""Confidence bounds of a curve that shows no clearance: how much could be cleared without being seen.

At the bound the covariance knows nothing of the rate. The profile likelihood does: all curves whose sum of
squares is not much larger than the least one, with rates that are not below zero.

References
----------
.. [1] Venzon DJ, Moolgavkar SH, A method for computing profile-likelihood-based confidence intervals,
   Appl Statist 37:87 (1988).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.nuclear.exponential_models import student_quantile

FloatArray = npt.NDArray[np.float64]

_RATES = 2000
_SLOWEST = 1e-6
_FASTEST = 20.0
"""Rates that are tried besides zero, per last time."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What samples without clearance allow, with rates from zero on.

    Attributes
    ----------
    lower_area, upper_area : float
        Area under the activity.
    fastest_rate_per_s : float
        Largest biological rate.
    """

    lower_area: float
    upper_area: float
    fastest_rate_per_s: float

    def effective_half_life_s(self, decay_per_s: float) -> tuple[float, float]:
        """From the fastest clearance to decay alone."""
        return math.log(2.0) / (decay_per_s + self.fastest_rate_per_s), math.log(2.0) / decay_per_s

    def biological_half_life_s(self) -> tuple[float, float]:
        """From the fastest clearance to none."""
        rate = self.fastest_rate_per_s
        return math.log(2.0) / rate if rate > 0 else math.inf, math.inf


def bounds_of_one_exponential(
    time_s: FloatArray,
    values: FloatArray,
    weights: FloatArray,
    *,
    known: bool,
    decay_per_s: float,
    level: float,
) -> Bounds | None:
    """Profile-likelihood bounds of ``A exp(-b t)``, b not below zero, of decay-corrected samples.

    Parameters
    ----------
    time_s, values : (n,) ndarray
    weights : (n,) ndarray
        Zero leaves a sample out.
    known : bool
        Whether weights are inverse variances.
    decay_per_s : float
        Of the nuclide whose area it is.
    level : float

    Returns
    -------
    Bounds or None
        None without a sample more than parameters.
    """
    used = weights > 0
    t, y, w = time_s[used], values[used], weights[used]
    freedom = t.size - 2
    if freedom < 1 and not known:
        return None
    last = float(t[-1])
    rates = np.concatenate([[0.0], np.geomspace(_SLOWEST, _FASTEST, _RATES) / last])
    decayed = np.exp(-np.outer(rates, t))
    size = np.square(decayed) @ w
    amplitude = (decayed @ (w * y)) / size
    squares = np.square(y - amplitude[:, np.newaxis] * decayed) @ w
    least = float(squares.min())
    quantile = student_quantile(level, 10**9 if known else freedom)
    variance = 1.0 if known else least / freedom
    room = least + quantile**2 * variance - squares
    inside = room >= 0
    spread = np.sqrt(np.where(inside, room, 0.0) / size)
    effective = decay_per_s + rates
    lower = (amplitude - spread)[inside] / effective[inside]
    upper = (amplitude + spread)[inside] / effective[inside]
    return Bounds(max(float(lower.min()), 0.0), float(upper.max()), float(rates[inside].max()))
