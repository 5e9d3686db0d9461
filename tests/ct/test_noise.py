"""Noise of differences of CT scans, limits of detection, and how often noise alone exceeds them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from imgtheranostics import ct
from imgtheranostics.ct.noise import DETECTION_SDS, difference_noise
from imgtheranostics.errors import GeometryMismatch, ImplausibleValue
from imgtheranostics.volume import Volume

SHAPE = (48, 48, 12)
REPEATS = 1000
SMOOTHING = 1.0
"""SD of the Gaussian that correlates the noise, in voxels."""


def correlated_noise(rng, shape=SHAPE, sd=10.0, smoothing=SMOOTHING):
    """Gaussian noise of that SD, correlated as exp(-d^2 / 4 s^2)."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), smoothing, mode="wrap")
    # White noise through a normalised Gaussian keeps 1 / (2 sqrt(pi) s)^3 of its variance.
    return sd * field * (2.0 * math.sqrt(math.pi) * smoothing) ** 1.5


def change_volume(change):
    return Volume(change, np.diag([1.0, 1.0, 1.0, 1.0]), "delta_attenuation", "[HU]")


def blank_everywhere():
    return np.ones(SHAPE, bool)


def region_mask():
    mask = np.zeros(SHAPE, bool)
    mask[20:30, 18:28, 2:8] = True
    return mask


@pytest.fixture(scope="module")
def repeats():
    """Mean of a region without agent, and the noise that its blanks tell, in 1,000 pairs of scans.

    The difference of two such fields is drawn as one of sqrt(2) times their SD, which it is.
    """
    rng = np.random.default_rng(6)
    inside, blanks = region_mask(), blank_everywhere()
    found = []
    for _ in range(REPEATS):
        change = correlated_noise(rng, sd=10.0 * math.sqrt(2.0))
        noise = ct.blank_noise(change_volume(change), inside, blanks)
        found.append((float(change[inside].mean()), noise))
    return found


def test_limits_of_the_reference_sheet():
    """ct.md section 6: 10 HU and 26.6 HU per mg/mL give 1.241 and 3.759 mg/mL; iodine at 28.1, 1.174."""
    lod, loq = ct.detection_limits(10.0, 26.6)
    assert (lod, loq) == pytest.approx((1.241, 3.759), abs=5e-4)
    assert ct.detection_limits(10.0, 28.1).lod == pytest.approx(1.174, abs=5e-4)
    assert ct.detection_limits(10.0, ct.Slope(28.1, 1.4, "I")).lod == pytest.approx(1.174, abs=5e-4)


def test_limits_need_a_slope_and_an_sd():
    with pytest.raises(ValueError, match="slope must be positive"):
        ct.detection_limits(10.0, 0.0)
    with pytest.raises(ValueError, match="not be negative"):
        ct.detection_limits(-1.0, 26.6)


def test_stated_rates_are_tails_of_the_normal_and_of_students_t():
    assert ct.false_positive_rate() == pytest.approx(stats.norm.sf(3.3), rel=1e-12)
    for n in (2, 5, 20, 200):
        assert ct.false_positive_rate(n) == pytest.approx(stats.t.sf(3.3, n - 1), rel=1e-9)
    assert ct.false_positive_rate(12, sds=1.645) == pytest.approx(stats.t.sf(1.645, 11), rel=1e-9)
    with pytest.raises(ValueError, match="at least two"):
        ct.false_positive_rate(1)


def within_binomial_interval(count, rate, level=0.99):
    low, high = stats.binom.interval(level, REPEATS, rate)
    return low <= count <= high


def test_noise_alone_exceeds_the_limit_of_detection_as_often_as_stated(repeats):
    """LOD = 3.3 SD of the blanks: Student's t with n - 1 degrees of freedom for n independent blanks."""
    slope = 26.6
    counted = sum(mean / slope > noise.limits(slope).lod for mean, noise in repeats)
    numbers = {noise.n_blanks for _, noise in repeats}
    assert len(numbers) == 1  # the geometry is the same in all of them
    stated = repeats[0][1].false_positive_rate
    assert stated == pytest.approx(stats.t.sf(DETECTION_SDS, numbers.pop() - 1))
    assert within_binomial_interval(counted, stated)


@pytest.mark.parametrize("sds", [1.0, 1.645, 2.0, 2.5])
def test_rates_at_other_limits_hold_on_both_sides(repeats, sds):
    """More frequent, so that a wrong SD or a wrong number of blanks shows."""
    stated = ct.false_positive_rate(repeats[0][1].n_blanks, sds=sds)
    ratios = np.array([mean / noise.sd for mean, noise in repeats])
    assert within_binomial_interval(np.count_nonzero(ratios > sds), stated)
    assert within_binomial_interval(np.count_nonzero(ratios < -sds), stated)


def test_known_noise_exceeds_it_as_often_as_a_normal_does(repeats):
    """One region's SD over all repeats is as good as known; 3.3 of them: 4.8e-4, once in two thousand."""
    means = np.array([mean for mean, _ in repeats])
    assert within_binomial_interval(np.count_nonzero(means > 3.3 * means.std()), ct.false_positive_rate())


def test_voxel_noise_over_the_root_of_voxels_would_raise_false_alarms(repeats):
    """Why blanks are shifted at all: sigma / sqrt(N) takes noise for agent in a quarter of the scans."""
    means = np.array([mean for mean, _ in repeats])
    naive = 10.0 * math.sqrt(2.0 / region_mask().sum())
    assert np.mean(means > DETECTION_SDS * naive) > 0.1


def test_standard_errors_are_the_scatter_of_repeats(repeats):
    """Their mean over 1,000 repeats is the SD of the region's mean, within four of its standard errors."""
    means = np.array([mean for mean, _ in repeats])
    stated = np.mean([noise.standard_error for _, noise in repeats])
    assert stated == pytest.approx(means.std(ddof=1), rel=4 * (2 * REPEATS) ** -0.5)


@pytest.mark.parametrize("smoothing", [0.8, 2.0])
def test_parts_of_a_region_too_large_to_shift_tell_its_noise(smoothing):
    """Halves and quarters, scaled: three standard errors of the scatter of 250 repeats, 13 %; and said."""
    rng = np.random.default_rng(9)
    inside = np.zeros(SHAPE, bool)
    inside[8:40, 4:30, 1:11] = True
    means, stated = [], []
    for _ in range(250):
        change = correlated_noise(rng, smoothing=smoothing)
        noise = ct.blank_noise(change_volume(change), inside, blank_everywhere())
        means.append(change[inside].mean())
        stated.append(noise.standard_error)
    assert "parts" in noise.rule
    assert np.mean(stated) == pytest.approx(np.std(means), rel=3 / math.sqrt(500))


def test_no_room_for_blanks_is_told(rng):
    inside = region_mask()
    noise = ct.blank_noise(change_volume(correlated_noise(rng)), inside, inside)
    assert math.isnan(noise.sd)
    assert math.isnan(noise.standard_error)
    assert noise.n_blanks == 0


def test_blanks_hold_neither_the_region_nor_voxels_without_value(rng):
    inside, change = region_mask(), correlated_noise(rng)
    change[inside] += 1e6
    change[:, :, 11] = np.nan
    noise = ct.blank_noise(change_volume(change), inside, blank_everywhere())
    assert noise.sd < 10.0
    assert ct.blank_sd(change_volume(change), inside, blank_everywhere()) == noise.sd


def test_regions_and_blanks_must_hold_voxels(rng):
    volume, nothing = change_volume(correlated_noise(rng)), np.zeros(SHAPE, bool)
    with pytest.raises(GeometryMismatch, match="no voxels in the region"):
        ct.blank_noise(volume, nothing, blank_everywhere())
    with pytest.raises(GeometryMismatch, match="no voxels in the blanks"):
        ct.blank_noise(volume, region_mask(), nothing)


def body(change, hu=40.0):
    return Volume(np.full(change.shape, hu), np.eye(4), "attenuation", "[HU]")


def test_voxel_noise_of_a_difference_is_found_beside_agent_and_shift():
    """F7: sqrt(10^2 + 10^2) = 14.1 HU; an agent in an eighth of the body changes it by less than 5 %."""
    rng = np.random.default_rng(4)
    shape = (64, 64, 24)
    change = correlated_noise(rng, shape) - correlated_noise(rng, shape) + 7.0
    change[16:48, 16:48, 6:18] += 142.0
    found = difference_noise(body(change), change)
    assert found.sd == pytest.approx(math.sqrt(200.0), rel=0.05)
    assert found.n_pairs > 10_000


def test_voxel_noise_comes_from_soft_tissue_only():
    """Air without noise around the body, as clipped values are, does not count."""
    rng = np.random.default_rng(5)
    change = np.zeros(SHAPE)
    change[8:40, 8:40] = correlated_noise(rng)[8:40, 8:40]
    pre = np.full(SHAPE, -1000.0)
    pre[8:40, 8:40] = 40.0
    found = difference_noise(Volume(pre, np.eye(4), "attenuation", "[HU]"), change)
    assert found.sd == pytest.approx(10.0, rel=0.1)


def test_noise_that_is_given_adds_in_quadrature():
    change = np.zeros(SHAPE)
    assert difference_noise(body(change), change, noise_sd=10.0).sd == pytest.approx(math.sqrt(200.0))
    assert difference_noise(body(change), change, noise_sd=(6.0, 8.0)).sd == pytest.approx(10.0)
    with pytest.raises(ImplausibleValue, match="standard deviations in HU"):
        difference_noise(body(change), change, noise_sd=-3.0)


def test_noise_without_soft_tissue_is_unknown_and_said():
    change = np.zeros((6, 6, 2))
    found = difference_noise(body(change, -1000.0), change)
    assert math.isnan(found.sd)
    assert [caution.code for caution in found.warnings] == ["noise-unknown"]


def test_contrast_to_noise_is_the_change_over_the_noise_of_a_voxel():
    assert ct.contrast_to_noise([142.0, 0.0], 14.2) == pytest.approx([10.0, 0.0])
    assert np.isnan(ct.contrast_to_noise(142.0, 0.0))


@given(st.integers(0, 50), st.floats(-50, 50), st.floats(0.1, 20))
def test_scatter_follows_the_unit_and_not_the_level_of_the_image(seed, level, factor):
    """A concentration is a change over its slope, and a drift of the whole image is in the mean alone."""
    change = correlated_noise(np.random.default_rng(seed))
    plain = ct.blank_noise(change_volume(change), region_mask(), blank_everywhere())
    other = ct.blank_noise(change_volume(factor * change + level), region_mask(), blank_everywhere())
    assert other.sd == pytest.approx(factor * plain.sd, rel=1e-3, abs=1e-4)
    assert other.mean == pytest.approx(factor * plain.mean + level, rel=1e-3, abs=1e-3)
    assert other.n_blanks == plain.n_blanks
