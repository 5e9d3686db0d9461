"""Voxels as SIMD lanes: chosen voxels of a chunk are packed into blocks of fixed length and put back.

A block always has `BLOCK` lanes; a short one is padded with its first voxel. So every lane goes through the
same instructions wherever its voxel lies, and the bytes depend neither on the mask nor on the threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

BLOCK = 256
"""Lanes of a block: about twenty rows of float32 stay in the first-level cache."""

CHUNK = 4096
"""Voxels that one thread takes at a time."""


@njit(cache=True, nogil=True)
def list_chosen(chosen, begin, end, voxels):
    """Write the chosen voxels of [begin, end) into `voxels`; how many there are.

    chosen : (n_voxels,) bool
    voxels : (CHUNK,) int64
    """
    count = 0
    for voxel in range(begin, end):
        count += chosen[voxel]
    if count == end - begin:
        for lane in range(count):
            voxels[lane] = begin + lane
    elif count > 0:
        count = 0
        for voxel in range(begin, end):
            if chosen[voxel]:
                voxels[count] = voxel
                count += 1
    return count


@njit(cache=True, nogil=True)
def take(plane, voxels, first, stop, row):
    """Fill the block `row` with plane[voxels[first:stop]], padded with the first of them.

    plane : (n_voxels,) float32 or float64; row : (BLOCK,) float32
    """
    n = stop - first
    begin = voxels[first]
    if voxels[stop - 1] - begin == n - 1:
        run = plane[begin : begin + n]
        for lane in range(n):
            row[lane] = run[lane]
    else:
        for lane in range(n):
            row[lane] = plane[voxels[first + lane]]
    for lane in range(n, row.size):
        row[lane] = row[0]


@njit(cache=True, nogil=True)
def put(row, voxels, first, stop, plane):
    """Write the lanes of `row` to plane[voxels[first:stop]]."""
    n = stop - first
    begin = voxels[first]
    if voxels[stop - 1] - begin == n - 1:
        run = plane[begin : begin + n]
        for lane in range(n):
            run[lane] = row[lane]
    else:
        for lane in range(n):
            plane[voxels[first + lane]] = row[lane]


@njit(cache=True, nogil=True)
def blank(begin, end, flag, planes, flags):
    """Not a number in every plane of [begin, end), and the flag that says why.

    planes : (n_planes, n_voxels); flags : (n_voxels,) uint16
    """
    for plane in range(planes.shape[0]):
        run = planes[plane, begin:end]
        for lane in range(end - begin):
            run[lane] = np.nan
    marks = flags[begin:end]
    for lane in range(end - begin):
        marks[lane] = flag


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written, so that a kernel meets one type of array from every caller."""
    view = array.view()
    view.setflags(write=False)
    return view
