"""Round inserts of phantoms: vials, tubes and spheres, found by their edges at any contrast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, NothingUsable, UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid, Volume, make_step

FloatArray = npt.NDArray[np.float64]
_Circle = tuple[FloatArray, float, float]  # centre in voxels, radius in mm, score

Shape = Literal["cylinder", "sphere"]
SHAPES: tuple[Shape, ...] = ("cylinder", "sphere")
"""Discs that go through all slices, and balls."""

LEAST_SCORE = 0.4
"""Share of the circumference that must look like the edge of an insert."""

_BLUR = 0.05  # of the diameter
_LEAST_BLUR_VOXELS = 0.6
_APART = 0.85  # of the diameter, between two centres
_RADIUS_SLACK = 0.25
_NOISE_TIMES = 3.0
_FAINTEST = 0.05
_ORTHOGONAL = 1e-3
_CLEAR = 0.9
_WEAK = 0.6
_DIRECTIONS = {2: 96, 3: 400}
_MOST_IMAGES = 16
_UNSEEN = 1e-3


@dataclass(frozen=True, slots=True)
class Insert:
    """One round insert.

    Attributes
    ----------
    centre_mm : (float, float, float)
        RAS+ mm; of a cylinder, half way along.
    diameter_mm : float
        At which the edge is steepest.
    score : float
        Share of the circumference at which the gradient points along the radius, 0 to 1, RMS over the
        half of the images that show the insert best.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    score: float


@dataclass(frozen=True, eq=False)
class _Edges:
    """The edges of several images.

    Attributes
    ----------
    vectors : (n_images, n_dimensions, ...) float32
        Directions along the voxel axes: unit vectors, shorter where the edge is lost in noise.
    slopes : (n_images, n_dimensions, ...) float32
        Spline coefficients of the gradients, each image's in units of its steepest.
    spacing_mm : (n_dimensions,) ndarray
    """

    vectors: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.float32]
    spacing_mm: FloatArray


def round_inserts(
    volume: Volume,
    *,
    diameter_mm: float,
    n: int | None = None,
    shape: Shape = "cylinder",
    roi_fraction: float = 0.7,
    min_score: float = LEAST_SCORE,
) -> Regions:
    """Regions in the middle of round inserts, such as vials or the spheres of a system phantom.

    Parameters
    ----------
    volume : Volume
        All samples of its axes help: an insert that one of them does not show is found in the others.
    diameter_mm : float
        Diameter of the inserts, to about 15 %; the inner one where a wall shows.
    n : int, optional
        How many there are; all that score high enough if not given.
    shape : {"cylinder", "sphere"}
        "cylinder" looks for discs in the plane of the slices, at one place in all of them.
    roi_fraction : float
        Diameter of the region over that of the insert; below 1 keeps off the wall.
    min_score : float
        See `Insert.score`.

    Returns
    -------
    Regions
        ``insert-01`` and on, in the order of `locate_inserts`; the history holds centres and scores, the
        warnings say when there were more inserts than `n`, or a weak one.

    Raises
    ------
    ValueError
        If an option makes no sense.
    NothingUsable
        If there are fewer inserts than `n`, or none; or a region would hold no voxel.
    UnsupportedInput
        If the voxel axes are not at right angles.
    """
    if not 0.0 < roi_fraction <= 1.0:
        raise ValueError("roi_fraction is a share of the diameter, above 0 and up to 1")
    inserts, left_out = _located(volume, diameter_mm, n, shape, min_score)
    digits = max(2, len(str(len(inserts))))
    voxels = {}
    for number, insert in enumerate(inserts, start=1):
        inside = _inside(insert, volume.grid, 0.5 * roi_fraction * float(diameter_mm), shape)
        if not inside.size:
            raise NothingUsable(
                "the region of an insert holds no voxel centre",
                found=f"{roi_fraction * diameter_mm:.3g} mm across",
                next_step="give a larger roi_fraction",
            )
        voxels[f"insert-{number:0{digits}d}"] = inside
    step = make_step(
        "round_inserts",
        diameter_mm=float(diameter_mm),
        shape=shape,
        roi_fraction=float(roi_fraction),
        centres_mm=[[round(value, 3) for value in insert.centre_mm] for insert in inserts],
        diameters_mm=[round(insert.diameter_mm, 3) for insert in inserts],
        scores=[round(insert.score, 3) for insert in inserts],
    )
    regions = Regions.from_voxel_lists(voxels, volume.grid, warnings=_cautions(inserts, left_out))
    return Regions(regions.labels, regions.names, regions.grid, regions.warnings, (step,))


def locate_inserts(
    volume: Volume,
    *,
    diameter_mm: float,
    n: int | None = None,
    shape: Shape = "cylinder",
    min_score: float = LEAST_SCORE,
) -> tuple[Insert, ...]:
    """Centres of round inserts to a fraction of a voxel.

    The gradient of every image is compared with the outward direction on a circle, or sphere, about every
    voxel; the sign does not matter, so that inserts may be darker or brighter than what surrounds them, or
    only ringed by a wall. Each of the best places is then refined between the voxels.

    Parameters
    ----------
    volume, diameter_mm, n, shape, min_score
        As in `round_inserts`.

    Returns
    -------
    tuple of Insert
        Row by row: by voxel index k (spheres), then j, then i, where inserts whose centres differ by less
        than half a diameter along an axis count as one row. Callers who know the phantom bring them into
        its order.

    Raises
    ------
    ValueError, NothingUsable, UnsupportedInput
        As in `round_inserts`.
    """
    return _located(volume, diameter_mm, n, shape, min_score)[0]


def _located(
    volume: Volume, diameter_mm: float, n: int | None, shape: Shape, min_score: float
) -> tuple[tuple[Insert, ...], float]:
    """The inserts, and the best score among those that were too many."""
    _check(volume, diameter_mm, n, shape)
    edges = _edges(volume, float(diameter_mm), shape)
    score = _score_map(edges, 0.5 * float(diameter_mm))
    found = []
    for place in _candidates(score, edges.spacing_mm, float(diameter_mm), n, min_score):
        centre, radius, value = _refined(edges, np.array(place, np.float64), 0.5 * float(diameter_mm))
        if value >= min_score:
            found.append((centre, radius, value))
    found.sort(key=lambda one: -one[2])
    if not found or (n is not None and len(found) < n):
        raise NothingUsable(
            "fewer round inserts than expected" if n else "no round inserts",
            found=f"{len(found)} of {diameter_mm:g} mm that score at least {min_score:g}",
            needed=f"{n}" if n else "at least one",
            next_step="check diameter_mm (the inner one), or give another n or min_score",
        )
    kept = found[:n]
    inserts = tuple(
        Insert(_in_space(centre, volume, shape), 2.0 * radius, value)
        for centre, radius, value in _in_rows(kept, edges.spacing_mm, 0.5 * float(diameter_mm))
    )
    return inserts, found[n][2] if n is not None and len(found) > n else 0.0


def _check(volume: Volume, diameter_mm: float, n: int | None, shape: str) -> None:
    if shape not in SHAPES:
        raise ValueError(f"shape {shape!r} is not one of {', '.join(SHAPES)}")
    if n is not None and n < 1:
        raise ValueError("n is a number of inserts, at least 1")
    dimensions = 2 if shape == "cylinder" else 3
    spacing = np.array(volume.grid.spacing_mm)[:dimensions]
    if not diameter_mm >= 3.0 * float(spacing.max()):
        raise ValueError(
            f"inserts of {diameter_mm:g} mm are not resolved by voxels of {float(spacing.max()):.3g} mm; "
            "at least three across are needed"
        )
    if (np.array(volume.shape[:dimensions]) * spacing < diameter_mm).any():
        raise ValueError(f"an insert of {diameter_mm:g} mm is larger than the image")
    axes = volume.affine[:3, :3] / np.array(volume.grid.spacing_mm)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHOGONAL:
        raise UnsupportedInput("circles are looked for on voxel axes at right angles", found="sheared axes")


def _edges(volume: Volume, diameter_mm: float, shape: Shape) -> _Edges:
    from scipy import ndimage

    dimensions = 2 if shape == "cylinder" else 3
    spacing = np.array(volume.grid.spacing_mm)[:dimensions]
    sigma = np.maximum(_BLUR * diameter_mm / spacing, _LEAST_BLUR_VOXELS)
    vectors, slopes = [], []
    for given in _images(volume, shape):
        missing = ~np.isfinite(given)
        if missing.all():
            continue
        image = np.where(missing, np.median(given[~missing]), given)
        gradient = np.stack(
            [
                ndimage.gaussian_filter(image, sigma, order=[int(a == axis) for a in range(dimensions)])
                / spacing[axis]
                for axis in range(dimensions)
            ]
        )
        length = np.sqrt(np.sum(gradient**2, axis=0))
        noise = max(_NOISE_TIMES * float(np.median(length)), _FAINTEST * float(np.quantile(length, 0.995)))
        if not noise > 0:
            continue
        # what NaN voxels border on is no edge
        seen = ndimage.gaussian_filter(missing.astype(np.float64), sigma) < _UNSEEN
        vectors.append((gradient * (seen * length / (length**2 + noise**2))).astype(np.float32))
        steepest = gradient * seen / np.max(seen * length)
        slopes.append(np.stack([ndimage.spline_filter(part, output=np.float32) for part in steepest]))
    if not vectors:
        raise NothingUsable("the image is the same everywhere, so there are no inserts to find")
    return _Edges(np.stack(vectors), np.stack(slopes), spacing)


def _images(volume: Volume, shape: Shape) -> Iterator[FloatArray]:
    """Slices of the samples, or whole samples, evenly thinned out."""
    n_slices = volume.shape[2] if shape == "cylinder" else 1
    count = volume.planar.shape[0] * n_slices
    for number in np.unique(np.linspace(0, count - 1, min(count, _MOST_IMAGES)).round().astype(int)):
        sample, k = divmod(int(number), n_slices)
        whole = volume.planar[sample].reshape(volume.shape[:3], order="F")
        image = whole[:, :, k] if shape == "cylinder" else whole
        yield np.asarray(image, np.float64)


def _score_map(edges: _Edges, radius_mm: float) -> FloatArray:
    """RMS over the better half of the images of the mean radial part of the edges on a circle."""
    from scipy import signal

    reach = np.ceil(1.3 * radius_mm / edges.spacing_mm).astype(int)
    offsets = np.stack(
        np.meshgrid(
            *[np.arange(-r, r + 1) * s for r, s in zip(reach, edges.spacing_mm, strict=True)], indexing="ij"
        )
    )
    distance = np.sqrt(np.sum(offsets**2, axis=0))
    width = max(0.1 * radius_mm, 0.5 * float(edges.spacing_mm.max()))
    shell = np.exp(-0.5 * ((distance - radius_mm) / width) ** 2)
    shell[distance == 0] = 0.0
    kernels = shell / shell.sum() * offsets / np.maximum(distance, 1e-9)
    total = np.zeros((edges.vectors.shape[0], *edges.vectors.shape[2:]))
    axes = tuple(range(1, total.ndim))
    for axis, kernel in enumerate(kernels):
        # the kernel is odd, so that turning it round for a correlation is a change of sign
        total -= signal.fftconvolve(edges.vectors[:, axis], kernel[np.newaxis], mode="same", axes=axes)
    return np.sqrt(_better_half(total**2))


def _better_half(squares: FloatArray) -> FloatArray:
    count = (squares.shape[0] + 1) // 2
    return np.asarray(np.sort(squares, axis=0)[-count:].mean(axis=0))


def _candidates(
    score: FloatArray, spacing_mm: FloatArray, diameter_mm: float, n: int | None, min_score: float
) -> list[tuple[int, ...]]:
    """Local maxima that lie at least most of a diameter apart and inside the image, the best first."""
    from skimage.feature import peak_local_max

    reach = np.maximum(1, np.floor(0.5 * diameter_mm / spacing_mm)).astype(int)
    footprint = np.ones([2 * r + 1 for r in reach], bool)
    floor = max(0.25 * float(score.max()), 0.5 * min_score)
    peaks = peak_local_max(score, footprint=footprint, threshold_abs=floor, exclude_border=False)
    chosen: list[tuple[int, ...]] = []
    for peak in peaks[np.argsort(-score[tuple(peaks.T)], kind="stable")]:
        room = np.minimum(peak, np.array(score.shape) - 1 - peak) * spacing_mm
        if (room < 0.4 * diameter_mm).any():
            continue
        apart = [np.linalg.norm((peak - np.array(other)) * spacing_mm) for other in chosen]
        if min(apart, default=np.inf) >= _APART * diameter_mm:
            chosen.append(tuple(int(value) for value in peak))
    return chosen if n is None else chosen[: 2 * n + 4]


def _refined(edges: _Edges, start: FloatArray, radius_mm: float) -> tuple[FloatArray, float, float]:
    """Centre in voxels and radius in mm where the slopes are steepest, and the score there."""
    dimensions = start.size
    directions = _directions(dimensions)

    def score(where: FloatArray) -> float:
        return _steepness(edges, where[:dimensions], where[dimensions] * radius_mm, directions)

    best = np.append(start, 1.0)
    step = np.append(np.full(dimensions, 0.5), 0.1)
    low = np.append(start - 2.0, 1.0 - _RADIUS_SLACK)
    high = np.append(start + 2.0, 1.0 + _RADIUS_SLACK)
    value = score(best)
    for _ in range(8):
        for axis in range(dimensions + 1):
            trial = []
            for sign in (-1.0, 1.0):
                place = best.copy()
                place[axis] += sign * step[axis]
                trial.append(score(place))
            bend = trial[0] - 2.0 * value + trial[1]
            move = np.sign(trial[1] - trial[0]) if bend >= 0 else 0.5 * (trial[0] - trial[1]) / bend
            place = best.copy()
            place[axis] = np.clip(best[axis] + np.clip(move, -1.0, 1.0) * step[axis], low[axis], high[axis])
            moved = score(place)
            if moved > value:
                best, value = place, moved
        step *= 0.55
    centre, radius = best[:dimensions], float(best[dimensions] * radius_mm)
    return centre, radius, _score_at(edges, centre, radius, directions)


def _steepness(edges: _Edges, centre: FloatArray, radius_mm: float, directions: FloatArray) -> float:
    """As the score, of slopes by cubic splines: directions are as good near an edge as on it."""
    from scipy import ndimage

    places = (centre + radius_mm * directions / edges.spacing_mm).T
    radial = np.array(
        [
            sum(
                float(np.dot(ndimage.map_coordinates(part, places, prefilter=False), along))
                for part, along in zip(image, directions.T, strict=True)
            )
            for image in edges.slopes
        ]
    )
    return float(np.sqrt(_better_half((radial / len(directions)) ** 2)))


def _score_at(edges: _Edges, centre: FloatArray, radius_mm: float, directions: FloatArray) -> float:
    """The score of one circle or sphere, the edges interpolated linearly; 0 beyond the image."""
    places = centre + radius_mm * directions / edges.spacing_mm
    corner = np.floor(places).astype(np.int64)
    share = places - corner
    last = np.array(edges.vectors.shape[2:]) - 1
    radial = np.zeros((edges.vectors.shape[0], len(places)))
    for offset in np.ndindex(*(2,) * centre.size):
        at = corner + np.array(offset)
        weight = np.prod(np.where(offset, share, 1.0 - share), axis=1)
        weight[((at < 0) | (at > last)).any(axis=1)] = 0.0
        values = edges.vectors[(slice(None), slice(None), *np.clip(at, 0, last).T)]
        radial += weight * np.einsum("sdp,pd->sp", values, directions)
    return float(np.sqrt(_better_half(np.mean(radial, axis=1) ** 2)))


def _directions(dimensions: int) -> FloatArray:
    """Unit vectors evenly over the circle, or over the sphere on a Fibonacci lattice."""
    count = _DIRECTIONS[dimensions]
    place = np.arange(count) + 0.5
    if dimensions == 2:
        angle = 2.0 * np.pi * place / count
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    height = 1.0 - 2.0 * place / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * place
    across = np.sqrt(1.0 - height**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)


def _in_rows(found: list[_Circle], spacing_mm: FloatArray, row_mm: float) -> list[_Circle]:
    """By the last voxel axis first; neighbours in that order closer than a row stay in one row."""

    def sort(group: list[_Circle], axis: int) -> list[_Circle]:
        ordered = sorted(group, key=lambda one: float(one[0][axis]))
        if axis == 0:
            return ordered
        rows: list[list[_Circle]] = []
        for one in ordered:
            if rows and (one[0][axis] - rows[-1][0][0][axis]) * spacing_mm[axis] < row_mm:
                rows[-1].append(one)
            else:
                rows.append([one])
        return [one for row in rows for one in sort(row, axis - 1)]

    return sort(found, spacing_mm.size - 1)


def _in_space(centre: FloatArray, volume: Volume, shape: Shape) -> tuple[float, float, float]:
    index = np.append(centre, 0.5 * (volume.shape[2] - 1)) if shape == "cylinder" else centre
    x, y, z = (float(value) for value in volume.grid.world_mm(index))
    return x, y, z


def _inside(insert: Insert, grid: Grid, radius_mm: float, shape: Shape) -> npt.NDArray[np.int64]:
    """Flat voxel indices whose centres lie within a radius; of a cylinder, in all slices."""
    centre = grid.index(insert.centre_mm)
    spacing = np.array(grid.spacing_mm)
    squares = [
        ((np.arange(size) - c) * s) ** 2 for size, c, s in zip(grid.shape, centre, spacing, strict=True)
    ]
    if shape == "cylinder":
        squares[2] = np.zeros(grid.shape[2])
    total = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    return np.flatnonzero((total <= radius_mm**2).ravel(order="F"))


def _cautions(inserts: tuple[Insert, ...], left_out: float) -> tuple[Caution, ...]:
    weakest = min(insert.score for insert in inserts)
    typical = float(np.median([insert.score for insert in inserts]))
    if left_out > _CLEAR * weakest:
        return (
            Caution(
                "more-inserts",
                f"there are more than {len(inserts)} round inserts: one that was left out scores "
                f"{left_out:.2f}, the weakest that was kept {weakest:.2f}",
            ),
        )
    if weakest < _WEAK * typical:
        return (
            Caution(
                "weak-insert",
                f"one insert scores {weakest:.2f} where most score {typical:.2f}; look at where it lies",
            ),
        )
    return ()
