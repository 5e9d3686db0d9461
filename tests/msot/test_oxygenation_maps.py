"""Maps of oxygen saturation: errors by repetition, weak and negative haemoglobin, order, units, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.spectra import component
from imgtheranostics.volume import Axis, Estimate, Flag, Volume, make_step

WAVELENGTHS = np.arange(700.0, 900.0, 20.0)
NOISE = 0.004
"""1/cm per wavelength, about 1 % of the absorption of 100 umol/L of haemoglobin."""
SHAPE = (20, 20, 10)


def absorption(wavelengths=WAVELENGTHS, **umol):
    """1/cm to base e: ln 10 times molar extinction times concentration (msot.md M2)."""
    return sum(c * 1e-6 * component(name, wavelengths).natural for name, c in umol.items())


def scan(spectra, *, quantity="optical_absorption", wavelengths=WAVELENGTHS, noise=NOISE, rng=None, axes=()):
    """The spectrum in every voxel, or one spectrum in each part of them."""
    data = np.broadcast_to(spectra, (*SHAPE, *np.shape(spectra)))
    if rng is not None:
        data = data + rng.normal(0.0, noise, data.shape)
    unit = {"optical_absorption": "1/cm", "optoacoustic_signal": "[arb'U]"}[quantity]
    return Volume(data, np.eye(4), quantity, unit, (*axes, Axis("wavelength", wavelengths, "nm")))


@pytest.mark.parametrize("method", ["ls", "nnls", "wls"])
@pytest.mark.parametrize("noise_sd", [None, NOISE])
def test_saturation_haemoglobin_and_their_errors(method, noise_sd, rng):
    """Truth 70 % of 100 umol/L; standard errors within 10 % of the scatter of 4,000 voxels (issue 7)."""
    if method == "wls":
        noise_sd = np.full(WAVELENGTHS.size, NOISE)
    found = it.msot.oxygenation(scan(absorption(HbO2=70, Hb=30), rng=rng), method=method, noise_sd=noise_sd)
    for estimate, truth, quantity in ((found.so2, 70.0, "so2"), (found.thb, 100.0, "thb")):
        value, error = estimate.value.data.astype(float), estimate.standard_error.data
        assert estimate.quantity == quantity
        assert np.mean(value) == pytest.approx(truth, abs=4 * np.std(value) / np.sqrt(value.size))
        assert np.sqrt(np.mean(error**2)) == pytest.approx(np.std(value), rel=0.1)
        assert not estimate.flags.data.any()
    assert (found.so2.unit, found.thb.unit) == ("%", "umol/L")
    assert found.warnings == ()


def test_other_absorbers_do_not_enter_the_saturation(rng):
    found = it.msot.oxygenation(
        scan(absorption(HbO2=70, Hb=30, ICG=1.0), rng=rng), ["Hb", "ICG", "HbO2"], noise_sd=NOISE
    )
    value = found.so2.value.data.astype(float)
    assert np.mean(value) == pytest.approx(70.0, abs=4 * np.std(value) / np.sqrt(value.size))
    assert np.sqrt(np.mean(found.so2.standard_error.data**2)) == pytest.approx(np.std(value), rel=0.1)
    without = it.msot.oxygenation(scan(absorption(HbO2=70, Hb=30, ICG=1.0)))
    assert abs(float(without.so2.value.data[0, 0, 0]) - 70.0) > 1.0


def test_the_order_of_wavelengths_and_components_changes_nothing(rng):
    """msot.md section 6; a peer swaps HbO2 and Hb in silence."""
    volume = scan(absorption(HbO2=70, Hb=30), rng=rng)
    order = rng.permutation(WAVELENGTHS.size)
    shuffled = scan(np.zeros(WAVELENGTHS.size), wavelengths=WAVELENGTHS[order]).replace(
        data=volume.data[..., order]
    )
    one, two = it.msot.oxygenation(volume), it.msot.oxygenation(shuffled, ["deoxyhemoglobin", "oxy-Hb"])
    np.testing.assert_array_equal(one.so2.value.data, two.so2.value.data)
    np.testing.assert_allclose(one.so2.standard_error.data, two.so2.standard_error.data, rtol=1e-6)


def test_tissue_without_haemoglobin_has_no_saturation_and_its_haemoglobin_stays_unbiased(rng):
    """msot.md section 2: sO2 of THb = 0 or below passes at a peer. Clipping would bias the mean upwards."""
    found = it.msot.oxygenation(scan(np.zeros(WAVELENGTHS.size), rng=rng), noise_sd=NOISE)
    total, flags = found.thb.value.data.astype(float), found.so2.flags.data
    assert np.mean(total) == pytest.approx(0.0, abs=4 * np.std(total) / np.sqrt(total.size))
    hidden = ~np.isfinite(found.so2.value.data)
    assert hidden.mean() > 0.99
    assert (flags[hidden] & (Flag.BELOW_NOISE.value | Flag.NEGATIVE_AMPLITUDE.value) != 0).all()
    assert (flags[total <= 0] & Flag.NEGATIVE_AMPLITUDE.value != 0).all()
    assert not found.thb.flags.data.any()


def test_an_amount_held_at_zero_is_flagged():
    """Arterial blood with too little Hb: non-negative unmixing says 100 %, at a bound."""
    volume = scan(absorption(HbO2=100) - absorption(Hb=5))
    bounded, free = (it.msot.oxygenation(volume, method=m, noise_sd=NOISE) for m in ("nnls", "ls"))
    assert (bounded.so2.value.data == 100.0).all()
    assert (bounded.so2.flags.data == Flag.AT_BOUND.value).all()
    assert (free.so2.value.data > 100.0).all()
    assert (free.so2.flags.data == Flag.OUTSIDE_RANGE.value).all()


def test_a_dye_held_at_zero_is_no_matter_of_the_saturation():
    volume = scan(absorption(HbO2=70, Hb=30) - absorption(ICG=0.3))
    found = it.msot.oxygenation(volume, ["HbO2", "Hb", "ICG"], method="nnls", noise_sd=NOISE)
    assert not found.so2.flags.data.any()


def test_arbitrary_units_keep_the_saturation_and_say_so_of_haemoglobin():
    signal = scan(1e3 * absorption(HbO2=70, Hb=30), quantity="optoacoustic_signal")
    found = it.msot.oxygenation(signal)
    assert float(found.so2.value.data[0, 0, 0]) == pytest.approx(70.0, abs=1e-3)
    assert (found.thb.quantity, found.thb.unit) == ("relative_thb", "[arb'U]")
    assert {"arbitrary-units", "fluence-not-corrected"} <= {caution.code for caution in found.warnings}
    corrected = signal.replace(history=(make_step("fluence_correction"),))
    codes = {caution.code for caution in it.msot.oxygenation(corrected).warnings}
    assert "fluence-not-corrected" not in codes


def test_a_shared_calibration_is_in_haemoglobin_and_cancels_in_the_saturation(rng):
    volume = scan(absorption(HbO2=70, Hb=30), rng=rng)
    error = volume.replace(data=np.hypot(NOISE, 0.1 * volume.data))
    flags = volume.replace(data=np.zeros(volume.shape), quantity="flags", unit="1")
    found = it.msot.oxygenation(Estimate(volume, error, flags, 0.1))
    plain = it.msot.oxygenation(volume, noise_sd=NOISE)
    np.testing.assert_allclose(found.so2.standard_error.data, plain.so2.standard_error.data, rtol=0.01)
    assert found.thb.calibration_relative == 0.1
    assert float(found.thb.standard_error.data.mean()) == pytest.approx(10.0, rel=0.01)


def test_masked_and_missing_voxels_are_nan_and_flagged():
    data = np.broadcast_to(absorption(HbO2=70, Hb=30), (*SHAPE, WAVELENGTHS.size)).copy()
    data[1, 1, 1, 2] = np.nan
    mask = np.ones(SHAPE)
    mask[0] = 0
    found = it.msot.oxygenation(scan(absorption(HbO2=70, Hb=30)).replace(data=data), mask=mask)
    assert (found.so2.flags.data[0] == Flag.MASKED_OUT.value).all()
    assert found.so2.flags.data[1, 1, 1] == Flag.INVALID_INPUT.value
    assert np.count_nonzero(~np.isfinite(found.so2.value.data)) == SHAPE[1] * SHAPE[2] + 1
    assert np.array_equal(np.isfinite(found.thb.value.data), np.isfinite(found.so2.value.data))


def test_frames_of_a_series_are_unmixed_one_by_one():
    frames = np.stack([absorption(HbO2=share, Hb=100 - share) for share in (60.0, 80.0)])
    found = it.msot.oxygenation(scan(frames, axes=(Axis("time", [0.0, 10.0], "s"),)))
    assert found.so2.axes[0].name == "time"
    assert found.so2.value.data[0, 0, 0].tolist() == pytest.approx([60.0, 80.0], abs=1e-3)


def test_what_was_unmixed_already_gives_the_same(rng):
    volume = scan(absorption(HbO2=70, Hb=30), rng=rng)
    unmixed = it.msot.unmix(volume, ["HbO2", "Hb"], method="ls")
    np.testing.assert_array_equal(
        it.msot.oxygenation(unmixed).so2.value.data, it.msot.oxygenation(volume).so2.value.data
    )
    with pytest.raises(UnknownChoice, match=r"method=.*force="):
        it.msot.oxygenation(unmixed, method="nnls", force=True)


@pytest.mark.parametrize("names", [["HbO2"], ["Hb", "ICG"], ["water"]])
def test_one_haemoglobin_is_not_enough(names):
    with pytest.raises(UnsupportedInput, match="both forms"):
        it.msot.oxygenation(scan(absorption(HbO2=70, Hb=30)), names)
    unmixed = it.msot.unmix(scan(absorption(HbO2=70, Hb=30)), names)
    with pytest.raises(UnsupportedInput, match="both forms"):
        it.msot.oxygenation(unmixed)
