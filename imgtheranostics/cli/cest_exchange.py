"""``cest exchange``: rate and fraction of a pool from scans at several powers or durations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_runs import deliver

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
At = Annotated[float, typer.Option("--at-ppm", help="Offset of the pool from water.", show_default=False)]
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
    float | None,
    typer.Option("--protons", min=0.0, help="Exchanging protons of a molecule; gives its concentration."),
]


@grouped
def exchange(
    paths: Scans,
    at_ppm: At,
    method: Method = "omega_plot",
    t1: T1 = None,
    b1_ut: B1 = None,
    saturation_s: Duration = None,
    metric: Metric = None,
    protons: Protons = None,
    *,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """Exchange rate and fraction of a pool, with how sure they are."""
    from imgtheranostics.cest.exchange_maps import ExchangePlan
    from imgtheranostics.cest.prepared_spectra import Handling

    said = locals()
    runs.check_output(common.out, force=common.force)
    scans = [volume_of(offsets.scan(path, common)) for path in paths]
    plan = ExchangePlan.of(
        scans if len(scans) > 1 else scans[0],
        Handling.of(correction.keywords(common)),
        method=method,
        at_ppm=at_ppm,
        t1=water_t1(t1),
        b1_ut=b1_ut,
        saturation_time_s=one_or_several(saturation_s),
        metric=metric,
        protons=protons,
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
        files=[*offsets.files, *correction.files, *t1_files(t1)],
        curves=plan.curves(regions if common.rois else None) if common.draws else (),
    )
