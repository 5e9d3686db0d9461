"""``cest contrast``: contrasts of Z-spectra, and how they change from one scan to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from imgtheranostics.cest.methods import CONTRASTS
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.cest_b1 import SeveralB1
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
from imgtheranostics.cli.map_input import volume_of
from imgtheranostics.cli.map_runs import deliver

Post = Annotated[
    Path | None,
    typer.Argument(help="The scan after the agent: the result is post minus pre.", show_default=False),
]
if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.cest.contrast_maps import ContrastChange, ContrastPlan
    from imgtheranostics.cest.prepared_spectra import CorrectionOptions
    from imgtheranostics.errors import Caution
    from imgtheranostics.volume import Estimate, Volume

_NOMINAL = "--nominal-b1-ut"

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
    several: SeveralB1,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """Contrast at offsets from water, in percent; of two scans post minus pre."""
    said = locals()
    runs.check_output(common.out, force=common.force)
    if fold_over is not None and (post is None or not common.rois):
        raise typer.BadParameter("needs PRE, POST and --rois", param_hint="--fold-over")
    if register and post is None:
        raise typer.BadParameter("needs PRE and POST", param_hint="--register")
    made: Measured | None = None
    if several.nominal_b1_ut is None:
        several.check_unused()
        correction.no_b1("one B1 does not tell how a contrast changes with it: see --nominal-b1-ut")
    elif post is not None or duty_cycle is not None:
        raise typer.BadParameter(
            "takes one subject before or after, and no --duty-cycle", param_hint=_NOMINAL
        )
    else:
        scans = [volume_of(offsets.scan(path, common)) for path in (pre, *several.files)]
        found = several.contrast(
            scans,
            correction.keywords(common, offsets),
            kind=kind,
            at_ppm=one_or_several(at_ppm),
            t1=water_t1(t1),
        )
        made = Measured(found, None)
    if made is None:
        made = _measured(
            offsets.scan(pre, common),
            None if post is None else offsets.scan(post, common),
            correction.keywords(common, offsets),
            register=register,
            kind=kind,
            at_ppm=one_or_several(at_ppm),
            t1=water_t1(t1),
            duty_cycle=duty_cycle,
        )
    estimate, plan = made
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    tables: list[pd.DataFrame] = []
    cautions: tuple[Caution, ...] = ()
    if fold_over is not None:
        from imgtheranostics.cest.contrast_tables import fold_table

        table, cautions = fold_table(estimate, regions, fold_over, resolution_mm=common.resolution_mm)
        tables.append(table)
    drawn = common.draws and plan is not None
    deliver(
        "cest contrast",
        [estimate],
        regions,
        common,
        said,
        inputs=[pre, *([post] if post is not None else []), *several.files],
        files=[*offsets.files, *correction.files, *t1_files(t1)],
        curves=plan.curves(regions if common.rois else None) if drawn and plan is not None else (),
        tables=tables,
        warnings=cautions,
    )


class Measured(NamedTuple):
    """A contrast, and the plan that draws its curves where there is one."""

    estimate: Estimate
    plan: ContrastPlan | ContrastChange | None


def _measured(
    first: Volume | Estimate,
    second: Volume | Estimate | None,
    keywords: CorrectionOptions,
    *,
    register: bool,
    **options_of_contrast: Any,
) -> Measured:
    """The contrast of one scan, or the change from one to another."""
    from imgtheranostics.cest.contrast_maps import ContrastChange, ContrastPlan
    from imgtheranostics.cest.prepared_spectra import Handling

    how = Handling.of(keywords)
    plan = ContrastPlan.of(first, how, **options_of_contrast)
    if second is None:
        return Measured(plan.estimate(), plan)
    change = ContrastChange.of(plan, first, second, how, t1=options_of_contrast["t1"], register=register)
    return Measured(change.estimate(), change)
