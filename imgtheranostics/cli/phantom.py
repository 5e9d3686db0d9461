"""``phantom list``, ``phantom show`` and ``phantom make``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.phantom.making import Phantom
    from imgtheranostics.phantom.spec import PhantomSpec

app = typer.Typer(
    help="Images with a known answer, for this package and for others.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Slug = Annotated[
    str, typer.Argument(help="A phantom of 'phantom list', or a .yaml file of your own.", show_default=False)
]


class FileFormat(enum.StrEnum):
    """What images are written as."""

    DICOM = "dicom"
    NIFTI = "nifti"
    BOTH = "both"
    MSOT_H5 = "msot-h5"


@app.command("list")
def list_phantoms(as_json: options.AsJson = False) -> None:
    """Every phantom: slug, system, modality and the review's claim that it tests."""
    from imgtheranostics.phantom.physics import implemented
    from imgtheranostics.phantom.reading import available, load_spec

    rows = [_summary(load_spec(slug), implemented()) for slug in available()]
    if as_json:
        terminal.print_json({"command": "phantom list", "phantoms": rows})
        return
    headings = ("slug", "system", "modality", "claim", "images")
    terminal.print_table(
        "",
        headings,
        [
            [
                *(str(row["slug"]), str(row["system"]), ", ".join(row["modality"]), str(row["claim"])),
                ", ".join(row["implemented"]) or "not implemented yet",
            ]
            for row in rows
        ],
        set(),
    )


def _summary(spec: PhantomSpec, implemented: tuple[str, ...]) -> dict[str, Any]:
    return {
        "slug": spec.slug,
        "system": spec.agent.name,
        "modality": list(spec.modalities),
        "claim": spec.review_claim,
        "title": spec.title,
        "levels": list(spec.physics.levels),
        "implemented": [modality for modality in spec.modalities if modality in implemented],
    }


@app.command()
def show(slug: Slug, as_json: options.AsJson = False) -> None:
    """The phantom's file: geometry, truth, expectations, and where each value comes from."""
    from imgtheranostics.phantom.reading import load_spec, path_of

    spec = load_spec(slug)
    if as_json:
        content = spec.model_dump(mode="json", exclude_none=True)
        terminal.print_json({"command": "phantom show", "specification": content})
        return
    typer.echo(path_of(slug).read_text(encoding="utf-8-sig").rstrip("\n"))


@app.command()
def make(
    slug: Slug,
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for images, regions and truth.")],
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="What the images are written as.")
    ] = FileFormat.DICOM,
    level: Annotated[
        int,
        typer.Option(
            "--level", min=0, max=3, help="0 noise-free, 1 noise, 2 resolution too, 3 misplacement too."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, other noise.")] = 0,
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Write a phantom: its images, the regions to measure on, and every number that must come out."""
    from imgtheranostics.cli import runs
    from imgtheranostics.phantom import make as make_phantom
    from imgtheranostics.phantom import write

    runs.check_output(out, force=force)
    phantom = make_phantom(slug, level=level, rng=seed)
    terminal.progress(f"writing {len(phantom.names)} images ...", quiet=quiet or as_json)
    files = write(phantom, out, file_format.value, force=force)
    if as_json:
        terminal.print_json(_written(phantom, out, file_format, seed, files))
    elif not quiet:
        typer.echo(f"wrote {len(files)} files to {out}")
        typer.echo(f"truth: {out / 'truth' / 'truth.json'}")


def _written(
    phantom: Phantom, out: Path, file_format: FileFormat, seed: int, files: list[Path]
) -> dict[str, Any]:
    return {
        "command": "phantom make",
        "slug": phantom.slug,
        "level": phantom.level,
        "seed": seed,
        "format": file_format.value,
        "folder": str(out),
        "volumes": list(phantom.names),
        "regions": list(phantom.regions),
        "truth": str(out / "truth" / "truth.json"),
        "files": len(files),
    }
