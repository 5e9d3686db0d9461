"""Areas under activity curves: closed forms of trapezoids and exponentials, tails, errors, refusals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator

from imgtheranostics.nuclear import curves
from imgtheranostics.volume import Flag

HALF_LIFE_S = 6586.2
DECAY = np.log(2) / HALF_LIFE_S
TIME_S = np.array([0.0, 600, 1800, 3600, 7200, 14400])


def value(fit, name):
    return float(fit.parameters[name])


def test_linear_trapezoids_are_those_of_numpy(rng):
    activity = rng.uniform(1, 2, (7, TIME_S.size))
    fit = curves.auc(activity, TIME_S, tail="none", half_life_s=HALF_LIFE_S)
    assert fit.parameters["auc"] == pytest.approx(np.trapezoid(activity, TIME_S, axis=-1), rel=1e-12)
    assert (fit.parameters["extrapolated_fraction"] == 0).all()


def test_first_moment_is_that_of_the_straight_lines(rng):
    activity = rng.uniform(1, 2, TIME_S.size)
    fit = curves.auc(activity, TIME_S, tail="none", half_life_s=HALF_LIFE_S)
    moment = sum(quad(lambda t: t * np.interp(t, TIME_S, activity), *ends)[0] for ends in pairwise(TIME_S))
    area = np.trapezoid(activity, TIME_S)
    assert value(fit, "mean_residence_time_s") == pytest.approx(moment / area, rel=1e-9)


@given(rate=st.floats(1.0, 30.0), size=st.floats(1e-6, 1e9), tail=st.sampled_from(["physical", "last_phase"]))
def test_an_exponential_is_integrated_exactly_on_logarithms(rate, size, tail):
    """Area A/k and mean residence time 1/k for falls no slower than the decay."""
    k = DECAY * (rate if tail == "last_phase" else 1.0)
    activity = size * np.exp(-k * TIME_S)
    fit = curves.auc(activity, TIME_S, method="linear_log", tail=tail, half_life_s=HALF_LIFE_S)
    assert value(fit, "auc") == pytest.approx(size / k, rel=1e-9)
    assert value(fit, "mean_residence_time_s") == pytest.approx(1 / k, rel=1e-8)
    assert value(fit, "extrapolated_fraction") == pytest.approx(np.exp(-k * TIME_S[-1]), rel=1e-6)
    assert value(fit, "effective_half_life_s") == pytest.approx(np.log(2) / k, rel=1e-9)


def test_lines_on_the_rise_and_exponentials_on_the_fall():
    activity, time_s = np.array([0.0, 4.0, 2.0]), np.array([0.0, 10.0, 20.0])
    fit = curves.auc(activity, time_s, method="linear_log", tail="none", half_life_s=HALF_LIFE_S)
    assert value(fit, "auc") == pytest.approx(20.0 + 2.0 * 10.0 / np.log(2), rel=1e-12)
    fall = quad(lambda t: t * 4.0 * 2 ** (-(t - 10) / 10), 10, 20)[0]
    rise = 0.4 * 10**3 / 3
    assert value(fit, "mean_residence_time_s") == pytest.approx((rise + fall) / value(fit, "auc"), rel=1e-9)


def test_the_physical_tail_is_the_last_sample_over_the_decay():
    activity = np.array([1.0, 3.0, 2.0, 1.5, 1.2, 1.0])
    fit = curves.auc(activity, TIME_S, half_life_s=HALF_LIFE_S)
    inside = np.trapezoid(activity, TIME_S)
    assert value(fit, "auc") == pytest.approx(inside + 1.0 / DECAY, rel=1e-12)
    assert value(fit, "extrapolated_fraction") == pytest.approx(1 / DECAY / (inside + 1 / DECAY), rel=1e-12)
    assert np.isinf(value(fit, "biological_half_life_s"))


def test_a_last_phase_slower_than_physics_is_the_decay_and_flagged():
    slow = curves.auc(np.exp(-0.3 * DECAY * TIME_S), TIME_S, tail="last_phase", half_life_s=HALF_LIFE_S)
    assert value(slow, "terminal_rate_per_s") == pytest.approx(DECAY, rel=1e-12)
    assert slow.flags == Flag.AT_BOUND.value
    rising = curves.auc(1 + TIME_S, TIME_S, tail="last_phase", half_life_s=HALF_LIFE_S)
    assert value(rising, "terminal_rate_per_s") == pytest.approx(DECAY, rel=1e-12)


def test_the_last_phase_is_the_line_of_numpy_through_the_logarithms(rng):
    activity = np.exp(-5 * DECAY * TIME_S) * rng.uniform(0.9, 1.1, TIME_S.size)
    fit = curves.auc(activity, TIME_S, tail="last_phase", tail_points=4, half_life_s=HALF_LIFE_S)
    slope = np.polyfit(TIME_S[-4:], np.log(activity[-4:]), 1)[0]
    assert value(fit, "terminal_rate_per_s") == pytest.approx(-slope, rel=1e-9)


@pytest.mark.parametrize(
    ("beginning", "area"),
    [
        ("none", 0.0),
        ("linear", 0.5 * 600 * 2.0),
        ("physical", quad(lambda t: 2.0 * np.exp(DECAY * (600 - t)), 0, 600)[0]),
    ],
)
def test_what_comes_before_the_first_sample_is_said(beginning, area):
    activity = np.array([2.0, 1.5, 1.0, 0.5, 0.2])
    fit = curves.auc(activity, TIME_S[1:], beginning=beginning, tail="none", half_life_s=HALF_LIFE_S)
    inside = np.trapezoid(activity, TIME_S[1:])
    assert value(fit, "auc") == pytest.approx(inside + area, rel=1e-9)
    assert value(fit, "before_first_fraction") == pytest.approx(area / (inside + area), rel=1e-9)


def test_decay_corrected_samples_are_decayed_first():
    corrected = np.array([1.0, 2.0, 2.5, 2.4, 2.0, 1.5])
    activity = corrected * np.exp(-DECAY * TIME_S)
    first = curves.auc(corrected, TIME_S, half_life_s=HALF_LIFE_S, decay_corrected=True)
    second = curves.auc(activity, TIME_S, half_life_s=HALF_LIFE_S)
    for name in ("auc", "mean_residence_time_s", "extrapolated_fraction"):
        assert value(first, name) == pytest.approx(value(second, name), rel=1e-12)


def test_errors_are_the_scatter_of_repeats(rng):
    activity = PchipInterpolator([0, 3000, 20000], [0.5, 3, 1])(TIME_S)
    spread = 0.02 + 0.01 * activity
    repeats = activity + spread * rng.standard_normal((20000, TIME_S.size))
    for method in ("linear", "linear_log"):
        for tail in ("physical", "last_phase", "none"):
            options = {"method": method, "tail": tail, "half_life_s": 2 * HALF_LIFE_S}
            one = curves.auc(activity, TIME_S, standard_error=spread, **options)
            many = curves.auc(repeats, TIME_S, **options)
            assert np.isnan(many.standard_errors["auc"]).all()
            for name in ("auc", "mean_residence_time_s"):
                scatter = np.nanstd(many.parameters[name])
                assert one.standard_errors[name] == pytest.approx(scatter, rel=0.05), (method, tail, name)


def test_errors_of_each_curve_are_its_own(rng):
    activity = np.asfortranarray(rng.uniform(1, 2, (2, 3, TIME_S.size)))
    spread = rng.uniform(0.1, 0.2, activity.shape)
    together = curves.auc(activity, TIME_S, half_life_s=HALF_LIFE_S, standard_error=spread)
    alone = curves.auc(activity[1, 2], TIME_S, half_life_s=HALF_LIFE_S, standard_error=spread[1, 2])
    assert together.standard_errors["auc"][1, 2] == pytest.approx(alone.standard_errors["auc"], rel=1e-9)


def test_coefficient_is_the_area_over_what_was_given():
    fit = curves.auc(
        np.full(6, 5.0), TIME_S, half_life_s=HALF_LIFE_S, administered=100.0, tail="none", unit="%/g"
    )
    assert value(fit, "tiac_s") == pytest.approx(5.0 * 14400 / 100, rel=1e-12)
    assert fit.units["auc"] == "%/g.s"


def test_what_has_no_area_is_nan_and_flagged():
    activity = np.tile([3.0, 2.0, 1.0, 0.5, 0.3, 0.1], (5, 1)).astype(np.float32)
    activity[0, 1] = np.nan
    activity[1] *= -1
    activity[2] = 0
    activity[3, -2] = -0.1
    mask = np.array([True, True, True, True, False])
    fit = curves.auc(activity, TIME_S, tail="last_phase", half_life_s=HALF_LIFE_S, mask=mask)
    assert np.isnan(fit.parameters["auc"]).all()
    assert fit.parameters["auc"].dtype == np.float32
    assert fit.flags[0] == Flag.INVALID_INPUT.value
    assert fit.flags[3] == Flag.NEGATIVE_AMPLITUDE.value | Flag.OUTSIDE_RANGE.value
    assert fit.flags[4] == Flag.MASKED_OUT.value
    physical = curves.auc(activity, TIME_S, half_life_s=HALF_LIFE_S)
    assert list(np.isfinite(physical.parameters["auc"])) == [False, False, False, True, True]
    assert physical.flags[1] == Flag.NEGATIVE_AMPLITUDE.value | Flag.BELOW_NOISE.value
    assert physical.flags[2] == Flag.BELOW_NOISE.value
    assert physical.flags[3] == Flag.NEGATIVE_AMPLITUDE.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "spline"}, "method"),
        ({"tail": "biological"}, "tail"),
        ({"beginning": "constant"}, "beginning"),
        ({"tail": "last_phase", "tail_points": 1}, "last phase"),
        ({"tail": "last_phase", "tail_points": 7}, "last phase"),
        ({"time_s": TIME_S[::-1]}, "increase"),
        ({"time_s": TIME_S - 1}, "injection"),
        ({"half_life_s": -1.0}, "half-life"),
        ({"activity": np.ones(5)}, "samples"),
        ({"administered": -1.0}, "administered"),
        ({"standard_error": -np.ones(6)}, "negative"),
        ({"standard_error": np.ones((2, 6))}, "shape"),
    ],
)
def test_what_cannot_be_integrated_is_refused(change, words):
    arguments = {"activity": np.ones(6), "time_s": TIME_S, "half_life_s": HALF_LIFE_S} | change
    with pytest.raises(ValueError, match=words):
        curves.auc(arguments.pop("activity"), arguments.pop("time_s"), **arguments)
