"""The longest part of a curve that goes one way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

WITHIN_ERRORS = 2.0
"""Standard errors of a difference within which a step back is not taken for one."""

FEWEST_LEVELS = 3
"""Levels that a stretch of a longer curve must have."""


def longest_stretch(values: DoubleArray, errors: DoubleArray, levels: DoubleArray) -> tuple[int, int] | None:
    """First and last index of the longest stretch, by its span of `levels`, on which `values` go one way.

    Parameters
    ----------
    values, errors : (k,) ndarray
        Values at ascending levels, and their standard errors (0 where they are exact).
    levels : (k,) ndarray

    Returns
    -------
    (int, int) or None
        None if no stretch has three levels (two, where there are no more).
    """
    fewest = min(FEWEST_LEVELS, values.size)
    best: tuple[float, int, int] | None = None
    for direction in (1.0, -1.0):
        rising = direction * values
        for first in range(values.size):
            last = _reach(rising, errors, first)
            if last - first + 1 >= fewest:
                span = float(levels[last] - levels[first])
                if best is None or span > best[0]:
                    best = (span, first, last)
    return None if best is None else best[1:]


def _reach(rising: DoubleArray, errors: DoubleArray, first: int) -> int:
    """The last index up to which values rise from `first` on, but for steps back within their errors."""
    reached = first
    for last in range(first + 1, rising.size):
        allowed = WITHIN_ERRORS * np.hypot(errors[first:last], errors[last])
        step = rising[last] - rising[first:last]
        if (step < -allowed).any() or ((allowed == 0) & (step <= 0)).any():
            break
        if rising[last] - rising[first] > allowed[0]:
            reached = last
    return reached
