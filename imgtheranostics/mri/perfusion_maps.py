"""Perfusion maps: tracer models of a dynamic series, entered at the signal or at the concentration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.mapping.refusals import applicable, checked, typed_refusals
from imgtheranostics.mapping.voxels import Chosen, Mask, chosen_voxels
from imgtheranostics.mri import plasma_curve
from imgtheranostics.mri.baseline_window import baseline_decision, required_baseline
from imgtheranostics.mri.bolus_delay import fitted_arrival
from imgtheranostics.mri.concentration_choice import AgentChoice
from imgtheranostics.mri.fit_options import SIGNAL_OPTIONS, given_options
from imgtheranostics.mri.methods import DCE_MODELS
from imgtheranostics.mri.perfusion_plan import DcePlan
from imgtheranostics.mri.plasma_curve import Aif, PlasmaCurve, is_population
from imgtheranostics.mri.protocol import Series, required, series_along
from imgtheranostics.mri.signal_concentration import from_signal
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

CONCENTRATIONS = ("gd_concentration", "fe_concentration", "agent_concentration")
"""Quantities at which the analysis may be entered."""


def dce_map(
    v: Volume | Estimate,
    *,
    model: str = "extended_tofts",
    aif: Aif = "parker",
    aif_delay_s: float | None = None,
    haematocrit: float | None = None,
    compartment: str | None = None,
    t1_blood_s: float | None = None,
    baseline: tuple[int, int] | None = None,
    fit_delay: bool = False,
    delay_bounds_s: tuple[float, float] = (-5.0, 30.0),
    t1: Volume | Estimate | float | None = None,
    agent: Any = None,
    relaxivity: Any = None,
    relaxivity_uncertainty: float | None = None,
    medium: str | None = None,
    temperature_c: float | None = None,
    per: str | None = None,
    interpolate: bool = False,
    field_strength_t: float | None = None,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | str | None = None,
    n_coils: int = 1,
    b1: Volume | float | None = None,
    resample_b1: bool = False,
    repetition_time_s: float | None = None,
    flip_angle_deg: float | None = None,
    echo_time_s: float | None = None,
    with_decay: bool = False,
    motion_correct: bool = False,
    workers: int | None = None,
) -> dict[str, Estimate]:
    """Perfusion and permeability of a dynamic series.

    Parameters
    ----------
    v : Volume or Estimate
        Signal or concentration along ``time``.
    model : {"tofts", "extended_tofts", "patlak", "2cxm", "2cum"}
    aif : str, path, array, (times, values) or Regions
        A population's name (``parker``, ``georgiou``, ``weinmann``, ``mcgrath_rodent``); a table, see
        `imgtheranostics.mri.plasma_curve.read_curve`; values in mmol/L; or one region in a vessel.
    aif_delay_s : float, optional
        When the population's bolus arrives; by default fitted to the mean curve of the enhancing voxels,
        see `imgtheranostics.mri.bolus_delay.fitted_arrival`, or, with `fit_delay` or where that curve shows
        no bolus, the last image of the baseline.
    haematocrit : float, optional
        The curve is of whole blood and has this haematocrit; 0.42, with a caution, for a population's curve.
    compartment : {"plasma", "blood"}, optional
        What an array or region counts.
    t1_blood_s : float, optional
        T1 of blood before the agent, for a vessel in a series of signals.
    baseline : (first, stop), optional
        Images before the agent; needed for signals.
    fit_delay, delay_bounds_s
        Fit by how much the tissue lags behind the input function.
    t1, agent, relaxivity, relaxivity_uncertainty, medium, temperature_c, per, interpolate, field_strength_t
        As in `imgtheranostics.mri.concentration_maps.concentration`, for signals.
    mask : Volume, Regions or array, optional
    threshold, noise_sd, n_coils, b1, resample_b1, motion_correct, workers
        As in `imgtheranostics.mri.relaxation_maps.t1_map`; all but the last for signals.
    repetition_time_s, flip_angle_deg, echo_time_s : float, optional
        Go before the file, in s and degrees, for signals.
    with_decay : bool
        Signals: take the decay by r2* between excitation and echo into account.

    Returns
    -------
    dict of str to Estimate
        Those of the model: ``ktrans`` and ``ps`` in 1/min, ``fp`` in mL/100mL/min, ``ve``, ``vp``,
        ``bolus_delay`` in s; and ``iauc`` over the first 60, 90 and 120 s, where the baseline is known.

    Raises
    ------
    ValueError
        If the model is not known, or what belongs to signals is given beside concentrations.
    MissingMetadata
        If the T1 before the agent, its relaxivity, the baseline or a time of the protocol is not known.
    UnitMismatch, GeometryMismatch, UnsupportedInput, ImplausibleValue, NothingUsable
    """
    return dce_plan(
        v,
        model=model,
        aif=aif,
        aif_delay_s=aif_delay_s,
        haematocrit=haematocrit,
        compartment=compartment,
        t1_blood_s=t1_blood_s,
        baseline=baseline,
        fit_delay=fit_delay,
        delay_bounds_s=delay_bounds_s,
        t1=t1,
        agent=agent,
        relaxivity=relaxivity,
        relaxivity_uncertainty=relaxivity_uncertainty,
        medium=medium,
        temperature_c=temperature_c,
        per=per,
        interpolate=interpolate,
        field_strength_t=field_strength_t,
        mask=mask,
        threshold=threshold,
        noise_sd=noise_sd,
        n_coils=n_coils,
        b1=b1,
        resample_b1=resample_b1,
        repetition_time_s=repetition_time_s,
        flip_angle_deg=flip_angle_deg,
        echo_time_s=echo_time_s,
        with_decay=with_decay,
        motion_correct=motion_correct,
        workers=workers,
    ).estimates()


def dce_plan(
    v: Volume | Estimate,
    *,
    model: str = "extended_tofts",
    aif: Aif = "parker",
    aif_delay_s: float | None = None,
    haematocrit: float | None = None,
    compartment: str | None = None,
    t1_blood_s: float | None = None,
    baseline: tuple[int, int] | None = None,
    fit_delay: bool = False,
    delay_bounds_s: tuple[float, float] = (-5.0, 30.0),
    t1: Volume | Estimate | float | None = None,
    agent: Any = None,
    relaxivity: Any = None,
    relaxivity_uncertainty: float | None = None,
    medium: str | None = None,
    temperature_c: float | None = None,
    per: str | None = None,
    interpolate: bool = False,
    field_strength_t: float | None = None,
    mask: Mask = None,
    workers: int | None = None,
    **options: Any,
) -> DcePlan:
    """The fit behind `dce_map`; parameters and refusals are those of it, `options` those for signals."""
    checked(model, DCE_MODELS, "model")
    value = v.value if isinstance(v, Estimate) else v
    given = given_options({**options, "t1": t1})
    choice = AgentChoice(
        agent, relaxivity, relaxivity_uncertainty, medium, temperature_c, per, interpolate, field_strength_t
    )
    if value.quantity in CONCENTRATIONS:
        applicable(given, (), "a series of concentrations")
        found = v if isinstance(v, Estimate) else _as_estimate(value)
    else:
        series_along(value, "time")
        signal = applicable(given, SIGNAL_OPTIONS - {"register"}, "a dynamic series")
        found = from_signal(value, None, choice, baseline=baseline, mask=mask, workers=workers, **signal)
    series = series_along(found.value, "time")
    chosen = chosen_voxels(series.samples, found.value, mask=mask)
    if is_population(aif):
        plasma = _population(
            str(aif), series, chosen, baseline, aif_delay_s, haematocrit, fit_delay=fit_delay
        )
    else:
        plasma = _plasma(
            value, series, aif, choice, baseline, aif_delay_s, haematocrit, compartment, t1_blood_s, options
        )
    decisions = {
        **dict(found.decisions),
        "method": {"rule": model, "fit_delay": fit_delay},
        "input_function": plasma.decision,
        **({"baseline": baseline_decision(baseline)} if baseline is not None else {}),
    }
    return DcePlan(
        found,
        series,
        model,
        plasma,
        fit_delay,
        delay_bounds_s,
        baseline,
        chosen,
        decisions,
        merge_cautions(found.warnings, plasma.warnings),
        workers,
    )


def _as_estimate(v: Volume) -> Estimate:
    missing = v.replace(data=np.full(v.shape, np.nan, np.float32), warnings=())
    flags = missing.replace(data=np.zeros(v.shape, np.uint16), quantity="flags", unit="1")
    return Estimate(v, missing, flags, decisions={"calculation": {"rule": "concentration, given"}})


def _population(
    name: str,
    series: Series,
    chosen: Chosen,
    baseline: tuple[int, int] | None,
    delay_s: float | None,
    haematocrit: float | None,
    *,
    fit_delay: bool,
) -> PlasmaCurve:
    """A population's input function, from when its bolus arrives: as given, or as the curves show it."""
    time = series.x
    before = 0.0 if baseline is None else float(time[baseline[1] - 1])
    rule = "given"
    warnings: tuple[Caution, ...] = ()
    start = before if delay_s is None else float(delay_s)
    if delay_s is None and fit_delay:
        rule = "last image of the baseline; the delay of each voxel is fitted from there"
    elif delay_s is None:
        with typed_refusals():
            found = fitted_arrival(
                series.samples, time, chosen.inside, name, haematocrit=haematocrit, about_s=before
            )
        rule = "last image of the baseline" if found is None else "fitted to the mean of enhancing voxels"
        start = before if found is None else found
        warnings = (_delay_caution(start, fitted=found is not None),)
    curve = plasma_curve.population_curve(name, time, delay_s=start, haematocrit=haematocrit)
    decision = {**curve.decision, "delay_rule": rule}
    return replace(curve, decision=decision, warnings=(*curve.warnings, *warnings))


def _plasma(
    v: Volume,
    series: Series,
    aif: Aif,
    choice: AgentChoice,
    baseline: tuple[int, int] | None,
    delay_s: float | None,
    haematocrit: float | None,
    compartment: str | None,
    t1_blood_s: float | None,
    options: dict[str, Any],
) -> PlasmaCurve:
    """A measured input function at the times of the series."""
    time = series.x
    if delay_s is not None:
        raise UnsupportedInput(
            "a delay belongs to a population's curve; a measured one has its own times",
            where="--aif-delay-s (aif_delay_s=)",
        )
    if isinstance(aif, Regions):
        values = _vessel(v, series, aif, choice, baseline, t1_blood_s, options)
        rule = "region in the images"
        return plasma_curve.measured_curve(
            time, values, time, haematocrit=haematocrit, compartment=compartment, rule=rule,
            shares_relaxivity=v.quantity not in CONCENTRATIONS,
        )  # fmt: skip
    if isinstance(aif, (str, Path)):
        times, values, own = plasma_curve.read_curve(aif)
        return plasma_curve.measured_curve(
            times, values, time, haematocrit=haematocrit, compartment=compartment or own, rule="file"
        )
    times, values = plasma_curve.given_arrays(aif, time)
    return plasma_curve.measured_curve(
        times, values, time, haematocrit=haematocrit, compartment=compartment, rule="given"
    )


def _vessel(
    v: Volume,
    series: Series,
    regions: Regions,
    choice: AgentChoice,
    baseline: tuple[int, int] | None,
    t1_blood_s: float | None,
    options: dict[str, Any],
) -> FloatArray:
    """Mean concentration in a vessel: of its concentrations, or from its mean signal and the T1 of blood."""
    from imgtheranostics.mri.input_function import mean_signal, measured_aif

    if len(regions) != 1:
        raise UnsupportedInput(
            "one region must be the vessel", found=f"{len(regions)} regions", next_step="name one of them"
        )
    inside = regions.fit_to(v.grid).mask(next(iter(regions)))
    if v.quantity in CONCENTRATIONS:
        with typed_refusals():
            return mean_signal(series.samples, inside)
    if t1_blood_s is None:
        raise MissingMetadata(
            "T1 of blood is not stated; the input function of a vessel needs it",
            where="--t1-blood-s (t1_blood_s=)",
            needed="T1 of blood before the agent at this field, in s",
            next_step="give --t1-blood-s",
        )
    signals = series_along(v, "time")
    purpose = "the input function of a vessel"
    tr = required(v, "repetition_time_s", options.get("repetition_time_s"), purpose=purpose).scalar
    flip = required(v, "flip_angle_deg", options.get("flip_angle_deg"), purpose=purpose).scalar
    with typed_refusals():
        return measured_aif(
            mean_signal(signals.samples, inside),
            signals.x,
            flip_angle_deg=flip,
            repetition_time_s=tr,
            t1_s=t1_blood_s,
            relaxivity=choice.at(v, "r1").value,
            baseline=required_baseline(baseline, purpose),
        )


def _delay_caution(start_s: float, *, fitted: bool) -> Caution:
    if fitted:
        text = (
            f"when the bolus arrives is not stated: {start_s:.3g} s was fitted to the mean curve of the "
            "enhancing voxels"
        )
        return Caution("aif-delay-fitted", text, "--aif-delay-s")
    text = (
        f"when the bolus arrives is not stated, and the mean curve does not show it: {start_s:.3g} s is "
        "assumed, the last image of the baseline; an error of one image shifts every parameter"
    )
    return Caution("aif-delay-assumed", text, "--aif-delay-s")
