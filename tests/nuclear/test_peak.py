"""Peak in a 1 mL sphere against SciPy's convolution and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.nuclear.peak import RADIUS_MM, region_peaks, sphere_weights
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Grid, Volume


def volume(data, spacing=(2.0, 2.0, 3.0), axes=()):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.broadcast_to(spacing, (3,)))
    return Volume(data, affine, "suv_bw", "g/mL", axes)


def everywhere(v):
    return Regions.from_masks({"all": np.ones(v.grid.shape, bool)}, v.grid)


def kernel_of(grid):
    offsets, weights = sphere_weights(grid)
    reach = np.abs(offsets).max(axis=0)
    kernel = np.zeros(2 * reach + 1)
    kernel[tuple((offsets + reach).T)] = weights
    return kernel


def test_radius_is_that_of_one_millilitre():
    assert abs(RADIUS_MM - 6.2035) < 5e-5


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0, (4.7, 4.7, 3.27), (4.0, 4.0, 5.0), 6.0])
def test_weights_add_up_to_one_millilitre(spacing):
    grid = volume(np.zeros((3, 3, 3)), spacing).grid
    _, weights = sphere_weights(grid)
    assert weights.sum() * grid.voxel_volume_ml == pytest.approx(1.0, rel=0.01)
    assert weights.max() == pytest.approx(1.0, abs=0.05)
    assert weights.min() > 0


def test_weights_respect_rotation_and_shear():
    angle = 0.4
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([2.0, 3.0, 2.5])
    affine[0, 2] = 1.0
    grid = Grid((4, 4, 4), affine)
    offsets, weights = sphere_weights(grid)
    assert weights.sum() * grid.voxel_volume_ml == pytest.approx(1.0, rel=0.01)
    far = np.linalg.norm(offsets @ grid.affine[:3, :3].T, axis=1)
    assert far.max() < RADIUS_MM + np.abs(grid.affine[:3, :3]).sum()


def test_peak_is_the_largest_value_of_the_convolution():
    rng = np.random.default_rng(2)
    v = volume(rng.uniform(0, 5, (24, 22, 18)))
    kernel = kernel_of(v.grid)
    reference = ndimage.convolve(v.data.astype(float), kernel / kernel.sum(), mode="constant")
    core = np.zeros(v.grid.shape, bool)
    core[6:-6, 6:-6, 5:-5] = True
    found = region_peaks(v, Regions.from_masks({"core": core}, v.grid))
    assert found.value[0, 0] == pytest.approx(reference[core].max(), rel=1e-6)
    assert found.inside[0, 0] == pytest.approx(1.0)


def test_mean_at_the_edge_is_over_the_part_inside():
    rng = np.random.default_rng(4)
    v = volume(rng.uniform(1, 2, (16, 16, 12)))
    kernel = kernel_of(v.grid)
    total = ndimage.convolve(v.data.astype(float), kernel, mode="constant")
    used = ndimage.convolve(np.ones(v.grid.shape), kernel, mode="constant")
    mean = np.where(used >= 0.5 * kernel.sum(), total / used, -np.inf)
    found = region_peaks(v, everywhere(v))
    best = np.unravel_index(np.argmax(mean), mean.shape)
    assert found.value[0, 0] == pytest.approx(mean[best], rel=1e-6)
    assert found.inside[0, 0] == pytest.approx(used[best] / kernel.sum(), rel=1e-6)


def test_uniform_image_has_its_value_everywhere_and_clips_at_corners():
    v = volume(np.full((12, 12, 12), 3.0))
    corner = np.zeros(v.grid.shape, bool)
    corner[0, 0, 0] = True
    face = np.zeros(v.grid.shape, bool)
    face[0, 6, 6] = True
    found = region_peaks(v, Regions.from_masks({"corner": corner, "face": face}, v.grid))
    assert np.isnan(found.value[0, 0])  # an eighth of the sphere and its voxel layers are inside
    assert found.value[0, 1] == pytest.approx(3.0)
    assert 0.5 < found.inside[0, 1] < 0.8


def test_missing_voxels_are_left_out():
    data = np.full((16, 16, 12), 2.0)
    data[8, 8, 6] = np.nan
    v = volume(data)
    core = np.zeros(v.grid.shape, bool)
    core[8, 8, 6] = True
    found = region_peaks(v, Regions.from_masks({"core": core}, v.grid))
    assert found.value[0, 0] == pytest.approx(2.0)
    assert found.inside[0, 0] < 1.0
    nothing = region_peaks(volume(np.full((16, 16, 12), np.nan)), Regions.from_masks({"core": core}, v.grid))
    assert np.isnan(nothing.value).all()


def test_small_hot_spot_has_the_share_of_its_volume():
    data = np.zeros((31, 31, 31))
    data[15, 15, 15] = 100.0
    v = volume(data, 1.0)
    assert region_peaks(v, everywhere(v)).value[0, 0] == pytest.approx(100.0 * 1e-3, rel=0.01)


def test_each_frame_and_region_has_its_own_peak():
    data = np.zeros((20, 20, 16, 3))
    data[..., 0], data[..., 1], data[:10, ..., 2] = 1.0, 2.0, 5.0
    v = volume(data, 3.0, (Axis("time", [0.0, 1.0, 2.0], "s"),))
    left, right = np.zeros(v.grid.shape, bool), np.zeros(v.grid.shape, bool)
    left[3:6, 8:12, 6:10], right[14:17, 8:12, 6:10] = True, True
    found = region_peaks(v, Regions.from_masks({"left": left, "right": right}, v.grid))
    assert found.value == pytest.approx(np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 0.0]]))


@pytest.mark.parametrize("spacing", [10.1, (2.0, 2.0, 13.0)])
def test_voxels_larger_than_the_sphere_are_refused(spacing):
    v = volume(np.ones((4, 4, 4)), spacing)
    with pytest.raises(GeometryMismatch, match="larger than"):
        region_peaks(v, everywhere(v))


@given(st.integers(1, 2))
def test_bytes_do_not_depend_on_the_thread_count(workers):
    rng = np.random.default_rng(9)
    v = volume(rng.uniform(0, 5, (20, 20, 14)))
    one = region_peaks(v, everywhere(v), workers=1)
    other = region_peaks(v, everywhere(v), workers=workers)
    assert one.value.tobytes() == other.value.tobytes()


def test_empty_region_has_no_peak():
    v = volume(np.ones((8, 8, 8)))
    found = region_peaks(v, Regions.from_masks({"none": np.zeros(v.grid.shape)}, v.grid))
    assert np.isnan(found.value[0, 0])
