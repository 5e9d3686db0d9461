"""Numbers that are calculated from maps, voxel by voxel, without a fit: shapes, types, masks, and the Fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, FloatArray
from imgtheranostics.mapping.voxel_blocks import DoubleArray, FlagArray, stored
from imgtheranostics.volume import Flag


def elementwise(
    *values: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> tuple[list[DoubleArray], FlagArray, np.dtype[np.floating]]:
    """Maps of one shape in float64, the flags of a mask, and the type that results have.

    Raises
    ------
    ValueError
        If the maps do not fit each other, or the mask them.
    """
    arrays = [np.asarray(value) for value in values]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    real = [array for array in arrays if array.ndim == len(shape) and array.dtype.kind == "f"]
    single = bool(real) and all(array.dtype == np.float32 for array in real)
    flags = np.zeros(shape, np.uint16)
    if mask is not None:
        given = np.asarray(mask)
        if given.shape != shape:
            raise ValueError(f"mask has shape {given.shape}, the maps' is {shape}")
        flags[~given.astype(bool)] = Flag.MASKED_OUT.value
    spread = [np.broadcast_to(array.astype(np.float64, copy=False), shape) for array in arrays]
    return spread, flags, np.dtype(np.float32 if single else np.float64)


def elementwise_fit(
    parameters: Mapping[str, DoubleArray],
    errors: Mapping[str, DoubleArray],
    flags: FlagArray,
    units: Mapping[str, str],
    dtype: np.dtype[np.floating],
) -> Fit:
    """A Fit of numbers that were calculated, not fitted: NaN where a flag forbids the value.

    A value that overflows is flagged `Flag.OUTSIDE_RANGE`.
    """
    values, deviations = {}, {}
    for name, value in parameters.items():
        values[name] = stored(np.where(flags != 0, np.nan, value), dtype)
        flags[(flags == 0) & ~np.isfinite(values[name])] = Flag.OUTSIDE_RANGE.value
        deviations[name] = stored(np.where(flags != 0, np.nan, errors[name]), dtype)
    return Fit(values, deviations, *nothing_fitted(flags.shape, dtype), flags=flags, units=dict(units))


def nothing_fitted(
    shape: tuple[int, ...], dtype: np.dtype[np.floating]
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.integer]]:
    """R squared, residual and iterations of values that were calculated without a fit, without memory."""
    missing = np.broadcast_to(np.array(np.nan, dtype), shape)
    return missing, missing, np.broadcast_to(np.array(0, np.int32), shape)
