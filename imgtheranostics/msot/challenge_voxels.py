"""Gas challenge of single voxels: saturations of the mean amounts in both states.

A voxel of one frame often holds less haemoglobin than three of its standard errors. Means of its amounts over
the frames of a state hold more, and are not biased by the frames that would be masked.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.msot.gas_challenge import RESPONDING_SDS
from imgtheranostics.msot.oxygenation import so2
from imgtheranostics.msot.unmixing import UnmixingFit
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.floating]

_PERCENT = 100.0


def voxel_changes(
    fit: UnmixingFit,
    hbo2: str,
    hb: str,
    states: tuple[slice, slice],
    *,
    mask: npt.NDArray[np.bool_] | None = None,
) -> Fit:
    """Change of the saturation of mean amounts from one state to the other.

    Parameters
    ----------
    fit : UnmixingFit
        Amounts of shape (..., n_frames).
    hbo2, hb : str
    states : pair of slice
        Frames of the baseline and of the challenge.
    mask : (...) ndarray of bool, optional

    Returns
    -------
    Fit
        In %: ``delta_so2`` with its standard error by the noise of the amounts, ``baseline``, ``challenge``,
        ``baseline_sd`` that noise gives one frame, and ``responding``.
    """
    before, after = (_mean_saturation(fit, hbo2, hb, frames, mask) for frames in states)
    values = [_PERCENT * one.parameters["so2"] for one in (before, after)]
    errors = [_PERCENT * one.standard_errors["so2"] for one in (before, after)]
    delta = values[1] - values[0]
    known = np.isfinite(delta)
    flags = before.flags | after.flags
    lost = ~known & ((flags & ~np.uint16(Flag.OUTSIDE_RANGE.value)) == 0)
    flags[lost] |= Flag.INVALID_INPUT.value
    spread = errors[0] * math.sqrt(states[0].stop - states[0].start)
    with np.errstate(invalid="ignore"):
        responding = np.where(known, np.abs(delta) > RESPONDING_SDS * spread, np.nan)
    parameters = {
        "delta_so2": delta,
        "baseline": np.where(known, values[0], np.nan),
        "challenge": np.where(known, values[1], np.nan),
        "baseline_sd": np.where(known, spread, np.nan),
        "responding": responding,
    }
    missing = np.full(delta.shape, np.nan, delta.dtype)
    deviations = dict.fromkeys(parameters, missing) | {
        "delta_so2": np.where(known, np.hypot(*errors), np.nan),
        "baseline": np.where(known, errors[0], np.nan),
        "challenge": np.where(known, errors[1], np.nan),
    }
    units = dict.fromkeys(parameters, "%") | {"responding": "1"}
    return Fit(parameters, deviations, *nothing_fitted(delta.shape, delta.dtype), flags=flags, units=units)


def _mean_saturation(
    fit: UnmixingFit, hbo2: str, hb: str, frames: slice, mask: npt.NDArray[np.bool_] | None
) -> Fit:
    """Saturation of the mean amounts of some frames, with the noise that their mean keeps."""
    count = frames.stop - frames.start
    means, errors = [], []
    for name in (hbo2, hb):
        means.append(fit.parameters[name][..., frames].mean(axis=-1))
        squares = np.square(fit.standard_errors[name][..., frames]).sum(axis=-1)
        errors.append(np.sqrt(squares) / count)
    shared = fit.covariance(hbo2, hb)[..., frames].sum(axis=-1) / count**2
    return so2(*means, hbo2_se=errors[0], hb_se=errors[1], covariance=shared, mask=mask)
