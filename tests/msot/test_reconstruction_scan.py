"""The public raw scan of a mouse (msot.md, section 5.2): focus, order of detectors, contrast of the animal.

The picture was looked at: a slice through the pelvis with the spine near (-2, 2) mm and its process towards
+y, which is dorsal here; lumps under the skin on both sides, the larger one around (5, 4) mm.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from imgtheranostics import msot


@pytest.fixture(scope="module")
def scan(public_data):
    return msot.load_signals(public_data("msot/ithera_scan_9") / "Scan_9.msot")


@pytest.fixture(scope="module")
def volume(scan):
    return msot.reconstruct(scan, speed_of_sound_m_s="focus")


def test_focus_lies_between_heavy_water_and_tissue(volume):
    """Heavy water of 33 C has about 1420 m/s, muscle 1580; most of the way is in the couplant.

    Base and offset of the file against water of 33.27 C (1516 m/s, Marczak 1997): 1516 - 90 + 43 = 1469.
    """
    assert volume.acquisition.speed_of_sound_m_s == pytest.approx(1469, abs=8)


def local_power(volume, width=13):
    """Mean square of a back-projection within about 1 mm."""
    return scipy.ndimage.uniform_filter(volume.data[:, :, 0, 0].astype(float) ** 2, width)


def inside_brighter(power):
    """How often a pixel of the animal's middle is brighter than one of the couplant; 1/2 by chance."""
    place = (np.arange(333) - 166) * 0.075
    x, y = np.meshgrid(place, place, indexing="ij")
    couplant = np.sort(power[(np.hypot(x, y) > 10.5) & (y > 0)])
    return float(np.mean(np.searchsorted(couplant, power[np.hypot(x, y) < 7]) / couplant.size))


def test_the_animal_stands_out_from_the_couplant(scan, volume):
    """The field is 25 mm; the animal fills its middle. With detectors in random order nothing stands out."""
    assert volume.shape == (333, 333, 1, 1)
    assert volume.grid.spacing_mm == pytest.approx((0.075, 0.075, 1.0))
    assert inside_brighter(local_power(volume)) > 0.85
    order = np.random.default_rng(1).permutation(256)
    shuffled = msot.reconstruct(scan.replace(samples=scan.samples[:, :, order]), speed_of_sound_m_s=1470.0)
    assert inside_brighter(local_power(shuffled)) < 0.75


def test_detectors_are_in_the_order_of_their_positions(scan, volume):
    """Exchanging neighbours blurs; a mirrored or turned ring would not, and only the file tells."""
    options = {
        "speed_of_sound_m_s": volume.acquisition.speed_of_sound_m_s,
        "pixel_mm": 0.15,
        "shape": (167, 167),
    }
    sharp = msot.reconstruct.sharpness(msot.reconstruct(scan, **options).data)
    exchanged = scan.replace(samples=scan.samples[:, :, np.arange(256) ^ 1])
    assert msot.reconstruct.sharpness(msot.reconstruct(exchanged, **options).data) < 0.85 * sharp


def test_the_impulse_response_makes_it_sharper(scan, volume):
    speed = volume.acquisition.speed_of_sound_m_s
    without = msot.reconstruct(scan, speed_of_sound_m_s=speed, deconvolve=False)
    assert msot.reconstruct.sharpness(volume.data) > 1.05 * msot.reconstruct.sharpness(without.data)
    codes = {caution.code for caution in volume.warnings}
    assert {"impulse-response-cut", "orientation-not-stated"} <= codes


def test_without_a_speed_the_offset_is_not_taken_for_one(scan, volume):
    found = msot.reconstruct(scan)
    told = next(caution for caution in found.warnings if caution.code == "speed-of-sound-focused")
    assert "43 m/s, which is no speed" in told.message
    assert found.acquisition.speed_of_sound_m_s == volume.acquisition.speed_of_sound_m_s
