"""Outlines along pixel edges against skimage's polygon test and against the even-odd kernel of the reader."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import points_in_poly

from imgtheranostics.io.outlines import outlines

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def parity(polygons, shape) -> np.ndarray:
    """Pixels whose centre lies inside an odd number of polygons, by skimage."""
    centres = np.argwhere(np.ones(shape, bool)).astype(float)
    inside = np.zeros(len(centres), int)
    for polygon in polygons:
        inside += points_in_poly(centres, polygon)
    return (inside % 2).astype(bool).reshape(shape)


def area(polygon) -> float:
    """Area by the shoelace formula, signed by the sense of rotation."""
    x, y = polygon.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def test_one_pixel_is_a_unit_square_about_its_centre():
    (square,) = outlines(np.array([[True]]))
    assert {tuple(corner) for corner in square} == {(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)}
    assert abs(area(square)) == 1.0


def test_a_ring_is_two_polygons_and_straight_edges_have_no_points_between():
    mask = np.ones((7, 5), bool)
    mask[2:5, 1:4] = False
    outer, inner = sorted(outlines(mask), key=lambda polygon: -abs(area(polygon)))
    assert (len(outer), len(inner)) == (4, 4)
    assert (abs(area(outer)), abs(area(inner))) == (35.0, 9.0)


@pytest.mark.parametrize("mask", [np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]])
def test_pixels_that_touch_at_a_corner_have_polygons_of_their_own(mask):
    assert [abs(area(polygon)) for polygon in outlines(mask)] == [1.0, 1.0]


def test_nothing_has_no_outline():
    assert outlines(np.zeros((3, 4), bool)) == []


@given(mask=masks)
def test_even_odd_filling_gives_the_mask(mask):
    assert (parity(outlines(mask), mask.shape) == mask).all()


@given(mask=masks, most=st.integers(4, 12))
def test_cut_outlines_have_few_points_and_still_fill_to_the_mask(mask, most):
    found = outlines(mask, most_points=most)
    assert all(len(polygon) <= most for polygon in found)
    assert (parity(found, mask.shape) == mask).all()


@given(mask=masks)
def test_areas_of_parts_less_those_of_holes_are_the_number_of_pixels(mask):
    """A hole turns the other way round than a part where every step keeps the inside on one side."""
    centres = np.argwhere(mask)
    total = 0.0
    for polygon in outlines(mask):
        low = polygon.min(axis=0)
        first = polygon[(polygon == [low[0], polygon[polygon[:, 0] == low[0], 1].min()]).all(axis=1)][0]
        hole = not mask[int(first[0] + 0.5), int(first[1] + 0.5)]
        total += -abs(area(polygon)) if hole else abs(area(polygon))
    assert total == len(centres)


@given(mask=masks)
def test_edges_run_along_pixels_and_no_point_lies_on_a_straight_edge(mask):
    for polygon in outlines(mask):
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert ((steps != 0).sum(axis=1) == 1).all()
        along_x = steps[:, 0] != 0
        assert (along_x != np.roll(along_x, 1)).all()
        assert ((polygon - 0.5) == np.rint(polygon - 0.5)).all()
