"""How well a number tells two outcomes apart: the ROC curve, its area and the interval of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.study.correlation import unit_ranks
from imgtheranostics.study.findings import Finding, Interval, check_level, normal_reach
from imgtheranostics.study.resampling import check_draws, product_p, unit_vector
from imgtheranostics.study.samples import DoubleArray, Units, common_unit, complete_rows, require_spread


@dataclass(frozen=True, kw_only=True, eq=False)
class RocArea(Finding):
    """Area under the ROC curve: the chance that a responder has the higher score.

    Attributes
    ----------
    standard_error : float
        DeLong; 0 where the outcomes are told apart completely.
    n_positive, n_negative : int
    threshold : (m,) ndarray
        Scores, descending, from infinity; at or above it a subject is called positive. In `score_unit`.
    sensitivity, specificity : (m,) ndarray
        At each threshold; to choose one from them needs other subjects to test it on.
    score_unit : str
    """

    standard_error: float
    n_positive: int
    n_negative: int
    threshold: DoubleArray
    sensitivity: DoubleArray
    specificity: DoubleArray
    score_unit: str


def roc_area(
    score: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    rng: int | np.random.Generator = 0,
    n_permutations: int = 9999,
    level: float = 0.95,
    unit: Units = "1",
) -> RocArea:
    """Area under the ROC curve with DeLong's interval, and the permutation p value that it is one half.

    Parameters
    ----------
    score : (n,) array_like
        One value per subject; NaN is left out and counted.
    outcome : (n,) array_like
        1 for responders, 0 for the others.
    rng : Generator or int
    n_permutations : int
        Up to 8 subjects every order is looked at.
    level : float
    unit : str or sequence of str
        Of `score`.

    Returns
    -------
    RocArea
        Where outcomes are told apart completely DeLong's error is 0 and the interval is that of Newcombe's
        method 5, as `method` says.

    Raises
    ------
    ValueError
        If columns differ in length or outcomes are not 0 and 1.
    IllConditioned
        For fewer than 2 subjects of either outcome, or a constant score.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837.
    .. [2] Newcombe, Stat. Med. 25 (2006) 559, doi:10.1002/sim.2324
    """
    check_level(level)
    check_draws(n_permutations, "n_permutations")
    spelled = common_unit(unit, "score")
    rows = complete_rows({"score": score, "outcome": outcome}, smallest=4)
    require_spread(rows["score"], "score")
    if not np.isin(rows["outcome"], (0.0, 1.0)).all():
        raise ValueError("outcome must be 1 for responders and 0 for the others")
    positive = rows["outcome"] == 1.0
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise IllConditioned(
            "too few subjects of one outcome",
            where="outcome",
            found=f"{m} with, {n} without",
            needed="at least 2 of each",
            next_step="report the scores one by one",
        )
    area, error = _delong(rows["score"][positive], rows["score"][~positive])
    p_value, words = product_p(
        unit_ranks(rows["score"]),
        unit_vector(rows["outcome"]),
        n_permutations,
        np.random.default_rng(rng),
    )
    reach = normal_reach(level)
    if error > 0.0:
        interval = Interval(max(area - reach * error, 0.0), min(area + reach * error, 1.0))
    else:
        interval = _newcombe(area, m, n, reach)
    thresholds, sensitivity, specificity = _curve(rows["score"], positive)
    return RocArea(
        measure="area under the ROC curve",
        estimate=area,
        interval=interval,
        p_value=p_value,
        n=rows.n,
        method=f"ROC area; p from {words} (Mann-Whitney); interval by "
        f"{'DeLong' if error > 0.0 else 'Newcombe, method 5'}",
        level=level,
        assumed=("subjects are independent",),
        left_out=rows.left_out,
        warnings=rows.warnings,
        standard_error=error,
        n_positive=m,
        n_negative=n,
        threshold=thresholds,
        sensitivity=sensitivity,
        specificity=specificity,
        score_unit=spelled,
    )


def _delong(positive: DoubleArray, negative: DoubleArray) -> tuple[float, float]:
    """Area and standard error from the placements of each subject among the others."""
    from scipy.stats import rankdata

    m, n = positive.size, negative.size
    together = rankdata(np.concatenate([positive, negative]))
    above = (together[:m] - rankdata(positive)) / n
    below = 1.0 - (together[m:] - rankdata(negative)) / m
    variance = float(np.var(above, ddof=1)) / m + float(np.var(below, ddof=1)) / n
    return float(above.mean()), math.sqrt(variance) if variance > 1e-18 else 0.0


def _newcombe(area: float, m: int, n: int, reach: float) -> Interval:
    """Areas whose Hanley-McNeil error puts the found one just within reach, by bisection."""
    half = (m + n) / 2.0 - 1.0

    def error(a: float) -> float:
        wide = 1.0 + half * (1.0 - a) / (2.0 - a) + half * a / (1.0 + a)
        return math.sqrt(max(a * (1.0 - a) * wide / (m * n), 0.0))

    limits = []
    for sign, end in ((-1.0, 0.0), (1.0, 1.0)):
        near, far = area, end
        for _ in range(60):
            middle = (near + far) / 2.0
            within = sign * (middle - area) <= reach * error(middle)
            near, far = (middle, far) if within else (near, middle)
        limits.append((near + far) / 2.0)
    return Interval(*limits)


def _curve(
    score: DoubleArray, positive: npt.NDArray[np.bool_]
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    thresholds = np.concatenate([[np.inf], np.unique(score)[::-1]])
    hit = np.sort(score[positive])
    miss = np.sort(score[~positive])
    sensitivity = 1.0 - np.searchsorted(hit, thresholds, side="left") / hit.size
    specificity = np.searchsorted(miss, thresholds, side="left") / miss.size
    return thresholds, sensitivity, specificity
