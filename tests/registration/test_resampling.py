"""Resampling: values and amounts through transforms whose effect is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics import registration
from imgtheranostics.registration import Spline, Transform
from imgtheranostics.volume import Axis, Flag, Grid, Volume

ARBITRARY = "[arb'U]"
AFFINE = np.array([[-1.5, 0, 0, 12.0], [0, 0, 2.0, -9.0], [0, -1.2, 0, 11.0], [0, 0, 0, 1.0]])


def ramp(shape=(16, 18, 10), affine=AFFINE, slope=(0.3, -0.2, 0.5), axes=()):
    """A plane through space, which linear interpolation reproduces exactly."""
    world = Grid(shape, affine).world_mm(np.moveaxis(np.indices(shape), 0, -1))
    data = world @ np.array(slope) + 5.0
    if axes:
        data = np.stack([data * (n + 1) for n in range(len(axes[0]))], axis=-1)
    return Volume(data, affine, "signal", ARBITRARY, axes)


@given(
    shift=st.tuples(*[st.floats(-4, 4)] * 3),
    turn=st.floats(-0.3, 0.3),
    interpolation=st.sampled_from(["linear", "bspline"]),
)
@settings(max_examples=25)
def test_a_ramp_comes_out_at_the_transformed_points(shift, turn, interpolation):
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    matrix[:3, 3] = shift
    volume = ramp()
    like = Grid((9, 8, 7), np.diag([1.7, 1.1, 1.9, 1.0]) + np.array([[0, 0, 0, -3.0]] * 3 + [[0, 0, 0, 0]]))
    out = registration.resample(volume, matrix, like=like, interpolation=interpolation)
    points = like.world_mm(np.moveaxis(np.indices(like.shape), 0, -1)) @ matrix[:3, :3].T + matrix[:3, 3]
    index = volume.grid.index(points)
    edge = np.array(volume.shape) - 1.0
    inside = ((index >= 0) & (index <= edge)).all(axis=-1)
    outside = ((index < -0.51) | (index > edge + 0.51)).any(axis=-1)
    expected = points @ np.array([0.3, -0.2, 0.5]) + 5.0
    # the spline's mirrored border bends a ramp near the edge
    deep = inside if interpolation == "linear" else ((index >= 4) & (index <= edge - 4)).all(axis=-1)
    np.testing.assert_allclose(
        out.data[deep], expected[deep], atol=2e-3 if interpolation == "bspline" else 1e-4
    )
    assert np.isnan(out.data[outside]).all()
    assert np.isfinite(out.data[inside]).all()


def test_identity_returns_the_voxels_and_every_sample_alike():
    volume = ramp(axes=(Axis("echo_time", [0.01, 0.02, 0.03], "s"),))
    out = registration.resample(volume, None, like=volume)
    np.testing.assert_allclose(out.data, volume.data, rtol=1e-6, atol=1e-6)
    assert out.axes == volume.axes
    step = out.history[-1]
    assert step.name == "resample"
    assert step.parameters["interpolation"] == "linear"


@pytest.mark.parametrize(("interpolation", "lost"), [("linear", 1), ("nearest", 1), ("bspline", 27)])
def test_a_nan_voxel_takes_what_it_has_a_share_in(interpolation, lost):
    volume = ramp()
    data = np.array(volume.data)
    data[7, 8, 5] = np.nan
    out = registration.resample(volume.replace(data=data), None, like=volume, interpolation=interpolation)
    assert np.isnan(out.data).sum() == lost
    kept = np.isfinite(out.data)
    np.testing.assert_allclose(out.data[kept], volume.data[kept], rtol=1e-5, atol=1e-6)


def test_half_a_voxel_beside_a_nan_two_are_lost():
    volume = ramp(affine=np.eye(4))
    data = np.array(volume.data)
    data[7, 8, 5] = np.nan
    shift = np.eye(4)
    shift[0, 3] = 0.5
    out = registration.resample(volume.replace(data=data), shift, like=volume)
    assert np.argwhere(np.isnan(out.data[:-1])).tolist() == [[6, 8, 5], [7, 8, 5]]


def test_all_nan_stays_nan():
    volume = ramp()
    out = registration.resample(volume.replace(data=np.full(volume.shape, np.nan)), None, like=volume)
    assert np.isnan(out.data).all()


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_mass_is_kept_while_tissue_shrinks_or_swells(factor):
    """A blob of known amount: the integral follows the values, or stays, as was asked for."""
    shape = (40, 40, 40)
    index = np.moveaxis(np.indices(shape), 0, -1) - 19.5
    data = np.exp(-(index**2).sum(axis=-1) / (2 * 4.0**2))
    affine = np.eye(4)
    affine[:3, 3] = -19.5
    volume = Volume(data, affine, "signal", ARBITRARY)
    matrix = np.diag([factor, factor, 1.0, 1.0])
    amount = data.sum()
    values = np.nansum(registration.resample(volume, matrix, like=volume).data)
    mass = np.nansum(registration.resample(volume, matrix, like=volume, preserve="mass").data)
    assert mass == pytest.approx(amount, rel=2e-3)
    assert values == pytest.approx(amount / factor**2, rel=2e-3)


def bump(amplitude_mm=1.5):
    rng = np.random.default_rng(3)
    coefficients = rng.uniform(-amplitude_mm, amplitude_mm, size=(3, 9, 9, 9))
    coefficients[:, [0, 1, -2, -1]] = 0
    coefficients[:, :, [0, 1, -2, -1]] = 0
    coefficients[:, :, :, [0, 1, -2, -1]] = 0
    affine = np.eye(4) * 6.0
    affine[:3, 3], affine[3, 3] = -24.0, 1.0
    return Transform(np.eye(4), Spline(coefficients, affine), "bspline")


def test_mass_is_kept_through_a_deformation():
    affine = np.eye(4)
    affine[:3, 3] = -15.5
    index = np.moveaxis(np.indices((32, 32, 32)), 0, -1) - 15.5
    volume = Volume(np.exp(-(index**2).sum(axis=-1) / (2 * 3.0**2)), affine, "signal", ARBITRARY)
    amount = volume.data.sum(dtype=float)
    mass = registration.resample(volume, bump(), like=volume, preserve="mass", interpolation="bspline")
    assert np.nansum(mass.data, dtype=float) == pytest.approx(amount, rel=2e-3)
    plain = registration.resample(volume, bump(), like=volume, interpolation="bspline")
    assert abs(np.nansum(plain.data, dtype=float) / amount - 1) > 0.01


def test_jacobian_of_a_spline_against_differences_of_its_points():
    transform = bump()
    grid = Grid(
        (5, 4, 6), np.array([[1.1, 0.2, 0, -3], [0, 1.3, 0.1, -2], [0.1, 0, 1.2, -4], [0, 0, 0, 1.0]])
    )
    points = grid.world_mm(np.moveaxis(np.indices(grid.shape), 0, -1))
    step = 1e-3
    columns = [
        (transform.apply(points + step * unit) - transform.apply(points - step * unit)) / (2 * step)
        for unit in np.eye(3)
    ]
    expected = np.linalg.det(np.stack(columns, axis=-1))
    # over one voxel instead of a point: differences of the second order
    np.testing.assert_allclose(transform.jacobian_determinant(grid), expected, atol=0.02)


def test_beyond_a_spline_nothing_is_known():
    affine = np.eye(4)
    affine[:3, 3] = -29.5
    volume = Volume(np.ones((60, 60, 60)), affine, "signal", ARBITRARY)
    out = registration.resample(volume, bump(), like=volume)
    spline = bump().spline
    points = volume.grid.world_mm(np.moveaxis(np.indices(volume.shape), 0, -1))
    np.testing.assert_array_equal(np.isfinite(out.data), spline.covers(points))
    assert np.isnan(bump().apply([[-25.0, 0, 0]])).all()


def test_a_finer_lattice_holds_the_same_displacement():
    coarse = bump().spline
    fine = coarse.refined()
    points = np.random.default_rng(1).uniform(-17, 17, size=(200, 3))
    one, two = (Transform(np.eye(4), spline, "bspline").apply(points) for spline in (coarse, fine))
    np.testing.assert_allclose(two, one, atol=1e-12)
    assert fine.covers([[17.9, 17.9, -17.9]]).all()


def test_labels_and_flags_take_the_nearest_voxel_only():
    labels = Volume(np.arange(60).reshape(5, 4, 3), np.eye(4), "labels", "1")
    shift = np.eye(4)
    shift[0, 3] = 1.2
    out = registration.resample(labels, shift, like=labels, interpolation="nearest")
    np.testing.assert_array_equal(out.data[:4], labels.data[1:])
    assert (out.data[4] == 0).all()
    flags = Volume(np.zeros((5, 4, 3), np.uint16), np.eye(4), "flags", "1")
    moved = registration.resample(flags, shift, like=flags, interpolation="nearest")
    assert (moved.data[4] == Flag.MASKED_OUT).all()
    assert (moved.data[:4] == 0).all()
    for options in ({}, {"interpolation": "nearest", "preserve": "mass"}):
        with pytest.raises(ValueError, match="whole numbers"):
            registration.resample(labels, shift, like=labels, **options)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_threads_do_not_change_a_bit(workers):
    volume = ramp(shape=(30, 31, 29))
    first = registration.resample(volume, bump(), like=volume, interpolation="bspline", preserve="mass")
    again = registration.resample(
        volume, bump(), like=volume, interpolation="bspline", preserve="mass", workers=workers
    )
    assert again.data.tobytes() == first.data.tobytes()


def test_unknown_options_are_usage_errors():
    volume = ramp()
    with pytest.raises(ValueError, match="linear, nearest, bspline"):
        registration.resample(volume, None, like=volume, interpolation="sinc")
    with pytest.raises(ValueError, match="intensity or mass"):
        registration.resample(volume, None, like=volume, preserve="volume")
    for matrix in (np.eye(3), np.diag([-1.0, 1, 1, 1]), np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match="matrix"):
            registration.resample(volume, matrix, like=volume)
