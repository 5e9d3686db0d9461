"""Raw attribute bytes to text, numbers and clocks; parsed once per distinct value."""

from __future__ import annotations

import math
import re
import struct
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache

_BINARY = {
    b"US": "H",
    b"SS": "h",
    b"UL": "I",
    b"SL": "i",
    b"FL": "f",
    b"FD": "d",
    b"UV": "Q",
    b"SV": "q",
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6})\d*)?")
_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6})\d*)?([+-]\d{4})?")


@lru_cache(maxsize=16384)
def parse_text(raw: bytes) -> str:
    """A text value without its padding; latin-1, which every code string and number is part of."""
    return raw.decode("latin-1").strip(" \0\r\n\t")


@lru_cache(maxsize=16384)
def parse_strings(raw: bytes) -> tuple[str, ...]:
    """The values of a multi-valued text, each stripped; empty for an empty value."""
    text = parse_text(raw)
    return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()


@lru_cache(maxsize=65536)
def parse_numbers(vr: bytes, raw: bytes, big_endian: bool) -> tuple[float, ...]:
    """The numbers of a decimal, integer or binary value; ValueError when they are none."""
    kind = _BINARY.get(vr)
    if kind is not None:
        count = len(raw) // struct.calcsize(kind)
        if len(raw) != count * struct.calcsize(kind):
            raise ValueError("wrong length")
        return tuple(float(v) for v in struct.unpack((">" if big_endian else "<") + str(count) + kind, raw))
    return tuple(parse_decimal(part) for part in parse_strings(raw))


def parse_decimal(text: str) -> float:
    """One decimal string; ValueError for anything else, Python's underscores included."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return float(text)


@lru_cache(maxsize=4096)
def parse_date(text: str) -> date | None:
    """A DICOM date; None when it is empty; ValueError when it is none."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("not a date")
    return date(int(match[1]), int(match[2]), int(match[3]))


@lru_cache(maxsize=16384)
def parse_time(text: str) -> time | None:
    """A DICOM time with any of its short forms; None when it is empty; ValueError when it is none."""
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None or (match[4] and not match[3]):
        raise ValueError("not a time")
    second = int(match[3] or 0)
    micro = int((match[4] or "").ljust(6, "0"))
    # a leap second cannot be represented; the last microsecond before it is the nearest instant
    return time(int(match[1]), int(match[2] or 0), min(second, 59), micro if second < 60 else 999_999)


@lru_cache(maxsize=16384)
def parse_datetime(text: str) -> datetime | None:
    """A DICOM datetime that says at least the day; aware when it carries an offset.

    None when it is empty or less precise than a day; ValueError when it is none.
    """
    if not text:
        return None
    match = _DATETIME.fullmatch(text)
    if match is None:
        raise ValueError("not a date and time")
    if match[3] is None:
        return None
    second = int(match[6] or 0)
    micro = int((match[7] or "").ljust(6, "0")) if second < 60 else 999_999
    zone = timezone(timedelta(minutes=utc_offset_minutes(match[8]))) if match[8] else None
    return datetime(
        int(match[1]),
        int(match[2]),
        int(match[3]),
        int(match[4] or 0),
        int(match[5] or 0),
        min(second, 59),
        micro,
        tzinfo=zone,
    )


def utc_offset_minutes(text: str) -> float:
    """Minutes of an offset such as ``+0130``; ValueError when it is none."""
    if not re.fullmatch(r"[+-]\d{4}", text):
        raise ValueError("not an offset")
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    if minutes > 14 * 60:
        raise ValueError("offset beyond 14 hours")
    return float(-minutes if text[0] == "-" else minutes)


def is_finite(values: tuple[float, ...]) -> bool:
    """Whether every number is finite."""
    return all(math.isfinite(value) for value in values)
