"""DICOM files into an archive (STOW-RS); each is confirmed by the archive, or named as refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from imgtheranostics.errors import (
    Caution,
    CorruptInput,
    ImgTheranosticsError,
    NothingUsable,
    OutputError,
)
from imgtheranostics.io.dicom.discovery import find
from imgtheranostics.io.dicomweb.archive import TIMEOUT_S, Archive, of_status, open_archive
from imgtheranostics.io.dicomweb.objects import DicomObject, read_object
from imgtheranostics.io.dicomweb.searching import UID_TAIL, instances_of, patient_of, text_of

if TYPE_CHECKING:
    import requests

_BATCH = 64 * 2**20
_CHUNK = 2**20

_REFERENCED, _FAILED = "00081199", "00081198"
_INSTANCE, _FAILURE, _WARNING = "00081155", "00081197", "00081196"

_REASONS = {
    0x0110: "processing failure",
    0x0122: "this class of objects is not stored there",
    0x0124: "not authorised",
    0xA700: "out of resources",
    0xA900: "the object does not match its class",
    0xC000: "not understood",
    0xC122: "its transfer syntax is not supported",
    0xB000: "elements changed",
    0xB006: "elements left out",
    0xB007: "the object does not match its class",
}
"""Of FailureReason and WarningReason (PS3.4, table B.2-1; PS3.18, store instances response)."""


_SAME_PATIENT = (
    "results bear a pseudonym unless they are made with --keep-identifiers: give it for maps that go back "
    "into the patient's study"
)


@dataclass(frozen=True)
class Stored:
    """What `store` sent, all of it confirmed.

    Attributes
    ----------
    n_images, n_bytes : int
    n_series, n_studies : int
    n_left_out : int
        Files below the paths that are not DICOM.
    warnings : tuple of Caution
    """

    n_images: int
    n_bytes: int
    n_series: int
    n_studies: int
    n_left_out: int = 0
    warnings: tuple[Caution, ...] = ()


def store(
    paths: Path | str | Sequence[Path | str],
    url: str,
    *,
    timeout_s: float = TIMEOUT_S,
    progress: Callable[[str], object] | None = None,
) -> Stored:
    """Store DICOM files in an archive over DICOMweb, as they are.

    Parameters
    ----------
    paths : path or sequence of paths
        Files, or folders with everything below them. What is not DICOM is left out, and counted.
    url : str
        Root of a DICOMweb service.
    timeout_s : float
        Longest silence of the archive.
    progress : callable, optional
        Takes a line before each request.

    Returns
    -------
    Stored

    Raises
    ------
    NothingUsable
        If there is no DICOM file.
    CorruptInput
        If a file cannot be read or is truncated, two differ but bear one SOPInstanceUID, or the files of one
        study name two patients; nothing is then sent.
    MissingMetadata
        If a file lacks one of the UIDs; nothing is then sent.
    OutputError
        If the archive cannot be reached, refuses the log-in, has the study of another patient, or did not
        store everything; says how much it did. Storing the same files again is safe.
    UnsupportedInput
        If the address or the log-in data cannot be used.
    """
    objects, n_left_out = _objects(paths)
    say = progress if progress is not None else _silent
    confirmed: set[str] = set()
    refused: Counter[int] = Counter()
    changed: Counter[int] = Counter()
    with open_archive(url, timeout_s=timeout_s, refusal=OutputError) as archive:
        _check_patients(archive, objects)
        n_sent = 0
        for batch in _batches(objects):
            say(f"sending {n_sent + 1} to {n_sent + len(batch)} of {len(objects)} files")
            n_sent += len(batch)
            try:
                outcome = _send(archive, batch)
            except OutputError as error:
                raise _with_count(error, len(confirmed), len(objects)) from None
            confirmed |= outcome.stored
            refused += outcome.refused
            changed += outcome.changed
        warnings = archive.cautions()
        where = archive.url
    if len(confirmed) < len(objects):
        raise OutputError(
            "the archive did not store everything",
            where=where,
            found=f"{len(confirmed)} of {len(objects)} files stored{_reasons(refused)}",
            next_step="see what the archive takes and look into its log; storing all again is safe",
        )
    if changed:
        text = f"the archive changed or left out elements of {changed.total()} files{_reasons(changed)}"
        warnings += (Caution("changed-by-archive", text, where),)
    return Stored(
        len(objects),
        sum(one.n_bytes for one in objects),
        len({one.series for one in objects}),
        len({one.study for one in objects}),
        n_left_out,
        warnings,
    )


def _objects(paths: Path | str | Sequence[Path | str]) -> tuple[list[DicomObject], int]:
    """Every file to be sent with what the archive will know it by, and the number of other files."""
    found = find(paths)
    if not found.dicom:
        raise NothingUsable(
            "there is no DICOM file to store",
            where=str(paths) if isinstance(paths, (str, Path)) else str(next(iter(paths))),
            found=f"{len(found.nifti)} NIfTI files" if found.nifti else f"{found.other} other files",
            needed="DICOM files or folders of them",
            next_step="write maps as DICOM, with --dicom of the command that makes them",
        )
    unique: dict[str, DicomObject] = {}
    for path in found.dicom:
        one = read_object(path)
        known = unique.setdefault(one.uid, one)
        if known is not one and _digest(known.path) != _digest(path):
            raise CorruptInput(
                "two different files bear the same SOPInstanceUID: an archive would keep one of them",
                where=f"{known.path} and {path}",
                next_step="store only the one that is meant",
            )
    n_other = found.other + len(found.nifti) + len(found.bruker) + len(found.optoacoustic)
    return list(unique.values()), n_other


def _check_patients(archive: Archive, objects: Sequence[DicomObject]) -> None:
    """A study that has two patients is the worst that can be done to an archive, and hard to undo."""
    patients: dict[str, DicomObject] = {}
    for one in objects:
        first = patients.setdefault(one.study, one)
        if first.patient != one.patient:
            raise CorruptInput(
                "files of one study bear different patient IDs",
                where=f"{first.path} and {one.path}: PatientID (0010,0020)",
                next_step=_SAME_PATIENT,
            )
    for study, one in patients.items():
        there = patient_of(archive, study)
        if there is not None and there != one.patient:
            raise OutputError(
                "the archive has this study under another patient ID",
                where=f"{one.path}: PatientID (0010,0020)",
                needed=f"the patient ID of the study that ends in {study[-UID_TAIL:]}",
                next_step=_SAME_PATIENT,
            )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _batches(objects: Sequence[DicomObject]) -> Iterator[list[DicomObject]]:
    """Groups for one request each: archives hold a whole request in memory."""
    batch: list[DicomObject] = []
    size = 0
    for one in objects:
        if batch and size + one.n_bytes > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.n_bytes
    yield batch


class _Request:
    """The body of a request, read from the files while it is sent; its length is known beforehand."""

    def __init__(self, batch: Sequence[DicomObject]) -> None:
        self.boundary = uuid4().hex
        self._head = f"\r\n--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"\r\n--{self.boundary}--\r\n".encode()
        self._batch = batch

    def __len__(self) -> int:
        return sum(len(self._head) + one.n_bytes for one in self._batch) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for one in self._batch:
            yield self._head
            with one.path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        yield self._end


@dataclass(frozen=True)
class _Outcome:
    stored: frozenset[str]
    refused: Counter[int]
    changed: Counter[int]


def _send(archive: Archive, batch: Sequence[DicomObject]) -> _Outcome:
    body = _Request(batch)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
        "Accept": "application/dicom+json",
    }
    with archive.refusing():
        answer = archive.session.post(
            f"{archive.url}/studies",
            data=body,
            headers=headers,
            timeout=archive.timeout_s,
        )
    report = _report(answer)
    if report is None:
        if not answer.ok:
            raise of_status(answer.status_code, archive)
        return _Outcome(_listed(archive, batch), Counter(), Counter())
    sent = {one.uid for one in batch}
    items = _items(report, _REFERENCED)
    return _Outcome(
        frozenset(text_of(item, _INSTANCE) for item in items) & sent,
        Counter(_code(item, _FAILURE) for item in _items(report, _FAILED)),
        Counter(_code(item, _WARNING) for item in items if _WARNING in item),
    )


def _report(answer: requests.Response) -> Mapping[str, Any] | None:
    """What the archive says of each file, if it says so in DICOM JSON."""
    try:
        content = json.loads(answer.content)
    except ValueError:
        return None
    report = content[0] if isinstance(content, list) and content else content
    said = isinstance(report, Mapping) and (_REFERENCED in report or _FAILED in report)
    return report if said else None


def _listed(archive: Archive, batch: Sequence[DicomObject]) -> frozenset[str]:
    """Those of the batch that the archive lists, for archives that do not answer with a report."""
    series = {(one.study, one.series) for one in batch}
    there = frozenset[str]().union(*(instances_of(archive, *uids) for uids in sorted(series)))
    return there & {one.uid for one in batch}


def _items(report: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    attribute = report.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return [item for item in values if isinstance(item, Mapping)] if isinstance(values, list) else []


def _code(item: Mapping[str, Any], tag: str) -> int:
    text = text_of(item, tag)
    return int(text) if text.isdecimal() else -1


def _reasons(codes: Counter[int]) -> str:
    """The reasons in words, with how often each was given."""
    words = [f"{n} x {_word(code)}" for code, n in sorted(codes.items())]
    return f" ({'; '.join(words)})" if words else ""


def _word(code: int) -> str:
    if code < 0:
        return "no reason given"
    family = 0xA700 if code & 0xFF00 == 0xA700 else 0xA900 if code & 0xFF00 == 0xA900 else code
    text = _REASONS.get(family) or (_REASONS[0xC000] if code & 0xF000 == 0xC000 else "")
    return f"{text} ({code:04X})" if text else f"{code:04X}"


def _with_count(error: ImgTheranosticsError, n_stored: int, n_files: int) -> OutputError:
    found = "; ".join(filter(None, [error.found, f"{n_stored} of {n_files} files stored before"]))
    return OutputError(
        error.what, where=error.where, found=found, needed=error.needed, next_step=error.next_step
    )


def _silent(_: str) -> None:
    """No progress."""
