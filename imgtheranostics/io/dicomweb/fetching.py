"""Series from an archive into a folder (WADO-RS): the files as they were stored, whole series or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imgtheranostics.errors import Caution, CorruptInput, ImgTheranosticsError
from imgtheranostics.io.atomic import check_folder, output_folder
from imgtheranostics.io.dicomweb.archive import TIMEOUT_S, Archive, of_status, open_archive
from imgtheranostics.io.dicomweb.multipart import BadMultipart, OpenPart, boundary_of, write_parts
from imgtheranostics.io.dicomweb.objects import read_object
from imgtheranostics.io.dicomweb.searching import ArchivedSeries, Wanted, instances_of, search

if TYPE_CHECKING:
    import requests

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK = 2**20
_NAME = 16


@dataclass(frozen=True)
class FetchedSeries:
    """One series on disk.

    Attributes
    ----------
    series : ArchivedSeries
        As the archive described it.
    folder : Path
    files : tuple of Path
    n_bytes : int
    """

    series: ArchivedSeries
    folder: Path
    files: tuple[Path, ...]
    n_bytes: int


@dataclass(frozen=True)
class Fetched:
    """What `fetch` brought.

    Attributes
    ----------
    series : tuple of FetchedSeries
        By study and series.
    warnings : tuple of Caution
    """

    series: tuple[FetchedSeries, ...]
    warnings: tuple[Caution, ...] = ()


def fetch(
    url: str,
    out: Path | str,
    *,
    patient: str | None = None,
    study: str | None = None,
    series: Sequence[str] = (),
    modality: str | None = None,
    force: bool = False,
    timeout_s: float = TIMEOUT_S,
    progress: Callable[[str], object] | None = None,
) -> Fetched:
    """Fetch series from an archive over DICOMweb.

    The files are the archive's own, byte for byte where it sends them as they were stored: with all that
    identifies the patient. They lie in one folder per study and series, under names made from their UIDs.

    Parameters
    ----------
    url : str
        Root of a DICOMweb service.
    out : path
        New or empty, unless `force`.
    patient : str, optional
        PatientID, exactly as the archive has it. One of `patient`, `study` and `series` is needed.
    study : str, optional
        StudyInstanceUID.
    series : sequence of str
        SeriesInstanceUIDs; by default all of the patient or study.
    modality : str, optional
        Only series of this one, such as ``PT``.
    force : bool
        Replace files of an earlier result in `out`.
    timeout_s : float
        Longest silence of the archive.
    progress : callable, optional
        Takes a line about each series before it is fetched.

    Returns
    -------
    Fetched

    Raises
    ------
    ValueError
        If nothing is named, or a UID is none.
    NothingUsable
        If the archive has no such series, cannot be reached, or refuses the log-in.
    CorruptInput
        If a series arrives only in part, or holds what is not of it; nothing is then left in `out`.
    UnsupportedInput
        If the address or the log-in data cannot be used.
    OutputError
        If `out` is not empty or cannot be written.
    """
    wanted = Wanted(patient, study, tuple(series), modality)
    target = Path(out)
    check_folder(target, force=force)
    say = progress if progress is not None else _silent
    with (
        open_archive(url, timeout_s=timeout_s) as archive,
        output_folder(target, force=force) as temporary,
    ):
        fetched = []
        found = search(archive, wanted)
        for number, one in enumerate(found, start=1):
            count = f"{one.n_images} images" if one.n_images is not None else "images"
            say(f"series {number} of {len(found)}: {one.modality or 'unknown modality'}, {count}")
            place = (
                Path(f"study-{_short(one.study_uid)}") / f"{one.modality or 'OT'}-{_short(one.series_uid)}"
            )
            (temporary / place).mkdir(parents=True)
            names = _fetch_one(archive, one, temporary / place)
            n_bytes = sum((temporary / place / name).stat().st_size for name in names)
            files = tuple(target / place / name for name in names)
            fetched.append(FetchedSeries(one, target / place, files, n_bytes))
        warnings = archive.cautions()
    return Fetched(tuple(fetched), warnings)


def _fetch_one(archive: Archive, one: ArchivedSeries, folder: Path) -> list[str]:
    """The names of the files of a series, written into `folder`."""
    listed = instances_of(archive, one.study_uid, one.series_uid)
    arrived: dict[str, str] = {}

    @contextmanager
    def part(number: int) -> Iterator[BinaryIO]:
        path = folder / f"part{number}"
        with path.open("wb") as stream:
            yield stream
        uid = _checked_uid(path, one, number, archive)
        if uid in arrived:
            raise _not_as_asked("the archive sent an image twice", one, archive)
        arrived[uid] = f"{_short(uid, _NAME)}.dcm"
        path.rename(folder / arrived[uid])

    with archive.refusing(), closing(_ask(archive, one)) as answer:
        if answer.status_code != 200:
            raise of_status(answer.status_code, archive)
        _write(answer, part, one, archive, listed, arrived)
    if listed - arrived.keys() or not arrived:
        raise _in_part(one, archive, len(arrived), len(listed))
    return sorted(arrived.values())


def _ask(archive: Archive, one: ArchivedSeries) -> requests.Response:
    # the client would parse each file and write it again: its bytes are what is wanted
    address = f"{archive.url}/studies/{one.study_uid}/series/{one.series_uid}"
    return archive.session.get(address, headers={"Accept": _ACCEPT}, stream=True, timeout=archive.timeout_s)


def _write(
    answer: requests.Response,
    part: OpenPart,
    one: ArchivedSeries,
    archive: Archive,
    listed: frozenset[str],
    arrived: dict[str, str],
) -> None:
    from requests import exceptions

    content_type = answer.headers.get("Content-Type", "")
    boundary = boundary_of(content_type)
    chunks = answer.iter_content(_CHUNK)
    try:
        if boundary is not None:
            write_parts(chunks, boundary, part)
        elif content_type.split(";")[0].strip().lower() == "application/dicom":
            # against the standard, some send one image as it is
            with part(0) as stream:
                for chunk in chunks:
                    stream.write(chunk)
        else:
            raise _not_as_asked("the archive's answer holds no DICOM files", one, archive)
    except (BadMultipart, exceptions.ChunkedEncodingError, exceptions.ConnectionError):
        raise _in_part(one, archive, len(arrived), len(listed)) from None


def _checked_uid(path: Path, one: ArchivedSeries, number: int, archive: Archive) -> str:
    """The SOPInstanceUID of a file that arrived, which must be of the series."""
    try:
        arrived = read_object(path)
    except ImgTheranosticsError as error:
        raise CorruptInput(
            f"image {number + 1} of a series that the archive sent cannot be read: {error.what}",
            where=f"{archive.url}: series that ends in {one.uid_tail}",
            found=error.found,
            next_step="fetch it again; if it stays so, the archive holds it damaged",
        ) from None
    if (arrived.series, arrived.study) != (one.series_uid, one.study_uid):
        raise _not_as_asked("the archive sent an image of another series", one, archive)
    return arrived.uid


def _in_part(one: ArchivedSeries, archive: Archive, n_arrived: int, n_listed: int) -> CorruptInput:
    return CorruptInput(
        "a series arrived only in part; nothing is kept",
        where=f"{archive.url}: series that ends in {one.uid_tail}",
        found=f"{n_arrived} of {n_listed} images",
        next_step="fetch it again; look into the archive's log if it stays so",
    )


def _not_as_asked(what: str, one: ArchivedSeries, archive: Archive) -> CorruptInput:
    return CorruptInput(
        what,
        where=f"{archive.url}: series that ends in {one.uid_tail}",
        next_step="look into the archive's log: its index may be damaged",
    )


def _short(uid: str, length: int = 12) -> str:
    """A name that is never longer than a file system takes, and never anything but hex digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:length]


def _silent(_: str) -> None:
    """No progress."""
