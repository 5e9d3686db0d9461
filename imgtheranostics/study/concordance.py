"""How well a model orders subjects, and how much of that it owes to being fitted to them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from imgtheranostics.study.samples import DoubleArray

BoolArray = npt.NDArray[np.bool_]
Refit = Callable[[DoubleArray, DoubleArray, BoolArray], DoubleArray | None]

_ROWS = 256
"""Subjects that are compared one by one; with later ones by their sorted risk."""


def harrell(risk: DoubleArray, time: DoubleArray, event: BoolArray) -> float:
    """Share of comparable pairs in which the subject with the earlier event has the higher risk.

    Pairs with equal risk count half; NaN without a comparable pair.

    Parameters
    ----------
    risk, time : (n,) ndarray
    event : (n,) ndarray of bool

    References
    ----------
    .. [1] Harrell et al., JAMA 247 (1982) 2543.
    """
    # an event comes before what is censored at its time, which is comparable with it
    order = np.lexsort((~event, time))
    risk, time, event = risk[order], time[order], event[order]
    moments = time[event]
    tied = np.searchsorted(moments, moments, "right") - np.searchsorted(moments, moments, "left")
    first = np.searchsorted(time, moments, "left") + tied
    own = risk[event]
    comparable = int(np.sum(time.size - first))
    agreed, beyond = 0.0, np.empty(0)
    for stop in range(time.size, 0, -_ROWS):
        start = max(stop - _ROWS, 0)
        here = (first >= start) & (first < stop)
        one, block = own[here], risk[start:stop]
        agreed += _below(beyond, one)
        later = np.arange(start, stop) >= first[here, None]
        agreed += np.count_nonzero(later & (block < one[:, None]))
        agreed += 0.5 * np.count_nonzero(later & (block == one[:, None]))
        beyond = np.sort(np.concatenate([beyond, block]), kind="stable")
    return agreed / comparable if comparable else math.nan


def _below(ordered: DoubleArray, values: DoubleArray) -> float:
    """How many of `ordered` lie below each value, added up; equal ones count half."""
    sides = (np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right"))
    return float(sides[0].sum() + sides[1].sum()) / 2.0


def optimism(
    design: DoubleArray,
    time: DoubleArray,
    event: BoolArray,
    refit: Refit,
    n_resamples: int,
    rng: np.random.Generator,
) -> float:
    """By how much concordance is better on the subjects of a fit than on others, by bootstrap.

    Parameters
    ----------
    design : (n, p) ndarray
    time, event : (n,) ndarray
    refit : callable
        Coefficients from a design, times and events; None where there are none.
    n_resamples : int
    rng : Generator

    Returns
    -------
    float
        NaN when fewer than half of the draws can be fitted.

    References
    ----------
    .. [1] Harrell, Lee, Mark, Stat. Med. 15 (1996) 361.
    """
    excess = []
    for _ in range(n_resamples):
        drawn = rng.integers(0, time.size, time.size)
        if not event[drawn].any() or np.ptp(design[drawn], axis=0).min() == 0.0:
            continue
        beta = refit(design[drawn], time[drawn], event[drawn])
        if beta is None:
            continue
        seen = harrell(design[drawn] @ beta, time[drawn], event[drawn])
        excess.append(seen - harrell(design @ beta, time, event))
    found = np.array(excess)
    found = found[~np.isnan(found)]
    return float(found.mean()) if found.size and found.size >= n_resamples / 2 else math.nan
