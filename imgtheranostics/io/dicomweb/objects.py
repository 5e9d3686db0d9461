"""What an archive knows a DICOM file by, read from the file, which must be whole."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.header_reading import read_header
from imgtheranostics.io.dicom.walk import UNDEFINED
from imgtheranostics.io.dicomweb.searching import is_uid

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class DicomObject:
    """One file.

    Attributes
    ----------
    path : Path
    n_bytes : int
    uid, series, study : str
        UIDs of the object, its series and its study.
    patient : str
        PatientID; empty where there is none.
    """

    path: Path
    n_bytes: int
    uid: str
    series: str
    study: str
    patient: str = field(default="", repr=False)


def read_object(path: Path) -> DicomObject:
    """The UIDs and PatientID of a file that is whole.

    Raises
    ------
    CorruptInput
        If it is no DICOM file, or is truncated.
    MissingMetadata
        If a UID is absent, or is none.
    """
    header = read_header(path)
    uid, series, study = (
        _uid(header, name) for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    )
    size = path.stat().st_size
    _check_whole(header, size)
    return DicomObject(path, size, uid, series, study, header.text("PatientID") or "")


def _uid(header: Header, keyword: str) -> str:
    uid = header.text(keyword) or ""
    if not is_uid(uid):
        raise MissingMetadata(
            "a file lacks a UID by which an archive knows it, or it is none",
            where=header.where(keyword),
            next_step="export the file again",
        )
    return uid


def _check_whole(header: Header, size: int) -> None:
    """Pixels are only located when a header is read: here they must be there to the end."""
    start, length = header.layout.pixel_offset, header.layout.pixel_length
    if start < 0 or header.inflated is not None:
        return
    end = _end_of_fragments(header.path, start, size) if length == UNDEFINED else start + length
    if end > size:
        raise CorruptInput(
            "the file is truncated: its pixel data end beyond the end of the file",
            where=str(header.path),
            found=f"{size} bytes",
            needed=f"at least {end} bytes",
            next_step="copy the file again",
        )


def _end_of_fragments(path: Path, start: int, size: int) -> int:
    """Where compressed pixel data end; beyond the file where their end is missing (PS3.5, A.4)."""
    position = start
    with path.open("rb") as stream:
        while position + 8 <= size:
            stream.seek(position)
            tag, length = struct.unpack("<4sI", stream.read(8))
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM or length == UNDEFINED:
                raise CorruptInput("the compressed pixel data are damaged", where=str(path))
            position += length
    return max(position, size) + 8
