"""How numbers are written: rounding follows the Particle Data Group's habit of two digits of the error."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.report import wording

SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (11.9834, 0.6211, "11.98 ± 0.62"),
        (11.9834, 0.0996, "11.98 ± 0.10"),
        (0.5, 0.25, "0.50 ± 0.25"),
        (-3.21, 0.44, "−3.21 ± 0.44"),
        (1234.4, 96.1, "1234 ± 96"),
        (123_456.0, 2_345.0, "123\u202f500 ± 2\u202f300"),
        (2.5e7, 1.25e6, "(2.50 ± 0.12) × 10⁷"),
        (3.0e-5, 2.0e-6, "(3.00 ± 0.20) × 10⁻⁵"),
        (5.0, None, "5.000"),
        (5.0, math.nan, "5.000"),
        (4.0, 0.0, "4.000 ± 0"),
        (0.0, 0.0, "0 ± 0"),
        (0.0, 0.012, "0.000 ± 0.012"),
        (math.nan, 1.0, "n/a"),
        (None, None, "n/a"),
        (-0.0004, 0.02, "0.000 ± 0.020"),
    ],
)
def test_value_and_error_are_rounded_alike(value, error, expected):
    assert str(wording.rounded(value, error)) == expected


def as_float(text: str) -> float:
    return float(text.replace("\u202f", "").replace("−", "-"))


@given(
    st.floats(-1e12, 1e12).filter(lambda v: v == 0 or abs(v) > 1e-9),
    st.floats(1e-9, 1e9),
)
def test_rounding_costs_less_than_a_twentieth_of_the_error(value, error):
    shown = wording.rounded(value, error)
    power = 10.0 ** int(shown.power.removeprefix(" × 10").translate(SUPERSCRIPT)) if shown.power else 1.0
    assert as_float(shown.value) * power == pytest.approx(value, abs=error / 20 * (1 + 1e-9), rel=1e-12)
    assert as_float(shown.error) * power == pytest.approx(error, rel=0.051)
    decimals = [len(text.partition(".")[2]) for text in (shown.value, shown.error)]
    assert decimals[0] == decimals[1]


def test_numbers_drop_zeros_but_keep_them_in_columns():
    assert wording.number(0.8) == "0.8"
    assert wording.number(0.8, 3, zeros=True) == "0.800"
    assert wording.number(100.0) == "100"
    assert wording.number(1e-9) == "1 × 10⁻⁹"
    assert wording.number(5e-4) == "5 × 10⁻⁴"
    assert wording.number(1e-9, zeros=True) == "1.000 × 10⁻⁹"
    assert wording.number(math.inf) == "n/a"
    assert wording.number(None) == "n/a"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"),
        (90.0, "90 s"),
        (600.0, "10 min"),
        (7200.0, "120 min"),
        (10_800.0, "3 h"),
        (45721.0, "12.7 h"),
        (574300.0, "6.647 d"),
        (-900.0, "−15 min"),
    ],
)
def test_durations_have_their_natural_unit(seconds, expected):
    assert wording.duration(seconds) == expected
    assert wording.duration(math.nan) == "n/a"


def test_units_and_names_are_those_of_the_field():
    assert wording.with_unit("id_per_g", "%/g") == "Uptake [%ID/g]"
    assert wording.with_unit("suv_bw", "g/mL") == "SUV (body weight) [g/mL]"
    assert wording.with_unit("ph", "1") == "pH"
    assert wording.with_unit("t1", "s") == "Longitudinal relaxation time [s]"
    assert wording.unit_words("umol/L") == "µmol/L"


@given(st.text())
def test_labels_are_one_line_without_control_characters(text):
    label = wording.shortened(text, 20)
    assert len(label) <= 20
    assert not re.search(r"[\x00-\x1f\x7f\u202e]", label)
