"""Position of water in each voxel's own spectrum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import z_noise, z_spline
from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.fit import Fit, FloatArray, planar
from imgtheranostics.volume import Flag


def b0_minimum(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Position of water as the minimum of the cubic spline through a spectrum.

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets, any order and spacing, each once.
    noise_sd : float or (...) array_like, optional
        Noise of each sample; estimated from the spectrum without it.
    mask : (...) array_like of bool, optional
        Voxels outside are NaN and `Flag.MASKED_OUT`.
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        ``b0_ppm``. `OUTSIDE_RANGE` where the minimum is not inside the measured range.
    """
    from scipy.interpolate import CubicSpline

    offsets = OffsetList.of(offset_ppm, least=4, purpose="the minimum of a spectrum")
    spectra = planar(z, offsets.n, "z")
    samples = spectra.samples[offsets.order].astype(np.float64)
    chosen = spectra.chosen(mask)
    n = spectra.n_voxels
    place, error, flags = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.uint16)
    flags[~chosen] = Flag.MASKED_OUT
    bad = chosen & ~np.isfinite(samples).all(axis=0)
    flags[bad] = Flag.INVALID_INPUT
    if noise_sd is None:
        sigma = z_noise.noise_sd(z, offset_ppm).ravel(order=spectra.order)
    else:
        sigma = spectra.flat(noise_sd, "noise_sd")
    cardinal = CubicSpline(offsets.ppm, np.eye(offsets.n)).derivative()
    for voxel in np.flatnonzero(chosen & ~bad):
        spline = CubicSpline(offsets.ppm, samples[:, voxel])
        roots = spline.derivative().roots(extrapolate=False)
        roots = roots[spline(roots, 2) > 0.0]
        values = spline(roots)
        if not roots.size or values.min() > min(samples[0, voxel], samples[-1, voxel]):
            flags[voxel] = Flag.OUTSIDE_RANGE
            continue
        place[voxel] = roots[values.argmin()]
        curvature = spline(place[voxel], 2)
        error[voxel] = sigma[voxel] * np.linalg.norm(cardinal(place[voxel])) / curvature
    return _fit(spectra, place, error, flags)


def _fit(spectra: object, place: FloatArray, error: FloatArray, flags: npt.NDArray[np.uint16]) -> Fit:
    from imgtheranostics.fit import PlanarSignal

    if not isinstance(spectra, PlanarSignal):
        raise TypeError("planar signal expected")
    dtype = spectra.samples.dtype
    unknown = np.full(spectra.shape, np.nan, dtype)
    return Fit(
        parameters={"b0_ppm": spectra.restored(place.astype(dtype))},
        standard_errors={"b0_ppm": spectra.restored(error.astype(dtype))},
        r_squared=unknown,
        rmse=unknown.copy(),
        iterations=np.zeros(spectra.shape, np.int16),
        flags=spectra.restored(flags),
        units={"b0_ppm": "ppm"},
    )


def correct_b0(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike,
    *,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Spectra as if water were at 0: the cubic spline at offset + b0, (..., n).

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets, any order, each once.
    b0_ppm : float or (...) array_like
        Position of water. NaN gives NaN.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads.

    Returns
    -------
    ndarray
        In the order of `offset_ppm`; NaN where the shifted offset lies outside the measured range.
    """
    return z_spline.interpolated(z, offset_ppm, offset_ppm, b0_ppm, mask=mask, workers=workers).value


def interpolate(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Spectra at given offsets from water: the cubic spline at ``at_ppm + b0_ppm``, (..., n_at).

    NaN outside the measured range; arguments as those of `correct_b0`.
    """
    return z_spline.interpolated(z, offset_ppm, at_ppm, b0_ppm, mask=mask, workers=workers).value
