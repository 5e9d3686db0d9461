"""Measures of time-intensity curves read off their samples, without a model, beside the fitted ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.time_intensity import time_intensity
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    baseline_level,
    checked_baseline,
    checked_times,
    stored,
)
from imgtheranostics.ultrasound.curve_fits import parameter_unit

_FEW_FRAMES = 40
_FRAMES_PER_POINT = 30

_FROM_LANDMARKS = {
    "arrival_time_s": "arrival_s",
    "time_to_peak_s": "time_to_peak_s",
    "peak_enhancement": "peak",
    "wash_in_rate": "wash_in_per_s",
    "wash_out_rate": "wash_out_per_s",
}
_AREAS = ("area", "wash_in_area", "wash_out_area", "mean_transit_time_s")


def model_free(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    baseline: tuple[int, int],
    noise_sd: npt.ArrayLike | None = None,
    peak_points: int | None = None,
    unit: str = "1",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Arrival, peak, areas, mean transit time and mean slopes of curves, read off their samples.

    Parameters
    ----------
    signal : (..., n) array_like
        Linear echo power; it is not changed.
    time_s : (n,) array_like
        s, increasing; need not be uniform.
    baseline : (first, stop)
        Samples before the agent.
    noise_sd : float, (...) or (..., n) array_like, optional
        Noise of one sample, independent from one to the next; without it the scatter of the baseline, which
        understates that of a bright bolus.
    peak_points : int, optional
        Odd number of samples around the largest through which a parabola gives the peak; by default 3, of
        more than 40 samples a thirtieth of them.
    unit : str
        UCUM code of the signal.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        ``arrival_time_s`` (where the first rise meets the baseline), ``time_to_peak_s`` from there,
        ``peak_enhancement`` above baseline, ``wash_in_rate`` and ``wash_out_rate`` (mean slopes to the peak
        and from it to the last sample), ``area`` from arrival to the last sample, ``wash_in_area`` from
        arrival to the peak, ``wash_out_area`` from the peak to the last sample, ``mean_transit_time_s`` since
        arrival of that area: a recording that ends before the agent is gone cuts off the last three. Errors
        of areas contain those of the baseline and of the peak's time, as long as noise does not change which
        sample is the largest: a flat peak needs more `peak_points`. Curves without a bolus are NaN with
        `Flag.NOT_ENHANCING`.

    Raises
    ------
    ValueError
        If shapes, times or the window do not fit.
    """
    times = checked_times(time_s)
    curves = Curves.of(signal, times.size, mask)
    window = checked_baseline(baseline, times.size)
    points = _peak_points(times.size) if peak_points is None else peak_points
    marks = time_intensity(
        signal, times, baseline=window, noise_sd=noise_sd, relative=False, peak_points=points, unit=unit,
        mask=mask, workers=workers,
    )  # fmt: skip
    parameters = {name: marks.parameters[old] for name, old in _FROM_LANDMARKS.items()}
    errors = {name: marks.standard_errors[old] for name, old in _FROM_LANDMARKS.items()}
    rows, deviations = _areas(curves, times, window, noise_sd, marks)
    for name, row, deviation in zip(_AREAS, rows, deviations, strict=True):
        parameters[name], errors[name] = curves.restored(row), curves.restored(deviation)
    return Fit(
        parameters, errors, marks.r_squared, marks.rmse, marks.iterations, marks.flags,
        {name: parameter_unit(name, unit) for name in parameters},
    )  # fmt: skip


def _peak_points(n: int) -> int:
    return 3 if n <= _FEW_FRAMES else max(3, n // _FRAMES_PER_POINT // 2 * 2 + 1)


def _areas(
    curves: Curves,
    times: DoubleArray,
    window: tuple[int, int],
    noise_sd: npt.ArrayLike | None,
    marks: Fit,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    rows = np.stack([curves.empty_map() for _ in _AREAS])
    deviations = rows.copy()
    arrival = curves.flat(marks.parameters["arrival_s"], "arrival")
    peak = arrival + curves.flat(marks.parameters["time_to_peak_s"], "time to peak")
    both, first_rise = (marks.standard_errors[name] for name in ("time_to_peak_s", "arrival_s"))
    moved = np.sqrt(np.maximum(both**2 - first_rise**2, 0.0))
    shift = curves.flat(marks.parameters["peak"] * moved, "shift")
    delay = curves.flat(first_rise, "delay")
    sampled = _noise_of_samples(curves, noise_sd)
    for index in curves.blocks():
        samples = curves.samples(index)
        level, scatter = baseline_level(samples, *window, None)
        noise = np.broadcast_to(scatter, samples.shape) if sampled is None else sampled.samples(index)
        place = (times, window, arrival[index], peak[index], shift[index], delay[index])
        found, errors = _block_areas(samples - level, noise, *place)
        rows[:, index], deviations[:, index] = stored(found, rows.dtype), stored(errors, rows.dtype)
    return rows, deviations


def _noise_of_samples(curves: Curves, noise_sd: npt.ArrayLike | None) -> Curves | None:
    """Noise of every sample as curves of the signal's shape; None where it is the scatter of the baseline."""
    if noise_sd is None:
        return None
    given = np.asarray(noise_sd, np.float64)
    full = (*curves.planes.shape, curves.n_samples)
    if given.shape != full:
        given = np.broadcast_to(given[..., np.newaxis], full)
    return Curves.of(np.asarray(given, order=curves.planes.order), curves.n_samples, None, "noise_sd")


def _block_areas(
    above: DoubleArray,
    noise: DoubleArray,
    times: DoubleArray,
    window: tuple[int, int],
    arrival: DoubleArray,
    peak: DoubleArray,
    shift: DoubleArray,
    delay: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Areas and mean transit time of curves above baseline, (n, m), and their standard errors.

    shift : (m,) ndarray
        What the error of the peak's time makes of the areas on both sides of it.
    delay : (m,) ndarray
        Error of the arrival.
    """
    first, stop = window
    shared = np.sqrt(np.sum(noise[first:stop] ** 2, axis=0)) / (stop - first)
    end = np.full(arrival.shape, times[-1])
    whole, rising, falling = (
        _integral(above, times, a, b) for a, b in ((arrival, end), (arrival, peak), (peak, end))
    )
    moment = _integral(above * times[:, np.newaxis], times, arrival, end)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = moment / whole - arrival
        lever = (times[:, np.newaxis] - arrival - mean) / whole
    leaning = _integral(np.where(np.isfinite(lever), lever, 0.0), times, arrival, end)
    errors = [
        _error(noise, times, arrival, end, (end - arrival) * shared),
        _error(noise, times, arrival, peak, np.hypot((peak - arrival) * shared, shift)),
        _error(noise, times, peak, end, np.hypot((end - peak) * shared, shift)),
        _error(noise * lever, times, arrival, end, np.hypot(leaning * shared, delay)),
    ]
    return np.stack([whole, rising, falling, mean]), np.stack(errors)


def _integral(curve: DoubleArray, times: DoubleArray, begin: DoubleArray, end: DoubleArray) -> DoubleArray:
    """Integral of curves of straight lines between two moments inside the times; NaN where one is NaN."""
    steps = np.diff(times)[:, np.newaxis]
    before = np.zeros(curve.shape)
    np.cumsum(0.5 * steps * (curve[1:] + curve[:-1]), axis=0, out=before[1:])

    def up_to(moment: DoubleArray) -> DoubleArray:
        known = np.where(np.isfinite(moment), moment, times[0])
        cell = np.clip(np.searchsorted(times, known, side="right") - 1, 0, times.size - 2)
        columns = np.arange(known.size)
        since = known - times[cell]
        slope = (curve[cell + 1, columns] - curve[cell, columns]) / steps[cell, 0]
        value = before[cell, columns] + since * (curve[cell, columns] + 0.5 * since * slope)
        return np.where(np.isfinite(moment), value, np.nan)

    return np.asarray(up_to(end) - up_to(begin))


def _error(
    noise: DoubleArray, times: DoubleArray, begin: DoubleArray, end: DoubleArray, other: DoubleArray
) -> DoubleArray:
    """Standard error of an integral: noise of the samples inside, and another error beside it."""
    weights = np.gradient(times)[:, np.newaxis]
    inside = (times[:, np.newaxis] >= begin) & (times[:, np.newaxis] <= end)
    own = np.sum(np.where(inside, weights * noise, 0.0) ** 2, axis=0)
    return np.asarray(np.sqrt(own + other**2))
