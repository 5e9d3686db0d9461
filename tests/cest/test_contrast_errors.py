"""Standard errors and flags of contrasts: against the scatter of repeats, and rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.cest import contrast
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.volume import Flag

OFFSETS = np.linspace(-6.0, 6.0, 61)
NOISE = 0.01
REPEATS = 4000
AT = [1.05, 2.0, 3.5]


def line(ppm, amplitude, width, centre):
    return amplitude * (width / 2) ** 2 / ((width / 2) ** 2 + (ppm - centre) ** 2)


def spectrum(ppm, b0=0.0):
    ppm = np.asarray(ppm) - b0
    return 1 - line(ppm, 0.85, 1.4, 0) - line(ppm, 0.1, 1.5, 3.5) - line(ppm, 0.08, 4, -3.5)


KINDS = {
    "mtr_asym": {},
    "mtr_norm_ref": {},
    "pcm": {},
    "mtr_rex": {},
    "arex": {"t1_s": 1.4, "duty_cycle": 0.6},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise_known", [True, False])
def test_standard_errors_are_the_scatter_of_repeats(kind, noise_known, rng):
    """Between samples and on them, for a water that lies between samples too."""
    b0 = 0.073
    z = spectrum(OFFSETS, b0) + rng.normal(0, NOISE, (REPEATS, OFFSETS.size))
    noise = NOISE if noise_known else None
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=AT, b0_ppm=b0, noise_sd=noise, **KINDS[kind])
    found, error = fit.parameters[kind], fit.standard_errors[kind]
    assert found.shape == error.shape == fit.flags.shape == (REPEATS, 3)
    assert not fit.flags.any()
    np.testing.assert_allclose(error.mean(axis=0), found.std(axis=0, ddof=1), rtol=0.06)
    assert fit.units == {kind: "1/s" if kind == "arex" else "1"}


def test_near_water_the_common_samples_count(rng):
    """At 0.03 ppm both sides are the same samples: their difference is far less noisy than the two alone."""
    z = spectrum(OFFSETS) + rng.normal(0, NOISE, (REPEATS, OFFSETS.size))
    fit = contrast.measure("mtr_asym", z, OFFSETS, at_ppm=0.03, noise_sd=NOISE)
    error = float(fit.standard_errors["mtr_asym"].mean())
    assert error == pytest.approx(fit.parameters["mtr_asym"].std(ddof=1), rel=0.06)
    assert error < 0.5 * NOISE


@pytest.mark.parametrize("kind", ["mtr_asym", "mtr_rex"])
def test_what_is_not_known_of_water_counts_by_the_slope(kind, rng):
    """Water drawn with its standard error, no noise: the scatter is the b0 term alone."""
    error_ppm = 0.02
    z = spectrum(OFFSETS)
    b0 = rng.normal(0, error_ppm, REPEATS)
    many = np.broadcast_to(z, (REPEATS, OFFSETS.size))
    scatter = contrast.measure(kind, many, OFFSETS, at_ppm=[1.0, 3.0], b0_ppm=b0, noise_sd=0.0)
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=[1.0, 3.0], b0_ppm=0.0, b0_se_ppm=error_ppm, noise_sd=0.0)
    np.testing.assert_allclose(
        fit.standard_errors[kind], scatter.parameters[kind].std(axis=0, ddof=1), rtol=0.06
    )


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *((kind, False) for kind in (*KINDS, "lorentzian_difference")),
        *((kind, True) for kind in list(KINDS)[1:]),
    ],
)
def test_what_is_not_known_of_m0_scales_the_spectrum(kind, given, rng):
    """M0 drawn with its standard error, no noise; a given reference does not scale with it."""
    error = 0.01
    options = KINDS.get(kind, {}) | ({"reference": 0.9} if given else {})
    z = spectrum(OFFSETS)
    many = z / rng.normal(1, error, (REPEATS, 1))
    scatter = contrast.measure(kind, many, OFFSETS, at_ppm=[2.0, 3.5], noise_sd=0.0, **options)
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=[2.0, 3.5], noise_sd=0.0, m0_relative_se=error, **options)
    np.testing.assert_allclose(
        fit.standard_errors[kind], scatter.parameters[kind].std(axis=0, ddof=1), rtol=0.1, atol=1e-12
    )


def test_what_is_not_known_of_t1_and_of_the_reference_counts(rng):
    z = spectrum(OFFSETS)
    known = {"at_ppm": 3.5, "reference": 0.95, "noise_sd": 0.0}
    fit = contrast.measure("arex", z, OFFSETS, t1_s=1.5, t1_se_s=0.05, reference_se=0.01, **known)
    t1 = rng.normal(1.5, 0.05, 200_000)
    reference = rng.normal(0.95, 0.01, 200_000)
    label = contrast.measure("mtr_rex", z, OFFSETS, **known).parameters["mtr_rex"] + 1 / 0.95
    scatter = np.std((label - 1 / reference) / t1)
    assert float(fit.standard_errors["arex"][0]) == pytest.approx(scatter, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_array_functions(kind, rng):
    z = spectrum(OFFSETS) + rng.normal(0, NOISE, (3, 4, OFFSETS.size))
    b0 = rng.uniform(-0.3, 0.3, (3, 4))
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=AT, b0_ppm=b0, **KINDS[kind])
    expected = getattr(contrast, kind)(z, OFFSETS, at_ppm=AT, b0_ppm=b0, **KINDS[kind])
    np.testing.assert_allclose(fit.parameters[kind], expected, rtol=0, atol=1e-12)


def test_a_contrast_of_zero_is_a_number(rng):
    """Leaving out what is below the noise would raise the mean of a region: 0 becomes 1.4 noise levels."""
    z = 1 - line(OFFSETS, 0.85, 1.4, 0) + rng.normal(0, NOISE, (REPEATS, OFFSETS.size))
    plain = contrast.measure("mtr_asym", z, OFFSETS, at_ppm=3.6, noise_sd=NOISE)
    assert not plain.flags.any()
    assert abs(plain.parameters["mtr_asym"].mean()) < 4 * NOISE * np.sqrt(2 / REPEATS)
    asked = contrast.measure("mtr_asym", z, OFFSETS, at_ppm=3.6, noise_sd=NOISE, noise_multiple=2.0)
    np.testing.assert_array_equal(asked.parameters["mtr_asym"], plain.parameters["mtr_asym"])
    share = np.mean((asked.flags & Flag.BELOW_NOISE) != 0)
    assert share == pytest.approx(0.9545, abs=0.02)


def one_of_each():
    z = np.stack([spectrum(OFFSETS)] * 7)
    z[1, 3] = np.nan
    z[2, 3] = np.inf
    z[3, 5] = 1.3
    z[6, np.searchsorted(OFFSETS, 3.6 - 1e-9)] = -0.01
    b0 = np.array([0, 0, 0, 0, np.nan, 0, 0.0])
    mask = np.arange(7) != 5
    return z, b0, mask


def test_flags_say_why_there_is_no_value():
    z, b0, mask = one_of_each()
    fit = contrast.measure("mtr_rex", z, OFFSETS, at_ppm=[3.6, 7.0], b0_ppm=b0, noise_sd=NOISE, mask=mask)
    invalid, outside = Flag.INVALID_INPUT.value, Flag.OUTSIDE_RANGE.value
    lost = outside | Flag.BELOW_NOISE.value
    expected = [0, invalid, invalid, outside, invalid, Flag.MASKED_OUT.value, lost]
    np.testing.assert_array_equal(fit.flags[:, 0], expected)
    np.testing.assert_array_equal(
        np.isfinite(fit.parameters["mtr_rex"][:, 0]), [True, False, False, True, False, False, False]
    )
    assert np.isnan(fit.parameters["mtr_rex"][:, 1]).all()
    assert (fit.flags[[0, 3, 6], 1] == outside).all()
    missing = np.isnan(fit.parameters["mtr_rex"])
    np.testing.assert_array_equal(np.isnan(fit.standard_errors["mtr_rex"]), missing)
    assert (fit.flags[missing] != 0).all()


def test_voxels_of_noise_alone_have_no_contrast(rng):
    z = rng.normal(0.5, 0.6, (200, OFFSETS.size))
    for noise, least in ((0.6, 1.0), (None, 0.95)):
        fit = contrast.measure("mtr_asym", z, OFFSETS, at_ppm=3.5, noise_sd=noise)
        below = (fit.flags & Flag.BELOW_NOISE) != 0
        assert below.mean() >= least
        np.testing.assert_array_equal(np.isnan(fit.parameters["mtr_asym"]), below)


def test_a_t1_that_is_not_above_zero_is_flagged_in_a_map():
    z = np.stack([spectrum(OFFSETS)] * 4)
    fit = contrast.measure("arex", z, OFFSETS, at_ppm=3.5, t1_s=[1.0, 0.0, -2.0, np.nan], noise_sd=NOISE)
    np.testing.assert_array_equal(np.isnan(fit.parameters["arex"][:, 0]), [False, True, True, True])
    np.testing.assert_array_equal(fit.flags[:, 0], [0, *[Flag.INVALID_INPUT.value] * 3])


def test_without_enough_offsets_to_tell_the_noise_the_error_is_not_known():
    offsets = np.array([-4.0, -3.5, 0.0, 3.5, 4.0])
    fit = contrast.measure("mtr_asym", spectrum(offsets), offsets, at_ppm=3.5)
    assert np.isfinite(fit.parameters["mtr_asym"]).all()
    assert np.isnan(fit.standard_errors["mtr_asym"]).all()
    given = contrast.measure("mtr_asym", spectrum(offsets), offsets, at_ppm=3.5, noise_sd=NOISE)
    assert float(given.standard_errors["mtr_asym"][0]) == pytest.approx(NOISE * np.sqrt(2))


def test_single_precision_stays_single():
    fit = contrast.measure("pcm", spectrum(OFFSETS).astype(np.float32), OFFSETS, at_ppm=3.5)
    assert fit.parameters["pcm"].dtype == fit.standard_errors["pcm"].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mtr", {}, "kind must be one of"),
        ("mtr_asym", {"t1_s": 1.0}, "t1_s is for arex"),
        ("mtr_rex", {"duty_cycle": 0.5}, "duty_cycle is for arex"),
        ("mtr_asym", {"reference": 0.9}, "own reference"),
        ("mtr_rex", {"reference_se": 0.1}, "give reference too"),
        ("arex", {}, "needs t1_s"),
        ("mtr_asym", {"noise_sd": -1.0}, "below zero"),
        ("mtr_asym", {"b0_ppm": [0.0, 0.0]}, "b0_ppm has shape"),
        ("mtr_asym", {"noise_sd": [0.1, 0.1]}, "noise_sd has shape"),
        ("mtr_asym", {"mask": [True, False]}, "mask has shape"),
    ],
)
def test_what_does_not_fit_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        contrast.measure(kind, spectrum(OFFSETS), OFFSETS, at_ppm=3.5, **options)


def test_layout_and_blocks_do_not_matter(rng):
    z = spectrum(OFFSETS) + rng.normal(0, NOISE, (3, 4, 5, OFFSETS.size))
    b0, t1 = rng.uniform(-0.2, 0.2, (3, 4, 5)), rng.uniform(1, 2, (3, 4, 5))
    mask = rng.random((3, 4, 5)) > 0.3
    options = {"at_ppm": [2.0, 3.5], "noise_sd": NOISE}
    image = contrast.measure(
        "arex", np.asfortranarray(z), OFFSETS, b0_ppm=b0, b0_se_ppm=0.01 * t1, t1_s=t1, mask=mask, **options
    )
    flat = contrast.measure(
        "arex", z[mask], OFFSETS, b0_ppm=b0[mask], b0_se_ppm=0.01 * t1[mask], t1_s=t1[mask], **options
    )
    for part in ("parameters", "standard_errors"):
        there, here = getattr(image, part)["arex"], getattr(flat, part)["arex"]
        np.testing.assert_allclose(there[mask], here, rtol=1e-10)
        assert np.isnan(there[~mask]).all()
    np.testing.assert_array_equal(image.flags[mask], flat.flags)
    assert (image.flags[~mask] == Flag.MASKED_OUT).all()


@pytest.mark.parametrize("kind", [*KINDS, "apt_weighted", "lorentzian_difference"])
def test_a_spectrum_without_any_signal_has_no_contrast(kind):
    """Zeros, as image data outside of what was reconstructed, are no spectrum of contrast 0."""
    z = np.stack([spectrum(OFFSETS), np.zeros(OFFSETS.size), -spectrum(OFFSETS)])
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=3.5, **KINDS.get(kind, {}))
    np.testing.assert_array_equal(fit.flags[:, 0], [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT])
    np.testing.assert_array_equal(np.isfinite(fit.parameters[kind][:, 0]), [True, False, False])
    assert np.isnan(fit.standard_errors[kind][1:]).all()


@pytest.mark.parametrize("kind", ["mtr_rex", "arex"])
@pytest.mark.parametrize("side", [3.6, -3.6])
def test_the_inverse_of_a_signal_within_its_noise_is_not_given(kind, side):
    """1/Z of a Z of 2.9 standard errors has no mean: 3.1 are taken."""
    z = np.stack([spectrum(OFFSETS)] * 3)
    z[:, np.abs(OFFSETS - side) < 0.01] = np.array([3.1, 2.9, -2.9])[:, np.newaxis] * NOISE
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=3.6, noise_sd=NOISE, **KINDS[kind])
    expected = [0, Flag.BELOW_NOISE, Flag.BELOW_NOISE | Flag.OUTSIDE_RANGE]
    np.testing.assert_array_equal(fit.flags[:, 0], np.array(expected, np.uint16))
    np.testing.assert_array_equal(np.isfinite(fit.parameters[kind][:, 0]), [True, False, False])
    np.testing.assert_array_equal(np.isfinite(fit.standard_errors[kind][:, 0]), [True, False, False])


@pytest.mark.parametrize("kind", ["mtr_norm_ref", "pcm", "mtr_asym"])
def test_a_label_within_its_noise_spoils_no_contrast_that_does_not_divide_by_it(kind):
    z = spectrum(OFFSETS)
    z[np.abs(OFFSETS - 3.6) < 0.01] = 0.02
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=3.6, noise_sd=NOISE)
    assert int(fit.flags[0]) == 0
    z[np.abs(OFFSETS + 3.6) < 0.01] = 0.025
    fit = contrast.measure(kind, z, OFFSETS, at_ppm=3.6, noise_sd=NOISE)
    assert bool(fit.flags[0] & Flag.BELOW_NOISE) == (kind != "mtr_asym")


def test_a_reference_within_its_error_is_not_inverted():
    fit = contrast.measure(
        "mtr_rex", spectrum(OFFSETS), OFFSETS, at_ppm=3.5, noise_sd=0.0, reference=0.3, reference_se=0.11
    )
    assert int(fit.flags[0]) == Flag.BELOW_NOISE


def hertz(function, **options):
    return lambda **place: function(spectrum(OFFSETS), OFFSETS, **place, **options)


IN_HERTZ = {
    "mtr_asym": hertz(contrast.mtr_asym),
    "apt_weighted": hertz(contrast.apt_weighted),
    "mtr_norm_ref": hertz(contrast.mtr_norm_ref),
    "pcm": hertz(contrast.pcm),
    "mtr_rex": hertz(contrast.mtr_rex),
    "arex": hertz(contrast.arex, t1_s=1.4),
    "lorentzian_difference": hertz(contrast.lorentzian_difference),
    "lorentzian_reference": hertz(contrast.lorentzian_reference),
    "measure": lambda **place: contrast.measure("mtr_asym", spectrum(OFFSETS), OFFSETS, **place),
    "measure_difference": lambda **place: contrast.measure(
        "lorentzian_difference", spectrum(OFFSETS), OFFSETS, **place
    ),
}


@pytest.mark.parametrize("name", IN_HERTZ)
def test_places_in_hertz_are_refused_with_what_to_do(name):
    """1,050 Hz are 3.5 ppm at 7 T, and 120 Hz 0.4 ppm."""
    with pytest.raises(ImplausibleValue, match="at_ppm") as offset:
        IN_HERTZ[name](at_ppm=[1050.0])
    with pytest.raises(ImplausibleValue, match="b0_ppm") as shift:
        IN_HERTZ[name](at_ppm=3.5, b0_ppm=120.0)
    for refused in (offset, shift):
        assert "imaging frequency" in refused.value.next_step
    IN_HERTZ[name](at_ppm=3.5, b0_ppm=0.1)


def test_single_positions_of_water_that_went_astray_are_no_reason_to_refuse_a_map():
    z = np.stack([spectrum(OFFSETS)] * 3)
    fit = contrast.measure("mtr_asym", z, OFFSETS, at_ppm=3.5, b0_ppm=[0.0, 40.0, 0.1])
    np.testing.assert_array_equal(fit.flags[:, 0], np.array([0, Flag.OUTSIDE_RANGE, 0], np.uint16))
    outside = contrast.measure("mtr_asym", z, OFFSETS, at_ppm=20.0)
    assert (outside.flags == Flag.OUTSIDE_RANGE).all()
    with pytest.raises(ImplausibleValue, match="median"):
        contrast.measure("mtr_asym", z, OFFSETS, at_ppm=3.5, b0_ppm=[30.0, 40.0, -100.0])
