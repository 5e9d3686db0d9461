"""Sound of uniform spheres in closed form, and detector arrays, for reconstructions of a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.optoacoustic_signals import OptoacousticSignals

RATE_HZ = 40e6
SAMPLES = 2030
RADIUS_MM = 40.5


def ring(n, arc_deg=360.0, radius_mm=RADIUS_MM):
    """Detectors on an arc around z that is open at the bottom."""
    start = 90 - arc_deg / 2
    angles = np.radians(start + (np.arange(n) + 0.5) * arc_deg / n)
    return radius_mm * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(n)])


def spheres_heard(detectors_mm, spheres, speed_m_s, *, first_s=0.0, n_samples=SAMPLES, rate_hz=RATE_HZ):
    """Signals of uniform spheres (x, y, z, radius in mm, initial pressure), mean over each sampling interval.

    Inside a distance of the radius about the arrival, p = p0 (d - c t) / (2 d): the N-shaped wave of a sphere
    (Diebold, Sun and Khan, doi:10.1103/PhysRevLett.67.3384). Its integral over time is
    p0 (a^2 - (d - c t)^2) / (4 d c), of which differences give the means.
    """
    speed = speed_m_s * 1e3
    ends = first_s + (np.arange(n_samples + 1) - 0.5) / rate_hz
    signals = np.zeros((len(detectors_mm), n_samples))
    for x, y, z, radius, pressure in spheres:
        distance = np.linalg.norm(detectors_mm - [x, y, z], axis=1)[:, None]
        inside = np.maximum(radius**2 - (distance - speed * ends) ** 2, 0)
        signals += pressure * np.diff(inside / (4 * distance * speed), axis=1) * rate_hz
    return signals


@pytest.fixture(scope="session")
def sphere_scan():
    """Make signals of spheres: ``sphere_scan(spheres, detectors_mm=None, speed_m_s=1490, ...)``."""

    def make(spheres, detectors_mm=None, speed_m_s=1490.0, *, noise=0.0, **fields):
        detectors = ring(128) if detectors_mm is None else detectors_mm
        first = fields.get("first_sample_s", 0.0)
        signals = spheres_heard(detectors, spheres, speed_m_s, first_s=first)
        if noise:
            signals = signals + noise * np.random.default_rng(0).standard_normal(signals.shape)
        given = {
            "samples": signals[np.newaxis, np.newaxis],
            "wavelength_nm": [700.0],
            "sampling_rate_hz": RATE_HZ,
            "detector_positions_mm": detectors,
            "speed_of_sound_m_s": speed_m_s,
        }
        return OptoacousticSignals(**(given | fields))

    return make


@pytest.fixture(scope="session")
def detector_ring():
    """``detector_ring(n, arc_deg=360, radius_mm=40.5)``: positions in mm."""
    return ring
