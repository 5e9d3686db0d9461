"""Volumes through a transform onto another grid: values, or amounts, kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.registration.images import to_image, with_nearest
from imgtheranostics.registration.transform import Transform, covered, linear_to_sitk, spline_to_sitk
from imgtheranostics.volume import Flag, Volume, make_step

if TYPE_CHECKING:
    import SimpleITK

    from imgtheranostics.registration.matching import Registration

Interpolation = Literal["linear", "nearest", "bspline"]
Preserve = Literal["intensity", "mass"]

INTERPOLATIONS: tuple[Interpolation, ...] = ("linear", "nearest", "bspline")
"""Ways between voxels."""

# A value that owes more than this share to a NaN neighbour is NaN.
_NAN_SHARE = 1e-3


def resample(
    volume: Volume,
    transform: Registration | Transform | npt.ArrayLike | None,
    *,
    like: Volume | Grid,
    interpolation: Interpolation = "linear",
    preserve: Preserve = "intensity",
    workers: int | None = None,
) -> Volume:
    """A volume on the grid of another, through a transform.

    Parameters
    ----------
    volume : Volume
        The moving image; each sample of its axes beyond space is resampled alike.
    transform : Registration, Transform, (4, 4) array_like or None
        Fixed to moving points, RAS+ mm, as `register` returns it; None leaves points where they are.
    like : Volume or Grid
        The grid of the result, which lies where the fixed image lies.
    interpolation : {"linear", "nearest", "bspline"}
        Labels and flags take "nearest" only.
    preserve : {"intensity", "mass"}
        "mass" multiplies by the determinant of the Jacobian: the integral of a concentration over a piece
        of tissue then stays what it was while the tissue shrinks or swells.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Volume
        NaN where the moving image does not reach, where a spline is not defined, and where a value would
        come from a NaN voxel; labels are 0 there and flags MASKED_OUT.

    Raises
    ------
    ValueError
        If an option is unknown, or labels would be interpolated.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
    if preserve not in ("intensity", "mass"):
        raise ValueError(f"preserve {preserve!r} is not intensity or mass")
    whole_numbers = volume.data.dtype.kind in "iu"
    if whole_numbers and (interpolation != "nearest" or preserve == "mass"):
        raise ValueError(
            f"{volume.quantity} are whole numbers: interpolation='nearest', preserve='intensity'"
        )
    chosen = as_transform(transform)
    grid = like if isinstance(like, Grid) else like.grid
    step = make_step(
        "resample",
        model=chosen.model,
        matrix=chosen.linear.tolist(),
        interpolation=interpolation,
        preserve=preserve,
    )
    out = np.empty((*grid.shape, *volume.shape[3:]), volume.data.dtype, order="F")
    share = chosen.jacobian_determinant(grid) if preserve == "mass" else None
    known = None if chosen.spline is None else covered(chosen.spline, grid)
    for place in np.ndindex(volume.shape[3:]):
        sample = volume.data[(..., *place)]
        if whole_numbers:
            outside = int(Flag.MASKED_OUT) if volume.quantity == "flags" else 0
            moved = _through(sample, volume.affine, chosen, grid, "nearest", outside, workers)
            out[(..., *place)] = moved if known is None else np.where(known, moved, outside)
            continue
        moved = _sample(sample, volume.affine, chosen, grid, interpolation, workers)
        if known is not None:
            moved[~known] = np.nan
        out[(..., *place)] = moved if share is None else moved * share
    return volume.derived(out, volume.quantity, volume.unit, step, affine=grid.affine)


def as_transform(given: Registration | Transform | npt.ArrayLike | None) -> Transform:
    """A Transform from whatever stands for one."""
    if given is None:
        return Transform()
    if isinstance(given, Transform):
        return given
    inner = getattr(given, "transform", None)
    return inner if isinstance(inner, Transform) else Transform(np.asarray(given, np.float64))


def _sample(
    data: npt.NDArray[np.float32],
    affine: npt.NDArray[np.float64],
    transform: Transform,
    grid: Grid,
    interpolation: Interpolation,
    workers: int | None,
) -> npt.NDArray[np.float32]:
    """One image of real numbers; NaN outside, and where a NaN voxel would have had a share."""
    bad = ~np.isfinite(data)
    if bad.all():
        return np.full(grid.shape, np.nan, np.float32)
    moved = _through(with_nearest(data), affine, transform, grid, interpolation, np.nan, workers)
    if bad.any():
        if interpolation == "bspline":
            bad = _grown(bad)
        way: Interpolation = "nearest" if interpolation == "nearest" else "linear"
        share = _through(bad.astype(np.float32), affine, transform, grid, way, 1.0, workers)
        moved[share > _NAN_SHARE] = np.nan
    return moved


def _grown(bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """One voxel more on all sides: the cubic basis reaches that much further than the linear one."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(bad, np.ones((3, 3, 3), bool)))


def _through(
    data: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    transform: Transform,
    grid: Grid,
    interpolation: Interpolation,
    outside: float,
    workers: int | None,
) -> npt.NDArray[Any]:
    import SimpleITK

    spacing = np.array(grid.spacing_mm)
    resampler = SimpleITK.ResampleImageFilter()
    if workers is not None:
        resampler.SetNumberOfThreads(max(1, int(workers)))
    resampler.SetSize(list(grid.shape))
    resampler.SetOutputOrigin(grid.affine[:3, 3].tolist())
    resampler.SetOutputSpacing(spacing.tolist())
    resampler.SetOutputDirection((grid.affine[:3, :3] / spacing).ravel().tolist())
    resampler.SetTransform(_as_ras(transform))
    resampler.SetInterpolator(
        {
            "linear": SimpleITK.sitkLinear,
            "nearest": SimpleITK.sitkNearestNeighbor,
            "bspline": SimpleITK.sitkBSpline3,
        }[interpolation]
    )
    resampler.SetDefaultPixelValue(outside)
    return np.asarray(SimpleITK.GetArrayFromImage(resampler.Execute(to_image(data, affine))).T)


def _as_ras(transform: Transform) -> SimpleITK.Transform:
    """The transform for images whose coordinates are RAS+ mm."""
    import SimpleITK

    linear = linear_to_sitk(transform.linear)
    if transform.spline is None:
        return linear
    return SimpleITK.CompositeTransform([linear, spline_to_sitk(transform.spline)])
