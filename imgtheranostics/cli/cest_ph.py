"""``cest ph``: pH from the ratio of two sites, or of one site at two powers, and its calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cest.methods import IOPAMIDOL_PPM, POWER_RATIOS, SITE_RATIOS
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.cest_groups import CestScan, Correction, Offsets, one_or_several
from imgtheranostics.cli.groups import grouped, refuse_given
from imgtheranostics.cli.map_input import volume_of
from imgtheranostics.cli.map_runs import deliver

High = Annotated[
    Path | None,
    typer.Argument(help="The same scan at a higher power, for agents with one site.", show_default=False),
]
Known = Annotated[
    Path | None,
    typer.Option("--calibration", help="Calibration of this protocol, as --save-calibration writes it."),
]
Vials = Annotated[
    Path | None,
    typer.Option(
        "--vials",
        help="PATH shows vials: table with the columns region and ph; needs --rois. Makes the calibration.",
    ),
]
Save = Annotated[
    Path | None, typer.Option("--save-calibration", help="Where the calibration from --vials goes (JSON).")
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        click_type=options.choice(SITE_RATIOS, POWER_RATIOS),
        help="How the transfer is measured; by default as for the calibration, else mtr_asym.",
    ),
]
At = Annotated[
    list[float] | None,
    typer.Option("--at-ppm", help="Both sites, once each; by default 4.2 and 5.5 (iopamidol)."),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature-c", help="Of the sample; held against the calibration's.")
]
Degree = Annotated[
    int | None, typer.Option("--degree", min=1, max=5, help="Of the calibration from --vials.")
]


@grouped
def ph(
    path: options.InputPath,
    high: High = None,
    calibration: Known = None,
    vials: Vials = None,
    save_calibration: Save = None,
    kind: Kind = None,
    at_ppm: At = None,
    temperature_c: Temperature = None,
    degree: Degree = None,
    *,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """PH where the calibration reaches; elsewhere no value, and a flag."""
    from imgtheranostics.cest.ph_maps import PhPlan
    from imgtheranostics.cest.ph_vials import calibrate_vials, read_known_ph
    from imgtheranostics.cest.prepared_spectra import Handling

    said = locals()
    runs.check_output(common.out, force=common.force)
    _check(calibration, vials, save_calibration, high, degree, common)
    correction.no_b1("a ratio is read at whatever B1 there was: calibrate at the same")
    scan = offsets.scan(path, common)
    handling = correction.keywords(common, offsets)
    if vials is not None:
        regions = runs.regions_for(volume_of(scan), common.rois, resample=common.resample_rois)
        known = calibrate_vials(
            scan,
            regions,
            read_known_ph(vials),
            kind=kind or SITE_RATIOS[0],
            at_ppm=at_ppm or IOPAMIDOL_PPM,
            temperature_c=temperature_c,
            degree=degree,
            **handling,
        )
        if save_calibration is not None:
            known.save(save_calibration)
    plan = PhPlan.of(
        scan if high is None else [volume_of(scan), volume_of(offsets.scan(high, common))],
        Handling.of(handling),
        calibration=known if vials is not None else str(calibration),
        kind=kind,
        at_ppm=one_or_several(at_ppm),
        temperature_c=temperature_c,
    )
    estimate = plan.estimate()
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    read = [file for file in (calibration, vials) if file is not None]
    deliver(
        "cest ph",
        [estimate],
        regions,
        common,
        said,
        inputs=[path, *([high] if high is not None else [])],
        files=[*offsets.files, *correction.files, *read],
        curves=plan.curves(regions if common.rois else None) if common.draws else (),
    )


def _check(
    calibration: Path | None,
    vials: Path | None,
    save: Path | None,
    high: Path | None,
    degree: int | None,
    common: CestScan,
) -> None:
    """Refuse options that contradict or need each other."""
    if (calibration is None) == (vials is None):
        raise typer.BadParameter("give one of --calibration and --vials", param_hint="--calibration")
    if vials is None:
        refuse_given({"--save-calibration": save, "--degree": degree}, "belongs to --vials")
    elif not common.rois:
        raise typer.BadParameter("needs --rois", param_hint="--vials")
    elif high is not None:
        raise typer.BadParameter("calibrates two sites in one scan, not two powers", param_hint="--vials")
