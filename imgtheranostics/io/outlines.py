"""Outlines of a mask along the edges of its pixels: closed polygons whose even-odd filling is the mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]


def outlines(mask: BoolArray, *, most_points: int | None = None) -> list[FloatArray]:
    """Polygons around and inside the parts of a mask; holes are polygons of their own.

    Parts that touch at a corner only get polygons of their own. A polygon may touch itself at a corner, but
    it never crosses itself.

    Parameters
    ----------
    mask : (n_x, n_y) bool
    most_points : int, optional
        A mask of which a polygon has more corners is cut into two along a pixel edge, as often as needed.

    Returns
    -------
    list of (n, 2) float64
        Corners in pixels; the centre of ``mask[a, b]`` is (a, b), its corners are half a pixel from it. The
        first corner is not repeated.
    """
    inside = np.flatnonzero(mask.any(axis=1))
    across = np.flatnonzero(mask.any(axis=0))
    if not inside.size:
        return []
    low = np.array([inside[0], across[0]])
    part = mask[inside[0] : inside[-1] + 1, across[0] : across[-1] + 1]
    found = [polygon + (low - 0.5) for polygon in _traced(part)]
    if most_points is None or max(len(polygon) for polygon in found) <= most_points or part.size == 1:
        return found
    axis = int(part.shape[1] > part.shape[0])
    half = part.shape[axis] // 2
    pieces = np.split(part, [half], axis=axis)
    shift = np.array([half, 0]) if axis == 0 else np.array([0, half])
    return [
        polygon + low + offset
        for piece, offset in zip(pieces, (np.zeros(2), shift), strict=True)
        for polygon in outlines(piece, most_points=most_points)
    ]


def _traced(mask: BoolArray) -> list[FloatArray]:
    """Polygons in corner coordinates: pixel (0, 0) has the corners (0, 0) to (1, 1)."""
    x, y, lower, left = _corners(mask)
    beside = _partners(y, x, left)
    above = _partners(x, y, lower)
    polygons: list[FloatArray] = []
    free = np.ones(x.size, bool)
    for start in range(x.size):
        if not free[start]:
            continue
        members = []
        corner, along_x = start, True
        while free[corner]:
            free[corner] = False
            members.append(corner)
            corner = int(beside[corner] if along_x else above[corner])
            along_x = not along_x
        polygons.append(np.stack([x[members], y[members]], axis=1).astype(np.float64))
    return polygons


def _corners(mask: BoolArray) -> tuple[IndexArray, IndexArray, IndexArray, IndexArray]:
    """Where outlines turn, a corner between two diagonal pixels twice; and the order of the two.

    Where two pixels touch at a corner, its first copy ends the edge from smaller x and its second starts the
    one to larger x. Which of them ends the edge from smaller y follows from which diagonal is inside, so that
    each polygon turns around its own pixel.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    a, b = padded[:-1, :-1], padded[1:, :-1]
    c, d = padded[:-1, 1:], padded[1:, 1:]
    total = a + b + c + d
    single = np.argwhere((total == 1) | (total == 3))
    rising = np.argwhere((total == 2) & (a == d) & (a == 1))
    falling = np.argwhere((total == 2) & (a == d) & (a == 0))
    place = np.concatenate([single, rising, rising, falling, falling]).astype(np.int64)
    second = [np.zeros(len(single)), np.zeros(len(rising)), np.ones(len(rising))]
    left = np.concatenate([*second, np.zeros(len(falling)), np.ones(len(falling))])
    lower = np.concatenate([*second, np.ones(len(falling)), np.zeros(len(falling))])
    return place[:, 0], place[:, 1], lower.astype(np.int64), left.astype(np.int64)


def _partners(line: IndexArray, along: IndexArray, copy: IndexArray) -> IndexArray:
    """The corner at the other end of the edge on the same line: corners of a line come in pairs."""
    order = np.lexsort((copy, along, line)).reshape(-1, 2)
    partner = np.empty(line.size, np.int64)
    partner[order[:, 0]], partner[order[:, 1]] = order[:, 1], order[:, 0]
    return partner
