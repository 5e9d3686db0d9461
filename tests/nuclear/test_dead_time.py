"""Dead time: closed forms, simulated detectors that know nothing of the formulas, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.errors import (
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import (
    Calibration,
    calibrate,
    correct_dead_time,
    dead_time_of_decaying_source,
    dead_time_of_two_sources,
)
from imgtheranostics.nuclear.dead_time import MODELS, observed_rate, true_rate
from imgtheranostics.volume import Axis, Flag, Volume


def image(total_cps, *, seconds=100.0, quantity="counts", axes=(), frames=()) -> Volume:
    """An image of 4 x 4 x 4 voxels whose total is that of a rate over its counting time."""
    unit = {"counts": "{counts}", "count_rate": "{counts}/s"}.get(quantity, "Bq/mL")
    totals = np.atleast_1d(np.asarray(total_cps, np.float64))
    each = totals * (np.asarray(frames or seconds) if quantity == "counts" else 1.0) / 64
    data = np.broadcast_to(each, (4, 4, 4, *each.shape)) if axes else np.full((4, 4, 4), each[0])
    record = (
        EmissionAcquisition(modality="NM", frame_duration_s=np.array([frames]))
        if frames
        else NuclearAcquisition(frame_duration_s=seconds / 60, n_projections=60)
    )
    return Volume(np.asarray(data, np.float32), np.eye(4), quantity, unit, axes, acquisition=record)


def recorded(rate, tau, seconds, model, rng) -> int:
    """Events that a detector records of Poisson arrivals, counted one by one."""
    if model == "paralysable":
        gaps = rng.exponential(1 / rate, int(rate * seconds * 1.2) + 200)
        return int((gaps[: np.searchsorted(np.cumsum(gaps), seconds)] > tau).sum())
    gaps = tau + rng.exponential(1 / rate, int(rate * seconds * 1.2) + 100)
    return int(np.searchsorted(np.cumsum(gaps), seconds))


def test_closed_forms_of_both_models():
    """1e5 /s and 1 us: 1e5 / 1.1 and 1e5 exp(-0.1) are observed."""
    assert float(observed_rate(1e5, tau_s=1e-6)) == pytest.approx(1e5 / 1.1)
    assert float(observed_rate(1e5, tau_s=1e-6, model="paralysable")) == pytest.approx(90483.7418, rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
@given(rate=st.floats(0, 8e5), tau=st.floats(0, 1e-6))
def test_what_is_observed_comes_back(model, rate, tau):
    back = true_rate(observed_rate(rate, tau_s=tau, model=model), tau_s=tau, model=model)
    assert_allclose(back.true_cps, rate, rtol=1e-9)
    shown = 1 / (1 + rate * tau) if model == "non_paralysable" else math.exp(-rate * tau)
    assert_allclose(back.lost_fraction, 1 - shown, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_derivatives_are_those_of_differences(model):
    observed, tau = 1.2e5, 1.5e-6
    found = true_rate(observed, tau_s=tau, model=model)
    more, less = (true_rate(observed + d, tau_s=tau, model=model).true_cps for d in (1.0, -1.0))
    assert found.per_observed == pytest.approx((more - less) / 2, rel=1e-6)
    more, less = (true_rate(observed, tau_s=tau + d, model=model).true_cps for d in (1e-11, -1e-11))
    assert found.per_tau == pytest.approx((more - less) / 2e-11, rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_intervals_cover_the_rate_of_a_simulated_detector(model):
    """200 detectors counted event by event: the error of counting covers at its nominal level."""
    rng = np.random.default_rng(2)
    rate, tau, seconds = 3e4, 1e-5, 0.5
    seen = np.array([recorded(rate, tau, seconds, model, rng) for _ in range(300)]) / seconds
    fit = correct_dead_time(seen, tau_s=tau, model=model, duration_s=seconds)
    found, error = fit.parameters["true_rate_cps"], fit.standard_errors["true_rate_cps"]
    assert found.mean() == pytest.approx(rate, abs=4 * found.std() / math.sqrt(300))
    assert error.mean() == pytest.approx(found.std(ddof=1), rel=4 / math.sqrt(2 * 300))
    covered = (np.abs(found - rate) < 1.96 * error).mean()
    assert 0.92 <= covered <= 0.98


def test_error_of_the_dead_time_is_shared_and_grows_with_the_rate():
    """The slope of m / (1 - m tau) by tau is n^2: 10 % of 1 us at n = 1e5 is 1 % of n."""
    fit = correct_dead_time(1e5 / 1.1, tau_s=1e-6, tau_standard_error_s=1e-7)
    assert fit.standard_errors["true_rate_cps"] == pytest.approx(1e5 * 0.01)
    assert fit.units == {"true_rate_cps": "{counts}/s", "lost_fraction": "1"}
    silent = correct_dead_time(1e5 / 1.1, tau_s=1e-6)
    assert math.isnan(silent.standard_errors["true_rate_cps"])


def test_a_rate_that_is_no_number_stays_none_and_is_flagged():
    fit = correct_dead_time([1e4, math.nan], tau_s=1e-6)
    assert math.isnan(fit.parameters["true_rate_cps"][1])
    assert fit.flags.tolist() == [0, Flag.INVALID_INPUT.value]


@pytest.mark.parametrize(
    ("rate", "model", "error", "match"),
    [
        (1e6, "non_paralysable", ImplausibleValue, "above what"),
        (3.7e5, "paralysable", ImplausibleValue, "above what"),
        (1.0001 / math.e * 1e6, "paralysable", ImplausibleValue, "above what"),
        (9.2e5, "non_paralysable", IllConditioned, "saturation"),
        (0.92 * math.exp(-0.92) * 1e6, "paralysable", IllConditioned, "saturation"),
        (-1.0, "paralysable", ImplausibleValue, "negative"),
    ],
)
def test_saturated_and_negative_rates_are_refused(rate, model, error, match):
    """The paralysable model shows at most 1 / (e tau) = 3.679e5 /s at 1 us."""
    with pytest.raises(error, match=match):
        correct_dead_time([1e3, rate], tau_s=1e-6, model=model)


@pytest.mark.parametrize("tau", [-1e-6, math.nan, math.inf, 5.0])
def test_an_impossible_dead_time_is_refused(tau):
    """5 was typed in microseconds."""
    with pytest.raises(ImplausibleValue, match="dead time"):
        correct_dead_time([1e3], tau_s=tau)
    with pytest.raises(ImplausibleValue, match="dead time"):
        Calibration(847.0, dead_time_s=tau)


def test_an_unknown_model_is_a_usage_error():
    for call in (
        lambda: correct_dead_time(1.0, tau_s=1e-6, model="dead"),
        lambda: Calibration(847.0, dead_time_model="dead"),
    ):
        with pytest.raises(ValueError, match="non_paralysable"):
            call()
    assert Calibration(847.0, dead_time_model="non-paralysable").dead_time_model == "non_paralysable"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quantity", ["counts", "count_rate"])
def test_an_image_is_scaled_by_its_total_rate(model, quantity):
    shown = float(observed_rate(5e4, tau_s=2e-6, model=model))
    v = image(shown, quantity=quantity)
    found = correct_dead_time(v, tau_s=2e-6, model=model)
    assert found.data.sum(dtype=np.float64) == pytest.approx(
        5e4 * (100 if quantity == "counts" else 1), rel=1e-5
    )
    assert (found.quantity, found.unit) == (v.quantity, v.unit)
    step = found.history[-1].parameters
    assert (step["model"], step["rate_from"]) == (model, "the image")
    assert step["observed_cps"] == pytest.approx(shown, rel=1e-6)


def test_a_measured_rate_goes_before_that_of_the_image():
    """A window of the spectrum holds a part of the events that keep the detector busy."""
    found = correct_dead_time(image(1e3), tau_s=1e-6, observed_cps=1e5 / 1.1)
    assert found.data.sum(dtype=np.float64) == pytest.approx(1e3 * 100 * 1.1, rel=1e-5)
    assert found.history[-1].parameters["rate_from"] == "the camera"


def test_frames_have_their_own_losses_and_windows_share_theirs():
    times = Axis("time", np.array([5.0, 30.0]), "s")
    v = image(observed_rate([1e5, 2e4], tau_s=1e-6), axes=(times,), frames=[10.0, 40.0])
    found = correct_dead_time(v, tau_s=1e-6)
    assert_allclose(found.data.sum((0, 1, 2), dtype=np.float64), [1e5 * 10, 2e4 * 40], rtol=1e-5)
    windows = Axis("energy", np.array([140.0, 171.0]), "keV")
    both = image(np.array([0.25, 0.75]) * 1e5 / 1.1, axes=(windows,))
    restored = correct_dead_time(both, tau_s=1e-6).data.sum((0, 1, 2), dtype=np.float64)
    assert_allclose(restored, [2.5e6, 7.5e6], rtol=1e-5)


def test_a_large_loss_is_told():
    codes = [c.code for c in correct_dead_time(image(2.5e5), tau_s=1e-6).warnings]
    assert codes == ["large-dead-time-loss"]
    assert not correct_dead_time(image(1.5e5), tau_s=1e-6).warnings
    assert correct_dead_time(image(1.5e5), tau_s=1e-6, caution_loss=0.1).warnings
    lost = calibrate(image(2.5e5), Calibration(847.0, dead_time_s=1e-6))
    assert "large-dead-time-loss" in [c.code for c in lost.warnings]


def test_nothing_is_corrected_twice_and_nothing_but_counts():
    once = correct_dead_time(image(1e4), tau_s=1e-6)
    with pytest.raises(UnsupportedInput, match="before"):
        correct_dead_time(once, tau_s=1e-6)
    with pytest.raises(UnsupportedInput, match="before"):
        calibrate(once, Calibration(847.0, dead_time_s=1e-6))
    with pytest.raises(UnitMismatch, match="counts only"):
        correct_dead_time(image(1e4, quantity="activity_concentration"), tau_s=1e-6)
    with pytest.raises(MissingMetadata, match="how long"):
        correct_dead_time(image(1e4).replace(acquisition=None), tau_s=1e-6)
    with pytest.raises(ImplausibleValue, match="negative"):
        correct_dead_time(image(-1e4), tau_s=1e-6)


def test_its_uncertainty_joins_that_of_the_sensitivity():
    """4 % of the dead time's share (10 % of 0.4 in n tau) and 3 % of the sensitivity: 5 %."""
    true, tau = 4e5, 1e-6
    v = image(float(observed_rate(true, tau_s=tau)))
    how = Calibration(847.0, 0.03, dead_time_s=tau, dead_time_standard_error_s=1e-7)
    for found in (
        calibrate(v, how),
        calibrate(correct_dead_time(v, tau_s=tau, tau_standard_error_s=1e-7), Calibration(847.0, 0.03)),
    ):
        assert it.nuclear.calibration.calibration_uncertainty(found) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_two_sources_without_noise_give_the_dead_time(model):
    tau, background = 2e-6, 40.0
    true = np.array([5e4, 6e4, 0.0]) + background
    seen = observed_rate(
        [true[0], true[1], true[0] + true[1] - background, background], tau_s=tau, model=model
    )
    found = dead_time_of_two_sources(*seen[:3], background_cps=seen[3], duration_s=100.0, model=model)
    assert found.tau_s == pytest.approx(tau, rel=1e-6)
    assert found.model == model


@pytest.mark.parametrize("model", MODELS)
def test_interval_of_two_sources_covers(model):
    rng = np.random.default_rng(5)
    tau, seconds = 1e-5, 1.0
    rates = (2e4, 2e4, 4e4)
    found = [
        dead_time_of_two_sources(
            *(recorded(rate, tau, seconds, model, rng) / seconds for rate in rates),
            duration_s=seconds,
            model=model,
        )
        for _ in range(250)
    ]
    taus, errors = (np.array([getattr(one, name) for one in found]) for name in ("tau_s", "standard_error_s"))
    assert errors.mean() == pytest.approx(taus.std(ddof=1), rel=4 / math.sqrt(2 * 250))
    assert 0.92 <= (np.abs(taus - tau) < 1.96 * errors).mean() <= 0.985


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("background", [0.0, 300.0])
def test_a_decaying_source_gives_the_dead_time(model, background):
    """Noise-free: exact; from 1.4 times the rate at which a paralysable detector shows most, down."""
    half_life, tau = 21_624.0, 3e-6
    times = np.arange(0, 36, 3) * 3600.0
    true = 4.5e5 * np.exp(-math.log(2) / half_life * times) + background
    found = dead_time_of_decaying_source(
        observed_rate(true, tau_s=tau, model=model),
        times,
        half_life_s=half_life,
        duration_s=60.0,
        background_cps=background,
        model=model,
    )
    assert found.tau_s == pytest.approx(tau, rel=1e-7)
    assert found.reduced_chi_squared < 1e-9
    assert not found.warnings


@pytest.mark.parametrize("model", MODELS)
def test_interval_of_a_decaying_source_covers(model):
    rng = np.random.default_rng(8)
    half_life, tau, seconds = 6600.0, 1e-5, 1.0
    times = np.arange(8) * 3600.0
    true = 6e4 * np.exp(-math.log(2) / half_life * times)
    found = []
    for _ in range(200):
        seen = [recorded(rate, tau, seconds, model, rng) / seconds for rate in true]
        found.append(
            dead_time_of_decaying_source(seen, times, half_life_s=half_life, duration_s=seconds, model=model)
        )
    taus, errors = (np.array([getattr(one, name) for one in found]) for name in ("tau_s", "standard_error_s"))
    assert taus.mean() == pytest.approx(tau, abs=4 * errors.mean() / math.sqrt(200) + 2e-3 * tau)
    assert 0.92 <= (np.abs(taus - tau) < 1.96 * errors).mean() <= 0.985
    assert np.mean([bool(one.warnings) for one in found]) < 0.05
    assert np.mean([one.reduced_chi_squared for one in found]) == pytest.approx(1, abs=4 / math.sqrt(3 * 200))


def test_the_wrong_model_is_told():
    times = np.arange(0, 36, 3) * 3600.0
    seen = observed_rate(2e5 * np.exp(-math.log(2) / 21_624 * times), tau_s=2e-6, model="paralysable")
    found = dead_time_of_decaying_source(seen, times, half_life_s=21_624, duration_s=60.0)
    assert [c.code for c in found.warnings] == ["dead-time-model-does-not-fit"]


def test_measurements_that_tell_no_dead_time_are_refused():
    with pytest.raises(ImplausibleValue, match="as much as each"):
        dead_time_of_two_sources(1e4, 1e4, 2.1e4, duration_s=100.0)
    with pytest.raises(IllConditioned, match="within counting"):
        dead_time_of_two_sources(100.0, 100.0, 199.9, duration_s=1.0)
    with pytest.raises(ImplausibleValue, match="no dead time explains"):
        dead_time_of_two_sources(1e4, 1e4, 5e3, duration_s=10.0, model="paralysable")
    with pytest.raises(ImplausibleValue, match="negative"):
        dead_time_of_two_sources(-1.0, 1e4, 1e4, duration_s=10.0)
    times = np.array([0.0, 1.0, 2.0])
    with pytest.raises(IllConditioned, match="hardly decayed"):
        dead_time_of_decaying_source([1e4, 1e4, 1e4], times, half_life_s=1e5, duration_s=1.0)
    with pytest.raises(ImplausibleValue, match="half-life"):
        dead_time_of_decaying_source([1e4, 1e4, 1e4], times, half_life_s=-1, duration_s=1.0)
    seen = 1e5 * 2.0**-times * (1 + 0.05 * (2 - times))
    with pytest.raises(ImplausibleValue, match="rise above"):
        dead_time_of_decaying_source(seen, times, half_life_s=1.0, duration_s=100.0)
    with pytest.raises(ValueError, match="three"):
        dead_time_of_decaying_source([1e4, 1e3], times[:2], half_life_s=1.0, duration_s=1.0)
