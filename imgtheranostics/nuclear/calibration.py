"""Counts of a gamma camera to activity concentration, by the sensitivity that its user measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.maps import multiplied
from imgtheranostics.volume import Volume, make_step

FloatArray = npt.NDArray[np.float64]

STEP = "calibrate_counts"
"""Name of the history entry that says how counts became Bq/mL."""

DEFAULT_RELATIVE_UNCERTAINTY = 0.05
"""Of a sensitivity: the dose calibrator that it was measured against is no better."""

_MOST_CPS_MBQ = 1e6
_BQ_PER_MBQ = 1e6


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a camera counts of a known activity.

    Parameters
    ----------
    sensitivity_cps_mbq : float
        Counts per second in the reconstructed image per MBq in the field of view, for this nuclide, energy
        window, collimator and reconstruction.
    relative_uncertainty : float
        Relative standard uncertainty of the sensitivity.
    duration_s : float, optional
        Time that the camera counted, goes before the file's: all views of a rotation together.
    dead_time_s : float
        Of a non-paralysable camera; the observed rate is the sum of the image over that time.

    Raises
    ------
    ImplausibleValue
        If a value is impossible.

    Examples
    --------
    >>> Calibration(847.0, 0.03, duration_s=1200.0).sensitivity_cps_mbq
    847.0
    """

    sensitivity_cps_mbq: float
    relative_uncertainty: float = DEFAULT_RELATIVE_UNCERTAINTY
    duration_s: float | None = None
    dead_time_s: float = 0.0

    def __post_init__(self) -> None:
        sensitivity = self.sensitivity_cps_mbq
        if not 0 < sensitivity <= _MOST_CPS_MBQ:
            raise ImplausibleValue(
                "the sensitivity of a camera cannot be that",
                where="sensitivity_cps_mbq",
                found=f"{sensitivity:g} counts/s per MBq",
                needed="more than 0, and at most one count per decay (1e6)",
            )
        if not 0 <= self.relative_uncertainty < 1:
            raise ImplausibleValue(
                "the relative uncertainty of the sensitivity must be from 0 to below 1",
                where="Calibration.relative_uncertainty",
                found=f"{self.relative_uncertainty:g}",
            )
        if self.duration_s is not None and not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ImplausibleValue(
                "the counting time must be positive",
                where="Calibration.duration_s",
                found=f"{self.duration_s:g} s",
            )
        if not (math.isfinite(self.dead_time_s) and self.dead_time_s >= 0):
            raise ImplausibleValue(
                "the dead time must be zero or more",
                where="Calibration.dead_time_s",
                found=f"{self.dead_time_s:g} s",
            )


def calibrate(v: Volume, calibration: Calibration | float | None) -> Volume:
    """Counts, or counts per second, as activity concentration: counts / (sensitivity x time x volume).

    The result refers to the same moment as the counts did: nothing is decay corrected here.

    Parameters
    ----------
    v : Volume
        ``counts`` or ``count_rate`` of a reconstruction, static or with a time axis.
    calibration : Calibration or float or None
        A number is the sensitivity in counts/s per MBq. None returns `v` as it is.

    Returns
    -------
    Volume
        ``activity_concentration`` in Bq/mL. The history entry ``calibrate_counts`` holds sensitivity, its
        uncertainty, time, dead-time factor and factor; later results include the uncertainty.

    Raises
    ------
    UnitMismatch
        If the voxels are not counts.
    UnsupportedInput
        If the image is planar: counts per pixel are no concentration.
    MissingMetadata
        If nobody says how long the camera counted.
    ImplausibleValue
        If the observed rate leaves no time between events at the stated dead time.
    """
    if calibration is None:
        return v
    how = calibration if isinstance(calibration, Calibration) else Calibration(float(calibration))
    _check_counts(v)
    duration = _durations(v, how) if v.quantity == "counts" or how.dead_time_s > 0 else None
    dead = _dead_time_factor(v, duration, how)
    per_volume = _BQ_PER_MBQ / (how.sensitivity_cps_mbq * v.grid.voxel_volume_ml)
    factor = dead * per_volume / (duration if v.quantity == "counts" and duration is not None else 1.0)
    step = make_step(
        STEP,
        sensitivity_cps_mbq=how.sensitivity_cps_mbq,
        relative_uncertainty=how.relative_uncertainty,
        duration_s=None if duration is None else _plain(duration),
        dead_time_s=how.dead_time_s,
        dead_time_factor=_plain(dead),
        bq_ml_per_count=_plain(factor),
    )
    shaped = factor if v.axes else factor[0]
    found = v.derived(multiplied(v.data, shaped), "activity_concentration", "Bq/mL", step)
    record = v.acquisition
    if how.duration_s is None or not isinstance(record, NuclearAcquisition):
        return found
    # the decay within the scan takes the same time as the counting did
    view_s = how.duration_s / (record.n_projections or 1)
    return found.replace(acquisition=replace(record, frame_duration_s=view_s))


def counts_calibration(v: Volume) -> Mapping[str, Any] | None:
    """What the history says of the calibration of its counts; None for an image that was in Bq/mL."""
    found = [step for step in v.history if step.name == STEP]
    return found[-1].parameters if found else None


def calibration_uncertainty(v: Volume) -> float:
    """Relative standard uncertainty that the calibration of the counts left in every voxel; 0 without one."""
    known = counts_calibration(v)
    return 0.0 if known is None else float(known.get("relative_uncertainty", 0.0))


def noise_in_activity(noise_sd: Any, before: Volume, after: Volume) -> Any:
    """A noise level in counts in the unit of the calibrated image; other levels as they are."""
    known = counts_calibration(after)
    if noise_sd is None or after is before or known is None:
        return noise_sd
    factor = np.asarray(known["bq_ml_per_count"], np.float64)
    if not isinstance(noise_sd, Volume):
        return np.asarray(noise_sd, np.float64) * factor
    if noise_sd.unit != before.unit:
        return noise_sd
    return noise_sd.replace(
        data=multiplied(noise_sd.data, factor), quantity="activity_concentration", unit=after.unit
    )


def _check_counts(v: Volume) -> None:
    if v.quantity not in ("counts", "count_rate"):
        raise UnitMismatch(
            "a sensitivity applies to counts only",
            found=f"{v.quantity} [{v.unit}]",
            needed="counts or counts per second",
            next_step="leave the sensitivity out: the image has a scale already",
        )
    record = v.acquisition
    kind = record.image_type[2:3] if isinstance(record, NuclearAcquisition) else ()
    if kind and kind[0].upper() != "RECON TOMO":
        raise UnsupportedInput(
            "a planar image has no activity concentration: its counts come from the whole depth",
            where="ImageType (0008,0008)",
            found=kind[0],
            needed="RECON TOMO",
        )
    if any(axis.name != "time" for axis in v.axes):
        names = ", ".join(axis.name for axis in v.axes)
        raise UnsupportedInput("calibration takes images with no axis beyond space but time", found=names)


def _durations(v: Volume, how: Calibration) -> FloatArray:
    """Counting time of each frame, (n_frames,)."""
    n_frames = v.shape[3] if v.axes else 1
    if how.duration_s is not None:
        return np.full(n_frames, how.duration_s)
    record = v.acquisition
    stated: FloatArray | None = None
    if isinstance(record, NuclearAcquisition) and record.acquisition_duration_s is not None:
        stated = np.full(n_frames, record.acquisition_duration_s)
    elif isinstance(record, EmissionAcquisition) and record.frame_duration_s is not None:
        times = np.atleast_2d(record.frame_duration_s)
        if times.shape[1] == n_frames and (times == times[0]).all():
            stated = times[0].astype(np.float64)
    if stated is None or not (np.isfinite(stated) & (stated > 0)).all():
        raise MissingMetadata(
            "how long the camera counted is not known, so counts are no count rate",
            where="ActualFrameDuration (0018,1242), NumberOfFramesInRotation (0054,0053)",
            needed="the counting time in s",
            next_step="give it: Calibration(..., duration_s=...) or --counting-time-s",
        )
    return stated


def _dead_time_factor(v: Volume, duration: FloatArray | None, how: Calibration) -> FloatArray:
    """True over observed rate, n / m = 1 / (1 - m tau), (n_frames,)."""
    n_frames = v.shape[3] if v.axes else 1
    if how.dead_time_s == 0 or duration is None:
        return np.ones(n_frames)
    total = np.nansum(v.data.reshape(-1, n_frames, order="F"), axis=0, dtype=np.float64)
    observed = total if v.quantity == "count_rate" else total / duration
    busy = observed * how.dead_time_s
    if (busy >= 1).any():
        raise ImplausibleValue(
            "the observed count rate is above what a camera with this dead time can count",
            where="Calibration.dead_time_s",
            found=f"{float(observed.max()):.4g} counts/s x {how.dead_time_s:g} s",
            needed="a product below 1",
            next_step="check that the dead time is in seconds",
        )
    return np.asarray(1.0 / (1.0 - np.maximum(busy, 0.0)))


def _plain(values: FloatArray) -> float | list[float]:
    """One number where all frames agree, else a list: the history holds plain values."""
    numbers = [float(value) for value in values]
    return numbers[0] if len(set(numbers)) == 1 else numbers
