"""``msot unmix``: amounts of components in an optoacoustic image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli import runs
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.msot_agent import AgentOptions, KineticsOptions
from imgtheranostics.cli.msot_groups import Absorbers, DepthOptions, LightOptions, MsotScan, mask_of
from imgtheranostics.cli.msot_runs import deliver, joined, prepared
from imgtheranostics.cli.msot_words import as_usage

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
    typer.Option(
        "--over", metavar="REGION", help="Also the agent in each region over that in this one. Or again."
    ),
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
    depth: DepthOptions,
    agent: AgentOptions,
    kinetics: KineticsOptions,
    common: MsotScan,
) -> None:
    """Amount of each component in every voxel and region: umol/L from absorption, else proportional to it."""
    from imgtheranostics import msot
    from imgtheranostics.msot.component_curves import component_spectra
    from imgtheranostics.msot.component_tables import component_table, named_components
    from imgtheranostics.msot.curve_rows import counted, kinetics_rows
    from imgtheranostics.msot.region_tables import region_table

    said = locals()
    runs.check_output(common.out, force=common.force)
    agent.check()
    kinetics.check()
    if over and not common.rois:
        raise typer.BadParameter("ratios need regions, --rois", param_hint="--over")
    ready = prepared(path, absorbers, light, depth, common)
    drawn = ready.regions if ready.named else None
    blank_mask = mask_of(blank, "--blank", ready.image, common, drawn)
    blanks = blank if drawn is not None and blank in list(drawn) else blank_mask
    with as_usage():
        found = msot.unmix(ready.image, ready.components, **ready.keywords(absorbers, common))
    options = {**common.table_options(), "workers": common.workers}
    of = None if agent.agent is None else [agent.name(found, "was injected")]
    tables = [component_table(found, ready.regions, of=of, over=over or (), blanks=blanks, **options)]
    estimates = list(named_components(found, blank=blank_mask))
    masses = agent.masses(found, ready.regions, blanks, common)
    if masses:
        tables.append(region_table(masses, ready.regions, blanks=blanks, **options))
        estimates += masses
    curves = list(component_spectra(found, ready.regions))
    over_time = None
    if kinetics.kinetics is not None:
        amount = masses[0] if masses else found.estimate(agent.name(found, "has kinetics"))
        over_time = kinetics.maps(amount, ready.regions, ready.mask, common.workers)
    if over_time is not None:
        tables.append(kinetics_rows(over_time, ready.regions))
        estimates += over_time.maps.values()
        curves += counted(over_time.curves, ready.regions)
    attenuation, shells = ready.shells(found, depth, common)
    deliver(
        "msot unmix",
        ready,
        estimates,
        joined([*tables, *attenuation], common),
        common,
        said,
        path=path,
        residual=found.residual,
        files=[*absorbers.files, *light.files, *depth.files, *agent.files, *blank_files(blank)],
        curves=[*curves, *shells],
        warnings=() if over_time is None else over_time.warnings,
    )


def blank_files(blank: str | None) -> list[Path]:
    """The file of ``--blank``, where it is one."""
    return [Path(blank)] if blank is not None and Path(blank).is_file() else []
