"""``phantom list``, ``phantom show`` and ``phantom make``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.phantom.cohort_spec import CohortSpec
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
    """Every phantom and cohort: slug, system, modality and the review's claim that it tests."""
    from imgtheranostics.phantom.cohort_spec import available_cohorts, load_cohort
    from imgtheranostics.phantom.physics import implemented
    from imgtheranostics.phantom.reading import available, load_spec

    rows = [_summary(load_spec(slug), implemented()) for slug in available()]
    studies = [_cohort_summary(load_cohort(slug), implemented()) for slug in available_cohorts()]
    if as_json:
        terminal.print_json({"command": "phantom list", "phantoms": rows, "cohorts": studies})
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
            for row in (*rows, *studies)
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


def _cohort_summary(spec: CohortSpec, implemented: tuple[str, ...]) -> dict[str, Any]:
    """As of a phantom, with the claim of the cohort and how many subjects it has."""
    row = _summary(spec.base(), implemented)
    return row | {
        "slug": spec.slug,
        "claim": spec.claim,
        "title": spec.title,
        "subjects": spec.design.subjects,
    }


@app.command()
def show(slug: Slug, as_json: options.AsJson = False) -> None:
    """The phantom's file: geometry, truth, expectations, and where each value comes from."""
    from imgtheranostics.phantom.cohort_spec import cohort_path, is_cohort, load_cohort
    from imgtheranostics.phantom.reading import load_spec, path_of

    cohort = is_cohort(slug)
    spec = load_cohort(slug) if cohort else load_spec(slug)
    if as_json:
        content = spec.model_dump(mode="json", exclude_none=True)
        terminal.print_json({"command": "phantom show", "specification": content})
        return
    path = cohort_path(slug) if cohort else path_of(slug)
    typer.echo(path.read_text(encoding="utf-8-sig").rstrip("\n"))


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
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Another number, other noise, and other subjects of a cohort."),
    ] = 0,
    null: Annotated[
        bool, typer.Option("--null", help="Of a cohort: the twin without the effect.", show_default=False)
    ] = False,
    subjects: Annotated[
        int | None,
        typer.Option("--subjects", min=1, help="Of a cohort: how many, if not as many as the claim has."),
    ] = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Write a phantom: its images, the regions to measure on, and every number that must come out.

    A cohort (coh-...) becomes a study with manifest.yaml and outcomes.tsv, which 'study run' analyses.
    """
    from imgtheranostics.cli import runs
    from imgtheranostics.phantom import make as make_phantom
    from imgtheranostics.phantom import write
    from imgtheranostics.phantom.cohort_spec import is_cohort

    runs.check_output(out, force=force)
    if is_cohort(slug):
        _make_cohort(slug, out, file_format, _Draw(level, seed, null, subjects), (force, as_json, quiet))
        return
    if null or subjects is not None:
        raise typer.BadParameter("--null and --subjects are of cohorts (coh-...)")
    phantom = make_phantom(slug, level=level, rng=seed)
    terminal.progress(f"writing {len(phantom.names)} images ...", quiet=quiet or as_json)
    files = write(phantom, out, file_format.value, force=force)
    if as_json:
        terminal.print_json(_written(phantom, out, file_format, seed, files))
    elif not quiet:
        typer.echo(f"wrote {len(files)} files to {out}")
        typer.echo(f"truth: {out / 'truth' / 'truth.json'}")


class _Draw(NamedTuple):
    level: int
    seed: int
    null: bool
    subjects: int | None


def _make_cohort(
    slug: str, out: Path, file_format: FileFormat, draw: _Draw, switches: tuple[bool, bool, bool]
) -> None:
    from imgtheranostics.phantom.cohorts import MANIFEST, TRUTH, make_cohort, write_cohort

    force, as_json, quiet = switches
    if file_format not in (FileFormat.DICOM, FileFormat.NIFTI):
        raise typer.BadParameter("cohorts are written as dicom or nifti", param_hint="--format")
    cohort = make_cohort(slug, null=draw.null, subjects=draw.subjects, seed=draw.seed)
    terminal.progress(f"writing {len(cohort.members)} subjects ...", quiet=quiet or as_json)
    fmt: Literal["dicom", "nifti"] = "dicom" if file_format is FileFormat.DICOM else "nifti"
    files = write_cohort(cohort, out, fmt, level=draw.level, force=force)
    if as_json:
        content = {
            "command": "phantom make",
            "slug": cohort.spec.slug,
            "claim": cohort.spec.claim,
            "null": cohort.null,
            "level": draw.level,
            "seed": cohort.seed,
            "format": fmt,
            "folder": str(out),
            "subjects": [member.id for member in cohort.members],
            "manifest": str(out / MANIFEST),
            "truth": str(out / TRUTH),
            "files": len(files),
        }
        terminal.print_json(content)
    elif not quiet:
        twin = "the null twin of " if cohort.null else ""
        typer.echo(f"wrote {twin}{cohort.spec.slug}: {len(cohort.members)} subjects, {len(files)} files")
        typer.echo(f"manifest: {out / MANIFEST}")
        typer.echo(f"truth: {out / TRUTH}")


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
