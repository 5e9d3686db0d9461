"""The curves that are in a table of `time_activity`: what belongs together, and whether it can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.curve_models import AREAS, SAME_HALF_LIFE
from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

NEEDED = ("region", "quantity", "unit", "axis_value")


@dataclass(frozen=True, eq=False)
class RegionCurve:
    """Samples of one region over time and what goes along with them.

    Attributes
    ----------
    subject, session, region, quantity, unit : str
    time_s, values, sampling_error : (n,) ndarray
        After the injection; the error without the calibration.
    frame_s : (n,) ndarray
        Length of the frame of each sample; NaN where unknown or a sample is none of a frame.
    half_life_s, imaged_half_life_s : float
        With which the activity decays, and with which frames were corrected for decay.
    decay_corrected : bool
    calibration_relative : float
        What all samples share.
    n_voxels, n_valid : int
    volume_ml : float
    warnings : tuple of str
        Codes of the rows.
    """

    subject: str
    session: str
    region: str
    quantity: str
    unit: str
    time_s: FloatArray
    values: FloatArray
    sampling_error: FloatArray
    frame_s: FloatArray
    half_life_s: float
    imaged_half_life_s: float
    decay_corrected: bool
    calibration_relative: float
    n_voxels: int
    n_valid: int
    volume_ml: float
    warnings: tuple[str, ...]

    def importance(self, weights: str = "standard_error") -> FloatArray:
        """Inverse variances of the samples.

        ``standard_error`` takes the error of each, ``relative`` one that is proportional to the sample.

        Raises
        ------
        MissingMetadata
            If a sample has no standard error above zero.
        ImplausibleValue
            If a sample with a relative error is not above zero.
        """
        if weights == "relative":
            if not (self.values > 0).all():
                raise ImplausibleValue(
                    "errors that are proportional to the samples need samples above zero",
                    where=f"region {self.region}",
                    found=f"{float(self.values.min()):.4g} {self.unit}",
                    next_step="ask for weights='equal'",
                )
            return np.asarray(self.values**-2.0)
        error = self.sampling_error
        if not (np.isfinite(error) & (error > 0)).all():
            raise MissingMetadata(
                "weights by standard error need one for every sample",
                where=f"region {self.region}, column standard_error",
                next_step="ask for weights='equal'",
            )
        return np.asarray(error**-2.0)


def region_curves(
    table: pd.DataFrame, column: str, half_life_s: float | None, decay_corrected: bool | None
) -> list[RegionCurve]:
    """Every curve of a table, in the order of its rows.

    Raises
    ------
    ImgTheranosticsError
        As `imgtheranostics.nuclear.fit_curve`.
    """
    missing = [name for name in (*NEEDED, column) if name not in table.columns]
    if missing or table.empty:
        raise UnsupportedInput(
            "this is no table of time-activity curves",
            found=f"{len(table)} rows, no column {', '.join(missing)}" if missing else "no rows",
            needed="the table that time_activity returns",
        )
    if "axis" in table.columns and not (table["axis"] == "time").all():
        raise UnsupportedInput(
            "the rows of the table are not over time",
            found=", ".join(sorted({str(axis) or "no axis" for axis in table["axis"]})),
            needed="axis time",
        )
    if table.attrs.get("time_origin", "injection") != "injection":
        raise MissingMetadata(
            "times count from the start of the scan, not from the injection",
            where="RadiopharmaceuticalStartDateTime (0018,1078)",
            needed="times after injection",
            next_step="give the injection to time_activity: Administration(..., at=...)",
        )
    half_life = _half_life(table.attrs, half_life_s)
    stated = any("half_life" in decision for decision in table.attrs.get("decisions", ()))
    half_lives = half_life, _half_life(table.attrs, None) if stated else half_life
    details = table.attrs.get("details") or [{} for _ in range(len(table))]
    keys = [name for name in ("subject", "region", "quantity") if name in table.columns]
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(table[keys].itertuples(index=False, name=None)):
        places.setdefault(key, []).append(place)
    return [
        _curve(table.iloc[rows], [details[row] for row in rows], column, half_lives, decay_corrected)
        for rows in places.values()
    ]


def _half_life(attrs: Mapping[Any, Any], given: float | None) -> float:
    """The half-life given, or the one that all scans were decayed with."""
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise ValueError(f"half_life_s must be positive and finite, not {given!r}")
        return float(given)
    found = [
        float(decision["half_life"]["seconds"])
        for decision in attrs.get("decisions", ())
        if "half_life" in decision
    ]
    if not found:
        raise MissingMetadata(
            "the half-life of the nuclide is not known",
            where="RadionuclideHalfLife (0018,1075)",
            next_step="give half_life_s",
        )
    if max(found) > min(found) * (1.0 + SAME_HALF_LIFE):
        raise ImplausibleValue(
            "the scans of one curve are of different nuclides",
            found=" and ".join(f"{seconds:g} s" for seconds in sorted(set(found))),
            needed="one half-life",
        )
    return found[0]


def _curve(
    rows: pd.DataFrame,
    details: list[Mapping[str, Any]],
    column: str,
    half_lives_s: tuple[float, float],
    decay_corrected: bool | None,
) -> RegionCurve:
    first = rows.iloc[0]
    region, quantity = str(first["region"]), str(first["quantity"])
    times = rows["axis_value"].to_numpy(np.float64)
    values = rows[column].to_numpy(np.float64)
    _check_times(times, region)
    unit = _unit(rows, region, quantity)
    corrected = _reference(rows, region, decay_corrected)
    sampling, shared = _errors(rows, details, values)
    sessions = {str(session) for session in rows["session"]} if "session" in rows else set()
    codes = ";".join(str(text) for text in rows["warnings"]) if "warnings" in rows else ""
    return RegionCurve(
        subject=str(first["subject"]) if "subject" in rows else "",
        session=sessions.pop() if len(sessions) == 1 else "",
        region=region,
        quantity=quantity,
        unit=unit,
        time_s=times,
        values=values,
        sampling_error=sampling,
        frame_s=np.array([float(row.get("frame_duration_s", np.nan)) for row in details]),
        half_life_s=half_lives_s[0],
        imaged_half_life_s=half_lives_s[1],
        decay_corrected=corrected,
        calibration_relative=shared,
        n_voxels=int(first["n_voxels"]) if "n_voxels" in rows else 0,
        n_valid=int(rows["n_valid"].min()) if "n_valid" in rows else 0,
        volume_ml=float(first["volume_ml"]) if "volume_ml" in rows else np.nan,
        warnings=tuple(dict.fromkeys(code for code in codes.split(";") if code)),
    )


def _check_times(times: FloatArray, region: str) -> None:
    where = f"region {region}, column axis_value"
    if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ImplausibleValue(
            "the times of a curve do not increase",
            where=where,
            found=", ".join(f"{time:g}" for time in times[:12]) + " s",
            needed="each time once, in order",
            next_step="sort the rows, and join scans of the same time",
        )
    if times[0] < 0:
        raise ImplausibleValue(
            "a sample is before the injection", where=where, found=f"{times[0]:g} s", needed="0 s or later"
        )


def _unit(rows: pd.DataFrame, region: str, quantity: str) -> str:
    if quantity not in AREAS and not quantity.startswith("suv_"):
        raise UnitMismatch(
            "the curve is not one of activity",
            where=f"region {region}",
            found=quantity,
            needed=f"{', '.join(AREAS)} or an SUV",
        )
    units = {str(unit) for unit in rows["unit"]}
    needed = QUANTITIES[quantity].unit
    if units != {needed}:
        raise UnitMismatch(
            "the unit of a curve is not that of its quantity",
            where=f"region {region}, {quantity}",
            found=", ".join(sorted(units)),
            needed=str(needed),
        )
    return str(needed)


def _reference(rows: pd.DataFrame, region: str, given: bool | None) -> bool:
    """Whether a curve is decay corrected; all of its samples must be, or none."""
    if "decay_corrected" not in rows:
        if given is None:
            raise MissingMetadata(
                "the decay reference of the curve is not known",
                where="column decay_corrected",
                next_step="give decay_corrected=True where values are corrected to the injection, else False",
            )
        return bool(given)
    stated = {bool(flag) for flag in rows["decay_corrected"]}
    if len(stated) > 1 or (given is not None and stated != {bool(given)}):
        raise UnitMismatch(
            "the decay references of a curve are mixed",
            where=f"region {region}, column decay_corrected",
            found="corrected and uncorrected samples" if len(stated) > 1 else f"{stated.pop()}",
            needed="all corrected to the injection, or none" if given is None else f"{bool(given)}",
            next_step="make all rows with one call of time_activity",
        )
    return stated.pop()


def _errors(
    rows: pd.DataFrame, details: list[Mapping[str, Any]], values: FloatArray
) -> tuple[FloatArray, float]:
    """Standard errors of the samples without the calibration, and that, relative."""
    whole = (
        rows["standard_error"].to_numpy(np.float64)
        if "standard_error" in rows
        else np.full(len(rows), np.nan)
    )
    sampling = np.array([float(row.get("standard_error_sampling", np.nan)) for row in details])
    shared = np.array([float(row.get("standard_error_calibration", 0.0)) for row in details])
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.abs(rows["mean"].to_numpy(np.float64)) if "mean" in rows else np.abs(values)
        relative = np.where(means > 0, shared / means, 0.0)
    largest = float(np.nanmax(relative, initial=0.0))
    return np.where(np.isfinite(sampling), sampling, whole), largest
