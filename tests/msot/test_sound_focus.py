"""The speed of sound of simulated spheres is found back by focus, and errors by a wrong one are seen."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import msot
from imgtheranostics.errors import IllConditioned

TOLERANCE_M_S = 2.0
"""1.4 parts in a thousand: 0.05 mm over the 40 mm of the array's radius, half of the resolution."""


def spheres(seed, n=12, reach=6.0):
    rng = np.random.default_rng(seed)
    return [
        (*rng.uniform(-reach, reach, 2) / np.sqrt(2), 0.0, rng.uniform(0.15, 0.5), rng.uniform(0.5, 2))
        for _ in range(n)
    ]


@pytest.mark.parametrize(("speed", "arc_deg"), [(1402.7, 360.0), (1473.1, 270.0), (1569.4, 270.0)])
def test_focus_finds_the_speed_back(sphere_scan, detector_ring, speed, arc_deg):
    scan = sphere_scan(spheres(1), detector_ring(128, arc_deg), speed, noise=0.002)
    wrong = scan.replace(speed_of_sound_m_s=1500.0)
    options = {"pixel_mm": 0.12, "shape": (101, 101)}
    volume = msot.reconstruct(wrong, speed_of_sound_m_s="focus", **options)
    assert volume.acquisition.speed_of_sound_m_s == pytest.approx(speed, abs=TOLERANCE_M_S)
    assert volume.history[-1].parameters["speed_of_sound_from"] == "focus"
    found = msot.focus_speed_of_sound(wrong, **options)
    assert found.speed_of_sound_m_s == volume.acquisition.speed_of_sound_m_s
    assert (np.diff(found.tried_m_s) > 0).all()
    assert found.sharpness.max() > 1.05 * np.median(found.sharpness)


def test_delay_and_sum_focuses_too(sphere_scan, detector_ring):
    scan = sphere_scan(spheres(2), detector_ring(128), 1523.4)
    found = msot.focus_speed_of_sound(scan, method="delay_and_sum", pixel_mm=0.12, shape=(101, 101))
    assert found.speed_of_sound_m_s == pytest.approx(1523.4, abs=TOLERANCE_M_S)


def test_sharpness_of_noise_is_that_of_a_normal_distribution(rng):
    """E x^2 / (E |x|)^2 = pi / 2."""
    image = rng.standard_normal((400, 400))
    image[:3] = np.nan
    assert msot.reconstruct.sharpness(image) == pytest.approx(np.pi / 2, rel=0.01)
    assert msot.reconstruct.sharpness(np.zeros((3, 3))) == 0.0


def test_a_speed_that_is_one_per_cent_off_blurs(sphere_scan, detector_ring):
    """15 m/s over 40 mm are 0.4 mm, twice the radius of the smaller spheres."""
    scan = sphere_scan(spheres(3), detector_ring(128, 270.0), 1500.0)
    options = {"pixel_mm": 0.12, "shape": (101, 101)}
    right = msot.reconstruct.sharpness(msot.reconstruct(scan, **options).data)
    for speed in (1485.0, 1515.0):
        wrong = msot.reconstruct(scan, speed_of_sound_m_s=speed, **options)
        assert msot.reconstruct.sharpness(wrong.data) < 0.9 * right
        assert wrong.history[-1].parameters["speed_of_sound_from"] == "given"


@pytest.mark.parametrize("seed", range(3))
def test_no_noise_comes_into_focus(sphere_scan, seed):
    noise = np.random.default_rng(seed).standard_normal((1, 1, 128, 2030))
    with pytest.raises(IllConditioned, match="focus"):
        msot.focus_speed_of_sound(sphere_scan([], samples=noise), pixel_mm=0.15, shape=(61, 61))
