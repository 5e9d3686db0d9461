"""Residuals with a spectrum of their own: an absorber that is not among the components is told of."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import msot
from imgtheranostics.msot.residual_spectrum import spectrum_cautions
from imgtheranostics.msot.spectra import molar_extinction
from imgtheranostics.volume import Axis, Volume

WAVELENGTHS = np.linspace(680.0, 980.0, 31)
BLOOD = ("HbO2", "Hb")


def image(dye_umol_l, *, noise=0.01, shape=(20, 20, 5), seed=1):
    """Absorption in 1/cm of blood, and of IR780 in the first tenth of the voxels."""
    rng = np.random.default_rng(seed)
    extinction = {
        name: np.log(10.0) * 1e-6 * molar_extinction(name, WAVELENGTHS) for name in (*BLOOD, "IR780")
    }
    amounts = rng.uniform(20.0, 80.0, (2, int(np.prod(shape))))
    data = sum(np.outer(amount, extinction[name]) for amount, name in zip(amounts, BLOOD, strict=True))
    data[: len(data) // 10] += dye_umol_l * extinction["IR780"]
    data += np.broadcast_to(noise, WAVELENGTHS.shape) * rng.standard_normal(data.shape)
    axis = Axis("wavelength", WAVELENGTHS, "nm")
    return Volume(data.reshape(*shape, 31), np.eye(4), "optical_absorption", "1/cm", (axis,))


def told(found):
    return [c for c in found.cautions if c.code == "residual-has-a-spectrum"]


def test_a_dye_that_is_left_out_is_told_with_where_it_absorbs():
    """In a tenth of the voxels, without any noise level given: saturation there is off by tens of points."""
    scan = image(0.7)
    found = msot.unmix(scan, BLOOD, method="ls")
    (caution,) = told(found)
    assert "760 nm" in caution.message or "780 nm" in caution.message or "790 nm" in caution.message
    assert not told(msot.unmix(scan, (*BLOOD, "IR780"), method="ls"))
    saturation = msot.oxygenation(found).so2
    assert caution.code in {one.code for one in saturation.warnings}


@pytest.mark.parametrize("method", ["ls", "nnls"])
def test_noise_is_no_spectrum_even_beside_an_absent_component(method):
    for seed in range(20):
        assert not told(msot.unmix(image(0.0, seed=seed), (*BLOOD, "IR780"), method=method))


def test_noise_that_differs_with_the_wavelength_is_none():
    loud = np.full(31, 0.01)
    loud[7] = 0.1
    assert not told(msot.unmix(image(0.0, noise=loud), BLOOD))
    rising = np.geomspace(0.01, 0.02, 31)
    assert not told(msot.unmix(image(0.0, noise=rising), BLOOD))


def test_sums_of_the_components_leave_nothing():
    assert not told(msot.unmix(image(0.0, noise=0.0), BLOOD, method="ls"))


def test_few_voxels_or_wavelengths_tell_nothing():
    scan = image(0.7)
    assert not told(msot.unmix(scan, BLOOD, mask=np.arange(2000).reshape(20, 20, 5) < 400))
    rng = np.random.default_rng(0)
    assert spectrum_cautions(rng.normal(size=(5, 1000)), np.eye(5)[:, :2], None, WAVELENGTHS[:5]) == ()


def test_voxels_that_are_no_numbers_do_not_count():
    scan = image(0.7)
    data = scan.data.copy()
    data[10:, :, :, 3] = np.nan
    assert told(msot.unmix(scan.replace(data=data), BLOOD))
