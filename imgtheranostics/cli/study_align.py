"""``study align``: one scan onto another, with the regions drawn on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli import options, runs, terminal

MODELS = ("rigid", "affine", "bspline", "translation", "position")

Fixed = Annotated[Path, typer.Argument(help="The scan that stays where it is.", show_default=False)]
Moving = Annotated[Path, typer.Argument(help="The scan that is brought onto it.", show_default=False)]
Into = Annotated[Path, typer.Option("--out", "-o", help="Folder for the moved scan, regions and transform.")]
MovingSeries = Annotated[
    str | None, typer.Option("--moving-series", help="Series of MOVING; --series is that of FIXED.")
]
Model = Annotated[
    str, typer.Option("--model", click_type=options.choice(MODELS), help="What may change between them.")
]


def align(
    fixed: Fixed,
    moving: Moving,
    out: Into,
    rois: options.RoiPaths = None,
    resample_rois: options.ResampleRois = False,
    series: options.Series = None,
    moving_series: MovingSeries = None,
    model: Model = "rigid",
    force: options.Force = False,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
    no_report: options.NoReport = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Register MOVING to FIXED, resample it, and carry over the regions that were drawn on MOVING."""
    from imgtheranostics.cli.map_input import loaded
    from imgtheranostics.io.atomic import output_folder
    from imgtheranostics.io.regions_writing import save_rois
    from imgtheranostics.io.saving import save
    from imgtheranostics.registration.files import save_transform
    from imgtheranostics.study.alignment import align as aligned

    runs.check_output(out, force=force)
    still, other = loaded(fixed, series), loaded(moving, moving_series)
    regions = runs.regions_for(other, rois, resample=resample_rois) if rois else None
    found = aligned(still, other, regions=regions, model=model)  # type: ignore[arg-type]
    with output_folder(out, force=force) as folder:
        save(found.moved, folder / "moved.nii.gz")
        if found.regions is not None:
            save_rois(found.regions, folder / "regions.nii.gz")
        quality = None if found.registration is None else found.registration.quality
        save_transform(found.transform, folder / "transform.json", quality=quality)
        written = sorted(path.name for path in folder.iterdir())
    terminal.print_cautions(found.warnings, quiet=quiet)
    if as_json:
        terminal.print_json({"command": "study align", "output": str(out), "files": written})
    elif not quiet:
        typer.echo(f"wrote {len(written)} files to {out}")
