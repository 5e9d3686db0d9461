"""Speckle with a known point spread, and cines of it as a scanner would store them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

AFFINE = np.diag([-0.1, -0.1, 1.0, 1.0])


def speckle_power(rng, shape, sd=(1.5, 1.0)):
    """Echo power with mean 1: squared modulus of complex Gaussian noise through a Gaussian point spread.

    Its pixels are exponential, and its correlation at distance d is exp(-d^2 / (2 sd^2)) along each axis.
    """
    field = [gaussian_filter(rng.normal(size=shape), sd, mode="wrap") for _ in range(2)]
    # variance of white noise through the discrete kernel
    kernel = gaussian_filter(np.eye(1, shape[0] * shape[1]).reshape(shape), sd, mode="wrap")
    return (field[0] ** 2 + field[1] ** 2) / (2 * np.sum(kernel**2))


def compressed(power, dynamic_range_db=60.0, grey_max=255):
    """What a scanner stores: 0 for a power of 1 and less, `grey_max` at the dynamic range and more."""
    with np.errstate(divide="ignore"):
        level = 10 * np.log10(power)
    return np.clip(np.rint(grey_max * level / dynamic_range_db), 0, grey_max)


def cine(frames, *, time_step_s=0.1, quantity="signal", grey_max=255.0, affine=AFFINE, **record):
    """Frames (columns, rows, n) as a cine."""
    data = np.asarray(frames, float)[:, :, np.newaxis]
    axis = Axis("time", np.arange(data.shape[-1]) * time_step_s, "s")
    unit = {"signal": "[arb'U]", "echo_level": "dB", "echo_intensity": "1"}[quantity]
    acquisition = UltrasoundAcquisition(grey_max=grey_max, **record)
    return Volume(data, affine, quantity, unit, (axis,), acquisition)


def boxes(grid, **corners):
    """Rectangular regions by name: (first column, stop, first row, stop)."""
    masks = {}
    for name, (x0, x1, y0, y1) in corners.items():
        mask = np.zeros(grid.shape, bool)
        mask[x0:x1, y0:y1] = True
        masks[name] = mask
    return Regions.from_masks(masks, grid)


@pytest.fixture
def codes():
    """The codes of cautions."""
    return lambda cautions: [caution.code for caution in cautions]
