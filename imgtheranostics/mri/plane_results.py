"""Results of a voxel-wise fit as planes, and as the `Fit` that callers get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, PlanarSignal, shortfall


@dataclass(frozen=True, eq=False)
class PlaneResults:
    """What a kernel writes: parameters, then their standard errors, R^2 and RMSE, one plane each.

    Attributes
    ----------
    planes : (2 n_parameters + 2, n_voxels) ndarray
        In the type of the signal.
    iterations : (n_voxels,) ndarray of int16
    flags : (n_voxels,) ndarray of uint16
    """

    signal: PlanarSignal
    planes: npt.NDArray[Any]
    iterations: npt.NDArray[np.int16]
    flags: npt.NDArray[np.uint16]

    @classmethod
    def empty(cls, signal: PlanarSignal, n_parameters: int) -> Self:
        """Room for the results of a signal; iterations and flags are zero."""
        n = signal.n_voxels
        planes = np.empty((2 * n_parameters + 2, n), signal.samples.dtype)
        return cls(signal, planes, np.zeros(n, np.int16), np.zeros(n, np.uint16))

    def as_fit(self, units: Mapping[str, str], n_fitted: int) -> Fit:
        """The planes by name, in the leading shape of the signal.

        Parameters
        ----------
        units : mapping of str to str
            UCUM code of each parameter, in the order of the planes.
        n_fitted : int
            Parameters that were fitted; the standard errors lose the bias of few degrees of freedom.
        """
        self.planes[len(units) : 2 * len(units)] /= shortfall(len(self.signal.samples) - n_fitted)
        restored = [self.signal.restored(plane) for plane in self.planes]
        n = len(units)
        return Fit(
            parameters=dict(zip(units, restored[:n], strict=True)),
            standard_errors=dict(zip(units, restored[n : 2 * n], strict=True)),
            r_squared=restored[2 * n],
            rmse=restored[2 * n + 1],
            iterations=self.signal.restored(self.iterations),
            flags=self.signal.restored(self.flags),
            units=dict(units),
        )
