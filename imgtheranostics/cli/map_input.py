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


def mapped(
    path: Path,
    series: str | None = None,
    mr_scaling: str | None = None,
    window_kev: float | tuple[float, float] | None = None,
) -> Volume | Estimate:
    """A scan or a map, with its standard error where that lies beside it."""
    from imgtheranostics.mapping.map_files import load_map

    return load_map(path, series, mr_scaling=mr_scaling, window_kev=window_kev)


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


def number_list(text: str | None, option: str) -> list[float] | None:
    """One number, or several with commas between them.

    >>> number_list("80,140", "--kvp")
    [80.0, 140.0]
    """
    if text is None:
        return None
    words = text.split(",")
    if not all(is_number(word) and math.isfinite(float(word)) for word in words):
        raise typer.BadParameter("must be a number, or numbers with commas between them", param_hint=option)
    return [float(word) for word in words]


def by_name(texts: list[str] | None, option: str) -> dict[str, list[float]]:
    """``NAME=N[,N...]``, each name once.

    >>> by_name(["I=43.8,23.8"], "--slope")
    {'I': [43.8, 23.8]}
    """
    found: dict[str, list[float]] = {}
    for text in texts or ():
        name, equals, numbers = text.partition("=")
        values = number_list(numbers, option) if equals and numbers else None
        if not name.strip() or values is None or name.strip() in found:
            raise typer.BadParameter("must be NAME=N,N with each name once", param_hint=option)
        found[name.strip()] = values
    return found
