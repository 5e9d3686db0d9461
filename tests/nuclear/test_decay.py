"""Decay against closed forms, numerical integration and published remaining fractions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.nuclear.decay import (
    average_activity_time,
    decay_constant,
    decay_factor,
    frame_decay_factor,
    frame_mean_to_start,
)

half_lives = st.floats(1.0, 1e9)


# Closed forms of the IBSI manual, evaluated for the PET reference sheet: 600 s frames.
@pytest.mark.parametrize(
    ("half_life_s", "factor", "mean_at_s"),
    [(6586.2, 1.031905, 298.4214), (4062.6, 1.052058, 297.4410)],
)
def test_frame_of_ten_minutes(half_life_s, factor, mean_at_s):
    assert float(frame_mean_to_start(600.0, half_life_s)) == pytest.approx(factor, abs=5e-7)
    assert float(average_activity_time(600.0, half_life_s)) == pytest.approx(mean_at_s, abs=5e-5)
    power = 2.0 ** (float(average_activity_time(600.0, half_life_s)) / half_life_s)
    assert power == pytest.approx(factor, abs=5e-7)


# Remaining fractions at 24, 48, 72 h from the PET reference sheet, rounded as printed there.
@pytest.mark.parametrize(
    ("name", "remaining"),
    [
        ("Cu-64", (0.270, 0.0728, 0.0197)),
        ("Y-86", (0.324, 0.105, 0.034)),
        ("I-124", (0.847, 0.718, 0.608)),
        ("I-123", (0.286, 0.0815)),
        ("I-131", (0.917, 0.841)),
        ("Tc-99m", (0.0629, 0.0040, 0.0002)),
        ("In-111", (0.781, 0.610, 0.476)),
    ],
)
def test_remaining_fraction_after_days(name, remaining):
    hours = 24.0 * np.arange(1, len(remaining) + 1)
    left = decay_factor(hours * 3600.0, nuclide(name).half_life_s)
    digits = [max(len(f"{value:g}".split(".")[1]), 3) for value in remaining]
    for value, expected, places in zip(left, remaining, digits, strict=True):
        assert value == pytest.approx(expected, abs=0.6 * 10.0**-places)


def test_frame_reference_time_of_600_s_of_fluorine_gives_the_published_factor():
    assert float(frame_decay_factor(600.0, 6586.2)) == pytest.approx(1.06518, abs=5e-6)


@given(half_lives, st.floats(0.0, 20.0))
def test_factor_is_the_power_of_two_of_the_mean_time(half_life_s, half_lives_long):
    duration = half_lives_long * half_life_s
    factor = float(frame_mean_to_start(duration, half_life_s))
    mean_at = float(average_activity_time(duration, half_life_s))
    assert factor == pytest.approx(2.0 ** (mean_at / half_life_s), rel=1e-12)
    assert 0.0 <= mean_at <= duration / 2.0 * (1.0 + 1e-12)


@pytest.mark.parametrize("x", [1e-12, 1e-8, 1e-4, 0.009, 0.011, 0.5, 5.0])
def test_frame_mean_is_the_numerical_mean(x):
    half_life = 1000.0
    duration = x * half_life / math.log(2.0)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    mean = 0.5 * np.sum(weights * np.exp(-x * 0.5 * (nodes + 1.0)))
    assert float(frame_mean_to_start(duration, half_life)) == pytest.approx(1.0 / mean, rel=1e-13)
    # ln(mean) cancels for short frames: there the series T / 2 - x T / 24 is the reference
    expected = -math.log(mean) / x * duration if x > 1e-3 else duration * (0.5 - x / 24.0)
    assert float(average_activity_time(duration, half_life)) == pytest.approx(expected, rel=1e-11)


def test_mean_time_is_smooth_where_series_and_closed_form_meet():
    half_life = 1000.0
    around = np.array([0.01 * (1 - 1e-9), 0.01 * (1 + 1e-9)]) * half_life / math.log(2.0)
    early, late = average_activity_time(around, half_life)
    assert late / early == pytest.approx(around[1] / around[0], rel=1e-10)


def test_frames_of_no_length_and_unknown_length():
    assert frame_mean_to_start([0.0, np.nan], 6586.2).tolist()[0] == 1.0
    assert np.isnan(frame_mean_to_start([0.0, np.nan], 6586.2)[1])
    assert float(average_activity_time(0.0, 6586.2)) == 0.0


def test_arrays_broadcast():
    assert decay_factor(np.zeros((3, 1)), np.ones(4)).shape == (3, 4)
    assert frame_mean_to_start(np.ones((2, 3)), 60.0).shape == (2, 3)


@pytest.mark.parametrize("half_life_s", [0.0, -1.0, np.nan, np.inf])
def test_impossible_half_lives_are_refused(half_life_s):
    with pytest.raises(ValueError, match="half-life"):
        decay_constant(half_life_s)


def test_negative_durations_are_refused():
    with pytest.raises(ValueError, match="negative"):
        average_activity_time(-1.0, 6586.2)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e4, 1e7))
def test_decay_adds_up(first, second, half_life_s):
    both = float(decay_factor(first, half_life_s)) * float(decay_factor(second, half_life_s))
    assert float(decay_factor(first + second, half_life_s)) == pytest.approx(both, rel=1e-9)
