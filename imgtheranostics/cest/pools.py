"""Z-spectra as sums of lines: fits of one to many pools, published sets of starts and bounds, their curves.

A spectrum is Z = Zi - sum A S((w - centre)/width): a baseline less one line per pool, Lorentzian or, for
semi-solid magnetisation transfer, super-Lorentzian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.cest.pool_block import Setting
from imgtheranostics.cest.pool_curves import (
    PoolCurves,
    condition_number,
    evaluate,
    identifiable,
    mimics,
    pool_contrast,
    reference,
)
from imgtheranostics.cest.pool_design import Design, Pool, Range, start_cautions
from imgtheranostics.cest.pool_presets import Preset, preset, preset_names, scaled_to_field
from imgtheranostics.cest.pool_search import TILE, Result
from imgtheranostics.fit import Fit, PlanarSignal, planar
from imgtheranostics.volume import Flag

__all__ = [
    "Pool",
    "PoolCurves",
    "Preset",
    "condition_number",
    "evaluate",
    "fit",
    "identifiable",
    "mimics",
    "pool_contrast",
    "preset",
    "preset_names",
    "reference",
    "scaled_to_field",
    "start_cautions",
]

SLAB = 1 << 15
"""Voxels of which neighbours are looked up at a time."""


def fit(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    pools: Sequence[Pool],
    *,
    baseline: Range = (1.0, 1.0, 1.0),
    shared_shift: bool = False,
    bandwidth_ppm: float | None = None,
    noise_sd: npt.ArrayLike | None = None,
    neighbours: bool = False,
    refuse_overlap: bool = False,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-8,
) -> Fit:
    """Depth, width and centre of pools from Z-spectra, by bounded least squares.

    Lines that are weak beside the noise have more than one minimum. Where a line is at a bound or less deep
    than five of its standard errors, fits also begin at the most promising other places of it and of the line
    beside it, and the lowest sum of squares is kept.

    Parameters
    ----------
    z : (..., n) array_like
        Mz/M0 as fractions, unsaturated references removed, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Saturation offsets in ppm, downfield positive, any order, each once.
    pools : sequence of Pool
        Lines with starts and bounds, or a set of `preset`. The depths and the baseline are solved for at
        every step, so that only their bounds matter, not their starts.
    baseline : (start, low, high)
        Signal far from all lines, held at 1 by default; sets of `preset` bring their own.
    shared_shift : bool
        Whether the centres of pools other than ``water`` are relative to that of water, whose centre is the
        shift of the field.
    bandwidth_ppm : float, optional
        Flat part of a Lorentzian around its centre, 1/(pulse duration x MHz): the bandwidth of the pulses.
        Its full width at half maximum is then ``width_ppm`` more than this. Super-Lorentzians have none.
    noise_sd : float or (...) array_like, optional
        Standard deviation of the noise. A spectrum whose residual is larger is fitted from a second start,
        and the better of the two is kept. Without it the noise of each spectrum is estimated from the
        differences of neighbouring residuals.
    neighbours : bool
        Begin at the parameters of a voxel nearby, on images whose leading axes are those of space: saves
        iterations where images are smooth and no line is weak. Fits that this leaves worse than the noise, or
        with a line at a bound or hardly seen, are done as without it.
    refuse_overlap : bool
        Raise `IllConditioned` where the lines at their starts are too alike, instead of flagging voxels.
    mask : (...) array_like of bool, optional
        Spectra to fit.
    workers : int, optional
        Threads; all by default. The result does not depend on it.
    max_iterations : int
        Most evaluations of the model for one start.
    tolerance : float
        Relative decrease of the sum of squares that may be left.

    Returns
    -------
    Fit
        ``<name>_amplitude``, ``<name>_width_ppm`` and ``<name>_centre_ppm`` of each pool and ``baseline``.
        With `shared_shift` also ``shift_ppm``, the centre of water, and ``<name>_centre_ppm`` of the other
        pools is relative to it, as their bounds are.

        NaN and flagged are spectra with a sample that is not finite (INVALID_INPUT), fits that do not settle
        (NOT_CONVERGED), and spectra that the pools explain no better than a constant (BELOW_NOISE; F test at
        0.001). Flagged and kept are spectra with a sample above 1.2 (OUTSIDE_RANGE), values at a bound
        (AT_BOUND; no standard error, those of the others take it as known), and fits whose parameters are not
        told apart (ILL_CONDITIONED: condition number of the lines above 50, a parameter without any effect of
        its own, or one of which the standard error would be more than a ninth larger if those at a bound were
        free: its scatter is not known then, and its standard error is NaN). Width and centre of
        a pool without depth are NaN. What is held has its value and a standard error of 0.

    Raises
    ------
    ValueError
        If there are fewer offsets than parameters, an offset occurs twice, or arguments do not fit.
    ImplausibleValue
        If offsets or centres look like Hz.
    IllConditioned
        With `refuse_overlap`, naming the pools that mimic each other.

    References
    ----------
    .. [1] Zaiss M, Schmitt B, Bachert P. J Magn Reson 2011, 211:149. doi:10.1016/j.jmr.2011.05.001
    .. [2] Morrison C, Henkelman RM. Magn Reson Med 1995, 33:475. doi:10.1002/mrm.1910330404
    """
    design = Design.of(pools, baseline, shared_shift=shared_shift, bandwidth_ppm=bandwidth_ppm)
    if design.n_free == 0:
        raise ValueError("all parameters of the pools are held; nothing is left to fit")
    offsets = OffsetList.of(offset_ppm, purpose="a fit of pools")
    if offsets.n < design.n_free:
        raise ValueError(
            f"the pools have {design.n_free} parameters and need at least as many offsets, found {offsets.n}"
        )
    if not (max_iterations >= 1 and 0.0 < tolerance < 1.0):
        raise ValueError("max_iterations must be at least 1, and tolerance between 0 and 1")
    if refuse_overlap:
        identifiable(offsets.ppm, pools, bandwidth_ppm=bandwidth_ppm, refuse=True)
    spectra = planar(z, offsets.n, "z", contiguous=False)
    noise = None if noise_sd is None else _checked_noise(spectra, noise_sd)
    setting = Setting(design, offsets.ppm, offsets.order, _starts(design), max_iterations, tolerance, workers)
    result = Result(spectra, setting, noise)
    within = spectra.chosen(mask)
    result.flags[~within] = Flag.MASKED_OUT
    todo = np.flatnonzero(within)
    if neighbours and len(spectra.shape) > 0:
        _fit_tiles(result, todo)
    else:
        for part in result.blocks(todo):
            result.add(part)
    return result.fit()


def _checked_noise(spectra: PlanarSignal, noise_sd: npt.ArrayLike) -> npt.NDArray[np.floating]:
    noise = spectra.flat(noise_sd, "noise_sd")
    if bool((noise < 0.0).any()):
        raise ValueError("noise_sd must not be negative")
    return noise


def _starts(design: Design) -> npt.NDArray[np.float64]:
    """The set's own start, and others: widths in or above the middle of their bounds, centres in the middle.

    In the logarithm of the widths.
    """
    first = 1 + design.n_pools
    low, high = design.lower[first:], design.upper[first:]
    rows = [design.start]
    for share in (0.5, 0.75):
        row = design.start.copy()
        row[first::2] = low[::2] ** (1.0 - share) * high[::2] ** share
        row[first + 1 :: 2] = 0.5 * (low[1::2] + high[1::2])
        rows.append(np.where(design.held, design.start, row))
    return np.array(rows)


def _fit_tiles(result: Result, todo: npt.NDArray[np.intp]) -> None:
    """Fit slab by slab of whole tiles, so that lists of voxels stay short."""
    shape, order = result.spectra.shape, result.spectra.order
    slow = 0 if order == "C" else len(shape) - 1
    layer = (TILE if slow < 2 else 1) * math.prod(shape) // max(shape[slow], 1)
    slab = layer * max(1, SLAB // max(layer, 1))
    unsure = np.zeros(math.prod(shape), np.bool_)
    for first in range(0, math.prod(shape), max(slab, 1)):
        begin, end = np.searchsorted(todo, [first, first + slab])
        if end > begin:
            _fit_slab(result, todo[begin:end], unsure)


def _fit_slab(result: Result, todo: npt.NDArray[np.intp], unsure: npt.NDArray[np.bool_]) -> None:
    """Fit one voxel of each tile of the first two axes, then the others from where it ended.

    `unsure` is room for which seeds have weak lines.
    """
    shape = result.spectra.shape
    tiles, middle = np.zeros(todo.size, np.int64), np.zeros(todo.size, np.int16)
    for axis, index in enumerate(np.unravel_index(todo, shape, order=result.spectra.order)):
        size = TILE if axis < 2 else 1
        tiles = tiles * (shape[axis] // size + 1) + index // size
        if size > 1:
            middle += (2 * (index % size) - size + 1).astype(np.int16) ** 2
    by_tile = np.lexsort((middle, tiles))
    first = np.flatnonzero(np.diff(tiles[by_tile], prepend=-1))
    seeds = by_tile[first]
    result.unsure = unsure
    for part in result.blocks(todo[seeds]):
        result.add(part)
    result.unsure = None
    known = result.values[:, todo[seeds]].T.astype(np.float64)
    known = np.where(np.isnan(known), result.setting.design.start, known)
    start_of = np.empty(todo.size, np.intp)
    start_of[by_tile] = np.repeat(np.arange(seeds.size), np.diff(np.append(first, todo.size)))
    rest = np.ones(todo.size, np.bool_)
    rest[seeds] = False
    # where a line of the seed is weak its neighbours would have to be fitted from the set's starts as well
    alone = rest & unsure[todo[seeds]][start_of]
    for part in result.blocks(todo[alone]):
        result.add(part)
    rest &= ~alone
    places, done = start_of[rest], 0
    for part in result.blocks(todo[rest]):
        result.add(part, known, places[done : done + part.size])
        done += part.size
