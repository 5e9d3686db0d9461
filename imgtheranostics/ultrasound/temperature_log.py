"""Temperatures of the frames of a cine, from a thermometer's log."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, ImplausibleValue, NothingUsable, UnsupportedInput
from imgtheranostics.io.offset_text import read_small_text

FloatArray = npt.NDArray[np.float64]

COLUMN = "temperature_cel"
_LOWEST, _HIGHEST = -20.0, 150.0


def read_temperatures(path: str | Path, time_s: npt.ArrayLike) -> FloatArray:
    """The temperature of each frame, in Cel.

    Parameters
    ----------
    path : path
        A table with the column ``temperature_cel``, by comma or tabulator, or bare numbers. Alone, it has one
        line per frame. Beside a column ``time_s`` it is a log of its own, on the time axis of the cine, which
        is interpolated linearly.
    time_s : (n,) array_like
        When the frames were.

    Returns
    -------
    (n,) ndarray

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If a line holds no number, a column is missing, or the times of a log do not increase.
    UnsupportedInput
        If there is not one temperature per frame, or a log does not cover the cine.
    ImplausibleValue
        If values are no temperatures in Cel, such as kelvin.
    """
    file, times = Path(path), np.asarray(time_s, np.float64)
    if not file.is_file():
        raise NothingUsable("the file of temperatures does not exist", where=str(file))
    lines = [line for line in read_small_text(file, "temperatures").splitlines() if line.strip()]
    log, found = _columns(lines, file)
    _check_values(found, file)
    if log is None:
        if found.size != times.size:
            raise UnsupportedInput(
                "there is not one temperature per frame",
                where=str(file),
                found=f"{found.size} temperatures for {times.size} frames",
                needed="one per frame, or the columns time_s and temperature_cel",
            )
        return found
    if not (np.diff(log) > 0).all():
        raise CorruptInput("the times of the temperatures do not increase", where=str(file))
    if log.size < 2 or times[0] < log[0] - 1e-9 or times[-1] > log[-1] + 1e-9:
        raise UnsupportedInput(
            "the temperatures do not cover the cine",
            where=str(file),
            found=f"from {log[0]:g} to {log[-1]:g} s" if log.size else "none",
            needed=f"from {times[0]:g} to {times[-1]:g} s",
        )
    return np.asarray(np.interp(times, log, found))


def _columns(lines: list[str], file: Path) -> tuple[FloatArray | None, FloatArray]:
    """Times, where there are any, and temperatures."""
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = list(csv.reader(lines, delimiter=delimiter))
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if COLUMN not in head:
        if any(not _is_number(cell) for cell in head) or len(head) > 1:
            raise CorruptInput(
                "the temperatures lack a column",
                where=str(file),
                found=", ".join(head),
                needed=f"{COLUMN}, and time_s where there is not one per frame",
            )
        return None, _numbers(rows, 0, 1, file)
    temperatures = _numbers(rows[1:], head.index(COLUMN), 2, file)
    if "time_s" not in head:
        return None, temperatures
    return _numbers(rows[1:], head.index("time_s"), 2, file), temperatures


def _numbers(rows: list[list[str]], column: int, first_line: int, file: Path) -> FloatArray:
    found = []
    for line, row in enumerate(rows, first_line):
        cell = row[column].strip() if column < len(row) else ""
        if not _is_number(cell):
            raise CorruptInput("a temperature or time is no number", where=f"{file}, line {line}")
        found.append(float(cell))
    return np.array(found, np.float64)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _check_values(found: FloatArray, file: Path) -> None:
    if found.size and (found.min() < _LOWEST or found.max() > _HIGHEST):
        raise ImplausibleValue(
            "values are no temperatures of tissue or of a bath in Cel",
            where=str(file),
            found=f"from {found.min():g} to {found.max():g}",
            needed=f"Cel, from {_LOWEST:g} to {_HIGHEST:g}; kelvin less 273.15",
        )
