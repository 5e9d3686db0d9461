"""Maps of enhancement: the definition, clipped pixels, windows, and the scatter that speckle has."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.ultrasound.enhancement_maps import _cells_of_square
from imgtheranostics.volume import Flag

SHAPE = (80, 80)


def test_each_pixel_is_compared_with_its_own_baseline(cine):
    rng = np.random.default_rng(0)
    power = rng.uniform(100, 200, (*SHAPE, 5))
    volume = cine(power, "echo_intensity")
    found = it.ultrasound.enhancement_map(volume, baseline_frames=2)
    assert (found.quantity, found.unit) == ("echo_enhancement", "dB")
    assert found.axes[0].same_as(volume.axes[0])
    expected = 10 * np.log10(power / power[..., :2].mean(axis=-1, keepdims=True))
    assert_allclose(found.value.data[:, :, 0], expected, atol=1e-5)
    one = it.ultrasound.enhancement_map(volume, baseline_frames=2, frames=(3, 5))
    assert one.axes == ()
    expected = 10 * np.log10(power[..., 3:].mean(axis=-1) / power[..., :2].mean(axis=-1))
    assert_allclose(one.value.data[:, :, 0], expected, atol=1e-5)


def test_window_averages_power_and_not_decibels(cine):
    """3 by 3 around a pixel of a hundred times the power: 10 log10((8 + 100) / 9) = 10.79 dB, not 2.22."""
    power = np.full((*SHAPE, 2), 10.0)
    power[40, 40, 1] = 1000.0
    found = it.ultrasound.enhancement_map(cine(power, "echo_intensity"), baseline_frames=1, window=3)
    assert found.value.data[40, 40, 0, 1] == pytest.approx(10 * np.log10(108 / 9), abs=1e-5)
    assert found.value.data[42, 40, 0, 1] == pytest.approx(0, abs=1e-5)
    assert found.value.data[0, 0, 0, 1] == pytest.approx(0, abs=1e-5)


def test_clipped_pixels_have_no_decibels(cine):
    """U2: clipped pixels are excluded from dB, and flagged."""
    grey = np.full((*SHAPE, 3), 100.0)
    grey[3, 3, 2], grey[9, 9, 2], grey[20, 20, 0] = 255, 0, 255
    found = it.ultrasound.enhancement_map(cine(grey), baseline_frames=1, dynamic_range_db=60)
    flags, value = found.flags.data[:, :, 0], found.value.data[:, :, 0]
    assert flags[3, 3].tolist() == [0, 0, Flag.SATURATED]
    assert flags[9, 9].tolist() == [0, 0, Flag.BELOW_NOISE]
    assert flags[20, 20].tolist() == [Flag.SATURATED] * 3
    assert np.isnan(value[flags != 0]).all()
    assert np.isfinite(value[flags == 0]).all()
    wide = it.ultrasound.enhancement_map(cine(grey), baseline_frames=1, dynamic_range_db=60, window=3)
    assert wide.flags.data[4, 4, 0, 2] == Flag.SATURATED
    assert wide.flags.data[9, 9, 0, 2] == 0


@pytest.mark.parametrize("window", [1, 5, 9])
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0], ids=["new", "partly new", "frozen"])
def test_standard_error_is_the_scatter_of_pixels(speckle, cine, window, share):
    """Of one speckle pattern against another, or partly the same: within 10 % of what the map shows."""
    rng = np.random.default_rng(4)
    shape, sd = (160, 160), (1.2, 1.2)
    frames = [rng_field(rng, shape, sd)]
    for _ in range(3):
        frames.append(np.sqrt(share) * frames[0] + np.sqrt(1 - share) * rng_field(rng, shape, sd))
    power = np.stack([np.abs(field) ** 2 for field in frames], axis=-1) * 1e3
    found = it.ultrasound.enhancement_map(cine(power, "echo_intensity"), baseline_frames=[0], window=window)
    value, error = found.value.data[..., 1:], found.standard_error.data[..., 1:]
    if share == 1.0:
        assert np.nanmax(error) < 0.05
    else:
        assert np.sqrt(np.mean(np.square(error))) == pytest.approx(value.std(), rel=0.1)
    if window == 1 and share == 0.0:
        # the difference of two logarithms of exponential power: sqrt(2) times 5.570 dB of U18
        assert np.mean(error) == pytest.approx(7.877, abs=0.08)


def rng_field(rng, shape, sd):
    from scipy.ndimage import gaussian_filter

    parts = [gaussian_filter(rng.normal(size=shape), sd, mode="wrap") for _ in range(2)]
    return (parts[0] + 1j * parts[1]) / np.std(parts) / np.sqrt(2)


def test_frames_of_a_still_pattern_are_no_independent_ones(speckle, cine):
    rng = np.random.default_rng(4)
    still = speckle(rng, SHAPE) * 1e3
    changing = [speckle(rng, SHAPE) * 1e3 for _ in range(8)]
    agent = speckle(rng, SHAPE) * 1e3
    errors = []
    for baseline in ([still] * 8, changing):
        volume = cine(np.stack([*baseline, agent], axis=-1), "echo_intensity")
        found = it.ultrasound.enhancement_map(volume, baseline_frames=8, frames=[8])
        errors.append(float(np.nanmean(found.standard_error.data)))
    # psi1(1) + psi1(1), and psi1(1) + psi1(8), in dB
    assert errors[0] == pytest.approx(7.88, rel=0.03)
    assert errors[1] == pytest.approx(4.343 * np.sqrt(1.6449 + 0.1331), rel=0.03)


def test_cells_of_a_square():
    """None together: as many as pixels; all in one cell: one; large: the area over that of a cell."""
    assert _cells_of_square(1e-9, 5) == pytest.approx(25)
    assert _cells_of_square(1e9, 5) == pytest.approx(1)
    assert _cells_of_square(20.0, 201) == pytest.approx(201**2 / 20, rel=0.03)


def test_single_pixels_come_with_a_word(cine, codes):
    rng = np.random.default_rng(0)
    volume = cine(rng.exponential(size=(*SHAPE, 3)), "echo_intensity")
    assert "single-cells" in codes(it.ultrasound.enhancement_map(volume, baseline_frames=1).warnings)
    wide = it.ultrasound.enhancement_map(volume, baseline_frames=1, window=7)
    assert "single-cells" not in codes(wide.warnings)


def test_masks_and_tissue_regions_limit_the_map(cine):
    region = {
        "spatial_format": "2d",
        "x0": 10,
        "y0": 0,
        "x1": 79,
        "y1": 79,
        "x_unit": "cm",
        "y_unit": "cm",
        "x_delta": 0.01,
        "y_delta": 0.01,
    }
    volume = cine(np.full((*SHAPE, 2), 100.0), "echo_intensity", regions=(region,))
    mask = np.ones((*SHAPE, 1), bool)
    mask[:, 40:] = False
    found = it.ultrasound.enhancement_map(volume, baseline_frames=1, mask=mask)
    inside = found.flags.data[..., 0] == 0
    assert inside[10:, :40].all()
    assert not inside[:10].any()
    assert not inside[:, 40:].any()
    assert (found.flags.data[~inside] == Flag.MASKED_OUT).all()


def test_what_is_missing_or_no_cine_is_refused(cine):
    volume = cine(np.full((*SHAPE, 2), 100.0))
    with pytest.raises(MissingMetadata, match="--dynamic-range"):
        it.ultrasound.enhancement_map(volume, baseline_frames=1)
    with pytest.raises(MissingMetadata, match="--baseline"):
        it.ultrasound.enhancement_map(volume, baseline_frames=None, dynamic_range_db=60)
    with pytest.raises(ValueError, match="odd"):
        it.ultrasound.enhancement_map(volume, baseline_frames=1, dynamic_range_db=60, window=4)
    with pytest.raises(UnsupportedInput, match="cine"):
        it.ultrasound.enhancement_map(volume.frame(0), baseline_frames=1, dynamic_range_db=60)
