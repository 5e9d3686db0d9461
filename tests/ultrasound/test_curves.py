"""Time-intensity fits against the closed forms of ultrasound.md, U5 to U15, and noise of known size."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.volume import Flag

curves = it.ultrasound.curves

TIME = np.arange(0.0, 60.0, 0.2)

LOGNORMAL = {
    "area": 100.0,
    "log_mean": 2.3,
    "log_sd": 0.5,
    "arrival_time_s": 0.0,
    "time_to_peak_s": 7.7679,
    "peak_enhancement": 9.06462,
    "mean_transit_time_s": 11.30223,
    "wash_in_area": 30.8538,
    "wash_in_rate": 2.49724,
    "rise_time_s": 5.27193,
    "wash_in_area_from_ti": 30.5740,
    "wash_in_perfusion_index": 5.79940,
    "mean_transit_time_from_ti_s": 8.80626,
    "wash_out_rate": -0.909251,
    "fall_time_s": 11.05965,
    "wash_out_area": 58.9534,
}
"""U5 to U10 for m = 2.3, s = 0.5 and an area of 100, as ultrasound.md section 6 prints them."""


def lognormal(time=TIME, area=100.0, m=2.3, s=0.5, t0=0.0):
    return curves.lognormal(time, area=area, log_mean=m, log_sd=s, arrival_time_s=t0)


@pytest.mark.parametrize("baseline", ["fit", "zero"])
def test_noise_free_lognormal_gives_parameters_and_closed_forms(baseline):
    found = curves.fit(lognormal(), TIME, baseline=baseline)
    for name, expected in LOGNORMAL.items():
        assert found.parameters[name] == pytest.approx(expected, abs=6e-6 * max(abs(expected), 10))
    exact = {"area": 100.0, "log_mean": 2.3, "log_sd": 0.5, "arrival_time_s": 0.0, "baseline": 0.0}
    for name, value in exact.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert found.r_squared == pytest.approx(1.0, abs=1e-12)
    assert found.flags == 0


@pytest.mark.parametrize(
    ("model", "curve", "expected"),
    [
        (
            "gamma_variate",
            curves.gamma_variate(TIME, amplitude=1, exponent=2.5, scale_s=3, arrival_time_s=4.1),
            {"amplitude": 1, "exponent": 2.5, "scale_s": 3, "arrival_time_s": 4.1, "time_to_peak_s": 7.5},
        ),
        (
            "ldrw",
            curves.local_density_random_walk(TIME, area=1, transit_time_s=8, skewness=4, arrival_time_s=4.1),
            {"area": 1, "transit_time_s": 8, "skewness": 4, "arrival_time_s": 4.1, "mean_transit_time_s": 10},
        ),
        (
            "first_passage",
            curves.first_passage(TIME, area=1, transit_time_s=8, skewness=4, arrival_time_s=4.1),
            {"area": 1, "transit_time_s": 8, "skewness": 4, "arrival_time_s": 4.1, "mean_transit_time_s": 8},
        ),
        (
            "replenishment",
            curves.replenishment(TIME, amplitude=50, rate_per_s=0.4),
            {"amplitude": 50, "rate_per_s": 0.4, "relative_flow": 20, "mean_transit_time_s": 2.5},
        ),
    ],
)
def test_noise_free_curves_of_the_other_models_give_their_parameters(model, curve, expected):
    found = curves.fit(curve + 3.0, TIME, model=model)
    for name, value in expected.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-6)
    assert found.parameters["baseline"] == pytest.approx(3.0, rel=1e-6)


def test_five_percent_noise_stays_within_three_errors_and_errors_are_the_scatter():
    """ultrasound.md section 6: within 3 SE on 95 % of 200 seeds."""
    truth = {
        "area": 100.0,
        "log_mean": 2.3,
        "log_sd": 0.5,
        "arrival_time_s": 5.0,
        "peak_enhancement": 9.06462,
    }
    signal = lognormal(t0=5.0) * (
        1 + 0.05 * np.array([np.random.default_rng(n).normal(size=300) for n in range(200)])
    )
    found = curves.fit(signal, TIME)
    for name, value in truth.items():
        deviation = (found.parameters[name] - value) / found.standard_errors[name]
        assert np.mean(np.abs(deviation) < 3) >= 0.95
    assert (found.flags == 0).all()


def test_curves_without_bolus_are_flagged_and_not_fitted(rng):
    noise = rng.exponential(size=(200, 300))
    found = curves.fit(noise, TIME)
    assert np.isnan(found.parameters["peak_enhancement"]).mean() > 0.99
    assert np.mean((found.flags & Flag.NOT_ENHANCING.value) != 0) > 0.85
    assert (found.flags[np.isnan(found.parameters["peak_enhancement"])] != 0).all()


@pytest.mark.parametrize(("background", "share"), [(0.0, 0.15), (1.0, 0.1)])
def test_standard_errors_of_what_is_reported_are_the_scatter(background, share):
    """Of 1,000 repeats with 5 % multiplicative noise, within 10 %.

    Where frames without agent are free of noise, few samples hold all of it, and chance looks like
    correlation more often: within 15 %.
    """
    rng = np.random.default_rng(3)
    signal = (lognormal(t0=5.0) + background) * (1 + 0.05 * rng.normal(size=(1000, 300)))
    found = curves.fit(signal, TIME)
    names = (*LOGNORMAL, "full_width_half_maximum_s", "baseline")
    for name in (*names, "peak_enhancement_db") if background else names:
        scatter = np.nanstd(found.parameters[name])
        error = np.nanmean(found.standard_errors[name])
        assert error == pytest.approx(scatter, rel=share), name


def test_float32_images_give_the_same_as_float64_within_a_tenth_of_an_error(rng):
    signal = (lognormal(t0=5.0) + 1.0) * (1 + 0.05 * rng.normal(size=(200, 300)))
    exact, single = curves.fit(signal, TIME), curves.fit(signal.astype(np.float32), TIME)
    assert single.parameters["area"].dtype == np.float32
    for name in ("peak_enhancement", "time_to_peak_s", "wash_in_area", "mean_transit_time_s"):
        apart = np.abs(single.parameters[name] - exact.parameters[name]) / exact.standard_errors[name]
        assert np.quantile(apart, 0.98) < 0.1


def test_enhancement_is_absolute_and_the_signal_is_not_changed():
    """A fit after scaling to 0 to 1 gives a peak of about 1, whatever the echo."""
    signal = 1e4 * lognormal() + 77.0
    before = signal.copy()
    found = curves.fit(signal, TIME)
    assert found.parameters["peak_enhancement"] == pytest.approx(9.064619e4, rel=1e-6)
    np.testing.assert_array_equal(signal, before)
    read_only = signal.copy()
    read_only.setflags(write=False)
    curves.fit(read_only, TIME)


def test_time_counts_not_the_frame_number(rng):
    """The same bolus seen at 5 and at uneven frames per second."""
    uneven = np.sort(rng.uniform(0, 60, 250))
    for time in (TIME, TIME + 1000.0, uneven):
        found = curves.fit(lognormal(time, t0=time[0] + 2.0) + 1.0, time)
        assert found.parameters["time_to_peak_s"] == pytest.approx(7.767901, rel=1e-5)
        assert found.parameters["arrival_time_s"] == pytest.approx(time[0] + 2.0, abs=1e-4)


def test_arrival_is_not_later_than_the_first_frame_that_rises(rng):
    time = np.arange(0.0, 60.0, 1.0)
    signal = lognormal(time, m=1.0, s=0.9, t0=9.6) + 2.0 + rng.normal(0, 0.2, (200, 60))
    found = curves.fit(signal, time)
    arrival = found.parameters["arrival_time_s"][np.isfinite(found.parameters["arrival_time_s"])]
    assert arrival.size > 150
    assert arrival.max() <= 10.0 + 1e-9


def test_peak_beyond_the_recording_is_not_made_up():
    found = curves.fit(lognormal(m=4.6, t0=2.0), TIME)
    assert np.isnan(found.parameters["peak_enhancement"])
    assert found.flags & Flag.OUTSIDE_RANGE.value


def test_not_a_number_in_is_not_a_number_out_and_told():
    signal = np.stack([lognormal()] * 3)
    signal[1, 10], signal[2, 20] = np.nan, np.inf
    found = curves.fit(signal, TIME)
    assert np.isnan(found.parameters["area"]).tolist() == [False, True, True]
    assert (found.flags[1:] == Flag.INVALID_INPUT.value).all()


def test_mask_leaves_curves_out():
    found = curves.fit(np.stack([lognormal()] * 2), TIME, mask=[True, False])
    assert found.flags[1] == Flag.MASKED_OUT.value
    assert np.isnan(found.parameters["area"][1])


@pytest.mark.parametrize(
    ("signal", "time", "options"),
    [
        (np.ones(300), TIME, {"model": "exponential"}),
        (np.ones(300), TIME, {"baseline": "mean"}),
        (np.ones(300), TIME, {"burst_time_s": 1.0}),
        (np.ones(299), TIME, {}),
        (np.ones(300), TIME[::-1], {}),
        (np.ones(300), np.zeros(300), {}),
        (np.ones(5), TIME[:5], {}),
        (np.ones(300), TIME - 1.0, {"model": "replenishment"}),
        (np.ones(299), TIME, {"model": "replenishment"}),
    ],
)
def test_what_does_not_fit_is_a_usage_error(signal, time, options):
    with pytest.raises(ValueError):
        curves.fit(signal, time, **options)


def test_measures_without_a_model(rng):
    """Against the model's own numbers; the tail after 60 s is cut off."""
    curve = lognormal(t0=5.0)
    found = curves.model_free(curve + 3.0 + rng.normal(0, 0.05, (300, 300)), TIME, baseline=(0, 25))
    for name, expected, tolerance in (
        ("peak_enhancement", 9.06462, 0.02),
        ("area", np.trapezoid(curve, TIME), 0.02),
    ):
        assert found.parameters[name].mean() == pytest.approx(expected, rel=tolerance)
    for name in ("area", "mean_transit_time_s"):
        error = np.sqrt(np.nanmean(found.standard_errors[name] ** 2))
        assert error == pytest.approx(np.nanstd(found.parameters[name]), rel=0.25)
    assert (found.parameters["arrival_time_s"] > 5.0).all()
    assert (found.parameters["arrival_time_s"] < 9.0).all()


def test_curve_of_fitted_parameters_is_the_signal():
    from imgtheranostics.ultrasound.time_intensity import evaluate

    for model in curves.BOLUS_MODELS:
        signal = lognormal(t0=5.0) + 3.0
        found = curves.fit(signal, TIME, model=model)
        fitted = evaluate(found.parameters, TIME, model=model)
        assert np.sqrt(np.mean((fitted - signal) ** 2)) == pytest.approx(
            float(found.rmse), rel=1e-6, abs=1e-9
        )
