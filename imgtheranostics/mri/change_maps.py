"""Signal change between two scans or over time, and change of relaxation rates, as maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mri.fitted_maps import share_cautions
from imgtheranostics.mri.pairs import check_comparable, estimate_on, second_on_first
from imgtheranostics.mri.preparation import Chosen, Mask, aligned, chosen_voxels, noise_level
from imgtheranostics.mri.protocol import check_signal, series_along
from imgtheranostics.mri.rate_entry import relaxation_estimate
from imgtheranostics.mri.relaxation_plan import typed_refusals
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Axis, Estimate, Step, Volume, make_step

Rate = Literal["r1", "r2", "r2star"]

TIME_INTENSITY = {
    "bolus_arrival": "arrival_s",
    "time_to_peak": "time_to_peak_s",
    "peak_enhancement": "peak",
    "wash_in": "wash_in_per_s",
    "wash_out": "wash_out_per_s",
}
"""Quantities of `time_intensity_maps` and their names at the array level."""


def enhancement(
    pre: Volume,
    post: Volume | None = None,
    *,
    baseline: tuple[int, int] | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    mask: Mask = None,
    threshold: float | None = None,
    register: bool = False,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Relative signal change in percent: of a second scan over the first, or along time over the baseline.

    Parameters
    ----------
    pre : Volume
        Signal before the agent, or a series along time.
    post : Volume, optional
        Signal after it, acquired alike.
    baseline : (first, stop), optional
        For a series: the images before the agent, as in a slice. Always explicit.
    noise_sd : float or "estimate", optional
        Noise of one image; without it two scans have no standard error, and a series takes the scatter of its
        baseline.
    n_coils, mask, threshold
        As in `imgtheranostics.mri.relaxation_maps.t1_plan`.
    register : bool
        Align `post` to `pre`.
    motion_correct : bool
        Align the images of a series to the first.
    workers : int, optional

    Returns
    -------
    Estimate
        ``enhancement`` in %, with the time axis of a series.

    Raises
    ------
    MissingMetadata
        If a series comes without `baseline`.
    UnitMismatch
        If the two scans were not acquired alike, or are display values.
    GeometryMismatch, UnsupportedInput
    """
    check_signal(pre, "enhancement")
    if post is None:
        return _dynamic_enhancement(pre, baseline, noise_sd, n_coils, mask, threshold, motion_correct)
    return _paired_enhancement(pre, post, noise_sd, n_coils, mask, threshold, register)


def _paired_enhancement(
    pre: Volume,
    post: Volume,
    noise_sd: float | str | None,
    n_coils: int,
    mask: Mask,
    threshold: float | None,
    register: bool,
) -> Estimate:
    from imgtheranostics.mri.signal_change import percent_change

    check_signal(post, "enhancement")
    single_image(pre, "the scan before the agent")
    single_image(post, "the scan after the agent")
    check_comparable(pre, post)
    post, moved, cautions = second_on_first(pre, post, register=register)
    both = np.stack([pre.data, post.data], axis=-1)
    level = noise_level(pre, pre.data[..., np.newaxis], noise_sd, n_coils=n_coils)
    chosen = chosen_voxels(both, pre, mask=mask, threshold=threshold)
    error = np.nan if level.sd is None else level.sd
    with typed_refusals():
        fit = percent_change(pre.data, post.data, pre_error=error, post_error=error, mask=chosen.inside)
    return calculated_estimate(
        pre,
        fit,
        "enhancement_percent",
        "enhancement",
        make_step("enhancement", between="two scans"),
        chosen,
        decisions={"alignment": moved, "noise_level": level.decision, "mask": chosen.decision},
        warnings=merge_cautions(post.warnings, cautions, level.warnings),
    )


def _dynamic_enhancement(
    v: Volume,
    baseline: tuple[int, int] | None,
    noise_sd: float | str | None,
    n_coils: int,
    mask: Mask,
    threshold: float | None,
    motion_correct: bool,
) -> Estimate:
    from imgtheranostics.mri.signal_change import relative_enhancement

    window = required_baseline(baseline, "enhancement of a series")
    v, moved, motion = aligned(v, motion_correct)
    series = series_along(v, "time")
    level = noise_level(v, series.samples, noise_sd, n_coils=n_coils)
    chosen = chosen_voxels(series.samples, v, mask=mask, threshold=threshold, noise_sd=level.sd)
    with typed_refusals():
        fit = relative_enhancement(series.samples, baseline=window, noise_sd=level.sd, mask=chosen.inside)
    return calculated_estimate(
        v,
        fit,
        "enhancement_percent",
        "enhancement",
        make_step("enhancement", baseline=list(window)),
        chosen,
        axes=(*series.others, series.axis),
        decisions={
            "baseline": baseline_decision(window),
            "noise_level": level.decision,
            "mask": chosen.decision,
            **({"motion": motion} if motion else {}),
        },
        warnings=merge_cautions(moved, level.warnings),
    )


def time_intensity_maps(
    v: Volume,
    *,
    baseline: tuple[int, int] | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    mask: Mask = None,
    threshold: float | None = None,
    falling: bool = False,
    motion_correct: bool = False,
    workers: int | None = None,
) -> dict[str, Estimate]:
    """Arrival, time to peak, peak enhancement, wash-in and wash-out of a series, without a model.

    Parameters
    ----------
    v : Volume
        Signal along time.
    baseline, noise_sd, n_coils, mask, threshold, motion_correct, workers
        As in `enhancement`.
    falling : bool
        The agent takes signal away.

    Returns
    -------
    dict of str to Estimate
        By the names of `TIME_INTENSITY`.

    Raises
    ------
    MissingMetadata, UnsupportedInput, GeometryMismatch
        As `enhancement`.
    """
    from imgtheranostics.mri.time_intensity import time_intensity

    check_signal(v, "time-intensity parameters")
    window = required_baseline(baseline, "time-intensity analysis")
    v, moved, _ = aligned(v, motion_correct)
    series = series_along(v, "time")
    level = noise_level(v, series.samples, noise_sd, n_coils=n_coils)
    chosen = chosen_voxels(series.samples, v, mask=mask, threshold=threshold, noise_sd=level.sd)
    with typed_refusals():
        fit = time_intensity(
            series.samples,
            series.x,
            baseline=window,
            noise_sd=level.sd,
            falling=falling,
            mask=chosen.inside,
            workers=workers,
        )
    step = make_step("time_intensity", baseline=list(window), falling=falling)
    decisions = {"baseline": baseline_decision(window), "noise_level": level.decision}
    return {
        quantity: calculated_estimate(
            v, fit, name, quantity, step, chosen,
            axes=series.others, decisions=decisions, warnings=merge_cautions(moved, level.warnings),
        )
        for quantity, name in TIME_INTENSITY.items()
    }  # fmt: skip


def enhancement_ratio(
    pre: Volume, early: Volume, late: Volume, *, noise_sd: float | None = None, mask: Mask = None
) -> Estimate:
    """Signal enhancement ratio, (early - pre) / (late - pre), of three scans acquired alike.

    Parameters
    ----------
    pre, early, late : Volume
        One image each, on one grid.
    noise_sd : float, optional
        Noise of one image.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``enhancement_ratio``; voxels whose late change is within the noise are flagged as not enhancing.

    Raises
    ------
    UnitMismatch, GeometryMismatch, UnsupportedInput
        As `enhancement`.
    """
    from imgtheranostics.mri.signal_change import signal_enhancement_ratio

    images = []
    for image in (pre, early, late):
        check_signal(image, "enhancement")
        single_image(image, "a scan")
        check_comparable(pre, image)
        images.append(second_on_first(pre, image)[0].data)
    chosen = chosen_voxels(np.stack(images, axis=-1), pre, mask=mask)
    error = np.nan if noise_sd is None else noise_sd
    with typed_refusals():
        fit = signal_enhancement_ratio(
            *images, pre_error=error, early_error=error, late_error=error, mask=chosen.inside
        )
    return calculated_estimate(
        pre,
        fit,
        "signal_enhancement_ratio",
        "enhancement_ratio",
        make_step("enhancement_ratio"),
        chosen,
        decisions={"mask": chosen.decision},
    )


def delta_r1_map(post: Any, pre: Any, **options: Any) -> Estimate:
    """Change of R1 in 1/s, after minus before; see `delta_rate_map`."""
    return delta_rate_map(post, pre, "r1", **options)


def delta_r2_map(post: Any, pre: Any, **options: Any) -> Estimate:
    """Change of R2 in 1/s, after minus before; see `delta_rate_map`."""
    return delta_rate_map(post, pre, "r2", **options)


def delta_r2star_map(post: Any, pre: Any, **options: Any) -> Estimate:
    """Change of R2* in 1/s, after minus before; see `delta_rate_map`."""
    return delta_rate_map(post, pre, "r2star", **options)


def delta_rate_map(
    post: Volume | Estimate | float,
    pre: Volume | Estimate | float,
    kind: Rate,
    *,
    mask: Mask = None,
    **options: Any,
) -> Estimate:
    """Change of a relaxation rate, after minus before.

    Parameters
    ----------
    post, pre : Volume, Estimate or float
        A series to fit, a map of the time or of the rate, or (for `pre`) one relaxation time in s.
    kind : {"r1", "r2", "r2star"}
    mask : Volume, Regions or array, optional
    **options
        Of the fit, for series; as in `imgtheranostics.mri.relaxation_maps`.

    Returns
    -------
    Estimate
        ``delta_r1``, ``delta_r2`` or ``delta_r2star`` in 1/s; `maps` hold the times after and before.

    Raises
    ------
    GeometryMismatch
        If the two lie on different grids.
    UnitMismatch, MissingMetadata, UnsupportedInput
        As the fits.
    """
    from imgtheranostics.mri.signal_change import rate_change_from_times

    after = relaxation_estimate(post, kind, mask=mask, **options)
    grid = after.value
    before = estimate_on(grid, relaxation_estimate(pre, kind, like=grid, mask=mask, **options))
    if after.axes != before.axes and before.axes:
        raise UnsupportedInput(
            "the two maps have different axes beyond space",
            found=f"{[axis.name for axis in after.axes]} and {[axis.name for axis in before.axes]}",
        )
    within = chosen_voxels(after.value.data[..., np.newaxis], grid, mask=mask)
    with typed_refusals():
        fit = rate_change_from_times(
            before.value.data.astype(np.float64),
            after.value.data.astype(np.float64),
            kind=kind,
            pre_error=before.standard_error.data.astype(np.float64),
            post_error=after.standard_error.data.astype(np.float64),
            mask=within.inside,
        )
    flags = within.merged(np.asarray(after.flags.data | before.flags.data, np.uint16))
    inside = np.isfinite(fit.parameters[f"delta_{kind}_per_s"]) | (flags == 0)
    chosen = Chosen(inside, flags, {})
    return calculated_estimate(
        grid,
        fit,
        f"delta_{kind}_per_s",
        f"delta_{kind}",
        make_step("delta_rate", kind=kind),
        chosen,
        axes=after.axes,
        decisions={"after": dict(after.decisions), "before": dict(before.decisions)},
        warnings=merge_cautions(after.warnings, before.warnings),
        beside={"after": after.value, "before": before.value},
    )


def calculated_estimate(
    v: Volume,
    fit: Fit,
    parameter: str,
    quantity: str,
    step: Step,
    chosen: Chosen,
    *,
    axes: tuple[Axis, ...] = (),
    decisions: Mapping[str, Any] | None = None,
    warnings: tuple[Caution, ...] = (),
    beside: Mapping[str, Volume] | None = None,
) -> Estimate:
    """Numbers that were calculated and not fitted, as an Estimate: no goodness of fit goes along."""
    value = np.asarray(fit.parameters[parameter])
    flags = chosen.merged(fit.flags)
    result = v.derived(value, quantity, QUANTITIES[quantity].unit or v.unit, step, axes=axes)
    result = result.with_warnings(*warnings, *share_cautions(flags, value, quantity))
    plain = result.replace(warnings=())
    error = getattr(fit, "total_errors", fit.standard_errors)[parameter]
    return Estimate(
        result,
        plain.replace(data=np.asarray(error)),
        plain.replace(data=flags, quantity="flags", unit="1"),
        float(getattr(fit, "calibration_relative", 0.0)),
        decisions or {},
        {name: volume.replace(warnings=()) for name, volume in (beside or {}).items()},
    )


def single_image(v: Volume, what: str) -> None:
    """Refuse a series where one image is needed."""
    if v.axes:
        raise UnsupportedInput(
            f"{what} must be one image",
            found=", ".join(f"{axis.name} x {len(axis)}" for axis in v.axes),
            needed="one image, or a series alone with its baseline",
            next_step="choose one image with frame(), or leave out the second scan and give --baseline",
        )


def required_baseline(baseline: tuple[int, int] | None, purpose: str) -> tuple[int, int]:
    """The window of images before the agent, which nobody may guess.

    Raises
    ------
    MissingMetadata
    """
    if baseline is None:
        raise MissingMetadata(
            f"the images before the agent are not stated; {purpose} needs them",
            where="--baseline (baseline=)",
            needed="first and stop, counted from 0, such as 0:5 for the first five images",
            next_step="give --baseline FIRST:STOP (baseline=(first, stop))",
        )
    return int(baseline[0]), int(baseline[1])


def baseline_decision(window: tuple[int, int]) -> dict[str, Any]:
    """For the record of decisions."""
    return {"rule": "given", "explanation": f"images {window[0]} to {window[1] - 1}, counted from 0"}
