"""Conversion to strict JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.report.plain import DATE_WITHHELD, as_json, plain
from imgtheranostics.volume import Flag


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (float("nan"), None),
        (float("-inf"), None),
        (np.float64("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"b", "a"}, ["a", "b"]),
        ({1: {"x": np.int8(2)}}, {"1": {"x": 2}}),
        (datetime(2024, 1, 2, tzinfo=UTC), DATE_WITHHELD),
        (date(2024, 1, 2), DATE_WITHHELD),
        (time(10, 30), DATE_WITHHELD),
        (np.datetime64("2024-01-02"), DATE_WITHHELD),
        (Flag.AT_BOUND, "AT_BOUND"),
        (Path("a") / "b", "a/b"),
        (None, None),
        (b"secret bytes", "bytes"),
    ],
)
def test_values_become_plain(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_objects_are_named_and_never_printed():
    @dataclass
    class Patient:
        name: str = "DOE^JANE"

    assert plain({"who": Patient()}) == {"who": "Patient"}


def test_texts_and_keys_go_through_the_given_function():
    assert plain({"ab": ["cd", Path("ef")]}, str.upper) == {"AB": ["CD", "EF"]}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_the_result_is_strict_json_that_reads_back_equal(value):
    converted = plain(value)
    text = as_json(converted)
    assert json.loads(text, parse_constant=pytest.fail) == converted
    assert as_json(plain(value)) == text
