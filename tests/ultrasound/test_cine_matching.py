"""Fast matching of frames: known motion found, renewed speckle refused, the slow search where it is open.

Truth is the motion of the simulated scatterers: a complex field of them is shifted and turned before it is
seen as power, by a spline of the fifth order; and the breathing that the phantom states.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import affine_transform, gaussian_filter

import imgtheranostics as it
from imgtheranostics.phantom.ultrasound import _breathing
from imgtheranostics.phantom.ultrasound_cines import cines_of

SHAPE = (120, 96)
PAD = 12
PIXEL_MM = 0.1


def scatterers(rng):
    shape = (SHAPE[0] + 2 * PAD, SHAPE[1] + 2 * PAD)
    field = [gaussian_filter(rng.normal(size=shape), (1.5, 1.0)) for _ in range(2)]
    field = field[0] + 1j * field[1]
    return field / np.sqrt(np.mean(np.abs(field) ** 2))


def turned(motion):
    angle = np.radians(motion[2])
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def seen(field, motion):
    """Echo power of a field that has moved by (i, j, degrees) about the middle of the image."""
    back = turned(motion).T
    middle = (np.array(field.shape) - 1) / 2
    offset = middle - back @ (middle + motion[:2])
    parts = [
        affine_transform(part, back, offset, order=5, mode="nearest") for part in (field.real, field.imag)
    ]
    return (parts[0] ** 2 + parts[1] ** 2)[PAD:-PAD, PAD:-PAD]


def organs():
    x, y = np.indices((SHAPE[0] + 2 * PAD, SHAPE[1] + 2 * PAD))
    first = ((x - 50) / 22) ** 2 + ((y - 45) / 13) ** 2 < 1
    second = ((x - 90) / 12) ** 2 + ((y - 80) / 11) ** 2 < 1
    return 1 + 4 * first + 2 * second


def vessel():
    x, y = np.indices((SHAPE[0] + 2 * PAD, SHAPE[1] + 2 * PAD))
    return ((x - 75) / 20) ** 2 + ((y - 62) / 16) ** 2 < 1


def errors_pixels(motion, truth):
    """Root mean square over the image of how far each frame's transform is off."""
    index = np.stack(np.meshgrid(np.arange(0, SHAPE[0], 5), np.arange(0, SHAPE[1], 5), indexing="ij"), -1)
    index = index.reshape(-1, 2)
    middle = (np.array(SHAPE) - 1) / 2
    off = []
    for matrix, one in zip(motion.report.matrices, truth, strict=True):
        moved = (
            -np.column_stack([-PIXEL_MM * index, np.zeros(len(index)), np.ones(len(index))]) @ matrix[:2].T
        )
        expected = (index - middle) @ turned(one).T + middle + one[:2]
        off.append(np.sqrt(np.mean(np.sum((moved / PIXEL_MM - expected) ** 2, axis=1))))
    return np.array(off)


@pytest.fixture(scope="module")
def motions():
    rng = np.random.default_rng(11)
    found = np.column_stack([rng.uniform(-4, 4, (20, 2)), rng.uniform(-1, 1, 20)])
    found[0] = 0
    return found


@pytest.fixture(scope="module")
def contrast(motions, compressed):
    """An agent arrives in a vessel: ten times as bright, its speckle new in every frame."""
    rng = np.random.default_rng(12)
    field, inside = scatterers(rng), vessel()
    frames = []
    for n, motion in enumerate(motions):
        gain = 10 * min(1.0, max(0.0, (n - 4) / 6))
        flow = np.sqrt(0.1 + gain) * inside * scatterers(rng)
        frames.append(seen(np.sqrt(organs()) * field * np.where(inside, 0.3, 1.0) + flow, motion))
    return compressed(3e3 * np.stack(frames, axis=-1))


@pytest.mark.parametrize("quantity", ["signal", "echo_intensity"])
def test_shifts_and_turns_are_found_while_an_agent_arrives(quantity, contrast, motions, cine):
    data = contrast if quantity == "signal" else 10 ** (6 * contrast / 255)
    _, motion = it.ultrasound.motion_compensate(cine(data, quantity), method="phase", workers=1)
    assert motion.rejected == motion.searched == ()
    off = errors_pixels(motion, motions)
    assert np.sqrt(np.mean(off**2)) < 0.05
    assert off.max() < 0.1
    assert_allclose(np.abs(motion.report.rotation_deg[:, 2]), np.abs(motions[:, 2]), atol=0.1)
    assert (motion.report.residual_mm <= PIXEL_MM * 0.1).all()


def test_any_frame_or_their_mean_may_be_the_reference(contrast, motions, cine):
    volume = cine(contrast)
    _, motion = it.ultrasound.motion_compensate(volume, reference=3, method="phase", workers=1)
    assert motion.report.displacement_mm[3] == 0
    apart = np.array([turned(one - motions[3]) for one in motions])
    expected = np.degrees(np.arctan2(apart[:, 1, 0], apart[:, 0, 0]))
    assert_allclose(np.abs(motion.report.rotation_deg[:, 2]), np.abs(expected), atol=0.15)
    small = volume.replace(
        data=np.asfortranarray(np.repeat(volume.data[..., :1], 3, axis=-1)), axes=cine(contrast[..., :3]).axes
    )
    _, still = it.ultrasound.motion_compensate(small, reference="mean", workers=1)
    assert still.report.reference == "mean"
    assert_allclose(still.report.displacement_mm, 0.0, atol=1e-3)


def test_bytes_do_not_depend_on_workers(contrast, cine):
    volume = cine(contrast)
    one, first = it.ultrasound.motion_compensate(volume, method="phase", workers=1)
    two, second = it.ultrasound.motion_compensate(volume, method="phase", workers=3)
    assert_array_equal(one.data, two.data)
    assert_array_equal(first.report.matrices, second.report.matrices)


@pytest.fixture(scope="module")
def renewed(compressed):
    """Speckle alone, and two frames out of the plane, whose speckle has nothing in common with it."""
    rng = np.random.default_rng(13)
    field = scatterers(rng)
    motions = np.array([(0, 0, 0), (1.5, -2.5, 0.4), (0, 0, 0), (-2.0, 0.5, -0.7), (1.0, 1.0, 0)])
    frames = [seen(scatterers(rng) if n in (2, 4) else field, one) for n, one in enumerate(motions)]
    return compressed(3e3 * np.stack(frames, axis=-1)), motions


def test_renewed_speckle_is_rejected_and_never_given_a_motion(renewed, cine, codes):
    data, motions = renewed
    volume = cine(data)
    result, motion = it.ultrasound.motion_compensate(volume, method="phase", workers=1)
    assert motion.rejected == (2, 4)
    assert motion.searched == ()
    assert np.isnan(motion.report.displacement_mm[[2, 4]]).all()
    assert np.isnan(result.data[..., [2, 4]]).all()
    assert "frames-rejected" in codes(result.warnings)
    assert errors_pixels(motion, motions)[[1, 3]].max() < 0.05


def test_search_decides_only_what_is_open_and_rejects_it_as_well(renewed, cine):
    data, motions = renewed
    result, motion = it.ultrasound.motion_compensate(cine(data), workers=1)
    assert motion.searched == motion.rejected == (2, 4)
    assert not motion.report.registered[[2, 4]].any()
    assert result.history[-1].parameters["searched"] == [2, 4]
    assert errors_pixels(motion, motions)[[1, 3]].max() < 0.05


def test_search_alone_agrees_with_the_fast_way(renewed, cine):
    data = renewed[0][..., [0, 1]]
    found = [
        it.ultrasound.motion_compensate(cine(data), method=method, workers=1)[1].report
        for method in ("phase", "search")
    ]
    assert_allclose(found[0].translation_mm, found[1].translation_mm, atol=0.1 * PIXEL_MM)
    assert_allclose(found[0].rotation_deg, found[1].rotation_deg, atol=0.1)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_residual_grows_with_what_speckle_has_lost(share, compressed, cine):
    """Frames partly out of the plane are less certain, and say so, within a factor of the truth."""
    rng = np.random.default_rng(14)
    field, truth = scatterers(rng), np.array([1.3, -0.6, 0.5])
    frames = [seen(field, (0, 0, 0))]
    for _ in range(12):
        other = np.sqrt(1 - share**2) * field + share * scatterers(rng)
        frames.append(seen(other, truth))
    volume = cine(compressed(3e3 * np.stack(frames, axis=-1)))
    _, motion = it.ultrasound.motion_compensate(volume, method="phase", workers=1)
    kept = np.flatnonzero(motion.report.registered)[1:]
    off = errors_pixels(motion, [np.zeros(3)] + [truth] * 12)[kept]
    claimed = motion.report.residual_mm[kept] / PIXEL_MM
    ratio = np.sqrt(np.mean(off**2) / np.mean(claimed**2))
    assert kept.size >= 10
    assert 0.5 < ratio < 2.0


def test_pixels_that_are_none_matter_inside_the_tissue_only(contrast, motions, cine):
    data = contrast[..., :3].copy()
    data[:6, :, 1] = np.nan
    volume = cine(data)
    mask = np.zeros(volume.grid.shape, bool)
    mask[8:] = True
    _, motion = it.ultrasound.motion_compensate(volume, mask=mask, method="phase", workers=1)
    assert motion.rejected == ()
    assert errors_pixels(motion, motions[:3]).max() < 0.15
    mask[:] = True
    _, motion = it.ultrasound.motion_compensate(volume, mask=mask, method="phase", workers=1)
    assert motion.rejected == (1,)


def test_options_that_do_not_exist_are_refused(contrast, cine):
    volume = cine(contrast[..., :2])
    with pytest.raises(ValueError, match="auto, phase, search"):
        it.ultrasound.motion_compensate(volume, method="fast")
    with pytest.raises(ValueError, match="metric"):
        it.ultrasound.motion_compensate(volume, metric="ssd")
    with pytest.raises(ValueError, match="reference"):
        it.ultrasound.motion_compensate(volume, reference=2)


def test_large_frames_of_pixels_that_are_not_square_turn_in_mm(compressed, cine):
    """Such frames are matched at half their resolution; a turn of mm is no turn of pixels."""
    rng = np.random.default_rng(15)
    shape, spacing = (420, 340), np.array([0.1, 0.16])
    field = [gaussian_filter(rng.normal(size=shape), (3.0, 2.0)) for _ in range(2)]
    middle, shift_mm = (np.array(shape) - 1) / 2, np.array([0.41, -0.75])
    there = turned((0, 0, 0.8)) * spacing / spacing[:, np.newaxis]
    back = np.linalg.inv(there)
    offset = middle - back @ (middle + shift_mm / spacing)
    moved = [affine_transform(part, back, offset, order=3, mode="nearest") for part in field]
    power = [sum(part**2 for part in parts) for parts in (field, moved)]
    grey = compressed(3e5 * np.stack(power, axis=-1) / np.mean(power[0]) / 100)
    volume = cine(grey, affine=np.diag([-spacing[0], -spacing[1], 1, 1]))
    _, motion = it.ultrasound.motion_compensate(volume, method="phase", workers=1)
    assert motion.rejected == ()
    index = np.stack(np.meshgrid(np.arange(0, 420, 20), np.arange(0, 340, 20), indexing="ij"), -1).reshape(
        -1, 2
    )
    expected = ((index - middle) @ there.T + middle) * spacing + shift_mm
    points = np.column_stack([-index * spacing, np.zeros(len(index)), np.ones(len(index))])
    found = -(points @ motion.report.matrices[1].T)[:, :2]
    assert np.sqrt(np.mean(np.sum((found - expected) ** 2, axis=1))) < 0.05 * spacing[0]
    turn = motion.report.matrices[1][:3, :3]
    assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert abs(motion.report.rotation_deg[1, 2]) == pytest.approx(0.8, abs=0.02)


@pytest.fixture(scope="module")
def breathing():
    """Cines of the phantom and their displacement along the depth, pixels."""
    spec = it.phantom.load_spec("us-phase-gas").model_dump(mode="json", exclude_none=True)
    for one in spec["physics"]["ultrasound"]["cines"]:
        one["frames"] = min(one["frames"], 200)
    phantom = it.phantom.make(spec, level=2)

    def make(name):
        n = phantom.names.index(name)
        return phantom.volumes[n], _breathing(phantom.spec, 2, cines_of(phantom.spec)[n])

    return make


@pytest.mark.parametrize("name", ["laser", "bolus"])
def test_breathing_of_the_phantom_is_found_in_every_frame(name, breathing):
    """0.4 mm at 1.5 per s; speckle of 1.2 by 0.8 pixels, half of it renewed: 0.05 pixels rms are reached."""
    volume, truth = breathing(name)
    _, motion = it.ultrasound.motion_compensate(volume, workers=1)
    assert motion.searched == motion.rejected == ()
    inverse = np.linalg.inv(volume.affine[:3, :3])
    off = (motion.report.translation_mm @ inverse.T)[:, :2]
    off[:, 1] -= truth
    assert np.sqrt(np.mean(off**2, axis=0)).max() < 0.06
    assert off.std(axis=0).max() < 0.04
    # the turn adds to it at the far end of the image
    assert np.abs(motion.report.rotation_deg[:, 2]).max() < 0.3
