"""A spoiled gradient-echo acquisition and the tissue before the agent, checked, voxel by voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mapping.voxel_blocks import Curves, DoubleArray, FlagArray
from imgtheranostics.mri.plausible import (
    checked_b1,
    checked_flip_angles,
    checked_gradient_echo_repetition_times,
)
from imgtheranostics.volume import Flag

HIGHEST_MM = 20.0
"""Concentration up to which a solution counts as possible, mmol/L."""

_LONGEST_T1_S = 20.0


@dataclass(frozen=True, eq=False)
class Spgr:
    """A spoiled gradient-echo acquisition and what it met before the agent.

    Parameters
    ----------
    flip_angle_deg, repetition_time_s : float
    t1_s : float or array_like
        T1 before the agent, s.
    b1 : float or array_like, optional
        Transmit field relative to nominal. The same that corrected `t1_s` belongs here too.
    t1_error : float or array_like
        Standard error of `t1_s`.
    """

    flip_angle_deg: float
    repetition_time_s: float
    t1_s: npt.ArrayLike
    b1: npt.ArrayLike | None = None
    t1_error: npt.ArrayLike = 0.0


@dataclass(frozen=True, eq=False)
class Tissue:
    """Per voxel, flat: rate before the agent, its error, flip angle; flags of voxels that lack one."""

    r10: DoubleArray
    r10_error: DoubleArray
    flip_rad: DoubleArray
    flags: FlagArray
    repetition_s: float


def tissue_before(spgr: Spgr, curves: Curves) -> Tissue:
    """T1 and flip angle of every voxel, checked."""
    angle = float(checked_flip_angles(spgr.flip_angle_deg)[0])
    repetition_s = float(checked_gradient_echo_repetition_times(spgr.repetition_time_s)[0])
    t1 = curves.flat(spgr.t1_s, "t1_s")
    error = curves.flat(spgr.t1_error, "t1_error")
    flags = np.zeros(t1.size, np.uint16)
    usable = np.isfinite(t1) & (t1 > 0)
    typical = float(np.median(t1[usable])) if usable.any() else 1.0
    if typical > _LONGEST_T1_S:
        raise ImplausibleValue(
            "T1 looks like milliseconds",
            where="t1_s",
            found=f"median {typical:g} s",
            needed=f"at most {_LONGEST_T1_S:g} s",
            next_step="divide by 1000",
        )
    flags[~usable | (error < 0)] |= Flag.INVALID_INPUT.value
    ratio = np.ones(t1.size) if spgr.b1 is None else curves.flat(checked_b1(spgr.b1), "b1")
    flip = np.deg2rad(angle) * ratio
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        good = (flip > 0) & (flip < np.pi)
        rate = np.where(usable, 1.0 / t1, 1.0)
        rate_error = np.where(usable, error / t1**2, np.nan)
    flags[~good] |= Flag.INVALID_B1.value
    return Tissue(rate, rate_error, np.where(good, flip, 1.0), flags, repetition_s)


def spgr_decisions(rule: str, spgr: Spgr, more: dict[str, list[int]]) -> dict[str, object]:
    """For the record of decisions."""
    return {
        "rule": rule,
        "flip_angle_deg": float(spgr.flip_angle_deg),
        "repetition_time_s": float(spgr.repetition_time_s),
        "b1": "not given: nominal flip angle" if spgr.b1 is None else "given",
        "t1_error": "given" if np.any(np.asarray(spgr.t1_error) != 0) else "not included",
        **more,
    }
