"""Grey values to Hounsfield units by rods: a weighted line with covariance, a gate, and its beam."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.rod_calibration import gain_relative_error
from imgtheranostics.errors import (
    CorruptInput,
    IllConditioned,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.volume import Volume

NOMINAL = np.array([-1000.0, -100.0, 0.0, 250.0, 1000.0])
GREY = 10000.0 + 8.0 * NOMINAL  # 0.125 HU per grey value, water at 10000


def image(values, record=None, quantity="stored_value", unit="{stored}") -> Volume:
    data = np.asarray(values, np.float32).reshape(-1, 1, 1)
    return Volume(data, np.eye(4), quantity, unit, acquisition=record or CtAcquisition())


def test_a_perfect_line_is_found():
    rods = it.ct.calibrate_rods(GREY, NOMINAL)
    assert (rods.slope, rods.intercept) == (pytest.approx(0.125), pytest.approx(-1250.0))
    assert np.abs(rods.residuals_hu).max() < 1e-9
    found = rods.apply(image([12000.0, 10000.0, 2000.0]))
    assert found.data.ravel().tolist() == pytest.approx([250.0, 0.0, -1000.0], abs=1e-4)
    assert (found.quantity, found.unit) == ("attenuation", "[HU]")


def test_the_line_is_that_of_numpy_turned_round():
    """numpy.polyfit of the readings over the nominal HU, weights 1 / error, covariance not scaled."""
    rng = np.random.default_rng(1)
    error = np.array([40.0, 20.0, 10.0, 20.0, 80.0])
    reading = GREY + 0.3 * error * rng.standard_normal(5)  # scatters less than its errors: no inflation
    rods = it.ct.calibrate_rods(reading, NOMINAL, standard_error=error)
    (b, a), covariance = np.polyfit(NOMINAL, reading, 1, w=1 / error, cov="unscaled")
    assert rods.slope == pytest.approx(1 / b, rel=1e-10)
    assert rods.intercept == pytest.approx(-a / b, rel=1e-10)
    assert rods.residuals_hu == pytest.approx((reading - a) / b - NOMINAL, abs=1e-8)
    assert rods.slope_error == pytest.approx(np.sqrt(covariance[0, 0]) / b**2, rel=1e-8)
    # d(HU at grey g) = -(da + h db) / b at h HU
    for h in (-1000.0, 0.0, 2000.0):
        expected = np.sqrt(covariance[1, 1] + 2 * h * covariance[0, 1] + h**2 * covariance[0, 0]) / b
        assert rods.standard_error(h) == pytest.approx(expected, rel=1e-6)


def test_the_errors_are_the_scatter_of_repeats():
    """400 calibrations of noisy readings: water's HU scatters by the stated error within 4 of its own SE."""
    rng = np.random.default_rng(7)
    error = np.array([60.0, 30.0, 30.0, 60.0, 120.0])
    water, stated = [], []
    for _ in range(400):
        rods = it.ct.calibrate_rods(
            GREY + error * rng.standard_normal(5), NOMINAL, standard_error=error, max_residual_hu=500.0
        )
        water.append(rods.slope * 10000.0 + rods.intercept)
        covariance = rods.covariance / max(1.0, rods.reduced_chi2)
        stated.append(np.sqrt(covariance[0, 0] + 2e4 * covariance[0, 1] + 1e8 * covariance[1, 1]))
    assert np.std(water) == pytest.approx(np.mean(stated), rel=4 / np.sqrt(2 * 400))
    assert abs(np.mean(water)) < 4 * np.std(water) / np.sqrt(400)


@settings(max_examples=30)
@given(
    slope=st.floats(1e-4, 1e3),
    water=st.floats(-1e5, 1e5),
    order=st.permutations(range(5)),
)
def test_any_linear_scale_is_undone_whatever_the_order(slope, water, order):
    index = np.array(order)
    reading = water + NOMINAL / slope
    rods = it.ct.calibrate_rods(reading[index], NOMINAL[index])
    assert rods.slope == pytest.approx(slope, rel=1e-6)
    assert rods.slope * water + rods.intercept == pytest.approx(0.0, abs=1e-5 * (1 + abs(water * slope)))


def test_a_rod_off_the_line_is_refused_and_named():
    reading = GREY.copy()
    reading[3] += 8.0 * 60.0  # 60 HU
    with pytest.raises(ImplausibleValue, match="at 250 HU"):
        it.ct.calibrate_rods(reading, NOMINAL)
    wide = it.ct.calibrate_rods(reading, NOMINAL, max_residual_hu=80.0)
    assert np.abs(wide.residuals_hu).argmax() == 3
    noisy = it.ct.calibrate_rods(reading, NOMINAL, standard_error=8.0 * 20.0)
    assert noisy.residuals_hu[3] > 25.0  # within four of its errors of 20 HU
    with pytest.raises(ImplausibleValue, match="at most 5 HU"):
        it.ct.calibrate_rods(reading, NOMINAL, standard_error=8.0 * 20.0, max_residual_hu=5.0)


def test_exchanged_rods_do_not_rise():
    with pytest.raises(IllConditioned, match="do not rise"):
        it.ct.calibrate_rods(GREY[::-1], NOMINAL)


@pytest.mark.parametrize(
    ("grey", "hu", "options", "words"),
    [
        ([1.0, 2.0], [0.0], {}, "same length"),
        ([1.0, np.nan], [0.0, 1.0], {}, "finite"),
        ([1.0, 2.0], [0.0, 0.0], {}, "two different"),
        ([1.0, 2.0], [0.0, 1.0], {"standard_error": [1.0, 0.0]}, "positive"),
        ([1.0, 2.0], [0.0, 1.0], {"max_residual_hu": -1.0}, "above 0"),
    ],
)
def test_points_that_make_no_line_are_usage_errors(grey, hu, options, words):
    with pytest.raises(ValueError, match=words):
        it.ct.calibrate_rods(grey, hu, **options)


def test_two_rods_without_errors_are_a_line_that_nobody_checked():
    rods = it.ct.calibrate_rods([2000.0, 10000.0], [-1000.0, 0.0])
    assert np.isnan(rods.standard_error(0.0))
    found = rods.apply(image([12000.0]))
    assert found.data.ravel().tolist() == [250.0]
    assert "calibration-unchecked" in [caution.code for caution in found.warnings]
    assert gain_relative_error(found) == 0.0


BEAM = CtAcquisition(tube_voltage_kv=65.0, filter_material="ALUMINUM", kernel="B30f")


def test_a_calibration_belongs_to_its_beam_and_kernel():
    rods = it.ct.calibrate_rods(GREY, NOMINAL, kvp=65, filter="aluminum", kernel="B30F")
    assert rods.apply(image([1.0], BEAM)).warnings == ()
    other = CtAcquisition(tube_voltage_kv=50.0, filter_material="COPPER", kernel="Canary of Doe")
    with pytest.raises(UnitMismatch) as caught:
        rods.apply(image([1.0], other))
    for words in ("65 of the rods, 50 of the images", "COPPER", "another of the images"):
        assert words in (caught.value.found or "")
    assert "Canary" not in str(caught.value)
    found = rods.apply(image([1.0], other), allow=("kvp", "filter", "kernel"))
    assert {caution.code for caution in found.warnings} == {"calibration-settings-differ"}
    with pytest.raises(ValueError, match="kvp, filter, kernel"):
        rods.apply(image([1.0], other), allow=("beam",))


def test_what_is_not_stated_is_told():
    (note,) = it.ct.calibrate_rods(GREY, NOMINAL, kvp=65).apply(image([1.0], BEAM)).warnings
    assert note.code == "calibration-settings-not-stated"
    assert "kvp" not in note.message


def test_the_history_says_how_sure_the_scale_is():
    rods = it.ct.calibrate_rods(GREY, NOMINAL, standard_error=16.0)
    found = rods.apply(image([2000.0, 10000.0, 30000.0, 40000.0]))
    record = found.history[-1].parameters
    assert (record["n_rods"], record["beyond_rods"]) == (5, 0.5)
    assert record["water_standard_error_hu"] == pytest.approx(float(rods.standard_error(0.0)))
    assert gain_relative_error(found) == pytest.approx(rods.slope_error / rods.slope)
    assert rods.gain_relative_error == pytest.approx(gain_relative_error(found))
    assert rods.decision()["largest_residual_hu"] < 1e-9


def test_values_that_no_line_calibrates_are_refused():
    rods = it.ct.calibrate_rods(GREY, NOMINAL)
    with pytest.raises(UnitMismatch, match="concentration"):
        rods.apply(image([1.0], quantity="concentration", unit="mg/mL"))
    with pytest.raises(UnitMismatch, match="not linear"):
        rods.apply(image([1.0], CtAcquisition(rescale_type="ED")))


@pytest.mark.parametrize("error", [None, [40.0, 20.0, 10.0, 20.0, 80.0]])
def test_a_calibration_survives_its_file(tmp_path, error):
    reading = GREY + np.array([3.0, -5.0, 2.0, 8.0, -6.0])
    rods = it.ct.calibrate_rods(
        reading,
        NOMINAL,
        standard_error=error,
        kvp=65,
        kernel="B30f",
        date="2026-01-06",
        phantom_diameter_mm=30,
    )
    rods.save(tmp_path / "rods.json")
    again = it.ct.load_rod_calibration(tmp_path / "rods.json")
    for name in ("slope", "intercept", "kvp", "filter", "kernel", "date", "phantom_diameter_mm"):
        assert getattr(again, name) == getattr(rods, name)
    for name in ("covariance", "residuals_hu", "grey", "hu", "grey_standard_error"):
        assert np.array_equal(getattr(again, name), getattr(rods, name), equal_nan=True)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"slope": 0.2}, CorruptInput, "not that of its rods"),
        ({"grey": [1.0]}, CorruptInput, "does not make sense"),
        ({"grey": None}, CorruptInput, "does not make sense"),
        ({"format": "other"}, UnsupportedInput, "no calibration by rods"),
        ({"version": 9}, UnsupportedInput, "another version"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, error, words):
    path = tmp_path / "rods.json"
    it.ct.calibrate_rods(GREY, NOMINAL).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=words):
        it.ct.load_rod_calibration(path)


def test_an_absent_file_is_nothing(tmp_path):
    with pytest.raises(NothingUsable):
        it.ct.load_rod_calibration(tmp_path / "none.json")


def test_the_error_of_the_scale_goes_into_changes_and_concentrations():
    """A change of 1000 HU by a scale of relative error g has the shared error 1000 g, beside its noise."""
    rods = it.ct.calibrate_rods(GREY, NOMINAL, standard_error=400.0)
    rng = np.random.default_rng(2)

    def scan(level):
        data = 10000.0 + 8.0 * level + rng.normal(0.0, 4.0, (12, 12, 12))
        record = CtAcquisition(tube_voltage_kv=65.0)
        return rods.apply(Volume(data, np.eye(4), "stored_value", "{stored}", acquisition=record))

    change = it.ct.enhancement(scan(0.0), scan(1000.0), noise_sd=0.5)
    assert change.calibration_relative == pytest.approx(rods.gain_relative_error)
    noise = np.sqrt(2) * 0.5
    expected = np.hypot(noise, rods.gain_relative_error * change.value.data)
    np.testing.assert_allclose(change.standard_error.data, expected, rtol=1e-5)
    slope = it.ct.concentration(change, material="I", slope=50.0, slope_error=1.0)
    assert slope.calibration_relative == pytest.approx(np.hypot(0.02, rods.gain_relative_error))
