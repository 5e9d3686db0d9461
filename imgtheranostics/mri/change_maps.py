"""Signal change between two scans, or over time, as maps."""

from __future__ import annotations

import numpy as np

from imgtheranostics.errors import merge_cautions
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import check_signal
from imgtheranostics.mapping.pairs import second_on_first, single_image
from imgtheranostics.mapping.refusals import applicable, typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels
from imgtheranostics.mri.baseline_window import baseline_decision, required_baseline
from imgtheranostics.mri.fit_options import given_options
from imgtheranostics.mri.pairs import check_comparable
from imgtheranostics.mri.preparation import Handling, noise_level
from imgtheranostics.volume import Estimate, Volume, make_step

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
    how = Handling(mask, threshold, noise_sd, n_coils, motion_correct)
    if post is None:
        applicable(given_options({"register": register}), (), "a series over time; use motion_correct=")
        return _over_time(pre, baseline, how)
    of_series = {"baseline": baseline, "motion_correct": motion_correct}
    applicable(given_options(of_series), (), "a pair of scans")
    return _of_two(pre, post, how, register)


def _of_two(pre: Volume, post: Volume, how: Handling, register: bool) -> Estimate:
    from imgtheranostics.mri.signal_change import percent_change

    check_signal(post, "enhancement")
    single_image(pre, "the scan before the agent")
    single_image(post, "the scan after the agent")
    check_comparable(pre, post)
    post, moved, cautions = second_on_first(pre, post, register=register)
    both = np.stack([pre.data, post.data], axis=-1)
    level = noise_level(pre, pre.data[..., np.newaxis], how.noise_sd, n_coils=how.n_coils)
    chosen = chosen_voxels(both, pre, mask=how.mask, threshold=how.threshold)
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


def _over_time(v: Volume, baseline: tuple[int, int] | None, how: Handling) -> Estimate:
    from imgtheranostics.mri.signal_change import relative_enhancement

    required_baseline(baseline, "enhancement of a series")
    ready = how.prepare(v, "time")
    window = required_baseline(baseline, "enhancement of a series", ready.series.x.size)
    with typed_refusals():
        fit = relative_enhancement(
            ready.series.samples, baseline=window, noise_sd=ready.level.sd, mask=ready.chosen.inside
        )
    return calculated_estimate(
        ready.volume,
        fit,
        "enhancement_percent",
        "enhancement",
        make_step("enhancement", baseline=list(window)),
        ready.chosen,
        axes=(*ready.series.others, ready.series.axis),
        decisions={"baseline": baseline_decision(window), **ready.decisions()},
        warnings=ready.warnings,
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
    required_baseline(baseline, "time-intensity analysis")
    ready = Handling(mask, threshold, noise_sd, n_coils, motion_correct).prepare(v, "time")
    window = required_baseline(baseline, "time-intensity analysis", ready.series.x.size)
    with typed_refusals():
        fit = time_intensity(
            ready.series.samples,
            ready.series.x,
            baseline=window,
            noise_sd=ready.level.sd,
            falling=falling,
            mask=ready.chosen.inside,
            workers=workers,
        )
    step = make_step("time_intensity", baseline=list(window), falling=falling)
    decisions = {"baseline": baseline_decision(window), **ready.decisions()}
    return {
        quantity: calculated_estimate(
            ready.volume, fit, name, quantity, step, ready.chosen,
            axes=ready.series.others, decisions=decisions, warnings=ready.warnings,
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
