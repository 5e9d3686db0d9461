"""Enhancement, time-intensity parameters and change of rates on Volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition, NuclearAcquisition
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (4, 3, 2)
RECORD = MrAcquisition(repetition_time_s=0.008, echo_time_s=0.003, flip_angle_deg=15.0, field_strength_t=3.0)


def image(level, record=RECORD, spacing=1.0, axes=(), **changes):
    data = np.asarray(np.broadcast_to(level, (*SHAPE, *(len(axis) for axis in axes))), np.float32)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    return Volume(data, affine, "signal", "[arb'U]", axes, acquisition=record, **changes)


def test_enhancement_of_two_scans_is_percent_of_the_first():
    estimate = it.mri.enhancement(image(200.0), image(250.0), noise_sd=2.0)
    assert (estimate.quantity, estimate.unit) == ("enhancement", "%")
    assert estimate.value.data == pytest.approx(25.0, rel=1e-6)
    # by hand: 100 / 200 * sqrt(2^2 + (1.25 * 2)^2)
    assert estimate.standard_error.data == pytest.approx(0.5 * np.hypot(2.0, 2.5), rel=1e-6)
    assert estimate.value.history[-1].name == "enhancement"
    assert estimate.decisions["noise_level"]["rule"] == "given"


def test_without_a_noise_level_two_scans_have_no_standard_error():
    estimate = it.mri.enhancement(image(200.0), image(250.0))
    assert np.isnan(estimate.standard_error.data).all()
    assert not estimate.flags.data.any()


def test_voxels_outside_the_mask_and_below_the_threshold_are_nan_with_their_reason():
    pre = np.full(SHAPE, 200.0)
    pre[0], pre[1] = 3.0, 0.0
    mask = np.ones(SHAPE)
    mask[3] = 0
    estimate = it.mri.enhancement(image(pre), image(pre * 1.1), mask=mask, threshold=2.0)
    flags = estimate.flags.data
    assert (flags[3] == Flag.MASKED_OUT).all()
    assert (flags[1] == Flag.BELOW_NOISE).all()
    assert np.isnan(estimate.value.data[[1, 3]]).all()
    assert estimate.value.data[[0, 2]] == pytest.approx(10.0, rel=1e-5)


def test_another_grid_is_refused_and_another_voxel_order_is_not():
    with pytest.raises(GeometryMismatch, match="different grids") as refusal:
        it.mri.enhancement(image(200.0), image(220.0, spacing=1.1))
    assert "--register" in str(refusal.value)
    flipped = Volume(
        image(220.0).data[::-1], np.array([[-1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "signal", "[arb'U]", acquisition=RECORD,
    )  # fmt: skip
    assert it.mri.enhancement(image(200.0), flipped).value.data == pytest.approx(10.0, rel=1e-5)


def test_a_second_scan_that_lies_elsewhere_is_registered_when_asked_for(rng):
    """A head of three tissues, on a finer grid and 3 mm further; 30 % more signal in one of them."""

    def head(shape, spacing, shift, after):
        index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
        x, y, z = np.moveaxis(index * spacing - np.array([30.0, 30.0, 20.0]) - shift, -1, 0)
        data = np.where(x**2 + y**2 + 2 * z**2 < 24**2, 100.0, 0.0)
        data[(x - 8) ** 2 + (y + 5) ** 2 + z**2 < 36] = 160.0 * after
        data[(x + 9) ** 2 + (y - 6) ** 2 + (z - 3) ** 2 < 49] = 60.0
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = [-30.0, -30.0, -20.0]
        noisy = np.abs(data + rng.normal(0, 1.0, shape))
        return Volume(noisy, affine, "signal", "[arb'U]", acquisition=RECORD), (x - 8) ** 2 + (
            y + 5
        ) ** 2 + z**2 < 16

    pre, inside = head((30, 30, 20), 2.0, np.zeros(3), 1.0)
    post, _ = head((40, 40, 27), 1.5, np.array([3.0, 0.0, 0.0]), 1.3)
    found = it.mri.enhancement(pre, post, register=True)
    assert np.nanmean(found.value.data[inside]) == pytest.approx(30.0, abs=2.0)
    assert found.decisions["alignment"]["largest_displacement_mm"] == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize(
    ("name", "value", "tag"),
    [
        ("repetition_time_s", 0.009, "(0018,0080)"),
        ("echo_time_s", 0.005, "(0018,0081)"),
        ("flip_angle_deg", 20.0, "(0018,1314)"),
        ("field_strength_t", 1.5, "(0018,0087)"),
    ],
)
def test_scans_by_another_protocol_are_refused(name, value, tag):
    with pytest.raises(UnitMismatch, match="acquired with another") as refusal:
        it.mri.enhancement(image(200.0), image(250.0, replace(RECORD, **{name: value})))
    assert tag in refusal.value.where


def test_display_values_of_two_scans_are_refused():
    shown = replace(RECORD, value_scale="philips_display")
    with pytest.raises(UnitMismatch, match="scales of their own"):
        it.mri.enhancement(image(200.0, shown), image(250.0, shown))


def test_what_is_no_signal_is_refused():
    t1 = Volume(np.ones(SHAPE), np.eye(4), "t1", "s", acquisition=RECORD)
    with pytest.raises(UnitMismatch, match="starts from the scanner's signal"):
        it.mri.enhancement(t1, t1)
    phase = image(1.0, replace(RECORD, image_component="PHASE"))
    with pytest.raises(UnsupportedInput, match="magnitude"):
        it.mri.enhancement(phase, phase)
    emission = image(1.0, NuclearAcquisition())
    with pytest.raises(UnsupportedInput, match="no magnetic-resonance image"):
        it.mri.enhancement(emission, emission)


class TestSeries:
    TIMES = Axis("time", np.array([0.0, 10, 20, 30, 40, 60]), "s")
    CURVE = np.array([100.0, 102, 98, 150, 180, 140])

    def test_every_image_is_compared_with_the_mean_of_the_baseline(self):
        estimate = it.mri.enhancement(image(self.CURVE, axes=(self.TIMES,)), baseline=(0, 3))
        assert estimate.axes[0].name == "time"
        assert estimate.value.data[0, 0, 0] == pytest.approx([0, 2, -2, 50, 80, 40], rel=1e-5, abs=1e-5)
        assert "images 0 to 2" in estimate.decisions["baseline"]["explanation"]

    def test_the_baseline_must_be_stated(self):
        with pytest.raises(MissingMetadata, match="before the agent") as refusal:
            it.mri.enhancement(image(self.CURVE, axes=(self.TIMES,)))
        assert "--baseline" in refusal.value.next_step

    def test_a_baseline_outside_the_series_is_refused(self):
        with pytest.raises(UnsupportedInput):
            it.mri.enhancement(image(self.CURVE, axes=(self.TIMES,)), baseline=(0, 9))

    def test_a_series_is_no_second_scan(self):
        with pytest.raises(UnsupportedInput, match="one image"):
            it.mri.enhancement(image(100.0), image(self.CURVE, axes=(self.TIMES,)))

    def test_one_image_has_no_time(self):
        with pytest.raises(UnsupportedInput, match="do not vary in time"):
            it.mri.enhancement(image(100.0), baseline=(0, 1))

    def test_time_in_minutes_becomes_seconds(self):
        minutes = Axis("time", self.TIMES.values / 60.0, "min")
        found = it.mri.time_intensity_maps(image(self.CURVE, axes=(minutes,)), baseline=(0, 3), noise_sd=1.0)
        seconds = it.mri.time_intensity_maps(
            image(self.CURVE, axes=(self.TIMES,)), baseline=(0, 3), noise_sd=1.0
        )
        for name, estimate in found.items():
            assert estimate.value.data == pytest.approx(seconds[name].value.data, rel=1e-5), name
        # the line through the first two enhanced samples meets the baseline of 100 at 30 s - 50 / (3 1/s)
        assert seconds["bolus_arrival"].value.data[0, 0, 0] == pytest.approx(30 - 50 / 3, rel=1e-6)
        assert seconds["peak_enhancement"].value.data[0, 0, 0] == pytest.approx(80.0, rel=0.05)

    def test_region_statistics_have_one_row_per_image(self):
        estimate = it.mri.enhancement(image(self.CURVE, axes=(self.TIMES,)), baseline=(0, 3))
        table = it.roi_statistics(estimate, Regions.from_masks({"all": np.ones(SHAPE)}, estimate.grid))
        assert table["mean"].tolist() == pytest.approx([0, 2, -2, 50, 80, 40], rel=1e-5, abs=1e-5)
        assert table["axis_value"].tolist() == self.TIMES.values.tolist()


def test_enhancement_ratio_is_early_over_late():
    estimate = it.mri.enhancement_ratio(image(100.0), image(160.0), image(140.0), noise_sd=1.0)
    assert estimate.value.data == pytest.approx(1.5, rel=1e-6)
    flat = it.mri.enhancement_ratio(image(100.0), image(160.0), image(101.0), noise_sd=1.0)
    assert np.isnan(flat.value.data).all()
    assert (flat.flags.data & Flag.NOT_ENHANCING).all()


class TestRates:
    def time_map(self, seconds, quantity="t1", unit="s", **more):
        return Volume(np.full(SHAPE, seconds), np.eye(4), quantity, unit, acquisition=RECORD, **more)

    def test_maps_of_times_and_of_rates_give_the_same_change(self):
        by_time = it.mri.delta_r1_map(self.time_map(0.8), self.time_map(1.25))
        by_rate = it.mri.delta_r1_map(self.time_map(1.25, "r1", "1/s"), self.time_map(0.8, "r1", "1/s"))
        assert by_time.value.data == pytest.approx(1 / 0.8 - 1 / 1.25, rel=1e-6)
        assert by_rate.value.data == pytest.approx(1.25 - 0.8, rel=1e-6)
        assert by_time.unit == "1/s"
        assert [c.code for c in by_time.warnings] == ["map-without-error"]

    def test_one_time_before_is_enough(self):
        estimate = it.mri.delta_r2star_map(self.time_map(0.01, "t2star"), 0.05)
        assert estimate.value.data == pytest.approx(80.0, rel=1e-6)

    def test_standard_errors_add_in_quadrature(self):
        value = self.time_map(0.5)
        error = value.replace(data=np.full(SHAPE, 0.01))
        flags = value.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
        after = it.Estimate(value, error, flags)
        before = it.Estimate(
            value.replace(data=np.full(SHAPE, 1.0)), error.replace(data=np.full(SHAPE, 0.02)), flags
        )
        estimate = it.mri.delta_r1_map(after, before)
        assert estimate.standard_error.data == pytest.approx(np.hypot(0.01 / 0.25, 0.02), rel=1e-6)
        assert set(estimate.maps) == {"after", "before"}

    def test_a_failed_voxel_stays_failed_with_its_reason(self):
        value = self.time_map(0.5)
        data = np.array(value.data)
        data[0, 0, 0] = np.nan
        flags = np.zeros(SHAPE, np.uint16)
        flags[0, 0, 0] = Flag.NOT_CONVERGED
        after = it.Estimate(
            value.replace(data=data),
            value.replace(data=data * 0),
            value.replace(data=flags, quantity="flags", unit="1"),
        )
        estimate = it.mri.delta_r1_map(after, 1.0)
        assert np.isnan(estimate.value.data[0, 0, 0])
        assert estimate.flags.data[0, 0, 0] & Flag.NOT_CONVERGED

    def test_another_quantity_is_refused(self):
        with pytest.raises(UnitMismatch, match="t2 is needed"):
            it.mri.delta_r2_map(self.time_map(0.5), self.time_map(0.5))
