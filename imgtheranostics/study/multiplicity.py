"""Several outcomes at once: p values adjusted for how many were looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.study.samples import DoubleArray, column


@dataclass(frozen=True, eq=False)
class AdjustedP:
    """Adjusted p values, in the order given.

    Attributes
    ----------
    p_values, adjusted : (n,) ndarray
        NaN where nothing was tested; such do not count.
    n : int
        Tests that count.
    method : str
    controls : str
        What is kept below the level by calling adjusted values below it a finding.
    """

    p_values: DoubleArray
    adjusted: DoubleArray
    n: int
    method: str
    controls: str

    def rejected(self, alpha: float = 0.05) -> npt.NDArray[np.bool_]:
        """Which hypotheses are rejected."""
        return np.nan_to_num(self.adjusted, nan=2.0) <= alpha


def holm(p_values: npt.ArrayLike) -> AdjustedP:
    """Adjust so that the chance of even one false finding stays below the level, for any dependence.

    Raises
    ------
    ValueError
        If a p value lies outside 0 to 1.

    References
    ----------
    .. [1] Holm, Scand. J. Stat. 6 (1979) 65.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).adjusted.round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given, tested = _checked(p_values)
    m = int(tested.sum())
    order = np.argsort(given[tested], kind="stable")
    raised = np.maximum.accumulate(given[tested][order] * (m - np.arange(m)))
    found = np.empty(m)
    found[order] = np.minimum(raised, 1.0)
    return AdjustedP(given, _spread(found, tested), m, "Holm", "family-wise error rate")


def benjamini_hochberg(p_values: npt.ArrayLike) -> AdjustedP:
    """Adjust so that the expected share of false ones among the findings stays below the level.

    Holds for tests that are independent or positively dependent.

    Raises
    ------
    ValueError
        If a p value lies outside 0 to 1.

    References
    ----------
    .. [1] Benjamini, Hochberg, J. R. Stat. Soc. B 57 (1995) 289.
    """
    from scipy.stats import false_discovery_control

    given, tested = _checked(p_values)
    m = int(tested.sum())
    found = np.asarray(false_discovery_control(given[tested], method="bh")) if m else np.empty(0)
    return AdjustedP(given, _spread(found, tested), m, "Benjamini-Hochberg", "false discovery rate")


def _checked(p_values: npt.ArrayLike) -> tuple[DoubleArray, npt.NDArray[np.bool_]]:
    given = column(p_values, "p_values")
    tested = ~np.isnan(given)
    if ((given[tested] < 0.0) | (given[tested] > 1.0)).any():
        raise ValueError("p_values must lie between 0 and 1")
    return given, tested


def _spread(found: DoubleArray, tested: npt.NDArray[np.bool_]) -> DoubleArray:
    adjusted = np.full(tested.size, np.nan)
    adjusted[tested] = found
    return adjusted
