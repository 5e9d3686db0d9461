"""The noise level of magnitude images, from the air around the object.

A magnitude of noise alone has the mean 1.2533 sigma and the standard deviation 0.6551 sigma for one coil
(the distribution of Rayleigh), where sigma is the SD of the noise in the real or the imaginary channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue, UnsupportedInput
from imgtheranostics.mri.noise_distribution import checked_coils, noise_mean, noise_spread
from imgtheranostics.volume import Volume

DoubleArray = npt.NDArray[np.float64]

LEAST_VOXELS = 100
"""Fewer magnitudes give a noise level that is uncertain by more than 5 %."""

MOST_DEVIATION = 0.1
"""Relative difference between two ways to the noise level above which a sample is not noise alone."""

LEAST_SHARE = 0.01
"""Part of the voxels that must be air."""

LEAST_OBJECT = 0.01
"""Voxels brighter than the air, relative to those of the air; half of that are the tail of the noise."""

FARTHEST_DISTRIBUTION = 0.02
"""Distance of Kolmogorov between background and noise that is put up with, besides that of chance."""

FARTHEST_OF_ONE_COIL = 0.12
"""The same for one coil, where the ratio of mean and SD already tells noise from signal: room for noise
that is not the same everywhere, as after a correction of the coil's sensitivity."""

LARGEST_UNEVENNESS = 0.06
"""Relative difference of levels within a background that was searched for, besides that of chance."""

_LOWEST, _HIGHEST = 0.005, 0.995
_MOST_MAGNITUDES = 4_000_000
_STARTS = 80
_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """A noise level and what it rests on.

    Attributes
    ----------
    sd : float
        SD of the noise in the real or imaginary channel of one coil, in the unit of the signal.
    standard_error : float
    n_voxels : int
        Background voxels that were used.
    share : float
        Part of all voxels that they are.
    """

    sd: float
    standard_error: float
    n_voxels: int
    share: float


def background_noise_sd(
    image: Volume | npt.ArrayLike,
    *,
    background: npt.ArrayLike | None = None,
    n_coils: int = 1,
    method: Literal["mean", "sd"] | None = None,
) -> float:
    """Standard deviation of the noise in one channel, from magnitudes without signal.

    Parameters
    ----------
    image : Volume or array_like
        Magnitudes, as `estimate_noise` takes them.
    background : array_like of bool, optional
        Which of them are air: of the image's shape, or of that without the last axis. Otherwise the air is
        searched for by `estimate_noise`.
    n_coils : int
        Coils of a sum-of-squares combination; 1 for a single or an adaptively combined channel.
    method : {"mean", "sd"}, optional
        With `background`: from its mean (for one coil over 1.2533, the default) or its SD (over 0.6551).

    Returns
    -------
    float
        In the unit of the signal.

    Raises
    ------
    UnsupportedInput
        If the image has no air around the object, or air that was blanked or filtered.
    ImplausibleValue
        If the background given is no noise of that many coils: its mean and its SD do not agree.
    ValueError
        If the mask has another shape, fewer than 100 magnitudes are left, or `method` has no background.
    """
    coils = checked_coils(n_coils)
    if background is None:
        if method is not None:
            raise ValueError("method is for a background that is given; a search uses the mean square")
        return estimate_noise(image, n_coils=coils).sd
    if method not in (None, "mean", "sd"):
        raise ValueError(f"method must be 'mean' or 'sd', got {method!r}")
    values = _magnitudes(image)
    chosen = np.asarray(background, np.bool_)
    if chosen.shape not in (values.shape, values.shape[:-1]):
        raise ValueError(f"background has shape {chosen.shape}, the image's is {values.shape}")
    sample = values[chosen].astype(np.float64).ravel()
    sample = sample[np.isfinite(sample)]
    if sample.size < LEAST_VOXELS:
        raise ValueError(f"the background holds {sample.size} magnitudes; at least {LEAST_VOXELS} are needed")
    by_mean, by_spread = _two_levels(sample, coils)
    if not _agree(by_mean, by_spread):
        raise ImplausibleValue(
            "the background is not noise alone",
            where="background",
            found=f"noise SD {by_mean:.4g} from its mean, {by_spread:.4g} from its SD",
            needed=f"both within {100 * MOST_DEVIATION:.0f} %, for n_coils = {coils}",
            next_step="choose air without ghosts that no filter has blanked, check n_coils, or give noise_sd",
        )
    return by_spread if method == "sd" else by_mean


def estimate_noise(image: Volume | npt.ArrayLike, *, n_coils: int = 1) -> NoiseEstimate:
    """The noise level of an image with air in it, without saying where the air is.

    The mean square of a background voxel follows a gamma distribution whose only unknown is the noise level.
    Levels are sought at which the voxels between two quantiles of it have the mean that it predicts; the
    lowest one whose voxels really have that distribution, in every sample alike, and above which an object
    stands out, is the noise. (Pure noise is for `background_noise_sd` with its `background`.)

    Parameters
    ----------
    image : Volume or array_like
        Magnitudes. The last axis of a Volume beyond space, or of an array of four or more dimensions, holds
        the samples of a voxel; in any other array each magnitude counts for itself.
    n_coils : int

    Returns
    -------
    NoiseEstimate

    Raises
    ------
    UnsupportedInput
        If no part of the image is distributed like noise: no air in it, or air that was blanked or filtered.

    References
    ----------
    .. [1] Koay, Ozarslan, Pierpaoli, J Magn Reson 2009;199:94, doi:10.1016/j.jmr.2009.03.005 (fixed point
       between quantiles of the distribution of background voxels).
    """
    coils = checked_coils(n_coils)
    samples = _by_voxel(image)
    power = np.mean(np.square(samples, dtype=np.float64), axis=1)
    known = np.isfinite(power)
    dark = known & (power == 0.0)
    usable = known & ~dark
    order = np.argsort(power[usable], kind="stable")
    ascending = power[usable][order]
    shape = coils * samples.shape[1]
    for level, first, stop in _fixed_points(ascending, shape):
        share = (stop - first) / max(1, int(known.sum()))
        if share < LEAST_SHARE or stop - first < LEAST_VOXELS:
            continue
        if ascending.size - stop < LEAST_OBJECT * (stop - first):
            continue
        alike = _distributed_as_noise(ascending[first:stop] / level, shape, coils)
        if alike and _same_in_every_sample(samples[usable][order[first:stop]], coils):
            sd = float(np.sqrt(level / (2.0 * coils)))
            return NoiseEstimate(sd, 0.5 * sd / float(np.sqrt(shape * (stop - first))), stop - first, share)
    blanked = float(dark.sum()) / max(1, samples.shape[0])
    raise UnsupportedInput(
        "the noise level cannot be taken from the image: no part of it is distributed like noise",
        found=f"{100 * blanked:.0f} % of the voxels are exactly 0",
        needed=f"an object, and air on {100 * LEAST_SHARE:.0f} % of the voxels, not blanked or filtered",
        next_step="give the noise level (noise_sd), or a model that does not need it",
    )


def _magnitudes(image: Volume | npt.ArrayLike) -> npt.NDArray[Any]:
    values = np.asarray(image.data if isinstance(image, Volume) else image)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"image is of type {values.dtype}, but must be real numbers")
    if values.size and bool((values < 0).any()):
        raise UnsupportedInput(
            "the noise level is taken from magnitudes",
            found="negative values",
            needed="a magnitude image",
            next_step="give the noise level (noise_sd)",
        )
    return values


def _by_voxel(image: Volume | npt.ArrayLike) -> npt.NDArray[Any]:
    """Samples of each voxel, (n_voxels, n); a regular selection of the voxels of a large image."""
    values = _magnitudes(image)
    n = values.shape[-1] if values.ndim >= 4 else 1
    samples = values.reshape(-1, n)
    step = -(-samples.size // _MOST_MAGNITUDES) if samples.size else 1
    return samples[::step]


def _two_levels(sample: DoubleArray, n_coils: int) -> tuple[float, float]:
    """The noise level from the mean and from the SD of magnitudes of noise alone."""
    return float(sample.mean()) / noise_mean(n_coils), float(sample.std(ddof=1)) / noise_spread(n_coils)


def _agree(one: float, other: float, most: float = MOST_DEVIATION) -> bool:
    return one > 0.0 and abs(one - other) <= most * one


def _fixed_points(ascending: DoubleArray, shape: int) -> list[tuple[float, int, int]]:
    """Mean squares that agree with the voxels around them, from the lowest, and the range of those voxels.

    ascending : mean square of each voxel; shape : that of their gamma distribution where there is only noise
    """
    from scipy.special import gammainc, gammaincinv

    if ascending.size < LEAST_VOXELS:
        return []
    low, high = gammaincinv(shape, _LOWEST) / shape, gammaincinv(shape, _HIGHEST) / shape
    inner = gammainc(shape + 1, high * shape) - gammainc(shape + 1, low * shape)
    share_of_mean = float(inner) / (_HIGHEST - _LOWEST)
    sums = np.concatenate([[0.0], np.cumsum(ascending)])
    found: dict[tuple[int, int], tuple[float, int, int]] = {}
    for start in np.quantile(ascending, np.linspace(0.0, 1.0, _STARTS)):
        level, place = float(start), (-1, -1)
        for _ in range(_ROUNDS):
            first, stop = np.searchsorted(ascending, (level * low, level * high), side="left").tolist()
            if stop <= first or (first, stop) == place:
                break
            place = (first, stop)
            level = float(sums[stop] - sums[first]) / (stop - first) / share_of_mean
        if stop > first and (first, stop) == place:
            found[place] = (level, first, stop)
    return sorted(found.values())


def _distributed_as_noise(ratio: DoubleArray, shape: int, n_coils: int) -> bool:
    """Whether mean squares over their expectation, ascending, follow the gamma distribution of noise."""
    from scipy.special import gammainc

    expected = (gammainc(shape, ratio * shape) - _LOWEST) / (_HIGHEST - _LOWEST)
    n = ratio.size
    seen = np.arange(1, n + 1) / n
    distance = float(np.maximum(np.abs(expected - seen), np.abs(expected - seen + 1.0 / n)).max())
    farthest = FARTHEST_OF_ONE_COIL if n_coils == 1 else FARTHEST_DISTRIBUTION
    return distance <= farthest + 1.0 / float(np.sqrt(n))


def _same_in_every_sample(background: npt.NDArray[Any], n_coils: int) -> bool:
    """Whether magnitudes (n_voxels, n) are noise in each sample: signal decays from one to the next."""
    values = background.astype(np.float64)
    by_mean, by_spread = _two_levels(values.ravel(), n_coils)
    means = values.mean(axis=0)
    chance = 4.0 * noise_spread(n_coils) / noise_mean(n_coils) / np.sqrt(values.shape[0])
    unevenness = float(np.abs(means / means.mean() - 1.0).max())
    return _agree(by_mean, by_spread, LARGEST_UNEVENNESS) and unevenness <= LARGEST_UNEVENNESS + chance
