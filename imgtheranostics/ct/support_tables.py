"""Tables of a bounded least-squares problem with few unknowns: a matrix for each set of unknowns at zero."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.kernels.ct_decomposition import MOST_BOUNDED

DoubleArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SupportTables:
    """Minimum of sum w (y - A c)^2 with some c >= 0, and perhaps sum s c = 1, for every support at once.

    Attributes
    ----------
    solver : (n_unknowns, n_samples + 1) ndarray
        The unconstrained solution; the last column is a constant.
    matrices : (n_supports, n_unknowns, n_unknowns + 1) ndarray
        On the unconstrained solution, from which every bounded one follows.
        Rows are unknowns where a support leaves them free and multipliers, scaled by the unknown's standard
        deviation, where it holds them at zero; the last column is a constant. The solution is the support
        whose bounded rows are all at least 0. NaN where nothing is left free that could add up to one.
    bounds : (n_unknowns,) ndarray of int
        The bit that stands for an unknown at zero; 0 where it has no bound.
    covariance : (n_unknowns, n_unknowns) ndarray
        Of the unconstrained solution, in the units of the weights.
    """

    solver: DoubleArray
    matrices: DoubleArray
    bounds: IndexArray
    covariance: DoubleArray

    @classmethod
    def of(
        cls,
        design: npt.ArrayLike,
        variances: npt.ArrayLike,
        bounded: npt.ArrayLike,
        *,
        shares: npt.ArrayLike | None = None,
    ) -> SupportTables:
        """The tables of one problem.

        Parameters
        ----------
        design : (n_samples, n_unknowns) array_like
        variances : (n_samples,) array_like
            Of the samples, above 0.
        bounded : (n_unknowns,) array_like of bool
            Which unknowns must not be negative, at most six.
        shares : (n_unknowns,) array_like, optional
            Above 0; what a unit of each unknown fills, where all of them add up to one.

        Raises
        ------
        ValueError
            If more than six are bounded, or the unknowns are not determined.
        """
        matrix = np.asarray(design, np.float64)
        weights = 1.0 / np.asarray(variances, np.float64)
        limited = np.asarray(bounded, np.bool_)
        count = int(np.count_nonzero(limited))
        if count > MOST_BOUNDED:
            raise ValueError(f"at most {MOST_BOUNDED} materials can be bounded, not {count}")
        bounds = np.zeros(limited.size, np.int64)
        bounds[limited] = 1 << np.arange(count)
        constraint = None if shares is None else np.asarray(shares, np.float64)
        problem = _Problem.of(matrix, weights, constraint)
        everything, _ = problem.solved(np.ones(limited.size, np.bool_))
        if not np.isfinite(everything).all():
            raise ValueError("the unknowns are not determined by these samples")
        covariance = (everything[:, :-1] / weights) @ everything[:, :-1].T
        scale = np.sqrt(np.diag(covariance))
        tables = np.full((1 << count, limited.size, limited.size + 1), np.nan)
        problem = replace(problem, right=problem.right @ matrix)
        for support in range(1 << count):
            free = (bounds & support) == 0
            if free.any() or shares is None:
                values, multipliers = problem.solved(free)
                tables[support] = np.where(free[:, np.newaxis], values, multipliers * scale[:, np.newaxis])
        return cls(everything, tables, bounds, covariance)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Normal equations of a least-squares problem in units in which its columns have the length one."""

    gram: DoubleArray
    right: DoubleArray
    length: DoubleArray
    shares: DoubleArray | None

    @classmethod
    def of(cls, design: DoubleArray, weights: DoubleArray, shares: DoubleArray | None) -> _Problem:
        length = np.sqrt(weights @ design**2)
        length[length == 0] = length.max() or 1.0
        scaled = design / length
        return cls(
            scaled.T @ (weights[:, np.newaxis] * scaled),
            (weights[:, np.newaxis] * scaled).T,
            length,
            None if shares is None else shares / length,
        )

    def solved(self, free: BoolArray) -> tuple[DoubleArray, DoubleArray]:
        """The free unknowns, the others zero, and the multipliers of all, as matrices of (samples, 1)."""
        index = np.flatnonzero(free)
        n, n_samples = self.length.size, self.right.shape[1]
        right = np.column_stack([self.right, np.zeros(n)])
        system, known = self.gram[np.ix_(index, index)], right[index]
        if self.shares is not None:
            filled = self.shares[index]
            system = np.block([[system, filled[:, np.newaxis]], [filled, np.zeros(1)]])
            known = np.vstack([known, np.append(np.zeros(n_samples), 1.0)])
        values = np.zeros((n, n_samples + 1))
        try:
            solution = np.linalg.solve(system, known)
        except np.linalg.LinAlgError:
            return np.full_like(values, np.nan), np.full_like(values, np.nan)
        values[index] = solution[: index.size]
        multipliers = self.gram @ values - right
        if self.shares is not None:
            multipliers += np.outer(self.shares, solution[-1])
        return values / self.length[:, np.newaxis], multipliers * self.length[:, np.newaxis]
