"""The rate of a pool of known size from how its transfer grows with the duration of saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.exchange_points import Block
from imgtheranostics.fit import shortfall
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]

MOST_STEPS = 60
LONGEST_STEP = 0.5
"""Of the logarithm."""

TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class GrowthSolver:
    """f k alpha by least squares of v/(R1 + v) (1 - exp(-(R1 + v) t)), and k from it.

    k alpha = k w1^2/(w1^2 + k^2) has a maximum of w1/2 at k = w1; the rate is the one below.

    Attributes
    ----------
    fraction : float
    power : float
        w1^2 in (rad/s)^2.
    time : (n,) ndarray
    known_noise : bool
    """

    fraction: float
    power: float
    time: DoubleArray
    known_noise: bool

    def __call__(self, values: DoubleArray, noise: DoubleArray, r1: DoubleArray) -> Block:
        """Rates of some voxels."""
        logs, squares, steps, settled = self._grown(values, noise, r1)
        _, slope, by_r1 = self._model(np.exp(logs), r1)
        with np.errstate(divide="ignore", invalid="ignore"):
            normal = ((slope / noise) ** 2).sum(axis=1)
            freedom = values.shape[1] - 1
            scale = 1.0 if self.known_noise else squares / freedom / shortfall(freedom) ** 2
            met = np.exp(logs) / self.fraction
            root = (self.power / met) ** 2 - 4.0 * self.power
            rate = 0.5 * (self.power / met - np.sqrt(np.where(root > 0, root, np.nan)))
            labelled = self.power / (self.power + rate**2)
            by_met = 1.0 / (2.0 * labelled - 1.0)
            variance = by_met**2 * scale / normal
            moved = -by_met * (slope * by_r1 / noise**2).sum(axis=1) / normal
            ln_rate = np.log(rate)
        flags = np.zeros(len(values), np.uint16)
        flags[~settled] |= np.uint16(Flag.NOT_CONVERGED)
        flags[~(root > 0)] |= np.uint16(Flag.OUTSIDE_RANGE)
        return Block(
            np.stack([ln_rate, ln_rate + np.log(self.fraction)], axis=1),
            np.repeat(variance[:, np.newaxis], 3, axis=1),
            np.repeat(moved[:, np.newaxis], 2, axis=1),
            squares,
            squares,
            steps,
            flags,
        )

    def _model(self, met: DoubleArray, r1: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Transfer and its derivatives by the logarithms of v and of R1, (m, n)."""
        v, r = met[:, np.newaxis], r1[:, np.newaxis]
        total = r + v
        grown, late = -np.expm1(-total * self.time), self.time * np.exp(-total * self.time)
        slope = v * (r * grown / total**2 + v * late / total)
        return v / total * grown, slope, r * v * (late - grown / total) / total

    def _grown(
        self, values: DoubleArray, noise: DoubleArray, r1: DoubleArray
    ) -> tuple[DoubleArray, DoubleArray, npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Damped Gauss-Newton steps of ln v: value, weighted squares, steps, whether settled."""
        weight = 1.0 / noise
        early = -np.expm1(-r1[:, np.newaxis] * self.time) / r1[:, np.newaxis]
        start = (values * early).sum(axis=1) / (early**2).sum(axis=1)
        logs = np.log(np.clip(start, 1e-7, 1e4))
        steps, settled = np.zeros(len(values), np.int32), np.zeros(len(values), np.bool_)

        def squares_at(place: DoubleArray) -> DoubleArray:
            return np.asarray((((self._model(np.exp(place), r1)[0] - values) * weight) ** 2).sum(axis=1))

        squares = squares_at(logs)
        reach = np.full(len(values), LONGEST_STEP)
        for _ in range(MOST_STEPS):
            value, slope, _ = self._model(np.exp(logs), r1)
            downhill = (slope * (values - value) * weight**2).sum(axis=1)
            normal = ((slope * weight) ** 2).sum(axis=1)
            step = np.clip(downhill / np.maximum(normal, 1e-300), -reach, reach)
            trial = np.clip(logs + step, np.log(1e-8), np.log(1e5))
            found = squares_at(trial)
            better = (found <= squares) & ~settled
            steps += ~settled
            settled |= np.abs(trial - logs) <= TOLERANCE * (1.0 + np.abs(logs))
            logs, squares = np.where(better, trial, logs), np.where(better, found, squares)
            reach = np.where(better, LONGEST_STEP, 0.25 * np.abs(step))
            if settled.all():
                break
        return logs, squares, steps, settled
