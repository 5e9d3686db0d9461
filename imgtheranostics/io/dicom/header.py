"""One file's header: structure checked, values parsed on demand, pixels only located."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput, MissingMetadata, UnsupportedInput
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.dicom.tags import PIXEL_DATA, TAGS, label
from imgtheranostics.io.dicom.values import (
    parse_date,
    parse_datetime,
    parse_numbers,
    parse_strings,
    parse_text,
    parse_time,
)
from imgtheranostics.io.dicom.walk import (
    UNDEFINED,
    Element,
    Layout,
    NeedMoreBytes,
    StructureFault,
    TooDeep,
    Walker,
)

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_ENCAPSULATED_ROOTS = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")

_FIRST_READ = 32 * 1024
_FEW_ITEMS = 64
_INFLATED_HEADER = 16 * 2**20
_INFLATION_STEP = 2**20
_SUSPICIOUS_RATIO = 200
_SUSPICIOUS_SIZE = 64 * 2**20

_EXPLICIT = Walker(implicit=False, big_endian=False)
_IMPLICIT = Walker(implicit=True, big_endian=False)
_BIG = Walker(implicit=False, big_endian=True)


class Header:
    """The header of one file.

    Attributes
    ----------
    path : Path
    syntax : str
        Transfer syntax UID.
    layout : Layout
        Raw elements and the place of the pixel data.
    inflated : bytes or None
        The whole data set of a deflated file; offsets of `layout` then refer to it.
    by_pydicom : bool
        The structure needed pydicom; pixels are then decoded by it too.
    executable_preamble : bool
        The preamble carries the signature of a program.
    """

    __slots__ = (
        "_dataset",
        "big_endian",
        "by_pydicom",
        "elements",
        "executable_preamble",
        "inflated",
        "layout",
        "path",
        "syntax",
    )

    def __init__(
        self,
        path: Path,
        syntax: str,
        layout: Layout,
        *,
        inflated: bytes | None = None,
        by_pydicom: bool = False,
        executable_preamble: bool = False,
    ) -> None:
        self.path = path
        self.syntax = syntax
        self.layout = layout
        self.elements = layout.elements
        self.big_endian = syntax == EXPLICIT_BIG
        self.inflated = inflated
        self.by_pydicom = by_pydicom
        self.executable_preamble = executable_preamble
        self._dataset: Any = None

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data is compressed."""
        return self.syntax.startswith(_ENCAPSULATED_ROOTS)

    def where(self, keyword: str) -> str:
        """File and attribute as messages quote them."""
        return f"{self.path}: {label(keyword)}"

    def has(self, keyword: str) -> bool:
        """Whether the attribute is there and not empty."""
        element = self.elements.get(keyword)
        return element is not None and bool(element[1].strip(b" \0"))

    def text(self, keyword: str) -> str | None:
        """The whole value as text, or None when it is absent or empty."""
        element = self.elements.get(keyword)
        return (parse_text(element[1]) or None) if element is not None else None

    def strings(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued text; empty when it is absent."""
        element = self.elements.get(keyword)
        return parse_strings(element[1]) if element is not None else ()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """The numbers of an attribute; empty when it is absent.

        Raises
        ------
        CorruptInput
            If a value is not a number.
        """
        element = self.elements.get(keyword)
        if element is None:
            return ()
        try:
            return parse_numbers(element[0], element[1], self.big_endian)
        except (ValueError, struct.error):
            raise CorruptInput(
                "an attribute that must hold numbers does not",
                where=self.where(keyword),
                needed="decimal numbers",
            ) from None

    def number(self, keyword: str) -> float | None:
        """The one finite number of an attribute, or None when it is absent or empty.

        Raises
        ------
        CorruptInput
            If it is no number, not finite, or several.
        """
        values = self.numbers(keyword)
        if not values:
            return None
        if len(values) > 1 or not math.isfinite(values[0]):
            raise CorruptInput(
                "an attribute that must hold one finite number does not",
                where=self.where(keyword),
                found=f"{len(values)} values" if len(values) > 1 else str(values[0]),
                needed="one finite number",
            )
        return values[0]

    def soft_number(self, keyword: str) -> float | None:
        """As `number`, but None for a malformed value: for what is only shown and never computed with."""
        try:
            return self.number(keyword)
        except CorruptInput:
            return None

    def integer(self, keyword: str) -> int | None:
        """The one whole number of an attribute, or None when it is absent or empty."""
        value = self.number(keyword)
        if value is None:
            return None
        if value != int(value):
            raise CorruptInput("an attribute that must be a whole number is not", where=self.where(keyword))
        return int(value)

    def required_integer(self, keyword: str) -> int:
        """The whole number of an attribute that every image has.

        Raises
        ------
        MissingMetadata
            If it is absent.
        """
        value = self.integer(keyword)
        if value is None:
            raise MissingMetadata("an image attribute is absent", where=self.where(keyword))
        return value

    def date(self, keyword: str) -> date | None:
        """A date attribute; CorruptInput when it is malformed, without quoting it."""
        value: date | None = self._clock(keyword, parse_date)
        return value

    def time(self, keyword: str) -> time | None:
        """A time attribute; CorruptInput when it is malformed, without quoting it."""
        value: time | None = self._clock(keyword, parse_time)
        return value

    def datetime(self, keyword: str) -> datetime | None:
        """A datetime attribute; CorruptInput when it is malformed, without quoting it."""
        value: datetime | None = self._clock(keyword, parse_datetime)
        return value

    def _clock(self, keyword: str, parse: Any) -> Any:
        element = self.elements.get(keyword)
        if element is None:
            return None
        try:
            return parse(parse_text(element[1]))
        except ValueError:
            raise CorruptInput("a date or time is malformed", where=self.where(keyword)) from None

    def private(self, creator: str, group: int, low: int, *, without_creator: bool = False) -> Any:
        """The raw (representation, bytes) of a private element, found through its creator, or None.

        Parameters
        ----------
        creator : str
            Private creator, compared without case.
        group, low : int
            Group, and the low byte of the element.
        without_creator : bool
            Accept block 10 when the file names no creator for it.
        """
        private = self.layout.private
        for tag, (_, raw) in private.items():
            if tag >> 16 == group and tag & 0xFFFF < 0x100 and parse_text(raw).lower() == creator.lower():
                found = private.get(group << 16 | (tag & 0xFF) << 8 | low)
                if found is not None:
                    return found
        if without_creator and group << 16 | 0x10 not in private:
            return private.get(group << 16 | 0x10 << 8 | low)
        return None

    def private_number(
        self, creator: str, group: int, low: int, kind: bytes, *, without_creator: bool = False
    ) -> float | None:
        """The number of a private element, or None when it is absent or unreadable as one."""
        found = self.private(creator, group, low, without_creator=without_creator)
        if found is None:
            return None
        vr, raw = found
        try:
            values = parse_numbers(kind if vr in (b"", b"UN") else vr, raw, self.big_endian)
        except (ValueError, struct.error):
            raise CorruptInput(
                "a private attribute that must hold a number does not",
                where=f"{self.path}: ({group:04X},xx{low:02X}) of {creator}",
            ) from None
        return values[0] if len(values) == 1 and math.isfinite(values[0]) else None

    @property
    def dataset(self) -> Any:
        """The header as a pydicom Dataset without pixels, for nested sequences; parsed once.

        Raises
        ------
        CorruptInput
            If pydicom cannot read it.
        """
        if self._dataset is None:
            self._dataset = _pydicom_header(self)
        return self._dataset

    def sequence(self, keyword: str) -> list[Any]:
        """The items of a top-level sequence; empty when it is absent."""
        try:
            value = self.dataset.get(keyword)
            items = list(value) if value is not None else []
            if len(items) <= _FEW_ITEMS:
                _convert(items)
        except RecursionError:
            raise _too_deep(self.path) from None
        except Exception as error:
            raise CorruptInput(
                "a sequence cannot be read", where=self.where(keyword), found=type(error).__name__
            ) from None
        if not all(hasattr(item, "get") for item in items):
            raise CorruptInput("an attribute that must be a sequence is not", where=self.where(keyword))
        return items


def _convert(items: list[Any]) -> None:
    """Make pydicom convert every value now, where what it raises is expected."""
    for item in items:
        if hasattr(item, "walk"):
            for element in item:
                if element.VR == "SQ":
                    _convert(list(element.value))


def has_preamble(path: Path) -> bool:
    """Whether the file has the DICOM signature after its preamble."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


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
    if syntax == EXPLICIT_LITTLE or syntax.startswith(_ENCAPSULATED_ROOTS):
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
            raise _too_deep(path) from None


def _truncated(path: Path, position: int, size: int) -> CorruptInput:
    return CorruptInput(
        "the file is truncated: an element ends beyond the end of the file",
        where=str(path),
        found=f"{size} bytes",
        needed=f"at least {position} bytes",
        next_step="copy the file again",
    )


def _too_deep(path: Path) -> CorruptInput:
    return CorruptInput(
        "sequences are nested too deep", where=str(path), needed="at most 64 levels of nesting"
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
        raise _too_deep(path) from None
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


def _pydicom_header(header: Header) -> Any:
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if header.inflated is not None:
                from pydicom.filereader import read_dataset

                end = header.layout.pixel_offset if header.layout.pixel_offset >= 0 else None
                # the 12 bytes before the value are the pixel data's own element head
                return read_dataset(io.BytesIO(header.inflated[: end - 12 if end else None]), False, True)
            return pydicom.dcmread(header.path, stop_before_pixels=True)
    except RecursionError:
        raise _too_deep(header.path) from None
    except Exception as error:
        raise CorruptInput(
            "the header cannot be parsed", where=str(header.path), found=type(error).__name__
        ) from None


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
        raise _too_deep(path) from None
    except Exception as error:
        raise CorruptInput(
            "the file cannot be parsed as DICOM", where=str(path), found=type(error).__name__
        ) from None
    return Header(path, syntax, layout, by_pydicom=True, executable_preamble=executable)
