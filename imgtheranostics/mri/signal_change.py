"""Change of a signal or of a rate: percent, enhancement ratio, change of relaxation rate."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.calculated import elementwise, elementwise_fit, nothing_fitted
from imgtheranostics.mapping.relaxation_times import check_relaxation_times
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    FlagArray,
    baseline_level,
    checked_baseline,
    stored,
)
from imgtheranostics.volume import Flag

SIGNIFICANT = 3.0
"""A divisor must exceed this many of its standard errors, or the ratio says nothing."""

Rate = Literal["r1", "r2", "r2star"]

_TIME_OF = {"r1": "t1", "r2": "t2", "r2star": "t2star"}


def percent_change(
    pre: npt.ArrayLike,
    post: npt.ArrayLike,
    *,
    pre_error: npt.ArrayLike = np.nan,
    post_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Signal change of two images in percent of the first, (post - pre) / pre x 100.

    Parameters
    ----------
    pre, post : array_like
        Signals on one scale, same shape.
    pre_error, post_error : float or array_like
        Standard errors of the signals (the noise of one image); without them there is no standard error.
    mask : array_like of bool, optional
        Outside is not calculated.

    Returns
    -------
    Fit
        ``enhancement_percent``. NaN and `Flag.INVALID_INPUT` where a signal is not finite or `pre` is not
        positive, `Flag.BELOW_NOISE` where `pre` is less than three of its standard errors.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    (s0, s1, e0, e1), flags, dtype = elementwise(pre, post, pre_error, post_error, mask=mask)
    flags[~(np.isfinite(s0) & np.isfinite(s1)) | (s0 <= 0)] |= Flag.INVALID_INPUT.value
    flags[s0 < SIGNIFICANT * e0] |= Flag.BELOW_NOISE.value
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = s1 / s0
        value = 100.0 * (s1 - s0) / s0
        error = 100.0 / np.abs(s0) * np.hypot(e1, ratio * e0)
    name = "enhancement_percent"
    return elementwise_fit({name: value}, {name: error}, flags, {name: "%"}, dtype)


def signal_enhancement_ratio(
    pre: npt.ArrayLike,
    early: npt.ArrayLike,
    late: npt.ArrayLike,
    *,
    pre_error: npt.ArrayLike = np.nan,
    early_error: npt.ArrayLike = np.nan,
    late_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Signal enhancement ratio SER = (early - pre) / (late - pre).

    Parameters
    ----------
    pre, early, late : array_like
        Signals before, early and late after the agent.
    pre_error, early_error, late_error : float or array_like
        Their standard errors; without them there is no standard error.
    mask : array_like of bool, optional

    Returns
    -------
    Fit
        ``signal_enhancement_ratio``; NaN and `Flag.NOT_ENHANCING` where the late enhancement is 0 or less
        than three of its standard errors.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    (s0, s1, s2, e0, e1, e2), flags, dtype = elementwise(
        pre, early, late, pre_error, early_error, late_error, mask=mask
    )
    flags[~(np.isfinite(s0) & np.isfinite(s1) & np.isfinite(s2))] |= Flag.INVALID_INPUT.value
    with np.errstate(invalid="ignore", over="ignore"):
        late_rise = s2 - s0
    flags[(late_rise == 0) | (np.abs(late_rise) < SIGNIFICANT * np.hypot(e0, e2))] |= Flag.NOT_ENHANCING.value
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (s1 - s0) / late_rise
        error = np.sqrt(e1**2 + (value * e2) ** 2 + ((value - 1.0) * e0) ** 2) / np.abs(late_rise)
    name = "signal_enhancement_ratio"
    return elementwise_fit({name: value}, {name: error}, flags, {name: "1"}, dtype)


def rate_change(
    pre_per_s: npt.ArrayLike,
    post_per_s: npt.ArrayLike,
    *,
    kind: Rate,
    pre_error: npt.ArrayLike = np.nan,
    post_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Change of a relaxation rate, post - pre, in 1/s.

    Parameters
    ----------
    pre_per_s, post_per_s : array_like
        Rates in 1/s.
    kind : {"r1", "r2", "r2star"}
        Names the result.
    pre_error, post_error : float or array_like
        Standard errors of the rates, 1/s.
    mask : array_like of bool, optional

    Returns
    -------
    Fit
        ``delta_r1_per_s``, ``delta_r2_per_s`` or ``delta_r2star_per_s``; `Flag.INVALID_INPUT` where a rate is
        not a positive number.

    Raises
    ------
    ValueError
        If the kind is not known, or shapes do not fit.
    """
    (before, after, e0, e1), flags, dtype = elementwise(
        pre_per_s, post_per_s, pre_error, post_error, mask=mask
    )
    return _difference(before, after, np.hypot(e0, e1), kind, flags, dtype)


def _difference(
    before: DoubleArray,
    after: DoubleArray,
    error: DoubleArray,
    kind: Rate,
    flags: FlagArray,
    dtype: np.dtype[np.floating],
) -> Fit:
    if kind not in ("r1", "r2", "r2star"):
        raise ValueError(f"kind must be r1, r2 or r2star, got {kind!r}")
    with np.errstate(invalid="ignore"):
        good = np.isfinite(before) & np.isfinite(after) & (before > 0) & (after > 0)
        change = after - before
    flags[~good] |= Flag.INVALID_INPUT.value
    name = f"delta_{kind}_per_s"
    return elementwise_fit({name: change}, {name: error}, flags, {name: "1/s"}, dtype)


def rate_change_from_times(
    pre_s: npt.ArrayLike,
    post_s: npt.ArrayLike,
    *,
    kind: Rate,
    pre_error: npt.ArrayLike = np.nan,
    post_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Change of a relaxation rate from relaxation times before and after, 1/post - 1/pre, in 1/s.

    Parameters
    ----------
    pre_s, post_s : array_like
        Relaxation times in s.
    kind, mask
        As in `rate_change`.
    pre_error, post_error : float or array_like
        Standard errors of the times, s; that of a rate is the time's over its square.

    Returns
    -------
    Fit
        As `rate_change`; `Flag.INVALID_INPUT` where a time is not a positive number.

    Raises
    ------
    ValueError
        As in `rate_change`.
    ImplausibleValue
        If the times look like milliseconds.
    """
    (before, after, e0, e1), flags, dtype = elementwise(pre_s, post_s, pre_error, post_error, mask=mask)
    if kind in _TIME_OF:
        for times in (before, after):
            check_relaxation_times(times[flags == 0], _TIME_OF[kind])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = np.hypot(e0 / before**2, e1 / after**2)
        return _difference(1.0 / before, 1.0 / after, error, kind, flags, dtype)


def relative_enhancement(
    signal: npt.ArrayLike,
    *,
    baseline: tuple[int, int],
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Enhancement of every sample of a dynamic signal over its baseline, (S - S0) / S0 x 100.

    Parameters
    ----------
    signal : (..., n) array_like
        Signal over time.
    baseline : (first, stop)
        Samples before the agent, as in a slice; S0 is their mean.
    noise_sd : float or (...) array_like, optional
        Noise of one sample in units of the signal; without it, the scatter of the baseline samples.
    mask : (...) array_like of bool, optional

    Returns
    -------
    Fit
        ``enhancement_percent`` of shape (..., n), its standard error with the share that baseline and sample
        have in common; `flags` of the same shape. A curve whose baseline is not positive is
        `Flag.INVALID_INPUT`, one whose baseline is less than three of its standard errors `Flag.BELOW_NOISE`.

    Raises
    ------
    ValueError
        If the window is empty or outside, or shapes do not fit.
    """
    given = np.asarray(signal)
    n = given.shape[-1] if given.ndim else 0
    first, stop = checked_baseline(baseline, n)
    curves = Curves.of(given, n, mask)
    noise = None if noise_sd is None else curves.flat(noise_sd, "noise_sd")
    value, error = curves.empty_series(), curves.empty_series()
    flags = np.repeat(curves.flags()[np.newaxis], n, axis=0)
    inside = np.zeros((n, 1))
    inside[first:stop] = 1.0
    for index in curves.blocks():
        samples = curves.samples(index)
        base, sd = baseline_level(samples, first, stop, None if noise is None else noise[index])
        relative, deviation = relative_change(samples, base, sd, inside, stop - first)
        bad = change_flags(samples, base, sd, stop - first)
        value[:, index] = stored(np.where(bad, np.nan, 100.0 * relative), value.dtype)
        error[:, index] = stored(np.where(bad, np.nan, 100.0 * deviation), error.dtype)
        bad[(bad == 0) & ~np.isfinite(value[:, index])] = Flag.OUTSIDE_RANGE.value
        flags[:, index] |= bad
    shaped = curves.restored(flags)
    name = "enhancement_percent"
    return Fit(
        {name: curves.restored(value)},
        {name: curves.restored(error)},
        *nothing_fitted(shaped.shape, value.dtype),
        flags=shaped,
        units={name: "%"},
    )


def relative_change(
    samples: DoubleArray, base: DoubleArray, sd: DoubleArray, inside: DoubleArray, n_baseline: int
) -> tuple[DoubleArray, DoubleArray]:
    """(S - S0) / S0 and its standard error; `inside` is 1 for samples that S0 itself contains."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = samples / base
        variance = 1.0 + ratio**2 / n_baseline - 2.0 * inside * ratio / n_baseline
        return ratio - 1.0, np.sqrt(np.maximum(variance, 0.0)) * sd / np.abs(base)


def change_flags(samples: DoubleArray, base: DoubleArray, sd: DoubleArray, n_baseline: int) -> FlagArray:
    """Why the change of a sample over its baseline says nothing, 0 where it does."""
    flags = np.where(np.isfinite(samples), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    with np.errstate(invalid="ignore"):
        flags[:, ~(base > 0)] |= Flag.INVALID_INPUT.value
        flags[:, base < SIGNIFICANT * sd / np.sqrt(n_baseline)] |= Flag.BELOW_NOISE.value
    return flags
