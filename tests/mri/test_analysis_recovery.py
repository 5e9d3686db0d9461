"""T1 from inversion and repetition times on Volumes: per-image repetition times, polarity, Look-Locker."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mri import relaxation_maps, relaxometry
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (5, 4, 3)
TI = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
T1 = np.linspace(0.15, 2.0, np.prod(SHAPE)).reshape(SHAPE)


def recovery(t1_s, tr_s=8.0, efficiency=0.95, s0=900.0, ti=TI):
    """mri.md F4 with k = 1 + efficiency: finite TR, inverted share."""
    t1_s = np.asarray(t1_s)[..., np.newaxis]
    k = 1 + efficiency
    return s0 * (1 - k * np.exp(-ti / t1_s) + (k - 1) * np.exp(-np.asarray(tr_s) / t1_s))


def volume(data, record, axis="inversion_time", values=TI):
    data = np.asarray(data, np.float32)
    return Volume(data, np.eye(4), "signal", "[arb'U]", (Axis(axis, values, "s"),), acquisition=record)


def record(**fields):
    return MrAcquisition(field_strength_t=1.5, **fields)


class TestInversion:
    def test_magnitudes_give_t1_and_the_inverted_share(self):
        v = volume(np.abs(recovery(T1)), record(repetition_time_s=8.0))
        found = it.mri.t1_map(v)
        assert found.decisions["method"]["rule"] == "magnitude"
        assert found.value.data == pytest.approx(T1, rel=2e-3)
        assert found.maps["inversion_efficiency"].data == pytest.approx(0.95, abs=0.01)
        fit = relaxometry.fit_inversion_recovery(v.data, TI, repetition_time_s=8.0)
        assert np.array_equal(found.value.data, fit.parameters["t1_s"], equal_nan=True)

    def test_no_flip_angle_means_no_transmit_field_and_no_caution_about_it(self):
        found = it.mri.t1_map(volume(np.abs(recovery(T1)), record(repetition_time_s=8.0)))
        assert not found.warnings
        assert found.calibration_relative == 0.0

    @pytest.mark.parametrize("place", ["bids", "dicom"])
    def test_repetition_times_of_each_image_are_used(self, place):
        """On some scanners TR differs between inversion times; ignored, that biases long T1."""
        times = np.array([2.0, 6.0, 2.5, 5.0, 3.0, 4.0, 6.0])
        v = np.abs(recovery(T1, times))
        fields = (
            {"repetition_times_s": tuple(times)}
            if place == "bids"
            else {"sample_parameters": {"repetition_time": tuple(times)}}
        )
        found = it.mri.t1_map(volume(v, record(**fields)))
        assert found.value.data == pytest.approx(T1, rel=3e-3)
        assert found.decisions["repetition_time"]["rule"] == "file, one per image"
        ignored = it.mri.t1_map(volume(v, record()))
        assert np.nanmax(np.abs(ignored.value.data / T1 - 1)) > 0.02

    def test_repetition_times_follow_their_images_when_these_are_not_in_order(self):
        order = [3, 0, 6, 1, 5, 2, 4]
        times = TI + 2.0
        v = volume(np.abs(recovery(T1, times))[..., order], record(repetition_times_s=tuple(times[order])),
                   values=TI[order])  # fmt: skip
        assert it.mri.t1_map(v).value.data == pytest.approx(T1, rel=3e-3)

    def test_another_number_of_repetition_times_is_refused(self):
        v = volume(np.abs(recovery(T1)), record())
        with pytest.raises(UnsupportedInput, match="not as many values"):
            it.mri.t1_map(v, repetition_time_s=[8.0, 9.0])
        assert it.mri.t1_map(v, repetition_time_s=8.0).value.data == pytest.approx(T1, rel=2e-3)

    def test_without_a_repetition_time_full_recovery_is_assumed_and_said(self):
        v = volume(np.abs(recovery(T1)), record())
        found = it.mri.t1_map(v)
        assert "repetition-time-not-stated" in {c.code for c in found.warnings}
        assert found.value.data == pytest.approx(T1, rel=2e-3)
        with pytest.raises(MissingMetadata, match="two-parameter inversion") as refusal:
            it.mri.t1_map(v, method="two_parameter")
        assert "--repetition-time-s" in refusal.value.next_step

    def test_real_images_keep_their_sign(self):
        v = volume(recovery(T1), record(repetition_time_s=8.0, image_component="REAL"))
        found = it.mri.t1_map(v)
        assert found.decisions["method"]["rule"] == "signed"
        assert found.value.data == pytest.approx(T1, rel=2e-3)

    def test_with_its_phase_the_polarity_is_measured(self):
        signed = recovery(T1)
        offset = np.linspace(-2.0, 2.0, T1.size).reshape(SHAPE)[..., np.newaxis]
        angle = np.angle(np.sign(signed) * np.exp(1j * offset))
        v = volume(np.abs(signed), record(repetition_time_s=8.0))
        phase = v.replace(data=np.asarray(angle, np.float32), quantity="phase", unit="rad")
        found = it.mri.t1_map(v, phase=phase)
        assert found.decisions["method"]["rule"] == "complex"
        assert found.value.data == pytest.approx(T1, rel=2e-3)
        plan = relaxation_maps.t1_plan(v, phase=phase)
        for curve in plan.curves(Regions.from_masks({"one": T1.max() == T1}, v.grid)):
            assert curve.fitted == pytest.approx(curve.measured, rel=1e-2, abs=5.0)
            assert curve.measured[0] < 0 < curve.measured[-1]
        with pytest.raises(MissingMetadata, match="needs the phase"):
            it.mri.t1_map(v, method="complex")
        with pytest.raises(UnitMismatch, match="in rad"):
            it.mri.t1_map(v, phase=v)
        with pytest.raises(UnsupportedInput, match="does not belong"):
            it.mri.t1_map(v, phase=phase.replace(data=phase.data[:2]))

    def test_inversion_times_in_milliseconds_are_refused(self):
        v = volume(np.abs(recovery(T1)), record(repetition_time_s=8.0), values=TI * 1000)
        with pytest.raises(ImplausibleValue):
            it.mri.t1_map(v)

    def test_fewer_times_than_parameters_are_refused(self):
        v = volume(np.abs(recovery(T1, ti=TI[:2])), record(repetition_time_s=8.0), values=TI[:2])
        with pytest.raises(UnsupportedInput, match="3"):
            it.mri.t1_map(v)

    def test_a_method_of_another_axis_is_refused(self):
        v = volume(np.abs(recovery(T1)), record(repetition_time_s=8.0))
        with pytest.raises(ValueError, match="must be one of magnitude"):
            it.mri.t1_map(v, method="nlls")


class TestOthers:
    def test_repetition_times_as_the_axis_are_a_saturation_recovery(self):
        times = np.array([0.2, 0.5, 1.0, 2.0, 4.0, 8.0])
        data = 700 * (1 - np.exp(-times / T1[..., np.newaxis]))
        v = volume(data, record(), "repetition_time", times)
        assert it.mri.t1_map(v).value.data == pytest.approx(T1, rel=2e-3)
        partly = 700 * (1 - 0.9 * np.exp(-times / T1[..., np.newaxis]))
        found = it.mri.t1_map(volume(partly, record(), "repetition_time", times), method="three_parameter")
        assert found.value.data == pytest.approx(T1, rel=5e-3)
        assert found.maps["saturation_efficiency"].data == pytest.approx(0.9, abs=0.01)

    def test_look_locker_is_corrected_for_its_read_out(self):
        """mri.md F5: T1 = T1* (B/A - 1)."""
        t1, star = 1.0, 0.7
        ratio = t1 / star + 1
        data = np.abs(500 * (1 - ratio * np.exp(-TI / star))) * np.ones((*SHAPE, 1))
        found = it.mri.t1_map(volume(data, record()), method="look_locker")
        assert found.value.data == pytest.approx(t1, rel=2e-3)
        impossible = np.abs(500 * (1 - 0.8 * np.exp(-TI / star))) * np.ones((*SHAPE, 1))
        none = it.mri.t1_map(volume(impossible, record()), method="look_locker")
        assert np.isnan(none.value.data).all()
        assert (none.flags.data & Flag.OUTSIDE_RANGE).all()

    def test_two_axes_that_t1_could_be_fitted_to_are_refused(self):
        axes = (Axis("inversion_time", TI, "s"), Axis("flip_angle", np.array([5.0, 15.0]), "deg"))
        v = Volume(np.ones((*SHAPE, 7, 2)), np.eye(4), "signal", "[arb'U]", axes, acquisition=record())
        with pytest.raises(UnsupportedInput, match="several things"):
            it.mri.t1_map(v)


class TestCurves:
    @pytest.mark.parametrize(
        ("method", "data", "options"),
        [
            ("magnitude", np.abs(recovery(T1, TI + 2.0)), {"repetition_time_s": (TI + 2.0).tolist()}),
            ("magnitude", np.abs(recovery(T1)), {}),
            ("two_parameter", np.abs(recovery(T1, 8.0, 1.0)), {"repetition_time_s": 8.0}),
            ("look_locker", np.abs(recovery(T1, 1e9, 0.9)), {}),
        ],
    )
    def test_the_drawn_model_has_the_residual_of_the_fit(self, method, data, options, rng):
        v = volume(data + rng.normal(0, 8, data.shape).clip(-1, None), record())
        v = v.replace(data=np.abs(v.data))
        plan = relaxation_maps.t1_plan(v, method=method, **options)
        region = Regions.from_masks({"all": np.ones(SHAPE)}, v.grid)
        curves = plan.curves(region)
        assert len(curves) == 2
        for curve in curves:
            fit = plan.call(curve.measured)
            rmse = np.sqrt(np.mean((curve.measured - curve.fitted) ** 2))
            assert rmse == pytest.approx(float(fit.rmse), rel=1e-3), curve.label
