"""Transmit-field maps as a ratio to nominal."""

import numpy as np
import pytest

from imgtheranostics.errors import GeometryMismatch, ImplausibleValue, UnitMismatch
from imgtheranostics.mapping.field_ratio import relative_field
from imgtheranostics.volume import Volume

LIKE = Volume(np.zeros((4, 3, 2)), np.eye(4), "signal", "[arb'U]")
VALUES = np.linspace(0.8, 1.2, 24).reshape(4, 3, 2)


def test_a_map_in_percent_is_converted_and_said():
    found = relative_field(Volume(100 * VALUES, np.eye(4), "relative_b1", "1"), LIKE)
    np.testing.assert_allclose(found.ratio, VALUES, rtol=1e-6)
    assert found.decision["converted"] == "percent to ratio"
    assert [caution.code for caution in found.warnings] == ["b1-in-percent"]


def test_an_array_and_a_number_are_ratios():
    np.testing.assert_allclose(relative_field(VALUES, LIKE).ratio, VALUES, rtol=1e-6)
    found = relative_field(0.95, LIKE)
    np.testing.assert_array_equal(found.ratio, np.full((4, 3, 2), 0.95))
    assert found.decision == {"rule": "one value", "relative_b1": 0.95}


def test_another_grid_is_refused_unless_resampling_is_asked_for():
    moved = np.diag([2.0, 1.0, 1.0, 1.0])
    other = Volume(np.ones((4, 3, 2)), moved, "relative_b1", "1")
    with pytest.raises(GeometryMismatch, match="transmit-field"):
        relative_field(other, LIKE)
    found = relative_field(other, LIKE, resample=True)
    assert found.decision["resampled"] == "linear"
    np.testing.assert_allclose(found.ratio, 1.0)


def test_what_is_no_transmit_field_is_refused():
    with pytest.raises(UnitMismatch):
        relative_field(Volume(VALUES, np.eye(4), "t1", "s"), LIKE)
    with pytest.raises(ImplausibleValue, match="no positive value"):
        relative_field(np.zeros((4, 3, 2)), LIKE)
    with pytest.raises(ImplausibleValue, match="no ratio"):
        relative_field(95.0, LIKE)
    with pytest.raises(GeometryMismatch):
        relative_field(np.ones((4, 3)), LIKE)
