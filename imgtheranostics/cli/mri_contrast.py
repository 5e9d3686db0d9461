"""``mri enhancement``, ``mri concentration`` and ``mri dce``: what the agent does, and how much there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgtheranostics.cli import mri_options as given
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import MrScan, grouped
from imgtheranostics.cli.map_input import is_number, loaded, map_or_number, mapped, volume_of, window
from imgtheranostics.cli.map_runs import deliver
from imgtheranostics.cli.mri_groups import Agent, GradientEcho, Voxels

if TYPE_CHECKING:
    from imgtheranostics.regions import Regions


@grouped
def enhancement(
    pre: options.InputPath,
    post: given.Post = None,
    post_series: given.PostSeries = None,
    baseline: given.Baseline = None,
    time_intensity: given.TimeIntensity = False,
    falling: given.Falling = False,
    register: given.Register = False,
    *,
    voxels: Voxels,
    common: MrScan,
) -> None:
    """Signal change in percent: of a second scan over the first, or over the baseline of a series."""
    from imgtheranostics.mri import change_maps

    said = locals()
    runs.check_output(common.out, force=common.force)
    if post is not None and (baseline is not None or time_intensity):
        raise typer.BadParameter("belongs to a series over time, not to two scans", param_hint="--baseline")
    if post is None and post_series is not None:
        raise typer.BadParameter("belongs to a second scan, which is not given", param_hint="--post-series")
    first = loaded(pre, common.series, common.mr_scaling)
    second = None if post is None else loaded(post, post_series, common.mr_scaling)
    images = window(baseline)
    keywords = {**voxels.keywords(), "baseline": images, "workers": common.workers}
    estimates = [change_maps.enhancement(first, second, register=register, **keywords)]
    if time_intensity:
        estimates += change_maps.time_intensity_maps(first, falling=falling, **keywords).values()
    regions = runs.regions_for(first, common.rois, resample=common.resample_rois)
    files = [*first.source.files, *(second.source.files if second is not None else ())]
    deliver("mri enhancement", estimates, regions, common, said, inputs=files, files=voxels.files)


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
    common: MrScan,
) -> None:
    """Concentration of the agent: from relaxation times or signals before and after it."""
    from imgtheranostics.mri import concentration_maps

    said = locals()
    runs.check_output(common.out, force=common.force)
    post = mapped(path, common.series, common.mr_scaling)
    before = map_or_number(pre, "--pre", common.mr_scaling)
    rate = concentration_maps.rate_of(volume_of(post), contrast)
    decays = rate in ("r2", "r2star")
    estimate = concentration_maps.concentration(
        post,
        before,
        kind=contrast,
        unit=unit,
        register=register,
        workers=common.workers,
        method=None if decays else method,
        model=method if decays else None,
        **agent.keywords(),
        **echo.keywords(common.mr_scaling),
        **voxels.keywords(),
    )
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    read = [path, *([Path(pre)] if pre is not None and not is_number(pre) else [])]
    files = [*echo.files, *voxels.files]
    deliver("mri concentration", [estimate], regions, common, said, inputs=read, files=files)


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
    common: MrScan,
) -> None:
    """Perfusion and permeability of a dynamic series of signals or concentrations."""
    from imgtheranostics.mri import perfusion_maps
    from imgtheranostics.mri.plasma_curve import is_population

    said = locals()
    runs.check_output(common.out, force=common.force)
    series = mapped(path, common.series, common.mr_scaling)
    if concentrations:
        series = volume_of(series).replace(quantity="agent_concentration", unit="mmol/L")
    regions = runs.regions_for(volume_of(series), common.rois, resample=common.resample_rois)
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
        **echo.keywords(common.mr_scaling),
        **voxels.keywords(),
    )
    estimates = list(plan.estimates().values())
    curve_file = [] if is_population(aif) or aif.startswith("region:") else [Path(aif)]
    deliver(
        "mri dce",
        estimates,
        regions,
        common,
        said,
        inputs=[path],
        files=[*echo.files, *voxels.files, *curve_file],
        curves=plan.curves(regions) if common.draws else (),
    )


def _vessel(aif: str, regions: Regions, common: MrScan) -> Regions:
    """The region that ``region:NAME`` names."""
    name = aif.removeprefix("region:")
    if not common.rois or name not in list(regions):
        known = ", ".join(regions) if common.rois else "none, give --rois"
        raise typer.BadParameter(f"there is no region {name!r}; known: {known}", param_hint="--aif")
    return regions.subset([name])
