"""Acquisition records as JSON and back: moments become seconds from the first acquisition, never dates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime, time, timedelta, timezone
from typing import Any

import numpy as np

from imgtheranostics.acquisition import (
    Acquisition,
    CtAcquisition,
    EmissionAcquisition,
    MrAcquisition,
    NuclearAcquisition,
    OtherAcquisition,
    PhotoacousticAcquisition,
    Radiopharmaceutical,
    Subject,
    UltrasoundAcquisition,
)
from imgtheranostics.io.free_text import harmless_text

_RECORDS: dict[str, type[Any]] = {
    record.__name__: record
    for record in (
        EmissionAcquisition,
        MrAcquisition,
        CtAcquisition,
        NuclearAcquisition,
        UltrasoundAcquisition,
        PhotoacousticAcquisition,
        OtherAcquisition,
        Radiopharmaceutical,
        Subject,
    )
}

_BASE = datetime(2000, 1, 1, 12)
"""A stand-in for the first acquisition; noon, so that earlier clock times fall on the same day."""
_DAY_S = 86400.0
_LONGEST_S = 1e10
_MAXIMUM_SLICES = 100_000
_KINDS: dict[str, tuple[type[Any], ...]] = {
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "str": (str,),
    "tuple": (tuple,),
    "Mapping": (dict,),
    "datetime": (datetime,),
    "time": (time,),
    "FloatArray": (np.ndarray,),
    "TimeArray": (np.ndarray,),
    "Radiopharmaceutical": (Radiopharmaceutical,),
    "Subject": (Subject,),
}
"""What a value must be, by the first word of a field's annotation."""


def to_record(acquisition: Acquisition, *, keep_texts: bool = False) -> dict[str, Any]:
    """The record as plain JSON values; moments as ``{"seconds": s}`` from its first acquisition.

    Texts that are no word of a closed vocabulary are left out unless `keep_texts` is given.
    """
    return _encode_record(acquisition, _Writing(_first_moment(acquisition), keep_texts))


def from_record(content: Mapping[str, Any]) -> Acquisition:
    """The record that `to_record` wrote, with its moments on a stand-in date.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the content is not one.
    """
    decoded: Acquisition = _decode(content)
    if not dataclasses.is_dataclass(decoded):
        raise TypeError("not an acquisition record")
    return decoded


def _first_moment(acquisition: Any) -> datetime:
    moments: list[datetime] = []
    for one in dataclasses.fields(acquisition):
        value = getattr(acquisition, one.name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "M":
            known = value[~np.isnat(value)]
            if known.size:
                moments.append(known.min().astype("datetime64[us]").astype(datetime))
        elif one.name == "acquisition_datetime" and isinstance(value, datetime):
            moments.append(value.replace(tzinfo=None))
    if moments:
        return min(moments)
    series = getattr(acquisition, "series_datetime", None)
    return series.replace(tzinfo=None) if isinstance(series, datetime) else _BASE


@dataclasses.dataclass(frozen=True, slots=True)
class _Writing:
    """The moment that seconds count from, and whether free text is written."""

    base: datetime
    keep_texts: bool


def _encode_record(record: Any, how: _Writing) -> dict[str, Any]:
    content: dict[str, Any] = {"record": type(record).__name__}
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        if value is None or (isinstance(value, (tuple, dict, str)) and not value):
            continue
        encoded = _encode(value, how, one.name)
        if encoded is not None:
            content[one.name] = encoded
    return content


def _encode(value: Any, how: _Writing, name: str) -> Any:
    base = how.base
    if isinstance(value, np.ndarray):
        return _encode_array(value, base)
    if isinstance(value, str):
        return value if how.keep_texts else harmless_text(name, value)
    if isinstance(value, datetime):
        seconds = (value.replace(tzinfo=None) - base).total_seconds()
        offset = value.utcoffset()
        # Seconds are those of the value's own clock, so its zone must go with them.
        return {"seconds": seconds, "zone": "local" if offset is None else offset.total_seconds() / 60}
    if isinstance(value, time):
        seconds = value.hour * 3600 + value.minute * 60 + value.second + value.microsecond * 1e-6
        start = base.hour * 3600 + base.minute * 60 + base.second + base.microsecond * 1e-6
        return {"clock_seconds": round((seconds - start) % _DAY_S, 6)}
    if dataclasses.is_dataclass(value):
        return _encode_record(value, how)
    if isinstance(value, Mapping):
        entries = {str(key): _encode(entry, how, str(key)) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if entry is not None}
    if isinstance(value, (tuple, list)):
        return [_encode(entry, how, name) for entry in value]
    return plain(value)


def _encode_array(value: np.ndarray[Any, Any], base: datetime) -> dict[str, Any]:
    """A (slices, frames) array, one row standing for all where every slice says the same."""
    if value.dtype.kind == "M":
        seconds = (value - np.datetime64(base, "us")) / np.timedelta64(1, "s")
        numbers, kind = np.where(np.isnat(value), np.nan, seconds), "moments"
    else:
        numbers, kind = value.astype(np.float64), "numbers"
    rows = numbers
    if numbers.ndim == 2 and all(np.array_equal(row, numbers[0], equal_nan=True) for row in numbers):
        rows = numbers[:1]
    return {kind: plain(rows.tolist()), "shape": list(value.shape)}


def _decode(content: Any) -> Any:
    if isinstance(content, list):
        return tuple(_decode(entry) for entry in content)
    if not isinstance(content, Mapping):
        return content
    if "record" in content:
        record = _RECORDS[content["record"]]
        known = {one.name: str(one.type) for one in dataclasses.fields(record) if one.init}
        return record(**{key: _typed(_decode(content[key]), known[key]) for key in content if key in known})
    if "seconds" in content:
        minutes = content.get("zone")
        zone = timezone(timedelta(minutes=minutes)) if isinstance(minutes, (int, float)) else None
        return (_BASE + timedelta(seconds=float(content["seconds"]))).replace(tzinfo=zone)
    if "clock_seconds" in content:
        return (_BASE + timedelta(seconds=float(content["clock_seconds"]))).time()
    if "shape" in content:
        return _decode_array(content)
    return {key: _decode(value) for key, value in content.items()}


def _typed(value: Any, annotation: str) -> Any:
    """The value if it is what the field's annotation says; TypeError if a hand-made file says otherwise."""
    needed = next((kinds for word, kinds in _KINDS.items() if annotation.startswith(word)), None)
    if needed is not None and not isinstance(value, needed):
        raise TypeError(f"{annotation} is needed")
    if annotation.startswith(("float", "int")) and isinstance(value, bool):
        raise TypeError(f"{annotation} is needed")
    return value


def _decode_array(content: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    kind = "moments" if "moments" in content else "numbers"
    rows = np.array(content[kind], dtype=np.float64)
    shape = tuple(int(n) for n in content["shape"])
    if len(shape) != 2 or rows.ndim != 2 or not 0 < shape[0] <= _MAXIMUM_SLICES or rows.shape[1] != shape[1]:
        raise ValueError("an array has one row per slice and one column per frame")
    if kind == "moments" and (np.abs(rows[np.isfinite(rows)]) > _LONGEST_S).any():
        raise ValueError("a moment is out of range")
    numbers = np.array(np.broadcast_to(rows, shape))
    if kind == "numbers":
        return numbers
    known = np.isfinite(numbers)
    micro = np.where(known, np.round(np.where(known, numbers, 0.0) * 1e6), 0).astype("timedelta64[us]")
    moments = np.datetime64(_BASE, "us") + micro
    moments[~known] = np.datetime64("NaT")
    return moments


def plain(value: Any) -> Any:
    """The value in types that JSON knows: arrays as lists, NaN and infinities as None, the rest as text."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
