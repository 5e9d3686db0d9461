"""Half-lives of headers against the nuclide table: silent, caution, refusal."""

from __future__ import annotations

import pytest

from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.nuclear.half_life import resolve_half_life


# Half-lives that vendors and tools write (PET reference sheet 4.1): all must be accepted.
@pytest.mark.parametrize(
    ("nuclide", "half_life_s", "cautioned"),
    [
        ("F-18", 6586.0, False),
        ("F-18", 6586.2, False),
        ("F-18", 6588.0, False),
        ("Ga-68", 4057.7, True),
        ("Ga-68", 67.83 * 60, True),
        ("Cu-64", 45721.0, False),
        ("Zr-89", 282276.0, False),
        ("I-124", 360806.0, False),
        ("Tc-99m", 21624.0, True),
        ("Tc-99m", 21654.0, False),
        ("Lu-177", 574300.0, False),
    ],
)
def test_half_lives_met_in_headers_are_accepted(record, nuclide, half_life_s, cautioned):
    found = resolve_half_life(record(nuclide=nuclide, half_life_s=half_life_s))
    assert found.seconds == half_life_s
    assert found.source == "header"
    assert [caution.code for caution in found.warnings] == (["half-life-differs"] if cautioned else [])


def test_half_life_of_another_nuclide_is_refused(record):
    with pytest.raises(ImplausibleValue, match="Cu-64") as caught:
        resolve_half_life(record(nuclide="Cu-64", half_life_s=6586.0))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("change", "refused"), [(1.0099, False), (1.0101, True), (0.9901, False), (0.9899, True)]
)
def test_one_percent_is_the_limit(record, change, refused):
    acquisition = record(nuclide="Cu-64", half_life_s=45720.0 * change)
    if refused:
        with pytest.raises(ImplausibleValue):
            resolve_half_life(acquisition)
    else:
        assert resolve_half_life(acquisition).warnings


def test_nuclide_of_the_user_goes_before_the_header(record):
    with pytest.raises(ImplausibleValue):
        resolve_half_life(record(), "Cu-64")
    found = resolve_half_life(record(half_life_s=None), "64Cu")
    assert (found.seconds, found.source, found.nuclide) == (45720.0, "nuclide table", "Cu-64")


def test_nuclide_alone_takes_the_table(record):
    assert resolve_half_life(record(half_life_s=None, nuclide="^18^Fluorine")).seconds == 6586.2


def test_no_default_half_life(record):
    with pytest.raises(MissingMetadata, match="half-life"):
        resolve_half_life(record(half_life_s=None, nuclide=None))


@pytest.mark.parametrize("name", [None, "Unobtainium", "F-17"])
def test_half_life_without_a_known_nuclide_is_used_with_a_caution(record, name):
    found = resolve_half_life(record(nuclide=name))
    assert found.seconds == 6586.2
    assert [caution.code for caution in found.warnings] == ["half-life-unchecked"]


def test_unknown_nuclide_of_the_user_is_refused(record):
    with pytest.raises(UnsupportedInput):
        resolve_half_life(record(), "Unobtainium-1")


@pytest.mark.parametrize("half_life_s", [0.0, -6586.0, float("nan")])
def test_impossible_half_life_is_refused(record, half_life_s):
    with pytest.raises(ImplausibleValue, match="half-life"):
        resolve_half_life(record(half_life_s=half_life_s))
