"""What a decomposition returns, and how a problem becomes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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

_SAMPLED, _AT_ONCE = 1 << 18, 1 << 16


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
    shared_relative : mapping of str to float
        Errors by the slopes relative to the value, as in regions with much of each parameter.
    covariance : (n, n) ndarray
        Of the parameters in their order, by the noise of the images; NaN where that is not known.
    """

    separability: Separability | None = None
    shared_relative: Mapping[str, float] = field(default_factory=dict)
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
    rows = zip(names, found.values, found.calibration, strict=False)
    relative = {name: shared_relative(value, error) for name, value, error in rows}
    return DecompositionFit(
        values,
        {name: restored(row) for name, row in zip(names, found.errors, strict=True)},
        r_squared,
        rmse,
        np.broadcast_to(np.array(0, np.int32), nothing.shape),
        flags=restored(found.flags),
        units=dict(zip(names, problem.units, strict=True)),
        calibration_errors=calibration,
        calibration_relative=max(relative.values(), default=0.0),
        decisions={"separation": problem.separability.decision(), "slopes": matrix.decision()},
        warnings=(*cautions, *matrix.warnings),
        separability=problem.separability,
        shared_relative=relative,
        covariance=found.covariance,
    )


def shared_relative(values: FloatArray, errors: FloatArray) -> float:
    """Root mean square of the errors by the slopes over that of the values, as in regions with much of it.

    From some 300,000 voxels, evenly spread. Where little of a material lies beside much of another, its
    error is that of the other's slopes; no single number tells it, so that the errors of each voxel go along
    as a map.
    """
    step = max(1, values.size // _SAMPLED)
    value, error = values[::step].astype(np.float64), errors[::step].astype(np.float64)
    total = float(np.nansum(value * value))
    return math.sqrt(float(np.nansum(error * error)) / total) if total > 0 else 0.0


def add_in_quadrature(errors: FloatArray, further: FloatArray) -> FloatArray:
    """The root of the sum of squares, in place of the first; both in the same order of memory."""
    here, there = errors.ravel(order="K"), further.ravel(order="K")
    for first in range(0, here.size, _AT_ONCE):
        part = here[first : first + _AT_ONCE]
        part *= part
        part += there[first : first + _AT_ONCE] ** 2
        np.sqrt(part, out=part)
    return here.reshape(errors.shape, order="F" if errors.flags.f_contiguous else "C")
