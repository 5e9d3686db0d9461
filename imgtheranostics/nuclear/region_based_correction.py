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
from imgtheranostics.nuclear.region_occupancy import GivenRegions, Occupancy, Tile
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
        (``OUTSIDE_RANGE``), is NaN. The standard error is that of the image times the factor of the voxel: as
        the Estimate states it, or the scatter of the voxels of each region about the model. That of the means
        is not part of it. ``decisions["means"]`` holds the means by region and frame, `maps` the ``factor``.

    Notes
    -----
    What the resolution mixes is taken apart, what one voxel mixes is not: where shares of voxels are given, a
    voxel of several regions holds the sum of shares times means. A mean over such an image, weighted by the
    shares of a region or not, is therefore still drawn towards its neighbours: by 11 % for a sphere of
    4 voxels' radius twelve times as active as what is around it. Take the mean from
    ``decisions["means"]``, or from voxels that one region fills.

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


def _factor(means: FloatArray, tile: Tile) -> FloatArray:
    """The model over the blurred model, (n_frames, n_voxels); NaN where that is next to nothing."""
    scale = np.max(np.abs(means), axis=0)[:, np.newaxis]
    here = means[tile.rows].T
    model, smooth = here @ tile.sharp, here @ tile.blurred
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.abs(smooth) > _LEAST_SHARE * scale, model / smooth, np.nan))


def _means_of_corrected(v: Volume, regions: Occupancy, means: FloatArray) -> FloatArray:
    """Means of the regions in the corrected image, out of which a voxel of several is a mixture."""
    n, n_frames = means.shape
    sums, mixed = np.zeros_like(means), np.zeros((n, n))
    missing: dict[int, FloatArray] = {}
    for tile in regions.tiles(n_frames):
        values, known = frames_of(v, tile)
        values *= _factor(means, tile)
        known &= np.isfinite(values)
        values[~known] = 0.0
        both = np.ix_(tile.rows, tile.rows)
        sums[tile.rows] += tile.sharp @ values.T
        mixed[both] += tile.sharp @ tile.sharp.T
        for frame in np.flatnonzero(~known.all(axis=1)).tolist():
            lost = tile.sharp[:, ~known[frame]]
            missing.setdefault(frame, np.zeros((n, n)))[both] += lost @ lost.T
    found = np.full_like(means, np.nan)
    for frame in range(n_frames):
        own = mixed - missing[frame] if frame in missing else mixed
        if np.linalg.cond(own) < _LARGEST_MIXTURE and np.isfinite(means[:, frame]).all():
            found[:, frame] = np.linalg.solve(own, sums[:, frame])
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
    given = volume.standard_error.planar if isinstance(volume, Estimate) else None
    variance = found.scatter**2
    for tile in regions.tiles(planes[0]):
        values, known = frames_of(v, tile)
        factor = _factor(found.means, tile)
        if given is None:
            scatter = np.sqrt(variance[tile.rows].T @ tile.sharp)
        else:
            scatter = np.array(tile.of(given, v.grid.shape), np.float64).reshape(values.shape)
        state = np.where(np.isfinite(factor), 0, Flag.OUTSIDE_RANGE.value)
        state |= np.where(known, 0, Flag.INVALID_INPUT.value)
        for target, made in (
            (value, np.where(known, values * factor, np.nan)),
            (factors, factor),
            (error, np.where(known, scatter * np.abs(factor), np.nan)),
            (flags, state),
        ):
            part = tile.of(target, v.grid.shape)
            part[...] = made.reshape(part.shape)
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
