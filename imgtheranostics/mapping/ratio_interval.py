"""The interval of a ratio of two means by Fieller's theorem."""

from __future__ import annotations

import math


def ratio_interval(
    above: float, below: float, above_part: float, below_part: float, joint_part: float = 0.0
) -> tuple[float, float]:
    """Both ends of the interval of a ratio that is not negative.

    It holds all ratios r for which ``above - r below`` differs from 0 by less than t of its standard errors.
    For a denominator within t of its standard errors of 0 no upper end exists.

    Parameters
    ----------
    above, below : float
        Means.
    above_part, below_part, joint_part : float
        Their variances and their covariance, times t^2.

    Returns
    -------
    low, high : float
        `high` may be infinite; both NaN where a part is not finite.

    >>> low, high = ratio_interval(2.0, 1.0, 0.04, 0.0)  # an exact denominator: the interval of the numerator
    >>> round(low, 6), round(high, 6)
    (1.8, 2.2)
    """
    if not math.isfinite(above_part + below_part + joint_part):
        return math.nan, math.nan
    curvature = below * below - below_part
    middle = above * below - joint_part
    root = middle * middle - curvature * (above * above - above_part)
    if curvature > 0.0 and below > 0.0:
        spread = math.sqrt(max(root, 0.0))
        return (middle - spread) / curvature, (middle + spread) / curvature
    if root < 0.0 or above <= 0.0:
        return 0.0, math.inf
    if curvature == 0.0:
        low = (above * above - above_part) / (2.0 * middle) if middle > 0.0 else 0.0
        return max(0.0, low), math.inf
    return max(0.0, (middle - math.sqrt(root)) / curvature), math.inf
