"""Concentration of a material from a change of attenuation that is proportional to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.slope import Slope
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.detection import DETECTION_SDS
from imgtheranostics.volume import Flag

NAME = "concentration_mg_ml"


def from_change(
    change_hu: npt.ArrayLike,
    slope: Slope,
    *,
    change_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Concentration from a change of attenuation, C = change / slope.

    Parameters
    ----------
    change_hu : array_like
        HU after minus before.
    slope : Slope
        HU per mg/mL with its standard error, as of the tissue that is imaged: with the displacement of water
        where there is one.
    change_error : float or array_like
        Noise of the change in HU, without what a calibration shares between voxels; NaN where not known.
    mask : array_like of bool, optional
        NaN and flagged outside.

    Returns
    -------
    CalibratedFit
        ``concentration_mg_ml``: noise in `standard_errors`, the slope's part in `calibration_errors`; their
        sum in quadrature is sqrt(s^2 + C^2 s_slope^2) / slope. Values below the limit of detection of a
        voxel, 3.3 s / slope, are kept, since cutting them off would bias means, and carry `Flag.BELOW_NOISE`.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> fit = from_change(142.0, Slope(26.6, 0.5, "HfO2"), change_error=np.sqrt(200.0))
    >>> value, error = fit.parameters["concentration_mg_ml"], fit.total_errors["concentration_mg_ml"]
    >>> round(float(value), 3), round(float(error), 3)
    (5.338, 0.541)
    """
    change = np.asarray(change_hu)
    dtype = np.dtype(np.float32 if change.dtype == np.float32 else np.float64)
    flags = np.zeros(change.shape, np.uint16)
    flags[~np.isfinite(change)] = Flag.INVALID_INPUT.value
    if mask is not None:
        inside = np.asarray(mask, np.bool_)
        if inside.shape != change.shape:
            raise ValueError(f"mask has shape {inside.shape}, the change's is {change.shape}")
        flags[~inside] = Flag.MASKED_OUT.value
    usable = flags == 0
    per_hu = 1.0 / slope.hu_per_mg_ml
    value = np.where(usable, change * dtype.type(per_hu), np.nan).astype(dtype, copy=False)
    spread = np.broadcast_to(np.asarray(change_error, dtype), change.shape) * dtype.type(abs(per_hu))
    error = np.where(usable, spread, np.nan).astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        flags[usable & (value < DETECTION_SDS * error)] |= Flag.BELOW_NOISE.value
    missing = np.broadcast_to(np.array(np.nan, dtype), change.shape)
    return CalibratedFit(
        {NAME: value},
        {NAME: error},
        missing,
        missing,
        np.broadcast_to(np.array(0, np.int32), change.shape),
        flags=flags,
        units={NAME: "mg/mL"},
        calibration_errors={NAME: np.abs(value) * dtype.type(slope.relative_error)},
        calibration_relative=slope.relative_error,
        decisions={"slope": slope.decision()},
        warnings=slope.warnings,
    )
