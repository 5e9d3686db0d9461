"""Rigid motion of cines: known shifts undone, no average of decibels, failed frames named."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import UnsupportedInput

SHAPE = (80, 96)
SHIFTS = np.array([(0, 0), (2, -3), (-4, 1), (0, 0), (3, 3)])
LOST = 3


def tissue():
    x, y = np.indices(SHAPE)
    first = ((x - 40) / 18) ** 2 + ((y - 36) / 13) ** 2 < 1
    second = ((x - 60) / 9) ** 2 + ((y - 70) / 11) ** 2 < 1
    return 1 + 4 * first + 2 * second


@pytest.fixture(scope="module")
def moved(speckle):
    """Frames of linear power, moved by whole pixels and brightening; one of them shows something else."""
    rng = np.random.default_rng(3)
    still = 1e3 * tissue() * speckle(rng, SHAPE)
    frames = [np.roll((1 + 0.3 * n) * still, shift, axis=(0, 1)) for n, shift in enumerate(SHIFTS)]
    frames[LOST] = 1e3 * rng.exponential(size=SHAPE)
    return np.stack(frames, axis=-1)


@pytest.fixture(scope="module")
def compensated(moved, cine, compressed):
    volume = cine(compressed(moved, dynamic_range_db=70))
    return volume, *it.ultrasound.motion_compensate(volume, workers=1)


def test_known_shifts_are_found_and_undone_in_grey(compensated):
    volume, result, motion = compensated
    assert result.quantity == "signal"
    kept = [n for n in range(5) if n != LOST]
    shift_pixels = -motion.report.translation_mm[kept, :2] / 0.1
    assert_allclose(shift_pixels, SHIFTS[kept], atol=0.1)
    inner = (slice(8, -8), slice(8, -8), 0)
    for n in kept:
        found, still = result.data[inner][..., n], volume.data[inner][..., 0]
        expected = np.clip(still + 255 / 70 * 10 * np.log10(1 + 0.3 * n), 0, 255)
        bright = (still > 0) & (expected < 255)
        assert_allclose(found[bright], expected[bright], atol=1.0)


def test_grey_levels_are_moved_and_never_averaged(compensated):
    """A mean of two grey levels is a mean of decibels: every level in the result is one of the frame."""
    volume, result, _ = compensated
    for n in (1, 2, 4):
        found = result.data[..., n]
        assert np.isin(found[np.isfinite(found)], volume.data[..., n]).all()


def test_frame_that_cannot_be_registered_is_named_and_counts_nowhere(compensated, codes):
    _, result, motion = compensated
    assert motion.rejected == (LOST,)
    assert np.isnan(result.data[..., LOST]).all()
    assert "frames-rejected" in codes(result.warnings)
    assert f"frame {LOST} " in next(c.message for c in motion.warnings if c.code == "frames-rejected")
    assert "sample-not-registered" not in codes(result.warnings)
    assert result.history[-1].parameters["rejected"] == [LOST]


def test_enhancement_of_a_moving_region_is_right_only_after_compensation(compensated, boxes):
    volume, result, _ = compensated
    rois = boxes(volume, bright=(30, 52, 28, 44))
    truth = 10 * np.log10(1 + 0.3 * np.arange(5))
    options = {"rois": rois, "baseline_frames": [0], "dynamic_range_db": 70}
    still = it.ultrasound.enhancement(result, **options)
    still = still[still.quantity == "echo_enhancement"]["mean"].to_numpy()
    kept = [1, 2, 4]
    assert_allclose(still[kept], truth[kept], atol=0.05)
    assert np.isnan(still[LOST])


def test_linear_power_is_interpolated_and_clipped_pixels_stay_clipped(moved, cine, compressed, codes):
    grey = compressed(moved[..., :2], dynamic_range_db=70)
    grey[40:44, 36:40] = 255
    linear = it.ultrasound.linearise(cine(grey), dynamic_range_db=70)
    result, motion = it.ultrasound.motion_compensate(linear, workers=1)
    assert motion.rejected == ()
    before = it.ultrasound.clipped(linear).saturated[..., 1].sum()
    after = it.ultrasound.clipped(result).saturated[..., 1].sum()
    assert after >= before == 16
    inner = (slice(8, -8), slice(8, -8), 0)
    assert result.data[inner][..., 1].mean() == pytest.approx(linear.data[inner][..., 1].mean(), rel=0.1)


def test_still_frames_stay_voxel_for_voxel(moved, cine, compressed):
    grey = compressed(np.repeat(moved[..., :1], 3, axis=-1), dynamic_range_db=70)
    result, motion = it.ultrasound.motion_compensate(cine(grey), workers=1)
    assert_array_equal(result.data[:, :, 0], grey)
    assert motion.rejected == ()
    assert not motion.report.corrected.any()


def test_rejected_frames_may_stay_and_residuals_have_a_limit(moved, cine, compressed):
    grey = compressed(moved[..., [0, LOST]], dynamic_range_db=70)
    result, motion = it.ultrasound.motion_compensate(cine(grey), rejected="keep", workers=1)
    assert motion.rejected == (1,)
    assert_array_equal(result.data[:, :, 0], grey)


def test_what_is_no_cine_is_refused(cine):
    volume = cine(np.full((*SHAPE, 3), 100.0))
    with pytest.raises(UnsupportedInput, match="cine"):
        it.ultrasound.motion_compensate(volume.frame(0))
    with pytest.raises(ValueError, match="nan or keep"):
        it.ultrasound.motion_compensate(volume, rejected="drop")
