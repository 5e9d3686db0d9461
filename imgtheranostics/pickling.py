"""Pickling of frozen dataclasses: built anew, so that checks run and arrays are read-only again."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def reduced(whole: Any, **changes: Any) -> tuple[Any, ...]:
    """What ``__reduce__`` returns for a dataclass; `changes` replace fields that cannot be pickled."""
    values = {one.name: getattr(whole, one.name) for one in fields(whole) if one.init}
    return _rebuilt, (type(whole), values | changes)


def _rebuilt(kind: type[Any], values: dict[str, Any]) -> Any:
    return kind(**values)
