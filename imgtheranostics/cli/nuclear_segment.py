"""``nuclear segment``: lesions by their uptake, with volume, total, peak and ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Common, grouped
from imgtheranostics.cli.nuclear_segment_groups import METHODS, Compared, How, Where
from imgtheranostics.cli.nuclear_words import DecayCorrection, DensityGMl, StrictClock, parameters

if TYPE_CHECKING:
    from imgtheranostics.nuclear.quantities import Request
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume

FIGURES = ("lesions", "map", "regions")

_DEFAULTS = {"percist": "suv_lbm_janmahasatian"}

Method = Annotated[
    str,
    typer.Option(
        "--method",
        click_type=options.choice(METHODS),
        help="A fixed value; a fraction of the maximum; PERCIST, from liver or blood; adaptive to the "
        "background; or the steepest gradient.",
    ),
]
Quantity = Annotated[
    str | None,
    typer.Option(
        "--quantity",
        help="What is delineated: suv_bw, suv_lbm_janmahasatian, id_per_g, activity_concentration ... Needed "
        "by fixed; default suv_bw, of percist suv_lbm_janmahasatian.",
    ),
]


@grouped
def segment(
    path: options.InputPath,
    method: Method = "fraction",
    quantity: Quantity = None,
    density_g_ml: DensityGMl = 1.0,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    *,
    where: Where,
    how: How,
    compared: Compared,
    administered: Administered,
    calibrated: Calibrated,
    common: Common,
) -> None:
    """Lesions by their uptake: labels, metabolic volume, total lesion glycolysis, peak, ratios."""
    given = dict(locals())
    from imgtheranostics.io.loading import load
    from imgtheranostics.nuclear.delineation import delineate, delineation_decision
    from imgtheranostics.nuclear.metabolic_volume import lesion_table
    from imgtheranostics.nuclear.quantities import Request
    from imgtheranostics.report.run import Run

    where.check()
    how.check(method)
    _check(method, quantity, where)
    runs.check_output(common.out, force=common.force)
    volume = load(path, series=common.series, window_kev=calibrated.energies())
    request = Request(
        administered.administration(),
        density_g_ml,
        decay_correction,
        strict_clock=strict_clock,
        sensitivity_cps_mbq=calibrated.calibration(),
    )
    x = _uptake(volume, quantity or _DEFAULTS.get(method, "suv_bw"), request)
    references = runs.regions_for(volume, common.rois, resample=common.resample_rois) if common.rois else None
    choices = how.keywords(method, volume, references)
    found = delineate(
        x,
        method,
        **where.keywords(volume, resample=common.resample_rois),
        **choices,
        quantity=quantity if method == "fixed" else None,
        resolution_mm=common.resolution_mm,
    )
    reference = choices["reference"] if how.liver_at is not None else None
    drawn = references if reference is None else _with(references, reference)
    table = lesion_table(
        x,
        found,
        references=drawn,
        backgrounds=compared.background or (),
        threshold_uncertainty=compared.threshold_uncertainty,
        workers=common.workers,
        **common.table_options(),
    )
    run = Run(
        command="nuclear segment",
        estimates=(x,),
        table=table,
        regions=_with(found, drawn) if drawn is not None else found,
        delineated=found,
        anatomy=load(common.anatomy) if common.anatomy is not None else None,
        parameters=parameters(given),
        inputs=[*volume.source.files, *common.files, *([where.within] if where.within else [])],
        decisions={**x.decisions, "delineation": delineation_decision(found)},
        figures=FIGURES,
        warnings=table.attrs["warnings"],
    )
    runs.deliver(run, common.delivery)


def _check(method: str, quantity: str | None, where: Where) -> None:
    from imgtheranostics.nuclear.quantities import MAPS

    if quantity is not None and quantity not in (*MAPS, "activity_concentration"):
        known = ", ".join(("activity_concentration", *MAPS))
        raise typer.BadParameter(f"{quantity} is not one of {known}", param_hint="--quantity")
    if method == "fixed" and quantity is None:
        raise typer.BadParameter("the method fixed needs it: what the value is of", param_hint="--quantity")
    if method not in ("fixed", "percist") and not where.seed and where.within is None:
        raise typer.BadParameter("give --seed or --within: where a lesion is", param_hint="--seed")


def _uptake(volume: Volume, quantity: str, request: Request) -> Estimate:
    """The image in the quantity that is delineated."""
    from imgtheranostics.nuclear.calibration import calibrate
    from imgtheranostics.nuclear.quantities import activity_estimate
    from imgtheranostics.segmentation.search_regions import static_volume

    calibrated = calibrate(static_volume(volume), request.sensitivity_cps_mbq)
    if quantity == "activity_concentration":
        return activity_estimate(calibrated)
    return request.estimate(calibrated, quantity)


def _with(regions: Regions | None, others: Regions) -> Regions:
    """Both sets of regions as one."""
    if regions is None:
        return others
    from imgtheranostics.nuclear.metabolic_volume import together

    return together(regions, others)
