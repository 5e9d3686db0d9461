"""Log-rank statistics of many ways to divide subjects at once, as permutations need them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.study.findings import Interval
from imgtheranostics.study.samples import DoubleArray

_BLOCK_VALUES = 1 << 18
"""Of float64, what a core has near at hand."""


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Times and events of subjects in order of time, and what the log-rank test takes from them.

    Attributes
    ----------
    order : (n,) ndarray of int
        Subjects by time.
    scores : (n,) ndarray
        Events less the summed hazard until then (Nelson-Aalen), in order of time; they add up to zero, and
        their sum over a group is observed less expected events.
    first : (d,) ndarray of int
        For each time with events, the first subject still at risk, in order of time.
    share, weight : (d,) ndarray
        1 / at risk, and the variance of events there when half of those at risk are in a group, times 4.
    """

    order: npt.NDArray[np.intp]
    scores: DoubleArray
    first: npt.NDArray[np.intp]
    share: DoubleArray
    weight: DoubleArray

    @property
    def n(self) -> int:
        """Subjects."""
        return int(self.order.size)


def follow_up(time: DoubleArray, event: npt.NDArray[np.bool_]) -> FollowUp:
    """Prepare times (n,) and events (n,); an event comes before a censoring at the same time."""
    order = np.lexsort((~event, time))
    moments, deaths = np.unique(time[event], return_counts=True)
    ordered = time[order]
    first = np.searchsorted(ordered, moments, side="left")
    at_risk = (time.size - first).astype(np.float64)
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    scores = event[order] - hazard[np.searchsorted(moments, ordered, side="right")]
    weight = deaths * (at_risk - deaths) / np.maximum(at_risk - 1.0, 1.0)
    return FollowUp(order, scores, first, 1.0 / at_risk, weight)


def divided(known: FollowUp, high: npt.NDArray[np.bool_]) -> tuple[DoubleArray, DoubleArray]:
    """Observed less expected events in the high group, and the variance.

    Parameters
    ----------
    known : FollowUp
    high : (..., n) ndarray of bool
        Who is in the high group, subjects in order of time.

    Returns
    -------
    excess, variance : (...) ndarray
    """
    count = np.int16 if known.n < 1 << 15 else np.int32
    excess = high @ known.scores
    still = np.cumsum(high[..., ::-1], axis=-1, dtype=count)[..., ::-1]
    share: DoubleArray = np.asarray(still[..., known.first], np.float64) * known.share
    return np.asarray(excess), np.asarray((share - share**2) @ known.weight)


def statistics_at_cuts(
    known: FollowUp, ranks: npt.NDArray[np.intp], cuts: npt.NDArray[np.intp]
) -> tuple[DoubleArray, DoubleArray]:
    """`divided` for rows of ranks and all cuts.

    Parameters
    ----------
    known : FollowUp
    ranks : (m, n) ndarray of int
        Place of each subject's uptake among all, 0 is the lowest; subjects in order of time.
    cuts : (k,) ndarray of int
        How many subjects are low.

    Returns
    -------
    excess, variance : (m, k) ndarray
    """
    m, n = ranks.shape
    by_rank = np.empty((m, n))
    np.put_along_axis(by_rank, ranks, np.broadcast_to(known.scores, (m, n)), axis=1)
    above = np.cumsum(by_rank[:, ::-1], axis=1)[:, ::-1]
    excess, variance = above[:, cuts], np.empty((m, cuts.size))
    count = np.int16 if n < 1 << 15 else np.int32
    rows = max(1, _BLOCK_VALUES // (n * cuts.size))
    width = max(1, _BLOCK_VALUES // (n * rows))
    for start in range(0, m, rows):
        part = slice(start, start + rows)
        last_first = ranks[part, ::-1].T.astype(count)
        for left in range(0, cuts.size, width):
            some = slice(left, left + width)
            high = last_first[:, :, None] >= cuts[some].astype(count)
            at_risk = _running_sums(high.reshape(n, -1), count)[n - 1 - known.first]
            share = at_risk * known.share[:, None]
            share -= share * share
            variance[part, some] = (known.weight @ share).reshape(last_first.shape[1], -1)
    return excess, variance


def _running_sums(
    high: npt.NDArray[np.bool_], count: type[np.signedinteger]
) -> npt.NDArray[np.signedinteger]:
    """Sums down the first axis, by runs of it side by side: many times as fast as `numpy.cumsum`."""
    n, columns = high.shape
    run = math.isqrt(n - 1) + 1
    sums = np.zeros((run, run, columns), count)
    sums.reshape(run * run, columns)[:n] = high
    for place in range(1, run):
        sums[:, place] += sums[:, place - 1]
    sums[1:] += np.cumsum(sums[:-1, -1], axis=0, dtype=count)[:, None]
    return sums.reshape(run * run, columns)[:n]


def z_scores(excess: DoubleArray, variance: DoubleArray) -> DoubleArray:
    """Excess over its standard deviation; 0 where no event tells of the division."""
    told = variance > 1e-12
    return np.where(told, excess / np.sqrt(np.where(told, variance, 1.0)), 0.0)


def one_step_hazard_ratio(excess: float, variance: float, reach: float) -> tuple[float, Interval]:
    """Hazard ratio of high against low from observed less expected events, with limits `reach` errors away.

    Peto's estimate: close to 1 it is that of a Cox model, far from 1 it is nearer to 1.
    """
    centre, half = excess / variance, reach / math.sqrt(variance)
    ratio, low, high = (math.exp(min(centre + step, 700.0)) for step in (0.0, -half, half))
    return ratio, Interval(low, high)
