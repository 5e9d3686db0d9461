"""Concentration from a change of attenuation: values, errors, slopes, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.linear_concentration import NAME, from_change
from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.volume import Estimate, Flag, Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
NOISE = math.sqrt(200.0)
SLOPE = ct.Slope(26.6, 0.5, "HfO2", kvp=120.0)


def change_of(values, *, kvp=120.0, noise=NOISE, shared=0.0, **record):
    """An Estimate of a change of attenuation with that noise of one voxel."""
    value = Volume(
        np.reshape(np.asarray(values, np.float32), (-1, 1, 1)), AFFINE, "delta_attenuation", "[HU]",
        acquisition=CtAcquisition(tube_voltage_kv=kvp, **record),
    )  # fmt: skip
    bad = ~np.isfinite(value.data)
    error = np.where(bad, np.nan, np.hypot(noise, shared * value.data))
    flags = np.where(bad, Flag.INVALID_INPUT.value, 0).astype(np.uint16)
    return Estimate(
        value,
        value.replace(data=error),
        value.replace(data=flags, quantity="flags", unit="1"),
        calibration_relative=shared,
        decisions={"noise": {"voxel_sd_hu": noise}},
    )


def test_value_and_error_of_the_reference_sheet():
    """ct.md section 6: 142 HU over 26.6 +- 0.5 with noise sqrt(200) is 5.338 +- 0.541 mg/mL."""
    found = ct.concentration(change_of([142.0]), material="HfO2", slope=SLOPE)
    assert (found.quantity, found.unit) == ("concentration", "mg/mL")
    assert found.value.data.item() == pytest.approx(5.338, abs=5e-4)
    assert found.standard_error.data.item() == pytest.approx(0.541, abs=5e-4)
    assert found.calibration_relative == pytest.approx(0.5 / 26.6)
    assert found.decisions["slope"]["hu_per_mg_ml"] == 26.6
    assert found.maps["delta_attenuation"].data.item() == 142.0


def test_slope_as_a_number_with_its_error():
    found = ct.concentration(change_of([142.0]), material="HfO2", slope=26.6, slope_error=0.5)
    assert found.standard_error.data.item() == pytest.approx(0.541, abs=5e-4)
    assert not found.warnings


def test_slope_without_an_error_takes_that_of_a_prior_and_says_so():
    """5 % of 26.6: sqrt(200 + (5.338 x 1.33)^2) / 26.6."""
    found = ct.concentration(change_of([142.0]), material="HfO2", slope=26.6)
    expected = math.hypot(math.sqrt(200.0), 142.0 * 0.05) / 26.6
    assert found.standard_error.data.item() == pytest.approx(expected, rel=1e-5)
    assert [caution.code for caution in found.warnings] == ["slope-error-assumed"]


@given(st.floats(-500, 3000), st.floats(0.1, 100), st.floats(1, 100), st.floats(0, 10))
def test_errors_add_as_formula_6(change, noise, slope, slope_error):
    """Var C = (sigma_d^2 + C^2 sigma_S^2) / S^2."""
    fit = from_change(change, ct.Slope(slope, slope_error, "I"), change_error=noise)
    value = change / slope
    assert fit.parameters[NAME] == pytest.approx(value, rel=1e-12)
    expected = math.sqrt(noise**2 + value**2 * slope_error**2) / slope
    assert fit.total_errors[NAME] == pytest.approx(expected, rel=1e-9)
    assert bool(fit.flags & Flag.BELOW_NOISE.value) == bool(value < 3.3 * noise / slope)


def test_values_below_the_limit_of_a_voxel_are_kept_and_flagged():
    """3.3 x 14.14 / 26.6 = 1.754 mg/mL, which is 46.7 HU; cutting them off would bias means."""
    found = ct.concentration(change_of([-20.0, 46.0, 47.0, 142.0]), material="HfO2", slope=SLOPE)
    flags = found.flags.data.ravel()
    assert flags.tolist() == [Flag.BELOW_NOISE, Flag.BELOW_NOISE, 0, 0]
    assert found.value.data.ravel() == pytest.approx(np.array([-20.0, 46.0, 47.0, 142.0]) / 26.6)
    assert found.decisions["detection"]["voxel_lod_mg_ml"] == pytest.approx(1.754, abs=1e-3)
    assert found.decisions["detection"]["voxel_loq_mg_ml"] == pytest.approx(5.316, abs=1e-3)
    rate = found.decisions["detection"]["false_positive_rate_at_voxel_lod"]
    assert rate == pytest.approx(4.83e-4, rel=1e-2)  # the normal's tail beyond 3.3


def test_a_voxel_without_a_change_stays_without_a_value():
    found = ct.concentration(change_of([np.nan, 142.0]), material="HfO2", slope=SLOPE)
    assert np.isnan(found.value.data[0, 0, 0])
    assert np.isnan(found.standard_error.data[0, 0, 0])
    assert found.flags.data.ravel().tolist() == [Flag.INVALID_INPUT, 0]


def test_a_calibration_of_the_images_adds_to_that_of_the_slope():
    """2 % of the rods and 0.5 of 26.6 of the slope: both common to all voxels."""
    found = ct.concentration(change_of([142.0], shared=0.02), material="HfO2", slope=SLOPE)
    shared = math.hypot(0.02, 0.5 / 26.6)
    assert found.calibration_relative == pytest.approx(shared)
    expected = math.hypot(math.sqrt(200.0) / 26.6, shared * 142.0 / 26.6)
    assert found.standard_error.data.item() == pytest.approx(expected, rel=1e-5)


def test_a_volume_has_a_concentration_but_no_noise():
    found = ct.concentration(change_of([142.0]).value, material="HfO2", slope=SLOPE)
    assert found.value.data.item() == pytest.approx(5.338, abs=5e-4)
    assert np.isnan(found.standard_error.data.item())
    assert found.flags.data.item() == 0


def test_prior_of_the_beam_in_the_file():
    """Set A of ct.md 4.2 at 120 kVp, 7 mm Al and 20 cm of water: 27.0 HU per mg/mL of HfO2, within 5 %."""
    found = ct.concentration(change_of([142.0]), material="HfO2")
    assert found.value.data.item() == pytest.approx(142.0 / 27.0, rel=0.05)
    assert found.calibration_relative == pytest.approx(0.05)
    assert found.decisions["slope"]["prior"]
    assert "assumed-beam" in [caution.code for caution in found.warnings]
    table = ct.concentration(change_of([142.0]), material="HfO2", model="A", water_cm=20)
    assert table.value.data.item() == pytest.approx(142.0 / 27.0, rel=1e-6)


def test_displaced_water_is_added_where_the_density_is_known():
    """F4: 1/9.7 HU per mg/mL less, so that 27.0 becomes 26.897 and the concentration rises by 0.38 %."""
    options = {"material": "HfO2", "model": "A", "water_cm": 20.0}
    plain = ct.concentration(change_of([142.0]), **options)
    corrected = ct.concentration(change_of([142.0]), density_g_ml=9.7, **options)
    assert corrected.value.data.item() == pytest.approx(142.0 / (27.0 - 1 / 9.7), rel=1e-6)
    assert corrected.decisions["slope"]["displacement_hu_per_mg_ml"] == pytest.approx(1 / 9.7)
    assert plain.decisions["slope"]["displacement_hu_per_mg_ml"] == 0
    record = ct.concentration(change_of([142.0]), material="nbtxr3", model="A", water_cm=20.0)
    assert record.value.data.item() == pytest.approx(corrected.value.data.item(), rel=1e-6)


def test_tin_that_the_file_states_is_taken_into_account():
    """Table A: iodine 23.8 HU per mg/mL at 140 kVp, 14.9 behind 0.4 mm of tin."""
    plain = ct.concentration(change_of([100.0], kvp=140.0), material="I", water_cm=20)
    tin = change_of([100.0], kvp=140.0, filter_material="TIN", filter_thickness_mm=0.4)
    assert ct.concentration(tin, material="I", water_cm=20).value.data.item() == pytest.approx(
        100.0 / 14.9, rel=0.05
    )
    assert plain.value.data.item() == pytest.approx(100.0 / 23.8, rel=0.05)
    given_by_user = ct.concentration(tin, material="I", water_cm=20, tin_mm=0.0)
    assert given_by_user.value.data.item() == pytest.approx(plain.value.data.item(), rel=1e-6)


def test_tin_without_its_thickness_is_refused_and_other_filters_are_told():
    with pytest.raises(MissingMetadata, match="tin filter without its thickness"):
        ct.concentration(change_of([100.0], kvp=140.0, filter_material="TIN"), material="I")
    copper = change_of([100.0], filter_material="COPPER", filter_thickness_mm=0.2)
    found = ct.concentration(copper, material="I")
    assert "filter-not-modelled" in [caution.code for caution in found.warnings]


def test_aluminium_of_a_micro_ct_is_taken_from_the_file():
    """Table A: HfO2 45.1 HU per mg/mL at 50 kVp behind 0.5 mm Al and 3 cm of water."""
    mouse = change_of([100.0], kvp=50.0, filter_material="ALUMINUM", filter_thickness_mm=0.5)
    found = ct.concentration(mouse, material="HfO2", water_cm=3.0)
    assert found.value.data.item() == pytest.approx(100.0 / 45.1, rel=0.05)


def test_without_a_tube_voltage_a_prior_is_refused():
    with pytest.raises(MissingMetadata, match="tube voltage"):
        ct.concentration(change_of([142.0], kvp=None), material="HfO2")
    found = ct.concentration(change_of([142.0], kvp=None), material="HfO2", kvp=120.0)
    assert found.value.data.item() == pytest.approx(142.0 / 27.0, rel=0.05)
    assert ct.concentration(change_of([142.0], kvp=None), material="HfO2", slope=SLOPE)


def test_slopes_of_another_beam_are_refused():
    """From 80 to 140 kVp iodine's slope falls by 1.8."""
    with pytest.raises(UnitMismatch, match="another tube voltage"):
        ct.concentration(change_of([142.0], kvp=80.0), material="HfO2", slope=SLOPE)
    with pytest.raises(UnitMismatch, match="another tube voltage"):
        ct.concentration(change_of([142.0]), material="HfO2", kvp=80.0)


def test_slopes_of_another_material_are_refused():
    with pytest.raises(UnitMismatch, match="another material"):
        ct.concentration(change_of([142.0]), material="I", slope=SLOPE)
    assert ct.concentration(change_of([142.0]), material="hafnium oxide", slope=SLOPE)
    own = ct.Slope(20.0, 1.0, "my liposome")
    assert ct.concentration(change_of([142.0]), material="My liposome", slope=own)


def test_the_slope_of_a_calibration_is_taken_from_it():
    @dataclass
    class Vials:
        slope: ct.Slope

    found = ct.concentration(change_of([142.0]), material="HfO2", slope=Vials(SLOPE))
    assert found.value.data.item() == pytest.approx(5.338, abs=5e-4)


@pytest.mark.parametrize("slope", ["26.6", np.array([26.6, 27.0]), (26.6, 0.5)])
def test_what_is_no_slope_is_refused(slope):
    with pytest.raises(ValueError, match="slope= is a number, a Slope or a calibration"):
        ct.concentration(change_of([142.0]), material="HfO2", slope=slope)


def test_unknown_materials_are_refused_with_near_names():
    with pytest.raises(UnsupportedInput, match="material is not known"):
        ct.concentration(change_of([142.0]), material="hafnum oxyde")


def test_attenuation_itself_is_no_change():
    plain = change_of([142.0]).value.replace(quantity="attenuation")
    with pytest.raises(UnitMismatch, match="change of attenuation"):
        ct.concentration(plain, material="HfO2", slope=SLOPE)


def test_options_that_would_be_ignored_are_refused():
    for options in ({"water_cm": 20.0}, {"model": "A"}, {"density_g_ml": 9.7}, {"slope_error": 1.0}):
        with pytest.raises(ValueError):
            ct.concentration(change_of([142.0]), material="HfO2", slope=SLOPE, **options)
    with pytest.raises(ValueError, match="belongs to a slope"):
        ct.concentration(change_of([142.0]), material="HfO2", slope_error=0.5)


def test_mask_of_the_array_level():
    fit = from_change(np.array([142.0, 50.0]), SLOPE, mask=np.array([True, False]))
    assert fit.flags.tolist() == [0, Flag.MASKED_OUT]
    assert np.isnan(fit.parameters[NAME][1])
    assert fit.units == {NAME: "mg/mL"}
    with pytest.raises(ValueError, match="mask has shape"):
        from_change(np.zeros(3), SLOPE, mask=np.ones(2, bool))
