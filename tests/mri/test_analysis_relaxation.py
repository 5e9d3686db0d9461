"""T1, T2 and T2* maps on Volumes: axis, record, transmit field, mask, noise, cautions and what goes along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition, MrAcquisition
from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.mri import decay, decay_maps, epg, relaxation_maps, relaxometry
from imgtheranostics.mri.methods import DECAY_MODELS
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (6, 5, 4)
ANGLES = np.array([2.0, 5.0, 10.0, 15.0, 20.0])
TR = 0.005
RECORD = MrAcquisition(repetition_time_s=TR, echo_time_s=0.002, field_strength_t=3.0)
ECHOES = np.array([0.0012 + 0.0015 * n for n in range(12)])


def spgr(t1_s, angles_deg=ANGLES, s0=1000.0, b1=1.0, tr=TR):
    """The closed form of the steady state (mri.md F1)."""
    t1_s, b1 = np.asarray(t1_s)[..., np.newaxis], np.asarray(b1)[..., np.newaxis]
    angle, e1 = np.radians(angles_deg * b1), np.exp(-tr / t1_s)
    return s0 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))


def signal(data, axis, record=RECORD, affine=None, **changes):
    data = np.asarray(data, np.float32)
    if data.ndim == 1:
        data = np.broadcast_to(data, (*SHAPE, data.size))
    return Volume(
        np.array(data), np.eye(4) if affine is None else affine, "signal", "[arb'U]", (axis,),
        acquisition=record, **changes,
    )  # fmt: skip


def vfa(t1_s=1.2, record=RECORD, **options):
    t1_s = np.broadcast_to(t1_s, SHAPE)
    return signal(spgr(t1_s, **options), Axis("flip_angle", ANGLES, "deg"), record)


def multi_echo(t2star_s, s0=1000.0, noise=0.0, rng=None, record=RECORD, shape=SHAPE):
    clean = s0 * np.exp(-ECHOES / t2star_s) * np.ones((*shape, 1))
    if noise:
        clean = np.abs(clean + noise * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape)))
    return signal(clean, Axis("echo_time", ECHOES, "s"), record)


class TestFlipAngles:
    def test_the_same_number_on_volumes_and_on_arrays_with_everything_beside_it(self):
        t1 = np.linspace(0.3, 2.5, np.prod(SHAPE)).reshape(SHAPE)
        v = vfa(t1)
        estimate = it.mri.t1_map(v, b1=1.0)
        fit = relaxometry.fit_vfa(v.data, ANGLES, TR, b1=np.ones(SHAPE, np.float32))
        assert (estimate.value.data == fit.parameters["t1_s"]).all()
        assert estimate.value.data == pytest.approx(t1, rel=1e-4)
        assert {"s0", "r_squared", "rmse", "iterations"} <= set(estimate.maps)
        assert estimate.maps["s0"].data == pytest.approx(1000.0, rel=1e-3)
        assert estimate.maps["s0"].unit == "[arb'U]"
        assert estimate.value.history[-1].name == "t1_map"
        assert estimate.decisions["method"]["rule"] == "nlls"
        assert estimate.decisions["repetition_time"] == {"rule": "file", "repetition_time_s": TR}

    def test_without_a_map_a_caution_and_twice_the_uncertainty_of_the_field(self):
        bare, mapped = it.mri.t1_map(vfa()), it.mri.t1_map(vfa(), b1=1.0)
        assert "b1-not-mapped" in {c.code for c in bare.warnings}
        assert bare.calibration_relative == pytest.approx(2 * 0.2 / np.sqrt(3))
        assert bare.standard_error.data == pytest.approx(
            bare.calibration_relative * bare.value.data, rel=1e-3
        )
        assert mapped.calibration_relative == 0.0
        known = it.mri.t1_map(vfa(), b1_relative_uncertainty=0.0)
        assert known.calibration_relative == 0.0

    @pytest.mark.parametrize("percent", [False, True])
    def test_a_map_removes_the_error_of_the_field_in_ratio_and_in_percent(self, percent):
        """mri.md F3: without it the ratio is about B1^2, at TR 5 ms and T1 1.2 s within 1 %."""
        field = np.broadcast_to(np.linspace(0.8, 1.2, SHAPE[0])[:, None, None], SHAPE)
        v = vfa(b1=field)
        b1 = Volume(np.array(field * (100 if percent else 1)), np.eye(4), "relative_b1", "1")
        assert it.mri.t1_map(v, b1=b1).value.data == pytest.approx(1.2, rel=1e-3)
        assert it.mri.t1_map(v).value.data == pytest.approx(1.2 * field**2, rel=0.012)
        codes = {c.code for c in it.mri.t1_map(v, b1=b1).warnings}
        assert ("b1-in-percent" in codes) is percent

    def test_a_map_on_another_grid_is_refused_unless_resampling_is_asked_for(self):
        coarse = Volume(np.full((3, 3, 2), 0.9), np.diag([2.0, 2, 2, 1]), "relative_b1", "1")
        with pytest.raises(GeometryMismatch, match="transmit-field map") as refusal:
            it.mri.t1_map(vfa(), b1=coarse)
        assert "--resample-b1" in refusal.value.next_step
        wide = Volume(
            np.full((9, 9, 9), 0.9), np.diag([2.0, 2, 2, 1]) - 4 * np.eye(4, k=3), "relative_b1", "1"
        )
        found = it.mri.t1_map(vfa(b1=np.full(SHAPE, 0.9)), b1=wide, resample_b1=True)
        assert found.value.data == pytest.approx(1.2, rel=1e-3)
        assert found.decisions["transmit_field"]["resampled"] == "linear"

    def test_a_field_of_zero_fails_its_voxels_only(self):
        field = np.ones(SHAPE)
        field[0] = 0.0
        found = it.mri.t1_map(vfa(), b1=Volume(field, np.eye(4), "relative_b1", "1"))
        assert np.isnan(found.value.data[0]).all()
        assert (found.flags.data[0] & Flag.INVALID_B1).all()
        assert found.value.data[1:] == pytest.approx(1.2, rel=1e-4)

    def test_what_is_no_transmit_field_is_refused(self):
        with pytest.raises(UnitMismatch, match="transmit-field map is needed"):
            it.mri.t1_map(vfa(), b1=Volume(np.ones(SHAPE), np.eye(4), "t1", "s"))
        with pytest.raises(ImplausibleValue, match="no positive value"):
            it.mri.t1_map(vfa(), b1=Volume(np.zeros(SHAPE), np.eye(4), "relative_b1", "1"))
        with pytest.raises(ImplausibleValue, match="ratio"):
            it.mri.t1_map(vfa(), b1=95.0)

    def test_unsorted_flip_angles_are_put_in_order(self):
        order = [3, 0, 4, 1, 2]
        v = signal(spgr(1.2)[order], Axis("flip_angle", ANGLES[order], "deg"))
        assert it.mri.t1_map(v).value.data == pytest.approx(1.2, rel=1e-4)

    def test_radians_on_the_axis_become_degrees(self):
        v = signal(spgr(1.2), Axis("flip_angle", np.radians(ANGLES), "rad"))
        assert it.mri.t1_map(v).value.data == pytest.approx(1.2, rel=1e-4)

    def test_flips_in_radians_called_degrees_are_refused(self):
        v = signal(spgr(1.2), Axis("flip_angle", np.radians(ANGLES), "deg"))
        with pytest.raises(ImplausibleValue, match="radians"):
            it.mri.t1_map(v)

    def test_a_missing_repetition_time_is_refused_and_can_be_given(self):
        silent = vfa(record=replace(RECORD, repetition_time_s=None))
        with pytest.raises(MissingMetadata, match="repetition time") as refusal:
            it.mri.t1_map(silent)
        text = str(refusal.value)
        assert "(0018,0080)" in text
        assert "RepetitionTimeExcitation" in text
        assert "--repetition-time-s" in text
        found = it.mri.t1_map(silent, repetition_time_s=TR)
        assert found.value.data == pytest.approx(1.2, rel=1e-4)
        assert found.decisions["repetition_time"]["rule"] == "given"

    def test_a_wrong_repetition_time_scales_t1_by_a_constant(self):
        """mri.md consistency: VFA T1 scales with TR."""
        doubled = it.mri.t1_map(vfa(), repetition_time_s=2 * TR)
        assert doubled.value.data == pytest.approx(2 * it.mri.t1_map(vfa()).value.data, rel=1e-3)

    def test_a_repetition_time_in_milliseconds_is_refused(self):
        with pytest.raises(ImplausibleValue):
            it.mri.t1_map(vfa(), repetition_time_s=25.0)

    def test_one_angle_and_unknown_methods_are_refused(self):
        with pytest.raises(UnsupportedInput, match="flip"):
            it.mri.t1_map(signal(spgr(1.2)[-1:], Axis("flip_angle", ANGLES[-1:], "deg")))
        with pytest.raises(ValueError, match="must be one of nlls, linear, wlls"):
            it.mri.t1_map(vfa(), method="magnitude")

    def test_zero_and_negative_signals_fail_their_voxels_only(self):
        data = np.array(vfa().data)
        data[0, 0, 0], data[0, 0, 1, 2], data[0, 0, 2, 1] = 0.0, -3.0, np.nan
        found = it.mri.t1_map(vfa().replace(data=data))
        assert np.isnan(found.value.data[0, 0, :3]).all()
        assert (found.flags.data[0, 0, :3] & Flag.INVALID_INPUT).all()
        assert np.isfinite(found.value.data).sum() == np.prod(SHAPE) - 3


class TestVoxels:
    def test_masks_as_array_volume_and_regions_are_the_same(self):
        inside = np.zeros(SHAPE)
        inside[1:4] = 1
        as_volume = Volume(inside, np.eye(4), "labels", "1")
        as_regions = Regions.from_masks({"a": inside}, as_volume.grid)
        first = it.mri.t1_map(vfa(), mask=inside)
        assert np.isfinite(first.value.data).sum() == inside.sum()
        assert (first.flags.data[0] == Flag.MASKED_OUT).all()
        for mask in (as_volume, as_regions):
            assert np.array_equal(
                it.mri.t1_map(vfa(), mask=mask).value.data, first.value.data, equal_nan=True
            )
        with pytest.raises(GeometryMismatch, match="mask"):
            it.mri.t1_map(vfa(), mask=inside[:2])
        with pytest.raises(GeometryMismatch, match="mask"):
            it.mri.t1_map(vfa(), mask=Volume(inside, np.diag([2.0, 2, 2, 1]), "labels", "1"))

    def test_below_the_threshold_and_below_the_noise_is_nan_with_its_reason(self):
        data = np.array(vfa().data)
        data[0] *= 1e-3
        dim = vfa().replace(data=data)
        largest = float(vfa().data.max())
        for options in ({"threshold": 0.1 * largest}, {"noise_sd": 0.05 * largest}):
            found = it.mri.t1_map(dim, **options)
            assert (found.flags.data[0] == Flag.BELOW_NOISE).all(), options
            assert np.isnan(found.value.data[0]).all(), options
            assert np.isfinite(found.value.data[1:]).all(), options

    def test_many_failed_voxels_are_a_caution_that_counts_them(self):
        data = np.array(vfa().data)
        data[:2] = 0.0
        found = it.mri.t1_map(vfa().replace(data=data))
        (caution,) = (c for c in found.warnings if c.code == "many-failed")
        assert "40 of 120 voxels (33 %, more than 5 %)" in caution.message
        mask = np.ones(SHAPE)
        mask[:2] = 0
        masked = it.mri.t1_map(vfa().replace(data=data), mask=mask)
        assert "many-failed" not in {c.code for c in masked.warnings}

    def test_other_axes_are_kept(self):
        times = Axis("time", np.array([0.0, 60.0, 120.0]), "s")
        t1 = np.array([1.2, 1.0, 0.8])
        data = np.broadcast_to(spgr(t1).T, (*SHAPE, 5, 3))
        v = Volume(
            np.array(data, np.float32), np.eye(4), "signal", "[arb'U]",
            (Axis("flip_angle", ANGLES, "deg"), times), acquisition=RECORD,
        )  # fmt: skip
        found = it.mri.t1_map(v)
        assert [axis.name for axis in found.axes] == ["time"]
        assert found.value.data[2, 3, 1] == pytest.approx(t1, rel=1e-4)


class TestEchoes:
    def test_gradient_echoes_reported_as_t2_come_with_a_caution(self):
        gradient = replace(RECORD, scanning_sequence=("GR",))
        codes = {
            function.__name__: [one.code for one in function(multi_echo(0.02, record=gradient)).warnings]
            for function in (it.mri.t2_map, it.mri.t2star_map)
        }
        assert "other-echoes" in codes["t2_map"]
        assert "other-echoes" not in codes["t2star_map"]

    def test_the_noise_floor_is_fitted_when_the_background_tells_the_noise(self, rng):
        """mri.md: T2* 1.5 ms, SNR 40, 12 echoes from 1.2 to 17.7 ms: bias within 3 %."""
        shape = (24, 24, 8)
        v = multi_echo(0.0015, 0.0, 25.0, rng, shape=shape)
        object_data = np.array(v.data)
        block = multi_echo(0.0015, 1000.0, 25.0, rng, shape=(12, 12, 8)).data
        object_data[6:18, 6:18] = block
        found = it.mri.t2star_map(v.replace(data=object_data))
        assert found.decisions["method"]["rule"] == "rician"
        assert found.decisions["noise_level"]["rule"] == "background"
        assert found.decisions["noise_level"]["noise_sd"] == pytest.approx(25.0, rel=0.02)
        assert np.nanmean(found.value.data[6:18, 6:18]) == pytest.approx(0.0015, rel=0.03)
        air = np.ones(shape, bool)
        air[6:18, 6:18] = False
        flagged = (found.flags.data[air] & Flag.BELOW_NOISE) != 0
        assert flagged.mean() > 0.95

    def test_without_background_the_exponential_with_a_caution(self):
        found = it.mri.t2star_map(multi_echo(0.02))
        assert found.decisions["method"]["rule"] == "exponential"
        assert "noise-level-unknown" in {c.code for c in found.warnings}
        assert found.value.data == pytest.approx(0.02, rel=1e-4)

    def test_a_noise_level_of_zero_turns_the_search_off(self):
        found = it.mri.t2star_map(multi_echo(0.02), noise_sd=0.0)
        assert not found.warnings
        assert found.decisions["method"]["rule"] == "exponential"

    def test_an_estimate_that_was_asked_for_must_succeed(self):
        with pytest.raises(UnsupportedInput):
            it.mri.t2star_map(multi_echo(0.02), noise_sd="estimate")
        with pytest.raises(UnsupportedInput, match="needs a noise level") as refusal:
            it.mri.t2star_map(multi_echo(0.02), model="noise_floor")
        assert "--noise-sd" in refusal.value.next_step
        for wrong in ("guess", -1.0, np.nan):
            with pytest.raises(ValueError, match="noise_sd"):
                it.mri.t2star_map(multi_echo(0.02), noise_sd=wrong)

    def test_t2_with_and_without_its_first_echo(self):
        data = np.array(multi_echo(0.04).data)
        data[..., 0] *= 0.7
        v = multi_echo(0.04).replace(data=data)
        assert it.mri.t2_map(v, drop_first=True).value.data == pytest.approx(0.04, rel=1e-4)
        assert (it.mri.t2_map(v).value.data > 0.041).all()

    @pytest.mark.parametrize("quantity", ["t2", "t2star"])
    def test_the_models_listed_are_those_of_the_array_level(self, quantity):
        listed = {"t2": decay.T2_MODELS, "t2star": decay.T2STAR_MODELS}[quantity]
        assert set(DECAY_MODELS[quantity]) == set(listed)

    def test_stimulated_echoes_are_fitted_with_the_map_of_the_field(self):
        """Echo trains of the array level at 85 % of the field; without the map T2 comes out too long."""
        spacing, field = 0.01, np.full(SHAPE, 0.85)
        train = 900 * epg.echo_train(0.05, 16, spacing, t1_s=1.0, relative_b1=0.85)
        v = signal(train, Axis("echo_time", spacing * np.arange(1, 17), "s"))
        b1 = Volume(field, np.eye(4), "relative_b1", "1")
        found = it.mri.t2_map(v, model="epg", b1=b1)
        assert found.value.data == pytest.approx(0.05, rel=2e-3)
        assert (it.mri.t2_map(v).value.data > 0.0515).all()
        plan = decay_maps.t2_plan(v, model="epg", b1=b1)
        curve = plan.curves(Regions.from_masks({"all": np.ones(SHAPE)}, v.grid))[0]
        assert curve.fitted == pytest.approx(curve.measured, rel=5e-3)

    @pytest.mark.parametrize("model", ["exponential", "offset", "arlo", "log_linear", "wls"])
    def test_every_model_gives_the_number_of_the_array_level(self, model):
        v = multi_echo(0.01)
        found = it.mri.t2star_map(v, model=model, noise_sd=0.0)
        fit = relaxometry.fit_t2star(v.data, ECHOES, model=model)
        assert np.array_equal(found.value.data, fit.parameters["t2star_s"], equal_nan=True)

    def test_echo_times_in_milliseconds_are_refused(self):
        v = signal(np.exp(-ECHOES / 0.02), Axis("echo_time", 1000 * ECHOES, "s"))
        with pytest.raises(ImplausibleValue):
            it.mri.t2star_map(v, noise_sd=0.0)

    def test_one_echo_is_refused(self):
        v = signal([100.0], Axis("echo_time", ECHOES[:1], "s"))
        with pytest.raises(UnsupportedInput, match="echo"):
            it.mri.t2star_map(v, noise_sd=0.0)


class TestInput:
    def test_images_without_the_axis_are_refused(self):
        with pytest.raises(UnsupportedInput, match="do not vary in what T1"):
            it.mri.t1_map(multi_echo(0.02))
        with pytest.raises(UnsupportedInput, match="do not vary in echo time") as refusal:
            it.mri.t2star_map(vfa())
        assert "flip_angle x 5" in refusal.value.found

    def test_maps_phases_and_other_modalities_are_refused(self):
        with pytest.raises(UnitMismatch, match="starts from the scanner's signal"):
            it.mri.t1_map(Volume(np.ones(SHAPE), np.eye(4), "t1", "s"))
        with pytest.raises(UnsupportedInput, match="magnitude"):
            it.mri.t1_map(vfa(record=replace(RECORD, image_component="PHASE")))
        with pytest.raises(UnsupportedInput, match="no magnetic-resonance image"):
            it.mri.t1_map(vfa(record=CtAcquisition()))

    def test_the_scale_of_the_values_is_on_record(self):
        shown = vfa(record=replace(RECORD, value_scale="philips_floating_point"))
        assert it.mri.t1_map(shown).decisions["scaling"]["rule"] == "philips_floating_point"

    def test_bytes_do_not_depend_on_the_number_of_threads(self):
        t1 = np.linspace(0.3, 2.5, np.prod(SHAPE)).reshape(SHAPE)
        one, two = (it.mri.t1_map(vfa(t1), workers=n) for n in (1, 2))
        assert one.value.data.tobytes() == two.value.data.tobytes()
        assert one.standard_error.data.tobytes() == two.standard_error.data.tobytes()


class TestCurves:
    def test_each_region_and_one_voxel_with_the_model_that_was_fitted(self):
        t1 = np.full(SHAPE, 1.2)
        t1[3:] = 0.6
        field = np.full(SHAPE, 0.9)
        plan = relaxation_maps.t1_plan(vfa(t1, b1=field), b1=Volume(field, np.eye(4), "relative_b1", "1"))
        first = np.zeros(SHAPE)
        first[:3] = 1
        regions = Regions.from_masks({"first": first, "second": 1 - first}, plan.series.volume.grid)
        curves = plan.curves(regions)
        assert [c.label for c in curves][:2] == ["first", "second"]
        assert curves[2].label.startswith("voxel ")
        assert [c.value for c in curves[:2]] == pytest.approx([1.2, 0.6], rel=1e-4)
        assert curves[0].n_voxels == 60
        for curve in curves:
            assert curve.fitted == pytest.approx(curve.measured, rel=1e-4)
            assert np.interp(curve.x, curve.line_x, curve.line) == pytest.approx(curve.fitted, rel=0.02)

    @pytest.mark.parametrize("model", ["exponential", "noise_floor", "offset", "rician"])
    def test_the_drawn_decay_has_the_residual_of_the_fit(self, rng, model):
        v = multi_echo(0.004, 1000.0, 20.0, rng)
        plan = decay_maps.t2star_plan(v, model=model, noise_sd=20.0)
        regions = Regions.from_masks({"all": np.ones(SHAPE)}, v.grid)
        for curve in plan.curves(regions):
            fit = plan.call(curve.measured)
            rmse = np.sqrt(np.mean((curve.measured - curve.fitted) ** 2))
            assert rmse == pytest.approx(float(fit.rmse), rel=0.02, abs=0.02), curve.label

    def test_region_curves_leave_out_voxels_without_a_value(self):
        data = np.array(vfa().data)
        data[0, 0, 0] = 0.0
        plan = relaxation_maps.t1_plan(vfa().replace(data=data))
        regions = Regions.from_masks({"all": np.ones(SHAPE)}, plan.series.volume.grid)
        assert plan.curves(regions)[0].n_voxels == np.prod(SHAPE) - 1
