"""A transmit-field map, or one number, as a ratio to nominal on the grid of the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, ImplausibleValue, UnitMismatch
from imgtheranostics.mapping.voxels import Array, on_grid
from imgtheranostics.volume import Estimate, Volume

PERCENT_ABOVE = 10.0
"""A transmit-field map whose median exceeds this is in percent."""


@dataclass(frozen=True, eq=False)
class FieldRatio:
    """The transmit field relative to nominal, (i, j, k), and how it was read."""

    ratio: Array
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()


def relative_field(b1: Volume | Estimate | npt.ArrayLike, v: Volume, *, resample: bool = False) -> FieldRatio:
    """A transmit-field map on the grid of `v`, as a ratio to nominal.

    Parameters
    ----------
    b1 : Volume, Estimate, (i, j, k) array_like or float
        Ratio or percent; a median above 10 counts as percent. The standard errors of an estimate are not
        carried on.
    v : Volume
    resample : bool
        Bring a map from another grid by linear interpolation.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid and `resample` is not asked for.
    UnitMismatch, ImplausibleValue
        If it is no transmit-field map.
    """
    if isinstance(b1, Estimate):
        b1 = b1.value
    if not isinstance(b1, Volume):
        given = np.asarray(b1, np.float64)
        if given.ndim == 0:
            return _one_value(float(given), v)
        if given.shape != v.grid.shape:
            raise GeometryMismatch(
                "the transmit-field map does not fit the images",
                found=str(given.shape),
                needed=str(v.grid.shape),
            )
        b1 = Volume(given, v.affine, "relative_b1", "1")
    if b1.quantity not in ("relative_b1", "signal"):
        raise UnitMismatch(
            "a transmit-field map is needed",
            found=f"{b1.quantity} [{b1.unit}]",
            needed="relative_b1 [1], or percent",
        )
    decision: dict[str, Any] = {"rule": "map"}
    if resample and not v.grid.same_as(b1.grid) and v.grid.axis_match(b1.grid) is None:
        b1 = _resampled(b1, v)
        decision["resampled"] = "linear"
    ratio = on_grid(b1, v, "the transmit-field map", "give --resample-b1 (resample_b1=True), or resample it")
    positive = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not positive.size:
        raise ImplausibleValue("the transmit-field map holds no positive value", needed="a ratio to nominal")
    warnings: tuple[Caution, ...] = ()
    if float(np.median(positive)) > PERCENT_ABOVE:
        ratio = ratio * np.float32(0.01)
        decision["converted"] = "percent to ratio"
        warnings = (Caution("b1-in-percent", "the transmit-field map is in percent: divided by 100"),)
    return FieldRatio(ratio, decision, (*b1.warnings, *warnings))


def _one_value(ratio: float, v: Volume) -> FieldRatio:
    """The same field everywhere."""
    if not 0.1 < ratio < PERCENT_ABOVE:
        raise ImplausibleValue(
            "the transmit field is no ratio to nominal", found=f"{ratio:g}", needed="a ratio, such as 0.95"
        )
    everywhere = np.full(v.grid.shape, ratio, order="F")
    return FieldRatio(everywhere, {"rule": "one value", "relative_b1": ratio})


def _resampled(b1: Volume, v: Volume) -> Volume:
    from imgtheranostics.registration import resample

    return resample(b1, np.eye(4), like=v)
