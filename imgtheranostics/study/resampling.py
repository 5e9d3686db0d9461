"""Permutations and the bootstrap: fixed blocks of draws, so that a seed gives the same bytes everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from imgtheranostics.study.findings import NO_INTERVAL, Interval

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

LARGEST_EXACT = 8
"""Up to this many subjects every order is looked at: 8! = 40320."""

LARGEST_PERMUTED = 500
"""With more subjects the distribution for many is as good and is not limited by the number of draws."""

_BLOCK_VALUES = 1 << 21
_TIE = 1e-9


def orders(n: int, count: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Random orders of `n` rows in blocks of (m, n), `count` in all; every order once where `n` is small."""
    if n <= LARGEST_EXACT:
        yield _all_orders(n)
        return
    rows = max(1, _BLOCK_VALUES // n)
    for first in range(0, count, rows):
        m = min(rows, count - first)
        yield rng.permuted(np.broadcast_to(np.arange(n), (m, n)), axis=1)


@cache
def _all_orders(n: int) -> IntArray:
    found = np.array(list(permutations(range(n))), np.intp)
    found.flags.writeable = False
    return found


def is_exact(n: int) -> bool:
    """Whether `orders` lists every order."""
    return n <= LARGEST_EXACT


def permutation_p(observed: float, null: npt.NDArray[np.floating], *, exact: bool) -> float:
    """Share of the null distribution that is at least as large as what was observed.

    Drawn orders do not include the observed one, which is counted with them [1]_; all orders do.

    References
    ----------
    .. [1] Phipson, Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39, doi:10.2202/1544-6115.1585
    """
    as_large = int(np.count_nonzero(null >= observed - _TIE * max(1.0, abs(observed))))
    return as_large / null.size if exact else (as_large + 1) / (null.size + 1)


def permutation_words(n: int, count: int) -> str:
    """How the p value was had, in words."""
    return f"all {math.factorial(n)} permutations" if is_exact(n) else f"{count} random permutations"


def product_p(
    one: DoubleArray,
    other: DoubleArray,
    count: int,
    rng: np.random.Generator,
    basis: DoubleArray | None = None,
) -> tuple[float, str]:
    """Two-sided p value of the dot product of two centred vectors of length 1, and how it was had.

    With an orthonormal basis (n, q) of what was adjusted for, a constant among it, permuted values are made
    orthogonal to it again.
    """
    n = one.size
    observed = abs(float(one @ other))
    if n > LARGEST_PERMUTED:
        return _many_p(observed, n - 2 - (0 if basis is None else basis.shape[1] - 1))
    null = []
    for order in orders(n, count, rng):
        permuted = other[order]
        products = permuted @ one
        if basis is not None:
            length = 1.0 - np.sum((permuted @ basis) ** 2, axis=1)
            products = products / np.sqrt(np.maximum(length, np.finfo(float).tiny))
        null.append(np.abs(products))
    p_value = permutation_p(observed, np.concatenate(null), exact=is_exact(n))
    return p_value, permutation_words(n, count)


def unit_vector(values: DoubleArray) -> DoubleArray:
    """Values less their mean, of length 1."""
    centred = values - values.mean()
    return np.asarray(centred / np.sqrt(centred @ centred))


def _many_p(observed: float, freedom: int) -> tuple[float, str]:
    from scipy.stats import t

    if observed >= 1.0:
        return 0.0, "the t distribution"
    statistic = observed * math.sqrt(freedom / (1.0 - observed**2))
    return float(2 * t.sf(statistic, freedom)), "the t distribution"


def check_draws(count: int, name: str, smallest: int = 99) -> None:
    """Refuse fewer draws than a level of 5 % can be read from."""
    if count < smallest:
        raise ValueError(f"{name} is {count}, but must be at least {smallest}")


def bca_interval(estimate: float, replicates: DoubleArray, jackknife: DoubleArray, level: float) -> Interval:
    """Bias-corrected and accelerated bootstrap interval.

    Parameters
    ----------
    estimate : float
    replicates : (m,) ndarray
        Of resampled units; those that are NaN are left out.
    jackknife : (n,) ndarray
        The estimate without each unit; empty for no acceleration.
    level : float

    References
    ----------
    .. [1] Efron, Tibshirani, An introduction to the bootstrap, 1993, chapter 14.
    """
    from scipy.special import ndtr, ndtri

    drawn = np.sort(replicates[~np.isnan(replicates)])
    if drawn.size < 100 or drawn[0] == drawn[-1]:
        return NO_INTERVAL
    below = (np.count_nonzero(drawn < estimate) + 0.5 * np.count_nonzero(drawn == estimate)) / drawn.size
    bias = float(ndtri(min(max(below, 1.0 / drawn.size), 1.0 - 1.0 / drawn.size)))
    left = jackknife[~np.isnan(jackknife)]
    away = left.mean() - left if left.size else left
    spread = float(np.sum(away**2))
    acceleration = float(np.sum(away**3)) / (6.0 * spread**1.5) if spread > 0.0 else 0.0
    tail = float(ndtri(0.5 + level / 2))
    places = [bias + (bias + sign * tail) / (1.0 - acceleration * (bias + sign * tail)) for sign in (-1, 1)]
    low, high = (float(np.quantile(drawn, float(ndtr(place)))) for place in places)
    return Interval(low, high)
