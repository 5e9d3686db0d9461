"""T1 from the recovery of the magnetisation: after inversion, after saturation, and in Look-Locker trains.

Every model is linear in its amplitudes, so that T1 is the only unknown that is searched. Magnitudes lose the
sign before the null: every number of negative samples at the beginning is tried, and the smallest sum of
squares decides.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, planar
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mri import recovery_model as models
from imgtheranostics.mri.complex_recovery import in_phase, with_both_channels
from imgtheranostics.mri.plane_results import PlaneResults
from imgtheranostics.mri.plausible import (
    check_distinct,
    check_sample_count,
    checked_recovery_times,
    checked_repetition_times,
)
from imgtheranostics.mri.recovery_model import RecoveryModel

T1_LIMIT_S = 20.0
"""T1 beyond it is outside the range: no protocol tells it from infinity."""

SLAB = 32_768
"""Voxels that are handed to the kernel in float64 at a time: a few MiB."""

FloatArray = npt.NDArray[np.float64]
Polarity = Literal["signed", "magnitude", "either", "free"]

_INVERSION_MODELS = ("magnitude", "signed", "complex", "two_parameter")


def fit_inversion_recovery(
    signal: npt.ArrayLike,
    inversion_time_s: npt.ArrayLike,
    *,
    repetition_time_s: npt.ArrayLike | None = None,
    model: Literal["magnitude", "signed", "complex", "two_parameter"] = "magnitude",
    t1_limit_s: float = T1_LIMIT_S,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """T1, S0 and the inverted share of S = S0 [1 - k e^{-TI/T1} + (k - 1) e^{-TR/T1}], k = 1 + share.

    Parameters
    ----------
    signal : (..., n) array_like
        At each inversion time, arbitrary units; complex for ``complex``.
    inversion_time_s : (n,) array_like
        Inversion times in s, in any order.
    repetition_time_s : float or (n,) array_like, optional
        From inversion to inversion, in s; one per inversion time where they differ. Without it the
        magnetisation is taken as fully recovered before every inversion: that changes S0 and the share, and
        T1 only where repetition times differ or with ``two_parameter``.
    model : {"magnitude", "signed", "complex", "two_parameter"}
        ``magnitude``, ``signed`` and ``complex`` name what the signal is; T1, S0 and the inverted share are
        fitted. A complex signal has one phase per voxel, which is fitted too. ``two_parameter`` takes the
        inversion as perfect (k = 2) and magnitudes, or signed signals where a voxel has a negative sample.
    t1_limit_s : float
        Longer T1 are refused as outside the range.
    mask : (...) array_like of bool, optional
        Voxels to fit.
    workers : int, optional
        Threads; all by default. The bytes of the result do not depend on it.

    Returns
    -------
    Fit
        ``t1_s``, ``s0`` and ``inversion_efficiency`` (the inverted share, 1 for a perfect inversion; assumed,
        without standard error, for ``two_parameter``). Standard errors are those of the covariance s^2
        (J'J)^-1 over `imgtheranostics.fit.shortfall`, and for magnitudes also of the sign that samples near
        the null leave open. A voxel is NaN and flagged where a sample is not finite, all are 0, or a
        magnitude is negative (`INVALID_INPUT`), T1 leaves the range from an eighth of the first inversion
        time to the limit or nothing is inverted (`OUTSIDE_RANGE`), S0 is negative (`NEGATIVE_AMPLITUDE`), or
        the search does not settle (`NOT_CONVERGED`). A value stays but is flagged where another polarity fits
        as well with a T1 that differs by more than its standard error (`AMBIGUOUS_BRANCH`), and where the
        standard error exceeds T1 or more than a full inversion would be needed (`ILL_CONDITIONED`), as when
        T1 is far shorter than the first inversion time.

    Raises
    ------
    ValueError
        If shapes do not fit, or there are fewer (different) inversion times than parameters.
    ImplausibleValue
        If times look like milliseconds, or a repetition time is shorter than its inversion time.

    References
    ----------
    .. [1] doi:10.1002/mrm.22497 (reduced search, polarity restoration)
    """
    if model not in _INVERSION_MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(_INVERSION_MODELS)}")
    times = checked_recovery_times(inversion_time_s)
    repetition_times = _repetition_times(repetition_time_s, times)
    finite = repetition_times is not None
    if model == "two_parameter":
        chosen = models.PERFECT_INVERSION_FINITE if finite else models.PERFECT_INVERSION
    else:
        chosen = models.INVERSION_FINITE if finite else models.INVERSION
    polarity: Polarity = "either"
    if model in ("magnitude", "signed"):
        polarity = "magnitude" if model == "magnitude" else "signed"
    projected = None
    if model == "complex":
        check_sample_count(times.size, 3, "inversion times", chosen.name)
        projected = in_phase(signal, times.size)
        signal, polarity = projected.along, "free"
    fit = _run(
        signal, times, repetition_times, chosen, polarity, t1_limit_s, mask, workers, "inversion times"
    )
    share = fit.parameters["inversion_efficiency"]
    if model == "two_parameter":
        share[...] = np.where(np.isfinite(fit.parameters["t1_s"]), 1.0, np.nan)
        fit.standard_errors["inversion_efficiency"][...] = np.nan
    else:
        share -= 1.0
    return fit if projected is None else with_both_channels(fit, projected, times.size)


def fit_saturation_recovery(
    signal: npt.ArrayLike,
    recovery_time_s: npt.ArrayLike,
    *,
    model: Literal["two_parameter", "three_parameter"] = "two_parameter",
    t1_limit_s: float = T1_LIMIT_S,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """T1 and S0 of S = S0 (1 - s e^{-t/T1}) after saturation, or over repetition times with 90 degree pulses.

    Parameters
    ----------
    signal : (..., n) array_like
        At each time, arbitrary units.
    recovery_time_s : (n,) array_like
        Times since the saturation in s, or repetition times (RARE-VTR), in any order.
    model : {"two_parameter", "three_parameter"}
        With s = 1, or with s fitted.
    t1_limit_s, mask, workers
        As of `fit_inversion_recovery`.

    Returns
    -------
    Fit
        ``t1_s``, ``s0`` and, with three parameters, ``saturation_efficiency`` (s). Flags as of
        `fit_inversion_recovery`.

    Raises
    ------
    ValueError
        If shapes do not fit, or there are fewer (different) times than parameters.
    ImplausibleValue
        If times look like milliseconds.
    """
    choices = {"two_parameter": models.SATURATION, "three_parameter": models.PARTIAL_SATURATION}
    if model not in choices:
        raise ValueError(f"model {model!r} is not one of {', '.join(choices)}")
    times = checked_recovery_times(recovery_time_s, "recovery_time_s")
    return _run(signal, times, None, choices[model], "signed", t1_limit_s, mask, workers, "recovery times")


def fit_look_locker(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    model: Literal["magnitude", "signed"] = "magnitude",
    t1_limit_s: float = T1_LIMIT_S,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """T1 of a Look-Locker or MOLLI train: S = A - B e^{-t/T1*}, T1 = T1* (B/A - 1).

    Parameters
    ----------
    signal : (..., n) array_like
        At each time after the inversion, arbitrary units.
    time_s : (n,) array_like
        Times after the inversion in s, in any order.
    model : {"magnitude", "signed"}
        What the signal is.
    t1_limit_s, mask, workers
        As of `fit_inversion_recovery`.

    Returns
    -------
    Fit
        ``t1_s``, ``t1star_s``, ``s0`` (A, the signal that the train settles at) and ``inversion_efficiency``
        (B/A - 1, the inverted signal at time 0 over A). The correction takes the inversion as perfect. Where
        B/A is not above 1 there is no T1: NaN and `OUTSIDE_RANGE`. Other flags as of
        `fit_inversion_recovery`.

    Raises
    ------
    ValueError
        If shapes do not fit, or there are fewer than three (different) times.
    ImplausibleValue
        If times look like milliseconds.

    References
    ----------
    .. [1] doi:10.1002/mrm.20110 (MOLLI)
    """
    if model not in ("magnitude", "signed"):
        raise ValueError(f"model {model!r} is not one of magnitude, signed")
    times = checked_recovery_times(time_s, "time_s")
    fit = _run(signal, times, None, models.LOOK_LOCKER, model, t1_limit_s, mask, workers, "times")
    share = fit.parameters["inversion_efficiency"]
    share -= 1.0
    return fit


def _repetition_times(given: npt.ArrayLike | None, times: FloatArray) -> FloatArray | None:
    """One repetition time per inversion time, or None."""
    if given is None:
        return None
    checked = checked_repetition_times(given, times.size)
    repetition_times = np.broadcast_to(checked, times.shape)
    if bool(np.any(repetition_times < times)):
        raise ImplausibleValue(
            "a repetition time is shorter than its inversion time",
            where="repetition_time_s",
            found=f"{float(repetition_times.min()):g} s",
            needed=f"at least {float(times.max()):g} s",
            next_step="give the time from one inversion to the next",
        )
    return repetition_times


def _run(
    signal: npt.ArrayLike,
    times: FloatArray,
    repetition_times: FloatArray | None,
    model: RecoveryModel,
    polarity: Polarity,
    longest_s: float,
    mask: npt.ArrayLike | None,
    workers: int | None,
    what: str,
) -> Fit:
    """Check, and run the kernel on the samples in order of time."""
    from imgtheranostics.kernels import inversion_recovery as kernels

    if not longest_s > 0.0:
        raise ValueError("t1_limit_s must be above 0")
    check_sample_count(times.size, model.n_parameters, what, model.name)
    check_distinct(times, model.n_parameters, what, model.name)
    planes = planar(signal, times.size)
    results = PlaneResults.empty(planes, len(model.parameters))
    order = np.argsort(times, kind="stable").astype(np.int64)
    sorted_times = times[order]
    waits = np.zeros_like(times) if repetition_times is None else repetition_times[order]
    low, high = models.rate_limits(sorted_times, longest_s)
    kinds = {"signed": kernels.SIGNED, "free": kernels.SIGNED, "magnitude": kernels.MAGNITUDE}
    settings = (
        order,
        models.packed(model, sorted_times, waits),
        model.pair,
        kinds.get(polarity, kernels.EITHER),
        models.limits(model, low, high, longest_s, free_sign=polarity in ("free", "magnitude")),
        *models.grid(model, sorted_times, waits, low, high),
    )
    places = np.array([place for _, _, place in model.parameters], np.int64)
    chosen = read_only(planes.chosen(mask))
    with thread_limit(workers):
        for begin in range(0, planes.n_voxels, SLAB):
            run = slice(begin, begin + SLAB)
            samples = read_only(np.ascontiguousarray(planes.samples[:, run], np.float64))
            out = np.empty((results.planes.shape[0], samples.shape[1]))
            counts, flags = results.iterations[run], results.flags[run]
            kernels.fit_recovery(samples, *settings, chosen[run], places, out, counts, flags)
            results.planes[:, run] = out
    return results.as_fit({name: unit for name, unit, _ in model.parameters}, model.n_parameters)
