"""Titration curves through three points of pH: what an S-shaped course could be that no parabola shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

STEEPNESSES = (1.0, 2.0)
"""Protons that are exchanged at once: of a single site, and steeper as ratios of two sites go."""

_FARTHEST_PH = 12.0
_HALVINGS = 60


def steps_through(measure: DoubleArray, ph: DoubleArray, at_measure: DoubleArray) -> tuple[DoubleArray, ...]:
    """PH along the curves ``a + b / (1 + 10^(n (pK - pH)))`` through three points, for each n that has one.

    Parameters
    ----------
    measure, ph : (3,) ndarray
        Points in ascending pH, of which the measure rises or falls throughout.
    at_measure : (m,) ndarray
        Between the first and the last measure.

    Returns
    -------
    tuple of (m,) ndarray
        Empty where the measure does not rise or fall throughout; without those n of which no such curve bends
        as much as the points do.
    """
    if not (np.diff(measure) > 0).all() and not (np.diff(measure) < 0).all():
        return ()
    share = (measure[1] - measure[0]) / (measure[2] - measure[0])
    found = []
    for n in STEEPNESSES:
        middle = _middle(share, ph, n)
        if middle is None:
            continue
        low, _, high = _step(ph, middle, n)
        place = low + (high - low) * (at_measure - measure[0]) / (measure[2] - measure[0])
        found.append(middle + np.log10(place / (1.0 - place)) / n)
    return tuple(found)


def _step(ph: DoubleArray, middle: float, n: float) -> DoubleArray:
    return np.asarray(1.0 / (1.0 + 10.0 ** (n * (middle - ph))))


def _middle(share: float, ph: DoubleArray, n: float) -> float | None:
    """The pK with which the second of three points lies at a share of the way from the first to the last."""

    def reached(middle: float) -> float:
        low, between, high = _step(ph, middle, n)
        return float((between - low) / (high - low))

    # far below its pK the curve has no bend but that of an exponential, far above none but its mirror image
    reach = _FARTHEST_PH / n / 2.0
    early, late = float(ph[0]) - reach, float(ph[2]) + reach
    if not reached(late) < share < reached(early):
        return None
    for _ in range(_HALVINGS):
        middle = 0.5 * (early + late)
        if reached(middle) > share:
            early = middle
        else:
            late = middle
    return 0.5 * (early + late)
