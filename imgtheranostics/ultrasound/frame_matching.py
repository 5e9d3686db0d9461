"""Rigid motion of a frame in its plane: phase correlation finds it, tiles of the tissue refine and judge it.

Every tile is compared with the reference by its own correlation, so that a region which the agent brightens,
or in which speckle is renewed, only loses weight. The motion follows from all tiles by Gauss-Newton steps;
the two colours of a checkerboard of tiles repeat it independently, and half of how far their answers lie
apart is what is left of the motion, as far as the image can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.tile_motion import N_SUMS, add_moved, binned, smoothed, tile_sums
from imgtheranostics.ultrasound.frame_phase import PhaseReference

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

TILE = 16
"""Pixels along a side."""

_FEWEST_IN_TILE = 0.6
_FEWEST_TILES = 8
_LONGEST_SIDE = 320
_MOST_STEPS = 12
_FREE_STEPS = 3
_SETTLED = 0.02
_MOST_OUTSIDE = 0.1
_LEAST_LEFT = 0.05
_LEAST_CONTRAST = 1e-3
_MOST_CONDITION = 1e6
_LONGEST_STEP = 2.0
_LEAST_PEAK = 8.0
_LEAST_CORRELATION = 0.1
_MOST_APART = 1.5
_MOST_DIFFERENT = 0.5


@dataclass(frozen=True, eq=False)
class Match:
    """How one frame had moved.

    Attributes
    ----------
    motion : (3, 3) ndarray
        From pixels (i, j, 1) of the reference to those of the frame.
    peak : float
        Height of the phase correlation, in its standard deviations.
    apart : float
        Pixels between the shift of the phase correlation and that of the tiles.
    correlation : float
        Mean over the tiles of the correlation with the reference, of the colour that has less of it.
    different : float
        Pixels rms over the tissue of half the difference between the two colours of tiles.
    settled : bool
        Whether the steps came to an end.
    """

    motion: FloatArray
    peak: float
    apart: float
    correlation: float
    different: float
    settled: bool

    @property
    def convincing(self) -> bool:
        """Whether all measures support the motion."""
        return (
            self.settled
            and self.peak >= _LEAST_PEAK
            and self.correlation >= _LEAST_CORRELATION
            and self.apart <= _MOST_APART
            and self.different <= _MOST_DIFFERENT
        )


@dataclass(frozen=True, eq=False)
class _Level:
    """The reference at one resolution: its tiles and what a comparison with them takes."""

    factor: int
    places: npt.NDArray[np.int32]
    basis: Float32Array
    first: IndexArray
    normal: FloatArray  # (n_tiles, 3, 3), zero where there is no contrast
    colour: IndexArray
    middle: FloatArray
    ratio: float
    spread: FloatArray  # (3, 3): mean square displacement of a step

    @property
    def structured(self) -> BoolArray:
        """Tiles with contrast."""
        return np.asarray(self.normal.any(axis=(1, 2)))


@dataclass(frozen=True, eq=False)
class FrameMatcher:
    """A reference frame that others are matched with."""

    phase: PhaseReference
    levels: tuple[_Level, ...]
    inside: BoolArray  # (y, x) of the finest level

    @classmethod
    def of(
        cls, image: Float32Array, inside: BoolArray, spacing_mm: tuple[float, float]
    ) -> FrameMatcher | None:
        """A matcher, or None where there are too few tiles with contrast.

        Parameters
        ----------
        image : (n_i, n_j) ndarray
            The reference on a logarithmic scale, finite.
        inside : (n_i, n_j) ndarray of bool
            The tissue that moves as one.
        spacing_mm : (float, float)
            Along i and j.
        """
        factor = max(1, -(-max(image.shape) // _LONGEST_SIDE))
        fine = _reduced(image, factor)
        mask = _covered(inside, factor)
        if min(fine.shape) < 2 * TILE or not mask.any():
            return None
        levels = []
        for step in (2, 1):
            here = fine if step == 1 else _halved(fine)
            there = mask if step == 1 else _covered(mask.T, 2)
            level = _level(here, there, factor * step, spacing_mm[1] / spacing_mm[0])
            if int(level.structured.sum()) >= _FEWEST_TILES:
                levels.append(level)
        if not levels or levels[-1].factor != factor:
            return None
        return cls(PhaseReference.of(fine, mask), tuple(levels), mask)

    def match(self, image: Float32Array) -> Match:
        """The motion of a frame (n_i, n_j), finite, on the scale of the reference."""
        factor = self.levels[-1].factor
        fine = _reduced(image, factor)
        peak = self.phase.peak(fine)
        motion = np.eye(3)
        motion[0, 2], motion[1, 2] = peak.shift[1] * factor, peak.shift[0] * factor
        start = motion
        for level in self.levels:
            here = fine if level.factor == factor else _halved(fine)
            motion, compared, settled = _stepped(level, here, motion)
        correlation, different = _halves(level, compared)
        middle = np.array([*(level.middle * factor + 0.5 * (factor - 1)), 1.0])
        apart = float(np.hypot(*((motion - start) @ middle)[:2])) / factor
        return Match(motion, peak.height, apart, correlation, different * factor, settled)

    def averaged(self, images: Iterable[Float32Array], motions: Sequence[FloatArray]) -> FrameMatcher:
        """The matcher with the mean of matched frames for its reference, of which each has its own noise."""
        finest = self.levels[-1]
        total, count = np.zeros((2, *self.inside.shape), np.float32)
        for image, motion in zip(images, motions, strict=True):
            add_moved(_reduced(image, finest.factor), _scaled(motion, finest.factor)[:2], total, count)
        known = self.inside & (count >= 0.5 * len(motions))
        mean = total / np.maximum(count, np.float32(1.0))
        return FrameMatcher(self.phase, (_level(mean, known, finest.factor, finest.ratio),), self.inside)

    def refine(self, image: Float32Array, match: Match) -> Match:
        """A match with another reference that makes one anew, from where that one ended."""
        level = self.levels[-1]
        motion, compared, settled = _stepped(level, _reduced(image, level.factor), match.motion)
        correlation, different = _halves(level, compared)
        return replace(
            match,
            motion=motion,
            correlation=correlation,
            different=different * level.factor,
            settled=settled,
        )


def _scaled(motion: FloatArray, factor: float) -> FloatArray:
    """A motion of pixels as one of pixels that are `factor` times as large."""
    middle = 0.5 * (factor - 1.0)
    scale = np.array([[factor, 0.0, middle], [0.0, factor, middle], [0.0, 0.0, 1.0]])
    return np.asarray(np.linalg.inv(scale) @ motion @ scale)


def _reduced(image: Float32Array, factor: int) -> Float32Array:
    """Fewer pixels, and no more detail than interpolation can follow; as (y, x)."""
    rows = np.ascontiguousarray(image.T, np.float32)
    return _smooth(rows if factor == 1 else _binned(rows, factor))


def _halved(rows: Float32Array) -> Float32Array:
    return _smooth(_binned(rows, 2))


def _binned(rows: Float32Array, factor: int) -> Float32Array:
    small = np.empty((rows.shape[0] // factor, rows.shape[1] // factor), np.float32)
    binned(read_only(rows), factor, small)
    return small


def _smooth(rows: Float32Array) -> Float32Array:
    out = np.empty_like(rows)
    smoothed(read_only(rows), np.empty(rows.shape[1], np.float32), out)
    return out


def _covered(inside: BoolArray, factor: int) -> BoolArray:
    """Which reduced pixels lie in the tissue altogether; as (y, x) of (x, y)."""
    rows = inside.T
    ny, nx = rows.shape[0] // factor, rows.shape[1] // factor
    blocks = rows[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    return np.asarray(blocks.all(axis=(1, 3)))


def _level(image: Float32Array, inside: BoolArray, factor: int, ratio: float) -> _Level:
    slope_y, slope_x = (np.gradient(image.astype(np.float64), axis=axis) for axis in (0, 1))
    ys, xs = np.nonzero(inside)
    middle = np.array([xs.mean(), ys.mean()])
    tiles = [tile for tile in _tiles(inside) if tile[0].size >= _FEWEST_IN_TILE * TILE**2]
    first = np.cumsum([0, *(y.size for y, _, _ in tiles)])
    y, x = (np.concatenate([tile[n] for tile in tiles] or [ys[:0]]) for n in (0, 1))
    turned = -ratio * (y - middle[1]) * slope_x[y, x] + (x - middle[0]) / ratio * slope_y[y, x]
    columns = np.stack([image[y, x], slope_x[y, x], slope_y[y, x], turned], axis=1).astype(np.float64)
    least = _LEAST_CONTRAST * float(image[inside].std(dtype=np.float64))
    normal = np.zeros((len(tiles), 3, 3))
    for n in range(len(tiles)):
        part = slice(first[n], first[n + 1])
        columns[part], normal[n] = _orthogonal(columns[part], least)
    dx, dy = xs - middle[0], ratio * (ys - middle[1])
    spread = np.diag([1.0, ratio**2, float(np.mean(dx**2 + dy**2))])
    return _Level(
        factor=factor,
        places=np.stack([x, y], axis=1).astype(np.int32),
        basis=np.ascontiguousarray(columns.T, np.float32),
        first=first.astype(np.int64),
        normal=normal,
        colour=np.array([colour for _, _, colour in tiles], np.int64),
        middle=middle,
        ratio=ratio,
        spread=spread,
    )


def _tiles(inside: BoolArray) -> list[tuple[IndexArray, IndexArray, int]]:
    """Tissue pixels (y, x) of each tile, and its colour; the tiles lie evenly about the middle."""
    y_start, x_start = ((n % TILE) // 2 for n in inside.shape)
    found = []
    for a, y0 in enumerate(range(y_start, inside.shape[0] - TILE + 1, TILE)):
        for b, x0 in enumerate(range(x_start, inside.shape[1] - TILE + 1, TILE)):
            y, x = np.nonzero(inside[y0 : y0 + TILE, x0 : x0 + TILE])
            found.append((y + y0, x + x0, (a + b) % 2))
    return found


def _orthogonal(columns: FloatArray, least: float) -> tuple[FloatArray, FloatArray]:
    """The tile with mean 0 and length 1, what a motion adds to it beyond that, and the latter's products."""
    columns = columns - columns.mean(axis=0)
    length = float(np.linalg.norm(columns[:, 0]))
    if not length > least * np.sqrt(len(columns)):
        return np.zeros_like(columns), np.zeros((3, 3))
    columns /= length
    moved = columns[:, 1:] - np.outer(columns[:, 0], columns[:, 0] @ columns[:, 1:])
    return np.column_stack([columns[:, 0], moved]), moved.T @ moved


@dataclass(frozen=True, eq=False)
class _Compared:
    """The tiles of a frame under a motion: correlations, and the terms of the equations for the next step."""

    correlation: FloatArray
    counted: BoolArray
    weight: FloatArray
    left: FloatArray  # (n_tiles, 3, 3)
    right: FloatArray  # (n_tiles, 3)

    def step(self, chosen: BoolArray) -> FloatArray | None:
        """Shift along x and y and turn that these tiles still ask for; None where they determine none."""
        if int((chosen & (self.weight > 0)).sum()) < _FEWEST_TILES // 2:
            return None
        left, right = self.left[chosen].sum(axis=0), self.right[chosen].sum(axis=0)
        scale = np.sqrt(np.diag(left))
        if not (scale > 0).all() or np.linalg.cond(left / np.outer(scale, scale)) > _MOST_CONDITION:
            return None
        return np.asarray(np.linalg.solve(left, right))


def _compared(level: _Level, image: Float32Array, motion: FloatArray, held: FloatArray | None) -> _Compared:
    """A tile's grey is ``rho (tile + basis step)`` and noise, together ``1 - rho^2`` of its variance.

    `held` are the weights ``n rho / (1 - rho^2)`` of an earlier comparison: new ones in every step would let
    tiles at the edge come and go for ever.
    """
    count = np.diff(level.first)
    sums, outside = np.empty((count.size, N_SUMS)), np.empty(count.size, np.int64)
    tile_sums(image, level.places, level.basis, level.first, motion[:2], sums, outside)
    length = np.sqrt(np.maximum(sums[:, 1] - sums[:, 0] ** 2 / count, 0.0))
    counted = level.structured & (outside <= _MOST_OUTSIDE * count)
    bright = length > np.finfo(np.float32).eps * np.abs(sums[:, 0])
    along = np.where(bright[:, np.newaxis], sums[:, 2:], 0.0) / np.where(bright, length, 1.0)[:, np.newaxis]
    rho = along[:, 0]
    fresh = np.where(counted, count * np.clip(rho, 0.0, 1.0) / np.maximum(1.0 - rho**2, _LEAST_LEFT), 0.0)
    weight = fresh if held is None else held
    left = (weight * np.maximum(rho, 0.0))[:, np.newaxis, np.newaxis] * level.normal
    return _Compared(rho, counted, weight, left, weight[:, np.newaxis] * along[:, 1:])


def _stepped(level: _Level, image: Float32Array, motion: FloatArray) -> tuple[FloatArray, _Compared, bool]:
    """Gauss-Newton steps from a motion; the last comparison, and whether they came to an end."""
    here = _scaled(motion, level.factor)
    everywhere = np.ones(level.colour.size, bool)
    held, settled = None, False
    for n in range(_MOST_STEPS):
        compared = _compared(level, image, here, held)
        held = compared.weight if n + 1 >= _FREE_STEPS else None
        step = compared.step(everywhere)
        if step is None:
            break
        length = float(np.sqrt(step @ level.spread @ step))
        here = here @ np.linalg.inv(_rigid(level, step * min(1.0, _LONGEST_STEP / max(length, _SETTLED))))
        settled = length < _SETTLED
        if settled:
            break
    return _scaled(here, 1.0 / level.factor), compared, settled


def _rigid(level: _Level, step: FloatArray) -> FloatArray:
    """A shift along x and y after a turn about the middle, which is rigid in mm."""
    cosine, sine = np.cos(step[2]), np.sin(step[2])
    turn = np.array([[cosine, -level.ratio * sine], [sine / level.ratio, cosine]])
    moved = np.eye(3)
    moved[:2, :2] = turn
    moved[:2, 2] = level.middle - turn @ level.middle + step[:2]
    return moved


def _halves(level: _Level, compared: _Compared) -> tuple[float, float]:
    """Lower mean correlation of the two colours, and half of how far their motions lie apart, rms."""
    chosen = [level.colour == colour for colour in (0, 1)]
    steps = [compared.step(half) for half in chosen]
    counted = [half & compared.counted for half in chosen]
    if steps[0] is None or steps[1] is None:
        return 0.0, float("inf")
    difference = steps[0] - steps[1]
    correlation = min(float(compared.correlation[half].mean()) for half in counted)
    return correlation, 0.5 * float(np.sqrt(difference @ level.spread @ difference))
