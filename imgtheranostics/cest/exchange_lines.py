"""Straight lines through reciprocals of the saturation transfer, with the errors that its noise makes there.

With ``1/MTRrex = a + b/w1^2``, a = R1/(f k) and b = R1 k/f. The omega plot takes 1/MTRrex over 1/w1^2, the
Hanes-Woolf form w1^2/MTRrex over w1^2: there b is the intercept and a the slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.exchange_points import Block
from imgtheranostics.fit import shortfall
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]

REWEIGHTINGS = 3
"""Rounds in which the weights follow the line: noisy weights would prefer points that noise has moved up."""


@dataclass(frozen=True, eq=False)
class Lines:
    """A straight line for each voxel.

    Attributes
    ----------
    intercept, slope : (m,) ndarray
    covariance : (m, 3) ndarray
        Variances of intercept and slope and their covariance; NaN without any degree of freedom.
    fitted : (m, n) ndarray
    """

    intercept: DoubleArray
    slope: DoubleArray
    covariance: DoubleArray
    fitted: DoubleArray


@dataclass(frozen=True, eq=False)
class LineSolver:
    """Rates and fractions by a straight line.

    Attributes
    ----------
    power : (n,) ndarray
        w1^2 in (rad/s)^2.
    hanes_woolf : bool
        Which of the two forms.
    known_noise : bool
        Whether points weigh by their noise, or all the same, as the methods were published.
    """

    power: DoubleArray
    hanes_woolf: bool
    known_noise: bool

    def __call__(self, values: DoubleArray, noise: DoubleArray, r1: DoubleArray) -> Block:
        """Lines through the reciprocals of some voxels."""
        m = len(values)
        logs, covariance = np.full((m, 2), np.nan), np.full((m, 3), np.nan)
        squares, least = np.full(m, np.nan), np.full(m, np.nan)
        flags = np.zeros(m, np.uint16)
        # A transfer that is not positive has no reciprocal: noise hides it.
        positive = (values > 0).all(axis=1)
        flags[~positive] |= np.uint16(Flag.BELOW_NOISE)
        scale = float(np.sqrt(self.power.min() * self.power.max()))
        x, factor = (
            (self.power / scale, self.power / scale) if self.hanes_woolf else (scale / self.power, 1.0)
        )
        spread = noise if len(noise) == 1 else noise[positive]
        line, weighted_squares = fit_lines(x, factor, values[positive], spread, weighted=self.known_noise)
        first, second = (line.slope, line.intercept) if self.hanes_woolf else (line.intercept, line.slope)
        order = [1, 0, 2] if self.hanes_woolf else [0, 1, 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            a, b = np.where(first > 0, first, np.nan), np.where(second > 0, second, np.nan)
            relative = line.covariance[:, order] / np.stack([a * a, b * b, a * b], axis=1)
            logs[positive, 0] = 0.5 * (np.log(b * scale) - np.log(a))
            logs[positive, 1] = np.log(r1[positive] / a)
            covariance[positive, 0] = 0.25 * (relative[:, 0] + relative[:, 1] - 2.0 * relative[:, 2])
            covariance[positive, 1] = relative[:, 0]
            covariance[positive, 2] = 0.5 * (relative[:, 0] - relative[:, 2])
            residual = (factor / line.fitted - values[positive]) / spread
        squares[positive] = (residual**2).sum(axis=1)
        least[positive] = weighted_squares
        flags[positive] |= _meaning(first, second, line.covariance[:, order])
        by_r1 = np.broadcast_to([0.0, 1.0], (m, 2))
        return Block(logs, covariance, by_r1, squares, least, np.zeros(m, np.int32), flags)


def _meaning(first: DoubleArray, second: DoubleArray, covariance: DoubleArray) -> npt.NDArray[np.uint16]:
    """A line that no pool gives; undetermined rather than impossible where the error reaches zero."""
    flags = np.zeros(first.size, np.uint16)
    for value, variance in ((first, covariance[:, 0]), (second, covariance[:, 1])):
        impossible = ~(value > 0)
        flags[impossible] |= np.uint16(Flag.OUTSIDE_RANGE)
        flags[impossible & (np.abs(value) <= 2.0 * np.sqrt(variance))] |= np.uint16(Flag.ILL_CONDITIONED)
    return flags


def fit_lines(
    x: DoubleArray,
    factor: DoubleArray | float,
    values: DoubleArray,
    noise: DoubleArray,
    *,
    weighted: bool,
) -> tuple[Lines, DoubleArray]:
    """Lines of factor/value over x.

    Parameters
    ----------
    x : (n,) ndarray
    factor : (n,) ndarray or float
    values : (m, n) ndarray
        Positive.
    noise : (m, n) or (1, n) ndarray
        Standard deviation of the values; where points do not weigh by it, only its course: its size then
        comes from the residuals.
    weighted : bool
        Weigh by the noise of the reciprocals; else all points are alike.

    Returns
    -------
    Lines
        The covariance is that which the noise of the values gives the line in either case.
    (m,) ndarray
        Weighted squares of the residuals of the weighted line.
    """
    reciprocal = factor / values
    variance = np.asarray((noise / values * reciprocal) ** 2)
    best = _line(x, reciprocal, 1.0 / variance, variance)
    for _ in range(REWEIGHTINGS):
        # The variance of a reciprocal goes with its fourth power; only a positive line has that.
        usable = (best.fitted > 0).all(axis=1, keepdims=True)
        expected = (noise / factor) ** 2 * best.fitted**4
        variance = np.where(usable, expected, variance)
        best = _line(x, reciprocal, 1.0 / variance, variance)
    squares = ((reciprocal - best.fitted) ** 2 / variance).sum(axis=1)
    if weighted:
        return best, squares
    line = _line(x, reciprocal, np.ones_like(variance), variance)
    freedom = x.size - 2
    scale = squares / freedom / shortfall(freedom) ** 2 if freedom else np.full(squares.shape, np.nan)
    covariance = line.covariance * scale[:, np.newaxis]
    return Lines(line.intercept, line.slope, covariance, line.fitted), squares


def _line(x: DoubleArray, y: DoubleArray, weights: DoubleArray, variance: DoubleArray) -> Lines:
    """Weighted lines, and their covariance for independent errors of the given variances."""
    total = weights.sum(axis=1, keepdims=True)
    centred = x - (weights * x).sum(axis=1, keepdims=True) / total
    spread = (weights * centred**2).sum(axis=1, keepdims=True)
    of_slope = weights * centred / spread
    of_intercept = weights / total - (x - centred) * of_slope
    slope, intercept = (of_slope * y).sum(axis=1), (of_intercept * y).sum(axis=1)
    covariance = np.stack(
        [
            (of_intercept**2 * variance).sum(axis=1),
            (of_slope**2 * variance).sum(axis=1),
            (of_intercept * of_slope * variance).sum(axis=1),
        ],
        axis=1,
    )
    return Lines(intercept, slope, covariance, intercept[:, np.newaxis] + slope[:, np.newaxis] * x)
