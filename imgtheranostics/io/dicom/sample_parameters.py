"""The samples of a Volume beyond space as DICOM tells them apart: one set of parameters for each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.dicom.samples import PARAMETER_UNITS
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Axis, Volume

MOST_PARAMETERS = 2
"""Axes beside time that a reader can tell from the images alone."""
_START_S = 1e-6

FloatArray = npt.NDArray[np.float64]


def sample_values(volume: Volume, allowed: Collection[str], what: str) -> dict[str, FloatArray]:
    """Value of each axis in each sample, samples with the first axis fastest.

    Parameters
    ----------
    volume : Volume
    allowed : collection of str
        Axis names that the object can hold; ``time`` may be among them.
    what : str
        The object, for messages.

    Returns
    -------
    dict of str to (n_samples,) float64
        In the units of `PARAMETER_UNITS`, time in s from the first image.

    Raises
    ------
    UnsupportedInput
        If an axis cannot be held, values repeat, or time does not start at 0 and increase.
    """
    unknown = [axis.name for axis in volume.axes if axis.name not in allowed]
    parameters = [axis for axis in volume.axes if axis.name != "time"]
    if unknown or len(parameters) > MOST_PARAMETERS:
        raise UnsupportedInput(
            f"{what} cannot hold these axes",
            found=", ".join(axis.name for axis in volume.axes),
            needed=f"at most two of {', '.join(sorted(set(allowed) - {'time'}))}, and time",
            next_step="save it as NIfTI: give a name that ends in .nii.gz",
        )
    columns = [_in_unit(axis, what) for axis in volume.axes]
    grids = np.meshgrid(*columns, indexing="ij") if columns else []
    return {axis.name: grid.ravel(order="F") for axis, grid in zip(volume.axes, grids, strict=True)}


def _in_unit(axis: Axis, what: str) -> FloatArray:
    unit = PARAMETER_UNITS.get(axis.name, "s")
    values = axis.values * conversion_factor(axis.unit, unit)
    if not np.isfinite(values).all() or np.unique(values).size != values.size:
        raise UnsupportedInput(
            f"{what} cannot tell apart images with the same {axis.name.replace('_', ' ')}",
            found="values that repeat or are not finite",
            next_step="save it as NIfTI",
        )
    if axis.name == "time" and (abs(values[0]) > _START_S or (np.diff(values) <= 0).any()):
        raise UnsupportedInput(
            f"{what} counts time from its first image",
            found=f"times from {values[0]:g} s" if values[0] else "times that do not increase",
            needed="increasing times of which the first is 0",
            next_step="save it as NIfTI, or write the images as series of their own",
        )
    return np.asarray(values)


def each_sample(volume: Volume) -> npt.NDArray[Any]:
    """The voxels as (i, j, k, n_samples), without a copy."""
    return volume.data.reshape((*volume.grid.shape, -1), order="F")
