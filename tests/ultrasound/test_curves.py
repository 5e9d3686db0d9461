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
