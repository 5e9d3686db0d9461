"""Values of any kind as strict JSON: no NaN, no numpy types, no dates of a person."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np

DATE_WITHHELD = "[date withheld]"


def plain(value: Any, text: Callable[[str], str] = str) -> Any:
    """`value` in terms of dict, list, str, int, float, bool and None.

    NaN and infinities become None. Dates and clock times, which may identify a person, become a
    placeholder. Every text, mapping keys too, goes through `text`; so do paths.
    """
    if isinstance(value, str):
        return text(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {text(str(key)): plain(item, text) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), text)
    if isinstance(value, Set):
        return sorted((plain(item, text) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, text) for item in value]
    return _scalar(value, text)


def _scalar(value: Any, text: Callable[[str], str]) -> Any:
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, (datetime, date, time, np.datetime64)):
        return DATE_WITHHELD
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.generic):
        return plain(value.item(), text)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return text(str(value))
    return type(value).__name__


def as_json(value: Any) -> str:
    """Strict, indented JSON text that ends with a newline; the same value gives the same bytes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
