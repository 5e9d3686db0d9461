"""Voxel-wise correction with regions: closed forms, a second implementation, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from imgtheranostics.errors import IllConditioned
from imgtheranostics.nuclear.partial_volume import FWHM_PER_SD, gtm, iterative_yang, rbv
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SD = 1.5
FWHM = SD * FWHM_PER_SD
METHODS = (rbv, iterative_yang)


def image(data, **more):
    return Volume(np.asarray(data), np.eye(4), "suv_bw", "g/mL", **more)


def masks():
    found = {name: np.zeros((26, 24, 22), bool) for name in ("a", "b")}
    found["a"][5:12, 6:14, 6:14] = True
    found["b"][12:20, 6:14, 6:14] = True
    return found


def uniform(*values):
    every = [*masks().values(), ~np.any(list(masks().values()), axis=0)]
    return sum(value * mask for value, mask in zip(values, every, strict=True)).astype(float)


def blurred(data):
    return gaussian_filter(data, SD, truncate=6)


@pytest.mark.parametrize("correct", METHODS)
def test_uniform_regions_come_back_everywhere(correct):
    """A piecewise uniform image blurred by SciPy; iterative Yang to what ten iterations reach."""
    truth = uniform(12.0, 5.0, 1.0)
    found = correct(image(blurred(truth)), masks(), psf_fwhm_mm=FWHM)
    np.testing.assert_allclose(found.value.data, truth, rtol=1e-4 if correct is rbv else 0.01)
    assert (found.quantity, found.unit) == ("suv_bw", "g/mL")
    assert not found.flags.data.any()
    step = found.value.history[-1]
    assert step.name == correct.__name__
    assert step.parameters["psf_fwhm_mm"] == [FWHM] * 3
    assert found.decisions["background"]["rule"] == "own region"
    assert found.maps["factor"].quantity == "partial_volume_factor"


def test_both_equal_their_definitions_by_scipy(rng):
    """Image times s / (G s) with s of the means, which come from the matrix or from the corrected image."""
    data = blurred(uniform(12.0, 5.0, 1.0)) + rng.normal(0, 0.1, (26, 24, 22))
    v = image(data)
    data = v.data.astype(float)
    every = [*masks().values(), ~np.any(list(masks().values()), axis=0)]
    true = gtm(v, masks(), psf_fwhm_mm=FWHM)["mean"]
    model = uniform(*true)
    np.testing.assert_allclose(
        rbv(v, masks(), psf_fwhm_mm=FWHM).value.data, data * model / blurred(model), rtol=1e-4, atol=1e-5
    )
    means = [data[mask].mean() for mask in every]
    for _ in range(3):
        model = uniform(*means)
        corrected = data * model / blurred(model)
        means = [corrected[mask].mean() for mask in every]
    model = uniform(*means)
    found = iterative_yang(v, masks(), psf_fwhm_mm=FWHM, iterations=3)
    np.testing.assert_allclose(found.value.data, data * model / blurred(model), rtol=1e-4, atol=1e-5)
    assert found.decisions["means"]["iterations"] == 3
    assert [caution.code for caution in found.warnings] == ["not-converged"]


@pytest.mark.parametrize(("diameter", "fwhm"), [(4, 1.6), (8, 1.6), (4, 0.9)])
def test_shares_of_voxels_are_mixtures_and_means_come_out_of_them(diameter, fwhm):
    """A sphere of 12 in 1 in closed form: its means to 1 %, voxels inside to 3 %, at the edge in between."""
    n, step, middle, radius, s = 40, 0.5, 10.1, diameter / 2, fwhm / FWHM_PER_SD
    points = (np.arange(4) + 0.5) / 4 - 0.5
    x2 = ((np.arange(n)[:, None] + points) * step - middle) ** 2
    r2 = x2[:, :, None, None, None, None] + x2[None, None, :, :, None, None] + x2
    share = (r2 <= radius**2).mean(axis=(1, 3, 5))
    y2 = (np.arange(n) * step - middle) ** 2
    r = np.sqrt(y2[:, None, None] + y2[:, None] + y2)
    sphere = 0.5 * (erf((radius + r) / s / 2**0.5) + erf((radius - r) / s / 2**0.5)) - s / r / (
        2 * np.pi
    ) ** 0.5 * (np.exp(-((r - radius) ** 2) / 2 / s**2) - np.exp(-((r + radius) ** 2) / 2 / s**2))
    v = Volume(1 + 11 * sphere, np.diag([step, step, step, 1.0]), "suv_bw", "g/mL")
    for correct in METHODS:
        found = correct(
            v, {"sphere": share}, psf_fwhm_mm=fwhm, **({} if correct is rbv else {"iterations": 30})
        )
        means = found.decisions["means"]["regions"]
        assert means["sphere"][0] == pytest.approx(12, rel=0.01)
        assert means["background"][0] == pytest.approx(1, rel=0.01)
        np.testing.assert_allclose(found.value.data[share == 1], 12, rtol=0.03)
        edge = found.value.data[(share > 0.3) & (share < 0.7)].mean()
        assert 4 < edge < 9


@pytest.mark.parametrize("correct", METHODS)
def test_means_over_mixed_voxels_are_drawn_to_the_neighbours(correct):
    """A sphere of four voxels' radius, 12 in 1: the corrected image is the sum of shares times means.

    The mean that its shares as weights then give is sum(s (12 s + 1 - s)) / sum(s), 11 % low; the one in the
    decisions is 12.
    """
    points = np.arange(24)[:, None] + (np.arange(8) + 0.5) / 8 - 0.5 - 11.7
    x, y, z = (points**2,) * 3
    r2 = x[:, :, None, None, None, None] + y[None, None, :, :, None, None] + z
    share = (r2 <= 16.0).mean(axis=(1, 3, 5))
    truth = 1 + 11 * share
    # what is averaged over voxels is already blurred by them: 1/12 of a voxel's square is taken off
    v = image(gaussian_filter(truth, np.sqrt(SD**2 - 1 / 12), truncate=6))
    found = correct(v, {"sphere": share}, psf_fwhm_mm=FWHM, **({} if correct is rbv else {"iterations": 40}))
    np.testing.assert_allclose(found.value.data, truth, rtol=1e-3 if correct is rbv else 0.01)
    drawn = (share * found.value.data).sum() / share.sum()
    assert drawn == pytest.approx((share * truth).sum() / share.sum(), rel=5e-3)
    assert drawn == pytest.approx(0.89 * 12, rel=0.01)
    assert found.decisions["means"]["regions"]["sphere"][0] == pytest.approx(12, rel=5e-3)


@pytest.mark.parametrize("correct", METHODS)
def test_frames_are_corrected_one_by_one(correct):
    first, second = blurred(uniform(12.0, 5.0, 1.0)), blurred(uniform(2.0, 9.0, 0.5))
    v = image(np.stack([first, second], axis=-1), axes=(Axis("time", [1.0, 2.0], "s"),))
    both = correct(v, masks(), psf_fwhm_mm=FWHM)
    for n, frame in enumerate((first, second)):
        alone = correct(image(frame), masks(), psf_fwhm_mm=FWHM)
        np.testing.assert_allclose(both.value.data[..., n], alone.value.data, rtol=2e-3)
    assert both.value.axes == v.axes


@pytest.mark.parametrize("correct", METHODS)
def test_unknown_voxels_stay_alone(correct):
    """NaN spreads to no other voxel, not even over ten iterations."""
    data = blurred(uniform(12.0, 5.0, 1.0))
    data[7, 8, 9] = np.nan
    data[0, 0, 0] = np.inf
    found = correct(image(data), masks(), psf_fwhm_mm=FWHM)
    assert np.count_nonzero(~np.isfinite(found.value.data)) == 2
    assert np.count_nonzero(found.flags.data == Flag.INVALID_INPUT.value) == 2
    assert found.value.data[7, 8, 10] == pytest.approx(12, rel=0.01)
    assert "voxels-without-value" in [caution.code for caution in found.warnings]
    data[masks()["a"]] = np.nan
    nothing = correct(image(data), masks(), psf_fwhm_mm=FWHM)
    assert np.isnan(nothing.value.data).all()
    assert (nothing.flags.data == Flag.INVALID_INPUT.value).all()


def test_negative_voxels_stay_negative(rng):
    """Around zero in the background, as after a scatter correction: its mean is not lifted."""
    data = blurred(uniform(12.0, 5.0, 0.3)) + rng.normal(0, 1.0, (26, 24, 22))
    found = rbv(image(data), masks(), psf_fwhm_mm=FWHM)
    assert (np.sign(found.value.data) == np.sign(data)).all()
    assert found.value.data.min() < -1


def test_a_region_without_activity_beside_nothing_is_flagged():
    """Where the blurred model is next to nothing there is no factor: NaN, and the reason."""
    truth = uniform(12.0, 5.0, 0.0)
    found = rbv(image(blurred(truth)), masks(), psf_fwhm_mm=FWHM, background=False)
    far = found.flags.data[25, 23, 21]
    assert far == Flag.OUTSIDE_RANGE.value
    assert np.isnan(found.value.data[25, 23, 21])
    np.testing.assert_allclose(found.value.data[6:11, 8:12, 8:12], 12, rtol=1e-3)


def test_errors_grow_by_the_factor():
    data = blurred(uniform(12.0, 5.0, 1.0))
    v = image(data)
    flags = np.zeros(v.shape, np.uint16)
    flags[1, 1, 1] = Flag.AT_BOUND.value
    estimate = Estimate(
        v, v.replace(data=0.1 * data), v.replace(data=flags, quantity="flags", unit="1"), 0.04
    )
    found = rbv(estimate, masks(), psf_fwhm_mm=FWHM)
    np.testing.assert_allclose(found.standard_error.data, 0.1 * found.value.data, rtol=1e-4)
    assert found.calibration_relative == 0.04
    assert found.flags.data[1, 1, 1] == Flag.AT_BOUND.value


def test_errors_of_a_plain_image_are_its_scatter(rng):
    data = blurred(uniform(12.0, 5.0, 1.0)) + rng.normal(0, 0.5, (26, 24, 22))
    found = rbv(image(data), masks(), psf_fwhm_mm=FWHM)
    factor = found.maps["factor"].data
    np.testing.assert_allclose(found.standard_error.data, 0.5 * factor, rtol=0.12)


@pytest.mark.parametrize("correct", METHODS)
def test_a_point_spread_larger_than_a_region(correct):
    with pytest.raises(IllConditioned, match="larger than a region"):
        correct(image(np.ones((26, 24, 22))), masks(), psf_fwhm_mm=11.0)


def test_no_iteration():
    with pytest.raises(ValueError, match="at least 1"):
        iterative_yang(image(np.ones((26, 24, 22))), masks(), psf_fwhm_mm=FWHM, iterations=0)
