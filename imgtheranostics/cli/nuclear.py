"""``nuclear uptake`` and ``nuclear curves``."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered
from imgtheranostics.cli.calibration_options import NAMES, Calibrated
from imgtheranostics.cli.groups import Common, Output, grouped

app = typer.Typer(
    help="PET and SPECT: uptake and time-activity curves.", no_args_is_help=True, rich_markup_mode=None
)

Quantities = Annotated[
    list[str] | None,
    typer.Option(
        "--quantity",
        help="suv_bw, suv_lbm_janmahasatian, suv_lbm_james120, suv_lbm_james128, suv_bsa, suv_ibw, id_per_g, "
        "id_per_ml, id_per_region. May be given again; default: suv_bw and id_per_g where possible.",
    ),
]
DensityGMl = Annotated[float, typer.Option("--density-g-ml", min=1e-3, help="Tissue density for %ID/g.")]
Ct = Annotated[Path | None, typer.Option("--ct", help="CT on the same grid; gives the density for %ID/g.")]
DecayCorrection = Annotated[
    str | None,
    typer.Option(
        "--decay-correction", help="START, ADMIN or NONE, for files that do not say it or say it wrong."
    ),
]
StrictClock = Annotated[
    bool, typer.Option("--strict-clock", help="Refuse when the clocks of the scan differ by more than 1 %.")
]
StrictDose = Annotated[
    bool,
    typer.Option("--strict-dose", help="Refuse a dose that looks like MBq or uCi instead of correcting it."),
]
ConfirmWeight = Annotated[
    bool, typer.Option("--confirm-weight", help="The body weight is right although it looks implausible.")
]


@app.command()
@grouped
def uptake(
    path: options.InputPath,
    quantity: Quantities = None,
    density_g_ml: DensityGMl = 1.0,
    ct: Ct = None,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    strict_dose: StrictDose = False,
    confirm_weight: ConfirmWeight = False,
    *,
    administered: Administered,
    calibrated: Calibrated,
    common: Common,
) -> None:
    """SUV and injected activity per gram: how much of the dose is where."""
    from imgtheranostics.io.loading import load
    from imgtheranostics.nuclear.maps import density_from_ct
    from imgtheranostics.nuclear.quantities import QUANTITIES, Request, quantify
    from imgtheranostics.report.run import Run

    given = dict(locals())
    unknown = sorted(set(quantity or ()) - set(QUANTITIES))
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)} is not one of {', '.join(QUANTITIES)}", param_hint="--quantity"
        )
    runs.check_output(common.out, force=common.force)
    administration = administered.administration()
    volume = load(path, series=common.series)
    regions = runs.regions_for(volume, common.rois, resample=common.resample_rois)
    density = density_g_ml if ct is None else density_from_ct(load(ct))
    result = quantify(
        volume,
        regions,
        quantities=quantity,
        request=Request(
            administration,
            density,
            decay_correction,
            strict_dose,
            strict_clock,
            confirm_weight,
            calibrated.calibration(),
        ),
        workers=common.workers,
        **common.table_options(),
    )
    run = Run(
        command="nuclear uptake",
        estimates=result.estimates,
        table=result.table,
        regions=regions if common.rois else None,
        anatomy=load(common.anatomy) if common.anatomy is not None else None,
        parameters=_parameters(given),
        inputs=[*volume.source.files, *common.files, *([ct] if ct else [])],
        warnings=result.warnings,
    )
    runs.deliver(run, common.delivery)


@app.command()
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
        parameters={**_parameters(given), "time_origin": table.attrs["time_origin"]},
        inputs=[*(file for volume in volumes for file in volume.source.files), *rois],
        decisions=table.attrs.get("decisions", {}),
        warnings=tuple(table.attrs.get("warnings", ())),
    )
    runs.deliver(run, output.delivery)


_PHYSICS = (
    "quantity", "series", "dose", "delay", "residual", "infiltrated", "dose_uncertainty", "nuclide",
    "weight_kg", "height_m", "sex", "density_g_ml", "decay_correction", "decay_corrected", "strict_clock",
    "strict_dose", "confirm_weight", "resolution_mm", "resample_rois", *NAMES,
)  # fmt: skip
"""Options that shape the number and name nobody: these go into the record."""


def _parameters(given: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in given.items():
        grouped_here = is_dataclass(value) and not isinstance(value, type)
        flat |= asdict(value) if grouped_here else {name: value}
    return {name: flat[name] for name in _PHYSICS if flat.get(name) not in (None, False)}
