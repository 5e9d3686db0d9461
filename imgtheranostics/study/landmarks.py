"""Immortal time: subjects must live until their uptake is measured, so the clock starts after that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.study.samples import (
    DoubleArray,
    Units,
    common_unit,
    complete_rows,
    events,
    require,
    require_not_negative,
)


@dataclass(frozen=True, eq=False)
class Landmark:
    """Follow-up counted from one moment at which the uptake of everybody kept was known.

    Attributes
    ----------
    at : float
        The moment, from time zero, in `unit`.
    kept : (n_given,) ndarray of bool
        Who is analysed: measured by then and still without event and under observation.
    time, event : (n,) ndarray
        From the landmark, of those kept.
    n, n_given : int
    ended_before, measured_after, incomplete : int
        Why the others are not analysed.
    immortal_time : bool
        Whether anybody's uptake was measured after time zero, so that counting from time zero is biased.
    unit : str
    warnings : tuple of Caution
    """

    at: float
    kept: npt.NDArray[np.bool_]
    time: DoubleArray
    event: npt.NDArray[np.bool_]
    n: int
    n_given: int
    ended_before: int
    measured_after: int
    incomplete: int
    immortal_time: bool
    unit: str
    warnings: tuple[Caution, ...]


def landmark(
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    measured_at: npt.ArrayLike,
    *,
    at: float | None = None,
    time_unit: Units = "s",
) -> Landmark:
    """Count follow-up from a landmark, at which the uptake of all who are compared was known.

    A subject whose uptake is measured on day 30 cannot have had the event before: counted from time zero,
    those 30 days are given to whatever group the uptake puts the subject in.

    Parameters
    ----------
    time, event : (n,) array_like
        From time zero, as `kaplan_meier`.
    measured_at : (n,) array_like
        When uptake was measured, from time zero in the unit of `time`.
    at : float, optional
        The landmark; the latest measurement when not given.
    time_unit : str or sequence of str

    Raises
    ------
    ValueError
        If columns differ in length or `at` is negative.
    ImplausibleValue
        If uptake was measured after the end of a subject's follow-up, or times are negative.
    IllConditioned
        If fewer than 2 subjects or no event are left.
    UnitMismatch
        For mixed units.

    References
    ----------
    .. [1] Anderson, Cain, Gelber, J. Clin. Oncol. 1 (1983) 710.
    """
    unit = common_unit(time_unit, "time")
    if at is not None and not (np.isfinite(at) and at >= 0.0):
        raise ValueError(f"at is {at}, but must be a time of 0 or later")
    rows = complete_rows({"time": time, "event": event, "measured_at": measured_at}, smallest=2)
    for name in ("time", "measured_at"):
        require_not_negative(rows[name], name)
    late = rows["measured_at"] > rows["time"]
    if late.any():
        raise ImplausibleValue(
            f"uptake of {np.count_nonzero(late)} subjects was measured after the end of their follow-up",
            where="measured_at",
            needed="measured_at no later than time",
            next_step="check time zero and the unit of both columns",
        )
    moment = float(rows["measured_at"].max()) if at is None else float(at)
    ended = rows["time"] <= moment
    unknown = ~ended & (rows["measured_at"] > moment)
    chosen = ~ended & ~unknown
    require(int(chosen.sum()), 2, "subjects at the landmark", "time")
    kept = np.zeros(rows.kept.size, np.bool_)
    kept[np.flatnonzero(rows.kept)[chosen]] = True
    told = Caution(
        "landmark",
        f"follow-up counts from {moment:g} {unit} after time zero: {np.count_nonzero(ended)} subjects had "
        f"ended before and {np.count_nonzero(unknown)} had no uptake by then",
    )
    return Landmark(
        at=moment,
        kept=kept,
        time=rows["time"][chosen] - moment,
        event=events(rows["event"][chosen]),
        n=int(chosen.sum()),
        n_given=int(rows.kept.size),
        ended_before=int(ended.sum()),
        measured_after=int(unknown.sum()),
        incomplete=rows.left_out,
        immortal_time=bool((rows["measured_at"] > 0.0).any()),
        unit=unit,
        warnings=(*rows.warnings, *((told,) if moment > 0.0 else ())),
    )
