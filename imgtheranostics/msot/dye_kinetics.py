"""Kinetics of an injected dye or particle: rise above the baseline, peak, area, decay of the tail.

``fit`` needs no model but for the tail; ``fit_two_compartments`` describes the whole curve by a rate into the
tissue and one out of it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.exponential_tail import Decays, fit_decays
from imgtheranostics.mapping.time_intensity import CONSECUTIVE, THRESHOLD, time_intensity
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    FlagArray,
    baseline_level,
    checked_baseline,
    checked_times,
    stored,
)
from imgtheranostics.msot.two_compartments import compartment_curve, fit_two_compartments
from imgtheranostics.volume import Flag

__all__ = ["compartment_curve", "fit", "fit_two_compartments"]

FEWEST_TAIL = 3
"""Samples that the tail needs: two parameters and one degree of freedom."""

_LANDMARKS = {
    "arrival_s": "arrival_s",
    "time_to_peak_s": "time_to_peak_s",
    "peak": "peak",
    "wash_in_per_s": "rise_per_s",
}
_LEVELS = ("baseline", "area")
_TAIL = ("tail_from_s", "tail_amplitude", "decay_per_s", "half_life_s")


def fit(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    baseline: tuple[int, int],
    injection_s: npt.ArrayLike | None = None,
    tail_from_s: float | None = None,
    noise_sd: npt.ArrayLike | None = None,
    peak_points: int = 3,
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
    unit: str = "[arb'U]",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Rise, peak, area and decay of dye curves above their baseline (msot.md M9).

    Parameters
    ----------
    signal : (..., n) array_like
        Amount of the dye, or signal at one wavelength; negative values count.
    time_s : (n,) array_like
        Increasing; need not be uniform.
    baseline : (first, stop)
        Samples before the dye; their mean is subtracted.
    injection_s : float or (...) array_like, optional
        From which times to the peak count; without it, from when the dye arrives.
    tail_from_s : float, optional
        Where the mono-exponential tail begins; without it, one sample after the largest, which noise makes
        too high.
    noise_sd : float or (...) array_like, optional
        Of one sample; without it, the scatter of the baseline. The errors of the tail are from its residuals.
    peak_points, threshold, consecutive
        As in `imgtheranostics.mapping.time_intensity.time_intensity`.
    unit : str
        Of the signal.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        ``baseline``; ``arrival_s``, ``time_to_peak_s``, ``peak`` and mean slope ``rise_per_s`` above the
        baseline; ``area`` above it from its last sample to the last of all; ``tail_amplitude`` at
        ``tail_from_s``, where the tail begins, ``decay_per_s`` and ``half_life_s`` = ln 2 / k. The error of
        the baseline is in all of them. What is not enhanced has a baseline and an area and
        `Flag.NOT_ENHANCING`. A tail that does not fall is `Flag.OUTSIDE_RANGE`, one below zero
        `Flag.NEGATIVE_AMPLITUDE`, and has no rate.

    Raises
    ------
    ValueError
        If shapes, times or window do not fit, nothing says what the noise is, or the tail is too short.
    """
    times = checked_times(time_s)
    window = checked_baseline(baseline, times.size)
    curves = Curves.of(signal, times.size, mask)
    _check_tail(times, window, tail_from_s)
    noise = None if noise_sd is None else curves.flat(noise_sd, "noise_sd")
    marks = time_intensity(
        signal,
        times,
        baseline=window,
        arrival_s=injection_s,
        noise_sd=noise_sd,
        relative=False,
        peak_points=peak_points,
        threshold=threshold,
        consecutive=consecutive,
        unit=unit,
        mask=mask,
        workers=workers,
    )
    names = (*_LEVELS, *_TAIL)
    rows, errors = np.full((2, len(names), curves.planes.n_voxels), np.nan)
    goodness = np.full((2, curves.planes.n_voxels), np.nan)
    iterations = np.zeros(curves.planes.n_voxels, np.int16)
    flags = np.ascontiguousarray(marks.flags.ravel(order=curves.planes.order))
    enhanced = (flags & (Flag.NOT_ENHANCING.value | Flag.MASKED_OUT.value | Flag.INVALID_INPUT.value)) == 0
    for index in curves.blocks():
        samples = curves.samples(index)
        level, sd = baseline_level(samples, *window, None if noise is None else noise[index])
        rows[:2, index], errors[:2, index] = _areas(samples, times, window, level, sd)
        start = _tail_starts(samples, times, window[1], tail_from_s)
        tails = _tails(samples - level, times, start, enhanced[index])
        level_error = sd / math.sqrt(window[1] - window[0])
        rows[2:, index], errors[2:, index] = _tail_rows(
            tails, times[np.minimum(start, times.size - 1)], level_error
        )
        goodness[:, index] = tails.r_squared, tails.rmse
        iterations[index] = tails.iterations
        flags[index] |= np.where(enhanced[index], tails.flags, 0).astype(np.uint16)
    return _as_fit(curves, marks, dict(zip(names, rows, strict=True)), dict(zip(names, errors, strict=True)),
                   goodness, iterations, flags, unit)  # fmt: skip


def _check_tail(times: DoubleArray, window: tuple[int, int], tail_from_s: float | None) -> None:
    if tail_from_s is None:
        return
    left = int(np.count_nonzero(times >= tail_from_s))
    if left < FEWEST_TAIL or tail_from_s < times[window[1] - 1]:
        raise ValueError(
            f"tail_from_s lies after the baseline and leaves at least {FEWEST_TAIL} samples, not {left}"
        )


def _areas(
    samples: DoubleArray, times: DoubleArray, window: tuple[int, int], level: DoubleArray, sd: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Baseline and area above it, and their errors, each (2, n_some)."""
    first, stop = window
    gaps = np.diff(times[stop - 1 :])
    weight = np.zeros(times.size)
    weight[stop - 1 : -1] += 0.5 * gaps
    weight[stop:] += 0.5 * gaps
    gradient = weight.copy()
    gradient[first:stop] -= weight.sum() / (stop - first)
    area = gradient @ samples
    broken = ~np.isfinite(samples).all(axis=0)
    errors = np.stack([sd / math.sqrt(stop - first), sd * float(np.linalg.norm(gradient))])
    values = np.stack([level, area])
    values[:, broken], errors[:, broken] = np.nan, np.nan
    return values, errors


def _tail_starts(
    samples: DoubleArray, times: DoubleArray, stop: int, tail_from_s: float | None
) -> npt.NDArray[np.int64]:
    """First sample of each curve's tail."""
    if tail_from_s is not None:
        return np.full(samples.shape[1], np.searchsorted(times, tail_from_s, side="left"))
    if stop == len(samples):
        return np.full(samples.shape[1], stop)
    largest = np.argmax(np.nan_to_num(samples[stop:], nan=-np.inf), axis=0)
    return np.asarray(stop + largest + 1)


def _tails(
    above: DoubleArray, times: DoubleArray, first: npt.NDArray[np.int64], enhanced: npt.NDArray[np.bool_]
) -> Decays:
    """Exponentials of the tails of those curves that are enhanced; curves with one start together."""
    n, n_some = above.shape
    rows = np.full((8, n_some), np.nan)
    iterations, flags = np.zeros(n_some, np.int16), np.zeros(n_some, np.uint16)
    flags[first > n - FEWEST_TAIL] = Flag.OUTSIDE_RANGE.value
    for start in np.unique(first[enhanced & (first <= n - FEWEST_TAIL)]):
        here = np.flatnonzero(enhanced & (first == start))
        found = fit_decays(above[start:, here], times[start:])
        rows[:, here] = found[:8]
        iterations[here], flags[here] = found.iterations, found.flags
    rate, amplitude, rate_error, amplitude_error, by_rate, by_amplitude, r_squared, rmse = rows
    return Decays(
        rate,
        amplitude,
        rate_error,
        amplitude_error,
        by_rate,
        by_amplitude,
        r_squared,
        rmse,
        iterations,
        flags,
    )


def _tail_rows(
    tails: Decays, start_s: DoubleArray, level_error: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """The values of `_TAIL` with errors that hold the error of the baseline, each (4, n_some)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = math.log(2.0) / tails.rate
        rate_error = np.hypot(tails.rate_error, tails.rate_by_level * level_error)
        amplitude_error = np.hypot(tails.amplitude_error, tails.amplitude_by_level * level_error)
        errors = np.stack(
            [np.full_like(half, np.nan), amplitude_error, rate_error, half * rate_error / tails.rate]
        )
    start = np.where(np.isfinite(tails.rate), start_s, np.nan)
    return np.stack([start, tails.amplitude, tails.rate, half]), errors


def _as_fit(
    curves: Curves,
    marks: Fit,
    rows: dict[str, DoubleArray],
    errors: dict[str, DoubleArray],
    goodness: DoubleArray,
    iterations: npt.NDArray[np.int16],
    flags: FlagArray,
    unit: str,
) -> Fit:
    dtype = curves.planes.samples.dtype
    values = {new: marks.parameters[old] for old, new in _LANDMARKS.items()}
    deviations = {new: marks.standard_errors[old] for old, new in _LANDMARKS.items()}
    values |= {name: curves.restored(stored(row, dtype)) for name, row in rows.items()}
    deviations |= {name: curves.restored(stored(row, dtype)) for name, row in errors.items()}
    units = {"arrival_s": "s", "time_to_peak_s": "s", "peak": unit, "rise_per_s": f"{unit}/s"}
    units |= {"baseline": unit, "area": f"{unit}.s"}
    units |= {"tail_from_s": "s", "tail_amplitude": unit, "decay_per_s": "1/s", "half_life_s": "s"}
    r_squared, rmse = (curves.restored(stored(row, dtype)) for row in goodness)
    return Fit(
        values, deviations, r_squared, rmse, curves.restored(iterations), curves.restored(flags), units
    )
