"""What a decomposition returns, and how a problem becomes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.material_problem import DoubleArray, Images, MaterialProblem, solve
from imgtheranostics.ct.separability import Separability
from imgtheranostics.ct.slope_matrix import SlopeMatrix
from imgtheranostics.fit import FloatArray
from imgtheranostics.mapping.calibrated_fit import CalibratedFit

Restored = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class DecompositionFit(CalibratedFit):
    """Materials of every voxel, and how well they could be told apart.

    Attributes
    ----------
    parameters : mapping of str to ndarray
        By material, in the unit of `units`: mg/mL, or the share of the volume (1); and
        ``virtual_non_contrast`` in HU where the background was solved for.
    standard_errors : mapping of str to ndarray
        By noise, from the covariance of the unconstrained solution, also where a material is held at zero.
    calibration_errors : mapping of str to ndarray
        By the errors of the slopes, where these have errors.
    r_squared, rmse : ndarray
        NaN where energies and unknowns are as many and nothing is bounded: the solution is exact then.
    separability : Separability
        With the condition number.
    covariance : (n, n) ndarray
        Of the parameters in their order, by the noise of the images; NaN where that is not known.
    """

    separability: Separability | None = None
    covariance: DoubleArray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def condition_number(self) -> float:
        """Of the matrix of slopes."""
        return float("nan") if self.separability is None else self.separability.condition_number


def solved_fit(
    problem: MaterialProblem,
    matrix: SlopeMatrix,
    images: Images,
    restored: Restored,
    *,
    force: bool = False,
    workers: int | None = None,
) -> DecompositionFit:
    """Solve a problem, unless it is refused, and bring its results into the shape of the images.

    Parameters
    ----------
    problem : MaterialProblem
    matrix : SlopeMatrix
        For the record.
    images : Images
    restored : callable
        From flat voxels to their shape.
    force, workers
        As in `two_materials`.

    Raises
    ------
    IllConditioned
        As in `two_materials`.
    """
    cautions = problem.separability.require(force=force)
    found = solve(problem, images, workers=workers)
    names = problem.names
    values = {name: restored(row) for name, row in zip(names, found.values, strict=True)}
    calibration = {name: restored(row) for name, row in zip(names, found.calibration, strict=False)}
    nothing = np.broadcast_to(np.array(np.nan, images.dtype), next(iter(values.values())).shape)
    rmse, r_squared = (restored(row) for row in found.goodness) if found.goodness.size else (nothing, nothing)
    relative = [shared_relative(*rows) for rows in zip(found.values, found.calibration, strict=False)]
    return DecompositionFit(
        values,
        {name: restored(row) for name, row in zip(names, found.errors, strict=True)},
        r_squared,
        rmse,
        np.broadcast_to(np.array(0, np.int32), nothing.shape),
        flags=restored(found.flags),
        units=dict(zip(names, problem.units, strict=True)),
        calibration_errors=calibration,
        calibration_relative=max(relative, default=0.0),
        decisions={"separation": problem.separability.decision(), "slopes": matrix.decision()},
        warnings=(*cautions, *matrix.warnings),
        separability=problem.separability,
        covariance=found.covariance,
    )


def shared_relative(values: FloatArray, errors: FloatArray) -> float:
    """Root mean square of the errors by the slopes over that of the values, as in regions with much of it.

    Where little of a material lies beside much of another, its error is that of the other's slopes; no single
    number tells it, so that the errors of each voxel go along as a map.
    """
    squares, total = 0.0, 0.0
    for first in range(0, values.size, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        squares += float(np.nansum(np.square(errors[part], dtype=np.float64)))
        total += float(np.nansum(np.square(values[part], dtype=np.float64)))
    return math.sqrt(squares / total) if total > 0 else 0.0
