"""``cest contrast``: contrasts of Z-spectra, and how they change from one scan to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

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
    from imgtheranostics.regions import Regions
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
    label = Label(kind, one_or_several(at_ppm), water_t1(t1), duty_cycle)
    if several.nominal_b1_ut is not None:
        made = _of_several(pre, post, label, several, correction, common, offsets)
    else:
        several.check_unused()
        correction.no_b1("one B1 does not tell how a contrast changes with it: see --nominal-b1-ut")
        scans = [offsets.scan(path, common) for path in (pre, post) if path is not None]
        made = _measured(scans, correction.keywords(common, offsets), label, register=register)
    estimate, plan = made
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    tables, cautions = _folds(estimate, regions, fold_over, common)
    deliver(
        "cest contrast",
        [estimate],
        regions,
        common,
        said,
        inputs=[pre, *([post] if post is not None else []), *several.files],
        files=[*offsets.files, *correction.files, *t1_files(t1)],
        curves=plan.curves(regions if common.rois else None) if common.draws and plan is not None else (),
        tables=tables,
        warnings=cautions,
    )


class Measured(NamedTuple):
    """A contrast, and the plan that draws its curves where there is one."""

    estimate: Estimate
    plan: ContrastPlan | ContrastChange | None


class Label(NamedTuple):
    """What is measured, and where."""

    kind: str
    at_ppm: float | list[float] | None
    t1: Volume | Estimate | float | None
    duty_cycle: float | None


def _of_several(
    pre: Path,
    post: Path | None,
    label: Label,
    several: SeveralB1,
    correction: Correction,
    common: CestScan,
    offsets: Offsets,
) -> Measured:
    """The contrast at the nominal B1, from scans at several."""
    if post is not None or label.duty_cycle is not None:
        raise typer.BadParameter(
            "takes one subject before or after, and no --duty-cycle", param_hint=_NOMINAL
        )
    scans = [volume_of(offsets.scan(path, common)) for path in (pre, *several.files)]
    keywords = correction.keywords(common, offsets)
    return Measured(
        several.contrast(scans, keywords, kind=label.kind, at_ppm=label.at_ppm, t1=label.t1), None
    )


def _measured(
    scans: Sequence[Volume | Estimate], keywords: CorrectionOptions, label: Label, *, register: bool
) -> Measured:
    """The contrast of one scan, or the change from it to a second."""
    from imgtheranostics.cest.contrast_maps import ContrastChange, ContrastPlan
    from imgtheranostics.cest.prepared_spectra import Handling

    how = Handling.of(keywords)
    plan = ContrastPlan.of(scans[0], how, **label._asdict())
    if len(scans) == 1:
        return Measured(plan.estimate(), plan)
    change = ContrastChange.of(plan, scans[0], scans[1], how, t1=label.t1, register=register)
    return Measured(change.estimate(), change)


def _folds(
    estimate: Estimate, regions: Regions, fold_over: str | None, common: CestScan
) -> tuple[list[pd.DataFrame], tuple[Caution, ...]]:
    """How many times more each region changed than one of them, as a table, where this is asked for."""
    if fold_over is None:
        return [], ()
    from imgtheranostics.cest.contrast_tables import fold_table

    table, cautions = fold_table(estimate, regions, fold_over, resolution_mm=common.resolution_mm)
    return [table], cautions
