"""Temperature on Volumes: phase to degrees, drift, dose, heated volume, heating power."""

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
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (8, 8, 2)
TIME = np.arange(0.0, 300.0, 10.0)
RECORD = MrAcquisition(field_strength_t=3.0, echo_time_s=0.010, image_component="PHASE")
RAD_PER_C = -0.08026
"""mri.md: 0.08026 rad/Cel in size at 3 T, TE 10 ms and alpha 0.01 ppm."""


def heating(rise_per_s=0.02):
    """A square that warms linearly from the first image on."""
    rise = np.zeros((*SHAPE, TIME.size))
    rise[2:6, 2:6] = rise_per_s * TIME
    return rise


def phase(change, record=RECORD, drift=0.0, quantity="phase", unit="rad"):
    radians = change * RAD_PER_C + drift
    wrapped = np.angle(np.exp(1j * radians))
    return Volume(wrapped, np.eye(4), quantity, unit, (Axis("time", TIME, "s"),), acquisition=record)


def outside():
    mask = np.ones(SHAPE)
    mask[1:7, 1:7] = 0
    return mask


class TestTemperature:
    def test_phase_becomes_degrees(self):
        found = it.mri.temperature_map(phase(heating()))
        assert (found.quantity, found.unit) == ("temperature_change", "Cel")
        assert found.value.data[3, 3, 0] == pytest.approx(0.02 * TIME, abs=2e-3)
        assert found.value.data[0, 0, 0] == pytest.approx(0.0, abs=1e-4)
        assert {"unconfirmed-value", "drift-not-removed"} <= {c.code for c in found.warnings}
        assert found.decisions["thermometry"]["alpha_ppm_per_c"] == -0.01

    def test_phase_that_wraps_is_followed(self):
        found = it.mri.temperature_map(phase(heating(0.25)))
        assert found.value.data[3, 3, 0] == pytest.approx(0.25 * TIME, rel=1e-3, abs=1e-3)
        assert 0.25 * TIME[-1] * abs(RAD_PER_C) > np.pi, "more than half a turn"

    def test_drift_is_taken_from_what_stays_cold(self):
        i = np.arange(SHAPE[0])[:, None, None, None]
        drift = (0.1 + 0.01 * i) * TIME / TIME[-1]
        v = phase(heating(), drift=np.broadcast_to(drift, (*SHAPE, TIME.size)))
        found = it.mri.temperature_map(v, unheated=outside())
        assert found.value.data[3, 3, 0] == pytest.approx(0.02 * TIME, abs=5e-3)
        assert "drift-not-removed" not in {c.code for c in found.warnings}
        assert abs(it.mri.temperature_map(v).value.data[3, 3, 0, -1] - 0.02 * TIME[-1]) > 1.0

    def test_fat_is_left_out(self):
        fat = np.zeros(SHAPE)
        fat[0] = 1
        found = it.mri.temperature_map(phase(heating()), fat=fat)
        assert np.isnan(found.value.data[0]).all()
        assert (found.flags.data[0] & Flag.MASKED_OUT).all()

    def test_noise_over_magnitude_is_the_error(self):
        magnitude = Volume(
            np.full((*SHAPE, TIME.size), 200.0), np.eye(4), "signal", "[arb'U]", (Axis("time", TIME, "s"),)
        )
        found = it.mri.temperature_map(phase(heating()), magnitude, noise_sd=4.0)
        # phase noise 4 / 200 in each of image and reference
        expected = np.sqrt(2) * 0.02 / abs(RAD_PER_C)
        assert found.standard_error.data[3, 3, 0, 5] == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize(
        ("field", "tag"), [("echo_time_s", "(0018,0081)"), ("field_strength_t", "(0018,0087)")]
    )
    def test_missing_times_and_fields_are_refused_and_can_be_given(self, field, tag):
        v = phase(heating(), replace(RECORD, **{field: None}))
        with pytest.raises(MissingMetadata) as refusal:
            it.mri.temperature_map(v)
        assert tag in refusal.value.where
        found = it.mri.temperature_map(v, **{field: getattr(RECORD, field)})
        assert found.value.data[3, 3, 0] == pytest.approx(0.02 * TIME, abs=2e-3)

    def test_what_is_no_phase_in_radians_is_refused(self):
        with pytest.raises(UnitMismatch, match="phase images in rad"):
            it.mri.temperature_map(phase(heating(), quantity="signal", unit="[arb'U]"))
        one = Volume(np.zeros(SHAPE), np.eye(4), "phase", "rad", acquisition=RECORD)
        with pytest.raises(UnsupportedInput, match="do not vary in time"):
            it.mri.temperature_map(one)
        with pytest.raises(ImplausibleValue):
            it.mri.temperature_map(phase(heating()), echo_time_s=10.0)
        with pytest.raises(GeometryMismatch):
            it.mri.temperature_map(phase(heating()), unheated=np.ones((3, 3, 3)))


class TestDose:
    def change(self, degrees):
        """A constant rise after the first image."""
        rise = np.zeros((*SHAPE, TIME.size))
        rise[2:6, 2:6, :, 1:] = degrees
        return it.mri.temperature_map(phase(rise))

    def test_a_constant_43_degrees_counts_its_minutes(self):
        """37 + 6 Cel from the second image on; between the first two the temperature runs straight."""
        found = it.mri.cem43_map(self.change(6.0), 37.0)
        minutes = (TIME[-1] - TIME[1]) / 60
        dose = found.value.data[3, 3, 0]
        assert minutes < dose < minutes + 10 / 60
        assert (found.quantity, found.unit) == ("cem43", "min")
        assert found.value.data[0, 0, 0] == pytest.approx(0.0, abs=1e-2)

    def test_two_degrees_more_count_four_times(self):
        first = it.mri.cem43_map(self.change(6.0), 37.0).value.data[3, 3, 0]
        second = it.mri.cem43_map(self.change(6.0), 39.0).value.data[3, 3, 0]
        assert second / first == pytest.approx(4.0, rel=0.03)

    def test_the_heated_volume_of_a_region_is_that_of_its_voxels(self):
        change = self.change(5.0)
        whole = Regions.from_masks({"all": np.ones(SHAPE)}, change.grid)
        table = it.mri.heated_volume(change, whole, 37.0, above_c=41.0)
        assert table["quantity"].unique().tolist() == ["heated_volume"]
        last = table.iloc[-1]
        assert last["mean"] == pytest.approx(32 * 1e-3)
        assert table.iloc[0]["mean"] == 0.0
        none = it.mri.heated_volume(change, whole, 30.0, above_c=41.0)
        assert none["mean"].max() == 0.0

    def test_a_start_in_kelvin_and_other_quantities_are_refused(self):
        with pytest.raises(ImplausibleValue, match="start temperature"):
            it.mri.cem43_map(self.change(6.0), 310.0)
        t1 = Volume(np.ones(SHAPE), np.eye(4), "t1", "s")
        estimate = it.Estimate(t1, t1, t1.replace(data=np.zeros(SHAPE), quantity="flags", unit="1"))
        with pytest.raises(UnitMismatch, match="temperature change"):
            it.mri.cem43_map(estimate, 37.0)


class TestHeatingPower:
    def test_slope_heat_capacity_and_iron_give_watts_per_gram(self):
        """mri.md: 250 W/g at 1 mg/mL iron heats water (4.18 J/(g K)) by 3.59 K/min, 0.0598 K/s."""
        change = it.mri.temperature_map(phase(heating(250.0 / 4.18 / 1000.0)))
        found = it.mri.specific_absorption_rate_map(change, 1.0, window=(0, 12), heat_capacity_j_g_k=4.18)
        assert (found.quantity, found.unit) == ("specific_absorption_rate", "W/g")
        assert found.value.data[3, 3, 0] == pytest.approx(250.0, rel=2e-3)
        iron = Volume(np.full(SHAPE, 1.0 / 0.055845), np.eye(4), "fe_concentration", "mmol/L")
        by_map = it.mri.specific_absorption_rate_map(change, iron, window=(0, 12), heat_capacity_j_g_k=4.18)
        assert by_map.value.data[3, 3, 0] == pytest.approx(250.0, rel=2e-3)
        with pytest.raises(UnitMismatch, match="iron concentration"):
            it.mri.specific_absorption_rate_map(
                change, iron.replace(quantity="gd_concentration"), window=(0, 5), heat_capacity_j_g_k=4.18
            )
