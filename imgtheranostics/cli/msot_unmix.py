"""``msot unmix``: amounts of components in an optoacoustic image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli import runs
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.msot_groups import Absorbers, LightOptions, MsotScan, mask_of
from imgtheranostics.cli.msot_runs import deliver, prepared

ImagePath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="An optoacoustic image: DICOM folder, NIfTI, .msot with reconstructions, HDF5.",
        show_default=False,
    ),
]
Over = Annotated[
    list[str] | None,
    typer.Option("--over", metavar="REGION", help="Also ratios of the regions over this one. Or again."),
]
Blank = Annotated[
    str | None,
    typer.Option(
        "--blank",
        metavar="REGION|FILE",
        help="Tissue without the agent: limits of detection, and the errors of region means.",
    ),
]


@grouped
def unmix(
    path: ImagePath,
    over: Over = None,
    blank: Blank = None,
    *,
    absorbers: Absorbers,
    light: LightOptions,
    common: MsotScan,
) -> None:
    """Amount of each component in every voxel and region: umol/L from absorption, else proportional to it."""
    from imgtheranostics import msot
    from imgtheranostics.msot.component_tables import component_table, named_components

    said = locals()
    runs.check_output(common.out, force=common.force)
    if over and not common.rois:
        raise typer.BadParameter("ratios need regions, --rois", param_hint="--over")
    ready = prepared(path, absorbers, light, common)
    blanks = mask_of(blank, "--blank", ready.image, common, ready.regions if ready.named else None)
    found = msot.unmix(
        ready.image,
        ready.components,
        method=absorbers.method or "nnls",  # type: ignore[arg-type]
        noise_sd=ready.noise,
        mask=ready.mask,
        force=absorbers.force_ill_posed,
        workers=common.workers,
    )
    table = component_table(
        found, ready.regions, over=over or (), blanks=blanks, workers=common.workers,
        **common.table_options(),
    )  # fmt: skip
    estimates = named_components(found, blank=blanks)
    files = [*absorbers.files, *light.files]
    deliver("msot unmix", ready, estimates, table, common, said, path=path, files=files)
