"""What a reconstruction refuses, leaves out or notes (msot.md, sections 2 and 5; inputs.md)."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import msot
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)

SPHERE = [(0.5, -0.4, 0.0, 0.5, 1.0)]
SMALL = {"pixel_mm": 0.2, "shape": (31, 31)}


@pytest.fixture
def scan(sphere_scan):
    return sphere_scan(SPHERE)


def codes(volume):
    return [caution.code for caution in volume.warnings]


def test_unknown_speed_is_that_of_the_sharpest_image_and_an_offset_is_no_speed(scan):
    unknown = scan.replace(speed_of_sound_m_s=None, speed_of_sound_offset_m_s=43.0)
    found = msot.reconstruct(unknown, **SMALL)
    focused = msot.reconstruct(unknown, speed_of_sound_m_s="focus", **SMALL)
    np.testing.assert_array_equal(found.data, focused.data)
    told = next(caution for caution in found.warnings if caution.code == "speed-of-sound-focused")
    assert "43 m/s, which is no speed" in told.message
    assert "speed-of-sound-focused" not in codes(focused)
    assert found.history[-1].parameters["speed_of_sound_from"] == "focus, since the scan states none"


def test_an_offset_given_as_speed_is_refused(scan):
    with pytest.raises(ImplausibleValue, match="offset"):
        msot.reconstruct(scan, speed_of_sound_m_s=43.0, **SMALL)


@pytest.mark.parametrize("speed", [1.49, 343.0, 5900.0, -1490.0, float("nan")])
def test_speeds_of_no_tissue_are_refused(scan, speed):
    with pytest.raises(ImplausibleValue, match="no tissue"):
        msot.reconstruct(scan, speed_of_sound_m_s=speed, **SMALL)


def test_a_word_that_is_not_focus_is_refused(scan):
    with pytest.raises(ValueError, match="'focus'"):
        msot.reconstruct(scan, speed_of_sound_m_s="auto", **SMALL)


def test_missing_positions_are_refused(scan):
    with pytest.raises(MissingMetadata, match="positions of the detectors are not stated"):
        msot.reconstruct(scan.replace(detector_positions_mm=None), **SMALL)


def test_positions_in_metres_are_refused(scan):
    with pytest.raises(UnitMismatch, match="metres"):
        msot.reconstruct(scan.replace(detector_positions_mm=scan.detector_positions_mm / 1e3), **SMALL)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused(scan, value):
    positions = scan.detector_positions_mm.copy()
    positions[7, 1] = value
    with pytest.raises(ImplausibleValue, match="not finite"):
        msot.reconstruct(scan.replace(detector_positions_mm=positions), **SMALL)


def test_positions_at_one_place_are_refused(scan):
    with pytest.raises(ImplausibleValue, match="one place"):
        msot.reconstruct(scan.replace(detector_positions_mm=np.ones((128, 3))), **SMALL)


def test_a_sampling_rate_in_megahertz_is_refused(scan):
    with pytest.raises(ImplausibleValue, match="sampling rate"):
        msot.reconstruct(scan.replace(sampling_rate_hz=40.0), **SMALL)


@pytest.mark.parametrize("band", [(0.05, 6.5), (50.0, 6500.0)])
def test_a_band_in_mega_or_kilohertz_is_refused(scan, band):
    with pytest.raises(ImplausibleValue, match="multiply both edges by 1e6 if they are in MHz"):
        msot.reconstruct(scan, band_hz=band, **SMALL)


@pytest.mark.parametrize("band", [(5e4, 1e6, 6e6), (6e6,), 6e6])
def test_a_band_has_two_edges(scan, band):
    with pytest.raises(ValueError, match="two frequencies"):
        msot.reconstruct(scan, band_hz=band, **SMALL)


def test_pixels_in_metres_are_refused(scan):
    with pytest.raises(ImplausibleValue, match="multiply it by 1000"):
        msot.reconstruct(scan, pixel_mm=75e-6, shape=(31, 31))


@pytest.mark.parametrize("shape", [31, (31,), (31, 30.5), (0, 31), (3, 3, 3, 3)])
def test_a_shape_is_two_or_three_whole_numbers(scan, shape):
    with pytest.raises(ValueError, match="two or three positive whole numbers"):
        msot.reconstruct(scan, pixel_mm=0.2, shape=shape)


def test_scattered_detectors_have_no_direction_but_can_be_summed(sphere_scan, rng):
    directions = rng.standard_normal((128, 3))
    scattered = directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(25, 45, (128, 1))
    scan = sphere_scan(SPHERE, scattered)
    options = SMALL | {"centre_mm": (0, 0, 0)}
    with pytest.raises(MissingMetadata, match="which way they face"):
        msot.reconstruct(scan, **options)
    image = msot.reconstruct(scan, method="delay_and_sum", **options).data[:, :, 0, 0]
    i, j = np.unravel_index(image.argmax(), image.shape)
    assert (0.2 * (i - 15), 0.2 * (j - 15)) == pytest.approx((0.5, -0.4), abs=0.2)


def test_an_image_that_reaches_the_detectors_is_refused(scan):
    with pytest.raises(GeometryMismatch, match="reaches the detectors"):
        msot.reconstruct(scan, pixel_mm=1.0, shape=(81, 81))


def test_a_recording_that_ended_before_the_image_is_refused(scan):
    with pytest.raises(GeometryMismatch, match="nothing of the image was recorded"):
        msot.reconstruct(scan.replace(samples=scan.samples[..., 700:1200]), **SMALL)


def test_pixels_beyond_the_recording_are_nan_and_told(scan):
    assert "outside-recording" not in codes(msot.reconstruct(scan, **SMALL))
    few = scan.detector_positions_mm[:8]
    short = scan.replace(samples=scan.samples[:, :, :8, :1085], detector_positions_mm=few)
    volume = msot.reconstruct(short, **SMALL)
    assert 0 < np.isnan(volume.data).sum() < volume.data.size
    assert "outside-recording" in codes(volume)


@pytest.mark.parametrize("fault", [np.nan, 0.0])
def test_detectors_without_a_signal_are_left_out(scan, fault):
    """Leaving three of 128 detectors out is as if they had never been there."""
    broken = scan.samples.copy()
    broken[:, :, 40:43] = fault
    if np.isnan(fault):
        broken[:, :, 40:43, 1:] = 5.0
    volume = msot.reconstruct(scan.replace(samples=broken), **SMALL)
    kept = np.delete(np.arange(128), [40, 41, 42])
    without = scan.replace(
        samples=scan.samples[:, :, kept], detector_positions_mm=scan.detector_positions_mm[kept]
    )
    assert volume.data == pytest.approx(msot.reconstruct(without, **SMALL).data, abs=1e-6)
    assert codes(volume).count("detectors-left-out") == 1
    assert volume.history[-1].parameters["detectors_used"] == 125


def test_a_scan_of_silence_is_refused(scan):
    with pytest.raises(CorruptInput, match="too few detectors"):
        msot.reconstruct(scan.replace(samples=np.zeros_like(scan.samples)), **SMALL)


def test_noise_does_not_come_into_focus(scan, rng):
    noise = rng.standard_normal(scan.samples.shape).astype(np.float32)
    with pytest.raises(IllConditioned, match="focus"):
        msot.reconstruct(scan.replace(samples=noise), speed_of_sound_m_s="focus", **SMALL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "method"),
        ({"band_hz": (7e6, 1e6)}, "band_hz"),
        ({"band_hz": (1e5, 25e6)}, "band_hz"),
        ({"pixel_mm": 0.0}, "pixel_mm"),
        ({"pixel_mm": float("nan")}, "pixel_mm"),
        ({"shape": (10,)}, "shape"),
        ({"shape": (10, 0)}, "shape"),
        ({"shape": (10.5, 10)}, "shape"),
        ({"centre_mm": (0.0, 0.0)}, "centre_mm"),
        ({"orientation": "RRS"}, "orientation"),
        ({"orientation": "XYZ"}, "orientation"),
        ({"frames": "movie"}, "frames"),
        ({"slice_thickness_mm": -1.0}, "slice_thickness_mm"),
        ({"regularisation": -0.1}, "regularisation"),
        ({"method": "model", "pixel_mm": 0.01}, "finer"),
    ],
)
def test_options_that_do_not_fit_are_refused(scan, options, words):
    with pytest.raises(ValueError, match=words):
        msot.reconstruct(scan, **SMALL | options)


def test_arrays_that_are_no_ring_need_shape_and_centre(sphere_scan):
    line = np.column_stack([np.linspace(-20, 20, 64), np.zeros(64), np.zeros(64)])
    scan = sphere_scan([(0.0, 15.0, 0.0, 0.5, 1.0)], line)
    with pytest.raises(ValueError, match="shape is needed"):
        msot.reconstruct(scan)
    with pytest.raises(ValueError, match="centre_mm is needed"):
        msot.reconstruct(scan, shape=(21, 21))


def test_an_impulse_response_without_a_middle_is_not_used(scan):
    mark = np.zeros(2030)
    mark[0] = 1e3
    volume = msot.reconstruct(scan.replace(impulse_response=mark), **SMALL)
    assert "impulse-response-not-used" in codes(volume)
    assert volume.history[-1].parameters["impulse_response"] == "not deconvolved"
    assert volume.data == pytest.approx(msot.reconstruct(scan, **SMALL).data, abs=1e-6)
