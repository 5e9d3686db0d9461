"""How much of each voxel lies in each shape: exact along one voxel axis, midpoint rule over the other two.

Flat walls along the grid are exact too.

A shape is a list of norms, ``|M_g (p - c)| <= 1`` for every group g of the three rows of M: one group of
three rows is an ellipsoid, two and one a cylinder, three times one a box. A hollow shape leaves out its bore,
``|M_0 (p - c)| < bore``. All positions are voxel indices.
Shapes later in the list override earlier ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
Array = npt.NDArray[Any]

OUTSIDE, STRADDLING, INSIDE = 0, 1, 2


@njit(cache=True, nogil=True)
def _place(rows: Any, groups: Any, margins: Any, bore: float, x: float, y: float, z: float) -> int:
    """Whether the voxel centred at (x, y, z) from the shape's centre is outside, straddling or inside."""
    inside = True
    for group in range(3):
        squared = 0.0
        used = False
        for row in range(3):
            if groups[row] == group:
                used = True
                u = rows[row, 0] * x + rows[row, 1] * y + rows[row, 2] * z
                squared += u * u
        if not used:
            continue
        reach = 1.0 + margins[group]
        if squared > reach * reach:
            return OUTSIDE
        core = 1.0 - margins[group]
        if core < 0.0 or squared > core * core:
            inside = False
        if group == 0 and bore > 0.0:
            hollow = bore - margins[group]
            if hollow > 0.0 and squared < hollow * hollow:
                return OUTSIDE
            wall = bore + margins[group]
            if squared < wall * wall:
                inside = False
    return INSIDE if inside else STRADDLING


@njit(cache=True, nogil=True)
def classify(
    rows: FloatArray,
    centres: FloatArray,
    groups: IntArray,
    margins: FloatArray,
    bores: FloatArray,
    boxes: IntArray,
    owner: IntArray,
    mixed: npt.NDArray[np.bool_],
) -> None:
    """Mark every voxel with the last shape that holds it wholly, and those that a later shape cuts.

    rows : (n_shapes, 3, 3), centres : (n_shapes, 3), groups : (n_shapes, 3) int32
    margins : (n_shapes, 3), largest change of each norm within a voxel
    bores : (n_shapes,), inner over outer radius; 0 for a solid shape
    boxes : (n_shapes, 3, 2) int32, first and stop voxel along each axis
    owner : (i, j, k) int32 and mixed : (i, j, k) bool, both Fortran-ordered and zero on entry;
    owner becomes the shape's number from 1
    """
    for shape in range(rows.shape[0]):
        box = boxes[shape]
        for k in range(box[2, 0], box[2, 1]):
            z = k - centres[shape, 2]
            for j in range(box[1, 0], box[1, 1]):
                y = j - centres[shape, 1]
                for i in range(box[0, 0], box[0, 1]):
                    x = i - centres[shape, 0]
                    found = _place(rows[shape], groups[shape], margins[shape], bores[shape], x, y, z)
                    if found == INSIDE:
                        owner[i, j, k] = shape + 1
                        mixed[i, j, k] = False
                    elif found == STRADDLING:
                        mixed[i, j, k] = True


@njit(cache=True, nogil=True)
def _interval(
    rows: Any, groups: Any, only: int, radius: float, x: float, y: float, z: float
) -> tuple[float, float]:
    """Start and end of the part of the line (x, y, z + s), s in 0..1, where norms are at most `radius`.

    `only` is the one group that counts, or -1 for all.
    """
    low, high = 0.0, 1.0
    for group in range(3):
        if only >= 0 and group != only:
            continue
        a, b, c = 0.0, 0.0, -radius * radius
        used = False
        for row in range(3):
            if groups[row] == group:
                used = True
                u = rows[row, 0] * x + rows[row, 1] * y + rows[row, 2] * z
                a += rows[row, 2] * rows[row, 2]
                b += rows[row, 2] * u
                c += u * u
        if not used:
            continue
        if a < 1e-24:
            if c > 0.0:
                return 0.0, 0.0
            continue
        discriminant = b * b - a * c
        if discriminant <= 0.0:
            return 0.0, 0.0
        root = np.sqrt(discriminant)
        low = max(low, (-b - root) / a)
        high = min(high, (-b + root) / a)
    return low, high


@njit(cache=True, nogil=True)
def _upright(rows: Any, groups: Any, margins: Any, bore: float, x: float, y: float, z: float) -> bool:
    """Whether only walls along k of the shape cut the voxel, so that the next one along k looks alike."""
    for group in range(3):
        squared = 0.0
        sloped = False
        for row in range(3):
            if groups[row] == group:
                u = rows[row, 0] * x + rows[row, 1] * y + rows[row, 2] * z
                squared += u * u
                sloped = sloped or rows[row, 2] != 0.0
        core = 1.0 - margins[group]
        if sloped and (core < 0.0 or squared > core * core):
            return False
        wall = bore + margins[group]
        if sloped and group == 0 and bore > 0.0 and squared < wall * wall:
            return False
    return True


@njit(cache=True, nogil=True)
def _share_line(
    lows: Any, highs: Any, regions: Any, n: int, base: int, cuts: Any, weight: float, out: Any
) -> None:
    """Give each piece of a unit line to the last interval that covers it, else to `base`."""
    count = 2
    cuts[0], cuts[1] = 0.0, 1.0
    for m in range(n):
        if highs[m] > lows[m]:
            cuts[count], cuts[count + 1] = lows[m], highs[m]
            count += 2
    for m in range(1, count):
        value = cuts[m]
        place = m - 1
        while place >= 0 and cuts[place] > value:
            cuts[place + 1] = cuts[place]
            place -= 1
        cuts[place + 1] = value
    for m in range(count - 1):
        length = cuts[m + 1] - cuts[m]
        if length <= 0.0:
            continue
        middle = 0.5 * (cuts[m] + cuts[m + 1])
        target = base
        for candidate in range(n - 1, -1, -1):
            if lows[candidate] <= middle <= highs[candidate]:
                target = regions[candidate]
                break
        out[target] += weight * length


@njit(cache=True, nogil=True)
def _cells(
    rows: Any,
    groups: Any,
    centres: Any,
    chosen: Any,
    n: int,
    axis: int,
    index: int,
    per_edge: int,
    middles: Any,
    widths: Any,
) -> int:
    """Cut a voxel edge into equal cells, and these at the flat walls that stand across the edge.

    A wall across the edge would else be off by up to half a cell. Returns the number of cells; their
    middles are voxel indices, their widths parts of the edge.
    """
    start, count = index - 0.5, per_edge
    for cell in range(per_edge):
        middles[cell], widths[cell] = start + (cell + 0.5) / per_edge, 1.0 / per_edge
    for m in range(n):
        shape = chosen[m]
        for row in range(3):
            slope = rows[shape, row, axis]
            alone = slope != 0.0
            for other in range(3):
                if other != axis and rows[shape, row, other] != 0.0:
                    alone = False
                if other != row and groups[shape, other] == groups[shape, row]:
                    alone = False
            if not alone:
                continue
            for side in (-1.0, 1.0):
                place = centres[shape, axis] + side / slope
                for cell in range(count):
                    low, high = middles[cell] - widths[cell] / 2, middles[cell] + widths[cell] / 2
                    if low < place < high:
                        middles[cell], widths[cell] = (low + place) / 2, place - low
                        middles[count], widths[count] = (place + high) / 2, high - place
                        count += 1
                        break
    return count


@njit(cache=True, nogil=True)
def fractions(
    rows: FloatArray,
    centres: FloatArray,
    groups: IntArray,
    margins: FloatArray,
    bores: FloatArray,
    regions: IntArray,
    lines: IntArray,
    voxels: IntArray,
    owners: IntArray,
    out: FloatArray,
) -> None:
    """Share of each region in every voxel that a shape cuts.

    regions : (n_shapes,) int32, region number (from 1) of each shape
    lines : (n_shapes,) int32, lines per voxel edge that the shape needs
    voxels : (n, 3) int32 indices, owners : (n,) int32 shape number from 1 below the cut, 0 for none
    out : (n, n_regions + 1) float64, zero on entry; column 0 is outside all regions; each row sums to 1
    """
    n_shapes = rows.shape[0]
    chosen = np.empty(n_shapes, np.int32)
    pieces = np.empty(2 * n_shapes, np.int32)
    lows = np.empty(2 * n_shapes)
    highs = np.empty(2 * n_shapes)
    cuts = np.empty(4 * n_shapes + 2)
    most = 1
    for shape in range(n_shapes):
        most = max(most, lines[shape])
    most += 2 * n_shapes
    x_mid, x_width, y_mid, y_width = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    n_i = 1 + voxels[:, 0].max() if voxels.shape[0] else 1
    n_j = 1 + voxels[:, 1].max() if voxels.shape[0] else 1
    # per column: the last voxel that walls along k cut, and which walls (exact below 2^63)
    alike = np.full((n_i, n_j), -1, np.int64)
    walls = np.zeros((n_i, n_j), np.int64)
    countable = n_shapes < 30_000
    for v in range(voxels.shape[0]):
        i, j, k = voxels[v, 0], voxels[v, 1], voxels[v, 2]
        base = regions[owners[v] - 1] if owners[v] > 0 else 0
        n, per_edge = 0, 1
        upright, which = countable, np.int64(base)
        for shape in range(owners[v], n_shapes):
            x, y, z = i - centres[shape, 0], j - centres[shape, 1], k - centres[shape, 2]
            if _place(rows[shape], groups[shape], margins[shape], bores[shape], x, y, z) == STRADDLING:
                chosen[n] = shape
                per_edge = max(per_edge, lines[shape])
                n += 1
                upright = (
                    upright
                    and n <= 3
                    and _upright(rows[shape], groups[shape], margins[shape], bores[shape], x, y, z)
                )
                which = which * (n_shapes + 1) + shape + 1
        if upright and alike[i, j] >= 0 and walls[i, j] == which:
            out[v] = out[alike[i, j]]
            continue
        if upright:
            alike[i, j], walls[i, j] = v, which
        n_x = _cells(rows, groups, centres, chosen, n, 0, i, per_edge, x_mid, x_width)
        n_y = _cells(rows, groups, centres, chosen, n, 1, j, per_edge, y_mid, y_width)
        for b in range(n_y):
            y = y_mid[b]
            for a in range(n_x):
                x = x_mid[a]
                count = 0
                for m in range(n):
                    shape = chosen[m]
                    u, v_, w = (
                        x - centres[shape, 0],
                        y - centres[shape, 1],
                        k - 0.5 - centres[shape, 2],
                    )
                    low, high = _interval(rows[shape], groups[shape], -1, 1.0, u, v_, w)
                    pieces[count], lows[count], highs[count] = regions[shape], low, high
                    count += 1
                    if bores[shape] > 0.0 and high > low:
                        first, last = _interval(rows[shape], groups[shape], 0, bores[shape], u, v_, w)
                        if last > first:
                            # the wall before the bore, then the wall behind it
                            highs[count - 1] = min(high, first)
                            pieces[count] = regions[shape]
                            lows[count], highs[count] = max(low, last), high
                            count += 1
                weight = x_width[a] * y_width[b]
                _share_line(lows, highs, pieces, count, base, cuts, weight, out[v])
