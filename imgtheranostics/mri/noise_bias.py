"""Amplitude behind a magnitude: the bias of noise removed, voxel by voxel or for a region."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.calculated import elementwise, elementwise_fit
from imgtheranostics.mapping.voxel_blocks import DoubleArray, FlagArray
from imgtheranostics.mri.noise_distribution import checked_coils
from imgtheranostics.volume import Flag

DETECTION_SNR = 3.0
"""Amplitude over noise from which a voxel counts as detected; 3 to 5 are in use (mri.md F19)."""

_LOWEST_SNR, _HIGHEST_SNR = 1.0, 10.0


def debias(
    signal: npt.ArrayLike,
    noise_sd: npt.ArrayLike,
    *,
    n_coils: int = 1,
    detection_snr: float = DETECTION_SNR,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Amplitude behind a magnitude, sqrt(S^2 - 2 n sigma^2).

    Its square is unbiased; the root itself is low by noise^2 over twice the amplitude, on average.

    Parameters
    ----------
    signal : array_like
        Magnitude.
    noise_sd : float or array_like
        Noise of the real part of one coil, estimated beforehand.
    n_coils : int
        Coils combined as sum of squares.
    detection_snr : float
    mask : array_like of bool, optional

    Returns
    -------
    Fit
        ``amplitude``. Where the magnitude is no more than noise, NaN with `Flag.BELOW_NOISE`; where the
        amplitude is below `detection_snr` times the noise, the same flag with the value kept. A mean over
        such voxels is too high, because the lowest are missing: use `region_amplitude`.

    Raises
    ------
    ValueError
        If the noise is not positive, or shapes and numbers do not fit.
    """
    coils, snr = checked_coils(n_coils), checked_detection(detection_snr)
    (magnitude, noise), flags, dtype = elementwise(signal, noise_sd, mask=mask)
    if not (noise[flags == 0] > 0).all():
        raise ValueError("noise_sd must be positive; estimate it from a background without signal")
    amplitude, error, state = debiased(magnitude, noise, coils, snr)
    state[flags != 0] = 0
    flags |= np.where(np.isfinite(amplitude), 0, state).astype(np.uint16)
    name = "amplitude"
    fit = elementwise_fit({name: amplitude}, {name: error}, flags, {name: "[arb'U]"}, dtype)
    return replace(fit, flags=flags | state)


def debiased(
    magnitude: DoubleArray, noise: DoubleArray, n_coils: int, detection_snr: float
) -> tuple[DoubleArray, DoubleArray, FlagArray]:
    """Amplitude, its standard error, and flags.

    The spread of a magnitude is noise x sqrt(1 - (2 n - 1) noise^2 / (2 A^2)) to second order; near the
    floor, where that ends, half the noise stands in.
    """
    flags = np.where(np.isfinite(magnitude), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    flags[magnitude < 0] |= Flag.INVALID_INPUT.value
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        square = magnitude**2 - 2.0 * n_coils * noise**2
        amplitude = np.sqrt(np.where((square > 0) & (flags == 0), square, np.nan))
        shrink = 1.0 - (2 * n_coils - 1) * noise**2 / (2.0 * amplitude**2)
        error = noise * np.sqrt(np.clip(shrink, 0.25, 1.0)) * magnitude / amplitude
        flags[(flags == 0) & ~(amplitude >= detection_snr * noise)] |= Flag.BELOW_NOISE.value
    return amplitude, error, flags


def region_amplitude(
    signal: npt.ArrayLike, noise_sd: float, *, n_coils: int = 1, axis: int = -1
) -> tuple[DoubleArray, DoubleArray]:
    """Amplitude of a homogeneous region and its standard error, from the mean square of its magnitudes.

    The mean of squares is unbiased at any signal-to-noise ratio, unlike a mean of debiased voxels. 0 where
    the mean square is no more than that of noise.

    Parameters
    ----------
    signal : array_like
        Magnitudes of its voxels along `axis`; what is not finite is left out.
    noise_sd : float
    n_coils, axis : int

    Raises
    ------
    ValueError
        If the noise is not positive, or no voxel is finite.
    """
    coils = checked_coils(n_coils)
    if not noise_sd > 0:
        raise ValueError("noise_sd must be positive; estimate it from a background without signal")
    magnitude = np.asarray(signal, np.float64)
    usable = np.isfinite(magnitude)
    count = np.asarray(usable.sum(axis=axis))
    if magnitude.size == 0 or (count == 0).any():
        raise ValueError("the region has no voxel with a signal")
    power = np.where(usable, np.square(np.where(usable, magnitude, 0.0)), 0.0).sum(axis=axis) / count
    square = np.maximum(power - 2.0 * coils * noise_sd**2, 0.0)
    amplitude = np.sqrt(square)
    spread = np.sqrt((noise_sd**2 * square + coils * noise_sd**4) / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(amplitude > np.sqrt(spread), spread / amplitude, np.sqrt(spread))
    return np.asarray(amplitude), np.asarray(error)


def checked_detection(detection_snr: float) -> float:
    """The ratio of amplitude to noise that counts as detected; ValueError outside 1 to 10."""
    if not _LOWEST_SNR <= detection_snr <= _HIGHEST_SNR:
        raise ValueError(
            f"detection_snr must be from {_LOWEST_SNR:g} to {_HIGHEST_SNR:g}, got {detection_snr!r}"
        )
    return float(detection_snr)
