"""Time-intensity parameters of dynamic curves: bolus arrival, peak, wash-in and wash-out, initial area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, FloatArray
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    FlagArray,
    IndexArray,
    baseline_level,
    checked_baseline,
    checked_times,
    stored,
)

THRESHOLD = 4.0
"""A sample counts as enhanced above the baseline by this many standard deviations of the noise."""

CONSECUTIVE = 2
"""Samples in a row that must be enhanced for the bolus to have arrived."""

WINDOWS_S = (60.0, 90.0, 120.0)
"""Usual windows of the initial area under the curve."""


@dataclass(frozen=True, eq=False)
class _Setting:
    """What the kernels need besides one block of curves."""

    curves: Curves
    times: DoubleArray
    baseline: tuple[int, int]
    noise: Curves | DoubleArray | None
    shared: Curves | None
    arrival: DoubleArray | None
    sign: float

    def errors(self, samples: DoubleArray, index: IndexArray) -> tuple[DoubleArray, DoubleArray]:
        """Noise of each sample, and what the samples of a curve share, (n, n_some)."""
        shared = np.zeros(samples.shape) if self.shared is None else self.shared.samples(index)
        if isinstance(self.noise, Curves):
            return self.noise.samples(index), shared
        noise = None if self.noise is None else self.noise[index]
        _, sd = baseline_level(samples, *self.baseline, noise)
        return np.repeat(sd[np.newaxis], samples.shape[0], axis=0), shared

    def block(self, index: IndexArray) -> tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray]:
        """Curves turned upwards, their errors, and the arrival or NaN; invalid where a given one is."""
        samples = self.sign * self.curves.samples(index)
        noise, shared = self.errors(samples, index)
        if self.arrival is None:
            return samples, noise, shared, np.full(index.size, np.nan)
        arrival = self.arrival[index]
        samples[:, ~np.isfinite(arrival)] = np.nan
        return samples, noise, shared, arrival


def time_intensity(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    baseline: tuple[int, int],
    arrival_s: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    shared_error: npt.ArrayLike | None = None,
    relative: bool = True,
    falling: bool = False,
    peak_points: int = 3,
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
    unit: str = "[arb'U]",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Arrival, time to peak, peak, wash-in and wash-out of curves, without a model.

    The peak is the vertex of the parabola through `peak_points` samples around the largest. Wash-in is the
    mean slope from arrival to peak, wash-out that from peak to the last sample.

    Parameters
    ----------
    signal : (..., n) array_like
        Signal or concentration.
    time_s : (n,) array_like
        Increasing; need not be uniform.
    baseline : (first, stop)
        Samples before the agent.
    arrival_s : float or (...) array_like, optional
        When the bolus arrives, taken as exact; without it, it is found as in `bolus_arrival`.
    noise_sd : float, (...) or (..., n) array_like, optional
        Noise of one sample, independent from one to the next; without it, the scatter of the baseline.
    shared_error : (..., n) array_like, optional
        Error of each sample that all of a curve have in common, as concentrations have by their baseline.
    relative : bool
        Peak and slopes in percent of the baseline; False for concentrations, whose baseline is 0.
    falling : bool
        The agent takes signal away: peak and slopes are those of the trough, with their sign.
    peak_points : int
        Odd, at least 3. More points lower the noise of a broad peak and cut off a sharp one.
    threshold, consecutive
        As in `bolus_arrival`. A curve whose peak stays below the threshold is `Flag.NOT_ENHANCING`.
    unit : str
        Of the signal, for ``relative=False``.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads.

    Returns
    -------
    Fit
        ``arrival_s``, ``time_to_peak_s`` (from arrival), ``peak``, ``wash_in_per_s``, ``wash_out_per_s``. A
        peak at the first or last sample is `Flag.AT_BOUND` and has no standard error; a slope without a
        duration is NaN with `Flag.OUTSIDE_RANGE`. Standard errors hold as long as noise does not change which
        samples are the first enhanced and the largest: give a flat peak more `peak_points`.

    Raises
    ------
    ValueError
        If shapes, times, window or choices do not fit, or nothing says what the noise is.
    """
    from imgtheranostics.kernels import curve_parameters as kernels

    if peak_points < 3 or peak_points % 2 == 0:
        raise ValueError(f"peak_points must be odd and at least 3, got {peak_points}")
    setting = _settled(signal, time_s, baseline, noise_sd, shared_error, arrival_s, falling, mask)
    _check_detection(setting, threshold, consecutive)
    curves, sign = setting.curves, setting.sign
    rows, deviations, flags = _results(curves, kernels.LANDMARKS)
    with thread_limit(workers):
        for index in curves.blocks():
            samples, noise, shared, arrival = setting.block(index)
            out, found = np.empty((2, kernels.LANDMARKS, index.size))
            state = np.zeros(index.size, np.uint16)
            kernels.landmarks(
                samples,
                noise,
                shared,
                setting.times,
                *setting.baseline,
                float(threshold),
                int(consecutive),
                (peak_points - 1) // 2,
                int(sign) if relative else 0,
                arrival,
                out,
                found,
                state,
            )
            out *= np.array([1.0, 1.0, sign, sign, sign])[:, np.newaxis]
            rows[:, index] = stored(out, rows.dtype)
            deviations[:, index] = stored(found, rows.dtype)
            flags[index] |= state
    scale = "%" if relative else unit
    units = ("s", "s", scale, f"{scale}/s", f"{scale}/s")
    names = ("arrival_s", "time_to_peak_s", "peak", "wash_in_per_s", "wash_out_per_s")
    return _fit(curves, names, units, rows, deviations, flags)


def bolus_arrival(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    baseline: tuple[int, int],
    noise_sd: npt.ArrayLike | None = None,
    falling: bool = False,
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """When the bolus arrives: where the line through the first two enhanced samples meets the baseline.

    Parameters
    ----------
    signal, time_s, baseline, noise_sd, falling, mask, workers
        As in `time_intensity`.
    threshold : float
        Standard deviations of the noise above the baseline that make a sample enhanced.
    consecutive : int
        Enhanced samples in a row that are asked for.

    Returns
    -------
    Fit
        ``arrival_s``. NaN and `Flag.NOT_ENHANCING` where nothing arrives. Where the signal rises within one
        sampling interval, or so slowly that the line reaches back beyond two samples, the value is the sample
        before, with `Flag.AT_BOUND` and no standard error.

    Raises
    ------
    ValueError
        If shapes, times or window do not fit, or nothing says what the noise is.
    """
    setting = _settled(signal, time_s, baseline, noise_sd, None, None, falling, mask)
    _check_detection(setting, threshold, consecutive)
    rows, deviations, flags = _areas(setting, np.empty(0), threshold, consecutive, workers)
    return _fit(setting.curves, ("arrival_s",), ("s",), rows, deviations, flags)


def initial_area(
    concentration: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    baseline: tuple[int, int] | None = None,
    arrival_s: npt.ArrayLike | None = None,
    windows_s: Sequence[float] = WINDOWS_S,
    noise_sd: npt.ArrayLike | None = None,
    shared_error: npt.ArrayLike | None = None,
    threshold: float = THRESHOLD,
    consecutive: int = CONSECUTIVE,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Initial area under the concentration curve (iAUC) in windows that begin when the bolus arrives.

    The curve is integrated as straight lines between its samples; where a window begins or ends between two,
    it is interpolated. The window starts at the arrival of each voxel, not at the first sample.

    Parameters
    ----------
    concentration : (..., n) array_like
        mmol/L.
    time_s : (n,) array_like
        Increasing; need not be uniform.
    baseline : (first, stop), optional
        Samples before the agent: needed to find the arrival or the noise, not subtracted.
    arrival_s : float or (...) array_like, optional
        When the bolus arrives, taken as exact; without it, it is found as in `bolus_arrival`.
    windows_s : sequence of float
        Lengths of the windows.
    noise_sd : float, (...) or (..., n) array_like, optional
        Noise of one sample, mmol/L, independent from one to the next; without it, the scatter of the
        baseline, which understates that of enhanced samples.
    shared_error : (..., n) array_like, optional
        Error of each sample that all of a curve have in common. `from_spgr` returns both.
    threshold, consecutive, mask, workers
        As in `bolus_arrival`.

    Returns
    -------
    Fit
        ``arrival_s`` and ``iauc_<T>_mm_s`` for each window of T seconds, in mmol/L.s; its standard error
        contains that of the arrival. NaN and `Flag.OUTSIDE_RANGE` where the curve ends before the window.

    Raises
    ------
    ValueError
        If neither arrival nor baseline is given, no window fits into the times, or shapes do not fit.
    """
    if baseline is None and arrival_s is None:
        raise ValueError("initial_area needs arrival_s, or the baseline window to find it by")
    setting = _settled(
        concentration, time_s, baseline or (0, 1), noise_sd, shared_error, arrival_s, False, mask
    )
    _check_detection(setting, threshold, consecutive)
    windows = np.array(windows_s, dtype=np.float64).reshape(-1)
    duration = setting.times[-1] - setting.times[0]
    if windows.size == 0 or not (np.isfinite(windows) & (windows > 0)).all():
        raise ValueError(f"windows_s must be positive lengths, got {windows_s!r}")
    if windows.min() > duration:
        raise ValueError(
            f"the curve lasts {duration:g} s, less than the shortest window, {windows.min():g} s"
        )
    rows, deviations, flags = _areas(setting, windows, threshold, consecutive, workers)
    names = ("arrival_s", *(f"iauc_{window:g}_mm_s" for window in windows))
    units = ("s", *("mmol/L.s" for _ in windows))
    return _fit(setting.curves, names, units, rows, deviations, flags)


def _settled(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    baseline: tuple[int, int],
    noise_sd: npt.ArrayLike | None,
    shared_error: npt.ArrayLike | None,
    arrival_s: npt.ArrayLike | None,
    falling: bool,
    mask: npt.ArrayLike | None,
) -> _Setting:
    times = checked_times(time_s)
    curves = Curves.of(signal, times.size, mask)
    window = checked_baseline(baseline, times.size)
    noise = None if noise_sd is None else _noise(noise_sd, curves)
    shared = None if shared_error is None else _like(shared_error, curves, "shared_error")
    arrival = None if arrival_s is None else curves.flat(arrival_s, "arrival_s")
    return _Setting(curves, times, window, noise, shared, arrival, -1.0 if falling else 1.0)


def _noise(noise_sd: npt.ArrayLike, curves: Curves) -> Curves | DoubleArray:
    """Noise per voxel, or per sample where it has the signal's own shape."""
    if np.shape(noise_sd) == (*curves.planes.shape, curves.n_samples):
        return _like(noise_sd, curves, "noise_sd")
    return curves.flat(noise_sd, "noise_sd")


def _like(values: npt.ArrayLike, curves: Curves, name: str) -> Curves:
    """A series beside the signal, its voxels counted in the same order."""
    ordered = np.asarray(values, order=curves.planes.order)
    beside = Curves.of(ordered, curves.n_samples, None, name)
    if beside.planes.shape != curves.planes.shape:
        raise ValueError(f"{name} has shape {ordered.shape}, the signal's is {curves.planes.shape}")
    return beside


def _check_detection(setting: _Setting, threshold: float, consecutive: int) -> None:
    """A bolus cannot be told from noise that nobody knows."""
    if not threshold >= 0 or consecutive < 1:
        raise ValueError("threshold must be 0 or more, and consecutive at least 1")
    first, stop = setting.baseline
    if setting.arrival is None and setting.noise is None and stop - first < 2:
        raise ValueError(
            "one baseline sample does not tell the noise: give at least two, noise_sd, or arrival_s"
        )


def _areas(
    setting: _Setting, windows: DoubleArray, threshold: float, consecutive: int, workers: int | None
) -> tuple[FloatArray, FloatArray, FlagArray]:
    """Arrival and areas of all curves, their standard errors, and flags."""
    from imgtheranostics.kernels.curve_parameters import initial_areas

    curves = setting.curves
    rows, deviations, flags = _results(curves, 1 + windows.size)
    with thread_limit(workers):
        for index in curves.blocks():
            samples, noise, shared, arrival = setting.block(index)
            moments = np.empty((2, index.size))
            areas, errors = np.empty((2, windows.size, index.size))
            state = np.zeros(index.size, np.uint16)
            initial_areas(
                samples,
                noise,
                shared,
                setting.times,
                *setting.baseline,
                float(threshold),
                int(consecutive),
                windows,
                arrival,
                moments,
                areas,
                errors,
                state,
            )
            rows[:, index] = stored(np.vstack((moments[:1], areas)), rows.dtype)
            deviations[:, index] = stored(np.vstack((moments[1:], errors)), rows.dtype)
            flags[index] |= state
    return rows, deviations, flags


def _results(curves: Curves, n_rows: int) -> tuple[FloatArray, FloatArray, FlagArray]:
    empty = np.full((n_rows, curves.planes.n_voxels), np.nan, curves.planes.samples.dtype)
    return empty, empty.copy(), curves.flags()


def _fit(
    curves: Curves,
    names: Sequence[str],
    units: Sequence[str],
    rows: FloatArray,
    deviations: FloatArray,
    flags: FlagArray,
) -> Fit:
    shape = curves.planes.shape
    return Fit(
        {name: curves.restored(row) for name, row in zip(names, rows, strict=True)},
        {name: curves.restored(row) for name, row in zip(names, deviations, strict=True)},
        *nothing_fitted(shape, rows.dtype),
        flags=curves.restored(flags),
        units=dict(zip(names, units, strict=True)),
    )
