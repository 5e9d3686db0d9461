"""Closed forms of ultrasound.md, U5 to U15, against its printed values, SciPy, quadrature and differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from imgtheranostics.ultrasound import bolus_models as models

FUNCTIONS = {
    "lognormal": lambda t, w: models.lognormal(t, area=1.0, log_mean=w**2, log_sd=w),
    "gamma_variate": lambda t, a: models.gamma_variate(t, amplitude=np.exp(a), exponent=a, scale_s=1 / a),
    "ldrw": lambda t, w: models.local_density_random_walk(
        t, area=1.0, transit_time_s=(np.sqrt(w**2 + 0.25) + 0.5) / w, skewness=w
    ),
    "first_passage": lambda t, w: models.first_passage(
        t, area=1.0, transit_time_s=(np.sqrt(w**2 + 2.25) + 1.5) / w, skewness=w
    ),
}
"""Curves whose peak is 1 s after arrival, as `landmarks` takes them; only that of gamma has the height 1."""


def test_lognormal_is_the_density_of_scipy():
    t = np.linspace(0.1, 60, 200)
    ours = models.lognormal(t + 4.0, area=100, log_mean=2.3, log_sd=0.5, arrival_time_s=4.0)
    np.testing.assert_allclose(ours, 100 * stats.lognorm.pdf(t, 0.5, scale=np.exp(2.3)), rtol=1e-12)


def test_gamma_variate_is_the_density_of_scipy():
    t = np.linspace(0.1, 60, 200)
    ours = models.gamma_variate(t, amplitude=1, exponent=2.5, scale_s=3)
    np.testing.assert_allclose(ours, 155.41774376937 * stats.gamma.pdf(t, 3.5, scale=3), rtol=1e-10)


def test_random_walks_are_the_inverse_gaussians_of_scipy():
    t = np.linspace(0.1, 60, 200)
    ours = models.first_passage(t, area=2, transit_time_s=8, skewness=4)
    # invgauss(mu, scale): mean mu * scale, shape `scale`, which is the L mu of this package
    np.testing.assert_allclose(ours, 2 * stats.invgauss.pdf(t, 8 / 32, scale=32), rtol=1e-10)
    ours = models.local_density_random_walk(t, area=2, transit_time_s=8, skewness=4)
    np.testing.assert_allclose(ours, 2 * stats.recipinvgauss.pdf(t, 0.25, scale=2), rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "width", "peak_time", "height", "expected"),
    [
        (
            "lognormal",
            0.5,
            7.7679,
            9.06462,
            {
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
                "area": 100.0,
            },
        ),
        ("gamma_variate", 2.5, 7.5, 12.64495, {"area": 155.41774, "mean_transit_time_s": 10.5}),
        ("ldrw", 4.0, 7.06226, 0.102897, {"area": 1.0, "mean_transit_time_s": 10.0}),
        ("first_passage", 4.0, 5.54400, None, {"mean_transit_time_s": 8.0}),
    ],
)
def test_printed_values_of_the_reference(model, width, peak_time, height, expected):
    """The table prints five to seven digits."""
    marks = models.landmarks(model, width)
    for name, value in expected.items():
        of_peak, of_time = models.POWERS[name]
        scale = (height or 1.0) ** of_peak * peak_time**of_time
        assert float(marks[name]) * scale == pytest.approx(value, rel=8e-6)


def test_replenishment_as_printed():
    assert models.replenishment(2.0, amplitude=50, rate_per_s=0.4) == pytest.approx(27.5336, abs=5e-5)
    assert models.replenishment(-1.0, amplitude=50, rate_per_s=0.4) == 0.0


def test_gamma_rises_steepest_as_printed():
    slope = np.gradient(
        models.gamma_variate(np.linspace(0, 8, 80_001), amplitude=1, exponent=2.5, scale_s=3), 1e-4
    )
    assert 1e-4 * slope.argmax() == pytest.approx(2.75658, abs=1e-3)
    assert models.landmarks("gamma_variate", 2.5)["wash_in_rate"] * 12.64495 / 7.5 == pytest.approx(
        slope.max(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("model", "width"),
    [
        *(("lognormal", width) for width in (0.3, 0.8)),
        *(("gamma_variate", width) for width in (2.5, 6.0)),
        *((model, width) for model in ("ldrw", "first_passage") for width in (0.8, 6.0)),
    ],
)
def test_landmarks_are_those_of_the_curve(model, width):
    """Against quadrature, a bounded search for the steepest points, and differences."""

    def curve(t):
        return float(FUNCTIONS[model](t, width)) / height

    height = float(FUNCTIONS[model](1.0, width))
    marks = {name: float(value) for name, value in models.landmarks(model, width).items()}
    assert all(curve(1 + h) < 1 for h in (-1e-3, 1e-3))

    def integral(a, b):
        return integrate.quad(curve, a, b, epsabs=1e-12, epsrel=1e-11, limit=400)[0]

    def slope(t):
        return (curve(t + 1e-6) - curve(t - 1e-6)) / 2e-6

    rise = optimize.minimize_scalar(lambda t: -slope(t), bounds=(1e-3, 1), options={"xatol": 1e-10}).x
    begin = rise - curve(rise) / slope(rise)
    fall = optimize.minimize_scalar(slope, bounds=(1, 12), options={"xatol": 1e-10}).x
    end = fall - curve(fall) / slope(fall)
    assert marks["wash_in_rate"] == pytest.approx(slope(rise), rel=1e-6)
    assert marks["wash_out_rate"] == pytest.approx(slope(fall), rel=1e-6)
    assert marks["rise_time_s"] == pytest.approx(1 - begin, rel=1e-5)
    assert marks["fall_time_s"] == pytest.approx(end - 1, rel=1e-5)
    assert marks["wash_in_area"] == pytest.approx(integral(0, 1), rel=1e-8)
    assert marks["wash_in_area_from_ti"] == pytest.approx(integral(begin, 1), rel=1e-5)
    assert marks["wash_out_area"] == pytest.approx(integral(1, end), rel=1e-5)
    whole = integral(0, 1) + integral(1, 50) + integrate.quad(curve, 50, np.inf, limit=400)[0]
    assert marks["area"] == pytest.approx(whole, rel=1e-6)
    moment = sum(
        integrate.quad(lambda t: t * curve(t), *ends, limit=400)[0] for ends in ((0, 50), (50, np.inf))
    )
    assert marks["mean_transit_time_s"] == pytest.approx(moment / whole, rel=1e-6)
    low, high = (
        optimize.brentq(lambda t: curve(t) - 0.5, *ends, xtol=1e-12) for ends in ((1e-6, 1), (1, 1e4))
    )
    assert marks["full_width_half_maximum_s"] == pytest.approx(high - low, rel=1e-8)


@settings(max_examples=20)
@given(width=st.floats(0.1, 20), model=st.sampled_from(["ldrw", "first_passage"]))
def test_random_walks_have_the_distribution_of_scipy(width, model):
    share = 0.5 if model == "ldrw" else 1.5
    mu = (np.sqrt(width**2 + share**2) + share) / width
    if model == "ldrw":
        known = stats.recipinvgauss(1 / width, scale=mu / width)
    else:
        known = stats.invgauss(1 / width, scale=mu * width)
    marks = models.landmarks(model, width)
    height = float(FUNCTIONS[model](1.0, width))
    assert marks["wash_in_area"] * height == pytest.approx(known.cdf(1.0), rel=1e-6)
