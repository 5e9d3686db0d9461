"""Exponentials of one activity curve or many: what is taken, what is refused, what comes out.

References
----------
.. [1] Siegel JA et al., MIRD pamphlet no. 16, J Nucl Med 40:37S (1999).
.. [2] Burnham KP, Anderson DR, Model selection and multimodel inference, Springer 2002.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.voxel_blocks import Curves, checked_times
from imgtheranostics.nuclear.decay import decay_constant
from imgtheranostics.nuclear.exponential_fits import Task, fit_curves
from imgtheranostics.nuclear.exponential_models import models_of

FloatArray = npt.NDArray[np.float64]


def fit_exponential(
    activity: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    terms: int | str = "auto",
    half_life_s: float,
    uptake: bool | None = None,
    weights: npt.ArrayLike | None = None,
    standard_error: npt.ArrayLike | None = None,
    decay_corrected: bool = False,
    administered: float = 1.0,
    unit: str = "1",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Fit sums of exponentials that never fall more slowly than the nuclide decays.

    The curve is a sum of A_j exp(-k_j t) from the injection on, with k_j not below ln 2 / `half_life_s`. For
    decay-corrected samples the biological rates are searched for instead, which are not below zero.

    Parameters
    ----------
    activity : (..., n) array_like
        Activity, its concentration, or a share of what was injected, at each time. The activity that was
        there unless `decay_corrected`. Of one reference for all samples.
    time_s : (n,) array_like
        After the injection, increasing.
    terms : {1, 2, 3, "auto"}
        Exponentials. ``auto`` takes those that the corrected information criterion of Akaike prefers, curve
        by curve [2]_, out of one to three and of one or two with an uptake phase.
    half_life_s : float
        Of the nuclide.
    uptake : bool, optional
        True: one more exponential that takes the curve up from zero at the injection, faster than the
        others. False: no phase of uptake, all amplitudes are positive. By default, the fastest of several
        amplitudes may be negative as long as the curve is not below zero at the injection.
    weights : (n,) array_like, optional
        Relative, such as the inverse variance of each sample; zero leaves a sample out. By default all equal.
        Their scale is taken from the residuals.
    standard_error : (n,) array_like, optional
        Of each sample, independent, in the unit of `activity`; instead of `weights`. The errors of the result
        then follow from these and not from the residuals, and there may be as few samples as parameters.
    decay_corrected : bool
        Whether the samples are as if nothing had decayed since the injection.
    administered : float
        What the area is divided by for the coefficient: the activity injected, in the unit that `activity` x
        volume has; 1 where `activity` is a share of it, 100 where it is percent.
    unit : str
        UCUM code of `activity`, for the units of the result; of `activity` / `administered` for the area.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the numbers do not depend on it.

    Returns
    -------
    Fit
        ``amplitude_1``, ``rate_1_per_s`` and so on, the slowest first; rates are those of the activity, decay
        included. ``terminal_rate_per_s`` is the slowest, ``effective_half_life_s`` and
        ``biological_half_life_s`` (infinite without clearance) follow from it. ``tiac_s`` is the area under
        the activity from the injection on over `administered`, ``extrapolated_fraction`` its share after the
        last sample, ``mean_residence_time_s`` the mean time at which its decays happen. ``terms`` (without a
        forced uptake) and ``aicc`` say which model was taken; what it does not have is NaN.

        Standard errors are those of the covariance, over the mean of a standard deviation of so few samples.
        No phase is faster than one of which 1 % is left at the first sample.
        A rate or amplitude at a bound has none, is taken as known for the others, and is `Flag.AT_BOUND`:
        a curve that falls no faster than the nuclide decays, or that has fewer phases than it was asked for.
        Parameters that the samples do not tell apart have none either (`Flag.ILL_CONDITIONED`). Curves with
        negative samples are `Flag.NEGATIVE_AMPLITUDE`; NaN with `Flag.BELOW_NOISE` where no positive curve
        fits, and with `Flag.INVALID_INPUT` where a sample is not finite.

    Raises
    ------
    ValueError
        If shapes, times, weights or choices do not fit, a time is before the injection, or there are fewer
        samples than parameters.

    Examples
    --------
    12 % of what was injected, cleared with 60 h from a nuclide of 64.1 h:

    >>> hours = np.array([1.0, 6.0, 24.0, 48.0, 96.0])
    >>> share = 0.12 * 2 ** (-hours / 64.1 - hours / 60)
    >>> found = fit_exponential(share, hours * 3600, terms=1, half_life_s=64.1 * 3600)
    >>> round(float(found.parameters["effective_half_life_s"]) / 3600, 2)
    30.99
    """
    times, decay = checked_sampling(time_s, half_life_s)
    if not (math.isfinite(administered) and administered > 0):
        raise ValueError(f"administered must be positive, not {administered!r}")
    importance, known = checked_weights(weights, standard_error, times.size)
    models = models_of(terms, uptake, int(np.count_nonzero(importance)))
    task = Task(times, importance, known, decay, bool(decay_corrected), models)
    curves = Curves.of(activity, times.size, mask, "activity")
    return fit_curves(curves, task, float(administered), unit, workers)


def checked_sampling(time_s: npt.ArrayLike, half_life_s: float) -> tuple[FloatArray, float]:
    """Times after the injection and the decay constant, 1/s.

    Raises
    ------
    ValueError
        If times do not increase or are before the injection, or the half-life is not positive.
    """
    times = checked_times(time_s)
    if times[0] < 0:
        raise ValueError(f"time_s counts from the injection, but the first time is {times[0]:g} s")
    if np.ndim(half_life_s) != 0:
        raise ValueError("half_life_s must be one number, that of the nuclide")
    return times, float(decay_constant(half_life_s))


def checked_weights(
    weights: npt.ArrayLike | None, standard_error: npt.ArrayLike | None, n: int
) -> tuple[FloatArray, bool]:
    """Weights of the samples, and whether they are inverse variances.

    Raises
    ------
    ValueError
        If both are given, or they are not one number per sample, finite and not negative.
    """
    if weights is not None and standard_error is not None:
        raise ValueError("give weights or standard_error, not both")
    if standard_error is not None:
        error = np.asarray(standard_error, np.float64)
        if error.shape != (n,) or not (np.isfinite(error) & (error > 0)).all():
            raise ValueError(f"standard_error must be {n} positive numbers, one for each time")
        return error**-2.0, True
    if weights is None:
        return np.ones(n), False
    given = np.asarray(weights, np.float64)
    if given.shape != (n,) or not (np.isfinite(given) & (given >= 0)).all() or not (given > 0).any():
        raise ValueError(f"weights must be {n} numbers, one for each time, not negative and not all zero")
    return given / given.max(), False
