"""``cest exchange``: rate and fraction of a pool from scans at several powers or durations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cest.methods import EXCHANGE_METHODS, METRICS, SIMULATION_METHOD
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.cest_groups import (
    T1,
    CestScan,
    Correction,
    Offsets,
    one_or_several,
    t1_files,
    volume_of,
    water_t1,
)
from imgtheranostics.cli.cest_simulation_fit import SimulationFit, proton_count, protons_by_pool
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_runs import deliver

if TYPE_CHECKING:
    from imgtheranostics.cest.bloch_maps import BlochPlan
    from imgtheranostics.cest.exchange_maps import ExchangePlan

Scans = Annotated[
    list[Path],
    typer.Argument(
        help="One scan per power (quest: duration) of the saturation, or one with several.",
        show_default=False,
    ),
]
Method = Annotated[
    str, typer.Option("--method", click_type=options.choice((*EXCHANGE_METHODS, SIMULATION_METHOD)))
]
At = Annotated[
    float | None,
    typer.Option("--at-ppm", help="Offset of the pool from water; not for bloch.", show_default=False),
]
B1 = Annotated[
    list[float] | None,
    typer.Option(
        "--b1-ut",
        min=0.0,
        help="B1 of each scan, continuous-wave equivalent, where the files do not state it.",
    ),
]
Duration = Annotated[
    list[float] | None,
    typer.Option("--saturation-s", min=0.0, help="Duration of saturation, where the files do not state it."),
]
Metric = Annotated[
    str | None,
    typer.Option("--metric", click_type=options.choice(METRICS), help="What quesp fits; default: mtr_rex."),
]
Protons = Annotated[
    list[str] | None,
    typer.Option(
        "--protons",
        metavar="N|POOL:N",
        help="Exchanging protons of a molecule; gives its concentration. By pool for bloch.",
    ),
]


@grouped
def exchange(
    paths: Scans,
    at_ppm: At = None,
    method: Method = "omega_plot",
    t1: T1 = None,
    b1_ut: B1 = None,
    saturation_s: Duration = None,
    metric: Metric = None,
    protons: Protons = None,
    *,
    simulation: SimulationFit,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """Exchange rate and fraction of a pool, with how sure they are."""
    said = locals()
    runs.check_output(common.out, force=common.force)
    if method == SIMULATION_METHOD:
        for option, value in (("--at-ppm", at_ppm), ("--t1", t1), ("--metric", metric)):
            if value is not None:
                raise typer.BadParameter("the file of pools says it", param_hint=option)
        free, bounds, pool_file = simulation.free_parameters(), simulation.bounds(), simulation.pool_file()
        counts = protons_by_pool(protons)
    else:
        simulation.check_unused(method)
        if at_ppm is None:
            raise typer.BadParameter(f"{method} needs the offset of the pool", param_hint="--at-ppm")
        if protons is not None and len(protons) > 1:
            raise typer.BadParameter(f"{method} is of one pool: one number", param_hint="--protons")
    scans = [volume_of(offsets.scan(path, common)) for path in paths]
    given = scans if len(scans) > 1 else scans[0]
    plan: ExchangePlan | BlochPlan
    if method == SIMULATION_METHOD:
        from imgtheranostics.cest.bloch_maps import BlochPlan
        from imgtheranostics.cest.prepared_spectra import Handling

        sequence = simulation.saturation(scans, b1_ut, saturation_s)
        plan = BlochPlan.of(
            given,
            Handling.of(correction.keywords(common, offsets)),
            pool_file,
            sequence,
            free=free,
            protons=counts,
            bounds=bounds,
        )
    else:
        from imgtheranostics.cest.exchange_maps import ExchangePlan
        from imgtheranostics.cest.prepared_spectra import Handling

        plan = ExchangePlan.of(
            given,
            Handling.of(correction.keywords(common, offsets)),
            method=method,
            at_ppm=float(at_ppm or 0.0),
            t1=water_t1(t1),
            b1_ut=b1_ut,
            saturation_time_s=one_or_several(saturation_s),
            metric=metric,
            protons=None if protons is None else proton_count(protons[0]),
        )
    estimates = list(plan.estimates().values())
    regions = runs.regions_for(estimates[0].value, common.rois, resample=common.resample_rois)
    deliver(
        "cest exchange",
        estimates,
        regions,
        common,
        said,
        inputs=paths,
        files=[*offsets.files, *correction.files, *t1_files(t1), *simulation.files],
        curves=plan.curves(regions if common.rois else None) if common.draws else (),
    )
