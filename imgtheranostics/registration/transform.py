"""Transform: where each point of the fixed image lies in the moving image, in RAS+ mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.grid import Grid
from imgtheranostics.pickling import reduced

if TYPE_CHECKING:
    import SimpleITK

FloatArray = npt.NDArray[np.float64]
Model = Literal["translation", "rigid", "affine", "bspline"]

MODELS: tuple[Model, ...] = ("translation", "rigid", "affine", "bspline")
"""Models of `register`, from the fewest parameters to the most."""

_ORDER = 3
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
_EDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Spline:
    """Displacements on a lattice of cubic B-spline coefficients, in RAS+ mm.

    Attributes
    ----------
    coefficients : (3, n_i, n_j, n_k) ndarray
        Displacement along R, A and S of each node, in mm.
    affine : (4, 4) ndarray
        Node index to RAS+ mm.
    """

    coefficients: FloatArray
    affine: FloatArray

    def __post_init__(self) -> None:
        coefficients = np.array(self.coefficients, np.float64)
        if coefficients.ndim != 4 or coefficients.shape[0] != 3 or min(coefficients.shape[1:]) <= _ORDER:
            raise ValueError(f"coefficients have shape {coefficients.shape}, not (3, i, j, k) of at least 4")
        if not np.isfinite(coefficients).all():
            raise ValueError("a displacement is not finite")
        lattice = Grid((4, 4, 4), self.affine)
        coefficients.setflags(write=False)
        object.__setattr__(self, "coefficients", coefficients)
        object.__setattr__(self, "affine", lattice.affine)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    def covers(self, points_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which points of shape (..., 3) lie where the spline is defined; beyond, nothing is known."""
        place = (np.asarray(points_mm, np.float64) - self.affine[:3, 3]) @ np.linalg.inv(
            self.affine[:3, :3]
        ).T
        last = np.array(self.coefficients.shape[1:]) - 2.0
        return np.asarray(((place >= 1.0 - _EDGE) & (place <= last + _EDGE)).all(axis=-1))

    def refined(self) -> Self:
        """The same displacement on a lattice of half the distance; exact, by subdivision of the basis."""
        coefficients, affine = self.coefficients, self.affine.copy()
        for axis in (1, 2, 3):
            along = np.moveaxis(coefficients, axis, 0)
            finer = np.empty((2 * along.shape[0] - 3, *along.shape[1:]))
            finer[0::2] = 0.5 * (along[:-1] + along[1:])
            finer[1::2] = 0.125 * (along[:-2] + 6.0 * along[1:-1] + along[2:])
            coefficients = np.moveaxis(finer, 0, axis)
        affine[:3, 3] += 0.5 * affine[:3, :3].sum(axis=1)
        affine[:3, :3] *= 0.5
        return type(self)(coefficients, affine)


@dataclass(frozen=True, eq=False)
class Transform:
    """A map of points of the fixed image to points of the moving image: ``matrix (x + displacement(x))``.

    Attributes
    ----------
    linear : (4, 4) ndarray
        RAS+ mm to RAS+ mm.
    spline : Spline, optional
        Displacement that goes before the linear part.
    model : {"translation", "rigid", "affine", "bspline"}
    """

    linear: FloatArray = field(default_factory=lambda: np.eye(4))
    spline: Spline | None = None
    model: Model = "affine"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is not one of {', '.join(MODELS)}")
        if (self.spline is not None) != (self.model == "bspline"):
            raise ValueError("a spline goes with the model bspline, and only with it")
        matrix = np.array(self.linear, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError("the matrix of a transform is a finite 4 by 4 array")
        if not np.array_equal(matrix[3], [0.0, 0.0, 0.0, 1.0]) or not np.linalg.det(matrix[:3, :3]) > 0:
            raise ValueError("the matrix has no last row 0 0 0 1, is singular, or mirrors space")
        matrix.setflags(write=False)
        object.__setattr__(self, "linear", matrix)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    @property
    def matrix(self) -> FloatArray | None:
        """The 4 by 4 matrix of the linear models, RAS+ mm, fixed to moving points; None with a spline."""
        return self.linear if self.spline is None else None

    def apply(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Points of the moving image, RAS+ mm, for points of the fixed image of shape (..., 3).

        NaN where a spline is not defined.
        """
        points = np.asarray(points_mm, np.float64)
        moved = points
        if self.spline is not None:
            flat = points.reshape(-1, 3)
            free = spline_to_sitk(self.spline)
            moved = np.array([free.TransformPoint(point) for point in flat.tolist()]).reshape(points.shape)
            moved = np.where(self.spline.covers(points)[..., np.newaxis], moved, np.nan)
        return np.asarray(moved @ self.linear[:3, :3].T + self.linear[:3, 3])

    def inverse(self) -> Self:
        """The way back, of a linear transform.

        Raises
        ------
        UnsupportedInput
            If the transform has a spline, whose inverse is no spline.
        """
        if self.spline is not None:
            raise UnsupportedInput(
                "a B-spline transform has no inverse in closed form",
                next_step="register the other way round: fixed and moving exchanged",
            )
        return type(self)(np.asarray(np.linalg.inv(self.linear), np.float64), None, self.model)

    def to_sitk(self) -> SimpleITK.Transform:
        """The transform for SimpleITK, in its LPS coordinates, fixed to moving points."""
        import SimpleITK

        matrix = _other_convention(self.linear)
        linear = linear_to_sitk(matrix)
        if self.spline is None:
            return linear
        flip = np.eye(4)
        flip[:3, :3] = _RAS_FROM_LPS
        lps = Spline(
            np.einsum("ab,b...->a...", _RAS_FROM_LPS, self.spline.coefficients), flip @ self.spline.affine
        )
        return SimpleITK.CompositeTransform([linear, spline_to_sitk(lps)])

    @classmethod
    def from_sitk(cls, transform: SimpleITK.Transform) -> Self:
        """A transform that SimpleITK made or read: linear, a B-spline, or linear ones after a B-spline.

        Raises
        ------
        UnsupportedInput
            If it is of another kind, or not three-dimensional.
        """
        if transform.GetDimension() != 3:
            raise UnsupportedInput("a transform of three dimensions is needed", found="another dimension")
        linear, spline = np.eye(4), None
        for part in _parts(transform):
            if spline is not None:
                raise UnsupportedInput("a transform goes on after its B-spline; only linear parts may follow")
            if part.IsLinear():
                linear = linear @ sitk_to_linear(part)
            elif part.GetName() == "BSplineTransform":
                lps = sitk_to_spline(part)
                flip = np.eye(4)
                flip[:3, :3] = _RAS_FROM_LPS
                spline = Spline(
                    np.einsum("ab,b...->a...", _RAS_FROM_LPS, lps.coefficients), flip @ lps.affine
                )
            else:
                raise UnsupportedInput("this kind of transform is not read", found=str(part.GetName()))
        return cls(_other_convention(linear), spline, "affine" if spline is None else "bspline")

    def jacobian_determinant(self, grid: Grid) -> FloatArray:
        """Determinant of the derivative of the map at each voxel of a grid: below 1 where tissue shrinks.

        Central differences over one voxel; NaN where a spline is not defined.
        """
        constant = float(np.linalg.det(self.linear[:3, :3]))
        if self.spline is None:
            return np.full(grid.shape, constant)
        columns = []
        for axis in range(3):
            step = 0.5 * grid.affine[:3, axis]
            ahead, behind = (displacement(self.spline, grid, sign * step) for sign in (1.0, -1.0))
            columns.append(ahead - behind + grid.affine[:3, axis])
        by_voxel = np.stack(columns, axis=-1)
        determinant = np.linalg.det(by_voxel) / np.linalg.det(grid.affine[:3, :3])
        return np.where(covered(self.spline, grid), constant * determinant, np.nan)


def _parts(transform: SimpleITK.Transform) -> list[Any]:
    down = transform.Downcast()
    if down.GetName() != "CompositeTransform":
        return [down]
    return [part for n in range(down.GetNumberOfTransforms()) for part in _parts(down.GetNthTransform(n))]


def _other_convention(matrix: FloatArray) -> FloatArray:
    """RAS from LPS, or the other way."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(flip @ matrix @ flip)


def linear_to_sitk(matrix: FloatArray) -> SimpleITK.AffineTransform:
    """A matrix of any dimension as a SimpleITK transform in the same coordinates."""
    import SimpleITK

    n = matrix.shape[0] - 1
    return SimpleITK.AffineTransform(matrix[:n, :n].ravel().tolist(), matrix[:n, n].tolist())


def sitk_to_linear(transform: SimpleITK.Transform) -> FloatArray:
    """The matrix of a linear SimpleITK transform, in the coordinates that it works in."""
    n = transform.GetDimension()
    matrix = np.eye(n + 1)
    origin = np.array(transform.TransformPoint([0.0] * n))
    if transform.GetName() == "TranslationTransform":
        matrix[:n, n] = origin
        return matrix
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    matrix[:n, n] = origin
    return matrix


def spline_to_sitk(spline: Spline) -> SimpleITK.BSplineTransform:
    """The spline as a SimpleITK transform in the spline's own coordinates."""
    import SimpleITK

    spacing = np.linalg.norm(spline.affine[:3, :3], axis=0)
    direction = spline.affine[:3, :3] / spacing
    transform = SimpleITK.BSplineTransform(3, _ORDER)
    size = [float(n) for n in spline.coefficients.shape[1:]]
    transform.SetFixedParameters(
        [*size, *spline.affine[:3, 3].tolist(), *spacing.tolist(), *direction.ravel().tolist()]
    )
    transform.SetParameters(np.concatenate([part.ravel(order="F") for part in spline.coefficients]).tolist())
    return transform


def sitk_to_spline(transform: SimpleITK.BSplineTransform) -> Spline:
    """The spline of a SimpleITK transform, in the coordinates that it works in.

    Raises
    ------
    UnsupportedInput
        If it is not cubic.
    """
    if transform.GetOrder() != _ORDER:
        raise UnsupportedInput("only cubic B-splines are read", found=f"order {transform.GetOrder()}")
    return spline_of(transform.GetFixedParameters(), transform.GetParameters())


def spline_of(fixed_parameters: Sequence[float], parameters: Sequence[float]) -> Spline:
    """A spline from the two lists that SimpleITK keeps."""
    fixed = np.array(fixed_parameters, np.float64)
    shape = [int(n) for n in fixed[:3]]
    affine = np.eye(4)
    affine[:3, :3] = fixed[9:18].reshape(3, 3) * fixed[6:9]
    affine[:3, 3] = fixed[3:6]
    parts = np.array(parameters, np.float64).reshape(3, -1)
    return Spline(np.stack([part.reshape(shape, order="F") for part in parts]), affine)


def displacement(spline: Spline, grid: Grid, offset_mm: FloatArray) -> FloatArray:
    """Displacement in mm at the voxels of a grid moved by an offset, (i, j, k, 3)."""
    import SimpleITK

    spacing = np.array(grid.spacing_mm)
    origin = grid.affine[:3, 3] + offset_mm
    direction = grid.affine[:3, :3] / spacing
    field_image = SimpleITK.TransformToDisplacementField(
        spline_to_sitk(spline),
        SimpleITK.sitkVectorFloat64,
        list(grid.shape),
        origin.tolist(),
        spacing.tolist(),
        direction.ravel().tolist(),
    )
    return np.asarray(SimpleITK.GetArrayFromImage(field_image).transpose(2, 1, 0, 3))


def covered(spline: Spline, grid: Grid) -> npt.NDArray[np.bool_]:
    """Which voxels of a grid lie where the spline is defined."""
    index = np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1)
    return spline.covers(grid.world_mm(index))
