"""T2 and T2* maps from several echoes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.mapping.mr_signal import check_signal
from imgtheranostics.mapping.refusals import applicable, checked
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.mri import model_curves
from imgtheranostics.mri.echo_kind import other_echoes
from imgtheranostics.mri.fit_options import given_options
from imgtheranostics.mri.methods import DECAY_MODELS, NOISE_MODELS, decay_model
from imgtheranostics.mri.preparation import Handling
from imgtheranostics.mri.protocol import Series
from imgtheranostics.mri.relaxation_plan import FitCall, RelaxationPlan
from imgtheranostics.mri.transmit_field import TransmitField, transmit_field
from imgtheranostics.volume import Estimate, Volume

FloatArray = npt.NDArray[np.float64]


def t2_map(
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
) -> Estimate:
    """Transverse relaxation time from spin echoes.

    Parameters
    ----------
    v : Volume
        Signal with an axis ``echo_time``.
    model : str, optional
        ``exponential`` (the default), ``rician`` (the default with a noise level), ``noise_floor``,
        ``offset``, ``epg`` (stimulated echoes; takes `b1`, `refocusing_angle_deg` and `t1_s`),
        ``log_linear`` or ``wls``.
    noise_sd : float or "estimate", optional
    drop_first : bool
        Leave the first echo out, which stimulated echoes do not reach.
    n_coils, mask, threshold, b1, resample_b1, motion_correct, workers
        As in `imgtheranostics.mri.relaxation_maps.t1_map`.

    Returns
    -------
    Estimate
        ``t2`` in s. `maps` hold amplitude, R2, RMSE and iterations.

    Raises
    ------
    ValueError
        If the model is not known.
    MissingMetadata, UnsupportedInput, UnitMismatch, ImplausibleValue, GeometryMismatch
    """
    return t2_plan(
        v,
        model=model,
        noise_sd=noise_sd,
        n_coils=n_coils,
        drop_first=drop_first,
        b1=b1,
        resample_b1=resample_b1,
        refocusing_angle_deg=refocusing_angle_deg,
        t1_s=t1_s,
        mask=mask,
        threshold=threshold,
        motion_correct=motion_correct,
        workers=workers,
    ).estimate()


def t2star_map(
    v: Volume,
    *,
    model: str | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    mask: Mask = None,
    threshold: float | None = None,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Effective transverse relaxation time from gradient echoes.

    Parameters
    ----------
    v : Volume
        Signal with an axis ``echo_time``.
    model : str, optional
        ``rician`` when a noise level is given or can be estimated, else ``exponential``; also
        ``noise_floor``, ``offset``, ``arlo``, ``log_linear``, ``wls``.
    noise_sd : float or "estimate", optional
        By default it is estimated where the background allows; 0 turns that off.
    n_coils, mask, threshold, motion_correct, workers
        As in `imgtheranostics.mri.relaxation_maps.t1_map`.

    Returns
    -------
    Estimate
        ``t2star`` in s. `maps` hold amplitude, R2, RMSE and iterations.

    Raises
    ------
    ValueError
        If the model is not known.
    MissingMetadata, UnsupportedInput, UnitMismatch, ImplausibleValue, GeometryMismatch
    """
    return t2star_plan(
        v,
        model=model,
        noise_sd=noise_sd,
        n_coils=n_coils,
        mask=mask,
        threshold=threshold,
        motion_correct=motion_correct,
        workers=workers,
    ).estimate()


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
    """The fit behind `t2_map`; parameters and refusals are those of it."""
    options: dict[str, Any] = {"drop_first": drop_first}
    of_trains = {"refocusing_angle_deg": refocusing_angle_deg, "t1_s": t1_s}
    field = None
    if model != "epg":
        in_vain = given_options({**of_trains, "b1": b1, "resample_b1": resample_b1})
        applicable(in_vain, (), "T2 without the model epg")
    else:
        options |= of_trains
        field = transmit_field(b1, v, resample=resample_b1, relative_uncertainty=0.0)
    how = Handling(mask, threshold, noise_sd, n_coils, motion_correct)
    return _decay_plan(v, "t2", model, how, options, field, workers)


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
    """The fit behind `t2star_map`; parameters and refusals are those of it."""
    how = Handling(mask, threshold, noise_sd, n_coils, motion_correct)
    return _decay_plan(v, "t2star", model, how, {}, None, workers)


def _decay_plan(
    v: Volume,
    quantity: str,
    model: str | None,
    how: Handling,
    options: dict[str, Any],
    field: TransmitField | None,
    workers: int | None,
) -> RelaxationPlan:
    from imgtheranostics.mri import relaxometry

    check_signal(v, quantity.upper().replace("STAR", "*"))
    if model is not None:
        checked(model, DECAY_MODELS[quantity], f"model of {quantity}")
    ready = how.prepare(v, "echo_time", attempt=quantity == "t2star")
    series, sd = ready.series, ready.level.sd
    name = decay_model(model, noise_known=bool(sd))
    if name in NOISE_MODELS and not sd:
        raise UnsupportedInput(
            f"the model {name} needs a noise level",
            found=ready.level.decision.get("explanation"),
            next_step="give --noise-sd (noise_sd=), or the exponential model",
        )
    floor: dict[str, Any] = {"noise_sd": sd, "n_coils": how.n_coils} if name in NOISE_MODELS else {}
    function = relaxometry.fit_t2 if quantity == "t2" else relaxometry.fit_t2star
    return RelaxationPlan(
        series,
        quantity,
        f"{quantity}_s",
        name,
        FitCall(function, series.x, model=name, **floor, **options),
        _decay_curve(series, quantity, name, floor, options),
        ready.chosen,
        field,
        decisions={
            "method": {"rule": name, "axis": "echo_time", "values": series.x.tolist(), **options},
            **({"transmit_field": field.decision} if field is not None else {}),
            **ready.decisions(),
        },
        warnings=(*ready.warnings, *other_echoes(v, "r2" if quantity == "t2" else "r2star")),
        step_parameters={"axis": "echo_time", **options},
        workers=workers,
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
