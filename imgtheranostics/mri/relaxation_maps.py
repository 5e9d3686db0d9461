"""T1, T2 and T2* maps: the axis of the images picks the method, the record its times and angles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.mri import model_curves
from imgtheranostics.mri.methods import DECAY_MODELS, NOISE_MODELS, T1_METHODS, checked
from imgtheranostics.mri.preparation import (
    Mask,
    NoiseLevel,
    TransmitField,
    aligned,
    chosen_voxels,
    noise_level,
    transmit_field,
)
from imgtheranostics.mri.protocol import (
    Series,
    Stated,
    check_signal,
    known,
    mr_record,
    required,
    series_along,
)
from imgtheranostics.mri.relaxation_plan import FitCall, RelaxationPlan
from imgtheranostics.volume import Estimate, Volume

FloatArray = npt.NDArray[np.float64]
Times = float | Sequence[float] | npt.NDArray[np.floating] | None


def t1_map(v: Volume, **options: Any) -> Estimate:
    """Longitudinal relaxation time from several flip angles, inversion times or repetition times.

    Parameters
    ----------
    v : Volume
        Signal with an axis ``flip_angle``, ``inversion_time`` or ``repetition_time``, which picks the method.
    **options
        See `t1_plan`.

    Returns
    -------
    Estimate
        ``t1`` in s. `maps` hold amplitude, R2, RMSE, iterations and the efficiency of the preparation.

    Raises
    ------
    MissingMetadata, UnsupportedInput, UnitMismatch, ImplausibleValue, GeometryMismatch
    """
    return t1_plan(v, **options).estimate()


def t2_map(v: Volume, **options: Any) -> Estimate:
    """Transverse relaxation time from spin echoes; options as in `t2_plan`.

    Returns
    -------
    Estimate
        ``t2`` in s.

    Raises
    ------
    MissingMetadata, UnsupportedInput, UnitMismatch, ImplausibleValue, GeometryMismatch
    """
    return t2_plan(v, **options).estimate()


def t2star_map(v: Volume, **options: Any) -> Estimate:
    """Effective transverse relaxation time from gradient echoes; options as in `t2star_plan`.

    Returns
    -------
    Estimate
        ``t2star`` in s.

    Raises
    ------
    MissingMetadata, UnsupportedInput, UnitMismatch, ImplausibleValue, GeometryMismatch
    """
    return t2star_plan(v, **options).estimate()


def t1_plan(
    v: Volume,
    *,
    method: str | None = None,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    b1_relative_uncertainty: float | None = None,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    repetition_time_s: Times = None,
    motion_correct: bool = False,
    workers: int | None = None,
) -> RelaxationPlan:
    """The fit behind `t1_map`.

    Parameters
    ----------
    v : Volume
    method : str, optional
        ``nlls``, ``linear``, ``wlls`` for flip angles; ``magnitude``, ``signed``, ``two_parameter``,
        ``look_locker`` for inversion times; ``two_parameter``, ``three_parameter`` for repetition times.
    b1 : Volume or float, optional
        Transmit field as a ratio to nominal (percent is converted) for flip angles. Without it the standard
        error contains twice `b1_relative_uncertainty`, and a caution says so.
    resample_b1 : bool
        Bring a map from another grid.
    b1_relative_uncertainty : float, optional
        Of a field that was not mapped, default 0.115; of the map where one is given, default 0.
    mask : Volume, Regions or array, optional
        Voxels outside are NaN and flagged.
    threshold : float, optional
        Voxels whose largest sample stays below are flagged as below noise.
    noise_sd : float or "estimate", optional
        Standard deviation of the noise; voxels that do not rise above it are flagged as below noise.
    n_coils : int
        Coils whose squares were summed.
    repetition_time_s : float or sequence, optional
        Goes before the file; one per image where they differ.
    motion_correct : bool
        Align the images to the first.
    workers : int, optional

    Raises
    ------
    ValueError
        If the method is not one for this axis.
    """
    check_signal(v, "T1")
    v, moved, motion = aligned(v, motion_correct)
    series = series_along(v, _t1_axis(v))
    methods = T1_METHODS[series.axis.name]
    words = series.axis.name.replace("_", " ")
    name = checked(method or methods[0], methods, f"method of T1 from {words}s")
    if method is None and series.axis.name == "inversion_time" and _is_signed(v):
        name = "signed"
    level = noise_level(v, series.samples, noise_sd, n_coils=n_coils)
    chosen = chosen_voxels(
        series.samples, v, mask=mask, threshold=threshold, noise_sd=level.sd, n_coils=n_coils
    )
    repetition = _repetition(v, series, name, repetition_time_s)
    field: TransmitField | None = None
    if series.axis.name == "flip_angle":
        field = transmit_field(b1, v, resample=resample_b1, relative_uncertainty=b1_relative_uncertainty)
    call, curve, missing = _t1_fit(series, name, repetition)
    decisions = {
        "method": {"rule": name, "axis": series.axis.name, "values": series.x.tolist()},
        **({"repetition_time": repetition.decision()} if repetition is not None else {}),
        **({"transmit_field": field.decision} if field is not None else {}),
        **_common_decisions(v, chosen.decision, level, motion),
    }
    return RelaxationPlan(
        series,
        "t1",
        "t1_s",
        name,
        call,
        curve,
        chosen,
        field,
        calibration_relative=2.0 * field.relative_uncertainty if field is not None else 0.0,
        decisions=decisions,
        warnings=merge_cautions(moved, level.warnings, missing, field.warnings if field is not None else ()),
        beside={
            "inversion_efficiency": "inversion_efficiency",
            "saturation_efficiency": "saturation_efficiency",
        },
        step_parameters={"axis": series.axis.name},
        workers=workers,
    )


def t2_plan(
    v: Volume,
    *,
    model: str | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    drop_first: bool = False,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    refocusing_angle_deg: float = 180.0,
    t1_s: float = 1.0,
    mask: Mask = None,
    threshold: float | None = None,
    motion_correct: bool = False,
    workers: int | None = None,
) -> RelaxationPlan:
    """The fit behind `t2_map`.

    Parameters
    ----------
    v : Volume
        Signal with an axis ``echo_time``.
    model : str, optional
        ``exponential`` (the default), ``noise_floor`` (the default with a noise level), ``rician``,
        ``offset``, ``epg`` (stimulated echoes; takes `b1`, `refocusing_angle_deg` and `t1_s`),
        ``log_linear`` or ``wls``.
    noise_sd : float or "estimate", optional
    drop_first : bool
        Leave the first echo out, which stimulated echoes do not reach.
    n_coils, mask, threshold, b1, resample_b1, motion_correct, workers
        As in `t1_plan`.
    """
    options: dict[str, Any] = {"drop_first": drop_first}
    field = None
    if model == "epg":
        options |= {"refocusing_angle_deg": refocusing_angle_deg, "t1_s": t1_s}
        field = transmit_field(b1, v, resample=resample_b1, relative_uncertainty=0.0)
    noise = _Noise(noise_sd, n_coils, attempt=False)
    voxels = _Voxels(mask, threshold, motion_correct, workers)
    return _decay_plan(v, "t2", model, noise, voxels, options, field)


def t2star_plan(
    v: Volume,
    *,
    model: str | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    mask: Mask = None,
    threshold: float | None = None,
    motion_correct: bool = False,
    workers: int | None = None,
) -> RelaxationPlan:
    """The fit behind `t2star_map`.

    Parameters
    ----------
    v : Volume
        Signal with an axis ``echo_time``.
    model : str, optional
        ``noise_floor`` when a noise level is given or can be estimated, else ``exponential``; also
        ``rician``, ``offset``, ``arlo``, ``log_linear``, ``wls``.
    noise_sd : float or "estimate", optional
        By default it is estimated where the background allows; 0 turns that off.
    n_coils, mask, threshold, motion_correct, workers
        As in `t1_plan`.
    """
    noise = _Noise(noise_sd, n_coils, attempt=True)
    voxels = _Voxels(mask, threshold, motion_correct, workers)
    return _decay_plan(v, "t2star", model, noise, voxels, {}, None)


@dataclass(frozen=True, eq=False)
class _Noise:
    """What was said about the noise, and whether to look for it otherwise."""

    sd: float | str | None
    n_coils: int
    attempt: bool


@dataclass(frozen=True, eq=False)
class _Voxels:
    """Which voxels, aligned or not, and with how many threads."""

    mask: Mask
    threshold: float | None
    motion_correct: bool
    workers: int | None


def _decay_plan(
    v: Volume,
    quantity: str,
    model: str | None,
    noise: _Noise,
    voxels: _Voxels,
    options: dict[str, Any],
    field: TransmitField | None,
) -> RelaxationPlan:
    from imgtheranostics.mri import relaxometry

    check_signal(v, quantity.upper().replace("STAR", "*"))
    if model is not None:
        checked(model, DECAY_MODELS[quantity], f"model of {quantity}")
    v, moved, motion = aligned(v, voxels.motion_correct)
    series = series_along(v, "echo_time")
    level = noise_level(v, series.samples, noise.sd, n_coils=noise.n_coils, attempt=noise.attempt)
    name = model or ("noise_floor" if level.sd else "exponential")
    if name in NOISE_MODELS and not level.sd:
        raise UnsupportedInput(
            f"the model {name} needs a noise level",
            found=level.decision.get("explanation"),
            next_step="give --noise-sd (noise_sd=), or the exponential model",
        )
    floor: dict[str, Any] = {"noise_sd": level.sd, "n_coils": noise.n_coils} if name in NOISE_MODELS else {}
    chosen = chosen_voxels(
        series.samples,
        v,
        mask=voxels.mask,
        threshold=voxels.threshold,
        noise_sd=level.sd,
        n_coils=noise.n_coils,
    )
    function = relaxometry.fit_t2 if quantity == "t2" else relaxometry.fit_t2star
    call = FitCall(function, series.x, model=name, **floor, **options)
    return RelaxationPlan(
        series,
        quantity,
        f"{quantity}_s",
        name,
        call,
        _decay_curve(series, quantity, name, floor, options),
        chosen,
        field,
        decisions={
            "method": {"rule": name, "axis": "echo_time", "values": series.x.tolist(), **options},
            **({"transmit_field": field.decision} if field is not None else {}),
            **_common_decisions(v, chosen.decision, level, motion),
        },
        warnings=merge_cautions(moved, level.warnings),
        step_parameters={"axis": "echo_time", **options},
        workers=voxels.workers,
    )


def _decay_curve(
    series: Series, quantity: str, model: str, floor: dict[str, Any], options: dict[str, Any]
) -> Callable[[FloatArray, model_curves.Parameters, float], FloatArray]:
    """The model of a decay, for drawing."""

    def curve(at: FloatArray, p: model_curves.Parameters, b1: float) -> FloatArray:
        if model == "epg":
            angle, t1_s = options["refocusing_angle_deg"], options["t1_s"]
            return model_curves.echo_train(series.x, at, p, angle_deg=angle, t1_s=t1_s, b1=b1)
        return model_curves.decay(at, p, parameter=f"{quantity}_s", rician=model == "rician", **floor)

    return curve


def _t1_axis(v: Volume) -> str:
    found = [name for name in T1_METHODS if v.axis(name) is not None]
    if len(found) == 1:
        return found[0]
    raise UnsupportedInput(
        "the images do not vary in what T1 can be fitted to"
        if not found
        else "the images vary in several things that T1 can be fitted to",
        found=", ".join(f"{axis.name} x {len(axis)}" for axis in v.axes) or "one image",
        needed=f"one axis of {', '.join(T1_METHODS)}",
        next_step="give all images of one series",
    )


def _is_signed(v: Volume) -> bool:
    return (mr_record(v).image_component or "").upper().startswith("REAL")


def _repetition(v: Volume, series: Series, method: str, given: Times) -> Stated | None:
    """The repetition time as the method needs it; None where it does without."""
    if series.axis.name == "repetition_time" or method == "look_locker":
        return None
    if series.axis.name == "flip_angle":
        stated = required(v, "repetition_time_s", given, purpose="T1 from flip angles")
        return series.in_order(stated)
    if method == "two_parameter":
        stated = required(v, "repetition_time_s", given, purpose="the two-parameter inversion recovery")
        return series.in_order(stated)
    found = known(v, "repetition_time_s", given)
    return None if found is None else series.in_order(found)


def _t1_fit(
    series: Series, method: str, repetition: Stated | None
) -> tuple[FitCall, Any, tuple[Caution, ...]]:
    """The array-level fit, the model for drawing, and cautions."""
    from imgtheranostics.mri import relaxometry

    x = series.x
    if series.axis.name == "flip_angle":
        assert repetition is not None  # noqa: S101 - required above
        tr = repetition.scalar
        vfa = FitCall(relaxometry.fit_vfa, x, tr, method=method)
        spoiled = partial(model_curves.spoiled_gradient_echo, repetition_time_s=tr)
        return vfa, lambda at, p, b1: spoiled(at, p, b1=b1), ()
    if series.axis.name == "repetition_time":
        call = FitCall(relaxometry.fit_saturation_recovery, x, model=method)
        return call, lambda at, p, _b1: model_curves.saturation_recovery(at, p), ()
    if method == "look_locker":
        signed = _is_signed(series.volume)
        call = FitCall(relaxometry.fit_look_locker, x, model="signed" if signed else "magnitude")
        return call, lambda at, p, _b1: model_curves.look_locker(at, p, magnitude=not signed), ()
    shared = None if repetition is None else repetition.shared
    call = FitCall(relaxometry.fit_inversion_recovery, x, repetition_time_s=shared, model=method)
    cautions: tuple[Caution, ...] = ()
    if repetition is None:
        text = "the repetition time is not stated: full recovery between inversions is assumed"
        cautions = (Caution("repetition-time-not-stated", text, "RepetitionTime (0018,0080)"),)
    magnitude = method in ("magnitude", "two_parameter")

    def curve(at: FloatArray, p: model_curves.Parameters, _b1: float) -> FloatArray:
        tr = shared if shared is None or at.size == x.size else float(np.mean(shared))
        return model_curves.inversion_recovery(at, p, repetition_time_s=tr, magnitude=magnitude)

    return call, curve, cautions


def _common_decisions(
    v: Volume, mask: dict[str, Any], level: NoiseLevel, motion: dict[str, Any] | None
) -> dict[str, Any]:
    scale = mr_record(v).value_scale
    return {
        "mask": mask,
        "noise_level": level.decision,
        **({"scaling": {"rule": scale}} if scale else {}),
        **({"motion": motion} if motion is not None else {}),
    }
