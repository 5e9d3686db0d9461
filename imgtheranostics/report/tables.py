"""Tables: `quantities.tsv` and its JSON twin, and the one object that ``--json`` prints."""

from __future__ import annotations

import csv
import io
import math
import re
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics._version import VERSION
from imgtheranostics.errors import CorruptInput
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.report.plain import plain
from imgtheranostics.report.privacy import Scrubber
from imgtheranostics.report.run import Run

if TYPE_CHECKING:
    import pandas as pd

MISSING = "n/a"
TEXT_COLUMNS = ("subject", "session", "region", "quantity", "unit", "axis", "flags", "warnings")
COUNT_COLUMNS = ("n_voxels", "n_valid")

COLUMN_DESCRIPTIONS: Mapping[str, tuple[str, str]] = {
    "subject": ("", "pseudonym of the subject"),
    "session": ("", "session or time point"),
    "region": ("", "name of the region"),
    "quantity": ("", "name of the quantity"),
    "unit": ("", "UCUM code of mean, sd, standard_error, median, p05, p95, min and max"),
    "axis": ("", "axis beyond space, empty when there is none"),
    "axis_value": ("as the axis", "coordinate along the axis; time in s"),
    "n_voxels": ("1", "voxels in the region"),
    "n_valid": ("1", "voxels with a value"),
    "volume_ml": ("mL", "volume of the region"),
    "mean": ("unit", "mean over the voxels with a value"),
    "sd": ("unit", "standard deviation over the voxels"),
    "standard_error": ("unit", "standard error of the mean, calibration included"),
    "median": ("unit", "median over the voxels"),
    "p05": ("unit", "5th percentile over the voxels"),
    "p95": ("unit", "95th percentile over the voxels"),
    "min": ("unit", "smallest value"),
    "max": ("unit", "largest value"),
    "flags": ("", "flagged voxels by reason"),
    "warnings": ("", "codes of the warnings that concern the row"),
}
"""Unit and meaning of each column; ``unit`` stands for the row's own unit."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

Row = dict[str, Any]


def table_rows(table: pd.DataFrame, label: Callable[[str], str] = str, *, extra: bool = False) -> list[Row]:
    """Rows of a table as plain values in the fixed column order; missing numbers are None.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns of `STATISTICS_COLUMNS`.
    label : callable
        Applied to every text, to take identifiers out.
    extra : bool
        Append the columns that a method added of its own.
    """
    import pandas as pd

    # columns of a table with attributes come with a deep copy of them, of thousands of rows
    table = pd.DataFrame(table)
    names = [*STATISTICS_COLUMNS]
    if extra:
        names += [name for name in map(str, table.columns) if name not in STATISTICS_COLUMNS]
    columns = [_column(name, table[name].tolist(), label) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def run_rows(run: Run) -> list[Row]:
    """Rows of the table of a run, made once for all of its figures; they are not to be changed."""
    if run not in _ROWS:
        _ROWS[run] = table_rows(run.table)
    return _ROWS[run]


_ROWS: weakref.WeakKeyDictionary[Run, list[Row]] = weakref.WeakKeyDictionary()


def _column(name: str, values: Iterable[Any], label: Callable[[str], str]) -> list[Any]:
    if name in TEXT_COLUMNS:
        return [label(_text(value)) for value in values]
    if name in COUNT_COLUMNS:
        return [None if _absent(value) else int(value) for value in values]
    if name not in STATISTICS_COLUMNS:
        return [None if _absent(value) else plain(value, label) for value in values]
    return [plain(np.float64(value)) if not _absent(value) else None for value in values]


def _absent(value: Any) -> bool:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _text(value: Any) -> str:
    if _absent(value):
        return ""
    if isinstance(value, (list, tuple, set, frozenset)):
        return ";".join(str(item) for item in value)
    return str(value)


def as_tsv(rows: Sequence[Row], columns: Sequence[str] = STATISTICS_COLUMNS) -> str:
    """Rows as tab-separated text without quoting; numbers in their shortest exact form, ``n/a`` for missing.

    Control characters of texts become spaces and double quotes become single ones, so that every
    reader splits the lines alike; the JSON twin has the texts unchanged.
    """
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row[name]) for name in columns) for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, str):
        return _CONTROL.sub(" ", value).replace('"', "'").strip() or MISSING
    return repr(value)


def read_tsv(path: Path) -> pd.DataFrame:
    """A table as `as_tsv` writes it: ``n/a`` is NaN in number columns and empty in text columns.

    Raises
    ------
    CorruptInput
        If columns are missing or a number is none.
    """
    import pandas as pd

    text = path.read_text(encoding="utf-8-sig")
    lines = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    missing = [name for name in STATISTICS_COLUMNS if name not in (lines.fieldnames or ())]
    if missing:
        raise CorruptInput(
            "the table lacks columns",
            where=str(path),
            found=f"no {', '.join(missing)}",
            needed="a quantities.tsv",
        )
    rows = list(lines)
    columns = {name: [_parsed(name, row[name], path) for row in rows] for name in STATISTICS_COLUMNS}
    return pd.DataFrame(columns, columns=list(STATISTICS_COLUMNS))


def _parsed(name: str, cell: str | None, path: Path) -> Any:
    if name in TEXT_COLUMNS:
        return "" if cell in (None, MISSING) else cell
    if cell is None or cell == MISSING:
        return math.nan
    try:
        return int(cell) if name in COUNT_COLUMNS else float(cell)
    except ValueError:
        raise CorruptInput(
            f"column {name} does not hold a number", where=str(path), needed=f"a number or {MISSING}"
        ) from None


def quantities_object(table: pd.DataFrame, label: Callable[[str], str] = str) -> dict[str, Any]:
    """The content of `quantities.json`: columns with unit and meaning, rows, and details per row.

    Columns that a method adds of its own stand in the rows, here and under ``--json``; `quantities.tsv`
    has the fixed ones only.
    """
    return {
        "columns": [
            {"name": name, "unit": unit, "description": description}
            for name, (unit, description) in COLUMN_DESCRIPTIONS.items()
        ],
        "rows": table_rows(table, label, extra=True),
        "details": plain(table.attrs.get("details", []), label),
    }


def run_as_json(
    run: Run,
    *,
    output: Path | str | None = None,
    files: Sequence[Path] = (),
    keep_identifiers: bool = False,
) -> dict[str, Any]:
    """The one object that ``--json`` prints, in plain values.

    Parameters
    ----------
    run : Run
    output : Path or str, optional
        The output folder as the user gave it.
    files : sequence of Path
        What `write_run` returned; listed relative to `output`.
    keep_identifiers : bool
        Leave paths and names in texts as they are.
    """
    scrubber = Scrubber.for_run(run, ())
    text: Callable[[str], str] = str if keep_identifiers else scrubber.text
    where: Callable[[str], str] = str if keep_identifiers else scrubber.where
    label: Callable[[str], str] = str if keep_identifiers else scrubber.label
    return {
        "command": run.command,
        "version": VERSION,
        "output": None if output is None else str(output),
        "quantities": table_rows(run.table, label, extra=True),
        "decisions": plain(run.decisions, text),
        "warnings": warnings_list(run, text, where),
        "files": [_relative(path, output) for path in files],
    }


def warnings_list(
    run: Run, text: Callable[[str], str] = str, where: Callable[[str], str] = str
) -> list[dict[str, str]]:
    """The warnings of a run as plain mappings, each once."""
    found = [{"code": w.code, "message": text(w.message), "where": where(w.where)} for w in run.warnings]
    return list({tuple(item.values()): item for item in found}.values())


def _relative(path: Path, output: Path | str | None) -> str:
    if output is not None and path.is_relative_to(output):
        return path.relative_to(output).as_posix()
    return path.name
