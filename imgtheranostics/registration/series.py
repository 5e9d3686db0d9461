"""Motion of a series: each sample of the last axis brought onto a reference, and what motion is left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned, NothingUsable
from imgtheranostics.regions import Regions
from imgtheranostics.registration.images import make_pair
from imgtheranostics.registration.judging import LEAST_OVERLAP, UNRELATED
from imgtheranostics.registration.matching import as_mask
from imgtheranostics.registration.motion import MotionReport
from imgtheranostics.registration.movement import (
    LARGE_VOXELS,
    MUCH_LEFT,
    STILL_VOXELS,
    angles_deg,
    middle_mm,
    motion_cautions,
    reference_place,
)
from imgtheranostics.registration.optimising import METRICS, Metric, Search
from imgtheranostics.registration.quality import displacements_mm, overlap, residual
from imgtheranostics.registration.resampling import resample
from imgtheranostics.registration.searching import Found, linear_search, seed_of
from imgtheranostics.registration.transform import Transform
from imgtheranostics.volume import Volume, make_step

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Sample:
    """One sample after its search: the transform, or None, and how far it and what is left reach."""

    data: npt.NDArray[np.float32]
    transform: Transform | None
    displacement_mm: float
    residual_mm: float
    corrected: bool


def align_series(
    volume: Volume,
    *,
    reference: int | Literal["mean"] = 0,
    mask: npt.ArrayLike | Volume | Regions | None = None,
    metric: Metric = "mutual_information",
    threshold_mm: float | None = None,
    large_motion_mm: float | None = None,
    rng: int | np.random.Generator = 0,
    workers: int | None = None,
) -> tuple[Volume, MotionReport]:
    """Take rigid motion out of a series.

    Each sample of the last axis is registered to one reference; mutual information makes that independent
    of what flip angle, inversion time or contrast agent do to grey values. What moved less than the
    threshold is left alone, voxel for voxel.

    Parameters
    ----------
    volume : Volume
        With at least one axis beyond space. With several, the mean over the others shows the motion.
    reference : int or "mean"
        Sample that stays where it is, counted from 0 or from the end, or the mean over all samples.
    mask : (i, j, k) array_like, Volume or Regions, optional
        The body that moves rigidly, on the grid of the volume.
    metric : {"mutual_information", "correlation"}
    threshold_mm : float, optional
        By default a tenth of the smallest voxel spacing within the slice.
    large_motion_mm : float, optional
        Motion beyond this is flagged; by default two voxels.
    rng : int or Generator
        Seed of the sampling points.
    workers : int, optional
        Samples that are registered at a time; the result does not depend on it.

    Returns
    -------
    Volume
        The series on the reference; NaN where a moved sample does not reach.
    MotionReport

    Raises
    ------
    ValueError
        If there is no axis beyond space, or an option is unknown.
    NothingUsable
        If the reference has no contrast.
    """
    place = _check(volume, reference, metric)
    inside = as_mask(
        mask, volume.replace(data=volume.planar[0].reshape(volume.shape[:3], order="F"), axes=())
    )
    samples = [_shown(volume, n) for n in range(volume.shape[-1])]
    fixed = _mean(samples) if place is None else samples[place]
    voxel_mm = min(volume.grid.spacing_mm[:2])
    still = STILL_VOXELS * voxel_mm if threshold_mm is None else float(threshold_mm)
    search = Search(metric, seed_of(rng))
    make_pair(fixed, fixed, inside)

    def one(n: int) -> _Sample:
        if n == place:
            return _Sample(volume.data[..., n], Transform(np.eye(4), None, "rigid"), 0.0, 0.0, False)
        return _aligned(volume, n, fixed, samples[n], inside, search, still)

    done = _each(one, volume.shape[-1], workers)
    data = np.stack([sample.data for sample in done], axis=-1)
    large = LARGE_VOXELS * voxel_mm if large_motion_mm is None else float(large_motion_mm)
    report = _report(volume, "mean" if place is None else place, fixed, inside, done, still, large)
    step = make_step(
        "align_series",
        axis=report.axis,
        reference=report.reference,
        metric=metric,
        threshold_mm=still,
        corrected=np.flatnonzero(report.corrected).tolist(),
        largest_displacement_mm=float(np.nanmax(report.displacement_mm)),
        largest_residual_mm=float(np.nanmax(report.residual_mm)),
    )
    moved = volume.derived(data, volume.quantity, volume.unit, step)
    return moved.with_warnings(*report.warnings), report


def _check(volume: Volume, reference: int | str, metric: str) -> int | None:
    if not volume.axes:
        raise ValueError("this volume has no axis beyond space, so there is no series to align")
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    return reference_place(reference, volume.shape[-1])


def _shown(volume: Volume, n: int) -> Volume:
    """What shows the motion of one sample: the sample, or the mean over the other axes."""
    data = volume.data[..., n]
    if data.ndim > 3:
        data = data.mean(axis=tuple(range(3, data.ndim)), dtype=np.float64)
    return volume.replace(data=np.asarray(data, np.float32), axes=())


def _mean(samples: list[Volume]) -> Volume:
    total = np.zeros(samples[0].shape)
    for sample in samples:
        total += sample.data
    return samples[0].replace(data=(total / len(samples)).astype(np.float32))


def _each(one: Callable[[int], _Sample], count: int, workers: int | None) -> list[_Sample]:
    if workers == 1:
        return [one(n) for n in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(count)))


def _aligned(
    volume: Volume,
    n: int,
    fixed: Volume,
    shown: Volume,
    inside: BoolArray | None,
    search: Search,
    still: float,
) -> _Sample:
    original = volume.data[..., n]
    found = _found(fixed, shown, inside, search)
    if found is None:
        return _Sample(original, None, float("nan"), float("nan"), False)
    moved_mm = _rms(found.transform, fixed, inside)
    if moved_mm <= still:
        return _Sample(original, found.transform, moved_mm, moved_mm, False)
    corrected = resample(
        volume.replace(data=original, axes=volume.axes[:-1]), found.transform, like=fixed, workers=1
    )
    again = resample(shown, found.transform, like=fixed, workers=1)
    left = _found(fixed, again, inside, replace(search, seed=search.seed + 1), factors=[2, 1])
    residual_mm = float("inf") if left is None else _rms(left.transform, fixed, inside)
    if residual_mm > max(MUCH_LEFT * still, 0.5 * moved_mm):
        # half of the motion is still there: what was found is not the motion
        return _Sample(original, None, float("nan"), float("nan"), False)
    return _Sample(corrected.data, found.transform, moved_mm, residual_mm, True)


def _found(
    fixed: Volume, moving: Volume, inside: BoolArray | None, search: Search, factors: list[int] | None = None
) -> Found | None:
    """The rigid transform of one sample, or None where nothing supports one."""
    try:
        pair = make_pair(fixed, moving, inside)
        found = linear_search(pair, "rigid", search, Transform(), factors=factors)
    except (IllConditioned, NothingUsable):
        return None
    share = overlap(fixed, moving, found.transform, inside)
    unexplained = residual(fixed, resample(moving, found.transform, like=fixed, workers=1), inside)
    good = found.outcome.converged and share >= LEAST_OVERLAP and unexplained < UNRELATED
    return found if good else None


def _rms(transform: Transform, fixed: Volume, inside: BoolArray | None) -> float:
    return float(np.sqrt(np.mean(displacements_mm(transform, fixed, inside) ** 2)))


def _report(
    volume: Volume,
    reference: int | Literal["mean"],
    fixed: Volume,
    inside: BoolArray | None,
    done: list[_Sample],
    still: float,
    large: float,
) -> MotionReport:
    middle = middle_mm(fixed, inside)
    matrices = np.stack(
        [sample.transform.linear if sample.transform and sample.corrected else np.eye(4) for sample in done]
    )
    shift, turn = np.full((2, len(done), 3), np.nan)
    for n, sample in enumerate(done):
        if sample.transform is not None:
            shift[n] = sample.transform.apply(middle) - middle
            turn[n] = angles_deg(sample.transform.linear)
    axis = volume.axes[-1]
    displacement = np.array([sample.displacement_mm for sample in done])
    left = np.array([sample.residual_mm for sample in done])
    registered = np.array([sample.transform is not None for sample in done])
    return MotionReport(
        axis=axis.name,
        axis_values=axis.values,
        reference=reference,
        translation_mm=shift,
        rotation_deg=turn,
        displacement_mm=displacement,
        residual_mm=left,
        corrected=np.array([sample.corrected for sample in done]),
        registered=registered,
        matrices=matrices,
        threshold_mm=still,
        warnings=motion_cautions(displacement, left, registered, large, still),
    )
