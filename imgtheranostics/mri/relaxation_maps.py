"""T1 maps: the axis of the images picks the method, the record its times and angles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.mapping.mr_signal import check_signal, mr_record
from imgtheranostics.mapping.refusals import applicable, checked
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.mri import model_curves
from imgtheranostics.mri.fit_options import given_options
from imgtheranostics.mri.methods import T1_METHODS
from imgtheranostics.mri.preparation import Handling
from imgtheranostics.mri.protocol import Series, Stated, known, refuse_lost_values, required, with_phase
from imgtheranostics.mri.relaxation_plan import FitCall, RelaxationPlan
from imgtheranostics.mri.transmit_field import TransmitField, transmit_field
from imgtheranostics.volume import Estimate, Volume

FloatArray = npt.NDArray[np.float64]
Times = float | Sequence[float] | npt.NDArray[np.floating] | None


def t1_map(
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
    phase: Volume | None = None,
    workers: int | None = None,
) -> Estimate:
    """Longitudinal relaxation time from several flip angles, inversion times or repetition times.

    Parameters
    ----------
    v : Volume
        Signal with an axis ``flip_angle``, ``inversion_time`` or ``repetition_time``, which picks the method.
    method : str, optional
        ``nlls``, ``linear``, ``wlls`` for flip angles; ``magnitude``, ``signed``, ``complex`` (with `phase`),
        ``two_parameter``, ``look_locker`` for inversion times; ``two_parameter``, ``three_parameter`` for
        repetition times.
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
    phase : Volume, optional
        Phase in rad beside the magnitude, for inversion times: the polarity is then measured, not guessed.
    workers : int, optional

    Returns
    -------
    Estimate
        ``t1`` in s. `maps` hold amplitude, R2, RMSE, iterations and the efficiency of the preparation.

    Raises
    ------
    ValueError
        If the method is not one for this axis.
    MissingMetadata
        If the repetition time, which flip angles need, is neither in the file nor given.
    UnsupportedInput, UnitMismatch, ImplausibleValue, GeometryMismatch
    """
    return t1_plan(
        v,
        method=method,
        b1=b1,
        resample_b1=resample_b1,
        b1_relative_uncertainty=b1_relative_uncertainty,
        mask=mask,
        threshold=threshold,
        noise_sd=noise_sd,
        n_coils=n_coils,
        repetition_time_s=repetition_time_s,
        motion_correct=motion_correct,
        phase=phase,
        workers=workers,
    ).estimate()


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
    phase: Volume | None = None,
    workers: int | None = None,
) -> RelaxationPlan:
    """The fit behind `t1_map`; parameters and refusals are those of it."""
    check_signal(v, "T1")
    how = Handling(mask, threshold, noise_sd, n_coils, motion_correct)
    ready = how.prepare(v, _t1_axis(v))
    series = ready.series
    methods = T1_METHODS[series.axis.name]
    words = series.axis.name.replace("_", " ")
    name = checked(method or methods[0], methods, f"method of T1 from {words}s")
    if method is None and series.axis.name == "inversion_time" and _is_signed(v):
        name = "signed"
    if phase is not None or name == "complex":
        name, series = "complex", with_phase(series, phase, motion_correct)
    repetition = _repetition(v, series, name, repetition_time_s)
    field: TransmitField | None = None
    if series.axis.name == "flip_angle":
        field = transmit_field(
            b1, ready.volume, resample=resample_b1, relative_uncertainty=b1_relative_uncertainty
        )
    else:
        of_field = {"b1": b1, "resample_b1": resample_b1, "b1_relative_uncertainty": b1_relative_uncertainty}
        applicable(given_options(of_field), (), f"T1 from {words}s")
    call, curve, missing = _t1_fit(series, name, repetition)
    decisions = {
        "method": {"rule": name, "axis": series.axis.name, "values": series.x.tolist()},
        **({"repetition_time": repetition.decision()} if repetition is not None else {}),
        **({"transmit_field": field.decision} if field is not None else {}),
        **ready.decisions(),
    }
    return RelaxationPlan(
        series,
        "t1",
        "t1_s",
        name,
        call,
        curve,
        ready.chosen,
        field,
        calibration_relative=2.0 * field.relative_uncertainty if field is not None else 0.0,
        decisions=decisions,
        warnings=merge_cautions(ready.warnings, missing, field.warnings if field is not None else ()),
        beside={
            "inversion_efficiency": "inversion_efficiency",
            "saturation_efficiency": "saturation_efficiency",
        },
        step_parameters={"axis": series.axis.name},
        workers=workers,
    )


def _t1_axis(v: Volume) -> str:
    refuse_lost_values(v, *T1_METHODS)
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
