"""PH of ratios by a calibration, with standard errors and flags."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.ph_calibration import Calibration
from imgtheranostics.cest.ph_conditions import Conditions
from imgtheranostics.fit import Fit
from imgtheranostics.volume import Flag


def converted(
    calibration: Calibration,
    ratio: Fit | npt.ArrayLike,
    *,
    ratio_se: npt.ArrayLike | None = None,
    conditions: Conditions | None = None,
) -> Fit:
    """PH of ratios, with standard errors and flags.

    Parameters
    ----------
    calibration : Calibration
    ratio : Fit or array_like
        Result of `imgtheranostics.cest.ph.ratio`, or ratios.
    ratio_se : array_like, optional
        Where ratios are given as an array.
    conditions : Conditions, optional
        Under which the ratios were measured: must be those of the calibration, whose
        ``conditions.check`` also tells what of them is not stated.

    Returns
    -------
    Fit
        ``ph``; NaN and `Flag.OUTSIDE_RANGE` outside the calibrated monotone range, and where the ratio has no
        value; NaN and `Flag.AMBIGUOUS_BRANCH` where the ratio, within two standard errors, occurs at a second
        pH of the calibration too. Errors are those of the ratio and of the calibration together.

    Raises
    ------
    ImplausibleValue
        If the conditions are not those of the calibration.
    """
    if conditions is not None:
        calibration.conditions.check(conditions)
    error: npt.ArrayLike | None = ratio_se
    if isinstance(ratio, Fit):
        given, error, flags = ratio.parameters["ratio"], ratio.standard_errors["ratio"], ratio.flags
    else:
        given = np.asarray(ratio)
        given = given if given.dtype == np.float32 else given.astype(np.float64)
        flags = np.where(np.isfinite(given), 0, Flag.INVALID_INPUT).astype(np.uint16)
    value = calibration.invert(given)
    outside = np.isfinite(given) & np.isnan(value)
    flags = np.asarray(flags | np.where(outside, np.uint16(Flag.OUTSIDE_RANGE), np.uint16(0)), np.uint16)
    twice = calibration.is_ambiguous(given, error) & ~outside
    value = np.where(twice, np.nan, value)
    flags = np.asarray(flags | np.where(twice, np.uint16(Flag.AMBIGUOUS_BRANCH), np.uint16(0)), np.uint16)
    own_error = np.where(twice, np.nan, calibration.standard_error(given, error))
    nothing = np.full(given.shape, np.nan, given.dtype)
    return Fit(
        {"ph": value.astype(given.dtype)},
        {"ph": own_error.astype(given.dtype)},
        nothing,
        nothing.copy(),
        np.zeros(given.shape, np.int16),
        flags,
        {"ph": "1"},
    )
