"""Fits of a block of curves with a tracer model, or without its exchange where the curves do not show any."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.mri.dce_models import Inflow, Model, Parameter, Search

FloatArray = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

CHANCE = 1e-3
"""Chance that noise alone passes as enhancement, or as exchange (F tests)."""

LEAST_SHARE = 1e-3
"""Part of a curve (root mean square) that straight lines between plasma samples 0.5 s apart leave out."""

CLEARLY_KNOWN = 5.0
"""Standard errors that all parameters lie above zero where no test is needed."""


TINY = 1e-300

OFF_GRID = 0.0316
"""Sine of the angle of a convolution with a rate between two of the table to the plane of those two."""


@dataclass(frozen=True, eq=False)
class Block:
    """What the kernel found for a block of curves, in its own units.

    Attributes
    ----------
    values, variances : (m, p) ndarray
    covariances : (m,) ndarray
        Of the first two parameters.
    squares : (m, 2) ndarray
        Sums of squares of the residual, and of the curve less its mean.
    iterations, state : (m,) ndarray
    """

    values: FloatArray
    variances: FloatArray
    covariances: FloatArray
    squares: FloatArray
    iterations: npt.NDArray[np.int32]
    state: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Task:
    """A model, its parameters with the delay if there is one, and where its fits begin."""

    model: Model
    parameters: tuple[Parameter, ...]
    places: Search
    delayed: bool

    def row(self, name: str) -> int:
        """Place of a parameter in the kernel's order."""
        return [parameter.name for parameter in self.parameters].index(name)

    @property
    def lower(self) -> FloatArray:
        """Lower bounds in the kernel's units."""
        return np.array([parameter.lower / parameter.factor for parameter in self.parameters])

    @property
    def upper(self) -> FloatArray:
        """Upper bounds in the kernel's units."""
        return np.array([parameter.upper / parameter.factor for parameter in self.parameters])


@dataclass(frozen=True, eq=False)
class Setting:
    """What all curves share: times, input function, and limits of the iteration."""

    time: FloatArray
    inflow: Inflow
    max_iterations: int
    tolerance: float
    workers: int | None


def fit_block(task: Task, block: FloatArray, setting: Setting) -> Block:
    """Run the kernel on curves of shape (m, n)."""
    from imgtheranostics.kernels.threads import thread_limit
    from imgtheranostics.kernels.tracer_fit import fit_tracer_models

    m, p = len(block), len(task.parameters)
    scale = np.array([parameter.negligible / parameter.factor for parameter in task.parameters])
    found = Block(
        np.empty((m, p)),
        np.empty((m, p)),
        np.empty(m),
        np.empty((m, 2)),
        np.empty(m, np.int32),
        np.empty(m, np.uint8),
    )
    with thread_limit(setting.workers):
        fit_tracer_models(
            task.model.code,
            block,
            setting.time,
            setting.inflow.time_s,
            setting.inflow.plasma,
            task.delayed,
            setting.inflow.shared,
            task.lower,
            task.upper,
            scale,
            task.places.table,
            task.places.gram,
            task.places.pairs,
            task.places.rates,
            task.places.delays,
            setting.max_iterations,
            setting.tolerance,
            found.values,
            found.variances,
            found.covariances,
            found.squares,
            found.iterations,
            found.state,
        )
    return found


def without_exchange(full: Task, sealed: Task, block: FloatArray, found: Block, setting: Setting) -> Block:
    """The same fits, with those of the sealed model where an exchange explains no more of a curve.

    The exchange and its volume are two parameters that say nothing there: any volume fits without exchange,
    and one that is as good as one with plasma may stand for it. The gain of the full model must pass an F
    test, and be more than what straight lines between the plasma's samples leave out.
    """
    from imgtheranostics.kernels.tracer_fit import CONVERGED

    n, p = block.shape[1], len(full.parameters)
    if n <= p:
        return found
    all_squares = np.einsum("ij,ij->i", block, block)
    spread = found.squares[:, 0] / (n - p)
    floor = LEAST_SHARE**2 * all_squares
    enough = np.maximum(least_ratio(2, n - p) * 2 * spread, floor)
    asked = np.flatnonzero(~_clearly_exchanging(full, found) | (CLEARLY_KNOWN**2 * spread < 2.0 * floor))
    if not sealed.delayed:
        with np.errstate(invalid="ignore", over="ignore"):
            least = left_at_least(sealed, block[asked], all_squares[asked])
            asked = asked[~(least - found.squares[asked, 0] > enough[asked])]
    if asked.size == 0:
        return found
    other = fit_block(sealed, block[asked], setting)
    found.iterations[asked] += other.iterations
    with np.errstate(invalid="ignore", over="ignore"):
        gain = other.squares[:, 0] - found.squares[asked, 0]
        taken = ((other.state & CONVERGED) != 0) & (gain <= enough[asked])
    return _replaced(full, sealed, found, asked[taken], _of_rows(other, taken), n)


def least_ratio(first: int, second: int) -> float:
    """Ratio of variances that noise exceeds with `CHANCE` at these degrees of freedom."""
    from scipy.special import fdtri

    return float(fdtri(first, second, 1.0 - CHANCE))


def not_enhancing(block: FloatArray, squares: FloatArray, p: int) -> Booleans:
    """Curves that the model explains no better than noise would be: F test against a curve of zeros."""
    n = block.shape[1]
    all_squares = np.einsum("ij,ij->i", block, block)
    explained = all_squares - squares
    if n == p:
        return np.asarray(explained <= 0.0)
    least = least_ratio(p, n - p)
    return np.asarray(~(explained * (n - p) > least * p * squares) | (explained <= 0.0))


def transfer(found: Block) -> tuple[FloatArray, FloatArray]:
    """Ktrans = Fp PS/(Fp + PS) and its variance, from a block whose first parameters are Fp and PS."""
    flow, exchange = found.values[:, 0], found.values[:, 1]
    by_flow = (exchange / (flow + exchange)) ** 2
    by_exchange = (flow / (flow + exchange)) ** 2
    variance = by_flow**2 * found.variances[:, 0] + by_exchange**2 * found.variances[:, 1]
    variance += 2.0 * by_flow * by_exchange * found.covariances
    return flow * exchange / (flow + exchange), np.maximum(variance, 0.0)


def left_at_least(sealed: Task, block: FloatArray, all_squares: FloatArray) -> FloatArray:
    """How much of the curves' sums of squares one exponential leaves, whatever its rate, or plasma alone.

    A convolution with a rate between two of the table lies almost in the plane of theirs, and is no closer to
    a curve than that plane but for its own distance from it. The plasma's integral and the plasma itself are
    those of the slowest and the fastest rate.
    """
    table = sealed.places.table[0]
    rows = [0] if len(table) == 2 else [1, *range(2, len(table)), 0]
    unit = table[rows] / np.maximum(np.linalg.norm(table[rows], axis=1), TINY)[:, np.newaxis]
    # Not by BLAS, whose threads and sums depend on how many curves there are.
    along = np.einsum("ij,kj->ik", block, unit, optimize=False)
    most = along[:, 0] ** 2
    for row in range(1, len(rows)):
        together = float(unit[row - 1] @ unit[row])
        rest = max(1.0 - together**2, 1e-12)
        beside = (along[:, row] - together * along[:, row - 1]) ** 2 / rest
        most = np.maximum(most, along[:, row - 1] ** 2 + beside)
    tilt = OFF_GRID if len(rows) > 1 else 0.0
    distance = np.sqrt(np.maximum(all_squares - most, 0.0)) - tilt * np.sqrt(all_squares)
    return np.asarray(np.maximum(distance, 0.0) ** 2)


def _of_rows(found: Block, chosen: Booleans) -> Block:
    """Some of the curves."""
    return replace(found, **{name: values[chosen] for name, values in vars(found).items()})


def _clearly_exchanging(full: Task, found: Block) -> Booleans:
    """Curves whose parameters are all far from zero, by their own standard errors, but for the delay.

    All of them, since a compartment may take the place of another that is next to nothing.
    """
    from imgtheranostics.kernels.tracer_fit import CONVERGED

    p = len(full.model.parameters)
    with np.errstate(invalid="ignore", over="ignore"):
        known = found.values[:, :p] > CLEARLY_KNOWN * np.sqrt(found.variances[:, :p])
    return np.asarray(known.all(axis=1) & (found.state == CONVERGED))


def _replaced(
    full: Task, sealed: Task, found: Block, at: npt.NDArray[np.intp], other: Block, n: int
) -> Block:
    """The results of the sealed model in the places of the full one; its exchange is at its lower bound."""
    fixed = int(np.count_nonzero(sealed.lower == sealed.upper))
    freedom = (n - len(sealed.parameters)) / (n - len(sealed.parameters) + fixed)
    found.variances[at] = np.nan
    found.covariances[at] = np.nan
    for name in full.model.volume_of or ():
        found.values[at, full.row(name)] = full.lower[full.row(name)]
    for row, parameter in enumerate(sealed.parameters):
        if sealed.lower[row] < sealed.upper[row]:
            kept = full.row(parameter.name)
            found.values[at, kept] = other.values[:, row]
            found.variances[at, kept] = other.variances[:, row] * freedom
    found.squares[at] = other.squares
    found.state[at] = other.state
    return found
