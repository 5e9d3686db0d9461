"""``mri t1``, ``mri t2`` and ``mri t2star``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics.cli import mri_options as given
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import MrScan, grouped
from imgtheranostics.cli.map_input import loaded
from imgtheranostics.cli.map_runs import deliver
from imgtheranostics.cli.mri_groups import Voxels
from imgtheranostics.cli.mri_input import transmit_field

if TYPE_CHECKING:
    from imgtheranostics.mri.relaxation_plan import RelaxationPlan


@grouped
def t1(
    path: options.InputPath,
    method: given.T1Method = None,
    b1: given.B1 = None,
    resample_b1: given.ResampleB1 = False,
    repetition_time_s: given.RepetitionTimes = None,
    phase: given.Phase = None,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: MrScan,
) -> None:
    """T1 from several flip angles, inversion times or repetition times."""
    from imgtheranostics.mri.relaxation_maps import t1_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t1_plan(
        loaded(path, common.series, common.mr_scaling),
        method=method,
        b1=transmit_field(b1, common.mr_scaling),
        resample_b1=resample_b1,
        repetition_time_s=repetition_time_s or None,
        phase=None if phase is None else loaded(phase, None, common.mr_scaling),
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t1", plan, common, said, files=[b1, phase, *voxels.files], rate="r1" if rate else None)


@grouped
def t2(
    path: options.InputPath,
    model: given.T2Model = None,
    drop_first: given.DropFirst = False,
    refocusing_angle_deg: given.RefocusingAngle = 180.0,
    t1_s: given.EpgT1 = 1.0,
    b1: given.B1 = None,
    resample_b1: given.ResampleB1 = False,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: MrScan,
) -> None:
    """T2 from spin echoes."""
    from imgtheranostics.mri.decay_maps import t2_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t2_plan(
        loaded(path, common.series, common.mr_scaling),
        model=model,
        drop_first=drop_first,
        refocusing_angle_deg=refocusing_angle_deg,
        t1_s=t1_s,
        b1=transmit_field(b1, common.mr_scaling),
        resample_b1=resample_b1,
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t2", plan, common, said, files=[b1, *voxels.files], rate="r2" if rate else None)


@grouped
def t2star(
    path: options.InputPath,
    model: given.T2starModel = None,
    rate: given.Rate = False,
    *,
    voxels: Voxels,
    common: MrScan,
) -> None:
    """T2* from gradient echoes, by default with the noise floor."""
    from imgtheranostics.mri.decay_maps import t2star_plan

    said = locals()
    runs.check_output(common.out, force=common.force)
    plan = t2star_plan(
        loaded(path, common.series, common.mr_scaling),
        model=model,
        workers=common.workers,
        **voxels.keywords(),
    )
    _relaxation("mri t2star", plan, common, said, files=voxels.files, rate="r2star" if rate else None)


def _relaxation(
    command: str,
    plan: RelaxationPlan,
    common: MrScan,
    said: Mapping[str, Any],
    *,
    files: Sequence[Path | None],
    rate: str | None,
) -> None:
    from imgtheranostics.mapping.estimates import with_rate

    estimate = plan.estimate()
    estimates = [estimate] if rate is None else [estimate, with_rate(estimate, rate)]
    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    curves = plan.curves(regions) if common.draws else ()
    deliver(command, estimates, regions, common, said, files=files, curves=curves)
