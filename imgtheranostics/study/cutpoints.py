"""The cut-point that divides outcomes best, with a p value that knows of the search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.study.findings import Finding, check_level
from imgtheranostics.study.log_rank_sums import (
    FollowUp,
    follow_up,
    one_step_hazard_ratio,
    statistics_at_cuts,
    z_scores,
)
from imgtheranostics.study.resampling import check_draws, permutation_p
from imgtheranostics.study.samples import (
    DoubleArray,
    Units,
    column,
    common_unit,
    complete_rows,
    events,
    require,
    require_not_negative,
    require_spread,
)

MOST_CUTS = 100
"""Of more possible cut-points, this many at even steps of rank are looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CutpointSearch(Finding):
    """The best cut-point. `estimate` is the hazard ratio of high against low uptake there.

    Attributes
    ----------
    cutpoint : float
        Half way between two subjects; above it uptake counts as high. In `cutpoint_unit`.
    cutpoint_unit : str
    statistic : float
        Largest log-rank chi-square.
    uncorrected_p_value : float
        What a log-rank test at that cut-point alone would say; never to be reported as a finding.
    n_low, n_high : int
    candidates, chi_square : (k,) ndarray
        All cut-points that were looked at, and the log-rank chi-square of each.
    """

    cutpoint: float
    cutpoint_unit: str
    statistic: float
    uncorrected_p_value: float
    n_low: int
    n_high: int
    candidates: DoubleArray
    chi_square: DoubleArray


def cutpoint_search(
    uptake: npt.ArrayLike,
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    rng: int | np.random.Generator = 0,
    n_permutations: int = 999,
    smallest_share: float = 0.2,
    level: float = 0.95,
    unit: Units = "1",
    time_unit: Units = "s",
) -> CutpointSearch:
    """Search the uptake that divides subjects into the most different outcomes, and correct for the search.

    The largest log-rank statistic over all cut-points is compared with that of subjects whose outcomes were
    permuted against their uptake, searched in the same way. The p value at the cut-point alone is too small:
    with 19 subjects about 3 in 10 studies without any effect would be called significant.

    Parameters
    ----------
    uptake : (n,) array_like
        One value per subject; NaN (an outcome without scan) is left out and counted.
    time : (n,) array_like
        From time zero to the event or the end of follow-up, any unit, the same for all.
    event : (n,) array_like
        1 where the event was seen, 0 where censored.
    rng : Generator or int
    n_permutations : int
    smallest_share : float
        Share of subjects that each side must hold, at least one; below 0.5.
    level : float
    unit, time_unit : str or sequence of str
        Of `uptake` and `time`, for all or row by row.

    Returns
    -------
    CutpointSearch
        The interval of the hazard ratio is as wide as the search demands: its reach is the permutation
        quantile of the largest absolute z, not 1.96.

    Raises
    ------
    ValueError
        If columns differ in length or a setting is out of range.
    IllConditioned
        For fewer than 6 subjects, no event, or constant uptake.
    ImplausibleValue, UnitMismatch
        For negative times, infinite values, or mixed units.

    References
    ----------
    .. [1] Altman, Lausen, Sauerbrei, Schumacher, J. Natl. Cancer Inst. 86 (1994) 829.
    .. [2] Hilsenbeck, Clark, Stat. Med. 15 (1996) 103.
    """
    check_level(level)
    check_draws(n_permutations, "n_permutations")
    if not 0.0 < smallest_share < 0.5:
        raise ValueError(f"smallest_share is {smallest_share}, but must lie between 0 and 0.5")
    spelled = common_unit(unit, "uptake")
    common_unit(time_unit, "time")
    rows = complete_rows({"uptake": uptake, "time": time, "event": event}, smallest=6)
    require_not_negative(rows["time"], "time")
    require_spread(rows["uptake"], "uptake")
    known = follow_up(rows["time"], events(rows["event"]))
    ordered = np.sort(rows["uptake"])
    cuts = _cuts(ordered, smallest_share)
    excess, variance = _at_cuts(known, rows["uptake"], cuts)
    z = z_scores(excess, variance)
    best = int(np.argmax(np.abs(z)))
    generator = np.random.default_rng(rng)
    orders = generator.permuted(np.broadcast_to(np.arange(rows.n), (n_permutations, rows.n)), axis=1)
    largest = np.abs(z_scores(*statistics_at_cuts(known, orders, cuts))).max(axis=1)
    middles = (ordered[cuts - 1] + ordered[cuts]) / 2.0
    chi_square = float(z[best] ** 2)
    reach = float(np.quantile(largest, level))
    ratio, interval = one_step_hazard_ratio(float(excess[best]), float(variance[best]), reach)
    return CutpointSearch(
        measure="hazard ratio, uptake above against below the best cut-point",
        estimate=ratio,
        interval=interval,
        p_value=permutation_p(abs(float(z[best])), largest, exact=False),
        n=rows.n,
        method=f"largest log-rank chi-square of {cuts.size} cut-points; p from {n_permutations} random "
        "permutations of outcomes against uptake, each searched again; one-step hazard ratio",
        level=level,
        assumed=("subjects are independent", "censoring does not depend on uptake"),
        left_out=rows.left_out,
        warnings=(*rows.warnings, _optimistic()),
        cutpoint=float(middles[best]),
        cutpoint_unit=spelled,
        statistic=chi_square,
        uncorrected_p_value=math.erfc(math.sqrt(chi_square / 2.0)),
        n_low=int(cuts[best]),
        n_high=rows.n - int(cuts[best]),
        candidates=middles,
        chi_square=z**2,
    )


def split_at(uptake: npt.ArrayLike, cutpoint: float | Literal["median"]) -> npt.NDArray[np.object_]:
    """Group labels for `log_rank` at a cut-point that was fixed without looking at outcomes.

    Parameters
    ----------
    uptake : (n,) array_like
        One value per subject.
    cutpoint : float or "median"

    Returns
    -------
    (n,) ndarray of object
        ``"<= 3.2"`` and ``"> 3.2"``, which `log_rank` compares with each other in this order; None for a
        subject without uptake, who belongs to neither.

    Raises
    ------
    ValueError
        If uptake is not numbers.
    ImplausibleValue
        For infinite values.
    IllConditioned
        If all subjects lie on one side.

    Examples
    --------
    >>> split_at([1.0, 5.0, float("nan")], 3.2).tolist()
    ['<= 3.2', '> 3.2', None]
    """
    given = column(uptake, "uptake")
    known = ~np.isnan(given)
    require(int(known.sum()), 2, "subjects with uptake", "uptake")
    limit = float(np.median(given[known])) if cutpoint == "median" else float(cutpoint)
    high = given > limit
    if not 0 < np.count_nonzero(high) < np.count_nonzero(known):
        raise IllConditioned(
            "all subjects lie on one side of the cut-point",
            where="uptake",
            found=f"{given[known].min():g} to {given[known].max():g}",
            needed=f"values on both sides of {limit:g}",
        )
    labels = np.full(given.size, None, np.object_)
    labels[known & ~high], labels[high] = f"<= {limit:g}", f"> {limit:g}"
    return labels


def _cuts(ordered: DoubleArray, smallest_share: float) -> npt.NDArray[np.intp]:
    """Numbers of low subjects at which uptake steps up and both sides are large enough."""
    n = ordered.size
    fewest = max(1, math.ceil(smallest_share * n - 1e-9))
    steps = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1
    found = steps[(steps >= fewest) & (steps <= n - fewest)]
    if not found.size:
        raise IllConditioned(
            "no cut-point leaves enough subjects on both sides",
            where="uptake",
            found=f"{steps.size + 1} different values",
            needed=f"at least {fewest} subjects above and below",
            next_step="use the continuous uptake: cox_regression",
        )
    if found.size > MOST_CUTS:
        found = found[np.linspace(0, found.size - 1, MOST_CUTS).round().astype(np.intp)]
    return found.astype(np.intp)


def _at_cuts(
    known: FollowUp, uptake: DoubleArray, cuts: npt.NDArray[np.intp]
) -> tuple[DoubleArray, DoubleArray]:
    """Observed less expected events above each cut-point, and their variance."""
    place = np.empty(known.n, np.intp)
    place[np.argsort(uptake, kind="stable")] = np.arange(known.n)
    excess, variance = (found[0] for found in statistics_at_cuts(known, place[known.order][None], cuts))
    if variance.max() <= 1e-12:
        raise IllConditioned(
            "no event tells the sides of any cut-point apart",
            where="event",
            needed="events while subjects of both sides are at risk",
        )
    return excess, variance


def _optimistic() -> Caution:
    return Caution(
        "searched-cutpoint",
        "the cut-point was chosen on these outcomes: its hazard ratio is further from 1 than the truth, and "
        "another group of subjects has to confirm it",
    )
