"""``fetch`` and ``store``: series from an archive (PACS) over DICOMweb, and results back into it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.errors import Caution
    from imgtheranostics.io.dicomweb.fetching import Fetched
    from imgtheranostics.io.dicomweb.searching import ArchivedSeries, Wanted

_URL_HELP = "Root of a DICOMweb service, such as https://pacs.example.org/dicom-web."

Url = Annotated[str, typer.Argument(help=_URL_HELP, show_default=False)]
Timeout = Annotated[int, typer.Option("--timeout", min=1, help="Longest silence of the archive, in s.")]


def fetch(
    url: Url,
    patient: Annotated[
        str | None,
        typer.Option("--patient", help="PatientID exactly as the archive has it; - reads it from stdin."),
    ] = None,
    study: Annotated[str | None, typer.Option("--study", help="StudyInstanceUID.")] = None,
    series: Annotated[
        list[str] | None, typer.Option("--series", help="SeriesInstanceUID. May be given again.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option("--modality", help="Only series of this one, such as PT.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the DICOM files.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the series that fit.")] = False,
    force: options.Force = False,
    timeout: Timeout = 120,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Fetch the series of a patient or study from an archive at URL, with all that the files say.

    Logs in with IMGTHERANOSTICS_PACS_USER and IMGTHERANOSTICS_PACS_PASSWORD, with IMGTHERANOSTICS_PACS_TOKEN,
    or with the line of ~/.netrc for the host. Needs the extra pacs.
    """
    if not (patient or study or series):
        raise typer.BadParameter("say what to fetch", param_hint="--patient, --study or --series")
    if out is None and not dry_run:
        raise typer.BadParameter("needed, but with --dry-run", param_hint="--out")
    if patient == "-":
        patient = sys.stdin.readline().strip()
    from imgtheranostics.io.dicomweb.searching import Wanted

    try:
        wanted = Wanted(patient, study, tuple(series or ()), modality)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if out is None or dry_run:
        _list(url, wanted, timeout, as_json=as_json)
        return
    from imgtheranostics.io.dicomweb import fetching

    fetched = fetching.fetch(
        url,
        out,
        patient=wanted.patient,
        study=wanted.study,
        series=wanted.series,
        modality=wanted.modality,
        force=force,
        timeout_s=timeout,
        progress=lambda line: terminal.progress(line, quiet=quiet or as_json),
    )
    terminal.print_cautions(fetched.warnings, quiet=quiet or as_json)
    if as_json:
        terminal.print_json(_fetched_as_dict(fetched, out))
    elif not quiet:
        _print_series([(one.series, len(one.files), str(one.folder)) for one in fetched.series])


def store(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", show_default=False)],
    url: Url,
    timeout: Timeout = 120,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Store DICOM files in an archive at URL, as they are, and check that it has them.

    Logs in as fetch does. Needs the extra pacs.
    """
    from imgtheranostics.io.dicomweb import storing

    stored = storing.store(
        paths,
        url,
        timeout_s=timeout,
        progress=lambda line: terminal.progress(line, quiet=quiet or as_json),
    )
    terminal.print_cautions(stored.warnings, quiet=quiet or as_json)
    if as_json:
        terminal.print_json(
            {
                "command": "store",
                "n_images": stored.n_images,
                "n_bytes": stored.n_bytes,
                "n_series": stored.n_series,
                "n_studies": stored.n_studies,
                "n_left_out": stored.n_left_out,
                "warnings": _as_dicts(stored.warnings),
            }
        )
    elif not quiet:
        left_out = f"; {stored.n_left_out} files are not DICOM" if stored.n_left_out else ""
        typer.echo(
            f"stored {stored.n_images} files ({stored.n_bytes / 1e6:.1f} MB) of {stored.n_series} series in "
            f"{stored.n_studies} studies{left_out}"
        )


def _list(url: str, wanted: Wanted, timeout: int, *, as_json: bool) -> None:
    from imgtheranostics.io.dicomweb.archive import open_archive
    from imgtheranostics.io.dicomweb.searching import search

    with open_archive(url, timeout_s=timeout) as archive:
        found = search(archive, wanted)
    if as_json:
        terminal.print_json(
            {"command": "fetch", "dry_run": True, "series": [_series_as_dict(one) for one in found]}
        )
    else:
        _print_series([(one, one.n_images, "") for one in found])


def _print_series(rows: list[tuple[ArchivedSeries, int | None, str]]) -> None:
    headings = ["subject", "modality", "images", "UID ends in", "folder"]
    table = [
        [
            one.subject,
            one.modality,
            "–" if n_images is None else str(n_images),
            one.uid_tail,
            terminal.visible(folder),
        ]
        for one, n_images, folder in rows
    ]
    terminal.print_table("", headings, table, {"images"})


def _fetched_as_dict(fetched: Fetched, out: Path) -> dict[str, object]:
    series = [
        {
            **_series_as_dict(one.series),
            "n_images": len(one.files),
            "n_bytes": one.n_bytes,
            "folder": str(one.folder.relative_to(out)),
        }
        for one in fetched.series
    ]
    return {
        "command": "fetch",
        "folder": str(out),
        "series": series,
        "warnings": _as_dicts(fetched.warnings),
    }


def _series_as_dict(one: ArchivedSeries) -> dict[str, object]:
    return {
        "subject": one.subject,
        "modality": one.modality,
        "n_images": one.n_images,
        "study_uid": one.study_uid,
        "series_uid": one.series_uid,
    }


def _as_dicts(cautions: tuple[Caution, ...]) -> list[dict[str, str]]:
    return [{"code": one.code, "message": one.message, "where": one.where} for one in cautions]
