"""What every command that quantifies does around the quantification: regions, table, files, printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgtheranostics.cli import terminal

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.regions import Regions
    from imgtheranostics.report.run import Run
    from imgtheranostics.volume import Volume


@dataclass(frozen=True)
class Delivery:
    """Where and how a command's result goes."""

    out: Path | None
    force: bool
    as_json: bool
    keep_identifiers: bool
    no_report: bool
    quiet: bool
    dicom: bool = False


def check_output(out: Path | None, *, force: bool) -> None:
    """Refuse an unusable --out before any work is done."""
    from imgtheranostics.io.atomic import check_folder

    if out is not None:
        check_folder(out, force=force)


def regions_for(volume: Volume, paths: Sequence[Path] | None, *, resample: bool) -> Regions:
    """The regions given, or the whole image as one region."""
    from imgtheranostics.io.regions import load_rois
    from imgtheranostics.regions import Regions

    if paths:
        given = paths[0] if len(paths) == 1 else list(paths)
        return load_rois(given, like=volume, resample=resample)
    import numpy as np

    return Regions.from_masks({"image": np.ones(volume.grid.shape, bool)}, volume.grid)


def deliver(run: Run, delivery: Delivery, *, shown: pd.DataFrame | None = None) -> None:
    """Write the run, then print it: a table for people, or one JSON object.

    Of a long table, `shown` is what people see on the terminal.
    """
    from imgtheranostics.report.output import write_run
    from imgtheranostics.report.tables import run_as_json

    if delivery.dicom:
        from imgtheranostics.report.dicom_objects import with_dicom

        run = with_dicom(run, keep_identifiers=delivery.keep_identifiers)
    written: list[Path] = []
    if delivery.out is not None:
        written = write_run(
            run,
            delivery.out,
            force=delivery.force,
            keep_identifiers=delivery.keep_identifiers,
            html=not delivery.no_report,
        )
    terminal.print_cautions(run.warnings, quiet=delivery.quiet)
    if delivery.as_json:
        content = run_as_json(run)
        if delivery.out is not None:
            content["output"] = str(delivery.out)
            content["files"] = [str(path) for path in written]
        terminal.print_json(content)
        return
    terminal.print_quantities(run.table if shown is None else shown)
    if shown is not None and not delivery.quiet:
        rest = len(run.table) - len(shown)
        typer.echo(f"and {rest} more rows: see --json, or quantities.tsv in --out")
    if delivery.out is not None and not delivery.quiet:
        typer.echo(f"wrote {len(written)} files to {delivery.out}")
