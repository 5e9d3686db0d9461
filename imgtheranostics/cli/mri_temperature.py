"""``mri temperature``."""

from __future__ import annotations

import typer

from imgtheranostics.cli import mri_options as given
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import MrScan, grouped
from imgtheranostics.cli.map_input import loaded, window
from imgtheranostics.cli.map_runs import deliver


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
    common: MrScan,
) -> None:
    """Temperature change from the phase of a series; thermal dose, heated volume, heating power."""
    from imgtheranostics.mri import temperature_maps, thermal_maps

    said = locals()
    runs.check_output(common.out, force=common.force)
    if (iron_mg_ml is None) != (heating is None):
        raise typer.BadParameter("--iron-mg-ml and --heating belong together", param_hint="--heating")
    scaling = common.mr_scaling
    beside = [None if file is None else loaded(file) for file in (unheated, fat, mask)]
    phase = loaded(path, common.series, scaling)
    change = temperature_maps.temperature_map(
        phase,
        None if magnitude is None else loaded(magnitude, None, scaling),
        reference=window(reference, "--reference") or (0, 1),
        unheated=beside[0],
        drift_order=drift_order,
        fat=beside[1],
        alpha_ppm_per_c=alpha_ppm_per_c,
        alpha_relative_uncertainty=alpha_relative_uncertainty,
        echo_time_s=echo_time_s,
        field_strength_t=field_t,
        noise_sd=noise_sd,
        mask=beside[2],
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
                window=window(heating, "--heating") or (0, 1),
                heat_capacity_j_g_k=heat_capacity_j_g_k,
            )
        )
    files = [magnitude, unheated, fat, mask]
    read = phase.source.files
    deliver("mri temperature", estimates, regions, common, said, inputs=read, files=files, tables=tables)
