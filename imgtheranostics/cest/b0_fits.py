"""Position of water from the shape of its dip: maximum symmetry, and the centre of a Lorentzian."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.b0_result import b0_fit
from imgtheranostics.cest.water_window import WindowRule, windows
from imgtheranostics.cest.z_kernel import Measured, Spectra, measure
from imgtheranostics.fit import Fit, FloatArray, shortfall
from imgtheranostics.volume import Flag

LEAST_SYMMETRY = 5
LEAST_LORENTZIAN = 7
"""Samples in a window; the Lorentzian has five parameters with its tilt."""


def b0_symmetry(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    level: float = 0.5,
    half_width_ppm: float | None = None,
    tilt: bool = True,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Position of water as the axis about which its dip is most symmetric.

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets, any order and spacing, each once; at least 6.
    level : float
        The window reaches from the minimum to the first samples above this part of the dip's depth, as far on
        both sides as on the nearer one, and to five samples at least.
    half_width_ppm : float, optional
        Half-width of the window instead of that.
    tilt : bool
        Whether a background that leans is taken up, by a factor 1 + t (w - b0) on the spectrum. Without it
        this is maximum symmetry as for narrow scans of low power.
    noise_sd : float or (...) array_like, optional
        Noise of each sample; estimated from the spectrum without it.
    mask, workers
        As in `b0_minimum`.

    Returns
    -------
    Fit
        ``b0_ppm`` in ppm, `rmse` of the differences between the sides; `r_squared` is NaN. Flags as those of
        `b0_minimum`, which the search starts from, and `NOT_CONVERGED`. `ILL_CONDITIONED`, beside what that
        means there: noise makes up more than two fifths of the squared slopes of the spline in the window, as
        it does where samples lie close in a wide dip, or not all that it adds to the sum can be taken off.
        The error is then known to about 30 %. Without the flag it is to 10 % where at least three voxels of
        four have none, in simulated tissue at 3 T to 11.7 T sampled each 0.15 to 0.5 ppm with a noise of
        0.05 % to 3 %; where few have none, those are the ones whose noise happens to look small, and their
        error is too small by half and more.

    Raises
    ------
    ValueError, ImplausibleValue
        As `b0_minimum`.

    Notes
    -----
    Least over c and t of the sum over the samples of (Z(w) - S(2c - w) - t (w - c) (Z(w) + S(2c - w)))^2, S
    the spline, less what noise adds to that sum: it adds least where mirrored samples come midway between
    others, and would draw the axis there. The window stays in place during the search, so that the number of
    terms does; a symmetric dip has its axis at the least sum whatever the window.
    """
    rule = WindowRule(level, half_width_ppm, LEAST_SYMMETRY, balanced=True)
    spectra = Spectra.of(z, offset_ppm, mask, least=6, purpose="the symmetry of a spectrum")
    noise = None if noise_sd is None else spectra.flat(noise_sd, "noise_sd")
    begun = measure(spectra, noise=noise, find_noise=noise is None, find_b0=True, workers=workers)
    return _symmetric(spectra, begun, rule, tilt, workers)


def b0_lorentzian(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    level: float = 0.4,
    half_width_ppm: float | None = None,
    tilt: bool = True,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Position of water as the centre of a Lorentzian through the bottom of its dip.

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets, any order and spacing, each once; at least 7.
    level : float
        The window reaches from the minimum to the first sample on either side above this part of the dip's
        depth, and to seven samples at least.
    half_width_ppm : float, optional
        Half-width of the window instead of that.
    tilt : bool
        Whether a background that leans is fitted, as a factor 1 + t (w - b0) on the whole dip; centre, width,
        depth and height are always.
    noise_sd : float or (...) array_like, optional
        Noise of each sample, for the search that the fit starts from and for `BELOW_NOISE`; estimated from
        the spectrum without it. The standard error comes from the residuals.
    mask, workers
        As in `b0_minimum`.

    Returns
    -------
    Fit
        ``b0_ppm`` in ppm with its standard error from the residuals. Flags as those of `b0_minimum`, which
        the fit starts from; `NOT_CONVERGED`, `AT_BOUND` (at the edge of the window, without standard error),
        `ILL_CONDITIONED` (no standard error).

    Raises
    ------
    ValueError, ImplausibleValue
        As `b0_minimum`.

    Notes
    -----
    A wide window is more precise and leans more on the model: pools close to water, which no tilt describes,
    draw the centre by 0.004 to 0.02 ppm in simulated white matter at 3 T.
    """
    rule = WindowRule(level, half_width_ppm, LEAST_LORENTZIAN, balanced=False)
    spectra = Spectra.of(z, offset_ppm, mask, least=LEAST_LORENTZIAN, purpose="a Lorentzian")
    noise = None if noise_sd is None else spectra.flat(noise_sd, "noise_sd")
    begun = measure(spectra, noise=noise, find_b0=True, workers=workers)
    return _lorentzian(spectra, begun, rule, tilt, workers)


def _symmetric(spectra: Spectra, begun: Measured, rule: WindowRule, tilt: bool, workers: int | None) -> Fit:
    from imgtheranostics.kernels.threads import thread_limit
    from imgtheranostics.kernels.water_symmetry import find_axes

    design, flags = spectra.design, begun.flags
    least = _least_error(begun)
    results = np.empty((3, spectra.planes.n_voxels), spectra.planes.samples.dtype)
    iterations = np.zeros(spectra.planes.n_voxels, np.int16)
    with thread_limit(workers):
        for window in windows(spectra, begun, rule, flags):
            out = np.empty((3, window.first.size))
            find_axes(
                window.samples,
                design.knots,
                design.sweep,
                design.sensitivity,
                window.first,
                window.last,
                window.start,
                begun.noise[window.voxels].astype(np.float64),
                tilt,
                out,
                iterations[window.voxels],
                flags[window.voxels],
            )
            results[:, window.voxels] = out
    place, error, residual = results
    error = np.maximum(error, least)
    return b0_fit(spectra, place, error, flags, iterations, rmse=residual)


def _lorentzian(spectra: Spectra, begun: Measured, rule: WindowRule, tilt: bool, workers: int | None) -> Fit:
    from imgtheranostics.kernels.threads import thread_limit
    from imgtheranostics.kernels.water_lorentzian import fit_lorentzians

    flags = begun.flags
    least = _least_error(begun)
    results = np.empty((4, spectra.planes.n_voxels), spectra.planes.samples.dtype)
    iterations = np.zeros(spectra.planes.n_voxels, np.int16)
    corrections = np.array([shortfall(freedom) for freedom in range(spectra.offsets.n + 1)])
    n_parameters = 5 if tilt else 4
    with thread_limit(workers):
        for window in windows(spectra, begun, rule, flags):
            out = np.empty((4, window.first.size))
            fit_lorentzians(
                window.samples,
                spectra.design.knots,
                window.first,
                window.last,
                window.start,
                tilt,
                out,
                iterations[window.voxels],
                flags[window.voxels],
            )
            count = np.maximum(window.last - window.first + 1, n_parameters + 1)
            freedom = count - n_parameters
            spread = out[3] * np.sqrt(count / freedom) / corrections[freedom]
            out[1] = spread * np.sqrt(out[1])
            results[:, window.voxels] = out
    place, error, explained, residual = results
    error = np.maximum(error, least)
    return b0_fit(spectra, place, error, flags, iterations, r_squared=explained, rmse=residual)


def _least_error(begun: Measured) -> FloatArray:
    """Standard errors below which none is where the samples do not resolve the dip, whatever is fitted."""
    unresolved = (begun.flags & Flag.ILL_CONDITIONED.value) != 0
    least: FloatArray = np.where(unresolved, begun.b0_error, 0.0).astype(begun.b0_error.dtype)
    return least
