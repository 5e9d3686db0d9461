"""Voxel by voxel correction with known regions: region-based voxel-wise correction, and iterative Yang.

Both multiply the image by the piecewise uniform model of it over the same model after the blur; they differ
in where the means of the model come from. What varies within a region stays.

References
----------
.. [1] Thomas BA et al, Eur J Nucl Med Mol Imaging 2011;38:1104-1119: means by the transfer matrix.
.. [2] Erlandsson K et al, Phys Med Biol 2012;57:R119-R159: means by iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.nuclear.point_spread import FloatArray, Width
from imgtheranostics.nuclear.region_occupancy import GivenRegions, Occupancy
from imgtheranostics.nuclear.transfer_matrix import TransferSolution, frames_of, missing_caution
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Flag, Step, Volume, make_step

CONVERGED = 1e-3
"""Relative change of every mean between two iterations below which iterative Yang has converged."""

_LARGEST_MIXTURE = 1e9
_LEAST_SHARE = 1e-3
"""Share of the largest mean below which the blurred model is no divisor."""


def rbv(
    volume: Volume | Estimate, rois: GivenRegions, *, psf_fwhm_mm: Width, background: bool = True
) -> Estimate:
    """Region-based voxel-wise correction: the means of regions by their transfer matrix, then every voxel.

    Parameters
    ----------
    volume : Volume or Estimate
        Any quantity; frames are corrected one by one. Negative values stay negative.
    rois, psf_fwhm_mm, background
        As in `gtm`.

    Returns
    -------
    Estimate
        Of the quantity of the image. A voxel without a value, or where the model is next to nothing
        (``OUTSIDE_RANGE``), is NaN; one of several regions holds their mixture. The standard error is that of
        the image times the factor of the voxel: as the Estimate states it, or the scatter of the voxels of
        each region about the model. That of the means is not part of it. ``decisions["means"]`` holds the
        means by region and frame, `maps` the ``factor``.

    Raises
    ------
    ImgTheranosticsError, ValueError
        As `gtm`.
    """
    v = volume.value if isinstance(volume, Estimate) else volume
    regions = Occupancy.of(v, rois, psf_fwhm_mm, background)
    found = TransferSolution.of(v, regions, regions.spread)
    decision = {
        "rule": "transfer matrix",
        **_listed(regions, found.true),
        "condition": found.condition.tolist(),
    }
    step = make_step("rbv", psf_fwhm_mm=list(regions.spread.fwhm_mm), regions=list(regions.names))
    return _corrected(volume, regions, _Means(found.true, found.residual_sd), step, decision, _said(v, rois))


def iterative_yang(
    volume: Volume | Estimate,
    rois: GivenRegions,
    *,
    psf_fwhm_mm: Width,
    iterations: int = 10,
    background: bool = True,
) -> Estimate:
    """Voxel-wise correction whose means come from the corrected image itself, again and again.

    Parameters
    ----------
    volume : Volume or Estimate
        Any quantity; frames are corrected one by one. Negative values stay negative.
    rois, psf_fwhm_mm, background
        As in `gtm`.
    iterations : int
        At most; it ends when every mean changes by less than a thousandth of the largest.

    Returns
    -------
    Estimate
        As from `rbv`. The caution ``not-converged`` says that more iterations would change the means.

    Raises
    ------
    ValueError
        If there is no iteration, or as `gtm`.
    ImgTheranosticsError
        As `gtm`.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    v = volume.value if isinstance(volume, Estimate) else volume
    regions = Occupancy.of(v, rois, psf_fwhm_mm, background)
    found = TransferSolution.of(v, regions, regions.spread)
    means, change, used = found.measured, np.inf, 0
    while used < iterations and change >= CONVERGED:
        new = _means_of_corrected(v, regions, means)
        scale = np.nanmax(np.abs(new), axis=0, initial=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(scale > 0, np.abs(new - means) / scale, 0.0)
        change = float(np.nanmax(steps, initial=0.0))
        means, used = new, used + 1
    cautions = _said(v, rois)
    if change >= CONVERGED:
        text = f"the means still changed by {100 * change:.2g} % of the largest in iteration {used}"
        cautions = (*cautions, Caution("not-converged", text))
    decision = {"rule": "iterative", **_listed(regions, means), "iterations": used, "last_change": change}
    step = make_step(
        "iterative_yang",
        psf_fwhm_mm=list(regions.spread.fwhm_mm),
        regions=list(regions.names),
        iterations=used,
    )
    return _corrected(volume, regions, _Means(means, found.residual_sd), step, decision, cautions)


@dataclass(frozen=True, eq=False)
class _Means:
    """Means of the model and scatter about it, (n_regions, n_frames)."""

    means: FloatArray
    scatter: FloatArray


def _factor(means: FloatArray, sharp: FloatArray, blurred: FloatArray) -> FloatArray:
    """The model over the blurred model, (n_frames, n_voxels); NaN where that is next to nothing."""
    scale = np.max(np.abs(means), axis=0)[:, np.newaxis]
    model, smooth = means.T @ sharp, means.T @ blurred
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.abs(smooth) > _LEAST_SHARE * scale, model / smooth, np.nan))


def _means_of_corrected(v: Volume, regions: Occupancy, means: FloatArray) -> FloatArray:
    """Means of the regions in the corrected image, out of which a voxel of several is a mixture."""
    n, n_frames = means.shape
    sums, mixed = np.zeros_like(means), np.zeros((n_frames, n, n))
    for here, sharp, blurred in regions.slabs(n_frames):
        values, known = frames_of(v, here)
        values *= _factor(means, sharp, blurred)
        known &= np.isfinite(values)
        values[~known] = 0.0
        sums += sharp @ values.T
        mixed += sharp @ sharp.T
        for frame in np.flatnonzero(~known.all(axis=1)).tolist():
            lost = ~known[frame]
            mixed[frame] -= sharp[:, lost] @ sharp[:, lost].T
    found = np.full_like(means, np.nan)
    for frame in range(n_frames):
        if np.linalg.cond(mixed[frame]) < _LARGEST_MIXTURE and np.isfinite(means[:, frame]).all():
            found[:, frame] = np.linalg.solve(mixed[frame], sums[:, frame])
    return found


def _corrected(
    volume: Volume | Estimate,
    regions: Occupancy,
    found: _Means,
    step: Step,
    decision: dict[str, Any],
    cautions: tuple[Caution, ...],
) -> Estimate:
    v = volume.value if isinstance(volume, Estimate) else volume
    planes = v.planar.shape
    value, error, factors = (np.empty(planes, np.float32) for _ in range(3))
    flags = np.zeros(planes, np.uint16)
    plane = v.grid.shape[0] * v.grid.shape[1]
    for here, sharp, blurred in regions.slabs(planes[0]):
        part = slice(here.start * plane, here.stop * plane)
        values, known = frames_of(v, here)
        factor = _factor(found.means, sharp, blurred)
        value[:, part] = np.where(known, values * factor, np.nan)
        factors[:, part] = factor
        if isinstance(volume, Estimate):
            scatter = np.asarray(volume.standard_error.planar[:, part], np.float64)
        else:
            scatter = np.sqrt((found.scatter.T**2) @ sharp)
        error[:, part] = np.where(known, scatter * np.abs(factor), np.nan)
        flags[:, part] = np.where(np.isfinite(factor), 0, Flag.OUTSIDE_RANGE.value)
        flags[:, part] |= np.where(known, 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    unsolved = ~np.isfinite(found.means).all(axis=0)
    flags[unsolved] = Flag.INVALID_INPUT.value
    result = v.derived(_shaped(value, v), v.quantity, v.unit, step).with_warnings(*cautions)
    plain = result.replace(warnings=())
    earlier = volume.flags.data if isinstance(volume, Estimate) else np.uint16(0)
    return Estimate(
        result,
        plain.replace(data=_shaped(error, v)),
        plain.replace(data=_shaped(flags, v) | earlier, quantity="flags", unit="1"),
        volume.calibration_relative if isinstance(volume, Estimate) else 0.0,
        {
            "psf": regions.spread.decision(),
            "background": {"rule": "own region" if regions.background else "none"},
            "means": decision,
        },
        {"factor": plain.replace(data=_shaped(factors, v), quantity="partial_volume_factor", unit="1")},
    )


def _shaped(planes: npt.NDArray[Any], v: Volume) -> npt.NDArray[Any]:
    return planes.T.reshape(v.shape, order="F")


def _listed(regions: Occupancy, means: FloatArray) -> dict[str, Any]:
    return {"regions": dict(zip(regions.names, means.tolist(), strict=True))}


def _said(v: Volume, rois: GivenRegions) -> tuple[Caution, ...]:
    return (*(rois.warnings if isinstance(rois, Regions) else ()), *missing_caution(v))
