"""The search for a transform in the coordinates of a pair: linear models, the repeat, the deformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.registration.images import Pair
from imgtheranostics.registration.optimising import (
    Outcome,
    Search,
    centre_and_radii,
    evaluate,
    finest_mm,
    levels,
    optimise,
    optimise_spline,
)
from imgtheranostics.registration.transform import (
    Model,
    Transform,
    sitk_to_linear,
    sitk_to_spline,
    spline_to_sitk,
)

if TYPE_CHECKING:
    import SimpleITK

FloatArray = npt.NDArray[np.float64]

_NUDGE_VOXELS = 2.0
_NODES = 4
# coefficients below 0.4 of the distance of the nodes hardly ever fold space; `check_jacobian` decides
_UNFOLDED = 0.4
_FEWEST_VOXELS_PER_NODE = 4


@dataclass(frozen=True, eq=False)
class Found:
    """A linear solution in SimpleITK's form, in space, and how the optimiser came to it."""

    optimised: SimpleITK.Transform
    transform: Transform
    outcome: Outcome
    start_value: float


def linear_search(
    pair: Pair, model: Model, search: Search, start: Transform, *, factors: Sequence[int] | None = None
) -> Found:
    """Optimise a linear model from a start; affine begins with its rigid part.

    Coarse levels can lead away where an image shows little (an inversion time at which the body is null):
    what ends worse than its start is looked for again without the coarsest level.

    Raises
    ------
    IllConditioned
        If the images do not overlap.
    """
    ladder = list(factors or levels(pair))
    found = _descended(pair, model, search, start, ladder)
    while found.outcome.metric > found.start_value and len(ladder) > 1:
        ladder = ladder[1:]
        other = _descended(pair, model, search, start, ladder)
        if other.outcome.metric < found.outcome.metric:
            found = other
    return found


def _descended(pair: Pair, model: Model, search: Search, start: Transform, ladder: list[int]) -> Found:
    outcome = Outcome()
    steps: tuple[Model, ...] = ("rigid", "affine") if model == "affine" else (model,)
    current = _in_pair(pair, start)
    transform = _transform_of(steps[0], pair, current)
    start_value = evaluate(pair, transform, search)
    for step in steps:
        transform = _transform_of(step, pair, current)
        optimise(pair, transform, search, ladder, outcome)
        current = sitk_to_linear(transform)
    return Found(transform, Transform(_tidy(pair.in_space(current)), None, model), outcome, start_value)


def seed_of(rng: int | np.random.Generator) -> int:
    """A positive seed for SimpleITK, whose 0 stands for the clock."""
    generator = np.random.default_rng(rng)
    return int(generator.integers(1, 2**31 - 2))


def _in_pair(pair: Pair, start: Transform) -> FloatArray:
    """A start in the coordinates of the pair; in a plane, its part within the plane."""
    if pair.plane is None:
        return start.linear
    basis, origin = pair.plane.basis, pair.plane.origin
    flat = np.eye(3)
    flat[:2, :2] = basis.T @ start.linear[:3, :3] @ basis
    flat[:2, 2] = basis.T @ (start.linear[:3, :3] @ origin + start.linear[:3, 3] - origin)
    return flat


def _transform_of(model: Model, pair: Pair, matrix: FloatArray) -> SimpleITK.Transform:
    """A SimpleITK transform of the model, turning about the middle of what counts, nearest to a matrix."""
    import SimpleITK

    n = matrix.shape[0] - 1
    centre, _ = centre_and_radii(pair)
    shift = (matrix[:n, :n] @ centre + matrix[:n, n] - centre).tolist()
    if model == "translation":
        return SimpleITK.TranslationTransform(n, shift)
    if model == "affine":
        return SimpleITK.AffineTransform(matrix[:n, :n].ravel().tolist(), shift, centre.tolist())
    left, _, right = np.linalg.svd(matrix[:n, :n])
    turn = left @ right
    if n == 2:
        flat = SimpleITK.Euler2DTransform()
        flat.SetCenter(centre.tolist())
        flat.SetMatrix(turn.ravel().tolist(), 1e-6)
        flat.SetTranslation(shift)
        return flat
    space = SimpleITK.Euler3DTransform()
    space.SetCenter(centre.tolist())
    space.SetMatrix(turn.ravel().tolist(), 1e-6)
    space.SetTranslation(shift)
    return space


def repeated(pair: Pair, optimised: SimpleITK.Transform, model: Model, search: Search) -> Found:
    """The solution of the two finest levels from two voxels and two voxels' worth of turn away."""
    n = pair.fixed.GetDimension()
    matrix = sitk_to_linear(optimised)
    centre, radii = centre_and_radii(pair)
    nudge = np.eye(n + 1)
    step = _NUDGE_VOXELS * finest_mm(pair)
    if model != "translation":
        angle = min(0.2, step / float(np.linalg.norm(radii)))
        nudge[:n, :n] = _turn(angle, n)
    nudge[:n, n] = centre - nudge[:n, :n] @ centre + step / np.sqrt(n)
    start = Transform(pair.in_space(matrix @ nudge), None, "affine")
    again = Search(search.metric, search.seed + 1)
    return linear_search(pair, model, again, start, factors=levels(pair)[-2:])


def between(one: Found, other: Found, pair: Pair, model: Model, search: Search) -> Found:
    """The middle of two solutions: their errors by the sampling points are independent."""
    matrix = 0.5 * (sitk_to_linear(one.optimised) + sitk_to_linear(other.optimised))
    middle = _transform_of(model, pair, matrix)
    outcome = Outcome(
        evaluate(pair, middle, search),
        one.outcome.iterations + other.outcome.iterations,
        one.outcome.converged and other.outcome.converged,
    )
    transform = Transform(_tidy(pair.in_space(sitk_to_linear(middle))), None, model)
    return Found(middle, transform, outcome, one.start_value)


def _turn(angle: float, n: int) -> FloatArray:
    """A small rotation about all axes at once."""
    cosine, sine = np.cos(angle), np.sin(angle)
    if n == 2:
        return np.array([[cosine, -sine], [sine, cosine]])
    axis = np.full(3, 1.0 / np.sqrt(3.0))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + sine * cross + (1.0 - cosine) * cross @ cross)


def _tidy(matrix: FloatArray) -> FloatArray:
    """The matrix with its exact last row."""
    tidy = np.array(matrix)
    tidy[3] = [0.0, 0.0, 0.0, 1.0]
    return tidy


def deformed(
    pair: Pair,
    linear: SimpleITK.Transform,
    search: Search,
    node_spacing_mm: float | None,
    outcome: Outcome,
) -> Transform:
    """A free deformation before the rigid transform."""
    import SimpleITK

    size, spacing = np.array(pair.fixed.GetSize()), np.array(pair.fixed.GetSpacing())
    extent = size * spacing
    wanted = np.maximum(extent.max() / _NODES, _FEWEST_VOXELS_PER_NODE * spacing)
    if node_spacing_mm is not None:
        if not node_spacing_mm > 0:
            raise ValueError("node_spacing_mm must be positive")
        wanted = np.full(3, float(node_spacing_mm))
    # two lattices: the coarse one catches what is large before the fine one has room for noise
    mesh = [max(1, round(float(n) / 2.0)) for n in extent / wanted]
    free = SimpleITK.BSplineTransformInitializer(pair.fixed, mesh, 3)
    reach_mm = _UNFOLDED * float(np.min(extent / np.array(mesh)))
    coarse = levels(pair)[-2:][0]
    straight = _straightened(pair, sitk_to_linear(linear))
    optimise_spline(straight, free, reach_mm, coarse, search, outcome)
    free = spline_to_sitk(sitk_to_spline(free).refined())
    optimise_spline(straight, free, reach_mm, 1, search, outcome)
    return Transform(_tidy(sitk_to_linear(linear)), sitk_to_spline(free), "bspline")


def _straightened(pair: Pair, matrix: FloatArray) -> Pair:
    """The pair with the rigid transform put into the moving image's coordinates, voxels untouched."""
    import SimpleITK

    n = matrix.shape[0] - 1
    back = np.linalg.inv(matrix)

    def moved(image: SimpleITK.Image) -> SimpleITK.Image:
        copy = SimpleITK.Image(image)
        direction = back[:n, :n] @ np.reshape(image.GetDirection(), (n, n))
        copy.SetDirection(direction.ravel().tolist())
        copy.SetOrigin((back[:n, :n] @ np.array(image.GetOrigin()) + back[:n, n]).tolist())
        return copy

    mask = None if pair.moving_mask is None else moved(pair.moving_mask)
    return replace(pair, moving=moved(pair.moving), moving_mask=mask)
