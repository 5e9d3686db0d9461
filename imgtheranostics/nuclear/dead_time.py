"""What a busy detector shows of true rates, and the way back, for the two classical models.

A non-paralysable detector is blind for a time tau after each event that it recorded, a paralysable one after
each event that came: of a true rate n they show n / (1 + n tau) and n exp(-n tau) [1]_.

References
----------
.. [1] Knoll GF, Radiation Detection and Measurement, chapter 4.
.. [2] Müller JW, Nucl Instrum Meth 1973, doi:10.1016/0029-554X(73)90773-8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue

FloatArray = npt.NDArray[np.float64]

MODELS = ("non_paralysable", "paralysable")

LARGEST_AMPLIFICATION = 10.0
"""Relative error of the true rate over that of the observed one, above which nothing is restored."""

_LONGEST_S = 1e-2


@dataclass(frozen=True, slots=True)
class DeadTime:
    """Dead time of a detector.

    Attributes
    ----------
    tau_s, standard_error_s : float
    model : str
        One of `MODELS`.
    reduced_chi_squared : float
        Of the measurement that it comes from; NaN where nothing was left to test.
    warnings : tuple of Caution
    """

    tau_s: float
    model: str = "non_paralysable"
    standard_error_s: float = 0.0
    reduced_chi_squared: float = math.nan
    warnings: tuple[Caution, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """True rates, and how what went in moves them.

    Attributes
    ----------
    true_cps : ndarray
    lost_fraction : ndarray
        1 - observed / true.
    per_observed : ndarray
        Derivative of the true by the observed rate.
    per_tau : ndarray
        Derivative of the true rate by the dead time, counts/s per s.
    """

    true_cps: FloatArray
    lost_fraction: FloatArray
    per_observed: FloatArray
    per_tau: FloatArray

    def relative_error(self, tau_standard_error_s: float) -> FloatArray:
        """Relative standard uncertainty that the dead time leaves in the true rates."""
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.abs(self.per_tau) * tau_standard_error_s / self.true_cps
        return np.where(self.true_cps == 0, 0.0, share)


def checked_model(model: str) -> str:
    """The model in its own spelling; ``non-paralysable`` is one, too.

    Raises
    ------
    ValueError
        If it is not known.
    """
    name = model.replace("-", "_").lower()
    if name not in MODELS:
        raise ValueError(f"model is one of {', '.join(MODELS)}, not {model!r}")
    return name


def check_tau(tau_s: float, tau_standard_error_s: float = 0.0) -> None:
    """Refuse what is no dead time in s.

    Raises
    ------
    ImplausibleValue
        If it is negative, not finite or above 10 ms, which no radiation detector has.
    """
    if not 0 <= tau_s <= _LONGEST_S:
        raise ImplausibleValue(
            "the dead time must be zero or more, and that of a detector",
            where="dead time",
            found=f"{tau_s:g} s",
            needed=f"0 to {_LONGEST_S:g} s",
            next_step="check that the dead time is in seconds",
        )
    if not (math.isfinite(tau_standard_error_s) and tau_standard_error_s >= 0):
        raise ImplausibleValue(
            "the standard error of the dead time must be zero or more",
            where="dead time",
            found=f"{tau_standard_error_s:g} s",
        )


def observed_rate(
    true_cps: npt.ArrayLike, *, tau_s: float, model: str = "non_paralysable"
) -> npt.NDArray[np.float64]:
    """What a detector shows of true rates, counts/s.

    Parameters
    ----------
    true_cps : array_like
    tau_s : float
    model : {"non_paralysable", "paralysable"}

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(observed_rate(1e5, tau_s=1e-6))
    90909.0909090909
    """
    check_tau(tau_s)
    n = np.asarray(true_cps, np.float64)
    found = n / (1.0 + n * tau_s) if checked_model(model) == "non_paralysable" else n * np.exp(-n * tau_s)
    return np.asarray(found)


def true_rate(observed_cps: npt.ArrayLike, *, tau_s: float, model: str = "non_paralysable") -> Restored:
    """True rates behind observed ones, with their derivatives.

    Of the two true rates that a paralysable detector may show as one, the lower is taken.

    Parameters
    ----------
    observed_cps : array_like
        Counts/s of one detector, all events that keep it busy.
    tau_s : float
    model : {"non_paralysable", "paralysable"}

    Returns
    -------
    Restored

    Raises
    ------
    ImplausibleValue
        If a rate is negative, or above the highest that such a detector can show.
    IllConditioned
        If a rate is so close to it that its error would grow more than `LARGEST_AMPLIFICATION` times.
    """
    name = checked_model(model)
    check_tau(tau_s)
    observed = np.asarray(observed_cps, np.float64)
    if (observed < 0).any():
        raise ImplausibleValue(
            "a count rate is negative", where="observed rate", found=f"{float(np.nanmin(observed)):.4g} /s"
        )
    busy = observed * tau_s
    highest = 1.0 if name == "non_paralysable" else math.exp(-1.0)
    _check_saturation(observed, busy, highest, tau_s, name)
    if name == "non_paralysable":
        live = 1.0 - busy
        true = observed / live
        return _checked(Restored(true, busy, 1.0 / live**2, true**2), live, tau_s)
    events = busy_share(busy)
    true = observed * np.exp(events)
    live = 1.0 - events
    return _checked(Restored(true, -np.expm1(-events), np.exp(events) / live, true**2 / live), live, tau_s)


def busy_share(observed_tau: FloatArray) -> FloatArray:
    """True rate times dead time of a paralysable detector, from the observed rate times dead time.

    The lower of the two solutions x of x exp(-x), below 1; NaN where there is none.
    """
    from scipy.special import lambertw

    negative: Any = -observed_tau
    return np.asarray(-lambertw(negative).real)


def _check_saturation(
    observed: FloatArray, busy: FloatArray, highest: float, tau_s: float, model: str
) -> None:
    if not (busy >= highest).any():
        return
    raise ImplausibleValue(
        "the observed count rate is above what a camera with this dead time can count",
        where="dead time",
        found=f"{float(np.nanmax(observed)):.4g} counts/s x {tau_s:g} s ({model})",
        needed=f"a product below {highest:.4g}",
        next_step="check that the dead time is in seconds",
    )


def _checked(found: Restored, live: FloatArray, tau_s: float) -> Restored:
    """The same, unless an error of the observed rate would be blown up."""
    if (live < 1.0 / LARGEST_AMPLIFICATION).any():
        raise IllConditioned(
            "the camera was so close to saturation that the true rate cannot be told",
            where="dead time",
            found=f"{100 * float(np.nanmax(found.lost_fraction)):.3g} % of the counts lost at {tau_s:g} s",
            needed=f"an error that grows less than {LARGEST_AMPLIFICATION:g} times",
            next_step="measure again with less activity, or later",
        )
    return found


def rate_variance(observed: FloatArray, tau_s: float, model: str, duration_s: npt.ArrayLike) -> FloatArray:
    """Variance of an observed rate: events behind a dead time are more regular than those of Poisson."""
    busy = observed * tau_s
    share = (1.0 - busy) ** 2 if model == "non_paralysable" else 1.0 - 2.0 * busy
    return np.asarray(observed / np.asarray(duration_s, np.float64) * share)
