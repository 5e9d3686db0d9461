"""When the bolus of a population's input function arrives in a series, where nobody states it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.mri.plasma_curve import population_curve
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]

MOST_VOXELS = 4096
LATEST_S = 180.0
_BRIGHTER_HALF = (0.5, 0.99)
"""Quantiles of the mean concentration: the upper half of the voxels without its outliers."""


def fitted_arrival(
    samples: npt.NDArray[Any],
    time_s: FloatArray,
    inside: npt.NDArray[np.bool_] | None,
    aif: str,
    *,
    haematocrit: float | None,
    about_s: float,
) -> float | None:
    """Arrival of the bolus in s: that of the extended Tofts model in the mean curve of enhancing voxels.

    An arrival that is wrong by one image shifts every parameter of every voxel, so it is taken from the
    curves themselves.

    Parameters
    ----------
    samples : (..., n) ndarray
        Concentration, mmol/L.
    time_s : (n,) ndarray
    inside : (...) ndarray of bool or None
    aif : str
        The population.
    haematocrit : float, optional
    about_s : float
        Where the search begins: from the first image to half of the scan later, 180 s at most.

    Returns
    -------
    float or None
        None where the mean curve shows no bolus, or one at an end of the search.
    """
    from imgtheranostics.mri import dce

    mean = samples.mean(axis=-1, dtype=np.float64)
    usable = np.isfinite(mean) if inside is None else np.isfinite(mean) & inside
    if not usable.any():
        return None
    low, high = np.quantile(mean[usable], _BRIGHTER_HALF)
    # Images lie in Fortran order: in that order the planes of the samples are a view.
    places = np.flatnonzero((usable & (mean >= low) & (mean <= high)).ravel(order="F"))
    chosen = places[np.linspace(0, places.size - 1, min(places.size, MOST_VOXELS)).astype(np.int64)]
    curve = samples.reshape(-1, time_s.size, order="F")[chosen].mean(axis=0, dtype=np.float64)
    latest = min(0.5 * float(time_s[-1] - time_s[0]), LATEST_S)
    bounds = (max(float(time_s[0]) - about_s, -latest), latest)
    plasma = population_curve(aif, time_s, delay_s=about_s, haematocrit=haematocrit)
    if not bounds[0] < bounds[1] or time_s.size < 5:
        return None
    fit = dce.fit(
        "extended_tofts",
        curve,
        time_s,
        plasma.values,
        plasma_time_s=plasma.time_s,
        haematocrit=plasma.haematocrit,
        fit_delay=True,
        delay_bounds_s=bounds,
    )
    delay = float(fit.parameters["delay_s"])
    failed = int(fit.flags) & int(Flag.NOT_ENHANCING | Flag.NOT_CONVERGED)
    at_end = not bounds[0] + 1e-6 < delay < bounds[1] - 1e-6
    return None if failed or at_end or not np.isfinite(delay) else about_s + delay
