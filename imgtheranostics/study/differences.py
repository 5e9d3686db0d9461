"""Do two groups differ? A difference or ratio of means with Welch's interval."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned, ImplausibleValue
from imgtheranostics.study.findings import Finding, Interval, check_level
from imgtheranostics.study.samples import DoubleArray, Units, column, common_unit, left_out_warnings, require


def group_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("first", "second"),
    logarithmic: bool = False,
    level: float = 0.95,
    unit: Units = "1",
) -> Finding:
    """Mean of the second group less that of the first, or the ratio of their geometric means.

    Parameters
    ----------
    first, second : array_like
        One value per subject of each group; NaN is left out and counted.
    names : (str, str)
        Of the groups.
    logarithmic : bool
        Compare logarithms: the estimate is a ratio.
    level : float
    unit : str or sequence of str

    Raises
    ------
    IllConditioned
        For fewer than 2 subjects of a group, or groups without any scatter.
    ImplausibleValue, UnitMismatch
        For values not above zero with `logarithmic`, infinite values, or mixed units.

    References
    ----------
    .. [1] Welch, Biometrika 34 (1947) 28.
    """
    from scipy.stats import t

    check_level(level)
    spelled = common_unit(unit, "values")
    given = [column(values, name) for values, name in zip((first, second), names, strict=True)]
    parts = [values[~np.isnan(values)] for values in given]
    missing = {name: int(np.isnan(values).sum()) for name, values in zip(names, given, strict=True)}
    parts = [_checked(values, name, logarithmic) for values, name in zip(parts, names, strict=True)]
    errors = [float(values.std(ddof=1)) / math.sqrt(values.size) for values in parts]
    error = math.hypot(*errors)
    if error <= 1e-12 * max(float(np.abs(values).max()) for values in parts):
        raise IllConditioned("values do not scatter inside groups", where=names[0], needed="measured values")
    step = float(parts[1].mean() - parts[0].mean())
    freedom = error**4 / sum(one**4 / (values.size - 1) for one, values in zip(errors, parts, strict=True))
    half = float(t.ppf(0.5 + level / 2, freedom)) * error
    limits = (step - half, step + half)
    return Finding(
        measure=f"{'ratio of geometric means' if logarithmic else 'difference of means'}, "
        f"{names[1]} {'over' if logarithmic else 'less'} {names[0]}",
        estimate=math.exp(step) if logarithmic else step,
        interval=Interval(*(math.exp(one) for one in limits)) if logarithmic else Interval(*limits),
        p_value=float(2.0 * t.sf(abs(step) / error, freedom)),
        n=sum(values.size for values in parts),
        method=f"Welch t{' of logarithms' if logarithmic else ''}, {freedom:.1f} degrees of freedom",
        unit="1" if logarithmic else spelled,
        level=level,
        assumed=(
            "subjects are independent",
            f"{'logarithms' if logarithmic else 'values'} are about normal in each group",
        ),
        left_out=sum(missing.values()),
        warnings=left_out_warnings(sum(missing.values()), missing),
    )


def _checked(values: DoubleArray, name: str, logarithmic: bool) -> DoubleArray:
    """Values of one group, or their logarithms."""
    require(values.size, 2, "subjects", name)
    if not logarithmic:
        return values
    if (values <= 0.0).any():
        raise ImplausibleValue(
            f"{np.count_nonzero(values <= 0.0)} values are not above zero",
            where=name,
            needed="values above zero for their logarithm",
            next_step="give logarithmic: false, or check these scans",
        )
    return np.log(values)
