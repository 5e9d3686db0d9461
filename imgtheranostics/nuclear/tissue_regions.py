"""Curves of tissues from the regions of a dynamic series, or from a table of `time_activity`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.activity_curves import QUANTITIES, time_activity
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.calibration import Calibration, calibrate
from imgtheranostics.nuclear.kinetic_maps import frame_durations
from imgtheranostics.nuclear.tissue_curves import TissueCurves, noted
from imgtheranostics.nuclear.uptake import Choices
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["tissue_of_regions", "tissue_of_table"]

FloatArray = npt.NDArray[np.float64]

_NEEDED = ("region", "quantity", "unit", "axis_value", "mean", "decay_corrected")


def tissue_of_regions(
    v: Volume,
    regions: Regions,
    *,
    administration: Administration | None = None,
    decay_correction: str | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
    resolution_mm: float | None = None,
    workers: int | None = None,
) -> TissueCurves:
    """Curves of regions of a dynamic series, as `time_activity` makes them.

    Raises
    ------
    UnsupportedInput
        If the series is not dynamic.
    MissingMetadata
        If the injection is not known, from which times count.
    ImgTheranosticsError
        As `time_activity`.
    """
    if v.axis("time") is None or len(v.axes) != 1:
        raise UnsupportedInput(
            "kinetics need a dynamic series",
            found="axes: " + (", ".join(axis.name for axis in v.axes) or "none beyond space"),
            needed="one axis, time",
        )
    v = calibrate(v, sensitivity_cps_mbq)
    table = time_activity(
        v,
        regions,
        quantity=v.quantity if v.quantity in QUANTITIES else None,
        administration=administration,
        peak=False,
        decay_correction=decay_correction,
        resolution_mm=resolution_mm,
        strict_clock=strict_clock,
        workers=workers,
    )
    choices = Choices(administration, decay_correction, strict_clock=strict_clock)
    return tissue_of_table(table, duration_s=frame_durations(v, choices))


def tissue_of_table(table: pd.DataFrame, *, duration_s: npt.ArrayLike | None = None) -> TissueCurves:
    """Curves of the regions of a table that `time_activity` has made of one dynamic series.

    Parameters
    ----------
    table : pandas.DataFrame
        Decay corrected to the injection.
    duration_s : float or (n,) array_like, optional
        Of the frames, which the table does not say; compartment models need it.

    Raises
    ------
    UnsupportedInput
        If it is no such table, or holds several quantities or subjects.
    MissingMetadata
        If times do not count from the injection.
    UnitMismatch
        If values are not decay corrected, or some only.
    ImplausibleValue
        If regions differ in their times, or these do not increase.
    """
    missing = [name for name in _NEEDED if name not in table.columns]
    several = [name for name in ("quantity", "subject") if name in table and len(set(table[name])) > 1]
    if missing or several or table.empty:
        raise UnsupportedInput(
            "this is no table of the regions of one dynamic series",
            found=f"several {several[0]}" if several else f"{len(table)} rows, no {', '.join(missing)}",
            needed="the table that time_activity returns for one series",
        )
    if table.attrs.get("time_origin", "injection") != "injection":
        raise MissingMetadata(
            "the injection is not known, and kinetics count from it",
            where="RadiopharmaceuticalStartDateTime (0018,1078)",
            needed="the time from the injection to the first frame, for times and for the decay correction",
            next_step="give it: Administration(activity_bq=..., at=datetime(...)) or --injected-at",
        )
    corrected = {bool(flag) for flag in table["decay_corrected"]}
    if corrected != {True}:
        raise UnitMismatch(
            "kinetics need all values decay corrected to the injection",
            where="column decay_corrected",
            found="corrected and uncorrected rows" if len(corrected) > 1 else "uncorrected rows",
            next_step="make the table with decay_corrected=True",
        )
    names = tuple(dict.fromkeys(str(name) for name in table["region"]))
    details = list(table.attrs.get("details") or [{} for _ in range(len(table))])
    errors = np.array([row.get("standard_error_sampling", np.nan) for row in details], np.float64)
    shared = np.array([row.get("standard_error_calibration", 0.0) for row in details], np.float64)
    means, times = table["mean"].to_numpy(np.float64), table["axis_value"].to_numpy(np.float64)
    places = [np.flatnonzero(table["region"].astype(str) == name) for name in names]
    mid = times[places[0]]
    _check_times([times[rows] for rows in places], mid)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(np.abs(means) > 0, shared / np.abs(means), 0.0)
    first = table.iloc[[rows[0] for rows in places]]
    decisions = table.attrs.get("decisions") or [{}]
    decision = dict(decisions[0])
    length = None if duration_s is None else np.broadcast_to(np.asarray(duration_s, np.float64), mid.shape)
    curves = TissueCurves(
        names=names,
        values=np.array([means[rows] for rows in places]),
        errors=np.array([errors[rows] for rows in places]),
        mid_s=mid,
        duration_s=length,
        quantity=str(first["quantity"].iloc[0]),
        unit=str(first["unit"].iloc[0]),
        half_life_s=decision.get("half_life", {}).get("seconds"),
        sizes=_sizes(first),
        subject=str(first["subject"].iloc[0]) if "subject" in first else "",
        session=str(first["session"].iloc[0]) if "session" in first else "",
        calibration_relative=float(np.nanmax(relative, initial=0.0)),
        decisions=decision,
        warnings=tuple(table.attrs.get("warnings", ())),
    )
    return noted(curves)


def _check_times(each: list[FloatArray], mid: FloatArray) -> None:
    alike = all(times.shape == mid.shape and (times == mid).all() for times in each)
    if not alike or not np.isfinite(mid).all() or (np.diff(mid) <= 0).any():
        raise ImplausibleValue(
            "the times of the curves do not increase, or differ between regions",
            where="column axis_value",
            needed="each frame once for every region, in order",
        )


def _sizes(first: pd.DataFrame) -> tuple[tuple[int, int, float], ...]:
    """Voxels, those with a value, and volume of each region, where the table says them."""
    wanted = ["n_voxels", "n_valid", "volume_ml"]
    if not set(wanted) <= set(first.columns):
        return ()
    rows = first[wanted].to_numpy(np.float64)
    return tuple((int(n_voxels), int(n_valid), float(volume)) for n_voxels, n_valid, volume in rows)
