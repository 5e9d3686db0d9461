"""Lorentzian difference: background of known form, standard errors, windows, flags."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.cest import contrast
from imgtheranostics.cest.lorentzian_background import Background
from imgtheranostics.volume import Flag

OFFSETS = np.round(np.linspace(-10, 10, 81), 10)
NOISE = 0.005
CLEAN = ((-10, -7), (-0.75, 0.75), (7, 10))


def line(ppm, amplitude, width, centre):
    return amplitude * (width / 2) ** 2 / ((width / 2) ** 2 + (np.asarray(ppm) - centre) ** 2)


def background(ppm, b0=0.0, mt=0.0):
    ppm = np.asarray(ppm)
    return 1 - line(ppm, 0.85, 1.6, b0) - line(ppm, mt, 30.0, -1.5 + b0)


def labels(ppm, b0=0.0):
    """Lines of compact support, so that the window is free of them."""
    narrow = [0.06 * np.clip(1 - ((np.asarray(ppm) - b0 - at) / 1.5) ** 2, 0, 1) ** 2 for at in (3.5, -3.5)]
    return narrow[0] + 1.5 * narrow[1]


@pytest.mark.parametrize("mt", [0.0, 0.1])
@pytest.mark.parametrize("b0", [0.0, 0.2])
def test_what_lies_under_a_lorentzian_background_is_found(mt, b0):
    z = background(OFFSETS, b0, mt) - labels(OFFSETS, b0)
    found = contrast.lorentzian_difference(z, OFFSETS, b0_ppm=b0, window_ppm=CLEAN, mt=mt > 0)
    inside = np.abs(OFFSETS + b0) <= 10
    np.testing.assert_allclose(found[inside], labels(OFFSETS, 0.0)[inside], atol=2e-3)
    assert np.isnan(found[~inside]).all()
    reference = contrast.lorentzian_reference(z, OFFSETS, b0_ppm=b0, window_ppm=CLEAN, mt=mt > 0)
    np.testing.assert_allclose(reference, background(OFFSETS + b0, b0, mt), atol=2e-5)


def test_the_background_is_a_reference_that_fat_does_not_spoil():
    """Fat at -3.5 ppm takes the mirrored offset down; the label at 3.5 ppm keeps its inverse contrast."""
    z = background(OFFSETS) - labels(OFFSETS)
    reference = contrast.lorentzian_reference(z, OFFSETS, at_ppm=3.5, window_ppm=CLEAN)
    found = contrast.mtr_rex(z, OFFSETS, at_ppm=3.5, reference=reference)
    exact = 1 / (background(3.5) - 0.06) - 1 / background(3.5)
    assert found[0] == pytest.approx(exact, rel=1e-3)
    assert contrast.mtr_rex(z, OFFSETS, at_ppm=3.5)[0] < 0


@pytest.mark.parametrize("mt", [False, True])
@pytest.mark.parametrize("noise_known", [True, False])
def test_standard_errors_are_the_scatter_of_repeats(mt, noise_known, rng):
    b0 = 0.1
    at = [0.55, 2.0, 3.5, -3.42]
    z = background(OFFSETS, b0, 0.1 * mt) - labels(OFFSETS, b0)
    z = z + rng.normal(0, NOISE, (1500, OFFSETS.size))
    fit = contrast.measure(
        "lorentzian_difference",
        z,
        OFFSETS,
        at_ppm=at,
        b0_ppm=b0,
        noise_sd=NOISE if noise_known else None,
        background=Background(window_ppm=CLEAN, mt=mt),
    )
    found, error = (getattr(fit, name)["lorentzian_difference"] for name in ("parameters", "standard_errors"))
    settled = ((fit.flags & ~np.uint16(Flag.AT_BOUND)) == 0).all(axis=1) & (fit.flags == 0).all(axis=1)
    assert settled.mean() > 0.95
    scatter = found[settled].std(axis=0, ddof=1)
    np.testing.assert_allclose(error[settled].mean(axis=0), scatter, rtol=0.1)


def test_values_of_measure_are_those_of_the_array_function(rng):
    z = background(OFFSETS) - labels(OFFSETS) + rng.normal(0, NOISE, (2, 3, OFFSETS.size))
    b0 = rng.uniform(-0.1, 0.1, (2, 3))
    fit = contrast.measure("lorentzian_difference", z, OFFSETS, at_ppm=[2.0, 3.5], b0_ppm=b0)
    expected = contrast.lorentzian_difference(z, OFFSETS, at_ppm=[2.0, 3.5], b0_ppm=b0)
    np.testing.assert_array_equal(fit.parameters["lorentzian_difference"], expected)
    image = contrast.lorentzian_difference(np.asfortranarray(z), OFFSETS, at_ppm=[2.0, 3.5], b0_ppm=b0)
    np.testing.assert_allclose(image, expected, atol=1e-12)
    single = contrast.lorentzian_difference(z.astype(np.float32), OFFSETS, at_ppm=3.5)
    assert single.dtype == np.float32


def test_flags_say_why_there_is_no_value(rng):
    z = np.stack([background(OFFSETS) - labels(OFFSETS)] * 5) + rng.normal(0, NOISE, (5, OFFSETS.size))
    z[1, 2] = np.nan
    b0 = np.array([0.0, 0.0, np.nan, 0.0, 0.0])
    mask = np.arange(5) != 3
    fit = contrast.measure(
        "lorentzian_difference", z, OFFSETS, at_ppm=[3.5, 11.0], b0_ppm=b0, mask=mask, noise_sd=NOISE
    )
    value = fit.parameters["lorentzian_difference"]
    np.testing.assert_array_equal(np.isfinite(value[:, 0]), [True, False, False, False, True])
    assert np.isnan(value[:, 1]).all()
    kinds = [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.MASKED_OUT, 0]
    np.testing.assert_array_equal(fit.flags[:, 0], np.array(kinds, np.uint16))
    assert fit.flags[0, 1] == Flag.OUTSIDE_RANGE


@pytest.mark.parametrize(
    ("offsets", "options", "message"),
    [
        (np.linspace(-5, 5, 21), {"window_ppm": ((6, 20),)}, "3 parameters, but only 0 offsets"),
        (np.linspace(-10, 10, 21), {"mt": True, "window_ppm": ((-1, 1),)}, "6 parameters, but only 3"),
        (np.linspace(-10, 10, 21), {"window_ppm": ((1, -1),)}, "first, last"),
    ],
)
def test_windows_with_too_few_offsets_are_refused(offsets, options, message):
    with pytest.raises(ValueError, match=message):
        contrast.lorentzian_difference(background(offsets), offsets, **options)
