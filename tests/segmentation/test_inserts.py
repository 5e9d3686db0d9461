"""Round inserts: places that the test itself chose, from disks darker or brighter than what is around."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.errors import NothingUsable, UnsupportedInput
from imgtheranostics.segmentation import locate_inserts, round_inserts
from imgtheranostics.volume import Axis, Volume

ARBITRARY = "[arb'U]"
AFFINE = np.array([[-1.25, 0, 0, 40.0], [0, 0, 5.0, -20.0], [0, 1.25, 0, -60.0], [0, 0, 0, 1.0]])
CENTRES = np.array([[20.3, 18.6], [52.1, 20.4], [36.7, 36.2], [17.8, 50.9], [55.5, 53.3]])
"""Voxel indices, fractional."""


def disks(levels, *, centres=CENTRES, diameter=15.0, shape=(74, 70), spacing=1.25, background=1.0, over=8):
    """Disks by their analytic area, sampled `over` times per voxel: partial volume as a scanner has it."""
    step = (np.arange(over) + 0.5) / over - 0.5
    i = (np.arange(shape[0])[:, None] + step).ravel()
    j = (np.arange(shape[1])[:, None] + step).ravel()
    fine = np.full((i.size, j.size), background)
    for (a, b), level in zip(centres, levels, strict=True):
        fine[((i[:, None] - a) ** 2 + (j[None, :] - b) ** 2) * spacing**2 <= (diameter / 2) ** 2] = level
    return fine.reshape(shape[0], over, shape[1], over).mean(axis=(1, 3))


def as_volume(images, axes=(), affine=AFFINE):
    data = np.stack([np.atleast_3d(image) for image in images], axis=-1)
    return Volume(data if axes else data[..., 0], affine, "signal", ARBITRARY, axes)


def errors_voxels(volume, inserts, centres=CENTRES):
    """Distance of each true centre to the nearest that was found."""
    found = np.array([volume.grid.index(insert.centre_mm)[:2] for insert in inserts])
    return np.array([np.linalg.norm(found - centre, axis=1).min() for centre in centres])


@pytest.mark.parametrize("levels", [(2, 3, 2.5, 2, 4), (0.2, 0, 0.5, 0.1, 0.3), (3, 0.1, 2, 0.3, 1.6)])
def test_darker_and_brighter_disks_are_found_to_a_tenth_of_a_voxel(levels, rng):
    """Signal-to-noise ratio 30 of the background."""
    volume = as_volume([disks(levels) + rng.normal(scale=1 / 30, size=(74, 70))])
    inserts = locate_inserts(volume, diameter_mm=15, n=5)
    assert errors_voxels(volume, inserts).max() < 0.1
    assert [insert.diameter_mm for insert in inserts] == pytest.approx([15.0] * 5, abs=0.5)
    assert min(insert.score for insert in inserts) > 0.8


@given(
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), diameter=st.floats(9, 19), dark=st.booleans()
)
@settings(max_examples=15)
def test_centres_follow_the_disk_between_the_voxels(shift, diameter, dark):
    centre = np.array([[24.0, 22.0]]) + shift
    image = disks([0.0 if dark else 3.0], centres=centre, diameter=diameter, shape=(50, 46))
    volume = as_volume([image])
    (insert,) = locate_inserts(volume, diameter_mm=diameter * 1.05, n=1)
    assert errors_voxels(volume, [insert], centre)[0] < 0.05
    assert insert.diameter_mm == pytest.approx(diameter, rel=0.06)


def test_a_disk_that_one_image_does_not_show_is_found_in_the_others(rng):
    """Inversion recovery: at its null an insert looks like the background."""
    axis = Axis("inversion_time", [0.05, 0.1, 0.2, 0.4], "s")
    levels = [(1, 2, 3, 2, 0.3), (2, 1, 2, 0.2, 3), (0.4, 3, 1, 2, 2), (3, 0.2, 2, 1, 1)]
    images = [disks(one) + rng.normal(scale=1 / 30, size=(74, 70)) for one in levels]
    volume = as_volume(images, (axis,))
    inserts = locate_inserts(volume, diameter_mm=15, n=5)
    assert errors_voxels(volume, inserts).max() < 0.1
    with pytest.raises(NothingUsable):
        locate_inserts(volume.frame(0), diameter_mm=15, n=5)


def test_a_wall_around_an_insert_of_the_same_signal_is_enough():
    inner, outer = disks([1.0] * 5), disks([0.0] * 5, diameter=18.0)
    wall = np.where(
        disks([1.0] * 5, background=0.0) > 0, np.maximum(outer, disks([1.0] * 5, background=0.0)), outer
    )
    assert inner.min() == 1.0
    volume = as_volume([wall])
    inserts = locate_inserts(volume, diameter_mm=15, n=5)
    assert errors_voxels(volume, inserts).max() < 0.1


def test_bias_field_and_edge_of_the_phantom_do_no_harm(rng):
    i, j = np.meshgrid(np.arange(74), np.arange(70), indexing="ij")
    body = ((i - 36.5) ** 2 + (j - 34.5) ** 2) < 33.0**2
    image = disks((2, 0.3, 2.5, 0.2, 3)) * body * (1.0 + 0.6 * i / 74)
    volume = as_volume(
        [np.hypot(image + rng.normal(scale=0.03, size=i.shape), rng.normal(scale=0.03, size=i.shape))]
    )
    assert errors_voxels(volume, locate_inserts(volume, diameter_mm=15, n=5)).max() < 0.15


def test_regions_keep_off_the_edge_and_run_through_all_slices():
    image = disks((2, 3, 2.5, 2, 4))
    volume = Volume(np.repeat(image[..., None], 3, axis=2), AFFINE, "signal", ARBITRARY)
    regions = round_inserts(volume, diameter_mm=15, n=5, roi_fraction=0.7)
    assert list(regions) == [f"insert-0{n}" for n in range(1, 6)]
    assert regions.warnings == ()
    for name in regions:
        mask = regions.mask(name)
        assert mask.any(axis=(0, 1)).all()
        # the area of a disk of 0.7 x 15 mm in voxels of 1.25 mm squared
        assert mask[:, :, 0].sum() == pytest.approx(np.pi * (0.7 * 7.5 / 1.25) ** 2, abs=6)
        assert np.ptp(volume.data[mask]) == 0.0
    (step,) = regions.history
    assert len(step.parameters["centres_mm"]) == 5


def test_order_goes_row_by_row():
    """Rows along j: 18.6 and 20.4 are one row (within half a diameter), in which i counts."""
    volume = as_volume([disks((2, 3, 2.5, 2, 4))])
    inserts = locate_inserts(volume, diameter_mm=15, n=5)
    found = np.array([volume.grid.index(insert.centre_mm)[:2] for insert in inserts])
    np.testing.assert_allclose(found, CENTRES, atol=0.1)


def test_spheres_are_found_in_three_dimensions(rng):
    centres = np.array([[9.3, 8.7, 6.2], [21.4, 20.2, 7.8], [9.1, 21.6, 6.9]])
    spacing = np.array([1.0, 1.0, 1.5])
    grid = np.moveaxis(np.indices((31, 30, 15)), 0, -1)
    data = np.ones((31, 30, 15))
    for centre, level in zip(centres, (3.0, 0.0, 2.0), strict=True):
        distance = np.linalg.norm((grid - centre) * spacing, axis=-1)
        data += (level - 1.0) * np.clip(5.5 - distance, 0.0, 1.0)
    data += rng.normal(scale=0.03, size=data.shape)
    volume = Volume(data, np.diag([1.0, 1.0, 1.5, 1.0]), "signal", ARBITRARY)
    inserts = locate_inserts(volume, diameter_mm=10, n=3, shape="sphere")
    found = np.array([volume.grid.index(insert.centre_mm) for insert in inserts])
    for centre in centres:
        assert np.linalg.norm((found - centre) * spacing, axis=1).min() < 0.12
    regions = round_inserts(volume, diameter_mm=10, n=3, shape="sphere")
    assert regions.mask("insert-01").sum() * 1.5 == pytest.approx(4 / 3 * np.pi * 3.5**3, rel=0.1)


def test_nan_voxels_make_no_edge():
    image = disks((2, 3, 2.5, 2, 4))
    image[:, :6] = np.nan
    image[30:34, 8:12] = np.nan
    volume = as_volume([image])
    assert errors_voxels(volume, locate_inserts(volume, diameter_mm=15, n=5)).max() < 0.1


def test_more_inserts_than_were_asked_for_are_told():
    volume = as_volume([disks((2, 3, 2.5, 2, 4))])
    assert [caution.code for caution in round_inserts(volume, diameter_mm=15, n=4).warnings] == [
        "more-inserts"
    ]


def test_fewer_inserts_than_were_asked_for_are_refused(rng):
    volume = as_volume([disks((2, 3, 2.5, 2, 4)) + rng.normal(scale=0.02, size=(74, 70))])
    with pytest.raises(NothingUsable, match="5 of 15 mm"):
        locate_inserts(volume, diameter_mm=15, n=6, min_score=0.7)


def test_noise_and_nothing_hold_no_inserts(rng):
    with pytest.raises(NothingUsable):
        locate_inserts(as_volume([rng.normal(size=(74, 70))]), diameter_mm=15)
    with pytest.raises(NothingUsable, match="same everywhere"):
        locate_inserts(as_volume([np.ones((74, 70))]), diameter_mm=15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diameter_mm": 2}, "not resolved"),
        ({"diameter_mm": 500}, "larger than the image"),
        ({"diameter_mm": 15, "shape": "cube"}, "cylinder, sphere"),
        ({"diameter_mm": 15, "n": 0}, "at least 1"),
        ({"diameter_mm": 15, "roi_fraction": 1.2}, "roi_fraction"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options, message):
    with pytest.raises(ValueError, match=message):
        round_inserts(as_volume([disks((2, 3, 2.5, 2, 4))]), **options)


def test_sheared_grids_are_refused():
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(UnsupportedInput, match="right angles"):
        locate_inserts(as_volume([disks((2, 3, 2.5, 2, 4))], affine=sheared), diameter_mm=12)
