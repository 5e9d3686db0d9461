"""Regions and maps of contrast cines with a known bolus, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Axis, Flag, Volume

curves = it.ultrasound.curves

TIME = 0.5 * np.arange(120)
SPACING = np.diag([0.1, 0.1, 1.0, 1.0])
TUMOUR = {"area": 1e5, "log_mean": 2.3, "log_sd": 0.5, "arrival_time_s": 6.0}
MUSCLE = {"area": 4e4, "log_mean": 2.6, "log_sd": 0.4, "arrival_time_s": 7.0}
PEAK = 9064.62
"""1000 times that of U5 to U10 in ultrasound.md section 6, for m = 2.3 and s = 0.5."""


def powers(tumour=TUMOUR, muscle=MUSCLE, base=200.0):
    power = np.full((32, 32, 1, TIME.size), base)
    power[4:14, 4:28, 0] += curves.lognormal(TIME, **tumour)
    power[18:28, 4:28, 0] += curves.lognormal(TIME, **muscle)
    return power


def linear(power):
    return Volume(power, SPACING, "echo_intensity", "1", (Axis("time", TIME, "s"),))


def grey(power, dynamic_range=60.0, axis=None):
    level = np.rint(np.clip(255 * 10 * np.log10(np.maximum(power, 1)) / dynamic_range, 0, 255))
    return Volume(level, SPACING, "signal", "[arb'U]", (axis or Axis("time", TIME, "s"),))


def regions(volume):
    labels = np.zeros((32, 32, 1), int)
    labels[4:14, 4:28], labels[18:28, 4:28], labels[:3] = 1, 2, 3
    return Regions(labels, {1: "tumour", 2: "muscle", 3: "margin"}, volume.grid)


def value(result, region, quantity, column="mean"):
    table = result.table
    return float(table.loc[(table.region == region) & (table.quantity == quantity), column].iloc[0])


@pytest.fixture(scope="module")
def speckled():
    rng = np.random.default_rng(5)
    volume = grey(powers() * rng.exponential(size=(32, 32, 1, TIME.size)))
    return curves(volume, rois=regions(volume), dynamic_range_db=60, reference="muscle", window_pixels=5)


def test_noise_free_cine_gives_the_bolus_of_each_region():
    volume = linear(powers())
    found = curves(volume, rois=regions(volume), maps=False)
    assert value(found, "tumour", "echo_peak_enhancement") == pytest.approx(PEAK, rel=1e-5)
    assert value(found, "tumour", "time_to_peak") == pytest.approx(7.7679, rel=1e-5)
    assert value(found, "tumour", "bolus_arrival") == pytest.approx(6.0, abs=1e-4)
    assert value(found, "tumour", "wash_in_area") == pytest.approx(30853.8, rel=1e-5)
    assert value(found, "tumour", "wash_in_area_from_ti") == pytest.approx(30574.0, rel=1e-5)
    assert value(found, "tumour", "echo_baseline") == pytest.approx(200.0, rel=1e-5)
    assert value(found, "tumour", "echo_enhancement_at_peak") == pytest.approx(
        10 * np.log10(1 + PEAK / 200), abs=1e-4
    )
    assert value(found, "tumour", "r_squared") == pytest.approx(1.0, abs=1e-6)
    assert found.decisions["areas"]["wash_in_area"] == "from arrival t0 to the peak"
    assert tuple(found.table.columns) == STATISTICS_COLUMNS


def test_speckled_grey_cine_gives_the_truth_within_its_errors(speckled):
    """Grey levels are linearised before pixels are averaged: a mean of grey would be 2.5 dB low."""
    truth = {
        "echo_peak_enhancement": PEAK,
        "time_to_peak": 7.7679,
        "mean_transit_time": 11.30223,
        "wash_in_area": 30853.8,
        "wash_in_rate": 2497.24,
    }
    for quantity, expected in truth.items():
        error = value(speckled, "tumour", quantity, "standard_error")
        assert abs(value(speckled, "tumour", quantity) - expected) < 4 * error
        assert error < 0.1 * expected


def test_maps_show_the_bolus_and_nothing_where_there_is_none(speckled):
    peak = speckled.estimates["echo_peak_enhancement"]
    assert np.median(peak.value.data[6:12, 6:26]) == pytest.approx(PEAK, rel=0.06)
    assert np.isnan(peak.value.data[:2]).mean() > 0.95
    assert (peak.flags.data[:2][np.isnan(peak.value.data[:2])] != 0).all()
    assert peak.unit == "1"
    assert speckled.estimates["time_to_peak"].unit == "s"


def test_a_region_without_bolus_is_told_and_has_no_numbers(speckled):
    assert np.isnan(value(speckled, "margin", "echo_peak_enhancement"))
    rows = speckled.table[speckled.table.region == "margin"]
    assert rows["flags"].str.contains("NOT_ENHANCING").all()
    assert rows.warnings.str.contains("no-bolus").all()
    assert not speckled.table[speckled.table.region == "tumour"].warnings.str.contains("no-bolus").any()


def test_ratios_to_a_reference_region(speckled):
    muscle = 4e4 / (np.sqrt(2 * np.pi) * 0.4) * np.exp(-2.6 + 0.08)
    ratio, error = (
        value(speckled, "tumour", "peak_enhancement_ratio", c) for c in ("mean", "standard_error")
    )
    assert abs(ratio - PEAK / muscle) < 4 * error
    assert value(speckled, "muscle", "peak_enhancement_ratio") == 1.0


def test_measures_without_a_model_stand_beside(speckled):
    assert value(speckled, "tumour", "sampled_peak_enhancement") == pytest.approx(PEAK, rel=0.1)
    # all but the tail after the last frame
    seen = curves.lognormal(np.linspace(0, TIME[-1], 20_001), **TUMOUR)
    assert value(speckled, "tumour", "sampled_area") == pytest.approx(
        np.trapezoid(seen, dx=TIME[-1] / 20_000), rel=0.05
    )


def test_curves_can_be_drawn(speckled):
    curve = speckled.curves[0]
    assert curve.label == "tumour"
    assert curve.axis_unit == "s"
    assert np.corrcoef(curve.measured, curve.fitted)[0, 1] > 0.99
    assert curve.line.max() == pytest.approx(PEAK + 200, rel=0.05)


def test_grey_without_dynamic_range_is_refused():
    volume = grey(powers())
    with pytest.raises(MissingMetadata, match="dynamic range"):
        curves(volume, rois=regions(volume))


def test_decibels_are_turned_into_power_first():
    level = Volume(10 * np.log10(powers()), SPACING, "echo_level", "dB", (Axis("time", TIME, "s"),))
    found = curves(level, rois=regions(level), maps=False)
    assert value(found, "tumour", "echo_peak_enhancement") == pytest.approx(PEAK, rel=1e-4)


def test_time_is_in_seconds_whatever_the_axis_counts_in():
    volume = linear(powers()).replace(axes=(Axis("time", TIME * 1e3, "ms"),))
    found = curves(volume, rois=regions(volume), maps=False)
    assert value(found, "tumour", "time_to_peak") == pytest.approx(7.7679, rel=1e-5)


def test_numbers_of_frames_are_no_times():
    """ultrasound.md section 1: the frame index used as time is a silent cause of wrong numbers."""
    volume = linear(powers())
    numbered = volume.replace(axes=(Axis("time", np.arange(len(volume.axes[0])), "1"),))
    with pytest.raises(UnitMismatch, match="numbers of frames are no times"):
        curves(numbered, rois=regions(volume))


def test_frames_without_pixels_are_left_out_and_listed():
    power = powers()
    power[..., [20, 60]] = np.nan
    volume = linear(power)
    found = curves(volume, rois=regions(volume))
    assert value(found, "tumour", "echo_peak_enhancement") == pytest.approx(PEAK, rel=1e-5)
    assert found.estimates["echo_peak_enhancement"].value.data[8, 8, 0] == pytest.approx(PEAK, rel=1e-3)
    caution = next(one for one in found.warnings if one.code == "frames-left-out")
    assert "20, 60" in caution.message


def test_saturated_frames_do_not_count_and_saturated_pixels_have_no_value():
    """With 35 dB of dynamic range the peak of the tumour lies above full scale, that of the muscle below."""
    volume = grey(powers(base=5.0), 37.0)
    found = curves(volume, rois=regions(volume), dynamic_range_db=37)
    assert "saturated-frames" in {one.code for one in found.warnings}
    peak = found.estimates["echo_peak_enhancement"]
    assert np.isnan(peak.value.data[8, 8, 0])
    assert peak.flags.data[8, 8, 0] & Flag.SATURATED.value
    assert np.isfinite(peak.value.data[22, 8, 0])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda v: v.replace(axes=(Axis("time", np.zeros(TIME.size), "s"),)), UnsupportedInput),
        (lambda v: v.frame(0), UnsupportedInput),
        (lambda v: v.replace(data=-v.data), ImplausibleValue),
        (lambda v: v.replace(data=v.data[..., :4], axes=(Axis("time", TIME[:4], "s"),)), UnsupportedInput),
    ],
)
def test_what_is_no_cine_of_power_is_refused(change, error):
    volume = linear(powers())
    with pytest.raises(error):
        curves(change(volume), rois=regions(volume))


def test_regions_on_another_grid_are_refused():
    volume = linear(powers())
    moved = Regions(
        np.ones((32, 32, 1), int), {1: "a"}, volume.replace(affine=np.diag([0.2, 0.2, 1.0, 1.0])).grid
    )
    with pytest.raises(GeometryMismatch):
        curves(volume, rois=moved)


def test_unknown_choices_are_usage_errors():
    volume = linear(powers())
    for options in ({"model": "cubic"}, {"baseline": "first"}, {"window_pixels": 2}, {"maps": False}):
        with pytest.raises(ValueError):
            curves(volume, **options)
    with pytest.raises(KeyError):
        curves(volume, rois=regions(volume), reference="liver")


def test_replenishment_of_a_region_after_the_burst():
    power = np.full((8, 8, 1, TIME.size), 60.0)
    power[..., 20:] = 10 + curves.replenishment(TIME[20:], amplitude=50, rate_per_s=0.4, burst_time_s=10.0)
    volume = linear(power)
    rois = Regions(np.ones((8, 8, 1), int), {1: "tumour"}, volume.grid)
    found = curves(volume, rois=rois, model="replenishment", burst_time_s=10.0)
    assert value(found, "tumour", "relative_flow") == pytest.approx(20.0, rel=1e-5)
    assert value(found, "tumour", "echo_plateau") == pytest.approx(50.0, rel=1e-5)
    assert found.estimates["replenishment_rate"].value.data[0, 0, 0] == pytest.approx(0.4, rel=1e-4)
