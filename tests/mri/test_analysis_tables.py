"""Region tables of maps: means over the voxels that have a value, counts, and warnings by region."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.mapping.estimates import STATED_SHARE, with_rate
from imgtheranostics.mapping.region_tables import flag_counts, region_table
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE = (10, 10, 2)
MASKS = {"left": np.arange(10)[:, None, None] < 5 * np.ones((1, 10, 2)), "right": np.ones(SHAPE)}
MASKS["right"] = ~np.asarray(MASKS["left"], bool)


def estimate(failed=0, at_bound=0, masked=0):
    """One second everywhere; the first voxels of the left half carry flags."""
    value = np.full(SHAPE, 1.0)
    flags = np.zeros(SHAPE, np.uint16)
    flat, marks = value.reshape(-1), flags.reshape(-1)
    flat[:failed], marks[:failed] = np.nan, Flag.NOT_CONVERGED.value
    marks[failed : failed + at_bound] = Flag.AT_BOUND.value
    last = failed + at_bound
    flat[last : last + masked], marks[last : last + masked] = np.nan, Flag.MASKED_OUT.value
    v = Volume(value, np.eye(4), "t1", "s")
    return Estimate(v, v.replace(data=np.full(SHAPE, 0.1)), Volume(flags, np.eye(4), "flags", "1"))


def table_of(one):
    return region_table([one], Regions.from_masks(MASKS, one.grid))


def test_the_mean_is_over_voxels_with_a_value_and_the_counts_say_so():
    table, cautions = table_of(estimate(failed=30))
    left, right = table.to_dict("records")
    assert (left["n_voxels"], left["n_valid"], left["mean"]) == (100, 70, 1.0)
    assert left["flags"] == "NOT_CONVERGED:30"
    assert "many-failed-in-region" in left["warnings"]
    assert right["warnings"] == ""
    assert [caution.code for caution in cautions] == ["many-failed-in-region"]
    assert "in 1 region more than 5 %" in cautions[0].message


@pytest.mark.parametrize(("count", "warned"), [(5, False), (6, True)])
def test_the_share_that_warns_is_the_one_that_is_stated(count, warned):
    assert STATED_SHARE == 0.05
    table, _ = table_of(estimate(at_bound=count))
    assert ("many-at-bound-in-region" in table["warnings"][0]) is warned
    assert table["n_valid"][0] == 100, "a value at a bound is a value"


def test_voxels_outside_the_mask_count_as_neither():
    table, cautions = table_of(estimate(masked=90))
    assert cautions == ()
    assert table["n_valid"][0] == 10


def test_rows_of_quantities_without_a_map_are_appended_with_the_labels():
    one = estimate()
    row = dict.fromkeys(STATISTICS_COLUMNS, np.nan) | {
        "region": "left", "quantity": "heated_volume", "unit": "mL", "flags": "", "warnings": "",
        "n_voxels": 100, "n_valid": 100, "subject": "", "session": "", "axis": "",
    }  # fmt: skip
    more = pd.DataFrame([row], columns=list(STATISTICS_COLUMNS))
    table, _ = region_table([one], Regions.from_masks(MASKS, one.grid), subject="sub-7", more=[more])
    assert table["quantity"].tolist() == ["t1", "t1", "heated_volume"]
    assert set(table["subject"]) == {"sub-7"}
    assert len(table.attrs["details"]) == 3


def test_flag_counts_are_read_back():
    assert flag_counts("") == {}
    assert flag_counts("BELOW_NOISE:7") == {"BELOW_NOISE": 7}


@given(seconds=st.floats(0.01, 10.0), error=st.floats(1e-4, 0.5))
def test_a_rate_is_one_over_the_time_and_back(seconds, error):
    v = Volume(np.full((2, 1, 1), seconds), np.eye(4), "t1", "s")
    flags = v.replace(data=np.zeros((2, 1, 1), np.uint16), quantity="flags", unit="1")
    one = Estimate(v, v.replace(data=np.full((2, 1, 1), error)), flags)
    rate = with_rate(one, "r1")
    assert rate.unit == "1/s"
    assert rate.value.data == pytest.approx(1 / seconds, rel=1e-5)
    assert rate.standard_error.data == pytest.approx(error / seconds**2, rel=1e-5)
    again = with_rate(rate, "t1")
    assert again.value.data == pytest.approx(seconds, rel=1e-5)
    assert again.standard_error.data == pytest.approx(error, rel=1e-5)


@given(scale=st.floats(1e-3, 1e5), t1_s=st.floats(0.1, 3.0))
def test_t1_does_not_depend_on_the_scale_of_the_signal(scale, t1_s):
    angles, tr = np.array([2.0, 5, 10, 15, 20]), 0.005
    angle, e1 = np.radians(angles), np.exp(-tr / t1_s)
    signal = scale * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    v = Volume(
        np.broadcast_to(signal, (2, 2, 2, 5)), np.eye(4), "signal", "[arb'U]",
        (Axis("flip_angle", angles, "deg"),), acquisition=MrAcquisition(repetition_time_s=tr),
    )  # fmt: skip
    assert it.mri.t1_map(v).value.data == pytest.approx(t1_s, rel=2e-3)
