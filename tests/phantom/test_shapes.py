"""Region volumes against closed forms, and shares against plain dense sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from imgtheranostics.phantom.mixture import rasterise
from imgtheranostics.phantom.shapes import Box, Cylinder, Ellipsoid, Sphere
from imgtheranostics.volume import Grid


def grid_of(shape, spacing) -> Grid:
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(tuple(shape), affine)


GRID = grid_of((40, 36, 32), (0.5, 0.5, 0.6))

SHAPES = {
    "sphere": (
        lambda c: Sphere(kind="sphere", centre_mm=c, diameter_mm=8),
        math.pi / 6 * 8**3,
    ),
    "small sphere": (
        lambda c: Sphere(kind="sphere", centre_mm=c, diameter_mm=2),
        math.pi / 6 * 2**3,
    ),
    "turned ellipsoid": (
        lambda c: Ellipsoid(kind="ellipsoid", centre_mm=c, semi_axes_mm=(4, 3, 5), rotation_deg=(20, 30, 40)),
        4 / 3 * math.pi * 60,
    ),
    "upright cylinder": (
        lambda c: Cylinder(kind="cylinder", centre_mm=c, semi_axes_mm=(2, 3), length_mm=10),
        math.pi * 6 * 10,
    ),
    "turned cylinder": (
        lambda c: Cylinder(
            kind="cylinder", centre_mm=c, semi_axes_mm=(2, 2), length_mm=10, rotation_deg=(70, 10, 0)
        ),
        math.pi * 4 * 10,
    ),
    "turned box": (
        lambda c: Box(kind="box", centre_mm=c, size_mm=(4, 5, 6), rotation_deg=(10, 20, 30)),
        120.0,
    ),
    "upright box": (lambda c: Box(kind="box", centre_mm=c, size_mm=(4, 5, 6)), 120.0),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (0.13, -0.21, 0.37), (0.25, 0.25, 0.3)])
def test_volume_of_each_shape_is_its_closed_form_to_a_tenth_of_a_percent(name, centre):
    make, volume_mm3 = SHAPES[name]
    shape = make(centre)
    assert shape.volume_ml == pytest.approx(volume_mm3 / 1000, rel=1e-12)
    assert rasterise({"a": [shape]}, GRID).volumes_ml()["a"] == pytest.approx(volume_mm3 / 1000, rel=1e-3)


@given(
    centre=st.tuples(*[st.floats(-1, 1)] * 3),
    size=st.tuples(*[st.floats(0.3, 12.0)] * 3),
)
def test_upright_box_is_exact(centre, size):
    shape = Box(kind="box", centre_mm=centre, size_mm=size)
    found = rasterise({"a": [shape]}, GRID).volumes_ml()["a"]
    assert found == pytest.approx(math.prod(size) / 1000, rel=1e-9)


@given(
    centre=st.tuples(*[st.floats(-1, 1)] * 3),
    axes=st.tuples(*[st.floats(1.0, 5.0)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_any_ellipsoid_has_its_volume(centre, axes, angles):
    shape = Ellipsoid(kind="ellipsoid", centre_mm=centre, semi_axes_mm=axes, rotation_deg=angles)
    found = rasterise({"a": [shape]}, GRID).volumes_ml()["a"]
    assert found == pytest.approx(4 / 3 * math.pi * math.prod(axes) / 1000, rel=1e-3)


def test_centre_of_mass_is_the_centre_in_patient_millimetres():
    centre = (2.31, -1.17, 3.03)
    mixture = rasterise({"a": [Sphere(kind="sphere", centre_mm=centre, diameter_mm=6)]}, GRID)
    share = mixture.occupancy("a").astype(np.float64)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), axis=-1)
    mean = (index * share[..., np.newaxis]).sum(axis=(0, 1, 2)) / share.sum()
    assert_allclose(GRID.affine[:3, :3] @ mean + GRID.affine[:3, 3], centre, atol=2e-3)


def test_shares_of_overlapping_regions_follow_dense_sampling():
    """Two spheres cutting each other: 14 points per voxel edge, the later region wins."""
    grid = grid_of((10, 10, 10), (1.0, 1.0, 1.0))
    first = Sphere(kind="sphere", centre_mm=(-1, 0, 0), diameter_mm=6)
    second = Sphere(kind="sphere", centre_mm=(1.2, 0.4, 0.3), diameter_mm=5)
    mixture = rasterise({"first": [first], "second": [second]}, grid)
    n = 14
    axes = [np.arange(10 * n) / n - 0.5 + 0.5 / n for _ in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    points = np.stack([x, y, z], axis=-1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    in_first = np.linalg.norm(points - first.centre_mm, axis=-1) <= 3
    in_second = np.linalg.norm(points - second.centre_mm, axis=-1) <= 2.5

    def share(inside):
        return inside.reshape(10, n, 10, n, 10, n).mean(axis=(1, 3, 5))

    assert_allclose(mixture.occupancy("second"), share(in_second), atol=0.02)
    assert_allclose(mixture.occupancy("first"), share(in_first & ~in_second), atol=0.02)


def test_a_region_that_is_covered_keeps_nothing():
    inner = Sphere(kind="sphere", centre_mm=(0, 0, 0), diameter_mm=4)
    outer = Sphere(kind="sphere", centre_mm=(0, 0, 0), diameter_mm=6)
    volumes = rasterise({"inner": [inner], "outer": [outer]}, GRID).volumes_ml()
    assert volumes["inner"] == pytest.approx(0.0, abs=1e-12)
    assert volumes["outer"] == pytest.approx(math.pi / 6 * 6**3 / 1000, rel=1e-3)


def test_shapes_of_one_region_are_united_not_added():
    box = Box(kind="box", centre_mm=(0, 0, 0), size_mm=(4, 4, 4))
    shifted = Box(kind="box", centre_mm=(2, 0, 0), size_mm=(4, 4, 4))
    assert rasterise({"a": [box, shifted]}, GRID).volumes_ml()["a"] == pytest.approx(0.096, rel=1e-6)


def test_pure_voxels_hold_one_region_and_nominal_ones_at_least_half():
    mixture = rasterise({"a": [Sphere(kind="sphere", centre_mm=(0, 0, 0), diameter_mm=7)]}, GRID)
    share = mixture.occupancy("a")
    assert share[mixture.pure() == 1].min() == 1.0
    assert share[mixture.nominal() == 1].min() >= 0.5
    assert share[mixture.nominal() == 0].max() < 0.5
    assert 0 < (mixture.pure() == 1).sum() < (mixture.nominal() == 1).sum()


def test_painted_total_is_the_sum_over_the_regions():
    inner = Sphere(kind="sphere", centre_mm=(0.1, 0.2, 0.3), diameter_mm=5)
    outer = Ellipsoid(kind="ellipsoid", centre_mm=(0, 0, 0), semi_axes_mm=(5, 4, 6))
    mixture = rasterise({"outer": [outer], "inner": [inner]}, GRID)
    total = mixture.paint({"outer": 2.0, "inner": 7.0}).astype(np.float64).sum() * GRID.voxel_volume_ml
    expected = 2.0 * (outer.volume_ml - inner.volume_ml) + 7.0 * inner.volume_ml
    assert total == pytest.approx(expected, rel=1e-3)


def test_shapes_refuse_lengths_that_are_not_positive():
    with pytest.raises(ValueError, match="greater than 0"):
        Sphere(kind="sphere", centre_mm=(0, 0, 0), diameter_mm=0)
