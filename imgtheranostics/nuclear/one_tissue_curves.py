"""One tissue compartment at a known delay by basis functions, which serves the many voxels of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.nuclear.kinetic_inputs import Frames, InputCurve

FloatArray = npt.NDArray[np.float64]

N_BASES = 200
SLOWEST = 0.02
"""Lowest rate of the table, as a share of one over the duration of the scan; below it, zero is tried."""


@dataclass(frozen=True, eq=False)
class OneTissueBases:
    """Averages over frames, times the root of the weights, of the blood and of the plasma's convolutions.

    Attributes
    ----------
    blood, root : (n,) ndarray
    table, slopes : (N_BASES, n) ndarray
        Convolutions with exp(-k2 t), and their derivatives along log(k2).
    gram : (N_BASES, 2) ndarray
        Products of the table with the blood and with itself.
    at_rest : (2, n) ndarray
        Convolution and moment at k2 = 0.
    first, step : float
        Logarithm of the lowest rate in 1/s, and its steps.
    """

    blood: FloatArray
    root: FloatArray
    table: FloatArray
    slopes: FloatArray
    gram: FloatArray
    at_rest: FloatArray
    first: float
    step: float

    @classmethod
    def of(
        cls,
        frames: Frames,
        root: FloatArray,
        inflow: InputCurve,
        blood: InputCurve,
        delay_s: float,
        fastest_per_s: float,
    ) -> Self:
        """Bases up to a fastest rate."""
        from imgtheranostics.kernels.frame_convolution import frame_averages

        out, workspace = np.empty((4, len(frames))), (np.empty((3, 6)), np.empty(9), np.empty(9))

        def averages(curve: InputCurve, rate: float) -> FloatArray:
            frame_averages(
                frames.start_s, frames.end_s, curve.time_s, curve.values, rate, delay_s, *workspace, out
            )
            return np.asarray(out * root)

        duration = float(frames.end_s[-1] - frames.start_s[0])
        logs = np.linspace(np.log(SLOWEST / duration), np.log(fastest_per_s), N_BASES)
        made = [averages(inflow, rate) for rate in np.exp(logs).tolist()]
        table = np.array([one[2] for one in made])
        slopes = np.array([-rate * one[3] for rate, one in zip(np.exp(logs).tolist(), made, strict=True)])
        whole = averages(blood, 0.0)[0].copy()
        gram = np.stack([table @ whole, (table * table).sum(axis=1)], axis=1)
        still = averages(inflow, 0.0)[2:].copy()
        return cls(whole, root, table, slopes, gram, still, float(logs[0]), float(logs[1] - logs[0]))

    def fit(
        self, block: FloatArray, lower: FloatArray, upper: FloatArray, freedom: int, found: tuple[Any, ...]
    ) -> npt.NDArray[np.intp]:
        """Fit the curves of a block into arrays of `fit_compartments`; those that are left to it."""
        from imgtheranostics.kernels.one_tissue_bases import LEFT, fit_one_tissue

        fit_one_tissue(
            block,
            self.blood,
            self.root,
            self.table,
            self.slopes,
            self.gram,
            self.at_rest,
            self.first,
            self.step,
            lower,
            upper,
            freedom,
            *found,
        )
        return np.flatnonzero(found[-1] == LEFT)
