"""Cox regression of time to event on continuous uptake."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.study.concordance import harrell, optimism
from imgtheranostics.study.cox_newton import newton_coefficients
from imgtheranostics.study.findings import Finding, Interval, check_level, normal_reach
from imgtheranostics.study.log_rank_sums import follow_up
from imgtheranostics.study.resampling import check_draws, product_p, unit_vector
from imgtheranostics.study.samples import (
    DoubleArray,
    Rows,
    Units,
    common_unit,
    complete_rows,
    events,
    require_not_negative,
    require_spread,
)
from imgtheranostics.study.statsmodels_extra import from_statsmodels

_STEEPEST = 12.0
"""A log hazard ratio per standard deviation beyond this is no estimate: the likelihood has no maximum."""


_ASSUMED = (
    "subjects are independent",
    "hazards are proportional",
    "censoring does not depend on uptake",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoxRegression(Finding):
    """Cox regression. `estimate` is the hazard ratio per `step` of uptake.

    Attributes
    ----------
    step : str
        What one step is: doubling, or one unit.
    coefficient, standard_error : float
        Logarithm of the hazard ratio.
    wald_p_value, likelihood_ratio_p_value : float
        For many subjects; too small for few.
    n_events : int
    adjusted_for : mapping of str to float
        Hazard ratio per unit of what was adjusted for.
    concordance : float
        Harrell's C of the model on the subjects that it was fitted to: share of pairs in the right order.
    corrected_concordance : float
        Less the optimism of being fitted to them, by bootstrap.
    """

    step: str
    coefficient: float
    standard_error: float
    wald_p_value: float
    likelihood_ratio_p_value: float
    n_events: int
    adjusted_for: Mapping[str, float]
    concordance: float
    corrected_concordance: float


def cox_regression(
    uptake: npt.ArrayLike,
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    adjust: Mapping[str, npt.ArrayLike] | None = None,
    logarithmic: bool = True,
    rng: int | np.random.Generator = 0,
    n_permutations: int = 9999,
    n_resamples: int = 100,
    level: float = 0.95,
    unit: Units = "1",
    time_unit: Units = "s",
) -> CoxRegression:
    """Hazard ratio of continuous uptake: no cut-point to choose, and none to correct for.

    Needs the extra ``stats`` (statsmodels); ties by Efron.

    Parameters
    ----------
    uptake, time, event : (n,) array_like
        As `cutpoint_search`; NaN is left out and counted.
    adjust : mapping of str to (n,) array_like, optional
        Other quantities of the model, such as dose, by name. With them the p value is that of the
        likelihood ratio and the interval is Wald's.
    logarithmic : bool
        Take the hazard ratio per doubling of uptake, which then has to be above zero; else per unit.
    rng : Generator or int
    n_permutations : int
        Of outcomes against uptake: p value of the score test, without `adjust`.
    n_resamples : int
        Bootstrap draws for the optimism of the concordance; 0 leaves it out (NaN).
    level : float
    unit, time_unit : str or sequence of str

    Returns
    -------
    CoxRegression
        Without `adjust` the interval is that of the profile likelihood.

    Raises
    ------
    ValueError
        If columns differ in length or a setting is out of range.
    IllConditioned
        For fewer than 6 subjects, no event, constant columns, or uptake that orders events completely.
    ImplausibleValue, UnitMismatch
        For uptake not above zero with `logarithmic`, negative times, infinite values, or mixed units.
    UnsupportedInput
        Without statsmodels.
    """
    check_level(level)
    check_draws(n_permutations, "n_permutations")
    spelled, _ = common_unit(unit, "uptake"), common_unit(time_unit, "time")
    others = dict(adjust or {})
    if {"uptake", "time", "event"} & set(others):
        raise ValueError("quantities to adjust for must not be named uptake, time or event")
    rows = complete_rows(
        {"uptake": uptake, "time": time, "event": event, **others}, smallest=6 + 2 * len(others)
    )
    require_not_negative(rows["time"], "time")
    seen = events(rows["event"])
    design, scale = _design(rows, list(others), logarithmic)
    model = _Model(rows["time"], seen, design)
    beta, error = model.fitted()
    interval = _wald(beta, error, level) if others else _profile(model, beta[0], error[0], level)
    generator = np.random.default_rng(rng)
    ratio_p = model.likelihood_ratio_p(beta)
    p_value, words = ratio_p, "the likelihood ratio"
    if not others:
        known = follow_up(rows["time"], seen)
        p_value, words = product_p(
            unit_vector(design[known.order, 0]), unit_vector(known.scores), n_permutations, generator
        )
        words = f"{words} of the score"
    apparent = harrell(design @ beta, rows["time"], seen)
    hopeful = optimism(design, rows["time"], seen, _refit, n_resamples, generator)
    step = "doubling of uptake" if logarithmic else f"{spelled} of uptake"
    return CoxRegression(
        measure=f"hazard ratio per {step}",
        estimate=math.exp(beta[0] / scale[0]),
        interval=Interval(*(_exponential(limit / scale[0]) for limit in interval)),
        p_value=p_value,
        n=rows.n,
        method=f"Cox regression (Efron ties); p from {words}; interval "
        f"{'by Wald' if others else 'of the profile likelihood'}",
        level=level,
        assumed=(*_ASSUMED, f"the log hazard is a straight line in {'log ' * logarithmic}uptake"),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *_few_events(int(seen.sum()), 1 + len(others))),
        step=step,
        coefficient=float(beta[0] / scale[0]),
        standard_error=float(error[0] / scale[0]),
        wald_p_value=math.erfc(abs(beta[0] / error[0]) / math.sqrt(2.0)),
        likelihood_ratio_p_value=ratio_p,
        n_events=int(seen.sum()),
        adjusted_for=dict(zip(others, map(_exponential, beta[1:] / scale[1:]), strict=True)),
        concordance=apparent,
        corrected_concordance=apparent - hopeful,
    )


class _Model:
    """The partial likelihood of one design, whose columns are standardised; the first is uptake."""

    def __init__(self, time: DoubleArray, event: npt.NDArray[np.bool_], design: DoubleArray) -> None:
        hazards = from_statsmodels("duration.hazard_regression", "Cox regression")
        self._model: Any = hazards.PHReg(time, design, status=event.astype(int), ties="efron")
        self._columns = design.shape[1]

    def fitted(self) -> tuple[DoubleArray, DoubleArray]:
        """Coefficients and their standard errors; IllConditioned where the likelihood has no maximum."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = self._model.fit(disp=0)
                beta, error = np.asarray(found.params), np.asarray(found.bse)
            except (np.linalg.LinAlgError, ValueError):
                beta = error = np.full(self._columns, np.nan)
        if not (np.isfinite(beta).all() and np.isfinite(error).all()) or np.abs(beta).max() > _STEEPEST:
            raise IllConditioned(
                "the Cox model has no finite estimate: a column orders the events completely, or columns "
                "repeat each other",
                where="uptake",
                needed="events over a range of uptake that overlaps with that of later events",
                next_step="use log_rank at a cut-point fixed in advance, or adjust for less",
            )
        return beta, error

    def log_likelihood(self, beta: npt.ArrayLike) -> float:
        """Partial log likelihood at coefficients given."""
        return float(self._model.loglike(np.atleast_1d(np.asarray(beta, np.float64))))

    def likelihood_ratio_p(self, beta: DoubleArray) -> float:
        """Of leaving uptake out."""
        from scipy.stats import chi2

        without = np.zeros(1)
        if beta.size > 1:
            rest = _Model.__new__(_Model)
            rest._columns = beta.size - 1
            rest._model = type(self._model)(
                self._model.endog, self._model.exog[:, 1:], status=self._model.status, ties="efron"
            )
            fitted = rest.fitted()[0]
            return float(
                chi2.sf(max(2.0 * (self.log_likelihood(beta) - rest.log_likelihood(fitted)), 0.0), 1)
            )
        return float(chi2.sf(max(2.0 * (self.log_likelihood(beta) - self.log_likelihood(without)), 0.0), 1))


def _design(rows: Rows, others: list[str], logarithmic: bool) -> tuple[DoubleArray, DoubleArray]:
    """Standardised columns, and the standard deviation that one unit of each was divided by."""
    uptake = rows["uptake"]
    if logarithmic:
        if (uptake <= 0.0).any():
            raise ImplausibleValue(
                f"uptake is not above zero in {np.count_nonzero(uptake <= 0.0)} subjects",
                where="uptake",
                needed="values above zero for a hazard ratio per doubling",
                next_step="give logarithmic=False, or check these scans",
            )
        uptake = np.log2(uptake)
    columns = {"uptake": uptake, **{name: rows[name] for name in others}}
    for name, values in columns.items():
        require_spread(values, name)
    together = np.column_stack(list(columns.values()))
    scale = together.std(axis=0)
    return (together - together.mean(axis=0)) / scale, scale


def _refit(design: DoubleArray, time: DoubleArray, event: npt.NDArray[np.bool_]) -> DoubleArray | None:
    """Coefficients; of one column the sign, that of the score at zero, is all that an order needs."""
    if design.shape[1] == 1:
        known = follow_up(time, event)
        return np.sign(known.scores @ design[known.order])
    return newton_coefficients(design, time, event, steepest=_STEEPEST)


def _wald(beta: DoubleArray, error: DoubleArray, level: float) -> tuple[float, float]:
    half = normal_reach(level) * float(error[0])
    return float(beta[0]) - half, float(beta[0]) + half


def _profile(model: _Model, beta: float, error: float, level: float) -> tuple[float, float]:
    """Where the log likelihood has fallen by half the chi-square quantile; infinite where it never does."""
    least = model.log_likelihood(beta) - normal_reach(level) ** 2 / 2.0

    def above(value: float) -> float:
        return model.log_likelihood(value) - least

    return tuple(_edge(above, beta, sign * error * normal_reach(level)) for sign in (-1.0, 1.0))  # type: ignore[return-value]


def _edge(above: Callable[[float], float], inside: float, step: float) -> float:
    """Where a concave function that is positive inside becomes zero, by false position (Illinois)."""
    outside, height = inside + step, above(inside)
    depth = above(outside)
    while depth > 0.0:
        inside, height, step = outside, depth, 2.0 * step
        outside = inside + step
        if abs(outside) > 4.0 * _STEEPEST:
            return math.copysign(math.inf, step)
        depth = above(outside)
    last = 0.0
    for _ in range(60):
        middle = (inside * depth - outside * height) / (depth - height)
        found = above(middle)
        if abs(found) < 1e-7:
            break
        if found > 0.0:
            inside, height = middle, found
            depth = depth / 2.0 if last > 0.0 else depth
        else:
            outside, depth = middle, found
            height = height / 2.0 if last < 0.0 else height
        last = found
    return middle


def _exponential(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf


def _few_events(n_events: int, columns: int) -> tuple[Caution, ...]:
    if n_events >= 10 * columns:
        return ()
    told = f"{n_events} events for {columns} coefficients: fewer than 10 each, estimates are unstable"
    return (Caution("few-events", told),)
