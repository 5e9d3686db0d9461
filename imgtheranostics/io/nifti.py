"""Loading NIfTI-1, NIfTI-2 and Analyze images with their sidecars as Volumes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import Caution, CorruptInput, NothingUsable
from imgtheranostics.io.bids import check_by_values, interpret, rescale_by_values
from imgtheranostics.io.bids_photoacoustic import with_given_wavelengths
from imgtheranostics.io.bids_ultrasound import with_given_frame_time
from imgtheranostics.io.git_lfs import is_lfs_pointer, is_lfs_pointer_file, refuse_lfs_pointer
from imgtheranostics.io.gzip_stream import GzipStream, is_gzip
from imgtheranostics.io.meaning import Meaning
from imgtheranostics.io.nifti_header import NiftiHeader, looks_like_header, parse_header
from imgtheranostics.io.nifti_series import group_files, stack
from imgtheranostics.io.nifti_voxels import check_size, not_finite_cautions, read_voxels
from imgtheranostics.io.own_sidecar import is_own
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.io.sidecar import IMAGE_SUFFIXES, Sidecar, entities, image_stem, read_sidecar
from imgtheranostics.io.untagged_fill import FILL, fill_cautions
from imgtheranostics.io.wavelengths import sorted_by_wavelength, wavelength_last, with_wavelengths
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Source, Volume, make_step

_HEADER_BYTES = 540
_EXTENDER_BYTES = 4
_HARMLESS_SESSION = re.compile(r"^\d{1,3}$")


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """One image: where its header and its voxels are, and what the header says."""

    header_path: Path
    voxel_path: Path
    header: NiftiHeader


def is_nifti(path: Path) -> bool:
    """Whether the file is a NIfTI or Analyze image by its content, compressed or not.

    The ``.img`` of a pair counts when its header lies beside it.
    """
    try:
        if not path.is_file():
            return False
        if looks_like_header(_start(path, _HEADER_BYTES)):
            return True
        header = _header_beside(path)
        return header is not None and looks_like_header(_start(header, _HEADER_BYTES))
    except (OSError, CorruptInput):
        return False


def load_nifti(
    paths: Sequence[Path | str],
    *,
    quantity: str | None = None,
    wavelength_nm: Sequence[float] | None = None,
    frame_time_s: float | None = None,
) -> list[Volume]:
    """Load images; files that are the echoes, flips or inversions of one series become one Volume.

    Parameters
    ----------
    paths : sequence of path
        Image files; the two files of a pair count once.
    quantity : str, optional
        Overrules what the sidecar says, for example ``labels``, whose voxels are read as whole numbers
        without a detour through float32.
    wavelength_nm : sequence of float, optional
        Wavelengths of an optoacoustic image, in the order of the file; they overrule its sidecar.
    frame_time_s : float, optional
        Time between the frames of an ultrasound cine; it overrules its sidecar.

    Returns
    -------
    list of Volume

    Raises
    ------
    NothingUsable
        If there is no file, or a header without voxels.
    CorruptInput, UnsupportedInput
        By the rules of the input reference: nothing is allocated before the header was checked.
    ImplausibleValue, UnitMismatch
        If a sidecar states a time, flip angle or unit that cannot be meant.
    """
    images = _distinct([Path(path) for path in paths])
    if not images:
        raise NothingUsable("no NIfTI file was given")
    volumes: list[Volume] = []
    for group in group_files(images):
        parts = [_load_one(path, quantity, wavelength_nm, frame_time_s) for path in group]
        volumes.append(stack(parts, group) if len(parts) > 1 else parts[0][0])
    return volumes


def read_header(path: Path) -> NiftiFile:
    """The checked header of an image and where its voxels are.

    Raises
    ------
    NothingUsable
        If the file does not exist, or its other half is missing.
    CorruptInput, UnsupportedInput
        If the header is refused.
    """
    if not path.is_file():
        raise NothingUsable("the file does not exist", where=str(path))
    header_path = path
    if _suffix(path) in (".img", ".img.gz") and not _is_single(path):
        beside = _header_beside(path)
        if beside is None:
            raise NothingUsable(
                "the voxel file has no header file beside it", where=str(path), needed="a .hdr file"
            )
        header_path = beside
    start = _start(header_path, _HEADER_BYTES)
    if is_lfs_pointer(start):
        raise refuse_lfs_pointer(header_path)
    separate = _suffix(header_path) in (".hdr", ".hdr.gz")
    header = parse_header(start, str(header_path), separate_file=separate)
    if not header.is_pair:
        _check_extensions(header_path, header)
        return NiftiFile(header_path, header_path, header)
    voxels = _voxels_beside(header_path)
    if voxels is None:
        raise NothingUsable(
            "the header file has no voxel file beside it", where=str(header_path), needed="an .img file"
        )
    return NiftiFile(header_path, voxels, header)


def _load_one(
    path: Path,
    quantity: str | None,
    wavelength_nm: Sequence[float] | None = None,
    frame_time_s: float | None = None,
) -> tuple[Volume, Sidecar]:
    file = read_header(path)
    sidecar = read_sidecar(path)
    own = is_own(sidecar)
    if wavelength_nm is not None and not own:
        sidecar = with_given_wavelengths(sidecar, wavelength_nm)
    if frame_time_s is not None and not own:
        sidecar = with_given_frame_time(sidecar, frame_time_s)
    header = file.header
    if file.voxel_path != file.header_path and is_lfs_pointer_file(file.voxel_path):
        raise refuse_lfs_pointer(file.voxel_path)
    check_size(file.voxel_path, header)
    meaning = _overruled(quantity) if quantity else interpret(sidecar, header)
    record = QUANTITIES[meaning.quantity]
    if record.dtype != "float32":
        data, tail = read_voxels(file.voxel_path, header, dtype=record.dtype)
    else:
        data, tail = read_voxels(file.voxel_path, header, factor=meaning.factor)
    lengths = tuple(len(axis) for axis in meaning.axes)
    if data.shape[3:] != lengths:
        data = data.reshape(data.shape[:3] + lengths, order="F")
    data, meaning = rescale_by_values(data, meaning)
    if not quantity:
        check_by_values(data, meaning, sidecar)
    header_cautions = header.cautions
    if record.dtype != "float32":
        header_cautions = tuple(one for one in header_cautions if one.code != "no-scaling")
    step = make_step("load", format=header.kind, stored_type=str(header.dtype), slope=header.slope)
    volume = Volume(
        data,
        header.affine,
        meaning.quantity,
        meaning.unit,
        meaning.axes,
        acquisition=_with_range(meaning, header),
        history=(*meaning.history, step),
        source=_source(file, sidecar),
    )
    cautions = (*meaning.cautions, *_name_cautions(file), *header_cautions, *tail)
    if header.dtype.kind == "f":
        cautions = (*cautions, *not_finite_cautions(data))
    if meaning.quantity == "attenuation" and not any(one.code == FILL for one in cautions):
        cautions = (*cautions, *fill_cautions(data, "values of the image"))
    volume = volume.with_warnings(*cautions)
    if not own:
        return wavelength_last(sorted_by_wavelength(volume)), sidecar
    return (volume if wavelength_nm is None else with_wavelengths(volume, wavelength_nm)), sidecar


def _with_range(meaning: Meaning, header: NiftiHeader) -> Any:
    """The record; that of CT with the largest value that whole numbers of the file's type can hold."""
    record = meaning.acquisition
    if not isinstance(record, CtAcquisition) or header.dtype.kind not in "iu":
        return record
    limits = np.iinfo(header.dtype)
    slope, intercept = 1.0 if header.slope is None else header.slope, header.intercept
    top = max(float(end) * slope + intercept for end in (limits.min, limits.max))
    return replace(record, largest_storable=top * meaning.factor)


def _overruled(quantity: str) -> Meaning:
    unit = QUANTITIES[quantity].unit
    return Meaning(quantity=quantity, unit=unit) if unit else Meaning(quantity=quantity)


def _suffix(path: Path) -> str:
    lowered = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if lowered.endswith(suffix)), "")


def _start(path: Path, n_bytes: int) -> bytes:
    if is_gzip(path):
        with GzipStream(path) as stream:
            return stream.read(n_bytes)
    with path.open("rb") as file:
        return file.read(n_bytes)


def _is_single(path: Path) -> bool:
    return _start(path, _HEADER_BYTES)[344:348] == b"n+1\x00"


def _header_beside(path: Path) -> Path | None:
    return _beside(path, (".img", ".img.gz"), (".hdr", ".hdr.gz"))


def _voxels_beside(path: Path) -> Path | None:
    return _beside(path, (".hdr", ".hdr.gz"), (".img", ".img.gz"))


def _beside(path: Path, mine: tuple[str, ...], others: tuple[str, ...]) -> Path | None:
    if _suffix(path) not in mine:
        return None
    stem = image_stem(path)
    names = [stem + suffix for suffix in (*others, *(suffix.upper() for suffix in others))]
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def _distinct(paths: list[Path]) -> list[Path]:
    """Each image once, the header standing for a pair."""
    kept: dict[Path, None] = {}
    for path in paths:
        if path.is_file() and _suffix(path) in (".img", ".img.gz") and not _is_single(path):
            kept[_header_beside(path) or path] = None
        else:
            kept[path] = None
    return list(kept)


def _check_extensions(path: Path, header: NiftiHeader) -> None:
    """See that the header extensions, whose content is never read, end before the voxels."""
    first = 544 if header.kind == "NIfTI-2" else 352
    start = _start(path, min(header.offset, 1 << 20))
    if len(start) < first:
        if header.offset > len(start):
            return
        raise CorruptInput("the file ends within its header", where=str(path), found=f"{len(start)} bytes")
    order: Literal["big", "little"] = "big" if header.is_big_endian else "little"
    position = first
    if start[first - _EXTENDER_BYTES] == 0:
        return
    while position + 8 <= min(header.offset, len(start)):
        size = int.from_bytes(start[position : position + 4], order, signed=True)
        if size < 8 or position + size > header.offset:
            raise CorruptInput(
                "a header extension reaches beyond the header",
                where=f"{path}, extension at byte {position}",
                found=f"{size} bytes",
                needed=f"at most {header.offset - position} (vox_offset {header.offset})",
            )
        position += size


def _name_cautions(file: NiftiFile) -> tuple[Caution, ...]:
    """A caution when the name promises compression that the content does not have, or the reverse."""
    suffix = _suffix(file.voxel_path)
    compressed = is_gzip(file.voxel_path)
    if not suffix or suffix.endswith(".gz") == compressed:
        return ()
    state = (
        "is compressed although its name does not say so" if compressed else "is named .gz but not compressed"
    )
    return (Caution("name-and-content-differ", f"the image {state}: read by its content", "file name"),)


def _source(file: NiftiFile, sidecar: Sidecar) -> Source:
    """Provenance; labels that people chose are hashed, as they may name somebody."""
    found, _ = entities(image_stem(file.header_path))
    identifiers = {"path": str(file.header_path)}
    label = found.get("sub") or _patient(sidecar) or ""
    if label:
        identifiers["subject"] = label
    session = found.get("ses", "")
    if session:
        identifiers["session"] = session
    if session and not _HARMLESS_SESSION.match(session):
        session = hashlib.sha256(pseudonym(session).encode()).hexdigest()[:6]
    files = tuple(dict.fromkeys((file.header_path, file.voxel_path, *sidecar.files)))
    return Source(files, pseudonym(label), f"ses-{session}" if session else "", identifiers)


def _patient(sidecar: Sidecar) -> str | None:
    try:
        return sidecar.text("PatientID")
    except CorruptInput:
        return None
