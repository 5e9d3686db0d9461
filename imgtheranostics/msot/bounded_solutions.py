"""Tables for spectra as sums of known ones: a solution and its errors for every set of components at zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import shortfall
from imgtheranostics.kernels.nnls import TILE

DoubleArray = npt.NDArray[np.float64]

MOST_BOUNDED = 10
"""Components that tables of supports are made for."""

WELL_CONDITIONED = 1e2
"""Condition number up to which products of columns lose nothing that matters: 1e-12 of the amounts."""

SINGULAR = 1e12
"""Condition number, of columns of the length one, from which columns are alike to rounding."""


@dataclass(frozen=True, eq=False)
class BoundedSolutions:
    """Least squares of a matrix with known columns, for every support at once.

    Bit k of a support holds component k at zero; support 0 holds none.

    Attributes
    ----------
    basis : (size, n_samples) ndarray
        From samples to the coefficients that all solutions are linear in; padded with zeros like all that
        the kernel `imgtheranostics.kernels.nnls.unmix_voxels` takes. Products of the columns where there are
        `inverses`, else those of an orthogonal basis, which `tables` and `triangle` are for.
    tables : (n_supports, size, size) ndarray
        On the coefficients: [support, j, k] is what coefficient j adds to the amount of column k, of the
        length one, where it is free, and to its multiplier where it is held. NaN where the free columns are
        alike.
    triangle : (size, size) ndarray
        Coefficients of each column.
    inverses : (16, size, size) ndarray or (0, size, size)
        For up to four components that are not too much alike: inverse of the free part of the matrix of
        products of the columns for each support of four. A column that there is not has a product of 1 with
        itself and of 0 with all else.
    columns : (n_samples, n_components) ndarray
        The matrix without weights, for columns whose weighted ones have the length one.
    unit : (n_components,) ndarray
        From amounts of those columns to those of the matrix.
    solvers : (n_supports, n_components, n_samples) ndarray
        From samples to amounts; zero rows where a component is held.
    """

    basis: DoubleArray
    tables: DoubleArray
    triangle: DoubleArray
    inverses: DoubleArray
    columns: DoubleArray
    unit: DoubleArray
    solvers: DoubleArray

    @classmethod
    def of(cls, matrix: DoubleArray, weights: DoubleArray, *, bounded: bool) -> BoundedSolutions:
        """The tables of one matrix.

        Parameters
        ----------
        matrix : (n_samples, n_components) ndarray
        weights : (n_samples,) ndarray
            One over the standard deviation of each sample, or ones.
        bounded : bool
            Without bounds there is one support alone, which holds nothing.

        Raises
        ------
        ValueError
            If more than ten components are bounded.
        """
        n_samples, n = matrix.shape
        if bounded and n > MOST_BOUNDED:
            raise ValueError(f"at most {MOST_BOUNDED} components can be bounded at zero, not {n}")
        weighted = matrix * weights[:, np.newaxis]
        length = np.linalg.norm(weighted, axis=0)
        unit = 1.0 / np.where(length > 0, length, 1.0)
        q, r = np.linalg.qr(weighted * unit)
        size = -(-n // TILE) * TILE
        basis, triangle = np.zeros((size, n_samples)), np.zeros((size, size))
        basis[: q.shape[1]], triangle[: len(r), :n] = q.T * weights, r
        square = triangle[:n, :n]
        count = 1 << n if bounded else 1
        tables = np.zeros((count, size, size))
        solvers = np.full((count, n, n_samples), np.nan)
        for support in range(count):
            free = (support >> np.arange(n)) & 1 == 0
            inverse = _inverse(square[:, free])
            if inverse is None:
                tables[support, :n, :n] = np.nan
                continue
            amounts = np.zeros((n, n))
            amounts[free] = inverse
            multipliers = square.T @ (square @ amounts - np.eye(n))
            tables[support, :n, :n] = np.where(free[:, np.newaxis], amounts, multipliers).T
            solvers[support] = unit[:, np.newaxis] * (amounts @ basis[:n])
        inverses = np.empty((0, size, size))
        if bounded and size == TILE and np.linalg.cond(square) <= WELL_CONDITIONED:
            inverses, basis[:n] = _inverses(triangle, n), (weighted * unit).T * weights
        return cls(basis, tables, triangle, inverses, matrix * unit, unit, solvers)

    def covariances(self, variances: DoubleArray) -> DoubleArray:
        """Of the amounts in each support for samples with those variances.

        A component that is held has the variance that it has where none is, and no covariances.

        Returns
        -------
        (n_supports, n_components, n_components) ndarray
        """
        found = np.asarray((self.solvers * variances) @ self.solvers.transpose(0, 2, 1))
        freely = np.diag(found[0])
        for support in range(1, len(found)):
            held = np.flatnonzero((support >> np.arange(freely.size)) & 1)
            found[support, held, :] = 0.0
            found[support, :, held] = 0.0
            found[support, held, held] = freely[held]
        return found

    def from_residuals(self) -> tuple[DoubleArray, DoubleArray]:
        """Standard errors for a sum of squared residuals of one, and the covariances for a variance of one.

        Degrees of freedom are samples less free components; without any, errors are not known.
        """
        covariances = self.covariances(np.ones(self.columns.shape[0]))
        n_samples, n = self.columns.shape
        factors = np.array(
            [_per_residual(n_samples - n + bin(s).count("1")) for s in range(len(covariances))]
        )
        spread = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        return spread * factors[:, np.newaxis], covariances


def _inverses(triangle: DoubleArray, n: int) -> DoubleArray:
    """Inverse of the matrix of products of the free columns for each support of four."""
    found, products = np.zeros((16, TILE, TILE)), triangle.T @ triangle + np.diag(np.arange(TILE) >= n)
    for support in range(15):
        free = np.flatnonzero((support >> np.arange(TILE)) & 1 == 0)
        own = np.ix_(free, free)
        found[support][own] = np.linalg.inv(products[own])
    return found


def _per_residual(freedom: int) -> float:
    """From the root of the sum of squared residuals to the standard deviation of a sample."""
    return float("nan") if freedom < 1 else 1.0 / (np.sqrt(freedom) * shortfall(freedom))


def _inverse(columns: DoubleArray) -> DoubleArray | None:
    """Pseudo-inverse of columns that are independent; None where they are not."""
    if not columns.shape[1]:
        return np.zeros((0, columns.shape[0]))
    left, singular, right = np.linalg.svd(columns, full_matrices=False)
    if columns.shape[1] > columns.shape[0] or not singular[-1] * SINGULAR > singular[0]:
        return None
    return np.asarray((right.T / singular) @ left.T)
