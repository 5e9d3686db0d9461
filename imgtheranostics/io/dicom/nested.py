"""The items of a short sequence from its bytes, where these are plain; what is unusual is left to pydicom.

A PET header needs one nested item. Importing pydicom with its decoders for it would take longer than reading
the whole series.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Any

from imgtheranostics.io.dicom.header import IMPLICIT_LITTLE, Header

ATTRIBUTES = {
    0x00080100: ("CodeValue", b"SH"),
    0x00080104: ("CodeMeaning", b"LO"),
    0x00180031: ("Radiopharmaceutical", b"LO"),
    0x00181072: ("RadiopharmaceuticalStartTime", b"TM"),
    0x00181074: ("RadionuclideTotalDose", b"DS"),
    0x00181075: ("RadionuclideHalfLife", b"DS"),
    0x00181076: ("RadionuclidePositronFraction", b"DS"),
    0x00181078: ("RadiopharmaceuticalStartDateTime", b"DT"),
    0x00181079: ("RadiopharmaceuticalStopDateTime", b"DT"),
    0x00540300: ("RadionuclideCodeSequence", b"SQ"),
    0x00540304: ("RadiopharmaceuticalCodeSequence", b"SQ"),
}
"""Tag number -> keyword and value representation of what is kept."""

_SHORT_FORMS = frozenset(re.findall(b"..", b"AEASATCSDADSDTFLFDISLOLTPNSHSLSSSTTMUIULUS"))
_LONG_FORMS = frozenset(re.findall(b"..", b"OBODOFOLOVOWSQSVUCUNURUTUV"))
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 4


@dataclass(slots=True)
class Item:
    """One item: texts as they are in the file without padding, sequences as lists of items."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of an attribute of `ATTRIBUTES`, or the default."""
        return self.values.get(keyword, default)


class _Unusual(Exception):
    """Not the plain structure that is read here."""


def items_of(header: Header, keyword: str) -> list[Any]:
    """The items of a top-level sequence of which only `ATTRIBUTES` are needed.

    Parameters
    ----------
    header : Header
    keyword : str

    Returns
    -------
    list
        `Item`, or pydicom Datasets where the bytes are not plain; both have ``get``.

    Raises
    ------
    CorruptInput
        If pydicom cannot read them either.
    """
    element = header.elements.get(keyword)
    if element is None:
        return []
    if element[0] == b"SQ" and not header.by_pydicom and not header.big_endian:
        try:
            return list(_Reader(element[1], header.syntax == IMPLICIT_LITTLE).items(0, len(element[1]), 0)[0])
        except (_Unusual, struct.error):
            pass
    return header.sequence(keyword)


class _Reader:
    """Reads little-endian items from a buffer."""

    def __init__(self, buffer: bytes, implicit: bool) -> None:
        self.buffer = buffer
        self.implicit = implicit

    def items(self, position: int, stop: int, depth: int) -> tuple[list[Item], int]:
        """The items from a position on, and where they end."""
        if depth > _DEEPEST:
            raise _Unusual
        found: list[Item] = []
        while position < stop:
            group, element, length = struct.unpack_from("<HHI", self.buffer, position)
            position += 8
            if group << 16 | element == _SEQUENCE_END:
                return found, position
            if group << 16 | element != _ITEM:
                raise _Unusual
            end = stop if length == _UNDEFINED else position + length
            if end > stop:
                raise _Unusual
            item, position = self.item(position, end, depth, delimited=length == _UNDEFINED)
            found.append(item)
        return found, position

    def item(self, position: int, stop: int, depth: int, *, delimited: bool) -> tuple[Item, int]:
        """One item, and where it ends."""
        found = Item()
        while position < stop:
            tag, vr, position, length = self.head(position)
            if tag == _ITEM_END:
                if not delimited:
                    raise _Unusual
                return found, position
            keyword, known = ATTRIBUTES.get(tag, ("", b""))
            if self.implicit:
                vr = known or (b"SQ" if length == _UNDEFINED else b"UN")
            if keyword and vr != known:
                raise _Unusual
            if vr == b"SQ":
                end = stop if length == _UNDEFINED else position + length
                nested, after = self.items(position, min(end, stop), depth + 1)
                position = after if length == _UNDEFINED else end
                if keyword:
                    found.values[keyword] = nested
            else:
                if keyword:
                    found.values[keyword] = self.text(position, length)
                position += length
            if position > stop:
                raise _Unusual
        if delimited:
            raise _Unusual
        return found, position

    def head(self, position: int) -> tuple[int, bytes, int, int]:
        """Tag, value representation, where the value begins, and its length."""
        group, element, length = struct.unpack_from("<HHI", self.buffer, position)
        tag = group << 16 | element
        if self.implicit or group == 0xFFFE:
            return tag, b"", position + 8, length
        vr = self.buffer[position + 4 : position + 6]
        if vr in _LONG_FORMS:
            return tag, vr, position + 12, struct.unpack_from("<I", self.buffer, position + 8)[0]
        if vr not in _SHORT_FORMS:
            raise _Unusual
        return tag, vr, position + 8, struct.unpack_from("<H", self.buffer, position + 6)[0]

    def text(self, position: int, length: int) -> str:
        """One ASCII value; several values, and other characters, are for pydicom."""
        raw = self.buffer[position : position + length]
        if len(raw) != length or not raw.isascii() or b"\\" in raw or b"\x1b" in raw:
            raise _Unusual
        return raw.decode("ascii").strip(" \0")
