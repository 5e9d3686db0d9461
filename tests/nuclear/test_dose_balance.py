"""Images that hold more activity than was injected are spoken of: the sum over voxels is by hand."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.nuclear.dose_balance import more_than_injected
from imgtheranostics.volume import Volume

SHAPE = (4, 3, 2)
AFFINE = np.diag([10.0, 10.0, 10.0, 1.0])
"""Voxels of 1 mL: 24 of 1000 Bq/mL are 24 kBq."""


def cautions(dose_bq, data=None, relative=0.05):
    image = np.full(SHAPE, 1000.0, np.float32) if data is None else data
    v = Volume(image, AFFINE, "activity_concentration", "Bq/mL")
    return more_than_injected(v, np.full((1, 1, 1), 1.0 / dose_bq), relative)


def test_activity_above_the_injected_one_is_said_with_its_share():
    (caution,) = cautions(12e3)

    assert caution.code == "more-than-injected"
    assert "200 %" in caution.message


@pytest.mark.parametrize(("dose_bq", "relative"), [(25e3, 0.05), (22e3, 0.05), (20e3, 0.1)])
def test_activity_within_the_error_of_dose_and_calibration_is_not_spoken_of(dose_bq, relative):
    """96 %, 109 % and, with an error of 10 %, 120 %."""
    assert not cautions(dose_bq, relative=relative)


def test_voxels_without_value_are_left_out():
    data = np.full(SHAPE, 1000.0, np.float32)
    data[0, 0, 0] = np.nan

    (caution,) = cautions(11.5e3, data)

    assert "200 %" in caution.message
