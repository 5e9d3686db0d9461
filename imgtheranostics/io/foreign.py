"""What to say about a file that is no image that can be read."""

from __future__ import annotations

from pathlib import Path

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, UnsupportedInput
from imgtheranostics.io.bruker.dataset import PARAMETER_NAMES, RAW_NAMES
from imgtheranostics.io.git_lfs import is_lfs_pointer, refuse_lfs_pointer

_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")


def refuse_file(path: Path) -> ImgTheranosticsError:
    """The refusal that fits the file's first bytes and name."""
    try:
        with path.open("rb") as stream:
            head = stream.read(264)
    except OSError as error:
        return CorruptInput("the file cannot be read", where=str(path), found=error.strerror)
    if not head:
        return CorruptInput("empty file", where=str(path))
    if is_lfs_pointer(head):
        return refuse_lfs_pointer(path)
    if path.name in PARAMETER_NAMES or path.name in RAW_NAMES:
        return UnsupportedInput(
            "a file of a ParaVision scan that is no image",
            where=str(path),
            needed="the scan's folder, or a 2dseq file",
            next_step="give the folder of the scan; raw data are to be reconstructed in ParaVision first",
        )
    if path.suffix.lower() in (".bin", ".irf", ".img") and path.with_suffix(".msot").is_file():
        return UnsupportedInput(
            "a file of an iThera scan that is no image",
            where=str(path),
            next_step="give its .msot file; raw signals are read with imgtheranostics.msot.load_signals",
        )
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return UnsupportedInput(
            "archives are not unpacked", where=str(path), next_step="unpack it and give the folder"
        )
    if path.suffix.lower() in (".dcm", ".ima") or _starts_like_dataset(head):
        return CorruptInput(
            "not a DICOM file: the signature after the preamble is missing",
            where=str(path),
            found="no preamble and file meta information",
            needed="DICM at byte 128",
            next_step="export the file again as DICOM Part 10",
        )
    return UnsupportedInput(
        "the file is neither DICOM nor NIfTI", where=str(path), needed="DICOM Part 10, .nii or .nii.gz"
    )


def _starts_like_dataset(head: bytes) -> bool:
    """Whether the bytes begin with an element of group 8 or 2, as a data set without preamble does."""
    return len(head) >= 8 and head[1] == 0 and head[0] in (2, 8) and head[3] == 0
