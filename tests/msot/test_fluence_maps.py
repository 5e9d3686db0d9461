"""Depth below the surface, maps of fluence, and images divided by them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.msot import fluence
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

NM = np.array([700.0, 800.0, 850.0])
AFFINE = np.diag([0.5, 0.25, 1.0, 1.0])


def body(shape: tuple[int, int, int] = (8, 12, 3), affine: npt.ArrayLike = AFFINE) -> Volume:
    inside = np.zeros(shape, np.int32)
    inside[1:-1, 2:-2] = 1
    return Volume(inside, np.asarray(affine, np.float64), "labels", "1")


def image(mask: Volume, wavelength: npt.ArrayLike = NM, value: float = 2.0) -> Volume:
    axis = Axis("wavelength", np.asarray(wavelength, np.float64), "nm")
    data = np.full((*mask.grid.shape, len(axis)), value, np.float32)
    return Volume(data, mask.affine, "optoacoustic_signal", "[arb'U]", axes=(axis,))


@pytest.mark.parametrize(
    ("side", "affine", "first"),
    [
        ("anterior", np.diag([0.5, 0.25, 1.0, 1.0]), False),
        ("posterior", np.diag([0.5, 0.25, 1.0, 1.0]), True),
        ("anterior", np.diag([0.5, -0.25, 1.0, 1.0]), True),
    ],
)
def test_depth_below_a_side_follows_the_patient_and_not_the_order_of_voxels(
    side: str, affine: npt.NDArray[np.float64], first: bool
) -> None:
    depth = fluence.depth_from_mask(body(affine=affine), illumination=side)
    expected = 0.25 * (np.arange(8) + 0.5)
    found = depth.data[4, 2:-2, 1]
    np.testing.assert_allclose(found if first else found[::-1], expected, rtol=1e-6)
    assert np.isnan(depth.data[0]).all()
    assert (depth.quantity, depth.unit) == ("depth", "mm")


def test_depth_of_a_disc_is_its_radius_less_the_distance_from_its_middle() -> None:
    """A disc of 8 mm in voxels of 0.2 mm, to half a voxel, as well as an outline in voxels is known."""
    x = 0.2 * (np.arange(91) - 45)
    r = np.hypot(*np.meshgrid(x, x, indexing="ij"))
    disc = Volume((r <= 8.0)[..., np.newaxis].astype(np.int32), np.diag([0.2, 0.2, 1, 1]), "labels", "1")
    depth = fluence.depth_from_mask(disc).data[..., 0]
    error = (depth - (8.0 - r))[r <= 8.0]
    assert abs(float(error.mean())) < 0.1
    assert float(np.abs(error).max()) < 0.2
    assert depth[45, 45] == pytest.approx(8.0, abs=0.11)


def test_depth_from_all_sides_counts_the_nearest_face() -> None:
    """Half a voxel to the face of the voxel beside, along each axis with its own spacing."""
    inside = np.zeros((7, 9, 5), np.int32)
    inside[1:-1, 1:-1, 1:-1] = 1
    depth = fluence.depth_from_mask(Volume(inside, AFFINE, "labels", "1"), illumination="surface")
    assert depth.data[3, 1, 2] == pytest.approx(0.125)
    assert depth.data[3, 4, 1] == pytest.approx(0.5)
    assert depth.data[3, 4, 2] == pytest.approx(0.875)


def test_regions_are_a_body_and_its_cut_is_told() -> None:
    mask = body()
    regions = Regions.from_masks({"a": mask.data[..., :] > 0}, mask.grid)
    one, other = (fluence.depth_from_mask(given, illumination="anterior") for given in (mask, regions))
    np.testing.assert_array_equal(one.data, other.data)
    full = Volume(np.ones((4, 4, 1), np.int32), AFFINE, "labels", "1")
    assert [c.code for c in fluence.depth_from_mask(full).warnings] == ["body-cut-off"]
    assert not fluence.depth_from_mask(body()).warnings


def test_an_empty_body_an_oblique_side_and_an_unknown_light_are_refused() -> None:
    empty = Volume(np.zeros((3, 3, 3), np.int32), AFFINE, "labels", "1")
    with pytest.raises(NothingUsable, match="empty"):
        fluence.depth_from_mask(empty)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]]
    with pytest.raises(UnsupportedInput, match="no axis"):
        fluence.depth_from_mask(body(affine=turned), illumination="anterior")
    with pytest.raises(ValueError, match="illumination"):
        fluence.depth_from_mask(body(), illumination="top")
    series = image(body())
    with pytest.raises(UnsupportedInput, match="beyond space"):
        fluence.depth_from_mask(series)


def test_a_map_is_the_slab_at_each_depth_and_wavelength() -> None:
    depth = fluence.depth_from_mask(body(), illumination="anterior")
    mu_a = np.array([0.2, 0.1, 0.3])
    light = fluence.fluence_map(depth, NM, mu_a=mu_a, mu_s=10.0)
    for n in range(3):
        expected = fluence.slab(depth.data[4, 3:9, 1].astype(float), mu_a[n], 10.0)
        np.testing.assert_allclose(light.data[4, 3:9, 1, n], expected, rtol=1e-6)
    assert np.isnan(light.data[0]).all()
    assert light.axes[-1].values.tolist() == NM.tolist()
    default = fluence.fluence_map(depth, NM, mu_a=mu_a)
    given = fluence.fluence_map(depth, NM, mu_a=mu_a, mu_s=fluence.reduced_scattering(NM))
    np.testing.assert_array_equal(default.data, given.data)


def test_a_map_of_a_cylinder_has_its_axis_at_the_largest_depth() -> None:
    x = 0.2 * (np.arange(91) - 45)
    r = np.hypot(*np.meshgrid(x, x, indexing="ij"))
    disc = Volume((r <= 8.0)[..., np.newaxis].astype(np.int32), np.diag([0.2, 0.2, 1, 1]), "labels", "1")
    depth = fluence.depth_from_mask(disc)
    light = fluence.fluence_map(depth, [800.0], mu_a=0.2, mu_s=10.0, model="cylinder").data[..., 0, 0]
    expected = fluence.cylinder(np.minimum(r, 8.0), 8.0, 0.2, 10.0)
    np.testing.assert_allclose(light[r <= 8.0], expected[r <= 8.0], rtol=0.06)
    with pytest.raises(ValueError, match="radius"):
        fluence.fluence_map(depth, [800.0], mu_a=0.2, model="cylinder", radius_mm=4.0)
    with pytest.raises(ValueError, match="does not apply"):
        fluence.fluence_map(depth, [800.0], mu_a=0.2, radius_mm=8.0)


def test_absorption_near_scattering_is_told() -> None:
    depth = fluence.depth_from_mask(body(), illumination="anterior")
    assert not fluence.fluence_map(depth, NM, mu_a=0.2, mu_s=10.0).warnings
    found = fluence.fluence_map(depth, NM, mu_a=[0.2, 0.2, 2.0], mu_s=10.0).warnings
    assert [caution.code for caution in found] == ["not-diffusive"]


def test_a_map_refuses_what_is_no_depth_and_coefficients_that_do_not_fit() -> None:
    with pytest.raises(UnitMismatch, match="depth"):
        fluence.fluence_map(image(body()), NM, mu_a=0.2)
    depth = fluence.depth_from_mask(body())
    with pytest.raises(ValueError, match="mu_a"):
        fluence.fluence_map(depth, NM, mu_a=[0.2, 0.3])
    with pytest.raises(UnitMismatch, match="metres"):
        fluence.fluence_map(depth, NM * 1e-9, mu_a=0.2)


def test_an_image_is_divided_by_the_fluence_at_its_own_wavelengths_in_any_order() -> None:
    mask = body()
    depth = fluence.depth_from_mask(mask, illumination="anterior")
    light = fluence.fluence_map(depth, [850.2, 700.0, 900.0, 800.0], mu_a=[0.3, 0.2, 0.4, 0.1], mu_s=10.0)
    found = fluence.correct(image(mask), light)
    for n, column in enumerate((1, 3, 0)):
        np.testing.assert_allclose(found.data[4, 5, 1, n], 2.0 / light.data[4, 5, 1, column], rtol=1e-6)
    assert (found.quantity, found.unit) == ("optoacoustic_signal", "[arb'U]")
    assert found.history[-1].name == "fluence_correction"
    assert np.isnan(found.data[0]).all()


def test_a_calibrated_image_becomes_absorption_and_negative_values_stay() -> None:
    mask = body()
    depth = fluence.depth_from_mask(mask, illumination="anterior")
    light = fluence.fluence_map(depth, NM, mu_a=0.2, mu_s=10.0)
    found = fluence.correct(image(mask, value=-3.0), light, calibration=1.5)
    assert (found.quantity, found.unit) == ("optical_absorption", "1/cm")
    np.testing.assert_allclose(found.data[4, 5, 1], -2.0 / light.data[4, 5, 1], rtol=1e-6)


def test_each_time_of_a_series_is_divided_alike() -> None:
    mask = body()
    one = image(mask)
    data = np.stack([one.data, 2.0 * one.data], axis=3)
    series = one.replace(data=data, axes=(Axis("time", np.array([0.0, 1.0]), "s"), *one.axes))
    light = fluence.fluence_map(fluence.depth_from_mask(mask), NM, mu_a=0.2, mu_s=10.0)
    found, still = fluence.correct(series, light), fluence.correct(one, light)
    np.testing.assert_array_equal(found.data[:, :, :, 0], still.data)
    np.testing.assert_allclose(found.data[:, :, :, 1], 2.0 * still.data, rtol=1e-6)


def test_a_second_correction_is_refused() -> None:
    mask = body()
    light = fluence.fluence_map(fluence.depth_from_mask(mask), NM, mu_a=0.2, mu_s=10.0)
    once = fluence.correct(image(mask), light)
    with pytest.raises(UnsupportedInput, match="already"):
        fluence.correct(once, light)
    with pytest.raises(UnitMismatch, match="optoacoustic"):
        fluence.correct(fluence.correct(image(mask), light, calibration=1.0), light)


def test_what_does_not_fit_is_refused() -> None:
    mask = body()
    light = fluence.fluence_map(fluence.depth_from_mask(mask), NM, mu_a=0.2, mu_s=10.0)
    with pytest.raises(UnsupportedInput, match="every wavelength") as refusal:
        fluence.correct(image(mask, [700.0, 801.0, 850.0]), light)
    assert "801" in (refusal.value.found or "")
    with pytest.raises(GeometryMismatch):
        fluence.correct(image(body(affine=np.diag([0.5, 0.3, 1.0, 1.0]))), light)
    with pytest.raises(UnitMismatch, match="no fluence"):
        fluence.correct(image(mask), fluence.depth_from_mask(mask))
    with pytest.raises(ImplausibleValue, match="calibration"):
        fluence.correct(image(mask), light, calibration=0.0)
    bare = replace(image(mask), data=image(mask).data[..., 0], axes=())
    with pytest.raises(UnitMismatch, match="wavelength"):
        fluence.correct(bare, light)
