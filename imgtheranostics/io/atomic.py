"""Writing that leaves either the whole file or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from imgtheranostics.errors import OutputError

_UMASK_LOCK = threading.Lock()
_PART = ".part"
_SYNC_THREADS = 16


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream to a temporary file beside `path`, which takes its place when the block ends without an error.

    Raises
    ------
    OutputError
        If the folder is not writable or the disk is full; an older file then stays as it was.
    """
    with replacing_all([path]) as streams:
        yield streams[0]


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Streams to temporary files beside `paths`; all are on the disk before the first takes its place.

    Files that belong together, such as an image and the sidecar that says what its numbers mean, are never
    left as one new and one old half by a full disk.

    Raises
    ------
    OutputError
        If a folder is not writable or the disk is full; the older files then stay as they were.
    """
    temporary: list[Path] = []
    where = paths[0]
    try:
        with ExitStack() as stack:
            streams: list[BinaryIO] = []
            for path in paths:
                where = path
                handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=_PART)
                temporary.append(Path(name))
                streams.append(stack.enter_context(os.fdopen(handle, "wb")))
            where = paths[0]
            yield streams
            for where, stream in zip(paths, streams, strict=True):
                stream.flush()
                if not _inside_output_folder(where):
                    os.fsync(stream.fileno())
        mode = 0o666 & ~_umask()
        for new in temporary:
            new.chmod(mode)
        for where, new in zip(paths, temporary, strict=True):
            new.replace(where)
    except OSError as error:
        raise _refusal(where, error) from error
    finally:
        for new in temporary:
            new.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through a temporary one in the same folder, fsync and rename.

    Raises
    ------
    OutputError
        If the folder is not writable or the disk is full; an older file then stays as it was.
    """
    with replacing(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text with Unix line ends, as `write_bytes` does; file names that are no text as escapes."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Refuse what `output_folder` would refuse before it writes, for commands that compute first.

    Raises
    ------
    OutputError
        If `folder` is a file or a link, or is not empty and `force` is not given.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(
            "the output path is not a folder", where=str(folder), next_step="choose another folder"
        )
    try:
        occupied = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise _refusal(folder, error) from error
    if occupied and not force:
        raise OutputError(
            "the output folder is not empty",
            where=str(folder),
            next_step="choose another folder, or give --force to replace an earlier result in it",
        )


@contextmanager
def output_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder whose files reach `folder` when the block ends without an error.

    A folder that is new or empty appears in one rename. With `force`, each file of an earlier result is
    replaced by a rename of its own and everything else in the folder is left alone. Inside another such
    folder nothing is forced to disk yet: the outer one does that.

    Raises
    ------
    OutputError
        If `folder` is a file, is not empty and `force` is not given, or cannot be written.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a final symlink
    temporary: Path | None = None
    try:
        check_folder(folder, force=force)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:40]}.", suffix=_PART))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        _publish(temporary, folder)
    except OSError as error:
        raise _refusal(folder, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _publish(new: Path, folder: Path) -> None:
    files = sorted(path for path in new.rglob("*") if path.is_file())
    if not _inside_output_folder(folder):
        with ThreadPoolExecutor(_SYNC_THREADS) as pool:
            list(pool.map(_sync, files))
    if not folder.exists() or not any(folder.iterdir()):
        new.replace(folder)
        return
    for path in files:
        _check_place(folder, path.relative_to(new))
    for path in files:
        target = folder / path.relative_to(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _inside_output_folder(path: Path) -> bool:
    """Whether an outer `output_folder` will force everything to disk at its end."""
    return any(parent.suffix == _PART and parent.name.startswith(".") for parent in path.parents)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _check_place(folder: Path, relative: Path) -> None:
    """Refuse before the first rename what would fail later, or would follow a link out of the folder."""
    for part in reversed(relative.parents):
        place = folder / part
        if place != folder and (place.is_symlink() or (place.exists() and not place.is_dir())):
            raise OutputError("a file or link stands where a folder of the result goes", where=str(place))
    target = folder / relative
    if target.is_dir() and not target.is_symlink():
        raise OutputError("a folder stands where a file of the result goes", where=str(target))


def _refusal(path: Path, error: OSError) -> OutputError:
    return OutputError(
        "the output cannot be written",
        where=str(path),
        found=error.strerror or type(error).__name__,
        next_step="check free space and permissions, or choose another --out",
    )


def _umask() -> int:
    # The mask can only be read by setting it, so two threads must not do that at the same time.
    with _UMASK_LOCK:
        mask = os.umask(0)
        os.umask(mask)
    return mask
