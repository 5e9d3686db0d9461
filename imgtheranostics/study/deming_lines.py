"""A straight line through two methods that both err."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.study.findings import Finding, Interval, check_level
from imgtheranostics.study.samples import (
    FEWEST_JACKKNIFED,
    DoubleArray,
    Units,
    clusters_of,
    common_unit,
    complete_rows,
    require,
    require_spread,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class DemingLine(Finding):
    """Deming regression. `estimate` is the slope; `p_value` tests it against 1.

    Attributes
    ----------
    intercept : float
        In the unit of y.
    intercept_interval : Interval
    standard_error, intercept_standard_error : float
        By jackknife.
    variance_ratio : float
        Error variance of y over that of x that was assumed.
    x_unit, y_unit : str
    """

    intercept: float
    intercept_interval: Interval
    standard_error: float
    intercept_standard_error: float
    variance_ratio: float
    x_unit: str
    y_unit: str


def deming_regression(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    subject: npt.ArrayLike | None = None,
    variance_ratio: float = 1.0,
    level: float = 0.95,
    x_unit: Units = "1",
    y_unit: Units = "1",
) -> DemingLine:
    """Line through pairs of which both members err; least squares would give too flat a slope.

    Parameters
    ----------
    x, y : (n,) array_like
        One pair per subject; NaN is left out and counted.
    subject : (n,) array_like, optional
        Whose each pair is, where subjects give several: the jackknife then leaves out whole subjects.
    variance_ratio : float
        Error variance of y over that of x, from repeated measurements; 1 where methods are alike.
    level : float
    x_unit, y_unit : str or sequence of str

    Returns
    -------
    DemingLine
        Standard errors by jackknife, limits with Student's t of n - 2 degrees of freedom, n the number of
        subjects.

    Raises
    ------
    ValueError
        If columns differ in length or `variance_ratio` is not above zero.
    IllConditioned
        For fewer than 5 pairs or subjects, constant columns, or columns that do not go together.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] Linnet, Stat. Med. 9 (1990) 1463; Clin. Chem. 39 (1993) 424.
    """
    from scipy.stats import t

    check_level(level)
    if not (math.isfinite(variance_ratio) and variance_ratio > 0.0):
        raise ValueError(f"variance_ratio is {variance_ratio}, but must be above zero")
    units = common_unit(x_unit, "x"), common_unit(y_unit, "y")
    rows = complete_rows({"x": x, "y": y}, smallest=5)
    for name in ("x", "y"):
        require_spread(rows[name], name)
    whose = np.arange(rows.n) if subject is None else clusters_of(subject, rows)
    n = int(whose.max()) + 1
    require(n, FEWEST_JACKKNIFED, "subjects", "subject")
    line = _line(rows["x"], rows["y"], variance_ratio)
    without = np.array(
        [_line(rows["x"][whose != one], rows["y"][whose != one], variance_ratio) for one in range(n)]
    )
    pseudo = n * line - (n - 1) * without
    error = pseudo.std(axis=0, ddof=1) / math.sqrt(n)
    if not (np.isfinite(line).all() and np.isfinite(error).all()):
        raise IllConditioned(
            "the pairs have no direction that a line could take",
            where="x, y",
            needed="values that go together",
            next_step="report limits of agreement only",
        )
    half = float(t.ppf(0.5 + level / 2, n - 2)) * error
    away = abs(line[0] - 1.0)
    ratio = units[1] if units[0] == "1" else f"({units[1]})/({units[0]})"
    return DemingLine(
        measure="slope",
        estimate=float(line[0]),
        interval=Interval(float(line[0] - half[0]), float(line[0] + half[0])),
        p_value=float(2 * t.sf(away / error[0], n - 2)) if error[0] > 0.0 else float(away < 1e-12),
        n=rows.n,
        method=f"Deming regression; errors by jackknife{_over(n, rows.n)}; p of a slope of 1",
        unit="1" if units[0] == units[1] else ratio,
        level=level,
        assumed=(
            *(("one pair per subject",) if subject is None else ()),
            f"error variance of y is {variance_ratio:g} times that of x",
        ),
        left_out=rows.left_out,
        warnings=rows.warnings,
        intercept=float(line[1]),
        intercept_interval=Interval(float(line[1] - half[1]), float(line[1] + half[1])),
        standard_error=float(error[0]),
        intercept_standard_error=float(error[1]),
        variance_ratio=variance_ratio,
        x_unit=units[0],
        y_unit=units[1],
    )


def _over(n: int, n_pairs: int) -> str:
    return "" if n == n_pairs else f" over {n} subjects"


def _line(x: DoubleArray, y: DoubleArray, ratio: float) -> DoubleArray:
    """Slope and intercept; NaN without a covariance."""
    one, other = x - x.mean(), y - y.mean()
    xx, yy, xy = one @ one, other @ other, one @ other
    if abs(xy) <= 1e-14 * math.sqrt(xx * yy):
        return np.array([math.nan, math.nan])
    away = yy - ratio * xx
    slope = (away + math.sqrt(away**2 + 4.0 * ratio * xy**2)) / (2.0 * xy)
    return np.array([slope, y.mean() - slope * x.mean()])
