"""Arrival, peak, slopes and initial area: closed forms, errors by repetition, flags, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.mapping.time_intensity import bolus_arrival, initial_area, time_intensity
from imgtheranostics.mri.spgr_concentration import from_spgr
from imgtheranostics.volume import Flag

TIMES = np.arange(0.0, 200.0, 4.0) + 0.5 * np.sin(np.arange(50))
"""Not uniform."""
ARRIVAL = 42.3
N = 3000


def wedge(time_s, arrival=ARRIVAL, rise=5.0, fall=1.0, turn=80.0):
    """Straight up from the arrival, straight down from the turn."""
    up = np.clip(time_s - arrival, 0, turn - arrival) * rise
    return 100.0 + up - np.clip(time_s - turn, 0, None) * fall


def hill(time_s):
    """Straight up, then a parabola with its top at 120 s, 400 above the baseline."""
    return 100.0 + np.where(
        time_s < 80, np.clip(time_s - ARRIVAL, 0, None) * 9.6, 400.0 - 0.02 * (time_s - 120) ** 2
    )


def agrees(fit, name):
    """Mean reported standard error within 10 % of the scatter of repeats (issue 4, acceptance)."""
    assert np.nanmean(fit.standard_errors[name]) == pytest.approx(np.nanstd(fit.parameters[name]), rel=0.1)


def test_bolus_arrives_where_the_straight_rise_meets_the_baseline():
    fit = bolus_arrival(wedge(TIMES), TIMES, baseline=(0, 9))
    assert float(fit.parameters["arrival_s"]) == pytest.approx(ARRIVAL, abs=1e-9)
    assert fit.units == {"arrival_s": "s"}


@given(st.floats(37.0, 70.0), st.floats(0.5, 50.0), st.floats(1e-3, 1e3))
def test_arrival_of_a_straight_rise_whatever_its_slope_and_scale(arrival, rise, scale):
    signal = scale * wedge(TIMES, arrival, rise, turn=arrival + 40)
    fit = bolus_arrival(signal, TIMES, baseline=(0, 9))
    assert float(fit.parameters["arrival_s"]) == pytest.approx(arrival, abs=1e-6)


def test_arrival_error_is_the_scatter_of_repeats(rng):
    fit = bolus_arrival(wedge(TIMES) + 0.7 * rng.normal(size=(N, 50)), TIMES, baseline=(0, 9), noise_sd=0.7)
    agrees(fit, "arrival_s")
    assert fit.parameters["arrival_s"].mean() == pytest.approx(ARRIVAL, abs=0.05)


def test_a_curve_without_bolus_is_not_enhancing(rng):
    fit = bolus_arrival(100 + rng.normal(size=(50, 50)), TIMES, baseline=(0, 9), noise_sd=1.0)
    assert np.isnan(fit.parameters["arrival_s"]).all()
    assert (fit.flags == Flag.NOT_ENHANCING).all()


def test_a_single_spike_is_no_bolus():
    signal = np.full(50, 100.0)
    signal[20] = 150.0
    fit = bolus_arrival(signal, TIMES, baseline=(0, 9), noise_sd=1.0)
    assert fit.flags & Flag.NOT_ENHANCING


def test_a_rise_within_one_interval_is_bounded_and_has_no_error():
    signal = np.where(TIMES < 60, 100.0, 200.0)
    fit = bolus_arrival(signal, TIMES, baseline=(0, 9), noise_sd=1.0)
    assert float(fit.parameters["arrival_s"]) == TIMES[TIMES < 60][-1]
    assert np.isnan(fit.standard_errors["arrival_s"])
    assert fit.flags & Flag.AT_BOUND


def test_a_falling_bolus_is_found_upside_down():
    fit = bolus_arrival(200 - wedge(TIMES), TIMES, baseline=(0, 9), falling=True)
    assert float(fit.parameters["arrival_s"]) == pytest.approx(ARRIVAL, abs=1e-9)


def test_landmarks_of_a_known_hill():
    fit = time_intensity(hill(TIMES), TIMES, baseline=(0, 9), noise_sd=1.0)
    values = {name: float(value) for name, value in fit.parameters.items()}
    assert values["arrival_s"] == pytest.approx(ARRIVAL, abs=1e-6)
    assert values["time_to_peak_s"] == pytest.approx(120 - ARRIVAL, abs=1e-6)
    assert values["peak"] == pytest.approx(400.0, rel=1e-9)
    assert values["wash_in_per_s"] == pytest.approx(400 / (120 - ARRIVAL), rel=1e-7)
    end = TIMES[-1] - 120
    assert values["wash_out_per_s"] == pytest.approx(-0.02 * end, rel=1e-6)
    assert fit.units["wash_in_per_s"] == "%/s"


def test_landmarks_in_units_of_the_signal_and_of_a_trough():
    plain = time_intensity(
        3 * (hill(TIMES) - 100), TIMES, baseline=(0, 9), noise_sd=1.0, relative=False, unit="mmol/L"
    )
    assert float(plain.parameters["peak"]) == pytest.approx(1200)
    assert plain.units["peak"] == "mmol/L"
    trough = time_intensity(1100 - hill(TIMES), TIMES, baseline=(0, 9), noise_sd=1.0, falling=True)
    assert float(trough.parameters["peak"]) == pytest.approx(-40.0)
    assert float(trough.parameters["wash_in_per_s"]) < 0 < float(trough.parameters["wash_out_per_s"])


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("falling", [True, False])
def test_landmark_errors_are_the_scatter_of_repeats(rng, relative, falling):
    signal = 1000 - hill(TIMES) if falling else hill(TIMES)
    fit = time_intensity(
        signal + 2 * rng.normal(size=(N, 50)),
        TIMES,
        baseline=(0, 9),
        relative=relative,
        falling=falling,
        noise_sd=2.0,
        peak_points=11,
    )
    for name in fit.parameters:
        agrees(fit, name)
    assert not fit.flags.any()


def test_error_from_the_baseline_scatter_is_right_on_average(rng):
    fit = time_intensity(
        hill(TIMES) + 2 * rng.normal(size=(N, 50)),
        TIMES,
        baseline=(0, 9),
        arrival_s=ARRIVAL,
        peak_points=11,
    )
    for name in ("time_to_peak_s", "peak", "wash_in_per_s", "wash_out_per_s"):
        agrees(fit, name)
    assert (fit.standard_errors["arrival_s"] == 0).all()


def test_a_peak_at_the_end_of_the_scan_is_at_a_bound():
    rising = wedge(TIMES, turn=1000.0)
    fit = time_intensity(rising, TIMES, baseline=(0, 9), noise_sd=0.1)
    assert fit.flags & Flag.AT_BOUND
    assert fit.flags & Flag.OUTSIDE_RANGE
    assert np.isnan(fit.standard_errors["peak"])
    assert float(fit.parameters["peak"]) == pytest.approx(rising[-1] - 100)
    assert np.isnan(fit.parameters["wash_out_per_s"])


def test_invalid_curves_are_nan_and_flagged_and_masked_ones_not_looked_at():
    signal = np.stack([hill(TIMES)] * 4)
    signal[1, 30] = np.nan
    signal[2] -= 200.0
    fit = time_intensity(signal, TIMES, baseline=(0, 9), noise_sd=1.0, mask=[True, True, True, False])
    assert fit.flags[0] == 0
    assert fit.flags[1] == fit.flags[2] == Flag.INVALID_INPUT
    assert fit.flags[3] == Flag.MASKED_OUT
    assert np.isnan(fit.parameters["peak"][1:]).all()


def test_area_of_a_triangle_with_interpolated_ends():
    """C = (t - t0) / 10 from the arrival on: the area over T is T^2 / 20 exactly."""
    concentration = np.clip(TIMES - ARRIVAL, 0, None) / 10
    fit = initial_area(concentration, TIMES, baseline=(0, 9), arrival_s=ARRIVAL)
    for window in (60, 90, 120):
        # the piecewise-linear curve leaves the straight line only in the interval of the arrival itself
        k = np.searchsorted(TIMES, ARRIVAL)
        before = ARRIVAL - TIMES[k - 1]
        after = TIMES[k] - ARRIVAL
        corner = 0.5 * after * before / (before + after) * after / 10
        assert float(fit.parameters[f"iauc_{window}_mm_s"]) == pytest.approx(
            window**2 / 20 + corner, rel=1e-12
        )
    assert fit.units["iauc_60_mm_s"] == "mmol/L.s"


def test_area_equals_scipy_on_a_curve_that_starts_at_a_sample(rng):
    from scipy.integrate import trapezoid

    concentration = rng.random((5, 50))
    fit = initial_area(concentration, TIMES, arrival_s=TIMES[10], windows_s=(TIMES[40] - TIMES[10],))
    (name,) = (name for name in fit.parameters if name.startswith("iauc"))
    expected = trapezoid(concentration[:, 10:41], TIMES[10:41], axis=-1)
    np.testing.assert_allclose(fit.parameters[name], expected, rtol=1e-12)


def test_areas_begin_at_each_voxels_own_arrival():
    late = wedge(TIMES, ARRIVAL + 13.0) - 100
    early = wedge(TIMES, ARRIVAL) - 100
    fit = initial_area(np.stack([early, late]), TIMES, baseline=(0, 9), windows_s=(20,))
    np.testing.assert_allclose(fit.parameters["arrival_s"], [ARRIVAL, ARRIVAL + 13], atol=1e-9)
    np.testing.assert_allclose(fit.parameters["iauc_20_mm_s"], 0.5 * 5 * 20**2, rtol=0.02)


def test_area_error_contains_that_of_the_arrival(rng):
    fit = initial_area(
        wedge(TIMES) - 100 + 0.7 * rng.normal(size=(N, 50)), TIMES, baseline=(0, 9), noise_sd=0.7
    )
    for name in fit.parameters:
        agrees(fit, name)
    exact = initial_area(
        wedge(TIMES) - 100 + 0.7 * rng.normal(size=(N, 50)), TIMES, arrival_s=ARRIVAL, noise_sd=0.7
    )
    agrees(exact, "iauc_60_mm_s")
    assert exact.standard_errors["iauc_60_mm_s"].mean() < fit.standard_errors["iauc_60_mm_s"].mean()


@pytest.mark.parametrize("peak", [0.3, 3.0])
def test_area_error_of_concentrations_contains_what_their_samples_share(rng, peak):
    """Concentrations of noisy gradient echoes and a noisy T1: the baseline's mean scales the whole curve."""
    rising = np.clip(TIMES - ARRIVAL, 0, None)
    truth = peak * (1 - np.exp(-rising / 15)) * np.exp(-rising / 200)
    left, cosine = np.exp(-0.005 * (1 / 1.4 + 4.5 * truth)), np.cos(np.deg2rad(20.0))
    signal = 1000 * (1 - left) / (1 - left * cosine)
    fit = from_spgr(
        signal + 0.01 * signal[0] * rng.normal(size=(N, 50)), 4.5, flip_angle_deg=20.0,
        repetition_time_s=0.005, t1_s=1.4 + 0.03 * rng.normal(size=N), t1_error=0.03,
        baseline=(0, 9), noise_sd=0.01 * signal[0],
    )  # fmt: skip
    total, shared = fit.standard_errors["concentration_mm"], fit.parameters["shared_error_mm"]
    noise = np.sqrt(np.maximum(total**2 - shared**2, 0.0))
    areas = initial_area(
        fit.parameters["concentration_mm"], TIMES, baseline=(0, 9), noise_sd=noise, shared_error=shared
    )
    for window in (60, 90, 120):
        agrees(areas, f"iauc_{window}_mm_s")


def test_noise_of_every_sample_in_any_order_of_memory(rng):
    signal = wedge(TIMES) - 100 + 0.1 * rng.normal(size=(3, 4, 50))
    noise = np.full(signal.shape, 0.1)
    one = initial_area(signal, TIMES, baseline=(0, 9), noise_sd=noise, shared_error=noise)
    other = initial_area(
        np.asfortranarray(signal), TIMES, baseline=(0, 9), noise_sd=noise, shared_error=noise
    )
    np.testing.assert_array_equal(one.standard_errors["iauc_60_mm_s"], other.standard_errors["iauc_60_mm_s"])
    plain = initial_area(signal, TIMES, baseline=(0, 9), noise_sd=0.1)
    assert (plain.standard_errors["iauc_60_mm_s"] < one.standard_errors["iauc_60_mm_s"]).all()
    with pytest.raises(ValueError, match="shared_error"):
        initial_area(signal, TIMES, baseline=(0, 9), shared_error=noise[0])


def test_a_window_beyond_the_end_is_nan_and_the_others_are_not():
    late = wedge(TIMES, 100.0, turn=140.0) - 100
    fit = initial_area(late, TIMES, baseline=(0, 9))
    assert np.isfinite(fit.parameters["iauc_60_mm_s"])
    assert np.isnan(fit.parameters["iauc_120_mm_s"])
    assert fit.flags & Flag.OUTSIDE_RANGE


def test_an_arrival_that_is_nan_is_invalid_not_detected():
    fit = initial_area(np.stack([wedge(TIMES)] * 2), TIMES, baseline=(0, 9), arrival_s=[np.nan, ARRIVAL])
    np.testing.assert_array_equal(fit.flags, [Flag.INVALID_INPUT, 0])


def test_single_precision_and_threads_do_not_change_the_numbers(rng):
    signal = (hill(TIMES) + rng.normal(size=(400, 50))).astype(np.float32)
    one = time_intensity(signal, TIMES, baseline=(0, 9), workers=1)
    two = time_intensity(signal, TIMES, baseline=(0, 9), workers=2)
    double = time_intensity(signal.astype(float), TIMES, baseline=(0, 9))
    for name, value in one.parameters.items():
        assert value.dtype == np.float32
        assert value.tobytes() == two.parameters[name].tobytes()
        np.testing.assert_array_equal(value, double.parameters[name].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"time_s": TIMES[::-1]}, "increase"),
        ({"time_s": TIMES[:10]}, "last axis"),
        ({"baseline": (0, 1)}, "noise"),
        ({"peak_points": 4}, "odd"),
        ({"threshold": -1.0}, "threshold"),
        ({"consecutive": 0}, "consecutive"),
        ({"noise_sd": np.ones(3)}, "noise_sd has shape"),
    ],
)
def test_choices_that_do_not_fit_are_refused(change, match):
    arguments = {"time_s": TIMES, "baseline": (0, 9)} | change
    times = arguments.pop("time_s")
    with pytest.raises(ValueError, match=match):
        time_intensity(hill(TIMES), times, **arguments)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"baseline": None}, "arrival_s"),
        ({"windows_s": ()}, "windows_s"),
        ({"windows_s": (0.0,)}, "windows_s"),
        ({"windows_s": (300.0,)}, "shortest window"),
    ],
)
def test_areas_that_cannot_be_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        initial_area(wedge(TIMES), TIMES, **({"baseline": (0, 9)} | change))
