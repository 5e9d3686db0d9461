"""The rate R1 that a spoiled gradient echo's signal shows, exactly (mri.md F9), without T2* decay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]


def rate_after(
    ratio: DoubleArray, rate_before: DoubleArray, cosine: DoubleArray, repetition_time_s: float
) -> tuple[DoubleArray, DoubleArray]:
    """E1 = exp(-TR R1) and R1 at each sample from the signal over the baseline's.

    A = ratio (1 - E10)/(1 - E10 cos a), E1 = (1 - A)/(1 - A cos a), R1 = -ln(E1)/TR. Nothing is clipped.

    Parameters
    ----------
    ratio : (n, m) ndarray
        Signal over that before the agent.
    rate_before : (m,) ndarray
        R1 before the agent, 1/s.
    cosine : (m,) ndarray
        Of the flip angle.
    repetition_time_s : float

    Returns
    -------
    (ndarray, ndarray)
        E1 and R1 in 1/s, both (n, m); NaN where no E1 between 0 and 1 gives the signal.
    """
    before = np.exp(-repetition_time_s * rate_before)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = ratio * ((1.0 - before) / (1.0 - before * cosine))
        decay = (1.0 - share) / (1.0 - share * cosine)
        decay[~((decay > 0.0) & (decay < 1.0))] = np.nan
        rate: DoubleArray = np.log(decay) / -repetition_time_s
    return decay, rate
