"""The tables of units and quantities."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import UnitMismatch
from imgtheranostics.units import QUANTITIES, UNITS, canonical_unit, check_quantity, conversion_factor

CODES = sorted(UNITS)


@pytest.mark.parametrize(
    ("from_unit", "to_unit", "factor"),
    [
        ("MBq", "Bq", 1e6),
        ("mCi", "MBq", 37.0),
        ("uCi", "kBq", 37.0),
        ("Ci", "GBq", 37.0),
        ("kBq/mL", "Bq/mL", 1e3),
        ("nCi/mL", "Bq/mL", 37.0),
        ("uCi/mL", "kBq/mL", 37.0),
        ("Bq/mm3", "Bq/mL", 1e3),
        ("ms", "s", 1e-3),
        ("h", "min", 60.0),
        ("d", "h", 24.0),
        ("1/min", "1/s", 1 / 60),
        ("um", "mm", 1e-3),
        ("cm", "mm", 10.0),
        ("m", "nm", 1e9),
        ("mmol/L", "umol/L", 1e3),
        ("mg/mL", "ug/mL", 1e3),
        ("%/kg", "%/g", 1e-3),
        ("kg", "g", 1e3),
        ("L", "mL", 1e3),
        ("mm3", "mL", 1e-3),
        ("%", "1", 0.01),
        ("ppm", "1", 1e-6),
        ("uT", "T", 1e-6),
        ("MHz", "Hz", 1e6),
        ("1/mm", "1/cm", 10.0),
        ("rad", "deg", 57.29577951308232),
        ("mGy", "Gy", 1e-3),
        ("MeV", "keV", 1e3),
    ],
)
def test_factors_are_those_of_the_si(from_unit, to_unit, factor):
    assert conversion_factor(from_unit, to_unit) == pytest.approx(factor, rel=1e-15)
    assert conversion_factor(to_unit, from_unit) == pytest.approx(1 / factor, rel=1e-15)


@given(st.sampled_from(CODES), st.sampled_from(CODES), st.sampled_from(CODES))
def test_conversion_is_consistent_within_a_dimension_and_refused_across(first, second, third):
    dimensions = {UNITS[code].dimension for code in (first, second, third)}
    if len(dimensions) == 1:
        chained = conversion_factor(first, second) * conversion_factor(second, third)
        assert chained == pytest.approx(conversion_factor(first, third), rel=1e-12)
        assert conversion_factor(first, first) == 1.0
    elif UNITS[first].dimension != UNITS[second].dimension:
        with pytest.raises(UnitMismatch) as caught:
            conversion_factor(first, second)
        assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("BQML", "Bq/mL"),
        ("Bq/ml", "Bq/mL"),
        (" kBq/cc ", "kBq/mL"),
        ("nCi/cc", "nCi/mL"),
        ("HU", "[HU]"),
        ("[hnsf'U]", "[HU]"),
        ("µCi", "uCi"),
        ("μCi", "uCi"),
        ("mci", "mCi"),
        ("sec", "s"),
        ("percent", "%"),
        ("arbitrary", "[arb'U]"),
        ("CPS", "{counts}/s"),
        ("unitless", "1"),
    ],
)
def test_spellings_of_headers(text, code):
    assert canonical_unit(text) == code


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_its_own_spelling(code):
    assert canonical_unit(code) == code
    assert UNITS[code].factor > 0


@pytest.mark.parametrize("text", ["mT", "MS", "S", "M", "MM", "KG", "G", "mhz", "MGY"])
def test_case_is_not_guessed_where_it_decides(text):
    """M is mega or metre and S siemens: what is not in the table by its own letters is refused."""
    with pytest.raises(UnitMismatch, match=text):
        canonical_unit(text)


@pytest.mark.parametrize("text", ["", "furlong", "Bq/mL/s", "counts per second"])
def test_unknown_units_are_refused_with_the_table(text):
    with pytest.raises(UnitMismatch) as caught:
        canonical_unit(text)
    assert "Bq/mL" in (caught.value.needed or "")


def test_megabecquerel_and_millibecquerel_are_not_confused():
    """A lower-case mbq is what people type for MBq; nobody measures mBq."""
    assert canonical_unit("MBq") == "MBq"
    assert conversion_factor("mbq", "Bq") == 1e6


@pytest.mark.parametrize("name", sorted(QUANTITIES))
def test_every_quantity_takes_its_own_unit_and_no_other(name):
    record = QUANTITIES[name]
    if record.unit is None:
        assert check_quantity(name, "[arb'U]") is record
        return
    assert record.unit in UNITS
    assert check_quantity(name, record.unit) is record
    other = next(code for code in CODES if code != record.unit)
    with pytest.raises(UnitMismatch):
        check_quantity(name, other)


def test_quantities_of_the_contract_have_their_units():
    """DESIGN section 6."""
    contract = {
        "activity_concentration": "Bq/mL",
        "suv_bw": "g/mL",
        "id_per_g": "%/g",
        "id_per_ml": "%/mL",
        "id_per_region": "%",
        "t1": "s",
        "t2": "s",
        "t2star": "s",
        "r1": "1/s",
        "r2star": "1/s",
        "delta_r1": "1/s",
        "enhancement": "%",
        "gd_concentration": "mmol/L",
        "fe_concentration": "mmol/L",
        "ktrans": "1/min",
        "ve": "1",
        "vp": "1",
        "temperature_change": "Cel",
        "cem43": "min",
        "mtr_asym": "%",
        "mtr_rex": "%",
        "aptw": "%",
        "b0_shift": "ppm",
        "ph": "1",
        "attenuation": "[HU]",
        "delta_attenuation": "[HU]",
        "concentration": "mg/mL",
        "retained_fraction": "%",
        "so2": "%",
        "thb": "umol/L",
        "absorbed_dose": "Gy",
        "echo_enhancement": "dB",
    }
    assert {name: QUANTITIES[name].unit for name in contract} == contract


def test_unknown_quantity_and_unit_are_refused():
    with pytest.raises(UnitMismatch, match="weather"):
        check_quantity("weather", "1")
    with pytest.raises(UnitMismatch, match="furlong"):
        check_quantity("signal", "furlong")


def test_pools_that_users_name_have_quantities():
    """A report writes one file and one row for each pool and parameter."""
    record = check_quantity("my_label_amplitude", "%")
    assert record.name == "my_label_amplitude"
    assert record.description.startswith("my label: ")
    assert QUANTITIES["amide_exchange_rate"].unit == "1/s"
    assert "amide_width" in QUANTITIES
    assert QUANTITIES["gd_concentration"].description == "gadolinium concentration"


@pytest.mark.parametrize("name", ["_amplitude", "amplitude", "Amide_amplitude", "../x_width", "a b_centre"])
def test_pool_names_that_no_file_could_have_are_no_quantities(name):
    assert name not in QUANTITIES
    assert QUANTITIES.get(name) is None
    with pytest.raises(UnitMismatch):
        check_quantity(name, "%")


def test_codes_and_names_are_unique():
    for first, second in itertools.combinations(CODES, 2):
        assert first != second
    assert len({record.description for record in QUANTITIES.values()}) == len(QUANTITIES)
