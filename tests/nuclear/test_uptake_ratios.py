"""Ratios of regions: what cancels, and errors against simulation and an inverted test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from imgtheranostics.errors import NothingUsable, UnsupportedInput
from imgtheranostics.mapping.ratio_interval import ratio_interval
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear import uptake_ratio
from imgtheranostics.nuclear.uptake_ratios import RegionUptake, ratio_of
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Volume

SHAPE = (24, 20, 18)


def two_boxes(overlap=0):
    tumour, liver = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tumour[3:9, 4:12, 4:12] = True
    liver[9 - overlap : 21 - overlap, 4:16, 4:14] = True
    return tumour, liver


def image(rng, *, tumour=6.0, liver=2.0, noise=0.5, masks=None):
    masks = masks or two_boxes()
    data = rng.normal(0.0, noise, SHAPE)
    data[masks[1]] += liver
    data[masks[0]] += tumour - (liver * masks[1][masks[0]])
    return Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]), "suv_bw", "g/mL")


def regions_of(v, masks=None):
    tumour, liver = masks or two_boxes()
    return Regions.from_masks({"tumour": tumour, "liver": liver}, v.grid)


def as_estimate(v, relative):
    error = v.replace(data=relative * np.abs(v.data))
    flags = v.replace(data=np.zeros(v.shape), quantity="flags", unit="1")
    return Estimate(v, error, flags, relative)


def test_calibration_and_dose_cancel(rng):
    v = image(rng)
    plain = uptake_ratio(v, regions_of(v), "tumour", "liver")
    calibrated = uptake_ratio(as_estimate(v, 0.2), regions_of(v), "tumour", "liver")
    other_dose = uptake_ratio(
        v.replace(data=v.data * 0.37e4, quantity="activity_concentration", unit="Bq/mL"),
        regions_of(v),
        "tumour",
        "liver",
    )
    assert plain.value == pytest.approx(3.0, rel=0.02)
    assert calibrated.standard_error == plain.standard_error
    assert calibrated.interval == plain.interval
    assert calibrated.calibration_relative == 0.2
    assert other_dose.value == pytest.approx(plain.value, rel=1e-6)
    assert other_dose.standard_error == pytest.approx(plain.standard_error, rel=1e-5)
    # two means that did not share it would be off by 28 %
    assert plain.standard_error < 0.02 * plain.value


def drawn(rng, name, mean, noise, n, first):
    values = rng.normal(mean, noise, n)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    return RegionUptake(name, float(values.mean()), error, float(n), np.arange(first, first + n))


@pytest.mark.parametrize(("noise", "n"), [(1.0, 12), (3.0, 40), (6.0, 60)])
def test_intervals_contain_the_truth_as_often_as_they_say(noise, n):
    rng = np.random.default_rng(11)
    contained = 0
    for _ in range(500):
        found = ratio_of(drawn(rng, "tumour", 6.0, noise, n, 0), drawn(rng, "liver", 2.0, noise, 3 * n, n))
        contained += found.low <= 3.0 <= found.high
    assert 0.92 <= contained / 500 <= 0.98


def test_the_error_is_the_scatter_of_ratios_in_images_of_noise():
    rng = np.random.default_rng(13)
    regions = regions_of(image(rng))
    found = [
        uptake_ratio(image(rng, noise=3.0), regions, "tumour", "liver", resolution_mm=0.0) for _ in range(150)
    ]
    scatter = np.std([one.value for one in found])
    assert scatter == pytest.approx(np.mean([one.standard_error for one in found]), rel=0.17)
    assert np.mean([one.low <= 3.0 <= one.high for one in found]) > 0.9


def test_shared_voxels_correlate_the_means():
    rng = np.random.default_rng(12)
    masks = two_boxes(overlap=3)
    shared = int((masks[0] & masks[1]).sum())
    ratios, errors = [], []
    regions = regions_of(image(rng), masks)
    for _ in range(200):
        data = rng.normal(4.0, 2.0, SHAPE)
        v = Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]), "suv_bw", "g/mL")
        found = uptake_ratio(v, regions, "tumour", "liver", resolution_mm=0.0)
        ratios.append(found.value)
        errors.append(found.standard_error)
    assert found.correlation == pytest.approx(shared / math.sqrt(masks[0].sum() * masks[1].sum()))
    assert found.warnings[0].code == "regions-overlap"
    assert np.std(ratios) == pytest.approx(np.mean(errors), rel=0.15)


@pytest.mark.parametrize("joint", [0.0, 0.01, -0.01])
def test_interval_is_that_of_the_inverted_test(joint):
    a, b, va, vb, t = 6.0, 2.0, 0.09, 0.04, stats.t.ppf(0.975, 14)

    def distance(r):
        return (a - r * b) ** 2 - t**2 * (va - 2 * r * joint + r**2 * vb)

    low, high = ratio_interval(a, b, t**2 * va, t**2 * vb, t**2 * joint)
    assert low == pytest.approx(optimize.brentq(distance, 0.5, 3.0))
    assert high == pytest.approx(optimize.brentq(distance, 3.0, 9.0))


def test_interval_without_upper_end_begins_where_the_test_says():
    a, b, va, vb, t = 6.0, 0.3, 0.09, 0.04, 2.0
    low, high = ratio_interval(a, b, t**2 * va, t**2 * vb)
    assert math.isinf(high)
    assert (a - low * b) ** 2 == pytest.approx(t**2 * (va + low**2 * vb))
    assert ratio_interval(-1.0, 0.3, 0.01, 0.4) == (0.0, math.inf)
    assert all(math.isnan(end) for end in ratio_interval(1.0, 1.0, math.nan, 0.1))


def test_uncertain_denominators_are_told(rng):
    def codes(**options):
        v = image(rng, **options)
        return [c.code for c in uptake_ratio(v, regions_of(v), "tumour", "liver", resolution_mm=0.0).warnings]

    assert codes() == []
    assert codes(liver=0.5, noise=4.0) == ["denominator-uncertain"]
    assert codes(liver=0.02, noise=4.0) in (["denominator-not-detected"], ["denominator-not-positive"])
    v = image(rng, liver=-1.0)
    found = uptake_ratio(v, regions_of(v), "tumour", "liver")
    assert math.isnan(found.value)
    assert [c.code for c in found.warnings] == ["denominator-not-positive"]


def test_correlated_noise_counts_as_fewer_voxels(rng):
    v = image(rng)
    fine = uptake_ratio(v, regions_of(v), "tumour", "liver", resolution_mm=0.0)
    coarse = uptake_ratio(v, regions_of(v), "tumour", "liver", resolution_mm=6.0)
    assert coarse.standard_error > 2.0 * fine.standard_error


def test_bad_choices_are_refused(rng):
    v = image(rng)
    with pytest.raises(UnknownChoice, match="no region 'muscle'"):
        uptake_ratio(v, regions_of(v), "tumour", "muscle")
    with pytest.raises(UnknownChoice, match="its own denominator"):
        uptake_ratio(v, regions_of(v), "tumour", "tumour")
    with pytest.raises(ValueError, match="level"):
        uptake_ratio(v, regions_of(v), "tumour", "liver", level=1.5)
    missing = np.array(v.data)
    missing[two_boxes()[1]] = np.nan
    with pytest.raises(NothingUsable, match="no value"):
        uptake_ratio(v.replace(data=missing), regions_of(v), "tumour", "liver")
    series = v.replace(data=np.stack([v.data, v.data], -1), axes=(Axis("time", [0.0, 1.0], "s"),))
    with pytest.raises(UnsupportedInput, match="series"):
        uptake_ratio(series, regions_of(v), "tumour", "liver")
