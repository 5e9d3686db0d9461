"""Gamma-camera counts with a user's sensitivity: closed forms, the same clock rules as PET, and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear import (
    Administration,
    Calibration,
    calibrate,
    percent_id_per_gram,
    percent_id_per_ml,
    percent_id_per_region,
    suv,
    time_activity,
)
from imgtheranostics.nuclear.quantities import Request, quantify
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

SCAN = datetime(2025, 3, 1, 10)
INJECTED = SCAN - timedelta(hours=4)
TC_S = nuclide("Tc-99m").half_life_s
SENSITIVITY = 847.0
"""cps/MBq of a 0.5 mm general-purpose pinhole collimator (EJNMMI Phys 2020 7:64)."""
VOXEL_ML = 0.001
VIEWS, VIEW_S = 60, 20.0


def camera(**changes) -> NuclearAcquisition:
    """A mouse SPECT of 20 min, 4 h after 20 MBq of 99mTc, not decay corrected."""
    plain = NuclearAcquisition(
        image_type=("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"),
        frame_duration_s=VIEW_S,
        n_projections=VIEWS,
        series_datetime=SCAN,
        acquisition_datetime=SCAN,
        corrections=("ATTN", "SCAT"),
        decay_correction="NONE",
        radiopharmaceutical=Radiopharmaceutical("Tc-99m", TC_S, None, 20e6, INJECTED),
        subject=Subject(weight_kg=0.02, species="mouse"),
    )
    return replace(plain, **changes)


def counts(value=100.0, record=None, quantity="counts", unit="{counts}", shape=(8, 8, 8), **more) -> Volume:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    return Volume(
        np.full(shape, value, np.float32), affine, quantity, unit, acquisition=record or camera(), **more
    )


def everywhere(v: Volume) -> Regions:
    return Regions(np.ones((*v.grid.shape, 1), np.int32), {1: "all"}, v.grid)


def first(estimate) -> float:
    return float(estimate.value.data.flat[0])


def test_counts_become_activity_by_sensitivity_time_and_volume():
    """100 counts / (847 /s/MBq x 1200 s x 0.001 mL) = 98.386 kBq/mL."""
    found = calibrate(counts(), SENSITIVITY)
    assert (found.quantity, found.unit) == ("activity_concentration", "Bq/mL")
    assert found.data.flat[0] == pytest.approx(100 / (847 * 1200 * 1e-3) * 1e6, rel=1e-6)
    assert found.data.flat[0] == pytest.approx(98386.5, rel=1e-5)


@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(0.1, 1e4))
def test_a_known_activity_is_found_again(sensitivity, duration, activity_bq_ml):
    expected = activity_bq_ml * VOXEL_ML / 1e6 * sensitivity * duration
    v = counts(expected, shape=(2, 2, 2))
    found = calibrate(v, Calibration(sensitivity, duration_s=duration))
    assert_allclose(found.data, activity_bq_ml, rtol=1e-5)


def test_percent_per_gram_of_counts_that_were_not_decay_corrected():
    """Mean over 20 min at 4 h: the closed form of the frame mean, by hand."""
    constant = math.log(2) / TC_S
    x = constant * VIEWS * VIEW_S
    mean = 20e6 * math.exp(-constant * 4 * 3600) * (1 - math.exp(-x)) / x
    value = 0.25 / 100 * mean * VOXEL_ML / 1e6 * SENSITIVITY * 1200 * 100
    for method, truth in ((percent_id_per_gram, 25.0), (percent_id_per_ml, 25.0), (suv, 5.0)):
        found = method(counts(value), sensitivity_cps_mbq=SENSITIVITY)
        assert first(found) == pytest.approx(truth, rel=1e-5)
    assert found.decisions["decay"]["convention"] == "NONE"
    assert found.decisions["scaling"]["rule"] == "sensitivity 847 cps/MBq"


@pytest.mark.parametrize("correction", ["START", "ADMIN", "NONE"])
def test_a_stated_decay_correction_is_followed(correction):
    constant = math.log(2) / TC_S
    x = constant * 1200
    reference = {
        "ADMIN": 1.0,
        "START": math.exp(-constant * 4 * 3600),
        "NONE": math.exp(-constant * 4 * 3600) * -math.expm1(-x) / x,
    }[correction]
    listed = () if correction == "NONE" else ("DECY",)
    record = camera(decay_correction=correction, corrections=("ATTN", *listed))
    value = 0.1 * 20e6 * reference * VOXEL_ML / 1e6 * SENSITIVITY * 1200
    found = percent_id_per_gram(counts(value, record), sensitivity_cps_mbq=SENSITIVITY)
    assert first(found) == pytest.approx(10.0, rel=1e-5)


def test_corrected_counts_do_not_say_to_which_moment():
    record = camera(decay_correction=None, corrections=("DECY",))
    with pytest.raises(MissingMetadata, match="DecayCorrection") as refusal:
        suv(counts(record=record), sensitivity_cps_mbq=SENSITIVITY)
    assert "--decay-correction" in refusal.value.next_step
    assert first(suv(counts(record=record), sensitivity_cps_mbq=847, decay_correction="START")) > 0


def test_a_silent_file_needs_the_decay_correction():
    with pytest.raises(MissingMetadata, match="DecayCorrection"):
        suv(counts(record=camera(decay_correction=None, corrections=())), sensitivity_cps_mbq=847)


def test_a_list_of_corrections_without_decay_says_none_and_is_named():
    found = suv(counts(record=camera(decay_correction=None)), sensitivity_cps_mbq=847)
    assert found.decisions["decay"]["convention"] == "NONE"
    assert "decay-correction-from-list" in [caution.code for caution in found.value.warnings]
    assert first(found) == first(suv(counts(), sensitivity_cps_mbq=847))


def test_missing_calibration_names_the_option():
    for method in (suv, percent_id_per_gram, percent_id_per_ml):
        with pytest.raises(MissingMetadata, match="without a calibration") as refusal:
            method(counts())
        assert "--sensitivity-cps-mbq" in refusal.value.next_step
    with pytest.raises(MissingMetadata, match="without a calibration"):
        time_activity(counts(), everywhere(counts()))
    with pytest.raises(MissingMetadata, match="without a calibration"):
        quantify(counts(), everywhere(counts()))


def test_uncertainty_of_the_sensitivity_joins_that_of_the_dose():
    """Quadrature of 3 % and 4 %: 5 %."""
    dose = Administration(20e6, None, relative_uncertainty=0.04)
    how = Calibration(SENSITIVITY, 0.03)
    for found in (
        percent_id_per_gram(counts(), dose, sensitivity_cps_mbq=how),
        suv(counts(), "bw", dose, sensitivity_cps_mbq=how),
        percent_id_per_ml(calibrate(counts(), how), dose),
    ):
        assert found.calibration_relative == pytest.approx(0.05)
        ratio = found.standard_error.data / found.value.data
        assert_allclose(ratio, 0.05, rtol=1e-5)


def test_uncertainty_reaches_tables_and_curves():
    how = Calibration(SENSITIVITY, 0.03)
    v = counts()
    dose = Administration(20e6, None, relative_uncertainty=0.04)
    curve = time_activity(v, everywhere(v), quantity="id_per_g", administration=dose, sensitivity_cps_mbq=how)
    assert curve["standard_error"][0] / curve["mean"][0] == pytest.approx(0.05, rel=1e-4)
    plain = time_activity(v, everywhere(v), sensitivity_cps_mbq=how)
    assert plain["standard_error"][0] / plain["mean"][0] == pytest.approx(0.03, rel=1e-4)
    table = percent_id_per_region(v, everywhere(v), dose, sensitivity_cps_mbq=how)
    assert table["standard_error"][0] / table["mean"][0] == pytest.approx(0.05, rel=1e-4)
    asked = quantify(v, everywhere(v), request=Request(dose, sensitivity_cps_mbq=how))
    assert {estimate.quantity for estimate in asked.estimates} == {"suv_bw", "id_per_g"}
    assert asked.estimates[1].calibration_relative == pytest.approx(0.05)


def test_curve_of_several_scans_is_flat_for_a_carrier_that_stays():
    """The same %ID/g at 1, 4 and 24 h although 94 % of 99mTc has gone: fraction 0.0629 at 24 h."""
    constant, x = math.log(2) / TC_S, math.log(2) / TC_S * 1200
    scans, raw = [], []
    for hours in (1, 4, 24):
        start = INJECTED + timedelta(hours=hours)
        mean = 20e6 * 0.25 * math.exp(-constant * hours * 3600) * -math.expm1(-x) / x
        raw.append(mean * VOXEL_ML / 1e6 * SENSITIVITY * 1200)
        scans.append(counts(raw[-1], camera(series_datetime=start, acquisition_datetime=start)))
    table = time_activity(
        scans[::-1], everywhere(scans[0]), quantity="id_per_g", sensitivity_cps_mbq=SENSITIVITY
    )
    assert_allclose(table["mean"], 25.0, rtol=1e-5)
    assert_allclose(table["axis_value"], np.array([1, 4, 24]) * 3600 + 600)
    assert raw[2] / raw[0] * math.exp(-constant * 3600) == pytest.approx(0.0629, abs=5e-5)


def test_noise_in_counts_is_noise_in_the_result():
    how = Calibration(SENSITIVITY, 0.0)
    dose = Administration(20e6, None, relative_uncertainty=0.0)
    v = counts(100.0)
    noise = v.replace(data=np.full(v.shape, 10.0, np.float32))
    for level in (10.0, np.full(v.shape, 10.0), noise):
        found = percent_id_per_gram(v, dose, sensitivity_cps_mbq=how, noise_sd=level)
        assert_allclose(found.standard_error.data / found.value.data, 0.1, rtol=1e-5)


@pytest.mark.parametrize("dead_time_us", [0.0, 2.0, 10.0])
def test_dead_time_of_a_non_paralysable_camera(dead_time_us):
    """Forward: m = n / (1 + n tau), the rate that such a camera shows of a true rate n."""
    true_rate, tau = 40e3, dead_time_us * 1e-6
    observed = true_rate / (1 + true_rate * tau)
    v = counts(observed * 1200 / 512)
    found = calibrate(v, Calibration(SENSITIVITY, dead_time_s=tau))
    total_mbq = float(found.data.sum(dtype=np.float64)) * VOXEL_ML / 1e6
    assert total_mbq == pytest.approx(true_rate / SENSITIVITY, rel=1e-5)


def test_a_rate_above_what_the_dead_time_allows_is_refused():
    with pytest.raises(ImplausibleValue, match="dead time"):
        calibrate(counts(1e6), Calibration(SENSITIVITY, dead_time_s=1e-5))


def test_count_rates_need_no_time():
    v = counts(0.0847, camera(frame_duration_s=None), "count_rate", "{counts}/s")
    assert calibrate(v, SENSITIVITY).data.flat[0] == pytest.approx(0.0847 / 847 * 1e6 / 1e-3, rel=1e-6)


def test_unknown_counting_time_is_asked_for():
    silent = counts(record=camera(frame_duration_s=None))
    with pytest.raises(MissingMetadata, match="how long") as refusal:
        calibrate(silent, SENSITIVITY)
    assert "--counting-time-s" in refusal.value.next_step
    assert calibrate(silent, Calibration(SENSITIVITY, duration_s=1200)).data.flat[0] == pytest.approx(
        calibrate(counts(), SENSITIVITY).data.flat[0]
    )


def test_a_given_counting_time_is_that_of_the_decay_within_the_scan_too():
    """Without it 20 min of 99mTc cannot be brought to the injection; with it both files say the same."""
    silent = counts(record=camera(frame_duration_s=None, n_projections=None))
    with pytest.raises(MissingMetadata):
        percent_id_per_gram(silent, sensitivity_cps_mbq=SENSITIVITY)
    given_ = percent_id_per_gram(silent, sensitivity_cps_mbq=Calibration(SENSITIVITY, duration_s=1200))
    stated = percent_id_per_gram(counts(), sensitivity_cps_mbq=SENSITIVITY)
    assert first(given_) == pytest.approx(first(stated), rel=1e-9)


def test_dynamic_frames_have_their_own_times():
    record = EmissionAcquisition(modality="NM", frame_duration_s=np.array([[60.0, 120.0]]))
    axes = (Axis("time", np.array([30.0, 120.0]), "s"),)
    v = counts(shape=(2, 2, 2, 2), record=record, axes=axes)
    found = calibrate(v, SENSITIVITY).data
    assert found[0, 0, 0, 0] == pytest.approx(2 * found[0, 0, 0, 1])
    assert found[0, 0, 0, 0] == pytest.approx(100 / (847 * 60 * 1e-3) * 1e6, rel=1e-6)


def test_what_is_no_count_takes_no_sensitivity():
    ready = counts(quantity="activity_concentration", unit="Bq/mL")
    with pytest.raises(UnitMismatch, match="counts only"):
        suv(ready, sensitivity_cps_mbq=847)
    with pytest.raises(UnitMismatch, match="counts only"):
        calibrate(calibrate(counts(), 847.0), 847.0)
    assert calibrate(ready, None) is ready


@pytest.mark.parametrize("kind", ["STATIC", "WHOLE BODY", "DYNAMIC"])
def test_planar_images_have_no_concentration(kind):
    planar = camera(image_type=("ORIGINAL", "PRIMARY", kind, "EMISSION"))
    with pytest.raises(UnsupportedInput, match="planar"):
        calibrate(counts(record=planar), 847.0)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ((0.0,), "sensitivity"),
        ((-1.0,), "sensitivity"),
        ((math.nan,), "sensitivity"),
        ((2e6,), "sensitivity"),
        ((847.0, -0.1), "uncertainty"),
        ((847.0, 1.0), "uncertainty"),
        ((847.0, 0.05, 0.0), "time"),
        ((847.0, 0.05, math.inf), "time"),
        ((847.0, 0.05, None, -1.0), "dead time"),
    ],
)
def test_impossible_calibrations_are_refused(values, match):
    with pytest.raises(ImplausibleValue, match=match):
        Calibration(*values)
