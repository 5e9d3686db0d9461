"""What the ``ultrasound`` commands do with their results: record, files, printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics.cli import runs
from imgtheranostics.cli.map_input import loaded
from imgtheranostics.cli.map_runs import parameters
from imgtheranostics.cli.ultrasound_groups import Cine, Scanned

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.errors import Caution
    from imgtheranostics.fit import CurveFit
    from imgtheranostics.volume import Estimate


@dataclass(frozen=True, eq=False)
class Made:
    """Maps, table and what belongs to them."""

    estimates: Sequence[Estimate]
    table: pd.DataFrame
    decisions: Mapping[str, Any] = field(default_factory=dict)
    curves: Sequence[CurveFit] = ()
    figures: Sequence[str] = ()
    warnings: Sequence[Caution] = ()

    @property
    def shown(self) -> pd.DataFrame | None:
        """What people see of a long table: rows without an axis that have a value; None where that is all."""
        import pandas as pd

        # without its attributes, which every part of a table would copy
        bare = pd.DataFrame(self.table)
        static = bare[(bare["axis"] == "") & bare["mean"].notna()]
        return static if 0 < len(static) < len(self.table) else None


def deliver(
    command: str,
    made: Made,
    scanned: Scanned,
    common: Cine,
    said: Mapping[str, Any],
    path: Path,
    *,
    files: Sequence[Path] = (),
) -> None:
    """Write and print."""
    from imgtheranostics.errors import merge_cautions
    from imgtheranostics.report.run import Run

    moved = () if scanned.motion is None else scanned.motion.warnings
    run = Run(
        command=command,
        estimates=made.estimates,
        table=made.table,
        regions=scanned.regions if common.rois else None,
        anatomy=loaded(common.anatomy) if common.anatomy is not None else None,
        parameters=parameters(said),
        inputs=[path, *common.files, *files],
        decisions={**made.decisions, **scanned.decisions},
        curves=made.curves,
        figures=made.figures,
        warnings=merge_cautions(moved, tuple(made.warnings)),
    )
    runs.deliver(run, common.delivery, shown=made.shown)
