"""``ultrasound enhancement --before``: one scan against another of the same place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli.ultrasound_groups import Cine, Scanned

if TYPE_CHECKING:
    from imgtheranostics.cli.ultrasound_runs import Made

Before = Annotated[
    Path | None,
    typer.Option(
        "--before",
        help="Another scan of the same place and settings, to compare with instead of frames: no gas yet, "
        "neutral pH, laser off.",
    ),
]

BeforeSeries = Annotated[
    str | None, typer.Option("--before-series", help="Series of --before, where its folder holds several.")
]


def of_two_scans(
    before: Path,
    before_series: str | None,
    scanned: Scanned,
    common: Cine,
    *,
    reference: str | None,
    window: int,
    scale: dict[str, Any],
) -> Made:
    """Gain of each region and a map of enhancement, from the scan before to the one after."""
    from imgtheranostics import ultrasound
    from imgtheranostics.cli.ct_groups import existing
    from imgtheranostics.cli.ultrasound_runs import Made
    from imgtheranostics.ultrasound.frame_periods import gain_table, stacked

    scan = replace(common, series=before_series)
    first = scan.scan(existing(before, "--before")).cine
    shared = {**scale, "region": common.us_region}
    both, n_before = stacked(first, scanned.cine)
    table = gain_table(
        first, scanned.cine, rois=scanned.regions, reference=reference, **shared, **common.labels()
    )
    estimate = ultrasound.enhancement_map(
        both,
        baseline_frames=n_before,
        frames=(n_before, len(both.axes[0])),
        window=window,
        workers=common.workers,
        **shared,
    )
    n_after = len(both.axes[0]) - n_before
    decisions = {
        **{name: value for name, value in estimate.decisions.items() if name != "baseline"},
        "states": {"rule": "one scan against another", "frames_before": n_before, "frames_after": n_after},
    }
    return Made([estimate], table, decisions, warnings=table.attrs["warnings"])
