"""Relaxation times that were measured before: maps of times or rates, and numbers."""

import numpy as np
import pytest

from imgtheranostics.errors import ImplausibleValue, UnitMismatch
from imgtheranostics.mapping.relaxation_times import measured_times
from imgtheranostics.volume import Flag, Volume

GRID = np.zeros((2, 2, 1), np.float32)
LIKE = Volume(GRID, np.eye(4), "signal", "[arb'U]")


def test_a_number_is_a_map_of_it_without_error():
    found = measured_times(1.5, "r1", like=LIKE)
    assert (found.quantity, found.unit) == ("t1", "s")
    np.testing.assert_array_equal(found.value.data, np.float32(1.5))
    np.testing.assert_array_equal(found.standard_error.data, 0.0)


def test_a_map_of_the_rate_is_one_of_the_time():
    found = measured_times(Volume(GRID + 0.8, np.eye(4), "r1", "1/s"), "r1")
    np.testing.assert_allclose(found.value.data, 1.25)


def test_a_map_without_error_has_an_unknown_one_and_says_so():
    values = np.array([[[1.0], [0.0]], [[-1.0], [np.nan]]])
    found = measured_times(Volume(values, np.eye(4), "t1", "s"), "r1")
    assert np.isnan(found.standard_error.data).all()
    assert [caution.code for caution in found.warnings] == ["map-without-error"]
    assert np.isfinite(found.value.data).sum() == 1
    assert (found.flags.data.ravel()[1:] == Flag.INVALID_INPUT).all()


def test_other_quantities_and_milliseconds_are_refused():
    with pytest.raises(UnitMismatch, match="t1"):
        measured_times(LIKE, "r1")
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        measured_times(Volume(GRID + 1500.0, np.eye(4), "t1", "s"), "r1")
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        measured_times(1500.0, "r1", like=LIKE)


@pytest.mark.parametrize("number", [0.0, -1.0, np.nan, np.inf])
def test_numbers_that_are_no_times_are_refused(number):
    with pytest.raises(ValueError, match="positive number of seconds"):
        measured_times(number, "r1", like=LIKE)
