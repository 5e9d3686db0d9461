"""Counts of a gamma camera to activity concentration, by the sensitivity that its user measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import ImplausibleValue, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.counting_times import counting_times
from imgtheranostics.nuclear.dead_time import DeadTime, check_tau, checked_model
from imgtheranostics.nuclear.dead_time_correction import STEP as DEAD_TIME_STEP
from imgtheranostics.nuclear.dead_time_correction import Losses, image_losses, plain
from imgtheranostics.nuclear.isotope_separation import STEP as SEPARATION_STEP
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
        After an event; 0 corrects nothing. See `imgtheranostics.nuclear.correct_dead_time`.
    dead_time_model : {"non_paralysable", "paralysable"}
    dead_time_standard_error_s : float
        Of the dead time.
    observed_cps : float, optional
        Rate that one detector saw at all energies; by default the sum of the image over the counting time.

    Raises
    ------
    ImplausibleValue
        If a value is impossible.
    ValueError
        If the model is not known.

    Examples
    --------
    >>> Calibration(847.0, 0.03, duration_s=1200.0).sensitivity_cps_mbq
    847.0
    """

    sensitivity_cps_mbq: float
    relative_uncertainty: float = DEFAULT_RELATIVE_UNCERTAINTY
    duration_s: float | None = None
    dead_time_s: float = 0.0
    dead_time_model: str = "non_paralysable"
    dead_time_standard_error_s: float = 0.0
    observed_cps: float | None = None

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
        check_tau(self.dead_time_s, self.dead_time_standard_error_s)
        object.__setattr__(self, "dead_time_model", checked_model(self.dead_time_model))
        if self.observed_cps is not None and not (math.isfinite(self.observed_cps) and self.observed_cps > 0):
            raise ImplausibleValue(
                "the rate that the detector saw must be positive",
                where="Calibration.observed_cps",
                found=f"{self.observed_cps:g} counts/s",
            )

    @property
    def dead_time(self) -> DeadTime:
        """The dead time with its model and error."""
        return DeadTime(self.dead_time_s, self.dead_time_model, self.dead_time_standard_error_s)


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
        ``activity_concentration`` in Bq/mL. The history entry ``calibrate_counts`` holds sensitivity, time,
        dead-time factor, factor, and the relative uncertainty of sensitivity and dead time together, which
        later results include.

    Raises
    ------
    UnitMismatch
        If the voxels are not counts.
    UnsupportedInput
        If the image is planar: counts per pixel are no concentration.
    MissingMetadata
        If nobody says how long the camera counted.
    ImplausibleValue, IllConditioned
        If the observed rate leaves no time between events at the stated dead time, or hardly any.
    """
    if calibration is None:
        return v
    how = calibration if isinstance(calibration, Calibration) else Calibration(float(calibration))
    _check_counts(v)
    duration = counting_times(v, how.duration_s) if v.quantity == "counts" else None
    lost = _losses(v, how)
    dead = lost.factor
    per_volume = _BQ_PER_MBQ / (how.sensitivity_cps_mbq * v.grid.voxel_volume_ml)
    factor = dead * per_volume / (duration if v.quantity == "counts" and duration is not None else 1.0)
    step = make_step(
        STEP,
        sensitivity_cps_mbq=how.sensitivity_cps_mbq,
        relative_uncertainty=math.hypot(how.relative_uncertainty, lost.relative_uncertainty),
        duration_s=None if duration is None else plain(duration),
        dead_time_s=how.dead_time_s,
        dead_time_model=how.dead_time_model if how.dead_time_s > 0 else None,
        dead_time_factor=plain(dead),
        observed_cps=plain(lost.observed_cps) if how.dead_time_s > 0 else None,
        bq_ml_per_count=plain(factor),
    )
    shaped = factor if v.axes else factor[0]
    found = v.derived(multiplied(v.data, shaped), "activity_concentration", "Bq/mL", step)
    found = found.with_warnings(*lost.cautions())
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
    """Relative standard uncertainty that dead time, crosstalk and calibration left in every voxel."""
    steps = [step for step in v.history if step.name in (STEP, DEAD_TIME_STEP, SEPARATION_STEP)]
    return math.hypot(*(float(step.parameters.get("relative_uncertainty", 0.0)) for step in steps))


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
        raise UnsupportedInput(
            "calibration takes images with no axis beyond space but time",
            found=names,
            next_step="choose one energy window: window_kev= (--window)" if "energy" in names else None,
        )


def _losses(v: Volume, how: Calibration) -> Losses:
    """True over observed counts of each time frame; ones without a dead time."""
    if how.dead_time_s > 0:
        return image_losses(v, how.dead_time, duration_s=how.duration_s, observed_cps=how.observed_cps)
    axis = v.axis("time")
    ones = np.ones(1 if axis is None else len(axis))
    return Losses(ones * math.nan, ones, 0.0, 0.0)
