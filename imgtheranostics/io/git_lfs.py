"""Git LFS pointers: a few lines of text that stand in a repository for a file that was never fetched."""

from __future__ import annotations

from pathlib import Path

from imgtheranostics.errors import CorruptInput

_FIRST_LINE = b"version https://git-lfs.github.com/spec/"
_LARGEST_BYTES = 1024


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a pointer and not the data."""
    return head.startswith(_FIRST_LINE)


def is_lfs_pointer_file(path: Path) -> bool:
    """Whether the file is a pointer; False where it cannot be read."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return False
        with path.open("rb") as stream:
            return is_lfs_pointer(stream.read(len(_FIRST_LINE)))
    except OSError:
        return False


def refuse_lfs_pointer(path: Path) -> CorruptInput:
    """The refusal of a pointer."""
    return CorruptInput(
        "the file is a Git LFS pointer, not the data itself",
        where=str(path),
        found="a text that names the data",
        needed="the data",
        next_step="fetch it with `git lfs pull` where the repository was cloned",
    )
