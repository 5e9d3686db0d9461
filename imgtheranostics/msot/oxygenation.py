"""Oxygen saturation and total haemoglobin from the amounts of its two forms, with standard errors.

The module can be called: ``oxygenation(volume, ...)`` is `imgtheranostics.msot.oxygenation_maps.oxygenation`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, FloatArray
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.voxel_blocks import DoubleArray, FlagArray, stored
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
_BLOCK = 1 << 16


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
    ``(Hb^2 se_o^2 + HbO2^2 se_h^2 - 2 Hb HbO2 cov) / THb^4`` (msot.md M7). It is within 10 % of the scatter
    of repeats for all voxels that pass the threshold. Close to it those pass whose noise adds haemoglobin,
    which biases their saturation: for regions, `imgtheranostics.msot.region_so2` takes mean haemoglobin.

    Examples
    --------
    >>> fit = so2(70.0, 30.0, hbo2_se=2.0, hb_se=2.0)
    >>> round(float(fit.parameters["so2"]), 3), round(float(fit.standard_errors["so2"]), 5)
    (0.7, 0.01523)
    """
    del workers
    values, flags, dtype = _flat(hbo2, hb, hbo2_se, hb_se, covariance, mask=mask)
    shape, order = flags.shape, flags.order
    marks = flags.values
    found = np.empty((4, marks.size), dtype)
    for first in range(0, marks.size, _BLOCK):
        part = slice(first, first + _BLOCK)
        block = [value[part].astype(np.float64) for value in values]
        found[:, part] = _saturations(block, marks[part], dtype)
    so2_value, so2_error, total, total_error = (row.reshape(shape, order=order) for row in found)
    return Fit(
        {"so2": so2_value, "thb": total},
        {"so2": so2_error, "thb": total_error},
        *nothing_fitted(shape, dtype),
        flags=marks.reshape(shape, order=order),
        units={"so2": "1", "thb": unit},
    )


class _Flags(NamedTuple):
    """Flags of all voxels, flat, and the way back to their shape."""

    values: FlagArray
    shape: tuple[int, ...]
    order: Literal["C", "F"]


def _flat(
    *given: npt.ArrayLike, mask: npt.ArrayLike | None
) -> tuple[list[npt.NDArray[Any]], _Flags, np.dtype[np.floating]]:
    """Inputs of one shape as flat views where memory allows, flags, and the type of results."""
    arrays = [np.asarray(value) for value in given]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    full = [array for array in arrays if array.shape == shape]
    order: Literal["C", "F"] = "F" if len(shape) > 1 and all(a.flags.f_contiguous for a in full) else "C"
    real = [array for array in arrays if array.ndim == len(shape) and array.dtype.kind == "f"]
    single = bool(real) and all(array.dtype == np.float32 for array in real)
    size = int(np.prod(shape, dtype=np.int64))
    flags = np.zeros(size, np.uint16)
    if mask is not None:
        inside = np.asarray(mask)
        if inside.shape != shape:
            raise ValueError(f"mask has shape {inside.shape}, the maps' is {shape}")
        flags[~inside.astype(bool).ravel(order=order)] = Flag.MASKED_OUT.value
    spread = [
        array.ravel(order=order)
        if array.shape == shape
        else np.broadcast_to(array, size)
        if array.ndim == 0
        else np.broadcast_to(array, shape).ravel(order=order)
        for array in arrays
    ]
    return spread, _Flags(flags, shape, order), np.dtype(np.float32 if single else np.float64)


def _saturations(values: list[DoubleArray], flags: FlagArray, dtype: np.dtype[np.floating]) -> FloatArray:
    """Saturation, its error, total and its error of a block, (4, n); `flags` are completed."""
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
    rows = [np.where(where, row, np.nan) for where, row in (
        (known, share), (known, share_se), (inside, total), (inside, total_se))]  # fmt: skip
    return stored(np.stack(rows), dtype)


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
