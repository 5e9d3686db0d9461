"""Reading headers: file meta information, the tag walk over growing reads, deflated data sets in steps."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.dicom.header import (
    DEFLATED,
    ENCAPSULATED_ROOTS,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Header,
    too_deep,
)
from imgtheranostics.io.dicom.tags import PIXEL_DATA, TAGS
from imgtheranostics.io.dicom.values import parse_text
from imgtheranostics.io.dicom.walk import (
    UNDEFINED,
    Element,
    Layout,
    NeedMoreBytes,
    StructureFault,
    TooDeep,
    Walker,
)

_FIRST_READ = 32 * 1024
_INFLATED_HEADER = 16 * 2**20
_INFLATION_STEP = 2**20
_SUSPICIOUS_RATIO = 200
_SUSPICIOUS_SIZE = 64 * 2**20

_EXPLICIT = Walker(implicit=False, big_endian=False)
_IMPLICIT = Walker(implicit=True, big_endian=False)
_BIG = Walker(implicit=False, big_endian=True)


def read_header(path: Path) -> Header:
    """Read one file's header, without its pixels.

    Raises
    ------
    CorruptInput
        If the file has no DICOM signature, is truncated, or its structure is forbidden.
    UnsupportedInput
        If the transfer syntax is not handled.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_FIRST_READ)
            if head[128:132] != b"DICM":
                raise CorruptInput(
                    "not a DICOM file: the signature after the preamble is missing",
                    where=str(path),
                    found="empty file" if size == 0 else "no preamble and file meta information",
                    needed="DICM at byte 128",
                    next_step="export the file again as DICOM Part 10",
                )
            syntax, start, media_class = _file_meta(head, path)
            executable = head[:2] == b"MZ" or head[:4] == b"\x7fELF"
            if syntax == DEFLATED:
                inflated, layout = _inflate(stream, start, size, path)
                layout.elements.setdefault("SOPClassUID", media_class)
                return Header(path, syntax, layout, inflated=inflated, executable_preamble=executable)
            try:
                layout = _walk_growing(stream, head, start, size, _walker(syntax, path), path)
            except StructureFault:
                return _by_pydicom(path, syntax, executable)
    except OSError as error:
        raise CorruptInput("the file cannot be read", where=str(path), found=error.strerror) from None
    layout.elements.setdefault("SOPClassUID", media_class)
    return Header(path, syntax, layout, executable_preamble=executable)


def _walker(syntax: str, path: Path) -> Walker:
    if syntax == IMPLICIT_LITTLE:
        return _IMPLICIT
    if syntax == EXPLICIT_BIG:
        return _BIG
    if syntax == EXPLICIT_LITTLE or syntax.startswith(ENCAPSULATED_ROOTS):
        return _EXPLICIT
    raise UnsupportedInput(
        "the transfer syntax is not handled",
        where=f"{path}: TransferSyntaxUID (0002,0010)",
        found=syntax if syntax.replace(".", "").isdigit() else "not a UID",
    )


def _walk_growing(stream: Any, buffer: bytes, start: int, size: int, walker: Walker, path: Path) -> Layout:
    while True:
        try:
            return walker.walk(buffer, start)
        except NeedMoreBytes as need:
            if len(buffer) >= size:
                raise _truncated(path, need.position, size) from None
            if need.position > size and len(buffer) > _FIRST_READ:
                raise _truncated(path, need.position, size) from None
            target = min(size, max(need.position + _FIRST_READ, 4 * len(buffer)))
            check_budget(target, where=path, what="the header")
            buffer += stream.read(target - len(buffer))
        except TooDeep:
            raise too_deep(path) from None


def _truncated(path: Path, position: int, size: int) -> CorruptInput:
    return CorruptInput(
        "the file is truncated: an element ends beyond the end of the file",
        where=str(path),
        found=f"{size} bytes",
        needed=f"at least {position} bytes",
        next_step="copy the file again",
    )


def _file_meta(head: bytes, path: Path) -> tuple[str, int, Element]:
    """Transfer syntax, the offset of the data set, and the SOP class as an element."""
    position, syntax, media_class = 132, "", (b"UI", b"")
    while position + 8 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, position)
        if group != 2:
            break
        value_at = position + 8
        if vr in (b"OB", b"UN", b"OW", b"UT"):
            if position + 12 > len(head):
                break
            length = struct.unpack_from("<I", head, position + 8)[0]
            value_at = position + 12
        if element == 0x0010:
            syntax = parse_text(head[value_at : value_at + length])
        elif element == 0x0002:
            media_class = (b"UI", head[value_at : value_at + length])
        position = value_at + length
    if not syntax:
        raise CorruptInput(
            "the file meta information names no transfer syntax",
            where=f"{path}: TransferSyntaxUID (0002,0010)",
            next_step="export the file again as DICOM Part 10",
        )
    return syntax, position, media_class


def _inflate(stream: Any, start: int, size: int, path: Path) -> tuple[bytes, Layout]:
    """Inflate in steps: first as far as the pixel data, then as much as the header declares."""
    stream.seek(start)
    inflater = zlib.decompressobj(-15)
    inflated = bytearray()
    layout: Layout | None = None
    limit = _INFLATED_HEADER
    try:
        while len(inflated) < limit and not inflater.eof:
            piece = inflater.unconsumed_tail or stream.read(_INFLATION_STEP)
            if not piece:
                break
            inflated += inflater.decompress(piece, _INFLATION_STEP)
            if layout is None:
                layout = _try_walk(inflated, path)
                if layout is not None and layout.pixel_offset >= 0:
                    limit = _declared_end(layout, size, path)
    except zlib.error as error:
        raise CorruptInput("the deflated data set is damaged", where=str(path), found=str(error)) from None
    if layout is None and not inflater.eof:
        raise CorruptInput(
            "the deflated data set has no pixel data in its first 16 MiB",
            where=str(path),
            next_step="check where the file comes from: it may be built to exhaust memory",
        )
    _check_end(stream, inflater, path)
    complete = bytes(inflated)
    if layout is None:
        layout = _walk_growing(io.BytesIO(), complete, 0, len(complete), _EXPLICIT, path)
    return complete, layout


def _check_end(stream: Any, inflater: Any, path: Path) -> None:
    """Inflate to the end: without a checksum, only a proper end shows that nothing is damaged."""
    rest = 0
    try:
        while not inflater.eof and rest < _SUSPICIOUS_SIZE:
            piece = inflater.unconsumed_tail or stream.read(_INFLATION_STEP)
            if not piece:
                raise CorruptInput(
                    "the deflated data set is truncated", where=str(path), next_step="copy the file again"
                )
            rest += len(inflater.decompress(piece, _INFLATION_STEP))
    except zlib.error as error:
        raise CorruptInput("the deflated data set is damaged", where=str(path), found=str(error)) from None


def _try_walk(inflated: bytearray, path: Path) -> Layout | None:
    """The layout once the walk reaches the pixel data, else None."""
    try:
        layout = _EXPLICIT.walk(bytes(inflated), 0)
    except NeedMoreBytes:
        return None
    except TooDeep:
        raise too_deep(path) from None
    except StructureFault as fault:
        raise CorruptInput("the deflated data set is damaged", where=str(path), found=str(fault)) from None
    return layout if layout.pixel_offset >= 0 else None


def _declared_end(layout: Layout, size: int, path: Path) -> int:
    if layout.pixel_length == UNDEFINED:
        raise CorruptInput("a deflated data set holds encapsulated pixel data", where=str(path))
    end = layout.pixel_offset + layout.pixel_length
    check_budget(end, where=path)
    if end > _SUSPICIOUS_SIZE and end > _SUSPICIOUS_RATIO * size:
        raise CorruptInput(
            "the deflated data set grows beyond what an image does",
            where=str(path),
            found=f"{size} bytes that inflate to {end}",
            needed=f"at most {_SUSPICIOUS_RATIO} times",
        )
    return end


def _by_pydicom(path: Path, syntax: str, executable: bool) -> Header:
    """The header through pydicom, for structures that the walk does not know."""
    import pydicom
    from pydicom.dataelem import RawDataElement

    by_number = {tag.number: keyword for keyword, tag in TAGS.items()}
    layout = Layout()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, defer_size=_FIRST_READ)
            for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset would convert every element
                raw: Any = dataset.get_item(tag)
                if not isinstance(raw, RawDataElement):
                    continue
                if int(tag) == PIXEL_DATA:
                    layout.pixel_offset, layout.pixel_length = raw.value_tell, raw.length
                elif isinstance(raw.value, bytes):
                    vr = (raw.VR or "").encode()
                    keyword = by_number.get(int(tag))
                    if keyword is not None:
                        known = TAGS[keyword].vr
                        layout.elements[keyword] = (vr if len(vr) == 2 and vr != b"UN" else known, raw.value)
                    elif int(tag) & 0x10000:
                        layout.private[int(tag)] = (vr, raw.value)
    except RecursionError:
        raise too_deep(path) from None
    except Exception as error:
        raise CorruptInput(
            "the file cannot be parsed as DICOM", where=str(path), found=type(error).__name__
        ) from None
    return Header(path, syntax, layout, by_pydicom=True, executable_preamble=executable)
