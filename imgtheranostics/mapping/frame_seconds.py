"""Times of frames in seconds, from an axis that states a unit of time."""

from __future__ import annotations

import numpy as np

from imgtheranostics.errors import UnitMismatch
from imgtheranostics.units import UNITS
from imgtheranostics.volume import Axis, FloatArray


def frame_seconds(axis: Axis) -> FloatArray:
    """Coordinates of a time axis in s.

    Raises
    ------
    UnitMismatch
        If its unit is no time: numbers of frames are no seconds.
    """
    unit = UNITS[axis.unit]
    if unit.dimension != "time":
        raise UnitMismatch(
            "the frames have no times in a unit of time",
            where=f"axis {axis.name}",
            found=f"{axis.values.size} values in {axis.unit}",
            needed="s, ms or min; numbers of frames are no times",
            next_step="give the axis the time of each frame in s",
        )
    return np.asarray(axis.values * unit.factor)
