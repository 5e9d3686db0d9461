"""Sampling in world coordinates: right for every affine, in the radiological convention."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.spatial.transform import Rotation

from imgtheranostics.regions import Regions
from imgtheranostics.report.figures import planes
from imgtheranostics.report.figures.planes import AXIAL, CORONAL, SAGITTAL, Plane
from imgtheranostics.volume import Grid

NORMALS = st.sampled_from([SAGITTAL, CORONAL, AXIAL])


@st.composite
def grids(draw):
    shape = tuple(draw(st.integers(4, 14)) for _ in range(3))
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    spacing = np.array([draw(st.floats(0.3, 5.0)) for _ in range(3)])
    signs = np.array([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * (spacing * signs)
    affine[0, 1] += draw(st.floats(-0.2, 0.2)) * spacing.min()
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return Grid(shape, affine)


@given(grids(), NORMALS, st.floats(0.1, 0.9))
def test_every_pixel_shows_the_voxel_at_its_place(grid, normal, share):
    """Voxels hold their own world position, so a picture must show where it is, to half a voxel."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    world = grid.world_mm(index)
    stage = planes.stage_for(grid, [])
    plane = Plane(normal, float(stage.low_mm[normal] + share * (stage.high_mm - stage.low_mm)[normal]))
    picture, inside = planes.sample(world, grid.affine, stage, plane)
    across, up = plane.in_plane
    half_voxel = 0.5 * np.abs(grid.affine[:3, :3]).sum(axis=1) * 1.01
    expected = np.empty((*inside.shape, 3))
    expected[..., normal] = plane.position_mm
    expected[..., across] = stage.centres(across)
    expected[..., up] = stage.centres(up)[:, np.newaxis]
    assert (np.abs(picture - expected) <= half_voxel)[inside].all()


def test_a_picture_is_what_nibabel_gives_after_reorientation():
    """All 48 orders and flips, against nibabel turned to L-P-I: the order of columns and rows."""
    data = np.arange(5 * 6 * 7, dtype=np.float64).reshape(5, 6, 7)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    reference = nibabel.Nifti1Image(data, affine)
    for codes in _all_codes():
        turn = ornt_transform(nibabel.io_orientation(affine), axcodes2ornt(codes))
        turned = reference.as_reoriented(turn)
        grid = Grid(turned.shape, turned.affine)
        stage = planes.stage_for(grid, [])
        lps = turned.as_reoriented(ornt_transform(axcodes2ornt(codes), axcodes2ornt(("L", "P", "I"))))
        voxels = lps.get_fdata()
        for normal in (AXIAL, CORONAL, SAGITTAL):
            slice_index = 2
            position = (lps.affine @ [slice_index, slice_index, slice_index, 1.0])[normal]
            picture, inside = planes.sample(turned.get_fdata(), grid.affine, stage, Plane(normal, position))
            # Columns run to L (P in sagittal pictures), rows downwards to P (I in the others).
            expected = voxels.take(slice_index, axis=normal).T
            assert inside.all()
            np.testing.assert_array_equal(picture, expected)


def _all_codes():
    from itertools import permutations, product

    for order in permutations(range(3)):
        for flips in product((0, 1), repeat=3):
            yield tuple(
                "RAS"[axis] if not flip else "LPI"[axis] for axis, flip in zip(order, flips, strict=True)
            )


def test_all_48_orientations_are_tried():
    assert len(set(_all_codes())) == 48
    assert inv_ornt_aff(axcodes2ornt(("R", "A", "S")), (2, 2, 2)).shape == (4, 4)


def test_letters_name_the_edges():
    assert Plane(AXIAL, 0).letters == ("R", "L", "A", "P")
    assert Plane(CORONAL, 0).letters == ("R", "L", "S", "I")
    assert Plane(SAGITTAL, 0).letters == ("A", "P", "S", "I")
    grid = Grid((4, 4, 4), np.eye(4))
    left, right, bottom, top = planes.stage_for(grid, []).extent(Plane(AXIAL, 0))
    # RAS+: the patient's right and anterior have the larger coordinates.
    assert left > right
    assert top > bottom


def test_pixels_follow_the_voxels_of_an_aligned_grid():
    stage = planes.stage_for(Grid((10, 12, 4), np.diag([-2.0, 1.5, 6.0, 1.0])), [])
    np.testing.assert_allclose(stage.pixel_mm, [2.0, 1.5, 6.0])
    assert [stage.centres(axis).size for axis in range(3)] == [10, 12, 4]


def test_large_grids_are_shown_with_every_nth_voxel():
    stage = planes.stage_for(Grid((600, 600, 900), np.eye(4)), [])
    assert all(stage.centres(axis).size <= 180 for axis in range(3))
    np.testing.assert_array_equal(stage.pixel_mm, [4.0, 4.0, 5.0])


def test_the_stage_is_cut_to_the_boxes_and_never_leaves_the_grid():
    grid = Grid((50, 50, 50), np.eye(4))
    stage = planes.stage_for(grid, [(np.array([10.5, 10.5, -9.0]), np.array([20.5, 30.5, 99.0]))])
    np.testing.assert_array_equal(stage.low_mm, [9.5, 9.5, -0.5])
    np.testing.assert_array_equal(stage.high_mm, [21.5, 31.5, 49.5])


@given(grids(), st.integers(0, 2**31))
def test_boxes_hold_every_voxel_above_the_threshold(grid, seed):
    data = (np.random.default_rng(seed).random(grid.shape) > 0.97).astype(np.float32)
    box = planes.box_of(data, grid, 0.5)
    if box is None:
        assert not data.any()
        return
    world = grid.world_mm(np.argwhere(data))
    assert (world >= box[0] - 1e-9).all()
    assert (world <= box[1] + 1e-9).all()


def test_outlines_enclose_the_area_of_the_region():
    """Marching squares at one half on a mask of m x n pixels encloses mn - 1/2 (it cuts the four corners)."""
    grid = Grid((12, 10, 3), np.diag([1.0, 1.0, 1.0, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[3:8, 2:6, 1] = True
    regions = Regions.from_masks({"box": mask}, grid)
    stage = planes.stage_for(grid, [])
    ((position, lines),) = planes.contours(regions, stage, Plane(AXIAL, 1.0))
    assert position == 0
    (line,) = lines
    x, y = line.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert area == pytest.approx(5 * 4 - 0.5)
    assert line[:, 0].min() == pytest.approx(2.5)
    assert line[:, 1].max() == pytest.approx(5.5)
    assert planes.contours(regions, stage, Plane(AXIAL, 2.0)) == []


def test_outlines_close_at_the_edge_and_regions_may_overlap():
    grid = Grid((6, 6, 1), np.eye(4))
    left, all_of_it = np.zeros(grid.shape, bool), np.ones(grid.shape, bool)
    left[:2] = True
    regions = Regions.from_masks({"left": left, "all": all_of_it}, grid)
    found = planes.contours(regions, planes.stage_for(grid, []), Plane(AXIAL, 0.0))
    assert [position for position, _ in found] == [1, 0], "the larger one first"
    for _, lines in found:
        np.testing.assert_array_equal(lines[0][0], lines[0][-1])


def test_outline_of_an_inner_region_comes_after_the_outer_one():
    """A lesion listed before the organ around it: the organ's outline must not cover it."""
    grid = Grid((12, 12, 3), np.eye(4))
    inner = np.zeros(grid.shape, bool)
    inner[5:7, 5:7] = True
    outer = np.zeros(grid.shape, bool)
    outer[2:10, 2:10] = True
    regions = Regions.from_masks({"lesion": inner, "organ": outer & ~inner}, grid)
    found = planes.contours(regions, planes.stage_for(grid, []), Plane(AXIAL, 1.0))
    assert [position for position, _ in found] == [1, 0]
