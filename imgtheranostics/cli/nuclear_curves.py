"""``nuclear curves``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered, parse_amount
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Output, grouped, refuse_given
from imgtheranostics.cli.nuclear_curve_groups import TABLES, ActivityMaps, CurveModel, SampleRegions, Samples
from imgtheranostics.cli.nuclear_words import DecayCorrection, DensityGMl, StrictClock, parameters
from imgtheranostics.cli.scan_series import ScanSeries, scans_at

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.fit import CurveFit
    from imgtheranostics.report.run import Run
    from imgtheranostics.volume import Estimate

_FIGURES = ("curves", "activity-fits", "map", "fit")

HalfLife = Annotated[
    str | None,
    typer.Option("--half-life", help="Of the nuclide of a table, such as 12.7h, if not by --nuclide."),
]


@grouped
def curves(
    paths: Samples,
    rois: SampleRegions = None,
    series: ScanSeries = None,
    quantity: Annotated[
        str | None,
        typer.Option("--quantity", help="activity_concentration (default), id_per_g, id_per_ml, suv_bw ..."),
    ] = None,
    decay_corrected: Annotated[
        bool | None,
        typer.Option(
            "--decay-corrected/--as-measured",
            help="Correct for decay since injection (default for scans), or not; of a table: what it holds.",
        ),
    ] = None,
    half_life: HalfLife = None,
    density_g_ml: DensityGMl = 1.0,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    *,
    fitted: CurveModel,
    voxels: ActivityMaps,
    administered: Administered,
    calibrated: Calibrated,
    output: Output,
) -> None:
    """Time-activity curves of regions with half-lives, areas and time-integrated activity.

    From a dynamic scan, several scans of one subject, or a table of counted samples.
    """
    said = dict(locals())
    of_table = len(paths) == 1 and paths[0].suffix.lower() in TABLES
    model = fitted.checked(table=of_table)
    voxels.check(model)
    runs.check_output(output.out, force=output.force)
    if of_table:
        _check_table(said)
        run = _from_table(said, model)
    else:
        if not rois:
            raise typer.BadParameter("missing: curves are those of regions", param_hint="--rois")
        refuse_given({"--half-life": half_life}, "is for a table; that of scans is their own, or --nuclide")
        run = _from_scans(said, model)
    fits = run.table[run.table["axis"] == ""]
    runs.deliver(run, output.delivery, shown=fits if len(fits) else None)


def _check_table(said: dict[str, Any]) -> None:
    administered, calibrated = said["administered"], said["calibrated"]
    scans_only = {
        "--rois": said["rois"], "--series": said["series"], "--quantity": said["quantity"],
        "--resolution-mm": said["resolution_mm"],
        "--decay-correction": said["decay_correction"], "--maps": said["voxels"].maps or None,
        "--strict-clock": said["strict_clock"] or None, "--resample-rois": said["resample_rois"] or None,
        "--density-g-ml": None if said["density_g_ml"] == 1.0 else said["density_g_ml"],
        "--sensitivity-cps-mbq": calibrated.sensitivity_cps_mbq, "--window": calibrated.window,
    }  # fmt: skip
    refuse_given(scans_only, "is for scans, not for a table of samples")
    others = {
        f"--{name.replace('_', '-')}": value
        for name, value in vars(administered).items()
        if name != "nuclide"
    }
    refuse_given(others, "is for scans: a table states its times and activities itself")
    if said["half_life"] is not None and administered.nuclide is not None:
        raise typer.BadParameter("give --half-life or --nuclide, not both", param_hint="--half-life")


def _from_table(said: dict[str, Any], model: str) -> Run:
    from imgtheranostics.nuclear.activity_tables import read_activity_table

    (path,) = said["paths"]
    table = read_activity_table(
        path,
        decay_corrected=said["decay_corrected"],
        nuclide_name=said["administered"].nuclide,
        half_life_s=parse_amount(said["half_life"], "--half-life", "s", "12.7h"),
    )
    return _run(said, model, table, inputs=[path])


def _from_scans(said: dict[str, Any], model: str) -> Run:
    from imgtheranostics.nuclear.activity_curves import time_activity

    administration = said["administered"].administration()
    window = said["calibrated"].energies()
    volumes = scans_at(said["paths"], said["series"], window)
    rois, resample = said["rois"], said["resample_rois"]
    per_scan = len(rois) == len(volumes) > 1
    regions = [
        runs.regions_for(volume, [rois[n]] if per_scan else rois, resample=resample)
        for n, volume in enumerate(volumes)
    ]
    common = {
        "administration": administration,
        "density_g_ml": said["density_g_ml"],
        "decay_correction": said["decay_correction"],
        "sensitivity_cps_mbq": said["calibrated"].calibration(),
        "strict_clock": said["strict_clock"],
        "workers": said["output"].workers,
    }
    table = time_activity(
        volumes,
        regions,
        quantity=said["quantity"],
        decay_corrected=said["decay_corrected"] is not False,
        resolution_mm=said["resolution_mm"],
        **common,
    )
    estimates = [_map(said, model, volumes, common)] if said["voxels"].maps else []
    mask = said["voxels"].mask
    files = [*(file for volume in volumes for file in volume.source.files), *rois, *([mask] if mask else [])]
    return _run(said, model, table, inputs=files, regions=regions[0], estimates=estimates)


def _map(said: dict[str, Any], model: str, volumes: list[Any], common: dict[str, Any]) -> Estimate:
    from imgtheranostics.cli.map_input import loaded
    from imgtheranostics.nuclear.integrated_activity import time_integrated_activity

    fitted, voxels = said["fitted"], said["voxels"]
    words = {"uptake": fitted.uptake, "tail": fitted.tail, "beginning": fitted.beginning}
    return time_integrated_activity(
        volumes,
        model=model,
        quantity=said["quantity"] or "activity_concentration",
        mask=None if voxels.mask is None else loaded(voxels.mask),
        threshold=voxels.threshold,
        **{name: value for name, value in words.items() if value is not None},
        **common,
    )


def _run(
    said: dict[str, Any],
    model: str,
    table: pd.DataFrame,
    *,
    inputs: list[Path],
    regions: Any = None,
    estimates: list[Estimate] | None = None,
) -> Run:
    import pandas as pd

    from imgtheranostics.errors import merge_cautions
    from imgtheranostics.report.run import Run

    drawn: tuple[CurveFit, ...] = ()
    warnings = tuple(table.attrs.get("warnings", ()))
    whole = table
    if model != "none":
        from imgtheranostics.nuclear.curve_tables import fit_curve

        fits = fit_curve(table, model, **said["fitted"].given())
        assert isinstance(fits, pd.DataFrame)  # noqa: S101
        drawn, warnings = fits.attrs["curves"], merge_cautions(warnings, fits.attrs["warnings"])
        whole = _joined(table, fits)
    record = {**parameters(said), "model": model, "time_origin": table.attrs["time_origin"]}
    if said["fitted"].uptake is not None:
        record["uptake"] = said["fitted"].uptake
    return Run(
        command="nuclear curves",
        estimates=estimates or (),
        table=whole,
        regions=regions,
        parameters=record,
        inputs=inputs,
        decisions=table.attrs.get("decisions", {}),
        warnings=warnings,
        curves=drawn,
        figures=_FIGURES if drawn else (),
        seed=said["fitted"].seed,
    )


def _joined(table: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    """What was made of the samples, with the bounds of its interval, and below it the samples."""
    import pandas as pd

    details = fits.attrs["details"]
    found = pd.DataFrame(fits)
    for name in ("lower", "upper", "terms", "aicc"):
        if any(name in detail for detail in details):
            found[name] = [float(detail.get(name, float("nan"))) for detail in details]
    samples = pd.DataFrame(table)
    samples.attrs, found.attrs = {}, {}
    whole: pd.DataFrame = pd.concat([found.dropna(axis=1, how="all"), samples], ignore_index=True)
    for name in found.columns:
        if name not in whole:
            whole[name] = float("nan")
    whole.attrs = {"details": [*details, *table.attrs.get("details", [])]}
    return whole
