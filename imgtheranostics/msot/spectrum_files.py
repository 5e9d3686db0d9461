"""A user's own spectrum from a text file of two columns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, NothingUsable
from imgtheranostics.io.whole_files import read_text
from imgtheranostics.msot.spectrum import (
    Spectrum,
    SpectrumQuantity,
    checked_wavelengths,
)

_MOST_BYTES = 4 << 20
_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
_WAVELENGTH_COLUMN = "wavelength_nm"
_VALUE_COLUMNS: dict[str, SpectrumQuantity] = {
    "molar_extinction_per_m_cm": "molar_extinction",
    "absorption_per_cm": "absorption",
}
_HEADER = f"a header line '{_WAVELENGTH_COLUMN},molar_extinction_per_m_cm' (base 10) or "
_HEADER += f"'{_WAVELENGTH_COLUMN},absorption_per_cm' (base e)"


def read_spectrum(path: str | Path, *, name: str | None = None) -> Spectrum:
    """A spectrum from a text file of two columns with a header that names them.

    The columns are ``wavelength_nm`` and either ``molar_extinction_per_m_cm`` (1/(M cm), base 10) or
    ``absorption_per_cm`` (1/cm, base e), in any order of rows, with commas, semicolons or tabs between; with
    semicolons or tabs a comma is a decimal sign. Lines that begin with ``#`` are comments.

    Parameters
    ----------
    path : str or Path
    name : str, optional
        The name of the file without its ending, if it is not given.

    Raises
    ------
    NothingUsable
        If there is no such file.
    MissingMetadata
        If the header does not say what the columns are.
    CorruptInput
        If a row does not hold two finite numbers, or a wavelength stands twice; the line is named.
    ImplausibleValue
        If a value is negative.
    UnitMismatch
        If the wavelengths are not in nm.
    """
    place = Path(path)
    if not place.is_file():
        raise NothingUsable(
            "there is no such file", where=place.name, next_step="check the path of the spectrum"
        )
    text = read_text(place, "a spectrum", most_bytes=_MOST_BYTES)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise CorruptInput("the file holds no rows", where=place.name, needed=_HEADER)
    delimiter, order, quantity = _header(lines[0][1], place.name)
    rows = [_row(line, delimiter, order, f"{place.name}:{number}") for number, line in lines[1:]]
    if len(rows) < 2:
        raise CorruptInput(
            "a spectrum needs at least two rows", where=place.name, found=str(len(rows)), needed="2 or more"
        )
    table = np.array(rows, np.float64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    _check(table, place.name)
    return Spectrum(
        name or place.stem, table[:, 0], table[:, 1], quantity, f"file {place.name}", "the user's"
    )


def _header(line: str, where: str) -> tuple[str, tuple[int, int], SpectrumQuantity]:
    """Delimiter, places of the two columns, and what the values are."""
    for delimiter in _DELIMITERS:
        words = [word.strip().strip('"').lower() for word in line.lstrip("\ufeff").split(delimiter)]
        if len(words) > 1:
            found = [word for word in words if word in _VALUE_COLUMNS]
            if len(words) == 2 and len(found) == 1 and _WAVELENGTH_COLUMN in words:
                order = (words.index(_WAVELENGTH_COLUMN), words.index(found[0]))
                return delimiter, order, _VALUE_COLUMNS[found[0]]
            break
    raise MissingMetadata(
        "the first line does not name the two columns and their units",
        where=where,
        needed=_HEADER,
        next_step="add that line; the values are not guessed to be to base 10 or e",
    )


def _row(line: str, delimiter: str, order: tuple[int, int], where: str) -> tuple[float, float]:
    words = [word.strip() for word in line.split(delimiter)]
    if delimiter != ",":
        words = [word.replace(",", ".") if word.count(",") == 1 else word for word in words]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(math.isfinite(number) for number in numbers):
        raise CorruptInput(
            "a row does not hold two finite numbers",
            where=where,
            found=f"{len(words)} fields",
            needed=f"a wavelength and a value with a {_DELIMITERS[delimiter]} between",
            next_step="decimal commas need semicolons or tabs between the columns",
        )
    return numbers[order[0]], numbers[order[1]]


def _check(table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], where: str) -> None:
    """Refuse wavelengths that are not in nm or stand twice, and negative values."""
    checked_wavelengths(table[:, 0])
    steps = np.diff(table[:, 0])
    if np.any(steps == 0.0):
        twice = float(table[1:, 0][steps == 0.0][0])
        raise CorruptInput(
            "a wavelength stands twice", where=where, found=f"{twice:g} nm", needed="each wavelength once"
        )
    if np.any(table[:, 1] < 0.0):
        low = table[table[:, 1] < 0.0][0]
        raise ImplausibleValue(
            "a spectrum has a negative value",
            where=where,
            found=f"{low[1]:g} at {low[0]:g} nm",
            needed="values of 0 or more",
            next_step="subtract the right blank, or cut the range",
        )
