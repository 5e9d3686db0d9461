"""HDF5 files that cannot lead anywhere else: links, storage and filters are looked at before any value is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, UnsupportedInput
from imgtheranostics.io.budget import MAXIMUM_INFLATION, check_budget
from imgtheranostics.io.dicom.discovery import HDF5_SIGNATURE
from imgtheranostics.volume import FloatArray

_MOST_OBJECTS = 200_000
_DEEPEST = 64
_MOST_NUMBERS = 50_000_000
_MOST_ATTRIBUTE_BYTES = 1 << 20
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_TEXT_BYTES = 4096


def is_hdf5(head: bytes) -> bool:
    """Whether a file begins as HDF5 files do."""
    return head.startswith(HDF5_SIGNATURE)


class SafeFile:
    """A file whose every object was checked when it was opened.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CorruptInput
        If it is no HDF5 file, is damaged, or has links, storage or mappings that lead out of it.
    UnsupportedInput
        If its data are compressed by a filter that is not part of the format, or are too large.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        with _as_corrupt(path):
            self.file = h5py.File(path, "r", locking=False)
        try:
            with _as_corrupt(path):
                _check_objects(self.file, path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, damaged or not."""
        with suppress(OSError, RuntimeError, ValueError):
            self.file.close()

    def where(self, name: str) -> str:
        """A place in the file, for messages."""
        return f"{self.path}, {name}"

    def has(self, name: str) -> bool:
        """Whether there is an object at a path of names."""
        with _as_corrupt(self.path):
            return name in self.file

    def names(self, name: str) -> list[str]:
        """Names in a group, sorted; empty when there is no such group."""
        import h5py

        with _as_corrupt(self.path):
            group = self.file.get(name)
            return sorted(group) if isinstance(group, h5py.Group) else []

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of the array of numbers at a path of names; None where there is none."""
        with _as_corrupt(self.path):
            found = self._dataset(name)
            return None if found is None else tuple(int(n) for n in found.shape)

    def array(self, name: str, *, most: int | None = None) -> npt.NDArray[Any] | None:
        """The numbers at a path of names as they are stored; None where there are none.

        Parameters
        ----------
        name : str
        most : int, optional
            Largest number of them; by default what the memory budget allows.

        Raises
        ------
        CorruptInput
            If values are missing from the file.
        UnsupportedInput
            If they are too many.
        """
        with _as_corrupt(self.path):
            found = self._dataset(name)
            if found is None:
                return None
            if most is not None and found.size > most:
                raise UnsupportedInput(
                    "an array is larger than it can be", where=self.where(name), found=str(found.size)
                )
            _check_storage(found, self.where(name), self.path.stat().st_size)
            values: npt.NDArray[Any] = np.asarray(found[()])
            return values

    def numbers(self, name: str) -> FloatArray | None:
        """A small array of finite or missing numbers as float64; None where there is none."""
        values = self.array(name, most=_MOST_NUMBERS)
        return None if values is None else values.astype(np.float64)

    def text(self, name: str) -> str | None:
        """A text of a few words; None where there is none."""
        import h5py

        with _as_corrupt(self.path):
            found = self.file.get(name)
            if not isinstance(found, h5py.Dataset) or found.shape != () or found.dtype.kind not in "OSU":
                return None
            return _words(found[()])

    def attribute(self, name: str, key: str) -> Any:
        """A number, an array of numbers or a short text that an object carries; None where there is none."""
        import h5py

        with _as_corrupt(self.path):
            found = self.file.get(name)
            if found is None or key not in found.attrs:
                return None
            identifier = h5py.h5a.open(found.id, key.encode())
            if identifier.get_storage_size() > _MOST_ATTRIBUTE_BYTES:
                return None
            value = found.attrs[key]
            if isinstance(value, (bytes, str)):
                return _words(value)
            array = np.asarray(value)
            return array.astype(np.float64) if array.dtype.kind in "biuf" else None

    def _dataset(self, name: str) -> Any:
        import h5py

        found = self.file.get(name)
        return found if isinstance(found, h5py.Dataset) and found.dtype.kind in "biuf" else None


@contextmanager
def _as_corrupt(path: Path) -> Iterator[None]:
    """Whatever the library raises over a damaged file as one refusal, without its text."""
    try:
        yield
    except ImgTheranosticsError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise CorruptInput(
            "the HDF5 file cannot be read",
            where=str(path),
            found=type(error).__name__,
            next_step="copy the file again; it may be damaged",
        ) from None


def _words(value: Any) -> str | None:
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    if len(raw) > _TEXT_BYTES:
        return None
    return raw.decode("utf-8", "replace").strip("\0 ") or None


def _check_objects(file: Any, path: Path) -> None:
    """Look at every link and data set that hard links reach."""
    import h5py

    waiting: list[tuple[Any, int]] = [(file["/"].id, 0)]
    seen: set[int] = set()
    count = 0
    while waiting:
        group, depth = waiting.pop()
        for name in list(group):
            count += 1
            if count > _MOST_OBJECTS or depth > _DEEPEST:
                raise CorruptInput("the HDF5 file has too many or too deeply nested objects", where=str(path))
            kind = group.links.get_info(name).type
            if kind == h5py.h5l.TYPE_SOFT:
                continue
            if kind != h5py.h5l.TYPE_HARD:
                raise _leads_out(path, "an external link")
            info = h5py.h5o.get_info(group, name)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            if info.type == h5py.h5o.TYPE_GROUP:
                waiting.append((h5py.h5o.open(group, name), depth + 1))
            elif info.type == h5py.h5o.TYPE_DATASET:
                _check_layout(h5py.h5o.open(group, name).get_create_plist(), path)


def _check_layout(plist: Any, path: Path) -> None:
    import h5py

    if plist.get_layout() == h5py.h5d.VIRTUAL:
        raise _leads_out(path, "a virtual data set")
    if plist.get_external_count() > 0:
        raise _leads_out(path, "external storage")
    for number in range(plist.get_nfilters()):
        code = int(plist.get_filter(number)[0])
        if code not in _FILTERS:
            raise UnsupportedInput(
                "data of the HDF5 file are compressed by a filter that is not part of the format",
                where=str(path),
                found=f"filter {code}",
                needed=", ".join(_FILTERS.values()),
                next_step="write the file again with gzip",
            )


def _leads_out(path: Path, what: str) -> CorruptInput:
    return CorruptInput(
        "the HDF5 file leads to other files, which are not followed",
        where=str(path),
        found=what,
        needed="a file that holds its own data",
        next_step="write the data into one file",
    )


def _check_storage(dataset: Any, where: str, file_bytes: int) -> None:
    """Refuse before reading what does not fit the memory, and values that the file declares but lacks."""
    import h5py

    n_bytes = int(dataset.size) * int(dataset.dtype.itemsize)
    check_budget(n_bytes, where=where)
    identifier = dataset.id
    plist = identifier.get_create_plist()
    layout = plist.get_layout()
    stored = int(identifier.get_storage_size())
    if n_bytes == 0:
        raise CorruptInput("an array is empty", where=where)
    if layout == h5py.h5d.CHUNKED:
        chunks = plist.get_chunk()
        check_budget(math.prod(chunks) * int(dataset.dtype.itemsize), where=where, what="a chunk")
        needed = math.prod(-(-extent // chunk) for extent, chunk in zip(dataset.shape, chunks, strict=True))
        lacking = int(identifier.get_num_chunks()) < needed or n_bytes > stored * MAXIMUM_INFLATION
    else:
        lacking = stored < n_bytes
    if lacking or stored > file_bytes:
        raise CorruptInput(
            "the HDF5 file declares more values than it holds",
            where=where,
            found=f"{stored} bytes stored",
            needed=f"{n_bytes} bytes of {' x '.join(str(n) for n in dataset.shape)} values",
            next_step="copy the file again; it may be cut off",
        )
