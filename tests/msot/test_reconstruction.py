"""Reconstruction of spheres whose sound is known in closed form (see conftest.py): place, size and amplitude.

Resolution is about half a wavelength at the upper edge of the band, 0.11 mm at 6.5 MHz and 1490 m/s.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics import msot
from imgtheranostics.volume import Volume

RESOLUTION_MM = 0.115
SMALL = [(0.0, 0.0, 0.0, 0.4, 1.0), (3.1, -1.7, 0.0, 0.4, 2.0), (-2.4, 3.3, 0.0, 0.4, 0.5)]
WIDE = {"pixel_mm": 0.1, "shape": (101, 101), "band_hz": (0.0, 12e6)}


def image_of(volume):
    assert isinstance(volume, Volume)
    return volume.data[:, :, 0, 0].astype(float)


def places(volume):
    """Coordinates of every pixel, in mm."""
    i, j = np.indices(volume.shape[:2])
    return volume.affine[0, 0] * i + volume.affine[0, 3], volume.affine[1, 1] * j + volume.affine[1, 3]


def around(volume, sphere, reach=0.8):
    """Centre of the upper half of what is near a sphere, and the mean within half its radius."""
    x, y = places(volume)
    image, distance = image_of(volume), np.hypot(x - sphere[0], y - sphere[1])
    near = np.where(distance < reach, image, 0)
    high = np.where(near > 0.5 * near.max(), near, 0)
    centre = np.array([(high * x).sum(), (high * y).sum()]) / high.sum()
    return centre, image[distance < sphere[3] / 2].mean()


@pytest.mark.parametrize("arc_deg", [360.0, 270.0])
def test_spheres_come_back_at_their_place_with_their_pressure(sphere_scan, detector_ring, arc_deg):
    volume = msot.reconstruct(sphere_scan(SMALL, detector_ring(256, arc_deg)), **WIDE)
    for sphere in SMALL:
        centre, level = around(volume, sphere)
        assert np.hypot(*(centre - sphere[:2])) < RESOLUTION_MM / 4
        # inside a sphere every detector's 2 p - 2 t dp/dt is its initial pressure; tails of the others remain
        assert level == pytest.approx(sphere[4], abs=0.04)


def test_relative_amplitudes_hold_in_the_default_band(sphere_scan, detector_ring):
    volume = msot.reconstruct(sphere_scan(SMALL, detector_ring(256)), pixel_mm=0.1, shape=(101, 101))
    levels = [around(volume, sphere)[1] for sphere in SMALL]
    assert np.array(levels) / levels[0] == pytest.approx([1.0, 2.0, 0.5], abs=0.04)


def test_a_disc_has_its_radius_and_an_even_inside(sphere_scan, detector_ring):
    disc = (0.8, -0.5, 0.0, 2.5, 3.0)
    volume = msot.reconstruct(sphere_scan([disc], detector_ring(256)), **WIDE)
    x, y = places(volume)
    distance = np.hypot(x - disc[0], y - disc[1])
    image = image_of(volume)
    assert image[distance < 1.0] == pytest.approx(disc[4], rel=0.03)
    rings = [image[np.abs(distance - r) < 0.05].mean() for r in np.arange(2.0, 3.0, 0.05)]
    crossing = np.argmax(np.array(rings) < 0.5 * disc[4])
    assert 2.0 + 0.05 * crossing == pytest.approx(2.5, abs=RESOLUTION_MM)


def test_delay_and_sum_shows_absorbers_bright_and_in_their_place(sphere_scan, detector_ring):
    scan = sphere_scan(SMALL, detector_ring(256))
    volume = msot.reconstruct(scan, method="delay_and_sum", pixel_mm=0.1, shape=(101, 101))
    levels = []
    for sphere in SMALL:
        centre, level = around(volume, sphere)
        assert np.hypot(*(centre - sphere[:2])) < RESOLUTION_MM / 4
        levels.append(level)
    assert np.array(levels) / levels[0] == pytest.approx([1.0, 2.0, 0.5], abs=0.04)


def test_noise_keeps_negative_values(sphere_scan):
    image = image_of(msot.reconstruct(sphere_scan(SMALL, noise=0.01), pixel_mm=0.2, shape=(51, 51)))
    assert (image < 0).mean() > 0.2


def test_the_first_sample_need_not_be_that_of_the_pulse(sphere_scan):
    at_once = msot.reconstruct(sphere_scan(SMALL), pixel_mm=0.2, shape=(51, 51))
    later = msot.reconstruct(sphere_scan(SMALL, first_sample_s=10.4e-6), pixel_mm=0.2, shape=(51, 51))
    # 10.4 us are 416 samples; windows begin at the same time
    assert image_of(later) == pytest.approx(image_of(at_once), abs=5e-4)


def test_a_linear_array_faces_the_image(sphere_scan):
    line = np.column_stack([np.linspace(-20, 20, 200), np.zeros(200), np.zeros(200)])
    sphere = (2.0, 15.0, 0.0, 0.5, 1.0)
    scan = sphere_scan([sphere], line)
    volume = msot.reconstruct(
        scan, pixel_mm=0.1, shape=(61, 61), centre_mm=(1.5, 14.5, 0.0), band_hz=(0, 8e6)
    )
    centre, level = around(volume, sphere, reach=0.5)
    assert np.hypot(*(centre - sphere[:2])) < RESOLUTION_MM / 2
    assert level == pytest.approx(1.0, abs=0.1)


def test_a_sphere_of_detectors_images_a_volume(sphere_scan):
    n = np.arange(1200)
    height, turn = 1 - (2 * n + 1) / 1200, n * np.pi * (3 - np.sqrt(5))
    around_axis = np.sqrt(1 - height**2)
    detectors = 40 * np.column_stack([around_axis * np.cos(turn), around_axis * np.sin(turn), height])
    sphere = (0.6, -0.4, 0.8, 0.8, 1.0)
    scan = sphere_scan([sphere], detectors)
    volume = msot.reconstruct(scan, pixel_mm=0.2, shape=(13, 13, 13), band_hz=(0, 8e6))
    points = volume.affine[:3, :3] @ np.indices((13, 13, 13)).reshape(3, -1) + volume.affine[:3, 3:]
    distance = np.linalg.norm(points.T - sphere[:3], axis=1)
    values = volume.data[..., 0].ravel()
    # with all of the solid angle the reconstruction is exact: 1 inside, 0 outside
    assert values[distance < 0.5] == pytest.approx(1.0, abs=0.1)
    assert values[distance > 1.1] == pytest.approx(0.0, abs=0.1)
    assert volume.grid.spacing_mm == pytest.approx((0.2, 0.2, 0.2))


def test_an_impulse_response_is_taken_out(sphere_scan, detector_ring):
    """A delayed and ringing response moves and distorts the image; without it both are as they were."""
    scan = sphere_scan(SMALL[:1], detector_ring(128))
    time = (np.arange(2030) - 1015) / 40e6
    response = np.exp(-(((time - 0.2e-6) / 0.08e-6) ** 2)) * np.cos(2 * np.pi * 4e6 * (time - 0.2e-6))
    heard = np.apply_along_axis(
        lambda row: np.convolve(row, response)[1015 : 1015 + 2030], 1, scan.samples[0, 0]
    )
    marked = response.copy()
    marked[0] = 1e3
    blurred = scan.replace(samples=heard[None, None], impulse_response=marked)
    options = {"pixel_mm": 0.1, "shape": (41, 41), "band_hz": (1e6, 7e6)}
    truth = image_of(msot.reconstruct(scan, **options))
    sharp = msot.reconstruct(blurred, **options)
    left = image_of(msot.reconstruct(blurred, deconvolve=False, **options))
    assert np.corrcoef(image_of(sharp).ravel(), truth.ravel())[0, 1] > 0.95
    assert np.corrcoef(left.ravel(), truth.ravel())[0, 1] < 0.7
    assert sharp.history[-1].parameters["impulse_response"] == "deconvolved"
    assert "impulse-response-cut" in {caution.code for caution in sharp.warnings}


@pytest.mark.parametrize("method", ["backprojection", "delay_and_sum", "model"])
def test_bytes_do_not_depend_on_workers(sphere_scan, method):
    scan = sphere_scan(SMALL, noise=0.01)
    options = {"method": method, "pixel_mm": 0.2, "shape": (41, 41), "max_iterations": 5}
    one, all_of_them = (msot.reconstruct(scan, workers=workers, **options) for workers in (1, None))
    assert one.data.tobytes() == all_of_them.data.tobytes()


@given(
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.sampled_from(["backprojection", "delay_and_sum"]),
    st.integers(0, 99),
)
@settings(max_examples=15)
def test_images_are_linear_in_the_signals(sphere_scan, first, second, method, seed):
    one, other = sphere_scan(SMALL[:2], noise=0.01), sphere_scan(SMALL[1:])
    noise = np.random.default_rng(seed).standard_normal(other.samples.shape).astype(np.float32)
    other = other.replace(samples=other.samples + noise)
    both = one.replace(samples=first * one.samples + second * other.samples + np.float32(1e-6) * noise)
    options = {"method": method, "pixel_mm": 0.4, "shape": (15, 15)}
    images = [msot.reconstruct(scan, **options).data.astype(float) for scan in (one, other, both)]
    scale = np.abs(images).max() * max(abs(first), abs(second), 1)
    assert images[2] == pytest.approx(first * images[0] + second * images[1], abs=float(2e-5 * scale))


def test_turning_the_scanner_turns_the_image(sphere_scan, detector_ring):
    """By a quarter: x becomes y, and y becomes -x."""
    positions = detector_ring(96, 270.0)
    turned = np.column_stack([-positions[:, 1], positions[:, 0], positions[:, 2]])
    sphere = (2.0, 0.7, 0.0, 0.4, 1.0)
    moved = (-0.7, 2.0, 0.0, 0.4, 1.0)
    options = {"pixel_mm": 0.2, "shape": (41, 41)}
    image = image_of(msot.reconstruct(sphere_scan([sphere], positions), **options))
    other = image_of(msot.reconstruct(sphere_scan([moved], turned), **options))
    i, j = np.indices((41, 41))
    assert other[40 - j, i] == pytest.approx(image, abs=1e-3)
