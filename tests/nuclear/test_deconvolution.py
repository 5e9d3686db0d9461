"""Richardson-Lucy and Van Cittert: a second implementation, waves in closed form, totals, missing voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from imgtheranostics.nuclear.deconvolution import noise_growth
from imgtheranostics.nuclear.partial_volume import FWHM_PER_SD, richardson_lucy, van_cittert
from imgtheranostics.nuclear.point_spread import PointSpread
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE = (20, 18, 16)
SPACING = (1.0, 1.0, 1.5)
FWHM = (4.0, 3.5, 5.0)
SD = [f / FWHM_PER_SD / s for f, s in zip(FWHM, SPACING, strict=True)]
METHODS = (richardson_lucy, van_cittert)


def image(data, **more):
    return Volume(np.asarray(data), np.diag([*SPACING, 1.0]), "activity_concentration", "Bq/mL", **more)


def blurred(data):
    return gaussian_filter(np.asarray(data, float), SD, truncate=6)


def block():
    data = np.ones(SHAPE)
    data[6:13, 5:12, 5:11] = 8.0
    return data


def test_richardson_lucy_is_its_recursion():
    """The update u <- u G(f / G u) from a uniform start, with SciPy's filter in double precision."""
    data = blurred(block())
    model = np.full(SHAPE, data.mean())
    for _ in range(6):
        model = model * blurred(data / blurred(model))
    found = richardson_lucy(image(data), psf_fwhm_mm=FWHM, iterations=6)
    np.testing.assert_allclose(found.value.data, model, rtol=1e-4)
    assert found.value.history[-1].parameters == {"psf_fwhm_mm": list(FWHM), "iterations": 6}
    assert np.isnan(found.standard_error.data).all()


@pytest.mark.parametrize("correct", METHODS)
def test_both_come_nearer_to_the_truth_and_keep_the_total(correct):
    truth = block()
    data = blurred(truth)
    errors = [
        np.abs(correct(image(data), psf_fwhm_mm=FWHM, iterations=n).value.data - truth).sum()
        for n in (1, 5, 25)
    ]
    assert np.abs(data - truth).sum() > errors[1] > errors[2]
    assert errors[0] > errors[1]
    found = correct(image(data), psf_fwhm_mm=FWHM).value.data
    assert found.sum() == pytest.approx(truth.sum(), rel=1e-5)
    assert found[9, 8, 8] > data[9, 8, 8]


def test_richardson_lucy_keeps_what_is_positive_and_what_is_negative(rng):
    positive = richardson_lucy(image(blurred(block())), psf_fwhm_mm=FWHM)
    assert positive.value.data.min() >= 0
    assert positive.decisions["negative_values"]["by"] == [0.0]
    data = blurred(block() - 1) + rng.normal(0, 0.3, SHAPE)
    found = richardson_lucy(image(data), psf_fwhm_mm=FWHM, iterations=3)
    assert found.value.data.min() < 0
    assert found.value.data.sum() == pytest.approx(data.sum(), rel=1e-4)
    lowest = -float(data.astype(np.float32).min())
    assert found.decisions["negative_values"]["by"] == pytest.approx([lowest])
    # lifted by hand it is the same
    lifted = richardson_lucy(image(data + lowest), psf_fwhm_mm=FWHM, iterations=3)
    np.testing.assert_allclose(found.value.data, lifted.value.data - lowest, atol=1e-4)
    zero = richardson_lucy(image(np.zeros(SHAPE)), psf_fwhm_mm=FWHM)
    assert not zero.value.data.any()


@pytest.mark.parametrize(("step", "reblurred"), [(1.5, True), (1.0, False), (0.7, True)])
def test_van_cittert_multiplies_every_wave_by_its_gain(rng, step, reblurred):
    """Cosine waves of the mirrored field, of which a Gaussian leaves exp(-s^2 w^2 / 2)."""
    data = rng.normal(1, 1, SHAPE)
    n = 7
    g = np.ones(SHAPE)
    for axis, sd in enumerate(SD):
        w = np.pi * np.arange(SHAPE[axis]) / SHAPE[axis]
        g = g * np.exp(-0.5 * (sd * w) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
    left = (1 - step * (g**2 if reblurred else g)) ** n
    expected = idctn(dctn(data) * ((1 - left) / g + left))
    found = van_cittert(image(data), psf_fwhm_mm=FWHM, iterations=n, step=step, reblurred=reblurred)
    np.testing.assert_allclose(found.value.data, expected, atol=2e-3)


def test_noise_grows_as_stated(rng):
    """30 fields of noise with the image's blur: spread after over spread before, in the same voxels."""
    noise = rng.normal(0, 1, (30, 44, 44, 44))
    data = np.stack([gaussian_filter(one, 1.5)[8:-8, 8:-8, 8:-8] for one in noise], axis=-1)
    v = Volume(data, np.eye(4), "suv_bw", "g/mL", (Axis("time", np.arange(30.0), "s"),))
    flags = v.replace(data=np.zeros(v.shape, np.uint16), quantity="flags", unit="1")
    estimate = Estimate(v, v.replace(data=np.full(v.shape, float(data.std()))), flags)
    found = van_cittert(estimate, psf_fwhm_mm=1.5 * FWHM_PER_SD, iterations=5)
    ratio = found.value.data[7:-7, 7:-7, 7:-7].std() / data[7:-7, 7:-7, 7:-7].std()
    stated = found.standard_error.data / estimate.standard_error.data
    np.testing.assert_allclose(stated, ratio, rtol=0.04)
    spread = PointSpread.of(v, 1.5 * FWHM_PER_SD)
    assert found.decisions["noise"]["growth"] == noise_growth(spread, 5, 1.5, True) > 1.1
    assert np.isnan(van_cittert(v, psf_fwhm_mm=4.0).standard_error.data).all()


def test_what_all_voxels_share_stays_relative():
    data = blurred(block())
    v = image(data)
    flags = v.replace(data=np.zeros(v.shape, np.uint16), quantity="flags", unit="1")
    found = van_cittert(Estimate(v, v.replace(data=0.05 * data), flags, 0.05), psf_fwhm_mm=FWHM)
    np.testing.assert_allclose(found.standard_error.data, 0.05 * found.value.data, rtol=0.02)
    assert found.calibration_relative == 0.05


@pytest.mark.parametrize("correct", METHODS)
def test_unknown_voxels_stay_alone(correct):
    """Others come out as if the unknown had been what its surroundings say: within a few per cent."""
    data = blurred(block())
    full = correct(image(data), psf_fwhm_mm=FWHM).value.data
    holes = data.copy()
    holes[9, 8, 8], holes[0, 0, 0] = np.nan, -np.inf
    found = correct(image(holes), psf_fwhm_mm=FWHM)
    assert np.count_nonzero(np.isnan(found.value.data)) == 2
    assert np.count_nonzero(found.flags.data == Flag.INVALID_INPUT.value) == 2
    known = np.isfinite(found.value.data)
    np.testing.assert_allclose(found.value.data[known], full[known], rtol=0.1)
    assert [caution.code for caution in found.warnings] == ["voxels-without-value"]
    nothing = correct(image(np.full(SHAPE, np.nan)), psf_fwhm_mm=FWHM)
    assert np.isnan(nothing.value.data).all()


@pytest.mark.parametrize("correct", METHODS)
def test_frames_are_worked_on_one_by_one(correct):
    data = np.stack([blurred(block()), 3 * blurred(block()[::-1])], axis=-1)
    v = image(data, axes=(Axis("time", [1.0, 2.0], "s"),))
    both = correct(v, psf_fwhm_mm=FWHM)
    for n in range(2):
        alone = correct(v.frame(n), psf_fwhm_mm=FWHM)
        np.testing.assert_array_equal(both.value.data[..., n], alone.value.data)


def test_numbers_that_are_none():
    v = image(np.ones(SHAPE))
    for correct in METHODS:
        with pytest.raises(ValueError, match="at least 1"):
            correct(v, psf_fwhm_mm=FWHM, iterations=0)
        with pytest.raises(ValueError, match="positive"):
            correct(v, psf_fwhm_mm=-1.0)
    for step in (0.0, 2.0, float("nan")):
        with pytest.raises(ValueError, match="step"):
            van_cittert(v, psf_fwhm_mm=FWHM, step=step)
