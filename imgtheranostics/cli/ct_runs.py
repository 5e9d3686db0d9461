"""What every ``ct`` command does with its maps: table with blank tissue, record, files, printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics.cli import runs
from imgtheranostics.cli.ct_groups import CtScan
from imgtheranostics.cli.map_input import loaded
from imgtheranostics.cli.map_runs import parameters

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate


def table_options(common: CtScan, estimates: Sequence[Estimate], regions: Regions) -> dict[str, Any]:
    """Keywords of the tables of CT.

    Where no scan before the agent tells tissue from the rest and no blank was named, nothing counts as blank:
    the table then says that the errors are from the voxels of each region.
    """
    blanks = common.blanks(regions, estimates[0].value)
    if blanks is None and not any("pre" in one.maps for one in estimates):
        import numpy as np

        blanks = np.zeros(estimates[0].grid.shape, np.bool_)
    return {
        "blanks": blanks,
        "subject": common.subject,
        "session": common.session,
        "workers": common.workers,
    }


def deliver(
    command: str,
    estimates: Sequence[Estimate],
    table: pd.DataFrame,
    regions: Regions,
    common: CtScan,
    said: Mapping[str, Any],
    *,
    inputs: Sequence[Path],
    files: Sequence[Path] = (),
    figures: Sequence[str] = (),
    decisions: Mapping[str, Any] | None = None,
    warnings: Sequence[Any] = (),
) -> None:
    """Write and print."""
    from imgtheranostics.report.run import Run

    cautions = table.attrs.get("warnings", ())
    if not common.rois:
        cautions = [one for one in cautions if one.code != "no-blank-tissue"]
        table = _without_blank_code(table)
    run = Run(
        command=command,
        estimates=estimates,
        table=table,
        regions=regions if common.rois else None,
        anatomy=loaded(common.anatomy) if common.anatomy is not None else estimates[0].maps.get("pre"),
        parameters=parameters(said),
        inputs=[*inputs, *common.files, *files],
        decisions=decisions or {},
        figures=figures,
        warnings=(*warnings, *cautions),
    )
    runs.deliver(run, common.delivery)


def _without_blank_code(table: pd.DataFrame) -> pd.DataFrame:
    """The table of the whole image, of which nobody asks where blank tissue is."""
    kept = table.copy()
    kept["warnings"] = [
        ";".join(code for code in str(text).split(";") if code and code != "no-blank-tissue")
        for text in table["warnings"]
    ]
    kept.attrs = dict(table.attrs)
    return kept
