"""Regions on a grid: layers, voxel lists, reordering and resampling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from imgtheranostics.errors import GeometryMismatch, NothingUsable
from imgtheranostics.regions import Regions
from imgtheranostics.volume import AxisMatch, Grid, Volume

REORDERINGS = [
    AxisMatch(order, flips)
    for order in itertools.permutations((0, 1, 2))
    for flips in itertools.product((False, True), repeat=3)
]
"""The 48 ways to store one grid."""


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def oblique_grid(shape=(7, 5, 4), spacing=(1.5, 2.0, 3.25), angles=(0.3, -0.2, 0.5), origin=(-20.0, 13, 40)):
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) * np.array(spacing)
    affine[:3, 3] = origin
    return Grid(shape, affine)


def random_masks(shape, n, seed=0, density=0.3):
    rng = np.random.default_rng(seed)
    return {f"r{number}": rng.random(shape) < density for number in range(n)}


def test_overlapping_masks_lie_in_layers_and_come_back_unchanged():
    grid = oblique_grid()
    masks = random_masks(grid.shape, 4)
    regions = Regions.from_masks(masks, grid)
    assert list(regions) == list(masks)
    for name, mask in masks.items():
        assert np.array_equal(regions.mask(name), mask)


def test_masks_that_do_not_overlap_share_one_layer():
    grid = oblique_grid()
    left, right = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    left[:3], right[3:] = True, True
    assert Regions.from_masks({"left": left, "right": right}, grid).labels.shape == (*grid.shape, 1)
    right[2] = True
    assert Regions.from_masks({"left": left, "right": right}, grid).labels.shape == (*grid.shape, 2)


def test_nan_in_a_mask_is_outside():
    grid = oblique_grid()
    mask = np.zeros(grid.shape)
    mask[0, 0, 0], mask[1, 1, 1] = np.nan, 2.5
    assert np.argwhere(Regions.from_masks({"a": mask}, grid).mask("a")).tolist() == [[1, 1, 1]]


def test_no_mask_at_all_is_refused():
    with pytest.raises(NothingUsable):
        Regions.from_masks({}, oblique_grid())


def test_a_mask_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(GeometryMismatch) as caught:
        Regions.from_masks({"a": np.ones((7, 5, 3))}, oblique_grid())
    assert caught.value.found == "(7, 5, 3)"
    assert caught.value.needed == "(7, 5, 4)"


@pytest.mark.parametrize(
    ("names", "message"),
    [({0: "a"}, "background"), ({-3: "a"}, "positive"), ({1: "a", 2: "a"}, "repeat")],
)
def test_names_that_no_table_could_hold_are_refused(names, message):
    grid = oblique_grid()
    with pytest.raises(ValueError, match=message):
        Regions(np.zeros(grid.shape, np.int32), names, grid)


def test_an_unknown_name_says_which_names_there_are():
    regions = Regions.from_masks(random_masks((7, 5, 4), 2), oblique_grid())
    with pytest.raises(KeyError, match="r0, r1"):
        regions.mask("liver")


def test_the_array_that_was_given_stays_writable():
    labels = np.zeros((7, 5, 4), np.int32, order="F")
    regions = Regions(labels, {1: "a"}, oblique_grid())
    labels[0, 0, 0] = 1
    assert labels.flags.writeable
    assert not regions.labels.flags.writeable


@given(n=st.integers(1, 5), seed=st.integers(0, 2**31), density=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_voxel_lists_are_the_flat_fortran_indices_that_numpy_finds(n, seed, density):
    grid = oblique_grid()
    masks = random_masks(grid.shape, n, seed, density)
    lists = Regions.from_masks(masks, grid).voxel_lists()
    for found, mask in zip(lists, masks.values(), strict=True):
        assert found.dtype == np.int64
        assert np.array_equal(found, np.flatnonzero(mask.ravel(order="F")))


@given(seed=st.integers(0, 2**31), largest=st.sampled_from([3, 14175, 2_000_000]))
def test_voxel_lists_of_a_label_map_follow_its_numbers_and_ignore_unnamed_ones(seed, largest):
    grid = oblique_grid()
    rng = np.random.default_rng(seed)
    numbers = [1, 2, largest]
    labels = rng.choice([0, *numbers], size=grid.shape)
    names = {largest: "big", 1: "one", 99: "absent"}
    lists = Regions(labels, names, grid).voxel_lists()
    flat = labels.ravel(order="F")
    for found, number in zip(lists, names, strict=True):
        assert np.array_equal(found, np.flatnonzero(flat == number))


def test_voxel_lists_make_the_same_regions_again():
    grid = oblique_grid()
    masks = random_masks(grid.shape, 3)
    regions = Regions.from_masks(masks, grid)
    again = Regions.from_voxel_lists(dict(zip(regions, regions.voxel_lists(), strict=True)), grid)
    assert np.array_equal(again.labels, regions.labels)
    assert again.names == regions.names


def test_a_number_in_two_layers_is_one_region_in_masks_and_lists():
    grid = oblique_grid()
    labels = np.zeros((*grid.shape, 2), np.int32)
    labels[0, 0, 0, 0] = labels[1, 0, 0, 1] = 1
    regions = Regions(labels, {1: "a"}, grid)
    assert regions.voxel_lists()[0].tolist() == [0, 1]
    assert regions.mask("a").sum() == 2


@pytest.mark.parametrize("match", REORDERINGS)
def test_every_order_of_the_axes_fits_back_without_interpolation(match):
    grid = oblique_grid()
    masks = random_masks(grid.shape, 3)
    regions = Regions.from_masks(masks, grid)
    stored = regions.reordered(match)
    back = stored.fit_to(grid)
    assert grid.same_as(back.grid)
    assert np.array_equal(back.labels, regions.labels)
    assert back.names == regions.names


@given(
    match=st.sampled_from(REORDERINGS),
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    seed=st.integers(0, 2**31),
)
def test_a_reordered_region_keeps_its_place_in_the_patient(match, angles, spacing, seed):
    grid = oblique_grid(spacing=spacing, angles=angles)
    masks = random_masks(grid.shape, 1, seed)
    regions = Regions.from_masks(masks, grid)
    stored = regions.reordered(match)
    before = grid.world_mm(np.argwhere(regions.mask("r0")))
    after = stored.grid.world_mm(np.argwhere(stored.mask("r0")))
    order = [np.lexsort(np.round(points, 6).T) for points in (before, after)]
    assert np.allclose(before[order[0]], after[order[1]], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a: a + np.array([[0, 0, 0, 2.0]] + [[0] * 4] * 3), "origin"),
        (lambda a: a @ np.diag([1.1, 1, 1, 1]), "spacing"),
        (
            lambda a: np.vstack([np.hstack([rotation((0.1, 0, 0)) @ a[:3, :3], a[:3, 3:]]), a[3:]]),
            "direction",
        ),
    ],
)
def test_regions_on_another_grid_are_refused_with_what_differs(change, word):
    grid = oblique_grid()
    regions = Regions.from_masks(random_masks(grid.shape, 1), Grid(grid.shape, change(grid.affine)))
    with pytest.raises(GeometryMismatch) as caught:
        regions.fit_to(grid)
    assert word in caught.value.found
    assert "--resample-rois" in caught.value.next_step


def test_a_displacement_within_the_tolerance_fits():
    grid = oblique_grid()
    affine = grid.affine.copy()
    affine[0, 3] += 0.5 * grid.default_tolerance_mm()
    regions = Regions.from_masks(random_masks(grid.shape, 1), Grid(grid.shape, affine))
    assert regions.fit_to(grid) is regions


@given(
    angles=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    shift=st.tuples(*[st.floats(-4, 4)] * 3),
    seed=st.integers(0, 2**31),
)
def test_resampling_agrees_with_scipy_nearest_away_from_voxel_borders(angles, shift, seed):
    here = oblique_grid(shape=(9, 8, 7))
    there = oblique_grid(
        shape=(6, 7, 8), spacing=(2.1, 1.7, 2.3), angles=angles, origin=np.add((-20.0, 13, 40), shift)
    )
    labels = np.random.default_rng(seed).integers(0, 4, here.shape)
    regions = Regions(labels, {1: "a", 2: "b", 3: "c"}, here).resampled(there)
    index = here.index(there.world_mm(np.moveaxis(np.indices(there.shape), 0, -1)))
    expected = map_coordinates(labels, np.moveaxis(index, -1, 0), order=0, mode="grid-constant", cval=0)
    clear = (np.abs(np.abs(index - np.rint(index)) - 0.5) > 1e-6).all(axis=-1)
    assert np.array_equal(regions.labels[..., 0][clear], expected[clear])


def test_resampling_agrees_with_simpleitk_on_overlapping_regions():
    here = oblique_grid(shape=(12, 11, 10))
    there = oblique_grid(shape=(15, 14, 9), spacing=(1.1, 1.3, 2.9), angles=(0.21, -0.33, 0.4))
    masks = random_masks(here.shape, 3)
    regions = Regions.from_masks(masks, here).resampled(there)
    target = Volume(np.zeros(there.shape, np.float32), there.affine, "signal", "[arb'U]").to_sitk()
    for name, mask in masks.items():
        moving = Volume(mask.astype(np.float32), here.affine, "signal", "[arb'U]").to_sitk()
        moved = SimpleITK.Resample(moving, target, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
        assert np.array_equal(regions.mask(name), SimpleITK.GetArrayFromImage(moved).T > 0.5)


def test_resampling_says_so():
    grid = oblique_grid()
    regions = Regions.from_masks(random_masks(grid.shape, 1), oblique_grid(spacing=(1, 1, 1)))
    moved = regions.resampled(grid)
    assert [caution.code for caution in moved.warnings] == ["regions-resampled"]
    assert [step.name for step in moved.history] == ["resample_regions"]


def test_resampling_to_a_reordered_grid_does_not_interpolate():
    grid = oblique_grid()
    regions = Regions.from_masks(random_masks(grid.shape, 2), grid)
    match = AxisMatch((2, 0, 1), (True, False, True))
    moved = regions.resampled(match.apply_to_grid(grid))
    assert moved.warnings == ()
    assert np.array_equal(moved.labels, match.apply_to_array(regions.labels))


def test_the_union_of_a_subset_holds_no_other_region():
    masks = {name: np.zeros((4, 3, 2), bool) for name in ("water", "air")}
    masks["water"][0], masks["air"][3] = True, True
    regions = Regions.from_masks(masks, Grid((4, 3, 2), np.eye(4)))
    np.testing.assert_array_equal(regions.subset(["air"]).union(), masks["air"])
    np.testing.assert_array_equal(regions.union(), masks["water"] | masks["air"])
