"""Tables of what is known of vials or rods beforehand: a region and its value in each line."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.io.offset_text import read_small_text


class KnownValues(NamedTuple):
    """Values by region, and the column that they stand in."""

    column: str
    values: dict[str, float]


def read_known_values(path: str | Path, columns: Sequence[str]) -> KnownValues:
    """The value of each vial from a table with the column ``region`` and one other, by comma or tabulator.

    Parameters
    ----------
    path : path
    columns : sequence of str
        Names of which the table must have exactly one; upper and lower case are the same.

    Returns
    -------
    KnownValues

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If a column is missing or not the only one, a region comes twice or a value is no number, with its
        line.
    """
    file = Path(path)
    if not file.is_file():
        raise NothingUsable("the table of vials does not exist", where=str(file))
    lines = read_small_text(file, "a table of vials").splitlines()
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = csv.DictReader(lines, delimiter=delimiter)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    present = [column for column in columns if column in names]
    if "region" not in names or len(present) != 1:
        what = "has columns of two meanings" if len(present) > 1 else "lacks a column"
        raise CorruptInput(
            f"the table of vials {what}",
            where=str(file),
            found=", ".join(names),
            needed=f"columns region and {' or '.join(columns)}",
        )
    (column,) = present
    rows.fieldnames = names
    found: dict[str, float] = {}
    for row in rows:
        region, text = (row["region"] or "").strip(), (row[column] or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not region or region in found or not math.isfinite(value):
            raise CorruptInput(
                "a line of the table of vials cannot be used",
                where=f"{file}:{rows.line_num}",
                found=f"{region!r}, {text!r}",
                needed=f"a region, once, and its {column}",
            )
        found[region] = value
    return KnownValues(column, found)
