"""Contrast-agent concentration from the signal of a spoiled gradient echo, without any approximation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import planar
from imgtheranostics.mri.plausible import (
    checked_b1,
    checked_flip_angles,
    checked_gradient_echo_repetition_times,
)
from imgtheranostics.mri.spgr_inversion import rate_after

BLOCK_BYTES = 4 << 20
"""Curves in float64 that are converted at a time."""

LONGEST_T1_S = 30.0
"""A median above it is a T1 in ms."""


def signal_to_concentration(
    signal: npt.ArrayLike,
    *,
    flip_angle_deg: float,
    repetition_time_s: float,
    t1_s: npt.ArrayLike,
    relaxivity: float,
    baseline: tuple[int, int],
    b1: npt.ArrayLike | None = None,
) -> npt.NDArray[Any]:
    """Concentration of the agent at every sample of a spoiled gradient-echo series.

    With A the signal over its mean before the agent, times that of the baseline's T1 in units of M0 sin a:
    E1 = (1 - A)/(1 - A cos a), R1 = -ln(E1)/TR, C = (R1 - 1/T1)/relaxivity. The decay with T2* is neglected.

    Parameters
    ----------
    signal : (..., n) array_like
        Magnitude, arbitrary units.
    flip_angle_deg, repetition_time_s : float
        Nominal flip angle and repetition time.
    t1_s : float or (...) array_like
        T1 before the agent.
    relaxivity : float
        Longitudinal relaxivity r1 in 1/(mmol/L s), of this field and medium.
    baseline : (int, int)
        First sample and the one after the last of those before the agent: their mean is the baseline. There
        is no default, since a first sample before the steady state, or one after arrival, shifts every value.
    b1 : float or (...) array_like, optional
        Transmit field relative to nominal (1 = nominal).

    Returns
    -------
    (..., n) ndarray
        Concentration in mmol/L, float32 for a float32 signal; NaN, never a clipped value, where E1 lies
        outside 0 to 1 (a signal that no concentration gives), or the baseline, T1 or B1 is not above zero.
        Noise makes values below zero before arrival; they are kept.

    Raises
    ------
    ValueError
        If the window is not inside the series, a map has another shape, or the relaxivity is not above zero.
    ImplausibleValue
        If the flip angle looks like radians, TR or T1 like ms, or B1 like percent.
    """
    angle = checked_flip_angles(np.asarray(flip_angle_deg, dtype=np.float64).reshape(1))[0]
    repetition = checked_gradient_echo_repetition_times(repetition_time_s)
    if repetition.size != 1:
        raise ValueError("one repetition time is needed, that of the dynamic series")
    if not 0.0 < relaxivity < np.inf:
        raise ValueError(f"relaxivity must be above 0 in 1/(mmol/L s), found {relaxivity:g}")
    given = np.asarray(signal)
    if given.ndim == 0:
        raise ValueError("signal needs a last axis of samples")
    series = planar(given, given.shape[-1], contiguous=False)
    n = len(series.samples)
    first, stop = _window(baseline, n)
    t1 = series.flat(_checked_t1(t1_s), "t1_s").astype(np.float64)
    field = 1.0 if b1 is None else checked_b1(b1)
    angles = np.radians(angle) * series.flat(field, "b1").astype(np.float64)
    out = np.empty(series.samples.shape, series.samples.dtype)
    per_block = max(64, BLOCK_BYTES // (8 * n))
    for begin in range(0, series.n_voxels, per_block):
        part = slice(begin, begin + per_block)
        curves = series.samples[:, part].astype(np.float64)
        out[:, part] = _concentration(
            curves, curves[first:stop].mean(axis=0), angles[part], float(repetition[0]), t1[part], relaxivity
        )
    return out.T.reshape((*series.shape, n), order=series.order)


def _concentration(
    curves: npt.NDArray[np.float64],
    before: npt.NDArray[np.float64],
    angle: npt.NDArray[np.float64],
    repetition_time_s: float,
    t1_s: npt.NDArray[np.float64],
    relaxivity: float,
) -> npt.NDArray[np.float64]:
    """Concentration of planar curves (n, m), which are overwritten; angles in radians."""
    with np.errstate(all="ignore"):
        rate_before = np.where((before > 0.0) & (t1_s > 0.0) & (angle > 0.0), 1.0 / t1_s, np.nan)
        curves /= before
        _, rate = rate_after(curves, rate_before, np.cos(angle), repetition_time_s)
        rate -= rate_before
        rate /= relaxivity
    return rate


def _window(baseline: tuple[int, int], n: int) -> tuple[int, int]:
    """The baseline's first and stop index, checked."""
    try:
        first, stop = baseline
        whole = int(first) == first and int(stop) == stop
    except (TypeError, ValueError):
        raise ValueError(f"baseline must be (first, stop), found {baseline!r}") from None
    if not whole or not 0 <= first < stop <= n:
        raise ValueError(f"baseline {baseline!r} is not a window of the {n} samples 0 to {n - 1}")
    return int(first), int(stop)


def _checked_t1(t1_s: npt.ArrayLike) -> npt.NDArray[Any]:
    values = np.asarray(t1_s, dtype=np.float64)
    usable = values[np.isfinite(values) & (values > 0.0)]
    if usable.size and float(np.median(usable)) > LONGEST_T1_S:
        raise ImplausibleValue(
            "T1 before the agent looks like milliseconds",
            where="t1_s",
            found=f"median {float(np.median(usable)):g} s",
            needed=f"at most {LONGEST_T1_S:g} s",
            next_step="divide it by 1000",
        )
    return values
