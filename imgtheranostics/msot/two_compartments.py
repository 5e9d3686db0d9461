"""Dye curves by two rates, into the tissue and out of it, with a known injection.

``dI(t) = A k_in / (k_in - k_out) (exp(-k_out t) - exp(-k_in t))`` after the injection: what is injected
leaves its first compartment at k_in for the tissue, and the tissue at k_out. Both rates can be exchanged
without a change of the curve, with another A; the faster one counts as the way in.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    baseline_level,
    checked_baseline,
    checked_times,
    stored,
)
from imgtheranostics.msot.two_rates import NEAR, RateSearch, compartment_curve, search_rates

__all__ = ["compartment_curve", "fit_two_compartments"]

_NAMES = ("amplitude", "rise_per_s", "decay_per_s", "half_life_s", "time_to_peak_s", "peak", "area")


def fit_two_compartments(
    signal: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    injection_s: float,
    baseline: tuple[int, int],
    noise_sd: npt.ArrayLike | None = None,
    unit: str = "[arb'U]",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Rates into and out of the tissue from whole dye curves.

    Parameters
    ----------
    signal : (..., n) array_like
    time_s : (n,) array_like
        Increasing; need not be uniform.
    injection_s : float
        When the dye was injected, on the time axis.
    baseline : (first, stop)
        Samples before the injection; their mean is subtracted.
    noise_sd : float or (...) array_like, optional
        Of one sample, for the error of the baseline; without it, the scatter of the baseline.
    unit : str
        Of the signal.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Taken as everywhere; all curves of a block take their steps together in one thread.

    Returns
    -------
    Fit
        ``amplitude`` A, ``rise_per_s`` k_in, ``decay_per_s`` k_out, and what follows from them:
        ``half_life_s`` = ln 2 / k_out, ``time_to_peak_s`` after the injection, ``peak``, and ``area`` of the
        whole curve to infinity, A / k_out. A rate at its bound (the samples do not resolve it) is
        `Flag.AT_BOUND` and has no standard errors; rates that are not told apart are
        `Flag.AMBIGUOUS_BRANCH`; no rise at all is `Flag.NEGATIVE_AMPLITUDE`.

    Raises
    ------
    ValueError
        If shapes, times or window do not fit, fewer than four samples follow the injection, or the baseline
        reaches beyond it.
    """
    del workers
    times = checked_times(time_s)
    first, stop = checked_baseline(baseline, times.size)
    after = times > float(injection_s)
    if np.count_nonzero(after) < 4 or times[stop - 1] > injection_s:
        raise ValueError("injection_s lies after the baseline and at least four samples before the end")
    curves = Curves.of(signal, times.size, mask)
    noise = None if noise_sd is None else curves.flat(noise_sd, "noise_sd")
    rows, errors = np.full((2, len(_NAMES), curves.planes.n_voxels), np.nan)
    goodness = np.full((2, curves.planes.n_voxels), np.nan)
    iterations, flags = np.zeros(curves.planes.n_voxels, np.int16), curves.flags()
    for index in curves.blocks():
        samples = curves.samples(index)
        level, sd = baseline_level(samples, first, stop, None if noise is None else noise[index])
        found = search_rates((samples - level)[after], times[after] - float(injection_s))
        level_error = sd / math.sqrt(stop - first)
        rows[:, index], errors[:, index] = _derived(found, level_error)
        goodness[:, index] = found.r_squared, found.rmse
        iterations[index] = found.iterations
        flags[index] |= found.flags
    dtype = curves.planes.samples.dtype
    r_squared, rmse = (curves.restored(stored(row, dtype)) for row in goodness)
    return Fit(
        {name: curves.restored(stored(row, dtype)) for name, row in zip(_NAMES, rows, strict=True)},
        {name: curves.restored(stored(row, dtype)) for name, row in zip(_NAMES, errors, strict=True)},
        r_squared,
        rmse,
        curves.restored(iterations),
        curves.restored(flags),
        dict(zip(_NAMES, (unit, "1/s", "1/s", "s", "s", unit, f"{unit}.s"), strict=True)),
    )


def _derived(found: RateSearch, level_error: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """The values of `_NAMES` and their standard errors, each (7, n_some), by their gradients.

    Where both rates are equal, the peak lies at 1 / k.
    """
    log_in, log_out, amplitude = found.parameters
    k_in, k_out = np.exp(log_in), np.exp(log_out)
    apart = log_in - log_out
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        near = np.abs(apart) < NEAR
        ratio = np.where(
            near, 1.0 - apart / 2.0 + apart**2 / 12.0, apart / np.expm1(np.where(near, 1.0, apart))
        )
        to_peak = ratio / k_out
        peak = amplitude * np.exp(-k_out * to_peak)
        # derivative of apart / expm1(apart)
        bend = np.where(
            near,
            -0.5 + apart / 6.0,
            ratio / np.where(near, 1.0, apart) - ratio**2 / np.where(near, 1.0, apart) - ratio,
        )
        values = np.stack([amplitude, k_in, k_out, math.log(2.0) / k_out, to_peak, peak, amplitude / k_out])
        zero, one = np.zeros_like(k_in), np.ones_like(k_in)
        gradients = np.stack(
            [
                np.stack([zero, zero, one]),
                np.stack([k_in, zero, zero]),
                np.stack([zero, k_out, zero]),
                np.stack([zero, -math.log(2.0) / k_out, zero]),
                np.stack([bend / k_out, -bend / k_out - to_peak, zero]),
                np.stack([-peak * bend, peak * bend, peak / amplitude]),
                np.stack([zero, -amplitude / k_out, 1.0 / k_out]),
            ]
        )
        noise = np.einsum("qiv,vij,qjv->qv", gradients, found.covariance, gradients)
        shared = np.einsum("qiv,vi->qv", gradients, found.by_level) * level_error
        return values, np.sqrt(np.maximum(noise, 0.0) + shared**2)
