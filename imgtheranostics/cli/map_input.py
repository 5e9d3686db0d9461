"""From the words of options to numbers and images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate, Volume


def noise_level(text: str | None) -> float | str | None:
    """``--noise-sd``: a number of at least 0, or the word estimate."""
    if text is None or text == "estimate":
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter("must be a number of at least 0, or estimate", param_hint="--noise-sd")
    return value


def window(text: str | None, option: str = "--baseline") -> tuple[int, int] | None:
    """``FIRST:STOP`` as two whole numbers."""
    if text is None:
        return None
    first, colon, stop = text.partition(":")
    if not colon or not first.strip().isdecimal() or not stop.strip().isdecimal():
        raise typer.BadParameter("must be FIRST:STOP, such as 0:5", param_hint=option)
    found = int(first), int(stop)
    if found[0] >= found[1]:
        raise typer.BadParameter("FIRST must be smaller than STOP", param_hint=option)
    return found


def loaded(path: Path, series: str | None = None, mr_scaling: str | None = None) -> Volume:
    """A volume from a file or folder."""
    from imgtheranostics.io.loading import load

    return load(path, series=series, mr_scaling=mr_scaling)


def mapped(path: Path, series: str | None = None, mr_scaling: str | None = None) -> Volume | Estimate:
    """A scan or a map, with its standard error where that lies beside it."""
    from imgtheranostics.mapping.map_files import load_map

    return load_map(path, series, mr_scaling=mr_scaling)


def volume_of(image: Volume | Estimate) -> Volume:
    """The image itself, without its error."""
    value: Volume = getattr(image, "value", image)  # type: ignore[arg-type]
    return value


def is_number(text: str) -> bool:
    """Whether an option that takes a number or a file holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def map_or_number(
    text: str | None, option: str, mr_scaling: str | None = None
) -> Volume | Estimate | float | None:
    """A number as it is, anything else as the path of a map."""
    if text is None:
        return None
    if not is_number(text):
        return mapped(Path(text), None, mr_scaling)
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter("must be a positive number, or a file", param_hint=option)
    return value
