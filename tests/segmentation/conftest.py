"""Spheres blurred in closed form: made by integration of the point spread, not by the code under test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.volume import Volume

SD_PER_FWHM = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))


def blurred_profile(distance_mm, diameter_mm, fwhm_mm):
    """Shells of the sphere, each spread by the Gaussian over its own solid angle (numerical integral)."""
    sd = fwhm_mm * SD_PER_FWHM
    r = np.atleast_1d(np.asarray(distance_mm, float))[..., np.newaxis]
    n = 500
    a = (np.arange(n) + 0.5) * (0.5 * diameter_mm) / n
    r = np.maximum(r, 1e-3)
    shell = np.exp(-((r - a) ** 2) / (2 * sd**2)) - np.exp(-((r + a) ** 2) / (2 * sd**2))
    return np.sum(a / r * shell, axis=-1) * (0.5 * diameter_mm / n) / (sd * math.sqrt(2 * math.pi))


def _image(places, spacing, fwhm_mm, background, shape):
    spacing = np.broadcast_to(np.asarray(spacing, float), (3,))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * (np.array(shape) - 1) * spacing
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = index * spacing + affine[:3, 3]
    data = np.full(shape, float(background))
    for centre, diameter, level in places:
        distance = np.linalg.norm(world - np.array(centre), axis=-1)
        table = np.linspace(0.0, distance.max() + 1.0, 800)
        shown = blurred_profile(table, diameter, fwhm_mm)
        data += (level - background) * np.interp(distance, table, shown)
    return Volume(data, affine, "suv_bw", "g/mL")


@pytest.fixture(scope="session")
def spheres():
    """Factory: spheres (centre, diameter, level) on a background, noise-free and blurred."""

    def make(places, *, spacing=2.0, fwhm_mm=5.0, background=1.0, shape=(48, 46, 44)):
        return _image(places, spacing, fwhm_mm, background, shape)

    return make


@pytest.fixture(scope="session")
def profile():
    """What a blurred sphere shows at distances from its centre."""
    return blurred_profile
