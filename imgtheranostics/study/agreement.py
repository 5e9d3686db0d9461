"""Do two methods, or two modalities, give the same number? Limits of agreement and concordance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.study.findings import NO_INTERVAL, Finding, Interval, check_level, normal_reach
from imgtheranostics.study.samples import (
    FEWEST_JACKKNIFED,
    DoubleArray,
    IntArray,
    Units,
    clusters_of,
    common_unit,
    complete_rows,
    require_spread,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class BlandAltman(Finding):
    """Agreement of two methods. `estimate` is the mean of y - x; `p_value` tests it against 0.

    Attributes
    ----------
    sd : float
        Standard deviation of the differences.
    lower, upper : float
        Limits between which 95 % of differences lie.
    lower_interval, upper_interval : Interval
        Of the limits, at `level`.
    mean, difference : (n,) ndarray
        Of each subject, as drawn.
    slope, slope_p_value : float
        Of the difference against the mean: whether methods drift apart with size.
    """

    sd: float
    lower: float
    upper: float
    lower_interval: Interval
    upper_interval: Interval
    mean: DoubleArray
    difference: DoubleArray
    slope: float
    slope_p_value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Concordance(Finding):
    """Lin's concordance correlation: how close pairs lie to the line of identity.

    Attributes
    ----------
    pearson : float
        Scatter about any line.
    accuracy : float
        Lin's C_b: how close that line is to identity; the estimate is the product of both.
    location_shift, scale_shift : float
        Difference of means over the geometric mean of standard deviations, and ratio of those (y over x).
    """

    pearson: float
    accuracy: float
    location_shift: float
    scale_shift: float


def bland_altman(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    relative: bool = False,
    level: float = 0.95,
    unit: Units = "1",
) -> BlandAltman:
    """Mean difference and limits of agreement with their intervals, one pair per subject.

    Parameters
    ----------
    x, y : (n,) array_like
        The same quantity by two methods; NaN is left out and counted.
    relative : bool
        Take differences in % of the mean of each pair, which has to be above zero.
    level : float
    unit : str or sequence of str
        Of both; methods in different units do not agree or disagree.

    Raises
    ------
    ValueError
        If columns differ in length.
    IllConditioned
        For fewer than 4 pairs.
    UnitMismatch, ImplausibleValue
        For mixed units, infinite values, or means not above zero with `relative`.

    References
    ----------
    .. [1] Bland, Altman, Lancet 327 (1986) 307; Stat. Methods Med. Res. 8 (1999) 135.
    """
    from scipy.stats import t

    check_level(level)
    spelled = common_unit(unit, "values")
    rows = complete_rows({"x": x, "y": y}, smallest=4)
    n = rows.n
    mean = (rows["x"] + rows["y"]) / 2.0
    difference = rows["y"] - rows["x"]
    if relative:
        check_positive_means(mean)
        difference, spelled = 100.0 * difference / mean, "%"
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    quantile = float(t.ppf(0.5 + level / 2, n - 1))
    half = quantile * sd / math.sqrt(n)
    wide = normal_reach(0.95)
    reach = quantile * sd * math.sqrt(1.0 / n + wide**2 / (2.0 * (n - 1)))
    lower, upper = bias - wide * sd, bias + wide * sd
    slope, slope_p = _slope(mean, difference)
    drift = Caution("proportional-difference", "the difference changes with size: give relative=True")
    return BlandAltman(
        measure="mean difference, y - x",
        estimate=bias,
        interval=Interval(bias - half, bias + half),
        p_value=float(2 * t.sf(abs(bias) * math.sqrt(n) / sd, n - 1)) if sd > 0.0 else math.nan,
        n=n,
        method="Bland-Altman; p and interval from the paired t; limits of agreement bias ± 1.96 SD",
        unit=spelled,
        level=level,
        assumed=("one pair per subject", "differences are normal and alike at all sizes"),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *((drift,) if slope_p < 0.05 else ())),
        sd=sd,
        lower=lower,
        upper=upper,
        lower_interval=Interval(lower - reach, lower + reach),
        upper_interval=Interval(upper - reach, upper + reach),
        mean=mean,
        difference=difference,
        slope=slope,
        slope_p_value=slope_p,
    )


def concordance_correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    subject: npt.ArrayLike | None = None,
    level: float = 0.95,
    unit: Units = "1",
) -> Concordance:
    """Lin's concordance correlation coefficient, interval by Fisher's z.

    Parameters
    ----------
    x, y : (n,) array_like
        The same quantity by two methods; NaN is left out and counted.
    subject : (n,) array_like, optional
        Whose each pair is, where subjects give several: the interval is then by jackknife over subjects, of
        Fisher's z, and there is none of fewer than five.
    level : float
    unit : str or sequence of str
        Of both.

    Raises
    ------
    ValueError
        If columns differ in length.
    IllConditioned
        For fewer than 4 pairs, or constant columns.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] Lin, Biometrics 45 (1989) 255; corrected in 56 (2000) 324.
    """
    check_level(level)
    common_unit(unit, "values")
    rows = complete_rows({"x": x, "y": y}, smallest=4)
    for name in ("x", "y"):
        require_spread(rows[name], name)
    one, other = rows["x"], rows["y"]
    estimate, r, accuracy, shift, scale = _lin(one, other)
    whose = None if subject is None else clusters_of(subject, rows)
    if whose is None:
        interval, by = _lin_interval(estimate, r, shift, rows.n, level), "Fisher's z"
    else:
        interval, by = (
            _jackknifed_interval(one, other, whose, level),
            "jackknife over subjects, of Fisher's z",
        )
    return Concordance(
        measure="concordance correlation",
        estimate=estimate,
        interval=interval,
        p_value=math.nan,
        n=rows.n,
        method=f"Lin; interval by {by}",
        level=level,
        assumed=("one pair per subject", "pairs are binormal (for the interval)") if whose is None else (),
        left_out=rows.left_out,
        warnings=rows.warnings,
        pearson=r,
        accuracy=accuracy,
        location_shift=shift,
        scale_shift=scale,
    )


def _lin(one: DoubleArray, other: DoubleArray) -> tuple[float, float, float, float, float]:
    """The coefficient, Pearson's, their ratio, and shifts of place and scale."""
    scatter = one.std() * other.std()
    r = float(np.mean((one - one.mean()) * (other - other.mean())) / scatter)
    shift = float(other.mean() - one.mean()) / math.sqrt(scatter)
    scale = float(other.std() / one.std())
    accuracy = 2.0 / (scale + 1.0 / scale + shift**2)
    return r * accuracy, r, accuracy, shift, scale


def _jackknifed_interval(one: DoubleArray, other: DoubleArray, whose: IntArray, level: float) -> Interval:
    from scipy.stats import t

    k = int(whose.max()) + 1
    whole = _lin(one, other)[0]
    if k < FEWEST_JACKKNIFED or abs(whole) > 1.0 - 1e-12:
        return NO_INTERVAL
    z = math.atanh(whole)
    without = np.array([math.atanh(_lin(one[whose != n], other[whose != n])[0]) for n in range(k)])
    pseudo = k * z - (k - 1) * without
    half = float(t.ppf(0.5 + level / 2, k - 1)) * float(pseudo.std(ddof=1)) / math.sqrt(k)
    return Interval(math.tanh(z - half), math.tanh(z + half))


def _lin_interval(c: float, r: float, u: float, n: int, level: float) -> Interval:
    if abs(c) > 1.0 - 1e-12 or abs(r) < 1e-12:
        return NO_INTERVAL
    first = (1.0 - r**2) * c**2 / ((1.0 - c**2) * r**2)
    second = 2.0 * c**3 * (1.0 - c) * u**2 / (r * (1.0 - c**2) ** 2)
    third = c**4 * u**4 / (2.0 * r**2 * (1.0 - c**2) ** 2)
    half = normal_reach(level) * math.sqrt(max(first + second - third, 0.0) / (n - 2))
    return Interval(math.tanh(math.atanh(c) - half), math.tanh(math.atanh(c) + half))


def check_positive_means(mean: DoubleArray) -> None:
    """Refuse differences in % of means that are not above zero."""
    if (mean <= 0.0).any():
        raise ImplausibleValue(
            "a mean of two methods is not above zero",
            where="x, y",
            needed="positive values for differences in %",
            next_step="give relative=False",
        )


def drift_of(mean: DoubleArray, difference: DoubleArray, whose: IntArray) -> tuple[float, float]:
    """Slope of the difference against the mean, and its p value where each subject counts once.

    The error is by jackknife over subjects; of fewer than five there is no p value.
    """
    from scipy.stats import t

    slope, _ = _slope(mean, difference)
    k = int(whose.max()) + 1
    if k < FEWEST_JACKKNIFED:
        return slope, math.nan
    without = np.array([_slope(mean[whose != one], difference[whose != one])[0] for one in range(k)])
    error = float(np.std(k * slope - (k - 1) * without, ddof=1)) / math.sqrt(k)
    return slope, float(2 * t.sf(abs(slope) / error, k - 2)) if error > 0.0 else math.nan


def _slope(mean: DoubleArray, difference: DoubleArray) -> tuple[float, float]:
    from scipy.stats import linregress

    if np.ptp(mean) == 0.0 or np.ptp(difference) == 0.0:
        return 0.0, 1.0
    found = linregress(mean, difference)
    return float(found.slope), float(found.pvalue)
