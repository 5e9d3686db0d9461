"""The options that commands share, spelled once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer


def choice(*groups: Sequence[str]) -> click.Choice[str]:
    """A choice of all the names, each once."""
    return click.Choice(list(dict.fromkeys(name for group in groups for name in group)))


InputPath = Annotated[
    Path, typer.Argument(help="A scan: DICOM folder or file, NIfTI file, Bruker scan.", show_default=False)
]
InputPaths = Annotated[
    list[Path], typer.Argument(help="One scan per time point, or one dynamic scan.", show_default=False)
]
Series = Annotated[
    str | None,
    typer.Option(
        "--series",
        help="Which series, when the folder holds several: number or end of its UID; 1,2,3 or all as one.",
    ),
]
MR_SCALINGS = ("floating_point", "display", "stored")
MrScaling = Annotated[
    str | None,
    typer.Option(
        "--mr-scaling",
        click_type=choice(MR_SCALINGS),
        help="Values of MR images in DICOM files: those that compare between images (the default, with a "
        "warning where Philips files do not allow it), those displayed, or the stored numbers.",
    ),
]
RoiPaths = Annotated[
    list[Path] | None,
    typer.Option("--rois", help="Regions: NIfTI labels, DICOM SEG or RTSTRUCT. May be given again."),
]
ResampleRois = Annotated[
    bool, typer.Option("--resample-rois", help="Bring regions from another grid by nearest voxel.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for maps, tables and report.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result in --out.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Threads; results do not depend on it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
KeepIdentifiers = Annotated[
    bool, typer.Option("--keep-identifiers", help="Write file names, patient ID and dates into the record.")
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Leave out report.html.")]
Dicom = Annotated[
    bool,
    typer.Option(
        "--dicom",
        help="Write DICOM into --out too: maps with standard errors, regions, measurements; of dose RT Dose.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="More detail; -vv shows tracebacks.")
]
Subject = Annotated[str | None, typer.Option("--subject", help="Label for the table instead of a pseudonym.")]
Session = Annotated[str | None, typer.Option("--session", help="Session label for the table.")]


def _a_length(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a length in mm", param_hint="--resolution-mm")
    return value


Resolution = Annotated[
    float | None,
    typer.Option(
        "--resolution-mm",
        min=0.0,
        callback=_a_length,
        help="FWHM of the scanner, for the standard error of region means.",
    ),
]
Anatomy = Annotated[
    Path | None, typer.Option("--anatomy", help="A scan on the same grid to show the map over.")
]
