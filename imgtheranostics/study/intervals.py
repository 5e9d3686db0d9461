"""Exact binomial intervals."""

from __future__ import annotations

import math

from imgtheranostics.errors import Caution
from imgtheranostics.study.findings import Interval, check_level


class BinomialInterval(Interval):
    """Lower and upper limit of a share, as a pair, with what they are the limits of.

    Attributes
    ----------
    successes, total : int
    level : float
    """

    successes: int
    total: int
    level: float

    unit = "1"
    method = "exact (Clopper-Pearson)"
    measure = "share"
    assumed = ("subjects are independent and alike",)
    p_value = math.nan
    warnings: tuple[Caution, ...] = ()

    @property
    def estimate(self) -> float:
        """The share that was seen."""
        return self.successes / self.total

    @property
    def interval(self) -> Interval:
        """The limits alone."""
        return Interval(self.low, self.high)

    @property
    def n(self) -> int:
        """Subjects."""
        return self.total


def binomial_interval(successes: int, total: int, level: float = 0.95) -> BinomialInterval:
    """Interval of a share that covers the truth at least as often as its level says, for any `total`.

    Parameters
    ----------
    successes, total : int
        Subjects with the outcome, and all.
    level : float

    Returns
    -------
    BinomialInterval
        The pair (low, high), with `estimate`, `interval`, `n`, `method`.

    Raises
    ------
    ValueError
        If counts are not whole, `total` is below 1, or `successes` lie outside 0 to `total`.

    References
    ----------
    .. [1] Clopper, Pearson, Biometrika 26 (1934) 404, doi:10.1093/biomet/26.4.404

    Examples
    --------
    >>> [round(float(100 * limit), 1) for limit in binomial_interval(13, 14)]
    [66.1, 99.8]
    """
    check_level(level)
    if successes != int(successes) or total != int(total):
        raise ValueError(f"successes {successes} of {total} must be whole numbers")
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(
            f"successes {successes} of {total}: needs a total of 1 or more and 0 to total successes"
        )
    from scipy.stats import binomtest

    limits = binomtest(int(successes), int(total)).proportion_ci(level, method="exact")
    found = BinomialInterval(float(limits.low), float(limits.high))
    found.successes, found.total, found.level = int(successes), int(total), level
    return found
