"""Thermal dose, heated region and magnetic heating: closed forms, errors by repetition, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from imgtheranostics.agents import get
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.thermometry import (
    area_above,
    cem43,
    field_frequency_product,
    initial_heating_rate,
    specific_absorption_rate,
)
from imgtheranostics.volume import Flag

NAME = "cem43_min"


def minutes(temperature, **options):
    return float(cem43(temperature, **options).parameters[NAME])


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (43.0, 60.0),
        (44.0, 120.0),
        (47.0, 960.0),
        (42.0, 15.0),
        (39.0, 60 * 0.25**4),
        (38.9, 0.0),
        (37.0, 0.0),
    ],
)
def test_an_hour_at_a_constant_temperature(temperature, expected):
    """mri.md F17 in closed form: R^(43 - T) x 60 min, R 0.5 from 43 Cel on and 0.25 below; 0 below 39."""
    assert minutes(np.full(61, temperature), time_s=60.0 * np.arange(61)) == pytest.approx(expected)
    assert minutes(np.full(60, temperature), frame_duration_s=60.0) == pytest.approx(expected)


def test_damage_contour_after_four_hours_at_43():
    """mri.md F17: 240 min."""
    assert minutes(np.full(2, 43.0), time_s=[0.0, 4 * 3600.0]) == pytest.approx(240.0)


def test_a_straight_ramp_through_43_in_closed_form():
    """From 41 to 45 at 2 min per Cel: the exponentials integrate to (1 - 1/16)/ln 4 and (4 - 1)/ln 2."""
    expected = 2 * ((1 - 0.25**2) / np.log(4) + (2**2 - 1) / np.log(2))
    assert minutes([41.0, 45.0], time_s=[0, 480]) == pytest.approx(expected, rel=1e-12)
    assert minutes([45.0, 41.0], time_s=[0, 480]) == pytest.approx(expected, rel=1e-12)
    assert minutes(np.linspace(41, 45, 481), time_s=np.arange(481)) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(30, 60), min_size=2, max_size=6), st.floats(1, 600))
def test_dose_of_any_polyline_equals_quadrature(temperatures, step):
    times = step * np.arange(len(temperatures))

    def rate(t):
        here = np.interp(t, times, temperatures)
        return 0.0 if here < 39 else (0.5 if here >= 43 else 0.25) ** (43 - here)

    expected = 0.0
    for n in range(len(temperatures) - 1):
        a, b = temperatures[n], temperatures[n + 1]
        knots = [
            times[n] + step * (level - a) / (b - a) for level in (39, 43) if min(a, b) < level < max(a, b)
        ]
        expected += (
            quad(rate, times[n], times[n + 1], points=knots or None, epsabs=1e-10, epsrel=1e-9)[0] / 60
        )
    assert minutes(temperatures, time_s=times) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_usual_convention_is_said_to_be_from_memory_and_another_is_not():
    usual = cem43([43.0, 43.0], frame_duration_s=60.0)
    assert [caution.code for caution in usual.warnings] == ["unconfirmed-value"]
    assert usual.decisions["nothing_below_c"] == 39.0
    assert cem43([43.0, 43.0], frame_duration_s=60.0, nothing_below_c=37.0).warnings == ()


def test_convention_is_a_choice():
    at_38 = np.full(2, 38.0)
    assert minutes(at_38, time_s=[0, 60], nothing_below_c=37.0) == pytest.approx(0.25**5)
    assert minutes(at_38, time_s=[0, 60]) == 0
    assert minutes(at_38, time_s=[0, 60], nothing_below_c=37.0, rate_below=1.0) == pytest.approx(1.0)
    assert minutes(
        np.array([38.0, 40.0]), time_s=[0, 60], nothing_below_c=37.0, rate_below=1.0
    ) == pytest.approx(1.0)
    assert minutes(np.full(2, 46.0), time_s=[0, 60], rate_above=0.43) == pytest.approx(0.43**-3)
    assert minutes(np.full(2, 44.0), time_s=[0, 60], nothing_below_c=45.0) == 0


@pytest.mark.parametrize("times", [{"time_s": 30.0 * np.arange(12)}, {"frame_duration_s": 30.0}])
@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_dose_error_is_the_scatter_of_repeats(rng, times, shared):
    truth = 43.2 + 2 * np.sin(np.arange(12) / 2)
    noisy = truth + 0.1 * rng.normal(size=(4000, 12)) + shared * rng.normal(size=(4000, 1))
    fit = cem43(noisy, temperature_error=0.1, shared_error=shared, **times)
    assert fit.standard_errors[NAME].mean() == pytest.approx(fit.parameters[NAME].std(), rel=0.1)


def test_dose_takes_errors_of_every_sample_and_of_any_order():
    temperature = np.full((3, 4, 5), 44.0)
    error = np.full((3, 4, 5), 0.1)
    error[0] = 0.2
    one = cem43(temperature, frame_duration_s=60.0, temperature_error=error)
    other = cem43(np.asfortranarray(temperature), frame_duration_s=60.0, temperature_error=error)
    np.testing.assert_array_equal(one.standard_errors[NAME], other.standard_errors[NAME])
    np.testing.assert_allclose(one.standard_errors[NAME][0] / one.standard_errors[NAME][1], 2.0)
    assert np.isnan(cem43(temperature, frame_duration_s=60.0).standard_errors[NAME]).all()


def test_a_missing_temperature_is_no_dose():
    fit = cem43([[44.0, np.nan, 44.0], [44.0, 44.0, 44.0], [np.inf, 44.0, 44.0]], time_s=[0, 60, 120])
    np.testing.assert_array_equal(np.isnan(fit.parameters[NAME]), [True, False, True])
    np.testing.assert_array_equal(fit.flags, [Flag.INVALID_INPUT, 0, Flag.INVALID_INPUT])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "exactly one"),
        ({"time_s": [0, 1], "frame_duration_s": 1.0}, "exactly one"),
        ({"time_s": [0, 1, 2]}, "3 times for 2"),
        ({"time_s": [1, 0]}, "increase"),
        ({"frame_duration_s": 0.0}, "frame_duration_s"),
        ({"frame_duration_s": [1.0] * 3}, "frame_duration_s"),
        ({"frame_duration_s": 1.0, "rate_above": 0.0}, "rates"),
        ({"frame_duration_s": 1.0, "temperature_error": np.ones(7)}, "temperature_error has shape"),
    ],
)
def test_dose_refuses_what_does_not_fit(options, match):
    with pytest.raises(ValueError, match=match):
        cem43([43.0, 43.0], **options)


def test_area_and_volume_above_41():
    temperature = np.array([[37.0, 40.9, 41.1, 45.0], [41.5, 42.0, np.nan, 41.0]]).reshape(2, 2, 2)
    found = area_above(temperature, temperature_error=0.3, voxel_area_mm2=2.0, voxel_volume_ml=0.004)
    frames = temperature.reshape(4, 2)
    np.testing.assert_array_equal(found.n_voxels, (frames > 41).sum(axis=0))
    np.testing.assert_array_equal(found.n_voxels_low, (frames - 0.3 > 41).sum(axis=0))
    np.testing.assert_array_equal(found.n_voxels_high, (frames + 0.3 > 41).sum(axis=0))
    np.testing.assert_array_equal(found.n_valid, np.isfinite(frames).sum(axis=0))
    np.testing.assert_allclose(found.area_mm2, 2.0 * found.n_voxels)
    np.testing.assert_allclose(found.volume_ml, 0.004 * found.n_voxels)
    masked = area_above(temperature, mask=[[True, False], [False, False]])
    assert masked.n_valid.tolist() == [1, 1]
    assert masked.area_mm2 is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"voxel_area_mm2": 0.0}, "voxel_area_mm2"),
        ({"voxel_volume_ml": -1.0}, "voxel_volume_ml"),
        ({"mask": [True]}, "mask has shape"),
        ({"temperature_error": np.ones((3, 3))}, "temperature_error"),
    ],
)
def test_area_refuses_what_does_not_fit(options, match):
    with pytest.raises(ValueError, match=match):
        area_above(np.zeros((2, 4)), **options)
    with pytest.raises(ValueError, match="last axis"):
        area_above(41.0)


HEAT = {"heat_capacity_j_g_k": 4.18}


def test_field_of_the_review_has_the_sheets_product():
    """mri.md 4.4: 230 kHz and 8 kA/m make 1.84e9 A/(m s)."""
    heating = get("spion-cluster").heating
    product = field_frequency_product(
        1e3 * heating.field_ka_per_m.number(), 1e3 * heating.frequency_khz.number()
    )
    assert product == pytest.approx(1.84e9, rel=1e-12)


def test_250_w_per_g_at_1_mg_per_ml_warm_by_3_6_k_per_min():
    """mri.md 4.4, both ways: 0.25 W/mL over 4.18 J/(K mL)."""
    assert initial_heating_rate(250.0, 1.0, **HEAT) == pytest.approx(3.6, abs=0.05)
    assert initial_heating_rate(250.0, 1.0, **HEAT) == pytest.approx(60 * 0.25 / 4.18, rel=1e-12)
    times = np.arange(0.0, 30.0, 5.0)
    fit = specific_absorption_rate(
        37 + 60 * 0.25 / 4.18 * times / 60, times, window=(0, 6), iron_mg_ml=1.0, **HEAT
    )
    assert float(fit.parameters["specific_absorption_rate_w_g"]) == pytest.approx(250.0, rel=1e-9)
    assert float(fit.parameters["heating_rate_k_per_min"]) == pytest.approx(60 * 0.25 / 4.18, rel=1e-9)
    assert fit.units["specific_absorption_rate_w_g"] == "W/g"


def test_a_parabola_recovers_the_initial_slope_that_losses_bend():
    times = np.arange(0.0, 60.0, 3.0)
    cooling = 1 / 200.0
    curve = 0.06 / cooling * (1 - np.exp(-cooling * times))
    options = {"window": (0, 20), "iron_mg_ml": 1.0, **HEAT}
    line = specific_absorption_rate(curve, times, **options).parameters["heating_rate_k_per_min"]
    bent = specific_absorption_rate(curve, times, order=2, **options).parameters["heating_rate_k_per_min"]
    assert abs(line / 3.6 - 1) > 0.1
    assert abs(bent / 3.6 - 1) < 0.01


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("known", [None, 0.2])
def test_slope_error_is_the_scatter_of_repeats(rng, order, known):
    times = np.arange(0.0, 40.0, 5.0)
    noisy = 37 + 0.06 * times + 0.2 * rng.normal(size=(4000, 8))
    fit = specific_absorption_rate(
        noisy, times, window=(0, 8), iron_mg_ml=1.3, order=order, temperature_error=known, **HEAT
    )
    for name in fit.parameters:
        assert fit.standard_errors[name].mean() == pytest.approx(fit.parameters[name].std(), rel=0.1)


def test_uncertain_iron_is_common_to_all_voxels():
    times = np.arange(4.0)
    fit = specific_absorption_rate(
        np.stack([times, 2 * times]), times, window=(0, 4), iron_mg_ml=1.0, iron_relative_uncertainty=0.03,
        heat_capacity_relative_uncertainty=0.04, **HEAT,
    )  # fmt: skip
    assert fit.calibration_relative == pytest.approx(0.05)
    power = fit.parameters["specific_absorption_rate_w_g"]
    np.testing.assert_allclose(fit.calibration_errors["specific_absorption_rate_w_g"], 0.05 * power)


def test_voxels_without_iron_or_temperature_are_flagged():
    times = np.arange(4.0)
    curves = np.tile(times, (4, 1))
    curves[3, 1] = np.inf
    fit = specific_absorption_rate(curves, times, window=(0, 4), iron_mg_ml=[1.0, 0.0, np.nan, 1.0], **HEAT)
    np.testing.assert_array_equal(fit.flags != 0, [False, True, True, True])
    np.testing.assert_array_equal(
        np.isnan(fit.parameters["specific_absorption_rate_w_g"]), [False, True, True, True]
    )


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"order": 3}, ValueError, "order"),
        ({"window": (0, 1)}, ValueError, "at least 2"),
        ({"window": (0, 9)}, ValueError, "window"),
        ({"heat_capacity_j_g_k": 4180.0}, ImplausibleValue, "heat_capacity"),
        ({"density_g_ml": 0.0}, ImplausibleValue, "density"),
    ],
)
def test_heating_refuses_what_cannot_be(change, error, match):
    arguments = {"window": (0, 4), "iron_mg_ml": 1.0, **HEAT} | change
    with pytest.raises(error, match=match):
        specific_absorption_rate(np.arange(4.0), np.arange(4.0), **arguments)


def test_field_and_iron_must_be_positive():
    with pytest.raises(ImplausibleValue, match="frequency"):
        field_frequency_product(8e3, 0.0)
    with pytest.raises(ImplausibleValue, match="iron"):
        initial_heating_rate(250.0, 0.0, **HEAT)


def test_temperatures_in_kelvin_are_refused():
    """316 K is 43 Cel; as Celsius it would be 2^273 minutes per minute."""
    kelvin = np.full((2, 3), 316.15)
    with pytest.raises(ImplausibleValue, match="kelvin"):
        cem43(kelvin, frame_duration_s=60.0)
    with pytest.raises(ImplausibleValue, match="kelvin"):
        area_above(kelvin, voxel_area_mm2=1.0)
    kelvin[0] = np.nan
    with pytest.raises(ImplausibleValue, match="kelvin"):
        cem43(kelvin, frame_duration_s=60.0)
