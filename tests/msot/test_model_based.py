"""Model-based reconstruction against dense solvers of SciPy on a matrix that is written out here."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from imgtheranostics import msot

PIXEL_MM, SIDE, SPEED_MM_S, RATE_HZ = 0.3, 8, 1.49e6, 40e6
BAND_HZ = (2e5, 5e6)
OPTIONS = {
    "method": "model",
    "pixel_mm": PIXEL_MM,
    "shape": (SIDE, SIDE),
    "band_hz": BAND_HZ,
    "max_iterations": 5000,
    "tolerance": 1e-6,
}


def band_passed(signals):
    """Zero-phase Butterworth of 4th order forwards and backwards, 1/2 at both edges, by transforms."""
    length = 1 << 13
    frequency = np.fft.rfftfreq(length, 1 / RATE_HZ)
    with np.errstate(divide="ignore"):
        gain = 1 / (1 + (BAND_HZ[0] / frequency) ** 8) / (1 + (frequency / BAND_HZ[1]) ** 8)
    return np.fft.irfft(np.fft.rfft(signals, length) * gain, length)[..., : signals.shape[-1]]


def sound_of_pixels(detectors):
    """Signals (pixels, detectors, samples) of each pixel's Gaussian ball, x fastest.

    Balls are 0.6 pixels wide and scaled so that a uniform image is 1. As any spherical source f(r) is heard
    as (d - c t) f(|d - c t|) / (2 d) where it does not reach the detector, so is p0 exp(-r^2 / 2 s^2).
    """
    width = 0.6 * PIXEL_MM
    places = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    y, x = np.meshgrid(places, places, indexing="ij")
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(SIDE**2)])
    distance = np.linalg.norm(detectors - points[:, None], axis=2)[..., None]
    away = distance - SPEED_MM_S * np.arange(2030) / RATE_HZ
    return away / (2 * distance) * np.exp(-(away**2) / (2 * width**2)) / (2 * np.pi * 0.6**2)


@pytest.fixture(scope="module")
def problem(detector_ring):
    """Detectors, their signals of a partly negative image, and the small system of the same solutions.

    With A = Q R, |A x - y| is least where |R x - Q^T y| is, with bounds or without.
    """
    detectors = detector_ring(24, 270.0)
    sound = sound_of_pixels(detectors)
    image = np.random.default_rng(5).normal(0.2, 0.6, SIDE**2)
    signals = np.tensordot(image, sound, 1)
    q, r = np.linalg.qr(band_passed(sound).reshape(SIDE**2, -1).T)
    return detectors, signals, r, q.T @ band_passed(signals).ravel()


def scan_of(sphere_scan, detectors, signals):
    return sphere_scan([], detectors, samples=signals.reshape(1, 1, 24, 2030))


def test_a_fit_without_negative_values_is_that_of_scipy_nnls(sphere_scan, problem):
    detectors, signals, matrix, heard = problem
    expected, _ = scipy.optimize.nnls(matrix, heard)
    volume = msot.reconstruct(scan_of(sphere_scan, detectors, signals), **OPTIONS)
    found = volume.data[:, :, 0, 0].T.ravel()
    assert 0.2 < (expected == 0).mean() < 0.8
    assert found == pytest.approx(expected, abs=1e-4 * expected.max())
    assert volume.history[-1].parameters["converged"] == [True]


def test_a_free_fit_is_that_of_scipy_lsq_linear(sphere_scan, problem):
    detectors, signals, matrix, heard = problem
    ridge = 0.1 * np.linalg.norm(matrix, 2)
    stacked = np.vstack([matrix, ridge * np.eye(SIDE**2)])
    expected = scipy.optimize.lsq_linear(stacked, np.append(heard, np.zeros(SIDE**2))).x
    volume = msot.reconstruct(
        scan_of(sphere_scan, detectors, signals), non_negative=False, regularisation=0.1, **OPTIONS
    )
    found = volume.data[:, :, 0, 0].T.ravel()
    assert (expected < 0).any()
    assert found == pytest.approx(expected, abs=1e-4 * expected.max())


def test_spheres_come_back_at_their_place_in_proportion(sphere_scan, detector_ring):
    spheres = [(-0.9, 0.6, 0.0, 0.25, 1.0), (0.9, -0.6, 0.0, 0.25, 2.0)]
    volume = msot.reconstruct(
        sphere_scan(spheres, detector_ring(64)),
        method="model",
        pixel_mm=0.1,
        shape=(31, 31),
        max_iterations=60,
    )
    image = volume.data[:, :, 0, 0].astype(float)
    assert image.min() >= 0
    x, y = (np.indices((31, 31)) - 15) * 0.1
    sums = []
    for sphere in spheres:
        near = image * (np.hypot(x - sphere[0], y - sphere[1]) < 0.6)
        assert (near * x).sum() / near.sum() == pytest.approx(sphere[0], abs=0.02)
        assert (near * y).sum() / near.sum() == pytest.approx(sphere[1], abs=0.02)
        sums.append(near.sum())
    assert sums[1] / sums[0] == pytest.approx(2.0, rel=0.03)


def test_iterations_that_end_too_early_are_told(sphere_scan):
    scan = sphere_scan([(0.0, 0.0, 0.0, 0.5, 1.0)])
    volume = msot.reconstruct(scan, **OPTIONS | {"max_iterations": 3})
    assert "not-converged" in {caution.code for caution in volume.warnings}
    assert volume.history[-1].parameters["iterations"] == [3]
    assert volume.history[-1].parameters["converged"] == [False]


def test_the_impulse_response_is_part_of_the_model(sphere_scan, detector_ring):
    """A response that delays by 0.2 us moves nothing: sound of the model goes through it as well."""
    sphere = (0.4, -0.3, 0.0, 0.3, 1.0)
    scan = sphere_scan([sphere], detector_ring(64))
    time = (np.arange(2030) - 1015) / RATE_HZ
    response = np.exp(-(((time - 0.2e-6) / 0.06e-6) ** 2))
    heard = np.apply_along_axis(
        lambda row: np.convolve(row, response)[1015 : 1015 + 2030], 1, scan.samples[0, 0]
    )
    volume = msot.reconstruct(
        scan.replace(samples=heard[None, None], impulse_response=response),
        method="model", pixel_mm=0.1, shape=(21, 21), max_iterations=40,
    )  # fmt: skip
    image = volume.data[:, :, 0, 0].astype(float)
    x, y = (np.indices((21, 21)) - 10) * 0.1
    assert (image * x).sum() / image.sum() == pytest.approx(sphere[0], abs=0.03)
    assert (image * y).sum() / image.sum() == pytest.approx(sphere[1], abs=0.03)
