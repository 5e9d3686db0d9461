"""A plane beneath a rigid motion, compared with the reference tile by tile; images made ready for that."""

from __future__ import annotations

import numpy as np
from numba import njit

N_SUMS = 6
"""Per tile: grey, its square, and its products with the four columns of the basis."""


@njit(cache=True, nogil=True)
def binned(image, factor, out):
    """Mean of each block of ``factor * factor`` pixels; what is left over at the far edges is dropped.

    image : (ny, nx) float32
    factor : int
    out : (ny // factor, nx // factor) float32
    """
    scale = np.float32(1.0 / (factor * factor))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            total = np.float32(0.0)
            for dy in range(factor):
                for dx in range(factor):
                    total += image[y * factor + dy, x * factor + dx]
            out[y, x] = total * scale


@njit(cache=True, nogil=True)
def smoothed(image, row, out):
    """Weights 1, 2, 1 along both directions; edges go on as they are.

    image : (ny, nx) float32
    row : (nx,) float32, workspace
    out : (ny, nx) float32, may be `image` nowhere
    """
    ny, nx = image.shape
    quarter, half = np.float32(0.25), np.float32(0.5)
    for y in range(ny):
        above, below = image[max(y - 1, 0)], image[min(y + 1, ny - 1)]
        here = image[y]
        for x in range(nx):
            row[x] = quarter * (above[x] + below[x]) + half * here[x]
        for x in range(nx):
            out[y, x] = quarter * (row[max(x - 1, 0)] + row[min(x + 1, nx - 1)]) + half * row[x]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def tile_sums(image, places, basis, first, motion, sums, outside):
    """Sums over tiles of an image under a motion: all that a comparison with the reference needs.

    Between pixels the image is a cubic convolution (Catmull and Rom); beyond its edges it goes on.

    image : (ny, nx) float32
    places : (n, 2) int32, x and y of the pixels of all tiles, tile after tile
    basis : (4, n) float32
    first : (n_tiles + 1,) int64, where each tile begins
    motion : (2, 3) float64, from a pixel (x, y, 1) of the reference to the place (x, y) in the image
    sums : (n_tiles, 6) float64
    outside : (n_tiles,) int64, pixels whose place lies outside the image
    """
    ny, nx = image.shape
    flat = image.reshape(image.size)
    longest = 0
    for tile in range(outside.size):
        longest = max(longest, first[tile + 1] - first[tile])
    values = np.empty(longest, np.float32)
    for tile in range(outside.size):
        begin, end = first[tile], first[tile + 1]
        beyond = 0
        for n in range(begin, end):
            x, y = np.float64(places[n, 0]), np.float64(places[n, 1])
            u = motion[0, 0] * x + motion[0, 1] * y + motion[0, 2]
            v = motion[1, 0] * x + motion[1, 1] * y + motion[1, 2]
            if u >= 1.0 and v >= 1.0 and u < nx - 2 and v < ny - 2:
                i, j = np.int64(u), np.int64(v)
                values[n - begin] = _inner(flat, nx, i, j, np.float32(u - i), np.float32(v - j))
                continue
            if not (u >= 0.0 and v >= 0.0 and u <= nx - 1 and v <= ny - 1):
                beyond += 1
                u, v = min(max(u, 0.0), nx - 1.0), min(max(v, 0.0), ny - 1.0)
            i, j = np.int64(u), np.int64(v)
            values[n - begin] = _between(image, i, j, np.float32(u - i), np.float32(v - j))
        _add_up(values[: end - begin], basis[:, begin:end], sums[tile])
        outside[tile] = beyond


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _add_up(values, basis, sums):
    s0 = s1 = s2 = s3 = s4 = s5 = 0.0
    b0, b1, b2, b3 = basis[0], basis[1], basis[2], basis[3]
    for n in range(values.size):
        value = np.float64(values[n])
        s0 += value
        s1 += value * value
        s2 += value * b0[n]
        s3 += value * b1[n]
        s4 += value * b2[n]
        s5 += value * b3[n]
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = s0, s1, s2, s3, s4, s5


@njit(cache=True, nogil=True)
def add_moved(image, motion, total, count):
    """Add an image under a motion to a sum, where it reaches.

    image, total : (ny, nx) float32
    motion : (2, 3) float64, from a pixel (x, y, 1) of the sum to the place (x, y) in the image
    count : (ny, nx) float32, images that reach each pixel
    """
    ny, nx = image.shape
    for y in range(ny):
        for x in range(nx):
            u = motion[0, 0] * x + motion[0, 1] * y + motion[0, 2]
            v = motion[1, 0] * x + motion[1, 1] * y + motion[1, 2]
            if u >= 0.0 and v >= 0.0 and u <= nx - 1 and v <= ny - 1:
                i, j = np.int64(u), np.int64(v)
                total[y, x] += _between(image, i, j, np.float32(u - i), np.float32(v - j))
                count[y, x] += np.float32(1.0)


@njit(cache=True, nogil=True, inline="always")
def _weights(f):
    """Cubic convolution at a distance `f` from the second of four neighbours."""
    half, two, three = np.float32(0.5), np.float32(2.0), np.float32(3.0)
    four, five = np.float32(4.0), np.float32(5.0)
    f2 = f * f
    f3 = f2 * f
    return (
        half * (two * f2 - f3 - f),
        half * (three * f3 - five * f2 + two),
        half * (four * f2 - three * f3 + f),
        half * (f3 - f2),
    )


@njit(cache=True, nogil=True, inline="always")
def _between(image, i, j, f, g):
    """The image at column ``i + f`` and row ``j + g``."""
    ny, nx = image.shape
    a0, a1, a2, a3 = _weights(f)
    b0, b1, b2, b3 = _weights(g)
    i0, i2, i3 = max(i - 1, 0), min(i + 1, nx - 1), min(i + 2, nx - 1)
    j0, j2, j3 = max(j - 1, 0), min(j + 1, ny - 1), min(j + 2, ny - 1)
    r0 = a0 * image[j0, i0] + a1 * image[j0, i] + a2 * image[j0, i2] + a3 * image[j0, i3]
    r1 = a0 * image[j, i0] + a1 * image[j, i] + a2 * image[j, i2] + a3 * image[j, i3]
    r2 = a0 * image[j2, i0] + a1 * image[j2, i] + a2 * image[j2, i2] + a3 * image[j2, i3]
    r3 = a0 * image[j3, i0] + a1 * image[j3, i] + a2 * image[j3, i2] + a3 * image[j3, i3]
    return b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3


@njit(cache=True, nogil=True, inline="always")
def _inner(flat, nx, i, j, f, g):
    """The same where all neighbours lie inside; whole numbers without sign spare a test of each index."""
    a0, a1, a2, a3 = _weights(f)
    b0, b1, b2, b3 = _weights(g)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    p0 = np.uint64((j - 1) * nx + i - 1)
    p1 = p0 + np.uint64(nx)
    p2 = p1 + np.uint64(nx)
    p3 = p2 + np.uint64(nx)
    r0 = a0 * flat[p0] + a1 * flat[p0 + one] + a2 * flat[p0 + two] + a3 * flat[p0 + three]
    r1 = a0 * flat[p1] + a1 * flat[p1 + one] + a2 * flat[p1 + two] + a3 * flat[p1 + three]
    r2 = a0 * flat[p2] + a1 * flat[p2 + one] + a2 * flat[p2 + two] + a3 * flat[p2 + three]
    r3 = a0 * flat[p3] + a1 * flat[p3 + one] + a2 * flat[p3 + two] + a3 * flat[p3 + three]
    return b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3
