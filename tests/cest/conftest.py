"""Images of known Z-spectra: sums of Lorentzian lines (cest.md F8), in closed form."""

import numpy as np
import pytest

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.volume import Axis, Volume

SHAPE = (5, 4, 3)
OFFSETS = np.linspace(-6.0, 6.0, 49)
LABEL_PPM, LABEL_WIDTH = 3.5, 1.2


def line(w, centre, width, amplitude):
    """Lorentzian of full width at half maximum `width`."""
    half = (width / 2.0) ** 2
    return amplitude * half / (half + (w - centre) ** 2)


def z_of(w, label):
    """Water line of 0.85 and 1.6 ppm, and a label at 3.5 ppm of 1.2 ppm width and the given amplitude."""
    return 1.0 - line(w, 0.0, 1.6, 0.85) - line(w, LABEL_PPM, LABEL_WIDTH, label)


class Made:
    """A scan with its truth."""

    def __init__(self, volume, b0, label, m0):
        self.volume, self.b0, self.label, self.m0 = volume, b0, label, m0

    def contrast(self, at=LABEL_PPM):
        """MTRasym in %, in closed form."""
        return 100.0 * (z_of(-at, self.label) - z_of(at, self.label))


@pytest.fixture
def made():
    """Factory: ``made(shift=..., noise=..., ...)`` gives a `Made`."""

    def make(
        *,
        shape=SHAPE,
        offsets=OFFSETS,
        m0_at=(0,),
        shift=0.0,
        label=0.06,
        noise=0.0,
        seed=0,
        saturation=None,
        affine=None,
        frequency_mhz=123.2,
        order=None,
    ):
        rng = np.random.default_rng(seed)
        b0 = np.broadcast_to(np.asarray(shift, float), shape)
        amount = np.broadcast_to(np.asarray(label, float), shape)
        m0 = 800.0 + 200.0 * np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
        listed = list(offsets)
        for place in m0_at:
            listed.insert(place, np.nan)
        axis = np.array(listed)
        signal = np.empty((*shape, axis.size))
        for n, offset in enumerate(axis):
            z = 1.0 if np.isnan(offset) else z_of(offset - b0, amount)
            signal[..., n] = m0 * z
        signal += rng.normal(0.0, 1.0, signal.shape) * noise * m0[..., None] if noise else 0.0
        if order is not None:
            axis, signal = axis[order], signal[..., order]
        record = MrAcquisition(
            field_strength_t=3.0,
            imaging_frequency_mhz=frequency_mhz,
            saturation={"b1_rms_ut": 2.0} if saturation is None else saturation,
        )
        volume = Volume(
            signal,
            np.diag([0.5, 0.5, 1.0, 1.0]) if affine is None else affine,
            "signal",
            "[arb'U]",
            (Axis("saturation_offset", axis, "ppm"),),
            record,
        )
        return Made(volume, b0, amount, m0)

    return make


@pytest.fixture
def b0_volume():
    """Factory: a map of b0 on the grid of a scan."""

    def make(like, values, quantity="b0_shift", unit="ppm", affine=None):
        data = np.broadcast_to(np.asarray(values, float), like.grid.shape)
        return Volume(data, like.affine if affine is None else affine, quantity, unit)

    return make
