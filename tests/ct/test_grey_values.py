"""Grey values to Hounsfield units by water and air of the same scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition, MrAcquisition
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.volume import Axis, Volume


def grey(values, record=None, quantity="stored_value", unit="{stored}", **fields) -> Volume:
    data = np.asarray(values, np.float32)
    data = data.reshape(*data.shape, *(1,) * (3 - data.ndim)) if data.ndim < 3 else data
    return Volume(data, np.eye(4), quantity, unit, acquisition=record or CtAcquisition(), **fields)


def test_the_oracle_of_the_sheet():
    """CT sheet, section 6: grey 12000 with water 10000 and air 2000 is 250 HU."""
    volume = it.ct.to_hu(grey([12000.0, 10000.0, 2000.0]), water=10000, air=2000)
    assert volume.data.ravel().tolist() == [250.0, 0.0, -1000.0]
    assert (volume.quantity, volume.unit) == ("attenuation", "[HU]")
    assert it.ct.require_hu(volume) is volume


@given(
    air=st.floats(-1e4, 1e4),
    span=st.floats(1.0, 1e5),
    attenuation=st.floats(0.0, 20.0),
)
def test_it_is_the_definition_of_the_unit(air, span, attenuation):
    """HU = 1000 (mu - mu_water) / (mu_water - mu_air) for any linear scale of mu, water at 1 and air at 0."""
    value = it.ct.to_hu(grey([air + attenuation * span]), water=air + span, air=air).data[0, 0, 0]
    rounding = 1000.0 * 1e-6 * (1.0 + abs(air) / span + attenuation)
    assert value == pytest.approx(1000.0 * (attenuation - 1.0), abs=rounding)


def scene():
    rng = np.random.default_rng(3)
    data = rng.normal(5000.0, 40.0, (8, 8, 8))
    data[:2], data[6:] = rng.normal(1000.0, 40.0, (2, 8, 8)), rng.normal(9000.0, 40.0, (2, 8, 8))
    air, water = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    air[:2], water[6:] = True, True
    data[0, 0, 0] = np.nan
    return grey(data), water, air


def test_regions_of_the_same_scan_give_the_two_points():
    volume, water, air = scene()
    found = it.ct.to_hu(volume, water=water, air=air)
    assert np.nanmean(found.data[water], dtype=np.float64) == pytest.approx(0.0, abs=1e-3)
    assert np.nanmean(found.data[air], dtype=np.float64) == pytest.approx(-1000.0, abs=1e-3)
    assert np.isnan(found.data[0, 0, 0])
    record = found.history[-1].parameters
    assert (record["water"]["n_voxels"], record["air"]["n_voxels"]) == (128, 127)
    assert record["water"]["sd"] == pytest.approx(40.0, rel=0.2)


def test_masks_may_be_arrays_volumes_and_regions():
    volume, water, air = scene()
    labels = Volume(water.astype(np.int32), np.eye(4), "labels", "1")
    regions = it.Regions.from_masks({"air": air}, volume.grid)
    expected = it.ct.to_hu(volume, water=water, air=air)
    assert np.array_equal(it.ct.to_hu(volume, water=labels, air=regions).data, expected.data, equal_nan=True)
    mixed = it.ct.to_hu(volume, water=float(np.nanmean(volume.data[water], dtype=np.float64)), air=air)
    assert np.allclose(mixed.data, expected.data, equal_nan=True, atol=1e-3)


def test_a_region_without_numbers_or_on_another_grid_is_refused():
    volume, water, _ = scene()
    empty = np.zeros((8, 8, 8), bool)
    empty[0, 0, 0] = True  # NaN there
    with pytest.raises(GeometryMismatch, match="field of view"):
        it.ct.to_hu(volume, water=water, air=empty)
    with pytest.raises(GeometryMismatch, match="mask"):
        it.ct.to_hu(volume, water=water, air=np.ones((2, 2, 2), bool))


@pytest.mark.parametrize(("water", "air"), [(2000.0, 10000.0), (2000.0, 2000.0)])
def test_water_that_is_not_brighter_than_air_is_refused(water, air):
    with pytest.raises(ImplausibleValue, match="not brighter than air"):
        it.ct.to_hu(grey([1.0]), water=water, air=air)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_grey_value_that_is_no_number_is_refused(value):
    with pytest.raises(MissingMetadata, match="water"):
        it.ct.to_hu(grey([1.0]), water=value, air=0.0)


def test_regions_of_mixed_material_are_told_or_refused():
    volume, water, air = scene()
    soft = np.ones((8, 8, 8), bool)
    soft[:2] = False
    found = it.ct.to_hu(volume, water=soft, air=air)  # two materials of 5000 and 9000 in one region
    assert [caution.code for caution in found.warnings] == ["reference-uneven"]
    everything = np.ones((8, 8, 8), bool)
    with pytest.raises(IllConditioned, match="scatter more"):
        it.ct.to_hu(volume, water=everything, air=~water)


@pytest.mark.parametrize("kind", ["ED", "EDW", "Z_EFF", "MGML", "HU_MOD", "PCT"])
def test_values_that_are_not_linear_in_attenuation_are_refused(kind):
    volume = grey([1.0], CtAcquisition(rescale_type=kind), "signal", "[arb'U]")
    with pytest.raises(UnitMismatch, match="not linear in attenuation"):
        it.ct.to_hu(volume, water=1.0, air=0.0)


def test_a_localizer_concentration_or_other_modality_is_refused():
    note = Caution("not-hounsfield", "values are not Hounsfield units: a localizer is a projection")
    with pytest.raises(UnitMismatch, match="localizer"):
        it.ct.to_hu(grey([1.0], quantity="signal", unit="[arb'U]", warnings=(note,)), water=1.0, air=0.0)
    with pytest.raises(UnitMismatch, match="concentration"):
        it.ct.to_hu(grey([1.0], quantity="concentration", unit="mg/mL"), water=1.0, air=0.0)
    with pytest.raises(UnitMismatch, match="modality MR"):
        it.ct.to_hu(grey([1.0], MrAcquisition(), "signal", "[arb'U]"), water=1.0, air=0.0)


@pytest.mark.parametrize("kind", [None, "US", "1/cm"])
def test_unspecified_grey_values_lose_their_doubt(kind):
    notes = (
        Caution("units-not-stated", "unknown"),
        Caution("not-hounsfield", "US"),
        Caution("other", "stays"),
    )
    found = it.ct.to_hu(grey([1.0], CtAcquisition(rescale_type=kind), warnings=notes), water=1.0, air=0.0)
    assert [caution.code for caution in found.warnings] == ["other"]
    assert found.acquisition.rescale_type == "HU"


def test_hounsfield_units_can_be_corrected_with_a_word():
    found = it.ct.to_hu(grey([260.0, 10.0], quantity="attenuation", unit="[HU]"), water=10.0, air=-990.0)
    assert found.data.ravel().tolist() == [250.0, 0.0]
    assert [caution.code for caution in found.warnings] == ["calibrated-again"]


def test_a_series_is_calibrated_by_numbers_and_not_by_regions():
    data = np.arange(16.0).reshape(2, 2, 2, 2)
    series = Volume(
        data, np.eye(4), "stored_value", "{stored}", (Axis("time", [0, 1], "s"),), CtAcquisition()
    )
    found = it.ct.to_hu(series, water=1.0, air=0.0)
    assert np.array_equal(found.data, np.float32(1000.0 * (data - 1.0)))
    with pytest.raises(UnsupportedInput, match="one image"):
        it.ct.to_hu(series, water=np.ones((2, 2, 2), bool), air=0.0)


def test_large_grey_values_keep_their_last_digit():
    """16 777 217 is not a float32: slope and intercept are applied in float64."""
    found = it.ct.to_hu(grey([1e7 + 3, 1e7]), water=1e7, air=0.0)
    assert found.data.ravel().tolist() == pytest.approx([3e-4, 0.0], abs=1e-9)
