"""Concentration of an agent from spoiled gradient-echo signals and the T1 before, with or without decay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Relaxivity
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    FlagArray,
    IndexArray,
    baseline_level,
    checked_baseline,
    stored,
)
from imgtheranostics.mri.agent_concentration import UNIT, calibrated
from imgtheranostics.mri.agent_relaxivity import as_relaxivity, shared_count
from imgtheranostics.mri.plausible import checked_echo_times
from imgtheranostics.mri.spgr_inversion import rate_after
from imgtheranostics.mri.spgr_tissue import HIGHEST_MM, Spgr, Tissue, spgr_decisions, tissue_before
from imgtheranostics.volume import Flag

SHARED = "shared_error_mm"


def from_spgr(
    signal: npt.ArrayLike,
    relaxivity: Relaxivity | float,
    *,
    flip_angle_deg: float,
    repetition_time_s: float,
    t1_s: npt.ArrayLike,
    baseline: tuple[int, int],
    b1: npt.ArrayLike | None = None,
    t1_error: npt.ArrayLike = 0.0,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Concentration over time from spoiled gradient-echo signals, exactly, without T2* decay.

    A = (S / S0) (1 - E10) / (1 - E10 cos a), E1 = (1 - A) / (1 - A cos a), R1 = -ln(E1) / TR, and
    C = (R1 - 1/T1) / r1 (mri.md F9). Nothing is clipped: a signal that no T1 gives is NaN.

    Parameters
    ----------
    signal : (..., n) array_like
        Signal over time; two images are ``np.stack((pre, post), axis=-1)`` with ``baseline=(0, 1)``.
    relaxivity : Relaxivity or float
        r1 in L/mmol/s; see `relaxivity_for`.
    flip_angle_deg, repetition_time_s : float
    t1_s : float or (...) array_like
        T1 before the agent, s.
    baseline : (first, stop)
        Samples before the agent; S0 is their mean.
    b1 : float or (...) array_like, optional
        Transmit field relative to nominal; the one that corrected `t1_s`.
    t1_error : float or (...) array_like
        Standard error of `t1_s`; 0 leaves it out, NaN makes that of the result NaN.
    noise_sd : float or (...) array_like, optional
        Noise of one sample; without it, the scatter of the baseline.
    mask : (...) array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``concentration_mm`` of shape (..., n), flags likewise; ``shared_error_mm`` is the part of its
        standard error that all samples of a curve have in common, from baseline and T1.
        `Flag.OUTSIDE_RANGE` where E1 is not between 0 and 1, `Flag.INVALID_INPUT` where T1 or the baseline is
        not positive or a sample is not finite, `Flag.INVALID_B1` where the transmit field is not positive.

    Raises
    ------
    ValueError
        If shapes or window do not fit.
    ImplausibleValue
        If angles, times or T1 look like another unit.
    UnitMismatch
        If the relaxivity is not an r1.
    """
    used = {"r1": as_relaxivity(relaxivity, "r1")}
    spgr = Spgr(flip_angle_deg, repetition_time_s, t1_s, b1, t1_error)
    return _dynamic(signal, used, spgr, 0.0, baseline, noise_sd, mask, HIGHEST_MM, None)


def from_spgr_with_decay(
    signal: npt.ArrayLike,
    r1: Relaxivity | float,
    r2star: Relaxivity | float,
    *,
    echo_time_s: float,
    flip_angle_deg: float,
    repetition_time_s: float,
    t1_s: npt.ArrayLike,
    baseline: tuple[int, int],
    b1: npt.ArrayLike | None = None,
    t1_error: npt.ArrayLike = 0.0,
    noise_sd: npt.ArrayLike | None = None,
    highest_mm: float = HIGHEST_MM,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> CalibratedFit:
    """Concentration over time from spoiled gradient-echo signals whose T1 and T2* both shorten.

    Solves S / S0 = g(1/T1 + r1 C) / g(1/T1) exp(-TE r2* C) (mri.md F10); the T2* before the agent cancels.
    The signal rises to a maximum and falls. Below the maximum the lower concentration is returned, and
    `Flag.AMBIGUOUS_BRANCH` set where the higher one is at most `highest_mm`. A signal that fell below the
    baseline by more than five standard errors, and 1 %, rules the lower, negative one out; the higher is
    returned, with the same flag. An agent whose signal only falls has one solution. Several echoes tell the
    branches apart: `imgtheranostics.mri.spgr_echoes`.

    Parameters
    ----------
    signal, flip_angle_deg, repetition_time_s, t1_s, baseline, b1, t1_error, noise_sd, mask
        As in `from_spgr`.
    r1, r2star : Relaxivity or float
        L/mmol/s, of one agent at one field.
    echo_time_s : float
    highest_mm : float
        Highest concentration that is thought possible, mmol/L.
    workers : int, optional

    Returns
    -------
    CalibratedFit
        As `from_spgr`; `Flag.OUTSIDE_RANGE` where the signal lies above the maximum that the model can reach.

    Raises
    ------
    ValueError, ImplausibleValue, UnitMismatch
        As in `from_spgr`; if the relaxivities are of different agents' counts or fields.
    """
    used = {"r1": as_relaxivity(r1, "r1"), "r2star": as_relaxivity(r2star, "r2star")}
    shared_count(used)
    if not highest_mm > 0:
        raise ValueError(f"highest_mm must be positive, got {highest_mm}")
    echo_s = float(checked_echo_times(echo_time_s)[0])
    spgr = Spgr(flip_angle_deg, repetition_time_s, t1_s, b1, t1_error)
    return _dynamic(signal, used, spgr, echo_s, baseline, noise_sd, mask, highest_mm, workers)


def _dynamic(
    signal: npt.ArrayLike,
    used: dict[str, Relaxivity],
    spgr: Spgr,
    echo_s: float,
    baseline: tuple[int, int],
    noise_sd: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    highest_mm: float,
    workers: int | None,
) -> CalibratedFit:
    """Both inversions of a dynamic signal, block by block."""
    given = np.asarray(signal)
    n = given.shape[-1] if given.ndim else 0
    first, stop = checked_baseline(baseline, n)
    curves = Curves.of(given, n, mask)
    tissue = tissue_before(spgr, curves)
    noise = None if noise_sd is None else curves.flat(noise_sd, "noise_sd")
    values, errors, shared, together = (curves.empty_series() for _ in range(4))
    flags = np.repeat((curves.flags() | tissue.flags)[np.newaxis], n, axis=0)
    with thread_limit(workers):
        for index in curves.blocks():
            samples = curves.samples(index)
            base, sd = baseline_level(samples, first, stop, None if noise is None else noise[index])
            state = flags[:, index]
            state[~np.isfinite(samples)] |= Flag.INVALID_INPUT.value
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                state[:, ~(base > 0)] |= Flag.INVALID_INPUT.value
                ratio, relative_sd = samples / base, sd / base
            spread = _ratio_variance(ratio, relative_sd, first, stop)
            inverted = _inverted(ratio, spread, index, tissue, used, echo_s, highest_mm, state)
            values[:, index] = stored(inverted[0], values.dtype)
            found = _errors(inverted, spread, index, tissue, used, echo_s)
            for kept, part in zip((errors, shared), found, strict=True):
                kept[:, index] = stored(part, values.dtype)
            common = _common_error(inverted, relative_sd, (first, stop), tissue.r10_error[index])
            together[:, index] = stored(common, values.dtype)
            flags[:, index] = state
    rule = "exact inversion" if echo_s == 0 else f"numeric inversion with r2* decay, TE {echo_s:g} s"
    fit = calibrated(
        curves.restored(values),
        curves.restored(errors),
        curves.restored(shared),
        curves.restored(flags),
        values.dtype,
        used,
        relative=used["r1"].relative_uncertainty or 0.0 if echo_s == 0 else None,
        beside={SHARED: curves.restored(together)},
        decisions=spgr_decisions(rule, spgr, {"baseline": [first, stop]}),
    )
    return replace(fit, units={**fit.units, SHARED: UNIT})


def _common_error(
    inverted: DoubleArray, relative_sd: DoubleArray, baseline: tuple[int, int], rate_error: DoubleArray
) -> DoubleArray:
    """Error of each sample that all of its curve have in common, from the baseline's mean and from T1.

    The baseline's own samples have no part in the first: their mean is what they are compared with.
    """
    _, slope, growth, growth_before = inverted
    first, stop = baseline
    after = np.ones((slope.shape[0], 1))
    after[first:stop] = 0.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        by_rate = (growth - growth_before) * rate_error
        common: DoubleArray = np.sqrt(after * relative_sd**2 / (stop - first) + by_rate**2) / np.abs(slope)
    return common


def _inverted(
    ratio: DoubleArray,
    spread: DoubleArray,
    index: IndexArray,
    tissue: Tissue,
    used: dict[str, Relaxivity],
    echo_s: float,
    highest_mm: float,
    flags: FlagArray,
) -> DoubleArray:
    """Concentration, d ln(ratio)/dC, d ln g/dR at C and before, (4, n, n_some); flags are set in place."""
    r10, flip, repetition_s = tissue.r10[index], tissue.flip_rad[index], tissue.repetition_s
    r1 = used["r1"].value
    if echo_s == 0:
        found = _exact(ratio, r10, np.cos(flip), repetition_s, r1, flags)
    else:
        from imgtheranostics.kernels.agent_inversion import invert_with_decay

        found = np.empty((4, *ratio.shape))
        r2star = used["r2star"].value
        spread = np.sqrt(spread)
        invert_with_decay(
            ratio, spread, r10, flip, r1, r2star, repetition_s, echo_s, highest_mm, found, flags
        )
    found[3] = _growth(np.exp(-repetition_s * r10), np.cos(flip), repetition_s)
    return found


def _exact(
    ratio: DoubleArray,
    r10: DoubleArray,
    cosine: DoubleArray,
    repetition_s: float,
    r1: float,
    flags: FlagArray,
) -> DoubleArray:
    left, rate = rate_after(ratio, r10, cosine, repetition_s)
    flags[np.isnan(left) & (flags == 0)] |= Flag.OUTSIDE_RANGE.value
    unknown = flags != 0
    left[unknown] = rate[unknown] = np.nan
    growth = _growth(left, cosine, repetition_s)
    return np.array([(rate - r10) / r1, r1 * growth, growth, growth])


def _growth(left: DoubleArray, cosine: DoubleArray, repetition_s: float) -> DoubleArray:
    """Derivative of ln g by R in the steady state, from E1 and the cosine of the flip angle."""
    with np.errstate(divide="ignore", invalid="ignore"):
        growth: DoubleArray = repetition_s * left * (1.0 - cosine) / ((1.0 - left) * (1.0 - left * cosine))
    return growth


def _ratio_variance(ratio: DoubleArray, relative_sd: DoubleArray, first: int, stop: int) -> DoubleArray:
    """Variance of ln(S / S0), with what a baseline sample shares with the mean that it is part of."""
    n = stop - first
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = 1.0 / ratio**2 + 1.0 / n
        variance[first:stop] -= 2.0 / (n * ratio[first:stop])
        scaled: DoubleArray = np.maximum(variance, 0.0) * relative_sd**2
    return scaled


def _errors(
    inverted: DoubleArray,
    spread: DoubleArray,
    index: IndexArray,
    tissue: Tissue,
    used: dict[str, Relaxivity],
    echo_s: float,
) -> tuple[DoubleArray, DoubleArray]:
    """Standard error of the measurement (signals and T1), and of the relaxivities."""
    value, slope, growth, growth_before = inverted
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        by_rate = (growth - growth_before) * tissue.r10_error[index]
        measured = np.sqrt(spread + by_rate**2) / np.abs(slope)
        shared = value * growth * (used["r1"].uncertainty or 0.0) / slope
        if "r2star" in used:
            by_decay = value * echo_s * (used["r2star"].uncertainty or 0.0) / slope
            return measured, np.hypot(shared, by_decay)
    return measured, np.abs(shared)
