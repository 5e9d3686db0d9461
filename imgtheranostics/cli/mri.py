"""``mri t1``, ``t2``, ``t2star``, ``enhancement``, ``concentration``, ``dce`` and ``temperature``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imgtheranostics.cli import mri_options as given
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import Common, grouped
from imgtheranostics.cli.mri_options import Agent, GradientEcho, Voxels

if TYPE_CHECKING:
    from imgtheranostics.mri.relaxation_plan import RelaxationPlan
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume

app = typer.Typer(
    help="MRI: relaxation times, enhancement, concentration, perfusion and temperature.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
@grouped
def t1(
    path: options.InputPath,
    method: given.T1Method = None,
    b1: given.B1 = None,
    resample_b1: given.ResampleB1 = False,
    repetition_time_s: given.RepetitionTimes = None,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """T1 from several flip angles, inversion times or repetition times."""
    from imgtheranostics.mri.relaxation_maps import t1_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t1_plan(
        given.loaded(path, common.series),
        method=method,
        b1=given.transmit_field(b1),
        resample_b1=resample_b1,
        repetition_time_s=repetition_time_s or None,
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t1", plan, common, said, files=[b1, *voxels.files], rate="r1" if rate else None)


@app.command()
@grouped
def t2(
    path: options.InputPath,
    model: given.T2Model = None,
    drop_first: given.DropFirst = False,
    refocusing_angle_deg: given.RefocusingAngle = 180.0,
    t1_s: given.EpgT1 = 1.0,
    b1: given.B1 = None,
    resample_b1: given.ResampleB1 = False,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """T2 from spin echoes."""
    from imgtheranostics.mri.decay_maps import t2_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t2_plan(
        given.loaded(path, common.series),
        model=model,
        drop_first=drop_first,
        refocusing_angle_deg=refocusing_angle_deg,
        t1_s=t1_s,
        b1=given.transmit_field(b1),
        resample_b1=resample_b1,
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t2", plan, common, said, files=[b1, *voxels.files], rate="r2" if rate else None)


@app.command()
@grouped
def t2star(
    path: options.InputPath,
    model: given.T2starModel = None,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """T2* from gradient echoes, by default with the noise floor."""
    from imgtheranostics.mri.decay_maps import t2star_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t2star_plan(
        given.loaded(path, common.series), model=model, workers=common.workers, **voxels.keywords()
    )
    _relaxation("mri t2star", plan, common, said, files=voxels.files, rate="r2star" if rate else None)


@app.command()
@grouped
def enhancement(
    pre: options.InputPath,
    post: given.Post = None,
    baseline: given.Baseline = None,
    time_intensity: given.TimeIntensity = False,
    falling: given.Falling = False,
    register: given.Register = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """Signal change in percent: of a second scan over the first, or over the baseline of a series."""
    from imgtheranostics.mri import change_maps

    said = locals()
    runs.check_output(common.out, force=common.force)
    if post is not None and (baseline is not None or time_intensity):
        raise typer.BadParameter("belongs to a series over time, not to two scans", param_hint="--baseline")
    first = given.loaded(pre, common.series)
    second = None if post is None else given.loaded(post)
    window = given.window(baseline)
    keywords = {**voxels.keywords(), "baseline": window, "workers": common.workers}
    estimates = [change_maps.enhancement(first, second, register=register, **keywords)]
    if time_intensity:
        estimates += change_maps.time_intensity_maps(first, falling=falling, **keywords).values()
    regions = runs.regions_for(first, common.rois, resample=common.resample_rois)
    files = [*first.source.files, *(second.source.files if second is not None else ())]
    _deliver("mri enhancement", estimates, regions, common, said, inputs=files, files=voxels.files)


@app.command()
@grouped
def concentration(
    path: options.InputPath,
    pre: given.Pre = None,
    contrast: given.Contrast = None,
    unit: given.Unit = "mmol/L",
    method: given.Method = None,
    register: given.Register = False,
    *,
    agent: Agent,
    echo: GradientEcho,
    voxels: Voxels,
    common: Common,
) -> None:
    """Concentration of the agent: from relaxation times or signals before and after it."""
    from imgtheranostics.mri import concentration_maps

    said = locals()
    runs.check_output(common.out, force=common.force)
    post = given.mapped(path, common.series)
    before = given.map_or_number(pre, "--pre")
    rate = concentration_maps.rate_of(_value_of(post), contrast)
    estimate = concentration_maps.concentration(
        post,
        before,
        kind=contrast,
        unit=unit,
        **agent.keywords(),
        **_concentration_options(_value_of(post), rate, method, register, echo, voxels, common),
    )
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    read = [path, *([Path(pre)] if pre is not None and not given.is_number(pre) else [])]
    files = [*echo.files, *voxels.files]
    _deliver("mri concentration", [estimate], regions, common, said, inputs=read, files=files)


def _concentration_options(
    post: Volume,
    rate: str | None,
    method: str | None,
    register: bool,
    echo: GradientEcho,
    voxels: Voxels,
    common: Common,
) -> dict[str, Any]:
    """What applies to the way that the image takes: a signal, a series to fit, or a map."""
    keywords = voxels.keywords()
    if rate is None:
        return {**keywords, **echo.keywords(), "register": register, "workers": common.workers}
    if post.quantity != "signal":
        return {"mask": keywords["mask"]}
    fits: dict[str, Any] = {**keywords, "workers": common.workers}
    if rate == "r1":
        mine = echo.keywords()
        fits |= {
            "method": method,
            **{name: mine[name] for name in ("b1", "resample_b1", "repetition_time_s")},
        }
    else:
        fits |= {"model": method}
    return fits


@app.command()
@grouped
def dce(
    path: options.InputPath,
    model: given.DceModel = "extended_tofts",
    aif: given.InputFunction = "parker",
    aif_delay_s: given.AifDelay = None,
    haematocrit: given.Haematocrit = None,
    t1_blood_s: given.BloodT1 = None,
    fit_delay: given.FitDelay = False,
    concentrations: given.Concentrations = False,
    *,
    agent: Agent,
    echo: GradientEcho,
    voxels: Voxels,
    common: Common,
) -> None:
    """Perfusion and permeability of a dynamic series of signals or concentrations."""
    from imgtheranostics.mri import perfusion_maps
    from imgtheranostics.mri.plasma_curve import is_population

    said = locals()
    runs.check_output(common.out, force=common.force)
    series = given.mapped(path, common.series)
    if concentrations:
        series = _value_of(series).replace(quantity="agent_concentration", unit="mmol/L")
    regions = runs.regions_for(_value_of(series), common.rois, resample=common.resample_rois)
    keywords = {**voxels.keywords(), **echo.keywords()}
    if _value_of(series).quantity in perfusion_maps.CONCENTRATIONS:
        keywords = {name: keywords[name] for name in ("mask", "baseline")}
    plan = perfusion_maps.dce_plan(
        series,
        model=model,
        aif=_vessel(aif, regions, common) if aif.startswith("region:") else aif,
        aif_delay_s=aif_delay_s,
        haematocrit=haematocrit,
        t1_blood_s=t1_blood_s,
        fit_delay=fit_delay,
        workers=common.workers,
        **agent.keywords(),
        **keywords,
    )
    estimates = list(plan.estimates().values())
    curve_file = [] if is_population(aif) or aif.startswith("region:") else [Path(aif)]
    _deliver(
        "mri dce", estimates, regions, common, said,
        inputs=[path], files=[*echo.files, *voxels.files, *curve_file], curves=plan.curves(regions),
    )  # fmt: skip


@app.command()
@grouped
def temperature(
    path: options.InputPath,
    magnitude: given.Magnitude = None,
    noise_sd: given.NoiseSd = None,
    reference: given.Reference = "0:1",
    unheated: given.Unheated = None,
    drift_order: given.DriftOrder = 1,
    fat: given.Fat = None,
    alpha_ppm_per_c: given.Alpha = -0.01,
    alpha_relative_uncertainty: given.AlphaUncertainty = 0.0,
    echo_time_s: given.EchoTime = None,
    field_t: given.FieldT = None,
    start_c: given.StartC = None,
    above_c: given.AboveC = 41.0,
    iron_mg_ml: given.Iron = None,
    heating: given.Heating = None,
    heat_capacity_j_g_k: given.HeatCapacity = 4.18,
    mask: given.MaskPath = None,
    *,
    common: Common,
) -> None:
    """Temperature change from the phase of a series; thermal dose, heated volume, heating power."""
    from imgtheranostics.mri import temperature_maps, thermal_maps

    said = locals()
    runs.check_output(common.out, force=common.force)
    if (iron_mg_ml is None) != (heating is None):
        raise typer.BadParameter("--iron-mg-ml and --heating belong together", param_hint="--heating")
    beside = [None if file is None else given.loaded(file) for file in (magnitude, unheated, fat, mask)]
    phase = given.loaded(path, common.series)
    change = temperature_maps.temperature_map(
        phase,
        beside[0],
        reference=given.window(reference, "--reference") or (0, 1),
        unheated=beside[1],
        drift_order=drift_order,
        fat=beside[2],
        alpha_ppm_per_c=alpha_ppm_per_c,
        alpha_relative_uncertainty=alpha_relative_uncertainty,
        echo_time_s=echo_time_s,
        field_strength_t=field_t,
        noise_sd=noise_sd,
        mask=beside[3],
    )
    regions = runs.regions_for(phase, common.rois, resample=common.resample_rois)
    estimates, tables = [change], []
    if start_c is not None:
        estimates.append(thermal_maps.cem43_map(change, start_c))
        tables.append(thermal_maps.heated_volume(change, regions, start_c, above_c=above_c))
    if iron_mg_ml is not None:
        estimates.append(
            thermal_maps.specific_absorption_rate_map(
                change,
                iron_mg_ml,
                window=given.window(heating, "--heating") or (0, 1),
                heat_capacity_j_g_k=heat_capacity_j_g_k,
            )
        )
    files = [magnitude, unheated, fat, mask]
    read = phase.source.files
    _deliver("mri temperature", estimates, regions, common, said, inputs=read, files=files, tables=tables)


def _vessel(aif: str, regions: Regions, common: Common) -> Regions:
    """The region that ``region:NAME`` names."""
    name = aif.removeprefix("region:")
    if not common.rois or name not in list(regions):
        known = ", ".join(regions) if common.rois else "none, give --rois"
        raise typer.BadParameter(f"there is no region {name!r}; known: {known}", param_hint="--aif")
    return regions.subset([name])


def _value_of(image: Volume | Estimate) -> Volume:
    value: Volume = getattr(image, "value", image)  # type: ignore[arg-type]
    return value


def _relaxation(
    command: str,
    plan: RelaxationPlan,
    common: Common,
    said: Mapping[str, Any],
    *,
    files: Sequence[Path | None],
    rate: str | None,
) -> None:
    from imgtheranostics.mri.fitted_maps import with_rate

    estimate = plan.estimate()
    estimates = [estimate] if rate is None else [estimate, with_rate(estimate, rate)]
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    curves = plan.curves(regions)
    _deliver(command, estimates, regions, common, said, files=files, curves=curves)


def _deliver(
    command: str,
    estimates: Sequence[Estimate],
    regions: Any,
    common: Common,
    said: Mapping[str, Any],
    *,
    files: Sequence[Path | None] = (),
    curves: Sequence[Any] = (),
    warnings: Sequence[Any] = (),
    inputs: Sequence[Path] = (),
    tables: Sequence[Any] = (),
) -> None:
    """Tabulate, write and print."""
    from imgtheranostics.mri.region_tables import region_table
    from imgtheranostics.report.run import Run

    table, cautions = region_table(
        estimates, regions, more=tables, workers=common.workers, **common.table_options()
    )
    read = inputs or estimates[0].value.source.files
    run = Run(
        command=command,
        estimates=estimates,
        table=table,
        regions=regions if common.rois else None,
        anatomy=given.loaded(common.anatomy) if common.anatomy is not None else None,
        parameters=_parameters(said),
        inputs=[*read, *common.files, *(file for file in files if file is not None)],
        curves=curves,
        warnings=(*warnings, *cautions),
    )
    runs.deliver(run, common.delivery)


_NOT_PHYSICS = frozenset(
    ("rois", "anatomy", "subject", "session", "out", "force", "workers", "as_json", "keep_identifiers",
     "no_report", "quiet", "verbose", "path", "pre", "post", "mask", "b1", "magnitude", "unheated",
     "fat")
)  # fmt: skip
"""Options that say where something is or how to print, or that may name somebody: not in the record."""


def _parameters(said: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in said.items():
        flat |= asdict(value) if isinstance(value, (Agent, Common, GradientEcho, Voxels)) else {name: value}
    return {
        name: "file" if isinstance(value, str) and Path(value).exists() else value
        for name, value in flat.items()
        if name not in _NOT_PHYSICS
        and isinstance(value, (str, int, float, list))
        and value not in (False, [])
    }
