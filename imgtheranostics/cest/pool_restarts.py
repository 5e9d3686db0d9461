"""Other places of weak lines in fitted Z-spectra: where a fit of pools has more than one minimum.

A line that is weak beside the noise may be narrow or broad, left or right, and where it overlaps another
one so may that. All places of two neighbouring lines are looked through (`kernels.pool_scan`), and a fit
begins at those that promise as little as the one there is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_block import Block, FloatArray, Setting, line_table, once_more
from imgtheranostics.cest.pool_design import Design

WEAK, VERY_WEAK = 5.0, 4.0
"""Depth over its standard error below which a line and its neighbour, or two weak ones, are looked at."""

SEVERAL = 3
"""Very weak lines that make a fit begin at the set's own start as well, whatever start was best."""

PLACES = 4
"""Most places of a pair of lines that a fit begins at."""

PROMISING = 1.3
"""Sum of squares of a place on the grid over that of the fit up to which it is tried."""

MARGIN = 1.1
"""Sum of squares over that of the fit above which a fit from such a place ends early."""

PER_TASK = 64


def _movable(design: Design) -> npt.NDArray[np.bool_]:
    """Lines of which width or centre is not held."""
    free = ~design.held[1 + design.n_pools :]
    return np.asarray(free[::2] | free[1::2])


def weak_lines(setting: Setting, found: Block, least: float) -> npt.NDArray[np.bool_]:
    """Lines (m, k) that can move and are at a bound or less deep than `least` standard errors.

    Water is none of them: it is found anyhow.
    """
    design = setting.design
    k = design.n_pools
    low, high = design.lower, design.upper
    moves = _movable(design)
    freedom = setting.ppm.size - design.n_free
    if design.water >= 0:
        moves[design.water] = False
    weak = np.zeros((len(found.values), k), np.bool_)
    if freedom <= 0:
        return weak
    at = ((found.values <= low) | (found.values >= high)) & (low < high)
    noise = found.sums[:, 0] / freedom
    for pool in np.flatnonzero(moves):
        depth, error = found.values[:, 1 + pool], found.variances[:, 1 + pool] * noise
        known = low[1 + pool] < high[1 + pool]
        unclear = ~(depth * depth > least * least * error) if known else False
        weak[:, pool] = unclear | at[:, [1 + k + 2 * pool, 2 + k + 2 * pool]].any(axis=1)
    return weak


def line_pairs(design: Design) -> list[tuple[int, int, bool]]:
    """Each line that can move with its nearest (True) and the two next (False); -1 where it is alone."""
    k = design.n_pools
    centres = design.start[2 + k :: 2]
    free = _movable(design)
    others = [pool for pool in range(k) if pool != design.water]
    pairs: dict[tuple[int, int], bool] = {}
    for pool in others:
        if not free[pool]:
            continue
        near = sorted(
            (other for other in others if other != pool),
            key=lambda other: (abs(centres[other] - centres[pool]), other),
        )
        if not near:
            pairs[pool, -1] = True
        for rank, other in enumerate(near[:3]):
            pair = (min(pool, other), max(pool, other))
            pairs[pair] = pairs.get(pair, False) or rank == 0
    return [(p, q, nearest) for (p, q), nearest in pairs.items()]


def restart_weak_lines(setting: Setting, curves: FloatArray, found: Block) -> None:
    """Fit spectra with weak lines from other places of these, and keep what is better."""
    several = np.flatnonzero(weak_lines(setting, found, VERY_WEAK).sum(axis=1) >= SEVERAL)
    if several.size:
        own = (setting.starts[:1], np.zeros(several.size, np.intp))
        once_more(setting, curves, found, several, near=own, margin=MARGIN)
    weak, faint = (weak_lines(setting, found, least) for least in (WEAK, VERY_WEAK))
    for p, q, nearest in line_pairs(setting.design):
        either = weak[:, p] if q < 0 else weak[:, p] | weak[:, q]
        rows = np.flatnonzero(either if nearest else faint[:, p] & faint[:, q])
        if rows.size:
            _restart_pair(setting, curves, found, rows, p, q)


def _restart_pair(
    setting: Setting, curves: FloatArray, found: Block, rows: npt.NDArray[np.intp], p: int, q: int
) -> None:
    """The same for two lines of some of the spectra."""
    first = 1 + setting.design.n_pools
    places, left = _scan(setting, np.ascontiguousarray(curves[rows]), found, rows, p, q)
    for rank in range(PLACES):
        tried = np.flatnonzero(np.isfinite(left[:, rank]))
        if tried.size == 0:
            break
        again = rows[tried]
        starts = found.values[again]
        starts[:, first + 2 * p : first + 2 * p + 2] = places[tried, rank, :2]
        if q >= 0:
            starts[:, first + 2 * q : first + 2 * q + 2] = places[tried, rank, 2:]
        once_more(setting, curves, found, again, near=(starts, np.arange(again.size)), margin=MARGIN)


def _scan(
    setting: Setting, curves: FloatArray, found: Block, rows: npt.NDArray[np.intp], p: int, q: int
) -> tuple[FloatArray, FloatArray]:
    """The best other places (m, PLACES, 4) of two lines, and the sums of squares that they promise."""
    from imgtheranostics.kernels.pool_scan import scan_pairs
    from imgtheranostics.kernels.threads import run_chunks

    design, m = setting.design, rows.size
    places, left = np.zeros((m, PLACES, 4)), np.full((m, PLACES), np.inf)
    arguments = (
        curves,
        setting.ppm,
        p,
        q,
        design.shapes,
        design.water,
        design.shared,
        design.half_plateau_ppm,
        line_table(),
        design.lower,
        design.upper,
        np.ascontiguousarray(found.values[rows]),
        PROMISING * found.sums[rows, 0],
        places,
        left,
    )
    run_chunks(lambda first, last: scan_pairs(first, last, *arguments), m, PER_TASK, setting.workers)
    return places, left
