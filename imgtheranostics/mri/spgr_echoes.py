"""Concentration of an agent that shortens T1 and T2* at once, from several gradient echoes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Relaxivity
from imgtheranostics.fit import shortfall
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.voxel_blocks import Curves, DoubleArray, FlagArray
from imgtheranostics.mri.agent_concentration import NAME, calibrated
from imgtheranostics.mri.agent_relaxivity import as_relaxivity, shared_count
from imgtheranostics.mri.plausible import checked_echo_times
from imgtheranostics.mri.spgr_tissue import HIGHEST_MM, Spgr, Tissue, spgr_decisions, tissue_before
from imgtheranostics.volume import Flag


def from_spgr_echoes(
    pre: npt.ArrayLike,
    post: npt.ArrayLike,
    r1: Relaxivity | float,
    r2star: Relaxivity | float,
    *,
    echo_time_s: npt.ArrayLike,
    flip_angle_deg: float,
    repetition_time_s: float,
    t1_s: npt.ArrayLike,
    b1: npt.ArrayLike | None = None,
    t1_error: npt.ArrayLike = 0.0,
    noise_sd: npt.ArrayLike | None = None,
    highest_mm: float = HIGHEST_MM,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> CalibratedFit:
    """One concentration from several gradient echoes before and after an agent that shortens T1 and T2*.

    Least squares over the echoes with noise in both images; started on both branches of the signal, so that
    an agent that brightens at low and darkens at high concentration is read right on either side.

    Parameters
    ----------
    pre, post : (..., n) array_like
        Magnitudes at each echo, on one scale. Echoes at the noise floor do not belong here.
    r1, r2star : Relaxivity or float
        L/mmol/s, of one agent at one field.
    echo_time_s : (n,) array_like
        At least two.
    flip_angle_deg, repetition_time_s, t1_s, b1, t1_error, mask, workers
        As in `from_spgr_with_decay`.
    noise_sd : float or (...) array_like, optional
        Noise of one image; without it, the misfit of the echoes tells it (and overstates it where T1 is
        uncertain, since an error of T1 is a misfit too).
    highest_mm : float
        A result above it is flagged `Flag.OUTSIDE_RANGE` and NaN.

    Returns
    -------
    CalibratedFit
        ``concentration_mm``; ``chi2`` over n - 1 degrees of freedom where `noise_sd` is given. `rmse` in
        units of the signal, `iterations`. `Flag.NOT_CONVERGED`, `Flag.INITIALISATION_FAILED` with NaN;
        `Flag.AT_BOUND` where nothing but a negative rate would fit, without a standard error.

    Raises
    ------
    ValueError
        If fewer than two echoes are given, or shapes do not fit.
    ImplausibleValue, UnitMismatch
        As in `from_spgr_with_decay`.
    """
    from imgtheranostics.kernels.agent_inversion import fit_echoes

    used = {"r1": as_relaxivity(r1, "r1"), "r2star": as_relaxivity(r2star, "r2star")}
    shared_count(used)
    echoes = checked_echo_times(echo_time_s)
    if echoes.size < 2:
        raise ValueError("one echo does not tell T1 from T2* effects: at least two are needed")
    before, after = Curves.of(pre, echoes.size, mask, "pre"), Curves.of(post, echoes.size, None, "post")
    if before.planes.shape != after.planes.shape:
        raise ValueError(f"post has shape {np.shape(post)}, but pre has {np.shape(pre)}")
    spgr = Spgr(flip_angle_deg, repetition_time_s, t1_s, b1, t1_error)
    tissue = tissue_before(spgr, before)
    flags = before.flags() | tissue.flags
    rows = np.full((8, flags.size), np.nan)
    if before.planes.order != after.planes.order:
        after = Curves.of(np.asarray(post, order=before.planes.order), echoes.size, None, "post")
    with thread_limit(workers):
        for index in before.blocks():
            first, second, state = before.samples(index), after.samples(index), flags[index]
            state[~np.isfinite(first + second).all(axis=0) | ~(first > 0).all(axis=0)] |= (
                Flag.INVALID_INPUT.value
            )
            out = np.empty((8, index.size))
            fit_echoes(
                first, second, echoes, tissue.r10[index], tissue.flip_rad[index], used["r1"].value,
                used["r2star"].value, tissue.repetition_s, highest_mm, out, state,
            )  # fmt: skip
            rows[:, index], flags[index] = out, state
    noise = None if noise_sd is None else before.flat(noise_sd, "noise_sd")
    return _echo_fit(before, rows, flags, tissue, used, noise, highest_mm, spgr)


def _echo_fit(
    curves: Curves,
    rows: DoubleArray,
    flags: FlagArray,
    tissue: Tissue,
    used: dict[str, Relaxivity],
    noise: DoubleArray | None,
    highest_mm: float,
    spgr: Spgr,
) -> CalibratedFit:
    """Values and errors from what the kernel found."""
    n = curves.n_samples
    value, squares, steps, curvature, _, by_rate, by_r1, by_r2star = rows
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        flags[value > highest_mm] |= Flag.OUTSIDE_RANGE.value
        variance = squares / (n - 1) / shortfall(n - 1) ** 2 if noise is None else noise**2
        error = np.sqrt(variance / curvature + (by_rate / curvature * tissue.r10_error) ** 2)
        shared = np.hypot(
            by_r1 / curvature * (used["r1"].uncertainty or 0.0),
            by_r2star / curvature * (used["r2star"].uncertainty or 0.0),
        )
        chi2 = np.full_like(squares, np.nan) if noise is None else squares / noise**2
    error[(flags & Flag.AT_BOUND.value) != 0] = np.nan
    value = np.where((flags & ~np.uint16(Flag.AT_BOUND.value)) == 0, value, np.nan)
    fit = calibrated(
        curves.restored(value),
        curves.restored(error),
        curves.restored(shared),
        curves.restored(flags),
        curves.planes.samples.dtype,
        used,
        beside={"chi2": curves.restored(chi2)},
        decisions=spgr_decisions("least squares over gradient echoes, T1 and T2* together", spgr, {}),
    )
    usable = np.isfinite(fit.parameters[NAME])
    rmse = np.where(usable, curves.restored(np.sqrt(squares / n)), np.nan)
    whole = curves.restored(np.nan_to_num(steps)).astype(np.int32)
    return replace(fit, rmse=rmse.astype(curves.planes.samples.dtype), iterations=whole)
