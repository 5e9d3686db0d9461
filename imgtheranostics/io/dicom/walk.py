"""The structure of a data set, walked without interpreting values.

The loader needs some eighty attributes of thousands of slices. Walking the tags and keeping only the bytes
that are asked for costs a tenth of a full parse, and it checks on the way what a parser takes on trust:
lengths against the buffer and the depth of nested sequences.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from imgtheranostics.io.dicom.tags import (
    DOUBLE_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    PRIVATE_ELEMENTS,
    TAGS,
    WANTED,
)

DEPTH_CAP = 64
"""Sequences nested deeper than this are refused: no image needs them and recursion would not survive them."""

UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_SHORT_VR = frozenset(re.findall(b"..", b"AEASATCSDADSDTFLFDISLOLTPNSHSLSSSTTMUIULUS"))
_LONG_VR = frozenset(re.findall(b"..", b"OBODOFOLOVOWSQSVUCUNURUTUV"))
_FRAGMENTED = frozenset([b"OB", b"OW"])
_SMALLEST_DEEP_SEQUENCE = 8 * DEPTH_CAP

_MOST_SEEN = 20_000

Element = tuple[bytes, bytes]


class NeedMoreBytes(Exception):
    """The buffer ends before the walk does; `position` is where it wants to go on."""

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(position)


class StructureFault(Exception):
    """The bytes are not a data set as this walk knows it."""


class TooDeep(Exception):
    """Sequences are nested deeper than `DEPTH_CAP`."""


@dataclass(slots=True)
class Layout:
    """What a walk found: the wanted elements as raw bytes, and where the pixels lie.

    Attributes
    ----------
    elements : dict
        Keyword -> (value representation, raw bytes).
    private : dict
        Tag number -> (value representation, raw bytes), creators included.
    pixel_offset : int
        Offset of the pixel data's value in the buffer or file; -1 where there is none.
    pixel_length : int
        Its declared length, or `UNDEFINED` when it is encapsulated.
    """

    elements: dict[str, Element] = field(default_factory=dict)
    private: dict[int, Element] = field(default_factory=dict)
    pixel_offset: int = -1
    pixel_length: int = 0
    float_pixels: bool = False


class Walker:
    """Walks one encoding of data sets.

    Parameters
    ----------
    implicit : bool
        Value representations are left out.
    big_endian : bool
        Byte order.
    """

    def __init__(self, *, implicit: bool, big_endian: bool) -> None:
        order = ">" if big_endian else "<"
        self.implicit = implicit
        self._explicit_head = struct.Struct(order + "HH2sH").unpack_from
        self._implicit_head = struct.Struct(order + "HHI").unpack_from
        self._length = struct.Struct(order + "I").unpack_from
        # most values of a series are the same in all its files: each is kept once
        self._seen: dict[Element, Element] = {}

    def walk(self, buffer: bytes, start: int) -> Layout:
        """Walk the top level up to the pixel data or the end of the buffer.

        Raises
        ------
        NeedMoreBytes
            If an element reaches beyond the buffer.
        StructureFault, TooDeep
            If the bytes make no data set, or nest too deep.
        """
        layout = Layout()
        elements, private, wanted = layout.elements, layout.private, WANTED
        seen = self._seen
        if len(seen) > _MOST_SEEN:
            seen.clear()
        position, end = start, len(buffer)
        while position < end:
            if position + 12 > end:
                if position + 8 > end:
                    raise NeedMoreBytes(position + 12)
                length = self._implicit_head(buffer, position)[2]
                if not self.implicit and length and buffer[position + 4 : position + 6] not in _SHORT_VR:
                    raise NeedMoreBytes(position + 12)
            tag, vr, value_at, length = self._head(buffer, position)
            if tag >= FLOAT_PIXEL_DATA and tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
                layout.pixel_offset, layout.pixel_length = value_at, length
                layout.float_pixels = tag != PIXEL_DATA
                return layout
            if length == UNDEFINED:
                stop = self._skip_undefined(buffer, value_at, vr, self.implicit, 1)
            else:
                stop = value_at + length
                if stop > end:
                    raise NeedMoreBytes(stop)
                if vr == b"SQ" and length >= _SMALLEST_DEEP_SEQUENCE:
                    self._check_depth(buffer, value_at, stop)
            keyword = wanted.get(tag)
            if keyword is not None:
                known = TAGS[keyword].vr if self.implicit or vr == b"UN" else vr
                found = (known, bytes(buffer[value_at:stop]))
                elements[keyword] = seen.setdefault(found, found)
            elif tag & 0x10000 and _is_wanted_private(tag):
                private[tag] = (vr, bytes(buffer[value_at:stop]))
            position = stop
        return layout

    def _head(self, buffer: bytes, position: int) -> tuple[int, bytes, int, int]:
        if self.implicit:
            group, element, length = self._implicit_head(buffer, position)
            return group << 16 | element, b"", position + 8, length
        group, element, vr, length = self._explicit_head(buffer, position)
        if vr in _SHORT_VR:
            return group << 16 | element, vr, position + 8, length
        if vr in _LONG_VR:
            return group << 16 | element, vr, position + 12, self._length(buffer, position + 8)[0]
        raise StructureFault(f"value representation {vr!r} at byte {position}")

    def _skip_undefined(self, buffer: bytes, position: int, vr: bytes, implicit: bool, depth: int) -> int:
        """Position after a value of undefined length: a sequence, or the fragments of a nested image."""
        if vr in _FRAGMENTED:
            return self._skip_items(buffer, position, implicit, depth, opaque=True)
        return self._skip_items(buffer, position, implicit or vr == b"UN", depth)

    def _skip_items(
        self, buffer: bytes, position: int, implicit: bool, depth: int, *, opaque: bool = False
    ) -> int:
        """Position after the delimiter of a sequence of undefined length."""
        if depth > DEPTH_CAP:
            raise TooDeep
        while True:
            if position + 8 > len(buffer):
                raise NeedMoreBytes(position + 8)
            group, element, length = self._implicit_head(buffer, position)
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM:
                raise StructureFault(f"no item at byte {position - 8}")
            if length == UNDEFINED:
                position = self._skip_elements(buffer, position, None, implicit, depth)
            else:
                if position + length > len(buffer):
                    raise NeedMoreBytes(position + length)
                if length >= _SMALLEST_DEEP_SEQUENCE and not opaque:
                    self._skip_elements(buffer, position, position + length, implicit, depth)
                position += length

    def _skip_elements(
        self, buffer: bytes, position: int, stop: int | None, implicit: bool, depth: int
    ) -> int:
        """Position after one item: at `stop`, or after its delimiter when that is None."""
        reader = self if implicit == self.implicit else Walker(implicit=implicit, big_endian=False)
        while stop is None or position < stop:
            if position + 12 > len(buffer):
                if position + 8 > len(buffer):
                    raise NeedMoreBytes(position + 8)
                group, element, length = self._implicit_head(buffer, position)
                is_end = group << 16 | element == _ITEM_END
                if not (is_end or implicit or buffer[position + 4 : position + 6] in _SHORT_VR):
                    raise NeedMoreBytes(position + 12)
            group, element, length = self._implicit_head(buffer, position)
            if group << 16 | element == _ITEM_END:
                return position + 8
            _, vr, value_at, length = reader._head(buffer, position)
            if length == UNDEFINED:
                position = self._skip_undefined(buffer, value_at, vr, implicit, depth + 1)
                continue
            position = value_at + length
            if position > (len(buffer) if stop is None else stop):
                if stop is None:
                    raise NeedMoreBytes(position)
                raise StructureFault(f"an element at byte {value_at} is longer than its item")
            if vr == b"SQ" and length >= _SMALLEST_DEEP_SEQUENCE:
                self._check_depth(buffer, value_at, position, depth + 1)
        return position

    def _check_depth(self, buffer: bytes, position: int, stop: int, depth: int = 1) -> None:
        """Walk a sequence of defined length for the sake of its depth."""
        if depth > DEPTH_CAP:
            raise TooDeep
        while position + 8 <= stop:
            group, element, length = self._implicit_head(buffer, position)
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise StructureFault(f"no item at byte {position - 8}")
            if length == UNDEFINED:
                position = self._skip_elements(buffer, position, None, self.implicit, depth)
            else:
                if position + length > stop:
                    raise StructureFault(f"an item at byte {position} is longer than its sequence")
                if length >= _SMALLEST_DEEP_SEQUENCE:
                    self._skip_elements(buffer, position, position + length, self.implicit, depth)
                position += length


def _is_wanted_private(tag: int) -> bool:
    low = PRIVATE_ELEMENTS.get(tag >> 16)
    if low is None:
        return False
    element = tag & 0xFFFF
    return element < 0x100 or (element & 0xFF) in low
