"""Two factors crossed, such as targeting and size: main effects, their interaction, and contrasts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned
from imgtheranostics.study.equivalence import Equivalence, two_one_sided
from imgtheranostics.study.findings import Finding, Interval, check_level
from imgtheranostics.study.multiplicity import holm
from imgtheranostics.study.samples import (
    DoubleArray,
    IntArray,
    Rows,
    Units,
    codes,
    common_unit,
    complete_rows,
    require,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect(Finding):
    """A main effect or the interaction. `estimate` is partial eta squared, its share of the variance.

    Attributes
    ----------
    statistic : float
        F, type III: each effect after all others, marginal means not weighted by numbers of animals.
    freedom, rest_freedom : int
    """

    statistic: float
    freedom: int
    rest_freedom: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast(Finding):
    """Difference of the marginal means of two levels of a factor, the second less the first.

    Attributes
    ----------
    factor : str
    levels : (str, str)
    standard_error, freedom : float
    holm_p_value : float
        Adjusted for all contrasts of this factor.
    """

    factor: str
    levels: tuple[str, str]
    standard_error: float
    freedom: float
    holm_p_value: float

    def equivalent_within(self, margin: float | tuple[float, float], alpha: float = 0.05) -> Equivalence:
        """Test that the difference is smaller than a margin that was fixed before."""
        return two_one_sided(
            self.estimate,
            self.standard_error,
            self.freedom,
            margin,
            n=self.n,
            alpha=alpha,
            measure=self.measure,
            unit=self.unit,
            left_out=self.left_out,
            warnings=self.warnings,
        )


@dataclass(frozen=True, eq=False)
class TwoWay:
    """A two-way design.

    Attributes
    ----------
    effects : mapping of str to Effect
        By factor name, and ``first:second`` for the interaction.
    contrasts : tuple of Contrast
        All pairs of levels of each factor.
    cell_means, cell_sizes : (a, b) ndarray
    levels : mapping of str to tuple of str
        Of each factor, in the order of the cells.
    residual_sd : float
    n, left_out : int
    unit : str
    warnings : tuple of Caution
    """

    effects: Mapping[str, Effect]
    contrasts: tuple[Contrast, ...]
    cell_means: DoubleArray
    cell_sizes: IntArray
    levels: Mapping[str, tuple[str, ...]]
    residual_sd: float
    n: int
    left_out: int
    unit: str
    warnings: tuple[Caution, ...]


@dataclass(frozen=True, eq=False)
class _Scatter:
    """What is left inside cells, and what all effects share."""

    squares: float
    freedom: int
    rows: Rows
    level: float
    unit: str


def two_way(
    value: npt.ArrayLike,
    factors: Mapping[str, npt.ArrayLike],
    *,
    level: float = 0.95,
    unit: Units = "1",
) -> TwoWay:
    """Analysis of variance of two crossed factors with their interaction, balanced or not.

    Parameters
    ----------
    value : (n,) array_like
        One per animal; NaN is left out and counted.
    factors : mapping of str to (n,) array_like
        Two factors by name, with the label of each animal.
    level : float
    unit : str or sequence of str
        Of `value`.

    Returns
    -------
    TwoWay
        Where the interaction is not small the main effects are averages over different effects: a caution
        says so.

    Raises
    ------
    ValueError
        If there are not two factors of at least two levels, or columns differ in length.
    IllConditioned
        For a cell without animals, no animal beyond the number of cells, or values without scatter.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] Maxwell, Delaney, Designing experiments and analyzing data, 2004, chapter 7.
    """
    check_level(level)
    spelled = common_unit(unit, "value")
    if len(factors) != 2:
        raise ValueError(f"{len(factors)} factors were given, but a two-way design has two")
    rows, places, levels = _cells(value, factors)
    shape = tuple(len(found) for found in levels.values())
    flat = np.ravel_multi_index(tuple(places), shape)
    sizes = np.bincount(flat, minlength=math.prod(shape))
    _require_cells(sizes.reshape(shape), levels)
    rest_freedom = rows.n - sizes.size
    require(rest_freedom, 2, "animals beyond the number of cells", "value")
    means = np.bincount(flat, rows["value"], minlength=sizes.size) / sizes
    rest = float(np.sum((rows["value"] - means[flat]) ** 2))
    if rest <= 1e-24 * float(np.sum(rows["value"] ** 2)):
        raise IllConditioned("values do not scatter inside cells", where="value", needed="measured values")
    names = list(factors)
    effects = {
        name: _effect(name, rows, squares, rest, freedom, rest_freedom, level)
        for name, (squares, freedom) in _type_three(names, shape, places, rows["value"], rest).items()
    }
    grid, counts = means.reshape(shape), sizes.reshape(shape)
    scatter = _Scatter(rest, rest_freedom, rows, level, spelled)
    contrasts = [
        one
        for axis, name in enumerate(names)
        for one in _contrasts(
            name, levels[name], np.moveaxis(grid, axis, 0), np.moveaxis(counts, axis, 0), scatter
        )
    ]
    interaction = effects[":".join(names)]
    told = Caution(
        "interaction", f"the effect of {names[0]} depends on {names[1]}: look at cells, not at main effects"
    )
    return TwoWay(
        effects=effects,
        contrasts=tuple(contrasts),
        cell_means=grid,
        cell_sizes=counts.astype(np.int64),
        levels=levels,
        residual_sd=math.sqrt(rest / rest_freedom),
        n=rows.n,
        left_out=rows.left_out,
        unit=spelled,
        warnings=(*rows.warnings, *((told,) if interaction.p_value < 0.05 else ())),
    )


def _cells(
    value: npt.ArrayLike, factors: Mapping[str, npt.ArrayLike]
) -> tuple[Rows, list[IntArray], dict[str, tuple[str, ...]]]:
    coded = {name: codes(labels, name) for name, labels in factors.items()}
    spread = {name: np.where(found < 0, np.nan, found) for name, (found, _) in coded.items()}
    rows = complete_rows({"value": value, **spread}, smallest=6)
    places, levels = [], {}
    for name, (_, names) in coded.items():
        present, place = np.unique(rows[name].astype(np.int64), return_inverse=True)
        if present.size < 2:
            raise ValueError(f"factor {name} has one level only")
        places.append(place.astype(np.int64))
        levels[name] = tuple(names[one] for one in present)
    return rows, places, levels


def _require_cells(sizes: IntArray, levels: Mapping[str, tuple[str, ...]]) -> None:
    empty = np.argwhere(sizes == 0)
    if empty.size:
        told = "; ".join(
            ", ".join(
                f"{name} {found[place]}" for (name, found), place in zip(levels.items(), cell, strict=True)
            )
            for cell in empty
        )
        raise IllConditioned(
            "cells of the design have no animals",
            where=told,
            needed="animals in every cell",
            next_step="leave these levels out, or analyse one factor",
        )


def _type_three(
    names: list[str], shape: tuple[int, ...], places: list[IntArray], value: DoubleArray, rest: float
) -> dict[str, tuple[float, int]]:
    """Sum of squares of each effect after all others, and its degrees of freedom (effect coding)."""
    first, second = (_coded(place, size) for place, size in zip(places, shape, strict=True))
    crossed = (first[:, :, None] * second[:, None, :]).reshape(len(value), -1)
    blocks = {names[0]: first, names[1]: second, ":".join(names): crossed}
    found = {}
    for left_out, block in blocks.items():
        design = np.column_stack(
            [np.ones(len(value)), *(kept for name, kept in blocks.items() if name != left_out)]
        )
        residual = value - design @ np.linalg.lstsq(design, value, rcond=None)[0]
        found[left_out] = (max(float(residual @ residual) - rest, 0.0), block.shape[1])
    return found


def _coded(place: IntArray, size: int) -> DoubleArray:
    """Effect coding: the last level is minus the others."""
    return np.vstack([np.eye(size - 1), -np.ones(size - 1)])[place]


def _effect(
    name: str, rows: Rows, squares: float, rest: float, freedom: int, rest_freedom: int, level: float
) -> Effect:
    from scipy.stats import f

    statistic = (squares / freedom) / (rest / rest_freedom)
    return Effect(
        measure=f"partial eta squared of {name}",
        estimate=squares / (squares + rest),
        interval=_share_interval(statistic, freedom, rest_freedom, rows.n, level),
        p_value=float(f.sf(statistic, freedom, rest_freedom)),
        n=rows.n,
        method="analysis of variance, type III F; interval from the noncentral F",
        level=level,
        assumed=("animals are independent", "values are normal and scatter alike in all cells"),
        left_out=rows.left_out,
        warnings=rows.warnings,
        statistic=statistic,
        freedom=freedom,
        rest_freedom=rest_freedom,
    )


def _share_interval(statistic: float, freedom: int, rest: int, n: int, level: float) -> Interval:
    """Noncentralities for which F lies at the tails, as shares of variance."""
    from scipy.special import ncfdtrinc
    from scipy.stats import f

    central = float(f.cdf(statistic, freedom, rest))
    tails = (0.5 + level / 2, 0.5 - level / 2)
    found = [float(ncfdtrinc(freedom, rest, tail, statistic)) if central > tail else 0.0 for tail in tails]
    return Interval(*(value / (value + n) for value in found))


def _contrasts(
    factor: str,
    levels: tuple[str, ...],
    means: DoubleArray,
    sizes: IntArray,
    scatter: _Scatter,
) -> list[Contrast]:
    from scipy.stats import t

    rows, freedom, level = scatter.rows, scatter.freedom, scatter.level
    marginal = means.mean(axis=1)
    spread = np.sum(1.0 / sizes, axis=1) / sizes.shape[1] ** 2 * scatter.squares / freedom
    pairs = list(combinations(range(len(levels)), 2))
    errors = [math.sqrt(spread[one] + spread[other]) for one, other in pairs]
    steps = [float(marginal[other] - marginal[one]) for one, other in pairs]
    p_values = [
        float(2 * t.sf(abs(step) / error, freedom)) for step, error in zip(steps, errors, strict=True)
    ]
    adjusted = holm(p_values).adjusted
    reach = float(t.ppf(0.5 + level / 2, freedom))
    return [
        Contrast(
            measure=f"difference of marginal means, {factor} {levels[other]} less {levels[one]}",
            estimate=step,
            interval=Interval(step - reach * error, step + reach * error),
            p_value=p_value,
            n=rows.n,
            method="contrast of marginal means, not weighted by cell sizes; t",
            unit=scatter.unit,
            level=level,
            assumed=("animals are independent", "values are normal and scatter alike in all cells"),
            left_out=rows.left_out,
            warnings=rows.warnings,
            factor=factor,
            levels=(levels[one], levels[other]),
            standard_error=error,
            freedom=float(freedom),
            holm_p_value=float(corrected),
        )
        for (one, other), step, error, p_value, corrected in zip(
            pairs, steps, errors, p_values, adjusted, strict=True
        )
    ]
