"""Registration: motion that the test made itself is found again; what cannot be found is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from imgtheranostics import registration
from imgtheranostics.errors import GeometryMismatch, IllConditioned, NothingUsable, UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

COARSE = {"shape": (27, 25, 16), "spacing": np.array([1.5, 1.5, 1.8])}
"""Fewer voxels where the smallest motion does not matter."""

OTHER = (2.0, -0.7, 1.0, 0.4, 1.0)
"""Grey values as another sequence would have them."""


def rms_mm(found, true, radius_mm=12.0):
    """RMS distance over a ball that two matrices make."""
    points = np.random.default_rng(0).normal(size=(500, 3))
    points *= radius_mm / np.linalg.norm(points, axis=1, keepdims=True)
    difference = found - true
    return float(np.sqrt(np.mean(np.sum((points @ difference[:3, :3].T + difference[:3, 3]) ** 2, axis=1))))


@pytest.mark.parametrize("contrast", [None, OTHER], ids=["same contrast", "another contrast"])
@pytest.mark.parametrize(
    ("shift_mm", "turn_deg"), [((0, 0, 0), 0), ((0.3, -0.2, 0.4), 1), ((3.1, 2.2, -2.5), -5)]
)
def test_rigid_motion_is_found_to_a_tenth_of_a_voxel(body, rigid, shift_mm, turn_deg, contrast):
    """Issue: 0.1 voxel at a signal-to-noise ratio of 30; the smallest spacing is 1 mm."""
    true = rigid(shift_mm, turn_deg)
    moving = body(true) if contrast is None else body(true, contrast)
    found = registration.register(body(seed=1), moving)
    np.testing.assert_allclose(found.matrix[:3, 3], true[:3, 3], atol=0.1)
    # what a turn error adds 12 mm off the middle; another contrast leaves fewer edges to see it by
    assert rms_mm(found.matrix, true) < (0.1 if contrast is None else 0.15)
    np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert found.quality.converged
    assert found.quality.repeat_mm < 0.3
    assert found.quality.value < found.quality.start_value + 0.02
    assert found.quality.jacobian_range == pytest.approx((1.0, 1.0))
    assert found.warnings == ()


def test_the_result_is_the_same_on_every_run_and_every_number_of_threads(body, rigid):
    import SimpleITK

    small = {"shape": (24, 24, 10)}
    fixed, moving = body(**small), body(rigid((0.7, -1.2, 0.5), 2), **small)
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    seen = set()
    try:
        for threads in (1, 2, 5):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found = registration.register(fixed, moving)
            seen.add((found.matrix.tobytes(), found.resampled.data.tobytes()))
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert len(seen) == 1
    other = registration.register(fixed, moving, rng=7)
    assert other.matrix.tobytes() != found.matrix.tobytes()
    assert rms_mm(other.matrix, found.matrix, radius_mm=6.0) < 0.15


def test_the_resampled_image_lies_on_the_fixed_one(body, rigid):
    fixed, moving = body(**COARSE), body(rigid((2.0, 1.0, 0.0), 4), **COARSE)
    found = registration.register(fixed, moving, metric="correlation")
    inside = np.isfinite(found.resampled.data)
    assert found.resampled.grid.same_as(fixed.grid)
    inside &= fixed.data > 0.5
    before = np.std((moving.data - fixed.data)[inside])
    assert np.std((found.resampled.data - fixed.data)[inside]) < 0.3 * before
    assert found.resampled.history[-1].name == "resample"
    assert pickle.loads(pickle.dumps(found)).matrix.tobytes() == found.matrix.tobytes()  # noqa: S301


def test_affine_growth_is_found(body):
    true = np.diag([1.06, 0.95, 1.04, 1.0])
    true[:3, 3] = [0.8, -0.5, 0.6]
    found = registration.register(body(**COARSE), body(true, **COARSE), model="affine", metric="correlation")
    assert rms_mm(found.matrix, true) < 0.1
    assert found.quality.jacobian_range == pytest.approx((np.linalg.det(true),) * 2, rel=0.02)


def test_a_shift_without_a_turn(body, rigid):
    true = rigid((1.4, -0.8, 1.1))
    found = registration.register(body(), body(true, OTHER), model="translation")
    np.testing.assert_array_equal(found.matrix[:3, :3], np.eye(3))
    np.testing.assert_allclose(found.matrix, true, atol=0.05)


def bulge(points):
    """Where a point of the deformed body comes from: 2 mm along R around the middle."""
    away = 2.0 * np.exp(-(points**2).sum(axis=-1) / 9.0**2)
    return points - np.stack([away, 0 * away, 0 * away], axis=-1)


def test_a_deformation_is_followed_where_there_are_edges(body):
    """RMS error along the normal of edges below a third of what was there; flat parts show nothing."""
    fixed = body(snr=60, **COARSE)
    moving = body(snr=60, warp=bulge, **COARSE)
    found = registration.register(fixed, moving, model="bspline", metric="correlation")
    assert found.matrix is None
    low, high = found.quality.jacobian_range
    assert 0.0 < low < 1.0 < high
    points = fixed.grid.world_mm(np.moveaxis(np.indices(fixed.shape), 0, -1))
    clean = body(snr=1e9, **COARSE)
    slope = np.stack(np.gradient(clean.data.astype(float)), axis=-1) @ np.linalg.inv(fixed.affine[:3, :3])
    strong = (np.linalg.norm(slope, axis=-1) > 0.25) & (np.linalg.norm(points, axis=-1) < 11)
    normal = slope[strong] / np.linalg.norm(slope[strong], axis=-1, keepdims=True)
    here = points[strong]
    true = here.copy()
    for _ in range(60):
        true = here + (true - bulge(true))
    missed = np.sum((found.transform.apply(here) - true) * normal, axis=-1)
    there = np.sum((here - true) * normal, axis=-1)
    assert np.sqrt(np.mean(missed**2)) < np.sqrt(np.mean(there**2)) / 3.0


def test_only_the_mask_decides(body, rigid, rng):
    """Outside the mask lies something that did not move with the body."""
    true = rigid((1.5, -1.0, 0.0), 3)
    fixed, moving = body(), body(true)
    data = [np.array(volume.data) for volume in (fixed, moving)]
    for one in data:
        one[:, :3] = 3.0
        one[:3] = 3.0
    fixed, moving = (volume.replace(data=one) for volume, one in zip((fixed, moving), data, strict=True))
    mask = np.zeros(fixed.shape, bool)
    mask[8:-4, 7:-4] = True
    found = registration.register(fixed, moving, mask=mask)
    assert rms_mm(found.matrix, true) < 0.15
    regions = Regions(mask.astype(np.int32), {1: "body"}, fixed.grid)
    assert registration.register(fixed, moving, mask=regions).matrix.tobytes() == found.matrix.tobytes()


def test_nan_voxels_do_not_count(body, rigid):
    true = rigid((1.0, 0.6, -0.5), 2)
    fixed, moving = body(**COARSE), body(true, **COARSE)
    holed = np.array(moving.data)
    holed[:3] = np.nan
    holed[13:16, 14:16, 4:7] = np.nan
    found = registration.register(fixed, moving.replace(data=holed))
    assert rms_mm(found.matrix, true) < 0.15


def test_grids_may_differ(body, rigid):
    true = rigid((1.2, -0.7, 0.9), -2)
    moving = body(true, shape=(30, 30, 24), spacing=np.array([1.3, 1.3, 1.2]))
    found = registration.register(body(), moving)
    assert rms_mm(found.matrix, true) < 0.15
    assert found.resampled.shape == body().shape


def test_single_slices_move_within_their_plane(body, rigid):
    true = rigid((1.3, -0.7, 0.0), 3)
    shape, spacing = (64, 60, 1), np.array([0.6, 0.6, 4.0])
    fixed = body(shape=shape, spacing=spacing)
    moving = body(true, OTHER, shape=shape, spacing=spacing)
    found = registration.register(fixed, moving)
    np.testing.assert_allclose(found.matrix, true, atol=0.06)
    np.testing.assert_array_equal(found.matrix[2], [0, 0, 1, 0])
    # the same slice stored in another order of axes
    stored = moving.affine @ np.array([[0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    turned = Volume(moving.data.transpose(1, 0, 2), stored, "signal", moving.unit)
    np.testing.assert_allclose(registration.register(fixed, turned).matrix, true, atol=0.06)


def test_single_slices_of_different_planes_are_refused(body):
    shape, spacing = (40, 36, 1), np.array([1.0, 1.0, 4.0])
    fixed = body(shape=shape, spacing=spacing)
    away = np.array(fixed.affine)
    away[2, 3] += 3.0
    with pytest.raises(GeometryMismatch, match="same plane"):
        registration.register(fixed, fixed.replace(affine=away))
    with pytest.raises(UnsupportedInput, match="single slice"):
        registration.register(fixed, fixed, model="bspline")


def test_images_that_do_not_overlap_are_refused_and_centres_help(body, rigid):
    true = rigid((60.0, 0, 0))
    fixed, moving = body(**COARSE), body(seed=1, **COARSE)
    far = moving.replace(affine=true @ moving.affine)
    with pytest.raises(IllConditioned, match="overlap too little before"):
        registration.register(fixed, far)
    found = registration.register(fixed, far, start="centre")
    assert rms_mm(found.matrix, true) < 0.1


def test_noise_has_nothing_to_register(body, rng):
    fixed = body(**COARSE)
    noise = fixed.replace(data=rng.normal(size=fixed.shape))
    with pytest.raises(IllConditioned, match=r"share no structure|ended elsewhere"):
        registration.register(fixed, noise)
    with pytest.raises(NothingUsable, match="no contrast"):
        registration.register(fixed, fixed.replace(data=np.ones(fixed.shape)))


def test_a_ball_does_not_tell_how_it_turned(rng):
    """Its shift is known, its turn is not: a rigid transform is refused, a translation is found."""
    index = np.moveaxis(np.indices((22, 22, 22)), 0, -1) - 10.5

    def ball(shift):
        distance = np.linalg.norm(index - shift, axis=-1)
        data = 1.0 / (1.0 + np.exp(np.clip((distance - 6.0) / 0.5, -60, 60)))
        return Volume(data + rng.normal(scale=0.02, size=data.shape), np.eye(4), "signal", "[arb'U]")

    with pytest.raises(IllConditioned, match="translation"):
        registration.register(ball(0.0), ball(0.0), metric="correlation")
    found = registration.register(ball(0.0), ball([0.6, -0.4, 0.8]), model="translation")
    np.testing.assert_allclose(found.matrix[:3, 3], [0.6, -0.4, 0.8], atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "elastic"}, "translation, rigid, affine, bspline"),
        ({"metric": "nothing"}, "mutual_information, correlation"),
        ({"start": "anywhere"}, "scanner, centre"),
        ({"model": "bspline", "node_spacing_mm": -1.0}, "positive"),
    ],
)
def test_unknown_options_are_usage_errors(body, options, message):
    with pytest.raises(ValueError, match=message):
        registration.register(body(**COARSE), body(seed=1, **COARSE), **options)


def test_series_and_labels_are_no_images_to_register(body):
    fixed = body()
    series = Volume(
        np.stack([fixed.data] * 2, -1), fixed.affine, "signal", fixed.unit, (Axis("time", [0, 1], "s"),)
    )
    with pytest.raises(ValueError, match="align_series"):
        registration.register(fixed, series)
    with pytest.raises(ValueError, match="no image"):
        registration.register(fixed, Volume(np.ones(fixed.shape, int), fixed.affine, "labels", "1"))
    with pytest.raises(GeometryMismatch, match="mask"):
        registration.register(fixed, fixed, mask=np.ones((2, 2, 2)))


def test_images_that_overlap_too_little_once_registered_are_refused(body, rigid):
    """Both grids are the same, so that all overlaps before; 9 of 40 mm of shift leave 77 %."""
    with pytest.raises(IllConditioned, match="overlap too little after"):
        registration.register(
            body(**COARSE), body(rigid((0, 9.0, 0)), **COARSE), model="translation", min_overlap=0.9
        )
