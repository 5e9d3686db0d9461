"""Contours in patient coordinates on grids of any orientation."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.io.contours import voxels_in_contours
from imgtheranostics.regions import Regions
from imgtheranostics.volume import AxisMatch, Grid

AXIAL = np.diag([-2.0, -2.0, 3.0, 1.0])
"""The affine of an axial DICOM series: columns to the patient's left, rows to the back, slices upwards."""


def rotated(angles, spacing=(2.0, 2.5, 3.0), shape=(30, 28, 12)):
    a, b, c = angles
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = x @ y @ z * np.array(spacing)
    affine[:3, 3] = (-12.0, 34.0, 5.0)
    return Grid(shape, affine)


def square(grid, low, high, k):
    """The contour around voxels low..high-1 of slice k, through the borders between voxels."""
    (a, b), (c, d) = low, high
    corners = [(a, b, k), (c, b, k), (c, d, k), (a, d, k)]
    return grid.world_mm(np.array(corners) - np.array([0.5, 0.5, 0]))


def masks_of(contours, grid, **options):
    voxels, cautions = voxels_in_contours(contours, grid, **options)
    regions = Regions.from_voxel_lists(voxels, grid)
    return {name: regions.mask(name) for name in regions}, [caution.code for caution in cautions]


@given(angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3))
def test_a_box_on_an_oblique_grid_is_the_voxels_it_was_drawn_around(angles):
    grid = rotated(angles)
    contours = [square(grid, (4, 6), (11, 20), k) for k in range(3, 8)]
    masks, codes = masks_of({"box": contours}, grid)
    expected = np.zeros(grid.shape, bool)
    expected[4:11, 6:20, 3:8] = True
    assert np.array_equal(masks["box"], expected)
    assert codes == []


@given(angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3), radius=st.floats(4, 20))
def test_a_ball_holds_the_voxels_whose_centre_is_nearer_than_its_radius(angles, radius):
    grid = rotated(angles, spacing=(2.0, 2.0, 2.0), shape=(30, 30, 30))
    centre = np.array([14.3, 14.7, 14.1])
    turn = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    contours = []
    for k in range(30):
        squared = (radius / 2) ** 2 - (k - centre[2]) ** 2
        if squared > 0:
            circle = np.sqrt(squared) * np.stack([np.cos(turn), np.sin(turn)], axis=1) + centre[:2]
            contours.append(grid.world_mm(np.column_stack([circle, np.full(turn.size, k)])))
    masks, _ = masks_of({"ball": contours}, grid)
    distance = 2 * np.linalg.norm(np.moveaxis(np.indices(grid.shape), 0, -1) - centre, axis=-1)
    clear = np.abs(distance - radius) > 1e-3
    assert np.array_equal(masks["ball"][clear], (distance < radius)[clear])


@pytest.mark.parametrize(
    "match",
    [
        AxisMatch(order, flips)
        for order in itertools.permutations((0, 1, 2))
        for flips in itertools.product((False, True), repeat=3)
    ],
)
def test_the_voxels_do_not_depend_on_the_order_in_which_a_grid_stores_them(match):
    grid = Grid((20, 18, 6), AXIAL)
    through_centres = [(3, 4, 2), (9, 4, 2), (12, 8, 2), (9, 13, 2), (3, 13, 2)]
    contours = [grid.world_mm(through_centres), grid.world_mm(np.add(through_centres, (0, 0, 1)))]
    stored = match.apply_to_grid(grid)
    masks, _ = masks_of({"a": contours}, stored)
    back = Regions.from_masks(masks, stored).fit_to(grid)
    expected, _ = masks_of({"a": contours}, grid)
    assert np.array_equal(back.mask("a"), expected["a"])
    assert back.mask("a")[3, 4, 2]
    assert not back.mask("a")[3, 13, 2]


def test_hole_island_and_second_contour_of_a_slice():
    grid = rotated((0.2, 0.3, -0.1))
    contours = [
        square(grid, (2, 2), (20, 20), 4),
        square(grid, (5, 5), (15, 15), 4),
        square(grid, (8, 8), (12, 12), 4),
        square(grid, (22, 3), (26, 9), 4),
    ]
    masks, codes = masks_of({"a": contours}, grid)
    expected = np.zeros(grid.shape, bool)
    expected[2:20, 2:20, 4] = True
    expected[5:15, 5:15, 4] = False
    expected[8:12, 8:12, 4] = True
    expected[22:26, 3:9, 4] = True
    assert np.array_equal(masks["a"], expected)
    assert codes == []


def test_crossing_contours_carry_a_caution():
    grid = rotated((0, 0, 0))
    _, codes = masks_of({"a": [square(grid, (2, 2), (10, 10), 4), square(grid, (6, 6), (14, 14), 4)]}, grid)
    assert codes == ["contours-cross"]


def test_a_contour_that_is_there_twice_does_not_cancel_itself():
    grid = rotated((0, 0, 0))
    masks, codes = masks_of({"a": [square(grid, (2, 2), (10, 10), 4)] * 2}, grid)
    assert masks["a"].sum() == 64
    assert codes == ["contours-repeat"]


def test_contours_that_are_not_parallel_to_slices_are_refused():
    drawn = rotated((0, 0, 0))
    with pytest.raises(GeometryMismatch) as caught:
        voxels_in_contours({"a": [square(drawn, (2, 2), (20, 20), 4)]}, rotated((0.2, 0, 0)), where="rs.dcm")
    assert "parallel" in caught.value.what
    assert caught.value.where == "rs.dcm"


def test_contours_between_slices_are_refused_unless_resampling_is_asked_for():
    grid = rotated((0.1, 0.2, 0.3))
    contours = {"a": [square(grid, (4, 6), (11, 20), k + 0.3) for k in range(3, 8)]}
    with pytest.raises(GeometryMismatch) as caught:
        voxels_in_contours(contours, grid)
    assert "0.9 mm" in caught.value.found
    masks, codes = masks_of(contours, grid, resample=True)
    assert codes == ["contours-between-slices"]
    assert masks["a"].sum(axis=(0, 1)).tolist() == [0, 0, 0, 98, 98, 98, 98, 98, 0, 0, 0, 0]


def test_resampled_contours_of_a_finer_stack_keep_their_volume():
    grid = rotated((0, 0, 0), spacing=(2, 2, 3), shape=(30, 28, 40))
    heights = np.arange(15.0, 75.0, 1.0)
    contours = [square(grid, (4, 6), (11, 20), height / 3 + 0.15) for height in heights]
    masks, _ = masks_of({"a": contours}, grid, resample=True)
    volume_ml = masks["a"].sum() * grid.voxel_volume_ml
    assert volume_ml == pytest.approx(7 * 2 * 14 * 2 * 60 / 1000, rel=0.06)
    assert set(masks["a"].sum(axis=(0, 1)).tolist()) == {0, 98}


def test_slices_without_a_contour_inside_a_region_are_pointed_out():
    grid = rotated((0, 0, 0))
    masks, codes = masks_of({"a": [square(grid, (2, 2), (10, 10), k) for k in (2, 4, 6)]}, grid)
    assert codes == ["contour-gaps"]
    assert np.flatnonzero(masks["a"].any(axis=(0, 1))).tolist() == [2, 4, 6]


def test_contours_partly_outside_say_how_much():
    grid = rotated((0, 0, 0))
    contours = [square(grid, (-5, 2), (10, 10), 4), square(grid, (2, 2), (10, 10), 40)]
    voxels, cautions = voxels_in_contours({"a": contours}, grid)
    assert voxels["a"].size == 80
    assert {caution.code for caution in cautions} == {"contours-outside-image", "contour-gaps"}
    assert any("75 %" in caution.message for caution in cautions)


def test_contours_wholly_outside_are_refused():
    grid = rotated((0, 0, 0))
    with pytest.raises(GeometryMismatch, match="outside the image"):
        voxels_in_contours({"a": [square(grid, (2, 2), (10, 10), 400)], "b": []}, grid)


def test_a_region_without_contours_is_empty_beside_one_that_has_some():
    grid = rotated((0, 0, 0))
    masks, codes = masks_of({"none": [], "some": [square(grid, (2, 2), (10, 10), 4)]}, grid)
    assert masks["none"].sum() == 0
    assert masks["some"].sum() == 64
    assert codes == []


def test_a_region_smaller_than_a_voxel_is_empty_with_a_caution():
    grid = rotated((0, 0, 0))
    small = grid.world_mm([(4.2, 4.2, 3), (4.8, 4.2, 3), (4.8, 4.8, 3)])
    masks, codes = masks_of({"dot": [small]}, grid)
    assert masks["dot"].sum() == 0
    assert codes == ["region-below-voxel-size"]


def test_hundreds_of_contours_take_well_under_a_second():
    """Processor time, which a busy machine does not lengthen."""
    grid = Grid((256, 256, 300), AXIAL)
    turn = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    circle = np.column_stack([128 + 80 * np.cos(turn), 128 + 80 * np.sin(turn)])
    contours = {
        name: [grid.world_mm(np.column_stack([circle, np.full(turn.size, k)])) for k in range(300)]
        for name in ("a", "b")
    }
    voxels_in_contours({"a": contours["a"][:1]}, grid)
    start = time.process_time()
    voxels, _ = voxels_in_contours(contours, grid)
    assert time.process_time() - start < 1.0
    assert voxels["a"].size == pytest.approx(300 * np.pi * 80**2, rel=3e-3)
