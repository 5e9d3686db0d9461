"""Denoising, averaging and smoothing of the spectra of an image, before water is located."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice, typed_refusals

if TYPE_CHECKING:
    from imgtheranostics.cest.prepared_spectra import PreparedSpectra

_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
_REACH = 3.5
"""Standard deviations at which a Gaussian ends: less than 1 part in 400 of it is beyond."""

_NEIGHBOURS = 1.5
"""Standard deviation, in voxels, of the average of what denoising leaves out."""

_CORRELATED, _FEWEST_LOST, _SHARE_LOST = 5.0, 20, 1e-3
"""Standard deviations of the correlation of noise at neighbouring offsets, which noise reaches nowhere; and
how many voxels, at least and as a share, must exceed them to be told of."""

_NOISE = "the noise level is that before it, an upper limit"


def denoised(spectra: PreparedSpectra, rank: str | int) -> PreparedSpectra:
    """Spectra of fewer principal components.

    Parameters
    ----------
    spectra : PreparedSpectra
    rank : str or int
        ``auto``, a criterion of `imgtheranostics.cest.denoising.denoise_pca`, or a number of components.

    Raises
    ------
    UnsupportedInput
        If there are not more voxels than offsets.
    """
    from imgtheranostics.cest.denoising import RankCriterion, denoise_pca

    known = get_args(RankCriterion)
    if isinstance(rank, str) and rank not in ("auto", *known):
        raise UnknownChoice(f"denoise must be auto, {', '.join(known)} or a number, not {rank!r}")
    wanted: Any = "median" if rank == "auto" else rank
    with typed_refusals():
        found = denoise_pca(spectra.voxels.samples, rank=wanted, mask=spectra.voxels.inside)
    lost = _left_out(spectra, found.z) if found.rank < spectra.voxels.offset_ppm.size else 0
    decision = {"rule": "principal components", **found.decisions, "explanation": _NOISE}
    decision["n_voxels_with_signal_left_out"] = lost
    told = found.warnings
    if lost >= max(_FEWEST_LOST, _SHARE_LOST * np.count_nonzero(spectra.voxels.inside)):
        said = (
            f"in {lost} voxels, what {found.rank} components leave out is no noise: a signal of few voxels "
            "was lowered there; keep more components, or smooth= or average_mm= instead"
        )
        told = (*told, Caution("denoising-left-out-signal", said, "denoise"))
    return replace(
        spectra,
        voxels=replace(spectra.voxels, samples=np.asfortranarray(found.z, np.float32)),
        decisions={**spectra.decisions, "denoising": decision},
        warnings=merge_cautions(spectra.warnings, told),
    )


def _left_out(spectra: PreparedSpectra, z: npt.NDArray[np.floating]) -> int:
    """Voxels around which components that were left out hold more than noise.

    Noise of neighbouring offsets is independent, whatever its level; a line is several samples wide. What was
    left out is averaged over neighbouring voxels and correlated with itself one offset further.
    """
    inside, before = spectra.voxels.inside, spectra.voxels.samples
    kernels = [_gaussian(_NEIGHBOURS)] * inside.ndim
    n = spectra.voxels.offset_ppm.size
    squares, products = np.zeros((2, *inside.shape))
    last = np.zeros(inside.shape)
    for k in range(n):
        left = np.where(inside, before[..., k].astype(np.float64) - z[..., k], 0.0)
        left = _convolved(left, kernels)
        squares += left**2
        products += left * last
        last = left
    return int(np.count_nonzero(products[inside] > _CORRELATED / np.sqrt(n) * squares[inside]))


def averaged(spectra: PreparedSpectra, fwhm_mm: float) -> PreparedSpectra:
    """Spectra averaged over neighbouring voxels with a Gaussian.

    Sums of signals over sums of unsaturated signals, of the voxels that are worked on: air and what was
    flagged does not enter. The noise of a voxel becomes that of its average.

    Parameters
    ----------
    spectra : PreparedSpectra
    fwhm_mm : float
        Full width at half maximum.

    Raises
    ------
    UnknownChoice
        If the width is no number above 0.
    """
    if isinstance(fwhm_mm, bool) or not (np.isfinite(fwhm_mm) and fwhm_mm > 0):
        raise UnknownChoice(f"average_mm must be a width in mm above 0, not {fwhm_mm!r}")
    voxels, inside = spectra.voxels, spectra.voxels.inside
    kernels = [_gaussian(fwhm_mm / _FWHM / spacing) for spacing in spectra.volume.grid.spacing_mm]
    signal = np.ones(inside.shape) if spectra.m0 is None else spectra.m0.astype(np.float64)
    weight = np.where(inside, signal, 0.0)
    total = _convolved(weight, kernels)
    n = voxels.offset_ppm.size
    z = np.full((*inside.shape, n), np.nan, np.float32, order="F")
    for k in range(n):
        sums = _convolved(np.where(inside, weight * voxels.samples[..., k], 0.0), kernels)
        z[inside, k] = sums[inside] / total[inside]
    noise = spectra.noise_sd
    if noise is not None:
        squares = np.where(inside, (weight * noise) ** 2, 0.0)
        left = np.sqrt(np.maximum(_convolved(squares, [kernel**2 for kernel in kernels]), 0.0))
        noise = np.full(inside.shape, np.nan, np.float32, order="F")
        noise[inside] = left[inside] / total[inside]
    said = f"voxels were averaged over {fwhm_mm:g} mm: neighbours are no independent measurements"
    return replace(
        spectra,
        voxels=replace(voxels, samples=z),
        noise_sd=noise,
        decisions={**spectra.decisions, "averaging": {"rule": "Gaussian of voxels", "fwhm_mm": fwhm_mm}},
        warnings=merge_cautions(spectra.warnings, (Caution("voxels-averaged", said, "average_mm"),)),
    )


def _gaussian(sd: float) -> npt.NDArray[np.float64]:
    """Weights of voxels along one direction, of sum 1; `sd` in voxels."""
    reach = int(np.ceil(_REACH * sd))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    return np.asarray(weights / weights.sum())


def _convolved(
    image: npt.NDArray[np.float64], kernels: list[npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """An image over which the weights of each direction were laid; nothing lies around it."""
    from scipy.ndimage import correlate1d

    for axis, kernel in enumerate(kernels):
        image = correlate1d(image, kernel, axis=axis, mode="constant")
    return image


def smoothed(spectra: PreparedSpectra, smoothing: float | bool) -> PreparedSpectra:
    """Spectra smoothed along the offsets by a spline.

    Parameters
    ----------
    spectra : PreparedSpectra
    smoothing : float or True
        As `imgtheranostics.cest.denoising.smooth`; True leaves it to that.
    """
    from imgtheranostics.cest.denoising import default_smoothing, smooth
    from imgtheranostics.cest.smoothing_spline import smoothing_matrix

    voxels = spectra.voxels
    value = default_smoothing(voxels.offset_ppm) if smoothing is True else float(smoothing)
    with typed_refusals():
        z = smooth(voxels.samples, voxels.offset_ppm, smoothing=value, mask=voxels.inside)
    decision: dict[str, Any] = {
        "rule": "smoothing spline along the offsets",
        "explanation": _NOISE,
        "smoothing": value,
    }
    weights = smoothing_matrix(voxels.offset_ppm, value)
    before = spectra.sample_weights
    return replace(
        spectra,
        voxels=replace(voxels, samples=np.asfortranarray(z, np.float32)),
        decisions={**spectra.decisions, "smoothing": decision},
        sample_weights=weights if before is None else weights @ before,
    )
