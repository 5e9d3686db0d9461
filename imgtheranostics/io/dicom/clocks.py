"""Dates, times and zones of one file put together; never printed, only their differences are."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from functools import lru_cache

import numpy as np

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.values import (
    parse_date,
    parse_datetime,
    parse_text,
    parse_time,
    utc_offset_minutes,
)

_EPOCH = datetime(1970, 1, 1)  # local clock of the file, as the file has no zone


def utc_offset(header: Header) -> float | None:
    """Minutes of TimezoneOffsetFromUTC (0008,0201), or None.

    Raises
    ------
    CorruptInput
        If it is not an offset.
    """
    text = header.text("TimezoneOffsetFromUTC")
    if text is None:
        return None
    try:
        return utc_offset_minutes(text)
    except ValueError:
        raise CorruptInput(
            "the offset from UTC is malformed",
            where=header.where("TimezoneOffsetFromUTC"),
            needed="such as +0100",
        ) from None


def with_zone(moment: datetime | None, offset_min: float | None) -> datetime | None:
    """The moment in the file's zone when the file states one; unchanged otherwise."""
    if moment is None or offset_min is None:
        return moment
    zone = timezone(timedelta(minutes=offset_min))
    return moment.astimezone(zone) if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def series_start(header: Header) -> datetime | None:
    """SeriesDate and SeriesTime; None when either is absent."""
    day, clock = header.date("SeriesDate"), header.time("SeriesTime")
    if day is None or clock is None:
        return None
    return with_zone(datetime.combine(day, clock), utc_offset(header))


def acquisition_us(header: Header, *, strict: bool = False) -> int | None:
    """Start of the image's acquisition in microseconds on the file's local clock, or None.

    AcquisitionDateTime when it is there, else AcquisitionDate and AcquisitionTime; a missing
    AcquisitionDate is replaced by the series' or study's date, as some scanners leave it out.

    Raises
    ------
    CorruptInput
        If `strict` and a date or time is malformed; otherwise such a clock counts as absent.
    """
    raw = [
        header.elements.get(keyword, (b"", b""))[1]
        for keyword in (
            "AcquisitionDateTime",
            "AcquisitionDate",
            "AcquisitionTime",
            "SeriesDate",
            "StudyDate",
            "TimezoneOffsetFromUTC",
        )
    ]
    try:
        return _acquisition_us(*raw)
    except ValueError:
        if not strict:
            return None
        raise CorruptInput(
            "the acquisition date or time is malformed", where=header.where("AcquisitionTime")
        ) from None


@lru_cache(maxsize=16384)
def _acquisition_us(
    full: bytes, day: bytes, clock: bytes, series_day: bytes, study_day: bytes, zone: bytes
) -> int | None:
    moment = parse_datetime(parse_text(full)) if len(parse_text(full)) >= 10 else None
    if moment is None:
        when = parse_time(parse_text(clock))
        on = _first_date(day, series_day, study_day)
        if when is None or on is None:
            return None
        moment = datetime.combine(on, when)
    elif moment.tzinfo is not None:
        text = parse_text(zone)
        if text:
            moment = moment.astimezone(timezone(timedelta(minutes=utc_offset_minutes(text))))
        moment = moment.replace(tzinfo=None)
    return microseconds(moment)


def _first_date(*raw: bytes) -> date | None:
    for value in raw:
        text = parse_text(value)
        if text:
            return parse_date(text)
    return None


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 on the moment's own clock face."""
    return (moment.replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)


ABSENT = int(np.iinfo(np.int64).min)
"""The integer that datetime64 shows as NaT."""


def to_datetime(value_us: int | None) -> datetime | None:
    """A naive datetime of microseconds, or None."""
    return None if value_us is None else _EPOCH + timedelta(microseconds=value_us)
