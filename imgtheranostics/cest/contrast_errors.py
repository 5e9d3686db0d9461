"""Contrasts with standard errors: noise through the interpolation, and what is not known of water and T1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import z_noise
from imgtheranostics.cest.label_reference import (
    DoubleArray,
    PairKind,
    SignalPair,
    lost_in_noise,
    not_invertible,
    pair_contrast,
    rate_factor,
    shared_references,
)
from imgtheranostics.cest.lorentzian_background import Background, fit_background
from imgtheranostics.cest.normalisation import LARGEST_Z
from imgtheranostics.fit import Fit, PlanarSignal, planar
from imgtheranostics.volume import Flag

ContrastKind = Literal[
    "mtr_asym", "apt_weighted", "mtr_norm_ref", "pcm", "mtr_rex", "arex", "lorentzian_difference"
]

LEAST_SIGNAL_TO_NOISE = 3.0
"""A voxel whose unsaturated signal (1) is below this many times its noise holds noise alone, and the inverse
of a signal below this many of its standard errors tells nothing: it has no standard error of its own."""

_FEWEST_FOR_NOISE = 6
_MIRRORED_ONLY = ("mtr_asym", "apt_weighted")


@dataclass(frozen=True, eq=False)
class _Found:
    """Value, variance and flags of a contrast, each (..., n_at)."""

    value: DoubleArray
    variance: DoubleArray
    flags: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class _Knowledge:
    """What is known beside the spectra, each of the leading shape with one more axis."""

    noise_variance: DoubleArray
    b0_variance: DoubleArray | None
    m0_variance: DoubleArray | None
    mask: npt.ArrayLike | None
    workers: int | None
    m0_weights: DoubleArray | None = None


def measure(
    kind: ContrastKind,
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    at_ppm: npt.ArrayLike,
    b0_ppm: npt.ArrayLike | None = None,
    b0_se_ppm: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    m0_relative_se: npt.ArrayLike | None = None,
    m0_weights: npt.ArrayLike | None = None,
    t1_s: npt.ArrayLike | None = None,
    t1_se_s: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    reference_se: npt.ArrayLike | None = None,
    duty_cycle: float | None = None,
    background: Background | None = None,
    noise_multiple: float | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """A contrast with its standard error.

    To first order in independent noise of the samples: through the interpolation, with what label and
    mirrored label have in common where they draw on the same samples.

    Parameters
    ----------
    kind : {"mtr_asym", "apt_weighted", "mtr_norm_ref", "pcm", "mtr_rex", "arex", "lorentzian_difference"}
    z : (..., n) array_like
        Z-spectra Mz/M0 in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Saturation offsets in any order, each once.
    at_ppm : float or (m,) array_like
        Offsets of the label from water.
    b0_ppm, b0_se_ppm : float or (...) array_like, optional
        Position of water (0 without it) and its standard error, which counts by the local slope.
    noise_sd : float or (...) array_like, optional
        Noise of a sample; otherwise estimated from each spectrum, which takes six offsets. With fewer, the
        standard errors are NaN.
    m0_relative_se : float or (...) array_like, optional
        Standard error of M0 over M0, such as the noise over the square root of the number of unsaturated
        images. It scales the whole spectrum: of little weight but for ``lorentzian_difference``, whose
        background is tied to 1 far from water.
    m0_weights : (n, n_m0) array_like, optional
        Share of each unsaturated image in the M0 of each sample, where they are not a mean
        (`Normalised.m0_weights`): the noise of M0 is then not the same on both sides of water.
    t1_s, t1_se_s : float or (...) array_like, optional
        T1 of water for ``arex``, and its standard error.
    reference, reference_se : (..., m) array_like, optional
        Zref at each `at_ppm` in place of the mirrored offset, and its standard error.
    duty_cycle : float, optional
        For ``arex``, see `imgtheranostics.cest.contrast.arex`.
    background : Background, optional
        For ``lorentzian_difference``: what is fitted, and where.
    noise_multiple : float, optional
        Flag `Flag.BELOW_NOISE` where the contrast is smaller than this many standard errors. Its value
        stays, since a contrast of zero is a number: leaving such voxels out of a region would raise its
        mean. Without it nothing is flagged for being small.
    mask : (...) array_like of bool, optional
        Voxels outside are NaN and `Flag.MASKED_OUT`.
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        Parameter `kind`; parameters, errors and flags are (..., m). NaN with a flag: `Flag.OUTSIDE_RANGE`
        where an offset was not measured or a signal to divide by is not above zero,
        `Flag.INVALID_INPUT` for samples, b0 or T1 that are no numbers (T1: not above zero) and for spectra
        without any sample above zero,
        `Flag.BELOW_NOISE` for voxels of noise alone (noise above a third of the unsaturated signal), and
        where a signal of which the contrast takes the inverse is below three of its standard errors (both
        for ``mtr_rex`` and ``arex``, the reference for ``mtr_norm_ref`` and ``pcm``).
        `Flag.OUTSIDE_RANGE` with a value marks Z above 1.2.

    Raises
    ------
    ValueError
        If shapes do not fit, an offset occurs twice, or something is given that the kind does not use.
    ImplausibleValue
        If offsets, positions of water, T1 or duty cycle cannot be what they are called.
    """
    _check_use(kind, t1_s, t1_se_s, reference, duty_cycle, background)
    spectra = planar(z, np.asarray(offset_ppm).size, "z")
    noise = _noise(z, offset_ppm, noise_sd, spectra)
    b0 = None if b0_ppm is None else _voxelwise(b0_ppm, spectra, "b0_ppm")[..., 0]
    b0_variance, m0_variance = (
        None if error is None else _voxelwise(error, spectra, name) ** 2
        for name, error in (("b0_se_ppm", b0_se_ppm), ("m0_relative_se", m0_relative_se))
    )
    known = _Knowledge(noise**2, b0_variance, m0_variance, mask, workers, _shares(m0_weights, offset_ppm))
    if kind == "lorentzian_difference":
        found = _lorentzian(z, offset_ppm, at_ppm, b0, known, background or Background())
    else:
        found = _of_pair(kind, z, offset_ppm, at_ppm, b0, known, (reference, reference_se))
    if kind == "arex":
        found = _as_rate(found, t1_s, t1_se_s, duty_cycle, spectra)
    return _fit(kind, found, _voxel_flags(z, spectra, b0, noise, mask), noise_multiple, spectra)


def _check_use(
    kind: str,
    t1_s: npt.ArrayLike | None,
    t1_se_s: npt.ArrayLike | None,
    reference: npt.ArrayLike | None,
    duty_cycle: float | None,
    background: Background | None,
) -> None:
    """Refuse what the kind of contrast does not use."""
    if kind not in get_args(ContrastKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(ContrastKind))}, found {kind!r}")
    of_rates = {"t1_s": t1_s, "t1_se_s": t1_se_s, "duty_cycle": duty_cycle}
    given = [name for name, value in of_rates.items() if value is not None]
    if given and kind != "arex":
        raise ValueError(f"{given[0]} is for arex, not for {kind}")
    if reference is not None and (kind in _MIRRORED_ONLY or kind == "lorentzian_difference"):
        raise ValueError(f"{kind} has its own reference: reference is for the other contrasts")
    if background is not None and kind != "lorentzian_difference":
        raise ValueError(f"background is for lorentzian_difference, not for {kind}")


def _of_pair(
    kind: PairKind,
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0: DoubleArray | None,
    known: _Knowledge,
    reference: tuple[npt.ArrayLike | None, npt.ArrayLike | None],
) -> _Found:
    pair = SignalPair.of(z, offset_ppm, at_ppm, b0, *reference, mask=known.mask, workers=known.workers)
    contrast = pair_contrast(kind, pair.label, pair.reference)
    with np.errstate(over="ignore", invalid="ignore"):
        shared = shared_references(known.m0_weights, offset_ppm, at_ppm)
        variance = contrast.variance(pair, known.noise_variance, known.b0_variance, known.m0_variance, shared)
    unmeasured = np.isnan(pair.label) | np.isnan(pair.reference) | not_invertible(kind, pair)
    lost = lost_in_noise(kind, pair, known.noise_variance, known.b0_variance, LEAST_SIGNAL_TO_NOISE)
    flags = np.where(unmeasured, Flag.OUTSIDE_RANGE, 0) | np.where(lost, Flag.BELOW_NOISE, 0)
    return _Found(np.where(lost, np.nan, contrast.value), variance, flags.astype(np.uint16))


def _lorentzian(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: npt.ArrayLike,
    b0: DoubleArray | None,
    known: _Knowledge,
    background: Background,
) -> _Found:
    found = fit_background(
        z,
        offset_ppm,
        at_ppm,
        b0,
        background,
        m0_weights=known.m0_weights,
        mask=known.mask,
        workers=known.workers,
    )
    shape = (*known.noise_variance.shape[:-1], found.difference.shape[1])
    variance = known.noise_variance * found.noise_factor.reshape(shape)
    if known.b0_variance is not None:
        variance = variance + known.b0_variance * found.slope_per_ppm.reshape(shape) ** 2
    if known.m0_variance is not None:
        variance = variance + known.m0_variance * found.scale_factor.reshape(shape)
    fitted = np.isfinite(found.background)
    flags = np.where(fitted & np.isnan(found.difference), Flag.OUTSIDE_RANGE, 0).astype(np.uint16)
    flags |= found.flags[:, np.newaxis]
    return _Found(found.difference.reshape(shape), variance, flags.reshape(shape))


def _as_rate(
    found: _Found,
    t1_s: npt.ArrayLike | None,
    t1_se_s: npt.ArrayLike | None,
    duty_cycle: float | None,
    spectra: PlanarSignal,
) -> _Found:
    """A contrast divided by T1, with what is not known of T1."""
    factor, t1 = rate_factor(t1_s, duty_cycle, spectra.shape)
    value, variance = found.value * factor, found.variance * factor**2
    if t1_se_s is not None:
        error = _voxelwise(t1_se_s, spectra, "t1_se_s")
        variance = variance + (value * error / t1) ** 2
    flags = found.flags | np.where(np.isnan(t1), Flag.INVALID_INPUT, 0).astype(np.uint16)
    return _Found(value, variance, flags)


def _noise(
    z: npt.ArrayLike, offset_ppm: npt.ArrayLike, noise_sd: npt.ArrayLike | None, spectra: PlanarSignal
) -> DoubleArray:
    """Noise of a sample, (..., 1); NaN where it is not known."""
    if noise_sd is not None:
        noise = _voxelwise(noise_sd, spectra, "noise_sd")
        if (noise < 0.0).any():
            raise ValueError("noise_sd must not be below zero")
        return noise
    if np.asarray(offset_ppm).size < _FEWEST_FOR_NOISE:
        return np.full((*spectra.shape, 1), np.nan)
    return np.asarray(z_noise.noise_sd(z, offset_ppm), dtype=np.float64)[..., np.newaxis]


def _voxelwise(given: npt.ArrayLike, spectra: PlanarSignal, name: str) -> DoubleArray:
    """A number or a map as float64, (..., 1)."""
    values = np.asarray(given, dtype=np.float64)
    if values.shape not in ((), spectra.shape):
        raise ValueError(f"{name} has shape {values.shape}, the leading shape of z is {spectra.shape}")
    return np.broadcast_to(values, spectra.shape)[..., np.newaxis]


def _shares(m0_weights: npt.ArrayLike | None, offset_ppm: npt.ArrayLike) -> DoubleArray | None:
    """Shares of unsaturated images, one row for each sample."""
    if m0_weights is None:
        return None
    shares = np.asarray(m0_weights, np.float64)
    if shares.ndim != 2 or shares.shape[0] != np.asarray(offset_ppm).size or not shares.shape[1]:
        raise ValueError(
            f"m0_weights must have a row for each of {np.asarray(offset_ppm).size} offsets, "
            f"found {shares.shape}"
        )
    return shares


def _voxel_flags(
    z: npt.ArrayLike,
    spectra: PlanarSignal,
    b0: DoubleArray | None,
    noise: DoubleArray,
    mask: npt.ArrayLike | None,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Flags of whole voxels, (..., 1), and which of them have no contrast."""
    samples = np.asarray(spectra.samples)
    invalid = ~np.isfinite(samples.min(axis=0)) | ~np.isfinite(samples.max(axis=0))
    invalid |= ~(samples.max(axis=0) > 0.0)
    invalid = spectra.restored(invalid)
    if b0 is not None:
        invalid = invalid | ~np.isfinite(b0)
    with np.errstate(invalid="ignore"):
        high = spectra.restored(samples.max(axis=0)) > LARGEST_Z
        weak = noise[..., 0] > 1.0 / LEAST_SIGNAL_TO_NOISE
    inside = spectra.restored(spectra.chosen(mask))
    flags = np.where(high & ~invalid, Flag.OUTSIDE_RANGE, 0)
    flags = np.where(weak & ~invalid, flags | Flag.BELOW_NOISE, flags)
    flags = np.where(invalid, Flag.INVALID_INPUT, flags)
    flags = np.where(inside, flags, Flag.MASKED_OUT)
    failed = invalid | weak | ~inside
    return flags.astype(np.uint16)[..., np.newaxis], failed[..., np.newaxis]


def _fit(
    kind: str,
    found: _Found,
    voxels: tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]],
    noise_multiple: float | None,
    spectra: PlanarSignal,
) -> Fit:
    flags, failed = voxels
    hidden = (flags & np.uint16(Flag.MASKED_OUT | Flag.INVALID_INPUT)) != 0
    total = np.where(hidden, flags, found.flags | flags).astype(np.uint16)
    missing = failed | ~np.isfinite(found.value)
    value = np.where(missing, np.nan, found.value)
    with np.errstate(invalid="ignore"):
        error = np.where(missing, np.nan, np.sqrt(found.variance))
        if noise_multiple is not None:
            small = np.abs(value) < noise_multiple * error
            total |= np.where(small, Flag.BELOW_NOISE, 0).astype(np.uint16)
    dtype = spectra.samples.dtype
    unknown = np.full(value.shape, np.nan, dtype)
    return Fit(
        parameters={kind: value.astype(dtype)},
        standard_errors={kind: error.astype(dtype)},
        r_squared=unknown,
        rmse=unknown.copy(),
        iterations=np.zeros(value.shape, np.int16),
        flags=total,
        units={kind: "1/s" if kind == "arex" else "1"},
    )
