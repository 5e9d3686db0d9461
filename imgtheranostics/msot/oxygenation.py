"""Oxygen saturation and total haemoglobin from the amounts of its two forms, with standard errors.

The module can be called: ``oxygenation(volume, ...)`` is `imgtheranostics.msot.oxygenation_maps.oxygenation`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.calculated import elementwise, nothing_fitted
from imgtheranostics.mapping.voxel_blocks import DoubleArray, stored
from imgtheranostics.volume import Flag

if TYPE_CHECKING:
    from imgtheranostics.msot.component_matrix import Components
    from imgtheranostics.msot.oxygenation_maps import Oxygenation
    from imgtheranostics.msot.unmixed import Unmixed
    from imgtheranostics.volume import Estimate, Volume

__all__ = ["DETECTION_SDS", "so2"]

DETECTION_SDS = 3.0
"""Total haemoglobin below this many of its standard errors says nothing about its saturation."""

_ROUNDING = 1e-5


def so2(
    hbo2: npt.ArrayLike,
    hb: npt.ArrayLike,
    *,
    hbo2_se: npt.ArrayLike,
    hb_se: npt.ArrayLike,
    covariance: npt.ArrayLike = 0.0,
    unit: str = "[arb'U]",
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Oxygen saturation HbO2 / (HbO2 + Hb) and total haemoglobin HbO2 + Hb.

    Parameters
    ----------
    hbo2, hb : array_like
        Amounts of oxygenated and deoxygenated haemoglobin in one unit, whatever it is; negative ones are
        taken as they are.
    hbo2_se, hb_se : array_like
        Their standard errors, 0 where they are exact.
    covariance : array_like
        Of the two errors, in the square of the unit: unmixing leaves them correlated.
    unit : str
        Of the amounts, for total haemoglobin.
    mask : array_like of bool, optional
        NaN and `Flag.MASKED_OUT` outside.
    workers : int, optional
        Taken as everywhere; these few operations run in one thread.

    Returns
    -------
    Fit
        ``so2`` as fraction and ``thb`` in the unit of the amounts. The saturation is NaN where total
        haemoglobin is not above 0 (`Flag.NEGATIVE_AMPLITUDE`), where it lies below three of its standard
        errors (`Flag.BELOW_NOISE`), and where an input is not finite (`Flag.INVALID_INPUT`); ``thb`` stays
        there as long as it is a number, so that means over regions are not biased. A saturation outside of 0
        to 1, which a negative amount makes, stays with `Flag.OUTSIDE_RANGE`.

    Raises
    ------
    ValueError
        If shapes do not fit, a standard error is negative, or a covariance exceeds the product of the two.

    Notes
    -----
    The variance is that of the delta method,
    ``(Hb^2 se_o^2 + HbO2^2 se_h^2 - 2 Hb HbO2 cov) / THb^4`` (msot.md M7).

    Examples
    --------
    >>> fit = so2(70.0, 30.0, hbo2_se=2.0, hb_se=2.0)
    >>> round(float(fit.parameters["so2"]), 3), round(float(fit.standard_errors["so2"]), 5)
    (0.7, 0.01523)
    """
    del workers
    values, flags, dtype = elementwise(hbo2, hb, hbo2_se, hb_se, covariance, mask=mask)
    oxygenated, deoxygenated, oxygenated_se, deoxygenated_se, shared = values
    _check_errors(oxygenated_se, deoxygenated_se, shared)
    inside = flags == 0
    finite = np.logical_and.reduce([np.isfinite(value) for value in values])
    flags[inside & ~finite] |= Flag.INVALID_INPUT.value
    total = oxygenated + deoxygenated
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total_se = np.sqrt(np.maximum(oxygenated_se**2 + deoxygenated_se**2 + 2.0 * shared, 0.0))
        variance = (deoxygenated * oxygenated_se) ** 2 + (oxygenated * deoxygenated_se) ** 2
        variance -= 2.0 * deoxygenated * oxygenated * shared
        share = oxygenated / total
        share_se = np.sqrt(np.maximum(variance, 0.0)) / total**2
        usable = inside & finite
        flags[usable & ~(total > 0)] |= Flag.NEGATIVE_AMPLITUDE.value
        flags[usable & (total < DETECTION_SDS * total_se)] |= Flag.BELOW_NOISE.value
        outside = (flags == 0) & ((share < 0.0) | (share > 1.0))
    known = flags == 0
    flags[outside] |= Flag.OUTSIDE_RANGE.value
    return Fit(
        {
            "so2": stored(np.where(known, share, np.nan), dtype),
            "thb": stored(np.where(inside, total, np.nan), dtype),
        },
        {
            "so2": stored(np.where(known, share_se, np.nan), dtype),
            "thb": stored(np.where(inside, total_se, np.nan), dtype),
        },
        *nothing_fitted(flags.shape, dtype),
        flags=flags,
        units={"so2": "1", "thb": unit},
    )


def _check_errors(first: DoubleArray, second: DoubleArray, covariance: DoubleArray) -> None:
    with np.errstate(invalid="ignore"):
        if (first < 0).any() or (second < 0).any():
            raise ValueError("a standard error is 0 or more")
        if (np.abs(covariance) > first * second * (1.0 + _ROUNDING)).any():
            raise ValueError("the covariance of two errors is at most the product of their standard errors")


class _CallableModule(ModuleType):
    """The module of the array level that is also the job on Volumes: both are called ``oxygenation``."""

    def __call__(
        self, given: Volume | Estimate | Unmixed, components: Components | None = None, **options: Any
    ) -> Oxygenation:
        """Oxygen saturation and total haemoglobin of a scan, or of what it was unmixed to.

        Parameters
        ----------
        given, components, **options
            As `imgtheranostics.msot.oxygenation_maps.oxygenation` takes them.
        """
        from imgtheranostics.msot import oxygenation_maps

        return oxygenation_maps.oxygenation(given, components, **options)


sys.modules[__name__].__class__ = _CallableModule
