"""Curves of tissues from a table of people's own: a row for each frame, a column for each region."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.nuclear.decay import decay_constant
from imgtheranostics.nuclear.tissue_curves import TissueCurves, noted
from imgtheranostics.nuclear.unit_tables import UnitTable, read_unit_table
from imgtheranostics.units import conversion_factor

__all__ = ["read_tissue_curves"]

FloatArray = npt.NDArray[np.float64]

START = ("frame_start", "start", "starttime", "start_time", "frametimesstart")
END = ("frame_end", "end", "endtime", "end_time")
DURATION = ("frame_duration", "duration", "frameduration")
MIDDLE = ("time", "times", "mid", "mid_time", "frame_mid")
WEIGHTS = ("weights", "weight")
_NO_REGION = (*START, *END, *DURATION, *MIDDLE, *WEIGHTS, "decay_corrected")


def read_tissue_curves(
    path: Path | str,
    *,
    unit: str | None = None,
    time_unit: str | None = None,
    decay_corrected: bool | None = None,
    nuclide_name: str | None = None,
) -> TissueCurves:
    """Curves of regions from a table: a row for each frame, a column for each region.

    Parameters
    ----------
    path : Path or str
        CSV or TSV with a heading: ``frame_start [s]`` and ``frame_end [s]`` or ``frame_duration [s]``, after
        the injection (or ``time [min]``, the middles of frames, which is not enough for compartments), and
        regions such as ``putamen [kBq/mL]``. ``weights`` of the squares and ``decay_corrected`` may stand
        beside them. Headings of PMOD, ``start[seconds]`` and ``end[kBq/cc]``, are taken as it means them,
        and units may stand in a JSON file beside the table, as in BIDS.
    unit, time_unit : str, optional
        Where the table states none.
    decay_corrected : bool, optional
        Whether activities are corrected to the injection; taken to be, with a caution, where nothing says
        so. Where they are not, `nuclide_name` is needed and they are corrected, over each frame.
    nuclide_name : str, optional
        Such as ``C-11``.

    Returns
    -------
    TissueCurves

    Raises
    ------
    NothingUsable, CorruptInput
        If the table cannot be read, lacks frames or regions, or frames do not increase.
    MissingMetadata
        If a unit or the half-life is not known.
    UnitMismatch
        If a unit is none of time or activity, regions differ in theirs, or decay references are mixed.
    """
    table = _pmod(read_unit_table(path, "a table of tissue curves"))
    mid, duration = _frames(table, time_unit)
    names = [name for name in table.columns if name not in _NO_REGION]
    if not names:
        raise CorruptInput(
            "the table of tissue curves holds no region",
            where=table.path.name,
            found=", ".join(table.columns),
        )
    scales = [_scale(table, name, unit) for name in names]
    if len({quantity for quantity, _ in scales}) > 1:
        raise UnitMismatch("regions of the table differ in what they hold", where=table.path.name)
    values = np.array([table.numbers(name) * factor for name, (_, factor) in zip(names, scales, strict=True)])
    corrected = _reference(table, decay_corrected)
    half_life = None if nuclide_name is None else nuclide(nuclide_name).half_life_s
    cautions: tuple[Caution, ...] = ()
    if corrected is None:
        text = "that the tissue curves are decay corrected to the injection is assumed; nothing states it"
        cautions = (Caution("tissue-decay-assumed", text, "--decay-corrected (decay_corrected=)"),)
    elif not corrected:
        values = values * _correction(mid, duration, half_life)
    place = table.first_of(*WEIGHTS)
    quantity = scales[0][0]
    curves = TissueCurves(
        names=tuple(table.columns[name].name for name in names),
        values=values,
        errors=np.full(values.shape, np.nan),
        mid_s=mid,
        duration_s=duration,
        quantity=quantity,
        unit="Bq/mL" if quantity == "activity_concentration" else "g/mL",
        weights=None if place is None else table.numbers(place),
        half_life_s=half_life,
        decisions={
            "curves": {"rule": "table", "decay_corrected": "assumed" if corrected is None else corrected}
        },
        warnings=cautions,
    )
    return noted(curves)


def _pmod(table: UnitTable) -> UnitTable:
    """Tables of PMOD state the unit of the activities at the end of the frames."""
    start, end = table.columns.get("start"), table.columns.get("end")
    if start is None or end is None or start.unit is None or end.unit is None or "/" not in end.unit:
        return table
    columns = {
        name: replace(column, unit=column.unit or end.unit) if name not in _NO_REGION else column
        for name, column in table.columns.items()
    }
    return UnitTable(table.path, {**columns, "end": replace(end, unit=start.unit)})


def _frames(table: UnitTable, time_unit: str | None) -> tuple[FloatArray, FloatArray | None]:
    """Middles and durations of the frames."""
    start, end, length = (table.first_of(*names) for names in (START, END, DURATION))
    duration: FloatArray | None = None
    if start is not None and (end is not None or length is not None):
        begin = table.seconds(start, time_unit)
        duration = (
            table.seconds(end, time_unit) - begin
            if end is not None
            else table.seconds(str(length), time_unit)
        )
        mid = begin + 0.5 * duration
    else:
        middle = table.first_of(*MIDDLE)
        if middle is None:
            raise CorruptInput(
                "the table of tissue curves lacks its frames",
                where=table.path.name,
                found=", ".join(table.columns),
                needed="frame_start [s] and frame_end [s], or time [s]",
            )
        mid = table.seconds(middle, time_unit)
        if length is not None:
            duration = table.seconds(length, time_unit)
    if not np.isfinite(mid).all() or (np.diff(mid) <= 0.0).any():
        raise CorruptInput(
            "the frames of the tissue curves do not increase",
            where=table.path.name,
            needed="a time for each row, in order",
            next_step="sort the rows by time",
        )
    if duration is not None and (duration < 0.0).any():
        raise ImplausibleValue(
            "a frame ends before it starts",
            where=table.path.name,
            found=f"{float(duration.min()):g} s",
            next_step="name the column frame_duration if it holds durations",
        )
    return mid, duration


def _scale(table: UnitTable, name: str, unit: str | None) -> tuple[str, float]:
    """What a region's column holds, and the factor to Bq/mL or g/mL."""
    column = table.columns[name]
    stated = column.unit or unit
    if stated is None:
        raise MissingMetadata(
            "the unit of the tissue curves is not known",
            where=f"{table.path.name}, column {column.name}",
            needed=f"a heading such as {column.name} [kBq/mL], or --unit (unit=)",
        )
    if stated.strip().lower() in ("suv", "g/ml"):
        return "suv_bw", 1.0
    return "activity_concentration", conversion_factor(stated, "Bq/mL")


def _reference(table: UnitTable, given: bool | None) -> bool | None:
    if "decay_corrected" not in table.columns:
        return given
    rows = table.flags("decay_corrected")
    if len(set(rows)) > 1 or (given is not None and rows[0] != given):
        raise UnitMismatch(
            "the decay references of the tissue curves are mixed",
            where=f"{table.path.name}, column decay_corrected",
            found="corrected and uncorrected frames" if len(set(rows)) > 1 else str(rows[0]),
            needed="all corrected to the injection, or none",
            next_step="correct all frames to one moment",
        )
    return rows[0]


def _correction(mid: FloatArray, duration: FloatArray | None, half_life_s: float | None) -> FloatArray:
    """From the mean activity in each frame to that without decay since the injection."""
    if half_life_s is None:
        raise MissingMetadata(
            "the half-life is needed to correct the tissue curves for decay",
            where="--nuclide (nuclide_name=)",
            needed="the nuclide, such as C-11",
        )
    rate = float(decay_constant(half_life_s))
    spent = np.zeros(mid.size) if duration is None else rate * duration
    within = np.where(spent > 0.0, spent / -np.expm1(-np.maximum(spent, 1e-300)), 1.0)
    return np.asarray(np.exp(rate * mid - 0.5 * spent) * within)
