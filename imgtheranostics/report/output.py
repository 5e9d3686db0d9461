"""The output folder of one run: maps, tables, provenance, figures and report, all or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput
from imgtheranostics.regions import Regions
from imgtheranostics.report.html import FIGURE_LIST, figure_list, render
from imgtheranostics.report.labels import distinct, labelled
from imgtheranostics.report.plain import as_json, plain
from imgtheranostics.report.privacy import Scrubber
from imgtheranostics.report.provenance import provenance_object
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import as_tsv, quantities_object
from imgtheranostics.volume import Estimate, Source, Step, Volume

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_ERROR_SUFFIX = "_se"
_FLAGS = "flags"

REGIONS_FILE = "regions.nii.gz"
"""Labels of the regions that a command found."""


def write_run(
    run: Run, out: Path | str, *, force: bool = False, keep_identifiers: bool = False, html: bool = True
) -> list[Path]:
    """Write everything that a run found into a folder.

    ``<quantity>.nii.gz``, ``<quantity>_se.nii.gz`` and ``flags.nii.gz`` with a JSON sidecar each (maps whose
    flags differ get ``<quantity>_flags.nii.gz``), ``<quantity>_<name>.nii.gz`` for what came out beside the
    value, the regions that were found, the attachments,
    `quantities.tsv`, `quantities.json`, `provenance.json`, and with `html` also
    `report.html` and the folder `figures`. The same run gives the same bytes.

    Parameters
    ----------
    run : Run
    out : path
        Made when it does not exist. Nothing appears in it before everything is written.
    force : bool
        Replace the files of an earlier result.
    keep_identifiers : bool
        Let `provenance.json` name the files and what they say about the person; no other file does.
    html : bool
        Draw the figures and write the report.

    Returns
    -------
    list of Path
        The files, in the order of their names.

    Raises
    ------
    OutputError
        If the folder is not empty and `force` is not given, or anything cannot be written.
    NothingUsable
        If an input cannot be read any more, so that it has no hash.
    """
    from imgtheranostics.io.atomic import output_folder

    place = Path(out)
    with output_folder(place, force=force) as folder:
        inputs = run.hashed_inputs()
        scrubber = Scrubber.for_run(run, inputs)
        _write_maps(run, folder, scrubber)
        if run.delineated is not None:
            _write_regions(run.delineated, folder / REGIONS_FILE, scrubber)
        for name, content in run.attachments.items():
            _write(folder / name, content)
        quantities = quantities_object(run.table, scrubber.label)
        _write(folder / "quantities.tsv", as_tsv(quantities["rows"]))
        _write(folder / "quantities.json", as_json(quantities))
        hashes = {path.name: _file_hash(path) for path in _files(folder)}
        record = provenance_object(run, inputs, hashes, keep_identifiers=keep_identifiers)
        _write(folder / "provenance.json", as_json(record))
        if html:
            _write_report(run, folder, quantities, record, scrubber)
        written = [path.relative_to(folder) for path in _files(folder)]
    return [place / path for path in written]


def read_estimates(folder: Path) -> list[Estimate]:
    """The maps of an output folder.

    Raises
    ------
    CorruptInput
        If a map has no standard error or no flags beside it.
    """
    from imgtheranostics.io.nifti import load_nifti

    estimates = []
    for path in sorted(folder.glob(f"*{_ERROR_SUFFIX}.nii.gz")):
        name = path.name.removesuffix(f"{_ERROR_SUFFIX}.nii.gz")
        own = folder / f"{name}_{_FLAGS}.nii.gz"
        parts = (folder / f"{name}.nii.gz", path, own if own.exists() else folder / f"{_FLAGS}.nii.gz")
        missing = [part.name for part in parts if not part.is_file()]
        if missing:
            raise CorruptInput(
                "a map of the output folder is incomplete", where=str(folder), needed=missing[0]
            )
        value, error, flags = (load_nifti([part])[0] for part in parts)
        estimates.append(Estimate(value, error, flags))
    return estimates


def _write_maps(run: Run, folder: Path, scrubber: Scrubber) -> None:
    from imgtheranostics.io.saving import save

    def write(item: tuple[str, Volume]) -> None:
        name, volume = item
        save(without_person(volume, scrubber), folder / f"{_UNSAFE.sub('_', name)}.nii.gz")

    # Compression leaves the interpreter lock, so maps are written side by side.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        list(pool.map(write, _maps(run)))


def _maps(run: Run) -> Iterator[tuple[str, Volume]]:
    yield from run.images.items()
    for estimate in run.maps:
        yield estimate.quantity, estimate.value
        yield f"{estimate.quantity}{_ERROR_SUFFIX}", estimate.standard_error
        for name, volume in estimate.maps.items():
            yield f"{estimate.quantity}_{name}", volume
    if not run.maps:
        return
    if _same_flags(run.maps):
        yield _FLAGS, run.maps[0].flags
        return
    for estimate in run.maps:
        yield f"{estimate.quantity}_{_FLAGS}", estimate.flags


def _same_flags(estimates: tuple[Estimate, ...]) -> bool:
    first = estimates[0].flags
    return all(
        np.array_equal(first.affine, other.flags.affine) and np.array_equal(first.data, other.flags.data)
        for other in estimates[1:]
    )


def without_person(volume: Volume, scrubber: Scrubber) -> Volume:
    """The volume with every text that goes into a sidecar scrubbed and its source taken away."""
    return volume.replace(
        source=Source(),
        warnings=tuple(
            Caution(w.code, scrubber.text(w.message), scrubber.where(w.where)) for w in volume.warnings
        ),
        history=tuple(
            Step(step.name, plain(step.parameters, scrubber.text), step.version) for step in volume.history
        ),
        acquisition=_scrubbed_record(volume.acquisition, scrubber),
    )


def _scrubbed_record(value: Any, scrubber: Scrubber) -> Any:
    """An acquisition record whose texts are scrubbed, at any depth; other values stay as they are."""
    if isinstance(value, str):
        return scrubber.text(value)
    if isinstance(value, tuple):
        return tuple(_scrubbed_record(item, scrubber) for item in value)
    if isinstance(value, dict):
        return {key: _scrubbed_record(item, scrubber) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return type(value)(**{name: _scrubbed_record(item, scrubber) for name, item in fields.items()})
    return value


def _write_report(
    run: Run, folder: Path, quantities: dict[str, Any], record: dict[str, Any], scrubber: Scrubber
) -> None:
    from imgtheranostics.report.registry import render_figures

    figures = render_figures(labelled(run, scrubber))
    (folder / FIGURE_LIST).parent.mkdir()
    for figure in figures:
        _write(folder / "figures" / figure.file, figure.svg)
    _write(folder / FIGURE_LIST, figure_list(figures))
    public = {key: value for key, value in record.items() if key != "identifiers"}
    _write(folder / "report.html", render(quantities, public, figures))


def _write_regions(regions: Regions, path: Path, scrubber: Scrubber) -> None:
    from imgtheranostics.io.regions_writing import save_rois

    names = distinct({number: scrubber.label(name) for number, name in regions.names.items()})
    save_rois(dataclasses.replace(regions, names=names), path)


def _write(path: Path, content: bytes | str) -> None:
    path.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
