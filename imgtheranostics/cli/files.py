"""``info`` and ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.io.entries import SeriesSummary


def info(path: options.InputPath, as_json: options.AsJson = False, verbose: options.Verbose = 0) -> None:
    """Say what is in PATH: series, modality, grid, axes, unit, and problems found."""
    from imgtheranostics.io import loading

    summaries = loading.info(path)
    if as_json:
        terminal.print_json({"command": "info", "series": [_as_dict(summary) for summary in summaries]})
        return
    headings = [
        "series",
        "kind",
        "modality",
        "images",
        "shape",
        "spacing mm",
        "axes",
        "quantity",
        "unit",
        "id",
    ]
    rows = [
        [
            str(summary.number),
            summary.kind,
            summary.modality,
            str(summary.n_images),
            " x ".join(map(str, summary.shape)),
            " x ".join(f"{v:.4g}" for v in summary.spacing_mm),
            ", ".join(f"{name} {length}" for name, length in summary.axes.items()),
            summary.quantity,
            summary.unit,
            summary.place or summary.uid_tail,
        ]
        for summary in summaries
    ]
    terminal.print_table("", headings, rows, {"series", "images"})
    for summary in summaries:
        for problem in summary.problems:
            typer.echo(f"series {summary.number}: {terminal.visible(problem)}")


def convert(
    path: options.InputPath,
    out: Annotated[Path, typer.Argument(help="FILE.nii.gz, FILE.nii, or a folder for DICOM.")],
    series: options.Series = None,
    mr_scaling: options.MrScaling = None,
    force: options.Force = False,
    keep_identifiers: options.KeepIdentifiers = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Convert a scan to NIfTI with a JSON sidecar, or to DICOM."""
    from imgtheranostics.io import loading, saving

    volume = loading.load(path, series=series, mr_scaling=mr_scaling)
    written = saving.save(volume, out, force=force, keep_identifiers=keep_identifiers)
    terminal.print_cautions(volume.warnings, quiet=quiet or as_json)
    if as_json:
        cautions = [{"code": c.code, "message": c.message, "where": c.where} for c in volume.warnings]
        terminal.print_json(
            {"command": "convert", "files": [str(file) for file in written], "warnings": cautions}
        )
    elif not quiet:
        typer.echo(f"{volume!r}\nwrote {len(written)} files: {written[0]}")


def _as_dict(summary: SeriesSummary) -> dict[str, object]:
    return {
        "number": summary.number,
        "kind": summary.kind,
        "modality": summary.modality,
        "n_images": summary.n_images,
        "shape": list(summary.shape),
        "spacing_mm": list(summary.spacing_mm),
        "axes": dict(summary.axes),
        "quantity": summary.quantity,
        "unit": summary.unit,
        "uid_tail": summary.uid_tail,
        "place": summary.place,
        "files": summary.files,
        "problems": list(summary.problems),
    }
