"""Back-projection against a plain NumPy loop over detectors, the model of sound against its definition."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.kernels import optoacoustic_model as model
from imgtheranostics.kernels.backprojection import project_back

PHASES = 64


def numpy_back_projection(signals, detectors, directional, x, y, z, scale, first):
    """Weighted mean over detectors, float64, as a vectorised loop over detectors."""
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    points = np.stack([xx, yy, zz], axis=-1).astype(float)
    total, weights, edge = np.zeros((len(signals), *xx.shape)), np.zeros(xx.shape), np.zeros(xx.shape, bool)
    time = np.arange(signals.shape[2])
    for number, (place, normal) in enumerate(zip(detectors[:, :3], detectors[:, 3:], strict=True)):
        away = points - place
        distance = np.linalg.norm(away, axis=-1)
        sample = distance * scale - first
        heard = (sample >= 0) & (sample < signals.shape[2] - 1)
        edge |= np.minimum(np.abs(sample), np.abs(sample - signals.shape[2] + 1)) < 1e-2
        weight = np.maximum(away @ normal, 0) / distance**3 if directional else np.ones(xx.shape)
        weight = np.where(heard, weight, 0)
        weights += weight
        for image in range(len(signals)):
            total[image] += weight * np.interp(sample, time, signals[image, number])
    with np.errstate(invalid="ignore"):
        return total / np.where(weights > 0, weights, np.nan), edge


def scene(seed, n_images=2, n_detectors=7):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n_detectors)
    inwards = -np.stack([np.cos(angles), np.sin(angles), rng.uniform(-0.3, 0.3, n_detectors)], axis=1)
    detectors = np.hstack([-20 * inwards, inwards]).astype(np.float32)
    signals = rng.standard_normal((n_images, n_detectors, 400)).astype(np.float32)
    axes = [np.sort(rng.uniform(-6, 6, n)).astype(np.float32) for n in rng.integers(1, 12, 3)]
    return signals, detectors, axes


@given(st.integers(0, 10_000), st.booleans(), st.floats(10.0, 20.0), st.floats(-20.0, 200.0))
def test_images_are_those_of_a_numpy_loop(seed, directional, scale, first):
    signals, detectors, (x, y, z) = scene(seed)
    signals = np.cumsum(signals, axis=2) / 10
    out = np.empty((len(signals), len(z), len(y), len(x)), np.float32)
    scale, first = np.float32(scale), np.float32(first)
    project_back(signals, detectors, directional, x, y, z, scale, first, out)
    expected, edge = numpy_back_projection(signals, detectors, directional, x, y, z, scale, first)
    # times of flight are rounded to 1e-4 samples: at an end of the recording they may fall on either side
    inner = np.broadcast_to(~edge, out.shape)
    steepest = np.abs(np.diff(signals, axis=2)).max()
    assert out[inner] == pytest.approx(expected[inner], abs=float(3e-4 * steepest + 1e-5), nan_ok=True)


def test_bytes_do_not_depend_on_the_number_of_threads(rng):
    signals, detectors, _ = scene(3, n_detectors=20)
    x = np.linspace(-6, 6, 50).astype(np.float32)
    images = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        out = np.empty((2, 1, 50, 50), np.float32)
        project_back(signals, detectors, True, x, x, x[:1] * 0, np.float32(15), np.float32(0), out)
        images.append(out.tobytes())
    assert images[0] == images[1]


def test_voxels_that_no_detector_heard_are_nan():
    signals, detectors, _ = scene(5)
    x = np.linspace(-5, 5, 20).astype(np.float32)
    out = np.empty((2, 1, 20, 20), np.float32)
    project_back(signals, detectors, False, x, x, x[:1] * 0, np.float32(15), np.float32(10_000), out)
    assert np.isnan(out).all()


def gaussian_pulse(delay):
    return -delay * np.exp(-(delay**2) / (2 * 1.5**2))


def pulse_table(half=10):
    delays = np.arange(2 * half) - half - np.arange(PHASES + 1)[:, None] / PHASES
    return gaussian_pulse(delays).astype(np.float32)


def sound_scene(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-4, 4, (30, 3))
    detectors = rng.uniform(-1, 1, (6, 3)) + np.array([0, 0, 15])
    return rng, points, detectors


@given(st.integers(0, 10_000), st.floats(0.0, 150.0))
def test_sound_is_the_sum_of_pulses_over_distance(seed, first):
    rng, points, detectors = sound_scene(seed)
    image = rng.standard_normal(30).astype(np.float32)
    out = np.empty((6, 250), np.float32)
    model.forward(image, points, detectors, pulse_table(), 12.3, first, out)
    distance = np.linalg.norm(detectors[:, None] - points, axis=-1)
    arrival = distance * 12.3 - first
    pulses = gaussian_pulse(np.arange(250) - arrival[..., None]) / distance[..., None]
    # linear between 64 phases: an eighth of the squared step times the second derivative, 1.4 at most
    assert out == pytest.approx(np.einsum("p,dpt->dt", image, pulses), abs=30 * (1 / 64) ** 2 * 1.4 / 8 / 10)


@given(st.integers(0, 10_000), st.floats(0.0, 150.0))
def test_adjoint_is_the_transpose(seed, first):
    rng, points, detectors = sound_scene(seed)
    image, signals = rng.standard_normal(30).astype(np.float32), rng.standard_normal((6, 250))
    signals = signals.astype(np.float32)
    heard, back = np.empty((6, 250), np.float32), np.empty(30, np.float32)
    model.forward(image, points, detectors, pulse_table(), 12.3, first, heard)
    padded = np.pad(signals, ((0, 0), (20, 20)))
    model.adjoint(padded, points, detectors, pulse_table(), 12.3, first, back)
    scale = float(np.linalg.norm(heard) * np.linalg.norm(signals))
    assert np.vdot(heard, signals) == pytest.approx(np.vdot(image, back), abs=1e-5 * scale)
