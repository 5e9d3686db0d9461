"""Fits of pools to some Z-spectra by the kernel: what goes in, what comes back, the better of two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_design import Design

FloatArray = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

BETTER = 1e-9
"""Relative decrease of the sum of squares below which two fits are the same."""


@lru_cache(maxsize=1)
def line_table() -> FloatArray:
    """What the kernels know of super-Lorentzians."""
    from imgtheranostics.kernels.pool_lines import super_lorentzian_table

    return super_lorentzian_table()


@dataclass(frozen=True, eq=False)
class Setting:
    """What all spectra share.

    Attributes
    ----------
    ppm : (n,) ndarray
        Ascending.
    order : (n,) ndarray of int
        Samples of the caller in that order.
    starts : (s, 3 k + 1) ndarray
        The set's own, and others within its bounds.
    """

    design: Design
    ppm: FloatArray
    order: npt.NDArray[np.int64]
    starts: FloatArray
    max_iterations: int
    tolerance: float
    workers: int | None


@dataclass(frozen=True, eq=False)
class Block:
    """What the kernel found for some spectra."""

    values: FloatArray
    variances: FloatArray
    sums: FloatArray
    conditions: FloatArray
    start_of: npt.NDArray[np.int64]
    iterations: npt.NDArray[np.int32]
    state: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, m: int, p: int) -> Block:
        """Room for m spectra with p parameters."""
        return cls(
            np.empty((m, p)),
            np.empty((m, p)),
            np.empty((m, 3)),
            np.empty(m),
            np.zeros(m, np.int64),
            np.zeros(m, np.int32),
            np.zeros(m, np.uint8),
        )

    def take(self, other: Block, rows: Indices, chosen: npt.NDArray[np.bool_]) -> None:
        """Put chosen spectra of a second fit of some rows in place of the first."""
        for name in ("values", "variances", "sums", "conditions", "state"):
            getattr(self, name)[rows[chosen]] = getattr(other, name)[chosen]
        self.iterations[rows] += other.iterations


def run_kernel(
    setting: Setting,
    curves: FloatArray,
    *,
    near: tuple[FloatArray, Indices] | None = None,
    avoided: Indices | None = None,
    goals: FloatArray | None = None,
) -> Block:
    """Fit curves (m, n); those that do not reach their goal do not settle.

    Each begins at the best of the setting's starts but the row `avoided`, or, with `near`, at the row of a
    table that is given for it.
    """
    from imgtheranostics.kernels.pool_fit import CHUNK, fit_pools
    from imgtheranostics.kernels.threads import run_chunks

    design, m = setting.design, len(curves)
    found = Block.empty(m, design.start.size)
    starts = setting.starts if near is None else near[0]
    if near is not None:
        found.start_of[:] = 2 * near[1]
    arguments = (
        curves,
        np.full(m, np.inf) if goals is None else goals,
        setting.ppm,
        design.active,
        design.row_of,
        design.shapes,
        design.water,
        design.shared,
        design.half_plateau_ppm,
        line_table(),
        design.damping_weights,
        np.ascontiguousarray(np.clip(starts, design.lower, design.upper)),
        near is None,
        np.full(m, -1) if avoided is None else avoided,
        found.start_of,
        design.lower,
        design.upper,
        setting.max_iterations,
        setting.tolerance,
        found.values,
        found.variances,
        found.sums,
        found.conditions,
        found.iterations,
        found.state,
    )
    run_chunks(lambda first, last: fit_pools(first, last, *arguments), m, CHUNK, setting.workers)
    return found


def once_more(
    setting: Setting,
    curves: FloatArray,
    found: Block,
    rows: Indices,
    *,
    near: tuple[FloatArray, Indices] | None = None,
    avoided: Indices | None = None,
    margin: float = 1.0,
) -> Indices:
    """Fit some of the curves from another start, keep what is better; the rows of the starts taken.

    A fit ends early where it seems to stay above `margin` times the sum of squares of the first.
    """
    from imgtheranostics.kernels.pool_fit import CONVERGED

    goals = np.where((found.state[rows] & CONVERGED) > 0, margin * found.sums[rows, 0], np.inf)
    other = run_kernel(setting, np.ascontiguousarray(curves[rows]), near=near, avoided=avoided, goals=goals)
    found.take(other, rows, better(other, found, rows))
    return other.start_of // 2


def better(second: Block, found: Block, rows: Indices) -> npt.NDArray[np.bool_]:
    """Which of the second fits settled at a smaller sum of squares."""
    from imgtheranostics.kernels.pool_fit import CONVERGED

    settled, before = (second.state & CONVERGED) > 0, (found.state[rows] & CONVERGED) > 0
    lower = second.sums[:, 0] < found.sums[rows, 0] * (1.0 - BETTER)
    return np.asarray(settled & (lower | ~before))
