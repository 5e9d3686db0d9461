"""Denoising and smoothing of the spectra of an image, before water is located."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from imgtheranostics.errors import merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice, typed_refusals

if TYPE_CHECKING:
    from imgtheranostics.cest.prepared_spectra import PreparedSpectra

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
    decision = {"rule": "principal components", **found.decisions, "explanation": _NOISE}
    return replace(
        spectra,
        voxels=replace(spectra.voxels, samples=np.asfortranarray(found.z, np.float32)),
        decisions={**spectra.decisions, "denoising": decision},
        warnings=merge_cautions(spectra.warnings, found.warnings),
    )


def smoothed(spectra: PreparedSpectra, smoothing: float | bool) -> PreparedSpectra:
    """Spectra smoothed along the offsets by a spline.

    Parameters
    ----------
    spectra : PreparedSpectra
    smoothing : float or True
        As `imgtheranostics.cest.denoising.smooth`; True leaves it to that.
    """
    from imgtheranostics.cest.denoising import smooth

    value = None if smoothing is True else float(smoothing)
    voxels = spectra.voxels
    with typed_refusals():
        z = smooth(voxels.samples, voxels.offset_ppm, smoothing=value, mask=voxels.inside)
    decision: dict[str, Any] = {"rule": "smoothing spline along the offsets", "explanation": _NOISE}
    if value is not None:
        decision["smoothing"] = value
    return replace(
        spectra,
        voxels=replace(voxels, samples=np.asfortranarray(z, np.float32)),
        decisions={**spectra.decisions, "smoothing": decision},
    )
