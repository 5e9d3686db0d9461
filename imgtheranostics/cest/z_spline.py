"""Cubic splines through Z-spectra: values, mirror differences, and how noise enters them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.fit import FloatArray, PlanarSignal, planar


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
        Saturation offsets, any order, each once.
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
    """
    sorted_list = OffsetList.of(offset_ppm)
    spectra = planar(z, sorted_list.n, "z")
    at = _offsets_from_water(at_ppm)
    return _evaluate(spectra, sorted_list, [(at, 1.0)], b0_ppm, mask)


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
    sorted_list = OffsetList.of(offset_ppm)
    spectra = planar(z, sorted_list.n, "z")
    at = _offsets_from_water(at_ppm)
    return _evaluate(spectra, sorted_list, [(-at, 1.0), (at, -1.0)], b0_ppm, mask)


def _offsets_from_water(at_ppm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    at = np.atleast_1d(np.asarray(at_ppm, dtype=np.float64))
    if at.ndim != 1 or not np.isfinite(at).all():
        raise ValueError("at_ppm must be a number or a list of finite numbers")
    return at


def _evaluate(
    spectra: PlanarSignal,
    offsets: OffsetList,
    terms: list[tuple[npt.NDArray[np.float64], float]],
    b0_ppm: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
) -> SplineValues:
    from scipy.interpolate import CubicSpline

    b0 = spectra.flat(0.0 if b0_ppm is None else b0_ppm, "b0_ppm").astype(np.float64)
    chosen = spectra.chosen(mask)
    samples = spectra.samples[offsets.order].astype(np.float64)
    finite = np.isfinite(samples).all(axis=0) & chosen
    cardinal = CubicSpline(offsets.ppm, np.eye(offsets.n))
    slopes = cardinal.derivative()
    n_at = terms[0][0].size
    results = np.full((3, n_at, spectra.n_voxels), np.nan)
    for k in range(n_at):
        weights = np.zeros((spectra.n_voxels, offsets.n))
        rates = np.zeros((spectra.n_voxels, offsets.n))
        inside = finite & np.isfinite(b0)
        for at, sign in terms:
            place = at[k] + b0
            inside = inside & (place >= offsets.ppm[0]) & (place <= offsets.ppm[-1])
            place = np.where(inside, place, offsets.ppm[0])
            weights += sign * cardinal(place)
            rates += sign * slopes(place)
        safe = np.where(finite, samples, 0.0)
        results[0, k, inside] = np.einsum("vn,nv->v", weights, safe)[inside]
        results[1, k, inside] = (weights**2).sum(axis=1)[inside]
        results[2, k, inside] = np.einsum("vn,nv->v", rates, safe)[inside]
    value, factor, slope = (
        plane.astype(spectra.samples.dtype).T.reshape((*spectra.shape, n_at), order=spectra.order)
        for plane in results
    )
    return SplineValues(value, factor, slope)
