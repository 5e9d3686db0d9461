"""Fit: what every array-level method returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Fit:
    """Parameters of a model with their standard errors, per voxel or curve.

    Attributes
    ----------
    parameters, standard_errors : mapping of str to ndarray
        By parameter name, units in the name; arrays have the leading shape of the signal.
    r_squared, rmse : ndarray
        Goodness of fit; `rmse` in the unit of the signal.
    iterations : ndarray of int
        Iterations used.
    flags : ndarray of uint16
        Bits of `imgtheranostics.volume.Flag`.
    units : mapping of str to str
        UCUM code of each parameter.
    """

    parameters: Mapping[str, FloatArray]
    standard_errors: Mapping[str, FloatArray]
    r_squared: FloatArray
    rmse: FloatArray
    iterations: npt.NDArray[np.integer]
    flags: npt.NDArray[np.uint16]
    units: Mapping[str, str] = field(default_factory=dict)
