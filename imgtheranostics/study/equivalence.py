"""Tests that an effect is small: absence of evidence is none of absence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.study.findings import Finding, Interval
from imgtheranostics.study.samples import (
    Units,
    column,
    common_unit,
    complete_rows,
    left_out_warnings,
    require,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Equivalence(Finding):
    """Two one-sided tests. `p_value` is the larger of the two; the interval has level 1 - 2 alpha.

    Attributes
    ----------
    margin : (float, float)
        Effects that count as none, fixed before.
    p_low, p_high : float
        That the effect lies below the lower, or above the upper end of the margin.
    alpha : float
    equivalent : bool
        Whether the interval lies inside the margin, which is p < alpha.
    freedom, standard_error : float
    """

    margin: tuple[float, float]
    p_low: float
    p_high: float
    alpha: float
    equivalent: bool
    freedom: float
    standard_error: float


def equivalence_test(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    margin: float | tuple[float, float],
    paired: bool = False,
    alpha: float = 0.05,
    unit: Units = "1",
) -> Equivalence:
    """Test that two means differ by less than a margin (TOST).

    Parameters
    ----------
    x, y : array_like
        One value per subject of each group, or pairs; NaN is left out and counted.
    margin : float or (float, float)
        What difference y - x would not matter, in the unit of the values; one number stands for both ends.
    paired : bool
        Values at the same place are of the same subject.
    alpha : float
    unit : str or sequence of str

    Returns
    -------
    Equivalence
        `estimate` is mean(y) - mean(x); groups by Welch's t.

    Raises
    ------
    ValueError
        If the margin does not contain 0, or alpha is out of range.
    IllConditioned
        For fewer than 3 subjects of a group or pairs.
    UnitMismatch, ImplausibleValue
        For mixed units, or infinite values.

    References
    ----------
    .. [1] Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657.
    """
    spelled = common_unit(unit, "values")
    if paired:
        rows = complete_rows({"x": x, "y": y}, smallest=3)
        difference = rows["y"] - rows["x"]
        effect, error = float(difference.mean()), _mean_error(difference)
        freedom, n = rows.n - 1.0, rows.n
        left_out, warnings = rows.left_out, rows.warnings
    else:
        given = {name: column(values, name) for name, values in (("x", x), ("y", y))}
        parts = {name: values[~np.isnan(values)] for name, values in given.items()}
        for name, values in parts.items():
            require(values.size, 3, "subjects", name)
        effect = float(parts["y"].mean() - parts["x"].mean())
        errors = [_mean_error(values) for values in parts.values()]
        error = math.hypot(*errors)
        freedom = _welch(errors, [values.size for values in parts.values()])
        n = sum(values.size for values in parts.values())
        missing = {name: int(np.isnan(values).sum()) for name, values in given.items()}
        left_out = sum(missing.values())
        warnings = left_out_warnings(left_out, missing)
    return two_one_sided(
        effect,
        error,
        freedom,
        margin,
        alpha=alpha,
        n=n,
        measure="difference of means, y - x",
        method=f"two one-sided {'paired' if paired else 'Welch'} t tests",
        unit=spelled,
        left_out=left_out,
        warnings=warnings,
    )


def two_one_sided(
    effect: float,
    standard_error: float,
    freedom: float,
    margin: float | tuple[float, float],
    *,
    n: int,
    alpha: float = 0.05,
    measure: str = "effect",
    method: str = "two one-sided t tests",
    unit: str = "1",
    left_out: int = 0,
    warnings: tuple[Caution, ...] = (),
) -> Equivalence:
    """Equivalence test of any estimate with a standard error and degrees of freedom, such as a contrast.

    Parameters
    ----------
    effect, standard_error, freedom : float
    margin : float or (float, float)
    n : int
        Subjects behind the estimate.
    alpha : float
    measure, method, unit, left_out, warnings
        As `Finding`.

    Raises
    ------
    ValueError
        If the margin does not contain 0, or alpha is out of range.
    """
    from scipy.stats import t

    low, high = (-margin, margin) if isinstance(margin, (int, float)) else margin
    if not low < 0.0 < high:
        raise ValueError(f"margin {low} to {high} must contain 0")
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}, but must lie between 0 and 0.5")
    if standard_error > 0.0:
        p_low = float(t.sf((effect - low) / standard_error, freedom))
        p_high = float(t.cdf((effect - high) / standard_error, freedom))
    else:
        p_low, p_high = float(effect <= low), float(effect >= high)
    half = float(t.ppf(1.0 - alpha, freedom)) * standard_error
    p_value = max(p_low, p_high)
    return Equivalence(
        measure=measure,
        estimate=effect,
        interval=Interval(effect - half, effect + half),
        p_value=p_value,
        n=n,
        method=f"{method} against the margin {low:g} to {high:g}",
        unit=unit,
        level=1.0 - 2.0 * alpha,
        assumed=("subjects are independent", "means are normal", "the margin was fixed before"),
        left_out=left_out,
        warnings=warnings,
        margin=(float(low), float(high)),
        p_low=p_low,
        p_high=p_high,
        alpha=alpha,
        equivalent=p_value < alpha,
        freedom=freedom,
        standard_error=standard_error,
    )


def _mean_error(values: npt.NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(values.size)


def _welch(errors: list[float], sizes: list[int]) -> float:
    parts = [error**4 / (size - 1) for error, size in zip(errors, sizes, strict=True)]
    return math.hypot(*errors) ** 4 / sum(parts) if sum(parts) > 0.0 else float(sum(sizes) - 2)
