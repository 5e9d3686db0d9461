"""``cest contrast``: contrasts of Z-spectra, and how they change from one scan to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cest.methods import CONTRASTS
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.cest_groups import (
    T1,
    CestScan,
    Correction,
    Offsets,
    one_or_several,
    t1_files,
    water_t1,
)
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_runs import deliver

Post = Annotated[
    Path | None,
    typer.Argument(help="The scan after the agent: the result is post minus pre.", show_default=False),
]
if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.cest.contrast_maps import ContrastChange, ContrastPlan
    from imgtheranostics.errors import Caution

Kind = Annotated[str, typer.Option("--kind", click_type=options.choice(CONTRASTS))]
At = Annotated[
    list[float] | None,
    typer.Option("--at-ppm", help="Offset of the label from water; may be given again. APTw: 3.5."),
]
DutyCycle = Annotated[
    float | None,
    typer.Option("--duty-cycle", min=1e-3, max=1.0, help="For arex of pulses; a form that is not confirmed."),
]
Register = Annotated[bool, typer.Option("--register", help="Align the second scan to the first, rigidly.")]
Reference = Annotated[
    str | None,
    typer.Option(
        "--fold-over",
        metavar="REGION",
        help="Also how many times more each region changed than this one; needs PRE and POST.",
    ),
]


@grouped
def contrast(
    pre: options.InputPath,
    post: Post = None,
    kind: Kind = "mtr_asym",
    at_ppm: At = None,
    t1: T1 = None,
    duty_cycle: DutyCycle = None,
    fold_over: Reference = None,
    register: Register = False,
    *,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """Contrast at offsets from water, in percent; of two scans post minus pre."""
    from imgtheranostics.cest.contrast_maps import ContrastChange, ContrastPlan
    from imgtheranostics.cest.contrast_tables import fold_table
    from imgtheranostics.cest.prepared_spectra import Handling

    said = locals()
    runs.check_output(common.out, force=common.force)
    if fold_over is not None and (post is None or not common.rois):
        raise typer.BadParameter("needs PRE, POST and --rois", param_hint="--fold-over")
    first = offsets.scan(pre, common)
    second = None if post is None else offsets.scan(post, common)
    how, known = Handling.of(correction.keywords(common)), water_t1(t1)
    plan: ContrastPlan | ContrastChange
    plan = before = ContrastPlan.of(
        first, how, kind=kind, at_ppm=one_or_several(at_ppm), t1=known, duty_cycle=duty_cycle
    )
    if second is not None:
        plan = ContrastChange.of(before, first, second, how, t1=known, register=register)
    elif register:
        raise typer.BadParameter("needs PRE and POST", param_hint="--register")
    estimate = plan.estimate()
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    tables: list[pd.DataFrame] = []
    cautions: tuple[Caution, ...] = ()
    if fold_over is not None:
        table, cautions = fold_table(estimate, regions, fold_over, resolution_mm=common.resolution_mm)
        tables.append(table)
    deliver(
        "cest contrast",
        [estimate],
        regions,
        common,
        said,
        inputs=[pre, *([post] if post is not None else [])],
        files=[*offsets.files, *correction.files, *t1_files(t1)],
        curves=plan.curves(regions if common.rois else None) if common.draws else (),
        tables=tables,
        warnings=cautions,
    )
