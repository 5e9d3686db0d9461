"""What the same subject gives when measured again: repeatability, variance components, ICC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.study.findings import Finding, Interval, check_level
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

_DETECTABLE = 1.959963984540054 * math.sqrt(2.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeatability(Finding):
    """`estimate` is the repeatability coefficient: the smallest change of one subject that is beyond 95 % of
    repeats, also called minimum detectable change.

    Attributes
    ----------
    within_sd : float
        Standard deviation of repeats of one subject; of logarithms when `logarithmic`.
    within_sd_interval : Interval
    within_cv : float
        In %, when `logarithmic`; else NaN.
    change_limits : (float, float)
        Changes beyond these are real: plus and minus the estimate, or in % when `logarithmic`.
    freedom, n_measurements : int
    logarithmic : bool
    """

    within_sd: float
    within_sd_interval: Interval
    within_cv: float
    change_limits: tuple[float, float]
    freedom: int
    n_measurements: int
    logarithmic: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability(Finding):
    """Intraclass correlation: the share of variance that lies between subjects.

    Attributes
    ----------
    kind : str
    between_variance, within_variance : float
        In the square of `value_unit`; the first is 0 where repeats differ more than subjects.
    between_interval, within_interval : Interval
        Williams-Tukey, and chi-square.
    repeats : float
        Measurements per subject; an effective number where subjects have different ones.
    value_unit : str
    """

    kind: str
    between_variance: float
    within_variance: float
    between_interval: Interval
    within_interval: Interval
    repeats: float
    value_unit: str


def repeatability(
    values: npt.ArrayLike,
    subject: npt.ArrayLike,
    *,
    logarithmic: bool = False,
    level: float = 0.95,
    unit: Units = "1",
) -> Repeatability:
    """Within-subject standard deviation and repeatability coefficient with chi-square intervals.

    Parameters
    ----------
    values : (n,) array_like
        One per measurement; NaN is left out and counted.
    subject : (n,) array_like
        Label of the subject of each.
    logarithmic : bool
        Take logarithms, for scatter that grows with the value; limits are then in %.
    level : float
    unit : str or sequence of str

    Raises
    ------
    ValueError
        If columns differ in length.
    IllConditioned
        If no more than 2 measurements are repeats.
    ImplausibleValue, UnitMismatch
        For values not above zero with `logarithmic`, infinite values, or mixed units.

    References
    ----------
    .. [1] Bland, Altman, BMJ 313 (1996) 744. Obuchowski, Bullen, Stat. Methods Med. Res. 27 (2018) 1714.
    """
    from scipy.stats import chi2

    check_level(level)
    spelled = common_unit(unit, "values")
    rows, members = _members(values, subject)
    measured = rows["values"]
    if logarithmic:
        if (measured <= 0.0).any():
            raise ImplausibleValue(
                "a value is not above zero", where="values", next_step="give logarithmic=False"
            )
        measured = np.log(measured)
    sizes = np.bincount(members)
    freedom = int(rows.n - sizes.size)
    require(freedom, 3, "repeated measurements", "subject")
    means = np.bincount(members, measured) / sizes
    squares = float(np.sum((measured - means[members]) ** 2))
    sd = math.sqrt(squares / freedom)
    low, high = (math.sqrt(squares / float(chi2.ppf(0.5 + side * level / 2, freedom))) for side in (1, -1))
    if logarithmic:
        limits = tuple(100.0 * math.expm1(sign * _DETECTABLE * sd) for sign in (-1.0, 1.0))
    else:
        limits = (-_DETECTABLE * sd, _DETECTABLE * sd)
    single = int(np.count_nonzero(sizes == 1))
    told = Caution("no-repeat", f"{single} subjects were measured once and tell nothing of repeatability")
    return Repeatability(
        measure="repeatability coefficient" + (" of logarithms" if logarithmic else ""),
        estimate=_DETECTABLE * sd,
        interval=Interval(_DETECTABLE * low, _DETECTABLE * high),
        p_value=math.nan,
        n=int(np.count_nonzero(sizes > 1)),
        method="pooled within-subject variance; chi-square interval; coefficient 1.96 sqrt(2) wSD",
        unit="1" if logarithmic else spelled,
        level=level,
        assumed=("repeats differ by normal errors, alike in all subjects", "nothing changed between repeats"),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *((told,) if single else ())),
        within_sd=sd,
        within_sd_interval=Interval(low, high),
        within_cv=100.0 * math.sqrt(math.expm1(sd**2)) if logarithmic else math.nan,
        change_limits=(limits[0], limits[1]),
        freedom=freedom,
        n_measurements=rows.n,
        logarithmic=logarithmic,
    )


def intraclass_correlation(
    values: npt.ArrayLike,
    subject: npt.ArrayLike,
    rater: npt.ArrayLike | None = None,
    *,
    kind: Literal["one_way", "agreement", "consistency"] = "one_way",
    level: float = 0.95,
    unit: Units = "1",
) -> Reliability:
    """Intraclass correlation of single measurements, and the variance components behind it.

    Parameters
    ----------
    values : (n,) array_like
        One per measurement: lesions of patients, repeats of subjects; NaN is left out and counted.
    subject : (n,) array_like
        Label of the subject of each.
    rater : (n,) array_like, optional
        Label of the reader, scanner or session; needed unless `kind` is ``one_way``.
    kind : {"one_way", "agreement", "consistency"}
        ICC(1,1); ICC(2,1), raters random and their offsets count; ICC(3,1), their offsets do not.
    level : float
    unit : str or sequence of str

    Returns
    -------
    Reliability
        `p_value` is that of no variance between subjects (F, one-sided). Where subjects have different
        numbers of measurements the one-way interval is approximate.

    Raises
    ------
    ValueError
        If columns differ in length, the kind is unknown, or a rater is missing or occurs twice in a subject.
    IllConditioned
        For fewer than 3 subjects, no repeats, or constant values.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] Shrout, Fleiss, Psychol. Bull. 86 (1979) 420. McGraw, Wong, Psychol. Methods 1 (1996) 30.
    """
    if kind not in ("one_way", "agreement", "consistency"):
        raise ValueError(f"kind {kind!r} is not one of one_way, agreement, consistency")
    check_level(level)
    spelled = common_unit(unit, "values")
    if kind == "one_way":
        rows, members = _members(values, subject)
        squares = _one_way(rows["values"], members)
    else:
        if rater is None:
            raise ValueError(f"kind {kind} needs the rater of each measurement")
        rows, table, members = _crossed(values, subject, rater)
        squares = _two_way(table)
    estimate, interval = _FORMULAS[kind](squares, level)
    between, between_interval = _between(squares, level)
    uneven = np.unique(np.bincount(members)).size > 1
    told = Caution(
        "uneven-repeats", "subjects have different numbers of measurements: the interval is approximate"
    )
    return Reliability(
        measure=f"intraclass correlation ({kind.replace('_', '-')}, single measurement)",
        estimate=estimate,
        interval=interval,
        p_value=squares.p_value,
        n=squares.n,
        method="analysis of variance; F interval (Shrout-Fleiss, McGraw-Wong)",
        level=level,
        assumed=(
            "subjects are independent",
            "components are normal",
            "repeats scatter alike in all subjects",
        ),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *((told,) if uneven else ())),
        kind=kind,
        between_variance=between,
        within_variance=squares.within,
        between_interval=between_interval,
        within_interval=_chi_square(squares.within, squares.within_freedom, level),
        repeats=squares.repeats,
        value_unit=spelled,
    )


@dataclass(frozen=True)
class _Squares:
    """Mean squares of subjects, repeats (or the rest) and raters, with their degrees of freedom."""

    n: int
    repeats: float
    subjects: float
    within: float
    within_freedom: int
    raters: float = math.nan

    @property
    def ratio(self) -> float:
        return self.subjects / self.within

    @property
    def p_value(self) -> float:
        from scipy.stats import f

        return float(f.sf(self.ratio, self.n - 1, self.within_freedom))


def _quantile(level: float, one: float, other: float) -> float:
    from scipy.stats import f

    return float(f.ppf(0.5 + level / 2, one, other))


def _consistency(squares: _Squares, level: float) -> tuple[float, Interval]:
    k, freedom = squares.repeats, squares.within_freedom
    low = squares.ratio / _quantile(level, squares.n - 1, freedom)
    high = squares.ratio * _quantile(level, freedom, squares.n - 1)
    return (
        (squares.ratio - 1.0) / (squares.ratio + k - 1.0),
        Interval(*((limit - 1.0) / (limit + k - 1.0) for limit in (low, high))),
    )


def _absolute(squares: _Squares, level: float) -> tuple[float, Interval]:
    n, k, rows, rest, raters = squares.n, squares.repeats, squares.subjects, squares.within, squares.raters
    icc = (rows - rest) / (rows + (k - 1.0) * rest + k * (raters - rest) / n)
    spread = k * icc * raters / rest
    others = n * (1.0 + (k - 1.0) * icc) - k * icc
    freedom = (k - 1.0) * (n - 1.0) * (spread + others) ** 2 / ((n - 1.0) * spread**2 + others**2)
    one, other = _quantile(level, n - 1, freedom), _quantile(level, freedom, n - 1)
    mixed = k * raters + (k * n - k - n) * rest
    low = n * (rows - one * rest) / (one * mixed + n * rows)
    high = n * (other * rows - rest) / (mixed + n * other * rows)
    return icc, Interval(low, high)


_FORMULAS = {"one_way": _consistency, "consistency": _consistency, "agreement": _absolute}


def _between(squares: _Squares, level: float) -> tuple[float, Interval]:
    """Variance between subjects with the interval of Williams and Tukey."""
    from scipy.stats import chi2, f

    freedom = squares.n - 1
    total = squares.subjects * freedom
    limits = []
    for tail in (0.5 + level / 2, 0.5 - level / 2):
        f_tail = float(f.ppf(tail, freedom, squares.within_freedom))
        limits.append(
            total * (1.0 - f_tail / squares.ratio) / (squares.repeats * float(chi2.ppf(tail, freedom)))
        )
    between = (squares.subjects - squares.within) / squares.repeats
    return max(between, 0.0), Interval(max(limits[0], 0.0), max(limits[1], 0.0))


def _chi_square(variance: float, freedom: int, level: float) -> Interval:
    from scipy.stats import chi2

    limits = (variance * freedom / float(chi2.ppf(0.5 + side * level / 2, freedom)) for side in (1, -1))
    return Interval(*limits)


def _members(values: npt.ArrayLike, subject: npt.ArrayLike) -> tuple[Rows, IntArray]:
    numbers, _ = codes(subject, "subject")
    rows = complete_rows({"values": values, "subject": np.where(numbers < 0, np.nan, numbers)}, smallest=4)
    members = np.unique(rows["subject"], return_inverse=True)[1]
    return rows, members.astype(np.int64)


def _one_way(values: DoubleArray, members: IntArray) -> _Squares:
    sizes = np.bincount(members)
    n, total = sizes.size, values.size
    require(n, 3, "subjects", "subject")
    require(total - n, 2, "repeated measurements", "subject")
    means = np.bincount(members, values) / sizes
    within = float(np.sum((values - means[members]) ** 2)) / (total - n)
    between = float(np.sum(sizes * (means - values.mean()) ** 2)) / (n - 1)
    effective = (total - float(np.sum(sizes**2)) / total) / (n - 1)
    _require_scatter(within, values)
    return _Squares(n, effective, between, within, total - n)


def _crossed(
    values: npt.ArrayLike, subject: npt.ArrayLike, rater: npt.ArrayLike
) -> tuple[Rows, DoubleArray, IntArray]:
    """A complete table subjects x raters."""
    labels = {name: codes(one, name)[0] for name, one in (("subject", subject), ("rater", rater))}
    spread = {name: np.where(found < 0, np.nan, found) for name, found in labels.items()}
    rows = complete_rows({"values": values, **spread}, smallest=4)
    members = np.unique(rows["subject"], return_inverse=True)[1]
    readers = np.unique(rows["rater"], return_inverse=True)[1]
    table = np.full((members.max() + 1, readers.max() + 1), np.nan)
    if np.unique(np.column_stack([members, readers]), axis=0).shape[0] < rows.n:
        raise ValueError("a rater occurs twice in one subject")
    table[members, readers] = rows["values"]
    if np.isnan(table).any():
        raise ValueError(
            f"{int(np.isnan(table).sum())} measurements of the table subject x rater are missing: leave "
            "these subjects out, or use the one-way kind"
        )
    return rows, table, members.astype(np.int64)


def _two_way(table: DoubleArray) -> _Squares:
    n, k = table.shape
    require(n, 3, "subjects", "subject")
    require(k, 2, "raters", "rater")
    grand = table.mean()
    subjects, raters = table.mean(axis=1), table.mean(axis=0)
    rest = table - subjects[:, None] - raters[None, :] + grand
    freedom = (n - 1) * (k - 1)
    within = float(np.sum(rest**2)) / freedom
    _require_scatter(within, table)
    rows = k * float(np.sum((subjects - grand) ** 2)) / (n - 1)
    columns = n * float(np.sum((raters - grand) ** 2)) / (k - 1)
    return _Squares(n, float(k), rows, within, freedom, columns)


def _require_scatter(within: float, values: DoubleArray) -> None:
    if within <= 1e-24 * max(float(np.mean(values**2)), np.finfo(float).tiny):
        raise IllConditioned(
            "repeats do not differ at all",
            where="values",
            needed="measurements that were made again",
            next_step="check that repeats are not copies of one scan",
        )
