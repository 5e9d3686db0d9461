"""Rows of a study made ready for a statistic: what is missing is left out and counted, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue, UnitMismatch
from imgtheranostics.units import canonical_unit

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Units = str | Sequence[str | None]
FEWEST_JACKKNIFED = 5
"""Subjects whose leaving out, one by one, tells an error."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Complete rows of several columns.

    Attributes
    ----------
    columns : mapping of str to (n,) ndarray
        float64, without NaN, in the order given.
    kept : (n_given,) ndarray of bool
        Which of the rows that were given these are.
    warnings : tuple of Caution
        One that counts what was left out, by column.
    """

    columns: Mapping[str, DoubleArray]
    kept: npt.NDArray[np.bool_]
    warnings: tuple[Caution, ...]

    def __getitem__(self, name: str) -> DoubleArray:
        return self.columns[name]

    @property
    def n(self) -> int:
        """Complete rows."""
        return int(np.count_nonzero(self.kept))

    @property
    def left_out(self) -> int:
        """Rows with something missing."""
        return int(self.kept.size) - self.n


def column(values: npt.ArrayLike, name: str) -> DoubleArray:
    """One column of numbers as float64; None and what a masked array hides become NaN.

    Raises
    ------
    ValueError
        If it is not one-dimensional, or not of real numbers.
    ImplausibleValue
        If a value is infinite.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        given = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be real numbers, one per row") from None
    if given.ndim != 1:
        raise ValueError(f"{name} has shape {given.shape}, but must be one number per row")
    if np.isinf(given).any():
        raise ImplausibleValue(
            f"{name} holds {np.count_nonzero(np.isinf(given))} infinite values",
            where=name,
            needed="finite numbers, or NaN where nothing was measured",
        )
    return given


def complete_rows(columns: Mapping[str, npt.ArrayLike], *, smallest: int) -> Rows:
    """The rows in which every column has a value.

    Raises
    ------
    ValueError
        If columns differ in length.
    IllConditioned
        If fewer than `smallest` rows are complete.
    """
    read = {name: column(values, name) for name, values in columns.items()}
    lengths = {name: values.size for name, values in read.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in lengths.items())
        raise ValueError(f"columns differ in length: {told}")
    present = np.logical_and.reduce([~np.isnan(values) for values in read.values()])
    require(int(np.count_nonzero(present)), smallest, "complete rows", next(iter(read)))
    missing = {name: int(np.isnan(values).sum()) for name, values in read.items()}
    warnings = left_out_warnings(int(present.size - np.count_nonzero(present)), missing)
    return Rows({name: values[present] for name, values in read.items()}, present, warnings)


def left_out_warnings(left_out: int, missing: Mapping[str, int]) -> tuple[Caution, ...]:
    """A caution that counts rows with something missing, by column; none where nothing was."""
    if not left_out:
        return ()
    told = ", ".join(f"{count} without {name}" for name, count in missing.items() if count)
    rows = "row was" if left_out == 1 else "rows were"
    return (Caution("rows-left-out", f"{left_out} {rows} left out: {told}"),)


def require(found: int, needed: int, what: str, where: str) -> None:
    """Refuse to compute from too few."""
    if found < needed:
        raise IllConditioned(
            f"too few {what} for this statistic",
            where=where,
            found=str(found),
            needed=f"at least {needed}",
            next_step="collect more subjects, or report the values one by one",
        )


def require_spread(values: DoubleArray, name: str) -> None:
    """Refuse a column that is constant: nothing can go along with it."""
    if values.size and np.ptp(values) == 0.0:
        raise IllConditioned(
            f"{name} is the same in all {values.size} rows",
            where=name,
            needed="at least two different values",
            next_step="leave this column out",
        )


def events(values: DoubleArray) -> npt.NDArray[np.bool_]:
    """Whether the event was seen, from 0 and 1.

    Raises
    ------
    ValueError
        If another value occurs.
    IllConditioned
        If no event was seen at all.
    """
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError("event must be 1 (or True) where it was seen and 0 (or False) where it was censored")
    seen = values == 1.0
    if not seen.any():
        raise IllConditioned(
            f"all {values.size} subjects are censored",
            where="event",
            found="0 events",
            needed="at least one event",
            next_step="wait for events, or report the follow-up only",
        )
    return np.asarray(seen, np.bool_)


def require_not_negative(values: DoubleArray, name: str) -> None:
    """Refuse times below zero."""
    if (values < 0.0).any():
        raise ImplausibleValue(
            f"{name} is negative in {np.count_nonzero(values < 0)} rows",
            where=name,
            needed="time from time zero, not below 0",
            next_step="check the dates of time zero and of the event",
        )


def common_unit(unit: Units, name: str) -> str:
    """The one unit of a column, given for all rows or row by row.

    Raises
    ------
    UnitMismatch
        If rows have different units.
    """
    if isinstance(unit, str):
        return _spelled(unit)
    found = sorted({_spelled(one) for one in unit if one is not None})
    if len(found) > 1:
        raise UnitMismatch(
            f"{name} mixes units between subjects",
            where=name,
            found=", ".join(found),
            needed="one unit",
            next_step="convert all rows to one unit first",
        )
    return found[0] if found else "1"


def _spelled(unit: str) -> str:
    try:
        return canonical_unit(unit)
    except UnitMismatch:
        return unit.strip()


def codes(labels: npt.ArrayLike, name: str) -> tuple[IntArray, list[str]]:
    """Labels as numbers 0, 1 ... in sorted order, and their names; -1 where a label is missing.

    Raises
    ------
    ValueError
        If labels are not one per row.
    """
    import pandas as pd

    given = np.asarray(labels)
    if given.ndim != 1:
        raise ValueError(f"{name} has shape {given.shape}, but must be one label per row")
    numbers, names = pd.factorize(pd.Series(given), sort=True)
    return numbers.astype(np.int64), [str(one) for one in names]


def clusters_of(subject: npt.ArrayLike, rows: Rows) -> IntArray:
    """Whose each complete row is, as numbers from 0 without gaps.

    Raises
    ------
    ValueError
        If a row has no subject.
    """
    numbers, _ = codes(subject, "subject")
    if numbers.shape != rows.kept.shape or (numbers[rows.kept] < 0).any():
        raise ValueError("subject must name whose each row is")
    return np.unique(numbers[rows.kept], return_inverse=True)[1].astype(np.int64)
