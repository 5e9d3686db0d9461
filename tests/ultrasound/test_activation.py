"""Activation temperature of phase-change droplets, against the curve itself and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import curve_fit

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.ultrasound.activation import activation_curve, activation_temperature
from imgtheranostics.volume import Flag

TEMPERATURE = np.linspace(20, 70, 51)
T50, WIDTH, LOW, HIGH = 29.0, 3.0, 1.0, 4.0


def made(t50=T50, width=WIDTH, low=LOW, high=HIGH):
    return activation_curve(TEMPERATURE, t50, width, low, high)


def test_width_is_from_a_tenth_to_nine_tenths_of_the_rise():
    assert_allclose(
        activation_curve([T50 - WIDTH / 2, T50, T50 + WIDTH / 2], T50, WIDTH, 0, 1), [0.1, 0.5, 0.9]
    )


@settings(max_examples=15)
@given(
    t50=st.floats(25, 65),
    width=st.floats(1.5, 10),
    low=st.floats(0.1, 10),
    rise=st.floats(0.2, 50),
    noise=st.sampled_from(["relative", "constant"]),
)
def test_noise_free_curves_give_their_parameters(t50, width, low, rise, noise):
    fit = activation_temperature(made(t50, width, low, low + rise), TEMPERATURE, noise=noise)
    assert fit.parameters["t50_cel"] == pytest.approx(t50, abs=1e-5)
    assert fit.parameters["width_cel"] == pytest.approx(width, rel=1e-5)
    assert fit.parameters["low"] == pytest.approx(low, rel=1e-5)
    assert fit.parameters["high"] == pytest.approx(low + rise, rel=1e-5)
    assert fit.flags == 0


@pytest.mark.parametrize(("t50", "name"), [(29.0, "perfluoropentane"), (56.0, "perfluorohexane")])
def test_transitions_of_the_review_within_a_degree_in_speckle(t50, name):
    """P23: 29 and 56 Cel, within 1 Cel; 10 % multiplicative noise as of 100 speckle cells."""
    rng = np.random.default_rng(len(name))
    signal = made(t50) * rng.gamma(100, 0.01, size=(200, 51))
    fit = activation_temperature(signal, TEMPERATURE)
    found, error = fit.parameters["t50_cel"], fit.standard_errors["t50_cel"]
    assert np.abs(found - t50).max() < 1.0
    assert np.sqrt(np.mean(error**2)) == pytest.approx(found.std(), rel=0.1)
    assert np.mean(np.abs(found - t50) < 3 * error) > 0.97


def test_constant_noise_equals_scipy():
    rng = np.random.default_rng(0)
    signal = made(40.0) + 0.1 * rng.normal(size=51)
    fit = activation_temperature(signal, TEMPERATURE, noise="constant")
    best, covariance = curve_fit(activation_curve, TEMPERATURE, signal, p0=[41, 4, 1, 4])
    names = ("t50_cel", "width_cel", "low", "high")
    assert_allclose([fit.parameters[name] for name in names], best, rtol=1e-6)
    # beside SciPy the errors are unbiased: larger by one over c4, 0.5 % for 47 degrees of freedom
    errors = [fit.standard_errors[name] for name in names]
    assert_allclose(errors, np.sqrt(np.diag(covariance)) * (1 + 1 / (4 * 47)), rtol=1e-3)


def test_order_of_temperatures_and_scale_do_not_matter():
    order = np.random.default_rng(1).permutation(51)
    one = activation_temperature(made(), TEMPERATURE)
    other = activation_temperature(1e6 * made()[order], TEMPERATURE[order])
    assert other.parameters["t50_cel"] == pytest.approx(one.parameters["t50_cel"])
    assert other.parameters["high"] == pytest.approx(4e6)


def test_superheat_is_above_the_bulk_liquid():
    fit = activation_temperature(made(45.0), TEMPERATURE, bulk_transition_cel=29.0)
    assert fit.parameters["superheat_cel"] == pytest.approx(16.0)
    assert fit.units["superheat_cel"] == "Cel"
    assert "superheat_cel" not in activation_temperature(made(), TEMPERATURE).parameters


def test_curve_without_a_rise_has_no_transition():
    rng = np.random.default_rng(3)
    flat = np.stack([np.ones(51), *(1 + 0.1 * rng.normal(size=(20, 51)))])
    fit = activation_temperature(flat, TEMPERATURE)
    assert np.isnan(fit.parameters["t50_cel"]).mean() > 0.9
    assert fit.flags[0] & Flag.BELOW_NOISE


def test_transition_beyond_the_temperatures_is_not_extrapolated():
    fit = activation_temperature(made(73.0, 12.0), TEMPERATURE)
    assert np.isnan(fit.parameters["t50_cel"])
    assert fit.flags & Flag.OUTSIDE_RANGE


def test_rise_between_two_temperatures_is_known_to_their_distance():
    fit = activation_temperature(np.where(TEMPERATURE < 29.5, 1.0, 4.0), TEMPERATURE)
    assert fit.flags & Flag.AT_BOUND
    assert abs(fit.parameters["t50_cel"] - 29.5) <= 0.5
    assert fit.standard_errors["t50_cel"] == pytest.approx(1 / np.sqrt(12))
    assert np.isnan(fit.standard_errors["width_cel"])


def test_falling_echo_is_flagged():
    fit = activation_temperature(made(low=4.0, high=1.0), TEMPERATURE)
    assert fit.flags & Flag.NEGATIVE_AMPLITUDE
    assert fit.parameters["t50_cel"] == pytest.approx(T50)


def test_missing_samples_and_masks():
    signal = np.tile(made(), (3, 1))
    signal[0, 4] = np.nan
    fit = activation_temperature(signal, TEMPERATURE, mask=[True, True, False])
    assert_allclose(fit.parameters["t50_cel"], [np.nan, T50, np.nan])
    assert fit.flags.tolist() == [Flag.INVALID_INPUT, 0, Flag.MASKED_OUT]


def test_too_few_temperatures_and_unknown_noise_are_usage_errors():
    with pytest.raises(ValueError, match="five different"):
        activation_temperature(np.ones(6), [20, 20, 30, 30, 40, 50])
    with pytest.raises(ValueError, match="noise"):
        activation_temperature(made(), TEMPERATURE, noise="loud")
    with pytest.raises(ValueError, match="last axis"):
        activation_temperature(made()[:-1], TEMPERATURE)


@pytest.mark.parametrize("step", [2.0, 4.0])
@pytest.mark.parametrize("t50", [29.0, 56.0])
def test_errors_hold_where_few_temperatures_lie_on_the_rise(t50, step):
    """A width that noise leaves open has no error instead of one of thousands of degrees."""
    temperature = np.arange(20.0, 71.0, step)
    rng = np.random.default_rng(int(t50 + step))
    curve = activation_curve(temperature, t50, WIDTH, 1.0, 9.0)
    fit = activation_temperature(curve * rng.gamma(200, 1 / 200, (1500, temperature.size)), temperature)
    found, error = fit.parameters["t50_cel"], fit.standard_errors["t50_cel"]
    assert not np.isnan(error).any()
    assert error.max() <= 2 * step
    assert np.mean(np.abs(found - t50) < 3 * error) > 0.95  # the rule of ultrasound.md for fits
    width, width_error = fit.parameters["width_cel"], fit.standard_errors["width_cel"]
    assert np.nanmax(width_error / width) < 1.5
    assert ((fit.flags[np.isnan(width_error)] & Flag.AT_BOUND.value) != 0).all()
    known = ~np.isnan(width_error)
    assert np.mean(np.abs(width - WIDTH)[known] < 3 * width_error[known]) > 0.9


def test_temperatures_in_kelvin_are_refused():
    with pytest.raises(ImplausibleValue, match=r"subtract 273\.15"):
        activation_temperature(made(), TEMPERATURE + 273.15)
