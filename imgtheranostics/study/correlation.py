"""Rank correlation of two quantities over subjects, with exact or permutation p values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.study.findings import NO_INTERVAL, Finding, Interval, check_level, normal_reach
from imgtheranostics.study.resampling import (
    check_draws,
    is_exact,
    orders,
    permutation_p,
    permutation_words,
    product_p,
    unit_vector,
)
from imgtheranostics.study.samples import (
    DoubleArray,
    Rows,
    Units,
    common_unit,
    complete_rows,
    require,
    require_spread,
)

_INDEPENDENT = "rows are independent subjects"


def spearman(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    rng: int | np.random.Generator = 0,
    *,
    n_permutations: int = 9999,
    level: float = 0.95,
    x_unit: Units = "1",
    y_unit: Units = "1",
) -> Finding:
    """Spearman's rank correlation: how far one quantity rises with another, whatever the shape.

    Parameters
    ----------
    x, y : (n,) array_like
        One value per subject, any unit; NaN where one is missing: such rows are left out and counted.
    rng : Generator or int
    n_permutations : int
        Random orders for the p value of 9 to 500 subjects. Up to 8 every order is looked at; above 500 the
        t distribution is used.
    level : float
    x_unit, y_unit : str or sequence of str
        For all or row by row: ranks of mixed units mean nothing.

    Returns
    -------
    Finding
        `estimate` is rho, ties given mean ranks. The interval is Fisher's z with the standard error of
        Bonett and Wright [1]_, which covers the truth of binormal values in 94 to 97 % of samples of
        10 to 60.

    Raises
    ------
    ValueError
        If the columns differ in length or are not numbers.
    IllConditioned
        For fewer than 4 complete rows, or a constant column.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] Bonett, Wright, Psychometrika 65 (2000) 23, doi:10.1007/BF02294183
    """
    check_level(level)
    check_draws(n_permutations, "n_permutations")
    for unit, name in ((x_unit, "x"), (y_unit, "y")):
        common_unit(unit, name)
    rows = _paired(x, y)
    one, other = unit_ranks(rows["x"]), unit_ranks(rows["y"])
    estimate = float(np.clip(one @ other, -1.0, 1.0))
    n = rows.n
    p_value, words = product_p(one, other, n_permutations, np.random.default_rng(rng))
    interval, warnings = fisher_interval(estimate, n, 0, level)
    return Finding(
        measure="Spearman's rho",
        estimate=estimate,
        interval=interval,
        p_value=p_value,
        n=n,
        method=f"Spearman; p from {words}; interval by Fisher's z (Bonett-Wright)",
        level=level,
        assumed=(_INDEPENDENT,),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *warnings),
    )


def kendall(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    rng: int | np.random.Generator = 0,
    *,
    n_permutations: int = 9999,
    level: float = 0.95,
    x_unit: Units = "1",
    y_unit: Units = "1",
) -> Finding:
    """Kendall's tau-b: the share of concordant pairs less that of discordant ones, corrected for ties.

    Parameters
    ----------
    x, y : (n,) array_like
        One value per subject; NaN where one is missing.
    rng : Generator or int
    n_permutations : int
        Random orders, where there are ties and more than 8 subjects; without ties the p value is exact.
        Above 100 subjects with ties the normal distribution is used.
    level : float
    x_unit, y_unit : str or sequence of str

    Returns
    -------
    Finding
        The interval is Fisher's z with the variance 0.437 / (n - 4) [1]_.

    Raises
    ------
    ValueError, IllConditioned
        As `spearman`; at least 5 complete rows are needed.

    References
    ----------
    .. [1] Fieller, Hartley, Pearson, Biometrika 44 (1957) 470.
    """
    from scipy.stats import kendalltau

    check_level(level)
    check_draws(n_permutations, "n_permutations")
    for unit, name in ((x_unit, "x"), (y_unit, "y")):
        common_unit(unit, name)
    rows = _paired(x, y, smallest=5)
    n = rows.n
    tied = any(np.unique(values).size < n for values in rows.columns.values())
    if not tied or n > 100:
        found = kendalltau(rows["x"], rows["y"], method="asymptotic" if tied else "auto")
        estimate, p_value = float(found.statistic), float(found.pvalue)
        words = "the normal distribution" if tied or n > 33 else "the exact distribution"
    else:
        estimate, p_value = _permuted_tau(rows, n_permutations, np.random.default_rng(rng))
        words = permutation_words(n, n_permutations)
    interval, warnings = _fisher(estimate, math.sqrt(0.437 / (n - 4)), level)
    return Finding(
        measure="Kendall's tau-b",
        estimate=estimate,
        interval=interval,
        p_value=p_value,
        n=n,
        method=f"Kendall; p from {words}; interval by Fisher's z (Fieller)",
        level=level,
        assumed=(_INDEPENDENT,),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *warnings),
    )


def partial_spearman(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    adjust: Mapping[str, npt.ArrayLike],
    rng: int | np.random.Generator = 0,
    *,
    n_permutations: int = 9999,
    level: float = 0.95,
    x_unit: Units = "1",
    y_unit: Units = "1",
) -> Finding:
    """Rank correlation of what is left of two quantities when others, such as dose, are accounted for.

    Parameters
    ----------
    x, y : (n,) array_like
        One value per subject.
    adjust : mapping of str to (n,) array_like
        What may drive both, by name: injected dose, baseline volume.
    rng : Generator or int
    n_permutations : int
        Orders of the residual ranks [1]_; above 500 subjects the t distribution is used.
    level : float
    x_unit, y_unit : str or sequence of str

    Returns
    -------
    Finding
        `estimate` is the correlation of the residuals of ranks on ranks.

    Raises
    ------
    ValueError
        If `adjust` is empty or columns differ in length.
    IllConditioned
        For too few rows, a constant column, or one that the adjusted quantities determine.

    References
    ----------
    .. [1] Freedman, Lane, J. Bus. Econ. Stat. 1 (1983) 292.
    """
    check_level(level)
    check_draws(n_permutations, "n_permutations")
    for unit, name in ((x_unit, "x"), (y_unit, "y")):
        common_unit(unit, name)
    if not adjust:
        raise ValueError("adjust is empty: use spearman")
    if {"x", "y"} & set(adjust):
        raise ValueError("quantities to adjust for must not be named x or y")
    rows = complete_rows({"x": x, "y": y, **adjust}, smallest=len(adjust) + 4)
    for name, values in rows.columns.items():
        require_spread(values, name)
    basis = _basis(np.column_stack([unit_ranks(rows[name]) for name in adjust]))
    one, other = (_residual(unit_ranks(rows[name]), basis, name) for name in ("x", "y"))
    estimate = float(np.clip(one @ other, -1.0, 1.0))
    p_value, words = product_p(one, other, n_permutations, np.random.default_rng(rng), basis)
    interval, warnings = fisher_interval(estimate, rows.n, len(adjust), level)
    return Finding(
        measure=f"Spearman's rho, adjusted for {', '.join(adjust)}",
        estimate=estimate,
        interval=interval,
        p_value=p_value,
        n=rows.n,
        method=f"partial Spearman; p from {words} of residual ranks; interval by Fisher's z (Bonett-Wright)",
        level=level,
        assumed=(_INDEPENDENT, "ranks depend on the ranks of what is adjusted for along straight lines"),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *warnings),
    )


def unit_ranks(values: DoubleArray) -> DoubleArray:
    """Mean ranks, centred, of length 1: their dot product is the rank correlation."""
    from scipy.stats import rankdata

    return unit_vector(np.asarray(rankdata(values), np.float64))


def fisher_interval(rho: float, n: int, adjusted: int, level: float) -> tuple[Interval, tuple[Caution, ...]]:
    """Interval of Spearman's rho by Fisher's z, with the standard error of Bonett and Wright."""
    freedom = n - 3 - adjusted
    if freedom < 1:
        return NO_INTERVAL, (Caution("no-interval", f"{n} subjects are too few for an interval"),)
    return _fisher(rho, math.sqrt((1.0 + rho**2 / 2.0) / freedom), level)


def _fisher(estimate: float, error: float, level: float) -> tuple[Interval, tuple[Caution, ...]]:
    if abs(estimate) > 1.0 - 1e-12:
        told = Caution("no-interval", "all subjects lie in one order: the interval cannot be had from them")
        return NO_INTERVAL, (told,)
    reach = normal_reach(level) * error
    centre = math.atanh(estimate)
    return Interval(math.tanh(centre - reach), math.tanh(centre + reach)), ()


def _paired(x: npt.ArrayLike, y: npt.ArrayLike, smallest: int = 4) -> Rows:
    rows = complete_rows({"x": x, "y": y}, smallest=smallest)
    for name, values in rows.columns.items():
        require_spread(values, name)
    return rows


def _permuted_tau(rows: Rows, count: int, rng: np.random.Generator) -> tuple[float, float]:
    one, other = (np.sign(values[:, None] - values[None, :]) for values in rows.columns.values())
    scale = math.sqrt(float(np.sum(one**2)) * float(np.sum(other**2)))
    estimate = float(np.sum(one * other)) / scale
    null = []
    for order in orders(rows.n, count, rng):
        for block in np.array_split(order, max(1, order.size * rows.n // (1 << 21))):
            moved = other[block[:, :, None], block[:, None, :]]
            null.append(np.abs(np.tensordot(moved, one, axes=2)) / scale)
    p_value = permutation_p(abs(estimate), np.concatenate(null), exact=is_exact(rows.n))
    return estimate, p_value


def _basis(columns: DoubleArray) -> DoubleArray:
    """Orthonormal columns that span a constant and what is adjusted for."""
    together = np.column_stack([np.full(len(columns), len(columns) ** -0.5), columns])
    left, sizes, _ = np.linalg.svd(together, full_matrices=False)
    if sizes[-1] < 1e-9 * sizes[0]:
        raise IllConditioned(
            "quantities to adjust for repeat each other",
            where="adjust",
            needed="quantities of which none follows from the others",
            next_step="leave one of them out",
        )
    require(len(columns), together.shape[1] + 3, "complete rows", "adjust")
    return np.asarray(left)


def _residual(values: DoubleArray, basis: DoubleArray, name: str) -> DoubleArray:
    left = values - basis @ (basis.T @ values)
    length = math.sqrt(float(left @ left))
    if length < 1e-6:
        raise IllConditioned(
            f"{name} follows from what it is adjusted for",
            where=name,
            needed="variation that is its own",
            next_step="adjust for less",
        )
    return np.asarray(left / length)
