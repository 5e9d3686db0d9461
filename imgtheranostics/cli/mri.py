"""``mri t1``, ``t2``, ``t2star``, ``enhancement``, ``concentration``, ``dce`` and ``temperature``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imgtheranostics.cli import mri_options as given
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import Common, grouped
from imgtheranostics.cli.mri_options import Voxels

if TYPE_CHECKING:
    from imgtheranostics.mri.relaxation_plan import RelaxationPlan
    from imgtheranostics.volume import Estimate

app = typer.Typer(
    help="MRI: relaxation times, enhancement, concentration, perfusion and temperature.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
@grouped
def t1(
    path: options.InputPath,
    method: given.T1Method = None,
    b1: given.B1 = None,
    resample_b1: given.ResampleB1 = False,
    repetition_time_s: given.RepetitionTimes = None,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """T1 from several flip angles, inversion times or repetition times."""
    from imgtheranostics.mri.relaxation_maps import t1_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t1_plan(
        given.loaded(path, common.series),
        method=method,
        b1=None if b1 is None else given.loaded(b1),
        resample_b1=resample_b1,
        repetition_time_s=repetition_time_s or None,
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t1", plan, common, said, files=[b1, *voxels.files], rate="r1" if rate else None)


@app.command()
@grouped
def t2(
    path: options.InputPath,
    model: given.T2Model = None,
    drop_first: given.DropFirst = False,
    refocusing_angle_deg: given.RefocusingAngle = 180.0,
    b1: given.B1 = None,
    resample_b1: given.ResampleB1 = False,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """T2 from spin echoes."""
    from imgtheranostics.mri.relaxation_maps import t2_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t2_plan(
        given.loaded(path, common.series),
        model=model,
        drop_first=drop_first,
        refocusing_angle_deg=refocusing_angle_deg,
        b1=None if b1 is None else given.loaded(b1),
        resample_b1=resample_b1,
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t2", plan, common, said, files=[b1, *voxels.files], rate="r2" if rate else None)


@app.command()
@grouped
def t2star(
    path: options.InputPath,
    model: given.T2starModel = None,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: Common,
) -> None:
    """T2* from gradient echoes, by default with the noise floor."""
    from imgtheranostics.mri.relaxation_maps import t2star_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t2star_plan(
        given.loaded(path, common.series), model=model, workers=common.workers, **voxels.keywords()
    )
    _relaxation("mri t2star", plan, common, said, files=voxels.files, rate="r2star" if rate else None)


def _relaxation(
    command: str,
    plan: RelaxationPlan,
    common: Common,
    said: Mapping[str, Any],
    *,
    files: Sequence[Path | None],
    rate: str | None,
) -> None:
    from imgtheranostics.mri.fitted_maps import with_rate

    estimate = plan.estimate()
    estimates = [estimate] if rate is None else [estimate, with_rate(estimate, rate)]
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    curves = plan.curves(regions)
    _deliver(command, estimates, regions, common, said, files=files, curves=curves)


def _deliver(
    command: str,
    estimates: Sequence[Estimate],
    regions: Any,
    common: Common,
    said: Mapping[str, Any],
    *,
    files: Sequence[Path | None] = (),
    curves: Sequence[Any] = (),
    warnings: Sequence[Any] = (),
    inputs: Sequence[Path] = (),
) -> None:
    """Tabulate, write and print."""
    from imgtheranostics.mri.region_tables import region_table
    from imgtheranostics.report.run import Run

    table, cautions = region_table(estimates, regions, **common.table_options())
    read = inputs or estimates[0].value.source.files
    run = Run(
        command=command,
        estimates=estimates,
        table=table,
        regions=regions if common.rois else None,
        anatomy=given.loaded(common.anatomy) if common.anatomy is not None else None,
        parameters=_parameters(said),
        inputs=[*read, *common.files, *(file for file in files if file is not None)],
        curves=curves,
        warnings=(*warnings, *cautions),
    )
    runs.deliver(run, common.delivery)


_NOT_PHYSICS = frozenset(
    ("rois", "anatomy", "subject", "session", "out", "force", "workers", "as_json", "keep_identifiers",
     "no_report", "quiet", "verbose", "path", "pre", "post", "mask", "b1", "aif")
)  # fmt: skip
"""Options that say where something is or how to print, or that may name somebody: not in the record."""


def _parameters(said: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in said.items():
        flat |= asdict(value) if isinstance(value, (Common, Voxels)) else {name: value}
    return {
        name: value
        for name, value in flat.items()
        if name not in _NOT_PHYSICS
        and isinstance(value, (str, int, float, list))
        and value not in (False, [])
    }
