"""A straight line through a few calibration points, weighted by their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import shortfall

DoubleArray = npt.NDArray[np.float64]


class LineErrors:
    """Standard errors of a line, from its covariance."""

    covariance: DoubleArray

    @property
    def slope_error(self) -> float:
        """Standard error of the slope."""
        return float(np.sqrt(self.covariance[1, 1]))

    @property
    def intercept_error(self) -> float:
        """Standard error of the intercept."""
        return float(np.sqrt(self.covariance[0, 0]))


@dataclass(frozen=True, eq=False)
class WeightedLine(LineErrors):
    """y = intercept + slope x.

    Attributes
    ----------
    intercept, slope : float
    covariance : (2, 2) ndarray
        Of intercept and slope; NaN where two points leave no freedom and no errors are given.
    residuals : (n,) ndarray
        Measured minus line, in the unit of y.
    reduced_chi2 : float
        Weighted squares of the residuals over the degrees of freedom; NaN without freedom or without errors.
    """

    intercept: float
    slope: float
    covariance: DoubleArray
    residuals: DoubleArray
    reduced_chi2: float


def fit_weighted_line(
    x: npt.ArrayLike, y: npt.ArrayLike, *, standard_error: npt.ArrayLike | None = None
) -> WeightedLine:
    """Least-squares line, points weighted by their errors.

    With `standard_error` the covariance is that of the errors, and larger by the reduced chi-square where the
    points scatter more than their errors say. Without it, the scatter about the line tells.

    Parameters
    ----------
    x, y : (n,) array_like
        At least two points with different x.
    standard_error : float or (n,) array_like, optional
        Of y.

    Returns
    -------
    WeightedLine

    Raises
    ------
    ValueError
        If shapes do not fit, numbers are not finite, errors are not positive, or all x are the same.
    """
    at, value, error = _points(x, y, standard_error)
    line = solve_line(at, value, np.ones(at.size) if error is None else 1.0 / error)
    covariance = line.covariance
    freedom = at.size - 2
    chi2 = line.squares / freedom if freedom else float("nan")
    if error is None:
        covariance = covariance * (chi2 / shortfall(freedom) ** 2 if freedom else np.nan)
        chi2 = float("nan")
    elif freedom:
        covariance = covariance * max(1.0, chi2)
    return WeightedLine(line.intercept, line.slope, covariance, line.residuals, chi2)


@dataclass(frozen=True, eq=False)
class SolvedLine:
    """A least-squares line before anything is said about its errors.

    Attributes
    ----------
    intercept, slope : float
    covariance : (2, 2) ndarray
        Of intercept and slope, if the weights are one over the errors.
    residuals : (n,) ndarray
        Measured minus line.
    squares : float
        Weighted squares of the residuals.
    """

    intercept: float
    slope: float
    covariance: DoubleArray
    residuals: DoubleArray
    squares: float


def solve_line(x: DoubleArray, y: DoubleArray, weight: DoubleArray) -> SolvedLine:
    """Least-squares line, at any scale of x.

    Parameters
    ----------
    x, y : (n,) ndarray
        Finite, with at least two different x.
    weight : (n,) ndarray
        Of the residuals, not of their squares.
    """
    design = np.stack([np.ones(x.size), x], axis=1)
    scale = np.array([1.0, max(float(np.abs(x).max()), np.finfo(np.float64).tiny)])
    inverse = np.linalg.pinv(design / scale * weight[:, np.newaxis]) / scale[:, np.newaxis]
    intercept, slope = inverse @ (y * weight)
    residuals = y - design @ np.array([intercept, slope])
    squares = float(((residuals * weight) ** 2).sum())
    return SolvedLine(float(intercept), float(slope), inverse @ inverse.T, residuals, squares)


def errors_of_points(standard_error: npt.ArrayLike, n: int, name: str) -> DoubleArray:
    """One error for each of `n` points, from one for all or from a list.

    Raises
    ------
    ValueError
        If there are more or fewer, or one is not positive; the message calls them `name`.
    """
    try:
        error = np.broadcast_to(np.asarray(standard_error, np.float64), (n,))
    except ValueError:
        raise ValueError(f"{name} is one number or {n}") from None
    if not (np.isfinite(error) & (error > 0)).all():
        raise ValueError(f"{name} is positive")
    return error


def _points(
    x: npt.ArrayLike, y: npt.ArrayLike, standard_error: npt.ArrayLike | None
) -> tuple[DoubleArray, DoubleArray, DoubleArray | None]:
    at, value = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if at.ndim != 1 or at.shape != value.shape:
        raise ValueError(
            f"x and y are two lists of the same length, not of shapes {at.shape} and {value.shape}"
        )
    if not (np.isfinite(at).all() and np.isfinite(value).all()):
        raise ValueError("a point is not finite")
    if np.unique(at).size < 2:
        raise ValueError("a line needs at least two different x")
    if standard_error is None:
        return at, value, None
    return at, value, errors_of_points(standard_error, at.size, "standard_error")
