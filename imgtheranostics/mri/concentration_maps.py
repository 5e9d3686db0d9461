"""Concentration of an agent as a map: from relaxation rates before and after, or from the signal alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from imgtheranostics.agents import Agent, Relaxivity
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.pairs import estimate_on
from imgtheranostics.mapping.refusals import applicable, checked, typed_refusals
from imgtheranostics.mapping.relaxation_times import TIME_OF_RATE
from imgtheranostics.mapping.voxels import Chosen, Mask
from imgtheranostics.mri.concentration_choice import AgentChoice, concentration_decisions, quantity_of
from imgtheranostics.mri.concentration_units import as_mass, as_particles
from imgtheranostics.mri.echo_kind import decay_kind
from imgtheranostics.mri.fit_options import SIGNAL_OPTIONS, given_options
from imgtheranostics.mri.methods import CONCENTRATION_UNITS, RATES
from imgtheranostics.mri.rate_change_maps import delta_rate_map
from imgtheranostics.mri.relaxation_maps import Times
from imgtheranostics.mri.signal_concentration import from_signal
from imgtheranostics.volume import Estimate, FloatArray, Volume, make_step

Image = Volume | Estimate


def concentration(
    post: Image,
    pre: Image | float | None = None,
    *,
    agent: str | Agent | None = None,
    relaxivity: float | Relaxivity | None = None,
    relaxivity_uncertainty: float | None = None,
    medium: str | None = None,
    temperature_c: float | None = None,
    per: str | None = None,
    interpolate: bool = False,
    field_strength_t: float | None = None,
    kind: str | None = None,
    t1: Image | float | None = None,
    baseline: tuple[int, int] | None = None,
    unit: str = "mmol/L",
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    method: str | None = None,
    model: str | None = None,
    drop_first: bool = False,
    refocusing_angle_deg: float = 180.0,
    t1_s: float = 1.0,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    b1_relative_uncertainty: float | None = None,
    repetition_time_s: Times = None,
    flip_angle_deg: float | None = None,
    echo_time_s: float | None = None,
    with_decay: bool = False,
    register: bool = False,
    motion_correct: bool = False,
    workers: int | None = None,
) -> Estimate:
    """Concentration of the injected agent.

    By relaxation rates, C = (R_post - R_pre) / r, when `post` is a series that a relaxation time can be
    fitted to, or a map of a time, a rate or a change of rate. By the signal, when `post` is a spoiled
    gradient echo without such an axis: then `t1` before the agent is needed, and `pre` or a `baseline`.

    Parameters
    ----------
    post : Volume or Estimate
        After the agent, or a series along time.
    pre : Volume, Estimate or float, optional
        The same before it; for rates also one relaxation time in s.
    agent : str or Agent, optional
        Name of the record, or the record; its relaxivity at the field of the scan is used.
    relaxivity : float or Relaxivity, optional
        L/mmol/s; goes before the record.
    relaxivity_uncertainty : float, optional
        Standard uncertainty of a number given.
    medium, temperature_c, per, interpolate
        Which value of the record; see `imgtheranostics.agents.schema.Agent.relaxivity`. `per` also says what
        a given relaxivity counts (Gd, Fe, Mn, molecule, particle).
    field_strength_t : float, optional
        Goes before the file.
    kind : {"r1", "r2", "r2star"}, optional
        Which rate, where echoes do not say whether they are spin or gradient echoes.
    t1 : Volume, Estimate or float, optional
        T1 before the agent, for signals; s.
    baseline : (first, stop), optional
        Images before the agent, for a series along time.
    unit : {"mmol/L", "mg/mL", "particles/mL"}
        The second is the mass of the element that the relaxivity counts, the third goes by the payload of the
        record.
    mask, threshold, noise_sd, n_coils, b1, resample_b1, b1_relative_uncertainty, motion_correct, workers
        As in `imgtheranostics.mri.relaxation_maps.t1_map`.
    method : str, optional
        Of T1, where R1 changes; as in `imgtheranostics.mri.relaxation_maps.t1_map`.
    model : str, optional
        Of the decay, where R2 or R2* changes; as in `imgtheranostics.mri.decay_maps.t2_map` and `t2star_map`.
    drop_first, refocusing_angle_deg, t1_s
        Of trains of spin echoes; as in `imgtheranostics.mri.decay_maps.t2_map`.
    repetition_time_s, flip_angle_deg, echo_time_s : float, optional
        Go before the file; the last two, in degrees and s, for signals only.
    with_decay : bool
        Signals: take the decay by r2* between excitation and echo into account; where there are two
        solutions, the lower is given and flagged.
    register : bool
        Signals: align `post` to `pre`.

    Returns
    -------
    Estimate
        ``gd_concentration``, ``fe_concentration`` or ``agent_concentration`` in mmol/L, ``concentration`` in
        mg/mL or ``particle_concentration``. `calibration_relative` is that of the relaxivity, and `decisions`
        name it with its provenance.

    Raises
    ------
    MissingMetadata
        If the agent, its relaxivity at this field, the field or a time of the protocol is not known.
    ValueError
        If something is given that the way from this image to a concentration does not use.
    UnitMismatch, GeometryMismatch, UnsupportedInput, ImplausibleValue
    """
    checked(unit, CONCENTRATION_UNITS, "unit")
    given = given_options(
        {
            "t1": t1,
            "baseline": baseline,
            "threshold": threshold,
            "noise_sd": noise_sd,
            "n_coils": n_coils,
            "method": method,
            "model": model,
            "drop_first": drop_first,
            "refocusing_angle_deg": refocusing_angle_deg,
            "t1_s": t1_s,
            "b1": b1,
            "resample_b1": resample_b1,
            "b1_relative_uncertainty": b1_relative_uncertainty,
            "repetition_time_s": repetition_time_s,
            "flip_angle_deg": flip_angle_deg,
            "echo_time_s": echo_time_s,
            "with_decay": with_decay,
            "register": register,
            "motion_correct": motion_correct,
            "workers": workers,
        }
    )
    choice = AgentChoice(
        agent, relaxivity, relaxivity_uncertainty, medium, temperature_c, per, interpolate, field_strength_t
    )
    value = post.value if isinstance(post, Estimate) else post
    rate = rate_of(value, kind)
    if rate is None:
        signal = applicable(given, SIGNAL_OPTIONS, "a concentration from signals")
        found = from_signal(value, pre, choice, mask=mask, **signal)
    else:
        found = _from_rates(post, pre, rate, choice, mask, given)
    return _in_unit(found, unit, choice)


def joint_concentration(
    pairs: Mapping[str, tuple[Image, Image | float]],
    *,
    agent: str | Agent | None = None,
    relaxivities: Mapping[str, float | Relaxivity] | None = None,
    medium: str | None = None,
    temperature_c: float | None = None,
    per: str | None = None,
    interpolate: bool = False,
    field_strength_t: float | None = None,
    unit: str = "mmol/L",
    mask: Mask = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Estimate:
    """One concentration from several rates of an agent that shortens T1 and T2 (or T2*) at once.

    Parameters
    ----------
    pairs : mapping of str to (post, pre)
        By rate (``r1``, ``r2``, ``r2star``), at least two; each as in `concentration`.
    agent : str or Agent, optional
    relaxivities : mapping of str to float or Relaxivity, optional
        By rate; go before the record.
    medium, temperature_c, per, interpolate, field_strength_t, unit, mask
        As in `concentration`.
    options : mapping of str to mapping, optional
        Of the fit of each rate.

    Returns
    -------
    Estimate
        As `concentration`, with every change of rate and the consistency of the rates among `maps`.

    Raises
    ------
    ValueError
        If fewer than two rates are given.
    MissingMetadata, UnitMismatch, GeometryMismatch, UnsupportedInput
        As `concentration`.
    """
    from imgtheranostics.mri.agent_concentration import from_rate_changes

    if len(pairs) < 2:
        raise ValueError("a joint concentration needs at least two rates; one alone is for concentration()")
    checked(unit, CONCENTRATION_UNITS, "unit")
    choice = AgentChoice(agent, None, None, medium, temperature_c, per, interpolate, field_strength_t)
    changes: dict[str, Estimate] = {}
    used: dict[str, Relaxivity] = {}
    for kind, (post, pre) in pairs.items():
        checked(kind, RATES, "rate")
        change = _change(post, pre, kind, mask, (options or {}).get(kind, {}))
        given = (relaxivities or {}).get(kind)
        own = (
            choice if given is None else AgentChoice(agent, given, per=per, field_strength_t=field_strength_t)
        )
        used[kind] = own.at(change.value, kind)
        first = next(iter(changes.values()), change)
        changes[kind] = estimate_on(first.value, change)
    first = next(iter(changes.values()))
    if any(change.value.shape != first.value.shape for change in changes.values()):
        raise GeometryMismatch("the rates have different axes beyond space", needed="one value per voxel")
    arrays = {
        kind: (change.value.data.astype(np.float64), change.standard_error.data.astype(np.float64))
        for kind, change in changes.items()
    }
    _check_errors(arrays)
    with typed_refusals():
        fit = from_rate_changes(arrays, used)
    flags = np.bitwise_or.reduce([change.flags.data for change in changes.values()])
    usable = np.isfinite(fit.parameters["concentration_mm"]) | (flags == 0)
    consistency = first.value.replace(
        data=np.asarray(fit.parameters["consistency"]), quantity="probability", unit="1"
    )
    found = calculated_estimate(
        first.value,
        fit,
        "concentration_mm",
        quantity_of(next(iter(used.values()))),
        make_step("joint_concentration", rates=list(pairs)),
        Chosen(usable, flags, {}),
        axes=first.axes,
        decisions={
            **{kind: dict(change.decisions) for kind, change in changes.items()},
            **concentration_decisions(fit.decisions),
        },
        warnings=merge_cautions(*(change.warnings for change in changes.values()), fit.warnings),
        beside={
            **{f"delta_{kind}": change.value for kind, change in changes.items()},
            "consistency": consistency,
        },
    )
    shared = max(change.calibration_relative for change in changes.values())
    return _in_unit(_with_shared(found, shared), unit, choice)


def rate_of(v: Volume, given: str | None = None) -> str | None:
    """Which relaxation rate an image leads to: r1, r2 or r2star; None for a signal without such an axis."""
    if given is not None:
        checked(given, RATES, "kind")
    quantity = v.quantity.removeprefix("delta_")
    for rate in RATES:
        if quantity in (rate, TIME_OF_RATE[rate]):
            return rate
    if v.quantity != "signal":
        raise UnsupportedInput(
            "a concentration cannot be made of this quantity",
            found=f"{v.quantity} [{v.unit}]",
            needed="signal, a relaxation time, a rate or its change",
        )
    axes = {axis.name for axis in v.axes}
    if axes & {"flip_angle", "inversion_time", "repetition_time"}:
        return "r1"
    return decay_kind(v, given) if "echo_time" in axes else None


def _from_rates(
    post: Image,
    pre: Image | float | None,
    kind: str,
    choice: AgentChoice,
    mask: Mask,
    options: Mapping[str, Any],
) -> Estimate:
    from imgtheranostics.mri.agent_concentration import from_rate_change

    used = choice.at(post.value if isinstance(post, Estimate) else post, kind)
    change = _change(post, pre, kind, mask, options)
    with typed_refusals():
        fit = from_rate_change(
            change.value.data.astype(np.float64),
            used,
            kind=kind,  # type: ignore[arg-type]
            delta_error=change.standard_error.data.astype(np.float64),
        )
    flags = np.asarray(change.flags.data)
    inside = np.isfinite(change.value.data) | (flags == 0)
    found = calculated_estimate(
        change.value,
        fit,
        "concentration_mm",
        quantity_of(used),
        make_step("concentration", kind=kind, relaxivity=used.value, per=used.per or "not stated"),
        Chosen(inside, flags, {}),
        axes=change.axes,
        decisions={**change.decisions, **concentration_decisions(fit.decisions)},
        warnings=merge_cautions(change.warnings, fit.warnings),
        beside={f"delta_{kind}": change.value},
    )
    return _with_shared(found, change.calibration_relative)


def _with_shared(found: Estimate, relative: float) -> Estimate:
    """The concentration with what its change of rate shares with all voxels; its error has it already."""
    return replace(found, calibration_relative=math.hypot(found.calibration_relative, relative))


def _change(
    post: Image, pre: Image | float | None, kind: str, mask: Mask, options: Mapping[str, Any]
) -> Estimate:
    """The change of the rate: given as such, or after minus before."""
    if post.quantity == f"delta_{kind}":
        applicable(options, (), f"a map of the change of {kind}")
        if isinstance(post, Estimate):
            return post
        missing = post.replace(data=np.full(post.shape, np.nan, np.float32), warnings=())
        marks = np.zeros(post.shape, np.uint16)
        return Estimate(post, missing, missing.replace(data=marks, quantity="flags", unit="1"))
    if pre is None:
        raise MissingMetadata(
            "the scan before the agent is missing; a change of the relaxation rate needs it",
            where="--pre (pre=)",
            needed=f"the same series before the agent, a map of {TIME_OF_RATE[kind]} or {kind}, or a time",
            next_step="give --pre PATH (pre=)",
        )
    return delta_rate_map(post, pre, kind, options, mask=mask)  # type: ignore[arg-type]


def _in_unit(found: Estimate, unit: str, choice: AgentChoice) -> Estimate:
    per = str(found.decisions["calculation"]["counts"])
    if unit == "mg/mL":
        return as_mass(found, per)
    return as_particles(found, per, choice.record) if unit == "particles/mL" else found


def _check_errors(changes: Mapping[str, tuple[FloatArray, FloatArray]]) -> None:
    """Rates are weighted by their errors, so that each needs one."""
    for kind, (change, error) in changes.items():
        known = np.isfinite(change)
        if known.any() and not np.isfinite(error[known]).any():
            raise MissingMetadata(
                f"the change of {kind} has no standard error, by which the rates are weighted",
                where=f"pairs[{kind!r}]",
                found="maps without errors",
                needed="a series to fit, or an Estimate with its standard error",
                next_step="put <name>_se.nii.gz beside each map, or use one rate alone",
            )
