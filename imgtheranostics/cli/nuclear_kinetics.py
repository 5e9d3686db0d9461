"""``nuclear kinetics``: rates, volumes of distribution and binding of regions, and their maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Output, grouped, refuse_given
from imgtheranostics.cli.nuclear_curve_groups import TABLES
from imgtheranostics.cli.nuclear_kinetics_groups import (
    MODELS,
    FitOptions,
    InputOptions,
    KineticMaps,
    TableOptions,
)
from imgtheranostics.cli.nuclear_words import DecayCorrection, StrictClock, parameters

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.nuclear.input_functions import InputFunction
    from imgtheranostics.nuclear.tissue_curves import TissueCurves
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume

_FIGURES = ("kinetic-fits", "kinetic-plots", "map", "fit")

Scan = Annotated[
    Path,
    typer.Argument(
        help="A dynamic scan; or a table of tissue curves (.csv, .tsv): frame_start [s], frame_end [s] and a "
        "column for each region, such as putamen [kBq/mL].",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        click_type=options.choice(MODELS),
        help="Compartments, plots or multilinear fits with an input function; or those with a reference "
        "tissue (_reference, mrtm, mrtm2, srtm, srtm2).",
        show_default=False,
    ),
]


@grouped
def kinetics(
    path: Scan,
    model: Model,
    rois: options.RoiPaths = None,
    series: options.Series = None,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    *,
    driven: InputOptions,
    fitted: FitOptions,
    voxels: KineticMaps,
    table: TableOptions,
    administered: Administered,
    calibrated: Calibrated,
    output: Output,
) -> None:
    """Tracer kinetics of a dynamic scan or of tissue curves: K1 to k4, VT, Ki, BP, with standard errors."""
    said = dict(locals())
    driven.check(model)
    fitted.check(model)
    voxels.check()
    of_table = path.suffix.lower() in TABLES
    runs.check_output(output.out, force=output.force)
    if of_table:
        _check_table(said)
        _deliver(said, _table_curves(said), None, None)
        return
    refuse_given(
        {"--unit": table.unit, "--time-unit": table.time_unit, "--as-measured": table.decay_corrected},
        "is for a table of tissue curves; images state theirs",
    )
    if not rois:
        raise typer.BadParameter("missing: curves are those of regions", param_hint="--rois")
    volume, regions, curves = _scan_curves(said)
    _deliver(said, curves, volume, regions)


def _check_table(said: dict[str, Any]) -> None:
    scans_only = {
        "--rois": said["rois"], "--series": said["series"], "--maps": said["voxels"].maps or None,
        "--decay-correction": said["decay_correction"], "--strict-clock": said["strict_clock"] or None,
        "--resolution-mm": said["resolution_mm"], "--resample-rois": said["resample_rois"] or None,
        "--sensitivity-cps-mbq": said["calibrated"].sensitivity_cps_mbq,
        "--window": said["calibrated"].window,
    }  # fmt: skip
    others = {
        f"--{name.replace('_', '-')}": value
        for name, value in vars(said["administered"]).items()
        if name != "nuclide"
    }
    refuse_given({**scans_only, **others}, "is for scans, not for a table of tissue curves")


def _table_curves(said: dict[str, Any]) -> TissueCurves:
    from imgtheranostics.nuclear.tissue_tables import read_tissue_curves

    table = said["table"]
    return read_tissue_curves(
        said["path"],
        unit=table.unit,
        time_unit=table.time_unit,
        decay_corrected=table.decay_corrected,
        nuclide_name=said["administered"].nuclide,
    )


def _keywords(said: dict[str, Any]) -> dict[str, Any]:
    """What region curves and maps of a scan share."""
    return {
        "administration": said["administered"].administration(),
        "decay_correction": said["decay_correction"],
        "sensitivity_cps_mbq": said["calibrated"].calibration(),
        "strict_clock": said["strict_clock"],
        "workers": said["output"].workers,
    }


def _scan_curves(said: dict[str, Any]) -> tuple[Volume, Regions, TissueCurves]:
    from imgtheranostics.io.loading import load
    from imgtheranostics.nuclear.tissue_regions import tissue_of_regions

    keywords = _keywords(said)
    volume = load(said["path"], series=said["series"], window_kev=said["calibrated"].energies())
    regions = runs.regions_for(volume, said["rois"], resample=said["resample_rois"])
    curves = tissue_of_regions(volume, regions, resolution_mm=said["resolution_mm"], **keywords)
    return volume, regions, curves


def _known(curves: TissueCurves, name: str | None, option: str) -> None:
    """A usage error that lists the regions where there is none of that name."""
    if name is not None and name not in curves.names:
        listed = ", ".join(curves.names)
        raise typer.BadParameter(f"there is no region {name!r}; regions: {listed}", param_hint=option)


def _deliver(
    said: dict[str, Any], curves: TissueCurves, volume: Volume | None, regions: Regions | None
) -> None:
    from imgtheranostics.errors import merge_cautions
    from imgtheranostics.nuclear.kinetic_tables import frame_weights, kinetics_table
    from imgtheranostics.report.run import Run

    driven, fitted, model = said["driven"], said["fitted"], said["model"]
    for name, option in (
        (driven.reference, "--reference"),
        (driven.input_region, "--input-region"),
        (driven.surroundings, "--spill-in"),
    ):
        _known(curves, name, option)
    inflow = driven.inflow(curves, model)
    given = fitted.given()
    table = kinetics_table(
        curves,
        model=model,
        input_function=inflow,
        reference=driven.reference,
        leave_out=[driven.input_region] if driven.input_region else [],
        weights=fitted.weights,
        level=fitted.level,
        workers=said["output"].workers,
        **given,
    )
    estimates: list[Estimate] = []
    if said["voxels"].maps and volume is not None and regions is not None:
        weights = frame_weights(curves, fitted.weights)
        estimates = _maps(
            said, volume, regions, inflow, given if weights is None else {**given, "weights": weights}
        )
    path = said["path"]
    scan_files = [path] if volume is None else list(volume.source.files)
    run = Run(
        command="nuclear kinetics",
        estimates=estimates,
        table=_with_bounds(table),
        regions=regions,
        parameters={**parameters(said), "model": model},
        inputs=[*scan_files, *(said["rois"] or []), *driven.files],
        decisions=table.attrs["decisions"],
        warnings=merge_cautions(tuple(table.attrs["warnings"])),
        curves=table.attrs["curves"],
        figures=_FIGURES,
    )
    runs.deliver(run, said["output"].delivery)


def _with_bounds(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the ends of the intervals as columns."""
    found = table.copy()
    for name in ("lower", "upper"):
        found[name] = [float(detail.get(name, math.nan)) for detail in table.attrs["details"]]
    found.attrs = {"details": table.attrs["details"]}
    return found


def _maps(
    said: dict[str, Any],
    volume: Volume,
    regions: Regions,
    inflow: InputFunction | None,
    given: dict[str, Any],
) -> list[Estimate]:
    from imgtheranostics.cli.map_input import loaded
    from imgtheranostics.nuclear.kinetic_drawings import LEADS_TO
    from imgtheranostics.nuclear.kinetic_maps import kinetics_maps

    reference, mask = said["driven"].reference, said["voxels"].mask
    found = kinetics_maps(
        volume,
        method=said["model"],
        input_function=inflow,
        reference=None if reference is None else regions.subset([reference]),
        mask=None if mask is None else loaded(mask),
        **_keywords(said),
        **given,
    )
    return sorted(found.values(), key=lambda estimate: estimate.quantity != LEADS_TO[said["model"]])
