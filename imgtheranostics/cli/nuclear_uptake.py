"""``nuclear uptake``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Common, grouped
from imgtheranostics.cli.nuclear_words import DecayCorrection, DensityGMl, StrictClock, parameters

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.errors import Caution
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate

Quantities = Annotated[
    list[str] | None,
    typer.Option(
        "--quantity",
        help="suv_bw, suv_lbm_janmahasatian, suv_lbm_james120, suv_lbm_james128, suv_bsa, suv_ibw, id_per_g, "
        "id_per_ml, id_per_region. May be given again; default: suv_bw and id_per_g where possible.",
    ),
]
Ct = Annotated[Path | None, typer.Option("--ct", help="CT on the same grid; gives the density for %ID/g.")]
StrictDose = Annotated[
    bool,
    typer.Option("--strict-dose", help="Refuse a dose that looks like MBq or uCi instead of correcting it."),
]
ConfirmWeight = Annotated[
    bool, typer.Option("--confirm-weight", help="The body weight is right although it looks implausible.")
]

Background = Annotated[
    list[str] | None,
    typer.Option(
        "--background",
        metavar="NAME",
        help="A region of --rois that the others are divided by, such as muscle. May be given again.",
    ),
]


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
    background: Background = None,
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
    if background and not common.rois:
        raise typer.BadParameter("names a region of --rois", param_hint="--background")
    runs.check_output(common.out, force=common.force)
    administration, calibration = administered.administration(), calibrated.calibration()
    volume = load(path, series=common.series, window_kev=calibrated.energies())
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
            calibration,
        ),
        workers=common.workers,
        **common.table_options(),
    )
    table, warnings = result.table, result.warnings
    if background:
        table, more = _with_ratios(table, result.estimates, regions, background, common)
        warnings = (*warnings, *more)
    run = Run(
        command="nuclear uptake",
        estimates=result.estimates,
        table=table,
        regions=regions if common.rois else None,
        anatomy=load(common.anatomy) if common.anatomy is not None else None,
        parameters=parameters(given),
        inputs=[*volume.source.files, *common.files, *([ct] if ct else [])],
        warnings=warnings,
    )
    runs.deliver(run, common.delivery)


def _with_ratios(
    table: pd.DataFrame,
    estimates: Sequence[Estimate],
    regions: Regions,
    backgrounds: list[str],
    common: Common,
) -> tuple[pd.DataFrame, tuple[Caution, ...]]:
    """The table and, below it, each region's mean over those of the backgrounds."""
    from imgtheranostics.mapping.region_tables import below_each_other
    from imgtheranostics.nuclear.metabolic_volume import ratio_table

    if not estimates:
        raise typer.BadParameter("needs a quantity that has a map", param_hint="--background")
    ratios = ratio_table(estimates[0], regions, backgrounds, workers=common.workers, **common.table_options())
    cautions = tuple(ratios.attrs["warnings"])
    ratios.attrs["warnings"] = ()
    return below_each_other([table, ratios]), cautions
