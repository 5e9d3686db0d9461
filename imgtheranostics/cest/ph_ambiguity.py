"""Ratios that occur at two pH, on both sides of the turn of a calibration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution

DoubleArray = npt.NDArray[np.float64]


def ratios_of_two_ph(
    x: DoubleArray, y: DoubleArray, kept: npt.NDArray[np.bool_]
) -> tuple[tuple[float, float], ...]:
    """Ratios of the kept stretch that points beyond either of its ends have too."""
    low, high = float(x[kept].min()), float(x[kept].max())
    rising = bool(x[kept][np.argmax(y[kept])] > x[kept][np.argmin(y[kept])])
    found = []
    for beyond, at_top in ((y > y[kept].max(), rising), (y < y[kept].min(), not rising)):
        others = x[beyond & ~kept]
        if not others.size:
            continue
        if at_top and others.min() < high:
            found.append((max(low, float(others.min())), high))
        elif not at_top and others.max() > low:
            found.append((low, min(high, float(others.max()))))
    return tuple(found)


def told_of(twice: tuple[tuple[float, float], ...]) -> tuple[Caution, ...]:
    """What to say of them."""
    if not twice:
        return ()
    ranges = " and ".join(f"{low:.4g} to {high:.4g}" for low, high in twice)
    message = (
        f"ratios from {ranges} occur at two pH and are not converted: leave out points of a pH that cannot be"
    )
    return (Caution("calibration-ambiguous", message),)
