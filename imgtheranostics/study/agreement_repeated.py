"""Limits of agreement where a subject gives several pairs, such as one for each region.

Regions of one subject share what is wrong with that subject, so they are no independent witnesses: scatter is
taken apart into that between subjects and that within them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.study.agreement import BlandAltman, bland_altman, check_positive_means, drift_of
from imgtheranostics.study.findings import Interval, check_level, normal_reach
from imgtheranostics.study.samples import (
    DoubleArray,
    IntArray,
    Units,
    clusters_of,
    common_unit,
    complete_rows,
)

ONE_SUBJECT = Caution(
    "one-subject",
    "all pairs are of one subject: what is found holds for these regions of it, and for no other subject",
)


def bland_altman_repeated(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    subject: npt.ArrayLike,
    *,
    relative: bool = False,
    level: float = 0.95,
    unit: Units = "1",
) -> BlandAltman:
    """Mean difference and limits of agreement of several pairs per subject, whose true values differ.

    Parameters
    ----------
    x, y : (n,) array_like
        The same quantity by two methods; NaN is left out and counted.
    subject : (n,) array_like
        Whose each pair is.
    relative, level, unit
        As in `imgtheranostics.study.agreement.bland_altman`.

    Returns
    -------
    BlandAltman
        The mean is that of the subjects' means; intervals by the method of variance estimates recovery. Pairs
        of a single subject are taken as they are, with a caution.

    Raises
    ------
    ValueError
        If columns differ in length or a pair has no subject.
    IllConditioned
        For fewer than 4 pairs.
    UnitMismatch, ImplausibleValue
        For mixed units, infinite values, or means not above zero with `relative`.

    References
    ----------
    .. [1] Bland, Altman, J. Biopharm. Stat. 17 (2007) 571.
    .. [2] Zou, Stat. Methods Med. Res. 22 (2013) 630.
    """
    check_level(level)
    spelled = common_unit(unit, "values")
    rows = complete_rows({"x": x, "y": y}, smallest=4)
    whose = clusters_of(subject, rows)
    if whose.max() == 0:
        alone = bland_altman(rows["x"], rows["y"], relative=relative, level=level, unit=unit)
        return dataclasses.replace(
            alone,
            assumed=("pairs of one subject", *alone.assumed[1:]),
            left_out=rows.left_out,
            warnings=(*rows.warnings, ONE_SUBJECT, *alone.warnings),
        )
    if whose.max() + 1 == rows.n:
        return bland_altman(x, y, relative=relative, level=level, unit=unit)
    mean, difference = (rows["x"] + rows["y"]) / 2.0, rows["y"] - rows["x"]
    if relative:
        check_positive_means(mean)
        difference, spelled = 100.0 * difference / mean, "%"
    parts = _Scatter.of(difference, whose)
    bias, wide = parts.bias, normal_reach(0.95)
    lower, upper = bias - wide * parts.sd, bias + wide * parts.sd
    half, p_value = parts.reach_of_bias(level)
    inner, outer = parts.reaches(level, wide)
    slope, slope_p = drift_of(mean, difference, whose)
    drift = Caution("proportional-difference", "the difference changes with size: give relative=True")
    return BlandAltman(
        measure="mean difference, y - x",
        estimate=bias,
        interval=Interval(bias - half, bias + half),
        p_value=p_value,
        n=rows.n,
        method=f"Bland-Altman of {rows.n} pairs of {whose.max() + 1} subjects; scatter between and within "
        "subjects apart; limits of agreement bias ± 1.96 SD",
        unit=spelled,
        level=level,
        assumed=("differences are normal and alike at all sizes, in and between subjects",),
        left_out=rows.left_out,
        warnings=(*rows.warnings, *((drift,) if slope_p < 0.05 else ())),
        sd=parts.sd,
        lower=lower,
        upper=upper,
        lower_interval=Interval(lower - outer, lower + inner),
        upper_interval=Interval(upper - inner, upper + outer),
        mean=mean,
        difference=difference,
        slope=slope,
        slope_p_value=slope_p,
    )


@dataclasses.dataclass(frozen=True)
class _Scatter:
    """Variances of differences: of the subjects' means, and within subjects."""

    bias: float
    of_means: float
    within: float
    n_subjects: int
    n_pairs: int
    harmonic: float

    @classmethod
    def of(cls, difference: DoubleArray, whose: IntArray) -> _Scatter:
        count = np.bincount(whose).astype(np.float64)
        means = np.bincount(whose, difference) / count
        k, n = int(count.size), int(difference.size)
        within = float(((difference - means[whose]) ** 2).sum() / (n - k))
        return cls(float(means.mean()), float(means.var(ddof=1)), within, k, n, float(k / (1 / count).sum()))

    @property
    def _share(self) -> float:
        """Of the scatter within subjects that their means do not show."""
        return 1.0 - 1.0 / self.harmonic

    @property
    def variance(self) -> float:
        return self.of_means + self._share * self.within

    @property
    def sd(self) -> float:
        """Of one difference of a new subject."""
        return math.sqrt(self.variance)

    def reach_of_bias(self, level: float) -> tuple[float, float]:
        """Half of the interval of the bias, and p of a bias of 0: subjects are what is counted."""
        from scipy.stats import t

        error = math.sqrt(self.of_means / self.n_subjects)
        half = float(t.ppf(0.5 + level / 2, self.n_subjects - 1)) * error
        p_value = 2 * t.sf(abs(self.bias) / error, self.n_subjects - 1) if error > 0.0 else math.nan
        return half, float(p_value)

    def reaches(self, level: float, wide: float) -> tuple[float, float]:
        """How far the interval of a limit reaches towards the bias and away from it."""
        from scipy.stats import chi2

        tail = (1.0 - level) / 2.0
        free = (self.n_subjects - 1, self.n_pairs - self.n_subjects)
        parts = (self.of_means, self._share * self.within)
        pairs = list(zip(parts, free, strict=True))
        down = math.hypot(*(part * (1 - f / float(chi2.ppf(1 - tail, f))) for part, f in pairs))
        up = math.hypot(*(part * (f / float(chi2.ppf(tail, f)) - 1) for part, f in pairs))
        low, high = math.sqrt(max(self.variance - down, 0.0)), math.sqrt(self.variance + up)
        of_bias = normal_reach(level) ** 2 * self.of_means / self.n_subjects
        return (
            math.sqrt(of_bias + wide**2 * (self.sd - low) ** 2),
            math.sqrt(of_bias + wide**2 * (high - self.sd) ** 2),
        )
