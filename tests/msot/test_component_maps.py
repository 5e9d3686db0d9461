"""Maps of components from optoacoustic images: units, matching of wavelengths, refusals, flags."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

WAVELENGTHS = np.arange(700.0, 881.0, 20.0)
TRUTH = {"Hb": 30.0, "HbO2": 70.0, "ICG": 1.0}
"""umol/L"""


def absorption(wavelengths=WAVELENGTHS):
    """Absorption to base e of `TRUTH`, in 1/cm: ln 10 times molar extinction times concentration."""
    return np.log(10) * sum(
        1e-6 * amount * it.msot.spectra.molar_extinction(name, wavelengths) for name, amount in TRUTH.items()
    )


def image(spectra, wavelengths=WAVELENGTHS, *, quantity="optical_absorption", unit="1/cm", shape=(3, 4, 2)):
    data = np.broadcast_to(np.asarray(spectra, np.float32), (*shape, len(wavelengths)))
    return Volume(data, np.eye(4), quantity, unit, (Axis("wavelength", wavelengths, "nm"),))


def means(unmixed):
    return {name: float(np.nanmean(one.value.data)) for name, one in unmixed.estimates.items()}


@pytest.mark.parametrize("method", ["nnls", "ls", "wls"])
def test_absorption_gives_micromolar(method):
    found = it.msot.unmix(image(absorption()), list(TRUTH), method=method, noise_sd=0.01)
    assert means(found) == pytest.approx(TRUTH, rel=1e-5)
    assert {(one.quantity, one.unit) for one in found.estimates.values()} == {
        ("chromophore_concentration", "umol/L")
    }
    assert found.residual.unit == "1/cm"
    assert float(found.residual.data.max()) < 1e-5


def test_tissue_is_a_share_of_the_volume():
    wavelengths = np.arange(700.0, 951.0, 25.0)
    spectrum = 0.75 * it.msot.spectra.absorption("water", wavelengths)
    found = it.msot.unmix(image(spectrum, wavelengths), ["water"])
    assert found.estimates["water"].quantity == "volume_fraction"
    assert means(found)["water"] == pytest.approx(0.75, rel=1e-5)


def test_arbitrary_units_stay_arbitrary_with_a_caution():
    signal = image(7 * absorption(), quantity="optoacoustic_signal", unit="[arb'U]")
    found = it.msot.unmix(signal, list(TRUTH))
    assert {one.unit for one in found.estimates.values()} == {"[arb'U]"}
    assert "arbitrary-units" in [caution.code for caution in found.cautions]
    assert means(found) == pytest.approx({name: 7 * amount for name, amount in TRUTH.items()}, rel=1e-5)


def test_wavelength_order_of_the_image_and_of_its_components_changes_no_bit(rng):
    noise = 0.02 * rng.standard_normal((3, 4, 2, 10))
    order = rng.permutation(10)
    first = it.msot.unmix(image(absorption() + noise), ["Hb", "HbO2", "ICG"])
    other = it.msot.unmix(
        image((absorption() + noise)[..., order], WAVELENGTHS[order]), ["Hb", "HbO2", "ICG"]
    )
    for name, one in first.estimates.items():
        np.testing.assert_array_equal(one.value.data, other.estimates[name].value.data)
        np.testing.assert_array_equal(one.standard_error.data, other.estimates[name].standard_error.data)
    turned = it.msot.unmix(image(absorption() + noise), ["ICG", "HbO2", "Hb"])
    for name, one in first.estimates.items():
        np.testing.assert_allclose(one.value.data, turned.estimates[name].value.data, rtol=1e-5, atol=1e-6)


def test_wavelengths_in_metres_with_their_unit_are_converted():
    axis = Axis("wavelength", WAVELENGTHS * 1e-9, "m")
    found = it.msot.unmix(image(absorption()).replace(axes=(axis,)), list(TRUTH))
    assert means(found) == pytest.approx(TRUTH, rel=1e-5)


def test_metres_that_are_called_nm_are_refused():
    with pytest.raises(UnitMismatch, match="not in nm"):
        it.msot.unmix(image(absorption(), WAVELENGTHS * 1e-9), list(TRUTH))


def test_time_stays_an_axis():
    rising = absorption() * np.arange(1, 6)[:, np.newaxis]
    axes = Axis("time", np.arange(5.0), "s"), Axis("wavelength", WAVELENGTHS, "nm")
    data = np.broadcast_to(rising.astype(np.float32), (3, 4, 2, 5, 10))
    mask = np.zeros((3, 4, 2))
    mask[1] = 1
    found = it.msot.unmix(Volume(data, np.eye(4), "optical_absorption", "1/cm", axes), list(TRUTH), mask=mask)
    icg = found.estimates["ICG"]
    assert [axis.name for axis in icg.axes] == ["time"]
    np.testing.assert_allclose(icg.value.data[1, 0, 0], np.arange(1, 6), rtol=1e-4)
    assert np.isnan(icg.value.data[0]).all()
    assert (icg.flags.data[0] == Flag.MASKED_OUT.value).all()


def test_a_sample_that_is_not_a_number_gives_none_and_a_flag():
    spectra = np.array(np.broadcast_to(absorption(), (3, 4, 2, 10)))
    spectra[0, 0, 0, 3], spectra[1, 1, 1, 9] = np.nan, np.inf
    found = it.msot.unmix(image(spectra), list(TRUTH)).estimates["HbO2"]
    bad = np.zeros((3, 4, 2), bool)
    bad[0, 0, 0] = bad[1, 1, 1] = True
    np.testing.assert_array_equal(np.isnan(found.value.data), bad)
    np.testing.assert_array_equal(np.isnan(found.standard_error.data), bad)
    np.testing.assert_array_equal(found.flags.data == Flag.INVALID_INPUT.value, bad)


def test_a_negative_component_is_held_at_zero_and_counted():
    spectrum = absorption() - 2 * np.log(10) * 1e-6 * it.msot.spectra.molar_extinction("ICG", WAVELENGTHS)
    held = it.msot.unmix(image(spectrum), list(TRUTH))
    icg = held.estimates["ICG"]
    assert (icg.value.data == 0).all()
    assert (icg.flags.data == Flag.AT_BOUND.value).all()
    assert (held.estimates["HbO2"].flags.data == 0).all()
    assert "many-held-at-zero" in [caution.code for caution in held.cautions]
    assert means(it.msot.unmix(image(spectrum), list(TRUTH), method="ls"))["ICG"] == pytest.approx(
        -1, rel=1e-3
    )


REFUSED = {
    "quantity": (
        lambda: image(absorption(), quantity="signal", unit="[arb'U]"), UnitMismatch, "no optoacoustic signal"
    ),
    "no wavelengths": (lambda: image(absorption()).frame(0), MissingMetadata, "no wavelengths"),
    "repeated": (
        lambda: image(absorption(), [*WAVELENGTHS[:-1], 700.0]), UnsupportedInput, "more than once.* 700"
    ),
    "too few": (
        lambda: image(absorption()[:2], WAVELENGTHS[:2]), IllConditioned, "cannot be told apart by 2 wave"
    ),
    "uncovered": (
        lambda: image(absorption(), WAVELENGTHS + 600), UnsupportedInput, "deoxyhaemoglobin does not cover"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_images_that_cannot_be_unmixed_are_refused(given, error, words):
    with pytest.raises(error, match=words):
        it.msot.unmix(given(), list(TRUTH))


def test_nearly_collinear_components_are_refused():
    spectra = {"a": absorption(), "b": absorption() * (1 + 1e-3 * np.linspace(-1, 1, 10))}
    with pytest.raises(IllConditioned, match="a and b cannot be told apart"):
        it.msot.unmix(image(absorption()), spectra)


def test_noise_of_each_voxel_goes_into_its_errors():
    volume = image(absorption())
    depth = np.broadcast_to(np.array([1.0, 2.0, 4.0])[:, None, None], (3, 4, 2))
    noise = Volume(0.01 * depth, np.eye(4), "optical_absorption", "1/cm")
    plain = it.msot.unmix(volume, list(TRUTH), noise_sd=0.01).estimates["ICG"].standard_error.data
    mapped = it.msot.unmix(volume, list(TRUTH), noise_sd=noise).estimates["ICG"].standard_error.data
    np.testing.assert_allclose(mapped, plain * depth, rtol=1e-5)
    spread = volume.replace(data=np.broadcast_to(noise.data[..., None], volume.shape))
    own = it.msot.unmix(Estimate(volume, spread, flags_of(volume)), list(TRUTH)).estimates["ICG"]
    np.testing.assert_allclose(own.standard_error.data, mapped, rtol=1e-5)
    with pytest.raises(GeometryMismatch, match="grid"):
        it.msot.unmix(volume, list(TRUTH), noise_sd=noise.replace(affine=np.diag([2, 2, 2, 1])))
    with pytest.raises(UnitMismatch, match="another unit"):
        it.msot.unmix(volume, list(TRUTH), noise_sd=noise.replace(quantity="signal", unit="[arb'U]"))


def flags_of(volume):
    return volume.replace(data=np.zeros(volume.shape), quantity="flags", unit="1")


def test_what_all_voxels_share_is_told_apart_from_noise():
    volume = image(absorption())
    spread = volume.replace(data=np.hypot(0.01, 0.1 * volume.data))
    found = it.msot.unmix(Estimate(volume, spread, flags_of(volume), 0.1), list(TRUTH)).estimates["HbO2"]
    noise = it.msot.unmix(volume, list(TRUTH), noise_sd=0.01).estimates["HbO2"].standard_error.data
    assert found.calibration_relative == 0.1
    np.testing.assert_allclose(found.standard_error.data, np.hypot(noise, 0.1 * 70), rtol=1e-4)


def test_spectra_as_numbers_keep_their_own_unit():
    extinction = {name: it.msot.spectra.molar_extinction(name, WAVELENGTHS) for name in TRUTH}
    found = it.msot.unmix(image(absorption()), extinction)
    assert "amount-unit-unknown" in [caution.code for caution in found.cautions]
    assert means(found)["HbO2"] == pytest.approx(np.log(10) * 70e-6, rel=1e-5)
    known = {
        name: it.msot.spectra.component(values, WAVELENGTHS, unit="M") for name, values in extinction.items()
    }
    assert means(it.msot.unmix(image(absorption()), known)) == pytest.approx(TRUTH, rel=1e-5)


def told(unmixed):
    return [caution.code for caution in unmixed.cautions]


@pytest.mark.parametrize("noise", ["one", "of wavelengths", "map"])
def test_a_missing_component_is_told_by_residuals_above_the_noise(rng, noise):
    """20 uM of dye in 5 % of the voxels, which unmixing without it makes haemoglobin of."""
    spread = 0.02 * np.linspace(0.7, 1.3, WAVELENGTHS.size)
    spectra = absorption() + spread * rng.standard_normal((20, 10, 2, WAVELENGTHS.size))
    spectra[0] += np.log(10) * 20e-6 * it.msot.spectra.molar_extinction("IR780", WAVELENGTHS)
    seen = image(spectra, shape=(20, 10, 2))
    given = {
        "one": float(np.sqrt(np.mean(spread**2))),
        "of wavelengths": spread,
        "map": image(spread, shape=(20, 10, 2)),
    }[noise]
    without = it.msot.unmix(seen, list(TRUTH), noise_sd=given)
    (caution,) = [one for one in without.cautions if one.code == "residual-above-noise"]
    assert "in 20 of 400 voxels (5 %)" in caution.message
    assert "residual-above-noise" in [one.code for one in it.msot.oxygenation(without).warnings]
    assert "residual-above-noise" not in told(it.msot.unmix(seen, [*TRUTH, "IR780"], noise_sd=given))


@pytest.mark.parametrize("names", [["Hb", "HbO2"], ["Hb", "HbO2", "ICG"]])
@pytest.mark.parametrize("count", [3, 4, 10])
def test_noise_alone_is_no_reason_to_doubt_the_components(rng, names, count):
    wavelengths = np.linspace(700.0, 880.0, count)
    spectra = np.log(10) * sum(3e-5 * it.msot.spectra.molar_extinction(name, wavelengths) for name in names)
    seen = image(spectra + 0.05 * rng.standard_normal((40, 40, 4, count)), wavelengths, shape=(40, 40, 4))
    for method in ("ls", "nnls"):
        found = it.msot.unmix(seen, names, method=method, noise_sd=0.05, force=True)
        assert "residual-above-noise" not in told(found)
