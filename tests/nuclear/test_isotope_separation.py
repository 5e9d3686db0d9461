"""Two isotopes in one scan: closed forms, simulated counts whose intervals must cover, and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import nnls

import imgtheranostics as it
from imgtheranostics.acquisition import NuclearAcquisition, Radiopharmaceutical
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
from imgtheranostics.nuclear import (
    Calibration,
    Crosstalk,
    calibrate,
    correct_dead_time,
    crosstalk_from_vials,
    separate_isotopes,
    time_activity,
    triple_energy_window,
    unfold_windows,
)
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SCAN = datetime(2026, 1, 6, 10)
WINDOWS = ((126.0, 154.0), (154.0, 188.0))
MIXING = Crosstalk([[1.0, 0.25], [0.05, 1.0]], ["Tc-99m", "In-111"])
"""A quarter of what 111In shows at 171 keV scatters into the window of 99mTc."""


def record(limits=WINDOWS, **changes) -> NuclearAcquisition:
    plain = NuclearAcquisition(
        image_type=("ORIGINAL", "PRIMARY", "STATIC", "EMISSION"),
        energy_windows_kev=tuple(limits),
        ranges_per_window=(1,) * len(limits) if len(limits) > 1 else (),
        frame_duration_s=600.0,
        acquisition_datetime=SCAN,
    )
    return replace(plain, **changes)


def windowed(counts, **changes) -> Volume:
    """A volume of two energy windows; `counts` is (..., 2)."""
    data = np.asarray(counts, np.float32)
    axis = Axis("energy", np.array([140.0, 171.0]), "keV")
    return Volume(data, np.eye(4), "counts", "{counts}", (axis,), acquisition=record(**changes))


def window(value, limits, shape=(4, 4, 4), **more) -> Volume:
    return Volume(
        np.full(shape, value, np.float32),
        np.eye(4),
        "counts",
        "{counts}",
        acquisition=record((limits,), **more),
    )


def test_counts_without_noise_are_given_back_to_their_isotopes():
    """100 of 99mTc and 40 of 111In: 110 and 45 counts; by hand, (110 - 0.25 x 45) / (1 - 0.0125) = 100."""
    v = windowed(np.broadcast_to([110.0, 45.0], (2, 2, 2, 2)))
    found = separate_isotopes(v, crosstalk=MIXING)
    assert list(found) == ["Tc-99m", "In-111"]
    assert_allclose(found["Tc-99m"].value.data, 100.0, rtol=1e-6)
    assert_allclose(found["In-111"].value.data, 40.0, rtol=1e-6)
    # errors by hand: sqrt(110 + 0.25^2 45) / 0.9875, sqrt(45 + 0.05^2 110) / 0.9875
    assert_allclose(found["Tc-99m"].standard_error.data, math.sqrt(112.8125) / 0.9875, rtol=1e-6)
    assert_allclose(found["In-111"].standard_error.data, math.sqrt(45.275) / 0.9875, rtol=1e-6)
    assert found["Tc-99m"].decisions["condition_number"] == pytest.approx(np.linalg.cond(MIXING.matrix))
    assert (found["In-111"].quantity, found["In-111"].unit) == ("counts", "{counts}")


def test_each_isotope_keeps_its_window_and_its_own_injection():
    drugs = (
        Radiopharmaceutical("Tc-99m", 21_624.0, None, 20e6, SCAN - timedelta(hours=1)),
        Radiopharmaceutical("In-111", 242_326.0, None, 5e6, SCAN - timedelta(hours=48)),
    )
    v = windowed(np.full((2, 2, 2, 2), 100.0), radiopharmaceuticals=drugs)
    found = separate_isotopes(v, crosstalk=MIXING)
    for drug, limits in zip(drugs, WINDOWS, strict=True):
        kept = found[drug.nuclide].value.acquisition
        assert kept.energy_windows_kev == (limits,)
        assert kept.radiopharmaceutical is drug
    silent = separate_isotopes(windowed(np.full((2, 2, 2, 2), 100.0)), crosstalk=MIXING)
    kept = silent["In-111"].value.acquisition.radiopharmaceutical
    assert (kept.nuclide, kept.half_life_s, kept.total_dose) == (
        "In-111",
        nuclide("In-111").half_life_s,
        None,
    )


@pytest.mark.parametrize("pair", [(400.0, 150.0), (60.0, 500.0), (25.0, 20.0)])
def test_intervals_of_simulated_counts_cover(pair):
    """2,000 Poisson voxels: unbiased, and nominal 95 % intervals hold the truth in 92-98 %."""
    rng = np.random.default_rng(11)
    counts = rng.poisson(MIXING.matrix @ pair, (20, 10, 10, 2))
    found = separate_isotopes(windowed(counts), crosstalk=MIXING)
    for name, truth in zip(MIXING.isotopes, pair, strict=True):
        value, error = found[name].value.data.astype(float), found[name].standard_error.data
        assert value.mean() == pytest.approx(truth, abs=4 * value.std() / math.sqrt(2000))
        assert 0.92 <= (np.abs(value - truth) < 1.96 * error).mean() <= 0.98


def test_absent_isotopes_come_out_around_zero_and_negative_values_are_flagged():
    rng = np.random.default_rng(3)
    counts = rng.poisson(MIXING.matrix @ [100.0, 0.0], (20, 10, 10, 2))
    found = separate_isotopes(windowed(counts), crosstalk=MIXING)["In-111"]
    value = found.value.data.astype(float)
    assert value.mean() == pytest.approx(0.0, abs=4 * value.std() / math.sqrt(2000))
    assert ((found.flags.data & Flag.NEGATIVE_AMPLITUDE.value) > 0).tolist() == (value < 0).tolist()
    kept = separate_isotopes(windowed(counts), crosstalk=MIXING, non_negative=True)["In-111"]
    assert kept.value.data.min() == 0
    # half a normal distribution: its mean is 0.4 standard deviations, as the docstring says
    assert 0 < kept.value.data.mean() <= 0.45 * value.std()
    assert "non-negative-bias" in [c.code for c in kept.warnings]
    held = kept.value.data == 0
    assert np.isnan(kept.standard_error.data[held]).all()
    assert ((kept.flags.data[held] & Flag.AT_BOUND.value) > 0).all()


@given(st.lists(st.floats(0, 1e4), min_size=3, max_size=3), st.floats(0, 0.4), st.floats(0, 0.4))
def test_values_that_are_kept_from_being_negative_are_those_of_nnls(seen, a, b):
    """Three windows, two isotopes, weights of the mean: SciPy's active set finds the same."""
    mixing = Crosstalk([[1.0, a], [b, 1.0], [0.3, 0.1]], ["I-123", "I-131"])
    fit = unfold_windows([seen], mixing, non_negative=True)
    root = 1 / np.sqrt(np.maximum(seen, 1.0))
    expected, _ = nnls(mixing.matrix * root[:, None], np.array(seen) * root)
    found = [fit.parameters[name][0] for name in mixing.isotopes]
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * max(seen) + 1e-9)


def test_more_windows_than_isotopes_are_weighted_least_squares():
    rng = np.random.default_rng(6)
    mixing = Crosstalk([[1.0, 0.2], [0.1, 1.0], [0.4, 0.3]], ["I-123", "I-131"])
    truth = np.array([900.0, 300.0])
    counts = rng.poisson(mixing.matrix @ truth, (1500, 3))
    fit = unfold_windows(counts, mixing)
    for name, true in zip(mixing.isotopes, truth, strict=True):
        value, error = fit.parameters[name], fit.standard_errors[name]
        assert value.mean() == pytest.approx(true, abs=4 * value.std() / math.sqrt(1500))
        assert error.mean() == pytest.approx(value.std(), rel=0.08)
        assert 0.93 <= (np.abs(value - true) < 1.96 * error).mean() <= 0.97
    # better than its own window alone could be
    alone = unfold_windows(counts[:, :2], Crosstalk(mixing.matrix[:2], mixing.isotopes))
    assert fit.standard_errors["I-131"].mean() < alone.standard_errors["I-131"].mean()


@pytest.mark.parametrize(
    "matrix",
    [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.99], [0.99, 1.0]], [[1.0, 1.0]]],
    ids=["singular", "bad", "few"],
)
def test_windows_that_do_not_tell_isotopes_apart_are_refused(matrix):
    v = [window(10.0, limits) for limits in WINDOWS[: len(matrix)]]
    with pytest.raises(IllConditioned):
        separate_isotopes(v, crosstalk=matrix, isotopes=["I-123", "I-131"])


def test_a_separation_that_hardly_holds_says_so_and_the_limit_can_be_chosen():
    matrix = [[1.0, 0.9], [0.9, 1.0]]
    v = windowed(np.full((2, 2, 2, 2), 100.0))
    found = separate_isotopes(v, crosstalk=matrix, isotopes=["I-123", "I-131"])
    assert "isotopes-hardly-separable" in [c.code for c in found["I-123"].warnings]
    with pytest.raises(IllConditioned, match="tell these isotopes apart"):
        separate_isotopes(v, crosstalk=matrix, isotopes=["I-123", "I-131"], max_condition=10.0)


@pytest.mark.parametrize(
    ("matrix", "match"),
    [
        ([[1.0, -0.1], [0.1, 1.0]], "negative"),
        ([[1.0, math.nan], [0.1, 1.0]], "no number"),
        ([[2.0, 0.1], [0.1, 1.0]], "own energy window"),
        ([[1.0, 1.0], [0.1, 0.5]], "for their own"),
    ],
)
def test_an_impossible_crosstalk_is_refused(matrix, match):
    with pytest.raises(ImplausibleValue, match=match):
        Crosstalk(matrix, ["a", "b"])


def test_usage_errors():
    v = windowed(np.ones((2, 2, 2, 2)))
    for call, match in (
        (lambda: Crosstalk([[1.0, 0.1], [0.1, 1.0]], ["a"]), "isotopes"),
        (lambda: Crosstalk([[1.0, 0.1], [0.1, 1.0]], ["a", "a"]), "one name"),
        (lambda: separate_isotopes(v, crosstalk=[[1.0, 0], [0, 1.0]]), "isotopes="),
        (lambda: separate_isotopes(v, crosstalk=MIXING, isotopes=["a", "b"]), "others"),
        (lambda: separate_isotopes([window(1, WINDOWS[0])], crosstalk=MIXING), "1 energy windows"),
        (lambda: separate_isotopes(window(1, WINDOWS[0]), crosstalk=MIXING), "no energy windows"),
        (lambda: separate_isotopes(v, crosstalk=MIXING, noise_sd=[1.0]), "noise_sd"),
        (lambda: unfold_windows([[1.0, 2.0, 3.0]], MIXING), "counts"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_negative_counts_need_their_noise():
    v = windowed(np.full((2, 2, 2, 2), -1.0))
    with pytest.raises(ImplausibleValue, match="negative") as refusal:
        separate_isotopes(v, crosstalk=MIXING)
    assert "noise_sd=" in refusal.value.next_step
    found = separate_isotopes(v, crosstalk=MIXING, noise_sd=[2.0, 3.0])["Tc-99m"]
    assert_allclose(found.standard_error.data, math.hypot(2.0, 0.25 * 3.0) / 0.9875, rtol=1e-6)
    with pytest.raises(ImplausibleValue, match="negative"):
        unfold_windows([[-1.0, 2.0]], MIXING)


def test_images_that_are_no_windows_of_one_scan_are_refused():
    first, second = (window(10.0, limits) for limits in WINDOWS)
    with pytest.raises(GeometryMismatch):
        separate_isotopes([first, window(10.0, WINDOWS[1], (4, 4, 5))], crosstalk=MIXING)
    with pytest.raises(UnitMismatch, match="counts"):
        separate_isotopes([calibrate_(first), calibrate_(second)], crosstalk=MIXING)
    later = window(10.0, WINDOWS[1], acquisition_datetime=SCAN + timedelta(hours=1))
    with pytest.raises(ImplausibleValue, match="same time"):
        separate_isotopes([first, later], crosstalk=MIXING)


def calibrate_(v: Volume) -> Volume:
    return v.replace(quantity="activity_concentration", unit="Bq/mL")


def test_voxels_without_a_number_are_flagged():
    data = np.full((2, 2, 2, 2), 50.0)
    data[0, 0, 0, 1] = math.nan
    found = separate_isotopes(windowed(data), crosstalk=MIXING)["Tc-99m"]
    assert math.isnan(found.value.data[0, 0, 0])
    assert math.isnan(found.standard_error.data[0, 0, 0])
    assert found.flags.data[0, 0, 0] == Flag.INVALID_INPUT.value
    assert not found.flags.data[1:].any()


def test_vials_of_one_isotope_each_give_the_crosstalk():
    """Net 10,000 and 2,500; 500 and 10,000: ratios 0.25 and 0.05."""
    found = crosstalk_from_vials(
        [[10_100, 600], [2_600, 10_100]], ["Tc-99m", "In-111"], background=[200, 200], background_share=0.5
    )
    assert_allclose(found.matrix, [[1.0, 0.25], [0.05, 1.0]])
    assert found.own_windows == (0, 1)
    # var(a/b) = (var a + (a/b)^2 var b) / b^2 with var = counts + 0.25 x background
    expected = math.sqrt(2_650 + 0.25**2 * 10_150) / 10_000
    assert found.standard_error[0, 1] == pytest.approx(expected)
    assert found.standard_error[0, 0] == 0


def test_error_of_the_crosstalk_covers_in_repeats_of_the_vials():
    rng = np.random.default_rng(9)
    truth = np.array([[20_000, 1_000], [5_000, 20_000]])
    made = [crosstalk_from_vials(rng.poisson(truth), ["a", "b"]) for _ in range(400)]
    value = np.array([one.matrix[0, 1] for one in made])
    error = np.array([one.standard_error[0, 1] for one in made])
    assert error.mean() == pytest.approx(value.std(), rel=0.15)
    assert 0.92 <= (np.abs(value - 0.25) < 1.96 * error).mean() <= 0.98


@pytest.mark.parametrize(
    ("counts", "match"),
    [([[100, -1], [1, 100]], "negative"), ([[100, 10], [5, 100]], "above the background")],
)
def test_vials_that_tell_nothing_are_refused(counts, match):
    with pytest.raises(ImplausibleValue, match=match):
        crosstalk_from_vials(counts, ["a", "b"], background=[100, 95])


def test_error_of_the_crosstalk_is_shared_by_all_voxels_and_goes_on():
    """0.025 of 0.25 moves 99mTc by 0.025 x 40 / 0.9875 of 100: 1.013 %."""
    mixing = Crosstalk(MIXING.matrix, MIXING.isotopes, [[0.0, 0.025], [0.0, 0.0]])
    v = windowed(np.broadcast_to([110.0, 45.0], (8, 8, 8, 2)), image_type=())
    found = separate_isotopes(v, crosstalk=mixing)["Tc-99m"]
    assert found.calibration_relative == pytest.approx(0.025 * 40 / 0.9875 / 100, rel=1e-5)
    counting = found.maps["counting_error"].data
    assert_allclose(
        found.standard_error.data, np.hypot(counting, found.calibration_relative * 100), rtol=1e-5
    )
    activity = calibrate(found.value, Calibration(847.0, 0.03))
    expected = math.hypot(0.03, found.calibration_relative)
    assert it.nuclear.calibration.calibration_uncertainty(activity) == pytest.approx(expected)


def test_a_reconstruction_is_told_that_its_errors_are_those_of_counting():
    v = windowed(np.full((2, 2, 2, 2), 9.0), image_type=("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"))
    found = separate_isotopes(v, crosstalk=MIXING)["Tc-99m"]
    assert "poisson-error-of-a-reconstruction" in [c.code for c in found.warnings]


def test_counts_that_dead_time_took_do_not_come_back_as_certainty():
    """100 counts of which half were seen: sqrt(50) x 2, not sqrt(100)."""
    v = windowed(np.full((2, 2, 2, 2), 50.0))
    doubled = correct_dead_time(v, tau_s=1e-6, observed_cps=0.5e6)
    assert_allclose(doubled.data, 100.0, rtol=1e-6)
    found = separate_isotopes(doubled, crosstalk=np.eye(2), isotopes=["a", "b"])["a"]
    assert_allclose(found.standard_error.data, 2 * math.sqrt(50), rtol=1e-6)


TEW = ((126.0, 154.0), (120.0, 126.0), (154.0, 160.0))


def test_scatter_is_the_trapezoid_under_the_peak():
    """By hand: 1000 - 28/2 (60/6 + 12/6) = 832; variance 1000 + (28/12)^2 (60 + 12)."""
    peak, lower, upper = (window(n, limits) for n, limits in zip((1000.0, 60.0, 12.0), TEW, strict=True))
    found = triple_energy_window(peak, lower, upper)
    assert_allclose(found.value.data, 832.0, rtol=1e-6)
    assert_allclose(found.standard_error.data, math.sqrt(1000 + (28 / 12) ** 2 * 72), rtol=1e-6)
    assert_allclose(triple_energy_window(peak, lower).value.data, 860.0, rtol=1e-6)
    bare = [v.replace(acquisition=None) for v in (peak, lower, upper)]
    assert_allclose(triple_energy_window(*bare, windows_kev=TEW).value.data, 832.0, rtol=1e-6)
    with pytest.raises(MissingMetadata, match="limits"):
        triple_energy_window(*bare)


def test_scatter_correction_covers_and_may_be_negative():
    rng = np.random.default_rng(1)
    truth = (300.0 + 28 / 12 * 52.0, 40.0, 12.0)
    images = [
        window(0.0, limits).replace(data=rng.poisson(n, (20, 10, 10)).astype(np.float32))
        for n, limits in zip(truth, TEW, strict=True)
    ]
    found = triple_energy_window(*images)
    value, error = found.value.data.astype(float), found.standard_error.data
    assert value.mean() == pytest.approx(300, abs=4 * value.std() / math.sqrt(2000))
    assert 0.93 <= (np.abs(value - 300) < 1.96 * error).mean() <= 0.97
    weak = [window(n, limits) for n, limits in zip((1.0, 60.0, 0.0), TEW, strict=True)]
    negative = triple_energy_window(*weak)
    assert (negative.value.data < 0).all()
    assert (negative.flags.data == Flag.NEGATIVE_AMPLITUDE.value).all()
    kept = triple_energy_window(*weak, non_negative=True)
    assert (kept.value.data == 0).all()
    assert np.isnan(kept.standard_error.data).all()
    assert "non-negative-bias" in [c.code for c in kept.warnings]


def test_scatter_windows_must_lie_beside_the_peak():
    peak, lower, upper = (window(10.0, limits) for limits in TEW)
    for images in ((peak, upper, lower), (lower, peak, upper), (peak, peak, upper)):
        with pytest.raises(ImplausibleValue, match="two sides"):
            triple_energy_window(*images)
    with pytest.raises(GeometryMismatch):
        triple_energy_window(peak, lower, window(1.0, TEW[2], (4, 4, 5)))
    with pytest.raises(UnitMismatch):
        triple_energy_window(calibrate_(peak), calibrate_(lower))
    with pytest.raises(ImplausibleValue, match="negative"):
        triple_energy_window(peak, window(-1.0, TEW[1]))


def test_scatter_corrected_windows_keep_their_errors_when_isotopes_are_separated():
    peaks = [
        triple_energy_window(window(400.0, WINDOWS[0]), window(30.0, (120.0, 126.0))),
        triple_energy_window(window(200.0, WINDOWS[1]), window(20.0, (148.0, 154.0))),
    ]
    found = separate_isotopes(peaks, crosstalk=MIXING)["Tc-99m"]
    first, second = (one.standard_error.data.flat[0] for one in peaks)
    assert_allclose(found.standard_error.data, math.hypot(first, 0.25 * second) / 0.9875, rtol=1e-5)


def test_scans_counted_in_different_windows_make_no_curve():
    scans = []
    for hours, limits in ((0, WINDOWS[0]), (4, WINDOWS[1])):
        moment = SCAN + timedelta(hours=hours)
        scans.append(
            window(
                10.0,
                limits,
                image_type=("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"),
                acquisition_datetime=moment,
                series_datetime=moment,
                decay_correction="NONE",
                radiopharmaceutical=Radiopharmaceutical(
                    "In-111", nuclide("In-111").half_life_s, None, 5e6, SCAN - timedelta(hours=1)
                ),
            )
        )
    regions = Regions(np.ones((4, 4, 4, 1), np.int32), {1: "all"}, scans[0].grid)
    with pytest.raises(UnitMismatch, match="different energy windows"):
        time_activity(scans, regions, sensitivity_cps_mbq=100.0)
    same = [
        scans[0],
        scans[1].replace(acquisition=replace(scans[1].acquisition, energy_windows_kev=(WINDOWS[0],))),
    ]
    assert len(time_activity(same, regions, sensitivity_cps_mbq=100.0)) == 2


def test_counts_of_several_windows_are_not_calibrated_as_one():
    v = windowed(np.ones((2, 2, 2, 2)), image_type=("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"))
    with pytest.raises(it.errors.UnsupportedInput, match="no axis beyond") as refusal:
        calibrate(v, 100.0)
    assert "--window" in refusal.value.next_step
    assert calibrate(it.nuclear.energy_window(v, 171.0), 100.0).shape == (2, 2, 2)
