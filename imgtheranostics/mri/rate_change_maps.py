"""Change of relaxation rates between two scans, as maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput, merge_cautions
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.pairs import estimate_on
from imgtheranostics.mapping.refusals import applicable, typed_refusals
from imgtheranostics.mapping.voxels import Chosen, Mask, chosen_voxels
from imgtheranostics.mri.fit_options import FIT_OPTIONS, given_options
from imgtheranostics.mri.pairs import check_same_field
from imgtheranostics.mri.rate_entry import relaxation_estimate
from imgtheranostics.mri.relaxation_maps import Times
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]
Image = Volume | Estimate
Rate = Literal["r1", "r2", "r2star"]


def delta_r1_map(
    post: Image,
    pre: Image | float,
    *,
    method: str | None = None,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    b1_relative_uncertainty: float | None = None,
    repetition_time_s: Times = None,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Change of R1 in 1/s, after minus before.

    Parameters
    ----------
    post, pre : Volume, Estimate or float
        A series to fit, a map of T1 or R1, or (for `pre`) one T1 in s.
    method, b1, resample_b1, b1_relative_uncertainty, repetition_time_s
        Of the fit of series; as in `imgtheranostics.mri.relaxation_maps.t1_map`.
    mask, threshold, noise_sd, n_coils, motion_correct, workers
        Of the fit; as in `imgtheranostics.mri.relaxation_maps.t1_map`.

    Returns
    -------
    Estimate
        ``delta_r1`` in 1/s; `maps` hold the times after and before.

    Raises
    ------
    GeometryMismatch
        If the two lie on different grids.
    ValueError
        If something of a fit is given, but both are maps.
    UnitMismatch, MissingMetadata, UnsupportedInput, ImplausibleValue
    """
    given = given_options(
        {
            "method": method,
            "b1": b1,
            "resample_b1": resample_b1,
            "b1_relative_uncertainty": b1_relative_uncertainty,
            "repetition_time_s": repetition_time_s,
            "threshold": threshold,
            "noise_sd": noise_sd,
            "n_coils": n_coils,
            "motion_correct": motion_correct,
            "workers": workers,
        }
    )
    return delta_rate_map(post, pre, "r1", given, mask=mask)


def delta_r2_map(
    post: Image,
    pre: Image | float,
    *,
    model: str | None = None,
    drop_first: bool = False,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    refocusing_angle_deg: float = 180.0,
    t1_s: float = 1.0,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Change of R2 in 1/s, after minus before.

    Parameters
    ----------
    post, pre : Volume, Estimate or float
        A series to fit, a map of T2 or R2, or (for `pre`) one T2 in s.
    model, drop_first, b1, resample_b1, refocusing_angle_deg, t1_s
        Of the fit of series; as in `imgtheranostics.mri.decay_maps.t2_map`.
    mask, threshold, noise_sd, n_coils, motion_correct, workers
        As there.

    Returns
    -------
    Estimate
        ``delta_r2`` in 1/s; `maps` hold the times after and before.

    Raises
    ------
    GeometryMismatch
        If the two lie on different grids.
    ValueError
        If something of a fit is given, but both are maps.
    UnitMismatch, MissingMetadata, UnsupportedInput, ImplausibleValue
    """
    given = given_options(
        {
            "model": model,
            "drop_first": drop_first,
            "b1": b1,
            "resample_b1": resample_b1,
            "refocusing_angle_deg": refocusing_angle_deg,
            "t1_s": t1_s,
            "threshold": threshold,
            "noise_sd": noise_sd,
            "n_coils": n_coils,
            "motion_correct": motion_correct,
            "workers": workers,
        }
    )
    return delta_rate_map(post, pre, "r2", given, mask=mask)


def delta_r2star_map(
    post: Image,
    pre: Image | float,
    *,
    model: str | None = None,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Change of R2* in 1/s, after minus before.

    Parameters
    ----------
    post, pre : Volume, Estimate or float
        A series to fit, a map of T2* or R2*, or (for `pre`) one T2* in s.
    model, mask, threshold, noise_sd, n_coils, motion_correct, workers
        Of the fit of series; as in `imgtheranostics.mri.decay_maps.t2star_map`.

    Returns
    -------
    Estimate
        ``delta_r2star`` in 1/s; `maps` hold the times after and before.

    Raises
    ------
    GeometryMismatch
        If the two lie on different grids.
    ValueError
        If something of a fit is given, but both are maps.
    UnitMismatch, MissingMetadata, UnsupportedInput, ImplausibleValue
    """
    given = given_options(
        {
            "model": model,
            "threshold": threshold,
            "noise_sd": noise_sd,
            "n_coils": n_coils,
            "motion_correct": motion_correct,
            "workers": workers,
        }
    )
    return delta_rate_map(post, pre, "r2star", given, mask=mask)


def delta_rate_map(
    post: Volume | Estimate | float,
    pre: Volume | Estimate | float,
    kind: Rate,
    options: Mapping[str, Any] | None = None,
    *,
    mask: Mask = None,
) -> Estimate:
    """Change of a relaxation rate, after minus before.

    Parameters
    ----------
    post, pre : Volume, Estimate or float
        A series to fit, a map of the time or of the rate, or (for `pre`) one relaxation time in s.
    kind : {"r1", "r2", "r2star"}
    options : mapping, optional
        Of the fit, for series.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``delta_r1``, ``delta_r2`` or ``delta_r2star`` in 1/s; `maps` hold the times after and before.

    Raises
    ------
    GeometryMismatch
        If the two lie on different grids.
    ValueError
        If an option is none of the fit, or both are maps.
    UnitMismatch, MissingMetadata, UnsupportedInput
        As the fits.
    """
    from imgtheranostics.mri.signal_change import rate_change_from_times

    fitted = any(isinstance(image, Volume) and image.quantity == "signal" for image in (post, pre))
    allowed, what = (FIT_OPTIONS[kind], f"a fit of {kind}") if fitted else ((), f"maps of {kind}")
    fit_options = applicable(options or {}, allowed, what)
    after = relaxation_estimate(post, kind, mask=mask, **fit_options)
    grid = after.value
    if isinstance(pre, (Volume, Estimate)):
        check_same_field(grid, pre if isinstance(pre, Volume) else pre.value)
    before = estimate_on(grid, relaxation_estimate(pre, kind, like=grid, mask=mask, **fit_options))
    if after.axes != before.axes and before.axes:
        raise UnsupportedInput(
            "the two maps have different axes beyond space",
            found=f"{[axis.name for axis in after.axes]} and {[axis.name for axis in before.axes]}",
        )
    first, second = _Times.of(before, grid.data.ndim), _Times.of(after, grid.data.ndim)
    within = chosen_voxels(grid.data[..., np.newaxis], grid, mask=mask)
    with typed_refusals():
        fit = rate_change_from_times(
            first.seconds,
            second.seconds,
            kind=kind,
            pre_error=first.own_error,
            post_error=second.own_error,
            mask=within.inside,
        )
    flags = within.merged(np.asarray(after.flags.data | first.flags, np.uint16))
    change = np.asarray(fit.parameters[f"delta_{kind}_per_s"])
    found = calculated_estimate(
        grid,
        fit,
        f"delta_{kind}_per_s",
        f"delta_{kind}",
        make_step("delta_rate", kind=kind),
        Chosen(np.isfinite(change) | (flags == 0), flags, {}),
        axes=after.axes,
        decisions={"after": dict(after.decisions), "before": dict(before.decisions)},
        warnings=merge_cautions(after.warnings, before.warnings),
        beside={"after": after.value, "before": before.value},
    )
    return _with_shared_error(found, np.abs(second.shared_rate - first.shared_rate))


@dataclass(frozen=True, eq=False)
class _Times:
    """Relaxation times with the part of their error that is each voxel's own, and what all voxels share.

    Attributes
    ----------
    seconds, own_error : ndarray
    shared_rate : ndarray
        What the shared uncertainty makes of the rate, 1/s.
    flags : ndarray
    """

    seconds: FloatArray
    own_error: FloatArray
    shared_rate: FloatArray
    flags: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, estimate: Estimate, n_dimensions: int) -> _Times:
        """From an estimate, with axes of length one up to so many dimensions."""
        shape = estimate.value.shape + (1,) * (n_dimensions - estimate.value.data.ndim)
        seconds = estimate.value.data.astype(np.float64).reshape(shape)
        error = estimate.standard_error.data.astype(np.float64).reshape(shape)
        relative = estimate.calibration_relative
        own = np.sqrt(np.maximum(error**2 - (relative * seconds) ** 2, 0.0)) if relative else error
        with np.errstate(divide="ignore", invalid="ignore"):
            shared = relative / seconds
        return cls(seconds, own, shared, estimate.flags.data.reshape(shape))


def _with_shared_error(found: Estimate, shared: FloatArray) -> Estimate:
    """The change with what its two rates share with all voxels, such as a transmit field that nobody mapped.

    Both rates have it from one field, so it cancels where they are equal. Relative to the change it is the
    same everywhere when both have it; otherwise that of the voxels that changed most goes with the estimate.
    """
    change = np.abs(found.value.data.astype(np.float64))
    usable = np.isfinite(change) & np.isfinite(shared)
    total = float((change[usable] ** 2).sum())
    if not (shared[usable] > 0).any() or total == 0:
        return found
    error = np.hypot(found.standard_error.data.astype(np.float64), shared)
    return replace(
        found,
        standard_error=found.standard_error.replace(data=error),
        calibration_relative=float((shared[usable] * change[usable]).sum()) / total,
    )
