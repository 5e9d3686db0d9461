"""Curves of tissues in the frames of a dynamic scan, wherever they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput

__all__ = ["TissueCurves", "noted"]

FloatArray = npt.NDArray[np.float64]

_NEGATIVE = 0.05
"""Share of its peak by which a curve may be below zero without a word."""


@dataclass(frozen=True, eq=False)
class TissueCurves:
    """Mean activity of regions in each frame, decay corrected to the injection.

    Attributes
    ----------
    names : tuple of str
    values, errors : (m, n) ndarray
        Of the regions, and their standard errors without what all share; NaN where that is not known.
    mid_s, duration_s : (n,) ndarray
        Frames in s after the injection; None where the durations are not known.
    quantity, unit : str
    weights : (n,) ndarray or None
        That came with the curves.
    half_life_s : float or None
    sizes : tuple of (int, int, float)
        Voxels, those with a value, and volume in mL, of each region; 0 and NaN where there is no image.
    subject, session : str
    calibration_relative : float
        What all curves share.
    decisions : mapping
    warnings : tuple of Caution
    """

    names: tuple[str, ...]
    values: FloatArray
    errors: FloatArray
    mid_s: FloatArray
    duration_s: FloatArray | None
    quantity: str = "activity_concentration"
    unit: str = "Bq/mL"
    weights: FloatArray | None = None
    half_life_s: float | None = None
    sizes: tuple[tuple[int, int, float], ...] = ()
    subject: str = ""
    session: str = ""
    calibration_relative: float = 0.0
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        if not self.sizes:
            object.__setattr__(self, "sizes", ((0, 0, np.nan),) * len(self.names))

    def curve(self, name: str) -> FloatArray:
        """One region's.

        Raises
        ------
        UnsupportedInput
            If there is none of that name; the message lists those that exist.
        """
        if name not in self.names:
            raise UnsupportedInput(
                "there is no such region", found=name, needed="one of " + ", ".join(self.names)
            )
        return np.asarray(self.values[self.names.index(name)])

    def without(self, names: Sequence[str]) -> TissueCurves:
        """All other regions."""
        kept = [n for n, name in enumerate(self.names) if name not in names]
        return replace(
            self,
            names=tuple(self.names[n] for n in kept),
            values=self.values[kept],
            errors=self.errors[kept],
            sizes=tuple(self.sizes[n] for n in kept),
        )


def noted(curves: TissueCurves) -> TissueCurves:
    """The curves with a caution for each that is below zero by more than noise."""
    found = []
    for name, values in zip(curves.names, curves.values, strict=True):
        known = values[np.isfinite(values)]
        if known.size and known.min() < -_NEGATIVE * max(float(known.max()), 0.0):
            text = "the tissue curve is below zero by more than a twentieth of its peak"
            found.append(Caution("negative-activity", text, f"region {name}"))
    return replace(curves, warnings=(*curves.warnings, *found))
