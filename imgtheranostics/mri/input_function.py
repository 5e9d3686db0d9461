"""Arterial input functions: population curves, a rodent's two exponentials, and curves measured in a vessel.

Population curves are whole-blood concentrations in mmol/L against the time in s since the bolus arrived;
published constants are per minute. Before arrival there is no agent, but for the feet of Parker's Gaussians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.dce_concentration import signal_to_concentration

FloatArray = npt.NDArray[np.float64]

POPULATION_NAMES = ("parker", "georgiou", "weinmann", "mcgrath_rodent")

SHORTEST_SCAN_S = 20.0
"""A dynamic scan that is shorter is one in minutes."""

LONGEST_STEP_S = 400.0
LONGEST_SCAN_S = 12 * 3600.0
"""A median step or a scan beyond these is one in milliseconds."""

_PARKER_PEAKS = ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
"""Area mmol/L min, centre min, width min of each peak; Parker 2006, table 1."""

_PARKER_TAIL = (1.050, 0.1685, 38.078, 0.483)
"""Amplitude mmol/L, decay 1/min, width 1/min and centre min of the sigmoid."""

_GEORGIOU_DECAYS = ((0.37, 0.11), (0.33, 1.17), (10.06, 16.02))
"""Amplitude mmol/L, rate 1/min; Georgiou 2019, table 3."""

_GEORGIOU_PASSAGE = (5.26, 0.032, 0.129)
"""Shape, scale min and time between passages min of the gamma variates."""

_WEINMANN = ((3.99, 0.144), (4.78, 0.0111))
"""Amplitude kg/L, rate 1/min; Weinmann 1984 as used by Tofts and Kermode 1991."""

_MCGRATH = {"fast_mm": 3.4, "fast_per_s": 0.045, "slow_mm": 1.81, "slow_per_s": 0.0015, "rise_s": 7.0}
"""McGrath 2009, model B."""


def population_aif(
    name: str, time_s: npt.ArrayLike, *, delay_s: float = 0.0, dose_mmol_kg: float | None = None
) -> FloatArray:
    """A population's arterial input function.

    Parameters
    ----------
    name : {"parker", "georgiou", "weinmann", "mcgrath_rodent"}
        ``parker``: 0.1 mmol/kg in people, two Gaussians and a sigmoid, as published: 0.08 mmol/L at arrival,
        and the feet of the Gaussians before it (below 0.001 mmol/L from 8 s before);
        ``georgiou``: 0.1 mmol/kg in people, 0.1 s resolution, recirculating gamma variates times three
        exponentials;
        ``weinmann``: two exponentials without a first pass, for `dose_mmol_kg`. They were measured in
        plasma: give no haematocrit to `imgtheranostics.mri.dce.fit` with it;
        ``mcgrath_rodent``: rat, linear rise over 7 s, two exponentials.
    time_s : (n,) array_like
        Times in s, in any order.
    delay_s : float
        Time at which the bolus arrives.
    dose_mmol_kg : float, optional
        Injected dose, 0.1 if not given; only for ``weinmann``, the others are those of their own dose.

    Returns
    -------
    (n,) ndarray
        Concentration in blood in mmol/L.

    Raises
    ------
    ValueError
        For an unknown name, times that are not finite, or a dose for a curve that has its own.

    References
    ----------
    .. [1] Parker GJM et al. Magn Reson Med 2006, 56:993. doi:10.1002/mrm.21066
    .. [2] Georgiou L et al. Magn Reson Med 2019, 81:1955. doi:10.1002/mrm.27524
    .. [3] Tofts PS, Kermode AG. Magn Reson Med 1991, 17:357. doi:10.1002/mrm.1910170208
    .. [4] McGrath DM et al. Magn Reson Med 2009, 61:1173. doi:10.1002/mrm.21959
    """
    if name not in POPULATION_NAMES:
        raise ValueError(f"unknown input function {name!r}; there are {', '.join(POPULATION_NAMES)}")
    if dose_mmol_kg is not None and name != "weinmann":
        raise ValueError(f"{name} is the curve of its own dose; dose_mmol_kg is for weinmann")
    if name == "mcgrath_rodent":
        return rodent_biexponential(time_s, delay_s=delay_s, **_MCGRATH)
    since = _since_arrival(time_s, delay_s)
    if name == "parker":
        return _parker(since / 60.0)
    arrived = since >= 0.0
    minutes = np.where(arrived, since, 0.0) / 60.0
    if name == "georgiou":
        curve = _georgiou(minutes)
    else:
        dose = 0.1 if dose_mmol_kg is None else float(dose_mmol_kg)
        if not 0.0 < dose < np.inf:
            raise ValueError(f"dose_mmol_kg must be above 0, found {dose:g}")
        curve = dose * np.sum([a * np.exp(-rate * minutes) for a, rate in _WEINMANN], axis=0)
    return np.where(arrived, curve, 0.0)


def population_times(time_s: npt.ArrayLike, delay_s: float) -> FloatArray:
    """Times for a population's curve in a scan: close around the bolus, whatever the images' interval.

    Every 0.25 s in the first minute after arrival, every 1 s for four more, every 5 s for the rest: straight
    lines in between then change Ktrans by less than 0.1 %.

    Parameters
    ----------
    time_s : (n,) array_like
        Times of the images in s, increasing.
    delay_s : float
        Arrival of the bolus.

    Returns
    -------
    (k,) ndarray
        Increasing, from the first image to the last.
    """
    images = np.asarray(time_s, dtype=np.float64)
    first, last = float(images[0]), float(images[-1])
    # One just before arrival, since some curves begin with a jump; Parker's begins earlier.
    later = np.arange(300.0, max(last - delay_s, 300.0) + 5.0, 5.0)
    since = [
        np.append(np.arange(-8.0, -0.1, 0.25), -0.01),
        np.arange(0.0, 60.0, 0.25),
        np.arange(60.0, 300.0, 1.0),
        later,
    ]
    times = delay_s + np.concatenate(since)
    return np.concatenate([[first], times[(times > first) & (times < last)], [last]])


def rodent_biexponential(
    time_s: npt.ArrayLike,
    *,
    fast_mm: float,
    fast_per_s: float,
    slow_mm: float,
    slow_per_s: float,
    rise_s: float = 0.0,
    delay_s: float = 0.0,
) -> FloatArray:
    """Two exponentials after a linear rise, as measured in mice and rats: your own constants.

    Parameters
    ----------
    time_s : (n,) array_like
        Times in s.
    fast_mm, slow_mm : float
        Amplitudes in mmol/L at the peak, whole blood.
    fast_per_s, slow_per_s : float
        Rates in 1/s.
    rise_s, delay_s : float
        Duration of the linear rise to the peak, and the time at which it begins.

    Returns
    -------
    (n,) ndarray
        Concentration in blood in mmol/L, 0 before `delay_s`.

    Raises
    ------
    ValueError
        If an amplitude, rate or the rise is negative or not finite.
    """
    constants = np.array([fast_mm, fast_per_s, slow_mm, slow_per_s, rise_s], dtype=np.float64)
    if not bool(np.all(np.isfinite(constants) & (constants >= 0.0))):
        raise ValueError("amplitudes, rates and the rise of an input function are finite and not negative")
    since = _since_arrival(time_s, delay_s)
    after = np.maximum(since - rise_s, 0.0)
    curve = fast_mm * np.exp(-fast_per_s * after) + slow_mm * np.exp(-slow_per_s * after)
    if rise_s > 0.0:
        curve = np.where(since <= rise_s, (fast_mm + slow_mm) * since / rise_s, curve)
    return np.where(since >= 0.0, curve, 0.0)


def mean_signal(signal: npt.ArrayLike, region: npt.ArrayLike) -> FloatArray:
    """Mean curve of a vessel's voxels, those with samples that are not finite left out.

    Signals are averaged before they become a concentration, which is not linear in them.

    Parameters
    ----------
    signal : (..., n) array_like
    region : (...) array_like of bool
        The vessel.

    Returns
    -------
    (n,) ndarray

    Raises
    ------
    ValueError
        If the shapes differ, or no voxel has a whole curve.
    """
    curves, inside = np.asarray(signal), np.asarray(region, dtype=bool)
    if curves.ndim == 0 or inside.shape != curves.shape[:-1]:
        raise ValueError(f"the region has shape {inside.shape}, the signal's is {curves.shape[:-1]}")
    chosen = curves[inside].astype(np.float64)
    whole = chosen[np.isfinite(chosen).all(axis=1)]
    if len(whole) == 0:
        raise ValueError("no voxel of the region has a whole curve")
    return np.asarray(whole.mean(axis=0))


def measured_aif(
    curve: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    at_s: npt.ArrayLike | None = None,
    flip_angle_deg: float | None = None,
    repetition_time_s: float | None = None,
    t1_s: float | None = None,
    relaxivity: float | None = None,
    baseline: tuple[int, int] | None = None,
    b1: float | None = None,
    check_time: bool = True,
) -> FloatArray:
    """An input function from a curve that was measured in a vessel, at the times of the images.

    Parameters
    ----------
    curve : (n,) array_like
        Mean concentration in mmol/L of the vessel, for example by blood samples; or its mean signal
        (`mean_signal`), when the five arguments of `imgtheranostics.mri.dce.signal_to_concentration` are
        given.
    time_s : (n,) array_like
        Times of the curve in s, increasing.
    at_s : (m,) array_like, optional
        Times wanted: straight lines in between, 0 before the first sample of a curve that begins later. By
        default those of the curve.
    flip_angle_deg, repetition_time_s, t1_s, relaxivity, baseline, b1
        Of the dynamic series and of blood, to turn a signal into a concentration; all or none (`b1` may be
        left out).
    check_time : bool
        Whether times that look like minutes or milliseconds are refused.

    Returns
    -------
    (m,) ndarray
        Concentration in whole blood in mmol/L.

    Raises
    ------
    ValueError
        If the curve has gaps, does not fit its times, ends before the last time that is wanted, or only some
        of the arguments for a signal are given.
    ImplausibleValue
        If the times look like minutes or ms, or the curve's blood signal is one that no concentration gives.
    """
    time = checked_curve_times(time_s, check_unit=check_time)
    samples = np.asarray(curve, dtype=np.float64)
    if samples.shape != time.shape:
        raise ValueError(f"the curve has shape {samples.shape}, its times have {time.shape}")
    if not bool(np.isfinite(samples).all()):
        raise ValueError("the curve holds values that are not finite; give a whole one")
    acquisition: dict[str, Any] = {
        "flip_angle_deg": flip_angle_deg,
        "repetition_time_s": repetition_time_s,
        "t1_s": t1_s,
        "relaxivity": relaxivity,
        "baseline": baseline,
    }
    absent = [name for name, value in acquisition.items() if value is None]
    if len(absent) < len(acquisition):
        if absent:
            raise ValueError(f"to turn a signal into a concentration {', '.join(absent)} must be given too")
        samples = _blood_concentration(samples, acquisition, b1)
    if at_s is None:
        return samples
    wanted = checked_curve_times(at_s, check_unit=check_time)
    if wanted[-1] > time[-1] + 0.5 * float(np.diff(time).max(initial=0.0)):
        raise ValueError(f"the curve ends at {time[-1]:g} s, but is wanted until {wanted[-1]:g} s")
    return np.interp(wanted, time, samples, left=0.0)


def checked_curve_times(time_s: npt.ArrayLike, *, check_unit: bool = True) -> FloatArray:
    """Times of the samples of a curve in s, increasing.

    Raises
    ------
    ValueError
        If they are not a list of finite numbers that increases.
    ImplausibleValue
        If the scan would take less than 20 s (minutes?), or more than 12 h or 400 s per sample
        (milliseconds?), and `check_unit`.
    """
    times = np.asarray(time_s, dtype=np.float64)
    if times.ndim != 1 or times.size == 0 or not bool(np.isfinite(times).all()):
        raise ValueError("time_s must be a list of finite numbers")
    if bool(np.any(np.diff(times) <= 0.0)):
        raise ValueError("time_s must increase; sort the samples by time")
    if not check_unit or times.size < 2:
        return np.ascontiguousarray(times)
    duration, step = float(times[-1] - times[0]), float(np.median(np.diff(times)))
    short = duration < SHORTEST_SCAN_S
    if short or duration > LONGEST_SCAN_S or step > LONGEST_STEP_S:
        raise ImplausibleValue(
            f"the times look like {'minutes' if short else 'milliseconds'}",
            where="time_s",
            found=f"{times.size} samples over {duration:g} s, every {step:g} s",
            needed=f"a scan of at least {SHORTEST_SCAN_S:g} s, with steps of at most {LONGEST_STEP_S:g} s",
            next_step=f"{'multiply by 60' if short else 'divide by 1000'}, or give check_time=False",
        )
    return np.ascontiguousarray(times)


def _since_arrival(time_s: npt.ArrayLike, delay_s: float) -> FloatArray:
    times = np.asarray(time_s, dtype=np.float64)
    if not (bool(np.isfinite(times).all()) and np.isfinite(delay_s)):
        raise ValueError("times and delay of an input function must be finite")
    return times - delay_s


def _parker(since_minutes: FloatArray) -> FloatArray:
    # A minute before arrival nothing is left of any term, and far before the exponentials would overflow.
    minutes = np.maximum(since_minutes, -1.0)
    amplitude, rate, steepness, centre = _PARKER_TAIL
    curve = amplitude * np.exp(-rate * minutes) / (1.0 + np.exp(-steepness * (minutes - centre)))
    for area, middle, width in _PARKER_PEAKS:
        gaussian = np.exp(-((minutes - middle) ** 2) / (2.0 * width**2))
        curve = curve + area / (width * np.sqrt(2.0 * np.pi)) * gaussian
    return curve


def _georgiou(minutes: FloatArray) -> FloatArray:
    """Exponentials times the passages that have begun; each passage is a gamma density.

    Passage j has shape (j + 1)(alpha + 1) and begins j tau after the first; logarithms of the gamma function
    keep late passages finite. In the long run they add up to one passage per tau + beta (alpha + 1).
    """
    from scipy.special import gammaln, xlogy

    alpha, scale, interval = _GEORGIOU_PASSAGE
    spacing = scale * (alpha + 1.0) + interval
    passages = np.zeros_like(minutes)
    for j in range(1 + int(minutes.max(initial=0.0) / interval)):
        shape = (j + 1) * (alpha + 1.0)
        reach = 40.0 * scale * np.sqrt(shape)
        if j * spacing - reach > minutes.max(initial=0.0):
            break
        since = np.maximum(minutes - j * interval, 0.0) / scale
        passages += np.exp(xlogy(shape - 1.0, since) - since - gammaln(shape)) / scale
    decays: FloatArray = np.sum([a * np.exp(-rate * minutes) for a, rate in _GEORGIOU_DECAYS], axis=0)
    return passages * decays


def _blood_concentration(signal: FloatArray, acquisition: dict[str, Any], b1: float | None) -> FloatArray:
    curve = signal_to_concentration(signal, b1=b1, **acquisition)
    lost = int(np.count_nonzero(~np.isfinite(curve)))
    if lost:
        raise ImplausibleValue(
            "the vessel's signal is one that no concentration gives",
            found=f"{lost} of {curve.size} samples",
            needed="a signal below that of full saturation at this flip angle",
            next_step="check flip angle, T1 of blood and baseline, look for inflow, or take a population's",
        )
    return np.asarray(curve, dtype=np.float64)
