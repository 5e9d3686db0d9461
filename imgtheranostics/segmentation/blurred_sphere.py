"""A uniform sphere seen with a Gaussian point spread: its profile in closed form, and levels of it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import FWHM_PER_SD

FloatArray = npt.NDArray[np.float64]

_POINTS = 512


def sphere_profile(radius_mm: npt.ArrayLike, sphere_mm: float, resolution_mm: float) -> FloatArray:
    """Share of its true activity that a sphere without background shows at distances from its centre.

    Parameters
    ----------
    radius_mm : array_like
        Distances.
    sphere_mm : float
        Radius of the sphere.
    resolution_mm : float
        Full width at half maximum of the point spread.

    Returns
    -------
    ndarray

    Notes
    -----
    With s the standard deviation of the point spread,
    ``1/2 (erf((R + r)/(s sqrt 2)) + erf((R - r)/(s sqrt 2)))
    - s/(r sqrt(2 pi)) (exp(-(R - r)^2/2 s^2) - exp(-(R + r)^2/2 s^2))``.
    At the edge of a large sphere it is a half, less ``s/(R sqrt(2 pi))`` for its curvature.

    >>> round(float(sphere_profile(20.0, 20.0, 2.0)), 3)
    0.483
    """
    from scipy import special

    sd = resolution_mm / FWHM_PER_SD
    r = np.maximum(np.asarray(radius_mm, np.float64), 1e-6 * sd)
    inner, outer = (sphere_mm - r) / sd, (sphere_mm + r) / sd
    both = 0.5 * (special.erf(outer / math.sqrt(2.0)) + special.erf(inner / math.sqrt(2.0)))
    tails = np.exp(-0.5 * inner**2) - np.exp(-0.5 * outer**2)
    return np.asarray(both - sd / (r * math.sqrt(2.0 * math.pi)) * tails)


def edge_over_mean(sphere_mm: float, resolution_mm: float) -> float:
    """What a blurred sphere shows at its edge over its mean inside.

    A threshold at this share of the mean above background gives the sphere its true volume.
    """
    r = (np.arange(_POINTS) + 0.5) * sphere_mm / _POINTS
    weight = r**2
    mean = float(np.sum(weight * sphere_profile(r, sphere_mm, resolution_mm)) / np.sum(weight))
    return float(sphere_profile(sphere_mm, sphere_mm, resolution_mm)) / mean
