"""The slope that vials of known concentration show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.ct.materials import calibrate, load_vial_calibration
from imgtheranostics.errors import (
    CorruptInput,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)

AMOUNT = np.array([0.0, 2.0, 5.0, 10.0, 20.0])


def test_exact_vials_give_their_slope():
    """26.6 HU per mg/mL, set B at 120 kVp, over a medium of 12 HU."""
    found = calibrate(12 + 26.6 * AMOUNT, AMOUNT, material="hafnium oxide", kvp=120, hu_standard_error=2.0)
    assert found.slope.hu_per_mg_ml == pytest.approx(26.6)
    assert found.intercept_hu == pytest.approx(12)
    assert (found.slope.material, found.slope.kvp, found.slope.source) == ("HfO2", 120, "calibration")
    assert not found.slope.prior
    assert not found.warnings
    assert found.highest_mg_ml == 20


def test_the_weighted_line_is_that_of_scipy():
    """curve_fit with absolute errors; points that scatter less than their errors widen nothing."""
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(5)
    error = np.array([1.0, 2.0, 2.0, 4.0, 8.0])
    hu = 3 + 27 * AMOUNT + 0.5 * error * rng.standard_normal(5)
    found = calibrate(hu, AMOUNT, material="Au", kvp=120, hu_standard_error=error)
    assert found.reduced_chi2 < 1
    parameters, covariance = curve_fit(
        lambda x, a, b: a + b * x, AMOUNT, hu, sigma=error, absolute_sigma=True
    )
    assert (found.intercept_hu, found.slope.hu_per_mg_ml) == pytest.approx(tuple(parameters), rel=1e-6)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-5)
    assert found.slope.standard_error == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-5)


def test_points_that_scatter_more_than_their_errors_widen_the_slope():
    """By the root of the reduced chi-square (PDG, scale factor)."""
    hu = 27 * AMOUNT + np.array([4.0, -4.0, -4.0, 4.0, 0.0])
    tight = calibrate(hu, AMOUNT, material="Au", kvp=120, hu_standard_error=1.0)
    assert tight.reduced_chi2 > 10
    exact = calibrate(27 * AMOUNT, AMOUNT, material="Au", kvp=120, hu_standard_error=1.0)
    ratio = tight.slope.standard_error / exact.slope.standard_error
    assert ratio == pytest.approx(np.sqrt(tight.reduced_chi2))


def test_the_scatter_tells_the_error_where_none_is_given():
    """Over 2,000 repeats, the mean standard error is the scatter of the slopes within 4 % (its own 1.6 %)."""
    rng = np.random.default_rng(7)
    found = [
        calibrate(27 * AMOUNT + rng.normal(0, 3, 5), AMOUNT, material="Au", kvp=120).slope
        for _ in range(2000)
    ]
    scatter = np.std([slope.hu_per_mg_ml for slope in found])
    assert np.mean([slope.standard_error for slope in found]) == pytest.approx(scatter, rel=0.04)


def test_the_error_of_the_stock_is_common_to_all_vials():
    """3 % of the stock and 0.5 % of the line add in quadrature, however many vials there are."""
    plain = calibrate(27 * AMOUNT, AMOUNT, material="Au", kvp=120, hu_standard_error=1.0)
    stock = calibrate(
        27 * AMOUNT, AMOUNT, material="Au", kvp=120, hu_standard_error=1.0, stock_relative_error=0.03
    )
    expected = np.hypot(plain.slope.relative_error, 0.03)
    assert stock.slope.relative_error == pytest.approx(expected)
    np.testing.assert_array_equal(stock.covariance, plain.covariance)


def test_a_vial_off_the_line_is_refused_by_name():
    hu = 27 * AMOUNT
    hu[3] += 60
    with pytest.raises(ImplausibleValue, match="off the line") as caught:
        calibrate(hu, AMOUNT, material="Au", kvp=120, hu_standard_error=2.0)
    assert caught.value.where == "vial 4, 10 mg/mL"
    kept = calibrate(hu, AMOUNT, material="Au", kvp=120, hu_standard_error=2.0, max_residual_hu=100)
    assert np.abs(kept.residuals_hu).max() > 40


def test_noise_of_the_vials_is_no_reason_to_refuse():
    """Residuals of two of their standard errors pass, although they are more than 5 % of the span."""
    hu = 27 * np.array([0.0, 0.5, 1.0]) + np.array([2.0, -4.0, 2.0])
    with pytest.raises(ImplausibleValue):
        calibrate(hu, [0, 0.5, 1], material="Au", kvp=120, max_residual_hu=1.0)
    found = calibrate(hu, [0, 0.5, 1], material="Au", kvp=120, hu_standard_error=2.0)
    assert found.slope.hu_per_mg_ml == pytest.approx(27)


def test_a_saturated_vial_is_refused():
    amount = np.array([0.0, 50.0, 100.0, 200.0])
    with pytest.raises(ImplausibleValue, match="saturated") as caught:
        calibrate(np.minimum(27 * amount, 3071), amount, material="Au", kvp=120, hu_standard_error=2.0)
    assert "vial 4" in caught.value.where


def test_vials_that_show_nothing_are_refused():
    with pytest.raises(IllConditioned, match="do not rise"):
        calibrate([1, -2, 2, 0, 1], AMOUNT, material="Au", kvp=120, hu_standard_error=5.0)
    with pytest.raises(IllConditioned, match="do not rise"):
        calibrate(-27 * AMOUNT, AMOUNT, material="Au", kvp=120, hu_standard_error=5.0)


def test_two_vials_need_their_errors():
    with pytest.raises(MissingMetadata, match="two vials without errors"):
        calibrate([0, 270], [0, 10], material="Au", kvp=120)
    found = calibrate([0, 270], [0, 10], material="Au", kvp=120, hu_standard_error=3.0)
    assert found.slope.standard_error == pytest.approx(3 * np.sqrt(2) / 10)
    assert np.isnan(found.reduced_chi2)


def test_concentrations_in_mmol_are_doubted():
    """10 mmol/L of iodine are 1.27 mg/mL: the slope per mmol/L is 3.5, not 28."""
    amount = np.array([0.0, 10, 20, 40])
    found = calibrate(27.1 * 0.1269 * amount, amount, material="I", kvp=120, hu_standard_error=1.0)
    assert [caution.code for caution in found.warnings] == ["slope-unlike-prior"]
    plain = calibrate(27.1 * amount, amount, material="I", kvp=120, hu_standard_error=1.0)
    assert not plain.warnings
    unusual = calibrate(11 * amount, amount, material="Y", kvp=None, hu_standard_error=1.0)
    assert not unusual.warnings


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"concentration_mg_ml": [-1, 2, 5, 10, 20]}, ImplausibleValue, "negative"),
        ({"kvp": 120000}, ImplausibleValue, "CT scanner"),
        ({"material": "unobtanium"}, UnsupportedInput, "not known"),
        ({"concentration_mg_ml": [1, 2]}, ValueError, "same length"),
        ({"concentration_mg_ml": [5] * 5}, ValueError, "different x"),
        ({"hu": [0, 54, np.nan, 270, 540]}, ValueError, "finite"),
        ({"hu_standard_error": 0}, ValueError, "positive"),
        ({"hu_standard_error": [1, 2]}, ValueError, "one number or 5"),
        ({"max_residual_hu": 0}, ValueError, "max_residual_hu"),
        ({"stock_relative_error": 3}, ValueError, "stock_relative_error"),
    ],
)
def test_input_that_makes_no_calibration_is_refused(changes, kind, match):
    options = {
        "hu": 27 * AMOUNT,
        "concentration_mg_ml": AMOUNT,
        "material": "Au",
        "kvp": 120,
        "hu_standard_error": 2.0,
        **changes,
    }
    hu, amount = options.pop("hu"), options.pop("concentration_mg_ml")
    with pytest.raises(kind, match=match):
        calibrate(hu, amount, **options)


@given(
    st.floats(5, 80),
    st.floats(-50, 80),
    st.floats(0.5, 5),
    st.lists(st.floats(-1, 1), min_size=5, max_size=5),
    st.booleans(),
)
def test_a_calibration_comes_back_from_its_file(tmp_path_factory, slope, intercept, error, noise, stated):
    hu = intercept + slope * AMOUNT + error * np.array(noise)
    made = calibrate(
        hu,
        AMOUNT,
        material="Gd",
        kvp=100,
        hu_standard_error=error if stated else None,
        filter="7 mm Al",
        water_cm=16,
        stock_relative_error=0.02,
        max_residual_hu=50,
        kernel="B30f",
        date="2026-03-02",
    )
    path = tmp_path_factory.mktemp("vials") / "vials.json"
    made.save(path)
    back = load_vial_calibration(path)
    assert back.slope == made.slope
    assert back.decision() == pytest.approx(made.decision(), nan_ok=True)
    np.testing.assert_array_equal(back.covariance, made.covariance)
    np.testing.assert_array_equal(back.hu_standard_error, made.hu_standard_error)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "vials.json"
    calibrate(27 * AMOUNT, AMOUNT, material="Au", kvp=120, hu_standard_error=2.0).save(path)
    return path


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"slope_hu_per_mg_ml": 30.0}, CorruptInput, "not that of its vials"),
        ({"hu": [0, 1]}, CorruptInput, "does not make sense"),
        ({"hu": None}, CorruptInput, "does not make sense"),
        ({"kvp": "high"}, CorruptInput, "does not make sense"),
        ({"concentration_mg_ml": [0, -2, 5, 10, 20]}, CorruptInput, "does not make sense"),
        ({"format": "imgtheranostics-ph-calibration"}, UnsupportedInput, "no calibration of vials"),
        ({"version": 99}, UnsupportedInput, "another version"),
    ],
)
def test_a_file_that_was_changed_is_refused(saved, changes, kind, match):
    saved.write_text(json.dumps({**json.loads(saved.read_text()), **changes}))
    with pytest.raises(kind, match=match):
        load_vial_calibration(saved)


def test_a_file_without_one_of_its_entries_is_refused(saved):
    content = json.loads(saved.read_text())
    del content["material"]
    saved.write_text(json.dumps(content))
    with pytest.raises(CorruptInput, match="does not make sense"):
        load_vial_calibration(saved)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="cannot be read"):
        load_vial_calibration(tmp_path / "absent.json")
