"""Curves of activity over time: exponentials, areas, half-lives and time-integrated activity.

Times count from the injection. Every function says whether its samples are the activity that was there, or
are decay corrected to the injection; both give the same half-lives and areas: those of the activity.

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
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.mapping.voxel_blocks import Curves, checked_times
from imgtheranostics.nuclear.curve_areas import (
    BEGINNINGS,
    METHODS,
    NAMES,
    TAILS,
    AreaRule,
    area_errors,
    areas,
)
from imgtheranostics.nuclear.decay import decay_constant
from imgtheranostics.nuclear.exponential_fits import Task, fit_curves
from imgtheranostics.nuclear.exponential_models import models_of

__all__ = ["auc", "fit_exponential"]

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


def auc(
    activity: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    method: str = "linear",
    tail: str = "physical",
    half_life_s: float,
    beginning: str = "linear",
    tail_points: int = 3,
    standard_error: npt.ArrayLike | None = None,
    decay_corrected: bool = False,
    administered: float = 1.0,
    unit: str = "1",
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Area under the activity from the injection on, without a model between the samples.

    Parameters
    ----------
    activity : (..., n) array_like
        As in `fit_exponential`. Of one reference for all samples.
    time_s : (n,) array_like
        After the injection, increasing.
    method : {"linear", "linear_log"}
        Trapezoids; or straight where the curve rises and exponential where it falls.
    tail : {"physical", "last_phase", "none"}
        After the last sample C: C / lambda with the decay of the nuclide, which bounds the area from above;
        or with the rate of a line through the logarithms of the last samples, never below that decay; or
        nothing.
    half_life_s : float
        Of the nuclide.
    beginning : {"linear", "physical", "none"}
        Before the first sample: a rise from nothing at the injection; decay alone since then, which suits
        blood and prompt uptake; or nothing.
    tail_points : int
        Samples of the last phase.
    standard_error : (n,) or (..., n) array_like, optional
        Of each sample, independent. Without it the results have none.
    decay_corrected : bool
        Whether the samples are as if nothing had decayed since the injection.
    administered, unit, mask
        As in `fit_exponential`.

    Returns
    -------
    Fit
        ``auc`` (`unit` x s), ``tiac_s`` (over `administered`), ``mean_residence_time_s`` (area under the
        first moment over the area), ``extrapolated_fraction`` and ``before_first_fraction`` of the area, and
        of the tail ``terminal_rate_per_s``, ``effective_half_life_s`` and ``biological_half_life_s``
        (infinite where nothing is cleared). A last phase slower than the decay is `Flag.AT_BOUND`, one that
        is not positive NaN with `Flag.OUTSIDE_RANGE`; negative samples are `Flag.NEGATIVE_AMPLITUDE`, and
        what is not finite, or has no positive area, is flagged as in `fit_exponential`.

    Raises
    ------
    ValueError
        If shapes, times or choices do not fit, or there are fewer samples than `tail_points`.

    Examples
    --------
    >>> share = 2.0 ** -np.arange(5.0)
    >>> found = auc(share, 3600.0 * np.arange(5.0), method="linear_log", half_life_s=3600.0)
    >>> round(float(found.parameters["auc"] * np.log(2) / 3600), 6)
    1.0
    """
    times, decay = checked_sampling(time_s, half_life_s)
    for name, known, what in ((method, METHODS, "method"), (tail, TAILS, "tail")):
        checked(name, known, what)
    checked(beginning, BEGINNINGS, "beginning")
    if tail == "last_phase" and not 2 <= tail_points <= times.size:
        raise ValueError(f"a last phase of {tail_points} samples needs 2 to {times.size} of them")
    if not (math.isfinite(administered) and administered > 0):
        raise ValueError(f"administered must be positive, not {administered!r}")
    rule = AreaRule(times, decay, method, tail, beginning, int(tail_points), float(administered))
    curves = Curves.of(activity, times.size, mask, "activity")
    spread = _sample_errors(standard_error, curves, times.size)
    left = np.exp(-decay * times)[:, np.newaxis] if decay_corrected else np.ones((times.size, 1))
    values, errors = (np.full((len(NAMES), curves.planes.n_voxels), np.nan) for _ in range(2))
    flags = curves.flags()
    for index in curves.blocks():
        samples = curves.samples(index) * left
        values[:, index], flags[index] = areas(samples, rule)
        if spread is not None:
            own = spread.samples(index) if isinstance(spread, Curves) else spread[:, np.newaxis]
            errors[:, index] = area_errors(samples, own * left, rule)
    errors[~np.isfinite(values)] = np.nan
    units = {"auc": "s" if unit == "1" else f"{unit}.s", "tiac_s": "s" if unit == "1" else f"{unit}.s"}
    shape, dtype = curves.planes.shape, curves.planes.samples.dtype
    return Fit(
        {name: curves.restored(row.astype(dtype)) for name, row in zip(NAMES, values, strict=True)},
        {name: curves.restored(row.astype(dtype)) for name, row in zip(NAMES, errors, strict=True)},
        *nothing_fitted(shape, dtype),
        flags=curves.restored(flags),
        units={name: units.get(name, _plain_unit(name)) for name in NAMES},
    )


def _plain_unit(name: str) -> str:
    if name.endswith("_per_s"):
        return "1/s"
    return "s" if name.endswith("_s") else "1"


def _sample_errors(
    standard_error: npt.ArrayLike | None, curves: Curves, n: int
) -> Curves | FloatArray | None:
    """Errors of the samples, for all curves or for each."""
    if standard_error is None:
        return None
    given = np.asarray(standard_error, np.float64)
    if (given < 0).any():
        raise ValueError("standard_error must not be negative")
    if given.ndim == 1 and curves.planes.shape != ():
        if given.shape != (n,):
            raise ValueError(f"standard_error must be {n} numbers, one for each time, or one for each sample")
        return given
    own = Curves.of(given, n, None, "standard_error")
    if own.planes.shape != curves.planes.shape:
        raise ValueError(f"standard_error has shape {given.shape}, which is not that of the activity")
    if own.planes.order != curves.planes.order:
        own = Curves.of(np.asarray(given, order=curves.planes.order), n, None, "standard_error")
    return own
