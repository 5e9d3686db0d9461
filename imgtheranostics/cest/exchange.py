"""Exchange rate and fraction of one pool from its saturation transfer at several powers or times.

All methods take the transfer of a single pool that is far from water: MTRasym, or MTRrex where direct
saturation and magnetisation transfer spill over (it removes both in the steady state). What they assume:

- block saturation by one amplitude; for a train of pulses, the amplitude that gives the same mean power is a
  fair substitute for slow exchange only, and k is then an effective rate;
- the labelling efficiency w1^2/(w1^2 + k^2), that is R2 of the pool well below k. With a pool of long T2 and
  k of 50/s or more this holds within a few per cent; where R2 is not small, the rate contains it;
- for MTRasym, no spillover: close to water or at powers above about k the transfer is diluted and both
  results are low. MTRrex, or a fit with `imgtheranostics.cest.bloch_fit`, is then to be preferred;
- for MTRrex, the steady state: after 3 s of saturation at a T1 of 2 s the fraction is about 20 % low, and the
  rate 3 % (200/s) to 40 % (4,000/s) high. `quesp` of MTRasym in its labelled form knows the duration.

The rate is known only if the powers reach from well below to about k: with all of them far below, only f/k
shows, with all of them far above, only f k. Such voxels are NaN and `Flag.ILL_CONDITIONED`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.exchange_growth import GrowthSolver
from imgtheranostics.cest.exchange_lines import LineSolver
from imgtheranostics.cest.exchange_points import (
    Block,
    DoubleArray,
    Metric,
    Points,
    checked_b1,
    checked_times,
)
from imgtheranostics.fit import Fit, shortfall
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.volume import Flag

__all__ = ["hanes_woolf", "omega_plot", "quesp", "quest"]

LEAST_RATE, LARGEST_RATE = 1.0, 1e6
"""Bounds of k in 1/s."""

LEAST_TRANSFER, LARGEST_TRANSFER = 1e-8, 1e4
"""Bounds of f k alpha at the middle power in 1/s."""

Form = Literal["published", "labelled"]

FORMS, INVERSE = {"published": 0, "labelled": 2}, 1
"""Codes of `imgtheranostics.kernels.labelling`, which is imported where it is called."""

STEADY_STATE_S = 1e9
"""A time so long that nothing is left of the start."""


def omega_plot(
    mtr_rex: npt.ArrayLike,
    *,
    b1_ut: npt.ArrayLike,
    r1_per_s: npt.ArrayLike,
    r1_se_per_s: npt.ArrayLike | None = None,
    relative_b1: npt.ArrayLike = 1.0,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    check_b1: bool = True,
) -> Fit:
    """Straight line of 1/MTRrex over 1/w1^2: k = sqrt(slope/intercept), f = R1/(intercept k).

    Parameters
    ----------
    mtr_rex : (..., n) array_like
        1/Zlab - 1/Zref in the steady state at each power.
    b1_ut : (n,) array_like
        Amplitude of the saturation in uT, at least two different.
    r1_per_s : float or (...) array_like
        1/T1 of water.
    r1_se_per_s : float or (...) array_like, optional
        Its standard error; enters that of the fraction.
    relative_b1 : float or (...) array_like
        Transmit field relative to nominal.
    noise_sd : float, (n,) or (..., n) array_like, optional
        Standard deviation of `mtr_rex`. With it the points weigh by their noise and errors are absolute.
        Without it all points of the plot weigh the same, as published, and the size of the noise, taken as
        the same in every MTRrex, comes from the residuals.
    mask : (...) array_like of bool, optional
        NaN outside.
    check_b1 : bool
        Whether amplitudes that look like Hz or T are refused.

    Returns
    -------
    Fit
        ``exchange_rate_per_s`` and ``fraction`` (of the protons of water). NaN with a flag: ILL_CONDITIONED
        where the standard error of k exceeds a quarter of it (the intercept is not above twice its own);
        OUTSIDE_RANGE where slope or intercept is not positive, or the fraction is not below 1; BELOW_NOISE
        where an MTRrex is not positive or all could be noise; INVALID_INPUT, INVALID_B1. Standard errors are
        NaN where two points leave no freedom and `noise_sd` is not given. `rmse` is that of MTRrex.

    Raises
    ------
    ValueError
        If there are fewer than two different powers, or shapes do not fit.
    ImplausibleValue
        If `b1_ut` looks like Hz or T, or `r1_per_s` is not in 1/s.

    References
    ----------
    .. [1] Dixon WT et al. Magn Reson Med 2010, 63:625. doi:10.1002/mrm.22242
    """
    points = _powers(mtr_rex, b1_ut, r1_per_s, r1_se_per_s, relative_b1, noise_sd, mask, check_b1, "mtr_rex")
    return points.fit(LineSolver(points.power, False, points.noise is not None))


def hanes_woolf(
    mtr_rex: npt.ArrayLike,
    *,
    b1_ut: npt.ArrayLike,
    r1_per_s: npt.ArrayLike,
    r1_se_per_s: npt.ArrayLike | None = None,
    relative_b1: npt.ArrayLike = 1.0,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    check_b1: bool = True,
) -> Fit:
    """Straight line of w1^2/MTRrex over w1^2: k = sqrt(intercept/slope), f = R1/(slope k).

    The linear form that is more precise for fast exchange, since it gives the strongest powers most weight.
    With `noise_sd` both forms are the same weighted fit. Arguments and result as those of `omega_plot`.

    References
    ----------
    .. [1] PMC3784632
    """
    points = _powers(mtr_rex, b1_ut, r1_per_s, r1_se_per_s, relative_b1, noise_sd, mask, check_b1, "mtr_rex")
    return points.fit(LineSolver(points.power, True, points.noise is not None))


def quesp(
    mtr: npt.ArrayLike,
    *,
    b1_ut: npt.ArrayLike,
    r1_per_s: npt.ArrayLike,
    saturation_time_s: npt.ArrayLike | None = None,
    metric: Metric = "mtr_asym",
    form: Form = "published",
    r1_se_per_s: npt.ArrayLike | None = None,
    relative_b1: npt.ArrayLike = 1.0,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_b1: bool = True,
) -> Fit:
    """Least-squares fit of the transfer over the power (QUESP).

    Parameters
    ----------
    mtr : (..., n) array_like
        MTRasym as fraction, or MTRrex, at each power.
    b1_ut : (n,) array_like
        Amplitude of the saturation in uT, at least two different.
    r1_per_s : float or (...) array_like
        1/T1 of water.
    saturation_time_s : float or (n,) array_like, optional
        Duration of the saturation; ``numpy.inf`` for the steady state. Needed for ``mtr_asym``; ``mtr_rex``
        is that of the steady state.
    metric : {"mtr_asym", "mtr_rex"}
        ``mtr_asym``: f k alpha/(R1 + f k) (1 - exp(-(R1 + f k) t)); ``mtr_rex``: f k alpha/R1.
    form : {"published", "labelled"}
        Of ``mtr_asym``: as published, above, or with f k alpha for f k throughout, since only labelled
        protons leave their mark on water. The published form holds where f k is small beside R1; against
        Bloch and McConnell's equations (k 1000/s, f 3.6e-4, R1 0.5/s, 15 s) its k is low by 25 %, that of the
        labelled form by 2 %, that of ``mtr_rex`` high by 0.5 %; with spillover (T2 of water 45 ms, label at
        9.8 ppm, 11.7 T, 1 to 4 uT) by 30 %, 13 % and 0.6 %.
    r1_se_per_s : float or (...) array_like, optional
        Standard error of `r1_per_s`, carried on.
    relative_b1 : float or (...) array_like
        Transmit field relative to nominal.
    noise_sd : float, (n,) or (..., n) array_like, optional
        Standard deviation of `mtr`: points weigh by it and errors are absolute. Without it all weigh the same
        and the residuals tell.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads; the result does not depend on it.
    check_b1 : bool
        Whether amplitudes that look like Hz or T are refused.

    Returns
    -------
    Fit
        As that of `omega_plot`; OUTSIDE_RANGE for an impossible fraction, NOT_CONVERGED where no minimum was
        reached, AT_BOUND besides ILL_CONDITIONED where the rate ran against 1 or 1e6 per s.

    Raises
    ------
    ValueError
        If there are fewer than two different powers, shapes do not fit, or the time is missing.
    ImplausibleValue
        If `b1_ut`, `r1_per_s` or the times are in another unit, or asymmetries exceed 1.

    References
    ----------
    .. [1] McMahon MT et al. Magn Reson Med 2006, 55:836. doi:10.1002/mrm.20818
    """
    if metric not in ("mtr_asym", "mtr_rex"):
        raise ValueError(f"unknown metric {metric!r}; there are mtr_asym, mtr_rex")
    if saturation_time_s is None and metric == "mtr_asym":
        raise ValueError("mtr_asym depends on saturation_time_s; give numpy.inf for the steady state")
    points = _powers(mtr, b1_ut, r1_per_s, r1_se_per_s, relative_b1, noise_sd, mask, check_b1, metric)
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; there are {', '.join(FORMS)}")
    if form != "published" and metric != "mtr_asym":
        raise ValueError("form applies to mtr_asym; mtr_rex has one form")
    times = checked_times(np.inf if saturation_time_s is None else saturation_time_s)
    if times.size not in (1, points.n):
        raise ValueError(f"saturation_time_s has {times.size} values for {points.n} powers")
    code = INVERSE if metric == "mtr_rex" else FORMS[form]
    return _labelling(points, np.broadcast_to(times, points.n), code, workers)


def quest(
    mtr_asym: npt.ArrayLike,
    *,
    saturation_time_s: npt.ArrayLike,
    b1_ut: npt.ArrayLike,
    r1_per_s: npt.ArrayLike,
    fraction: float | None = None,
    r1_se_per_s: npt.ArrayLike | None = None,
    relative_b1: npt.ArrayLike = 1.0,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_b1: bool = True,
) -> Fit:
    """Least-squares fit of the asymmetry over the duration of saturation (QUEST).

    In the published form, which is fitted, the growth tells R1 + f k, its height the labelling efficiency and
    with it k. In truth water approaches its steady state with R1 + f k alpha, so that growth and height tell
    the same f k alpha twice: real data lead to complete labelling and to an unknown k (ILL_CONDITIONED), or
    to one that is too low. Use several powers (`quesp`, which also takes a time for each), or give the
    `fraction` of solutions of known concentration: then f k alpha is fitted, with R1 + f k alpha as the rate
    of growth, and k follows.

    Parameters
    ----------
    mtr_asym : (..., n) array_like
        MTRasym as fraction at each time.
    saturation_time_s : (n,) array_like
        Duration of the saturation in s, at least two different.
    b1_ut : float or (n,) array_like
        Amplitude of the saturation in uT.
    fraction : float, optional
        Known protons relative to those of water (`imgtheranostics.cest.agent_pools.proton_fraction`). The
        rate is then the one below w1, as k alpha comes twice; `b1_ut` and `relative_b1` are one number each.
    r1_per_s, r1_se_per_s, relative_b1, noise_sd, mask, workers, check_b1
        As those of `quesp`.

    Returns
    -------
    Fit
        As that of `quesp`. With a known `fraction`, OUTSIDE_RANGE marks a transfer that no rate gives.

    Raises
    ------
    ValueError
        If there are fewer than two different times, shapes do not fit, or `fraction` is none.
    ImplausibleValue
        As `quesp`.

    References
    ----------
    .. [1] McMahon MT et al. Magn Reson Med 2006, 55:836. doi:10.1002/mrm.20818
    """
    times = checked_times(saturation_time_s)
    if np.unique(times).size < 2:
        raise ValueError(
            f"two unknowns need at least 2 different saturation times, found {np.unique(times).size}"
        )
    amplitude = checked_b1(b1_ut, check=check_b1)
    if amplitude.size not in (1, times.size):
        raise ValueError(f"b1_ut has {amplitude.size} values for {times.size} times")
    points = Points.of(
        mtr_asym,
        np.broadcast_to(amplitude, times.size),
        r1_per_s=r1_per_s,
        r1_se_per_s=r1_se_per_s,
        relative_b1=relative_b1,
        noise_sd=noise_sd,
        mask=mask,
        metric="mtr_asym",
    )
    if fraction is None:
        return _labelling(points, times, FORMS["published"], workers)
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction must be above 0 and below 1, found {fraction:g}")
    if np.unique(amplitude).size > 1 or np.ndim(relative_b1) > 0:
        raise ValueError("a known fraction takes one b1_ut and one relative_b1")
    # Points.fit scales the rate by the field afterwards, and so divides the fraction by it.
    size = float(fraction) * float(np.asarray(relative_b1))
    time = np.where(np.isfinite(times), times, STEADY_STATE_S)
    return points.fit(GrowthSolver(size, float(points.power[0]), time, points.noise is not None))


def _powers(
    values: npt.ArrayLike,
    b1_ut: npt.ArrayLike,
    r1_per_s: npt.ArrayLike,
    r1_se_per_s: npt.ArrayLike | None,
    relative_b1: npt.ArrayLike,
    noise_sd: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    check_b1: bool,
    metric: Metric,
) -> Points:
    """The input of the methods that vary the power."""
    amplitude = checked_b1(b1_ut, check=check_b1)
    different = np.unique(amplitude).size
    if different < 2:
        raise ValueError(
            f"two unknowns need at least 2 different values of b1_ut, found {different} in {amplitude.size}"
        )
    return Points.of(
        values,
        amplitude,
        r1_per_s=r1_per_s,
        r1_se_per_s=r1_se_per_s,
        relative_b1=relative_b1,
        noise_sd=noise_sd,
        mask=mask,
        metric=metric,
    )


def _labelling(points: Points, times: DoubleArray, form: int, workers: int | None) -> Fit:
    """The least-squares fit of all voxels."""
    time = np.where(np.isfinite(times), times, STEADY_STATE_S)
    known = points.noise is not None

    def solve(values: DoubleArray, noise: DoubleArray, r1: DoubleArray) -> Block:
        return fit_block(values, noise, points.power, time, r1, form=form, known_noise=known)

    with thread_limit(workers):
        return points.fit(solve)


def fit_block(
    values: DoubleArray,
    noise: DoubleArray,
    power: DoubleArray,
    time: DoubleArray,
    r1: DoubleArray,
    *,
    form: int,
    known_noise: bool,
    max_iterations: int = 100,
    tolerance: float = 1e-9,
) -> Block:
    """Logarithms of k and f k by the kernel, with the variance of the residuals or that of the noise."""
    from imgtheranostics.kernels import labelling as kernel

    m, n = values.shape
    logs, known = np.empty((m, 2)), np.empty((m, 5))
    squares, iterations, state = np.empty(m), np.empty(m, np.int32), np.empty(m, np.uint8)
    kernel.fit_labelling(
        np.ascontiguousarray(values),
        np.ascontiguousarray(noise),
        np.ascontiguousarray(power),
        np.ascontiguousarray(time),
        np.ascontiguousarray(r1),
        form,
        np.geomspace(1e-4, 100.0, 21),
        np.log([LEAST_RATE, LEAST_TRANSFER]),
        np.log([LARGEST_RATE, LARGEST_TRANSFER]),
        max_iterations,
        tolerance,
        logs,
        known,
        squares,
        iterations,
        state,
    )
    flags = np.zeros(m, np.uint16)
    flags[(state & kernel.CONVERGED) == 0] |= np.uint16(Flag.NOT_CONVERGED)
    flags[(state & kernel.UNDETERMINED) != 0] |= np.uint16(Flag.ILL_CONDITIONED)
    flags[(state & kernel.AT_BOUND) != 0] |= np.uint16(Flag.AT_BOUND | Flag.ILL_CONDITIONED)
    variance = np.ones(m) if known_noise else squares / (n - 2) / shortfall(n - 2) ** 2 if n > 2 else np.nan
    covariance = known[:, :3] * np.reshape(variance, (-1, 1))
    return Block(logs, covariance, known[:, 3:], squares, squares, iterations, flags)
