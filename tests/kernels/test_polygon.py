"""Even-odd scan conversion against matplotlib, scikit-image and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from skimage.draw import polygon2mask

from imgtheranostics.kernels.polygon import fill_even_odd

SHAPE = (40, 30)


def filled(*polygons, shape=SHAPE):
    points = np.concatenate([np.asarray(polygon, float) for polygon in polygons])
    first = np.concatenate([[0], np.cumsum([len(polygon) for polygon in polygons])])
    plane = np.zeros(shape[::-1], np.uint8)
    fill_even_odd(np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1]), first, plane)
    return plane.T.astype(bool)


def star(seed, n):
    """A polygon that does not cross itself."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.uniform(3, 25, n)
    centre = rng.uniform((5, 5), (35, 25))
    return centre + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def clear_of(polygon):
    """Where a voxel centre lies farther from the outline than the distance that counts as on it."""
    centres = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1).astype(float)
    nearest = np.full(SHAPE, np.inf)
    for start, stop in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = stop - start
        part = np.clip((centres - start) @ along / (along @ along), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(centres - start - part[..., None] * along, axis=-1))
    return nearest > 3e-5


@given(seed=st.integers(0, 2**31), n=st.integers(3, 40))
def test_random_polygons_fill_as_matplotlib_does(seed, n):
    polygon = star(seed, n)
    centres = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1).reshape(-1, 2)
    crossings = Outline(np.vstack([polygon, polygon[:1]]))
    expected = crossings.contains_points(centres).reshape(SHAPE)
    assert not ((filled(polygon) != expected) & clear_of(polygon)).any()


@given(seed=st.integers(0, 2**31), n=st.integers(3, 40))
def test_random_polygons_fill_as_scikit_image_does(seed, n):
    polygon = star(seed, n)
    assert not ((filled(polygon) != polygon2mask(SHAPE, polygon)) & clear_of(polygon)).any()


@given(seed=st.integers(0, 2**31), n=st.integers(3, 12))
def test_self_crossing_polygons_count_crossings_of_a_ray(seed, n):
    polygon = np.random.default_rng(seed).uniform((-10, -10), (50, 40), (n, 2))
    a, b = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    odd = np.zeros(SHAPE, bool)
    for (xa, ya), (xb, yb) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        odd ^= ((ya > b) != (yb > b)) & (a > xa + (b - ya) * (xb - xa) / (yb - ya))
    assert not ((filled(polygon) != odd) & clear_of(polygon)).any()


def test_the_lower_edges_belong_to_a_rectangle_and_the_upper_ones_do_not():
    inside = filled([(2, 3), (7, 3), (7, 9), (2, 9)])
    expected = np.zeros(SHAPE, bool)
    expected[2:7, 3:9] = True
    assert np.array_equal(inside, expected)


@given(seed=st.integers(0, 2**31))
def test_triangles_that_share_edges_cover_each_centre_once(seed):
    rng = np.random.default_rng(seed)
    hub = rng.integers((5, 5), (35, 25))
    corners = [(0, 0), (20, 0), (40, 0), (40, 15), (40, 30), (20, 30), (0, 30), (0, 15)]
    cover = sum(
        filled([hub, corner, following]).astype(int)
        for corner, following in zip(corners, corners[1:] + corners[:1], strict=True)
    )
    assert np.array_equal(cover, np.ones(SHAPE, int))


@pytest.mark.parametrize("noise", [-4e-6, -1e-9, 1e-9, 4e-6])
def test_rounding_of_coordinates_does_not_move_an_edge_off_a_centre(noise):
    square = np.array([(2, 3), (7, 3), (7, 9), (2, 9)], float)
    assert np.array_equal(filled(square + noise), filled(square))


def test_a_hole_is_the_same_as_two_contours_and_as_a_keyhole():
    outer = [(2.5, 2.5), (30.5, 2.5), (30.5, 25.5), (2.5, 25.5)]
    inner = [(10.5, 8.5), (20.5, 8.5), (20.5, 18.5), (10.5, 18.5)]
    keyhole = [*outer, outer[0], *inner[::-1], inner[-1], outer[0]]
    expected = np.zeros(SHAPE, bool)
    expected[3:31, 3:26] = True
    expected[11:21, 9:19] = False
    assert np.array_equal(filled(outer, inner), expected)
    assert np.array_equal(filled(outer, inner[::-1]), expected)
    assert np.array_equal(filled(keyhole), expected)


def test_an_island_in_a_hole_is_inside():
    squares = [
        [(low, low), (high, low), (high, high), (low, high)] for low, high in ((1, 29), (6, 24), (11, 19))
    ]
    inside = filled(*squares)
    assert inside[2, 2]
    assert not inside[8, 8]
    assert inside[15, 15]


@pytest.mark.parametrize("far", [1e3, 1e9, 1e30, 1e200])
def test_a_polygon_far_beyond_the_plane_fills_all_of_it_at_once(far):
    assert filled([(-far, -far), (far, -far), (far, far), (-far, far)]).all()
    assert not filled([(far, far), (2 * far, far), (2 * far, 2 * far)]).any()


def test_a_line_and_a_point_enclose_nothing():
    assert not filled([(3, 3), (20, 20), (3, 3)]).any()
    assert not filled([(3, 3)]).any()
