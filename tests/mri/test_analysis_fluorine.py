"""19F concentration on Volumes."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, IllConditioned, MissingMetadata, UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (24, 24, 4)
TUBE = np.zeros(SHAPE, bool)
TUBE[2:7, 2:7] = True
TUMOUR = np.zeros(SHAPE, bool)
TUMOUR[14:20, 14:20] = True
SD = 5.0


def scan(rng, tube=200.0, tumour=60.0):
    amplitude = tube * TUBE + tumour * TUMOUR
    noise = SD * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))
    return Volume(np.abs(amplitude + noise), np.eye(4), "signal", "[arb'U]")


def test_the_tube_gives_the_scale_and_the_noise_its_limit(rng):
    """60 over 200 of a tube of 50 mmol/L is 15 mmol/L; detection at 3 sigma is 50 x 15 / 200."""
    v = scan(rng)
    found = it.mri.fluorine_map(v, TUBE, 50.0, tube_uncertainty_mm=1.0, noise_sd=SD)
    assert (found.quantity, found.unit) == ("agent_concentration", "mmol/L")
    assert found.value.data[TUMOUR].mean() == pytest.approx(15.0, rel=0.02)
    assert found.maps["detection_limit"].data[TUMOUR].mean() == pytest.approx(3.75, rel=0.02)
    assert found.calibration_relative == pytest.approx(0.02, rel=0.1)
    assert found.decisions["calculation"]["counts"] == "19F nuclei"
    assert ((found.flags.data[~TUBE & ~TUMOUR] & Flag.BELOW_NOISE) != 0).mean() > 0.9


def test_the_noise_is_estimated_from_the_background(rng):
    found = it.mri.fluorine_map(scan(rng), Regions.from_masks({"tube": TUBE}, scan(rng).grid), 50.0)
    assert found.decisions["noise_level"]["noise_sd"] == pytest.approx(SD, rel=0.05)
    assert found.value.data[TUMOUR].mean() == pytest.approx(15.0, rel=0.02)


def test_relaxation_weights_scale_the_result(rng):
    v = scan(rng)
    half = Volume(np.full(SHAPE, 0.5), np.eye(4), "signal", "[arb'U]")
    found = it.mri.fluorine_map(v, TUBE, 50.0, noise_sd=SD, weight=half)
    assert found.value.data[TUMOUR].mean() == pytest.approx(30.0, rel=0.02)


def test_refusals(rng):
    v = scan(rng)
    with pytest.raises(MissingMetadata, match="noise level"):
        it.mri.fluorine_map(v, TUBE, 50.0, noise_sd=None)
    with pytest.raises(IllConditioned, match="tube is not detected"):
        it.mri.fluorine_map(scan(rng, tube=0.0), TUBE, 50.0, noise_sd=SD)
    with pytest.raises(GeometryMismatch):
        it.mri.fluorine_map(v, TUBE[:3], 50.0, noise_sd=SD)
    series = Volume(np.ones((*SHAPE, 2)), np.eye(4), "signal", "[arb'U]", (Axis("time", [0.0, 1.0], "s"),))
    with pytest.raises(UnsupportedInput, match="one image"):
        it.mri.fluorine_map(series, TUBE, 50.0, noise_sd=SD)
