"""Slopes of several materials at several energies, with what is known of their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.slope import Slope
from imgtheranostics.errors import Caution, merge_cautions

DoubleArray = npt.NDArray[np.float64]

PRIOR_CORRELATION = 0.5
"""Correlation of a prior slope's errors at two energies: 0.57 in the differences of the two sets of slopes at
80 and 140 kVp (ct.md section 4.2, computed). Errors that are given or calibrated count as independent."""

Slopes = Mapping[str, Sequence[float | Slope]] | npt.ArrayLike


@dataclass(frozen=True, eq=False)
class SlopeMatrix:
    """HU per mg/mL of each material at each energy.

    Attributes
    ----------
    materials : tuple of str
    values, errors : (n_energies, n_materials) ndarray
        Slopes and their standard errors.
    correlation : (n_materials,) ndarray
        Of one material's errors at two energies; materials are independent of each other.
    slopes : tuple of tuple of Slope
        By material, where they are known as such.
    filling : mapping
        What fills the volume, for the record: HU of each material alone, densities of agents.
    """

    materials: tuple[str, ...]
    values: DoubleArray
    errors: DoubleArray
    correlation: DoubleArray
    slopes: tuple[tuple[Slope, ...], ...] = ()
    filling: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, slopes: Slopes | SlopeMatrix, slope_errors: Slopes | None = None) -> SlopeMatrix:
        """Slopes as they may be given.

        Parameters
        ----------
        slopes : mapping of str to sequence of float or Slope, or (n_energies, n_materials) array_like
            By material, one for each energy. Materials of an array are called ``material_1`` and so on.
        slope_errors : the same as numbers, optional
            Standard errors of numbers; without them numbers are exact. A `Slope` has its own.

        Raises
        ------
        ValueError
            If materials have different numbers of energies, or a slope is no number.
        """
        if isinstance(slopes, SlopeMatrix):
            return slopes
        if not isinstance(slopes, Mapping):
            matrix = np.asarray(slopes, np.float64)
            if matrix.ndim != 2:
                raise ValueError(
                    f"slopes must be a mapping, or a matrix of energies and materials; not {matrix.ndim}-D"
                )
            slopes = {f"material_{n + 1}": column.tolist() for n, column in enumerate(matrix.T)}
            if slope_errors is not None and not isinstance(slope_errors, Mapping):
                columns = np.broadcast_to(np.asarray(slope_errors, np.float64), matrix.shape).T
                slope_errors = dict(zip(slopes, columns.tolist(), strict=True))
        lengths = {name: len(column) for name, column in slopes.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"each material needs one slope for each energy, got {lengths}")
        given = _numbers(slope_errors, slopes)
        values = np.array([[_value(slope) for slope in column] for column in slopes.values()]).T
        errors = np.array(
            [
                [
                    slope.standard_error if isinstance(slope, Slope) else given[name][n]
                    for n, slope in enumerate(c)
                ]
                for name, c in slopes.items()
            ]
        ).T
        if not np.isfinite(values).all() or not (np.isfinite(errors) & (errors >= 0)).all():
            raise ValueError("slopes are finite numbers, and their standard errors are not negative")
        known = [[slope for slope in column if isinstance(slope, Slope)] for column in slopes.values()]
        complete = all(len(column) == len(values) for column in known)
        correlation = np.array(
            [PRIOR_CORRELATION if column and all(s.prior for s in column) else 0.0 for column in known]
        )
        return cls(tuple(slopes), values, errors, correlation, tuple(map(tuple, known)) if complete else ())

    @property
    def n_energies(self) -> int:
        """Energies that each material has a slope at."""
        return int(self.values.shape[0])

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """Cautions of the slopes, and whether they are priors."""
        own = merge_cautions(*(slope.warnings for column in self.slopes for slope in column))
        prior = [
            name
            for name, column in zip(self.materials, self.slopes, strict=False)
            if any(slope.prior for slope in column)
        ]
        if not prior:
            return own
        text = f"slopes of {', '.join(prior)} are priors that no measurement on this scanner stands behind"
        return merge_cautions((Caution("prior-slopes", text),), own)

    def hu_of_pure(self, densities_g_ml: Mapping[str, float]) -> dict[str, Any]:
        """For the record, where the values are HU of materials alone."""
        return {
            name: {"hu": column.tolist(), "density_g_ml": densities_g_ml.get(name)}
            for name, column in zip(self.materials, self.values.T, strict=True)
        }

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        if self.filling:
            return {"fills_the_volume": dict(self.filling), **replace(self, filling={}).decision()}
        if self.slopes:
            return {
                name: [slope.decision() for slope in column]
                for name, column in zip(self.materials, self.slopes, strict=True)
            }
        return {
            name: {"hu_per_mg_ml": value.tolist(), "standard_error": error.tolist(), "source": "given"}
            for name, value, error in zip(self.materials, self.values.T, self.errors.T, strict=True)
        }


def _value(slope: float | Slope) -> float:
    return slope.hu_per_mg_ml if isinstance(slope, Slope) else float(slope)


def _numbers(errors: Slopes | None, slopes: Mapping[str, Sequence[float | Slope]]) -> dict[str, list[float]]:
    """Standard errors by material; 0 where none are given."""
    if errors is None:
        return {name: [0.0] * len(column) for name, column in slopes.items()}
    if not isinstance(errors, Mapping) or set(errors) != set(slopes):
        raise ValueError("slope_errors must name the materials of slopes, in the same form")
    return {
        name: np.broadcast_to(np.asarray(errors[name], np.float64), (len(column),)).tolist()
        for name, column in slopes.items()
    }
