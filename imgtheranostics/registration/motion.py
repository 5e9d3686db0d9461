"""MotionReport: how each sample of a series had moved, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.pickling import reduced

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MotionReport:
    """How each sample had moved against the reference, and how far off it still is.

    Attributes
    ----------
    axis : str
        Name of the axis.
    axis_values : (n,) ndarray
    reference : int or "mean"
    translation_mm : (n, 3) ndarray
        Shift of the middle of the image along R, A and S, from the reference to the sample; NaN where the
        sample could not be registered.
    rotation_deg : (n, 3) ndarray
        Turn about R, A and S (matrix Rz Ry Rx) about that middle.
    displacement_mm : (n,) ndarray
        RMS distance by which voxels had moved.
    residual_mm : (n,) ndarray
        The same, measured once more after the correction; where a sample was left alone, its displacement.
    corrected : (n,) ndarray of bool
        Resampled; the others lay within the threshold, or could not be registered.
    registered : (n,) ndarray of bool
        Whether a transform was found.
    matrices : (n, 4, 4) ndarray
        Reference to sample points, RAS+ mm; identity where a sample was left alone.
    threshold_mm : float
        Displacement up to which nothing is resampled.
    warnings : tuple of Caution
    """

    axis: str
    axis_values: FloatArray
    reference: int | Literal["mean"]
    translation_mm: FloatArray
    rotation_deg: FloatArray
    displacement_mm: FloatArray
    residual_mm: FloatArray
    corrected: BoolArray
    registered: BoolArray
    matrices: FloatArray
    threshold_mm: float
    warnings: tuple[Caution, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    def __len__(self) -> int:
        return len(self.axis_values)

    def table(self) -> pd.DataFrame:
        """One row per sample."""
        import pandas as pd

        columns: dict[str, Any] = {"sample": np.arange(len(self)), self.axis: self.axis_values}
        for n, letter in enumerate("ras"):
            columns[f"translation_{letter}_mm"] = self.translation_mm[:, n]
        for n, letter in enumerate("ras"):
            columns[f"rotation_{letter}_deg"] = self.rotation_deg[:, n]
        columns |= {
            "displacement_mm": self.displacement_mm,
            "residual_mm": self.residual_mm,
            "corrected": self.corrected,
            "registered": self.registered,
        }
        return pd.DataFrame(columns)
