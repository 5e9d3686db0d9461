"""What every ``mri`` command does with its maps: regions, table, record, files, printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics.cli import runs
from imgtheranostics.cli.groups import Common
from imgtheranostics.cli.map_input import loaded

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate


def deliver(
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
    tables: Sequence[Any] = (),
) -> None:
    """Tabulate, write and print."""
    from imgtheranostics.mapping.region_tables import region_table
    from imgtheranostics.report.run import Run

    table, cautions = region_table(
        estimates, regions, more=tables, workers=common.workers, **common.table_options()
    )
    if not common.rois:
        told = {caution.code for estimate in estimates for caution in estimate.warnings}
        cautions = tuple(one for one in cautions if one.code.removesuffix(_IN_REGION) not in told)
    read = inputs or estimates[0].value.source.files
    run = Run(
        command=command,
        estimates=estimates,
        table=table,
        regions=regions if common.rois else None,
        anatomy=loaded(common.anatomy) if common.anatomy is not None else None,
        parameters=parameters(said),
        inputs=[*read, *common.files, *(file for file in files if file is not None)],
        curves=curves,
        warnings=(*warnings, *cautions),
    )
    runs.deliver(run, common.delivery)


_IN_REGION = "-in-region"
"""Ending of cautions that say of a region what another says of the whole image."""

_NOT_PHYSICS = frozenset(
    ("rois", "anatomy", "subject", "session", "out", "force", "workers", "as_json", "keep_identifiers",
     "no_report", "dicom", "quiet", "verbose", "path", "pre", "post", "mask", "b1", "magnitude", "phase",
     "unheated", "fat", "paths", "followups", "followup_rois", "images")
)  # fmt: skip
"""Options that say where something is or how to print, or that may name somebody: not in the record."""


def parameters(said: Mapping[str, Any]) -> dict[str, Any]:
    """Options that decide the numbers, for the record; of files only that there was one."""
    flat: dict[str, Any] = {}
    for name, value in said.items():
        is_group = is_dataclass(value) and not isinstance(value, type)
        flat |= asdict(value) if is_group else {name: value}
    return {
        name: [_plain(one) for one in value] if isinstance(value, list) else _plain(value)
        for name, value in flat.items()
        if name not in _NOT_PHYSICS
        and isinstance(value, (str, int, float, list))
        and value is not False
        and value != []
    }


def _plain(value: Any) -> Any:
    """A value as it was given; of a path only that there was one."""
    return "file" if isinstance(value, Path) or (isinstance(value, str) and Path(value).exists()) else value
