"""``nuclear uptake`` and ``nuclear curves``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import administration_options as administered
from imgtheranostics.cli import calibration_options as calibrated
from imgtheranostics.cli import options, runs

if TYPE_CHECKING:
    from imgtheranostics.nuclear.administration import Administration

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
def uptake(
    path: options.InputPath,
    rois: options.RoiPaths = None,
    quantity: Quantities = None,
    series: options.Series = None,
    dose: administered.Dose = None,
    injected_at: administered.InjectedAt = None,
    delay: administered.Delay = None,
    residual: administered.Residual = None,
    residual_at: administered.ResidualAt = None,
    infiltrated: administered.Infiltrated = None,
    dose_uncertainty: administered.DoseUncertainty = None,
    nuclide: administered.Nuclide = None,
    weight_kg: administered.WeightKg = None,
    height_m: administered.HeightM = None,
    sex: administered.Sex = None,
    density_g_ml: DensityGMl = 1.0,
    ct: Ct = None,
    decay_correction: DecayCorrection = None,
    sensitivity_cps_mbq: calibrated.Sensitivity = None,
    sensitivity_uncertainty: calibrated.SensitivityUncertainty = None,
    counting_time_s: calibrated.CountingTime = None,
    dead_time_us: calibrated.DeadTime = None,
    strict_clock: StrictClock = False,
    strict_dose: StrictDose = False,
    confirm_weight: ConfirmWeight = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    anatomy: options.Anatomy = None,
    subject: options.Subject = None,
    session: options.Session = None,
    out: options.Out = None,
    force: options.Force = False,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
    keep_identifiers: options.KeepIdentifiers = False,
    no_report: options.NoReport = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
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
    delivery = runs.Delivery(out, force, as_json, keep_identifiers, no_report, quiet)
    runs.check_output(out, force=force)
    administration = _administration(given)
    volume = load(path, series=series)
    regions = runs.regions_for(volume, rois, resample=resample_rois)
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
            calibrated.build(given),
        ),
        resolution_mm=resolution_mm,
        subject=subject,
        session=session,
        workers=workers,
    )
    run = Run(
        command="nuclear uptake",
        estimates=result.estimates,
        table=result.table,
        regions=regions if rois else None,
        anatomy=load(anatomy) if anatomy is not None else None,
        parameters=_parameters(given),
        inputs=[*volume.source.files, *(rois or []), *([ct] if ct else []), *([anatomy] if anatomy else [])],
        warnings=result.warnings,
    )
    runs.deliver(run, delivery)


@app.command()
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
    dose: administered.Dose = None,
    injected_at: administered.InjectedAt = None,
    delay: administered.Delay = None,
    residual: administered.Residual = None,
    residual_at: administered.ResidualAt = None,
    infiltrated: administered.Infiltrated = None,
    dose_uncertainty: administered.DoseUncertainty = None,
    nuclide: administered.Nuclide = None,
    weight_kg: administered.WeightKg = None,
    height_m: administered.HeightM = None,
    sex: administered.Sex = None,
    density_g_ml: DensityGMl = 1.0,
    decay_correction: DecayCorrection = None,
    sensitivity_cps_mbq: calibrated.Sensitivity = None,
    sensitivity_uncertainty: calibrated.SensitivityUncertainty = None,
    counting_time_s: calibrated.CountingTime = None,
    dead_time_us: calibrated.DeadTime = None,
    strict_clock: StrictClock = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    out: options.Out = None,
    force: options.Force = False,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
    keep_identifiers: options.KeepIdentifiers = False,
    no_report: options.NoReport = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Time-activity curves of regions, from a dynamic scan or from several scans of one subject."""
    from imgtheranostics.io.loading import load
    from imgtheranostics.nuclear.activity_curves import time_activity
    from imgtheranostics.report.run import Run

    given = dict(locals())
    delivery = runs.Delivery(out, force, as_json, keep_identifiers, no_report, quiet)
    runs.check_output(out, force=force)
    administration = _administration(given)
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
        sensitivity_cps_mbq=calibrated.build(given),
        strict_clock=strict_clock,
        workers=workers,
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
    runs.deliver(run, delivery)


_PHYSICS = (
    "quantity", "series", "dose", "delay", "residual", "infiltrated", "dose_uncertainty", "nuclide",
    "weight_kg", "height_m", "sex", "density_g_ml", "decay_correction", "decay_corrected", "strict_clock",
    "strict_dose", "confirm_weight", "resolution_mm", "resample_rois", *calibrated.NAMES,
)  # fmt: skip
"""Options that shape the number and name nobody: these go into the record."""


def _parameters(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in _PHYSICS if given.get(name) not in (None, False)}


def _administration(given: dict[str, Any]) -> Administration | None:
    names = (
        "dose", "injected_at", "delay", "residual", "residual_at", "infiltrated", "dose_uncertainty",
        "nuclide", "weight_kg", "height_m", "sex",
    )  # fmt: skip
    return administered.build(**{name: given[name] for name in names})
