"""From saturated images and unsaturated references to Z-spectra, Z = S / M0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.noise_alone import below_reach, looks_like_noise
from imgtheranostics.cest.offset_list import REFERENCE_PPM, SAME_PPM, OffsetList
from imgtheranostics.cest.references import References, find_references, reference_noise, without_idle_drift
from imgtheranostics.cest.sample_differences import LEAST_OFFSETS
from imgtheranostics.cest.z_kernel import Spectra, measure
from imgtheranostics.errors import Caution
from imgtheranostics.fit import FloatArray, PlanarSignal, planar
from imgtheranostics.volume import Flag

LARGEST_Z = 1.2
"""More than this of the unsaturated signal is no saturation: motion, or a wrong reference."""

_FROM_SAMPLES = "what no smooth spectrum explains"

FAR_PPM = 20.0
"""Between this and `REFERENCE_PPM` an offset may be a reference or a sample of the spectrum."""


@dataclass(frozen=True, eq=False)
class Normalised:
    """Z-spectra over ascending offsets, with how they were made.

    Attributes
    ----------
    z : (..., n) ndarray
        Fraction of the unsaturated signal; NaN rows for voxels that are not usable.
    offset_ppm : (n,) ndarray
        Ascending, each once.
    m0 : (...) ndarray
        Unsaturated signal, mean over the spectrum's samples; NaN where not valid.
    flags : (...) ndarray of uint16
        `INVALID_INPUT` (a reference is not above 0, or a sample is not finite), `OUTSIDE_RANGE` (a sample
        above 1.2; its value is kept), `BELOW_NOISE` (see `normalise`), `MASKED_OUT`.
    noise_sd : (...) ndarray
        Standard deviation of the noise in each sample of `z`.
    decisions : mapping of str to str
        Which rule was taken for the references, their drift, the order and the noise.
    warnings : tuple of Caution
    indices : tuple of tuple of int
        Positions in the series that each sample was made of.
    m0_weights : (n, n_references) ndarray or None
        Share of each reference in the unsaturated signal of each sample; None where that was given.
    """

    z: FloatArray
    offset_ppm: npt.NDArray[np.float64]
    m0: FloatArray
    flags: npt.NDArray[np.uint16]
    noise_sd: FloatArray
    decisions: Mapping[str, str]
    warnings: tuple[Caution, ...]
    indices: tuple[tuple[int, ...], ...]
    m0_weights: npt.NDArray[np.float64] | None = None


def normalise(
    signal: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    m0_index: npt.ArrayLike | None = None,
    m0: npt.ArrayLike | None = None,
    drift: str = "auto",
    mask: npt.ArrayLike | None = None,
) -> Normalised:
    """Divide saturated images by unsaturated ones.

    Parameters
    ----------
    signal : (..., n_images) array_like
        Magnitudes in the order of acquisition.
    offset_ppm : (n_images,) array_like
        Saturation offset of each image in ppm from water; NaN, or 100 ppm and more on either side, marks an
        unsaturated reference.
    m0_index : (n_m0,) array_like of int, optional
        Positions of the references, from 0. It wins over `offset_ppm`; other unsaturated images are left out.
    m0 : float or (...) array_like, optional
        Unsaturated signal measured elsewhere with the same scaling, in place of references in the series.
    drift : {"auto", "mean", "linear"}
        ``mean`` of all references, or ``linear`` interpolation in the position of acquisition, constant
        before the first and after the last. References in a row count as one, their mean, at their mean
        position. ``auto`` is linear where saturated images lie between references, unless 25 voxels or more
        show together that these do not differ by 3 standard errors; else the mean. It follows a drift that
        voxels have in common; give ``linear`` for one that each has of its own.
    mask : (...) array_like of bool, optional
        Voxels outside are NaN and `Flag.MASKED_OUT`.

    Returns
    -------
    Normalised
        Offsets ascending; repeated offsets are averaged, with a caution.

    Raises
    ------
    MissingMetadata
        If there is no reference.
    ImplausibleValue
        If most offsets are as far from water as references, which offsets in Hz are.
    ValueError
        If numbers of offsets and images differ, a position is not in the series, or both `m0_index` and `m0`
        are given.

    Notes
    -----
    The noise level comes from the references where they leave 5 degrees of freedom, else from what no smooth
    spectrum explains (`noise_sd`). A voxel is `BELOW_NOISE` where the mean of its n references is below
    ``1.913 + 3.76 / sqrt(n)`` standard deviations of the noise in one image, which magnitudes of noise alone
    reach in less than one voxel of a thousand, where the references give that noise. Voxels are also
    `BELOW_NOISE` where samples and references are what noise alone gives, whatever its level: mean,
    references, steps between neighbours, skewness and likeness to a dip at 0 ppm beside the scatter of the
    samples. From 13 offsets 99.4 % of noise alone are flagged, of 11 offsets 60 %, of 7 offsets 10 %. Of
    simulated tissue, saturated with up to 3 uT, are flagged at most 0.2 % where its unsaturated signal is
    twenty times the noise; at ten times, where white matter at 2 uT is itself three times the noise, 40, 4
    and 0.2 % of 13, 21 and 31 offsets.
    """
    given = _listed(offset_ppm)
    spectra = planar(signal, given.size)
    found = find_references(given, m0_index, m0 is not None, drift)
    offsets, indices, cautions = _samples(given, found)
    images = spectra.samples
    chosen = spectra.chosen(mask)
    flags = np.where(chosen, 0, Flag.MASKED_OUT.value).astype(np.uint16)
    constant = None if m0 is None else spectra.flat(m0, "m0").astype(np.float64)
    if drift == "auto":
        found = without_idle_drift(found, images, chosen & _measured(images, found))
    z, mean_m0, valid = _divided(images, indices, found, constant)
    flags[chosen & ~valid] |= Flag.INVALID_INPUT.value
    z[:, ~(chosen & valid)] = np.nan
    mean_m0[~(chosen & valid)] = np.nan
    estimate = _estimated(z, offsets)
    noise, rule = _noise(estimate, offsets.n, images, found, mean_m0)
    n_references = max(1, len(found.positions))
    below = looks_like_noise(z, offsets, estimate, n_references)
    if rule != _FROM_SAMPLES:
        below |= below_reach(noise, n_references)
    flags[below] |= Flag.BELOW_NOISE.value
    z[:, below] = np.nan
    with np.errstate(invalid="ignore"):
        flags[(z > LARGEST_Z).any(axis=0)] |= Flag.OUTSIDE_RANGE.value
    dtype = images.dtype
    return Normalised(
        z=_series(z, spectra),
        offset_ppm=offsets.ppm,
        m0=spectra.restored(mean_m0.astype(dtype)),
        flags=spectra.restored(flags),
        noise_sd=spectra.restored(noise.astype(dtype)),
        decisions={**found.decisions, "noise": rule, "order": _order_words(indices)},
        warnings=cautions,
        indices=indices,
        m0_weights=None if constant is not None else _shares(indices, found),
    )


def _listed(offset_ppm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    given = np.asarray(offset_ppm, dtype=np.float64)
    if given.ndim != 1:
        raise ValueError(f"offset_ppm must be a list, found shape {given.shape}")
    if np.isinf(given).any():
        raise ValueError("offset_ppm must be finite, or NaN for an unsaturated reference")
    return given


def _samples(
    given: npt.NDArray[np.float64], found: References
) -> tuple[OffsetList, tuple[tuple[int, ...], ...], tuple[Caution, ...]]:
    """Different offsets in ascending order, the images of each, and what the reader should know."""
    kept = np.array(found.saturated, dtype=np.int64)
    kept = kept[np.argsort(given[kept], kind="stable")]
    begins = np.flatnonzero(np.diff(given[kept], prepend=-np.inf) > SAME_PPM)
    groups = np.split(kept, begins[1:])
    indices = tuple(tuple(sorted(int(i) for i in group)) for group in groups)
    ppm = given[kept[begins]]
    counts = np.array([len(at) for at in indices])
    cautions = list(found.cautions)
    if (counts > 1).any():
        repeated = ", ".join(f"{offset:g}" for offset in ppm[counts > 1])
        cautions.append(
            Caution(
                "offsets-repeated", f"images at the same offset were averaged: {repeated} ppm", "offset_ppm"
            )
        )
    far = ppm[(np.abs(ppm) >= FAR_PPM) & (np.abs(ppm) < REFERENCE_PPM)]
    if far.size and not found.stated:
        cautions.append(
            Caution(
                "far-offset-taken-as-sample",
                f"offsets between {FAR_PPM:g} and {REFERENCE_PPM:g} ppm are taken as samples; "
                "give m0_index if they are unsaturated references: "
                + ", ".join(f"{offset:g}" for offset in far),
                "offset_ppm",
            )
        )
    return OffsetList.of(ppm, least=1, purpose="a Z-spectrum"), indices, tuple(cautions)


def _measured(images: FloatArray, found: References) -> npt.NDArray[np.bool_]:
    """Voxels whose references are all above 0."""
    valid = np.ones(images.shape[1], np.bool_)
    for position in found.positions:
        valid &= images[position] > 0.0
        valid &= np.isfinite(images[position])
    return valid


def _divided(
    images: FloatArray,
    indices: tuple[tuple[int, ...], ...],
    found: References,
    constant: npt.NDArray[np.float64] | None,
) -> tuple[FloatArray, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Samples over references, (n, n_voxels); the mean reference; which voxels are valid."""
    n_voxels = images.shape[1]
    z = np.empty((len(indices), n_voxels), images.dtype)
    total = np.zeros(n_voxels)
    valid = _measured(images, found)
    if constant is not None:
        valid &= (constant > 0.0) & np.isfinite(constant)
    with np.errstate(all="ignore"):
        for row, at in enumerate(indices):
            ratio = np.zeros(n_voxels)
            for index in at:
                reference = constant if constant is not None else found.at(images, index)
                total += reference / len(at)
                ratio += images[index] / reference
            z[row] = ratio / len(at)
            valid &= np.isfinite(z[row])
    return z, total / len(indices), valid


def _shares(indices: tuple[tuple[int, ...], ...], found: References) -> npt.NDArray[np.float64]:
    """Share of each reference in the unsaturated signal of each sample."""
    shares = np.zeros((len(indices), len(found.positions)))
    place = {position: k for k, position in enumerate(found.positions)}
    for row, at in enumerate(indices):
        for index in at:
            for position, weight in found.weights(index).items():
                shares[row, place[position]] += weight / len(at)
    return shares


def _estimated(z: FloatArray, offsets: OffsetList) -> npt.NDArray[np.float64]:
    """Noise of each sample from what no smooth spectrum explains; NaN from too few offsets."""
    if offsets.n < LEAST_OFFSETS:
        return np.full(z.shape[1], np.nan)
    return measure(Spectra.ascending(z, offsets), find_noise=True).noise.astype(np.float64)


def _noise(
    estimate: npt.NDArray[np.float64],
    n_offsets: int,
    images: FloatArray,
    found: References,
    mean_m0: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], str]:
    """Noise of each sample of z, and the rule it comes from."""
    measured = reference_noise(images, found)
    if measured is not None:
        level, freedom = measured
        with np.errstate(all="ignore"):
            return (
                level / mean_m0,
                f"scatter of {len(found.positions)} references, {freedom:.1f} degrees of freedom",
            )
    few = "not known: too few references and offsets"
    return estimate, few if n_offsets < LEAST_OFFSETS else _FROM_SAMPLES


def _order_words(indices: tuple[tuple[int, ...], ...]) -> str:
    flat = [at[0] for at in indices]
    return "as acquired" if flat == sorted(flat) else "sorted to ascending offsets"


def _series(planes: FloatArray, spectra: PlanarSignal) -> FloatArray:
    return planes.T.reshape((*spectra.shape, planes.shape[0]), order=spectra.order)
