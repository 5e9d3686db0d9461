"""Real values to 16-bit stored values: a slope and an intercept, and one level for voxels without a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.dicom.header_modules import ds

LARGEST = 65535
AIR_HU = -1024.0

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StoredScale:
    """value = stored x slope + intercept; both exactly as the decimal strings of the header say them.

    Attributes
    ----------
    slope, intercept : str
    padded : bool
        Stored 0 means that there is no value.
    """

    slope: str
    intercept: str
    padded: bool = False

    def store(self, values: Values) -> npt.NDArray[np.uint16]:
        """Stored values, to the nearest level; 0 where a value is missing."""
        levels = np.rint((values.astype(np.float64) - float(self.intercept)) / float(self.slope))
        if self.padded:
            missing = ~np.isfinite(levels)
            levels = np.clip(np.where(missing, 1.0, levels), 1, LARGEST)
            levels[missing] = 0
        return np.clip(levels, 0, LARGEST).astype(np.uint16)


def has_missing(values: Values) -> bool:
    """Whether voxels are NaN; UnsupportedInput when some are infinite."""
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise UnsupportedInput(
            "a DICOM image cannot hold infinite values",
            found=f"{infinite} voxels",
            next_step="mask them, or save it as NIfTI",
        )
    return bool(np.isnan(values).any())


def fitted_scale(values: Values, *, padded: bool) -> StoredScale:
    """The scale that spreads the values over all levels; the step is below 2^-15 of their range.

    Zero stays exactly zero where the values are not negative and not far from it.
    """
    low, high = _limits(values)
    base = 0.0 if 0 <= low <= high / 2 else low
    span = high - base
    slope = ds(span / (LARGEST - int(padded))) if span > 0 else "1"
    if padded:
        # One digit less, so that the intercept can be exactly minus the slope and zero stays zero.
        slope = ds(-float(slope)).removeprefix("-")
        return StoredScale(slope, ds(base - float(slope)), True)
    return StoredScale(slope, ds(base), False)


def hounsfield_scale(values: Values, *, padded: bool) -> StoredScale:
    """The scale of a CT series: steps of a power of two, 1 for whole numbers; air at -1024 below all else.

    Where voxels are missing, stored 0 is 1024 HU below anything that occurs.
    """
    low, high = _limits(values)
    base = min(AIR_HU, float(np.floor(low))) + (AIR_HU if padded else 0.0)
    slope = 2.0 ** np.ceil(np.log2(max(high - base, 1.0) / LARGEST))
    if slope <= 1 and _whole(values):
        slope = 1.0
    return StoredScale(ds(slope), ds(base), padded)


def _limits(values: Values) -> tuple[float, float]:
    """Smallest and largest value that is there; 0 where all are missing."""
    low, high = float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
    return (0.0, 0.0) if np.isnan(low) else (low, high)


def _whole(values: Values) -> bool:
    """Whether all values that are there are whole numbers; slice by slice, without a copy of all."""
    for k in range(values.shape[2]):
        part = values[:, :, k]
        if ((part != np.rint(part)) & ~np.isnan(part)).any():
            return False
    return True
