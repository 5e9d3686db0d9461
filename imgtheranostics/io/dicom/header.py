"""One file's header: structure checked, values parsed on demand, pixels only located."""

from __future__ import annotations

import io
import math
import struct
import warnings
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.dicom.tags import label
from imgtheranostics.io.dicom.values import (
    parse_date,
    parse_datetime,
    parse_numbers,
    parse_strings,
    parse_text,
    parse_time,
)
from imgtheranostics.io.dicom.walk import (
    Layout,
)

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
ENCAPSULATED_ROOTS = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")

_FEW_ITEMS = 64


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
        return self.syntax.startswith(ENCAPSULATED_ROOTS)

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
            raise too_deep(self.path) from None
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


def too_deep(path: Path) -> CorruptInput:
    """The refusal of sequences within sequences beyond the cap."""
    return CorruptInput(
        "sequences are nested too deep", where=str(path), needed="at most 64 levels of nesting"
    )


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
        raise too_deep(header.path) from None
    except Exception as error:
        raise CorruptInput(
            "the header cannot be parsed", where=str(header.path), found=type(error).__name__
        ) from None
