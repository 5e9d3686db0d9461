"""Simplified reference-tissue models by basis functions: binding without blood samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.fit import Fit, planar, shortfall
from imgtheranostics.nuclear.kinetic_inputs import (
    Frames,
    checked_clearance,
    checked_mid_times,
    checked_reference,
    refuse_late_tissue,
    root_weights,
)
from imgtheranostics.nuclear.noise_test import no_better_than_zero
from imgtheranostics.volume import Flag

__all__ = ["srtm", "srtm2"]

FloatArray = npt.NDArray[np.float64]

N_BASES = 100
_BLOCK_BYTES = 1 << 20
_LARGEST = 1e150

_NAMES = ("R1", "k2", "BP_ND", "k2a", "k2_reference")
_UNITS = {"R1": "1", "k2": "1/min", "BP_ND": "1", "k2a": "1/min", "k2_reference": "1/min"}


def srtm(
    tissue: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    k2a_bounds_per_min: tuple[float, float] = (0.005, 1.0),
    n_bases: int = N_BASES,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Binding potential and relative delivery against a tissue without binding.

    dC_T/dt = R1 dC_R/dt + k2 C_R - k2/(1 + BP_ND) C_T, one tissue compartment each. The convolutions of the
    reference with `n_bases` rates start the fit of k2a = k2/(1 + BP_ND); between them it is continuous.

    Parameters
    ----------
    tissue : (..., n) array_like
        Activity concentration, decay corrected to the same moment as the reference; NaN allowed.
    reference : (n,) array_like
        Curve of the reference tissue in the same frames, from the injection on; straight lines between the
        middles of the frames.
    time_s : (n,) array_like
        Middles of the frames in s since the injection.
    frame_duration_s : float or (n,) array_like, optional
        Convolutions are averaged over the frames; without it, taken at their middles.
    weights : (n,) array_like, optional
        Relative weights of the squares; a frame of weight 0 is left out.
    k2a_bounds_per_min : (float, float)
        Range of k2a.
    n_bases : int
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the result does not depend on it.
    check_time : bool
        Whether times that look like minutes are refused.

    Returns
    -------
    Fit
        ``R1``, ``BP_ND`` (no unit), ``k2``, ``k2a`` and ``k2_reference`` = k2/R1 in 1/min. INVALID_INPUT for
        a frame that is not finite; AT_BOUND where k2a ends at a bound, without standard errors;
        ILL_CONDITIONED where the curve does not determine it, as one that is a multiple of the reference;
        NEGATIVE_AMPLITUDE where R1 is below zero; BELOW_NOISE where a curve of zero explains as much (F test
        at 1 %).

    Raises
    ------
    ValueError
        If lengths differ, times do not increase, or there are fewer frames than parameters.
    ImplausibleValue
        If the first frame starts more than a minute after the injection, the reference is negative or
        nowhere above zero, or times look like minutes.

    References
    ----------
    .. [1] Lammertsma AA, Hume SP. Neuroimage 1996, 4:153. doi:10.1006/nimg.1996.0066
    .. [2] Gunn RN et al. Neuroimage 1997, 6:279. doi:10.1006/nimg.1997.0303
    """
    scan = _scan(reference, time_s, frame_duration_s, weights, k2a_bounds_per_min, n_bases, check_time)
    return _fitted(tissue, scan, 0.0, mask, workers)


def srtm2(
    tissue: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    k2_reference_per_min: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    k2a_bounds_per_min: tuple[float, float] = (0.005, 1.0),
    n_bases: int = N_BASES,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """The simplified reference-tissue model with one clearance of the reference for all voxels.

    Parameters
    ----------
    tissue, reference, time_s, frame_duration_s, weights, k2a_bounds_per_min, n_bases, mask, workers
        As in `srtm`, and so is `check_time`.
    k2_reference_per_min : float, optional
        k2' of the reference. By default the median of k2/R1 that `srtm` finds in the voxels that it
        determines to 30 %, with BP_ND above 0.

    Returns
    -------
    Fit
        As `srtm`; ``k2_reference`` is the same everywhere and has no standard error.

    Raises
    ------
    IllConditioned
        If no voxel determines k2' and none is given.
    ValueError, ImplausibleValue
        As `srtm`.

    References
    ----------
    .. [1] Wu Y, Carson RE. J Cereb Blood Flow Metab 2002, 22:1440.
           doi:10.1097/01.WCB.0000033967.83623.34
    """
    scan = _scan(reference, time_s, frame_duration_s, weights, k2a_bounds_per_min, n_bases, check_time)
    if k2_reference_per_min is None:
        known = _median_clearance(_fitted(tissue, scan, 0.0, mask, workers))
    else:
        known = checked_clearance(k2_reference_per_min)
    return _fitted(tissue, scan, known / 60.0, mask, workers)


@dataclass(frozen=True, eq=False)
class _Scan:
    """Reference and basis functions, times the root of the weights."""

    root: FloatArray
    used: int
    reference: FloatArray
    table: FloatArray
    slopes: FloatArray
    first: float
    step: float


def _scan(
    reference: npt.ArrayLike,
    time_s: npt.ArrayLike,
    frame_duration_s: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
    bounds_per_min: tuple[float, float],
    n_bases: int,
    check_time: bool,
) -> _Scan:
    from imgtheranostics.kernels.frame_convolution import frame_averages

    times, frames = checked_mid_times(time_s, frame_duration_s, check_time=check_time)
    refuse_late_tissue(times, frames)
    curve = checked_reference(reference, times)
    root, used = root_weights(weights, times.size)
    if used < 3:
        raise ValueError(f"srtm has 3 parameters and needs at least 3 frames, found {used}")
    low, high = (float(bound) for bound in bounds_per_min)
    if not (0.0 < low < high < np.inf) or int(n_bases) < 3:
        raise ValueError("k2a_bounds_per_min must be (lowest, highest) above zero, with at least 3 bases")
    logs = np.linspace(np.log(low / 60.0), np.log(high / 60.0), int(n_bases))
    span = Frames(times, times) if frames is None else frames
    knots, values = reference_knots(times, curve, float(span.end_s[-1]))
    table, slopes = np.empty((logs.size, times.size)), np.empty((logs.size, times.size))
    out, workspace = np.empty((4, times.size)), (np.empty((3, 6)), np.empty(9), np.empty(9))
    for row, log in enumerate(logs):
        rate = float(np.exp(log))
        frame_averages(span.start_s, span.end_s, knots, values, rate, 0.0, *workspace, out)
        table[row], slopes[row] = out[2] * root, -rate * out[3] * root
    return _Scan(root, used, curve * root, table, slopes, float(logs[0]), float(logs[1] - logs[0]))


def reference_knots(times: FloatArray, curve: FloatArray, end_s: float) -> tuple[FloatArray, FloatArray]:
    """Straight lines through the middles, from zero at the injection to the end of the last frame."""
    knots, values = times, curve
    if times[0] > 0.0:
        knots, values = np.r_[0.0, knots], np.r_[0.0, values]
    if end_s > knots[-1] and knots.size > 1:
        slope = (values[-1] - values[-2]) / (knots[-1] - knots[-2])
        ahead = max(values[-1] + slope * (end_s - knots[-1]), 0.0)
        knots, values = np.r_[knots, end_s], np.r_[values, ahead]
    return np.ascontiguousarray(knots), np.ascontiguousarray(values)


def _fitted(
    tissue: npt.ArrayLike, scan: _Scan, known_per_s: float, mask: npt.ArrayLike | None, workers: int | None
) -> Fit:
    n = scan.root.size
    curves = planar(tissue, n, "tissue", contiguous=False)
    within = curves.chosen(mask)
    dtype = curves.samples.dtype
    values = np.full((len(_NAMES), curves.n_voxels), np.nan, dtype)
    errors = np.full_like(values, np.nan)
    quality = np.full((2, curves.n_voxels), np.nan, dtype)
    flags = np.where(within, 0, np.uint16(Flag.MASKED_OUT)).astype(np.uint16)
    todo, per_block = np.flatnonzero(within), max(64, _BLOCK_BYTES // (8 * n))
    freedom = scan.used - (2 if known_per_s else 3)
    for first in range(0, todo.size, per_block):
        voxels = todo[first : first + per_block]
        part = slice(voxels[0], voxels[-1] + 1) if voxels[-1] - voxels[0] + 1 == voxels.size else voxels
        with np.errstate(invalid="ignore"):
            block = np.where(scan.root > 0.0, curves.samples[:, part].T * scan.root, 0.0)
        finite = np.abs(block).max(axis=1) < _LARGEST
        flags[voxels[~finite]] |= np.uint16(Flag.INVALID_INPUT)
        voxels = voxels[finite]
        if voxels.size == 0:
            continue
        block = np.ascontiguousarray(block[finite], np.float64)
        value, variance, squares, judged = _run(block, scan, known_per_s, freedom, workers)
        flags[voxels] |= judged
        whole = np.einsum("ij,ij->i", block, block)
        silent = no_better_than_zero(squares[:, 0], whole, scan.used - freedom, freedom)
        flags[voxels[silent]] |= np.uint16(Flag.BELOW_NOISE)
        scale = np.array([1.0, 60.0, 1.0, 60.0, 60.0])
        ok = np.isfinite(value).all(axis=1)
        flags[voxels[~ok]] |= np.uint16(Flag.ILL_CONDITIONED)
        with np.errstate(invalid="ignore", divide="ignore"):
            values[:, voxels] = np.where(ok, (value * scale).T, np.nan)
            errors[:, voxels] = np.where(ok, (np.sqrt(variance) * scale / shortfall(freedom)).T, np.nan)
            quality[0, voxels] = np.where(squares[:, 1] > 0, 1.0 - squares[:, 0] / squares[:, 1], np.nan)
            quality[1, voxels] = np.sqrt(squares[:, 0] / scan.used)
    if known_per_s:
        errors[-1] = np.nan
    back = curves.restored
    return Fit(
        {name: back(row) for name, row in zip(_NAMES, values, strict=True)},
        {name: back(row) for name, row in zip(_NAMES, errors, strict=True)},
        back(quality[0]),
        back(quality[1]),
        np.ones(curves.shape, np.uint8),
        back(flags),
        dict(_UNITS),
    )


def _run(
    block: FloatArray, scan: _Scan, known_per_s: float, freedom: int, workers: int | None
) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.uint16]]:
    from imgtheranostics.kernels.reference_bases import (
        AT_END,
        N_VALUES,
        UNDETERMINED,
        fit_reference_model,
    )
    from imgtheranostics.kernels.threads import thread_limit

    m = len(block)
    values, variances, squares = np.empty((m, N_VALUES)), np.empty((m, N_VALUES)), np.empty((m, 2))
    state = np.empty(m, np.uint8)
    gram = np.stack(
        [(scan.table * scan.reference).sum(axis=1), (scan.table * scan.table).sum(axis=1)], axis=1
    )
    with thread_limit(workers):
        fit_reference_model(
            block,
            scan.reference,
            scan.root,
            scan.table,
            scan.slopes,
            gram,
            scan.first,
            scan.step,
            known_per_s,
            freedom,
            values,
            variances,
            squares,
            state,
        )
    flags = np.zeros(m, np.uint16)
    flags[(state & AT_END) != 0] |= np.uint16(Flag.AT_BOUND)
    flags[(state & UNDETERMINED) != 0] |= np.uint16(Flag.ILL_CONDITIONED)
    flags[values[:, 0] < 0.0] |= np.uint16(Flag.NEGATIVE_AMPLITUDE)
    return values, variances, squares, flags


def _median_clearance(found: Fit) -> float:
    """k2' of the voxels that determine it."""
    value = np.asarray(found.parameters["k2_reference"], np.float64)
    with np.errstate(invalid="ignore"):
        sure = np.asarray(found.standard_errors["k2_reference"], np.float64) < 0.3 * value
        usable = sure & (found.flags == 0) & (np.asarray(found.parameters["BP_ND"]) > 0.0)
    if not usable.any():
        raise IllConditioned(
            "no curve determines the clearance of the reference tissue",
            where="k2_reference_per_min",
            found=f"{value.size} curves, none with k2/R1 known to 30 % and binding above 0",
            next_step="give it, or a mask of tissue with binding",
        )
    return float(np.median(value[usable]))
