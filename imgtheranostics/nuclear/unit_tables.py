"""Tables of people's own: CSV or TSV with a header that names each column and, in brackets, its unit."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, MissingMetadata, NothingUsable, UnitMismatch
from imgtheranostics.io.sidecar import read_json
from imgtheranostics.io.whole_files import read_whole
from imgtheranostics.units import conversion_factor

__all__ = ["UnitColumn", "UnitTable", "read_unit_table"]

FloatArray = npt.NDArray[np.float64]

_MOST_BYTES = 32 * 2**20
_DELIMITERS = ("\t", ";", ",")
_ABSENT = ("", "n/a", "na", "nan", "-")
_HEADING = re.compile(r"^(?P<name>.*?)\s*\[(?P<unit>[^\[\]]*)\]$")
_TIME_WORDS = {
    "seconds": "s", "minutes": "min", "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d",
    "days": "d",
}  # fmt: skip
_TIME_ENDINGS = ("s", "min", "h", "d")
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, eq=False)
class UnitColumn:
    """One column: its name as it stands there, the unit where it says one, and the cells."""

    name: str
    unit: str | None
    cells: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class UnitTable:
    """Columns by their names in lower case, with underscores for blanks.

    Attributes
    ----------
    path : Path
    columns : mapping of str to UnitColumn
        In the order of the file.
    """

    path: Path
    columns: Mapping[str, UnitColumn]

    def first_of(self, *names: str) -> str | None:
        """The first of these columns that is there."""
        return next((name for name in names if name in self.columns), None)

    def numbers(self, name: str) -> FloatArray:
        """One column; NaN where a cell is empty or n/a.

        Raises
        ------
        CorruptInput
            If a cell is no number, or is infinite.
        """
        cells = self.columns[name].cells
        values = np.empty(len(cells))
        for i, cell in enumerate(cells):
            try:
                values[i] = math.nan if cell.lower() in _ABSENT else float(cell)
            except ValueError:
                values[i] = math.inf
            if math.isinf(values[i]):
                raise CorruptInput(
                    "the table holds what is no number", where=f"{self.path.name}, column {name}, row {i + 1}"
                )
        return values

    def seconds(self, name: str, unit: str | None = None) -> FloatArray:
        """A column of times in s; `unit` where the header says none.

        Raises
        ------
        MissingMetadata
            If no unit is known.
        UnitMismatch
            If it is none of time.
        """
        stated = self.columns[name].unit or unit
        if stated is None:
            raise MissingMetadata(
                "the unit of the times in the table is not known",
                where=f"{self.path.name}, column {name}",
                needed=f"a heading such as {name} [s], [min] or [h]",
                next_step="write the unit into the heading",
            )
        return self.numbers(name) * conversion_factor(_TIME_WORDS.get(stated.strip().lower(), stated), "s")

    def flags(self, name: str) -> tuple[bool, ...]:
        """A column of yes and no.

        Raises
        ------
        CorruptInput
            If a cell is neither.
        """
        found = []
        for i, cell in enumerate(self.columns[name].cells):
            if cell.lower() not in _YES:
                raise CorruptInput(
                    "the table holds what is neither yes nor no",
                    where=f"{self.path.name}, column {name}, row {i + 1}",
                    needed="true or false",
                )
            found.append(_YES[cell.lower()])
        return tuple(found)


def read_unit_table(path: Path | str, purpose: str) -> UnitTable:
    """A table with one heading per column.

    Cells are separated by tabs, semicolons or commas, one kind in all lines. Units stand in brackets behind
    the name, or, where the heading has none, under ``Units`` of that column in a JSON file beside the table,
    as in BIDS. Names of times may end with the unit: ``time_min``.

    Parameters
    ----------
    path : Path or str
    purpose : str
        What it is read as, with its article, for messages.

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If it is no text, has no rows, two columns of one name, or rows of different length.
    UnitMismatch
        If heading and JSON file state different units.
    """
    place = Path(path)
    if not place.is_file():
        raise NothingUsable(f"there is no such file to read {purpose} from", where=str(place))
    content = read_whole(place, purpose, most_bytes=_MOST_BYTES)
    try:
        lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CorruptInput(f"{purpose} is not UTF-8 text", where=place.name) from error
    delimiter = next((one for one in _DELIMITERS if lines and one in lines[0]), ",")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, strict=True)]
    except csv.Error as error:
        raise CorruptInput(f"{purpose} cannot be read", where=place.name) from error
    if len(rows) < 2:
        raise CorruptInput(f"{purpose} has no rows", where=place.name, needed="a heading and one row or more")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise CorruptInput(
                f"a row of {purpose} does not fit its heading",
                where=f"{place.name}, line {number}",
                found=f"{len(row)} cells",
                needed=f"{len(rows[0])} cells",
            )
    return UnitTable(place, _columns(rows, place, purpose))


def _columns(rows: list[list[str]], place: Path, purpose: str) -> dict[str, UnitColumn]:
    beside = place.with_suffix(".json")
    sidecar = read_json(beside) if beside.is_file() and beside != place else {}
    found: dict[str, UnitColumn] = {}
    for position, heading in enumerate(rows[0]):
        name, unit = _split(heading)
        key = name.lower().replace(" ", "_")
        if not key or key in found:
            raise CorruptInput(
                f"a column of {purpose} has no name, or that of another",
                where=f"{place.name}, column {position + 1}",
                needed="each name once",
            )
        found[key] = UnitColumn(
            name, _agreed(unit, sidecar, name, place), tuple(row[position] for row in rows[1:])
        )
    return found


def _split(heading: str) -> tuple[str, str | None]:
    """Name and unit of a heading.

    >>> _split("tumour [%ID/g]"), _split("time_min"), _split("left liver")
    (('tumour', '%ID/g'), ('time', 'min'), ('left liver', None))
    """
    match = _HEADING.match(heading)
    if match is not None:
        return match["name"].strip(), match["unit"].strip() or None
    name, _, ending = heading.rpartition("_")
    if name.lower() in ("time", "frame_start", "frame_end", "frame_duration", "start", "end", "duration"):
        return (name, ending) if ending in _TIME_ENDINGS else (heading, None)
    return heading, None


def _agreed(unit: str | None, sidecar: object, name: str, place: Path) -> str | None:
    entry = sidecar.get(name) if isinstance(sidecar, dict) else None
    stated = entry.get("Units") if isinstance(entry, dict) else None
    if not isinstance(stated, str) or not stated.strip():
        return unit
    if unit is not None and unit != stated.strip():
        raise UnitMismatch(
            "heading and JSON file state different units",
            where=f"{place.name}, column {name}",
            found=f"{unit} and {stated.strip()}",
        )
    return stated.strip()
