"""A fit whose scale comes from a calibration that all voxels share: a relaxivity, a reference tube."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import Fit, FloatArray


@dataclass(frozen=True, eq=False)
class CalibratedFit(Fit):
    """A fit with the part of its uncertainty that does not shrink when voxels are averaged kept apart.

    Attributes
    ----------
    standard_errors : mapping of str to ndarray
        Of the measurement alone, independent from voxel to voxel.
    calibration_errors : mapping of str to ndarray
        What the uncertainty of the calibration makes of each value; common to all voxels.
    calibration_relative : float
        The same relative to the value, for `Estimate.calibration_relative`. Where it differs between voxels
        (numeric and joint inversions), the largest.
    decisions : mapping
        Calibration, constants and assumptions, for the report and the provenance record.
    warnings : tuple of Caution
    """

    calibration_errors: Mapping[str, FloatArray] = field(default_factory=dict)
    calibration_relative: float = 0.0
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    @property
    def total_errors(self) -> dict[str, FloatArray]:
        """Standard errors of measurement and calibration together, in quadrature."""
        return {
            name: np.hypot(measured, self.calibration_errors[name])
            if name in self.calibration_errors
            else measured
            for name, measured in self.standard_errors.items()
        }


def largest_relative(value: npt.ArrayLike, error: npt.ArrayLike) -> float:
    """Largest error relative to its value over what is finite and not 0; 0 where there is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.abs(np.asarray(error, np.float64) / np.asarray(value, np.float64))
    finite = relative[np.isfinite(relative)]
    return float(finite.max()) if finite.size else 0.0
