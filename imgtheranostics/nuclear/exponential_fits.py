"""Exponentials fitted to curves in blocks, and what half-lives and time-integrated activity follow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, shortfall
from imgtheranostics.kernels.threads import run_chunks
from imgtheranostics.mapping.voxel_blocks import Curves
from imgtheranostics.nuclear.exponential_models import (
    Model,
    Setting,
    corrected_criterion,
    names_of,
    setting_of,
)
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]
FlagArray = npt.NDArray[np.uint16]
IndexArray = npt.NDArray[np.int64]

BLOCK_BYTES = 1 << 20
"""Size of one block of curves in float64, of which each thread has one."""

MOST_ITERATIONS = 60
TOLERANCE = 1e-8

_AT_PHYSICS = 1e-9
"""Relative distance from the physical decay within which a rate is that."""


@dataclass(frozen=True, eq=False)
class Task:
    """What all curves have in common.

    Attributes
    ----------
    time_s : (n,) ndarray
    weights : (n,) ndarray
        Zero leaves a sample out.
    known : bool
        Whether weights are inverse variances.
    decay_per_s : float
        Of the nuclide.
    decay_corrected : bool
    models : tuple of Model
    """

    time_s: FloatArray
    weights: FloatArray
    known: bool
    decay_per_s: float
    decay_corrected: bool
    models: tuple[Model, ...]

    @property
    def n_used(self) -> int:
        """Samples of some weight."""
        return int(np.count_nonzero(self.weights))

    @property
    def last_s(self) -> float:
        """Time of the last sample of some weight."""
        return float(self.time_s[self.weights > 0][-1])


@dataclass(frozen=True, eq=False)
class Block:
    """Results of some curves: parameters and errors (m, K), and one value per curve."""

    values: FloatArray
    errors: FloatArray
    squares: FloatArray
    criterion: FloatArray
    terms: FloatArray
    iterations: npt.NDArray[np.int32]
    flags: FlagArray


def fit_block(rows: FloatArray, task: Task, settings: tuple[Setting, ...]) -> Block:
    """The best of the models for each of some finite curves (m, n)."""
    most = max(model.n_exponentials for model in task.models)
    best: Block | None = None
    for model, setting in zip(task.models, settings, strict=True):
        found = _one_model(rows, task, model, setting, most)
        if best is None:
            best = found
            continue
        better = found.criterion < best.criterion
        for name in ("values", "errors", "squares", "criterion", "terms", "flags"):
            getattr(best, name)[better] = getattr(found, name)[better]
        best.iterations[:] = best.iterations + found.iterations
    if best is None:
        raise ValueError("there is no model to fit")
    return best


def _one_model(rows: FloatArray, task: Task, model: Model, setting: Setting, most: int) -> Block:
    from imgtheranostics.kernels import exponential_fit as kernels
    from imgtheranostics.kernels import exponential_pair_lanes as pairs

    m, n = rows.shape[0], model.n_exponentials
    values, errors = np.empty((2, m, 2 * n + kernels.N_SUMMARIES))
    squares, iterations, state = np.empty((m, 2)), np.empty(m, np.int32), np.empty(m, np.uint8)
    found: tuple[npt.NDArray[Any], ...] = (values, errors, squares, iterations, state)
    last = task.last_s
    extra = task.decay_per_s * last if task.decay_corrected else 0.0
    given = (
        task.time_s / last, np.sqrt(task.weights), setting.lower, setting.upper, extra, task.known,
        setting.table, setting.combinations, setting.inverses, setting.starts,
    )  # fmt: skip
    left: slice | IndexArray = slice(None)
    if n == model.terms == 2 and task.n_used > model.n_parameters:
        pairs.fit_pairs(model.mode, rows, *given, *found)
        left = np.flatnonzero(state == pairs.LEFT)
    if isinstance(left, slice):
        kernels.fit_exponentials(model.mode, rows, *given, MOST_ITERATIONS, TOLERANCE, *found)
    elif left.size:
        own = tuple(np.empty_like(array[left]) for array in found)
        kernels.fit_exponentials(model.mode, rows[left], *given, MOST_ITERATIONS, TOLERANCE, *own)
        for array, part in zip(found, own, strict=True):
            array[left] = part
    for array in (values, errors):
        array[:, n : 2 * n + 1] /= last
        array[:, 2 * n + 1] *= last
        array[:, 2 * n + 3] *= last
    if not task.known:
        errors /= shortfall(task.n_used - model.n_parameters)
    samples = np.square(rows) @ task.weights
    criterion = corrected_criterion(squares[:, 0], samples, task.n_used, model.n_parameters, known=task.known)
    flags = _flags(state)
    failed = (state & kernels.NO_ACTIVITY) != 0
    criterion[failed] = np.inf
    return Block(
        _spread(values, n, most),
        _spread(errors, n, most),
        squares,
        criterion,
        np.where(failed, np.nan, float(model.terms)),
        iterations,
        flags,
    )


def _spread(found: FloatArray, n: int, most: int) -> FloatArray:
    """Columns of `n` exponentials in those of `most`: NaN where a model has none."""
    if n == most:
        return found
    out = np.full((found.shape[0], found.shape[1] + 2 * (most - n)), np.nan)
    out[:, :n] = found[:, :n]
    out[:, most : most + n] = found[:, n : 2 * n]
    out[:, 2 * most :] = found[:, 2 * n :]
    return out


def _flags(state: npt.NDArray[np.uint8]) -> FlagArray:
    from imgtheranostics.kernels import exponential_fit as kernels

    flags = np.zeros(state.size, np.uint16)
    flags[(state & kernels.CONVERGED) == 0] |= Flag.NOT_CONVERGED.value
    flags[(state & kernels.UNDETERMINED) != 0] |= Flag.ILL_CONDITIONED.value
    flags[(state & kernels.AT_BOUND) != 0] |= Flag.AT_BOUND.value
    flags[(state & kernels.NO_ACTIVITY) != 0] |= Flag.BELOW_NOISE.value
    flags[(state & kernels.NEGATIVE) != 0] |= Flag.NEGATIVE_AMPLITUDE.value
    return flags


def fit_curves(curves: Curves, task: Task, administered: float, unit: str, workers: int | None) -> Fit:
    """All chosen curves; see `imgtheranostics.nuclear.curves.fit_exponential`."""
    from imgtheranostics.kernels.curve_rows import gather_rows
    from imgtheranostics.kernels.lanes import read_only

    planes = curves.planes
    samples = read_only(planes.samples)
    n, n_voxels = samples.shape
    most = max(model.n_exponentials for model in task.models)
    names = (*names_of(most), "effective_half_life_s", "biological_half_life_s", "terms", "aicc")
    root, slowest = np.sqrt(task.weights), 0.0 if task.decay_corrected else task.decay_per_s
    found_settings = [
        setting_of(model, task.time_s / task.last_s, root, slowest * task.last_s) for model in task.models
    ]
    settings = tuple(setting for setting in found_settings if setting is not None)
    if not settings:
        raise ValueError("the times are too close together to tell the exponentials apart")
    kept = zip(task.models, found_settings, strict=True)
    task = replace(task, models=tuple(model for model, setting in kept if setting is not None))
    values = np.full((len(names), n_voxels), np.nan, samples.dtype)
    errors = values.copy()
    r_squared, rmse = curves.empty_map(), curves.empty_map()
    iterations, flags = np.zeros(n_voxels, np.int32), curves.flags()
    index = np.flatnonzero(curves.chosen)

    def work(first: int, last: int) -> None:
        here = index[first:last]
        place = slice(here[0], here[-1] + 1) if here[-1] - here[0] == here.size - 1 else here
        rows, finite = np.empty((here.size, n)), np.empty(here.size, np.bool_)
        gather_rows(samples, here, rows, finite)
        found = fit_block(rows, task, settings)
        own, deviations = _reported(found, task, most, administered)
        own[:, ~finite] = np.nan
        deviations[:, ~finite] = np.nan
        found.flags[~finite] = Flag.INVALID_INPUT.value
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values[:, place], errors[:, place] = own, deviations
            fitted = finite & np.isfinite(found.values[:, 2 * most])
            goodness = 1.0 - found.squares[:, 0] / found.squares[:, 1]
            weight = float(task.weights.sum())
            r_squared[place] = np.where(fitted & (found.squares[:, 1] > 0), goodness, np.nan)
            rmse[place] = np.where(fitted, np.sqrt(found.squares[:, 0] / weight), np.nan)
        iterations[place] = found.iterations
        flags[place] |= found.flags

    run_chunks(work, index.size, max(64, BLOCK_BYTES // (8 * n)), workers)
    return Fit(
        {name: planes.restored(row) for name, row in zip(names, values, strict=True)},
        {name: planes.restored(row) for name, row in zip(names, errors, strict=True)},
        planes.restored(r_squared),
        planes.restored(rmse),
        planes.restored(iterations),
        planes.restored(flags),
        {name: _unit(name, unit, administered) for name in names},
    )


def _reported(found: Block, task: Task, most: int, administered: float) -> tuple[FloatArray, FloatArray]:
    """Rows of parameters and errors: rates as effective ones, half-lives, and the share of what was given."""
    values, errors = found.values.T, found.errors.T
    own, deviations = np.full((2, values.shape[0] + 4, values.shape[1]), np.nan)
    own[:-4], deviations[:-4] = values, errors
    rate, error = values[2 * most], errors[2 * most]
    extra = task.decay_per_s if task.decay_corrected else 0.0
    effective = rate + extra
    own[most : 2 * most + 1] += extra
    area = 2 * most + 1
    own[area] /= administered
    deviations[area] /= administered
    biological = effective - task.decay_per_s
    biological[biological <= _AT_PHYSICS * task.decay_per_s] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        own[-4], deviations[-4] = math.log(2.0) / effective, math.log(2.0) * error / effective**2
        own[-3], deviations[-3] = math.log(2.0) / biological, math.log(2.0) * error / biological**2
    deviations[-3, ~np.isfinite(own[-3])] = np.nan
    own[-2], own[-1] = found.terms, np.where(np.isfinite(found.criterion), found.criterion, np.nan)
    return own, deviations


def _unit(name: str, unit: str, administered: float) -> str:
    """UCUM code of a parameter of activity in `unit`."""
    if name.endswith("_per_s"):
        return "1/s"
    if name == "tiac_s" and unit != "1":
        return f"{unit}.s"
    if name.endswith("_s"):
        return "s"
    return unit if name.startswith("amplitude") else "1"
