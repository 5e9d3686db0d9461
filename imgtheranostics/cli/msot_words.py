"""From the words of ``msot`` options to components, wavelengths and levels of noise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imgtheranostics.cli.map_input import is_number
from imgtheranostics.errors import MissingMetadata, NothingUsable
from imgtheranostics.mapping.refusals import UnknownChoice

if TYPE_CHECKING:
    from imgtheranostics.msot.component_column import Component

_KEYWORDS = {
    "noise_sd": "--noise-sd",
    "thb_umol_l=": "--body-thb-umol-l",
    "mu_a ": "--mu-a-per-cm ",
    "mu_s ": "--mu-s-per-cm ",
    "shape=": "--shape ",
    "shape ": "--shape ",
    "pixel_mm": "--pixel-mm",
    "band_hz": "--band-mhz (in Hz)",
    "centre_mm": "--centre-mm",
    "speed_of_sound_m_s": "--speed-of-sound",
    "slice_thickness_mm": "--slice-thickness-mm",
}

_AGENT = "agent:"
_TEXT_FILES = (".csv", ".tsv", ".txt")
_NAMED_FILE = re.compile(r"(?P<file>.+\.(csv|tsv|txt)):(?P<name>[^:/\\]+)", re.IGNORECASE)
_SHAPES = ("diameter_nm", "medium_index", "aspect_ratio", "aspect_ratio_sd", "shift_nm")
_TEXTS = ("optical", "permittivity")


@contextmanager
def as_usage(option: str | None = None) -> Iterator[None]:
    """Turn the ValueError of options that do not fit into one about usage."""
    try:
        yield
    except UnknownChoice:
        raise
    except ValueError as error:
        message = str(error)
        for keyword, word in _KEYWORDS.items():
            message = message.replace(keyword, word)
        raise typer.BadParameter(message, param_hint=option) from error


def component_words(texts: Sequence[str] | None, default: Sequence[str] = ()) -> list[str]:
    """The components of all ``--components``, separated by commas.

    >>> component_words(["HbO2,Hb", "agent:ir780"])
    ['HbO2', 'Hb', 'agent:ir780']
    """
    found = [word.strip() for text in texts or () for word in text.split(",") if word.strip()]
    return found or list(default)


def components_at(words: Sequence[str], wavelength_nm: Any) -> dict[str, Component]:
    """Spectra of components at wavelengths, by name.

    A word is ``[NAME=]WHAT[@KEY=VALUE...]``: a shipped name, ``agent:NAME``, a gold particle, or a file,
    which may be followed by ``:NAME``.

    Raises
    ------
    typer.BadParameter
        If a word cannot be read, or a name stands twice.
    ImgTheranosticsError
        If there is no such spectrum, or it does not cover the wavelengths.
    """
    found: dict[str, Component] = {}
    for word in words:
        one = _component(word, wavelength_nm)
        if one.name in found:
            raise typer.BadParameter(
                f"{one.name} stands twice; name one of them, as in other={word}", param_hint="--components"
            )
        found[one.name] = one
    return found


def spectrum_files(words: Sequence[str]) -> list[Path]:
    """Files that components are read from."""
    return [Path(file) for file in map(_file_of, words) if file]


def without_paths(text: str) -> str:
    """``--components`` for the record, with ``file`` where a path was.

    >>> without_paths("HbO2,dye=/home/somebody/mine.csv@shift_nm=10")
    'HbO2,dye=file@shift_nm=10'
    """
    words = []
    for word in component_words([text]):
        file = _file_of(word)
        # a name behind a colon would look like an address of a file
        head, colon, name = word.partition(f"{file}:") if file else (word, "", "")
        words.append(
            f"{name}=file" if colon and not head else word.replace(file, "file", 1) if file else word
        )
    return ",".join(words)


def _file_of(word: str) -> str:
    """The path that a component names, or an empty text."""
    what = word.split("@")[0]
    given = what.partition("=")[2].strip() if "=" in what else what.strip()
    labelled = _NAMED_FILE.fullmatch(given)
    file = labelled["file"] if labelled is not None else given
    return file if Path(file).suffix.lower() in _TEXT_FILES else ""


def _component(word: str, wavelength_nm: Any) -> Component:
    from imgtheranostics.msot.components import component

    what, *settings = word.split("@")
    name, equals, rest = what.partition("=")
    given = rest.strip() if equals else what.strip()
    own_name = name.strip() if equals else None
    if not given or (equals and not own_name):
        raise typer.BadParameter(
            f"{word!r} is no component; write NAME, NAME=WHAT or WHAT@KEY=VALUE", param_hint="--components"
        )
    options = dict(_setting(text, word) for text in settings)
    labelled = _NAMED_FILE.fullmatch(given)
    if labelled is not None:
        given, own_name = labelled["file"], own_name or labelled["name"].strip()
    try:
        if given.lower().startswith(_AGENT):
            from imgtheranostics.agents.loading import get

            record = get(given[len(_AGENT) :].strip())
            return component(record, wavelength_nm, name=own_name, **options)
        if Path(given).suffix.lower() in _TEXT_FILES:
            return component(Path(given), wavelength_nm, name=own_name, **options)
        return component(given, wavelength_nm, name=own_name, **options)
    except ValueError as error:
        raise typer.BadParameter(f"{word}: {error}", param_hint="--components") from error


def _setting(text: str, word: str) -> tuple[str, Any]:
    """One ``KEY=VALUE`` of a component."""
    key, _, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if key in _TEXTS and value:
        return key, value
    if key in _SHAPES and is_number(value) and math.isfinite(float(value)):
        return key, float(value)
    known = ", ".join((*_SHAPES, *_TEXTS))
    raise typer.BadParameter(
        f"{word!r}: @{text} is not one of @KEY=VALUE with {known}", param_hint="--components"
    )


def wavelength_list(text: str | None, option: str) -> list[float] | None:
    """Wavelengths in nm: a list, ``FIRST:LAST:STEP``, or a file with one on each line.

    >>> wavelength_list("700,730", "--wavelengths"), wavelength_list("700nm:720nm:10", "--wavelengths")
    ([700.0, 730.0], [700.0, 710.0, 720.0])
    """
    if text is None:
        return None
    if Path(text).is_file():
        return _in_file(Path(text), option)
    if Path(text).suffix.lower() in (*_TEXT_FILES, ".wavelengths"):
        raise NothingUsable("there is no such file", where=text, next_step=f"check the path after {option}")
    if ":" in text:
        parts = text.split(":")
        step = parts[-1].strip().lower().removesuffix("nm").strip()
        ends = [_wavelength(part, option) for part in parts[:2]] + [float(step) if is_number(step) else 0.0]
        if len(parts) != 3 or not (ends[2] > 0 and ends[1] >= ends[0]) or (ends[1] - ends[0]) / ends[2] > 1e4:
            raise typer.BadParameter("a range is FIRST:LAST:STEP, such as 700:900:10", param_hint=option)
        count = math.floor((ends[1] - ends[0]) / ends[2] + 1e-6) + 1
        return [ends[0] + n * ends[2] for n in range(count)]
    return [_wavelength(part, option) for part in text.split(",") if part.strip()]


def _in_file(path: Path, option: str) -> list[float]:
    from imgtheranostics.io.whole_files import read_text

    lines = [
        line.split("#")[0].strip() for line in read_text(path, "wavelengths", most_bytes=1 << 20).splitlines()
    ]
    words = [word for line in lines for word in line.replace(",", " ").split() if word.lower() != "nm"]
    found = [_wavelength(word, option) for word in words]
    if not found:
        raise MissingMetadata(
            "the file holds no wavelengths", where=path.name, needed="one in nm on each line"
        )
    return found


def _wavelength(text: str, option: str) -> float:
    word = text.strip().lower().removesuffix("nm").strip()
    if not is_number(word) or not math.isfinite(float(word)):
        raise typer.BadParameter(
            f"{text.strip()!r} is no wavelength in nm; write 700,730 or 700:900:10, or name a file",
            param_hint=option,
        )
    value = float(word)
    if not 100.0 < value < 20_000.0:
        raise typer.BadParameter(
            f"{text.strip()} is no wavelength in nm; 0.7 um and 7e-7 m are 700", param_hint=option
        )
    return value


def shares(texts: Sequence[str] | None, option: str) -> dict[str, float]:
    """``NAME=AMOUNT``, separated by commas."""
    found: dict[str, float] = {}
    for text in component_words(texts):
        name, _, value = text.partition("=")
        if not name.strip() or not is_number(value) or name.strip() in found:
            raise typer.BadParameter("must be NAME=AMOUNT with each name once", param_hint=option)
        found[name.strip()] = float(value)
    return found
