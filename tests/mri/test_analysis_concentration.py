"""Concentration on Volumes: by rates, by signals, by several rates; which relaxivity, and in which unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE = (3, 2, 2)
AT_3T = MrAcquisition(field_strength_t=3.0)
SPGR = MrAcquisition(field_strength_t=3.0, repetition_time_s=0.008, echo_time_s=0.003, flip_angle_deg=15.0)


def volume(data, quantity, unit, record=AT_3T, axes=()):
    shape = (*SHAPE, *(len(axis) for axis in axes))
    return Volume(np.array(np.broadcast_to(data, shape)), np.eye(4), quantity, unit, axes, acquisition=record)


def t1_of(seconds, record=AT_3T):
    return volume(seconds, "t1", "s", record)


def estimate(value, error, quantity="t1", unit="s", record=AT_3T):
    v = volume(value, quantity, unit, record)
    flags = v.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
    return Estimate(v, v.replace(data=np.full(SHAPE, error)), flags)


def spgr(t1_s, t2star_s=np.inf, angle_deg=15.0, record=SPGR, scale=1000.0):
    """The closed form of the steady state (mri.md F1)."""
    angle, e1 = np.radians(angle_deg), np.exp(-record.repetition_time_s / t1_s)
    decay = np.exp(-record.echo_time_s / t2star_s)
    return scale * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)) * decay


class TestFromRates:
    def test_gadolinium_of_a_record_at_the_field_of_the_scan(self):
        """AGuIX at 3 T: r1 8.9 per Gd (the review's value)."""
        found = it.mri.concentration(
            estimate(1 / (1 / 1.4 + 8.9 * 0.06), 0.0), estimate(1.4, 0.0), agent="AGuIX"
        )
        assert (found.quantity, found.unit) == ("gd_concentration", "mmol/L")
        assert found.value.data == pytest.approx(0.06, rel=1e-5)
        decision = found.decisions["relaxivity_r1"]
        assert (decision["value"], decision["per"], decision["provenance"]) == (8.9, "Gd", "review")
        assert found.value.history[-1].name == "concentration"

    def test_iron_of_r2star_carries_the_uncertainty_of_the_relaxivity(self):
        """Ferumoxytol in plasma at 1.5 T: r2* 64.4 +- 2.5, so 64.4 1/s more is 1 mmol/L within 3.9 %."""
        record = MrAcquisition(field_strength_t=1.5)
        post, pre = estimate(1 / 94.4, 0, "t2star", "s", record), estimate(1 / 30.0, 0, "t2star", "s", record)
        found = it.mri.concentration(post, pre, agent="ferumoxytol", medium="plasma")
        assert found.quantity == "fe_concentration"
        assert found.value.data == pytest.approx(1.0, rel=1e-5)
        assert found.calibration_relative == pytest.approx(2.5 / 64.4)
        assert found.standard_error.data == pytest.approx(2.5 / 64.4, rel=1e-4)
        assert "apparent-concentration" in {c.code for c in found.warnings}

    def test_errors_of_the_measurement_and_of_the_relaxivity_add_in_quadrature(self):
        found = it.mri.concentration(
            estimate(0.5, 0.01), estimate(1.0, 0.02), relaxivity=4.0, relaxivity_uncertainty=0.4, per="Gd"
        )
        # mri.md F12 by hand: dR1 = 1, var = (0.01/0.25)^2 + 0.02^2, C = 0.25
        measured = np.hypot(0.01 / 0.25, 0.02) / 4.0
        assert found.value.data == pytest.approx(0.25, rel=1e-6)
        assert found.standard_error.data == pytest.approx(np.hypot(measured, 0.25 * 0.1), rel=1e-5)
        assert found.calibration_relative == pytest.approx(0.1)

    def test_a_field_that_nobody_mapped_moves_all_voxels_together(self):
        """Both T1 with a shared 20 %: dR1 = 1 has 0.2 of it; the own errors add, the shared ones do not."""
        after, before = estimate(0.5, np.hypot(0.01, 0.1)), estimate(1.0, np.hypot(0.02, 0.2))
        after, before = (replace(e, calibration_relative=0.2) for e in (after, before))
        change = it.mri.delta_r1_map(after, before)
        assert change.calibration_relative == pytest.approx(0.2, rel=1e-5)
        own = np.hypot(0.01 / 0.25, 0.02)
        assert change.standard_error.data == pytest.approx(np.hypot(own, 0.2), rel=1e-5)
        found = it.mri.concentration(after, before, relaxivity=4.0, relaxivity_uncertainty=0.4, per="Gd")
        assert found.calibration_relative == pytest.approx(np.hypot(0.2, 0.1), rel=1e-5)
        assert found.standard_error.data == pytest.approx(0.25 * np.sqrt(own**2 + 0.2**2 + 0.1**2), rel=1e-5)
        constant = it.mri.delta_r1_map(after, 1.0)
        assert constant.calibration_relative == pytest.approx(0.2 * 2.0 / 1.0, rel=1e-5)

    def test_maps_without_error_give_a_value_without_error(self):
        found = it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=4.0, per="Gd")
        assert found.value.data == pytest.approx(0.25, rel=1e-6)
        assert np.isnan(found.standard_error.data).all()
        assert "map-without-error" in {c.code for c in found.warnings}

    def test_one_time_before_and_a_change_given_as_such(self):
        by_time = it.mri.concentration(t1_of(0.5), 1.0, relaxivity=4.0, per="Gd")
        change = volume(1.0, "delta_r1", "1/s")
        by_change = it.mri.concentration(change, relaxivity=4.0, per="Gd")
        assert by_time.value.data == pytest.approx(0.25, rel=1e-6)
        assert by_change.value.data == pytest.approx(0.25, rel=1e-6)

    def test_what_nobody_says_is_counted_is_the_agents_own_quantity(self):
        found = it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=4.0)
        assert found.quantity == "agent_concentration"
        molecules = it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=237.0, per="molecule")
        assert molecules.quantity == "agent_concentration"
        assert molecules.decisions["calculation"]["counts"] == "molecule"

    def test_milligrams_and_particles(self):
        """1 mmol/L Gd is 157.25 ug/mL and Fe 55.845 ug/mL (mri.md 4.2); Avogadro's number of particles."""
        gd = it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=1.0, per="Gd", unit="mg/mL")
        assert (gd.quantity, gd.unit) == ("concentration", "mg/mL")
        assert gd.value.data == pytest.approx(0.15725, rel=1e-5)
        fe = it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=1.0, per="Fe", unit="mg/mL")
        assert fe.value.data == pytest.approx(0.055845, rel=1e-5)
        each = it.mri.concentration(
            t1_of(0.5), t1_of(1.0), agent="aguix", relaxivity=1000.0, per="particle", unit="particles/mL"
        )
        assert each.unit == "{particles}/mL"
        assert each.value.data == pytest.approx(6.02214076e14, rel=1e-5)

    def test_units_that_cannot_be_had_are_refused(self):
        with pytest.raises(UnsupportedInput, match="mass of what the concentration counts"):
            it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=1.0, unit="mg/mL")
        with pytest.raises(MissingMetadata, match="particles per mL cannot be told"):
            it.mri.concentration(t1_of(0.5), t1_of(1.0), agent="aguix", unit="particles/mL")
        with pytest.raises(ValueError, match="unit must be one of"):
            it.mri.concentration(t1_of(0.5), t1_of(1.0), relaxivity=1.0, unit="g/L")


class TestRefusals:
    def test_another_field_is_refused_with_what_is_recorded(self):
        record = MrAcquisition(field_strength_t=4.7)
        with pytest.raises(MissingMetadata, match="holds no r1") as refusal:
            it.mri.concentration(t1_of(0.5, record), t1_of(1.0, record), agent="aguix")
        assert "3 T" in refusal.value.found
        explicit = it.mri.concentration(t1_of(0.5, record), t1_of(1.0, record), agent="aguix", relaxivity=8.0)
        assert explicit.quantity == "gd_concentration"
        between = it.mri.concentration(
            t1_of(0.5, record), t1_of(1.0, record), agent="aguix", interpolate=True
        )
        assert "interpolated-relaxivity" in {c.code for c in between.warnings}

    def test_several_media_are_refused_until_one_is_named(self):
        record = MrAcquisition(field_strength_t=1.5)
        post, pre = t1_of(0.5, record), t1_of(1.0, record)
        with pytest.raises(MissingMetadata, match="several values"):
            it.mri.concentration(post, pre, agent="ferumoxytol")
        found = it.mri.concentration(post, pre, agent="ferumoxytol", medium="saline")
        assert found.value.data == pytest.approx(1.0 / 19.9, rel=1e-5)

    def test_an_unknown_field_is_refused_with_tag_key_and_option(self):
        silent = MrAcquisition()
        with pytest.raises(MissingMetadata, match="field") as refusal:
            it.mri.concentration(t1_of(0.5, silent), t1_of(1.0, silent), agent="aguix")
        text = str(refusal.value)
        assert "(0018,0087)" in text
        assert "MagneticFieldStrength" in text
        assert "--field-t" in text
        given = it.mri.concentration(t1_of(0.5, silent), 1.0, agent="aguix", field_strength_t=3.0)
        assert given.value.data == pytest.approx(1 / 8.9, rel=1e-5)

    def test_no_agent_and_no_relaxivity(self):
        with pytest.raises(MissingMetadata, match="neither the agent nor its relaxivity"):
            it.mri.concentration(t1_of(0.5), t1_of(1.0))

    def test_no_scan_before(self):
        with pytest.raises(MissingMetadata, match="before the agent is missing") as refusal:
            it.mri.concentration(t1_of(0.5), agent="aguix")
        assert "--pre" in refusal.value.next_step

    @pytest.mark.parametrize(("post", "pre"), [(500.0, 1.0), (0.5, 1400.0)])
    def test_times_in_milliseconds_are_refused(self, post, pre):
        with pytest.raises(ImplausibleValue, match="milliseconds"):
            it.mri.concentration(t1_of(post), pre, relaxivity=4.0)
        with pytest.raises(ImplausibleValue, match="milliseconds"):
            it.mri.concentration(volume(1 / post, "r1", "1/s"), volume(1 / pre, "r1", "1/s"), relaxivity=4.0)

    def test_other_quantities_and_grids(self):
        b1 = volume(1.0, "relative_b1", "1")
        with pytest.raises(UnsupportedInput, match="cannot be made of"):
            it.mri.concentration(b1, agent="aguix")
        with pytest.raises(UnitMismatch, match="t1 is needed"):
            it.mri.concentration(t1_of(0.5), volume(0.05, "t2", "s"), agent="aguix")
        elsewhere = Volume(np.ones(SHAPE), np.diag([2.0, 2, 2, 1]), "t1", "s", acquisition=AT_3T)
        with pytest.raises(GeometryMismatch, match="different grids"):
            it.mri.concentration(t1_of(0.5), elsewhere, agent="aguix")

    def test_echoes_that_do_not_say_which_are_refused(self):
        echoes = (Axis("echo_time", np.array([0.005, 0.01, 0.02]), "s"),)
        v = volume(np.array([90.0, 80, 60]), "signal", "[arb'U]", SPGR, echoes)
        with pytest.raises(MissingMetadata, match="spin echoes") as refusal:
            it.mri.concentration(v, v, agent="ferumoxytol")
        assert "(0018,0020)" in refusal.value.where


class TestFromSignal:
    def test_two_images_and_t1_are_inverted_exactly(self):
        pre, post = spgr(1.4), spgr(1 / (1 / 1.4 + 8.9 * 0.06))
        found = it.mri.concentration(
            volume(post, "signal", "[arb'U]", SPGR),
            volume(pre, "signal", "[arb'U]", SPGR),
            agent="aguix",
            t1=1.4,
            noise_sd=1.0,
        )
        assert found.value.data == pytest.approx(0.06, rel=1e-4)
        assert found.axes == ()
        assert (found.standard_error.data > 0).all()
        assert "b1-not-mapped" in {c.code for c in found.warnings}

    def test_the_decay_with_t2star_is_taken_into_account_when_asked(self):
        """mri.md: at 0.06 mmol/L, r1 8.9, r2* 11, TE 3 ms the enhancement is 57.7 %."""
        pre, post = spgr(1.4, 0.05), spgr(1 / (1 / 1.4 + 8.9 * 0.06), 1 / (1 / 0.05 + 11 * 0.06))
        assert 100 * (post / pre - 1) == pytest.approx(57.7, abs=0.1)
        images = [volume(s, "signal", "[arb'U]", SPGR) for s in (post, pre)]
        found = it.mri.concentration(*images, agent="aguix", t1=1.4, with_decay=True)
        plain = it.mri.concentration(*images, agent="aguix", t1=1.4)
        assert found.value.data == pytest.approx(0.06, rel=1e-4)
        assert (plain.value.data < 0.06).all()

    def test_the_transmit_field_is_used_in_the_concentration_too(self):
        field = np.broadcast_to(np.linspace(0.8, 1.2, SHAPE[0])[:, None, None], SHAPE)
        pre = spgr(1.4, angle_deg=15 * field)
        post = spgr(1 / (1 / 1.4 + 8.9 * 0.06), angle_deg=15 * field)
        images = [volume(s, "signal", "[arb'U]", SPGR) for s in (post, pre)]
        percent = volume(100 * field, "relative_b1", "1")
        found = it.mri.concentration(*images, agent="aguix", t1=1.4, b1=percent)
        assert found.value.data == pytest.approx(0.06, rel=1e-4)
        assert "b1-in-percent" in {c.code for c in found.warnings}
        ignored = it.mri.concentration(*images, agent="aguix", t1=1.4)
        assert np.abs(ignored.value.data - 0.06).max() > 0.002

    def test_a_series_needs_its_baseline_and_gives_one_value_per_image(self):
        mm = np.array([0.0, 0, 0, 0.05, 0.1])
        times = Axis("time", np.arange(5) * 10.0, "s")
        series = volume(spgr(1 / (1 / 1.4 + 8.9 * mm)), "signal", "[arb'U]", SPGR, (times,))
        found = it.mri.concentration(series, agent="aguix", t1=1.4, baseline=(0, 3))
        assert found.value.data[0, 0, 0] == pytest.approx(mm, abs=2e-5)
        with pytest.raises(MissingMetadata, match="images before the agent"):
            it.mri.concentration(series, agent="aguix", t1=1.4)

    def test_an_impossible_signal_is_nan_and_flagged(self):
        pre = np.full(SHAPE, spgr(1.4))
        post = pre * 1.2
        post[0] = pre[0] * 50
        images = [volume(s, "signal", "[arb'U]", SPGR) for s in (post, pre)]
        found = it.mri.concentration(*images, agent="aguix", t1=1.4)
        assert np.isnan(found.value.data[0]).all()
        assert (found.flags.data[0] & Flag.OUTSIDE_RANGE).all()
        assert np.isfinite(found.value.data[1:]).all()

    @pytest.mark.parametrize(
        ("field", "tag"),
        [("repetition_time_s", "(0018,0080)"), ("flip_angle_deg", "(0018,1314)")],
    )
    def test_missing_times_and_angles_are_refused_and_can_be_given(self, field, tag):
        silent = replace(SPGR, **{field: None})
        images = [volume(s, "signal", "[arb'U]", silent) for s in (spgr(1.0), spgr(1.4))]
        with pytest.raises(MissingMetadata) as refusal:
            it.mri.concentration(*images, agent="aguix", t1=1.4)
        assert tag in refusal.value.where
        assert f"{field}=" in refusal.value.next_step
        given = {field: getattr(SPGR, field)}
        found = it.mri.concentration(*images, agent="aguix", t1=1.4, **given)
        assert found.value.data == pytest.approx((1 / 1.0 - 1 / 1.4) / 8.9, rel=1e-4)

    def test_t1_before_the_agent_is_needed(self):
        image = volume(spgr(1.0), "signal", "[arb'U]", SPGR)
        with pytest.raises(MissingMetadata, match="T1 before the agent"):
            it.mri.concentration(image, image, agent="aguix")


class TestJoint:
    def test_several_rates_of_one_agent_give_one_concentration(self):
        """Ferumoxytol in plasma at 1.5 T: r1 19.0, r2* 64.4."""
        record = MrAcquisition(field_strength_t=1.5)
        mm = 0.2
        pairs = {
            "r1": (estimate(1 / (1 + 19.0 * mm), 1e-3, record=record), estimate(1.0, 1e-3, record=record)),
            "r2star": (
                estimate(1 / (20 + 64.4 * mm), 1e-4, "t2star", "s", record),
                estimate(1 / 20, 1e-4, "t2star", "s", record),
            ),
        }
        found = it.mri.joint_concentration(pairs, agent="ferumoxytol", medium="plasma")
        assert found.quantity == "fe_concentration"
        assert found.value.data == pytest.approx(mm, rel=1e-4)
        assert found.maps["consistency"].data == pytest.approx(1.0, abs=1e-3)
        assert {"delta_r1", "delta_r2star"} <= set(found.maps)

    def test_rates_without_errors_cannot_be_weighted(self):
        star = [volume(seconds, "t2star", "s", AT_3T) for seconds in (0.02, 0.05)]
        pairs = {"r1": (t1_of(0.5), t1_of(1.0)), "r2star": tuple(star)}
        with pytest.raises(MissingMetadata, match="no standard error"):
            it.mri.joint_concentration(pairs, relaxivities={"r1": 10.0, "r2star": 57.0}, per="Fe")

    def test_a_time_before_may_be_a_number_of_any_type(self):
        found = [
            it.mri.concentration(t1_of(0.5), kind_of_number(1.0), relaxivity=5.0, per="Gd").value.data
            for kind_of_number in (float, np.float32)
        ]
        np.testing.assert_array_equal(*found)

    def test_one_rate_is_not_joint(self):
        with pytest.raises(ValueError, match="at least two"):
            it.mri.joint_concentration({"r1": (t1_of(0.5), 1.0)}, agent="aguix")
