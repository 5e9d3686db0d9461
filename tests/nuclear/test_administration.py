"""Net dose: residual, infiltration, assay, units typed wrong, uncertainty."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import ImgTheranosticsError, ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear import Administration, percent_id_per_gram, suv
from imgtheranostics.nuclear.dose_unit import check_total_dose

T_S = 6586.2


def dose_of(estimate):
    return estimate.decisions["administered_activity"]


def test_net_dose_subtracts_residual_and_infiltration_each_at_its_time(series, scan_at):
    injected = scan_at - timedelta(hours=1)
    given_ = Administration(
        400e6,
        injected,
        residual_bq=20e6,
        residual_at=injected + timedelta(minutes=15),
        infiltrated_bq=5e6,
        relative_uncertainty=0.03,
        assayed_at=injected - timedelta(minutes=20),
    )
    full = 400e6 * 2 ** (-1200 / T_S)
    residual = 20e6 * 2 ** (900 / T_S)
    dose = dose_of(suv(series(), "bw", given_))
    assert dose["net_bq_at_injection"] == pytest.approx(full - residual - 5e6, rel=1e-9)
    spread = 0.03 * math.sqrt(full**2 + residual**2 + 5e6**2) / (full - residual - 5e6)
    assert dose["relative_uncertainty"] == pytest.approx(spread, rel=1e-9)


def test_times_may_be_seconds_from_the_injection(series, scan_at):
    injected = scan_at - timedelta(hours=1)
    moments_ = Administration(
        400e6,
        injected,
        residual_bq=2e7,
        residual_at=injected + timedelta(seconds=900),
        assayed_at=injected - timedelta(seconds=1200),
    )
    numbers = Administration(400e6, injected, residual_bq=2e7, residual_at=900.0, assayed_at=-1200.0)
    first, second = (dose_of(suv(series(), "bw", one)) for one in (moments_, numbers))
    assert first == second


def test_header_dose_with_the_residual_of_the_user(series):
    given_ = Administration(None, None, residual_bq=8.08e6)
    result = suv(series(), "bw", given_)
    assert dose_of(result)["net_bq_at_injection"] == pytest.approx(360e6)
    assert dose_of(result)["source"] == "header"
    assert [caution.code for caution in result.warnings] == ["residual-time-assumed"]


def test_standard_error_holds_the_dose_uncertainty(series):
    result = suv(series(), "bw", Administration(None, None, relative_uncertainty=0.04), noise_sd=30.0)
    value, error = float(result.value.data[0, 0, 0]), float(result.standard_error.data[0, 0, 0])
    assert result.calibration_relative == pytest.approx(0.04)
    assert error == pytest.approx(value * math.hypot(0.04, 0.03), rel=1e-6)
    assert suv(series()).calibration_relative == pytest.approx(0.05)
    both = suv(series(), scanner_relative_uncertainty=0.12)
    assert both.calibration_relative == pytest.approx(0.13)


def test_monte_carlo_of_the_net_dose_agrees_with_the_propagated_uncertainty(series):
    rng = np.random.default_rng(7)
    draws = rng.normal(1.0, 0.05, (3, 400_000))
    net = 400e6 * draws[0] - 60e6 * draws[1] - 30e6 * draws[2]
    given_ = Administration(400e6, None, residual_bq=60e6, residual_at=0.0, infiltrated_bq=30e6)
    relative = suv(series(), "bw", given_).calibration_relative
    assert relative == pytest.approx(net.std() / net.mean(), rel=5e-3)


def test_nothing_left_of_the_dose_is_refused(series):
    with pytest.raises(ImplausibleValue, match="nothing is left"):
        suv(series(), "bw", Administration(None, None, infiltrated_bq=400e6))


def test_residual_with_a_date_needs_a_clock(series, scan_at):
    v = series(
        series_datetime=None, acquisition_datetime=None, start_datetime=None, frame_reference_time_s=None
    )
    given_ = Administration(4e8, 3600.0, residual_bq=1e6, residual_at=scan_at)
    with pytest.raises(MissingMetadata):
        suv(v, "bw", given_)


@pytest.mark.parametrize(
    "wrong",
    [
        {"activity_bq": 12.5},
        {"activity_bq": 0.0},
        {"activity_bq": -1e6},
        {"activity_bq": float("nan")},
        {"residual_bq": -1.0},
        {"infiltrated_bq": float("nan")},
        {"relative_uncertainty": -0.1},
        {"weight_kg": 0.0},
        {"height_m": -1.0},
        {"sex": "male"},
    ],
)
def test_impossible_administrations_are_refused(wrong):
    with pytest.raises(ImplausibleValue):
        Administration(**{"activity_bq": 1e7, "at": None, **wrong})


@pytest.mark.parametrize(
    ("value", "nuclide", "small_animal", "unit", "activity"),
    [
        (368.08e6, "F-18", False, "Bq", 368.08e6),
        (368.08, "F-18", False, "MBq", 368.08e6),
        (400.0, "Cu-64", False, "MBq", 400e6),
        (7.4e9, "Lu-177", False, "Bq", 7.4e9),
        (2e5, "F-18", True, "Bq", 2e5),
        (200.0, "F-18", True, "uCi", 7.4e6),
        (2.0, "Cu-64", True, "MBq", 2e6),
        (9000.0, "F-18", False, "uCi", 333e6),
    ],
)
def test_dose_unit(value, nuclide, small_animal, unit, activity):
    dose = check_total_dose(value, nuclide, small_animal=small_animal)
    assert (dose.unit, dose.activity_bq) == (unit, pytest.approx(activity))
    assert bool(dose.warnings) == (unit != "Bq")


@pytest.mark.parametrize(
    ("value", "nuclide", "small_animal"),
    [
        (10.0, "F-18", False),  # MBq or mCi
        (10.0, "F-18", True),  # MBq or uCi
        (200.0, "I-131", False),  # MBq or mCi of a therapy nuclide
        (0.001, "F-18", False),  # nothing
        (368080.0, "F-18", False),  # kBq is not guessed
        (9e10, "F-18", False),
        (5e4, "F-18", True),
    ],
)
def test_dose_whose_unit_is_ambiguous_or_hopeless_is_refused(value, nuclide, small_animal):
    with pytest.raises(ImplausibleValue, match="plausible") as caught:
        check_total_dose(value, nuclide, small_animal=small_animal)
    assert caught.value.next_step


def test_unusual_activity_of_the_user_is_used_with_a_caution(series):
    faint = series(data=np.full((64, 64, 4), 1.0))  # 1 kBq in all, less than was injected
    result = suv(faint, "bw", Administration(368080.0, None))
    assert [caution.code for caution in result.warnings] == ["activity-unusual"]
    assert dose_of(result)["net_bq_at_injection"] == 368080.0


@pytest.mark.parametrize("value", [None, 0.0, -5.0, float("nan")])
def test_absent_dose_is_refused(value):
    with pytest.raises(MissingMetadata, match="activity is absent"):
        check_total_dose(value, "F-18")


def test_dose_typed_in_mbq_gives_the_same_suv_with_a_loud_caution(series):
    clean, typed = suv(series()), suv(series(total_dose=368.08))
    assert np.array_equal(clean.value.data, typed.value.data)
    assert [caution.code for caution in typed.warnings] == ["dose-unit-corrected"]
    assert dose_of(typed)["header_unit_assumed"] == "MBq"


def test_strict_refuses_to_guess_and_names_the_guess(series):
    with pytest.raises(ImplausibleValue, match="plausible") as caught:
        suv(series(total_dose=368.08), strict=True)
    assert "MBq" in (caught.value.found or "")


def test_mouse_in_a_clinical_scanner_may_have_a_mouse_dose(series):
    light = suv(series(data=np.full((64, 64, 4), 1.0), weight_kg=0.02, total_dose=5e5))
    assert light.warnings == ()
    with pytest.raises(ImplausibleValue, match="plausible"):
        suv(series(total_dose=5e5))


def test_micro_curie_of_a_mouse(series):
    mouse = {"spacing": 0.5, "weight_kg": 0.02}
    curie = percent_id_per_gram(series(**mouse, total_dose=200.0))
    becquerel = percent_id_per_gram(series(**mouse, total_dose=7.4e6))
    assert np.array_equal(curie.value.data, becquerel.value.data)


@given(st.floats(1e-3, 9999.0), st.sampled_from(["F-18", "Cu-64", "I-131", None]), st.booleans())
def test_a_corrected_dose_is_always_plausible_and_cautioned(value, nuclide, small_animal):
    try:
        dose = check_total_dose(value, nuclide, small_animal=small_animal)
    except ImgTheranosticsError:
        return
    assert 1e5 <= dose.activity_bq <= 2e10
    assert dose.warnings
