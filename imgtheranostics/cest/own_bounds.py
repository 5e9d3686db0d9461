"""Which parameter of a fit sits at a bound, where the flags of a voxel speak of the fit as a whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.volume import Flag


def own_flags(fit: Fit, name: str, bounds: tuple[float, float] | None = None) -> npt.NDArray[np.uint16]:
    """The flags of one parameter: at a bound only where this one is.

    Parameters
    ----------
    fit : Fit
        Values at a bound are finite without a standard error.
    name : str
        The parameter.
    bounds : (low, high), optional
        Of this parameter. Without them it counts as at a bound where it has no standard error; a parameter
        may also lack one because another one, at its bound, goes along with it.

    Returns
    -------
    (...) ndarray of uint16
        All other flags are those of the fit.
    """
    flags = np.asarray(fit.flags, np.uint16)
    value, error = np.asarray(fit.parameters[name]), np.asarray(fit.standard_errors[name])
    elsewhere = np.isfinite(value) & np.isfinite(error)
    if bounds is not None:
        low, high = (value.dtype.type(bound) for bound in bounds)
        elsewhere |= (value > low) & (value < high)
    cleared = flags & np.uint16(0xFFFF ^ Flag.AT_BOUND.value)
    return np.where(elsewhere, cleared, flags).astype(np.uint16)
