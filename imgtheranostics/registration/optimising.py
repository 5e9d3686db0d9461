"""From coarse to fine: the optimisation of one transform by SimpleITK, the same on every run.

The metric is evaluated on one thread, and the points at which it is evaluated come from a seed, so that the
result does not depend on the number of cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.registration.images import Pair

if TYPE_CHECKING:
    import SimpleITK

FloatArray = npt.NDArray[np.float64]
Metric = Literal["mutual_information", "correlation"]

METRICS: tuple[Metric, ...] = ("mutual_information", "correlation")
"""Measures of agreement: between any contrasts, and between images of one contrast."""

_BINS = (24, 64)
_POINTS = 150_000
_SPLINE_POINTS = 20_000
_COARSEST = 16
_MOST_LEVELS = 5
_BLUR = 0.7
_ITERATIONS = 500
_SPLINE_ITERATIONS = 30
_SHORTEST_STEP = 5e-4
_RELAXATION = 0.85
_FEWEST_SMOOTHED = 4
_SPLINE_TOLERANCE = 1e10  # times the smallest float64 above 1: 2e-6 of the measure


@dataclass(frozen=True, slots=True)
class Search:
    """How to look: measure of agreement and the seed of its sampling points."""

    metric: Metric = "mutual_information"
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What the optimiser says of its last, finest level; iterations are those of all levels."""

    metric: float = float("nan")
    iterations: int = 0
    converged: bool = True


def levels(pair: Pair) -> list[int]:
    """Factors by which the pyramid is coarser than the image, the coarsest first."""
    count = int(np.floor(np.log2(max(pair.fixed.GetSize()) / _COARSEST))) + 1
    return [2**n for n in reversed(range(int(np.clip(count, 1, _MOST_LEVELS))))]


def optimise(
    pair: Pair, transform: SimpleITK.Transform, search: Search, factors: list[int], outcome: Outcome
) -> None:
    """Improve a transform in place, level by level.

    Parameters
    ----------
    pair : Pair
    transform : SimpleITK.Transform
        Translation, rigid or affine, in the coordinates of the pair.
    search : Search
    factors : list of int
        Levels of the pyramid.
    outcome : Outcome
        Filled in; iterations are added.

    Raises
    ------
    IllConditioned
        If the images do not overlap enough for the measure to be evaluated.
    """
    unit = finest_mm(pair)
    for factor in factors:
        method = _method(pair, search, factor)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=factor * unit,
            minStep=_SHORTEST_STEP * unit,
            numberOfIterations=_ITERATIONS,
            relaxationFactor=_RELAXATION,
            gradientMagnitudeTolerance=1e-12,
        )
        method.SetOptimizerScales(_scales(pair, transform, unit))
        method.SetInitialTransform(transform, inPlace=True)
        _execute(method, pair, factor, outcome)


def optimise_spline(
    pair: Pair,
    spline: SimpleITK.BSplineTransform,
    reach_mm: float,
    factor: int,
    search: Search,
    outcome: Outcome,
) -> None:
    """Improve a B-spline in place, on one level of the pyramid.

    No coefficient moves by more than `reach_mm`.
    """
    method = _method(pair, search, factor, _SPLINE_POINTS)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-6,
        numberOfIterations=_SPLINE_ITERATIONS,
        maximumNumberOfFunctionEvaluations=2 * _SPLINE_ITERATIONS,
        costFunctionConvergenceFactor=_SPLINE_TOLERANCE,
        lowerBound=-reach_mm,
        upperBound=reach_mm,
    )
    method.SetInitialTransform(spline, inPlace=True)
    _execute(method, pair, factor, outcome)


def evaluate(pair: Pair, transform: SimpleITK.Transform, search: Search) -> float:
    """The measure of agreement of a transform on the finest level; NaN where there is too little overlap."""
    method = _method(pair, search, 1)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        return float(method.MetricEvaluate(_level(pair.fixed, 1, 1), _level(pair.moving, 1, 1)))
    except RuntimeError:
        return float("nan")


def finest_mm(pair: Pair) -> float:
    """The smallest voxel spacing of the fixed image."""
    return float(min(pair.fixed.GetSpacing()))


def centre_and_radii(pair: Pair) -> tuple[FloatArray, FloatArray]:
    """Middle of what counts in the fixed image, and its RMS distance from there along each axis, in mm."""
    import SimpleITK

    n = pair.fixed.GetDimension()
    size = np.array(pair.fixed.GetSize(), np.float64)
    mean, covariance = (size - 1.0) / 2.0, np.diag((size**2 - 1.0) / 12.0)
    if pair.fixed_mask is not None:
        places = np.argwhere(SimpleITK.GetArrayViewFromImage(pair.fixed_mask).T)
        mean, covariance = places.mean(axis=0), np.cov(places.T, bias=True)
    step = np.reshape(pair.fixed.GetDirection(), (n, n)) * np.array(pair.fixed.GetSpacing())
    centre = step @ mean + np.array(pair.fixed.GetOrigin())
    radii = np.sqrt(np.maximum(np.diag(step @ covariance @ step.T), 0.0))
    return centre, np.maximum(radii, finest_mm(pair))


def _method(pair: Pair, search: Search, factor: int, points: int = _POINTS) -> Any:
    import SimpleITK

    sizes, steps = _shrunk(pair.fixed, factor)
    n_voxels = float(np.prod([size // step for size, step in zip(sizes, steps, strict=True)]))
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    if search.metric == "mutual_information":
        # few bins shift the optimum between images of different contrast, many stay empty
        method.SetMetricAsMattesMutualInformation(int(np.clip(2.0 * n_voxels ** (1 / 3), *_BINS)))
    else:
        method.SetMetricAsCorrelation()
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
    # REGULAR moves each point within its voxel, which takes away the preference for whole-voxel shifts
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, points / n_voxels), search.seed)
    if pair.fixed_mask is not None:
        method.SetMetricFixedMask(pair.fixed_mask)
    if pair.moving_mask is not None:
        method.SetMetricMovingMask(pair.moving_mask)
    return method


def _execute(method: Any, pair: Pair, factor: int, outcome: Outcome) -> None:
    try:
        method.Execute(_level(pair.fixed, factor, factor), _level(pair.moving, factor, max(1, factor // 2)))
    except RuntimeError as error:
        if "outside" not in str(error) and "overlap" not in str(error):
            raise
        raise IllConditioned(
            "the images do not overlap enough to be registered",
            found="too few points of the fixed image fall into the moving image",
            next_step="give a start transform near the truth, or start='centre'; check the subject",
        ) from error
    outcome.metric = float(method.GetMetricValue())
    outcome.iterations += int(method.GetOptimizerIteration())
    outcome.converged = "aximum number of iterations" not in method.GetOptimizerStopConditionDescription()


def _level(image: SimpleITK.Image, factor: int, shrink: int) -> SimpleITK.Image:
    """The image smoothed for its level and thinned out; axes of few voxels are left alone."""
    import SimpleITK

    sigma = _BLUR * factor * min(image.GetSpacing())
    for axis, (size, spacing) in enumerate(zip(image.GetSize(), image.GetSpacing(), strict=True)):
        if size >= _FEWEST_SMOOTHED and sigma > 0.35 * spacing:
            image = SimpleITK.RecursiveGaussian(image, sigma, direction=axis)
    _, steps = _shrunk(image, shrink)
    thinned: SimpleITK.Image = SimpleITK.Cast(SimpleITK.Shrink(image, steps), SimpleITK.sitkFloat32)
    return thinned


def _shrunk(image: SimpleITK.Image, factor: int) -> tuple[list[int], list[int]]:
    """Size, and by how much to thin out each axis, so that voxels come out about isotropic."""
    finest = min(image.GetSpacing())
    sizes = [int(n) for n in image.GetSize()]
    steps = [
        int(max(1, min(round(factor * finest / spacing), size // _FEWEST_SMOOTHED)))
        for size, spacing in zip(sizes, image.GetSpacing(), strict=True)
    ]
    return sizes, steps


def _scales(pair: Pair, transform: SimpleITK.Transform, unit: float) -> list[float]:
    """Squared displacement in mm that one unit of each parameter makes, on average over the image."""
    _, radii = centre_and_radii(pair)
    squares = np.maximum(radii, 2.0 * unit) ** 2
    n = len(radii)
    kind = transform.GetName()
    if kind == "TranslationTransform":
        return [1.0] * n
    if kind == "AffineTransform":
        return [*np.tile(squares, n).tolist(), *[1.0] * n]
    turning = [float(squares.sum())] if n == 2 else (squares.sum() - squares).tolist()
    return [*turning, *[1.0] * n]
