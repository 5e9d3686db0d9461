"""Units taken for other units are refused with the way out (reference/mri.md, section 5)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri import plausible


def test_flip_angles_in_radians_are_refused_with_the_way_out():
    with pytest.raises(ImplausibleValue, match="radians") as refusal:
        plausible.checked_flip_angles(np.radians([2.0, 5.0, 20.0]))
    assert "numpy.degrees" in refusal.value.next_step


def test_one_small_angle_among_larger_ones_is_degrees():
    np.testing.assert_array_equal(plausible.checked_flip_angles([2, 3, 15]), [2.0, 3.0, 15.0])


@pytest.mark.parametrize("angles", [[0.0, 10.0], [-5.0, 10.0], [10.0, 180.0]])
def test_angles_outside_their_range_are_refused(angles):
    with pytest.raises(ImplausibleValue, match="outside"):
        plausible.checked_flip_angles(angles)


@pytest.mark.parametrize(
    ("check", "milliseconds"),
    [
        (plausible.checked_repetition_times, 25.0),
        (plausible.checked_gradient_echo_repetition_times, 4.2),
        (plausible.checked_echo_times, [5.1, 10.0]),
        (plausible.checked_recovery_times, [50.0, 800.0]),
    ],
)
def test_milliseconds_are_refused_with_the_way_out(check, milliseconds):
    with pytest.raises(ImplausibleValue, match="milliseconds") as refusal:
        check(milliseconds)
    assert refusal.value.next_step == "divide by 1000"
    np.testing.assert_allclose(check(np.divide(milliseconds, 1000)), np.divide(milliseconds, 1000))


@pytest.mark.parametrize(
    ("check", "times"),
    [
        (plausible.checked_repetition_times, 0.0),
        (plausible.checked_repetition_times, -0.1),
        (plausible.checked_echo_times, [0.0, 0.01]),
        (plausible.checked_recovery_times, [-0.1, 0.2]),
    ],
)
def test_times_that_cannot_be_are_refused(check, times):
    with pytest.raises(ImplausibleValue, match=r"zero|negative"):
        check(times)


def test_an_inversion_time_of_zero_is_allowed():
    assert plausible.checked_recovery_times([0.0, 0.5])[0] == 0.0


def test_echo_times_out_of_order_are_a_usage_error():
    with pytest.raises(ValueError, match="increase"):
        plausible.checked_echo_times([0.02, 0.01, 0.03])


def test_repetition_times_are_one_or_one_per_sample():
    assert plausible.checked_repetition_times([1.0, 2.0, 3.0], 3).size == 3
    with pytest.raises(ValueError, match="one per sample"):
        plausible.checked_repetition_times([1.0, 2.0], 3)
    with pytest.raises(ValueError, match="one repetition time is"):
        plausible.checked_repetition_times([1.0, 2.0])


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan, 5.0]])
def test_what_is_no_list_of_numbers_is_a_usage_error(values):
    with pytest.raises(ValueError, match="finite numbers"):
        plausible.checked_flip_angles(values)


@given(st.lists(st.floats(0.3, 2.0), min_size=1, max_size=30))
def test_percent_is_recognised_by_its_median_and_a_ratio_is_not(ratios):
    ratio = np.array([*ratios, np.nan, 0.0, 0.0])
    assert plausible.checked_b1(ratio) is ratio
    assert plausible.b1_in_percent(100 * ratio)
    with pytest.raises(ImplausibleValue, match="percent"):
        plausible.checked_b1(100 * ratio)


def test_a_map_without_one_usable_value_is_not_called_percent():
    assert not plausible.b1_in_percent(np.zeros(4))
    assert not plausible.b1_in_percent(np.full(4, np.nan))


def test_too_few_samples_say_how_many_are_needed():
    with pytest.raises(ValueError, match="at least 3 inversion times, found 2"):
        plausible.check_sample_count(2, 3, "inversion times", "the model")
    with pytest.raises(ValueError, match="3 different inversion times, found 2"):
        plausible.check_distinct(np.array([0.1, 0.1, 0.2]), 3, "inversion times", "the model")
