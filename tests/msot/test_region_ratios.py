"""Means and ratios of regions of correlated voxels: standard errors and coverage by 1,000 repeats."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from imgtheranostics.errors import GeometryMismatch, NothingUsable
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.region_averages import RegionMean, region_mean_series, region_means
from imgtheranostics.msot.region_ratios import fieller, region_ratio, region_ratio_series
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE = (40, 32, 14)
AFFINE = np.diag([0.2, 0.2, 0.5, 1.0])
RESOLUTION_MM = (0.5, 0.5, 0.9)
REPEATS = 1000
X, Y, Z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
TUMOUR = ((X - 9) ** 2 + (Y - 9) ** 2) / 36 + (Z - 7) ** 2 / 16 <= 1
LIVER = ((X - 28) ** 2 / 64 + (Y - 20) ** 2 / 49 <= 1) & (abs(Z - 7) <= 4)
TRUTH = np.where(TUMOUR, 7.0, np.where(LIVER, 1.0, 0.0))


def volume(data, axes=()):
    return Volume(data, AFFINE, "component_amplitude", "[arb'U]", axes)


def regions(**masks):
    return Regions.from_masks(masks or {"tumour": TUMOUR, "liver": LIVER}, volume(TRUTH).grid)


@functools.cache
def repeats():
    """1,000 images of tumour 7 and liver 1 with noise of 0.7 that the resolution correlates."""
    white = np.random.default_rng(7).normal(size=(*SHAPE, REPEATS)).astype(np.float32)
    sd = np.array([*RESOLUTION_MM, 0.0]) / np.array([0.2, 0.2, 0.5, 1.0]) / 2.3548
    noise = ndimage.gaussian_filter(white, sd, mode="wrap")
    data = TRUTH[..., np.newaxis] + 0.7 * noise / noise.std()
    return volume(data, (Axis("time", np.arange(REPEATS), "s"),))


WAYS = {
    "own voxels": {},
    "known resolution": {"resolution_mm": RESOLUTION_MM},
    "blank tissue": {"blanks": ~(TUMOUR | LIVER)},
}


@functools.cache
def means(way):
    return region_mean_series(repeats(), regions(), **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_standard_errors_are_the_scatter_of_repeats_although_voxels_are_correlated(way):
    """Issue 7: within 10 %. The noise of a voxel over the root of their number is less than half of it."""
    for number, mask in enumerate((TUMOUR, LIVER)):
        scatter = np.std([pair[number].value for pair in means(way)])
        reported = np.mean([pair[number].standard_error for pair in means(way)])
        assert reported == pytest.approx(scatter, rel=0.1)
        assert 0.7 / math.sqrt(np.count_nonzero(mask)) < 0.5 * scatter


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("level", "low", "high"), [(0.95, 0.93, 0.97), (0.8, 0.765, 0.835)])
def test_intervals_hold_the_true_ratio_as_often_as_they_say(way, level, low, high):
    """Tumour over liver is 7 (msot.md section 1); 1,000 repeats, of which 95 % are known within 1.4 %."""
    intervals = np.array([fieller(above, below, level) for above, below in means(way)])
    assert low <= np.mean((intervals[:, 0] <= 7.0) & (intervals[:, 1] >= 7.0)) <= high
    assert np.mean([a.value for a, _ in means(way)]) == pytest.approx(7.0, abs=0.02)


def test_one_image_and_a_series_give_the_same():
    few = volume(repeats().data[..., :4], (Axis("time", np.arange(4), "s"),))
    series = region_ratio_series(few, regions(), "tumour", over="liver")
    one = region_ratio(few.frame(3), regions(), "tumour", over="liver")
    assert one.interval == pytest.approx(series[3].interval)
    assert one.interval == fieller(one.numerator, one.denominator, 0.95)
    assert one.value == pytest.approx(series[3].numerator.value / series[3].denominator.value)
    with pytest.raises(ValueError, match="time"):
        region_ratio(few, regions(), "tumour", over="liver")
    with pytest.raises(ValueError, match="time"):
        region_means(few, regions())


def test_negative_voxels_count():
    """Clipping them would bias a region without agent upwards."""
    data = np.where(TUMOUR, 1.0, 0.0) + np.where((X + Y + Z) % 2, 0.5, -0.5)
    (mean,) = region_means(volume(data), regions(background=~TUMOUR))
    assert mean.value == pytest.approx(np.mean(data[~TUMOUR]))
    assert abs(mean.value) < 0.01


def estimate(data, error=0.1, flags=None, calibration=0.0):
    value = volume(data)
    marks = np.zeros(SHAPE, np.uint16) if flags is None else flags
    return Estimate(
        value,
        value.replace(data=np.full(SHAPE, error)),
        value.replace(data=marks, quantity="flags", unit="1"),
        calibration,
    )


def test_a_calibration_that_both_share_cancels():
    data = repeats().frame(0).data
    plain, calibrated = (
        region_ratio(estimate(data, calibration=c), regions(), "tumour", over="liver") for c in (0.0, 0.2)
    )
    assert plain.interval == calibrated.interval
    assert calibrated.numerator.calibration_error == pytest.approx(0.2 * calibrated.numerator.value)
    assert calibrated.numerator.total_error > calibrated.numerator.standard_error


def test_an_uncertainty_of_the_light_that_regions_do_not_share_widens_the_interval():
    """10 % of either make 14 % of the ratio, and noise beside them."""
    image = volume(np.where(TUMOUR, 7.0, np.where(LIVER, 1.0, 0.0)) + 1e-4 * (-1.0) ** X)
    found = region_ratio(image, regions(), "tumour", over="liver", relative_uncertainty=0.1)
    assert found.standard_error == pytest.approx(7.0 * 0.1 * math.sqrt(2.0), rel=1e-3)
    assert found.low < 7.0 / (1 + 1.9 * 0.14) < found.high
    with pytest.raises(ValueError, match="relative_uncertainty"):
        region_ratio(image, regions(), "tumour", over="liver", relative_uncertainty=-0.1)


def test_amounts_held_at_zero_make_a_caution():
    flags = np.where(LIVER & (X % 4 == 0), Flag.AT_BOUND.value, 0).astype(np.uint16)
    found = region_ratio(estimate(repeats().frame(0).data, flags=flags), regions(), "tumour", over="liver")
    assert "mean-of-bounded-amounts" in {caution.code for caution in found.warnings}
    assert found.denominator.held_at_zero > 0.05
    clean = region_ratio(estimate(repeats().frame(0).data), regions(), "tumour", over="liver")
    assert [caution.code for caution in clean.warnings] == ["fluence-not-corrected"]
    absorption = Volume(repeats().frame(0).data, AFFINE, "optical_absorption", "1/cm")
    assert region_ratio(absorption, regions(), "tumour", over="liver").warnings == ()


def mean(value, error, freedom=np.inf):
    return RegionMean("region", value, error, 0.0, freedom, 100, 0.0, "given")


def test_fieller_agrees_with_its_definition():
    """Both ends solve (a - r b)^2 = t^2 (va + r^2 vb), with t of the normal distribution: 1.959964."""
    low, high = fieller(mean(7.0, 0.5), mean(1.0, 0.1), 0.95)
    for ratio in (low, high):
        assert (7.0 - ratio) ** 2 == pytest.approx(1.959964**2 * (0.25 + ratio**2 * 0.01), rel=1e-6)
    assert low < 7.0 < high


@given(st.floats(0.1, 10.0), st.floats(0.5, 10.0), st.floats(0.001, 0.1), st.floats(1e-3, 1e3))
def test_fieller_scales_and_inverts(above, below, error, scale):
    """The ratio the other way round has the inverted interval; units cancel."""
    a, b = mean(above, error * above), mean(below, error * below)
    low, high = fieller(a, b, 0.95)
    back = fieller(b, a, 0.95)
    assert (1.0 / back[1], 1.0 / back[0]) == pytest.approx((low, high), rel=1e-9)
    scaled = fieller(mean(scale * above, scale * error * above), b, 0.95)
    assert scaled == pytest.approx((scale * low, scale * high), rel=1e-9)


def test_a_denominator_within_its_noise_leaves_a_lower_bound_only():
    """Tumour over an empty kidney: the ratio is at least something; tangent form of Fieller's condition."""
    low, high = fieller(mean(7.0, 0.5), mean(0.1, 0.2), 0.95)
    assert high == math.inf
    assert (7.0 - 0.1 * low) ** 2 == pytest.approx(1.959964**2 * (0.25 + low**2 * 0.04), rel=1e-6)
    assert fieller(mean(0.1, 0.5), mean(0.1, 0.2), 0.95) == (0.0, math.inf)
    data = np.where(LIVER, 0.0, repeats().frame(0).data) + np.where(X % 2, 0.3, -0.3)
    found = region_ratio(volume(data), regions(), "tumour", over="liver")
    assert found.high == math.inf
    assert "denominator-not-detected" in {caution.code for caution in found.warnings}


def test_a_negative_denominator_has_no_ratio():
    found = region_ratio(
        volume(np.where(LIVER, -0.1, TRUTH) + 0.3 * (-1.0) ** X), regions(), "tumour", over="liver"
    )
    assert math.isnan(found.value)
    assert math.isnan(found.standard_error)
    assert found.low > 0.0


def test_what_cannot_be_compared_is_refused():
    image = repeats().frame(0)
    with pytest.raises(UnknownChoice, match="kidney"):
        region_ratio(image, regions(), "tumour", over="kidney")
    with pytest.raises(UnknownChoice, match="own denominator"):
        region_ratio(image, regions(), "tumour", over="tumour")
    with pytest.raises(UnknownChoice, match="muscle"):
        region_ratio(image, regions(), "tumour", over="liver", blanks="muscle")
    with pytest.raises(ValueError, match="level"):
        region_ratio(image, regions(), "tumour", over="liver", level=95)
    with pytest.raises(NothingUsable, match="liver"):
        region_ratio(volume(np.where(LIVER, np.nan, 1.0)), regions(), "tumour", over="liver")
    nothing = regions(tumour=TUMOUR, liver=np.zeros(SHAPE))
    with pytest.raises(GeometryMismatch, match="no voxels"):
        region_ratio(image, nothing, "tumour", over="liver")
