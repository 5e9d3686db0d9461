"""Samples that are means over long frames, and the values of a curve in the middle of those frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import Fit
from imgtheranostics.nuclear.curve_rows import RegionCurve
from imgtheranostics.nuclear.decay import decay_constant

FloatArray = npt.NDArray[np.float64]

_MOST_REFITS = 40
_SETTLED = 1e-7
"""Change of the samples, relative to the largest, below which they are settled."""
_SHORT = 1e-5
"""Difference between mean and middle, relative to the largest sample, that needs no second fit."""
_MOST_RATIO = 50.0
_SAID_FROM = 0.01
"""Difference from which on it is said."""
_LONG = 1.0
"""Rate times length of a frame from which on trapezoids are said to miss what happens in it."""


def mean_over_middle(rate_per_s: npt.ArrayLike, frame_s: npt.ArrayLike) -> FloatArray:
    """Mean of exp(-r t) over a frame, relative to its value in the middle: sinh(x) / x with x = r T / 2.

    Parameters
    ----------
    rate_per_s, frame_s : array_like
        Broadcast against each other. Frames of unknown length (NaN) count as short.

    Examples
    --------
    >>> round(float(mean_over_middle(0.01, 200.0)), 4)
    1.1752
    """
    x = 0.5 * np.asarray(rate_per_s, np.float64) * np.nan_to_num(np.asarray(frame_s, np.float64))
    safe = np.where(x == 0.0, 1.0, x)
    with np.errstate(over="ignore"):
        return np.asarray(np.where(x == 0.0, 1.0, np.sinh(safe) / safe))


def activity_at_middle(curve: RegionCurve) -> RegionCurve:
    """The curve with samples whose decay in the frame's middle gives the mean activity of the frame.

    A decay-corrected sample is the mean weighted by decay. Trapezoids integrate activity, so it is the mean
    activity that counts: that of the sample, decayed, times sinh(x) / x of the physical decay.
    """
    if not curve.decay_corrected:
        return curve
    factor = mean_over_middle(decay_constant(curve.imaged_half_life_s), curve.frame_s)
    return replace(curve, values=curve.values * factor, sampling_error=curve.sampling_error * factor)


def areas_of_long_frames(curve: RegionCurve) -> tuple[Caution, ...]:
    """A caution where activity falls so fast that trapezoids miss what happens within the frames."""
    decay = 0.0 if not curve.decay_corrected else float(decay_constant(curve.imaged_half_life_s))
    there = curve.values > 0
    if there.sum() < 2 or not (np.nan_to_num(curve.frame_s) > 0).any():
        return ()
    rates = decay - np.diff(np.log(curve.values[there])) / np.diff(curve.time_s[there])
    if float(np.nanmax(rates)) * float(np.nanmax(curve.frame_s)) <= _LONG:
        return ()
    text = (
        f"frames of up to {np.nanmax(curve.frame_s):.4g} s are long beside an activity that falls with "
        f"{np.log(2) / np.nanmax(rates):.3g} s: trapezoids between their middles are off; fit exponentials"
    )
    return (Caution("frames-too-long", text, f"region {curve.region}"),)


def fit_of_means(
    curve: RegionCurve, fit_of: Callable[[RegionCurve], Fit]
) -> tuple[RegionCurve, Fit, tuple[Caution, ...]]:
    """Exponentials whose means over the frames are the samples.

    Samples are brought to the middle of their frames by the fitted curve's own ratio of the two (by the
    difference where it comes near zero), and the curve is fitted again, until nothing changes.

    Parameters
    ----------
    curve : RegionCurve
    fit_of : callable
        Fits the curve as if its samples were values in the middle of the frames.

    Returns
    -------
    curve : RegionCurve
        With the values in the middle of the frames.
    fit : Fit
    cautions : tuple of Caution
        Where frames are long beside the half-lives that were found, and whether that could be allowed for.
    """
    first = fit_of(curve)
    if not (np.nan_to_num(curve.frame_s) > 0).any() or not np.isfinite(first.parameters["tiac_s"]):
        return curve, first, ()
    size = float(np.abs(curve.values).max())
    fit, taken = first, curve.values
    for _ in range(_MOST_REFITS):
        middle, mean = _fitted(curve, fit)
        wanted = _at_middle(curve.values, middle, mean)
        if not np.isfinite(wanted).all():
            break
        change = float(np.abs(wanted - taken).max())
        if change <= (_SHORT if fit is first else _SETTLED) * size:
            return replace(curve, values=taken), fit, _said(curve, fit, first)
        taken = wanted
        fit = fit_of(replace(curve, values=taken))
        if not np.isfinite(fit.parameters["tiac_s"]):
            break
    return curve, first, (_not_settled(curve, first),)


def _at_middle(samples: FloatArray, middle: FloatArray, mean: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mean / middle
    tame = np.isfinite(ratio) & (ratio > 1 / _MOST_RATIO) & (ratio < _MOST_RATIO)
    if tame.all():
        return np.asarray(samples / ratio)
    return samples - (mean - middle)


def _fitted(curve: RegionCurve, fit: Fit) -> tuple[FloatArray, FloatArray]:
    """The fitted curve in the middle of each frame, and its mean over it, by the reference of the samples."""
    decay = float(decay_constant(curve.half_life_s))
    imaged = float(decay_constant(curve.imaged_half_life_s))
    middle, means = np.zeros_like(curve.values), np.zeros_like(curve.values)
    for j in range(1, 1 + sum(name.startswith("amplitude_") for name in fit.parameters)):
        amplitude = float(np.asarray(fit.parameters[f"amplitude_{j}"]))
        rate = float(np.asarray(fit.parameters[f"rate_{j}_per_s"]))
        if not (np.isfinite(amplitude) and np.isfinite(rate)):
            continue
        biological = max(rate - decay, 0.0)
        if curve.decay_corrected:
            mean = mean_over_middle(biological + imaged, curve.frame_s)
            mean = mean / mean_over_middle(imaged, curve.frame_s)
            falls = biological
        else:
            mean, falls = mean_over_middle(rate, curve.frame_s), rate
        part = amplitude * np.exp(-falls * curve.time_s)
        middle += part
        means += part * mean
    return middle, means


def _said(curve: RegionCurve, fit: Fit, first: Fit) -> tuple[Caution, ...]:
    area, before = float(fit.parameters["tiac_s"]), float(first.parameters["tiac_s"])
    if area == 0 or abs(before - area) <= _SAID_FROM * abs(area):
        return ()
    off = 100 * (before / area - 1)
    text = (
        f"frames of up to {np.nanmax(curve.frame_s):.4g} s are long beside the half-lives found: the curve "
        f"was fitted to means over the frames, without which its area would be {off:+.2g} % off"
    )
    return (Caution("long-frames", text, f"region {curve.region}"),)


def _not_settled(curve: RegionCurve, first: Fit) -> Caution:
    middle, mean = _fitted(curve, first)
    off = float(np.abs(mean - middle).max()) / float(np.abs(curve.values).max())
    much = f"{100 * off:.2g} % of the largest sample" if np.isfinite(off) else "much more than the samples"
    text = (
        f"frames of up to {np.nanmax(curve.frame_s):.4g} s are too long for the fastest phase: its means "
        f"over them are off the values in their middle by {much}, for which the fit could not allow"
    )
    return Caution("frames-too-long", text, f"region {curve.region}")
