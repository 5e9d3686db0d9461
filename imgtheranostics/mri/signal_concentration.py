"""Concentration of an agent from spoiled gradient-echo images and the T1 before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Relaxivity
from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.mr_signal import check_signal
from imgtheranostics.mapping.pairs import estimate_on, second_on_first, single_image
from imgtheranostics.mapping.refusals import applicable, typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels
from imgtheranostics.mri.baseline_window import baseline_decision, required_baseline
from imgtheranostics.mri.concentration_choice import AgentChoice, concentration_decisions, quantity_of
from imgtheranostics.mri.fit_options import given_options
from imgtheranostics.mri.pairs import check_comparable
from imgtheranostics.mri.preparation import NoiseLevel, aligned, noise_level
from imgtheranostics.mri.protocol import required, series_along
from imgtheranostics.mri.rate_entry import relaxation_estimate
from imgtheranostics.mri.transmit_field import TransmitField, transmit_field
from imgtheranostics.volume import Axis, Estimate, Volume, make_step

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Stack:
    """Signals along one axis, what they came from, and which of them lie before the agent."""

    samples: Array
    volume: Volume
    axes: tuple[Axis, ...]
    window: tuple[int, int]
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...]


def from_signal(
    post: Volume,
    pre: Volume | Estimate | float | None,
    choice: AgentChoice,
    *,
    t1: Volume | Estimate | float | None = None,
    baseline: tuple[int, int] | None = None,
    flip_angle_deg: float | None = None,
    repetition_time_s: float | None = None,
    echo_time_s: float | None = None,
    with_decay: bool = False,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    register: bool = False,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Concentration from spoiled gradient-echo signals: two images, or a series along time.

    Parameters
    ----------
    post : Volume
        One image after the agent, or a series along time.
    pre : Volume, optional
        The image before it.
    choice : AgentChoice
    t1 : Volume, Estimate or float
        T1 before the agent, s.
    baseline : (first, stop), optional
        Images of a series before the agent.
    flip_angle_deg, repetition_time_s, echo_time_s : float, optional
        Go before the file.
    with_decay : bool
        Take the decay by r2* between excitation and echo into account; where there are two solutions, the
        lower is given and flagged.
    b1, resample_b1 : optional
        Transmit field; the one that corrected T1.
    mask, threshold, noise_sd, n_coils, motion_correct, workers
        As in `imgtheranostics.mri.relaxation_maps.t1_plan`.
    register : bool
        Align `post` to `pre`.

    Returns
    -------
    Estimate
        Concentration in mmol/L, with the time axis of a series.

    Raises
    ------
    MissingMetadata
        If T1, the scan before, the baseline, the agent, or a time or angle of the protocol is missing.
    UnitMismatch, GeometryMismatch, UnsupportedInput, ImplausibleValue
    """
    check_signal(post, "concentration")
    stack = _stacked(post, pre, baseline, register, motion_correct)
    v = stack.volume
    before = t1_before(t1, v)
    repetition = required(v, "repetition_time_s", repetition_time_s, purpose="concentration").scalar
    angle = required(v, "flip_angle_deg", flip_angle_deg, purpose="concentration").scalar
    used = choice.at(v, "r1")
    decay = None
    if with_decay:
        echo = required(v, "echo_time_s", echo_time_s, purpose="the decay with T2*").scalar
        decay = (choice.of_record().at(v, "r2star"), echo)
    field = transmit_field(b1, v, resample=resample_b1, relative_uncertainty=0.0)
    level = noise_level(v, stack.samples, noise_sd, n_coils=n_coils)
    chosen = chosen_voxels(stack.samples, v, mask=mask, threshold=threshold, noise_sd=level.sd)
    options = _array_options(before, field, level, chosen.inside, stack.window)
    with typed_refusals():
        fit = _inverted(stack.samples, used, decay, angle, repetition, options, workers)
    dynamic = bool(stack.axes)
    if not dynamic:
        fit = _last_sample(fit)
    nominal = tuple(c for c in field.warnings if c.code != "b1-not-mapped")
    if b1 is None:
        text = "no transmit-field map was given: the flip angle of the concentration is taken as nominal"
        nominal = (Caution("b1-not-mapped", text, "--b1"),)
    unknown = _unknown_noise(dynamic, level)
    step = make_step("concentration", kind="signal", relaxivity=used.value, per=used.per or "not stated")
    together = np.asarray(fit.parameters["shared_error_mm"])
    found = calculated_estimate(
        v,
        fit,
        "concentration_mm",
        quantity_of(used),
        step,
        chosen,
        axes=stack.axes,
        beside={"shared_error": v.derived(together, quantity_of(used), "mmol/L", step, axes=stack.axes)}
        if dynamic
        else None,
        decisions={
            **stack.decisions,
            "baseline_t1": {
                **dict(before.decisions.get("method", {})),
                "calibration_relative": before.calibration_relative,
            },
            "transmit_field": field.decision,
            "noise_level": level.decision,
            "mask": chosen.decision,
            **concentration_decisions(getattr(fit, "decisions", {})),
        },
        warnings=merge_cautions(
            stack.warnings, before.warnings, nominal, unknown, level.warnings, getattr(fit, "warnings", ())
        ),
    )
    # A concentration goes with the rate before the agent, so that what all voxels of T1 share it shares too.
    together_relative = math.hypot(found.calibration_relative, before.calibration_relative)
    return replace(found, calibration_relative=together_relative)


def t1_before(t1: Volume | Estimate | float | None, v: Volume) -> Estimate:
    """T1 before the agent on the grid of a scan.

    Raises
    ------
    MissingMetadata
        If nobody gave it.
    """
    if t1 is None:
        raise MissingMetadata(
            "T1 before the agent is missing; a concentration from signals needs it",
            where="--t1 (t1=)",
            needed="a T1 map, a series that it can be fitted to, or one value in s",
            next_step="give --t1 FILE or --t1 SECONDS (t1=)",
        )
    return estimate_on(v, relaxation_estimate(as_t1(t1), "r1", like=v))


def as_t1(t1: Volume | Estimate | float) -> Volume | Estimate | float:
    """One image without a stated quantity that was given as T1 is taken for seconds, with a caution."""
    if not isinstance(t1, Volume) or t1.quantity != "signal" or t1.axes:
        return t1
    text = "the image given as T1 does not state what it is: it is taken as T1 in s"
    return t1.replace(quantity="t1", unit="s").with_warnings(Caution("quantity-assumed", text, "--t1"))


def _stacked(
    post: Volume,
    pre: Volume | Estimate | float | None,
    baseline: tuple[int, int] | None,
    register: bool,
    motion_correct: bool,
) -> Stack:
    """Both cases as signals along a last axis with a window of images before the agent."""
    if pre is None:
        applicable(given_options({"register": register}), (), "a series over time; use motion_correct=")
        times = post.axis("time")
        if times is None:
            raise MissingMetadata(
                "the scan before the agent is missing; a concentration needs it",
                where="--pre (pre=)",
                needed="the same scan before the agent, or a series along time with its baseline",
                next_step="give --pre PATH (pre=)",
            )
        window = required_baseline(baseline, "concentration from a series", len(times))
        v, moved, motion = aligned(post, motion_correct)
        series = series_along(v, "time")
        decisions: dict[str, Any] = {"baseline": baseline_decision(window)}
        if motion:
            decisions["motion"] = motion
        return Stack(series.samples, v, (*series.others, series.axis), window, decisions, moved)
    applicable(given_options({"baseline": baseline, "motion_correct": motion_correct}), (), "a pair of scans")
    if not isinstance(pre, Volume):
        raise UnsupportedInput("the scan before the agent must be an image", found=type(pre).__name__)
    check_signal(pre, "concentration")
    single_image(post, "the scan after the agent")
    single_image(pre, "the scan before the agent")
    check_comparable(pre, post)
    other, how, cautions = second_on_first(pre, post, register=register)
    pair = np.stack([pre.data, other.data], axis=-1)
    warnings = merge_cautions(post.warnings, cautions)
    return Stack(np.asfortranarray(pair), pre, (), (0, 1), {"alignment": how}, warnings)


def _array_options(
    before: Estimate, field: TransmitField, level: NoiseLevel, inside: Array, window: tuple[int, int]
) -> dict[str, Any]:
    error = np.nan_to_num(before.standard_error.data.astype(np.float64), nan=0.0)
    return {
        "t1_s": before.value.data.astype(np.float64),
        "t1_error": error,
        "b1": field.ratio,
        "noise_sd": level.sd,
        "mask": inside,
        "baseline": window,
    }


def _inverted(
    samples: Array,
    used: Relaxivity,
    decay: tuple[Relaxivity, float] | None,
    angle: float,
    repetition: float,
    options: dict[str, Any],
    workers: int | None,
) -> Fit:
    from imgtheranostics.mri.spgr_concentration import from_spgr, from_spgr_with_decay

    times: dict[str, Any] = {"flip_angle_deg": angle, "repetition_time_s": repetition}
    if decay is None:
        return from_spgr(samples, used, **times, **options)
    r2star, echo = decay
    return from_spgr_with_decay(samples, used, r2star, echo_time_s=echo, **times, **options, workers=workers)


def _last_sample(fit: Any) -> Any:
    """Of two images, the one after the agent."""

    def last(arrays: Any) -> dict[str, Array]:
        return {name: np.asarray(array)[..., -1] for name, array in arrays.items()}

    return replace(
        fit,
        parameters=last(fit.parameters),
        standard_errors=last(fit.standard_errors),
        calibration_errors=last(fit.calibration_errors),
        flags=fit.flags[..., -1],
        r_squared=fit.r_squared[..., -1],
        rmse=fit.rmse[..., -1],
        iterations=fit.iterations[..., -1],
    )


def _unknown_noise(dynamic: bool, level: NoiseLevel) -> tuple[Caution, ...]:
    if dynamic or level.sd is not None:
        return ()
    text = "two images do not tell their noise: without --noise-sd the concentration has no standard error"
    return (Caution("noise-level-unknown", text, "--noise-sd"),)
