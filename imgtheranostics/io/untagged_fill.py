"""Fill outside the field of view of CT images that no padding tag announces."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution

HIGHEST_FILL_HU = -1500.0
"""No matter is below -1000 HU; scanners fill with -1500, -2000 or -3024, and -1024 is air."""

FILL = "untagged-padding"
"""Code of the caution."""

_SHARE = 1e-3
_FEWEST = 4
_ENOUGH = 100_000
"""Voxels among which every value that 0.1 % of the image share stands about 100 times or more."""


def fill_values(data: npt.NDArray[Any]) -> tuple[float, ...]:
    """Values far below air that a part of the voxels shares exactly, lowest first.

    Parameters
    ----------
    data : ndarray
        Attenuation in HU; NaN is left out.

    Returns
    -------
    tuple of float
        Each of at most -1500 HU, in at least 0.1 % of the voxels and in 4; noise about air does not repeat
        one value that often.
    """
    if not float(np.fmin.reduce(data, axis=None)) <= HIGHEST_FILL_HU:
        return ()
    low = data[data <= HIGHEST_FILL_HU]
    needed = max(_FEWEST, _SHARE * data.size)
    stride = max(1, low.size // _ENOUGH)
    values, counts = np.unique(low[::stride], return_counts=True)
    likely = values[counts * stride >= 0.5 * needed]
    return tuple(float(value) for value in likely if np.count_nonzero(low == value) >= needed)


def is_fill(data: npt.NDArray[Any], found: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    """Which voxels hold one of the values that `fill_values` found."""
    fill = np.zeros(data.shape, np.bool_, order="F")
    for value in found:
        fill |= data == value
    return fill


def fill_cautions(data: npt.NDArray[Any], where: str) -> list[Caution]:
    """A caution that names the fill and the mask that leaves it out; none without fill."""
    found = fill_values(data)
    if not found:
        return []
    share = sum(np.count_nonzero(data == value) for value in found) / data.size
    listed = ", ".join(f"{value:g}" for value in found)
    text = (
        f"{100 * share:.1f} % of the voxels are exactly {listed} HU, which no tissue is: fill outside the "
        "field of view without a padding tag; mask it before averaging, for example with ct.field_of_view"
    )
    return [Caution(FILL, text, where)]
