"""How a signal or an amount falls with depth below the surface that light enters by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, NothingUsable, UnitMismatch
from imgtheranostics.fit import CurveFit
from imgtheranostics.mapping.exponential_tail import fit_decays
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.msot.region_averages import RegionMean, region_mean_series
from imgtheranostics.pickling import reduced
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "region",
    "quantity",
    "unit",
    "axis",
    "axis_value",
    "depth_low_mm",
    "depth_high_mm",
    "depth_mm",
    "n_valid",
    "mean",
    "standard_error",
)
"""Columns of the table of a depth curve."""

_MOST_SHELLS = 500
_MM_PER_CM = 10.0


@dataclass(frozen=True, eq=False)
class DepthCurves:
    """Means over shells of equal depth.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per region, sample and shell, with the columns of `COLUMNS`.
    curves : tuple of CurveFit
        One per region and sample, with an exponential; its value is the effective attenuation in 1/cm.
    decisions : mapping
    """

    table: pd.DataFrame
    curves: tuple[CurveFit, ...]
    decisions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", MappingProxyType(dict(self.decisions)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, decisions=dict(self.decisions))


class _Shell(NamedTuple):
    """Voxels between two depths, and their mean depth, in mm."""

    region: str
    low: float
    high: float
    middle: float


def depth_curve(
    x: Volume | Estimate,
    depth: Volume,
    *,
    width_mm: float = 1.0,
    deepest_mm: float | None = None,
    rois: Regions | None = None,
    mask: Mask = None,
    resolution_mm: float | Sequence[float] | None = None,
    workers: int | None = None,
) -> DepthCurves:
    """Mean of an image in shells of equal depth, with the error of correlated voxels.

    Parameters
    ----------
    x : Volume or Estimate
        A signal, along ``wavelength`` if wanted, or a component; negative voxels count.
    depth : Volume
        ``depth`` in mm on the same grid, of `imgtheranostics.msot.fluence.depth_from_mask`; NaN outside of
        the body.
    width_mm : float
        Of a shell.
    deepest_mm : float, optional
        Where the curve ends; by default at the deepest voxel.
    rois : Regions, optional
        One curve for each; without them one for the whole body.
    mask : Volume, Regions or (i, j, k) array_like, optional
        Voxels that count.
    resolution_mm, workers
        As in `imgtheranostics.msot.region_means`.

    Returns
    -------
    DepthCurves
        Shells without a voxel that has a value are left out. The exponential through the means of each curve
        is ``A exp(-mu z)``; mu is NaN where there are fewer than three shells or the curve does not fall.

    Raises
    ------
    UnitMismatch
        If `depth` is no map of depth.
    GeometryMismatch
        If grids differ.
    ImplausibleValue
        If the width makes no shells, or too many.
    NothingUsable
        If no voxel with a value has a depth.
    """
    import pandas as pd

    value = x.value if isinstance(x, Estimate) else x
    way, inside = _depths(value, depth, mask)
    limit = float(np.nanmax(np.where(inside, way, np.nan))) if deepest_mm is None else float(deepest_mm)
    shells, masks = _shells(value, way, inside, rois, _edges(width_mm, limit))
    if not shells:
        raise NothingUsable("no voxel with a value has a depth", where="depth", needed="a body in the image")
    regions = Regions.from_voxel_lists(masks, value.grid)
    series = region_mean_series(x, regions, resolution_mm=resolution_mm, required=False, workers=workers)
    samples = _samples(value.axes)
    rows, curves = [], []
    for (axis, at), means in zip(samples, series, strict=True):
        kept = [(shell, mean) for shell, mean in zip(shells, means, strict=True) if mean.n_valid]
        rows += [_row(shell, mean, value, axis, at) for shell, mean in kept]
        for name in dict.fromkeys(shell.region for shell, _ in kept):
            own = [(shell, mean) for shell, mean in kept if shell.region == name]
            curves.append(_curve(name if not axis else f"{name}, {at:g} {_unit(value)}", own, value))
    return DepthCurves(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        tuple(curves),
        {"rule": "means of shells of equal depth", "width_mm": float(width_mm), "deepest_mm": limit},
    )


def _depths(value: Volume, depth: Volume, mask: Mask) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    if depth.quantity != "depth" or depth.axes:
        raise UnitMismatch(
            "a map of depth is needed",
            found=depth.quantity,
            needed="depth in mm",
            next_step="make it by msot.fluence.depth_from_mask",
        )
    same = value.grid.same_as(depth.grid)
    if not same:
        raise GeometryMismatch("depth and image lie on different grids", found=str(same))
    inside = np.isfinite(depth.data) & (depth.data >= 0)
    if mask is not None:
        inside &= mask_array(mask, value)
    if not inside.any():
        raise NothingUsable("no voxel has a depth", where="depth", needed="a body in the image")
    return depth.data, np.asarray(inside)


def _edges(width_mm: float, limit: float) -> npt.NDArray[np.float64]:
    if not (math.isfinite(width_mm) and width_mm > 0 and math.isfinite(limit) and limit > 0):
        raise ImplausibleValue(
            "shells need a width and an end above 0",
            where="width_mm",
            found=f"{width_mm:g} mm wide down to {limit:g} mm",
        )
    if limit / width_mm > _MOST_SHELLS:
        raise ImplausibleValue(
            "too many shells",
            where="width_mm",
            found=f"{limit / width_mm:.0f}",
            needed=f"at most {_MOST_SHELLS}",
            next_step="give a larger width_mm=",
        )
    return np.asarray(np.arange(math.ceil(limit / width_mm - 1e-9) + 1) * float(width_mm), np.float64)


def _shells(
    value: Volume,
    way: npt.NDArray[Any],
    inside: npt.NDArray[np.bool_],
    rois: Regions | None,
    edges: npt.NDArray[np.float64],
) -> tuple[list[_Shell], dict[str, npt.NDArray[np.int64]]]:
    """Shells that hold voxels, and these as flat Fortran-order indices."""
    flat, usable = way.ravel(order="F"), inside.ravel(order="F")
    if rois is None:
        parts = {"body": np.flatnonzero(usable)}
    else:
        fitted = rois.fit_to(value.grid)
        lists = zip(fitted, fitted.voxel_lists(), strict=True)
        parts = {name: voxels[usable[voxels]] for name, voxels in lists}
    shells, masks = [], {}
    for name, voxels in parts.items():
        place = np.searchsorted(edges, flat[voxels], side="right") - 1
        for n in range(edges.size - 1):
            own = voxels[(place == n) | ((n == edges.size - 2) & (flat[voxels] == edges[-1]))]
            if own.size:
                shells.append(_Shell(name, float(edges[n]), float(edges[n + 1]), float(np.mean(flat[own]))))
                masks[f"{name} {edges[n]:g}"] = own
    return shells, masks


def _samples(axes: Sequence[Axis]) -> list[tuple[str, float]]:
    """Name and value of the last axis for each sample, the last axis slowest."""
    if not axes:
        return [("", math.nan)]
    inner = int(np.prod([len(axis) for axis in axes[:-1]], dtype=np.int64))
    return [(axes[-1].name, float(at)) for at in axes[-1].values for _ in range(inner)]


def _unit(value: Volume) -> str:
    return value.axes[-1].unit


def _row(shell: _Shell, mean: RegionMean, value: Volume, axis: str, at: float) -> tuple[Any, ...]:
    return (
        shell.region, value.quantity, value.unit, axis, at, shell.low, shell.high, shell.middle, mean.n_valid,
        mean.value, mean.total_error,
    )  # fmt: skip


def _curve(label: str, own: Sequence[tuple[_Shell, RegionMean]], value: Volume) -> CurveFit:
    """The means of one curve and the exponential through them."""
    depth = np.array([shell.middle for shell, _ in own])
    measured = np.array([mean.value for _, mean in own])
    fitted = line = np.full(depth.size, np.nan)
    at, rate, error = depth, math.nan, math.nan
    if depth.size > 2 and (np.diff(depth) > 0).all():
        found = fit_decays(measured[:, np.newaxis], depth)
        rate, error, amplitude = (float(part[0]) for part in (found.rate, found.rate_error, found.amplitude))
        at = np.linspace(depth[0], depth[-1], 100)
        fitted, line = (amplitude * np.exp(-rate * (where - depth[0])) for where in (depth, at))
    return CurveFit(
        label,
        "effective_attenuation",
        "depth",
        "mm",
        depth,
        measured,
        fitted,
        at,
        line,
        value.unit,
        rate * _MM_PER_CM,
        error * _MM_PER_CM,
        int(sum(mean.n_valid for _, mean in own)),
    )
