"""Speckle with a known point spread, and cines of it as a scanner would store them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

AFFINE = np.diag([-0.1, -0.1, 1.0, 1.0])
UNITS = {"signal": "[arb'U]", "echo_level": "dB", "echo_intensity": "1"}


@pytest.fixture(scope="session")
def speckle():
    """``speckle(rng, shape, sd)``: echo power of mean 1, fully developed.

    Squared modulus of complex white noise through a Gaussian point spread of that standard deviation: pixels
    are exponential, and correlated by exp(-d^2 / (2 sd^2)) along each axis.
    """

    def make(rng, shape, sd=(1.5, 1.0)):
        point = np.zeros(shape)
        point[shape[0] // 2, shape[1] // 2] = 1.0
        power = 2.0 * np.sum(gaussian_filter(point, sd, mode="wrap") ** 2)
        parts = [gaussian_filter(rng.normal(size=shape), sd, mode="wrap") for _ in range(2)]
        return (parts[0] ** 2 + parts[1] ** 2) / power

    return make


@pytest.fixture(scope="session")
def compressed():
    """``compressed(power)``: what a scanner stores, 0 for a power of 1 and less, 255 from 60 dB on."""

    def make(power, dynamic_range_db=60.0, grey_max=255):
        with np.errstate(divide="ignore"):
            level = 10 * np.log10(power)
        return np.clip(np.rint(grey_max * level / dynamic_range_db), 0, grey_max)

    return make


@pytest.fixture(scope="session")
def cine():
    """``cine(frames, quantity)``: frames (columns, rows, n) as a Volume along time, 0.1 s apart."""

    def make(frames, quantity="signal", *, time_s=None, affine=AFFINE, warnings=(), **record):
        data = np.asarray(frames, float)[:, :, np.newaxis]
        times = np.arange(data.shape[-1]) * 0.1 if time_s is None else np.asarray(time_s, float)
        known = {"grey_max": 255.0, **record}
        return Volume(
            data,
            affine,
            quantity,
            UNITS[quantity],
            (Axis("time", times, "s"),),
            UltrasoundAcquisition(**known),
            warnings=tuple(warnings),
        )

    return make


@pytest.fixture(scope="session")
def boxes():
    """``boxes(volume, name=(first column, stop, first row, stop))``: rectangular regions."""

    def make(volume, **corners):
        masks = {}
        for name, (x0, x1, y0, y1) in corners.items():
            mask = np.zeros(volume.grid.shape, bool)
            mask[x0:x1, y0:y1] = True
            masks[name] = mask
        return Regions.from_masks(masks, volume.grid)

    return make


@pytest.fixture(scope="session")
def codes():
    """The codes of cautions."""
    return lambda cautions: [caution.code for caution in cautions]
