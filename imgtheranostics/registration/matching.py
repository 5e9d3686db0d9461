"""Registration of one volume to another: rigid, affine or by B-splines, with a report of its quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, UnsupportedInput
from imgtheranostics.pickling import reduced
from imgtheranostics.regions import Regions
from imgtheranostics.registration.images import make_pair
from imgtheranostics.registration.judging import LEAST_OVERLAP, check_overlap, judged
from imgtheranostics.registration.optimising import (
    METRICS,
    Metric,
    Search,
)
from imgtheranostics.registration.quality import (
    Quality,
    apart_mm,
    check_jacobian,
    displacements_mm,
    overlap,
    residual,
)
from imgtheranostics.registration.resampling import as_transform, resample
from imgtheranostics.registration.searching import between, deformed, linear_search, repeated, seed_of
from imgtheranostics.registration.transform import MODELS, Model, Transform
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Registration:
    """The transform between two images, the moving one on the fixed one's grid, and how good that is.

    Attributes
    ----------
    transform : Transform
        Fixed to moving points, RAS+ mm.
    resampled : Volume
        The moving image on the grid of the fixed one, by linear interpolation; NaN outside.
    quality : Quality
    warnings : tuple of Caution
    """

    transform: Transform
    resampled: Volume
    quality: Quality
    warnings: tuple[Caution, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    @property
    def matrix(self) -> FloatArray | None:
        """4 by 4, RAS+ mm, fixed to moving points, of the linear models; None for a B-spline."""
        return self.transform.matrix

    def save(self, path: str | Path) -> None:
        """Write the transform: ``.tfm`` as ITK's programs read it, or ``.json`` with its quality."""
        from imgtheranostics.registration.files import save_transform

        save_transform(self.transform, path, quality=self.quality)


def register(
    fixed: Volume,
    moving: Volume,
    *,
    model: Model = "rigid",
    mask: npt.ArrayLike | Volume | Regions | None = None,
    rng: int | np.random.Generator = 0,
    metric: Metric = "mutual_information",
    start: Transform | npt.ArrayLike | Literal["scanner", "centre"] = "scanner",
    node_spacing_mm: float | None = None,
    min_overlap: float = LEAST_OVERLAP,
) -> Registration:
    """Find the transform that takes points of `fixed` to the same points of `moving`.

    Coarse to fine with SimpleITK; the measure is evaluated at seeded points on one thread, so that the
    result is the same on every run and every number of cores. The solution is looked for a second time
    from elsewhere: refused if that leads to another place, else the middle of both is taken.

    Parameters
    ----------
    fixed, moving : Volume
        Without axes beyond space. NaN voxels do not count. Two single slices of one plane are registered
        within the plane.
    model : {"rigid", "affine", "bspline", "translation"}
        "bspline" is a rigid transform after a free deformation; one that folds is refused.
    mask : (i, j, k) array_like, Volume or Regions, optional
        Where to look, on the grid of `fixed`.
    rng : int or Generator
        Seed of the sampling points.
    metric : {"mutual_information", "correlation"}
        The first for any two contrasts or modalities; the second where grey values are proportional.
    start : {"scanner", "centre"}, Transform or (4, 4) array_like
        Where to begin: the scanner's coordinates, the middles of both images on each other, or a
        transform.
    node_spacing_mm : float, optional
        Distance of the B-spline's nodes; by default a quarter of the image, and at least four
        voxels; what varies faster is not followed.
    min_overlap : float
        Share of the smaller image that both must cover.

    Returns
    -------
    Registration

    Raises
    ------
    IllConditioned
        If the images overlap too little, share no structure, the optimiser does not settle, or a second
        search leads elsewhere: never a transform that nothing supports.
    GeometryMismatch
        If a mask lies on another grid, or two single slices in different planes.
    UnsupportedInput
        If a B-spline is asked of single slices.
    ValueError
        If an option is unknown or an image has axes beyond space.
    """
    _check(fixed, moving, model, metric)
    inside = as_mask(mask, fixed)
    pair = make_pair(fixed, moving, inside)
    if model == "bspline" and pair.plane is not None:
        raise UnsupportedInput(
            "a B-spline of a single slice is not offered", next_step="use model='rigid' or 'affine'"
        )
    search = Search(metric, seed_of(rng))
    first = _start(start, fixed, moving)
    check_overlap(overlap(fixed, moving, first, inside), min_overlap, "before")
    linear: Model = "rigid" if model == "bspline" else model
    found = linear_search(pair, linear, search, first)
    again = repeated(pair, found.optimised, linear, search)
    repeat_mm = apart_mm(found.transform, again.transform, fixed, inside)
    found = between(found, again, pair, linear, search)
    transform, outcome = found.transform, found.outcome
    if model == "bspline":
        transform = deformed(pair, found.optimised, search, node_spacing_mm, outcome)
    share = overlap(fixed, moving, transform, inside)
    check_overlap(share, min_overlap, "after")
    resampled = resample(moving, transform, like=fixed)
    quality = Quality(
        metric=metric,
        start_value=found.start_value,
        value=outcome.metric,
        residual=residual(fixed, resampled, inside),
        overlap=share,
        jacobian_range=check_jacobian(transform, fixed, inside),
        largest_displacement_mm=float(displacements_mm(transform, fixed, inside).max(initial=0.0)),
        repeat_mm=repeat_mm,
        iterations=outcome.iterations,
        converged=outcome.converged,
    )
    warnings = judged(quality, model, max(fixed.grid.spacing_mm[:2]))
    return Registration(transform, resampled.with_warnings(*warnings), quality, warnings)


def as_mask(mask: npt.ArrayLike | Volume | Regions | None, fixed: Volume) -> BoolArray | None:
    """A mask as a boolean array on the grid of `fixed`.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid.
    """
    if mask is None:
        return None
    if isinstance(mask, Regions):
        return mask.fit_to(fixed.grid).union()
    if isinstance(mask, Volume):
        difference = fixed.grid.same_as(mask.grid)
        if not difference:
            raise GeometryMismatch("the mask lies on another grid than the image", found=str(difference))
    given = np.asarray(mask.data if isinstance(mask, Volume) else mask)
    if given.shape != fixed.shape[:3]:
        raise GeometryMismatch(
            "the mask does not fit the image", found=str(given.shape), needed=str(fixed.shape[:3])
        )
    return np.asarray((given != 0) & (given == given))


def _check(fixed: Volume, moving: Volume, model: Model, metric: Metric) -> None:
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}")
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    for name, volume in (("fixed", fixed), ("moving", moving)):
        if volume.axes:
            raise ValueError(
                f"{name} has an axis {volume.axes[-1].name}; choose a sample with .frame(n), "
                "or use align_series"
            )
        if volume.data.dtype.kind != "f":
            raise ValueError(f"{name} holds {volume.quantity}, which are no image to register")


def _start(
    start: Transform | npt.ArrayLike | Literal["scanner", "centre"], fixed: Volume, moving: Volume
) -> Transform:
    if isinstance(start, str):
        if start not in ("scanner", "centre"):
            raise ValueError(f"start {start!r} is not scanner, centre or a transform")
        matrix = np.eye(4)
        if start == "centre":
            middles = [v.grid.corners_mm().mean(axis=0) for v in (fixed, moving)]
            matrix[:3, 3] = middles[1] - middles[0]
        return Transform(matrix)
    given = as_transform(start)
    if given.spline is not None:
        raise ValueError("a start transform is linear")
    return given
