"""Time to event: Kaplan-Meier curves with numbers at risk, and the log-rank test of groups fixed before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.study.findings import Finding, Interval, check_level, normal_reach
from imgtheranostics.study.log_rank_sums import FollowUp, divided, follow_up, one_step_hazard_ratio, z_scores
from imgtheranostics.study.resampling import (
    LARGEST_PERMUTED,
    check_draws,
    is_exact,
    orders,
    permutation_p,
    permutation_words,
)
from imgtheranostics.study.samples import (
    DoubleArray,
    IntArray,
    Units,
    codes,
    common_unit,
    complete_rows,
    events,
    require_not_negative,
)

_ASSUMED = (
    "subjects are independent",
    "groups were fixed before outcomes were seen",
    "censoring does not depend on the group",
    "hazards are proportional (for the hazard ratio)",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SurvivalCurve(Finding):
    """A Kaplan-Meier curve. `estimate` is the median time, NaN where half of the subjects never came to it.

    Attributes
    ----------
    time : (m,) ndarray
        Times at which something happened, ascending, in `unit`.
    survival, low, high : (m,) ndarray
        Share without event just after each time, with limits at `level`; limits NaN where the share is 0.
    at_risk, events, censored : (m,) ndarray of int
        Subjects at risk just before each time, and what happened to them there.
    """

    time: DoubleArray
    survival: DoubleArray
    low: DoubleArray
    high: DoubleArray
    at_risk: IntArray
    events: IntArray
    censored: IntArray

    def at(self, time: npt.ArrayLike) -> DoubleArray:
        """Share without event at times given; NaN after the last follow-up unless all had the event."""
        wanted = np.asarray(time, np.float64)
        found = np.concatenate([[1.0], self.survival])[np.searchsorted(self.time, wanted, side="right")]
        unseen = (wanted > self.time[-1]) & (self.survival[-1] > 0.0)
        return np.where(unseen, np.nan, found)

    def numbers_at_risk(self, time: npt.ArrayLike) -> IntArray:
        """Subjects still under observation just before times given."""
        wanted = np.asarray(time, np.float64)
        return np.append(self.at_risk, 0)[np.searchsorted(self.time, wanted, side="left")]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogRank(Finding):
    """Log-rank test of two groups. `estimate` is the one-step hazard ratio of the second against the first.

    Attributes
    ----------
    groups : (str, str)
    sizes, observed : (int, int)
        Subjects and events of each group.
    expected : (float, float)
        Events expected if the groups were alike.
    statistic : float
        Chi-square with 1 degree of freedom.
    asymptotic_p_value : float
        From the chi-square distribution; too small for small groups.
    """

    groups: tuple[str, str]
    sizes: tuple[int, int]
    observed: tuple[int, int]
    expected: tuple[float, float]
    statistic: float
    asymptotic_p_value: float


def kaplan_meier(
    time: npt.ArrayLike, event: npt.ArrayLike, *, level: float = 0.95, time_unit: Units = "s"
) -> SurvivalCurve:
    """Share of subjects without event over time, with Greenwood intervals on the log-log scale.

    Parameters
    ----------
    time : (n,) array_like
        From time zero to event or end of follow-up; NaN is left out and counted.
    event : (n,) array_like
        1 where the event was seen, 0 where censored.
    level : float
    time_unit : str or sequence of str

    Returns
    -------
    SurvivalCurve
        The interval of the median is where the limits of the curve cross one half [1]_; infinite where the
        upper one never does.

    Raises
    ------
    ValueError
        If columns differ in length, or events are not 0 and 1.
    IllConditioned
        For fewer than 2 subjects, or no event.
    ImplausibleValue, UnitMismatch
        For negative times, or mixed units.

    References
    ----------
    .. [1] Brookmeyer, Crowley, Biometrics 38 (1982) 29.
    """
    from scipy.stats import CensoredData, ecdf

    check_level(level)
    unit = common_unit(time_unit, "time")
    rows = complete_rows({"time": time, "event": event}, smallest=2)
    require_not_negative(rows["time"], "time")
    seen = events(rows["event"])
    curve = ecdf(CensoredData.right_censored(rows["time"], ~seen)).sf
    moments, share = np.asarray(curve.quantiles), np.asarray(curve.probabilities)
    ordered = np.sort(rows["time"])
    at_risk = rows.n - np.searchsorted(ordered, moments, side="left")
    place = np.searchsorted(moments, rows["time"])
    deaths, gone = (np.bincount(place[one], minlength=moments.size).astype(np.int64) for one in (seen, ~seen))
    low, high = _limits(share, at_risk, deaths, level)
    median = _first_below(moments, share)
    return SurvivalCurve(
        measure="median time without event",
        estimate=median if math.isfinite(median) else math.nan,
        interval=Interval(_first_below(moments, low), _first_below(moments, high)),
        p_value=math.nan,
        n=rows.n,
        method="Kaplan-Meier; Greenwood limits on the log-log scale; median limits of Brookmeyer and Crowley",
        unit=unit,
        level=level,
        assumed=("censoring tells nothing of the event",),
        left_out=rows.left_out,
        warnings=rows.warnings,
        time=moments,
        survival=share,
        low=low,
        high=high,
        at_risk=at_risk.astype(np.int64),
        events=deaths,
        censored=gone,
    )


def log_rank(
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    method: Literal["permutation", "asymptotic"] = "permutation",
    rng: int | np.random.Generator = 0,
    n_permutations: int = 9999,
    level: float = 0.95,
    time_unit: Units = "s",
) -> LogRank:
    """Compare the time to event of two groups that were fixed before outcomes were looked at.

    Parameters
    ----------
    time, event : (n,) array_like
        As `kaplan_meier`.
    group : (n,) array_like
        Two labels; the second in sorted order is compared with the first. A cut-point that was chosen on
        these outcomes does not belong here: `cutpoint_search`.
    method : {"permutation", "asymptotic"}
        With 19 subjects the chi-square distribution calls 6.5 % of null studies significant at 5 %; above 500
        it is used in any case.
    rng : Generator or int
    n_permutations : int
    level : float
    time_unit : str or sequence of str

    Raises
    ------
    ValueError
        If columns differ in length, there are not two groups, or the method is unknown.
    IllConditioned
        For fewer than 4 subjects, no event, or no event while both groups are at risk.
    ImplausibleValue, UnitMismatch
        For negative times, or mixed units.

    References
    ----------
    .. [1] Peto, Peto, J. R. Stat. Soc. A 135 (1972) 185.
    """
    if method not in ("permutation", "asymptotic"):
        raise ValueError(f"method {method!r} is not one of permutation, asymptotic")
    check_level(level)
    check_draws(n_permutations, "n_permutations")
    common_unit(time_unit, "time")
    numbers, names = codes(group, "group")
    rows = complete_rows(
        {"time": time, "event": event, "group": np.where(numbers < 0, np.nan, numbers)}, smallest=4
    )
    present = np.unique(rows["group"]).astype(int)
    if present.size != 2:
        raise ValueError(
            f"group has {present.size} labels, but two are compared; adjust several tests by holm"
        )
    require_not_negative(rows["time"], "time")
    seen = events(rows["event"])
    known = follow_up(rows["time"], seen)
    second = (rows["group"] == present[1])[known.order]
    excess, variance = (float(one) for one in divided(known, second))
    _require_told(variance)
    statistic = excess**2 / variance
    by_formula = math.erfc(math.sqrt(statistic / 2.0))
    p_value, words = by_formula, "the chi-square distribution"
    if method == "permutation" and rows.n <= LARGEST_PERMUTED:
        p_value = _permuted_p(known, second, math.sqrt(statistic), n_permutations, np.random.default_rng(rng))
        words = permutation_words(rows.n, n_permutations)
    ratio, interval = one_step_hazard_ratio(excess, variance, normal_reach(level))
    high = int(np.count_nonzero(second))
    observed = int(np.count_nonzero(seen[known.order] & second))
    total = int(seen.sum())
    return LogRank(
        measure=f"hazard ratio, {names[present[1]]} against {names[present[0]]}",
        estimate=ratio,
        interval=interval,
        p_value=p_value,
        n=rows.n,
        method=f"log-rank; p from {words}; one-step hazard ratio (Peto)",
        level=level,
        assumed=_ASSUMED,
        left_out=rows.left_out,
        warnings=(*rows.warnings, *_few_events(total)),
        groups=(names[present[0]], names[present[1]]),
        sizes=(rows.n - high, high),
        observed=(total - observed, observed),
        expected=(total - observed + excess, observed - excess),
        statistic=statistic,
        asymptotic_p_value=by_formula,
    )


def _require_told(variance: float) -> None:
    if variance <= 1e-12:
        raise IllConditioned(
            "no event tells the groups apart", where="event", needed="events while both groups are at risk"
        )


def _few_events(total: int) -> tuple[Caution, ...]:
    if total >= 10:
        return ()
    return (Caution("few-events", f"only {total} events: the interval of the hazard ratio is a rough one"),)


def _permuted_p(
    known: FollowUp, second: npt.NDArray[np.bool_], observed: float, count: int, rng: np.random.Generator
) -> float:
    null = [np.abs(z_scores(*divided(known, second[order]))) for order in orders(known.n, count, rng)]
    return permutation_p(observed, np.concatenate(null), exact=is_exact(known.n))


def _first_below(moments: DoubleArray, share: DoubleArray) -> float:
    """First time at which a share is one half or less; infinite where it never is."""
    reached = np.flatnonzero(share <= 0.5 + 1e-12)
    return float(moments[reached[0]]) if reached.size else math.inf


def _limits(
    share: DoubleArray, at_risk: IntArray, deaths: IntArray, level: float
) -> tuple[DoubleArray, DoubleArray]:
    """Greenwood limits on the log-log scale; 1 before the first event, NaN once nobody is left."""
    inside = (share > 0.0) & (share < 1.0)
    left = np.maximum(at_risk - deaths, 1)
    spread = np.sqrt(np.cumsum(deaths / (at_risk * left)))
    logarithm = np.log(np.where(inside, share, 0.5))
    reach = normal_reach(level) * spread / np.abs(logarithm)
    low, high = (np.where(inside, np.exp(logarithm * np.exp(sign * reach)), np.nan) for sign in (1, -1))
    low[share == 1.0] = high[share == 1.0] = 1.0
    return low, high
