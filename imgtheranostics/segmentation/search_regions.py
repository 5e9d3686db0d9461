"""Where a lesion is looked for: around a seed, or in a region that somebody drew; cut out of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, NothingUsable, UnsupportedInput
from imgtheranostics.grid import times
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Grid, Volume

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]
Place = tuple[int, int, int]
Seeds = Mapping[str, Sequence[float]] | Sequence[Sequence[float]]

LONGEST_REACH_MM = 50.0
"""Reach around a seed in a large image; in a small one a quarter of its shortest side."""

_SHARE_OF_SIDE = 0.25
_SURROUNDINGS = 8
_NEIGHBOURS = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])


@dataclass(frozen=True, eq=False)
class SearchRegion:
    """A box cut out of the image, without a copy, and which of its voxels may belong to the lesion.

    Attributes
    ----------
    name : str
        Of the lesion that is looked for.
    volume : Volume
        The whole image.
    first : (3,) tuple of int
        Voxel index of the box's first voxel in the image.
    values : (a, b, c) ndarray
        A view; with what surrounds the search region, for the background.
    inside : (a, b, c) ndarray of bool
        In the search region, and finite.
    n_missing : int
        Voxels of the search region that are not finite.
    seed : (3,) tuple of int, optional
        Index in the box.
    """

    name: str
    volume: Volume
    first: Place
    values: FloatArray
    inside: BoolArray
    n_missing: int
    seed: Place | None = None

    @property
    def grid(self) -> Grid:
        """Of the whole image."""
        return self.volume.grid

    def top(self) -> Place:
        """The hill on whose slope the seed lies, or the highest voxel of the search region.

        Raises
        ------
        ImplausibleValue
            If it is not above 0: a share of it means nothing then.
        """
        place = self.climbed()
        if not self.values[place] > 0:
            raise ImplausibleValue(
                "the maximum of a search region is not above 0",
                where=self.name,
                found=f"{float(self.values[place]):.4g} {self.volume.unit}",
                needed="uptake above 0",
                next_step="look where the seed or the search region lies",
            )
        return place

    def climbed(self) -> Place:
        """As `top`, whatever its sign."""
        return self._hilltop(self.seed) if self.seed is not None else self._highest()

    def _highest(self) -> Place:
        place = np.argmax(np.where(self.inside, self.values, -np.inf))
        return _place(np.unravel_index(place, self.values.shape))

    def _hilltop(self, seed: Place) -> Place:
        here = np.array(seed)
        last = np.array(self.values.shape) - 1
        while True:
            around = here + _NEIGHBOURS
            around = around[((around >= 0) & (around <= last)).all(axis=1)]
            places = tuple(around.T)
            heights = np.where(self.inside[places], self.values[places], -np.inf)
            best = int(np.argmax(heights))
            if not heights[best] > self.values[tuple(here)]:
                return _place(here)
            here = around[best]

    def cropped(self, part: tuple[slice, ...]) -> SearchRegion:
        """The same search on a smaller box, with surroundings as far as this one reaches; no copies."""
        spacing = np.array(self.grid.spacing_mm)
        margin = np.ceil(_SURROUNDINGS * spacing.max() / spacing).astype(np.int64)
        start = np.maximum(0, np.array([one.start for one in part]) - margin)
        stop = np.minimum(self.values.shape, np.array([one.stop for one in part]) + margin)
        box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        first = _place(np.array(self.first) + start)
        return replace(self, first=first, values=self.values[box], inside=self.inside[box])

    def world_mm(self, place: Place) -> tuple[float, float, float]:
        """RAS+ mm of a voxel of the box."""
        x, y, z = (round(float(v), 3) for v in self.grid.world_mm(np.array(place) + np.array(self.first)))
        return x, y, z

    def flat(self, mask: BoolArray) -> IndexArray:
        """Flat Fortran-order indices in the image of the voxels of a mask on the box, ascending."""
        places = np.argwhere(mask) + np.array(self.first)
        return np.sort(np.ravel_multi_index(tuple(places.T), self.grid.shape, order="F"))


def static_volume(x: Volume | Estimate) -> Volume:
    """The image, once it is sure to be one.

    Raises
    ------
    UnsupportedInput
        If it has an axis beyond space.
    """
    value = x.value if isinstance(x, Estimate) else x
    if value.axes:
        raise UnsupportedInput(
            "lesions are delineated on one image, not on a series",
            found=", ".join(f"{axis.name} x {len(axis)}" for axis in value.axes),
            needed="an image without further axes",
            next_step="take one frame (Volume.frame), or a mean over frames",
        )
    return value


def search_regions(
    v: Volume,
    *,
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    whole: bool = False,
    surroundings_mm: float = 0.0,
) -> list[SearchRegion]:
    """One search region for each seed, or for each region; both limit each other.

    Parameters
    ----------
    v : Volume
        Without further axes.
    seeds_mm : mapping of str to (x, y, z), or sequence of (x, y, z), optional
        RAS+ mm, one for each lesion, by name.
    within : Regions, optional
        On the grid of `v`. With seeds, their union limits the search.
    reach_mm : float, optional
        Radius of the ball around a seed; by default a quarter of the image's shortest side, at most
        `LONGEST_REACH_MM`.
    whole : bool
        Look in the whole image when neither is given.
    surroundings_mm : float
        How much around the search region is cut out with it, at least eight voxels.

    Raises
    ------
    ValueError
        If neither is given, or a seed is not three numbers.
    GeometryMismatch
        If a seed lies outside the image or the regions, or the regions lie on another grid.
    NothingUsable
        If a search region holds no voxel with a value.
    """
    fitted = within.fit_to(v.grid) if within is not None else None
    if seeds_mm is not None:
        union = None if fitted is None else _union(fitted)
        radius = _reach(v.grid, reach_mm)
        return [
            _around(v, name, seed, radius, union, surroundings_mm)
            for name, seed in named_seeds(seeds_mm).items()
        ]
    if reach_mm is not None:
        raise ValueError("reach_mm belongs to seeds_mm")
    if fitted is not None:
        lists = zip(fitted, fitted.voxel_lists(), strict=True)
        return [_of_region(v, name, voxels, surroundings_mm) for name, voxels in lists]
    if not whole:
        raise ValueError("give seeds_mm or within: where the lesion is to be looked for")
    inside = np.isfinite(v.data)
    return [_checked(SearchRegion("lesion", v, (0, 0, 0), v.data, inside, int(np.sum(~inside))))]


def named_seeds(seeds_mm: Seeds) -> dict[str, tuple[float, float, float]]:
    """Seeds by name; those without one are called lesion, or lesion-1 and on.

    >>> named_seeds([(1, 2, 3), (4, 5, 6)])
    {'lesion-1': (1.0, 2.0, 3.0), 'lesion-2': (4.0, 5.0, 6.0)}
    """
    if isinstance(seeds_mm, Mapping):
        given = dict(seeds_mm)
    else:
        listed = list(seeds_mm)
        digits = len(str(len(listed)))
        names = (
            [f"lesion-{n:0{digits}d}" for n in range(1, len(listed) + 1)] if len(listed) > 1 else ["lesion"]
        )
        given = dict(zip(names, listed, strict=bool(listed)))
    found = {}
    for name, seed in given.items():
        numbers = np.asarray(seed, np.float64)
        if numbers.shape != (3,) or not np.isfinite(numbers).all():
            raise ValueError(f"a seed is three numbers x, y, z in mm (RAS+), not {seed!r}")
        found[name] = (float(numbers[0]), float(numbers[1]), float(numbers[2]))
    if not found:
        raise ValueError("no seed was given")
    return found


def _reach(grid: Grid, reach_mm: float | None) -> float:
    if reach_mm is None:
        sides = np.array(grid.shape) * np.array(grid.spacing_mm)
        return float(min(LONGEST_REACH_MM, _SHARE_OF_SIDE * sides.min()))
    if not 0 < reach_mm < np.inf:
        raise ValueError(f"reach_mm is a length above 0, not {reach_mm!r}")
    return float(reach_mm)


def _around(
    v: Volume,
    name: str,
    seed: tuple[float, float, float],
    radius: float,
    union: IndexArray | None,
    margin_mm: float,
) -> SearchRegion:
    index = v.grid.index(seed)
    nearest = np.floor(index + 0.5).astype(np.int64)
    if (nearest < 0).any() or (nearest >= v.grid.shape).any():
        raise GeometryMismatch(
            "a seed lies outside the image",
            where=name,
            found=f"voxel {', '.join(str(n) for n in nearest)}",
            needed=f"inside {times(v.grid.shape)} voxels",
            next_step="give x, y, z in mm of the patient (RAS+), as a report's pictures show them",
        )
    # along each voxel axis the ball reaches this far, whatever the shear
    steps = radius * np.linalg.norm(np.linalg.inv(v.grid.affine[:3, :3]), axis=1)
    box = _box(v.grid, np.floor(index - steps), np.ceil(index + steps), margin_mm)
    axes = [np.arange(part.start, part.stop) for part in box]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - index
    ball = np.linalg.norm(offsets @ v.grid.affine[:3, :3].T, axis=-1) <= radius
    first = _place([part.start for part in box])
    place = _place(nearest - np.array(first))
    ball[place] = True
    if union is not None:
        allowed = np.zeros(v.grid.n_voxels, bool)
        allowed[union] = True
        ball &= allowed.reshape(v.grid.shape, order="F")[box]
        if not ball[place]:
            raise GeometryMismatch(
                "a seed lies outside the regions that limit the search",
                where=name,
                needed="a seed inside one of them",
            )
    values = v.data[box]
    finite = np.isfinite(values)
    if not finite[place]:
        raise NothingUsable("a seed lies on a voxel without a value", where=name)
    found = SearchRegion(name, v, first, values, ball & finite, int(np.sum(ball & ~finite)), place)
    return _checked(found)


def _of_region(v: Volume, name: str, voxels: IndexArray, margin_mm: float) -> SearchRegion:
    if not voxels.size:
        raise NothingUsable("a search region holds no voxel", where=name, needed="a region with voxels")
    places = np.stack(np.unravel_index(voxels, v.grid.shape, order="F"))
    box = _box(v.grid, places.min(axis=1), places.max(axis=1), margin_mm)
    first = np.array([part.start for part in box])
    values = v.data[box]
    region = np.zeros(values.shape, bool, order="F")
    region[tuple(places - first[:, np.newaxis])] = True
    finite = np.isfinite(values)
    return _checked(
        SearchRegion(name, v, _place(first), values, region & finite, int(np.sum(region & ~finite)))
    )


def _checked(search: SearchRegion) -> SearchRegion:
    if not search.inside.any():
        raise NothingUsable("a search region holds no voxel with a value", where=search.name)
    return search


def _box(grid: Grid, low: npt.ArrayLike, high: npt.ArrayLike, margin_mm: float) -> tuple[slice, slice, slice]:
    """The box from `low` to `high` with its surroundings, as far as the image reaches."""
    spacing = np.array(grid.spacing_mm)
    margin = np.ceil(max(_SURROUNDINGS * spacing.max(), margin_mm) / spacing).astype(np.int64)
    start = np.maximum(0, np.asarray(low, np.int64) - margin)
    stop = np.minimum(grid.shape, np.asarray(high, np.int64) + margin + 1)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def _union(regions: Regions) -> IndexArray:
    return np.unique(np.concatenate([np.empty(0, np.int64), *regions.voxel_lists()]))


def _place(index: npt.ArrayLike) -> Place:
    i, j, k = (int(n) for n in np.asarray(index))
    return i, j, k
