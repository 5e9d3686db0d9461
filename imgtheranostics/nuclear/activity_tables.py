"""Counted samples as curves: a table of times, regions and activities that people have made themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, UnitMismatch
from imgtheranostics.nuclear.unit_tables import UnitColumn, UnitTable, read_unit_table
from imgtheranostics.units import QUANTITIES, conversion_factor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_activity_table"]

FloatArray = npt.NDArray[np.float64]

_SHARES = {
    "%id/g": "id_per_g", "%ia/g": "id_per_g", "%/g": "id_per_g",
    "%id/ml": "id_per_ml", "%id/cc": "id_per_ml", "%id/cm3": "id_per_ml", "%ia/ml": "id_per_ml",
    "%/ml": "id_per_ml", "%id": "id_per_region", "%ia": "id_per_region",
    "suv": "suv_bw", "g/ml": "suv_bw",
}  # fmt: skip

_TIME = ("time", "time_after_injection", "t")
_ERROR = ("standard_error", "se", "sem")
_KNOWN = (*_TIME, *_ERROR, "region", "organ", "decay_corrected", "subject", "animal", "activity", "mean")


def read_activity_table(
    path: Path | str,
    *,
    decay_corrected: bool | None = None,
    nuclide_name: str | None = None,
    half_life_s: float | None = None,
) -> pd.DataFrame:
    """Curves of counted samples, as `time_activity` makes those of images.

    Parameters
    ----------
    path : Path or str
        CSV or TSV with a heading: ``time [h]`` after the injection; ``region`` and ``activity [%ID/g]``, or
        a column for each region, such as ``tumour [%ID/g]``. Units are those of time, and Bq/mL and its
        multiples, %ID/g, %ID/mL, %ID or SUV. Beside them may stand ``standard_error`` in the unit of the
        activity, ``subject``, and ``decay_corrected`` (true or false). Several samples of a region at one
        time, of one subject or without subjects, become their mean with its standard error.
    decay_corrected : bool, optional
        Whether activities are as if nothing had decayed since the injection, for tables without that column.
    nuclide_name : str, optional
        Such as ``Cu-64``.
    half_life_s : float, optional
        Instead of that of the nuclide.

    Returns
    -------
    pandas.DataFrame
        For `imgtheranostics.nuclear.fit_curve`.

    Raises
    ------
    NothingUsable, CorruptInput
        If the table cannot be read, or lacks times or activities.
    MissingMetadata
        If a unit, the half-life or the decay reference is not known.
    UnitMismatch
        If a unit is none of these, or decay references are mixed.
    """
    import pandas as pd

    table = read_unit_table(path, "a table of activities")
    name = table.first_of(*_TIME)
    if name is None:
        raise CorruptInput(
            "the table of activities lacks its times",
            where=table.path.name,
            found=", ".join(table.columns),
            needed="a column such as time [h]",
        )
    seconds = _seconds(half_life_s, nuclide_name)
    corrected = _references(table, decay_corrected)
    samples = pd.DataFrame(_samples(table, table.seconds(name), corrected))
    if samples.empty:
        raise CorruptInput("the table of activities holds no sample", where=table.path.name)
    rows, details = _rows(samples)
    found = pd.DataFrame(rows)
    found.attrs = {
        "time_origin": "injection",
        "decay_corrected": bool(corrected[0]),
        "decay_reference": "injection" if corrected[0] else "none: activity as it was",
        "decisions": [{"half_life": seconds, "samples": {"rule": "table of activities"}}],
        "warnings": _cautions(samples),
        "details": details,
    }
    return found


def _seconds(half_life_s: float | None, nuclide_name: str | None) -> dict[str, Any]:
    if half_life_s is not None:
        if not (math.isfinite(half_life_s) and half_life_s > 0):
            raise ValueError(f"half_life_s must be positive and finite, not {half_life_s!r}")
        return {"seconds": float(half_life_s), "source": "given"}
    if nuclide_name is None:
        raise MissingMetadata(
            "the half-life of the nuclide is not known",
            where="--nuclide (nuclide_name=)",
            needed="the nuclide of the samples, such as Cu-64, or its half-life",
        )
    record = nuclide(nuclide_name)
    return {"seconds": record.half_life_s, "source": "nuclide table", "nuclide": record.name}


def _references(table: UnitTable, given: bool | None) -> tuple[bool, ...]:
    """Whether each row is decay corrected."""
    n = len(next(iter(table.columns.values())).cells)
    stated = table.flags("decay_corrected") if "decay_corrected" in table.columns else None
    if stated is None and given is None:
        raise MissingMetadata(
            "the decay reference of the samples is not known",
            where=f"{table.path.name}, column decay_corrected",
            needed="whether activities are corrected to the injection, or as they were",
            next_step="give --decay-corrected or --as-measured (decay_corrected=)",
        )
    rows = stated if stated is not None else (bool(given),) * n
    if len(set(rows)) > 1 or (given is not None and rows[0] != given):
        raise UnitMismatch(
            "the decay references of the samples are mixed",
            where=f"{table.path.name}, column decay_corrected",
            found="corrected and uncorrected samples" if len(set(rows)) > 1 else str(rows[0]),
            needed="all corrected to the injection, or none",
            next_step="correct all samples to one moment",
        )
    return rows


def _samples(table: UnitTable, time_s: FloatArray, corrected: Sequence[bool]) -> list[dict[str, Any]]:
    """One mapping for each sample that has a value, in the unit of its quantity."""
    long = table.first_of("activity", "mean")
    where, who = table.first_of("region", "organ"), table.first_of("subject", "animal")
    columns = [long] if long is not None else [name for name in table.columns if name not in _KNOWN]
    if not columns:
        raise CorruptInput(
            "the table of activities lacks them",
            where=table.path.name,
            needed="a column such as activity [%ID/g], or one for each region",
        )
    error = table.first_of(*_ERROR) if long is not None else None
    found = []
    for name in columns:
        quantity, factor = _quantity(table.columns[name], table)
        values = table.numbers(name) * factor
        errors = np.full(values.size, np.nan) if error is None else table.numbers(error) * factor
        for row in range(values.size):
            if np.isnan(values[row]):
                continue
            region = table.columns[name].name
            if long is not None:
                region = "samples" if where is None else table.columns[where].cells[row]
            found.append(
                {
                    "subject": "" if who is None else table.columns[who].cells[row],
                    "region": region,
                    "quantity": quantity,
                    "unit": QUANTITIES[quantity].unit,
                    "axis_value": time_s[row],
                    "mean": values[row],
                    "error": errors[row],
                    "decay_corrected": corrected[row],
                }
            )
    return found


def _quantity(column: UnitColumn, table: UnitTable) -> tuple[str, float]:
    """What a column holds, and the factor to its unit."""
    if column.unit is None:
        raise MissingMetadata(
            "the unit of the activities is not known",
            where=f"{table.path.name}, column {column.name}",
            needed=f"a heading such as {column.name} [%ID/g] or [kBq/mL]",
            next_step="write the unit into the heading, or drop the column if it holds no activity",
        )
    share = _SHARES.get(column.unit.replace(" ", "").lower())
    if share is not None:
        return share, 1.0
    return "activity_concentration", conversion_factor(column.unit, "Bq/mL")


def _rows(samples: pd.DataFrame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a table of curves: the mean of samples of one time, in the order of the file's regions."""
    rows, details = [], []
    keys = ["subject", "region", "quantity", "unit"]
    for one, curve in samples.groupby(keys, sort=False):
        for time, group in curve.groupby("axis_value", sort=False):
            n = len(group)
            values = group["mean"].to_numpy(np.float64)
            spread = float(np.std(values, ddof=1)) if n > 1 else np.nan
            error = spread / math.sqrt(n) if n > 1 else float(group["error"].iloc[0])
            row = dict(zip(keys, one, strict=True)) | {
                "session": "", "axis": "time", "axis_value": time, "n_voxels": n, "n_valid": n,
                "volume_ml": np.nan, "mean": float(values.mean()), "sd": spread, "standard_error": error,
                "median": float(np.median(values)), "p05": np.nan, "p95": np.nan,
                "min": float(values.min()), "max": float(values.max()), "flags": "", "warnings": "",
                "decay_corrected": bool(group["decay_corrected"].iloc[0]),
            }  # fmt: skip
            rows.append(row)
            details.append({"samples": n, "standard_error_sampling": error})
    return rows, details


def _cautions(samples: pd.DataFrame) -> tuple[Caution, ...]:
    counts = samples.groupby(["subject", "region", "axis_value"]).size()
    if int(counts.max()) == 1:
        return ()
    text = f"samples of one region and time, up to {int(counts.max())}, became their mean"
    return (Caution("samples-averaged", text),)
