"""Counts that a camera lost while it was busy, restored in images and in rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue, UnitMismatch, UnsupportedInput
from imgtheranostics.fit import Fit
from imgtheranostics.nuclear.counting_times import counting_times
from imgtheranostics.nuclear.dead_time import DeadTime, check_tau, checked_model, rate_variance, true_rate
from imgtheranostics.nuclear.maps import multiplied
from imgtheranostics.volume import Flag, Volume, make_step

FloatArray = npt.NDArray[np.float64]

STEP = "correct_dead_time"
"""Name of the history entry that says how lost counts were restored."""

CAUTION_LOSS = 0.2
"""Share of lost counts above which a result carries a caution."""


@overload
def correct_dead_time(
    rates: Volume,
    *,
    tau_s: float,
    model: str = ...,
    tau_standard_error_s: float = ...,
    duration_s: float | None = ...,
    observed_cps: float | None = ...,
    caution_loss: float = ...,
) -> Volume: ...


@overload
def correct_dead_time(
    rates: npt.ArrayLike,
    *,
    tau_s: float,
    model: str = ...,
    tau_standard_error_s: float = ...,
    duration_s: float | None = ...,
    observed_cps: float | None = ...,
    caution_loss: float = ...,
) -> Fit: ...


def correct_dead_time(
    rates: Volume | npt.ArrayLike,
    *,
    tau_s: float,
    model: str = "non_paralysable",
    tau_standard_error_s: float = 0.0,
    duration_s: float | None = None,
    observed_cps: float | None = None,
    caution_loss: float = CAUTION_LOSS,
) -> Volume | Fit:
    """Restore the counts that were lost to dead time.

    Parameters
    ----------
    rates : Volume or array_like
        Counts or counts per second of an image, or observed rates in counts/s.
    tau_s : float
        Dead time after an event, of one detector.
    model : {"non_paralysable", "paralysable"}
    tau_standard_error_s : float
        Of the dead time; all rates share it.
    duration_s : float, optional
        Counting time: of an image instead of what its file says; of rates, for their counting error.
    observed_cps : float, optional
        Rate that one detector saw at all energies, during the image. Without it the total of the image (of
        all its energy windows) over its counting time stands for that rate: that is right for an image that
        is scaled as its projections counted, and of one detector.
    caution_loss : float
        Share of lost counts above which the result says so.

    Returns
    -------
    Volume
        Of an image: the same quantity, scaled frame by frame. The history entry ``correct_dead_time`` holds
        the rate and the factor; what the dead time leaves uncertain joins later results as
        `Estimate.calibration_relative`.
    Fit
        Of rates: ``true_rate_cps`` and ``lost_fraction``. The standard error is that of the dead time, and
        with `duration_s` that of counting: with the variance of the counts behind a dead time, m T (1 - m
        tau)^2 and m T (1 - 2 m tau) for an observed rate m [2]_.

    Raises
    ------
    ValueError
        If the model is not known.
    ImplausibleValue
        If a rate is negative or above what the model allows, or the dead time is none.
    IllConditioned
        If the detector was nearly saturated.
    UnitMismatch
        If an image holds no counts.
    UnsupportedInput
        If an image was corrected before.
    MissingMetadata
        If nobody says how long the camera counted.

    References
    ----------
    .. [1] Knoll GF, Radiation Detection and Measurement, chapter 4.
    .. [2] Müller JW, Nucl Instrum Meth 1973, doi:10.1016/0029-554X(73)90773-8.

    Examples
    --------
    >>> float(correct_dead_time(90909.0909, tau_s=1e-6).parameters["true_rate_cps"].round())
    100000.0
    """
    name = checked_model(model)
    check_tau(tau_s, tau_standard_error_s)
    if not isinstance(rates, Volume):
        return _of_rates(np.asarray(rates, np.float64), tau_s, name, tau_standard_error_s, duration_s)
    how = DeadTime(tau_s, name, tau_standard_error_s)
    lost = image_losses(rates, how, duration_s=duration_s, observed_cps=observed_cps)
    step = make_step(
        STEP,
        tau_s=tau_s,
        tau_standard_error_s=tau_standard_error_s,
        model=name,
        observed_cps=plain(lost.observed_cps),
        rate_from="the camera" if observed_cps is not None else "the image",
        factor=plain(lost.factor),
        relative_uncertainty=lost.relative_uncertainty,
    )
    data = multiplied(rates.data, along_time(rates, lost.factor))
    corrected = rates.derived(data, rates.quantity, rates.unit, step)
    return corrected.with_warnings(*lost.cautions(caution_loss))


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """What a camera lost in each frame of an image.

    Attributes
    ----------
    observed_cps, factor : (n_frames,) ndarray
        Rate of the detector, and true over observed counts.
    lost_fraction : float
        Of the frame that lost most.
    relative_uncertainty : float
        That the dead time leaves in the frame where it is largest.
    """

    observed_cps: FloatArray
    factor: FloatArray
    lost_fraction: float
    relative_uncertainty: float

    def cautions(self, limit: float = CAUTION_LOSS) -> tuple[Caution, ...]:
        """A caution where more than a share `limit` of the counts was lost."""
        if not self.lost_fraction > limit:
            return ()
        text = (
            f"{100 * self.lost_fraction:.3g} % of the counts were lost to dead time: the correction rests on "
            "the model and on the share of events that the image shows"
        )
        return (Caution("large-dead-time-loss", text),)


def image_losses(
    v: Volume, how: DeadTime, *, duration_s: float | None = None, observed_cps: float | None = None
) -> Losses:
    """True over observed counts of each time frame of an image; keywords as in `correct_dead_time`."""
    if v.quantity not in ("counts", "count_rate"):
        raise UnitMismatch(
            "dead time is corrected in counts only",
            found=f"{v.quantity} [{v.unit}]",
            needed="counts or counts per second",
        )
    if any(step.name == STEP or step.parameters.get("dead_time_s") for step in v.history):
        raise UnsupportedInput(
            "the image was corrected for dead time before", where="history", needed="counts as observed"
        )
    axis = v.axis("time")
    n_frames = 1 if axis is None else len(axis)
    if observed_cps is not None:
        observed = np.full(n_frames, float(observed_cps))
    else:
        observed = _totals(v)
        if v.quantity == "counts":
            observed = observed / counting_times(v, duration_s)
    found = true_rate(observed, tau_s=how.tau_s, model=how.model)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(observed > 0, found.true_cps / observed, 1.0)
    shared = found.relative_error(how.standard_error_s)
    return Losses(observed, factor, float(found.lost_fraction.max()), float(shared.max()))


def along_time(v: Volume, factor: FloatArray) -> FloatArray:
    """One number per time frame, shaped to broadcast against the voxels."""
    lengths = [factor.size if axis.name == "time" else 1 for axis in v.axes]
    return factor.reshape(1, 1, 1, *lengths) if v.axes else np.asarray(factor[0])


def plain(values: FloatArray) -> float | list[float]:
    """One number where all frames agree, else a list: the history holds plain values."""
    numbers = [float(value) for value in values]
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _totals(v: Volume) -> FloatArray:
    """Sum of each time frame over space and energy windows."""
    totals = np.nansum(v.data, axis=(0, 1, 2), dtype=np.float64)
    others = tuple(n for n, axis in enumerate(v.axes) if axis.name != "time")
    return np.atleast_1d(totals.sum(axis=others))


def _of_rates(
    observed: FloatArray, tau_s: float, model: str, tau_error_s: float, duration_s: float | None
) -> Fit:
    found = true_rate(observed, tau_s=tau_s, model=model)
    error = np.abs(found.per_tau) * tau_error_s
    if duration_s is not None:
        if not (math.isfinite(duration_s) and duration_s > 0):
            raise ImplausibleValue("the counting time must be positive", found=f"{duration_s:g} s")
        spread = np.sqrt(rate_variance(observed, tau_s, model, duration_s))
        error = np.hypot(error, found.per_observed * spread)
    unknown = duration_s is None and tau_error_s == 0
    flags = np.where(np.isfinite(observed), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    nothing = np.full(observed.shape, np.nan)
    return Fit(
        {"true_rate_cps": found.true_cps, "lost_fraction": found.lost_fraction},
        {"true_rate_cps": nothing if unknown else error, "lost_fraction": nothing},
        nothing,
        nothing,
        np.zeros(observed.shape, np.int64),
        flags,
        {"true_rate_cps": "{counts}/s", "lost_fraction": "1"},
    )
