"""Cubic splines through Z-spectra: values, mirror differences, and how noise enters them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.b0_result import LEAST_OFFSETS, minimum_fit
from imgtheranostics.cest.z_kernel import Spectra, measure
from imgtheranostics.fit import Fit, FloatArray


@dataclass(frozen=True, eq=False)
class SplineValues:
    """What a spline gives at some offsets, or the difference of what it gives at two.

    Attributes
    ----------
    value : (..., n_at) ndarray
        NaN where an offset lies outside the measured range, in the type of the spectrum.
    variance_factor : (..., n_at) ndarray
        Sum of the squared weights with which the samples enter: independent noise of variance s^2 in each
        sample has the variance s^2 times this in the value.
    slope_per_ppm : (..., n_at) ndarray
        Change of the value with the water position b0.
    """

    value: FloatArray
    variance_factor: FloatArray
    slope_per_ppm: FloatArray


def interpolated(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> SplineValues:
    """Value of the spectrum at offsets from water, Z(at + b0), with its variance factor and slope.

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra as fraction of the unsaturated signal, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Saturation offsets, any order, each once; at least 2. Two give a straight line, three a parabola, more
        the cubic spline with the not-a-knot condition.
    at_ppm : (n_at,) array_like or float
        Offsets from water at which to evaluate.
    b0_ppm : float or (...) array_like, optional
        Position of water; 0 without it. NaN gives NaN.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads.

    Raises
    ------
    ValueError
        If shapes do not fit, or the offsets are no list of different finite numbers.
    ImplausibleValue
        If an offset is 100 ppm or more from water.

    Notes
    -----
    The covariance of Z(b0 - at) and Z(b0 + at) is half of what their variance factors together exceed that of
    `asymmetry` by.
    """
    return _evaluated(z, offset_ppm, at_ppm, b0_ppm, mask, workers, mirror=False)


def asymmetry(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> SplineValues:
    """Mirror difference Z(b0 - at) - Z(b0 + at), NaN where either lies outside the measured range.

    Parameters and result as `interpolated`; the variance factor includes what both sides have in common.
    """
    return _evaluated(z, offset_ppm, at_ppm, b0_ppm, mask, workers, mirror=True)


def spline_values(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    *,
    mirror: bool = False,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """The values alone of `interpolated`, or with `mirror` of `asymmetry`: several times as fast."""
    spectra = Spectra.of(z, offset_ppm, mask)
    b0 = None if b0_ppm is None else spectra.flat(b0_ppm, "b0_ppm")
    found = measure(spectra, b0=b0, at=offsets_from_water(at_ppm), mirror=mirror, workers=workers)
    return spectra.restored_series(found.values)


def water_and_asymmetry(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    *,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> tuple[Fit, FloatArray]:
    """Position of water and the mirror difference about it, in one pass over the spectra.

    Parameters
    ----------
    z, offset_ppm, noise_sd, mask, workers
        As in `imgtheranostics.cest.b0.b0_minimum`.
    at_ppm : (n_at,) array_like or float
        Offsets from water.

    Returns
    -------
    fit : Fit
        What `b0_minimum` returns.
    value : (..., n_at) ndarray
        Z(b0 - at) - Z(b0 + at); NaN where there is no position, or a side lies outside the measured range.
    """
    spectra = Spectra.of(z, offset_ppm, mask, least=LEAST_OFFSETS, purpose="the minimum of a spectrum")
    noise = None if noise_sd is None else spectra.flat(noise_sd, "noise_sd")
    at = offsets_from_water(at_ppm)
    found = measure(spectra, noise=noise, find_b0=True, at=at, mirror=True, workers=workers)
    return minimum_fit(spectra, found), spectra.restored_series(found.values)


def offsets_from_water(at_ppm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Offsets at which to evaluate, as a list; ValueError where they are none."""
    at = np.atleast_1d(np.array(at_ppm, dtype=np.float64))
    if at.ndim != 1 or not np.isfinite(at).all():
        raise ValueError("at_ppm must be a number or a list of finite numbers")
    return at


def _evaluated(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    workers: int | None,
    *,
    mirror: bool,
) -> SplineValues:
    spectra = Spectra.of(z, offset_ppm, mask)
    b0 = None if b0_ppm is None else spectra.flat(b0_ppm, "b0_ppm")
    at = offsets_from_water(at_ppm)
    found = measure(spectra, b0=b0, at=at, mirror=mirror, errors=True, workers=workers)
    planes = (found.values, found.factors, found.slopes)
    return SplineValues(*(spectra.restored_series(plane) for plane in planes))
