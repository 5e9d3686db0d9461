"""``cest pools``: a sum of lines fitted to every Z-spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import runs
from imgtheranostics.cli.cest_agents import AgentLines
from imgtheranostics.cli.cest_groups import T1, CestScan, Correction, Offsets, t1_files, water_t1
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_runs import deliver
from imgtheranostics.cli.options import InputPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgtheranostics.cest.pool_design import Pool, Range

Pools = Annotated[
    str,
    typer.Option(
        "--pools",
        metavar="SET|FILE",
        help="A published set such as 7t_5pool, 3t_4pool or 3t_mplf (a wrong name lists all), or a YAML file "
        "with the name, start and bounds of each line.",
    ),
]
Bandwidth = Annotated[
    float | None,
    typer.Option("--bandwidth-ppm", min=0.0, help="Flat part of every line: 1/(pulse duration x frequency)."),
]
Focus = Annotated[
    str | None,
    typer.Option("--show", metavar="POOL", help="Pool whose depth stands beside the curves of the report."),
]
Refuse = Annotated[
    bool, typer.Option("--refuse-overlap", help="Refuse lines that are too alike, instead of flagging them.")
]
Everything = Annotated[
    bool, typer.Option("--widths-and-centres", help="Maps of widths and centres too, not of depths alone.")
]


@grouped
def pools(
    path: InputPath,
    pools: Pools = "7t_5pool",
    t1: T1 = None,
    bandwidth_ppm: Bandwidth = None,
    refuse_overlap: Refuse = False,
    widths_and_centres: Everything = False,
    show: Focus = None,
    *,
    agent: AgentLines,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """Depth of each pool in percent, with water's position; with T1 also its exchange, AREX."""
    from imgtheranostics.cest.pool_maps import PoolPlan
    from imgtheranostics.cest.prepared_spectra import Handling

    said = locals()
    runs.check_output(common.out, force=common.force)
    correction.no_b1("lines are fitted as they were saturated, at whatever B1")
    lines, baseline, files = _lines(pools)
    added = agent.lines()
    if added is not None:
        lines, baseline = _with_agent(lines, baseline, added, str(agent.agent))
    plan = PoolPlan.of(
        offsets.scan(path, common),
        Handling.of(correction.keywords(common, offsets)),
        lines,
        baseline=baseline,
        bandwidth_ppm=bandwidth_ppm,
        refuse_overlap=refuse_overlap,
        t1=water_t1(t1),
    )
    if show is not None and show not in (names := [pool.name for pool in plan.pools.pools]):
        raise typer.BadParameter(f"there is no pool {show!r}; known: {', '.join(names)}", param_hint="--show")
    estimates = [
        estimate
        for quantity, estimate in plan.estimates().items()
        if widths_and_centres or not quantity.endswith(("_width", "_centre"))
    ]
    focus = f"{(show or plan.first_label).lower()}_amplitude"
    estimates.sort(key=lambda one: one.quantity != focus)
    regions = runs.regions_for(estimates[0].value, common.rois, resample=common.resample_rois)
    deliver(
        "cest pools",
        estimates,
        regions,
        common,
        said,
        inputs=[path],
        files=[*offsets.files, *correction.files, *t1_files(t1), *files],
        curves=plan.curves(regions if common.rois else None, show) if common.draws else (),
        warnings=() if added is None else added.warnings,
    )


def _with_agent(
    lines: str | Sequence[Pool], baseline: Range | None, added: Sequence[Pool], agent: str
) -> tuple[Sequence[Pool], Range | None]:
    """The lines of the tissue, a set still known by its name, and those of an agent."""
    if not isinstance(lines, str):
        return (*lines, *added), baseline
    from dataclasses import replace

    from imgtheranostics.cest import pools as array_level

    try:
        known = array_level.preset(lines)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--pools") from error
    own = known.cautions[len(array_level.start_cautions(tuple(known), known.baseline)) :]
    record = replace(known.record, name=f"{known.name} with {agent}")
    return array_level.Preset((*known, *added), record, own), baseline


def _lines(given: str) -> tuple[str | Sequence[Pool], Range | None, list[Path]]:
    """A set by its name, or the lines of a file."""
    if not given.endswith((".yaml", ".yml")):
        return given, None, []
    from imgtheranostics.cest.line_file import read_lines

    path = Path(given)
    found, baseline = read_lines(path)
    return found, baseline, [path]
