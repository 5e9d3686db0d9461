"""Compartment models of tracer kinetics, fitted to time-activity curves and the frames they were taken in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, PlanarSignal, planar, shortfall
from imgtheranostics.nuclear.kinetic_inputs import (
    Frames,
    InputCurve,
    checked_frames,
    checked_input,
    root_weights,
)
from imgtheranostics.nuclear.noise_test import no_better_than_zero
from imgtheranostics.nuclear.one_tissue_curves import OneTissueBases
from imgtheranostics.volume import Flag

__all__ = ["fit"]

FloatArray = npt.NDArray[np.float64]

MODELS = {
    "one_tissue": (0, ("K1", "k2")),
    "two_tissue_irreversible": (1, ("K1", "k2", "k3")),
    "two_tissue": (2, ("K1", "k2", "k3", "k4")),
}
"""Code in `imgtheranostics.kernels.compartment_models`, and rates, of each model."""

DERIVED = {
    "one_tissue": ("VT",),
    "two_tissue_irreversible": ("Ki",),
    "two_tissue": ("VT", "Ki"),
}
"""What follows from the rates of each model."""

UNITS = {
    "K1": "mL/cm3/min",
    "k2": "1/min",
    "k3": "1/min",
    "k4": "1/min",
    "vB": "1",
    "delay_s": "s",
    "VT": "mL/cm3",
    "Ki": "mL/cm3/min",
}

_UPPER_PER_MIN = {"K1": 10.0, "k2": 10.0, "k3": 5.0, "k4": 2.0}
_NEGLIGIBLE_PER_MIN = 1e-6
_NEGLIGIBLE_FRACTION = 1e-5
_NEGLIGIBLE_DELAY_S = 1e-3
_FRACTIONS = (0.0, 0.03, 0.08, 0.2, 0.5)
_N_RATES = 18
_DELAY_STEP_S = 5.0
_MOST_DELAYS = 25
_BLOCK_BYTES = 3 << 20
_LARGEST = 1e150


def fit(
    model: str,
    tissue: npt.ArrayLike,
    *,
    frame_start_s: npt.ArrayLike,
    frame_end_s: npt.ArrayLike,
    input_time_s: npt.ArrayLike,
    plasma: npt.ArrayLike,
    whole_blood: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    blood_fraction: float | None = None,
    delay_s: float | None = None,
    delay_bounds_s: tuple[float, float] = (-20.0, 60.0),
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-7,
    check_time: bool = True,
) -> Fit:
    """Rates of a compartment model from time-activity curves and an arterial input function.

    The model is (1 - vB) C_T + vB C_b, averaged over each frame: input curves are straight lines between
    their samples, for which convolution and average are exact. For each of a few blood fractions the best
    of a table of rates and delays, with its linear weights, starts a bounded Levenberg-Marquardt fit; the
    least of their minima counts.

    Parameters
    ----------
    model : {"one_tissue", "two_tissue", "two_tissue_irreversible"}
        K1, k2; and k3, k4; or k4 = 0.
    tissue : (..., n) array_like
        Activity concentration averaged over each frame, decay corrected; NaN allowed.
    frame_start_s, frame_end_s : (n,) array_like
        Of the frames, in s since the injection; one without length is taken as an instant.
    input_time_s : (k,) array_like
        Times of the blood samples in s since the injection. The last one must not be before the last frame
        starts; the curve stays as it is from there, and is zero before the first one.
    plasma : (k,) array_like
        Metabolite-corrected plasma in the unit of `tissue`, decay corrected to the same moment: with another
        reference all rates are wrong.
    whole_blood : (k,) array_like, optional
        What fills the blood vessels, at the same times; `plasma` stands in for it.
    weights : (n,) array_like, optional
        Relative weights of the squares, one over the variance; a frame of weight 0 is left out.
    blood_fraction : float, optional
        vB where it is known; fitted by default.
    delay_s : float, optional
        By how much the tissue lags behind the blood samples, where it is known; fitted by default, within
        `delay_bounds_s`, at most half of the scan. Frames longer than about a minute hardly tell a delay.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the result does not depend on it.
    max_iterations, tolerance : int, float
        Most steps, and the relative change of every parameter below which the fit is settled.
    check_time : bool
        Whether times that look like minutes are refused.

    Returns
    -------
    Fit
        ``K1`` in mL/cm3/min, ``k2``, ``k3``, ``k4`` in 1/min, ``vB``, ``delay_s``; ``VT`` in mL/cm3 of the
        reversible models, ``Ki`` = K1 k3/(k2 + k3) in mL/cm3/min of those with k3. Standard errors of VT and
        Ki are from the covariance. Flags: INVALID_INPUT for a frame that is not finite, NOT_CONVERGED (all
        NaN); AT_BOUND where a value is kept without a standard error, the others take it as known;
        ILL_CONDITIONED where the curve does not determine the rates (values without standard errors).
        What was given has no standard error either. NOT_ENHANCING: K1 is 0 (below 1e-6 per min), and the
        rates are NaN. BELOW_NOISE: a curve of zero explains it as well (F test at 1 %), so that values that
        are kept are those of noise.

    Raises
    ------
    ValueError
        For an unknown model, fewer frames than parameters, or lengths and times that do not fit.
    ImplausibleValue
        If the blood does not cover the scan, a curve is negative, a fraction is none, or times look like
        minutes.

    References
    ----------
    .. [1] Gunn RN, Gunn SR, Cunningham VJ. J Cereb Blood Flow Metab 2001, 21:635.
           doi:10.1097/00004647-200106000-00002
    """
    if model not in MODELS:
        raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")
    frames = checked_frames(frame_start_s, frame_end_s, check_time=check_time)
    last = float(frames.start_s[-1])
    inflow = checked_input(input_time_s, plasma, until_s=last)
    blood = inflow if whole_blood is None else checked_input(
        input_time_s, whole_blood, until_s=last, name="whole_blood"
    )  # fmt: skip
    fraction = _known_fraction(blood_fraction)
    bounds = _bounds(model, fraction, delay_s, delay_bounds_s, frames)
    root, used = root_weights(weights, len(frames))
    free = int(np.count_nonzero(bounds.lower < bounds.upper))
    if used < free:
        raise ValueError(
            f"{model} has {free} parameters to fit and needs at least {free} frames, found {used}"
        )
    curves = planar(tissue, len(frames), "tissue", contiguous=False)
    task = _prepared(model, frames, root, inflow, blood, bounds, fraction, used - free)
    result = _Result(curves, task, max_iterations, tolerance, workers)
    within = curves.chosen(mask)
    result.flags[~within] = Flag.MASKED_OUT
    todo = np.flatnonzero(within)
    per_block = max(64, _BLOCK_BYTES // (8 * len(frames)))
    for first in range(0, todo.size, per_block):
        result.add(todo[first : first + per_block])
    return result.fit()


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Bounds in the kernel's units (s); equal where a parameter is known."""

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    scale: FloatArray
    factor: FloatArray


def _known_fraction(blood_fraction: float | None) -> float | None:
    if blood_fraction is None:
        return None
    if not 0.0 <= blood_fraction < 1.0:
        raise ImplausibleValue(
            "the blood fraction is outside its range",
            where="blood_fraction",
            found=f"{blood_fraction:g}" + (" (percent?)" if blood_fraction >= 1.0 else ""),
            needed="a fraction from 0 to below 1, in the brain about 0.05",
        )
    return float(blood_fraction)


def _bounds(
    model: str,
    fraction: float | None,
    delay_s: float | None,
    delay_bounds_s: tuple[float, float],
    frames: Frames,
) -> _Bounds:
    rates = MODELS[model][1]
    half = 0.5 * float(frames.end_s[-1] - frames.start_s[0])
    if delay_s is None:
        low, high = max(float(delay_bounds_s[0]), -half), min(float(delay_bounds_s[1]), half)
        if not low < high:
            raise ValueError(f"delay_bounds_s must be (earliest, latest) within half of the scan, {half:g} s")
    else:
        low = high = float(delay_s)
        if not abs(low) <= half:
            raise ValueError(f"delay_s must be a number within half of the scan, {half:g} s")
    lower = [0.0] * len(rates) + [fraction or 0.0, low]
    upper = [_UPPER_PER_MIN[name] / 60.0 for name in rates] + [1.0 if fraction is None else fraction, high]
    scale = [_NEGLIGIBLE_PER_MIN / 60.0] * len(rates) + [_NEGLIGIBLE_FRACTION, _NEGLIGIBLE_DELAY_S]
    factor = [60.0] * len(rates) + [1.0, 1.0]
    return _Bounds(
        (*rates, "vB", "delay_s"), np.array(lower), np.array(upper), np.array(scale), np.array(factor)
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """What all curves share, as the kernel takes it."""

    model: str
    bounds: _Bounds
    frames: FloatArray
    inflow: FloatArray
    table: FloatArray
    gram: FloatArray
    pairs: npt.NDArray[np.int64]
    rates: FloatArray
    delays: FloatArray
    fractions: FloatArray
    freedom: int
    bases: OneTissueBases | None


def _prepared(
    model: str,
    frames: Frames,
    root: FloatArray,
    inflow: InputCurve,
    blood: InputCurve,
    bounds: _Bounds,
    fraction: float | None,
    freedom: int,
) -> _Task:
    """The table of convolutions that starts are chosen from."""
    from imgtheranostics.kernels.compartment_fit import tabulate_frames

    duration = float(frames.end_s[-1] - frames.start_s[0])
    rates = np.concatenate([[0.0], np.geomspace(0.2 / duration, bounds.upper[1], _N_RATES)])
    low, high = bounds.lower[-1], bounds.upper[-1]
    count = int(min(1 + np.ceil((high - low) / _DELAY_STEP_S), _MOST_DELAYS))
    delays = np.linspace(low, high, count)
    planes = np.ascontiguousarray([frames.start_s, frames.end_s, root])
    curves = np.ascontiguousarray([inflow.time_s, inflow.values, blood.values])
    table = np.empty((count, 1 + rates.size, len(frames)))
    tabulate_frames(planes, curves, rates, delays, table)
    every = range(2, 1 + rates.size)
    pairs = {
        "one_tissue": [(row, -1) for row in every],
        "two_tissue_irreversible": [(1, row) for row in every],
        "two_tissue": [(slow, fast) for slow in every for fast in every if slow < fast],
    }[model]
    bases = None
    if model == "one_tissue" and low == high:
        bases = OneTissueBases.of(frames, root, inflow, blood, low, float(bounds.upper[1]))
    return _Task(
        model,
        bounds,
        planes,
        curves,
        table,
        np.einsum("dai,dbi->dab", table, table),
        np.array(pairs, np.int64),
        np.concatenate([[0.0], rates]),
        delays,
        np.array(_FRACTIONS if fraction is None else [fraction]),
        freedom,
        bases,
    )


class _Result:
    """Parameters of all curves, filled block by block."""

    def __init__(
        self, curves: PlanarSignal, task: _Task, max_iterations: int, tolerance: float, workers: int | None
    ) -> None:
        self.curves, self.task = curves, task
        self.max_iterations, self.tolerance, self.workers = max_iterations, tolerance, workers
        self.names = (*task.bounds.names, *DERIVED[task.model])
        dtype = curves.samples.dtype
        self.values = np.full((len(self.names), curves.n_voxels), np.nan, dtype)
        self.errors = np.full_like(self.values, np.nan)
        self.r_squared = np.full(curves.n_voxels, np.nan, dtype)
        self.rmse = np.full(curves.n_voxels, np.nan, dtype)
        self.iterations = np.zeros(curves.n_voxels, np.int32)
        self.flags = np.zeros(curves.n_voxels, np.uint16)

    def add(self, voxels: npt.NDArray[np.intp]) -> None:
        """Fit the curves of some voxels."""
        task = self.task
        whole = voxels[-1] - voxels[0] + 1 == voxels.size
        part = slice(voxels[0], voxels[-1] + 1) if whole else voxels
        root = task.frames[2]
        with np.errstate(invalid="ignore"):
            block = np.where(root > 0.0, self.curves.samples[:, part].T * root, 0.0)
        finite = np.abs(block).max(axis=1) < _LARGEST
        self.flags[voxels[~finite]] |= np.uint16(Flag.INVALID_INPUT)
        block, voxels = np.ascontiguousarray(block[finite], np.float64), voxels[finite]
        if voxels.size:
            found = self._run(block)
            self._store(voxels, *found)
            known = self.task.bounds.lower == self.task.bounds.upper
            whole = np.einsum("ij,ij->i", block, block)
            silent = no_better_than_zero(found[3][:, 0], whole, int((~known).sum()), self.task.freedom)
            self.flags[voxels[silent]] |= np.uint16(Flag.BELOW_NOISE)

    def _run(self, block: FloatArray) -> tuple[npt.NDArray[Any], ...]:
        from imgtheranostics.kernels.threads import thread_limit

        task, m, p = self.task, len(block), self.task.bounds.lower.size
        values, variances, derived = np.empty((m, p)), np.empty((m, p)), np.empty((m, 4))
        squares, iterations, state = np.empty((m, 2)), np.empty(m, np.int32), np.empty(m, np.uint8)
        found: tuple[npt.NDArray[Any], ...] = (values, variances, derived, squares, iterations, state)
        with thread_limit(self.workers):
            if task.bases is None:
                self._general(block, found)
            else:
                left = task.bases.fit(block, task.bounds.lower, task.bounds.upper, task.freedom, found)
                if left.size:
                    own = tuple(np.empty_like(array[left]) for array in found)
                    self._general(block[left], own)
                    for array, part in zip(found, own, strict=True):
                        array[left] = part
        return found

    def _general(self, block: FloatArray, found: tuple[npt.NDArray[Any], ...]) -> None:
        from imgtheranostics.kernels.compartment_fit import fit_compartments

        task = self.task
        fit_compartments(
            MODELS[task.model][0],
            block,
            task.frames,
            task.inflow,
            task.bounds.lower,
            task.bounds.upper,
            task.bounds.scale,
            task.table,
            task.gram,
            task.pairs,
            task.rates,
            task.delays,
            task.fractions,
            task.freedom,
            self.max_iterations,
            self.tolerance,
            *found,
        )

    def _store(
        self,
        voxels: npt.NDArray[np.intp],
        values: FloatArray,
        variances: FloatArray,
        derived: FloatArray,
        squares: FloatArray,
        iterations: npt.NDArray[np.int32],
        state: npt.NDArray[np.uint8],
    ) -> None:
        task, bounds = self.task, self.task.bounds
        known, flags = _judged(bounds, values, state)
        self.flags[voxels] |= flags
        self.iterations[voxels] = iterations
        used = int(np.count_nonzero(task.frames[2]))
        unbiased = shortfall(task.freedom)
        follows = {"VT": derived[:, [0, 2]], "Ki": derived[:, [1, 3]]}
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = 1.0 - squares[:, 0] / squares[:, 1]
            self.r_squared[voxels] = np.where(squares[:, 1] > 0.0, share, np.nan)
            self.rmse[voxels] = np.sqrt(squares[:, 0] / used)
            for row, name in enumerate(self.names):
                if row < values.shape[1]:
                    value, variance = values[:, row], variances[:, row]
                    factor, ok = bounds.factor[row], known[:, row]
                else:
                    value, variance = follows[name].T
                    factor, ok = 1.0 if name == "VT" else 60.0, known[:, 1] & np.isfinite(follows[name][:, 0])
                self.values[row, voxels] = np.where(ok, value * factor, np.nan)
                self.errors[row, voxels] = np.where(ok, np.sqrt(variance) * factor / unbiased, np.nan)

    def fit(self) -> Fit:
        """Everything in the leading shape of the tissue curves."""
        back = self.curves.restored
        return Fit(
            {name: back(row) for name, row in zip(self.names, self.values, strict=True)},
            {name: back(row) for name, row in zip(self.names, self.errors, strict=True)},
            back(self.r_squared),
            back(self.rmse),
            back(self.iterations),
            back(self.flags),
            {name: UNITS[name] for name in self.names},
        )


def _judged(
    bounds: _Bounds, values: FloatArray, state: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint16]]:
    """Which parameters are known, and flags."""
    from imgtheranostics.kernels.compartment_fit import CONVERGED, UNDETERMINED

    flags = np.zeros(len(values), np.uint16)
    failed = ((state & CONVERGED) == 0) | ~np.isfinite(values).all(axis=1)
    flags[failed] |= np.uint16(Flag.NOT_CONVERGED)
    known = np.repeat(~failed[:, np.newaxis], values.shape[1], axis=1)
    fitted = bounds.lower < bounds.upper
    at_bound = ((values <= bounds.lower) | (values >= bounds.upper)) & fitted
    flags[(at_bound & known).any(axis=1)] |= np.uint16(Flag.AT_BOUND)
    flags[known[:, 0] & ((state & UNDETERMINED) != 0)] |= np.uint16(Flag.ILL_CONDITIONED)
    silent = known[:, 0] & (values[:, 0] <= bounds.scale[0])
    flags[silent] |= np.uint16(Flag.NOT_ENHANCING)
    known[silent, 1 : values.shape[1] - 2] = False
    known[silent & (values[:, -2] <= bounds.scale[-2]), -1] &= not fitted[-1]
    return known, flags
