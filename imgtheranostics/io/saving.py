"""Saving Volumes and Estimates as NIfTI with a sidecar, or as DICOM, and converting between the two."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgtheranostics.errors import NothingUsable, OutputError, UnsupportedInput
from imgtheranostics.io.atomic import output_folder, replacing_all
from imgtheranostics.io.bids_keys import public_keys
from imgtheranostics.io.nifti_writing import write_nifti
from imgtheranostics.io.own_sidecar import describe
from imgtheranostics.io.sidecar import image_stem
from imgtheranostics.volume import Estimate, Volume

NIFTI_SUFFIXES = (".nii.gz", ".nii")

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def save(
    x: Volume | Estimate,
    path: Path | str,
    *,
    force: bool = False,
    keep_identifiers: bool = False,
    enhanced: bool = False,
) -> list[Path]:
    """Write a Volume or an Estimate.

    Parameters
    ----------
    x : Volume or Estimate
        An Estimate becomes three images: ``name``, ``name_se`` and ``name_flags``, and one ``name_<map>``
        for each further map.
    path : path
        Ending in ``.nii.gz`` or ``.nii``: NIfTI with a JSON sidecar. Anything else: a folder for DICOM,
        whose object follows from the quantity and the modality.
    force : bool
        Replace files that exist.
    keep_identifiers : bool
        Write what identifies the subject: into the sidecar, or as dates into DICOM.
    enhanced : bool
        Write MR as one enhanced multi-frame DICOM file.

    Returns
    -------
    list of Path
        What was written, images before their sidecars.

    Raises
    ------
    OutputError
        If a file exists and `force` is not given, the target is a symbolic link, or it cannot be written.
    UnsupportedInput
        If no DICOM object holds the quantity, the axes or the values; NIfTI holds them all.
    """
    target = Path(path)
    if _nifti_suffix(target):
        return _save_nifti(x, target, force=force, keep_identifiers=keep_identifiers)
    volume = x.value if isinstance(x, Estimate) else x
    return _save_dicom(volume, target, force=force, keep_dates=keep_identifiers, enhanced=enhanced)


def convert(
    path: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    fmt: str | None = None,
    force: bool = False,
    keep_identifiers: bool = False,
    series: str | int | None = None,
) -> list[Path]:
    """Convert what is under `path` to NIfTI with sidecars, or to DICOM.

    Parameters
    ----------
    path : path or list of paths
        A file, a folder, or a list of files.
    out : path
        A ``.nii.gz`` or ``.nii`` file for one image, else a folder: one image or DICOM series per series.
    fmt : {"nifti", "dicom"}, optional
        By default NIfTI.
    force : bool
        Replace an earlier result.
    keep_identifiers : bool
        Write what identifies the subject into the sidecar, which is otherwise left out.
    series : str or int, optional
        One of several series, as `load` takes it.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    NothingUsable
        If one file is asked for and there are several series.
    OutputError
        As `save`.
    """
    from imgtheranostics.io.loading import load, load_all

    if fmt not in (None, "nifti", "dicom"):
        raise UnsupportedInput("the output format is not known", found=str(fmt), needed="nifti or dicom")
    target = Path(out)
    volumes = load_all(path) if series is None else [load(path, series=series)]
    if not volumes:
        raise NothingUsable("there is nothing to convert", where=str(path))
    if _nifti_suffix(target):
        if fmt == "dicom":
            raise UnsupportedInput(
                "DICOM is written into a folder", where=str(target), needed="a folder name"
            )
        if len(volumes) > 1:
            raise NothingUsable(
                f"{len(volumes)} series cannot go into one file",
                where=str(target),
                next_step="give a folder, or choose one of them with series",
            )
        return _save_nifti(volumes[0], target, force=force, keep_identifiers=keep_identifiers)
    names = _series_names(volumes)
    written: list[Path] = []
    with output_folder(target, force=force) as folder:
        for volume, name in zip(volumes, names, strict=True):
            if fmt == "dicom":
                place = folder / name if len(volumes) > 1 else folder
                written += _write_dicom(volume, place, keep_dates=keep_identifiers)
            else:
                written += _save_nifti(
                    volume, folder / f"{name}.nii.gz", force=True, keep_identifiers=keep_identifiers
                )
        relative = [file.relative_to(folder) for file in written]
    return [target / file for file in relative]


def safe_name(text: str) -> str:
    """The text with all but letters, digits, ``_``, ``.`` and ``-`` replaced, never hidden or empty."""
    return _UNSAFE.sub("_", text).lstrip(".-") or "image"


def sidecar_text(volume: Volume, *, keep_identifiers: bool = False) -> str:
    """The JSON sidecar of a Volume."""
    content: dict[str, Any] = {
        **public_keys(volume, keep_texts=keep_identifiers),
        **describe(volume, keep_texts=keep_identifiers),
    }
    if keep_identifiers and volume.source.identifiers:
        content["Identifiers"] = dict(sorted(volume.source.identifiers.items()))
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _save_nifti(
    x: Volume | Estimate, path: Path, *, force: bool, keep_identifiers: bool = False
) -> list[Path]:
    suffix = _nifti_suffix(path)
    stem = image_stem(path)
    parts: list[tuple[str, Volume]] = [("", x)] if isinstance(x, Volume) else _parts(x)
    images = [path.with_name(f"{stem}{ending}{suffix}") for ending, _ in parts]
    sidecars = [path.with_name(f"{stem}{ending}.json") for ending, _ in parts]
    for target in (*images, *sidecars):
        check_target(target, force=force)
    texts = [sidecar_text(volume, keep_identifiers=keep_identifiers) for _, volume in parts]
    with replacing_all([*images, *sidecars]) as streams:
        for (_, volume), stream in zip(parts, streams, strict=False):
            write_nifti(volume, stream, compressed=suffix.endswith(".gz"))
        for text, stream in zip(texts, streams[len(images) :], strict=True):
            stream.write(text.encode("utf-8", "backslashreplace"))
    return [file for pair in zip(images, sidecars, strict=True) for file in pair]


def _parts(estimate: Estimate) -> list[tuple[str, Volume]]:
    beside = [(f"_{name}", volume) for name, volume in estimate.maps.items()]
    return [("", estimate.value), ("_se", estimate.standard_error), ("_flags", estimate.flags), *beside]


def _save_dicom(volume: Volume, folder: Path, *, force: bool, keep_dates: bool, enhanced: bool) -> list[Path]:
    with output_folder(folder, force=force) as temporary:
        files = [
            file.relative_to(temporary)
            for file in _write_dicom(volume, temporary, keep_dates=keep_dates, enhanced=enhanced)
        ]
    return [folder / file for file in files]


def _write_dicom(volume: Volume, folder: Path, *, keep_dates: bool, enhanced: bool = False) -> list[Path]:
    from imgtheranostics.io.dicom.writing import write_dicom

    folder.mkdir(parents=True, exist_ok=True)
    write_dicom(volume, folder, keep_dates=keep_dates, enhanced=enhanced)
    return sorted(file for file in folder.rglob("*") if file.is_file())


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target that is a link or a folder, exists without `force`, or has no folder to lie in.

    Raises
    ------
    OutputError
        In each of these cases.
    """
    if target.is_symlink():
        raise OutputError(
            "the output is a symbolic link, which is not followed",
            where=str(target),
            next_step="give the path of a file of its own",
        )
    if target.is_dir():
        raise OutputError("the output path is a folder", where=str(target), needed="a file name")
    if target.exists() and not force:
        raise OutputError(
            "the output exists",
            where=str(target),
            next_step="choose another name, or give --force to replace it",
        )
    if not target.parent.is_dir():
        raise OutputError(
            "the folder of the output does not exist",
            where=str(target.parent),
            next_step="make it, or choose another place",
        )


def _nifti_suffix(path: Path) -> str:
    return next((suffix for suffix in NIFTI_SUFFIXES if path.name.lower().endswith(suffix)), "")


def _series_names(volumes: Sequence[Volume]) -> list[str]:
    """Names from number, modality and quantity: nothing that a file or header said freely."""
    names: list[str] = []
    for number, volume in enumerate(volumes, start=1):
        modality = getattr(volume.acquisition, "modality", "") or "image"
        name = f"{modality}_{volume.quantity}"
        if modality == "PA" and volume.axis("wavelength") is not None:
            name = f"{volume.quantity}_pa"  # no suffix of BIDS: the one that sidecars are recognised by
        names.append(safe_name(f"{number:02d}_{name}"))
    return names
