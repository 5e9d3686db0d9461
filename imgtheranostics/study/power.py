"""What a study of this size could have found: power and critical values at the number at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.study.findings import Interval
from imgtheranostics.study.intervals import binomial_interval
from imgtheranostics.study.resampling import LARGEST_PERMUTED, orders
from imgtheranostics.study.samples import DoubleArray

_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Power:
    """Chance that a study finds an effect of a given size.

    Attributes
    ----------
    power : float
    interval : Interval
        95 % Monte Carlo interval; the power itself where there is a closed form.
    n : int
        Subjects in all.
    effect : float
    measure : str
        What `effect` is.
    alpha : float
    method : str
    assumed : tuple of str
    n_simulations : int
        0 for a closed form.
    """

    power: float
    interval: Interval
    n: int
    effect: float
    measure: str
    alpha: float
    method: str
    assumed: tuple[str, ...]
    n_simulations: int


def log_rank_power(
    n: int,
    hazard_ratio: float,
    *,
    median_time: float = 4.16,
    follow_up_time: float = 12.0,
    alpha: float = 0.05,
    n_simulations: int = 10_000,
    rng: int | np.random.Generator = 0,
) -> Power:
    """Power of a log-rank test of subjects split in half, by simulation.

    Parameters
    ----------
    n : int
        Subjects in all; the lower half (rounded down) is the reference.
    hazard_ratio : float
        Of the upper half against the lower one, above 0; 1 gives the rate of false findings.
    median_time, follow_up_time : float
        Median time to the event of the lower half, and when all who are left are censored, in one unit. The
        defaults are a mean of 6 months and a year.
    alpha : float
        Two-sided level of the chi-square test.
    n_simulations : int
    rng : Generator or int

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> round(log_rank_power(60, 0.42).power, 1)
    0.8
    """
    _check(n, 4, alpha, n_simulations)
    for name, value in (("hazard_ratio", hazard_ratio), ("median_time", median_time)):
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} is {value}, but must be above zero")
    if not follow_up_time > 0.0:
        raise ValueError(f"follow_up_time is {follow_up_time}, but must be above zero")
    generator = np.random.default_rng(rng)
    high = np.arange(n) >= n // 2
    scale = median_time / math.log(2.0) / np.where(high, hazard_ratio, 1.0)
    found = 0
    for first in range(0, n_simulations, _ROWS):
        time = generator.exponential(1.0, (min(_ROWS, n_simulations - first), n)) * scale
        found += int(np.count_nonzero(_chi_square(time, high, follow_up_time) > _critical(alpha)))
    return _simulated(
        found,
        n_simulations,
        n,
        hazard_ratio,
        "hazard ratio of halves",
        alpha,
        "log-rank, chi-square distribution",
        (
            "exponential times",
            f"median {median_time:g}, follow-up {follow_up_time:g}",
            "halves fixed before outcomes were seen",
        ),
    )


def spearman_power(
    n: int,
    rho: float,
    *,
    alpha: float = 0.05,
    n_simulations: int = 10_000,
    rng: int | np.random.Generator = 0,
) -> Power:
    """Power of Spearman's rank correlation for binormal values, by simulation.

    Parameters
    ----------
    n : int
        Subjects; above 500 by Fisher's z, as the test itself then uses the t distribution.
    rho : float
        Correlation of the values, between -1 and 1.
    alpha : float
    n_simulations : int
    rng : Generator or int

    Raises
    ------
    ValueError
        If a setting is out of range.
    """
    _check(n, 5, alpha, n_simulations)
    if not -1.0 < rho < 1.0:
        raise ValueError(f"rho is {rho}, but must lie between -1 and 1")
    if n > LARGEST_PERMUTED:
        return _fisher_power(n, rho, alpha)
    generator = np.random.default_rng(rng)
    least = spearman_critical(n, alpha=alpha, rng=generator)
    found = 0
    for first in range(0, n_simulations, _ROWS):
        shape = (min(_ROWS, n_simulations - first), n)
        one = generator.standard_normal(shape)
        other = rho * one + math.sqrt(1.0 - rho**2) * generator.standard_normal(shape)
        found += int(np.count_nonzero(np.abs(_rank_products(one, other)) >= least - 1e-12))
    return _simulated(
        found,
        n_simulations,
        n,
        rho,
        "correlation",
        alpha,
        "Spearman, critical value of its permutations",
        ("binormal values", "independent subjects"),
    )


def spearman_critical(
    n: int, *, alpha: float = 0.05, n_permutations: int = 99_999, rng: int | np.random.Generator = 0
) -> float:
    """Smallest absolute rank correlation that is significant with `n` subjects, without ties.

    Parameters
    ----------
    n : int
        Subjects, at least 5; up to 8 every order is looked at, above 500 the t distribution is used.
    alpha : float
        Two-sided.
    n_permutations : int
    rng : Generator or int

    Raises
    ------
    ValueError
        If a setting is out of range.
    """
    _check(n, 5, alpha, n_permutations)
    if n > LARGEST_PERMUTED:
        return _many_critical(n, alpha)
    places = np.arange(n) - (n - 1) / 2.0
    places /= math.sqrt(float(places @ places))
    generator = np.random.default_rng(rng)
    drawn = [np.abs(places[order] @ places) for order in orders(n, n_permutations, generator)]
    null = np.concatenate(drawn)
    values, counts = np.unique(null.round(12), return_counts=True)
    tail = np.cumsum(counts[::-1])[::-1] / null.size
    return float(values[np.argmax(tail <= alpha)]) if (tail <= alpha).any() else math.nan


def _many_critical(n: int, alpha: float) -> float:
    from scipy.stats import t

    least = float(t.isf(alpha / 2, n - 2))
    return least / math.sqrt(n - 2 + least**2)


def _fisher_power(n: int, rho: float, alpha: float) -> Power:
    """Spearman's rho of binormal values is 6/pi arcsin(rho/2); its z scatters as Bonett and Wright say."""
    from scipy.special import ndtr

    ranks = 6.0 / math.pi * math.asin(rho / 2.0)
    error = math.sqrt((1.0 + ranks**2 / 2.0) / (n - 3))
    least, centre = math.atanh(_many_critical(n, alpha)), math.atanh(ranks)
    power = float(ndtr((centre - least) / error) + ndtr((-centre - least) / error))
    return Power(
        power=power,
        interval=Interval(power, power),
        n=n,
        effect=rho,
        measure="correlation",
        alpha=alpha,
        method="Spearman, Fisher's z",
        assumed=("binormal values", "independent subjects"),
        n_simulations=0,
    )


def two_sample_power(n_first: int, n_second: int, effect: float, *, alpha: float = 0.05) -> Power:
    """Power of a two-sided t test of two groups (closed form).

    Parameters
    ----------
    n_first, n_second : int
        Subjects of each group.
    effect : float
        Difference of means in standard deviations.
    alpha : float

    Raises
    ------
    ValueError
        If a setting is out of range.
    """
    from scipy.stats import nct, t

    _check(min(n_first, n_second), 2, alpha, 1)
    freedom = n_first + n_second - 2
    shift = abs(effect) / math.sqrt(1.0 / n_first + 1.0 / n_second)
    least = float(t.ppf(1.0 - alpha / 2, freedom))
    power = float(nct.sf(least, freedom, shift) + nct.cdf(-least, freedom, shift)) if shift else alpha
    return Power(
        power=power,
        interval=Interval(power, power),
        n=n_first + n_second,
        effect=effect,
        measure="difference in standard deviations",
        alpha=alpha,
        method="t test, noncentral t",
        assumed=("normal values that scatter alike", "independent subjects"),
        n_simulations=0,
    )


def _check(n: int, smallest: int, alpha: float, count: int) -> None:
    if n != int(n) or n < smallest:
        raise ValueError(f"n is {n}, but must be a whole number of at least {smallest}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}, but must lie between 0 and 1")
    if count < 1:
        raise ValueError(f"{count} draws were asked for, but at least 1 is needed")


def _critical(alpha: float) -> float:
    from scipy.stats import chi2

    return float(chi2.isf(alpha, 1))


def _chi_square(time: DoubleArray, high: npt.NDArray[np.bool_], last: float) -> DoubleArray:
    """Log-rank chi-square of rows of event times without ties, all censored at `last`."""
    n = time.shape[1]
    order = np.argsort(time, axis=1)
    events = np.take_along_axis(time, order, axis=1) <= last
    second = high[order]
    at_risk = n - np.arange(n)
    share = np.cumsum(second[:, ::-1], axis=1)[:, ::-1] / at_risk
    excess = np.sum(events * (second - share), axis=1)
    variance = np.sum(events * share * (1.0 - share), axis=1)
    return np.where(variance > 0.0, excess**2 / np.where(variance > 0.0, variance, 1.0), 0.0)


def _rank_products(one: DoubleArray, other: DoubleArray) -> DoubleArray:
    n = one.shape[1]
    ranks = [np.argsort(np.argsort(values, axis=1), axis=1) - (n - 1) / 2.0 for values in (one, other)]
    return np.asarray(np.sum(ranks[0] * ranks[1], axis=1) / (n * (n**2 - 1) / 12.0))


def _simulated(
    found: int,
    count: int,
    n: int,
    effect: float,
    measure: str,
    alpha: float,
    method: str,
    assumed: tuple[str, ...],
) -> Power:
    interval = binomial_interval(found, count).interval
    return Power(found / count, interval, n, effect, measure, alpha, method, assumed, count)
