"""Small results of this package as JSON files that name their kind and version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput, NothingUsable, UnsupportedInput
from imgtheranostics.io.atomic import write_text

LARGEST_BYTES = 1 << 20
"""Such a record takes a few kB."""


def write_record(path: str | Path, content: Mapping[str, Any], *, kind: str, version: int) -> None:
    """Write a record: the whole file or nothing.

    Parameters
    ----------
    path : str or Path
    content : mapping
        Plain data; numbers that are not finite become null.
    kind : str
        Name of the format, such as ``imgtheranostics-vial-calibration``.
    version : int

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    whole = {"format": kind, "version": version, **_finite(content)}
    write_text(Path(path), json.dumps(whole, indent=1, allow_nan=False) + "\n")


def read_record(path: str | Path, *, kind: str, version: int, what: str) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Parameters
    ----------
    path : str or Path
    kind, version
        As it was written.
    what : str
        What the file holds, for messages: ``calibration of vials``.

    Raises
    ------
    NothingUsable
        If there is no such file.
    UnsupportedInput
        If it is another kind of file, or of another version.
    CorruptInput
        If it is not valid JSON.
    """
    place = Path(path)
    try:
        if place.stat().st_size > LARGEST_BYTES:
            raise UnsupportedInput(f"the file is too large for a {what}", where=place.name)
        content = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise NothingUsable(f"the {what} cannot be read", where=str(place), found=error.strerror) from error
    except ValueError as error:
        raise CorruptInput(f"the {what} is not valid JSON", where=place.name) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != kind:
        raise UnsupportedInput(
            f"this is no {what}",
            where=place.name,
            found=f"format {found!r}",
            needed=kind,
            next_step="give a file that this package saved as one",
        )
    if content.get("version") != version:
        raise UnsupportedInput(
            f"the {what} is of another version of this file",
            where=place.name,
            found=f"version {content.get('version')!r}",
            needed=str(version),
            next_step="calibrate again",
        )
    return dict(content)


def _finite(value: Any) -> Any:
    """The same plain data with null for what is no number."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
