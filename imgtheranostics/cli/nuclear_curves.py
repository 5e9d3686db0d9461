"""``nuclear curves``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Output, grouped
from imgtheranostics.cli.nuclear_words import DecayCorrection, DensityGMl, StrictClock, parameters


@grouped
def curves(
    paths: options.InputPaths,
    rois: Annotated[list[Path], typer.Option("--rois", help="Regions, for all scans or one file per scan.")],
    quantity: Annotated[
        str | None,
        typer.Option("--quantity", help="activity_concentration (default), id_per_g, id_per_ml, suv_bw ..."),
    ] = None,
    decay_corrected: Annotated[
        bool,
        typer.Option("--decay-corrected/--as-measured", help="Correct for decay since injection, or not."),
    ] = True,
    density_g_ml: DensityGMl = 1.0,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    *,
    administered: Administered,
    calibrated: Calibrated,
    output: Output,
) -> None:
    """Time-activity curves of regions, from a dynamic scan or from several scans of one subject."""
    from imgtheranostics.io.loading import load
    from imgtheranostics.nuclear.activity_curves import time_activity
    from imgtheranostics.report.run import Run

    given = dict(locals())
    runs.check_output(output.out, force=output.force)
    administration = administered.administration()
    volumes = [load(path) for path in paths]
    per_scan = len(rois) == len(volumes) > 1
    regions = [
        runs.regions_for(volume, [rois[n]] if per_scan else rois, resample=resample_rois)
        for n, volume in enumerate(volumes)
    ]
    table = time_activity(
        volumes,
        regions,
        quantity=quantity,
        decay_corrected=decay_corrected,
        administration=administration,
        density_g_ml=density_g_ml,
        decay_correction=decay_correction,
        resolution_mm=resolution_mm,
        sensitivity_cps_mbq=calibrated.calibration(),
        strict_clock=strict_clock,
        workers=output.workers,
    )
    run = Run(
        command="nuclear curves",
        estimates=(),
        table=table,
        regions=regions[0],
        parameters={**parameters(given), "time_origin": table.attrs["time_origin"]},
        inputs=[*(file for volume in volumes for file in volume.source.files), *rois],
        decisions=table.attrs.get("decisions", {}),
        warnings=tuple(table.attrs.get("warnings", ())),
    )
    runs.deliver(run, output.delivery)
