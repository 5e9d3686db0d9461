"""Damage: what disks, networks, broken exporters and attackers do to files."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable

_VR = [*re.findall(b"..", b"AEASCSDADSDTFDFLISLOLTOBOFOWPNSHSLSQSSSTTMUIULUNUSUT"), b"XX", b"\x00\x00"]
_HEAD = re.compile(
    rb"..\x00?..(AE|AS|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OW|PN|SH|SL|SQ|SS|ST|TM|UI|UL|UN|US|UT)", re.S
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORDS = [b"nan", b"NaN", b"inf", b"-1", b"0", b"1e400", b"-1e30", b"", b"1\\2", b"abc", b"9" * 20,
          b"1e-320", b"0x10", b"1_0", b"null", b"[]", b"{}", b"true", "٣".encode(), b"\xff\xfe"]  # fmt: skip
_LENGTHS = [0, 1, 2, 7, 0x7F, 0xFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]
_PATTERNS = [b"\x00" * 4, b"\xff" * 4, struct.pack("<f", float("nan")), struct.pack("<f", float("inf")),
             struct.pack("<d", float("nan")), struct.pack("<i", -1), struct.pack("<i", 2**31 - 1),
             struct.pack("<h", 32767), struct.pack("<h", -32768), struct.pack("<f", 1e30),
             struct.pack(">f", 1.0)]  # fmt: skip

Mutation = Callable[[random.Random, bytearray, int], None]


def _flip_header(rng: random.Random, data: bytearray, header: int) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        data[rng.randrange(min(header, len(data)))] ^= 1 << rng.randrange(8)


def _flip_anywhere(rng: random.Random, data: bytearray, header: int) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _truncate(rng: random.Random, data: bytearray, header: int) -> None:
    limit = header if rng.random() < 0.4 else len(data)
    del data[rng.randrange(limit) :]


def _set_length(rng: random.Random, data: bytearray, header: int) -> None:
    """Another length or count where one is plausible."""
    heads = [match.end() for match in _HEAD.finditer(bytes(data[132:header]))] if header > 400 else []
    value = rng.choice(_LENGTHS) if rng.random() < 0.6 else rng.randrange(2**16)
    if heads:
        at = 132 + rng.choice(heads)
        wide = bytes(data[at - 2 : at]) in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        if wide:
            data[at + 2 : at + 6] = struct.pack("<I", value)
        else:
            data[at : at + 2] = struct.pack("<H", value & 0xFFFF)
    else:
        at = rng.choice((0, 40, 42, 44, 46, 48, 70, 72, 108)) if header >= 348 else rng.randrange(header)
        data[at : at + 2] = struct.pack("<H", value & 0xFFFF)


def _splice(rng: random.Random, data: bytearray, header: int) -> None:
    """A block copied to another place, over what is there or between."""
    size = rng.randrange(1, min(257, len(data)))
    source, target = rng.randrange(len(data) - size + 1), rng.randrange(min(header, len(data)))
    block = bytes(data[source : source + size])
    data[target : target + (size if rng.random() < 0.5 else 0)] = block


def _insert(rng: random.Random, data: bytearray, header: int) -> None:
    at = rng.randrange(min(header, len(data)))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8, 64, 1024)))


def _delete(rng: random.Random, data: bytearray, header: int) -> None:
    at = rng.randrange(min(header, len(data)))
    del data[at : at + rng.choice((1, 2, 4, 8, 64))]


def _swap_representation(rng: random.Random, data: bytearray, header: int) -> None:
    heads = [match.end() - 2 for match in _HEAD.finditer(bytes(data[:header]))]
    if not heads:
        _flip_header(rng, data, header)
        return
    at = rng.choice(heads)
    data[at : at + 2] = rng.choice(_VR)


def _overwrite(rng: random.Random, data: bytearray, header: int) -> None:
    at = rng.randrange(min(header, len(data)))
    pattern = rng.choice(_PATTERNS)
    data[at : at + len(pattern)] = pattern


def _write_word(rng: random.Random, data: bytearray, header: int) -> None:
    """Something else where a number stands as text; in place, or shifting all that follows."""
    found = list(_NUMBER.finditer(bytes(data[:header])))
    if not found:
        _overwrite(rng, data, header)
        return
    match = rng.choice(found)
    word = rng.choice(_WORDS)
    if rng.random() < 0.5:
        size = match.end() - match.start()
        word = word[:size].ljust(size)
    data[match.start() : match.end()] = word


def _nest(rng: random.Random, data: bytearray, header: int) -> None:
    """Sequences within sequences, without an end."""
    depth = rng.choice((3, 70, 400))
    item = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    opening = b"[" if header < 2500 and data[:1] in (b"{", b"[") else item
    data[rng.randrange(min(header, len(data)) + 1) : 0] = opening * depth


MUTATIONS: dict[str, Mutation] = {
    "bits in the header": _flip_header,
    "bits anywhere": _flip_anywhere,
    "cut": _truncate,
    "length": _set_length,
    "splice": _splice,
    "inserted bytes": _insert,
    "deleted bytes": _delete,
    "representation": _swap_representation,
    "overwritten bytes": _overwrite,
    "word for number": _write_word,
    "nesting": _nest,
}


def mutate(content: bytes, header: int, rng: random.Random) -> tuple[str, bytes]:
    """Damage a file; compressed ones half of the time inside, packed again with a right checksum.

    Returns
    -------
    str
        What was done.
    bytes
    """
    name = rng.choice(list(MUTATIONS))
    if content.startswith(b"\x1f\x8b") and rng.random() < 0.5:
        data = bytearray(zlib.decompress(content, 31))
        MUTATIONS[name](rng, data, min(len(data), 544))
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        return f"{name}, packed again", packer.compress(bytes(data)) + packer.flush()
    data = bytearray(content)
    MUTATIONS[name](rng, data, header)
    return name, bytes(data)
