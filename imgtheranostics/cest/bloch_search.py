"""Bounded Levenberg-Marquardt search over many voxels at once, with few evaluations of a costly model.

A Jacobian by differences costs as many spectra as there are parameters. After a step that went as predicted
it is updated by the step itself (Broyden's rank-one formula); it is worked out anew where a step went
otherwise, and before a voxel may settle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bloch_design import Design
from imgtheranostics.cest.pulse_program import DoubleArray

BoolArray = npt.NDArray[np.bool_]

MAX_ITERATIONS = 60
TOLERANCE = 1e-5
"""Relative change of a parameter at which the search has settled."""

LEAST_GAIN = 1e-8
"""Predicted decrease relative to the sum of squares at which it has settled too."""

EXACT = 1e-9
"""Root mean square of a residual that is rounding."""

FIRST_DAMPING = 1e-3
MOST_DAMPING = 1e12


@dataclass(eq=False)
class Search:
    """State of the search, voxel by voxel.

    Attributes
    ----------
    inner : (v, p) ndarray
        Parameters as the search sees them.
    jacobian : (v, n, p) ndarray
    residual : (v, n) ndarray
        Model less data.
    squares : (v,) ndarray
    settled : (v,) ndarray of bool
    iterations : (v,) ndarray of int
    """

    inner: DoubleArray
    jacobian: DoubleArray
    residual: DoubleArray
    squares: DoubleArray
    settled: BoolArray
    iterations: npt.NDArray[np.int32]


def minimise(
    design: Design, z: DoubleArray, b0_ppm: DoubleArray, relative_b1: DoubleArray, start: DoubleArray
) -> Search:
    """Least-squares parameters of spectra z (v, n), each from its start (v, p)."""
    fitted = design.spectra(start, b0_ppm, relative_b1)
    residual = fitted - z
    search = Search(
        inner=start.copy(),
        jacobian=design.jacobian(start, fitted, b0_ppm, relative_b1),
        residual=residual,
        squares=(residual**2).sum(axis=1),
        settled=np.zeros(len(z), np.bool_),
        iterations=np.zeros(len(z), np.int32),
    )
    damping, fresh = np.full(len(z), FIRST_DAMPING), np.ones(len(z), np.bool_)
    for _ in range(MAX_ITERATIONS):
        active = np.flatnonzero(~search.settled & (damping <= MOST_DAMPING))
        if active.size == 0:
            break
        _advance(design, search, z, b0_ppm, relative_b1, active, damping, fresh)
    return search


def improve(
    design: Design,
    search: Search,
    doubtful: npt.NDArray[np.intp],
    z: DoubleArray,
    b0_ppm: DoubleArray,
    relative_b1: DoubleArray,
) -> None:
    """Search once more for some voxels, from the best of other starts; the better result stays."""
    data, field = z[doubtful], (b0_ppm[doubtful], relative_b1[doubtful])
    start, least = search.inner[doubtful].copy(), np.full(doubtful.size, np.inf)
    for candidate in design.other_starts():
        inner = np.tile(candidate, (doubtful.size, 1))
        squares = ((design.spectra(inner, *field) - data) ** 2).sum(axis=1)
        better = squares < least
        start[better], least[better] = candidate, squares[better]
    other = minimise(design, data, *field, start)
    clearly = other.squares < (1.0 - LEAST_GAIN) * search.squares[doubtful]
    better = other.settled & (clearly | ~search.settled[doubtful])
    taken = doubtful[better]
    search.iterations[doubtful] += other.iterations
    for name in ("inner", "jacobian", "residual", "squares", "settled"):
        getattr(search, name)[taken] = getattr(other, name)[better]


def _advance(
    design: Design,
    search: Search,
    z: DoubleArray,
    b0_ppm: DoubleArray,
    relative_b1: DoubleArray,
    active: npt.NDArray[np.intp],
    damping: DoubleArray,
    fresh: BoolArray,
) -> None:
    """One step of the active voxels."""
    steps, predicted = _steps(design, search, damping, active)
    search.iterations[active] += 1
    stuck = ~np.isfinite(steps).all(axis=1)
    steps[stuck] = 0.0
    inner = search.inner[active]
    trial = np.clip(inner + steps, design.lower, design.upper)
    fitted = design.spectra(trial, b0_ppm[active], relative_b1[active])
    residual = fitted - z[active]
    squares = (residual**2).sum(axis=1)
    decrease = search.squares[active] - squares
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(predicted > 0, decrease / predicted, 0.0)
    better = (decrease > 0) & ~stuck
    was_fresh = fresh[active]
    small = (np.abs(steps) <= TOLERANCE * np.maximum(np.abs(inner), design.scale)).all(axis=1) & ~stuck
    flat = (predicted <= LEAST_GAIN * search.squares[active]) & (damping[active] <= 1.0) & ~stuck
    exact = squares <= z.shape[1] * EXACT**2
    done = (small | flat | (exact & better)) & was_fresh
    taken = active[better]
    _broyden(search.jacobian, active, better, steps, residual - search.residual[active])
    search.inner[taken] = trial[better]
    search.residual[taken] = residual[better]
    search.squares[taken] = squares[better]
    fresh[taken] = False
    search.settled[active] = done
    damping[active] = _damped(damping[active], ratio, better, was_fresh, small | flat)
    poor = better & ((ratio < 0.5) | (ratio > 2.0))
    renew = active[(poor | small | flat | ~better) & ~done & (better | ~was_fresh)]
    if renew.size:
        current = search.residual[renew] + z[renew]
        search.jacobian[renew] = design.jacobian(
            search.inner[renew], current, b0_ppm[renew], relative_b1[renew]
        )
        fresh[renew] = True


def _steps(
    design: Design, search: Search, damping: DoubleArray, active: npt.NDArray[np.intp]
) -> tuple[DoubleArray, DoubleArray]:
    from imgtheranostics.kernels.batched_steps import bounded_steps

    jacobian = search.jacobian[active]
    turned = np.swapaxes(jacobian, 1, 2)
    normal = np.ascontiguousarray(turned @ jacobian)
    gradient = np.ascontiguousarray((turned @ search.residual[active][:, :, np.newaxis])[:, :, 0])
    steps, predicted = np.empty_like(gradient), np.empty(active.size)
    bounds = design.lower, design.upper
    bounded_steps(normal, gradient, search.inner[active], *bounds, damping[active], steps, predicted)
    return steps, predicted


def _damped(
    damping: DoubleArray, ratio: DoubleArray, better: BoolArray, fresh: BoolArray, quiet: BoolArray
) -> DoubleArray:
    """Less damping after a step as good as predicted, more after a poor one with a new Jacobian."""
    changed = np.where(ratio > 0.75, damping * 0.1, np.where(ratio < 0.25, damping * 4.0, damping))
    kept: DoubleArray = np.where(better, changed, np.where(fresh & ~quiet, damping * 8.0, damping))
    return np.maximum(kept, 1e-12)


def _broyden(
    jacobian: DoubleArray,
    active: npt.NDArray[np.intp],
    better: BoolArray,
    steps: DoubleArray,
    change: DoubleArray,
) -> None:
    """Bring the Jacobians of steps that were taken into line with what the steps did."""
    taken = active[better]
    if taken.size == 0:
        return
    before, step = jacobian[taken], steps[better]
    weighted = step * (before**2).sum(axis=1)
    length = (step * weighted).sum(axis=1)
    missed = change[better] - (before @ step[:, :, np.newaxis])[:, :, 0]
    usable = length > 0
    weighted[usable] /= length[usable, np.newaxis]
    weighted[~usable] = 0.0
    jacobian[taken] = before + missed[:, :, np.newaxis] * weighted[:, np.newaxis]
