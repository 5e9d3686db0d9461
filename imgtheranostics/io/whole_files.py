"""Small files that are read whole: their size, pointers in their place, and whether they are text."""

from __future__ import annotations

from pathlib import Path

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, UnsupportedInput
from imgtheranostics.io.git_lfs import is_lfs_pointer, refuse_lfs_pointer

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_whole(
    path: Path, purpose: str, *, most_bytes: int, too_large: type[ImgTheranosticsError] = UnsupportedInput
) -> bytes:
    """The content of a file that is neither empty nor too large for its purpose.

    Parameters
    ----------
    path : Path
    purpose : str
        What it is read as, with its article.
    most_bytes : int
    too_large : type
        Of the refusal of a larger one, which is not read.

    Raises
    ------
    CorruptInput
        If it is empty, or a Git LFS pointer.
    UnsupportedInput or `too_large`
        If it is too large.
    """
    size = path.stat().st_size
    if size == 0:
        raise CorruptInput("empty file", where=str(path))
    if size > most_bytes:
        raise too_large(
            f"the file is too large for {purpose}",
            where=str(path),
            found=f"{size} bytes",
            needed=f"at most {most_bytes}",
        )
    raw = path.read_bytes()
    if is_lfs_pointer(raw):
        raise refuse_lfs_pointer(path)
    return raw


def read_text(path: Path, purpose: str, *, most_bytes: int) -> str:
    """The content of a text file, in UTF-8, UTF-16 or, failing these, Latin-1.

    Raises
    ------
    CorruptInput, UnsupportedInput
        As `read_whole`; also if it is binary.
    """
    raw = read_whole(path, purpose, most_bytes=most_bytes)
    if raw.startswith(_UTF_16):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError:
            raise CorruptInput("the file is not text", where=str(path), needed=purpose) from None
    if b"\0" in raw:
        raise CorruptInput(
            "the file holds binary data, not text", where=str(path), needed=f"{purpose} as text"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
