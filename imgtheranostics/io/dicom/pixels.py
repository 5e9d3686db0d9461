"""Stored pixels: sizes checked against the file before anything is allocated, then read plane by plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.tags import label
from imgtheranostics.io.dicom.walk import UNDEFINED, Element

Array = npt.NDArray[Any]

_FORMAT_KEYWORDS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
)
_LARGEST_SIDE = 32767
_SMALLEST_COMPRESSED_FRAME = 8


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of a file are stored.

    Attributes
    ----------
    rows, columns, samples, frames : int
    bits_allocated, bits_stored, high_bit : int
    signed : bool
    photometric : str
    """

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str

    @property
    def frame_pixels(self) -> int:
        """Pixels of one frame."""
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame; subsampled colour differences take half."""
        full = self.frame_pixels * self.samples * self.bits_allocated // 8
        return full * 2 // 3 if self.photometric == "YBR_FULL_422" else full

    @property
    def colour(self) -> bool:
        """Whether a frame needs conversion to one grey value per pixel."""
        return self.samples > 1 or self.photometric == "PALETTE COLOR"

    def dtype(self, big_endian: bool) -> np.dtype[Any]:
        """Type of a native sample."""
        kind = "i" if self.signed else "u"
        return np.dtype(f"{'>' if big_endian else '<'}{kind}{self.bits_allocated // 8}")


def pixel_format(header: Header) -> PixelFormat:
    """The pixel format, checked for itself and against the size of the file.

    Raises
    ------
    CorruptInput
        If the header contradicts itself or the bytes that are there.
    UnsupportedInput
        If the format is valid but not handled.
    MissingMetadata
        If an attribute is absent.
    """
    key = tuple(header.elements.get(keyword) for keyword in _FORMAT_KEYWORDS)
    try:
        found = _format_from_elements(key, header.big_endian)
    except _FormatFault as fault:
        _raise_fault(header, fault)
    _check_length(header, found)
    return found


class _FormatFault(Exception):
    def __init__(self, keyword: str, found: str, needed: str, *, unsupported: bool = False) -> None:
        self.keyword, self.found, self.needed, self.unsupported = keyword, found, needed, unsupported
        super().__init__(keyword)


def _raise_fault(header: Header, fault: _FormatFault) -> None:
    if fault.found == "absent":
        header.required_integer(fault.keyword)
    kind = UnsupportedInput if fault.unsupported else CorruptInput
    raise kind(
        f"{fault.keyword} does not describe an image",
        where=header.where(fault.keyword),
        found=fault.found,
        needed=fault.needed,
    )


@lru_cache(maxsize=256)
def _format_from_elements(key: tuple[Element | None, ...], big_endian: bool) -> PixelFormat:
    from imgtheranostics.io.dicom.values import parse_numbers, parse_text

    values: dict[str, int | None] = {}
    for keyword, element in zip(_FORMAT_KEYWORDS[:-1], key, strict=False):
        values[keyword] = None
        if element is None:
            continue
        try:
            numbers = parse_numbers(element[0], element[1], big_endian)
        except Exception:
            raise _FormatFault(keyword, "no number", "a whole number") from None
        if len(numbers) > 1 or any(n != n or n != int(n) for n in numbers):
            raise _FormatFault(keyword, "no single whole number", "a whole number")
        values[keyword] = int(numbers[0]) if numbers else None
    for keyword in ("Rows", "Columns", "BitsAllocated", "PixelRepresentation"):
        if values[keyword] is None:
            raise _FormatFault(keyword, "absent", "")
    stored = values["BitsStored"] or values["BitsAllocated"]
    found = PixelFormat(
        rows=values["Rows"] or 0,
        columns=values["Columns"] or 0,
        samples=1 if values["SamplesPerPixel"] is None else values["SamplesPerPixel"],
        frames=1 if values["NumberOfFrames"] is None else values["NumberOfFrames"],
        bits_allocated=values["BitsAllocated"] or 0,
        bits_stored=stored or 0,
        high_bit=(stored or 1) - 1 if values["HighBit"] is None else values["HighBit"],
        signed=values["PixelRepresentation"] == 1,
        photometric=parse_text(key[-1][1]) if key[-1] is not None else "MONOCHROME2",
    )
    _check_format(found, values["PixelRepresentation"])
    return found


def _check_format(found: PixelFormat, representation: int | None) -> None:
    for keyword, value in (("Rows", found.rows), ("Columns", found.columns)):
        if not 0 < value <= _LARGEST_SIDE:
            raise _FormatFault(keyword, str(value), f"1 to {_LARGEST_SIDE}")
    if not 0 < found.frames < 2**24:
        raise _FormatFault("NumberOfFrames", str(found.frames), "1 to 16777215")
    if representation not in (0, 1):
        raise _FormatFault("PixelRepresentation", str(representation), "0 or 1")
    if found.samples not in (1, 3):
        raise _FormatFault("SamplesPerPixel", str(found.samples), "1 or 3")
    if found.bits_allocated not in (8, 16, 32):
        raise _FormatFault(
            "BitsAllocated", str(found.bits_allocated), "8, 16 or 32", unsupported=found.bits_allocated == 1
        )
    if not 0 < found.bits_stored <= found.bits_allocated:
        raise _FormatFault("BitsStored", str(found.bits_stored), f"1 to {found.bits_allocated}")
    if found.high_bit != found.bits_stored - 1:
        raise _FormatFault("HighBit", str(found.high_bit), f"{found.bits_stored - 1}")
    colour = found.photometric.startswith(("RGB", "YBR"))
    if colour != (found.samples == 3):
        raise _FormatFault("SamplesPerPixel", str(found.samples), f"what {found.photometric[:16]} needs")


def _check_length(header: Header, found: PixelFormat) -> None:
    available = _available(header)
    declared = header.layout.pixel_length
    expected = found.frame_bytes * found.frames
    where = f"{header.path}: PixelData (7FE0,0010)"
    if declared == UNDEFINED or header.encapsulated:
        if not header.encapsulated:
            raise CorruptInput("uncompressed pixel data of undefined length", where=where)
        if available < _SMALLEST_COMPRESSED_FRAME * found.frames:
            raise CorruptInput(
                "the file is too small for the frames that its header declares",
                where=f"{header.path}: {label('NumberOfFrames')}",
                found=f"{available} bytes of pixel data",
                needed=f"{found.frames} frames of {found.rows} x {found.columns}",
            )
        return
    if declared > available:
        raise CorruptInput(
            "the pixel data is truncated",
            where=where,
            found=f"{available} bytes in the file",
            needed=f"{declared} bytes",
            next_step="copy the file again",
        )
    if declared < expected:
        raise CorruptInput(
            "the pixel data is shorter than rows, columns and frames declare",
            where=where,
            found=f"{declared} bytes",
            needed=f"{expected} bytes for {found.frames} x {found.rows} x {found.columns} pixels",
        )
    if declared >= expected + found.frame_bytes:
        raise CorruptInput(
            "the pixel data is longer than rows, columns and frames declare",
            where=where,
            found=f"{declared} bytes",
            needed=f"{expected} bytes for {found.frames} x {found.rows} x {found.columns} pixels",
        )


def is_padded(header: Header, found: PixelFormat) -> bool:
    """Whether unused bytes follow the last frame (more than the one that makes the length even)."""
    return not header.encapsulated and header.layout.pixel_length > found.frame_bytes * found.frames + 1


def _available(header: Header) -> int:
    size = len(header.inflated) if header.inflated is not None else header.path.stat().st_size
    return max(size - header.layout.pixel_offset, 0)


def is_plain(header: Header, found: PixelFormat) -> bool:
    """Whether the stored values can be taken from the bytes without a decoder."""
    return not header.encapsulated and not header.by_pydicom and not found.colour


def read_native(header: Header, found: PixelFormat, first: int = 0, count: int | None = None) -> Array:
    """Stored values of consecutive native frames, (count, rows, columns), unused bits taken out.

    Raises
    ------
    CorruptInput
        If the file ended early after all.
    """
    count = found.frames - first if count is None else count
    offset = header.layout.pixel_offset + first * found.frame_bytes
    n_bytes = count * found.frame_bytes
    if header.inflated is not None:
        raw: bytes = header.inflated[offset : offset + n_bytes]
    else:
        with header.path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            raw = stream.read(n_bytes)
    if len(raw) != n_bytes:
        raise CorruptInput("the pixel data is truncated", where=f"{header.path}: PixelData (7FE0,0010)")
    values = np.frombuffer(raw, dtype=found.dtype(header.big_endian))
    return used_bits(values.reshape(count, found.rows, found.columns), found)


def used_bits(values: Array, found: PixelFormat) -> Array:
    """Values without the bits above BitsStored, which may hold overlays; the sign is extended."""
    spare = found.bits_allocated - found.bits_stored
    if spare == 0:
        return values
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    if not found.signed and int(native.max(initial=0)) >> found.bits_stored == 0:
        return native
    return np.asarray(np.right_shift(np.left_shift(native, spare), spare))
