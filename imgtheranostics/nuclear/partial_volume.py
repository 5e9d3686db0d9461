"""Partial volume: how much of its signal a region keeps at a given resolution, and the correction for it.

Here the closed forms of a sphere. Means of regions of any form by `gtm`; voxels with regions by `rbv` and
`iterative_yang`, without by `richardson_lucy` and `van_cittert`. The resolution by `estimate_psf`.

References
----------
.. [1] Kessler RM, Ellis JR, Eden M, J Comput Assist Tomogr 1984;8:514-522: the centre of a blurred sphere.
   The mean over the sphere was integrated for this package and is tested against numerical integration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from imgtheranostics.errors import IllConditioned
from imgtheranostics.nuclear.deconvolution import richardson_lucy, van_cittert
from imgtheranostics.nuclear.point_spread import LEAST_RECOVERY
from imgtheranostics.nuclear.region_based_correction import iterative_yang, rbv
from imgtheranostics.nuclear.resolution_estimate import ResolutionEstimate, estimate_psf
from imgtheranostics.nuclear.transfer_matrix import gtm
from imgtheranostics.regions import FWHM_PER_SD

__all__ = [
    "FWHM_PER_SD",
    "LEAST_RECOVERY",
    "Corrected",
    "ResolutionEstimate",
    "correct_sphere_mean",
    "estimate_psf",
    "gtm",
    "iterative_yang",
    "mean_recovery_slope",
    "rbv",
    "richardson_lucy",
    "sphere_recovery",
    "van_cittert",
]

_SERIES_BELOW = 0.1


@dataclass(frozen=True, slots=True)
class Corrected:
    """A region's mean after partial-volume correction.

    Attributes
    ----------
    value, standard_error : float
        In the unit of the measured mean.
    recovery : float
        Mean recovery coefficient that it was corrected with.
    """

    value: float
    standard_error: float
    recovery: float


def sphere_recovery(diameter_mm: float, fwhm_mm: float) -> tuple[float, float]:
    """Mean and central recovery of a sphere at an isotropic Gaussian resolution, background zero.

    With b = R / sigma: max = erf(b/sqrt 2) - sqrt(2/pi) b exp(-b^2/2) [1]_, mean = erf(sqrt 2 b)
    + [(b^2 - 1) exp(-2 b^2) + 1 - 3 b^2] / (sqrt(2 pi) b^3).

    Parameters
    ----------
    diameter_mm, fwhm_mm : float
        Positive.

    Returns
    -------
    mean, maximum : float
        Of the region that is the sphere, and at its centre.

    Raises
    ------
    ValueError
        If a length is not positive and finite.

    Examples
    --------
    >>> [round(part, 2) for part in sphere_recovery(8.0, 1.6)]
    [0.8, 1.0]
    """
    b = _radius_in_sd(diameter_mm, fwhm_mm)
    if b < _SERIES_BELOW:
        small = math.sqrt(2 / math.pi) / 3 * b**3
        return small * (1 - 0.6 * b**2 + 9 / 35 * b**4), small * (1 - 0.3 * b**2 + 3 / 56 * b**4)
    centre = math.erf(b / math.sqrt(2)) - math.sqrt(2 / math.pi) * b * math.exp(-b * b / 2)
    edge = ((b * b - 1) * math.exp(-2 * b * b) + 1 - 3 * b * b) / (math.sqrt(2 * math.pi) * b**3)
    return math.erf(math.sqrt(2) * b) + edge, centre


def mean_recovery_slope(diameter_mm: float, fwhm_mm: float) -> float:
    """Change of the mean recovery with the logarithm of diameter / FWHM: what errors of both multiply.

    In closed form, with b = R / sigma: [3 b^2 - 3 + (3 + 3 b^2) exp(-2 b^2)] / (sqrt(2 pi) b^3).
    """
    b = _radius_in_sd(diameter_mm, fwhm_mm)
    if b < _SERIES_BELOW:
        return math.sqrt(2 / math.pi) * b**3 * (1 - b**2 + 0.6 * b**4)
    numerator = 3 * b * b - 3 + (3 + 3 * b * b) * math.exp(-2 * b * b)
    return numerator / (math.sqrt(2 * math.pi) * b**3)


def correct_sphere_mean(
    measured: float,
    *,
    diameter_mm: float,
    fwhm_mm: float,
    background: float = 0.0,
    measured_standard_error: float = 0.0,
    background_standard_error: float = 0.0,
    diameter_relative_uncertainty: float = 0.0,
    fwhm_relative_uncertainty: float = 0.0,
) -> Corrected:
    """True mean of a sphere from its measured mean: T = (M - B (1 - RC)) / RC.

    It holds for a uniform sphere in a uniform surrounding, at a resolution that is the same in all
    directions, measured over a region that is the sphere.

    Parameters
    ----------
    measured : float
        Mean over the sphere, in any unit.
    diameter_mm, fwhm_mm : float
        Of the sphere, and of the image's resolution.
    background : float
        Mean of the surroundings, in the unit of `measured`.
    measured_standard_error, background_standard_error : float
        In that unit, taken as independent.
    diameter_relative_uncertainty, fwhm_relative_uncertainty : float
        Relative standard uncertainties.

    Returns
    -------
    Corrected
        With the standard error of first order.

    Raises
    ------
    ValueError
        If a length is not positive, or an uncertainty is negative.
    IllConditioned
        If the sphere keeps less than a tenth of its signal.

    Examples
    --------
    >>> round(correct_sphere_mean(9.8, diameter_mm=8, fwhm_mm=1.6, background=0.97).value, 1)
    12.0
    """
    errors = (
        measured_standard_error,
        background_standard_error,
        diameter_relative_uncertainty,
        fwhm_relative_uncertainty,
    )
    if any(not error >= 0 for error in errors):
        raise ValueError("an uncertainty is negative or not a number")
    recovery = sphere_recovery(diameter_mm, fwhm_mm)[0]
    if recovery < LEAST_RECOVERY:
        raise IllConditioned(
            "the sphere is too small for the resolution to be corrected",
            where="diameter_mm, fwhm_mm",
            found=f"diameter {diameter_mm:g} mm at {fwhm_mm:g} mm FWHM keeps {100 * recovery:.2g} %",
            needed=f"at least {100 * LEAST_RECOVERY:g} %",
            next_step="report the uncorrected mean as a lower bound",
        )
    value = (measured - background * (1 - recovery)) / recovery
    by_recovery = (measured - background) / recovery**2 * mean_recovery_slope(diameter_mm, fwhm_mm)
    parts = (
        measured_standard_error / recovery,
        background_standard_error * (1 - recovery) / recovery,
        by_recovery * math.hypot(diameter_relative_uncertainty, fwhm_relative_uncertainty),
    )
    return Corrected(value, math.hypot(*parts), recovery)


def _radius_in_sd(diameter_mm: float, fwhm_mm: float) -> float:
    for name, length in (("diameter_mm", diameter_mm), ("fwhm_mm", fwhm_mm)):
        if not (math.isfinite(length) and length > 0):
            raise ValueError(f"{name} must be positive and finite, not {length!r}")
    return diameter_mm / 2 * FWHM_PER_SD / fwhm_mm
