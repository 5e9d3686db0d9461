"""All frames of a cine on one reference: fast matching first, the slow search for what it leaves open.

Frames are first matched with the reference. Its speckle is noise to them as theirs is to it, so the mean of
matched frames takes its place for a second look, in which the reference is matched as well.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.registration import MotionReport, align_series
from imgtheranostics.registration.images import make_pair
from imgtheranostics.registration.movement import (
    LARGE_VOXELS,
    STILL_VOXELS,
    angles_deg,
    middle_mm,
    motion_cautions,
)
from imgtheranostics.registration.optimising import Metric
from imgtheranostics.ultrasound.frame_matching import FrameMatcher, Match
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_MOST_AVERAGED = 48
_FEWEST_AVERAGED = 16
_MOST_POINTS = 4000


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a cine as they are compared: on a logarithmic scale, one at a time.

    In it tissue shows and single bright echoes do not rule.
    """

    volume: Volume
    least: float

    @classmethod
    def of(cls, volume: Volume) -> Frames:
        """Of grey levels and decibels as they are, of linear power by its logarithm."""
        if volume.quantity != "echo_intensity":
            return cls(volume, 0.0)
        lowest = []
        for n in range(len(volume.axes[0])):
            frame = volume.data[..., n]
            lowest.append(float(frame.min(initial=np.inf, where=np.isfinite(frame) & (frame > 0))))
        least = min(lowest)
        return cls(volume, least if np.isfinite(least) else 1.0)

    def __len__(self) -> int:
        return len(self.volume.axes[0])

    def image(self, n: int) -> Float32Array:
        """One frame, (n_i, n_j)."""
        frame = self.volume.data[:, :, 0, n]
        if self.volume.quantity != "echo_intensity":
            return np.asarray(frame, np.float32)
        return np.log(np.maximum(frame, np.float32(self.least)), dtype=np.float32)

    def mean(self) -> Float32Array:
        """The mean of all frames."""
        total = np.zeros(self.volume.shape[:2])
        for n in range(len(self)):
            total += self.image(n)
        return np.asarray(total / len(self), np.float32)

    def shown(self, image: Float32Array) -> Volume:
        """An image of the cine's plane as a volume without unit."""
        return self.volume.replace(
            data=np.asfortranarray(image[:, :, np.newaxis]),
            quantity="signal",
            unit="[arb'U]",
            axes=(),
            warnings=(),
        )


@dataclass(frozen=True, eq=False)
class Matching:
    """Options of `match_cine`."""

    place: int | None
    inside: BoolArray
    metric: Metric
    still_mm: float | None
    seed: int | np.random.Generator
    workers: int | None
    search: bool


def match_cine(volume: Volume, options: Matching) -> tuple[MotionReport, tuple[int, ...]]:
    """The motion of every frame, and the frames that only the search could decide.

    Raises
    ------
    NothingUsable
        If the reference has no contrast.
    """
    frames = Frames.of(volume)
    fixed = frames.mean() if options.place is None else frames.image(options.place)
    shown = frames.shown(fixed)
    make_pair(shown, shown, options.inside)
    inside = options.inside[:, :, 0] & np.isfinite(fixed)
    spacing = (float(volume.grid.spacing_mm[0]), float(volume.grid.spacing_mm[1]))
    matcher = FrameMatcher.of(_filled(fixed), inside, spacing)
    found: list[Match | None] = [None] * len(frames)
    if matcher is not None:
        found = _matched(frames, _filled(fixed), inside, matcher, options)
    report = _report(frames, shown, options, found, spacing)
    left = np.flatnonzero([match is None for match in found])
    if options.search and left.size:
        report = _searched(frames, fixed, report, left, options)
    return report, tuple(int(n) for n in left) if options.search else ()


def _matched(
    frames: Frames, fixed: Float32Array, inside: BoolArray, matcher: FrameMatcher, options: Matching
) -> list[Match | None]:
    def first(n: int) -> Match | None:
        image = frames.image(n)
        filled = _filled(image)
        if filled is not image and not np.isfinite(image[inside]).all():
            return None
        match = matcher.match(filled)
        return match if match.convincing else None

    found = _each(first, len(frames), options.workers)
    good = np.flatnonzero([match is not None for match in found])
    if good.size < _FEWEST_AVERAGED:
        return found
    chosen = good[np.unique(np.linspace(0, good.size - 1, _MOST_AVERAGED).astype(np.int64))]
    averaged = matcher.averaged(
        (_filled(frames.image(n)) for n in chosen), [match.motion for n in chosen if (match := found[n])]
    )
    anchor = averaged.refine(fixed, matcher.match(fixed))
    if not anchor.convincing:
        return found
    back = np.linalg.inv(anchor.motion)

    def again(n: int) -> Match | None:
        known = found[n]
        if known is None:
            return None
        match = averaged.refine(_filled(frames.image(n)), known)
        return replace(match, motion=match.motion @ back) if match.convincing else None

    return _each(again, len(frames), options.workers)


def _filled(image: Float32Array) -> Float32Array:
    """Finite everywhere: outside the tissue, where pixels may be none."""
    known = np.isfinite(image)
    if known.all():
        return image
    return np.where(known, image, np.float32(image[known].mean() if known.any() else 0.0))


def _each(one: Callable[[int], Match | None], count: int, workers: int | None) -> list[Match | None]:
    if workers == 1:
        return [one(n) for n in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(count)))


def _report(
    frames: Frames,
    shown: Volume,
    options: Matching,
    found: list[Match | None],
    spacing: tuple[float, float],
) -> MotionReport:
    pixel_mm = min(spacing)
    still = STILL_VOXELS * pixel_mm if options.still_mm is None else float(options.still_mm)
    middle, points = middle_mm(shown, options.inside), _points(options.inside)
    count = len(found)
    matrices = np.tile(np.eye(4), (count, 1, 1))
    shift, turn = np.full((2, count, 3), np.nan)
    moved, left = np.full((2, count), np.nan)
    corrected = np.zeros(count, bool)
    for n, match in enumerate(found):
        if n == options.place:
            shift[n], turn[n], moved[n], left[n] = 0.0, 0.0, 0.0, 0.0
            continue
        if match is None:
            continue
        matrix = _in_space(match.motion, shown.affine)
        shift[n] = matrix[:3, :3] @ middle + matrix[:3, 3] - middle
        turn[n] = angles_deg(matrix)
        apart = (points @ match.motion.T - points)[:, :2] * np.array(spacing)
        moved[n] = np.sqrt(np.mean(np.sum(apart**2, axis=1)))
        corrected[n] = moved[n] > still
        left[n] = match.different * spacing[0] if corrected[n] else moved[n]
        if corrected[n]:
            matrices[n] = matrix
    axis = frames.volume.axes[0]
    registered = np.isfinite(moved)
    return MotionReport(
        axis=axis.name,
        axis_values=axis.values,
        reference="mean" if options.place is None else options.place,
        translation_mm=shift,
        rotation_deg=turn,
        displacement_mm=moved,
        residual_mm=left,
        corrected=corrected,
        registered=registered,
        matrices=matrices,
        threshold_mm=still,
        warnings=motion_cautions(moved, left, registered, LARGE_VOXELS * pixel_mm, still),
    )


def _points(inside: BoolArray) -> FloatArray:
    """Pixels (i, j, 1) of the tissue, some thousands at most, evenly drawn."""
    index = np.argwhere(inside[:, :, 0])
    chosen = index[:: max(1, len(index) // _MOST_POINTS)]
    return np.column_stack([chosen, np.ones(len(chosen))]).astype(np.float64)


def _in_space(motion: FloatArray, affine: FloatArray) -> FloatArray:
    """A motion of pixels as one of points, 4 by 4, RAS+ mm."""
    lifted = np.eye(4)
    lifted[np.ix_((0, 1, 3), (0, 1, 3))] = motion
    return np.asarray(affine @ lifted @ np.linalg.inv(affine))


def _searched(
    frames: Frames,
    fixed: Float32Array,
    report: MotionReport,
    left: npt.NDArray[np.intp],
    options: Matching,
) -> MotionReport:
    """The report with some frames as the search finds them, each on its own."""
    axis = frames.volume.axes[0]
    images = np.stack([fixed, *(frames.image(int(n)) for n in left)], axis=-1)
    # the reference comes before them, in no place of its own
    times = np.arange(images.shape[-1], dtype=np.float64)
    series = frames.shown(fixed).replace(
        data=np.asfortranarray(images[:, :, np.newaxis]), axes=(replace(axis, values=times),)
    )
    _, searched = align_series(
        series,
        reference=0,
        mask=options.inside,
        metric=options.metric,
        threshold_mm=report.threshold_mm,
        rng=options.seed,
        workers=options.workers,
    )
    named = ("translation_mm", "rotation_deg", "displacement_mm", "residual_mm", "matrices")
    changed = {name: np.array(getattr(report, name)) for name in named}
    corrected, registered = report.corrected.copy(), report.registered.copy()
    for name, values in changed.items():
        values[left] = getattr(searched, name)[1:]
    corrected[left], registered[left] = searched.corrected[1:], searched.registered[1:]
    large = LARGE_VOXELS * min(frames.volume.grid.spacing_mm[:2])
    warnings = motion_cautions(
        changed["displacement_mm"], changed["residual_mm"], registered, large, report.threshold_mm
    )
    return replace(
        report,
        translation_mm=changed["translation_mm"],
        rotation_deg=changed["rotation_deg"],
        displacement_mm=changed["displacement_mm"],
        residual_mm=changed["residual_mm"],
        matrices=changed["matrices"],
        corrected=corrected,
        registered=registered,
        warnings=warnings,
    )
