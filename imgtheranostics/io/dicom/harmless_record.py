"""An acquisition record as it may be written: no free text, dates moved to a neutral one."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from imgtheranostics.io.dicom.series_header import NEUTRAL_DATE
from imgtheranostics.io.free_text import harmless_text

_ONE_PER_SAMPLE = frozenset({"filter_materials"})
"""Lists in which a text that is left out keeps its place."""


def without_free_text(record: Any) -> Any:
    """The record with only words of closed vocabularies, as in sidecars: people type names into the rest."""
    changes: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, str):
            changes[field.name] = harmless_text(field.name, value)
        elif isinstance(value, tuple) and any(isinstance(one, str) for one in value):
            known = [one if harmless_text(field.name, str(one)) else None for one in value]
            changes[field.name] = tuple(one for one in known if one or field.name in _ONE_PER_SAMPLE)
        elif isinstance(value, tuple) and any(is_dataclass(one) for one in value):
            changes[field.name] = tuple(without_free_text(one) for one in value)
        elif is_dataclass(value):
            changes[field.name] = without_free_text(value)
    return replace(record, **changes)


def start_of(record: Any, *, keep: bool) -> datetime:
    """Start of the acquisition; on the neutral date unless dates are kept, at midnight when it is unknown."""
    moment: datetime | None = getattr(record, "acquisition_datetime", None)
    if moment is None:
        return NEUTRAL_DATE
    if keep:
        return moment
    return moment - timedelta(days=(moment.date() - NEUTRAL_DATE.date()).days)
