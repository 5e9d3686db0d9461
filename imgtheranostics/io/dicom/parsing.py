"""Reading a single DICOM object that is no image series, from a file that nobody vouches for."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.budget import check_budget, memory_budget_bytes

PARSE_FAILURES = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged bytes."""

Result = TypeVar("Result")
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LOGGER = logging.getLogger("pydicom")


def guarded(path: Path, part: str, read: Callable[[], Result]) -> Result:
    """What `read` returns; what pydicom raises, quoting values, becomes `CorruptInput`.

    pydicom's warnings and log quote values of any element, so both are silent meanwhile.
    """
    silent, _LOGGER.disabled = _LOGGER.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except PARSE_FAILURES as error:
        raise CorruptInput(
            f"{part} cannot be read",
            where=str(path),
            found=type(error).__name__,
            next_step="export or copy the file again; it may be truncated",
        ) from None
    finally:
        _LOGGER.disabled = silent


def read_object(path: Path) -> FileDataset:
    """Parse a DICOM file after checking that what it inflates to fits the memory budget.

    Raises
    ------
    CorruptInput
        If the file is empty, no DICOM file with preamble, or damaged.
    UnsupportedInput
        If it would take more memory than the budget allows.
    """
    size = path.stat().st_size
    if size == 0:
        raise CorruptInput("empty file", where=str(path))
    check_budget(size, where=path, what="the file")
    meta = guarded(path, "the DICOM file", lambda: read_file_meta_info(path))
    if element(meta, "TransferSyntaxUID", path, "(0002,0010)") == DeflatedExplicitVRLittleEndian:
        _check_inflated_size(path, whole_number(meta, "FileMetaInformationGroupLength", path, "(0002,0000)"))
    dataset = guarded(path, "the DICOM file", lambda: dcmread(path))
    _check_complete(dataset, path)
    return dataset


def _check_complete(dataset: Dataset, path: Path) -> None:
    """Of an element that ends with the file pydicom keeps what there is; a sequence then loses its items."""
    raw: object
    for raw in dataset.values():
        if isinstance(raw, RawDataElement) and raw.length != _UNDEFINED_LENGTH:
            found = len(raw.value or b"")
            if found != raw.length:
                raise CorruptInput(
                    "the file ends within an element",
                    where=f"{path}, ({raw.tag.group:04X},{raw.tag.element:04X})",
                    found=f"{found} bytes",
                    needed=f"{raw.length} bytes",
                    next_step="copy the file again; it is truncated",
                )


def _check_inflated_size(path: Path, group_length: int | None) -> None:
    if group_length is None:
        raise CorruptInput("FileMetaInformationGroupLength (0002,0000) is absent", where=str(path))
    budget = memory_budget_bytes()
    total = 0
    with path.open("rb") as stream:
        stream.seek(128 + 4 + 12 + group_length)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        pending = stream.read(1 << 20)
        while pending and not inflater.eof:
            try:
                total += len(inflater.decompress(pending, 1 << 24))
            except zlib.error as error:
                raise CorruptInput("the deflated DICOM stream is damaged", where=str(path)) from error
            if total > budget:
                raise UnsupportedInput(
                    "the deflated DICOM stream would take more memory than the budget allows",
                    where=str(path),
                    needed=f"at most {budget / 2**30:.4g} GiB",
                )
            pending = inflater.unconsumed_tail or stream.read(1 << 20)


def element(item: Dataset, keyword: str, path: Path, tag: str) -> Any:
    """The value of an element, None when absent or empty.

    Raises
    ------
    CorruptInput
        If its bytes do not fit its type; the message quotes the tag, never the value.
    """
    return guarded(path, f"{keyword} {tag}", lambda: item.get(keyword))


def sequence(item: Dataset, keyword: str, path: Path, tag: str) -> list[Dataset]:
    """The items of a sequence, none when it is absent.

    Raises
    ------
    CorruptInput
        If the element is no sequence.
    """
    value = element(item, keyword, path, tag)
    items = guarded(path, f"{keyword} {tag}", lambda: list(value or ()))
    if not all(isinstance(entry, Dataset) for entry in items):
        raise CorruptInput(f"{keyword} {tag} is not a sequence", where=str(path))
    return items


def numbers(item: Dataset, keyword: str, path: Path, tag: str, count: int) -> list[float] | None:
    """`count` finite numbers of an element, or None when it is absent.

    Raises
    ------
    CorruptInput
        If there are more or fewer, or one is not a finite number.
    """
    value = element(item, keyword, path, tag)
    if value is None or value == "":
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        value = [value]
    found = guarded(path, f"{keyword} {tag}", lambda: [float(part) for part in value])
    if len(found) != count or not all(abs(part) < 1e10 for part in found):
        raise CorruptInput(
            f"{keyword} {tag} is not {count} finite numbers", where=str(path), found=f"{len(found)} values"
        )
    return found


def whole_number(item: Dataset, keyword: str, path: Path, tag: str) -> int | None:
    """An element that is one whole number, or None when it is absent.

    Raises
    ------
    CorruptInput
        If it is something else.
    """
    found = numbers(item, keyword, path, tag, 1)
    if found is None:
        return None
    if found[0] != int(found[0]):
        raise CorruptInput(f"{keyword} {tag} is not a whole number", where=str(path))
    return int(found[0])


def sop_class(path: Path) -> str | None:
    """The SOP class of a DICOM file with preamble, None for anything else."""
    try:
        with path.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return None
        meta = guarded(path, "the DICOM file", lambda: read_file_meta_info(path))
        found = element(meta, "MediaStorageSOPClassUID", path, "(0002,0002)")
        if not found:
            dataset = guarded(path, "the DICOM file", lambda: dcmread(path, specific_tags=["SOPClassUID"]))
            found = element(dataset, "SOPClassUID", path, "(0008,0016)")
    except (OSError, CorruptInput):
        return None
    return str(found or "unknown")
