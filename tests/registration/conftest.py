"""A small body whose place is known: smooth-edged ellipsoids, evaluated where a transform puts them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from imgtheranostics.volume import Volume

SHAPE, SPACING = (40, 36, 16), np.array([1.0, 1.0, 1.8])
ARBITRARY = "[arb'U]"
ELLIPSOIDS = (
    ((0, 0, 0), (16, 12, 12)),
    ((5, 4, 2), (4, 4, 5)),
    ((-6, -4, -4), (5, 3, 4)),
    ((2, -6, 4), (3, 3, 4)),
    ((-7, 5, 3), (3, 2.5, 4)),
)
"""Centre and half axes in mm."""


def placed(shape, spacing):
    """An affine with the middle of the grid at 0 and axes that are not those of the world."""
    turn = np.array([[0, -1.0, 0], [-1.0, 0, 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


@pytest.fixture(scope="session")
def rigid():
    """Turn about S, then a shift: where points of the body go."""

    def matrix_of(shift_mm=(0, 0, 0), turn_deg=0.0):
        cosine, sine = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
        matrix = np.eye(4)
        matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
        matrix[:3, 3] = shift_mm
        return matrix

    return matrix_of


@pytest.fixture(scope="session")
def body():
    """A noisy image of the body after a matrix moved it: ``body(matrix, contrast)``; its own noise each."""

    def image(
        matrix=None,
        contrast=(1.0, 1.0, -0.6, 2.0, 1.5),
        *,
        snr=30.0,
        shape=SHAPE,
        spacing=SPACING,
        warp=None,
        seed=0,
    ):
        affine = placed(shape, spacing)
        points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        back = np.linalg.inv(np.eye(4) if matrix is None else matrix)
        points = points @ back[:3, :3].T + back[:3, 3]
        if warp is not None:
            points = warp(points)
        data = np.zeros(shape)
        for level, (centre, radii) in zip(contrast, ELLIPSOIDS, strict=True):
            distance = np.sqrt((((points - centre) / np.array(radii)) ** 2).sum(axis=-1))
            data += level / (1.0 + np.exp(np.clip((distance - 1.0) * min(radii) / 0.5, -60, 60)))
        key = zlib.crc32(repr((np.round(back, 9).tolist(), contrast, warp is None, seed)).encode())
        rng = np.random.default_rng(key)
        data += rng.normal(scale=1.0 / snr, size=shape)
        return Volume(data, affine, "signal", ARBITRARY)

    return image
